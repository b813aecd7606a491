/* frontend/onnx/ops_msft.c: operators of domain com.microsoft that quantizing tools of onnxruntime leave in
 * models. The quantized ones compute on real numbers between a dequantization and a quantization, except
 * products, which are exact in i32.
 */
#include "frontend/onnx/op_spatial.h"

/* (q - zero) * scale in f32; zero may be absent */
static value dequantized(graph *g, value q, value scale, value zero)
{
    value x = cast(g, q, DTYPE_f32);
    if (is_value(zero)) x = sub(g, x, cast(g, zero, DTYPE_f32));
    return mul(g, x, cast(g, scale, DTYPE_f32));
}

/* x / scale + zero, rounded and saturated to t */
static value quantized(op_call *c, value x, value scale, value zero, dtype t)
{
    graph *g = c->g;
    if (t != DTYPE_u8 && t != DTYPE_i8) {
        op_unsupported(c, "quantization to %s", dtype_info[t].name);
        return NO_VALUE;
    }
    value y = un(g, SCALAR_rint, divide(g, x, cast(g, scale, DTYPE_f32)));
    if (is_value(zero)) y = add(g, y, cast(g, zero, DTYPE_f32));
    return cast(g, t == DTYPE_u8 ? clamp(g, y, 0, 255) : clamp(g, y, -128, 127), t);
}

static value scalar_in(op_call *c, int i)
{
    return op_has(c, i) ? as_scalar(c->g, op_in(c, i)) : NO_VALUE;
}

static void quantized_binary(op_call *c, scalar fn)
{
    graph *g = c->g;
    value a = in(0), b = in(3);
    if (!is_value(a) || !is_value(b)) return;
    a = dequantized(g, in(0), scalar_in(c, 1), scalar_in(c, 2));
    b = dequantized(g, in(3), scalar_in(c, 4), scalar_in(c, 5));
    value x = bin(g, fn, a, b);
    out(0, quantized(c, x, scalar_in(c, 6), scalar_in(c, 7), dtype_of(g, in(0))));
}

/* QLinearAdd, QLinearMul (com.microsoft 1) */
ONNX_OP(QLinearAdd) { (void)g; quantized_binary(c, SCALAR_add); }
ONNX_OP(QLinearMul) { (void)g; quantized_binary(c, SCALAR_mul); }

/* Runs another operator of one operand over x, with this node's attributes. */
static value through(op_call *c, const char *op, value x)
{
    edge arg = { .kind = EDGE_TENSOR, .v = x }, r = { .kind = EDGE_ABSENT };
    if (!is_value(x) || !op_call_other(c, op, 1, &arg, 1, &r)) return NO_VALUE;
    return r.kind == EDGE_TENSOR ? r.v : NO_VALUE;
}

static void quantized_pool(op_call *c, const char *op)
{
    graph *g = c->g;
    value q = in(0);
    if (!op_rank(c, q, 3, MAX_RANK, "X")) return;
    bool last = attr_int("channels_last", 0) != 0;
    int r = rank_of(g, q);
    value x = dequantized(g, q, scalar_in(c, 1), scalar_in(c, 2));
    if (last) x = move_axis(g, x, r - 1, 1);
    x = through(c, op, x);
    if (last && is_value(x)) x = move_axis(g, x, 1, r - 1);
    out(0, quantized(c, x, scalar_in(c, 3), scalar_in(c, 4), dtype_of(g, q)));
}

/* QLinearAveragePool, QLinearGlobalAveragePool (com.microsoft 1) */
ONNX_OP(QLinearAveragePool) { (void)g; quantized_pool(c, "AveragePool"); }
ONNX_OP(QLinearGlobalAveragePool) { (void)g; quantized_pool(c, "GlobalAveragePool"); }

/* QGemm (com.microsoft 1): alpha * (op(A) - a_zero)(op(B) - b_zero) * scales + C * scales; with y_scale
 * quantized */
ONNX_OP(QGemm)
{
    value a = in(0), b = in(3);
    if (!op_rank(c, a, 2, 2, "A") || !op_rank(c, b, 2, 2, "B")) return;
    if (attr_int("transA", 0)) a = swap_axes(g, a, 0, 1);
    if (attr_int("transB", 0)) b = swap_axes(g, b, 0, 1);
    value acc = matmul_integer(c, a, b, op_in_or(c, 2, NO_VALUE), op_in_or(c, 5, NO_VALUE));
    if (has_in(6)) acc = add(g, acc, in(6));
    value scale = mul(g, scalar_in(c, 1), in(4));
    double alpha = attr_float("alpha", 1);
    if (alpha != 1) scale = bin_k(g, SCALAR_mul, scale, alpha);
    value y = mul(g, cast(g, acc, DTYPE_f32), scale);
    if (!has_in(7)) { out(0, y); return; }
    value zero = scalar_in(c, 8);
    out(0, quantized(c, y, scalar_in(c, 7), zero, is_value(zero) ? dtype_of(g, zero) : dtype_of(g, in(0))));
}

/* MatMulIntegerToFloat (com.microsoft 1): (A - a_zero)(B - b_zero) * a_scale * b_scale + bias */
ONNX_OP(MatMulIntegerToFloat)
{
    value acc = matmul_integer(c, in(0), in(1), op_in_or(c, 4, NO_VALUE), op_in_or(c, 5, NO_VALUE));
    value y = mul(g, cast(g, acc, DTYPE_f32), mul(g, scalar_in(c, 2), in(3)));
    out(0, has_in(6) ? add(g, y, in(6)) : y);
}

/* DynamicQuantizeMatMul (com.microsoft 1): A quantized to u8 while running */
ONNX_OP(DynamicQuantizeMatMul)
{
    edge a = { .kind = EDGE_TENSOR, .v = in(0) }, q[3];
    if (!is_value(a.v) || !op_call_other(c, "DynamicQuantizeLinear", 1, &a, 3, q)) return;
    value acc = matmul_integer(c, q[0].v, in(1), q[2].v, op_in_or(c, 3, NO_VALUE));
    value y = mul(g, cast(g, acc, DTYPE_f32), mul(g, q[1].v, in(2)));
    out(0, has_in(4) ? add(g, y, in(4)) : y);
}

/* -- MatMulNBits ----------------------------------------------------------------------------------------- */

/* x u8[…, n] holding 8/bits numbers a byte, lowest bits first -> u8[…, n * 8/bits] */
static value unpack(graph *g, value x, int bits)
{
    if (bits == 8 || !is_value(x)) return x;
    int per = 8 / bits, r = rank_of(g, x);
    value digits[8];
    for (int k = 0; k < per; k++) {
        value d = k ? bin_k(g, SCALAR_shr, x, k * bits) : x;
        digits[k] = column(g, bin_k(g, SCALAR_and, d, (1 << bits) - 1), 1);
    }
    value y = concat(g, per, digits, r);
    if (!is_value(y)) return y;
    dim d[MAX_RANK];
    for (int i = 0; i < r; i++) d[i] = dim_of(g, x, i);
    d[r - 1] = dim_mulk(g->dims, d[r - 1], per);
    return reshape(g, y, r, d);
}

/* MatMulNBits (com.microsoft 1): B[N, K/block] in blocks of 2, 4 or 8 bits with a scale, and a zero point,
 * each */
ONNX_OP(MatMulNBits)
{
    value a = in(0), b = in(1), scales = in(2);
    int64_t K = attr_int("K", 0), N = attr_int("N", 0), bits = attr_int("bits", 4),
            block = attr_int("block_size", 0);
    if (!op_rank(c, a, 1, MAX_RANK, "A") || !op_rank(c, b, 3, 3, "B")) return;
    if (K < 1 || N < 1 || block < 1 || K > INT32_MAX || N > INT32_MAX || block > INT32_MAX) {
        op_fail(c, "attributes K, N and block_size must be at least 1");
        return;
    }
    if (bits != 2 && bits != 4 && bits != 8) { op_unsupported(c, "%lld bits", (long long)bits); return; }
    if (has_in(4)) { op_unsupported(c, "g_idx (rows in another order)"); return; }
    int64_t blocks = (K + block - 1) / block;
    dtype t = dtype_of(g, a);
    value w = cast(g, unpack(g, b, (int)bits), t), zero = scalar_f64(g, t, (double)(1 << (bits - 1)));
    scales = as_shape(g, scales, 3, dim_const(N), dim_const(blocks), dim_const(1));
    if (has_in(3)) {
        zero = in(3);
        if (dtype_of(g, zero) == DTYPE_u8) {
            int64_t row = (blocks * bits + 7) / 8;
            zero = unpack(g, as_shape(g, zero, 2, dim_const(N), dim_const(row)), (int)bits);
            zero = part(g, zero, 1, dim_const(0), dim_const(blocks));
        }
        zero = cast(g, as_shape(g, zero, 3, dim_const(N), dim_const(blocks), dim_const(1)), t);
    }
    w = mul(g, sub(g, w, zero), cast(g, scales, t));
    w = as_shape(g, w, 2, dim_const(N), dim_const(blocks * block));
    w = part(g, w, 1, dim_const(0), dim_const(K));
    value y = matmul(g, a, swap_axes(g, w, 0, 1), DTYPE_NONE, DTYPE_NONE);
    out(0, has_in(5) ? add(g, y, in(5)) : y);
}

/* -- Fused ----------------------------------------------------------------------------------------------- */

/* FusedMatMul (com.microsoft 1): alpha * op(A) op(B) */
ONNX_OP(FusedMatMul)
{
    value a = in(0), b = in(1);
    if (!op_rank(c, a, 1, MAX_RANK, "A") || !op_rank(c, b, 1, MAX_RANK, "B")) return;
    if (attr_int("transBatchA", 0) || attr_int("transBatchB", 0)) {
        op_unsupported(c, "transBatchA, transBatchB");
        return;
    }
    int ra = rank_of(g, a), rb = rank_of(g, b);
    if (attr_int("transA", 0) && ra > 1) a = swap_axes(g, a, ra - 2, ra - 1);
    if (attr_int("transB", 0) && rb > 1) b = swap_axes(g, b, rb - 2, rb - 1);
    double alpha = attr_float("alpha", 1);
    value y = matmul(g, a, b, DTYPE_NONE, DTYPE_NONE);
    out(0, alpha == 1 ? y : bin_k(g, SCALAR_mul, y, alpha));
}

/* x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 */
static value tanh_gelu(graph *g, value x)
{
    value cubic = bin_k(g, SCALAR_mul, mul(g, mul(g, x, x), x), 0.044715);
    value t = un(g, SCALAR_tanh, bin_k(g, SCALAR_mul, add(g, x, cubic), 0.7978845608028654));
    return mul(g, bin_k(g, SCALAR_mul, x, 0.5), bin_k(g, SCALAR_add, t, 1));
}

/* FastGelu (com.microsoft 1): of x + bias, by tanh */
ONNX_OP(FastGelu)
{
    out(0, tanh_gelu(g, has_in(1) ? add(g, in(0), in(1)) : in(0)));
}

/* BiasGelu (com.microsoft 1): of x + bias, by erf */
ONNX_OP(BiasGelu)
{
    value x = add(g, in(0), in(1));
    value t = un(g, SCALAR_erf, bin_k(g, SCALAR_mul, x, 0.7071067811865476));
    out(0, mul(g, bin_k(g, SCALAR_mul, x, 0.5), bin_k(g, SCALAR_add, t, 1)));
}

/* QuickGelu (com.microsoft 1): x * sigmoid(alpha * x) */
ONNX_OP(QuickGelu)
{
    value x = in(0);
    out(0, mul(g, x, un(g, SCALAR_sigmoid, bin_k(g, SCALAR_mul, x, attr_float("alpha", 1.702)))));
}

/* SkipLayerNormalization (com.microsoft 1): of input + skip + bias over the last axis; that sum is output 3
 */
ONNX_OP(SkipLayerNormalization)
{
    value x = in(0);
    if (!op_rank(c, x, 1, MAX_RANK, "input")) return;
    uint32_t last = axis_bit(rank_of(g, x) - 1);
    value sum = add(g, x, in(1));
    if (has_in(4)) sum = add(g, sum, in(4));
    value mu = mean_over(g, sum, last, true), d = sub(g, sum, mu);
    value var = mean_over(g, mul(g, d, d), last, true);
    value inv = k_bin(g, SCALAR_div, 1,
                      un(g, SCALAR_sqrt, bin_k(g, SCALAR_add, var, attr_float("epsilon", 1e-12))));
    value y = mul(g, mul(g, d, inv), in(2));
    out(0, has_in(3) ? add(g, y, in(3)) : y);
    out(1, mu);
    out(2, inv);
    out(3, sum);
}

/* QLinearConcat (com.microsoft 1): operands y_scale, y_zero_point, then tensor, scale, zero point of each */
ONNX_OP(QLinearConcat)
{
    int n = (c->n_in - 2) / 3;
    if (n < 1 || c->n_in != 3 * n + 2) {
        op_fail(c, "%d operands, expected 2 and 3 for each tensor", c->n_in);
        return;
    }
    value *x = NEW_ARRAY(op_arena(c), value, n), first = in(2);
    if (!op_rank(c, first, 1, MAX_RANK, "the first tensor")) return;
    for (int i = 0; i < n; i++)
        x[i] = dequantized(g, in(2 + 3 * i), scalar_in(c, 3 + 3 * i), scalar_in(c, 4 + 3 * i));
    value y = concat(g, n, x, op_axis(c, attr_int("axis", 0), rank_of(g, first)));
    out(0, quantized(c, y, scalar_in(c, 0), scalar_in(c, 1), dtype_of(g, first)));
}

static value requantized(op_call *c, value y)
{
    return quantized(c, y, scalar_in(c, 3), scalar_in(c, 4), dtype_of(c->g, op_in(c, 0)));
}

/* QLinearSigmoid, QLinearLeakyRelu (com.microsoft 1) */
ONNX_OP(QLinearSigmoid)
{
    out(0, requantized(c, un(g, SCALAR_sigmoid, dequantized(g, in(0), scalar_in(c, 1), scalar_in(c, 2)))));
}

ONNX_OP(QLinearLeakyRelu)
{
    value x = dequantized(g, in(0), scalar_in(c, 1), scalar_in(c, 2));
    out(0, requantized(c, op_activation(c, g, "LeakyRelu", x, attr_float("alpha", 0.01), 0)));
}
