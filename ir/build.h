/* ir/build.h: the builder, the only maker of nodes. Each function infers the result's type, simplifies
 * locally, and gives the node that already computes the same thing if there is one.
 *
 * Errors are sticky: a shape or type mismatch is reported once at g->at, g->failed is set, NO_VALUE comes
 * back; every function takes NO_VALUE and gives NO_VALUE. Ask g->failed once at the end of a step.
 *
 * Simplification (table in build_simplify.c): x+0, x*1, transpose of transpose, reshape of reshape, identity
 * views, slice of concat, slice of pad undef, select of a known condition, … and folding of integer constants
 * of at most 64 elements, with symbolic elements too (so Shape -> Gather -> Concat -> Reshape leaves nothing
 * behind), and of other constant tensors of at most 64 elements. In a scan, captures that a counter
 * subscripts become sequences, and what no step changes is computed outside (build_scan.c). Splats are kept
 * as broadcasts of rank-0 constants.
 */
#ifndef DLC_IR_BUILD_H
#define DLC_IR_BUILD_H
#include "ir/graph.h"

graph *graph_new(dlc_context *ctx, arena *a, dims *d, const char *name);
graph *graph_body(graph *outer, const char *name);          /* an empty body graph (shares arena, dims, at) */
value build_fail(graph *g, const char *fmt, ...) DLC_PRINTF(2, 3);  /* reports `build` at g->at; NO_VALUE */

/* -- Primitives ------------------------------------------------------------------------------------------ */

value input(graph *g, const char *name, dtype t, int rank, const dim *dims);
/* copied */
value constant(graph *g, dtype t, int rank, const dim *dims, const void *elements, const char *name);
/* outlives g: mapped file */
value constant_borrowed(graph *g, dtype t, int rank, const dim *dims, const void *elements, const char *name);
value constant_dims(graph *g, dtype t, const dim *d, int n);        /* i64 or i32, rank 1 */
value constant_dim(graph *g, dtype t, dim d);                       /* rank 0 */
value iota(graph *g, dtype t, int rank, const dim *dims, int axis);
value random_bits(graph *g, value key, int rank, const dim *dims);
value map(graph *g, scalar fn, int n, const value *x);  /* equal rank; extents equal or 1. cast: use cast() */
value cast(graph *g, value x, dtype to);              /* computable types only (build_cast handles storage) */
value reduce(graph *g, reduce_kind kind, value x, uint32_t axes, bool last);

/* contract: labels by one character each, in strings of the operands' ranks, e.g. "ncyx", "ocrs", "noyx".
 * windows: n_windows triples of label characters with their relation and the extent of o.
 * order: the summed labels in the order of the chain, or NULL: a's contracted labels in a's order, then,
 * windows' b labels in b's order. init may be NO_VALUE. acc, out: DTYPE_NONE for the defaults. */
typedef struct { char a, b, o; relation r; dim size; } window_spec;
typedef struct { char x; int64_t scale; char y; dim bound; } limit_spec;       /* x 0: absent */
typedef struct {
    const char *la, *lb, *lo, *order;
    int n_windows; const window_spec *windows;
    int n_limits; const limit_spec *limits;
    dtype acc, out;
} contract_spec;
value contract(graph *g, value a, value b, value init, const contract_spec *s);
/* The same from an attribute: labels la, lb, lo, sum, windows, limits, extent of the windows' o, names (NULL:
 * made up). The other extents come from the operands. acc, out as above. */
value contract_by(graph *g, value a, value b, value init, const contract_attr *c, dtype acc, dtype out);

value window_reduce(graph *g, window_kind kind, value x, int n, const window_axis *axes);
value reshape(graph *g, value x, int rank, const dim *dims);
value transpose(graph *g, value x, const int *perm);
value broadcast(graph *g, value x, int rank, const dim *dims);
value slice(graph *g, value x, const dim *start, const dim *size, const int64_t *step);
value pad(graph *g, value x, const dim *lo, const dim *hi, const int64_t *interior, value with);
value pad_undef(graph *g, value x, const dim *lo, const dim *hi);
value concat(graph *g, int n, const value *x, int axis);
value gather(graph *g, value x, int n, const value *idx, const int *axes, int n_batch, const int *batch_x,
             const int *batch_s);
value scatter(graph *g, scatter_mode mode, value x, value upd, int n, const value *idx, const int *axes,
              int n_batch, const int *batch_x, const int *batch_s);
value sort(graph *g, int n_keys, const value *keys, int axis, uint32_t descending, dim k);
/* Results through `out` (n_carry + ys; cond: as many as the bodies give). False on error. */
bool scan(graph *g, graph *body, int n_carry, int n_xs, dim n, bool reverse, int n_in, const value *in,
          value *out);
bool cond(graph *g, value pred, graph *then_body, graph *else_body, int n_in, const value *in, value *out);
bool while_loop(graph *g, graph *test, graph *body, int n_carry, int64_t max_trip, int n_in, const value *in,
                value *out);
bool compact(graph *g, value mask, value *idx, value *count);
/* compact whose count becomes a symbol with bounds [0, N], usable in shapes. */
bool compact_symbol(graph *g, value mask, value *idx, dim *count);
value bitcast(graph *g, value x, dtype to);
bool kernel(graph *g, anchor_kind anchor, graph *body, int n_in, const value *in, value *out);

void set_name(graph *g, value v, const char *name);
void add_result(graph *g, value v, const char *name);
/* The same node over other operands (for rewriting walks; `in` may belong to another graph than n). Results
 * in out. */
bool rebuild(graph *to, const graph *from, const node *n, const value *in, value *out);
/* All of `from` in `to`, with values of `to` in place of its inputs: out[r] is its r-th result. Both have one
 * table of dims. */
bool graph_inline(graph *to, const graph *from, const value *in, value *out);

/* -- What is known --------------------------------------------------------------------------------------- */

/* The elements of a small integer (or bool) constant as dims, row-major; NULL if v is not known. */
const dim *known_ints(graph *g, value v, int *n);
bool known_splat(const graph *g, value v, scalar_value *x);      /* v has the same known element everywhere */
bool known_bytes(const graph *g, value v, const void **p, int64_t *n);       /* a dense constant's elements */

/* -- Composites: the vocabulary of the front ends, the gradients and the passes -----------------------------
 * Operands are aligned as NumPy does: rank raised by leading 1s. */
static inline int rank_of(const graph *g, value v) { return is_value(v) ? type_of(g, v).rank : 0; }
static inline dtype dtype_of(const graph *g, value v)
{
    return is_value(v) ? type_of(g, v).dtype : DTYPE_f32;
}

static inline dim dim_of(const graph *g, value v, int axis)
{
    return is_value(v) ? type_of(g, v).dims[axis] : dim_const(1);
}

value scalar_f64(graph *g, dtype t, double x);                      /* rank 0 */
value scalar_i64(graph *g, dtype t, int64_t x);
value splat(graph *g, value rank0, int rank, const dim *dims);
value splat_like(graph *g, value x, double v);                      /* x's type */
value un(graph *g, scalar fn, value x);
value bin(graph *g, scalar fn, value a, value b);
value bin_k(graph *g, scalar fn, value a, double k);                /* fn(a, k) with k a scalar of a's type */
value k_bin(graph *g, scalar fn, double k, value a);
static inline value add(graph *g, value a, value b) { return bin(g, SCALAR_add, a, b); }
static inline value sub(graph *g, value a, value b) { return bin(g, SCALAR_sub, a, b); }
static inline value mul(graph *g, value a, value b) { return bin(g, SCALAR_mul, a, b); }
static inline value divide(graph *g, value a, value b) { return bin(g, SCALAR_div, a, b); }
value select3(graph *g, value c, value a, value b);
value greater(graph *g, value a, value b);
value greater_equal(graph *g, value a, value b);
value not_equal(graph *g, value a, value b);
value is_nan(graph *g, value x);
/* Any type to any type, storage formats included; saturate and the e8m0 rounding ("up", "down", "nearest") as
 * ONNX. */
value build_cast(graph *g, value x, dtype to, bool saturate, const char *round_mode);
value decode_storage(graph *g, value x);                   /* storage floats -> f32, sub-byte ints -> i8/u8 */
value unsqueeze(graph *g, value x, uint32_t axes);                  /* bit set, in the result's numbering */
value squeeze(graph *g, value x, uint32_t axes);
value expand_to(graph *g, value x, int rank, const dim *dims);      /* NumPy broadcast to a shape */
/* the common shape; reports on mismatch */
bool broadcast_shapes(graph *g, type a, type b, int *rank, dim *dims);
value reduce_keep(graph *g, reduce_kind kind, value x, uint32_t axes);
value mean_over(graph *g, value x, uint32_t axes, bool keep);
value slice_axis(graph *g, value x, int axis, dim start, dim size, int64_t step);
value flip(graph *g, value x, int axis);
value pad_axis(graph *g, value x, int axis, dim lo, dim hi, value with);
value swap_axes(graph *g, value x, int a, int b);
value move_axis(graph *g, value x, int from, int to);
value take(graph *g, value x, value idx, int axis);                 /* idx's dims in place of axis */
value wrap_index(graph *g, value idx, dim n);                       /* negative counts from the back */
value take_along(graph *g, value x, value idx, int axis);           /* GatherElements */
typedef enum { CUM_add, CUM_mul, CUM_max, CUM_min } cum_kind;
value cumulate(graph *g, cum_kind kind, value x, int axis, bool exclusive, bool reverse);
value softmax(graph *g, value x, uint32_t axes);
value log_softmax(graph *g, value x, uint32_t axes);
value softplus(graph *g, value x);
value matmul(graph *g, value a, value b, dtype acc, dtype out);     /* NumPy matmul */
typedef struct {
    int n; int64_t stride[MAX_RANK], dil[MAX_RANK], idil[MAX_RANK]; int64_t pad[MAX_RANK]; dim size[MAX_RANK];
    int64_t groups; bool transposed; dtype acc, out;
} conv_spec;
/* x[N,C,…] w[M,C/g,…] (transposed: [C,M/g,…]); bias[M] or NO_VALUE */
value conv(graph *g, value x, value w, value bias, const conv_spec *s);
value uniform01(graph *g, value key, dtype t, int rank, const dim *dims);
value standard_normal(graph *g, value key, dtype t, int rank, const dim *dims);
#endif
