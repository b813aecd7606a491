/* step_run: a compiled training step, run on the data of its program in the order of the language's rules. */
#ifndef DLC_TESTS_STEP_RUN_H
#define DLC_TESTS_STEP_RUN_H
#include "api/training.h"
#include "runtime/model.h"

/* From first values, `steps` steps by step(), or by grad() and apply(). The block of states at the end, in
 * `a`; losses, if not NULL: of each step the first one. */
void *step_run(arena *a, const dlc_model *m, const lang_training *t, int64_t steps, int threads,
               bool in_halves, double *losses);
/* The same from the states as they are. */
void step_go_on(arena *a, const dlc_model *m, const lang_training *t, int64_t steps, void *states);

/* How many ways of running a block for `steps` steps end with other states than the JIT on one thread: 2 and
 * 4 threads, grad() and apply() in place of step(), a library, C. Each prints the first state that differs.
 * -1: it does not compile. */
int step_bits(dlc_context *ctx, arena *a, const char *file, const char *name, int64_t steps, bool is_rounded,
              double *losses);
#endif
