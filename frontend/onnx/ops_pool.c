/* frontend/onnx/ops_pool.c: poolings: windows of positions reduced to one, globally or locally; local
 * response normalization; and the inverse of max pooling. Positions in the padding are not counted.
 */
#include "frontend/onnx/op_spatial.h"

static void window_axes(const spatial *s, const int64_t *lo, window_axis *axes)
{
    for (int d = 0; d < s->n; d++) {
        int64_t k = 1;
        dim_is_const(s->kernel[d], &k);
        axes[d] = (window_axis){ .axis = 2 + d, .size = s->size[d], .k = k,
                                 .r = { .idil = 1, .stride = s->stride[d], .dil = s->dil[d], .pad = lo[d] } };
    }
}

/* Attributes of a pooling over in(0) -> its windows. */
static bool pool_windows(op_call *c, value x, spatial *s)
{
    dim kernel[MAX_RANK];
    return op_rank(c, x, 3, MAX_RANK, "X") && spatial_kernel_attr(c, x, kernel) &&
           spatial_windows(c, x, kernel, attr_int("ceil_mode", 0) != 0, s);
}

/* -- MaxPool --------------------------------------------------------------------------------------------- */

/* The index of each maximum in the flattened operand, from the row-major number of the tap it came from.
 * first: what was padded beforehand, to be taken off again. */
static value flat_index(op_call *c, value x, value tap, const spatial *s, const int64_t *lo, const dim *first)
{
    graph *g = c->g;
    dims *t = g->dims;
    type ty = type_of(g, tap);
    value digit[MAX_RANK];
    for (int d = s->n - 1; d >= 0; d--) {
        value k = constant_dim(g, DTYPE_i64, s->kernel[d]);
        digit[d] = bin(g, SCALAR_mod, tap, k);
        tap = divide(g, tap, k);
    }
    bool columns_first = attr_int("storage_order", 0) != 0;
    dim mult = dim_const(1);
    value flat = NO_VALUE;
    for (int i = 0; i < s->n; i++) {
        int d = columns_first ? i : s->n - 1 - i;
        value at = bin_k(g, SCALAR_mul, iota(g, DTYPE_i64, ty.rank, ty.dims, 2 + d), (double)s->stride[d]);
        at = add(g, at, bin_k(g, SCALAR_mul, digit[d], (double)s->dil[d]));
        at = sub(g, at, constant_dim(g, DTYPE_i64, dim_addk(t, first[d], lo[d])));
        at = mul(g, at, constant_dim(g, DTYPE_i64, mult));
        flat = is_value(flat) ? add(g, flat, at) : at;
        mult = dim_mul(t, mult, dim_of(g, x, 2 + d));
    }
    value plane = mul(g, iota(g, DTYPE_i64, ty.rank, ty.dims, 0),
                      constant_dim(g, DTYPE_i64, dim_of(g, x, 1)));
    plane = add(g, plane, iota(g, DTYPE_i64, ty.rank, ty.dims, 1));
    return add(g, mul(g, plane, constant_dim(g, DTYPE_i64, mult)), flat);
}

/* MaxPool (1, 8, 10, 11, 12, 22) */
ONNX_OP(MaxPool)
{
    value x = in(0);
    spatial s;
    int64_t lo[MAX_RANK];
    dim first[MAX_RANK];
    window_axis axes[MAX_RANK];
    if (!pool_windows(c, x, &s)) return;
    dtype t = dtype_of(g, x);
    for (int d = 0; d < s.n; d++) first[d] = dim_is_const(s.lo[d], NULL) ? dim_const(0) : s.lo[d];
    scalar_value lowest = sv_lowest(t);
    value xp = spatial_settle(g, x, &s, constant(g, t, 0, NULL, &lowest, NULL), lo);
    window_axes(&s, lo, axes);
    out(0, window_reduce(g, WINDOW_max, xp, s.n, axes));
    if (!op_wants(c, 1)) return;
    value tap = window_reduce(g, WINDOW_argmax, xp, s.n, axes);
    if (is_value(tap)) out(1, flat_index(c, x, tap, &s, lo, first));
}

/* MaxUnpool (9, 11, 22): indices count positions of the smallest operand that pooling could have had; a
 * larger output_shape keeps values at the same coordinates */
ONNX_OP(MaxUnpool)
{
    value x = in(0), idx = in(1);
    dim kernel[MAX_RANK], inner[MAX_RANK], zero[MAX_RANK], more[MAX_RANK];
    int64_t stride[MAX_RANK], pads[2 * MAX_RANK], interior[MAX_RANK] = { 0 };
    if (!op_rank(c, x, 3, MAX_RANK, "X") || !op_rank(c, idx, 1, MAX_RANK, "I")) return;
    int n = rank_of(g, x) - 2, n_sizes = 0;
    if (!spatial_kernel_attr(c, x, kernel) || !spatial_ints(c, "strides", n, 1, stride) ||
        !spatial_ints(c, "pads", 2 * n, 0, pads))
        return;
    dims *t = g->dims;
    inner[0] = dim_of(g, x, 0), inner[1] = dim_of(g, x, 1);
    for (int d = 0; d < n; d++) {
        dim last = dim_mulk(t, dim_addk(t, dim_of(g, x, 2 + d), -1), stride[d]);
        inner[2 + d] = dim_addk(t, dim_add(t, last, kernel[d]), -pads[d] - pads[n + d]);
    }
    dim count = type_elements(g, type_of(g, x)), flat = dim_product(t, inner, n + 2);
    int axis = 0;
    value at = reshape(g, idx, 1, &count);
    value y = scatter(g, SCATTER_set, full(g, dtype_of(g, x), 0, 1, &flat), reshape(g, x, 1, &count), 1, &at,
                      &axis, 0, NULL, NULL);
    y = reshape(g, y, n + 2, inner);
    if (has_in(2)) {
        const dim *want = op_known(c, 2, "output_shape", &n_sizes);
        if (!want) return;
        if (n_sizes != n + 2) {
            op_fail(c, "output_shape has %d entries, expected %d", n_sizes, n + 2);
            return;
        }
        for (int i = 0; i < n + 2; i++) {
            zero[i] = dim_const(0);
            more[i] = dim_sub(t, want[i], inner[i]);
        }
        y = pad(g, y, zero, more, interior, scalar_f64(g, dtype_of(g, x), 0));
    }
    out(0, y);
}

/* -- AveragePool ----------------------------------------------------------------------------------------- */

/* How many positions each window along one axis counts: a literal [O] if the sizes are known, else a window
 * over ones. */
static value axis_count(graph *g, dtype t, dim extent, int64_t lo, dim size, int64_t k, int64_t stride,
                        int64_t dil)
{
    int64_t I, O;
    if (dim_is_const(extent, &I) && dim_is_const(size, &O) && O <= 65536 && k <= 65536) {
        double *v = NEW_ARRAY(g->arena, double, O);
        for (int64_t o = 0; o < O; o++) {
            int64_t from = o * stride - lo;   /* position of tap 0; taps j with 0 <= from + j*dil < I count */
            int64_t j0 = from >= 0 ? 0 : (-from + dil - 1) / dil;
            int64_t j1 = from >= I ? 0 : (I - 1 - from) / dil + 1;
            if (j1 > k) j1 = k;
            v[o] = j1 > j0 ? (double)(j1 - j0) : 0;
        }
        return op_reals(g, t, v, 1, &size);
    }
    window_axis w = {
        .axis = 0, .size = size, .k = k, .r = { .idil = 1, .stride = stride, .dil = dil, .pad = lo }
    };
    return window_reduce(g, WINDOW_sum, full(g, t, 1, 1, &extent), 1, &w);
}

/* The number of positions each window counts, [O…]: separable. */
static value position_count(op_call *c, const spatial *s, dtype t)
{
    graph *g = c->g;
    bool padded = attr_int("count_include_pad", 0) != 0;
    value count = NO_VALUE;
    for (int d = 0; d < s->n; d++) {
        int64_t k = 1, lo = 0;
        dim_is_const(s->kernel[d], &k);
        dim extent = s->in[d];
        if (padded) extent = dim_add(g->dims, dim_add(g->dims, extent, s->lo[d]), s->hi[d]);
        else if (!dim_is_const(s->lo[d], &lo)) return NO_VALUE;
        value v = column(g, axis_count(g, t, extent, lo, s->size[d], k, s->stride[d], s->dil[d]),
                         s->n - 1 - d);
        count = is_value(count) ? mul(g, count, v) : v;
    }
    return count;
}

/* The same where the padding is symbolic: the windows of a tensor of ones with that padding. */
static value position_count_open(op_call *c, const spatial *s, dtype t)
{
    graph *g = c->g;
    dim shape[MAX_RANK];
    int64_t lo[MAX_RANK];
    window_axis axes[MAX_RANK];
    spatial r = *s;
    shape[0] = shape[1] = dim_const(1);
    for (int d = 0; d < s->n; d++) shape[2 + d] = s->in[d];
    value ones = spatial_settle(g, full(g, t, 1, s->n + 2, shape), &r, scalar_f64(g, t, 0), lo);
    window_axes(&r, lo, axes);
    return window_reduce(g, WINDOW_sum, ones, s->n, axes);
}

/* AveragePool (1, 7, 10, 11, 19, 22) */
ONNX_OP(AveragePool)
{
    value x = in(0);
    spatial s;
    int64_t lo[MAX_RANK];
    window_axis axes[MAX_RANK];
    if (!pool_windows(c, x, &s)) return;
    dtype t = dtype_of(g, x);
    value count = position_count(c, &s, t);
    if (!is_value(count) && !g->failed) count = position_count_open(c, &s, t);
    value xp = spatial_settle(g, x, &s, scalar_f64(g, t, 0), lo);
    window_axes(&s, lo, axes);
    out(0, divide(g, window_reduce(g, WINDOW_sum, xp, s.n, axes), count));
}

/* -- The others ------------------------------------------------------------------------------------------ */

/* p is a float in version 1, an int later */
static double read_p(op_call *c)
{
    return c->version < 2 ? attr_float("p", 2) : (double)attr_int("p", 2);
}

/* LpPool (1, 2, 11, 18, 22) */
ONNX_OP(LpPool)
{
    value x = in(0);
    spatial s;
    int64_t lo[MAX_RANK];
    window_axis axes[MAX_RANK];
    if (!pool_windows(c, x, &s)) return;
    double p = read_p(c);
    x = spatial_settle(g, x, &s, scalar_f64(g, dtype_of(g, x), 0), lo);
    window_axes(&s, lo, axes);
    value sum = window_reduce(g, WINDOW_sum, bin_k(g, SCALAR_pow, un(g, SCALAR_abs, x), p), s.n, axes);
    out(0, bin_k(g, SCALAR_pow, sum, 1 / p));
}

/* GlobalAveragePool (1, 22) */
ONNX_OP(GlobalAveragePool)
{
    value x = in(0);
    if (op_rank(c, x, 2, MAX_RANK, "X")) out(0, mean_over(g, x, axes_from(2, rank_of(g, x)), true));
}

/* GlobalMaxPool (1, 22) */
ONNX_OP(GlobalMaxPool)
{
    value x = in(0);
    if (op_rank(c, x, 2, MAX_RANK, "X")) out(0, reduce_keep(g, REDUCE_max, x, axes_from(2, rank_of(g, x))));
}

/* GlobalLpPool (1, 2, 22) */
ONNX_OP(GlobalLpPool)
{
    value x = in(0);
    if (!op_rank(c, x, 2, MAX_RANK, "X")) return;
    double p = read_p(c);
    value sum = reduce_keep(g, REDUCE_sum, bin_k(g, SCALAR_pow, un(g, SCALAR_abs, x), p),
                            axes_from(2, rank_of(g, x)));
    out(0, bin_k(g, SCALAR_pow, sum, 1 / p));
}

/* LRN (1, 13): x / (bias + alpha/size * sum of squares of `size` neighbouring channels) ^ beta */
ONNX_OP(LRN)
{
    value x = in(0);
    int64_t n = attr_int("size", 0);
    if (!op_rank(c, x, 2, MAX_RANK, "X")) return;
    if (n < 1 || n > 1 << 20) {
        op_fail(c, "attribute size is %lld, expected at least 1", (long long)n);
        return;
    }
    int64_t below = (n - 1) / 2, above = n / 2, C;                   /* neighbours; there are at most C - 1 */
    if (dim_is_const(dim_of(g, x, 1), &C) && C > 0) {
        if (below > C - 1) below = C - 1;
        if (above > C - 1) above = C - 1;
    }
    window_axis w = { .axis = 1, .size = dim_of(g, x, 1), .k = below + above + 1,
                      .r = { .idil = 1, .stride = 1, .dil = 1, .pad = below } };
    value s = window_reduce(g, WINDOW_sum, mul(g, x, x), 1, &w);
    s = bin_k(g, SCALAR_add, bin_k(g, SCALAR_mul, s, attr_float("alpha", 1e-4) / (double)n),
              attr_float("bias", 1));
    out(0, divide(g, x, bin_k(g, SCALAR_pow, s, attr_float("beta", .75))));
}
