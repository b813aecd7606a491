/* ops_shape: operators about shapes, and those that only move elements by position: views, joins, pads,
 * ramps. (Movement by index tensors is in ops_index.c.)
 *
 * Shapes may be symbolic, and so may the integers that operators read as shapes, axes excepted: Shape gives
 * dims, and Gather, Concat, Slice, Mul … of known integers are folded by the builder, so Reshape sees dims
 * again.
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)

/* -- Constants and shapes -------------------------------------------------------------------------------- */

ONNX_OP(Identity)
{
    (void)g;
    if (has_in(0)) op_out_edge(c, 0, c->in[0]);
    else op_fail(c, "an input expected");
}

static value floats_constant(graph *g, const float *v, int n, bool is_scalar)
{
    dim d = dim_const(n);
    return constant(g, DTYPE_f32, is_scalar ? 0 : 1, &d, v, NULL);
}

/* Constant (1, 9, 11, 12, 13, 19, 21, 23, 24, 25) */
ONNX_OP(Constant)
{
    static const char *const forms[] = { "value",     "sparse_value", "value_float",  "value_floats",
                                         "value_int", "value_ints",   "value_string", "value_strings" };
    int n, given = 0;
    for (int i = 0; i < 8; i++) given += op_has_attr(c, forms[i]);
    if (given > 1) op_fail(c, "one value expected, found %d", given);
    else if (op_has_attr(c, "value")) out(0, op_attr_tensor(c, "value"));
    else if (op_has_attr(c, "sparse_value")) out(0, op_attr_tensor(c, "sparse_value"));
    else if (op_has_attr(c, "value_float")) {
        float x = (float)attr_float("value_float", 0);
        out(0, floats_constant(g, &x, 1, true));
    } else if (op_has_attr(c, "value_floats")) {
        const float *x = op_attr_floats(c, "value_floats", &n);
        if (x) out(0, floats_constant(g, x, n, false));
    } else if (op_has_attr(c, "value_int")) out(0, scalar_i64(g, DTYPE_i64, attr_int("value_int", 0)));
    else if (op_has_attr(c, "value_ints")) {
        const int64_t *x = op_attr_ints(c, "value_ints", &n);
        if (x) out(0, op_ints(g, x, n, -1));
    } else if (op_has_attr(c, "value_string") || op_has_attr(c, "value_strings"))
        op_unsupported(c, "constants of strings");
    else op_fail(c, "a value expected");
}

ONNX_OP(ConstantOfShape)
{
    int n;
    const dim *shape = op_known_dims(c, 0, "shape", &n);
    value v = op_has_attr(c, "value") ? op_attr_tensor(c, "value") : scalar_f64(g, DTYPE_f32, 0);
    if (shape) out(0, splat(g, reshape(g, v, 0, NULL), n, shape));
}

static int clamp_axis(int64_t a, int rank)
{
    if (a < 0) a += rank;
    return a < 0 ? 0 : a > rank ? rank : (int)a;
}

/* Shape (1, 13, 15, 19, 21, 23, 24, 25): the dims from start to end */
ONNX_OP(Shape)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    int from = clamp_axis(attr_int("start", 0), t.rank), to = clamp_axis(attr_int("end", t.rank), t.rank);
    out(0, constant_dims(g, DTYPE_i64, t.dims + from, to > from ? to - from : 0));
}

ONNX_OP(Size)
{
    value x = in(0);
    if (is_value(x)) out(0, constant_dim(g, DTYPE_i64, type_elements(g, type_of(g, x))));
}

/* -- Views ----------------------------------------------------------------------------------------------- */

/* The elements of t over the product of all d but d[open]: extents that stand on both sides are left out of
 * both. */
static dim what_is_left(graph *g, type t, int n, const dim *d, int open)
{
    dim above = dim_const(1), below = dim_const(1);
    uint32_t used = 0;
    for (int i = 0; i < n; i++) {
        if (i == open) continue;
        int k = 0;
        while (k < t.rank && ((used >> k & 1) || !dim_same(t.dims[k], d[i]))) k++;
        if (k < t.rank) used |= 1u << k;
        else below = dim_mul(D, below, d[i]);
    }
    for (int k = 0; k < t.rank; k++)
        if (!(used >> k & 1)) above = dim_mul(D, above, t.dims[k]);
    return dim_div(D, above, below);
}

/* Reshape (1, 5, 13, 14, 19, 21, 23, 24, 25): 0 copies the input's dim (unless allowzero), -1 takes what is
 * left */
ONNX_OP(Reshape)
{
    value x = in(0);
    int n = 0, open = -1;
    dim d[MAX_RANK];
    if (c->version < 5) {
        const int64_t *s = op_attr_ints(c, "shape", &n);
        for (int i = 0; s && i < n && i < MAX_RANK; i++) d[i] = dim_const(s[i]);
    } else {
        const dim *s = op_known_dims(c, 1, "shape", &n);
        if (!s) return;
        if (rank_of(g, in(1)) != 1) {
            op_fail(c, "a shape of rank 1 expected, found rank %d", rank_of(g, in(1)));
            return;
        }
        for (int i = 0; i < n && i < MAX_RANK; i++) d[i] = s[i];
    }
    if (!is_value(x)) return;
    if (n > MAX_RANK) {
        op_unsupported(c, "tensors of more than %d dimensions", MAX_RANK);
        return;
    }
    type t = type_of(g, x);
    bool keeps_zero = attr_int("allowzero", 0) != 0, has_zero = false;
    dim rest = dim_const(1);
    for (int i = 0; i < n; i++) {
        has_zero |= dim_is(d[i], 0);
        if (dim_is(d[i], 0) && !keeps_zero) {
            if (i >= t.rank) {
                op_fail(c, "0 in the shape at axis %d, but the input has %d axes", i, t.rank);
                return;
            }
            d[i] = t.dims[i];
        }
        if (!dim_is(d[i], -1)) rest = dim_mul(D, rest, d[i]);
        else if (open >= 0) {
            op_fail(c, "-1 once in the shape expected, found it twice");
            return;
        } else open = i;
    }
    if (open >= 0 && keeps_zero && has_zero) {
        op_fail(c, "with allowzero, either 0 or -1 in the shape expected, found both");
        return;
    }
    if (open >= 0) d[open] = dim_is(rest, 0) ? dim_const(0) : what_is_left(g, t, n, d, open);
    if (open >= 0 && dim_is_bad(d[open])) {
        op_unsupported(
            c, "-1 in a shape where it does not follow from the open sizes; fix them by --dim NAME=SIZE");
        return;
    }
    out(0, reshape(g, x, n, d));
}

ONNX_OP(Flatten)
{
    value x = in(0);
    int64_t a = attr_int("axis", 1);
    int rank = rank_of(g, x), axis = a == rank ? rank : op_axis(c, a, rank);
    dim d[2] = { op_extent(g, x, 0, axis), op_extent(g, x, axis, rank) };
    if (is_value(x)) out(0, reshape(g, x, 2, d));
}

/* Squeeze (1, 11, 13, 21, 23, 24, 25): axes are an input from version 13 on */
ONNX_OP(Squeeze)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    bool given;
    uint32_t axes = op_axes(c, 1, 13, t.rank, &given);
    for (int i = 0; i < t.rank; i++) {
        bool is_one = dim_is(t.dims[i], 1), may_be_one = is_one || !dim_is_const(t.dims[i], NULL);
        if (!given && may_be_one && !is_one) {
            int64_t lo, hi;
            dim_range(D, t.dims[i], &lo, &hi);
            if (lo > 1) continue;
            op_unsupported(c, "Squeeze without axes of an open dim at axis %d; fix it by --dim NAME=SIZE", i);
            return;
        }
        if (!given && is_one) axes |= 1u << i;
        if (given && (axes >> i & 1) && !is_one) {
            if (may_be_one) op_unsupported(c, "squeezing an open dim at axis %d; fix it by --dim NAME=1", i);
            else op_fail(c, "extent 1 at axis %d expected", i);
            return;
        }
    }
    out(0, squeeze(g, x, axes));
}

ONNX_OP(Unsqueeze)
{
    value x = in(0);
    int n = 0;
    uint32_t axes = 0;
    const int64_t *a = NULL;
    const dim *d = NULL;
    if (c->version < 13) a = op_attr_ints(c, "axes", &n);
    else d = op_known_dims(c, 1, "axes", &n);
    if (!a && !d) {
        if (c->version < 13) op_fail(c, "axes expected");
        return;
    }
    if (rank_of(g, x) + n > MAX_RANK) {
        op_unsupported(c, "tensors of more than %d dimensions", MAX_RANK);
        return;
    }
    for (int i = 0; i < n; i++) {
        int64_t k = a ? a[i] : 0;
        if (d && !dim_is_const(d[i], &k)) op_fail(c, "axes that are numbers expected");
        int axis = op_axis(c, k, rank_of(g, x) + n);
        if (axes >> axis & 1) op_fail(c, "axis %d is given twice", axis);
        axes |= 1u << axis;
    }
    if (!c->failed) out(0, unsqueeze(g, x, axes));
}

ONNX_OP(Transpose)
{
    value x = in(0);
    int n = 0, perm[MAX_RANK], rank = rank_of(g, x);
    const int64_t *p = op_attr_ints(c, "perm", &n);
    if (p && n != rank) {
        op_fail(c, "a permutation of %d axes expected, found %d", rank, n);
        return;
    }
    for (int i = 0; i < rank; i++) {
        if (p && p[i] < 0) op_fail(c, "axes of 0 or more expected, found %lld", (long long)p[i]);
        perm[i] = p ? op_axis(c, p[i], rank) : rank - 1 - i;
    }
    if (!c->failed) out(0, transpose(g, x, perm));
}

ONNX_OP(Expand)
{
    value x = in(0);
    int n, rank;
    const dim *s = op_known_dims(c, 1, "shape", &n);
    if (!s || !is_value(x)) return;
    if (n > MAX_RANK) {
        op_unsupported(c, "tensors of more than %d dimensions", MAX_RANK);
        return;
    }
    dim d[MAX_RANK];
    type t = type_of(g, x);
    if (broadcast_shapes(g, t, (type){ t.dtype, n, s }, &rank, d)) out(0, expand_to(g, x, rank, d));
}

/* Tile (1, 6, 13): x[…, 1, s, …] stretched to […, r, s, …]. Version 1 has tiles and axis. */
ONNX_OP(Tile)
{
    value x = in(0);
    int n;
    const dim *r = op_known_dims(c, 1, "repeats", &n);
    if (!r || !is_value(x)) return;
    type t = type_of(g, x);
    dim reps[MAX_RANK], a[2 * MAX_RANK], b[2 * MAX_RANK], y[MAX_RANK];
    for (int i = 0; i < t.rank; i++) reps[i] = c->version >= 6 && i < n ? r[i] : dim_const(1);
    if (c->version < 6) {
        int64_t axis, m;
        if (!op_known_ints(c, 2, "axis", &n, &axis, 1)) return;
        if (!dim_is_const(r[0], &m)) return;
        reps[op_axis(c, axis, t.rank)] = r[0];
    } else if (n != t.rank) {
        op_fail(c, "%d repeats expected, found %d", t.rank, n);
        return;
    }
    int rank = 0;
    for (int i = 0; i < t.rank; i++) {
        y[i] = dim_mul(D, t.dims[i], reps[i]);
        if (!dim_is(reps[i], 1)) {
            a[rank] = dim_const(1);
            b[rank++] = reps[i];
        }
        a[rank] = b[rank] = t.dims[i];
        rank++;
    }
    if (rank > MAX_RANK) op_unsupported(c, "tiling of more than %d dimensions", MAX_RANK / 2);
    else out(0, reshape(g, broadcast(g, reshape(g, x, rank, a), rank, b), t.rank, y));
}

/* -- Joining and cutting --------------------------------------------------------------------------------- */

/* A node has at most 2^16 - 1 operands: longer lists are joined in groups first. */
static int join_groups(graph *g, value *x, int n, int axis)
{
    enum { GROUP = 1024, MOST = 32768 };
    while (n > MOST) {
        int m = 0;
        for (int i = 0; i < n; i += GROUP) x[m++] = concat(g, n - i < GROUP ? n - i : GROUP, x + i, axis);
        n = m;
    }
    return n;
}

ONNX_OP(Concat)
{
    value *x = NEW_ARRAY(op_arena(c), value, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++) x[i] = in(i);
    if (c->n_in == 0) op_fail(c, "an input expected");
    else if (rank_of(g, x[0]) == 0 && is_value(x[0])) op_fail(c, "tensors of rank 1 or more expected");
    else {
        int axis = op_axis(c, attr_int("axis", 1), rank_of(g, x[0]));
        out(0, concat(g, join_groups(g, x, c->n_in, axis), x, axis));
    }
}

/* Extents of n equal parts of d; the last ones smaller if it does not divide. */
static void equal_parts(graph *g, dim d, int n, dim *part)
{
    dim k = dim_ceildiv(D, d, dim_const(n));
    bool divides = dim_divides(D, d, n);
    for (int i = 0; i < n; i++)
        part[i] = divides ? k : dim_max(D, dim_const(0), dim_min(D, k, dim_sub(D, d, dim_mulk(D, k, i))));
}

/* Split (1, 2, 11, 13, 18): sizes as attribute, as input, or num_outputs equal parts */
ONNX_OP(Split)
{
    value x = in(0);
    if (!is_value(x)) return;
    int axis = op_axis(c, attr_int("axis", 0), rank_of(g, x)), n = 0;
    dim d = dim_of(g, x, axis), *part = NEW_ARRAY(op_arena(c), dim, c->n_out + 1), at = dim_const(0);
    if (has_in(1)) {
        const dim *s = op_known_dims(c, 1, "split", &n);
        if (!s) return;
        for (int i = 0; i < n && i < c->n_out; i++) part[i] = s[i];
    } else if (op_has_attr(c, "split")) {
        const int64_t *s = op_attr_ints(c, "split", &n);
        for (int i = 0; s && i < n && i < c->n_out; i++) part[i] = dim_const(s[i]);
    } else {
        n = (int)attr_int("num_outputs", c->n_out);
        if (n == c->n_out) equal_parts(g, d, n, part);
    }
    if (n != c->n_out) {
        op_fail(c, "%d parts expected for %d outputs", n, c->n_out);
        return;
    }
    for (int i = 0; i < n; i++) {
        out(i, slice_axis(g, x, axis, at, part[i], 1));
        at = dim_add(D, at, part[i]);
    }
    if (dim_is_const(at, NULL) && dim_is_const(d, NULL) && !dim_same(at, d))
        op_fail(c, "parts that make up the whole axis expected");
}

/* A position of Slice: from the back if negative, then clamped to [lo, hi]. */
static bool slice_position(op_call *c, graph *g, dim p, dim d, dim lo, dim hi, dim *result)
{
    int64_t v, n;
    if (dim_is_const(p, &v) && !dim_is_const(d, &n)) {
        if (v == 0 && dim_same(hi, d)) p = dim_const(0);                     /* an extent is never negative */
        else if (v >= 0) p = v >= DIM_LIMIT - 1 ? hi : dim_min(D, p, hi);
        else p = v <= -DIM_LIMIT + 1 ? lo : dim_max(D, lo, dim_add(D, p, d));
    } else {
        if (dim_known_lt(D, p, dim_const(0))) p = dim_add(D, p, d);
        else if (!dim_known_le(D, dim_const(0), p)) {
            text t = { .a = op_arena(c) };
            dim_print(D, p, &t);
            op_unsupported(c, "a position %s of unknown sign; bound its symbols by --dim NAME=LO..HI",
                           text_str(&t));
            return false;
        }
        p = dim_max(D, lo, dim_min(D, p, hi));
    }
    *result = p;
    return true;
}

/* One axis of Slice, as Python's slice(start, end, step).indices(d), but that a start before the axis is its
 * beginning */
static value slice_one(op_call *c, graph *g, value x, int axis, dim start, dim end, int64_t step)
{
    dim d = dim_of(g, x, axis), zero = dim_const(0), last = dim_addk(D, d, -1), s, e;
    dim lo = step > 0 ? zero : dim_const(-1), hi = step > 0 ? d : last;
    dim first = dim_known_lt(D, zero, d) ? zero : lo;             /* the standard clamps starts to [0, d-1] */
    if (!slice_position(c, g, start, d, first, hi, &s) || !slice_position(c, g, end, d, lo, hi, &e))
        return NO_VALUE;
    dim span = step > 0 ? dim_sub(D, e, s) : dim_sub(D, s, e);
    dim n = dim_ceildiv(D, span, dim_const(step > 0 ? step : -step));
    if (!dim_same(n, d) && !dim_known_le(D, zero, n)) n = dim_max(D, zero, n);
    if (dim_is(n, 0)) s = zero;
    return slice_axis(g, x, axis, s, n, step);
}

/* Slice (1, 10, 11, 13): attributes before version 10, inputs from there on */
ONNX_OP(Slice)
{
    value x = in(0);
    if (!is_value(x)) return;
    int n = 0, m = 0, na = 0, ns = 0;
    dim start[MAX_RANK], end[MAX_RANK];
    int64_t axes[MAX_RANK], steps[MAX_RANK];
    bool has_axes, has_steps = false;
    if (c->version < 10) {
        const int64_t *s = op_attr_ints(c, "starts", &n), *e = op_attr_ints(c, "ends", &m),
                      *a = op_attr_ints(c, "axes", &na);
        for (int i = 0; s && i < n && i < MAX_RANK; i++)
            start[i] = dim_const(s[i] >= DIM_LIMIT    ? DIM_LIMIT - 1
                                 : s[i] <= -DIM_LIMIT ? 1 - DIM_LIMIT
                                                      : s[i]);
        for (int i = 0; e && i < m && i < MAX_RANK; i++)
            end[i] = dim_const(e[i] >= DIM_LIMIT ? DIM_LIMIT - 1 : e[i] <= -DIM_LIMIT ? 1 - DIM_LIMIT : e[i]);
        for (int i = 0; a && i < na && i < MAX_RANK; i++) axes[i] = a[i];
        has_axes = a != NULL;
    } else {
        const dim *s = op_known_dims(c, 1, "starts", &n), *e = op_known_dims(c, 2, "ends", &m);
        if (!s || !e) return;
        for (int i = 0; i < n && i < MAX_RANK; i++) start[i] = s[i];
        for (int i = 0; i < m && i < MAX_RANK; i++) end[i] = e[i];
        has_axes = has_in(3);
        has_steps = has_in(4);
        if (has_axes && !op_known_ints(c, 3, "axes", &na, axes, MAX_RANK)) return;
        if (has_steps && !op_known_ints(c, 4, "steps", &ns, steps, MAX_RANK)) return;
    }
    if (n > rank_of(g, x) || m != n || (has_axes && na != n) || (has_steps && ns != n)) {
        op_fail(c, "starts, ends, axes and steps of equal length expected, at most one for each of %d axes",
                rank_of(g, x));
        return;
    }
    for (int i = 0; i < n && is_value(x); i++) {
        int64_t step = has_steps ? steps[i] : 1;
        if (step == 0 || step == INT64_MIN) op_fail(c, "a step other than 0 expected");
        else
            x = slice_one(c, g, x, op_axis(c, has_axes ? axes[i] : i, rank_of(g, x)), start[i], end[i], step);
    }
    if (!c->failed) out(0, x);
}

/* -- Padding --------------------------------------------------------------------------------------------- */

typedef enum { PAD_constant, PAD_edge, PAD_reflect, PAD_wrap, PAD_unknown } pad_mode;

static pad_mode pad_mode_of(op_call *c)
{
    static const char *const names[] = { "constant", "edge", "reflect", "wrap" };
    const char *s = attr_str("mode", "constant");
    for (int i = 0; i < 4; i++)
        if (!strcmp(s, names[i])) return (pad_mode)i;
    op_fail(c, "mode constant, edge, reflect or wrap expected, found %s", s);
    return PAD_unknown;
}

/* Which position of [0, d) stands at position i of the padded axis. */
static int64_t pad_source(pad_mode mode, int64_t i, int64_t d)
{
    if (mode == PAD_edge) return i < 0 ? 0 : i >= d ? d - 1 : i;
    int64_t period = mode == PAD_wrap ? d : 2 * (d - 1);
    if (period == 0) return 0;
    int64_t q = ((i % period) + period) % period;
    return q < d ? q : period - q;
}

/* The same over open extents, by maps on a ramp. */
static value pad_index(graph *g, pad_mode mode, dim d, dim lo, dim size)
{
    value i = sub(g, iota(g, DTYPE_i64, 1, &size, 0), constant_dim(g, DTYPE_i64, lo));
    value n = constant_dim(g, DTYPE_i64, d), last = constant_dim(g, DTYPE_i64, dim_addk(D, d, -1));
    if (mode == PAD_edge) return bin(g, SCALAR_min, bin_k(g, SCALAR_max, i, 0), last);
    if (mode == PAD_wrap) return bin(g, SCALAR_mod, i, n);
    value period = bin_k(g, SCALAR_mul, last, 2), q = bin(g, SCALAR_mod, i, period);
    return bin(g, SCALAR_min, q, sub(g, period, q));
}

enum { MOST_TABLED = 1 << 16 };  /* longer axes are computed at run time, however long a file says they are */

static value pad_by_index(graph *g, pad_mode mode, value x, int axis, dim lo, dim hi)
{
    dim d = dim_of(g, x, axis), size = dim_add(D, dim_add(D, d, lo), hi);
    int64_t nd, nlo, n;
    if (!dim_is_const(d, &nd) || !dim_is_const(lo, &nlo) || !dim_is_const(size, &n))
        return take(g, x, pad_index(g, mode, d, lo, size), axis);
    if (n < 0)
        return build_fail(g, "padding that leaves an extent of 0 or more expected, found %lld", (long long)n);
    if (nd == 0 && n > 0) return build_fail(g, "an axis of extent 0 cannot be padded from itself");
    if (n > MOST_TABLED) return take(g, x, pad_index(g, nd == 1 ? PAD_edge : mode, d, lo, size), axis);
    int64_t *src = NEW_ARRAY(g->arena, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) src[i] = pad_source(mode, i - nlo, nd);
    return take(g, x, op_ints(g, src, n, -1), axis);
}

/* Pad (1, 2, 11, 13, 18, 19, 21, 23, 24, 25): all pads of the starts, then of the ends; negative ones crop */
ONNX_OP(Pad)
{
    value x = in(0), with = NO_VALUE;
    if (!is_value(x)) return;
    type t = type_of(g, x);
    pad_mode mode = pad_mode_of(c);
    int n = 0, axes_n = t.rank;
    int64_t axes[MAX_RANK];
    dim p[2 * MAX_RANK], lo[MAX_RANK], hi[MAX_RANK];
    int64_t interior[MAX_RANK] = { 0 };
    for (int i = 0; i < t.rank; i++) {
        axes[i] = i;
        lo[i] = hi[i] = dim_const(0);
    }
    if (c->version < 11) {
        const int64_t *a = op_attr_ints(c, c->version < 2 ? "paddings" : "pads", &n);
        for (int i = 0; a && i < n && i < 2 * MAX_RANK; i++) p[i] = dim_const(a[i]);
        with = scalar_f64(g, t.dtype, attr_float("value", 0));
    } else {
        const dim *a = op_known_dims(c, 1, "pads", &n);
        if (!a) return;
        for (int i = 0; i < n && i < 2 * MAX_RANK; i++) p[i] = a[i];
        with = has_in(2) ? reshape(g, in(2), 0, NULL) : scalar_f64(g, t.dtype, 0);
        if (has_in(3) && !op_known_ints(c, 3, "axes", &axes_n, axes, MAX_RANK)) return;
    }
    if (n != 2 * axes_n) {
        op_fail(c, "%d pads expected, found %d", 2 * axes_n, n);
        return;
    }
    for (int i = 0; i < axes_n; i++) {
        int a = op_axis(c, axes[i], t.rank);
        lo[a] = p[i];
        hi[a] = p[i + axes_n];
    }
    if (mode == PAD_constant) x = pad(g, x, lo, hi, interior, with);
    else
        for (int a = 0; a < t.rank; a++)
            if (!dim_is(lo[a], 0) || !dim_is(hi[a], 0)) x = pad_by_index(g, mode, x, a, lo[a], hi[a]);
    if (mode != PAD_unknown) out(0, x);
}

/* CenterCropPad (18): crops or pads each axis around its middle */
ONNX_OP(CenterCropPad)
{
    value x = in(0);
    int n, na = 0;
    const dim *s = op_known_dims(c, 1, "shape", &n);
    const int64_t *axes = op_attr_ints(c, "axes", &na);
    if (!s || !is_value(x)) return;
    int rank = rank_of(g, x);
    if (n != (axes ? na : rank)) {
        op_fail(c, "one size for each of %d axes expected, found %d", axes ? na : rank, n);
        return;
    }
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t interior[MAX_RANK] = { 0 }, diff;
    for (int i = 0; i < rank; i++) lo[i] = hi[i] = dim_const(0);
    for (int i = 0; i < n; i++) {
        int a = axes ? op_axis(c, axes[i], rank) : i;
        if (!op_const_dim(c, dim_sub(D, s[i], dim_of(g, x, a)), "the growth of an axis", &diff)) return;
        lo[a] = dim_const(diff / 2);
        hi[a] = dim_const(diff - diff / 2);
    }
    out(0, pad(g, x, lo, hi, interior, scalar_f64(g, dtype_of(g, x), 0)));
}

/* -- Blocks of space and channels ------------------------------------------------------------------------ */

static bool block_size(op_call *c, graph *g, value x, int64_t *b)
{
    *b = attr_int("blocksize", 0);
    if (rank_of(g, x) != 4) op_fail(c, "a tensor of rank 4 expected, found rank %d", rank_of(g, x));
    else if (*b < 1 || *b > 1 << 20) op_fail(c, "a blocksize of 1 or more expected");
    return is_value(x) && !c->failed;
}

static bool mode_is_dcr(op_call *c)
{
    const char *m = attr_str("mode", "DCR");
    if (strcmp(m, "DCR") && strcmp(m, "CRD")) op_fail(c, "mode DCR or CRD expected, found %s", m);
    return !strcmp(m, "DCR");
}

ONNX_OP(DepthToSpace)
{
    value x = in(0);
    int64_t b;
    if (!block_size(c, g, x, &b)) return;
    type t = type_of(g, x);
    dim k = dim_const(b), C = dim_div(D, t.dims[1], dim_const(b * b)), N = t.dims[0], H = t.dims[2],
        W = t.dims[3];
    bool dcr = mode_is_dcr(c);
    value y = dcr ? transpose(g, reshape(g, x, 6, (dim[]){ N, k, k, C, H, W }), (int[]){ 0, 3, 4, 1, 5, 2 })
                  : transpose(g, reshape(g, x, 6, (dim[]){ N, C, k, k, H, W }), (int[]){ 0, 1, 4, 2, 5, 3 });
    out(0, reshape(g, y, 4, (dim[]){ N, C, dim_mul(D, H, k), dim_mul(D, W, k) }));
}

ONNX_OP(SpaceToDepth)
{
    value x = in(0);
    int64_t b;
    if (!block_size(c, g, x, &b)) return;
    type t = type_of(g, x);
    dim k = dim_const(b), N = t.dims[0], C = t.dims[1], H = dim_div(D, t.dims[2], k),
        W = dim_div(D, t.dims[3], k);
    value y = reshape(g, x, 6, (dim[]){ N, C, H, k, W, k });
    y = mode_is_dcr(c) ? transpose(g, y, (int[]){ 0, 3, 5, 1, 2, 4 })
                       : transpose(g, y, (int[]){ 0, 1, 3, 5, 2, 4 });
    out(0, reshape(g, y, 4, (dim[]){ N, dim_mulk(D, C, b * b), H, W }));
}

/* Adjoint of taking windows along one axis, without a scatter: with y[…, k, …, o, …],
 * result[…, i] = sum over k of y[k, (i + pad - dil k) / stride]; the axes k and o leave, i comes last. */
static value fold_axis(op_call *c, graph *g, value y, int k_axis, int o_axis, int64_t extent, int64_t stride,
                       int64_t dil, int64_t pad_lo)
{
    int64_t K, O, n;
    if (!op_const_dim(c, dim_of(g, y, k_axis), "a block's extent", &K) ||
        !op_const_dim(c, dim_of(g, y, o_axis), "the number of blocks", &O)) return NO_VALUE;
    if (!mul_ok(extent, K, &n) || n > 1 << 26)
        return build_fail(g, "fewer than 2^26 block positions expected");
    int64_t *k = NEW_ARRAY(g->arena, int64_t, n + 1), *o = NEW_ARRAY(g->arena, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t num = i / K + pad_lo - dil * (i % K);
        k[i] = i % K;
        /* O lies outside: reads 0 */
        o[i] = num >= 0 && num % stride == 0 && num / stride < O ? num / stride : O;
    }
    value idx[2] = { op_ints(g, k, extent, K), op_ints(g, o, extent, K) };
    value t = gather(g, y, 2, idx, (int[]){ k_axis, o_axis }, 0, NULL, NULL);
    t = reduce(g, REDUCE_sum, t, 1u << 1, false);
    return move_axis(g, t, 0, rank_of(g, t) - 1);
}

static void ints_or(op_call *c, const char *name, int n, int64_t other, int64_t *v)
{
    int m = 0;
    const int64_t *a = op_attr_ints(c, name, &m);
    if (a && m != n) op_fail(c, "%d %s expected, found %d", n, name, m);
    for (int i = 0; i < n; i++) v[i] = a && m == n ? a[i] : other;
}

/* Col2Im (18): x[N, C * blocks, L] -> y[N, C, image…] */
ONNX_OP(Col2Im)
{
    value x = in(0);
    int n, nb;
    int64_t im[MAX_RANK], bl[MAX_RANK], st[MAX_RANK], di[MAX_RANK], pa[2 * MAX_RANK], size = 1;
    if (!op_known_ints(c, 1, "image_shape", &n, im, MAX_RANK) ||
        !op_known_ints(c, 2, "block_shape", &nb, bl, MAX_RANK))
        return;
    if (n != nb || n < 1 || n > 6) {
        op_fail(c, "image and block of 1 to 6 dimensions expected, found %d and %d", n, nb);
        return;
    }
    ints_or(c, "strides", n, 1, st);
    ints_or(c, "dilations", n, 1, di);
    ints_or(c, "pads", 2 * n, 0, pa);
    if (!is_value(x) || c->failed) return;
    dim d[MAX_RANK];
    for (int i = 0; i < n; i++) {
        if (im[i] < 0 || im[i] > INT32_MAX || bl[i] < 1 || bl[i] > INT32_MAX || st[i] < 1 ||
            st[i] > INT32_MAX || di[i] < 1 || di[i] > INT32_MAX || !mul_ok(size, bl[i], &size) ||
            pa[i] < INT32_MIN || pa[i] > INT32_MAX) {
            op_fail(c, "positive sizes, strides and dilations expected");
            return;
        }
        d[2 + i] = dim_const(bl[i]);
        d[2 + n + i] = dim_const((im[i] + pa[i] + pa[i + n] - (di[i] * (bl[i] - 1) + 1)) / st[i] + 1);
    }
    d[0] = dim_of(g, x, 0);
    d[1] = dim_div(D, dim_of(g, x, 1), dim_const(size));
    value y = reshape(g, x, 2 + 2 * n, d);
    for (int i = 0; i < n; i++) y = fold_axis(c, g, y, 2, 2 + n - i, im[i], st[i], di[i], pa[i]);
    out(0, y);
}

/* -- Ramps and masks ------------------------------------------------------------------------------------- */

static value ramp(graph *g, dim n, int rank, int axis)
{
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) d[i] = i == axis ? n : dim_const(1);
    return iota(g, DTYPE_i64, rank, d, axis);
}

ONNX_OP(EyeLike)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    if (t.rank != 2) {
        op_fail(c, "a matrix expected, found rank %d", t.rank);
        return;
    }
    value i = iota(g, DTYPE_i64, 2, t.dims, 0), j = iota(g, DTYPE_i64, 2, t.dims, 1);
    int64_t k = attr_int("k", 0);
    value hot = bin(g, SCALAR_eq, k ? add(g, i, scalar_i64(g, DTYPE_i64, k)) : i, j);
    out(0, build_cast(g, hot, op_attr_dtype(c, "dtype", t.dtype), true, "up"));
}

ONNX_OP(Trilu)
{
    value x = in(0);
    int rank = rank_of(g, x);
    if (!is_value(x)) return;
    if (rank < 2) {
        op_fail(c, "matrices expected, found rank %d", rank);
        return;
    }
    value i = ramp(g, dim_of(g, x, rank - 2), 2, 0), j = ramp(g, dim_of(g, x, rank - 1), 2, 1);
    if (has_in(1)) i = add(g, i, reshape(g, cast(g, in(1), DTYPE_i64), 0, NULL));
    value keep = attr_int("upper", 1) ? bin(g, SCALAR_le, i, j) : bin(g, SCALAR_le, j, i);
    out(0, select3(g, keep, x, scalar_f64(g, dtype_of(g, x), 0)));
}

/* The number of steps of Range: ceil((limit - start) / delta), at least 0 */
static bool range_size(op_call *c, graph *g, dtype t, dim *size)
{
    static const char *const what[3] = { "start", "limit", "delta" };
    int n;
    if (is_float(t)) {
        double v[3];
        for (int i = 0; i < 3; i++)
            if (!op_known_floats(c, i, what[i], &n, &v[i], 1)) return false;
        double steps = ceil((v[1] - v[0]) / v[2]);
        if (!(v[2] != 0) || !(fabs(steps) < 1e15)) {
            op_fail(c, "a finite number of steps expected");
            return false;
        }
        *size = dim_const(steps > 0 ? (int64_t)steps : 0);
        return true;
    }
    const dim *v[3];
    int64_t delta;
    for (int i = 0; i < 3; i++) {
        v[i] = op_known(c, i, what[i], &n);
        if (!v[i]) return false;
        if (n != 1) {
            op_fail(c, "one number as %s expected", what[i]);
            return false;
        }
    }
    if (!op_const_dim(c, v[2][0], "delta", &delta)) return false;
    if (delta == 0) {
        op_fail(c, "a delta other than 0 expected");
        return false;
    }
    dim span = delta > 0 ? dim_sub(D, v[1][0], v[0][0]) : dim_sub(D, v[0][0], v[1][0]);
    dim steps = dim_ceildiv(D, span, dim_const(delta > 0 ? delta : -delta));
    *size = dim_known_le(D, dim_const(0), steps) ? steps : dim_max(D, dim_const(0), steps);
    return true;
}

/* Range (11, 27): f16 and bf16 count in f32 where stash_type says so (a map does in any case) */
ONNX_OP(Range)
{
    value start = reshape(g, in(0), 0, NULL), delta = reshape(g, in(2), 0, NULL);
    dim n;
    dtype t = dtype_of(g, start), wide = compute_dtype(t);
    if (!is_value(start) || !is_value(delta) || !range_size(c, g, t, &n)) return;
    value y = mul(g, iota(g, wide, 1, &n, 0), cast(g, delta, wide));
    out(0, cast(g, add(g, y, cast(g, start, wide)), t));
}
