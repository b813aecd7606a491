/* frontend/onnx/op_tensor.h: shorthand of the operator functions that need a little more than the builder
 * gives: checks of rank, parts of an axis, literals, and bodies written by hand (for recurrences).
 */
#ifndef DLC_FRONTEND_ONNX_OP_TENSOR_H
#define DLC_FRONTEND_ONNX_OP_TENSOR_H
#include "frontend/onnx/op_util.h"

/* -- Shapes ---------------------------------------------------------------------------------------------- */

/* v's rank lies in [lo, hi]; else op_fail in the words of `what`, and false. False too if something failed
 * before. */
bool op_rank(op_call *c, value v, int lo, int hi, const char *what);
/* n divides extent d of `what`; else op_fail, or op_unsupported if d is open. */
bool op_divides(op_call *c, dim d, int64_t n, const char *what);
static inline uint32_t axes_from(int first, int rank)               /* first … rank-1 */
{
    return rank > first ? (((uint32_t)1 << rank) - 1) & ~(((uint32_t)1 << first) - 1) : 0;
}

static inline uint32_t axis_bit(int axis) { return (uint32_t)1 << axis; }

value as_shape(graph *g, value x, int rank, ...);              /* reshape to `rank` dims given as arguments */
value as_scalar(graph *g, value x);                                  /* reshape to rank 0 */
value column(graph *g, value v, int tail);                          /* [C] -> [C, 1, …, 1] with `tail` ones */
value full(graph *g, dtype t, double x, int rank, const dim *dims);  /* splat of a number */
value part(graph *g, value x, int axis, dim start, dim size);        /* x[…, start : start + size, …] */
value pick(graph *g, value x, int axis, int64_t at);                 /* x[…, at, …], the axis removed */
void cut(graph *g, value x, int axis, int n, value *parts);          /* n equal parts of an axis */
value range_of(graph *g, dtype t, dim n, int rank, int axis);  /* 0 … n-1 along one axis of a shape of ones */
value concat2(graph *g, value a, value b, int axis);
value clamp(graph *g, value x, double lo, double hi);

/* -- What is known --------------------------------------------------------------------------------------- */
bool known_zero(const graph *g, value v);

/* -- Bodies by hand -----------------------------------------------------------------------------------------
 *     body_maker b = body_begin(g, "rnn");
 *     value h = body_carry(&b, h0, "h"), x = body_slice(&b, xs, "x"), w = body_capture(&b, weights, "w");
 *     (in this order) body_result(&b, ...carries then ys...);
 *     body_scan(&b, n, reverse, out);
 */
typedef struct { graph *outer, *g; vec(value) operands; int n_carry, n_xs; } body_maker;
body_maker body_begin(graph *outer, const char *name);
value body_carry(body_maker *b, value init, const char *name);
value body_slice(body_maker *b, value xs, const char *name);        /* one step of xs: axis 0 removed */
value body_capture(body_maker *b, value v, const char *name);
void body_result(body_maker *b, value v);
/* out: one per result; NO_VALUEs on failure */
bool body_scan(body_maker *b, dim n, bool reverse, value *out);

/* -- Shared between operator files ----------------------------------------------------------------------- */
value sdpa_scores(graph *g, value q, value k);                    /* q[B,Hq,L,D], k[B,Hk,S,D] -> [B,Hq,L,S] */
value sdpa_mix(graph *g, value p, value v);                       /* p[B,Hq,L,S], v[B,Hk,S,D] -> [B,Hq,L,D] */
value matmul_integer(op_call *c, value a, value b, value az, value bz);
value requantize(op_call *c, value acc, value scale, value ys, value yz);
value rowwise(graph *g, value q, value x);
#endif
