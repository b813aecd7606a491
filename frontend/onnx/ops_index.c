/* ops_index: operators that move elements by index tensors, or whose result's size data decide.
 *
 * ONNX lets an index count from the back; the primitives do not, so each index passes through wrap_index,
 * which leaves nothing behind where the index is known. Data-dependent sizes become fresh symbols
 * (compact_symbol).
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)

/* Known indices lie in [-n, n), whatever their type. */
static bool check_index(op_call *c, graph *g, value idx, dim n)
{
    const void *p;
    int64_t count, extent;
    if (!is_value(idx) || !dim_is_const(n, &extent)) return is_value(idx);
    dtype t = dtype_of(g, idx);
    scalar_value one;
    bool is_splat = is_int(t) && known_splat(g, idx, &one) && !dim_is(type_elements(g, type_of(g, idx)), 0);
    if (!is_splat && (!is_int(t) || !known_bytes(g, idx, &p, &count))) return true;
    for (int64_t i = 0; i < (is_splat ? 1 : count); i++) {
        int64_t k = sv_to_i64(t, is_splat ? one : sv_load(t, (const char *)p + i * dtype_bytes(t)));
        if (k >= -extent && k < extent) continue;
        op_fail(c, "indices from %lld to %lld expected, found %lld", (long long)-extent,
                (long long)extent - 1, (long long)k);
        return false;
    }
    return true;
}

ONNX_OP(Gather)
{
    value x = in(0);
    if (!is_value(x)) return;
    int axis = op_axis(c, attr_int("axis", 0), rank_of(g, x));
    if (rank_of(g, x) == 0) op_fail(c, "a tensor of rank 1 or more expected");
    else if (check_index(c, g, in(1), dim_of(g, x, axis)))
        out(0, take(g, x, wrap_index(g, in(1), dim_of(g, x, axis)), axis));
}

ONNX_OP(GatherElements)
{
    value x = in(0);
    if (!is_value(x)) return;
    int axis = op_axis(c, attr_int("axis", 0), rank_of(g, x));
    if (rank_of(g, x) == 0) op_fail(c, "a tensor of rank 1 or more expected");
    else if (check_index(c, g, in(1), dim_of(g, x, axis)))
        out(0, take_along(g, x, wrap_index(g, in(1), dim_of(g, x, axis)), axis));
}

/* The last axis of idx holds a tuple: k index tensors, wrapped by the dims of x from `from` on. -1: reported.
 */
static int split_index(op_call *c, graph *g, value x, value idx, int from, value *part)
{
    if (!is_value(x) || !is_value(idx)) return -1;
    int64_t k;
    int last = rank_of(g, idx) - 1;
    if (last < 0) {
        op_fail(c, "indices of rank 1 or more expected");
        return -1;
    }
    if (!op_const_dim(c, dim_of(g, idx, last), "the length of an index tuple", &k)) return -1;
    if (k > rank_of(g, x) - from) {
        op_fail(c, "index tuples of at most %d positions expected, found %lld", rank_of(g, x) - from,
                (long long)k);
        return -1;
    }
    for (int j = 0; j < k; j++) {
        value i = squeeze(g, slice_axis(g, idx, last, dim_const(j), dim_const(1), 1), 1u << last);
        if (!check_index(c, g, i, dim_of(g, x, from + j))) return -1;
        part[j] = wrap_index(g, i, dim_of(g, x, from + j));
    }
    return (int)k;
}

ONNX_OP(GatherND)
{
    value x = in(0), idx[MAX_RANK];
    int64_t b = attr_int("batch_dims", 0);
    int axes[MAX_RANK], batch[MAX_RANK];
    if (b < 0 || b > rank_of(g, x)) {
        op_fail(c, "batch_dims within the rank %d expected", rank_of(g, x));
        return;
    }
    int k = split_index(c, g, x, in(1), (int)b, idx);
    if (k < 0) return;
    for (int j = 0; j < k; j++) axes[j] = (int)b + j;
    for (int j = 0; j < b; j++) batch[j] = j;
    if (k > 0) {
        out(0, gather(g, x, k, idx, axes, (int)b, batch, batch));
        return;
    }
    /* empty tuples: each copies all of its batch entry */
    type t = type_of(g, x), ti = type_of(g, in(1));
    dim d[MAX_RANK], one[MAX_RANK];
    int rank = 0, extra = ti.rank - 1 - (int)b;
    if (t.rank + extra > MAX_RANK || extra < 0) {
        op_unsupported(c, "index tuples of length 0 in this shape");
        return;
    }
    for (int j = 0; j < (int)b; j++) one[rank] = d[rank] = t.dims[j], rank++;
    for (int j = 0; j < extra; j++) one[rank] = dim_const(1), d[rank++] = ti.dims[(int)b + j];
    for (int j = (int)b; j < t.rank; j++) one[rank] = d[rank] = t.dims[j], rank++;
    out(0, broadcast(g, reshape(g, x, rank, one), rank, d));
}

static bool reduction_mode(op_call *c, scatter_mode *mode)
{
    static const struct { const char *name; scatter_mode mode; } modes[] = {
        { "none", SCATTER_set }, { "add", SCATTER_add }, { "mul", SCATTER_mul }, { "max", SCATTER_max },
        { "min", SCATTER_min },
    };
    const char *s = attr_str("reduction", "none");
    for (int i = 0; i < 5; i++) {
        if (strcmp(s, modes[i].name)) continue;
        *mode = modes[i].mode;
        return true;
    }
    op_fail(c, "reduction none, add, mul, max or min expected, found %s", s);
    return false;
}

/* Axes along which indices and data have the same extent run together (batch); along others the position is a
 * ramp. */
static void scatter_elements(op_call *c, graph *g)
{
    value x = in(0), i = in(1), u = in(2), idx[MAX_RANK];
    scatter_mode mode;
    if (!is_value(x) || !is_value(i) || !reduction_mode(c, &mode)) return;
    type t = type_of(g, x), ti = type_of(g, i);
    if (t.rank != ti.rank || t.rank == 0) {
        op_fail(c, "indices of the data's rank %d expected, found rank %d", t.rank, ti.rank);
        return;
    }
    int axis = op_axis(c, attr_int("axis", 0), t.rank), axes[MAX_RANK], batch[MAX_RANK], n = 0, nb = 0;
    if (!check_index(c, g, i, t.dims[axis])) return;
    i = wrap_index(g, i, t.dims[axis]);
    for (int d = 0; d < t.rank; d++) {
        if (d != axis && dim_same(t.dims[d], ti.dims[d])) {
            batch[nb++] = d;
            continue;
        }
        axes[n] = d;
        idx[n++] = d == axis ? i : iota(g, dtype_of(g, i), ti.rank, ti.dims, d);
    }
    out(0, scatter(g, mode, x, u, n, idx, axes, nb, batch, batch));
}

ONNX_OP(ScatterElements) { scatter_elements(c, g); }
ONNX_OP(Scatter) { scatter_elements(c, g); }

ONNX_OP(ScatterND)
{
    value x = in(0), u = in(2), idx[MAX_RANK];
    scatter_mode mode;
    int axes[MAX_RANK];
    if (!reduction_mode(c, &mode)) return;
    int k = split_index(c, g, x, in(1), 0, idx);
    if (k < 0) return;
    if (k == 0) {
        op_unsupported(c, "index tuples of length 0");
        return;
    }
    for (int j = 0; j < k; j++) axes[j] = j;
    out(0, scatter(g, mode, x, u, k, idx, axes, 0, NULL, NULL));
}

/* TensorScatter (24): past[b, …, w[b] + l, …] = update[b, …, l, …]: the in-place form of a growing cache */
ONNX_OP(TensorScatter)
{
    value past = in(0), upd = in(1);
    if (!is_value(past) || !is_value(upd)) return;
    type t = type_of(g, past), tu = type_of(g, upd);
    int axis = op_axis(c, attr_int("axis", -2), t.rank);
    const char *mode = attr_str("mode", "linear");
    if (tu.rank != t.rank || axis == 0) {
        op_fail(c, "an update of the cache's rank %d, and an axis after the batch expected", t.rank);
        return;
    }
    dim L = tu.dims[axis], B = t.dims[0];
    value start = has_in(2) ? in(2) : splat(g, scalar_i64(g, DTYPE_i64, 0), 1, &B);
    value pos = add(g, unsqueeze(g, cast(g, start, DTYPE_i64), 2), iota(g, DTYPE_i64, 1, &L, 0)); /* [B, L] */
    if (!strcmp(mode, "circular")) pos = bin(g, SCALAR_mod, pos, constant_dim(g, DTYPE_i64, t.dims[axis]));
    else if (strcmp(mode, "linear")) op_fail(c, "mode linear or circular expected, found %s", mode);
    out(0, scatter(g, SCATTER_set, past, move_axis(g, upd, axis, 1), 1, &pos, &axis, 1, (int[]){ 0 },
                   (int[]){ 0 }));
}

/* ReverseSequence (10, 28): the first lens[b] steps of each batch entry backwards */
ONNX_OP(ReverseSequence)
{
    value x = in(0), lens = in(1);
    if (!is_value(x) || !is_value(lens)) return;
    type t = type_of(g, x);
    int time = op_axis(c, attr_int("time_axis", 0), t.rank),
        batch = op_axis(c, attr_int("batch_axis", 1), t.rank);
    if (time == batch) {
        op_fail(c, "different time_axis and batch_axis expected");
        return;
    }
    dim BT[2] = { t.dims[batch], t.dims[time] };
    value i = iota(g, DTYPE_i64, 2, BT, 1), l = unsqueeze(g, cast(g, lens, DTYPE_i64), 2);
    value idx = select3(g, bin(g, SCALAR_lt, i, l), sub(g, bin_k(g, SCALAR_sub, l, 1), i), i);
    value y = gather(g, x, 1, &idx, &time, 1, &batch, (int[]){ 0 });                  /* [B, T, rest] */
    int perm[MAX_RANK], k = 2;
    for (int d = 0; d < t.rank; d++) perm[d] = d == batch ? 0 : d == time ? 1 : k++;
    if (is_value(y)) out(0, transpose(g, y, perm));
}

ONNX_OP(OneHot)
{
    value i = in(0), values = in(2);
    int n = 1;
    double real;
    dim whole;
    const dim *depth = &whole;
    if (is_float(dtype_of(g, in(1)))) {
        if (!op_known_floats(c, 1, "depth", &n, &real, 1)) return;
        whole = dim_const(real > 0 && real < 1e15 ? (int64_t)real : 0);
    } else depth = op_known(c, 1, "depth", &n);
    if (!depth || !is_value(i)) return;
    if (n != 1) {
        op_fail(c, "one number as depth expected");
        return;
    }
    int rank = rank_of(g, i) + 1, axis = op_axis(c, attr_int("axis", -1), rank);
    dim d[MAX_RANK];
    for (int k = 0; k < rank && k < MAX_RANK; k++) d[k] = k == axis ? depth[0] : dim_const(1);
    i = wrap_index(g, cast(g, i, DTYPE_i64), depth[0]);
    value hot = bin(g, SCALAR_eq, unsqueeze(g, i, 1u << axis), iota(g, DTYPE_i64, rank, d, axis));
    value off = slice_axis(g, values, 0, dim_const(0), dim_const(1), 1),
          on = slice_axis(g, values, 0, dim_const(1), dim_const(1), 1);
    out(0, select3(g, hot, on, off));
}

/* -- Sizes that data decide ------------------------------------------------------------------------------ */

/* The positions of true in mask[N], cropped to their number. */
static value positions_of(graph *g, value mask)
{
    if (!is_value(mask)) return NO_VALUE;
    scalar_value s;
    dim n = dim_of(g, mask, 0), count;
    if (known_splat(g, mask, &s)) {                    /* all or none: as in NonZero(ConstantOfShape(n, 1)) */
        dim k = s.bits ? n : dim_const(0);
        return iota(g, DTYPE_i64, 1, &k, 0);
    }
    int m;
    const dim *p = known_ints(g, mask, &m);
    if (p) {
        int64_t *at = NEW_ARRAY(g->arena, int64_t, m + 1), k = 0, v;
        bool all = true;
        for (int i = 0; i < m; i++) {
            if (!dim_is_const(p[i], &v)) all = false;
            else if (v) at[k++] = i;
        }
        if (all) return op_ints(g, at, k, -1);
    }
    value idx;
    if (!compact_symbol(g, mask, &idx, &count)) return NO_VALUE;
    return slice_axis(g, idx, 0, dim_const(0), count, 1);
}

ONNX_OP(Compress)
{
    value x = in(0), keep = in(1);
    if (!is_value(x) || !is_value(keep)) return;
    int axis = 0;
    if (op_has_attr(c, "axis")) axis = op_axis(c, attr_int("axis", 0), rank_of(g, x));
    else x = reshape(g, x, 1, (dim[]){ type_elements(g, type_of(g, x)) });
    dim n = dim_of(g, keep, 0), d = dim_of(g, x, axis);
    if (!dim_same(n, d)) keep = slice_axis(g, keep, 0, dim_const(0), dim_min(D, n, d), 1);
    out(0, take(g, x, positions_of(g, keep), axis));
}

/* NonZero (9, 13): one row of positions for each axis */
ONNX_OP(NonZero)
{
    value x = in(0), row[MAX_RANK];
    if (!is_value(x)) return;
    type t = type_of(g, x);
    dim n = type_elements(g, t);
    value mask = t.dtype == DTYPE_bool ? x : not_equal(g, x, scalar_f64(g, t.dtype, 0));
    value rest = positions_of(g, reshape(g, mask, 1, &n));
    for (int d = t.rank - 1; d >= 0; d--) {
        if (d == 0) {
            row[0] = unsqueeze(g, rest, 1);
            break;
        }
        value e = constant_dim(g, DTYPE_i64, t.dims[d]);
        row[d] = unsqueeze(g, bin(g, SCALAR_mod, rest, e), 1);
        rest = divide(g, rest, e);
    }
    if (t.rank > 0) out(0, concat(g, t.rank, row, 0));
    else if (is_value(rest))
        out(0, splat(g, scalar_i64(g, DTYPE_i64, 0), 2, (dim[]){ dim_const(0), dim_of(g, rest, 0) }));
}

/* -- Unique ---------------------------------------------------------------------------------------------- */

/* Unique (11, 28): rows[N, W] sorted by all columns; a row that differs from the one before starts a group.
 */
ONNX_OP(Unique)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    bool flat = !op_has_attr(c, "axis"), sorted = attr_int("sorted", 1);
    int axis = flat ? 0 : op_axis(c, attr_int("axis", 0), t.rank);
    value moved = flat ? reshape(g, x, 1, (dim[]){ type_elements(g, t) }) : move_axis(g, x, axis, 0);
    if (!is_value(moved)) return;
    dim n = dim_of(g, moved, 0);
    int64_t w = 1;
    if (!flat && !op_const_dim(c, op_extent(g, moved, 1, t.rank), "the width of a row", &w)) return;
    if (w > 32) {
        op_unsupported(c, "Unique over rows of more than 32 elements");
        return;
    }
    value rows = reshape(g, moved, 2, (dim[]){ n, dim_const(w) }), keys[32];
    for (int j = 0; j < w; j++)
        keys[j] = squeeze(g, slice_axis(g, rows, 1, dim_const(j), dim_const(1), 1), 2);
    if (w == 0 || dim_is(n, 0)) {
        op_unsupported(c, "Unique of an empty tensor");
        return;
    }
    value p = sort(g, (int)w, keys, 0, 0, n), r = take(g, rows, p, 0);
    dim before = dim_addk(D, n, -1);
    value a = slice_axis(g, r, 0, dim_const(1), before, 1), b = slice_axis(g, r, 0, dim_const(0), before, 1);
    value same = bin(g, SCALAR_eq, a, b);
    if (is_float(t.dtype)) same = bin(g, SCALAR_or, same, bin(g, SCALAR_and, is_nan(g, a), is_nan(g, b)));
    value first = splat(g, scalar_i64(g, DTYPE_bool, 1), 1, (dim[]){ dim_const(1) });
    value starts = concat(g, 2, (value[]){ first, un(g, SCALAR_not, reduce(g, REDUCE_min, same, 2, false)) },
                          0);
    value group = bin_k(g, SCALAR_sub, cumulate(g, CUM_add, cast(g, starts, DTYPE_i64), 0, false, false), 1);

    value pos;
    dim count;
    if (!compact_symbol(g, starts, &pos, &count)) return;
    pos = slice_axis(g, pos, 0, dim_const(0), count, 1);
    value zeros = splat(g, scalar_i64(g, DTYPE_i64, 0), 1, &n),
          ones = splat(g, scalar_i64(g, DTYPE_i64, 1), 1, &n);
    value zeros_k = splat(g, scalar_i64(g, DTYPE_i64, 0), 1, &count);
    int ax = 0;
    value at = gather(g, p, 1, &pos, &ax, 0, NULL, NULL);                 /* first occurrence of each group */
    value inverse = scatter(g, SCATTER_set, zeros, group, 1, &p, &ax, 0, NULL, NULL);
    value counts = scatter(g, SCATTER_add, zeros_k, ones, 1, &group, &ax, 0, NULL, NULL);
    if (!sorted) {
        value o = sort(g, 1, &at, 0, 0, count);
        value rank = scatter(g, SCATTER_set, zeros_k, iota(g, DTYPE_i64, 1, &count, 0), 1, &o, &ax, 0, NULL,
                             NULL);
        at = gather(g, at, 1, &o, &ax, 0, NULL, NULL);
        counts = gather(g, counts, 1, &o, &ax, 0, NULL, NULL);
        inverse = gather(g, rank, 1, &inverse, &ax, 0, NULL, NULL);
    }
    value y = take(g, moved, at, 0);
    out(0, flat ? y : move_axis(g, y, 0, axis));
    out(1, at);
    out(2, inverse);
    out(3, counts);
}
