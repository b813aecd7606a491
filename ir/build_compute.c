/* ir/build_compute.c: the builder's map, cast, reduce, window and random. */
#include "ir/build_inner.h"

#define SIMPLER(expression) \
    do { value simpler_ = (expression); if (is_value(simpler_) || g->failed) return simpler_; } while (0)

/* -- map ------------------------------------------------------------------------------------------------- */

/* The common shape: extents equal or 1. */
static bool map_shape(graph *g, scalar fn, int n, const value *x, dim *d)
{
    type first = type_of(g, x[0]);
    memcpy(d, first.dims, (size_t)first.rank * sizeof *d);
    for (int k = 1; k < n; k++) {
        type t = type_of(g, x[k]);
        if (t.rank != first.rank) {
            build_fail(g, "map %s: operands of equal rank expected, found %s and %s", scalar_info[fn].name,
                       show_type(g, first), show_type(g, t));
            return false;
        }
        for (int i = 0; i < t.rank; i++) {
            if (dim_is(d[i], 1)) d[i] = t.dims[i];
            else if (!dim_is(t.dims[i], 1) && !dims_agree(g, d[i], t.dims[i])) {
                build_fail_dims(g, (dim[]){ d[i], t.dims[i] }, 2,
                                "map %s: extents %s and %s of axis %d differ: %s and %s",
                                scalar_info[fn].name, show_dim(g, d[i]), show_dim(g, t.dims[i]), i,
                                show_type(g, first), show_type(g, t));
                return false;
            }
        }
    }
    return true;
}

/* The result's dtype, DTYPE_NONE after an error. */
static dtype map_dtype(graph *g, scalar fn, dtype to, int n, const value *x)
{
    const scalar_row *row = &scalar_info[fn];
    int base = row->result == RESULT_SELECT ? 1 : 0;
    dtype t = dtype_of(g, x[base]);
    for (int k = base + 1; k < n; k++) {
        if (dtype_of(g, x[k]) == t) continue;
        build_fail(g, "map %s: operands of equal type expected, found %s and %s", row->name,
                   show_type(g, type_of(g, x[base])), show_type(g, type_of(g, x[k])));
        return DTYPE_NONE;
    }
    if (is_storage(t) || !scalar_accepts(fn, t)) {
        build_fail(g, "map %s: does not take %s", row->name, dtype_info[t].name);
        return DTYPE_NONE;
    }
    if (base && dtype_of(g, x[0]) != DTYPE_bool) {
        build_fail(g, "map %s: the condition is %s, expected bool", row->name,
                   show_type(g, type_of(g, x[0])));
        return DTYPE_NONE;
    }
    switch (row->result) {
    case RESULT_SAME: case RESULT_SELECT: return t;
    case RESULT_CMP: return DTYPE_bool;
    case RESULT_CAST: break;
    }
    if (to != DTYPE_NONE && !is_storage(to)) return to;
    build_fail(g, "map cast: no computable type to cast to");
    return DTYPE_NONE;
}

static value map_to(graph *g, scalar fn, dtype to, int n, const value *x)
{
    if (!ready(g, n, x)) return NO_VALUE;
    if (n != scalar_info[fn].arity)
        return build_fail(g, "map %s: takes %d operands, found %d", scalar_info[fn].name,
                          scalar_info[fn].arity, n);
    dim d[MAX_RANK];
    type t = { map_dtype(g, fn, to, n, x), type_of(g, x[0]).rank, d };
    if (t.dtype == DTYPE_NONE || !map_shape(g, fn, n, x, d)) return NO_VALUE;
    SIMPLER(simplify_map(g, fn, to, n, x, t));
    SIMPLER(fold_map(g, fn, to, n, x, t));
    map_attr a;
    memset(&a, 0, sizeof a);
    a.fn = fn;
    a.to = fn == SCALAR_cast ? to : DTYPE_NONE;
    return make_node(g, PRIM_map, n, x, &a, t);
}

value map(graph *g, scalar fn, int n, const value *x)
{
    return map_to(g, fn, DTYPE_NONE, n, x);
}

value cast(graph *g, value x, dtype to)
{
    if (ready1(g, x) && dtype_of(g, x) == to && !is_storage(to)) return x;
    return map_to(g, SCALAR_cast, to, 1, &x);
}

/* -- reduce ---------------------------------------------------------------------------------------------- */

value reduce(graph *g, reduce_kind kind, value x, uint32_t axes, bool last)
{
    if (!ready1(g, x)) return NO_VALUE;
    type from = type_of(g, x), to = from;
    bool is_arg = kind == REDUCE_argmax || kind == REDUCE_argmin,
         is_sum = kind == REDUCE_sum || kind == REDUCE_prod;
    if (from.rank < 32 && axes >> from.rank)
        return build_fail(g, "reduce %s: axis outside the %d axes of %s", reduce_name[kind], from.rank,
                          show_type(g, from));
    if (is_storage(from.dtype) || (is_sum && from.dtype == DTYPE_bool))
        return build_fail(g, "reduce %s: does not take %s", reduce_name[kind], dtype_info[from.dtype].name);
    dim d[MAX_RANK];
    to.rank = 0;
    for (int i = 0; i < from.rank; i++)
        if (!(axes >> i & 1)) d[to.rank++] = from.dims[i];
    to.dims = d;
    if (is_arg) {
        if (axes == 0 || axes & (axes - 1))
            return build_fail(g, "reduce %s: takes one axis", reduce_name[kind]);
        if (dim_is(from.dims[__builtin_ctz(axes)], 0))
            return build_fail(g, "reduce %s: axis %d of %s is empty", reduce_name[kind], __builtin_ctz(axes),
                              show_type(g, from));
        to.dtype = DTYPE_i64;
    } else if (axes == 0) {
        return x;
    }
    reduce_attr a;
    memset(&a, 0, sizeof a);
    a.kind = kind;
    a.axes = axes;
    a.last = is_arg && last;
    SIMPLER(simplify_reduce(g, &a, x, to));
    SIMPLER(fold_reduce(g, &a, x, to));
    return fold_by_evaluator(g, make_node(g, PRIM_reduce, 1, &x, &a, to));
}

/* -- window ---------------------------------------------------------------------------------------------- */

value window_reduce(graph *g, window_kind kind, value x, int n, const window_axis *axes)
{
    if (!ready1(g, x)) return NO_VALUE;
    type from = type_of(g, x), to = from;
    if (is_storage(from.dtype) || (from.dtype == DTYPE_bool && (kind == WINDOW_sum || kind == WINDOW_prod)))
        return build_fail(g, "window %s: does not take %s", window_name[kind], dtype_info[from.dtype].name);
    if (n < 0 || n > from.rank)
        return build_fail(g, "window %s: %d windows on %s", window_name[kind], n, show_type(g, from));
    dim d[MAX_RANK];
    memcpy(d, from.dims, (size_t)from.rank * sizeof *d);
    window_attr a;
    memset(&a, 0, sizeof a);
    a.kind = kind;
    uint32_t seen = 0;
    for (int j = 0; j < n; j++) {
        window_axis w = axes[j];
        if (w.axis < 0 || w.axis >= from.rank || seen >> w.axis & 1)
            return build_fail(g, "window %s: axis %d of %s is outside or listed twice", window_name[kind],
                              w.axis, show_type(g, from));
        seen |= 1u << w.axis;
        if (w.k < 0 || !check_relation(g, "window", &w.r))
            return g->failed ? NO_VALUE : build_fail(g, "window: %lld taps", (long long)w.k);
        d[w.axis] = w.size;
    }
    for (int i = 0; i < from.rank; i++)
        for (int j = 0; j < n; j++)
            if (axes[j].axis == i) {
                window_axis *w = &a.axes[a.n++];
                w->axis = i;
                w->size = axes[j].size;
                w->k = axes[j].k;
                w->r = axes[j].r;
                check_relation(g, "window", &w->r);
            }
    to.dims = d;
    if (kind == WINDOW_argmax) to.dtype = DTYPE_i64;
    if (!check_shape(g, "window", to.rank, d)) return NO_VALUE;
    if (n == 0 && kind != WINDOW_argmax) return x;
    return fold_by_evaluator(g, make_node(g, PRIM_window, 1, &x, &a, to));
}

/* -- random ---------------------------------------------------------------------------------------------- */

value random_bits(graph *g, value key, int rank, const dim *d)
{
    if (!ready1(g, key) || !check_shape(g, "random", rank, d)) return NO_VALUE;
    type k = type_of(g, key), to = { DTYPE_u32, rank, d };
    int64_t n;
    if (k.dtype != DTYPE_u32 || k.rank != 1 || !dim_is(k.dims[0], 5))
        return build_fail(g, "random: the key is %s, expected u32[5]", show_type(g, k));
    if (dim_is_const(type_elements(g, to), &n) && n >= (int64_t)1 << 34)
        return build_fail(g, "random: %s has 2^34 elements or more", show_type(g, to));
    return make_node(g, PRIM_random, 1, &key, NULL, to);
}
