/* elab_prim: the functions that are built in (reference.md, section 12)
 *
 * One row each: name, parameters (`name` or `name?` where it may be left out), the function. Numbers known at
 * compile time stay numbers where that makes sense; all else becomes nodes.
 */
#include "frontend/lang/elab.h"
#include <math.h>

enum { MAX_ARGS = 8 };
typedef struct {
    elab *e;
    env *n;
    const ast *at;
    const char *name;
    val v[MAX_ARGS];
    bool given[MAX_ARGS];
    const ast *where[MAX_ARGS];
} pcall;
typedef struct { const char *name, *params; val (*fn)(pcall *p); } builtin_row;

static graph *G(pcall *p) { return p->e->fr->g; }
static val tensor_arg(pcall *p, int i)
{
    if (p->v[i].k == V_TENSOR || p->v[i].k == V_LIST || is_number(&p->v[i])) {
        val v = to_tensor(p->e, p->where[i], p->v[i], DTYPE_NONE);
        if (v.is_elem) elab_error(p->e, p->at, NULL, takes_tensor_not_element, p->name);
        return v;
    }
    elab_error(p->e, p->where[i], p->v[i].k == V_LAYER ? "apply it: `layer(x)`" : NULL, takes_tensor, p->name,
               show_kind(p->e, &p->v[i]));
}

/* -- Elementwise ----------------------------------------------------------------------------------------- */

static double number_of(pcall *p, int i, bool *known)
{
    int64_t k;
    *known = true;
    if (p->v[i].k == V_FLOAT) return p->v[i].f;
    if (p->v[i].k == V_INT && dim_is_const(p->v[i].d, &k)) return (double)k;
    *known = false;
    return 0;
}

typedef struct { const char *name; scalar fn; double (*number)(double); } unary_row;
static double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
static const unary_row unaries[] = {
    { "exp", SCALAR_exp, exp }, { "log", SCALAR_log, log }, { "sqrt", SCALAR_sqrt, sqrt },
    { "sin", SCALAR_sin, sin }, { "cos", SCALAR_cos, cos },
    { "tan", SCALAR_tan, tan }, { "tanh", SCALAR_tanh, tanh }, { "erf", SCALAR_erf, erf },
    { "floor", SCALAR_floor, floor }, { "ceil", SCALAR_ceil, ceil },
    { "round", SCALAR_rint, rint }, { "abs", SCALAR_abs, fabs }, { "sign", SCALAR_sign, sign_of },
};

static val prim_unary(pcall *p)
{
    const unary_row *u = unaries;
    while (strcmp(u->name, p->name) != 0) u++;
    bool known;
    double x = number_of(p, 0, &known);
    if (known && p->v[0].k == V_INT && u->fn == SCALAR_abs) return v_int((int64_t)fabs(x));
    if (known) return v_float(u->number(x));
    val v = p->v[0];
    if (v.k == V_INT || (v.is_weak && u->fn != SCALAR_abs && u->fn != SCALAR_sign))
        v = convert(p->e, p->at, v, DTYPE_f32);
    v = to_tensor(p->e, p->where[0], v, DTYPE_NONE);
    if (!scalar_accepts(u->fn, dtype_v(&v)))
        elab_error(p->e, p->at, NULL, needs_float, p->name, show_value(p->e, &v));
    return elementwise(p->e, p->at, p->name, u->fn, 1, &v);
}

static val prim_is_nan(pcall *p)
{
    if (p->v[0].k == V_FLOAT) return v_bool(isnan(p->v[0].f));
    return arith(p->e, p->at, "!=", p->v[0], p->v[0]);
}

static val prim_extreme(pcall *p)
{
    bool max = p->name[1] == 'a', a, b;
    double x = number_of(p, 0, &a), y = number_of(p, 1, &b);
    if (p->v[0].k == V_INT && p->v[1].k == V_INT)
        return v_dim(max ? dim_max(p->e->dims, p->v[0].d, p->v[1].d)
                         : dim_min(p->e->dims, p->v[0].d, p->v[1].d));
    if (a && b) return v_float(max ? fmax(x, y) : fmin(x, y));
    /* adapted as in arithmetic: the sum's operands say the types */
    val t[2] = { p->v[0], p->v[1] };
    for (int i = 0; i < 2; i++)
        if (t[i].k == V_LIST) t[i] = to_tensor(p->e, p->at, t[i], DTYPE_NONE);
    bool weak = (t[0].k != V_TENSOR || t[0].is_weak) && (t[1].k != V_TENSOR || t[1].is_weak);
    for (int i = 0; i < 2; i++) {
        val *u = &t[i], *o = &t[1 - i];
        if (o->k != V_TENSOR || (u->k == V_TENSOR && !u->is_weak)) continue;
        dtype want = dtype_v(o);
        if (u->k == V_FLOAT && !is_float(want)) elab_error_op(p->e, p->at, NULL, number_dtype, p->name);
        *u = u->k == V_TENSOR ? (o->is_weak ? *u : convert(p->e, p->at, *u, want))
                              : to_tensor(p->e, p->at, *u, want);
    }
    if (dtype_v(&t[0]) != dtype_v(&t[1]))
        elab_error_op(p->e, p->at, NULL, operand_dtypes, p->name, show_value(p->e, &t[0]),
                      show_value(p->e, &t[1]));
    val r = elementwise(p->e, p->at, p->name, max ? SCALAR_max : SCALAR_min, 2, t);
    r.is_weak = weak && r.is_elem;
    return r;
}

static val prim_where(pcall *p) { return where_v(p->e, p->at, p->v[0], p->v[1], p->v[2]); }

/* -- Reductions ------------------------------------------------------------------------------------------ */

static int axis_of(pcall *p, const val *a, int rank, int i)
{
    int64_t k = need_int(p->e, p->where[i] ? p->where[i] : p->at, a, "an axis"), real = k < 0 ? k + rank : k;
    if (real < 0 || real >= rank)
        elab_error(p->e, p->at, NULL, no_axis, p->name, (long long)k, rank, rank == 1 ? "" : "s");
    return (int)real;
}

static uint32_t axes_of(pcall *p, int i, int rank)
{
    if (p->v[i].k == V_NONE) return (1u << rank) - 1;
    if (p->v[i].k != V_LIST) return 1u << axis_of(p, &p->v[i], rank, i);
    uint32_t axes = 0;
    for (int k = 0; k < p->v[i].n; k++) axes |= 1u << axis_of(p, &p->v[i].item[k], rank, i);
    return axes;
}

val reduce_value(elab *e, const ast *at, const char *name, value x, uint32_t axes, bool keep)
{
    graph *g = e->fr->g;
    dtype t = dtype_of(g, x);
    bool logic = !strcmp(name, "any") || !strcmp(name, "all");
    if (logic != (t == DTYPE_bool))
        elab_error(e, at, logic ? NULL : "convert it: f32(mask)", fn_of, name, dtype_info[t].name);
    if (!strcmp(name, "mean")) {
        if (!is_float(t)) elab_error(e, at, NULL, mean_needs_float, dtype_info[t].name);
        return v_tensor(e, mean_over(g, x, axes, keep));
    }
    reduce_kind k = !strcmp(name, "sum")                           ? REDUCE_sum
                    : !strcmp(name, "prod")                        ? REDUCE_prod
                    : !strcmp(name, "max") || !strcmp(name, "any") ? REDUCE_max
                    : !strcmp(name, "min") || !strcmp(name, "all") ? REDUCE_min
                    : !strcmp(name, "argmax")                      ? REDUCE_argmax
                                                                   : REDUCE_argmin;
    return v_tensor(e, keep ? reduce_keep(g, k, x, axes) : reduce(g, k, x, axes, false));
}

static val prim_reduce(pcall *p)
{
    val x = tensor_arg(p, 0);
    int rank = rank_v(p->e, &x);
    bool arg = p->name[0] == 'a' && p->name[1] == 'r', keep = !arg && p->v[2].k == V_BOOL && p->v[2].b;
    uint32_t axes = axes_of(p, 1, rank);
    if (arg && (axes == 0 || axes & (axes - 1))) {
        if (p->v[1].k != V_NONE || rank != 1) elab_error(p->e, p->at, NULL, takes_one_axis, p->name);
    }
    return reduce_value(p->e, p->at, p->name, x.v, axes, keep);
}

/* -- Shapes ---------------------------------------------------------------------------------------------- */

static int shape_arg(pcall *p, int i, dim *d)
{
    val *s = &p->v[i];
    if (s->k == V_INT) { d[0] = s->d; return 1; }
    if (s->k != V_LIST) elab_error(p->e, p->where[i], NULL, takes_shape, p->name, show_kind(p->e, s));
    if (s->n > MAX_RANK) elab_error(p->e, p->at, NULL, too_many_dimensions, MAX_RANK);
    for (int k = 0; k < s->n; k++) d[k] = need_dim(p->e, p->at, &s->item[k]);
    return s->n;
}

static val prim_reshape(pcall *p)
{
    val x = tensor_arg(p, 0);
    elab *e = p->e;
    type t = type_of(G(p), x.v);
    dim d[MAX_RANK], total = dim_product(e->dims, t.dims, t.rank), rest = dim_const(1);
    int n = shape_arg(p, 1, d), open = -1;
    for (int i = 0; i < n; i++) {
        if (dim_is(d[i], -1)) {
            if (open >= 0) elab_error(e, p->at, NULL, reshape_two_unknowns);
            open = i;
        } else rest = dim_mul(e->dims, rest, d[i]);
    }
    if (open >= 0 && !dim_is(rest, 0)) {
        d[open] = dim_div(e->dims, total, rest);
        rest = dim_mul(e->dims, rest, d[open]);
    }
    if (!dim_same(rest, total))
        elab_error(e, p->at, NULL, reshape_elements, show_value(e, &x),
                   show_value(e, &(val){ .k = V_INT, .d = total }), show_dims(e, n, d),
                   show_value(e, &(val){ .k = V_INT, .d = rest }));
    return v_tensor(e, reshape(G(p), x.v, n, d));
}

static val prim_transpose(pcall *p)
{
    val x = tensor_arg(p, 0);
    int rank = rank_v(p->e, &x), perm[MAX_RANK];
    uint32_t seen = 0;
    if (p->v[1].k != V_LIST || p->v[1].n != rank) elab_error(p->e, p->at, NULL, transpose_axes, rank);
    for (int i = 0; i < rank; i++) { perm[i] = axis_of(p, &p->v[1].item[i], rank, 1); seen |= 1u << perm[i]; }
    if (seen != (1u << rank) - 1) elab_error(p->e, p->at, NULL, transpose_axis_twice);
    return v_tensor(p->e, transpose(G(p), x.v, perm));
}

static val prim_swap(pcall *p)
{
    val x = tensor_arg(p, 0);
    int rank = rank_v(p->e, &x);
    return v_tensor(p->e, swap_axes(G(p), x.v, axis_of(p, &p->v[1], rank, 1), axis_of(p, &p->v[2], rank, 2)));
}

static val prim_broadcast(pcall *p)
{
    val x = tensor_arg(p, 0);
    dim d[MAX_RANK];
    int n = shape_arg(p, 1, d), rank = rank_v(p->e, &x);
    for (int i = 1; i <= rank; i++)
        if (i > n || !(dim_is(dim_v(p->e, &x, rank - i), 1) || dim_same(dim_v(p->e, &x, rank - i), d[n - i])))
            elab_error(p->e, p->at, NULL, broadcast_shapes, show_value(p->e, &x), show_dims(p->e, n, d));
    return v_tensor(p->e, expand_to(G(p), x.v, n, d));
}

static int list_arg(pcall *p, int i, value *out, int max)
{
    val *l = &p->v[i];
    if (l->k != V_LIST && l->k != V_TUPLE)
        elab_error(p->e, p->where[i], NULL, takes_tensor_list, p->name, show_kind(p->e, l));
    if (l->n < 1 || l->n > max) elab_error(p->e, p->at, NULL, takes_tensors, p->name, max);
    dtype t = DTYPE_NONE;
    for (int k = 0; k < l->n; k++) if (l->item[k].k == V_TENSOR && t == DTYPE_NONE) t = dtype_v(&l->item[k]);
    for (int k = 0; k < l->n; k++) {
        val v = to_tensor(p->e, p->at, l->item[k], t);
        if (v.is_elem) elab_error(p->e, p->at, NULL, not_in_index, p->name);
        if (t != DTYPE_NONE && dtype_v(&v) != t)
            elab_error(p->e, p->at, NULL, operand_dtypes, p->name, dtype_info[t].name, show_value(p->e, &v));
        out[k] = v.v;
    }
    return l->n;
}

static val prim_concat(pcall *p)
{
    value x[256];
    int n = list_arg(p, 0, x, 256), rank = rank_of(G(p), x[0]),
        axis = p->given[1] ? axis_of(p, &p->v[1], rank, 1) : 0;
    for (int k = 1; k < n; k++) {
        bool fits = rank_of(G(p), x[k]) == rank;
        for (int i = 0; i < rank && fits; i++)
            fits = i == axis || dim_same(dim_of(G(p), x[k], i), dim_of(G(p), x[0], i));
        if (!fits || rank == 0) {
            val a = v_tensor(p->e, x[0]), b = v_tensor(p->e, x[k]);
            elab_error(p->e, p->at, NULL, concat_shapes, axis, show_value(p->e, &a), show_value(p->e, &b));
        }
    }
    return v_tensor(p->e, concat(G(p), n, x, axis));
}

static val prim_stack(pcall *p)
{
    value x[256];
    int n = list_arg(p, 0, x, 256), rank = rank_of(G(p), x[0]),
        axis = p->given[1] ? axis_of(p, &p->v[1], rank + 1, 1) : 0;
    for (int k = 1; k < n; k++)
        if (!type_same(type_of(G(p), x[k]), type_of(G(p), x[0]))) {
            val a = v_tensor(p->e, x[0]), b = v_tensor(p->e, x[k]);
            elab_error(p->e, p->at, NULL, stack_shapes, show_value(p->e, &a), show_value(p->e, &b));
        }
    for (int k = 0; k < n; k++) x[k] = unsqueeze(G(p), x[k], 1u << axis);
    return v_tensor(p->e, concat(G(p), n, x, axis));
}

static val prim_split(pcall *p)
{
    val x = tensor_arg(p, 0), parts[64];
    elab *e = p->e;
    int rank = rank_v(e, &x),
        axis = p->given[2] ? axis_of(p, &p->v[2], rank, 2)
                           : axis_of(p, &(val){ .k = V_INT, .d = dim_const(0) }, rank, 2),
        n;
    dim extent = dim_v(e, &x, axis), at = dim_const(0);
    bool sizes = p->v[1].k == V_LIST;
    n = sizes ? p->v[1].n : (int)need_int(e, p->at, &p->v[1], "the number of parts");
    if (n < 1 || n > 64) elab_error(e, p->at, NULL, split_parts);
    if (!sizes && !dim_divides(e->dims, extent, n))
        elab_error(e, p->at, NULL, split_uneven, show_value(e, &(val){ .k = V_INT, .d = extent }), n);
    for (int i = 0; i < n; i++) {
        dim s = sizes ? need_dim(e, p->at, &p->v[1].item[i]) : dim_div(e->dims, extent, dim_const(n));
        parts[i] = v_tensor(e, slice_axis(G(p), x.v, axis, at, s, 1));
        at = dim_add(e->dims, at, s);
    }
    if (!dim_same(at, extent))
        elab_error(e, p->at, NULL, split_sizes, show_value(e, &(val){ .k = V_INT, .d = extent }));
    val r = v_list(e, n, parts);
    r.k = V_TUPLE;
    return r;
}

static val prim_pad(pcall *p)
{
    val x = tensor_arg(p, 0);
    elab *e = p->e;
    int rank = rank_v(e, &x);
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t none[MAX_RANK] = { 0 };
    if (p->v[1].k != V_LIST || p->v[1].n != rank) elab_error(e, p->at, NULL, pad_pairs, rank);
    for (int i = 0; i < rank; i++) {
        val *s = &p->v[1].item[i];
        if (s->k == V_LIST && s->n == 2) {
            lo[i] = need_dim(e, p->at, &s->item[0]);
            hi[i] = need_dim(e, p->at, &s->item[1]);
        } else lo[i] = hi[i] = need_dim(e, p->at, s);
    }
    val with = to_tensor(e, p->at, p->given[2] ? p->v[2] : v_int(0), dtype_v(&x));
    return v_tensor(e, pad(G(p), x.v, lo, hi, none, with.v));
}

static val prim_flip(pcall *p)
{
    val x = tensor_arg(p, 0);
    return v_tensor(p->e, flip(G(p), x.v, axis_of(p, &p->v[1], rank_v(p->e, &x), 1)));
}

static val prim_sort(pcall *p)
{
    val x = tensor_arg(p, 0);
    int rank = rank_v(p->e, &x),
        axis = axis_of(p, p->given[1] ? &p->v[1] : &(val){ .k = V_INT, .d = dim_const(-1) }, rank, 1);
    if (!strcmp(p->name, "cumsum")) return v_tensor(p->e, cumulate(G(p), CUM_add, x.v, axis, false, false));
    value order = sort(G(p), 1, &x.v, axis, 0, dim_v(p->e, &x, axis));
    return v_tensor(p->e, p->name[0] == 'a' ? order : take_along(G(p), x.v, order, axis));
}

/* -- Windows --------------------------------------------------------------------------------------------- */

/* A number, or one for each axis. */
static int64_t for_axis(pcall *p, int i, int axis, int n, int64_t other, const char *what)
{
    val *v = &p->v[i];
    if (!p->given[i] || v->k == V_NONE) return other;
    if (v->k == V_LIST && v->n != n) elab_error(p->e, p->at, NULL, entry_count, p->name, n, what, v->n);
    return need_int(p->e, p->at, v->k == V_LIST ? &v->item[axis] : v, what);
}

static void pad_of(pcall *p, int i, int axis, int n, dim extent, int64_t taps, int64_t stride, int64_t *lo,
                   int64_t *hi)
{
    val *v = &p->v[i];
    elab *e = p->e;
    *lo = *hi = 0;
    if (!p->given[i] || v->k == V_NONE) return;
    if (v->k == V_STRING) {
        int64_t d;
        if (strcmp(v->s, "same") != 0) elab_error(e, p->at, NULL, unknown_padding, v->s);
        int64_t total = taps - 1;
        if (stride > 1) {
            if (!dim_is_const(extent, &d)) elab_error(e, p->at, NULL, same_padding_open);
            total = ((d + stride - 1) / stride - 1) * stride + taps - d;
            if (total < 0) total = 0;
        }
        *lo = total / 2;
        *hi = total - *lo;
        return;
    }
    if (v->k == V_LIST && v->n == n && v->item[axis].k == V_LIST) {
        if (v->item[axis].n != 2) elab_error(e, p->at, NULL, padding_pairs);
        *lo = need_int(e, p->at, &v->item[axis].item[0], "padding");
        *hi = need_int(e, p->at, &v->item[axis].item[1], "padding");
        return;
    }
    *lo = *hi = for_axis(p, i, axis, n, 0, "padding");
}

/* Positions of a window of `taps` along an axis. */
static dim positions(pcall *p, const char *what, dim extent, int64_t lo, int64_t hi, int64_t taps,
                     int64_t stride)
{
    dims *t = p->e->dims;
    int64_t room;
    dim space = dim_addk(t, extent, lo + hi - taps);
    if (taps < 1 || stride < 1) elab_error(p->e, p->at, NULL, window_sizes, what);
    if (dim_is_const(space, &room) ? room < 0 : dim_known_lt(t, space, dim_const(0)))
        elab_error(p->e, p->at, NULL, window_too_large, what, (long long)taps,
                   show_value(p->e, &(val){ .k = V_INT, .d = dim_addk(t, extent, lo + hi) }));
    return dim_addk(t, dim_div(t, space, dim_const(stride)), 1);
}

static val prim_conv(pcall *p)
{
    val x = tensor_arg(p, 0), w = tensor_arg(p, 1);
    elab *e = p->e;
    int rank = rank_v(e, &x), n = rank - 2;
    if (n < 1 || rank_v(e, &w) != rank)
        elab_error(e, p->at, NULL, conv_ranks, show_value(e, &x), show_value(e, &w));
    if (dtype_v(&x) != dtype_v(&w))
        elab_error(e, p->at, NULL, conv_dtypes, show_value(e, &x), show_value(e, &w));
    conv_spec s = { .n = n,
                    .groups = p->given[5] ? need_int(e, p->at, &p->v[5], "the number of groups") : 1 };
    if (s.groups < 1 || !dim_divides(e->dims, dim_v(e, &x, 1), s.groups) ||
        !dim_divides(e->dims, dim_v(e, &w, 0), s.groups) ||
        !dim_same(dim_div(e->dims, dim_v(e, &x, 1), dim_const(s.groups)), dim_v(e, &w, 1)))
        elab_error(e, p->at, NULL, conv_channels, show_value(e, &x), show_value(e, &w),
                   s.groups == 1 ? "" : arena_printf(e->a, ", %lld groups", (long long)s.groups));
    for (int i = 0; i < n; i++) {
        int64_t k, lo, hi;
        if (!dim_is_const(dim_v(e, &w, 2 + i), &k)) elab_error(e, p->at, NULL, conv_kernel_open);
        s.stride[i] = for_axis(p, 2, i, n, 1, "stride");
        s.dil[i] = for_axis(p, 4, i, n, 1, "dilation");
        s.idil[i] = for_axis(p, 6, i, n, 1, "spread");
        if (s.dil[i] < 1 || s.idil[i] < 1) elab_error(e, p->at, NULL, conv_dilation);
        int64_t taps = (k - 1) * s.dil[i] + 1;
        dim extent = dim_addk(e->dims,
                              dim_mulk(e->dims, dim_addk(e->dims, dim_v(e, &x, 2 + i), -1), s.idil[i]), 1);
        pad_of(p, 3, i, n, extent, taps, s.stride[i], &lo, &hi);
        s.pad[i] = lo;
        s.size[i] = positions(p, "conv", extent, lo, hi, taps, s.stride[i]);
    }
    return v_tensor(e, conv(G(p), x.v, w.v, NO_VALUE, &s));
}

static val prim_window(pcall *p)
{
    val x = tensor_arg(p, 0);
    elab *e = p->e;
    int rank = rank_v(e, &x), n = rank - 2;
    if (n < 1) elab_error(e, p->at, NULL, window_rank, show_value(e, &x));
    if (p->v[1].k != V_STRING || (strcmp(p->v[1].s, "max") && strcmp(p->v[1].s, "sum")))
        elab_error(e, p->at, NULL, window_kind);
    window_axis a[MAX_RANK];
    for (int i = 0; i < n; i++) {
        int64_t k = for_axis(p, 2, i, n, 1, "size"), stride = for_axis(p, 3, i, n, k, "stride"), lo, hi;
        pad_of(p, 4, i, n, dim_v(e, &x, 2 + i), k, stride, &lo, &hi);
        a[i] =
            (window_axis){ .axis = 2 + i, .k = k, .r = { .idil = 1, .stride = stride, .dil = 1, .pad = lo } };
        a[i].size = positions(p, "pooling", dim_v(e, &x, 2 + i), lo, hi, k, stride);
    }
    return v_tensor(e, window_reduce(G(p), p->v[1].s[0] == 'm' ? WINDOW_max : WINDOW_sum, x.v, n, a));
}

/* -- Made ------------------------------------------------------------------------------------------------ */

static val prim_full(pcall *p)
{
    dim d[MAX_RANK];
    int n = shape_arg(p, 0, d);
    val v = p->name[0] == 'f' ? p->v[1] : v_float(p->name[0] == 'o');
    v = to_tensor(p->e, p->at, v, DTYPE_NONE);
    if (rank_v(p->e, &v) || v.is_elem) elab_error(p->e, p->at, NULL, full_value, show_value(p->e, &v));
    return v_tensor(p->e, splat(G(p), v.v, n, d));
}

static uint64_t fnv(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* Key of a draw: the seed, the step (0 outside of training), and the path's hash (section 10). */
static value draw_key(pcall *p, const char *kind)
{
    elab *e = p->e;
    if (e->in_operator) elab_error(e, p->at, NULL, onnx_function_random);
    if (e->fr->outer) elab_error(e, p->at, NULL, random_in_loop);
    uint64_t h = fnv(scope_name(e, p->n->sc, kind));
    if (e->init && e->fr == e->top) {                     /* in the step: the number of updates so far */
        val step;
        name_value(e, p->n, p->at, lang_intern(e->l, "step", 4), &step);
        uint32_t a[2] = { (uint32_t)e->seed, (uint32_t)(e->seed >> 32) },
                 b[2] = { (uint32_t)h, (uint32_t)(h >> 32) };
        value parts[3] = { constant(G(p), DTYPE_u32, 1, (dim[]){ dim_const(2) }, a, NULL),
                           unsqueeze(G(p), cast(G(p), here(e, &step), DTYPE_u32), 1),
                           constant(G(p), DTYPE_u32, 1, (dim[]){ dim_const(2) }, b, NULL) };
        return concat(G(p), 3, parts, 0);
    }
    uint32_t k[5] = { (uint32_t)e->seed, (uint32_t)(e->seed >> 32), 0, (uint32_t)h, (uint32_t)(h >> 32) };
    return constant(G(p), DTYPE_u32, 1, (dim[]){ dim_const(5) }, k, NULL);
}

static val prim_uniform(pcall *p)
{
    dim d[MAX_RANK];
    int n = shape_arg(p, 0, d);
    val u = v_tensor(p->e, uniform01(G(p), draw_key(p, "uniform"), DTYPE_f32, n, d));
    if (p->name[0] == 'b') return arith(p->e, p->at, "<", u, p->given[1] ? p->v[1] : v_float(0.5));
    if (!p->given[1] && !p->given[2]) return u;
    val lo = to_tensor(p->e, p->at, p->given[1] ? p->v[1] : v_float(0), DTYPE_f32),
        hi = to_tensor(p->e, p->at, p->given[2] ? p->v[2] : v_float(1), DTYPE_f32);
    return arith(p->e, p->at, "+", lo, arith(p->e, p->at, "*", arith(p->e, p->at, "-", hi, lo), u));
}

static val prim_normal(pcall *p)
{
    dim d[MAX_RANK];
    int n = shape_arg(p, 0, d);
    val z = v_tensor(p->e, standard_normal(G(p), draw_key(p, "normal"), DTYPE_f32, n, d));
    if (p->given[2]) z = arith(p->e, p->at, "*", to_tensor(p->e, p->at, p->v[2], DTYPE_f32), z);
    if (p->given[1]) z = arith(p->e, p->at, "+", to_tensor(p->e, p->at, p->v[1], DTYPE_f32), z);
    return z;
}

static val prim_randint(pcall *p)
{
    dim d[MAX_RANK];
    int n = shape_arg(p, 0, d);
    graph *g = G(p);
    val lo = to_tensor(p->e, p->at, p->v[1], DTYPE_i64), hi = to_tensor(p->e, p->at, p->v[2], DTYPE_i64);
    value w = cast(g, random_bits(g, draw_key(p, "below"), n, d), DTYPE_u64);
    value scaled = bin(g, SCALAR_shr, mul(g, w, cast(g, sub(g, hi.v, lo.v), DTYPE_u64)),
                       scalar_i64(g, DTYPE_u64, 32));
    return v_tensor(p->e, add(g, lo.v, cast(g, scaled, DTYPE_i64)));
}

/* -- Known at compile time ------------------------------------------------------------------------------- */

static val prim_shape(pcall *p)
{
    val x = tensor_arg(p, 0), items[MAX_RANK];
    int n = rank_v(p->e, &x);
    for (int i = 0; i < n; i++) items[i] = v_dim(dim_v(p->e, &x, i));
    return v_list(p->e, n, items);
}

static val prim_rank(pcall *p)
{
    return v_int(
        is_number(&p->v[0]) ? 0
        : p->v[0].k == V_TENSOR
            ? rank_v(p->e, &p->v[0])
            : (tensor_arg(p, 0), rank_v(p->e, &(val){ .k = V_TENSOR, .g = G(p), .v = tensor_arg(p, 0).v })));
}

static val prim_size(pcall *p)
{
    dim d = dim_const(1);
    val *v = &p->v[0];
    if (v->k == V_LIST)
        for (int i = 0; i < v->n; i++) d = dim_mul(p->e->dims, d, need_dim(p->e, p->at, &v->item[i]));
    else {
        val x = tensor_arg(p, 0);
        for (int i = 0; i < rank_v(p->e, &x); i++) d = dim_mul(p->e->dims, d, dim_v(p->e, &x, i));
    }
    return v_dim(d);
}

static val prim_len(pcall *p)
{
    if (p->v[0].k == V_STRING) return v_int((int64_t)strlen(p->v[0].s));
    if (p->v[0].k != V_LIST && p->v[0].k != V_TUPLE)
        elab_error(p->e, p->at, NULL, len_of, show_kind(p->e, &p->v[0]));
    return v_int(p->v[0].n);
}

static val prim_str(pcall *p) { return (val){ .k = V_STRING, .s = show_value(p->e, &p->v[0]) }; }
static val prim_is_float(pcall *p)
{
    return v_bool(p->v[0].k == V_FLOAT || (p->v[0].k == V_TENSOR && is_float(dtype_v(&p->v[0]))));
}

static val prim_is_int(pcall *p)
{
    return v_bool(p->v[0].k == V_INT || (p->v[0].k == V_TENSOR && is_int(dtype_v(&p->v[0]))));
}

static val prim_is_list(pcall *p) { return v_bool(p->v[0].k == V_LIST); }

static val prim_params(pcall *p)
{
    elab *e = p->e;
    val *m = &p->v[0];
    const char *path = m->k == V_MODEL || m->k == V_PATH   ? m->s
                       : m->k == V_LAYER && m->layer->path ? m->layer->path
                                                           : NULL;
    if (!path) elab_error(e, p->at, NULL, params_of, show_kind(e, m));
    size_t n = strlen(path);
    vec(val) list = { 0 };
    for (int64_t i = 0; i < e->params.n; i++) {
        parameter *q = e->params.at[i];
        if (q->is_state || strncmp(q->path, path, n) != 0 || (q->path[n] != '.' && q->path[n] != 0)) continue;
        val v = { .k = V_TENSOR, .g = q->g, .v = q->v };
        vec_push(e->a, &list, v);
    }
    return v_list(e, (int)list.n, list.at);
}

/* -- Gradients ------------------------------------------------------------------------------------------- */

/* The gradient does not pass whole numbers: through the bits and back. */
static val prim_stop(pcall *p)
{
    if (p->v[0].k != V_TENSOR || !p->e->has_grad) return p->v[0];
    val x = tensor_arg(p, 0);
    dtype t = dtype_v(&x);
    if (!is_float(t)) return x;
    dtype bits = dtype_bytes(t) == 8 ? DTYPE_i64 : dtype_bytes(t) == 2 ? DTYPE_i16 : DTYPE_i32;
    value b = bitcast(G(p), x.v, bits);
    return v_tensor(p->e, bitcast(G(p), bin(G(p), SCALAR_shl, b, scalar_i64(G(p), bits, 0)), t));
}

/* The x of p = softmax(x) or sigmoid(x); none if p is made otherwise. */
static val prim_before(pcall *p)
{
    elab *e = p->e;
    const val *x = &p->v[0];
    if (p->v[1].k != V_STRING) elab_error(e, p->at, NULL, before_name);
    for (int64_t k = e->squashed.n; x->k == V_TENSOR && k-- > 0;) {
        const squashed *s = &e->squashed.at[k];
        if (s->g == x->g && same_value(s->v, x->v) && strcmp(s->fn, p->v[1].s) == 0) return s->of;
    }
    return v_none();
}

bool depends(elab *e, graph *g, value y, value x)
{
    if (same_value(y, x)) return true;
    char *seen = NEW_ARRAY(e->a, char, g->nodes.n + 1);
    vec(value) pending = { 0 };
    vec_push(e->a, &pending, y);
    while (pending.n) {
        value v = vec_pop(&pending);
        if (same_value(v, x)) return true;
        if (!is_float(type_of(g, v).dtype)) continue;
        uint32_t k = g->owner.at[v.id];
        if (seen[k]) continue;
        seen[k] = 1;
        for (int i = 0; i < g->nodes.at[k].n_in; i++) vec_push(e->a, &pending, g->nodes.at[k].in[i]);
    }
    return false;
}

static val prim_grad(pcall *p)
{
    elab *e = p->e;
    graph *g = G(p);
    val loss = tensor_arg(p, 0);
    bool list = p->v[1].k == V_LIST;
    if (rank_v(e, &loss) || !is_float(dtype_v(&loss)))
        elab_error(e, p->at, NULL, grad_of, show_value(e, &loss));
    int n = list ? p->v[1].n : 1;
    value wrt[256], d[256];
    val out[256];
    if (n > 256) elab_error(e, p->at, NULL, grad_by_too_many);
    const ast *arg = p->where[1];
    while (arg && arg->kind == A_ARG) arg = arg->a;
    bool computed = arg && arg->kind != A_NAME && arg->kind != A_FIELD && arg->kind != A_LIST &&
                    arg->kind != A_CALL && arg->kind != A_SUB;
    for (int i = 0; i < n; i++) {
        val x = list ? p->v[1].item[i] : p->v[1];
        if (x.k != V_TENSOR || x.is_elem) elab_error(e, p->at, NULL, grad_by, show_kind(e, &x));
        wrt[i] = here(e, &x);
        if (computed || !depends(e, g, loss.v, wrt[i])) elab_error(e, p->at, NULL, grad_independent);
    }
    if (!e->o->gradient) elab_error(e, p->at, NULL, no_gradients);
    if (!e->o->gradient(g, loss.v, n, wrt, d)) longjmp(*e->l->stop, 1);
    for (int i = 0; i < n; i++) out[i] = v_tensor(e, d[i]);
    return list ? v_list(e, n, out) : out[0];
}

/* -- Data sets ------------------------------------------------------------------------------------------- */

static val prim_recipe(pcall *p)
{
    val d = p->v[0];
    elab *e = p->e;
    if (d.k != V_TUPLE) elab_error(e, p->at, NULL, takes_data_set, p->name, show_kind(e, &d));
    recipe *r = NEW(e->a, recipe);
    if (d.recipe) *r = *d.recipe;
    if (!strcmp(p->name, "parts")) {
        bool ok;
        r->has_parts = r->shuffle = true;
        if (p->given[1]) r->valid = number_of(p, 1, &ok);
        if (p->given[2]) r->test = number_of(p, 2, &ok);
        if (p->given[3] && p->v[3].k == V_BOOL) r->shuffle = p->v[3].b;
        if (!(r->valid >= 0 && r->test >= 0 && r->valid + r->test < 1))
            elab_error(e, p->at, NULL, parts_leave_nothing);
    } else {
        if (p->v[1].k != V_STRING) elab_error(e, p->at, NULL, takes_field_name, p->name);
        if (r->n == 8) elab_error(e, p->at, NULL, too_many_preparations);
        r->step[r->n].op = p->name;
        r->step[r->n++].field = p->v[1].s;
    }
    d.recipe = r;
    return d;
}

/* -- The table ------------------------------------------------------------------------------------------- */

static const builtin_row prims[] = {
    { "exp", "x", prim_unary }, { "log", "x", prim_unary }, { "sqrt", "x", prim_unary },
    { "sin", "x", prim_unary }, { "cos", "x", prim_unary },
    { "tan", "x", prim_unary }, { "tanh", "x", prim_unary }, { "erf", "x", prim_unary },
    { "floor", "x", prim_unary }, { "ceil", "x", prim_unary },
    { "round", "x", prim_unary }, { "abs", "x", prim_unary }, { "sign", "x", prim_unary },
    { "is_nan", "x", prim_is_nan },
    { "maximum", "a b", prim_extreme }, { "minimum", "a b", prim_extreme },
    { "where", "cond a b", prim_where },
    { "sum", "x axis? keep?", prim_reduce }, { "prod", "x axis? keep?", prim_reduce },
    { "mean", "x axis? keep?", prim_reduce }, { "max", "x axis? keep?", prim_reduce },
    { "min", "x axis? keep?", prim_reduce }, { "any", "x axis? keep?", prim_reduce },
    { "all", "x axis? keep?", prim_reduce },
    { "argmax", "x axis?", prim_reduce }, { "argmin", "x axis?", prim_reduce },
    { "reshape", "x shape", prim_reshape }, { "transpose", "x axes", prim_transpose },
    { "swap", "x a b", prim_swap }, { "broadcast", "x shape", prim_broadcast },
    { "concat", "list axis?", prim_concat }, { "stack", "list axis?", prim_stack },
    { "split", "x parts axis?", prim_split }, { "pad", "x sizes value?", prim_pad },
    { "flip", "x axis", prim_flip }, { "sort", "x axis?", prim_sort }, { "argsort", "x axis?", prim_sort },
    { "cumsum", "x axis?", prim_sort },
    { "conv", "x w stride? pad? dilation? groups? spread?", prim_conv },
    { "window", "x kind size stride? pad?", prim_window },
    { "zeros", "shape", prim_full }, { "ones", "shape", prim_full }, { "full", "shape value", prim_full },
    { "uniform", "shape lo? hi?", prim_uniform }, { "bernoulli", "shape p?", prim_uniform },
    { "normal", "shape mean? std?", prim_normal }, { "randint", "shape lo hi", prim_randint },
    { "shape", "x", prim_shape }, { "rank", "x", prim_rank }, { "size", "x", prim_size },
    { "len", "list", prim_len }, { "str", "v", prim_str },
    { "is_float", "x", prim_is_float }, { "is_int", "x", prim_is_int }, { "is_list", "v", prim_is_list },
    { "params", "model", prim_params },
    { "grad", "loss x", prim_grad }, { "stop", "x", prim_stop }, { "before", "p fn", prim_before },
    { "csv", NULL, NULL }, { "npy", NULL, NULL }, { "npz", NULL, NULL }, { "idx", NULL, NULL },
    { "cifar10", NULL, NULL }, { "chars", NULL, NULL }, { "words", NULL, NULL },
    { "parts", "d valid? test? shuffle?", prim_recipe }, { "standardize", "d field", prim_recipe },
    { "minmax", "d field", prim_recipe }, { "fill_missing", "d field", prim_recipe },
};
enum { N_PRIMS = sizeof prims / sizeof *prims };

bool prim_exists(const char *name)
{
    for (int i = 0; i < N_PRIMS; i++)
        if (strcmp(prims[i].name, name) == 0) return true;
    return false;
}

const char *const *prim_names(int *n)
{
    static const char *const names[] = { "exp",     "log",     "sqrt",    "sin",       "cos",       "tanh",
                                         "maximum", "minimum", "where",   "sum",       "mean",      "max",
                                         "min",     "argmax",  "reshape", "transpose", "broadcast", "concat",
                                         "stack",   "split",   "shape",   "rank",      "uniform",   "normal",
                                         "grad",    "stop" };
    *n = sizeof names / sizeof *names;
    return names;
}

/* The k-th parameter's name; *optional: it may be left out. */
static bool parameter_name(const char *params, int k, const char **name, size_t *n, bool *optional)
{
    const char *s = params;
    for (; k && *s; k--) {
        s += strcspn(s, " ");
        s += *s == ' ';
    }
    if (!*s) return false;
    *name = s;
    *n = strcspn(s, " ");
    *optional = s[*n - 1] == '?';
    *n -= *optional;
    return true;
}

val prim_call(elab *e, env *n, const ast *at, const char *name, int n_pos, const val *pos,
              const ast *const *pos_at, int n_named, const char *const *names, const val *named,
              const ast *const *named_at)
{
    const builtin_row *r = prims;
    while (strcmp(r->name, name) != 0) r++;
    if (is_data_source(name)) return data_source(e, at, name, n_pos, pos, n_named, names, named);
    pcall p = { .e = e, .n = n, .at = at, .name = r->name };
    const char *s;
    size_t len;
    bool optional;
    for (int i = 0; i < MAX_ARGS; i++) p.v[i] = v_none();
    for (int i = 0; i < n_pos; i++) {
        if (!parameter_name(r->params, i, &s, &len, &optional))
            elab_error(e, pos_at[i], NULL, takes_fewer_arguments, name, n_pos);
        p.v[i] = pos[i];
        p.given[i] = pos[i].k != V_NONE || !optional;
        p.where[i] = pos_at[i];
    }
    for (int k = 0; k < n_named; k++) {
        int i = 0;
        for (; parameter_name(r->params, i, &s, &len, &optional); i++)
            if (strlen(names[k]) == len && memcmp(s, names[k], len) == 0) break;
        if (!parameter_name(r->params, i, &s, &len, &optional))
            elab_error(e, named_at[k], arena_printf(e->a, "its arguments: %s", r->params),
                       no_function_argument, name, names[k]);
        if (p.where[i]) elab_error(e, named_at[k], NULL, argument_twice, names[k], name);
        p.v[i] = named[k];
        p.given[i] = named[k].k != V_NONE || !optional;
        p.where[i] = named_at[k];
    }
    for (int i = 0; parameter_name(r->params, i, &s, &len, &optional); i++)
        if (!p.where[i] && !optional) elab_error(e, at, NULL, function_argument_missing, name, (int)len, s);
    return r->fn(&p);
}
