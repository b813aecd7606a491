/* ir/build_simplify.c: the builder's local rewrites.
 *
 * What   Each function sees a node about to be made, its operands and its type, and gives an equal, simpler
 *        value, or NO_VALUE. All rewrites keep every bit (NaN payloads apart), go one way (fewer nodes, or
 *        towards the source), and look one or two nodes deep.
 *
 *     map        x + -0, x - 0, x * 1, x / 1, max(x, x) …   => x       x + 0 of ints => x
 *                select(known, a, b) => a or b
 *                -(-x), not(not x), cast there and back     => x       f(f x) => f x for floor, relu …
 *     reduce     max, min, prod (and int sums) over extents of 1        => reshape
 *     reshape    of reshape                                             => one
 *     transpose  of transpose => one;  that moves extents of 1 only     => reshape
 *     broadcast  of broadcast                                           => one
 *     slice      of slice => one;  of concat inside one part => of the part;  of pad inside => of x;  of
 *                broadcast => below it
 *     pad        of pad with the same value => one;  undef of the slice of the same range => x
 *     concat     of concat => flat;  of neighbouring slices => one slice;  empty parts dropped
 *     gather     one known position, or a row of them in equal steps    => slice
 */
#include "ir/build_inner.h"

enum { MAX_FLAT_CONCAT = 64 };

/* -- map ------------------------------------------------------------------------------------------------- */

static bool splat_is(const graph *g, value v, double x, bool negative_zero)
{
    scalar_value s;
    if (!known_splat(g, v, &s)) return false;
    dtype t = dtype_of(g, v);
    if (is_storage(t) || sv_to_f64(t, s) != x) return false;
    return x != 0 || !is_float(t) || __builtin_signbit(sv_to_f64(t, s)) == negative_zero;
}

/* x in the shape of the result. */
static value fit(graph *g, value x, type t) { return broadcast(g, x, t.rank, t.dims); }

static const node *map_of(const graph *g, value v, scalar fn)
{
    const node *n = node_of(g, v);
    return n->prim == PRIM_map && n->map->fn == fn ? n : NULL;
}

/* The operand that a binary row gives back, its other operand being neutral. -1: none. */
static int neutral_leaves(const graph *g, scalar fn, const value *x)
{
    bool of_float = is_float(dtype_of(g, x[0]));
    switch (fn) {
    case SCALAR_add:
        return splat_is(g, x[1], 0, of_float) ? 0 : splat_is(g, x[0], 0, of_float) ? 1 : -1;
    case SCALAR_sub: return splat_is(g, x[1], 0, false) ? 0 : -1;
    case SCALAR_mul: return splat_is(g, x[1], 1, false) ? 0 : splat_is(g, x[0], 1, false) ? 1 : -1;
    case SCALAR_div: return splat_is(g, x[1], 1, false) ? 0 : -1;
    case SCALAR_and:
        if (dtype_of(g, x[0]) != DTYPE_bool) return -1;
        return splat_is(g, x[1], 1, false) || splat_is(g, x[0], 0, false)   ? 0
               : splat_is(g, x[0], 1, false) || splat_is(g, x[1], 0, false) ? 1
                                                                            : -1;
    case SCALAR_or:
        if (dtype_of(g, x[0]) != DTYPE_bool) return -1;
        return splat_is(g, x[1], 0, false) || splat_is(g, x[0], 1, false)   ? 0
               : splat_is(g, x[0], 0, false) || splat_is(g, x[1], 1, false) ? 1
                                                                            : -1;
    default: return -1;
    }
}

static value simplify_binary(graph *g, scalar fn, const value *x, type t)
{
    bool same = same_value(x[0], x[1]), of_float = is_float(dtype_of(g, x[0]));
    int left = neutral_leaves(g, fn, x);
    if (left >= 0) return fit(g, x[left], t);
    if (!same) return NO_VALUE;
    if (fn == SCALAR_max || fn == SCALAR_min || fn == SCALAR_and || fn == SCALAR_or) return fit(g, x[0], t);
    int64_t n = fn == SCALAR_sub && !of_float                       ? 0
                : (fn == SCALAR_eq || fn == SCALAR_le) && !of_float ? 1
                : fn == SCALAR_lt                                   ? 0
                                                                    : -1;
    if (n < 0) return NO_VALUE;
    dim ones[MAX_RANK];
    for (int i = 0; i < t.rank; i++) ones[i] = dim_const(1);
    dim d = dim_const(n);
    return fit(g, constant_of_dims(g, (type){ t.dtype, t.rank, ones }, &d, 1), t);
}

/* Does every value of `from` survive the way to `to` and back? */
static bool is_lossless(dtype from, dtype to)
{
    static const struct { int8_t mantissa, exponent; } format[DTYPE_COUNT] = {
        [DTYPE_f64] = { 53, 11 }, [DTYPE_f32] = { 24, 8 }, [DTYPE_f16] = { 11, 5 }, [DTYPE_bf16] = { 8, 8 },
    };
    if (from == DTYPE_bool) return true;
    if (to == DTYPE_bool) return false;
    int value_bits = dtype_info[from].bits - is_signed(from);
    if (is_float(from))
        return is_float(to) && format[from].mantissa <= format[to].mantissa &&
               format[from].exponent <= format[to].exponent;
    if (is_float(to)) return value_bits <= format[to].mantissa && to != DTYPE_f16;
    return dtype_info[to].bits >= dtype_info[from].bits;           /* ints wrap there and back */
}

static value simplify_unary(graph *g, scalar fn, dtype to, value x)
{
    const node *n = node_of(g, x);
    if (n->prim != PRIM_map) return NO_VALUE;
    value y = n->in[0];
    switch (fn) {
    case SCALAR_neg: case SCALAR_not: return n->map->fn == fn ? y : NO_VALUE;
    case SCALAR_relu:
    case SCALAR_floor:
    case SCALAR_ceil:
    case SCALAR_trunc:
    case SCALAR_rint:
    case SCALAR_sign: return n->map->fn == fn ? x : NO_VALUE;
    case SCALAR_abs:
        return n->map->fn == SCALAR_abs ? x : n->map->fn == SCALAR_neg ? map(g, SCALAR_abs, 1, &y) : NO_VALUE;
    case SCALAR_cast:
        return map_of(g, x, SCALAR_cast) && dtype_of(g, y) == to && is_lossless(to, dtype_of(g, x))
                   ? y
                   : NO_VALUE;
    default: return NO_VALUE;
    }
}

value simplify_map(graph *g, scalar fn, dtype to, int n, const value *x, type t)
{
    if (n == 1) return simplify_unary(g, fn, to, x[0]);
    if (n == 2) return simplify_binary(g, fn, x, t);
    if (fn != SCALAR_select) return NO_VALUE;
    scalar_value c;
    if (known_splat(g, x[0], &c)) return fit(g, x[c.bits ? 1 : 2], t);
    return same_value(x[1], x[2]) ? fit(g, x[1], t) : NO_VALUE;
}

value simplify_reduce(graph *g, const reduce_attr *a, value x, type t)
{
    type from = type_of(g, x);
    bool keeps = a->kind == REDUCE_max || a->kind == REDUCE_min || a->kind == REDUCE_prod
                 || (a->kind == REDUCE_sum && is_int(from.dtype));
    for (int i = 0; i < from.rank; i++)
        if (a->axes >> i & 1 && !dim_is(from.dims[i], 1)) keeps = false;
    return keeps ? reshape(g, x, t.rank, t.dims) : NO_VALUE;
}

/* -- reshape, transpose, broadcast ----------------------------------------------------------------------- */

value simplify_reshape(graph *g, value x, type t)
{
    const node *n = node_of(g, x);
    if (n->prim != PRIM_reshape || !dim_same(type_elements(g, type_of(g, n->in[0])), type_elements(g, t)))
        return NO_VALUE;
    return reshape(g, n->in[0], t.rank, t.dims);
}

/* Do the axes that are not 1 keep their order? */
static bool moves_only_ones(type from, const transpose_attr *a)
{
    int last = -1;
    for (int j = 0; j < from.rank; j++) {
        if (dim_is(from.dims[a->perm[j]], 1)) continue;
        if (a->perm[j] < last) return false;
        last = a->perm[j];
    }
    return true;
}

value simplify_transpose(graph *g, value x, const transpose_attr *a, type t)
{
    /* x itself if nothing moves */
    if (moves_only_ones(type_of(g, x), a)) return reshape(g, x, t.rank, t.dims);
    const node *n = node_of(g, x);
    if (n->prim != PRIM_transpose) return NO_VALUE;
    int perm[MAX_RANK];
    for (int j = 0; j < t.rank; j++) perm[j] = n->transpose->perm[a->perm[j]];
    return transpose(g, n->in[0], perm);
}

value simplify_broadcast(graph *g, value x, type t)
{
    const node *n = node_of(g, x);
    return n->prim == PRIM_broadcast ? broadcast(g, n->in[0], t.rank, t.dims) : NO_VALUE;
}

/* -- slice ----------------------------------------------------------------------------------------------- */

/* The slice, if its positions are proved to exist (as they must be, but the proof may be beyond dims); else
 * NO_VALUE. */
static value try_slice(graph *g, value x, const dim *start, const dim *size, const int64_t *by)
{
    type t = type_of(g, x);
    for (int i = 0; i < t.rank; i++)
        if (dim_is_bad(start[i]) || !slice_is_inside(g, t.dims[i], start[i], size[i], by[i])) return NO_VALUE;
    return slice(g, x, start, size, by);
}

static value slice_of_slice(graph *g, const node *n, const slice_attr *a, type t)
{
    dim start[MAX_RANK];
    int64_t by[MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        start[i] = dim_add(g->dims, n->slice->start[i], dim_mulk(g->dims, a->start[i], n->slice->step[i]));
        if (!mul_ok(a->step[i], n->slice->step[i], &by[i])) return NO_VALUE;
    }
    return try_slice(g, n->in[0], start, t.dims, by);
}

static void positions(graph *g, const slice_attr *a, type t, int axis, dim *first, dim *last)
{
    dim end = dim_add(g->dims, a->start[axis],
                      dim_mulk(g->dims, dim_addk(g->dims, t.dims[axis], -1), a->step[axis]));
    *first = a->step[axis] > 0 ? a->start[axis] : end;
    *last = a->step[axis] > 0 ? end : a->start[axis];
}

static value slice_of_concat(graph *g, const node *n, const slice_attr *a, type t)
{
    int axis = n->concat->axis;
    dim first, last, begin = dim_const(0), start[MAX_RANK];
    positions(g, a, t, axis, &first, &last);
    for (int k = 0; k < n->n_in; k++) {
        dim end = dim_add(g->dims, begin, dim_of(g, n->in[k], axis));
        if (dim_known_lt(g->dims, last, begin)) return NO_VALUE;
        if (dim_known_le(g->dims, begin, first) && dim_known_lt(g->dims, last, end)) {
            memcpy(start, a->start, sizeof start);
            start[axis] = dim_sub(g->dims, start[axis], begin);
            return try_slice(g, n->in[k], start, t.dims, a->step);
        }
        begin = end;
    }
    return NO_VALUE;
}

static value slice_of_pad(graph *g, const node *n, const slice_attr *a, type t)
{
    type from = type_of(g, n->in[0]);
    dim start[MAX_RANK], first, last;
    for (int i = 0; i < t.rank; i++) {
        start[i] = dim_sub(g->dims, a->start[i], n->pad->lo[i]);
        positions(g, a, t, i, &first, &last);
        first = dim_sub(g->dims, first, n->pad->lo[i]);
        last = dim_sub(g->dims, last, n->pad->lo[i]);
        if (n->pad->interior[i] || !dim_known_le(g->dims, dim_const(0), first) ||
            !dim_known_lt(g->dims, last, from.dims[i]))
            return NO_VALUE;
    }
    return try_slice(g, n->in[0], start, t.dims, a->step);
}

static value slice_of_broadcast(graph *g, const node *n, const slice_attr *a, type t)
{
    type from = type_of(g, n->in[0]);
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t by[MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        bool stretched = dim_is(from.dims[i], 1);
        start[i] = stretched ? dim_const(0) : a->start[i];
        size[i] = stretched ? dim_const(1) : t.dims[i];
        by[i] = stretched ? 1 : a->step[i];
    }
    value y = try_slice(g, n->in[0], start, size, by);
    return is_value(y) ? broadcast(g, y, t.rank, t.dims) : NO_VALUE;
}

value simplify_slice(graph *g, value x, const slice_attr *a, type t)
{
    node n = *node_of(g, x);                 /* copied: building moves the nodes */
    for (int i = 0; i < t.rank; i++)
        if (dim_is(t.dims[i], 0)) return NO_VALUE;
    switch ((prim)n.prim) {
    case PRIM_slice: return slice_of_slice(g, &n, a, t);
    case PRIM_concat: return slice_of_concat(g, &n, a, t);
    case PRIM_pad: return slice_of_pad(g, &n, a, t);
    case PRIM_broadcast: return slice_of_broadcast(g, &n, a, t);
    default: return NO_VALUE;
    }
}

/* -- pad ------------------------------------------------------------------------------------------------- */

/* pad undef of x's own slice, so that the range is x's again: what was cut off will do as undef. */
static value undo_slice(graph *g, const node *n, const pad_attr *a, type t)
{
    if (!type_same(type_of(g, n->in[0]), t)) return NO_VALUE;
    for (int i = 0; i < t.rank; i++)
        if (n->slice->step[i] != 1 || a->interior[i] || !dim_same(n->slice->start[i], a->lo[i]))
            return NO_VALUE;
    return n->in[0];
}

static bool only_grows(graph *g, const pad_attr *a, int rank)
{
    for (int i = 0; i < rank; i++) {
        bool grows = dim_known_le(g->dims, dim_const(0), a->lo[i]) &&
                     dim_known_le(g->dims, dim_const(0), a->hi[i]);
        if (!grows || a->interior[i]) return false;
    }
    return true;
}

value simplify_pad(graph *g, value x, value with, const pad_attr *a, type t)
{
    node n = *node_of(g, x);
    if (n.prim == PRIM_slice && !is_value(with)) return undo_slice(g, &n, a, t);
    if (n.prim != PRIM_pad || (n.n_in == 2) != is_value(with) || (n.n_in == 2 && !same_value(n.in[1], with)))
        return NO_VALUE;
    if (!only_grows(g, a, t.rank) || !only_grows(g, n.pad, t.rank)) return NO_VALUE;
    dim lo[MAX_RANK], hi[MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        lo[i] = dim_add(g->dims, a->lo[i], n.pad->lo[i]);
        hi[i] = dim_add(g->dims, a->hi[i], n.pad->hi[i]);
    }
    return is_value(with) ? pad(g, n.in[0], lo, hi, a->interior, with) : pad_undef(g, n.in[0], lo, hi);
}

/* -- concat ---------------------------------------------------------------------------------------------- */

/* a, b: slices of one value, b going on where a ends? Then the slice over both. */
static value join_slices(graph *g, value a, value b, int axis)
{
    const node *x = node_of(g, a), *y = node_of(g, b);
    if (x->prim != PRIM_slice || y->prim != PRIM_slice || !same_value(x->in[0], y->in[0])) return NO_VALUE;
    type s = type_of(g, a), u = type_of(g, b);
    dim size[MAX_RANK];
    memcpy(size, s.dims, (size_t)s.rank * sizeof *size);
    for (int i = 0; i < s.rank; i++) {
        dim start = i == axis ? dim_add(g->dims, x->slice->start[i], s.dims[i]) : x->slice->start[i];
        bool fits = dim_same(start, y->slice->start[i]) &&
                    (i == axis ? x->slice->step[i] == 1 && y->slice->step[i] == 1
                               : x->slice->step[i] == y->slice->step[i]);
        if (!fits) return NO_VALUE;
    }
    size[axis] = dim_add(g->dims, size[axis], u.dims[axis]);
    slice_attr at = *x->slice;
    return try_slice(g, x->in[0], at.start, size, at.step);
}

value simplify_concat(graph *g, int n, const value *x, int axis, type t)
{
    (void)t;
    if (n > MAX_FLAT_CONCAT) return NO_VALUE;
    value parts[MAX_FLAT_CONCAT];
    int n_parts = 0;
    bool changed = false;
    for (int k = 0; k < n; k++) {
        const node *c = node_of(g, x[k]);
        bool is_concat = c->prim == PRIM_concat && c->concat->axis == axis &&
                         n_parts + c->n_in + (n - k - 1) <= MAX_FLAT_CONCAT;
        if (is_concat) {
            memcpy(parts + n_parts, c->in, c->n_in * sizeof *parts);
            n_parts += c->n_in;
            changed = true;
            continue;
        }
        if (dim_is(dim_of(g, x[k], axis), 0) && (n_parts > 0 || k < n - 1)) {
            changed = true;
            continue;
        }
        value joined = n_parts ? join_slices(g, parts[n_parts - 1], x[k], axis) : NO_VALUE;
        if (is_value(joined)) parts[n_parts - 1] = joined;
        else parts[n_parts++] = x[k];
        changed = changed || is_value(joined);
    }
    return changed ? concat(g, n_parts, parts, axis) : NO_VALUE;
}

/* -- gather ---------------------------------------------------------------------------------------------- */

/* Known positions start, start + step, …? */
static bool is_progression(graph *g, value idx, dim *start, int64_t *by)
{
    int n;
    const dim *d = known_ints(g, idx, &n);
    if (!d || n == 0) return false;
    *start = d[0];
    *by = 1;
    if (n == 1) return true;
    if (!dim_is_const(dim_sub(g->dims, d[1], d[0]), by) || *by == 0) return false;
    for (int i = 2; i < n; i++)
        if (!dim_is(dim_sub(g->dims, d[i], d[i - 1]), *by)) return false;
    return true;
}

value simplify_gather(graph *g, value x, int n, const value *idx, const gather_attr *a, type t)
{
    type from = type_of(g, x), it = type_of(g, idx[0]);
    dim start[MAX_RANK], size[MAX_RANK], first, last;
    int64_t by[MAX_RANK];
    if (n != 1 || a->n_batch || it.rank > 1) return NO_VALUE;
    int axis = a->axes[0];
    for (int i = 0; i < from.rank; i++) {
        start[i] = dim_const(0);
        size[i] = from.dims[i];
        by[i] = 1;
    }
    if (!is_progression(g, idx[0], &start[axis], &by[axis])) return NO_VALUE;
    size[axis] = it.rank ? it.dims[0] : dim_const(1);
    slice_attr s = { .start = { { 0 } } };
    s.start[axis] = start[axis];
    s.step[axis] = by[axis];
    positions(g, &s, (type){ from.dtype, from.rank, size }, axis, &first, &last);
    if (!dim_known_le(g->dims, dim_const(0), first) || !dim_known_lt(g->dims, last, from.dims[axis]))
        return NO_VALUE;
    value y = slice(g, x, start, size, by);
    if (it.rank == 0) return reshape(g, y, t.rank, t.dims);
    int perm[MAX_RANK] = { axis };
    for (int i = 0, j = 1; i < from.rank; i++)
        if (i != axis) perm[j++] = i;
    return transpose(g, y, perm);
}
