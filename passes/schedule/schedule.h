/* passes/schedule/schedule.h: schedules, short texts that rewrite a kernel's nest (docs/design.md §9).
 *
 *     split(y, 14) tiles(x, 6 even) order(O y.o C y.i x.o | r s c x.i o) keep(acc, out) clip(r) edges(x: s)
 *     split(o, 8) unroll(x.i o.o) vectorize(o.i) reg(acc) parallel(O y.o)
 *
 * Each step is a row of schedule.def: a small rewrite that checks its own legality and leaves a nest that the verifier
 * accepts and the interpreter runs to the same bits. A name stands for every loop so called; split makes i.o and i.i of i.
 */
#ifndef DLC_PASSES_SCHEDULE_SCHEDULE_H
#define DLC_PASSES_SCHEDULE_SCHEDULE_H
#include "ir/machine.h"
#include "passes/pass.h"

enum { MAX_STEP_ARGS = 24 };

/* One step as written: words apart from numbers and bars, in order. */
typedef struct {
    const char *name;
    int n;
    const char *word[MAX_STEP_ARGS];      /* names, numbers as text; "|" and ":" are words too */
} sched_step;

typedef struct scheduler {
    kernel_code *k;
    arena *scratch;
    sched_step *steps; int n_steps;
    const char *error;                    /* why the last step was refused */
    bool is_paired;                       /* pair wrote two nests that order has to join */
} scheduler;

/* Applies a text; false: nothing is changed, *why says which step and why. */
bool schedule_apply(kernel_code **k, const char *text, arena *scratch, const char **why);
/* The text that the formula gives for this kernel on this target; "" for none. */
const char *schedule_choose(kernel_code *k, const machine *m, arena *scratch);

/* -- For the rewrites ------------------------------------------------------------------------------------------------------ */

bool refuse(scheduler *s, const char *fmt, ...) DLC_PRINTF(2, 3);
bool is_summed(const scheduler *s, int var);
int find_var(const scheduler *s, const char *name);                   /* -1 and refuse() if there is none */

/* Calls fn on every loop of that variable, innermost first; fn may replace b->at[i]. False stops. */
typedef bool (*loop_fn)(scheduler *s, block *b, int i, void *arg);
bool each_loop(scheduler *s, block *b, int var, loop_fn fn, void *arg);
void block_subst(kernel_code *k, block *b, int var, const expr *to);  /* in place */
void block_rewrite(kernel_code *k, block *b, x_rewriter fn, void *arg);
/* Simplifies every expression by the ranges of the loops around it; drops decided ifs, empty loops, and loops of one
 * iteration (so a name may come to stand for no loop at all, which every step takes as done). */
void simplify_kernel(scheduler *s);
void simplify_apart(scheduler *s, block *b);                          /* a block that is not in the nest */
range loop_range(scheduler *s, const stmt *loop);                     /* of its extent, by what surrounds it */

/* Cuts outer loops until no extent of `inner` depends on them. */
bool make_extents_constant(scheduler *s, int inner);
const expr *x_subst_var(kernel_code *k, const expr *e, int var, const expr *to);
bool x_has_division(const expr *e);
/* Does one comparison of this condition use both variables? */
bool x_test_links(const expr *cond, int a, int b);
void join_pairs(scheduler *s);                                        /* pair.c */
/* passes/lower_flatten.c */
void flatten_params(kernel_code *k, arena *scratch);

#define STEP(name, doc) bool step_##name(scheduler *s, const sched_step *step);
#include "passes/schedule/schedule.def"
#undef STEP
#endif
