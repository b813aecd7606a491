/* ops_reduce: reductions, running sums, softmax and its kin, top-k.
 *
 * The axes of a Reduce operator are an attribute before a version, an input from there on (13 for ReduceSum,
 * 18 for the others). f16 and bf16 are reduced in f32 and rounded once; integers take their square roots and
 * logarithms in f64.
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)
#define UN(row, x) un(g, SCALAR_##row, (x))

/* -- Reduce* --------------------------------------------------------------------------------------------- */

typedef value (*reduction)(graph *g, value x, uint32_t axes, bool keep);

static void reduce_op(op_call *c, graph *g, int since, reduction fn)
{
    value x = in(0);
    if (!is_value(x)) return;
    int rank = rank_of(g, x);
    bool given, keep = attr_int("keepdims", 1);
    uint32_t axes = op_axes(c, 1, since, rank, &given);
    if (c->failed) return;
    if (axes == 0) {
        if (attr_int("noop_with_empty_axes", 0)) keep = true;
        else axes = (1u << rank) - 1;
    }
    out(0, fn(g, x, axes, keep));
}

static value red(graph *g, reduce_kind kind, value x, uint32_t axes, bool keep)
{
    if (axes == 0) return x;
    return keep ? reduce_keep(g, kind, x, axes) : reduce(g, kind, x, axes, false);
}

/* f16, bf16 to f32, integers to f64: where roots and logarithms are taken */
static value real(graph *g, value x)
{
    dtype t = dtype_of(g, x);
    return is_float(t) ? cast(g, x, compute_dtype(t)) : cast(g, x, DTYPE_f64);
}

static value wide(graph *g, value x) { return cast(g, x, compute_dtype(dtype_of(g, x))); }
static value back(graph *g, value y, value x) { return cast(g, y, dtype_of(g, x)); }

static value red_sum(graph *g, value x, uint32_t a, bool k) { return red(g, REDUCE_sum, x, a, k); }
static value red_prod(graph *g, value x, uint32_t a, bool k) { return red(g, REDUCE_prod, x, a, k); }
static value red_max(graph *g, value x, uint32_t a, bool k) { return red(g, REDUCE_max, x, a, k); }
static value red_min(graph *g, value x, uint32_t a, bool k) { return red(g, REDUCE_min, x, a, k); }
static value red_mean(graph *g, value x, uint32_t a, bool k) { return a ? mean_over(g, x, a, k) : x; }
static value red_l1(graph *g, value x, uint32_t a, bool k) { return red(g, REDUCE_sum, UN(abs, x), a, k); }
static value red_square(graph *g, value x, uint32_t a, bool k)
{
    value w = wide(g, x);
    return back(g, red(g, REDUCE_sum, mul(g, w, w), a, k), x);
}

static value red_l2(graph *g, value x, uint32_t a, bool k)
{
    value w = real(g, x);
    return back(g, UN(sqrt, red(g, REDUCE_sum, mul(g, w, w), a, k)), x);
}

static value red_log_sum(graph *g, value x, uint32_t a, bool k)
{
    return back(g, UN(log, red(g, REDUCE_sum, real(g, x), a, k)), x);
}

/* Shifted by the maximum where that is finite, so that neither overflow nor inf - inf comes up. */
static value red_log_sum_exp(graph *g, value x, uint32_t a, bool k)
{
    if (!a) return x;
    value w = real(g, x), top = reduce_keep(g, REDUCE_max, w, a);
    value is_finite = bin_k(g, SCALAR_lt, UN(abs, top), (double)INFINITY);
    top = select3(g, is_finite, top, scalar_f64(g, dtype_of(g, w), 0));
    value s = reduce_keep(g, REDUCE_sum, UN(exp, sub(g, w, top)), a);
    value y = back(g, add(g, UN(log, s), top), x);
    return k ? y : squeeze(g, y, a);
}

ONNX_OP(ReduceSum) { reduce_op(c, g, 13, red_sum); }
ONNX_OP(ReduceProd) { reduce_op(c, g, 18, red_prod); }
ONNX_OP(ReduceMax) { reduce_op(c, g, 18, red_max); }
ONNX_OP(ReduceMin) { reduce_op(c, g, 18, red_min); }
ONNX_OP(ReduceMean) { reduce_op(c, g, 18, red_mean); }
ONNX_OP(ReduceL1) { reduce_op(c, g, 18, red_l1); }
ONNX_OP(ReduceL2) { reduce_op(c, g, 18, red_l2); }
ONNX_OP(ReduceSumSquare) { reduce_op(c, g, 18, red_square); }
ONNX_OP(ReduceLogSum) { reduce_op(c, g, 18, red_log_sum); }
ONNX_OP(ReduceLogSumExp) { reduce_op(c, g, 18, red_log_sum_exp); }

static void arg_reduce(op_call *c, graph *g, reduce_kind kind)
{
    value x = in(0);
    if (!is_value(x)) return;
    int axis = op_axis(c, attr_int("axis", 0), rank_of(g, x));
    value y = reduce(g, kind, x, 1u << axis, attr_int("select_last_index", 0) != 0);
    out(0, attr_int("keepdims", 1) ? unsqueeze(g, y, 1u << axis) : y);
}

ONNX_OP(ArgMax) { arg_reduce(c, g, REDUCE_argmax); }
ONNX_OP(ArgMin) { arg_reduce(c, g, REDUCE_argmin); }

/* -- Running sums ---------------------------------------------------------------------------------------- */

static void running(op_call *c, graph *g, cum_kind kind)
{
    value x = in(0);
    int n;
    int64_t axis;
    if (!op_known_ints(c, 1, "axis", &n, &axis, 1) || !is_value(x)) return;
    if (n != 1) op_fail(c, "one axis expected");
    else
        out(0, cumulate(g, kind, x, op_axis(c, axis, rank_of(g, x)), attr_int("exclusive", 0) != 0,
                        attr_int("reverse", 0) != 0));
}

ONNX_OP(CumSum) { running(c, g, CUM_add); }
ONNX_OP(CumProd) { running(c, g, CUM_mul); }

/* -- Order ----------------------------------------------------------------------------------------------- */

/* TopK (1, 10, 11, 24): equal elements in the order of their positions; always sorted */
ONNX_OP(TopK)
{
    value x = in(0);
    if (!is_value(x)) return;
    int n = 1, axis = op_axis(c, attr_int("axis", -1), rank_of(g, x));
    dim k = dim_const(attr_int("k", 0));
    if (c->version >= 10) {
        const dim *d = op_known(c, 1, "K", &n);
        if (!d) return;
        k = d[0];
    }
    if (n != 1) {
        op_fail(c, "one number as K expected");
        return;
    }
    bool largest = attr_int("largest", 1);
    value i = sort(g, 1, &x, axis, largest ? 1 : 0, k);
    out(0, take_along(g, x, i, axis));
    out(1, i);
}

/* -- Softmax --------------------------------------------------------------------------------------------- */

/* One axis from version 13 on; before, all axes from `axis` on together. */
static uint32_t soft_axes(op_call *c, graph *g, value x)
{
    int rank = rank_of(g, x);
    if (c->version >= 13) return rank ? 1u << op_axis(c, attr_int("axis", -1), rank) : 0;
    int64_t a = attr_int("axis", 1);
    int axis = a == rank ? rank : op_axis(c, a, rank);
    return ((1u << rank) - 1) & ~((1u << axis) - 1);
}

ONNX_OP(Softmax)
{
    value x = in(0);
    if (is_value(x)) out(0, softmax(g, x, soft_axes(c, g, x)));
}

ONNX_OP(LogSoftmax)
{
    value x = in(0);
    if (is_value(x)) out(0, log_softmax(g, x, soft_axes(c, g, x)));
}

/* Hardmax (1, 11, 13): 1 at the first maximum, else 0 */
ONNX_OP(Hardmax)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    int axis;
    value y = x;
    if (c->version < 13) {
        int a = op_axis(c, attr_int("axis", 1), t.rank);
        y = reshape(g, x, 2, (dim[]){ op_extent(g, x, 0, a), op_extent(g, x, a, t.rank) });
        axis = 1;
    } else axis = op_axis(c, attr_int("axis", -1), t.rank);
    if (!is_value(y)) return;
    type ty = type_of(g, y);
    value i = unsqueeze(g, reduce(g, REDUCE_argmax, y, 1u << axis, false), 1u << axis);
    value hot = bin(g, SCALAR_eq, i, iota(g, DTYPE_i64, ty.rank, ty.dims, axis));
    out(0, reshape(g, cast(g, hot, t.dtype), t.rank, t.dims));
}
