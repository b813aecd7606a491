/* frontend/onnx/ops_conv.c: convolutions, float and quantized. Each is one contract through conv(); padding
 * is an offset of its windows. The quantized ones contract the narrow operands and correct for the zero
 * points afterwards:
 *
 *     sum (x-p)(w-q) = sum x*w - p*sum w - q*sum x + n*p*q       exact in wrapping i32
 *
 * so that instructions on bytes apply. For that x is padded with p beforehand, and every window is full.
 */
#include "frontend/onnx/op_spatial.h"

/* -- Windows --------------------------------------------------------------------------------------------- */

enum { ATTR_LIMIT = 1 << 30 };                   /* no stride, dilation or padding is larger */

bool spatial_ints(op_call *c, const char *name, int n, int64_t other, int64_t *v)
{
    int found = 0;
    const int64_t *a = op_attr_ints(c, name, &found);
    if (a && found != n) {
        op_fail(c, "attribute %s has %d entries, expected %d", name, found, n);
        return false;
    }
    for (int i = 0; i < n; i++) {
        v[i] = a ? a[i] : other;
        if (v[i] > ATTR_LIMIT || v[i] < -ATTR_LIMIT) {
            op_fail(c, "attribute %s holds %lld, which is out of range", name, (long long)v[i]);
            return false;
        }
    }
    return true;
}

static bool all_positive(op_call *c, const char *name, int n, const int64_t *v)
{
    for (int i = 0; i < n; i++)
        if (v[i] < 1) {
            op_fail(c, "attribute %s holds %lld, expected at least 1", name, (long long)v[i]);
            return false;
        }
    return true;
}

static bool none_negative(op_call *c, const char *name, int n, const int64_t *v)
{
    for (int i = 0; i < n; i++)
        if (v[i] < 0) {
            op_fail(c, "attribute %s holds %lld, expected 0 or more", name, (long long)v[i]);
            return false;
        }
    return true;
}

typedef enum { AUTO_NOTSET, AUTO_SAME_UPPER, AUTO_SAME_LOWER, AUTO_VALID } auto_pad;

static bool read_auto_pad(op_call *c, auto_pad *a)
{
    static const char *const names[] = { "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID" };
    const char *s = attr_str("auto_pad", "NOTSET");
    if (!*s) s = "NOTSET";
    for (int i = 0; i < 4; i++)
        if (!strcmp(s, names[i])) { *a = (auto_pad)i; return true; }
    op_fail(c, "attribute auto_pad is \"%s\", expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", s);
    return false;
}

/* Splits `total` padding in two; the odd one goes above (SAME_UPPER) or below. */
static void split_padding(dims *t, dim total, bool upper, dim *lo, dim *hi)
{
    dim small = dim_div(t, total, dim_const(2)), large = dim_sub(t, total, small);
    *lo = upper ? small : large;
    *hi = upper ? large : small;
}

/* Positions of a window whose last one may hang over (ceil), but must begin inside the operand or its lower
 * padding. */
static dim rounded_up(dims *t, dim num, dim reach, int64_t stride)
{
    dim o = dim_addk(t, dim_ceildiv(t, num, dim_const(stride)), 1);
    int64_t k, r;
    if (dim_is_const(o, &k) && dim_is_const(reach, &r))
        return k > 0 && (k - 1) * stride >= r ? dim_const(k - 1) : o;
    return dim_min(t, o, dim_ceildiv(t, reach, dim_const(stride)));
}

bool spatial_windows(op_call *c, value x, const dim *kernel, bool ceil, spatial *s)
{
    dims *t = c->g->dims;
    int n = rank_of(c->g, x) - 2;
    int64_t pads[2 * MAX_RANK];
    auto_pad mode;
    *s = (spatial){ .n = n };
    if (!spatial_ints(c, "strides", n, 1, s->stride) || !spatial_ints(c, "dilations", n, 1, s->dil) ||
        !spatial_ints(c, "pads", 2 * n, 0, pads) || !read_auto_pad(c, &mode) ||
        !all_positive(c, "strides", n, s->stride) || !all_positive(c, "dilations", n, s->dil))
        return false;
    for (int d = 0; d < n; d++) {
        dim I = s->in[d] = dim_of(c->g, x, 2 + d), stride = dim_const(s->stride[d]);
        s->kernel[d] = kernel[d];
        dim span = dim_addk(t, dim_mulk(t, dim_addk(t, kernel[d], -1), s->dil[d]), 1);
        s->lo[d] = dim_const(mode == AUTO_NOTSET ? pads[d] : 0);
        s->hi[d] = dim_const(mode == AUTO_NOTSET ? pads[n + d] : 0);
        if (mode == AUTO_SAME_UPPER || mode == AUTO_SAME_LOWER) {
            dim o = dim_ceildiv(t, I, stride);
            dim total = dim_sub(t, dim_add(t, dim_mul(t, dim_addk(t, o, -1), stride), span), I);
            split_padding(t, dim_max(t, total, dim_const(0)), mode == AUTO_SAME_UPPER, &s->lo[d], &s->hi[d]);
        }
        dim num = dim_sub(t, dim_add(t, dim_add(t, I, s->lo[d]), s->hi[d]), span);
        s->size[d] = ceil ? rounded_up(t, num, dim_add(t, I, s->lo[d]), s->stride[d])
                          : dim_addk(t, dim_div(t, num, stride), 1);
        int64_t k;
        if (dim_is_const(num, &k) && k < 0) {
            op_fail(c, "the window is larger than the padded operand along axis %d", 2 + d);
            return false;
        }
    }
    return true;
}

bool spatial_kernel_attr(op_call *c, value x, dim *kernel)
{
    int n = rank_of(c->g, x) - 2;
    int64_t k[MAX_RANK];
    if (!op_has_attr(c, "kernel_shape")) {
        op_fail(c, "attribute kernel_shape is missing");
        return false;
    }
    if (!spatial_ints(c, "kernel_shape", n, 1, k) || !all_positive(c, "kernel_shape", n, k)) return false;
    for (int i = 0; i < n; i++) kernel[i] = dim_const(k[i]);
    return true;
}

value spatial_settle(graph *g, value x, spatial *s, value fill, int64_t *lo)
{
    for (int d = 0; d < s->n; d++) {
        lo[d] = 0;
        if (dim_is_const(s->lo[d], &lo[d])) continue;
        x = pad_axis(g, x, 2 + d, s->lo[d], s->hi[d], fill);
        s->in[d] = dim_add(g->dims, dim_add(g->dims, s->in[d], s->lo[d]), s->hi[d]);
        s->lo[d] = s->hi[d] = dim_const(0);
    }
    return x;
}

/* -- Conv ------------------------------------------------------------------------------------------------ */

/* w's spatial extents, checked against attribute kernel_shape. */
static bool kernel_of(op_call *c, value w, dim *kernel)
{
    int n = rank_of(c->g, w) - 2, found = 0;
    const int64_t *k = op_attr_ints(c, "kernel_shape", &found);
    if (k && found != n) {
        op_fail(c, "attribute kernel_shape has %d entries, expected %d", found, n);
        return false;
    }
    for (int d = 0; d < n; d++) {
        kernel[d] = dim_of(c->g, w, 2 + d);
        int64_t have;
        if (k && dim_is_const(kernel[d], &have) && have != k[d]) {
            op_fail(c, "attribute kernel_shape says %lld along spatial axis %d, W has %lld",
                    (long long)k[d], d, (long long)have);
            return false;
        }
    }
    return true;
}

/* x[N, C, I…], w[M, C/g, K…] of equal rank, channels that fit the groups. */
static bool conv_operands(op_call *c, value x, value w, bool transposed, int64_t *groups)
{
    graph *g = c->g;
    if (!op_rank(c, x, 3, MAX_RANK - 2, "X")) return false;
    if (!op_rank(c, w, rank_of(g, x), rank_of(g, x), "W")) return false;
    *groups = attr_int("group", 1);
    if (*groups < 1) {
        op_fail(c, "attribute group is %lld, expected at least 1", (long long)*groups);
        return false;
    }
    dim have = dim_of(g, x, 1), want = dim_of(g, w, transposed ? 0 : 1);
    if (!transposed) want = dim_mulk(g->dims, want, *groups);
    int64_t a, b;
    if (dim_is_const(have, &a) && dim_is_const(want, &b) && a != b) {
        op_fail(c, "X has %lld channels, W with %lld groups takes %lld", (long long)a, (long long)*groups,
                (long long)b);
        return false;
    }
    return op_divides(c, dim_of(g, w, 0), *groups, "the first extent of W");
}

/* The bias in the contract's accumulator type where that differs (f16: conv() widens it itself). */
static value conv_windows(graph *g, value x, value w, value bias, const spatial *s, const int64_t *lo,
                          int64_t groups, dtype acc)
{
    conv_spec k = { .n = s->n, .groups = groups, .acc = acc, .out = acc };
    for (int d = 0; d < s->n; d++) {
        k.stride[d] = s->stride[d];
        k.dil[d] = s->dil[d];
        k.idil[d] = 1;
        k.pad[d] = lo[d];
        k.size[d] = s->size[d];
    }
    return conv(g, x, w, bias, &k);
}

/* Conv (1, 11, 22) */
ONNX_OP(Conv)
{
    value x = in(0), w = in(1), b = op_in_or(c, 2, NO_VALUE);
    int64_t groups, lo[MAX_RANK];
    dim kernel[MAX_RANK];
    spatial s;
    if (!conv_operands(c, x, w, false, &groups) || !kernel_of(c, w, kernel)) return;
    if (!spatial_windows(c, x, kernel, false, &s)) return;
    if (has_in(2) && !op_rank(c, b, 1, 1, "B")) return;
    x = spatial_settle(g, x, &s, scalar_f64(g, dtype_of(g, x), 0), lo);
    out(0, conv_windows(g, x, w, b, &s, lo, groups, DTYPE_NONE));
}

/* ConvTranspose (1, 11, 22): o + pad = stride*i + dil*k */
ONNX_OP(ConvTranspose)
{
    value x = in(0), w = in(1), b = op_in_or(c, 2, NO_VALUE);
    int64_t groups, extra[MAX_RANK], pads[2 * MAX_RANK], stride[MAX_RANK], dil[MAX_RANK];
    dim kernel[MAX_RANK];
    auto_pad mode;
    if (!conv_operands(c, x, w, true, &groups) || !kernel_of(c, w, kernel) || !read_auto_pad(c, &mode))
        return;
    if (has_in(2) && !op_rank(c, b, 1, 1, "B")) return;
    int n = rank_of(g, x) - 2, n_sizes = 0;
    if (!spatial_ints(c, "strides", n, 1, stride) || !spatial_ints(c, "dilations", n, 1, dil) ||
        !spatial_ints(c, "pads", 2 * n, 0, pads) || !spatial_ints(c, "output_padding", n, 0, extra) ||
        !none_negative(c, "output_padding", n, extra) ||
        !all_positive(c, "strides", n, stride) || !all_positive(c, "dilations", n, dil))
        return;
    const int64_t *sizes = op_attr_ints(c, "output_shape", &n_sizes);
    if (sizes && n_sizes < n) {
        op_fail(c, "attribute output_shape has %d entries, expected %d", n_sizes, n);
        return;
    }
    bool same = mode == AUTO_SAME_UPPER || mode == AUTO_SAME_LOWER;
    dims *t = g->dims;
    conv_spec k = { .n = n, .groups = groups, .transposed = true, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    for (int d = 0; d < n; d++) {
        dim I = dim_of(g, x, 2 + d);
        dim whole = dim_addk(t, dim_add(t, dim_mulk(t, dim_addk(t, I, -1), stride[d]),
                                        dim_mulk(t, dim_addk(t, kernel[d], -1), dil[d])), extra[d] + 1);
        dim lo = dim_const(pads[d]), hi = dim_const(pads[n + d]);
        if (sizes || same) {
            dim size = sizes ? dim_const(sizes[n_sizes - n + d]) : dim_mulk(t, I, stride[d]);
            dim total = dim_max(t, dim_sub(t, whole, size), dim_const(0));
            split_padding(t, total, mode != AUTO_SAME_LOWER, &lo, &hi);
            k.size[d] = size;
        } else {
            k.size[d] = dim_sub(t, whole, dim_add(t, lo, hi));
        }
        if (!dim_is_const(lo, &k.pad[d])) {
            op_unsupported(c, "output_shape along axis %d of open size (fix it with --dim)", 2 + d);
            return;
        }
        k.stride[d] = stride[d];
        k.dil[d] = dil[d];
        k.idil[d] = 1;
    }
    out(0, conv(g, x, w, b, &k));
}

/* CausalConvWithState (27): depthwise, over past_state and input joined; the last k-1 steps are the next
 * state */
ONNX_OP(CausalConvWithState)
{
    value x = in(0), w = in(1), b = op_in_or(c, 2, NO_VALUE), past = op_in_or(c, 3, NO_VALUE);
    const char *activation = attr_str("activation", "none");
    if (!op_rank(c, x, 3, 3, "input") || !op_rank(c, w, 3, 3, "weight")) return;
    dims *t = g->dims;
    dim C = dim_of(g, x, 1), before = dim_addk(t, dim_of(g, w, 2), -1);
    int64_t groups;
    if (!dim_is_const(C, &groups)) {
        op_unsupported(c, "an open number of channels (fix it with --dim)");
        return;
    }
    if (!has_in(3)) past = full(g, dtype_of(g, x), 0, 3, (dim[]){ dim_of(g, x, 0), C, before });
    value all = concat2(g, past, x, 2);
    spatial s = { .n = 1, .stride = { 1 }, .dil = { 1 }, .size = { dim_of(g, x, 2) } };
    value y = conv_windows(g, all, w, b, &s, (int64_t[]){ 0 }, groups, DTYPE_NONE);
    if (!strcmp(activation, "silu") || !strcmp(activation, "swish")) y = mul(g, y, un(g, SCALAR_sigmoid, y));
    else if (strcmp(activation, "none")) {
        op_fail(c, "attribute activation is \"%s\", expected none or silu", activation);
        return;
    }
    out(0, y);
    out(1, part(g, all, 2, dim_sub(t, dim_of(g, all, 2), before), before));
}

/* -- Quantized ------------------------------------------------------------------------------------------- */

/* NO_VALUE if absent or known to be zero (then no correction is built), else i32, of rank 0 if it has one
 * element. */
static value zero_point(graph *g, value z)
{
    if (!is_value(z) || known_zero(g, z)) return NO_VALUE;
    value y = cast(g, z, DTYPE_i32);
    return dim_is(type_elements(g, type_of(g, z)), 1) ? as_scalar(g, y) : y;
}

static value channel_column(graph *g, value v, int n)
{
    return rank_of(g, v) ? column(g, v, n) : v;
}

/* Sums of x's windows over the channels of each group, spread over the group's results: [N, M, O…]. */
static value window_sums(graph *g, value x, const spatial *s, const int64_t *kernel, int64_t groups, dim M)
{
    window_axis axes[MAX_RANK];
    for (int d = 0; d < s->n; d++)
        axes[d] = (window_axis){ .axis = 2 + d, .size = s->size[d], .k = kernel[d],
                                 .r = { .idil = 1, .stride = s->stride[d], .dil = s->dil[d], .pad = 0 } };
    value y = window_reduce(g, WINDOW_sum, cast(g, x, DTYPE_i32), s->n, axes);
    dims *t = g->dims;
    dim N = dim_of(g, x, 0), G = dim_const(groups), shape[MAX_RANK];
    shape[0] = N, shape[1] = G, shape[2] = dim_div(t, dim_of(g, x, 1), G);
    for (int d = 0; d < s->n; d++) shape[3 + d] = s->size[d];
    y = reduce_keep(g, REDUCE_sum, reshape(g, y, s->n + 3, shape), axis_bit(2));
    shape[2] = dim_div(t, M, G);
    y = broadcast(g, y, s->n + 3, shape);
    shape[1] = M;
    for (int d = 0; d < s->n; d++) shape[2 + d] = s->size[d];
    return reshape(g, y, s->n + 2, shape);
}

/* The i32 convolution of x and w, each less its zero point; operands may be absent: NO_VALUE. */
static value conv_integer(op_call *c, value x, value w, value xz, value wz, value bias)
{
    graph *g = c->g;
    dims *t = g->dims;
    int64_t groups, zero[MAX_RANK] = { 0 }, taps[MAX_RANK];
    dim kernel[MAX_RANK], lo[MAX_RANK], hi[MAX_RANK];
    int64_t interior[MAX_RANK] = { 0 };
    spatial s;
    if (!conv_operands(c, x, w, false, &groups) || !kernel_of(c, w, kernel)) return NO_VALUE;
    if (!spatial_windows(c, x, kernel, false, &s)) return NO_VALUE;
    int n = s.n;
    lo[0] = lo[1] = hi[0] = hi[1] = dim_const(0);
    for (int d = 0; d < n; d++) {
        if (!dim_is_const(kernel[d], &taps[d])) {
            op_unsupported(c, "a kernel of open size (fix it with --dim)");
            return NO_VALUE;
        }
        dim last = dim_mulk(t, dim_addk(t, s.size[d], -1), s.stride[d]);
        dim reach = dim_addk(t, last, (taps[d] - 1) * s.dil[d] + 1);
        lo[2 + d] = s.lo[d];
        hi[2 + d] = dim_sub(t, dim_sub(t, reach, s.in[d]), s.lo[d]);
    }
    value p = zero_point(g, xz), q = zero_point(g, wz);
    if (is_value(p) && rank_of(g, p)) {
        op_unsupported(c, "a zero point for each channel of x");
        return NO_VALUE;
    }
    value fill = is_value(xz) ? as_scalar(g, xz) : scalar_i64(g, dtype_of(g, x), 0);
    value xp = pad(g, x, lo, hi, interior, fill);
    value y = conv_windows(g, xp, w, NO_VALUE, &s, zero, groups, DTYPE_i32);
    if (is_value(p)) {
        value sw = reduce(g, REDUCE_sum, cast(g, w, DTYPE_i32), axes_from(1, n + 2), false);
        y = sub(g, y, mul(g, column(g, sw, n), p));
    }
    if (is_value(q)) {
        value qc = channel_column(g, q, n);
        y = sub(g, y, mul(g, window_sums(g, xp, &s, taps, groups, dim_of(g, w, 0)), qc));
        if (is_value(p)) {
            dim count = dim_mul(t, dim_of(g, w, 1), dim_product(t, kernel, n));
            y = add(g, y, mul(g, mul(g, qc, p), constant_dim(g, DTYPE_i32, count)));
        }
    }
    return is_value(bias) ? add(g, y, column(g, bias, n)) : y;
}

/* ConvInteger (10) */
ONNX_OP(ConvInteger)
{
    (void)g;
    out(0, conv_integer(c, in(0), in(1), op_in_or(c, 2, NO_VALUE), op_in_or(c, 3, NO_VALUE), NO_VALUE));
}

/* QLinearConv (10) */
ONNX_OP(QLinearConv)
{
    value x = in(0), xs = in(1), ws = in(4), ys = in(6), yz = in(7);
    value y = conv_integer(c, x, in(3), in(2), in(5), op_in_or(c, 8, NO_VALUE));
    if (!is_value(y) || g->failed) return;
    ws = dim_is(type_elements(g, type_of(g, ws)), 1) ? as_scalar(g, ws) : column(g, ws, rank_of(g, x) - 2);
    out(0, requantize(c, y, mul(g, as_scalar(g, xs), ws), as_scalar(g, ys), as_scalar(g, yz)));
}

/* Any i32 accumulator -> yz's type: round(acc * scale / y_scale) + zero point, saturated. */
value requantize(op_call *c, value acc, value scale, value ys, value yz)
{
    graph *g = c->g;
    if (!is_value(acc) || !is_value(yz)) return NO_VALUE;
    dtype t = dtype_of(g, yz);
    if (t != DTYPE_u8 && t != DTYPE_i8) {
        op_unsupported(c, "quantization to %s", dtype_info[t].name);
        return NO_VALUE;
    }
    value y = mul(g, cast(g, acc, DTYPE_f32), cast(g, scale, DTYPE_f32));
    y = un(g, SCALAR_rint, divide(g, y, cast(g, ys, DTYPE_f32)));
    y = add(g, y, cast(g, yz, DTYPE_f32));
    return cast(g, t == DTYPE_u8 ? clamp(g, y, 0, 255) : clamp(g, y, -128, 127), t);
}

/* A quantization parameter of the rows of the left operand as a column; of one element as rank 0. */
value rowwise(graph *g, value q, value x)
{
    if (!is_value(q) || !is_value(x)) return q;
    if (dim_is(type_elements(g, type_of(g, q)), 1)) return as_scalar(g, q);
    return rank_of(g, q) == 1 && rank_of(g, x) >= 2 ? column(g, q, 1) : q;
}

/* a[…, M, K], b[…, K, N] less their zero points, in i32 (the same correction as in conv_integer). */
value matmul_integer(op_call *c, value a, value b, value az, value bz)
{
    graph *g = c->g;
    if (!op_rank(c, a, 1, MAX_RANK, "A") || !op_rank(c, b, 1, MAX_RANK, "B")) return NO_VALUE;
    if (!is_int(dtype_of(g, a)) || !is_int(dtype_of(g, b))) {
        op_unsupported(c, "%s times %s", dtype_info[dtype_of(g, a)].name, dtype_info[dtype_of(g, b)].name);
        return NO_VALUE;
    }
    bool row = rank_of(g, a) == 1, col = rank_of(g, b) == 1;
    if (row) a = unsqueeze(g, a, 1);
    if (col) b = unsqueeze(g, b, 2);
    int ra = rank_of(g, a), rb = rank_of(g, b);
    value p = zero_point(g, az), q = zero_point(g, bz);
    if (is_value(p)) p = rowwise(g, p, a);
    value y = matmul(g, a, b, DTYPE_i32, DTYPE_i32);
    if (is_value(p))
        y = sub(g, y, mul(g, reduce_keep(g, REDUCE_sum, cast(g, b, DTYPE_i32), axis_bit(rb - 2)), p));
    if (is_value(q))
        y = sub(g, y, mul(g, reduce_keep(g, REDUCE_sum, cast(g, a, DTYPE_i32), axis_bit(ra - 1)), q));
    if (is_value(p) && is_value(q))
        y = add(g, y, mul(g, mul(g, p, q), constant_dim(g, DTYPE_i32, dim_of(g, a, ra - 1))));
    if (!is_value(y)) return y;
    int r = rank_of(g, y);
    uint32_t gone = (row ? axis_bit(r - 2) : 0) | (col ? axis_bit(r - 1) : 0);
    return gone ? squeeze(g, y, gone) : y;
}

/* MatMulInteger (10) */
ONNX_OP(MatMulInteger)
{
    (void)g;
    out(0, matmul_integer(c, in(0), in(1), op_in_or(c, 2, NO_VALUE), op_in_or(c, 3, NO_VALUE)));
}

/* QLinearMatMul (10, 21) */
ONNX_OP(QLinearMatMul)
{
    value a = in(0), bs = in(4);
    value acc = matmul_integer(c, a, in(3), in(2), in(5));
    if (!is_value(acc) || !is_value(bs)) return;
    if (dim_is(type_elements(g, type_of(g, bs)), 1)) bs = as_scalar(g, bs);
    value scale = mul(g, cast(g, rowwise(g, in(1), a), DTYPE_f32), cast(g, bs, DTYPE_f32));
    out(0, requantize(c, acc, scale, rowwise(g, in(6), a), rowwise(g, in(7), a)));
}
