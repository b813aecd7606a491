/* frontend/onnx/ops_norm.c: normalization: x less its mean, by its deviation, over a set of axes, then
 * scaled. Statistics take two passes (mean of squares of the differences), since E[x^2] - E[x]^2 cancels.
 */
#include "frontend/onnx/op_tensor.h"

/* [C] along axis 1 of a tensor of rank r */
static value channels(graph *g, value v, int r)
{
    return column(g, v, r - 2);
}

/* (x - mean) / sqrt(var + eps) over axes; mean and 1/deviation, kept dims, through mu and inv (may be NULL).
 */
static value normalize(graph *g, value x, uint32_t axes, double eps, value *mu, value *inv)
{
    value m = mean_over(g, x, axes, true), d = sub(g, x, m);
    value s = un(g, SCALAR_sqrt, bin_k(g, SCALAR_add, mean_over(g, mul(g, d, d), axes, true), eps));
    value r = k_bin(g, SCALAR_div, 1, s);
    if (mu) *mu = m;
    if (inv) *inv = r;
    return mul(g, d, r);
}

/* BatchNormalization (1, 6, 7, 9, 14, 15). For inference the factor scale/sqrt(var + eps) and the offset are
 * made of the small vectors alone, so that they fold, and into the weights before. A training by the
 * statistics of the batch does what training_mode says, whatever the node says. */
ONNX_OP(BatchNormalization)
{
    value x = in(0), scale = in(1), b = in(2), mu = in(3), var = in(4);
    double eps = attr_float("epsilon", 1e-5), keep = attr_float("momentum", .9);
    if (!op_rank(c, x, 1, MAX_RANK, "X")) return;
    int r = rank_of(g, x);
    bool training = c->version >= 14 ? attr_int("training_mode", 0) != 0
                                     : c->n_out > 1 && !attr_int("is_test", 0);
    int kept_mu = training ? -1 : op_statistic(c, mu), kept_var = training ? -1 : op_statistic(c, var);
    bool moves = kept_mu >= 0 && kept_var >= 0;
    dtype t_var = dtype_of(g, var);
    /* one parameter per activation: statistics over the batch */
    bool each = c->version < 9 && !attr_int("spatial", 1);
    dtype t = dtype_of(g, mu), tx = dtype_of(g, x);
    if (!each && r == 1) { op_fail(c, "X has rank 1, expected [N, C, ...]"); return; }
    int tail = each ? 0 : r - 2;
    scale = cast(g, scale, t);
    b = cast(g, b, t);
    value xf = cast(g, x, t);
    if (!training && !moves) {
        value factor = divide(g, scale, un(g, SCALAR_sqrt, bin_k(g, SCALAR_add, cast(g, var, t), eps)));
        value offset = sub(g, b, mul(g, mu, factor));
        value y = add(g, mul(g, xf, column(g, factor, tail)), column(g, offset, tail));
        out(0, cast(g, y, tx));
        return;
    }
    uint32_t axes = each ? 1 : axes_from(0, r) & ~axis_bit(1);
    value bm = mean_over(g, xf, axes, false), d = sub(g, xf, column(g, bm, tail));
    value bv = mean_over(g, mul(g, d, d), axes, false);
    value inv = divide(g, scale, un(g, SCALAR_sqrt, bin_k(g, SCALAR_add, bv, eps)));
    value y = add(g, mul(g, d, column(g, inv, tail)), column(g, b, tail));
    out(0, cast(g, y, tx));
    value new_mu = add(g, bin_k(g, SCALAR_mul, mu, keep), bin_k(g, SCALAR_mul, bm, 1 - keep));
    value new_var = add(g, bin_k(g, SCALAR_mul, cast(g, var, t), keep), bin_k(g, SCALAR_mul, bv, 1 - keep));
    if (moves) {
        op_move_statistic(c, kept_mu, new_mu);
        op_move_statistic(c, kept_var, cast(g, new_var, t_var));
        return;
    }
    out(1, new_mu);
    out(2, new_var);
    if (c->version < 14) {
        out(3, bm);
        out(4, bv);
    }
}

/* InstanceNormalization (1, 6, 22) */
ONNX_OP(InstanceNormalization)
{
    value x = in(0);
    if (!op_rank(c, x, 3, MAX_RANK, "input")) return;
    int r = rank_of(g, x);
    value y = normalize(g, x, axes_from(2, r), attr_float("epsilon", 1e-5), NULL, NULL);
    out(0, add(g, mul(g, y, channels(g, in(1), r)), channels(g, in(2), r)));
}

/* The type statistics are computed in: stash_type, but never narrower than f64 operands. */
static dtype stash_type(op_call *c, dtype x)
{
    dtype t = op_attr_dtype(c, "stash_type", DTYPE_f32);
    return x == DTYPE_f64 && t == DTYPE_f32 ? x : t;
}

/* LayerNormalization (17) */
ONNX_OP(LayerNormalization)
{
    value x = in(0), mu, inv;
    if (!op_rank(c, x, 1, MAX_RANK, "X")) return;
    int r = rank_of(g, x), axis = op_axis(c, attr_int("axis", -1), r);
    dtype t = dtype_of(g, x);
    value y = normalize(g, cast(g, x, stash_type(c, t)), axes_from(axis, r), attr_float("epsilon", 1e-5), &mu,
                        &inv);
    y = mul(g, cast(g, y, t), in(1));
    out(0, has_in(2) ? add(g, y, in(2)) : y);
    if (op_wants(c, 1)) out(1, mu);
    if (op_wants(c, 2)) out(2, inv);
}

/* RMSNormalization (23) */
ONNX_OP(RMSNormalization)
{
    value x = in(0), scale = in(1);
    if (!op_rank(c, x, 1, MAX_RANK, "X")) return;
    int r = rank_of(g, x), axis = op_axis(c, attr_int("axis", -1), r);
    value z = cast(g, x, stash_type(c, dtype_of(g, x)));
    value ms = mean_over(g, mul(g, z, z), axes_from(axis, r), true);
    value y = divide(g, z, un(g, SCALAR_sqrt, bin_k(g, SCALAR_add, ms, attr_float("epsilon", 1e-5))));
    out(0, mul(g, cast(g, y, dtype_of(g, scale)), scale));
}

/* GroupNormalization (18: scale and bias per group; 21: per channel) */
ONNX_OP(GroupNormalization)
{
    value x = in(0), scale = in(1), b = in(2);
    if (!op_rank(c, x, 2, MAX_RANK - 1, "X")) return;
    type t = type_of(g, x);
    int64_t groups = attr_int("num_groups", 0);
    if (groups < 1) {
        op_fail(c, "attribute num_groups is %lld, expected at least 1", (long long)groups);
        return;
    }
    if (!op_divides(c, t.dims[1], groups, "the number of channels")) return;
    dim grouped[MAX_RANK];
    grouped[0] = t.dims[0], grouped[1] = dim_const(groups);
    grouped[2] = dim_div(g->dims, t.dims[1], dim_const(groups));
    for (int i = 2; i < t.rank; i++) grouped[i + 1] = t.dims[i];
    dtype st = c->version >= 21 ? op_attr_dtype(c, "stash_type", DTYPE_f32) : t.dtype;
    value y = normalize(g, reshape(g, cast(g, x, st), t.rank + 1, grouped), axes_from(2, t.rank + 1),
                        attr_float("epsilon", 1e-5), NULL, NULL);
    if (c->version >= 21) {
        y = cast(g, reshape(g, y, t.rank, t.dims), t.dtype);
        out(0, add(g, mul(g, y, channels(g, scale, t.rank)), channels(g, b, t.rank)));
    } else {
        y = add(g, mul(g, y, column(g, scale, t.rank - 1)), column(g, b, t.rank - 1));
        out(0, reshape(g, y, t.rank, t.dims));
    }
}

/* MeanVarianceNormalization (9, 13) */
ONNX_OP(MeanVarianceNormalization)
{
    value x = in(0);
    if (!op_rank(c, x, 1, MAX_RANK, "X")) return;
    static const int64_t usual[] = { 0, 2, 3 };
    int n = 0;
    const int64_t *axes = op_attr_ints(c, "axes", &n);
    if (!axes) axes = usual, n = 3;
    uint32_t set = 0;
    for (int i = 0; i < n; i++) set |= axis_bit(op_axis(c, axes[i], rank_of(g, x)));
    if (c->failed) return;
    value d = sub(g, x, mean_over(g, x, set, true));
    value s = un(g, SCALAR_sqrt, mean_over(g, mul(g, d, d), set, true));
    out(0, divide(g, d, bin_k(g, SCALAR_add, s, 1e-9)));
}

/* LpNormalization (1, 22): where the norm is 0, the result is 0 */
ONNX_OP(LpNormalization)
{
    value x = in(0);
    if (!op_rank(c, x, 1, MAX_RANK, "input")) return;
    uint32_t axis = axis_bit(op_axis(c, attr_int("axis", -1), rank_of(g, x)));
    int64_t p = attr_int("p", 2);
    if (p != 1 && p != 2) { op_fail(c, "attribute p is %lld, expected 1 or 2", (long long)p); return; }
    value n = p == 1 ? reduce_keep(g, REDUCE_sum, un(g, SCALAR_abs, x), axis)
                     : un(g, SCALAR_sqrt, reduce_keep(g, REDUCE_sum, mul(g, x, x), axis));
    value zero = bin_k(g, SCALAR_eq, n, 0);
    value safe = select3(g, zero, splat_like(g, n, 1), n);
    out(0, select3(g, zero, splat_like(g, n, 0), divide(g, x, safe)));
}
