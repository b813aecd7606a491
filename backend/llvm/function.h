/* backend/llvm/function.h: inside of kernel.c, address.c and memory.c: one LLVM function while its body is
 * emitted.
 *
 * Lanes. In a vector loop the state has lanes > 0, and every expression is a uniform scalar or a vector over
 * the lanes. Under a condition that differs between lanes, `mask` says which of them run; the code is skipped
 * if none does, so a uniform access needs no mask.
 *
 * Levels. Level 0 is the function's entry, level n the n-th open loop. What depends on variables up to level
 * n only is computed at that level's anchor, the branch from the loop's head into its body: pointers are
 * hoisted as they are made.
 */
#ifndef DLC_LLVM_FUNCTION_H
#define DLC_LLVM_FUNCTION_H
#include "backend/llvm/emit.h"
#include <limits.h>

enum { MAX_TERMS = 24, MAX_LEVELS = 64, NOT_HOISTED = INT_MAX };

/* coef * atom * scale; scale: number of a product of dims, 0: none. Terms with the same id are the same
 * value. */
typedef struct { V atom; int id, level, scale; int64_t coef; } term;
/* constant + terms + lane * (number of the lane) + vec[lane]; vec may be NULL. */
typedef struct { int64_t constant; int n; term at[MAX_TERMS]; int64_t lane; V vec; } linear_form;

typedef struct { int64_t lo, hi; } bounds;           /* inclusive; ±BOUND if unknown */
#define BOUND ((int64_t)1 << 60)

typedef enum { VAR_absent, VAR_value, VAR_const, VAR_lane } var_kind;
typedef struct {
    var_kind kind;
    V v;                          /* value: the variable; lane: its value in lane 0 */
    int64_t k;                    /* const */
    int level;                    /* value */
    bounds range;
} var_state;

typedef struct { bool is_set, has_form; val v; int level; linear_form *form; bounds range; } temp_state;

typedef enum { BUF_absent, BUF_memory, BUF_slices } buf_kind;
typedef struct {
    buf_kind kind;
    V base;                       /* memory: element 0 */
    int private_lanes;            /* > 0: made inside a vector loop, every lane has its own */
    int64_t n;                    /* elements, where constant */
    int width;                    /* slices: elements in each, 0: scalars */
    V *slice;                     /* slices: allocas; private: one vector an element */
    int64_t *stride; int *scale;  /* of each axis: stride * scale */
} buf_state;

typedef struct { V base; int n; term *at; V pointer; } known_pointer;        /* base, then n terms */
typedef struct { V anchor; vec(known_pointer) pointers; } level_state;

typedef struct { const expr *e; val v; } memo_entry;
typedef struct { V v; int a, b; } scale_entry;

typedef struct fn_state {
    emitter *e;
    const kernel_code *k;
    const char *name;
    V fn, hook;
    var_state *var;
    temp_state *temp;
    buf_state *buf;
    const expr **let_value;       /* by temp: its definition */
    dim_list dims;
    V *dim_value;
    vec(scale_entry) scales;       /* products of dims: [i] is scale i + 1 = a * b */
    level_state level[MAX_LEVELS];
    int n_levels;                 /* open ones */
    int lanes, lane_var;
    V mask;
    bool in_region;
    int n_regions;                /* numbers the names */
    int n_atoms;                  /* numbers values that are nobody's variable */
    vec(memo_entry) memo;         /* of the statement in work */
} fn_state;

/* -- kernel.c: expressions ------------------------------------------------------------------------------- */

val value_of(fn_state *s, const expr *x);
bounds bounds_of(fn_state *s, const expr *x);
/* moves the builder to a level's anchor; returns what to give to … */
V at_level_start(fn_state *s, int level);
void back_to(fn_state *s, V token);                   /* … this, which moves it back */

/* -- address.c ------------------------------------------------------------------------------------------- */

void form_add(fn_state *s, linear_form *f, const expr *x, int64_t coef, int scale);
linear_form form_of(fn_state *s, const expr *x);
bool form_is_const(const linear_form *f);
void form_add_form(fn_state *s, linear_form *f, const linear_form *g, int64_t coef, int scale);
linear_form address_form(fn_state *s, int buf, const expr *const *index);       /* in elements */
V pointer_at(fn_state *s, int buf, const linear_form *f, int64_t extra);  /* of lane 0, plus extra elements */
int scale_times(fn_state *s, int scale, dim d);
void buffer_strides(fn_state *s, int buf);

/* -- memory.c -------------------------------------------------------------------------------------------- */

bool access_is_inside(fn_state *s, int buf, const expr *const *index);
val load_element(fn_state *s, int buf, const expr *const *index);
void store_element(fn_state *s, int buf, const expr *const *index, val x);
void alloc_buffer(fn_state *s, const stmt *alloc);
val tree_of(fn_state *s, scalar fn, int buf);

/* How a loop is emitted, which its mark promises but its body may not allow. */
typedef enum { AS_loop, AS_copies, AS_lanes, AS_region } loop_way;
loop_way way_of(fn_state *s, const stmt *loop, bool in_lanes, bool in_region);
bool const_extent(const stmt *loop, int64_t *n);
#endif
