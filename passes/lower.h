/* passes/lower.h: what the parts of `lower` share.
 *
 * A kernel's body (a small graph) becomes one nest. The anchor decides the loops (lower_map.c, lower_row.c,
 * lower_contract.c, lower_window.c, lower_move.c, lower_sort.c); inside, elements are pulled: pull(v, index)
 * gives the expression of v's element at that index, walking maps and views down to loads of parameters
 * (lower_pull.c). Each map result and each load becomes a `let`, remembered by (value, index) while its scope
 * lasts, so nothing is computed twice in one place.
 */
#ifndef DLC_PASSES_LOWER_H
#define DLC_PASSES_LOWER_H
#include "passes/pass.h"

typedef const expr *const *index_list;

typedef struct { uint32_t value; int rank; index_list index; const expr *x; } pulled;

/* A full-size value of a row kernel that several passes over the row read: kept in a buffer once computed. */
typedef struct { int buf; bool is_touched, is_filled; } row_cache;

typedef struct lowering {
    kernel_code *k;
    const graph *body;
    const int *param;             /* by body value id: buffer of an input; -1 else */
    const int *result_param;      /* by result number: buffer */
    block *at;                    /* where statements go */
    vec(pulled) memo;
    vec(range) ranges;            /* of loop variables, by id */
    row_cache *cache;             /* by body value id, or NULL */
    const expr *row_position;     /* index into a row cache, or NULL outside a pass over the row */
    arena *scratch;
} lowering;

/* -- Statements ------------------------------------------------------------------------------------------ */

typedef struct { block *at; int64_t memo; } scope_mark;
/* Opens `for var in lo..hi` at the end of the current block and goes inside. */
scope_mark open_loop(lowering *l, int var, const expr *lo, const expr *hi);
scope_mark open_if(lowering *l, const expr *cond);
void close_scope(lowering *l, scope_mark m);         /* back out; what was pulled inside is forgotten */
/* A loop 0..extent; *var_x is its variable. An extent of 1 needs no loop: *var_x is 0. */
scope_mark open_dim(lowering *l, const char *name, loop_role role, dim extent, const expr **var_x);

const expr *let(lowering *l, const expr *x);         /* names x unless it is a name or constant already */
void store(lowering *l, int buf, index_list index, const expr *x);
int reg_scalar(lowering *l, const char *name, dtype t, const expr *init);
const expr *load_scalar(lowering *l, int reg);
void store_scalar(lowering *l, int reg, const expr *x);
const expr *simplified(lowering *l, const expr *x);
index_list index_copy(lowering *l, const expr *const *x, int n);

/* -- Elements -------------------------------------------------------------------------------------------- */

const expr *pull(lowering *l, value v, index_list index);
void remember(lowering *l, value v, index_list index, const expr *x);
/* Index into a tensor whose extents are those of `full`, or 1 where it is stretched. */
index_list stretched(lowering *l, type t, index_list full);
const expr *x_all(lowering *l, const expr *a, const expr *b);       /* a and b; NULL is true */
/* position in [0, extent)? NULL if proved. */
const expr *in_bounds(lowering *l, const expr *position, dim extent);
/* Row-major position -> index, and back. */
void delinearize(lowering *l, const expr *e, int rank, const dim *extents, const expr **index);
const expr *linearize(lowering *l, int rank, const dim *extents, index_list index);
const expr *identity_of(lowering *l, reduce_kind kind, dtype t);
scalar reduce_scalar(reduce_kind kind);

/* Stores every body result of type `t`'s shape at this index. */
void store_results(lowering *l, type t, index_list index);

/* A sum (or product, max, min) by the lanes rule of docs/design.md §11: n elements, 16 virtual lanes, blocks
 * of 4096. update(ctx, acc, e) gives the lane's next value; first (or NULL) starts lane 0 of the first block.
 */
typedef struct { lowering *l; void *ctx; dtype acc; scalar combine; const expr *identity, *first; } lane_sum;
typedef const expr *(*lane_update)(lane_sum *s, const expr *acc, const expr *e);
const expr *sum_lanes(lane_sum *s, dim n, lane_update update);

/* -- Anchors --------------------------------------------------------------------------------------------- */

void lower_map(lowering *l);
void lower_row(lowering *l);
void lower_contract(lowering *l);
void lower_window(lowering *l);
void lower_move(lowering *l);
void lower_scatter(lowering *l);
void lower_sort(lowering *l);
void lower_compact(lowering *l);
/* Parameters whose accesses are affine only in the flat address get one axis (lower_flatten.c). */
void flatten_params(kernel_code *k, arena *scratch);
void tidy_kernel(kernel_code *k, arena *scratch);                   /* lower_tidy.c: what nobody reads goes */
const node *find_anchor(const graph *body, prim p);   /* the node of that kind; NULL */

#endif
