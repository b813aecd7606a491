/* ops_quant: from and to quantized tensors: y = saturate(round(x / scale) + zero), x = (y - zero) * scale.
 *
 * scale and zero are one number, one for each position along `axis`, or one for each block of `block_size`
 * positions. Integers up to 16 bits are exact in f32, so rounding, the zero point and the clamp are done
 * there.
 */
#include "frontend/onnx/op_util.h"

#define D (g->dims)

static bool is_quantized_int(dtype t)
{
    return t == DTYPE_u8 || t == DTYPE_i8 || t == DTYPE_u16 || t == DTYPE_i16 || t == DTYPE_u4 ||
           t == DTYPE_i4 || t == DTYPE_u2 || t == DTYPE_i2;
}

static void quantized_range(dtype t, double *lo, double *hi)
{
    bool is_signed_type = is_signed(t) || t == DTYPE_i4 || t == DTYPE_i2;
    double n = (double)(1 << dtype_info[t].bits);
    *lo = is_signed_type ? -n / 2 : 0;
    *hi = is_signed_type ? n / 2 - 1 : n - 1;
}

typedef struct { int axis; int64_t block; } granularity;

static bool granularity_of(op_call *c, graph *g, value x, value scale, granularity *q)
{
    q->axis = 0;
    q->block = attr_int("block_size", 0);
    if (!is_value(x) || !is_value(scale)) return false;
    int rank = rank_of(g, x);
    if (rank > 0 && !dim_is(type_elements(g, type_of(g, scale)), 1))
        q->axis = op_axis(c, attr_int("axis", 1), rank);
    if (q->block < 0) op_fail(c, "a block_size of 0 or more expected");
    return !c->failed;
}

/* A scale or zero point brought to x's rank. */
static value spread(op_call *c, graph *g, value q, value x, granularity by)
{
    if (!is_value(q) || !is_value(x)) return NO_VALUE;
    type tq = type_of(g, q), tx = type_of(g, x);
    dim d[MAX_RANK + 1], e[MAX_RANK + 1];
    for (int i = 0; i < tx.rank; i++) d[i] = dim_const(1);
    if (tq.rank <= 1 && dim_is(type_elements(g, tq), 1)) return reshape(g, q, tx.rank, d);
    if (!by.block || tq.rank != tx.rank) {
        if (tq.rank != 1) {
            op_fail(c, "a scale of rank 0 or 1 expected, found rank %d", tq.rank);
            return NO_VALUE;
        }
        d[by.axis] = tq.dims[0];
        return reshape(g, q, tx.rank, d);
    }
    if (tx.rank >= MAX_RANK)
        return build_fail(g, "blocks in tensors of fewer than %d dimensions expected", MAX_RANK);
    for (int i = 0, k = 0; i < tq.rank; i++) {
        d[k] = e[k] = tq.dims[i];
        k++;
        if (i != by.axis) continue;
        d[k] = dim_const(1);
        e[k++] = dim_const(by.block);
    }
    value y = broadcast(g, reshape(g, q, tq.rank + 1, d), tq.rank + 1, e);
    for (int i = 0; i < tq.rank; i++) e[i] = i == by.axis ? dim_mulk(D, tq.dims[i], by.block) : tq.dims[i];
    y = reshape(g, y, tq.rank, e);
    return dim_same(e[by.axis], tx.dims[by.axis])
               ? y
               : slice_axis(g, y, by.axis, dim_const(0), tx.dims[by.axis], 1);
}

static value to(graph *g, value x, dtype t) { return build_cast(g, x, t, true, "up"); }
static dtype not_storage(dtype t) { return is_storage(t) ? DTYPE_f32 : t; }

/* QuantizeLinear (10, 13, 19, 21, 23, 24, 25, 28): the division is done in `precision`, else in the scale's
 * type */
ONNX_OP(QuantizeLinear)
{
    value x = in(0), s = in(1), z = has_in(2) ? in(2) : NO_VALUE;
    granularity by;
    if (!granularity_of(c, g, x, s, &by)) return;
    dtype t = is_value(z) ? dtype_of(g, z) : op_attr_dtype(c, "output_dtype", DTYPE_u8);
    dtype prec = not_storage(op_attr_dtype(c, "precision", dtype_of(g, s)));
    if (!is_float(prec)) prec = DTYPE_f32;
    value q = divide(g, to(g, x, prec), spread(c, g, to(g, s, prec), x, by));
    if (is_value(z)) z = spread(c, g, to(g, z, prec == DTYPE_f64 ? DTYPE_f64 : DTYPE_f32), x, by);
    if (is_quantized_int(t)) {
        double lo, hi;
        quantized_range(t, &lo, &hi);
        q = un(g, SCALAR_rint, cast(g, q, compute_dtype(prec)));
        if (is_value(z)) q = add(g, q, z);
        q = bin_k(g, SCALAR_min, bin_k(g, SCALAR_max, q, lo), hi);
        out(0, to(g, q, t));
        return;
    }
    if (!is_storage(t)) {
        op_unsupported(c, "quantizing to %s", dtype_info[t].name);
        return;
    }
    if (is_value(z)) q = add(g, cast(g, q, compute_dtype(prec)), z);
    out(0, build_cast(g, cast(g, q, DTYPE_f32), t, attr_int("saturate", 1) != 0, "up"));
}

/* DequantizeLinear (10, 13, 19, 21, 23, 24, 25, 28) */
ONNX_OP(DequantizeLinear)
{
    value x = in(0), s = in(1);
    granularity by;
    if (!granularity_of(c, g, x, s, &by)) return;
    dtype t = not_storage(op_attr_dtype(c, "output_dtype", dtype_of(g, s))), tx = dtype_of(g, x);
    dtype wide = is_quantized_int(tx) || tx == DTYPE_i32 ? DTYPE_i32 : DTYPE_f32;
    value d = to(g, decode_storage(g, x), wide);
    if (has_in(2)) d = sub(g, d, spread(c, g, to(g, decode_storage(g, in(2)), wide), x, by));
    dtype w = t == DTYPE_f64 ? DTYPE_f64 : DTYPE_f32;
    out(0, cast(g, mul(g, cast(g, d, w), spread(c, g, to(g, s, w), x, by)), t));
}

/* DynamicQuantizeLinear (11): to u8 over the range of x and 0 */
ONNX_OP(DynamicQuantizeLinear)
{
    value x = in(0);
    if (!is_value(x)) return;
    uint32_t all = (1u << rank_of(g, x)) - 1;
    value hi = bin_k(g, SCALAR_max, reduce(g, REDUCE_max, x, all, false), 0);
    value lo = bin_k(g, SCALAR_min, reduce(g, REDUCE_min, x, all, false), 0);
    value s = bin_k(g, SCALAR_div, sub(g, hi, lo), 255);
    s = select3(g, bin_k(g, SCALAR_eq, s, 0), scalar_f64(g, DTYPE_f32, 1), s);
    value z = divide(g, k_bin(g, SCALAR_sub, 0, lo), s);
    z = un(g, SCALAR_rint, bin_k(g, SCALAR_max, bin_k(g, SCALAR_min, z, 255), 0));
    value y = add(g, un(g, SCALAR_rint, divide(g, x, s)), z);
    out(0, cast(g, bin_k(g, SCALAR_max, bin_k(g, SCALAR_min, y, 255), 0), DTYPE_u8));
    out(1, s);
    out(2, cast(g, z, DTYPE_u8));
}
