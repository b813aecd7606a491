/* build_composite: the vocabulary above the primitives: everything here is a composition of ir/build.h's
 * primitives.
 *
 * Why    Front ends, gradients and passes say softmax, matmul, conv, take, cast to an 8-bit float; the
 *        compiler behind them knows primitives only. What is written here once has a gradient, a lowering and
 *        a kernel at once.
 * How    Short functions over the builder. Operands are aligned as NumPy does (rank raised by leading 1s);
 *        stretching is left to `map`, which takes extents of 1. Errors are sticky, so nothing is checked that
 *        a primitive checks.
 * Keeps  a scalar is a rank-0 constant, a splat its broadcast, a ramp an iota: never a dense literal.
 * Floats f16 and bf16: means and the like work in f32 and round once at their end.
 * See    docs/primitives.md; tests/ir/test_build_composite.c
 */
#include "ir/build_inner.h"

#include <math.h>

static const dim ONE = { 1 };

/* -- Scalars and splats ---------------------------------------------------------------------------------- */

static value scalar_bits(graph *g, dtype t, scalar_value v)
{
    unsigned char raw[8] = { 0 };
    sv_store(carrier_dtype(t), raw, v);
    return constant(g, t, 0, NULL, raw, NULL);
}

/* A storage type: zero is zero bits; other numbers are encoded. */
value scalar_f64(graph *g, dtype t, double x)
{
    if (is_storage(t) && x != 0) return build_cast(g, scalar_f64(g, DTYPE_f32, x), t, true, "up");
    return scalar_bits(g, t, sv_from_f64(carrier_dtype(t), x));
}

value scalar_i64(graph *g, dtype t, int64_t x)
{
    if (is_storage(t) && x != 0) return build_cast(g, scalar_i64(g, DTYPE_i64, x), t, true, "up");
    return scalar_bits(g, t, sv_from_i64(carrier_dtype(t), x));
}

static value raise_rank(graph *g, value x, int rank)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    if (t.rank >= rank) return x;
    if (rank > MAX_RANK) return build_fail(g, "at most %d dimensions, found %d", MAX_RANK, rank);
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) d[i] = i < rank - t.rank ? ONE : t.dims[i - (rank - t.rank)];
    return reshape(g, x, rank, d);
}

value splat(graph *g, value rank0, int rank, const dim *d)
{
    return broadcast(g, raise_rank(g, rank0, rank), rank, d);
}

value splat_like(graph *g, value x, double v)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    return splat(g, scalar_f64(g, t.dtype, v), t.rank, t.dims);
}

/* -- Maps ------------------------------------------------------------------------------------------------ */

static value map_aligned(graph *g, scalar fn, int n, const value *x)
{
    value y[3];
    int rank = 0;
    for (int i = 0; i < n; i++) {
        if (!is_value(x[i])) return NO_VALUE;
        int r = type_of(g, x[i]).rank;
        if (r > rank) rank = r;
    }
    for (int i = 0; i < n; i++) y[i] = raise_rank(g, x[i], rank);
    return map(g, fn, n, y);
}

value un(graph *g, scalar fn, value x) { return map_aligned(g, fn, 1, (value[]){ x }); }
value bin(graph *g, scalar fn, value a, value b) { return map_aligned(g, fn, 2, (value[]){ a, b }); }
value bin_k(graph *g, scalar fn, value a, double k)
{
    return bin(g, fn, a, scalar_f64(g, dtype_of(g, a), k));
}

value k_bin(graph *g, scalar fn, double k, value a)
{
    return bin(g, fn, scalar_f64(g, dtype_of(g, a), k), a);
}

value select3(graph *g, value c, value a, value b)
{
    return map_aligned(g, SCALAR_select, 3, (value[]){ c, a, b });
}

value greater(graph *g, value a, value b) { return bin(g, SCALAR_lt, b, a); }
value greater_equal(graph *g, value a, value b) { return bin(g, SCALAR_le, b, a); }
value not_equal(graph *g, value a, value b) { return un(g, SCALAR_not, bin(g, SCALAR_eq, a, b)); }
value is_nan(graph *g, value x) { return not_equal(g, x, x); }

/* log(1 + exp x) without overflow */
value softplus(graph *g, value x)
{
    value tail = un(g, SCALAR_log1p, un(g, SCALAR_exp, un(g, SCALAR_neg, un(g, SCALAR_abs, x))));
    return add(g, tail, un(g, SCALAR_relu, x));
}

/* f16 and bf16 widened to f32; *narrow says what to round to at the end. */
static value widen(graph *g, value x, dtype *narrow)
{
    *narrow = dtype_of(g, x);
    return cast(g, x, compute_dtype(*narrow));
}

/* -- Storage formats ----------------------------------------------------------------------------------------
 * An element of e exponent and m mantissa bits with bias b, code = sign | E << m | M:
 *     E > 0: 2^(E-b) (1 + M/2^m)         E = 0: M 2^(1-b-m)
 * decoded by moving the fields into an f32's places, encoded by rounding |x| 2^(m-E) to an integer q and
 * adding it to the exponent field, so that a carry out of the mantissa moves into the exponent by itself. No
 * tables: it vectorizes. */

typedef enum { KIND_FN, KIND_FNUZ, KIND_IEEE, KIND_FINITE } format_kind;
typedef struct { dtype t; int e, m, bias; format_kind kind; } format;
static const format formats[] = {
    { DTYPE_f8e4m3fn, 4, 3, 7, KIND_FN },       { DTYPE_f8e4m3fnuz, 4, 3, 8, KIND_FNUZ },
    { DTYPE_f8e5m2, 5, 2, 15, KIND_IEEE },      { DTYPE_f8e5m2fnuz, 5, 2, 16, KIND_FNUZ },
    { DTYPE_f4e2m1, 2, 1, 1, KIND_FINITE },     { DTYPE_f6e2m3, 2, 3, 1, KIND_FINITE },
    { DTYPE_f6e3m2, 3, 2, 3, KIND_FINITE },
};

static const format *format_of(dtype t)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].t == t) return &formats[i];
    return NULL;
}

static bool is_small_int(dtype t) { return t == DTYPE_u4 || t == DTYPE_i4 || t == DTYPE_u2 || t == DTYPE_i2; }

static value select_k(graph *g, value c, double k, value b)
{
    return select3(g, c, scalar_f64(g, dtype_of(g, b), k), b);
}

static value eq_k(graph *g, value a, double k) { return bin_k(g, SCALAR_eq, a, k); }
static value gt_k(graph *g, value a, double k) { return k_bin(g, SCALAR_lt, k, a); }

static value decode_e8m0(graph *g, value i)
{
    value bits = select_k(g, eq_k(g, i, 0), 0x400000, bin_k(g, SCALAR_shl, i, 23));  /* 2^-127 is subnormal */
    return select_k(g, eq_k(g, i, 255), (double)NAN, bitcast(g, bits, DTYPE_f32));
}

static value decode_float(graph *g, value i, const format *f)
{
    int e = f->e, m = f->m;
    value E = bin_k(g, SCALAR_and, bin_k(g, SCALAR_shr, i, m), (1 << e) - 1);
    value M = bin_k(g, SCALAR_and, i, (1 << m) - 1);
    value sign = bin_k(g, SCALAR_shl, bin_k(g, SCALAR_and, bin_k(g, SCALAR_shr, i, e + m), 1), 31);
    value normal = add(g, bin_k(g, SCALAR_shl, bin_k(g, SCALAR_add, E, 127 - f->bias), 23),
                       bin_k(g, SCALAR_shl, M, 23 - m));
    value tiny = bitcast(g, bin_k(g, SCALAR_mul, cast(g, M, DTYPE_f32), ldexp(1, 1 - f->bias - m)),
                         DTYPE_i32);
    value v = bitcast(g, bin(g, SCALAR_or, sign, select3(g, eq_k(g, E, 0), tiny, normal)), DTYPE_f32);

    switch (f->kind) {
    case KIND_FN: return select_k(g, eq_k(g, bin_k(g, SCALAR_and, i, 0x7f), 0x7f), (double)NAN, v);
    case KIND_FNUZ: return select_k(g, eq_k(g, i, 0x80), (double)NAN, v);
    case KIND_IEEE: {
        value inf = select3(g, eq_k(g, sign, 0), scalar_f64(g, DTYPE_f32, (double)INFINITY),
                            scalar_f64(g, DTYPE_f32, (double)-INFINITY));
        value top = select3(g, eq_k(g, M, 0), inf, scalar_f64(g, DTYPE_f32, (double)NAN));
        return select3(g, eq_k(g, E, (1 << e) - 1), top, v);
    }
    case KIND_FINITE: return v;
    }
    return v;
}

value decode_storage(graph *g, value x)
{
    if (!is_value(x)) return NO_VALUE;
    dtype t = dtype_of(g, x);
    if (!is_storage(t)) return x;
    if (is_small_int(t)) return bitcast(g, x, carrier_dtype(t));
    value i = cast(g, bitcast(g, x, DTYPE_u8), DTYPE_i32);
    return t == DTYPE_f8e8m0 ? decode_e8m0(g, i) : decode_float(g, i, format_of(t));
}

/* Sub-byte integers wrap: the low bits, sign-extended for i4 and i2. */
static value encode_int(graph *g, value x, dtype t)
{
    double shift = 8 - dtype_info[t].bits;
    value w = cast(g, is_float(dtype_of(g, x)) ? cast(g, x, DTYPE_i32) : x, DTYPE_u8);
    value top = bin_k(g, SCALAR_shl, bitcast(g, w, carrier_dtype(t)), shift);
    return bitcast(g, bin_k(g, SCALAR_shr, top, shift), t);
}

static value encode_e8m0(graph *g, value bits, bool saturate, const char *round_mode)
{
    value a = bin_k(g, SCALAR_and, bits, 0x7fffffff);
    value E = bin_k(g, SCALAR_shr, a, 23), M = bin_k(g, SCALAR_and, a, 0x7fffff);
    value r = E;
    if (!strcmp(round_mode, "up")) r = add(g, E, cast(g, gt_k(g, M, 0), DTYPE_i32));
    if (!strcmp(round_mode, "nearest")) r = add(g, E, cast(g, gt_k(g, M, 0x3fffff), DTYPE_i32));
    if (saturate) r = bin_k(g, SCALAR_min, r, 254);
    r = select_k(g, gt_k(g, a, 0x7f800000), 255, r);
    return bitcast(g, cast(g, r, DTYPE_u8), DTYPE_f8e8m0);
}

static value encode_float(graph *g, value bits, const format *f, bool saturate)
{
    int e = f->e, m = f->m, full = (1 << (e + m)) - 1;
    static const int nan_of[] = {
        [KIND_FN] = 0x7f, [KIND_FNUZ] = 0x80, [KIND_IEEE] = 0x7f, [KIND_FINITE] = 0
    };
    const int top_of[] = {
        [KIND_FN] = full - 1, [KIND_FNUZ] = full, [KIND_IEEE] = full - (1 << m), [KIND_FINITE] = full
    };
    const int over_of[] = {
        [KIND_FN] = 0x7f, [KIND_FNUZ] = 0x80, [KIND_IEEE] = full - (1 << m) + 1, [KIND_FINITE] = full
    };
    int top = top_of[f->kind], over = saturate ? top : over_of[f->kind];

    value a = bin_k(g, SCALAR_and, bits, 0x7fffffff);
    value nan = gt_k(g, a, 0x7f800000);
    value sign = bin_k(g, SCALAR_shl, bin_k(g, SCALAR_and, bin_k(g, SCALAR_shr, bits, 31), 1), e + m);
    value E = bin_k(g, SCALAR_max, bin_k(g, SCALAR_sub, bin_k(g, SCALAR_shr, a, 23), 127), 1 - f->bias);
    /* 2^(m-E) */
    value scale = bitcast(g, bin_k(g, SCALAR_shl, k_bin(g, SCALAR_sub, 127 + m, E), 23), DTYPE_f32);
    value q = un(g, SCALAR_rint, mul(g, bitcast(g, a, DTYPE_f32), scale));
    value big = k_bin(g, SCALAR_le, 0x7f800000, a);
    q = cast(g, select_k(g, big, 0, q), DTYPE_i32);
    value code = add(g, bin_k(g, SCALAR_shl, bin_k(g, SCALAR_add, E, f->bias), m),
                     bin_k(g, SCALAR_sub, q, 1 << m));
    code = select_k(g, bin(g, SCALAR_or, big, gt_k(g, code, top)), over, code);
    code = select_k(g, nan, nan_of[f->kind], code);
    if (f->kind == KIND_FINITE) sign = select_k(g, nan, 1 << (e + m), sign);    /* no NaN in the format: -0 */
    value with_sign = bin(g, SCALAR_or, code, sign);
    if (f->kind == KIND_FNUZ)
        with_sign = select3(g, bin(g, SCALAR_or, eq_k(g, code, 0), eq_k(g, code, 0x80)), code, with_sign);
    return bitcast(g, cast(g, with_sign, DTYPE_u8), f->t);
}

value build_cast(graph *g, value x, dtype to, bool saturate, const char *round_mode)
{
    if (!is_value(x)) return NO_VALUE;
    if (dtype_of(g, x) == to) return x;
    x = decode_storage(g, x);
    if (dtype_of(g, x) == to) return x;
    if (!is_storage(to)) return cast(g, x, to);
    if (is_small_int(to)) return encode_int(g, x, to);
    value bits = bitcast(g, cast(g, x, DTYPE_f32), DTYPE_i32);
    return to == DTYPE_f8e8m0 ? encode_e8m0(g, bits, saturate, round_mode)
                              : encode_float(g, bits, format_of(to), saturate);
}

/* -- Shapes ---------------------------------------------------------------------------------------------- */

value unsqueeze(graph *g, value x, uint32_t axes)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    int rank = t.rank + __builtin_popcount(axes);
    if (rank > MAX_RANK) return build_fail(g, "at most %d dimensions, found %d", MAX_RANK, rank);
    if (axes >> rank) return build_fail(g, "an axis to insert lies beyond the result's rank %d", rank);
    dim d[MAX_RANK];
    for (int i = 0, k = 0; i < rank; i++) d[i] = axes >> i & 1 ? ONE : t.dims[k++];
    return reshape(g, x, rank, d);
}

value squeeze(graph *g, value x, uint32_t axes)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    dim d[MAX_RANK];
    int rank = 0;
    for (int i = 0; i < t.rank; i++)
        if (!(axes >> i & 1)) d[rank++] = t.dims[i];
    return reshape(g, x, rank, d);
}

value expand_to(graph *g, value x, int rank, const dim *d)
{
    return broadcast(g, raise_rank(g, x, rank), rank, d);
}

bool broadcast_shapes(graph *g, type a, type b, int *rank, dim *d)
{
    *rank = a.rank > b.rank ? a.rank : b.rank;
    for (int i = 0; i < *rank; i++) {
        int ia = i - (*rank - a.rank), ib = i - (*rank - b.rank);
        dim p = ia < 0 ? ONE : a.dims[ia], q = ib < 0 ? ONE : b.dims[ib];
        if (dim_is(q, 1) || dim_same(p, q)) d[i] = p;
        else if (dim_is(p, 1)) d[i] = q;
        else if (dims_agree(g, p, q)) d[i] = dim_is_const(q, NULL) ? q : p;
        else {
            text s = { .a = g->arena }, u = { .a = g->arena };
            type_print(g, a, &s);
            type_print(g, b, &u);
            build_fail_dims(g, (dim[]){ p, q }, 2, "shapes that broadcast together expected, found %s and %s",
                            text_str(&s), text_str(&u));
            return false;
        }
    }
    return true;
}

value slice_axis(graph *g, value x, int axis, dim start, dim size, int64_t step)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    dim st[MAX_RANK], sz[MAX_RANK];
    int64_t sp[MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        st[i] = i == axis ? start : dim_const(0);
        sz[i] = i == axis ? size : t.dims[i];
        sp[i] = i == axis ? step : 1;
    }
    return slice(g, x, st, sz, sp);
}

value flip(graph *g, value x, int axis)
{
    dim d = dim_of(g, x, axis);
    if (!is_value(x) || dim_is(d, 0) || dim_is(d, 1)) return x;
    return slice_axis(g, x, axis, dim_addk(g->dims, d, -1), d, -1);
}

value pad_axis(graph *g, value x, int axis, dim lo, dim hi, value with)
{
    if (!is_value(x)) return NO_VALUE;
    dim l[MAX_RANK], h[MAX_RANK];
    int64_t interior[MAX_RANK] = { 0 };
    for (int i = 0; i < MAX_RANK; i++) l[i] = h[i] = dim_const(0);
    l[axis] = lo;
    h[axis] = hi;
    return pad(g, x, l, h, interior, with);
}

value swap_axes(graph *g, value x, int a, int b)
{
    int perm[MAX_RANK];
    for (int i = 0; i < MAX_RANK; i++) perm[i] = i;
    perm[a] = b;
    perm[b] = a;
    return transpose(g, x, perm);
}

value move_axis(graph *g, value x, int from, int to)
{
    int perm[MAX_RANK], rank = rank_of(g, x), k = 0;
    for (int i = 0; i < rank; i++) {
        if (i == to) { perm[i] = from; continue; }
        if (k == from) k++;
        perm[i] = k++;
    }
    return transpose(g, x, perm);
}

/* -- Reductions ------------------------------------------------------------------------------------------ */

static value put_back(graph *g, value y, type x, uint32_t axes)
{
    dim d[MAX_RANK];
    for (int i = 0; i < x.rank; i++) d[i] = axes >> i & 1 ? ONE : x.dims[i];
    return is_value(y) ? reshape(g, y, x.rank, d) : NO_VALUE;
}

value reduce_keep(graph *g, reduce_kind kind, value x, uint32_t axes)
{
    if (!is_value(x)) return NO_VALUE;
    type t = type_of(g, x);
    return put_back(g, reduce(g, kind, x, axes, false), t, axes);
}

static dim extent_of(graph *g, value x, uint32_t axes)
{
    dim n = ONE;
    for (int i = 0; i < rank_of(g, x); i++)
        if (axes >> i & 1) n = dim_mul(g->dims, n, dim_of(g, x, i));
    return n;
}

/* A dim as a number of type t, rank 0 */
static value dim_as(graph *g, dtype t, dim d)
{
    int64_t v;
    if (dim_is_const(d, &v)) return scalar_i64(g, t, v);
    return cast(g, constant_dim(g, DTYPE_i64, d), t);
}

value mean_over(graph *g, value x, uint32_t axes, bool keep)
{
    if (!is_value(x)) return NO_VALUE;
    dtype narrow;
    value w = widen(g, x, &narrow);
    value s = keep ? reduce_keep(g, REDUCE_sum, w, axes) : reduce(g, REDUCE_sum, w, axes, false);
    return cast(g, divide(g, s, dim_as(g, dtype_of(g, w), extent_of(g, x, axes))), narrow);
}

/* f16 and bf16 round at each step, as ONNX's expansion of the operator does, where their sum cannot overflow:
 * at most 2^15 terms of at most 1. */
value softmax(graph *g, value x, uint32_t axes)
{
    int64_t lo, hi;
    dtype narrow = dtype_of(g, x);
    dim_range(g->dims, extent_of(g, x, axes), &lo, &hi);
    bool is_narrow = compute_dtype(narrow) != narrow;
    if (is_narrow && hi > 1 << 15) x = widen(g, x, &narrow);
    value e = un(g, SCALAR_exp, sub(g, x, reduce_keep(g, REDUCE_max, x, axes))),
          s = reduce_keep(g, REDUCE_sum, e, axes);
    if (is_narrow) return cast(g, divide(g, e, s), narrow);
    return mul(g, e, k_bin(g, SCALAR_div, 1, s));            /* s is at least 1 */
}

value log_softmax(graph *g, value x, uint32_t axes)
{
    dtype narrow;
    x = widen(g, x, &narrow);
    value z = sub(g, x, reduce_keep(g, REDUCE_max, x, axes));
    value s = un(g, SCALAR_log, reduce_keep(g, REDUCE_sum, un(g, SCALAR_exp, z), axes));
    return cast(g, sub(g, z, s), narrow);
}

/* Running sum, product, maximum or minimum: a scan along the axis, wide for narrow floats. */
value cumulate(graph *g, cum_kind kind, value x, int axis, bool exclusive, bool reverse)
{
    static const scalar fn_of[] = {
        [CUM_add] = SCALAR_add, [CUM_mul] = SCALAR_mul, [CUM_max] = SCALAR_max, [CUM_min] = SCALAR_min
    };
    if (!is_value(x)) return NO_VALUE;
    value xs = move_axis(g, x, axis, 0);
    if (!is_value(xs)) return NO_VALUE;
    type t = type_of(g, xs);
    dtype wide = compute_dtype(t.dtype);
    scalar_value start = kind == CUM_max ? sv_lowest(wide) : kind == CUM_min ? sv_highest(wide)
                       : sv_from_i64(wide, kind == CUM_mul);
    value init = splat(g, scalar_bits(g, wide, start), t.rank - 1, t.dims + 1);

    graph *body = graph_body(g, "cumulate");
    value acc = input(body, "acc", wide, t.rank - 1, t.dims + 1);
    value xt = input(body, "x", t.dtype, t.rank - 1, t.dims + 1);
    value next = bin(body, fn_of[kind], acc, cast(body, xt, wide));
    add_result(body, next, NULL);
    add_result(body, cast(body, exclusive ? acc : next, t.dtype), NULL);

    value y[2];
    if (!scan(g, body, 1, 1, t.dims[0], reverse, 2, (value[]){ init, xs }, y)) return NO_VALUE;
    return move_axis(g, y[1], 0, axis);
}

/* -- Indexing -------------------------------------------------------------------------------------------- */

/* Known positions start, start+step, …, all inside [0, n): a slice, not a gather. */
static bool is_progression(graph *g, const dim *p, int count, dim n, int64_t *step)
{
    *step = 1;
    if (count > 1 && !dim_is_const(dim_sub(g->dims, p[1], p[0]), step)) return false;
    if (*step == 0) return false;
    for (int i = 0; i < count; i++) {
        if (i > 0 && !dim_is(dim_sub(g->dims, p[i], p[i - 1]), *step)) return false;
        if (!dim_known_le(g->dims, dim_const(0), p[i]) || !dim_known_lt(g->dims, p[i], n)) return false;
    }
    return count > 0;
}

static value take_slice(graph *g, value x, type idx, dim start, int count, int64_t step, int axis)
{
    type t = type_of(g, x);
    value y = slice_axis(g, x, axis, start, dim_const(count), step);
    if (t.rank - 1 + idx.rank > MAX_RANK) return build_fail(g, "at most %d dimensions", MAX_RANK);
    dim d[MAX_RANK];
    int r = 0;
    for (int i = 0; i < t.rank; i++) {
        if (i != axis) { d[r++] = t.dims[i]; continue; }
        for (int j = 0; j < idx.rank; j++) d[r++] = idx.dims[j];
    }
    return reshape(g, y, r, d);
}

value take(graph *g, value x, value idx, int axis)
{
    if (!is_value(x) || !is_value(idx)) return NO_VALUE;
    type ti = type_of(g, idx);
    int n;
    int64_t step;
    const dim *p = known_ints(g, idx, &n);
    if (p && is_progression(g, p, n, dim_of(g, x, axis), &step))
        return take_slice(g, x, ti, p[0], n, step, axis);

    value y = gather(g, x, 1, &idx, &axis, 0, NULL, NULL);
    int perm[MAX_RANK], r = 0, rank = rank_of(g, y);
    if (!is_value(y)) return NO_VALUE;
    for (int i = 0; i < axis; i++) perm[r++] = ti.rank + i;
    for (int i = 0; i < ti.rank; i++) perm[r++] = i;
    for (; r < rank; r++) perm[r] = r;
    return transpose(g, y, perm);
}

value wrap_index(graph *g, value idx, dim n)
{
    if (!is_value(idx)) return NO_VALUE;
    type t = type_of(g, idx);
    if (t.dtype == DTYPE_u8 || t.dtype == DTYPE_u16 || t.dtype == DTYPE_u32 || t.dtype == DTYPE_u64 ||
        t.dtype == DTYPE_i8 || t.dtype == DTYPE_i16) return wrap_index(g, cast(g, idx, DTYPE_i64), n);
    int count;
    const dim *p = known_ints(g, idx, &count);
    if (p) {
        dim *q = NEW_ARRAY(g->arena, dim, count);
        bool all = true, none = true;
        for (int i = 0; i < count; i++) {
            bool is_neg = dim_known_lt(g->dims, p[i], dim_const(0));
            if (!is_neg && !dim_known_le(g->dims, dim_const(0), p[i])) all = false;
            if (is_neg) none = false;
            q[i] = is_neg ? dim_add(g->dims, p[i], n) : p[i];
        }
        if (all && none) return idx;
        if (all) return reshape(g, constant_dims(g, t.dtype, q, count), t.rank, t.dims);
    }
    value is_neg = bin_k(g, SCALAR_lt, idx, 0);
    return select3(g, is_neg, add(g, idx, dim_as(g, t.dtype, n)), idx);
}

value take_along(graph *g, value x, value idx, int axis)
{
    if (!is_value(x) || !is_value(idx)) return NO_VALUE;
    type t = type_of(g, x), ti = type_of(g, idx);
    if (t.rank != ti.rank)
        return build_fail(g, "indices of rank %d expected, found rank %d", t.rank, ti.rank);
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t step[MAX_RANK];
    int batch[MAX_RANK], nb = 0;
    for (int i = 0; i < t.rank; i++) {
        start[i] = dim_const(0);
        step[i] = 1;
        size[i] = i == axis ? t.dims[i] : ti.dims[i];
        if (i != axis) batch[nb++] = i;
    }
    return gather(g, slice(g, x, start, size, step), 1, &idx, &axis, nb, batch, batch);
}

/* -- Products -------------------------------------------------------------------------------------------- */

/* Leading dims are batch labels A, B, …; one of extent 1 is dropped, so that it is a free dim of the other
 * operand and nothing is stretched. */
value matmul(graph *g, value a, value b, dtype acc, dtype out)
{
    if (!is_value(a) || !is_value(b)) return NO_VALUE;
    bool va = rank_of(g, a) == 1, vb = rank_of(g, b) == 1;
    if (rank_of(g, a) == 0 || rank_of(g, b) == 0) return build_fail(g, "a matrix product takes no scalars");
    if (va) a = unsqueeze(g, a, 1);
    if (vb) b = unsqueeze(g, b, 2);
    if (!is_value(a) || !is_value(b)) return NO_VALUE;
    int nb = (rank_of(g, a) > rank_of(g, b) ? rank_of(g, a) : rank_of(g, b)) - 2;
    a = raise_rank(g, a, nb + 2);
    b = raise_rank(g, b, nb + 2);
    if (!is_value(a) || !is_value(b)) return NO_VALUE;

    type ta = type_of(g, a), tb = type_of(g, b);
    char la[MAX_RANK + 1] = "", lb[MAX_RANK + 1] = "", lo[MAX_RANK + 1] = "";
    dim sa[MAX_RANK], sb[MAX_RANK], so[MAX_RANK];
    int ra = 0, rb = 0, ro = 0;
    for (int d = 0; d < nb; d++) {
        bool in_a = !dim_is(ta.dims[d], 1), in_b = !dim_is(tb.dims[d], 1);
        so[d] = in_a ? ta.dims[d] : tb.dims[d];
        if (in_a) { la[ra] = (char)('A' + d); sa[ra++] = ta.dims[d]; }
        if (in_b) { lb[rb] = (char)('A' + d); sb[rb++] = tb.dims[d]; }
        if (in_a || in_b) lo[ro++] = (char)('A' + d);
    }
    dim m = ta.dims[nb], n = tb.dims[nb + 1];
    la[ra] = 'm'; sa[ra++] = m; la[ra] = 'k'; sa[ra++] = ta.dims[nb + 1];
    lb[rb] = 'k'; sb[rb++] = tb.dims[nb]; lb[rb] = 'n'; sb[rb++] = n;
    lo[ro++] = 'm'; lo[ro++] = 'n';

    contract_spec s = { .la = la, .lb = lb, .lo = lo, .acc = acc, .out = out };
    value y = contract(g, reshape(g, a, ra, sa), reshape(g, b, rb, sb), NO_VALUE, &s);
    int r = nb;
    if (!va) so[r++] = m;
    if (!vb) so[r++] = n;
    return is_value(y) ? reshape(g, y, r, so) : NO_VALUE;
}

/* Groups are one more batch label g; a channel label of extent 1 in a grouped convolution (depthwise) is left
 * out. The spatial labels: i of the input "abc…", k of the kernel "rst…", o of the result "xyz…" are given
 * letters in order. */
value conv(graph *g, value x, value w, value bias, const conv_spec *s)
{
    if (!is_value(x) || !is_value(w)) return NO_VALUE;
    type tx = type_of(g, x), tw = type_of(g, w);
    int n = s->n;
    if (tx.rank != n + 2 || tw.rank != n + 2)
        return build_fail(g, "input and weights of rank %d expected, found %d and %d", n + 2, tx.rank,
                          tw.rank);
    if (n > 4) return build_fail(g, "convolution over at most 4 dimensions, found %d", n);
    static const char I[] = "hijl", K[] = "rstu", O[] = "yxzv";
    dims *D = g->dims;
    int64_t groups = s->groups;
    bool grouped = groups != 1;
    dim per_x = dim_div(D, tx.dims[1], dim_const(groups));                     /* input channels of a group */
    dim w0 = grouped ? dim_div(D, tw.dims[0], dim_const(groups)) : tw.dims[0];
    dim per_y = s->transposed ? tw.dims[1] : w0, M = dim_mulk(D, per_y, groups);
    if (grouped && (!dim_divides(D, tx.dims[1], groups) || !dim_divides(D, tw.dims[0], groups)))
        return build_fail_dims(g, (dim[]){ tx.dims[1], tw.dims[0] }, 2,
                               "channels that %lld groups divide expected", (long long)groups);
    if (!dim_same(per_x, s->transposed ? w0 : tw.dims[1])) {
        text u = { .a = g->arena }, v = { .a = g->arena };
        type_print(g, tx, &u);
        type_print(g, tw, &v);
        return build_fail_dims(
            g, (dim[]){ per_x, tw.dims[1] }, 2,
            "weights for the channels of the input expected, found input %s, weights %s, %lld groups",
            text_str(&u), text_str(&v), (long long)groups);
    }
    bool has_c = !grouped || !dim_is(per_x, 1), has_m = !grouped || !dim_is(per_y, 1);

    char lx[MAX_RANK + 1] = "", lw[MAX_RANK + 1] = "", lo[MAX_RANK + 1] = "";
    dim sx[MAX_RANK], sw[MAX_RANK], sb[MAX_RANK], so[MAX_RANK];
    int rx = 0, rw = 0, ro = 0;
    lx[rx] = 'n'; sx[rx++] = tx.dims[0];
    lo[ro] = 'n'; sb[ro++] = ONE;
    if (grouped) {
        lx[rx] = 'g'; sx[rx++] = dim_const(groups);
        lw[rw] = 'g'; sw[rw++] = dim_const(groups);
        lo[ro] = 'g'; sb[ro++] = dim_const(groups);
    }
    if (has_c) { lx[rx] = 'c'; sx[rx++] = per_x; }
    if (has_c && s->transposed) { lw[rw] = 'c'; sw[rw++] = per_x; }
    if (has_m) { lw[rw] = 'o'; sw[rw++] = per_y; lo[ro] = 'o'; sb[ro++] = per_y; }
    if (has_c && !s->transposed) { lw[rw] = 'c'; sw[rw++] = per_x; }
    so[0] = tx.dims[0];
    so[1] = M;

    window_spec win[MAX_RANK];
    for (int d = 0; d < n; d++) {
        lx[rx] = I[d]; sx[rx++] = tx.dims[2 + d];
        lw[rw] = K[d]; sw[rw++] = tw.dims[2 + d];
        lo[ro] = O[d]; sb[ro++] = ONE;
        so[2 + d] = s->size[d];
        relation plain = {
            .idil = s->idil[d] ? s->idil[d] : 1, .stride = s->stride[d], .dil = s->dil[d], .pad = s->pad[d]
        };
        /* stride i = o - dil k + pad */
        relation adjoint = { .idil = s->stride[d], .stride = 1, .dil = -s->dil[d], .pad = -s->pad[d] };
        win[d] = (window_spec){ I[d], K[d], O[d], s->transposed ? adjoint : plain, s->size[d] };
    }
    dtype acc = s->acc == DTYPE_NONE ? compute_dtype(tx.dtype) : s->acc;
    value init = NO_VALUE;
    if (is_value(bias)) {
        if (!dim_same(type_elements(g, type_of(g, bias)), M))
            return build_fail(g, "one bias for each output channel expected");
        init = reshape(g, cast(g, bias, acc), ro, sb);
    }
    /* the order of the sum: channels, then taps */
    char order[MAX_RANK + 1] = "";
    int no = 0;
    if (has_c) order[no++] = 'c';
    for (int d = 0; d < n; d++) order[no++] = K[d];
    contract_spec spec = { .la = lx, .lb = lw, .lo = lo, .order = order, .n_windows = n, .windows = win,
                           .acc = s->acc, .out = s->out };
    value y = contract(g, reshape(g, x, rx, sx), reshape(g, w, rw, sw), init, &spec);
    return is_value(y) ? reshape(g, y, n + 2, so) : NO_VALUE;
}

/* -- Random numbers -----------------------------------------------------------------------------------------
 * key: u32[5]. Uniform in [0, 1): 24 bits of a word, for f64 53 bits of two. Normal: Box-Muller in double by
 * pairs of words, the word under the logarithm moved up by one step so that it is finite. */

static value word_part(graph *g, value words, int axis, int64_t j, int shift)
{
    value w = squeeze(g, slice_axis(g, words, axis, dim_const(j), ONE, 1), 1u << axis);
    return cast(g, bin_k(g, SCALAR_shr, w, shift), DTYPE_f64);
}

value uniform01(graph *g, value key, dtype t, int rank, const dim *d)
{
    if (t != DTYPE_f64) {
        value b = cast(g, bin_k(g, SCALAR_shr, random_bits(g, key, rank, d), 8), DTYPE_f32);
        return cast(g, bin_k(g, SCALAR_mul, b, 1.0 / 16777216.0), t);
    }
    dim pairs[MAX_RANK];
    if (rank >= MAX_RANK) return build_fail(g, "random numbers of at most %d dimensions", MAX_RANK - 1);
    for (int i = 0; i < rank; i++) pairs[i] = d[i];
    pairs[rank] = dim_const(2);
    value b = random_bits(g, key, rank + 1, pairs);
    value hi = word_part(g, b, rank, 0, 5), lo = word_part(g, b, rank, 1, 6);
    return bin_k(g, SCALAR_mul, add(g, bin_k(g, SCALAR_mul, hi, 67108864.0), lo), 1.0 / 9007199254740992.0);
}

value standard_normal(graph *g, value key, dtype t, int rank, const dim *d)
{
    dim n = dim_product(g->dims, d, rank), half = dim_ceildiv(g->dims, n, dim_const(2));
    value w = random_bits(g, key, 2, (dim[]){ half, dim_const(2) });
    value a = bin_k(g, SCALAR_mul, bin_k(g, SCALAR_add, word_part(g, w, 1, 0, 8), 1), 1.0 / 16777216.0);
    value b = bin_k(g, SCALAR_mul, word_part(g, w, 1, 1, 8), 1.0 / 16777216.0);
    value r = un(g, SCALAR_sqrt, bin_k(g, SCALAR_mul, un(g, SCALAR_log, a), -2));
    value angle = bin_k(g, SCALAR_mul, b, 6.283185307179586);
    value z[2] = { unsqueeze(g, mul(g, r, un(g, SCALAR_cos, angle)), 2),
                   unsqueeze(g, mul(g, r, un(g, SCALAR_sin, angle)), 2) };
    value flat = reshape(g, concat(g, 2, z, 1), 1, (dim[]){ dim_mulk(g->dims, half, 2) });
    return cast(g, reshape(g, slice_axis(g, flat, 0, dim_const(0), n, 1), rank, d), t);
}
