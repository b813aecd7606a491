/* ir/build_views.c: the builder's movement primitives: iota, reshape, transpose, broadcast, slice, pad,
 * concat, bitcast.
 *
 * Each checks what docs/primitives.md asks, infers the shape, simplifies, folds, makes the node. Static
 * positions must provably exist (a slice never reads outside), since generated code does not test them again.
 */
#include "ir/build_inner.h"

#define SIMPLER(expression) \
    do { value simpler_ = (expression); if (is_value(simpler_) || g->failed) return simpler_; } while (0)

value iota(graph *g, dtype t, int rank, const dim *d, int axis)
{
    if (g->failed || !check_shape(g, "iota", rank, d)) return NO_VALUE;
    if (axis < 0 || axis >= rank) return build_fail(g, "iota: axis %d of a result of rank %d", axis, rank);
    if (is_storage(t) || t == DTYPE_bool) return build_fail(g, "iota: %s does not count", dtype_info[t].name);
    iota_attr a = { axis };
    return make_node(g, PRIM_iota, 0, NULL, &a, (type){ t, rank, d });
}

value reshape(graph *g, value x, int rank, const dim *d)
{
    if (!ready1(g, x) || !check_shape(g, "reshape", rank, d)) return NO_VALUE;
    type from = type_of(g, x), to = { from.dtype, rank, d };
    if (type_same(from, to)) return x;
    dim n = type_elements(g, from), m = type_elements(g, to);
    if (!dims_agree(g, n, m) && !(dim_is_bad(n) && dim_is_bad(m)))
        return build_fail_dims(g, (dim[]){ n, m }, 2, "reshape: %s has %s elements, %s has %s",
                               show_type(g, from), show_dim(g, n), show_shape(g, rank, d), show_dim(g, m));
    SIMPLER(simplify_reshape(g, x, to));
    SIMPLER(fold_reshape(g, x, to));
    return make_node(g, PRIM_reshape, 1, &x, NULL, to);
}

value transpose(graph *g, value x, const int *perm)
{
    if (!ready1(g, x)) return NO_VALUE;
    type from = type_of(g, x), to = from;
    dim d[MAX_RANK];
    uint32_t seen = 0;
    transpose_attr a;
    memset(&a, 0, sizeof a);
    for (int j = 0; j < from.rank; j++) {
        if (perm[j] < 0 || perm[j] >= from.rank || seen >> perm[j] & 1)
            return build_fail(g, "transpose: axis %d at place %d is not a permutation of the %d axes of %s",
                              perm[j], j, from.rank, show_type(g, from));
        seen |= 1u << perm[j];
        a.perm[j] = (uint8_t)perm[j];
        d[j] = from.dims[perm[j]];
    }
    to.dims = d;
    SIMPLER(simplify_transpose(g, x, &a, to));
    SIMPLER(fold_transpose(g, x, &a, to));
    return make_node(g, PRIM_transpose, 1, &x, &a, to);
}

value broadcast(graph *g, value x, int rank, const dim *d)
{
    if (!ready1(g, x) || !check_shape(g, "broadcast", rank, d)) return NO_VALUE;
    type from = type_of(g, x), to = { from.dtype, rank, d };
    if (type_same(from, to)) return x;
    if (from.rank != rank)
        return build_fail(g, "broadcast: %s has rank %d, %s has rank %d", show_type(g, from), from.rank,
                          show_shape(g, rank, d), rank);
    for (int i = 0; i < rank; i++)
        if (!dim_is(from.dims[i], 1) && !dims_agree(g, from.dims[i], d[i]))
            return build_fail_dims(g, (dim[]){ from.dims[i], d[i] }, 2,
                                   "broadcast: extent %s of axis %d of %s does not stretch to %s",
                                   show_dim(g, from.dims[i]), i, show_type(g, from), show_dim(g, d[i]));
    SIMPLER(simplify_broadcast(g, x, to));
    SIMPLER(fold_broadcast(g, x, to));
    return make_node(g, PRIM_broadcast, 1, &x, NULL, to);
}

/* -- slice ----------------------------------------------------------------------------------------------- */

/* Is `max(0, e)` written? Then e: the extent wherever there is a position at all. */
static dim extent_if_any(graph *g, dim size)
{
    dim_view v = dim_look(g->dims, size);
    if (v.kind != DIM_MAX) return size;
    return dim_is(v.args[0], 0) ? v.args[1] : dim_is(v.args[1], 0) ? v.args[0] : size;
}

/* 0 <= start + step*o < extent for every o in [0, size)? */
bool slice_is_inside(graph *g, dim extent, dim start, dim size, int64_t step)
{
    dims *t = g->dims;
    if (dim_known_le(t, size, dim_const(0))) return true;
    dim last = dim_add(t, start, dim_mulk(t, dim_addk(t, extent_if_any(g, size), -1), step));
    dim low = step > 0 ? start : last, high = step > 0 ? last : start;
    return dim_known_le(t, dim_const(0), low) && dim_known_lt(t, high, extent);
}

/* The found positions of a compact: as many as its symbol says. */
static bool is_found_part(const graph *g, value x, dim start, dim size)
{
    const node *n = node_of(g, x);
    return n->prim == PRIM_compact && result_index(g, x) == 0 && n->compact->has_symbol && dim_is(start, 0) &&
           dim_same(n->compact->symbol, size);
}

/* slice_is_inside, or it is once an open extent is known to reach the last position (else the model has no
 * meaning). */
static bool slice_fits(graph *g, value x, int axis, dim extent, dim start, dim size, int64_t step)
{
    int64_t first, n;
    if (slice_is_inside(g, extent, start, size, step)) return true;
    if (axis == 0 && step == 1 && is_found_part(g, x, start, size)) return true;
    if (!dim_is_const(start, &first) || !dim_is_const(size, &n) || first < 0 || step < 0 ||
        n >= DIM_LIMIT / step)
        return false;
    return narrow_symbol(g, extent, first + step * (n - 1) + 1, INT64_MAX) &&
           slice_is_inside(g, extent, start, size, step);
}

value slice(graph *g, value x, const dim *start, const dim *size, const int64_t *step)
{
    if (!ready1(g, x)) return NO_VALUE;
    type from = type_of(g, x), to = { from.dtype, from.rank, size };
    if (!check_shape(g, "slice", from.rank, size)) return NO_VALUE;
    slice_attr a;
    memset(&a, 0, sizeof a);
    bool same = true;
    for (int i = 0; i < from.rank; i++) {
        if (step[i] == 0) return build_fail(g, "slice: step 0 along axis %d", i);
        if (dim_is_bad(start[i]) || !slice_fits(g, x, i, from.dims[i], start[i], size[i], step[i]))
            return build_fail_dims(g, (dim[]){ from.dims[i], start[i], size[i] }, 3,
                                   "slice: %s positions from %s by %lld are not all inside axis %d of %s",
                                   show_dim(g, size[i]), show_dim(g, start[i]), (long long)step[i], i,
                                   show_type(g, from));
        a.start[i] = dim_is(size[i], 0) ? dim_const(0) : start[i];
        a.step[i] = dim_is(size[i], 0) || dim_is(size[i], 1) ? 1 : step[i];
        same = same && dim_same(size[i], from.dims[i]) && dim_is(a.start[i], 0) && a.step[i] == 1;
    }
    if (same) return x;
    SIMPLER(simplify_slice(g, x, &a, to));
    SIMPLER(fold_slice(g, x, &a, to));
    return make_node(g, PRIM_slice, 1, &x, &a, to);
}

/* -- pad ------------------------------------------------------------------------------------------------- */

/* The extent after `interior` went between the elements. */
static dim spread(graph *g, dim extent, int64_t interior)
{
    if (interior == 0) return extent;
    dim d = dim_addk(g->dims, dim_mulk(g->dims, extent, interior + 1), -interior);
    return dim_max(g->dims, d, dim_const(0));
}

static value pad_any(graph *g, value x, const dim *lo, const dim *hi, const int64_t *interior, value with)
{
    type from = type_of(g, x), to = from;
    dim d[MAX_RANK];
    pad_attr a;
    memset(&a, 0, sizeof a);
    bool same = true;
    for (int i = 0; i < from.rank; i++) {
        int64_t inner = interior ? interior[i] : 0;
        if (inner < 0 || inner >= DIM_LIMIT)
            return build_fail(g, "pad: interior %lld along axis %d", (long long)inner, i);
        a.lo[i] = lo[i];
        a.hi[i] = hi[i];
        a.interior[i] = dim_known_le(g->dims, from.dims[i], dim_const(1)) ? 0 : inner;
        d[i] = dim_add(g->dims, spread(g, from.dims[i], inner), dim_add(g->dims, lo[i], hi[i]));
        same = same && dim_is(lo[i], 0) && dim_is(hi[i], 0) && a.interior[i] == 0;
    }
    if (same) return x;
    to.dims = d;
    if (!check_shape(g, "pad", to.rank, d)) return NO_VALUE;
    SIMPLER(simplify_pad(g, x, with, &a, to));
    SIMPLER(fold_pad(g, x, with, &a, to));
    value in[2] = { x, with };
    return make_node(g, PRIM_pad, is_value(with) ? 2 : 1, in, &a, to);
}

value pad(graph *g, value x, const dim *lo, const dim *hi, const int64_t *interior, value with)
{
    value in[2] = { x, with };
    if (!ready(g, 2, in)) return NO_VALUE;
    type t = type_of(g, x), w = type_of(g, with);
    if (w.rank != 0 || w.dtype != t.dtype)
        return build_fail(g, "pad: the value is %s, expected %s[]", show_type(g, w),
                          dtype_info[t.dtype].name);
    return pad_any(g, x, lo, hi, interior, with);
}

value pad_undef(graph *g, value x, const dim *lo, const dim *hi)
{
    return ready1(g, x) ? pad_any(g, x, lo, hi, NULL, NO_VALUE) : NO_VALUE;
}

/* -- concat ---------------------------------------------------------------------------------------------- */

value concat(graph *g, int n, const value *x, int axis)
{
    if (!ready(g, n, x)) return NO_VALUE;
    if (n < 1) return build_fail(g, "concat: no operands");
    type first = type_of(g, x[0]), to = first;
    if (axis < 0 || axis >= first.rank)
        return build_fail(g, "concat: axis %d of %s", axis, show_type(g, first));
    dim d[MAX_RANK];
    memcpy(d, first.dims, (size_t)first.rank * sizeof *d);
    for (int k = 1; k < n; k++) {
        type t = type_of(g, x[k]);
        bool fits = t.dtype == first.dtype && t.rank == first.rank;
        for (int i = 0; fits && i < t.rank; i++) fits = i == axis || dims_agree(g, t.dims[i], first.dims[i]);
        if (!fits)
            return build_fail_dims(g, t.rank == first.rank ? t.dims : NULL, t.rank == first.rank ? t.rank : 0,
                                   "concat: operand %d is %s, operand 0 is %s; all but axis %d must agree", k,
                                   show_type(g, t), show_type(g, first), axis);
        d[axis] = dim_add(g->dims, d[axis], t.dims[axis]);
    }
    to.dims = d;
    if (!check_shape(g, "concat", to.rank, d)) return NO_VALUE;
    if (n == 1) return x[0];
    SIMPLER(simplify_concat(g, n, x, axis, to));
    SIMPLER(fold_concat(g, n, x, axis, to));
    concat_attr a = { axis };
    return make_node(g, PRIM_concat, n, x, &a, to);
}

value bitcast(graph *g, value x, dtype to)
{
    if (!ready1(g, x)) return NO_VALUE;
    type t = type_of(g, x);
    if (t.dtype == to) return x;
    if (dtype_bytes(t.dtype) != dtype_bytes(to) || t.dtype == DTYPE_bool || to == DTYPE_bool)
        return build_fail(g, "bitcast: %s to %s: widths differ, or bool", show_type(g, t),
                          dtype_info[to].name);
    t.dtype = to;
    const node *n = node_of(g, x);
    if (n->prim == PRIM_bitcast) return bitcast(g, n->in[0], to);
    SIMPLER(fold_bitcast(g, x, t));
    bitcast_attr a = { to };
    return make_node(g, PRIM_bitcast, 1, &x, &a, t);
}
