/* grad_prim_compute: gradient rules of map, reduce, contract and window
 *
 * contract and window rest on one relation, idil*i = stride*o + dil*k - pad, which is symmetric in i, o and
 * k: each gradient is the same sum with the relation solved for the wanted position.
 *
 *     wanted                 operands -> result       idil'    stride'   dil'     pad'    extent
 *     contract: a (i)        dy (o), b (k) -> i       stride   idil      -dil     -pad    I
 *     contract: b (k)        a (i), dy (o) -> k       idil     dil       stride   pad     K
 *     window sum: x (i)      dy (o), k -> i           stride   idil      -dil     -pad    I
 *
 * Extents are attributes, so uneven leftovers of strides, negative padding and second derivatives need no
 * cases.
 */
#include "passes/grad_step.h"

/* -- map, reduce ----------------------------------------------------------------------------------------- */

void grad_map(grad_step *s)
{
    graph *g = s->g;
    type result = s->n.types[0];
    grad_scalar_row(s);
    for (int k = 0; k < s->n.n_in; k++) {
        if (!s->wanted[k] || !is_value(s->dx[k])) continue;
        value d = broadcast(g, s->dx[k], result.rank, result.dims);
        s->dx[k] = grad_unstretch(g, d, type_of(g, s->n.in[k]));
    }
}

/* Equal shares for the elements that are the extremum. */
static value reduce_extremum(grad_step *s, value dy)
{
    graph *g = s->g;
    value x = s->n.in[0], hit = bin(g, SCALAR_eq, x, unsqueeze(g, s->y, s->n.reduce->axes));
    dtype t = dtype_of(g, x), wide = compute_dtype(t);
    value count = reduce_keep(g, REDUCE_sum, cast(g, hit, wide), s->n.reduce->axes);
    value share = cast(g, divide(g, cast(g, dy, wide), count), t);
    return select3(g, hit, share, splat_like(g, x, 0));
}

/* The product of the others = exclusive product from the left * exclusive product from the right: exact with
 * zeros. */
static value product_of_others(graph *g, value x, uint32_t axes)
{
    type t = type_of(g, x);
    int perm[MAX_RANK], back[MAX_RANK], n = 0;
    dim moved[MAX_RANK], flat[MAX_RANK], product = dim_const(1);
    for (int i = 0; i < t.rank; i++)
        if (!(axes >> i & 1)) perm[n++] = i;
    int n_kept = n;
    for (int i = 0; i < t.rank; i++)
        if (axes >> i & 1) perm[n++] = i;
    for (int i = 0; i < n; i++) {
        moved[i] = t.dims[perm[i]];
        back[perm[i]] = i;
        if (i < n_kept) flat[i] = moved[i];
        else product = dim_mul(g->dims, product, moved[i]);
    }
    flat[n_kept] = product;
    value f = reshape(g, transpose(g, x, perm), n_kept + 1, flat);
    value others = mul(g, cumulate(g, CUM_mul, f, n_kept, true, false),
                       cumulate(g, CUM_mul, f, n_kept, true, true));
    return transpose(g, reshape(g, others, n, moved), back);
}

void grad_reduce(grad_step *s)
{
    graph *g = s->g;
    type x = type_of(g, s->n.in[0]);
    value dy = unsqueeze(g, s->dy[0], s->n.reduce->axes);
    switch (s->n.reduce->kind) {
    case REDUCE_sum: s->dx[0] = broadcast(g, dy, x.rank, x.dims); break;
    case REDUCE_prod: s->dx[0] = mul(g, dy, product_of_others(g, s->n.in[0], s->n.reduce->axes)); break;
    case REDUCE_max: case REDUCE_min: s->dx[0] = reduce_extremum(s, dy); break;
    case REDUCE_argmax: case REDUCE_argmin: case REDUCE_COUNT: break;
    }
}

/* -- contract -------------------------------------------------------------------------------------------- */

typedef struct { const uint8_t *l; int n; } labels;

static bool has_label(labels s, uint8_t l)
{
    for (int i = 0; i < s.n; i++)
        if (s.l[i] == l) return true;
    return false;
}

/* The attribute of the contract p, q -> r; windows are given. */
static contract_attr solved(const contract_attr *c, labels p, labels q, labels r,
                            const contract_window *windows)
{
    contract_attr to;
    memset(&to, 0, sizeof to);
    to.n_labels = c->n_labels;
    memcpy(to.label_name, c->label_name, sizeof to.label_name);
    memcpy(to.extent, c->extent, sizeof to.extent);
    memcpy(to.la, p.l, (size_t)p.n);
    memcpy(to.lb, q.l, (size_t)q.n);
    memcpy(to.lo, r.l, (size_t)r.n);
    to.n_windows = c->n_windows;
    memcpy(to.windows, windows, (size_t)c->n_windows * sizeof *windows);
    for (int i = 0; i < p.n; i++)
        if (has_label(q, p.l[i]) && !has_label(r, p.l[i])) to.sum[to.n_sum++] = p.l[i];
    for (int i = 0; i < q.n; i++)
        for (int w = 0; w < to.n_windows; w++)
            if (to.windows[w].b == q.l[i]) to.sum[to.n_sum++] = q.l[i];
    return to;
}

/* The contract in the wider of the operands' types (the accumulator's at least as wide), its result in
 * `want`. */
static value contract_wide(graph *g, value p, value q, const contract_attr *c, dtype acc, dtype want)
{
    dtype tp = dtype_of(g, p), tq = dtype_of(g, q), t = dtype_bytes(tp) >= dtype_bytes(tq) ? tp : tq;
    if (tp != tq && dtype_bytes(tp) == dtype_bytes(tq)) t = DTYPE_f32;
    if (t == DTYPE_f64) acc = DTYPE_f64;
    value y = contract_by(g, cast(g, p, t), cast(g, q, t), NO_VALUE, c, acc,
                          t == want ? t : compute_dtype(t));
    return cast(g, y, want);
}

/* x with zeros where a limit of the contract leaves its labels out. */
static value within_limits(graph *g, value x, labels l, const contract_attr *c)
{
    type t = type_of(g, x);
    for (int i = 0; i < c->n_limits; i++) {
        const contract_limit *limit = &c->limits[i];
        value sum = NO_VALUE;
        for (int j = 0; j < l.n; j++) {
            if (l.l[j] != limit->x && l.l[j] != limit->y) continue;
            dim d[MAX_RANK];
            for (int k = 0; k < t.rank; k++) d[k] = k == j ? t.dims[k] : dim_const(1);
            value at = iota(g, DTYPE_i64, t.rank, d, j);
            if (l.l[j] == limit->x) at = mul(g, at, scalar_i64(g, DTYPE_i64, limit->scale));
            sum = is_value(sum) ? add(g, sum, at) : at;
        }
        if (is_value(sum))
            x = select3(g, bin(g, SCALAR_lt, sum, constant_dim(g, DTYPE_i64, limit->bound)), x,
                        splat_like(g, x, 0));
    }
    return x;
}

void grad_contract(grad_step *s)
{
    graph *g = s->g;
    const contract_attr *c = s->n.contract;
    value a = s->n.in[0], b = s->n.in[1], dy = s->dy[0];
    labels la = { c->la, rank_of(g, a) }, lb = { c->lb, rank_of(g, b) }, lo = { c->lo, s->n.types[0].rank };
    contract_window windows[MAX_RANK];
    if (s->wanted[0]) {
        for (int i = 0; i < c->n_windows; i++) {
            contract_window w = c->windows[i];
            windows[i] = (contract_window){ w.o, w.b, w.a, { w.r.stride, w.r.idil, -w.r.dil, -w.r.pad } };
        }
        contract_attr to = solved(c, lo, lb, la, windows);
        s->dx[0] = contract_wide(g, dy, within_limits(g, b, lb, c), &to, c->acc, dtype_of(g, a));
    }
    if (s->wanted[1]) {
        for (int i = 0; i < c->n_windows; i++) {
            contract_window w = c->windows[i];
            windows[i] = (contract_window){ w.a, w.o, w.b, { w.r.idil, w.r.dil, w.r.stride, w.r.pad } };
        }
        contract_attr to = solved(c, la, lo, lb, windows);
        s->dx[1] = within_limits(g, contract_wide(g, a, dy, &to, c->acc, dtype_of(g, b)), lb, c);
    }
    if (s->n.n_in == 3 && s->wanted[2])
        s->dx[2] = grad_unstretch(g, cast(g, dy, c->acc), type_of(g, s->n.in[2]));
}

/* -- window ---------------------------------------------------------------------------------------------- */

/* What stands where in [n, k]: (p*i + q*k + shift) / by, or -1 where `by` does not divide. Outside positions
 * are left as they are: gather reads 0 there. */
static value positions(graph *g, dim n, int64_t k, int64_t p, int64_t q, int64_t shift, int64_t by)
{
    dim rows[2] = { n, dim_const(1) }, cols[2] = { dim_const(1), dim_const(k) };
    dtype t = DTYPE_i64;
    value i = mul(g, iota(g, t, 2, rows, 0), scalar_i64(g, t, p)),
          j = mul(g, iota(g, t, 2, cols, 1), scalar_i64(g, t, q));
    value x = add(g, add(g, i, j), scalar_i64(g, t, shift));
    if (by == 1) return x;
    value d = scalar_i64(g, t, by),
          divides = bin(g, SCALAR_eq, bin(g, SCALAR_mod, x, d), scalar_i64(g, t, 0));
    return select3(g, divides, divide(g, x, d), scalar_i64(g, t, -1));
}

/* For each i and tap k: the o whose window has i at place k. */
static value windows_over(graph *g, const window_axis *w, dim extent)
{
    return positions(g, extent, w->k, w->r.idil, -w->r.dil, w->r.pad, w->r.stride);
}

/* -- window max, min by residues ----------------------------------------------------------------------------
 * With i = stride*q + e the windows over i are o = q + (e + pad - dil*k) / stride, for the taps k that
 * divide: for each residue e a sum over shifted slices, without a gather. The residues are then interleaved.
 */

enum { MAX_RESIDUES = 16, MAX_TAPS = 32, MAX_AXES = 3 };

typedef struct { int64_t stride, k, size, extent, rows, lo, hi; const window_axis *w; } shifted;

static int64_t shift_of(const shifted *a, int64_t e, int64_t k, bool *divides)
{
    int64_t x = e + a->w->r.pad - a->w->r.dil * k, q = x / a->stride;
    if (q * a->stride > x) q--;
    *divides = q * a->stride == x;
    return q;
}

/* Sizes of each axis; false: of another form, or too many. */
static bool find_shifts(const graph *g, const window_attr *c, type x, shifted *axes)
{
    int64_t residues = 1, taps = 1;
    if (c->n > MAX_AXES || x.rank + c->n > MAX_RANK) return false;
    (void)g;
    for (int d = 0; d < c->n; d++) {
        shifted *a = &axes[d];
        const window_axis *w = &c->axes[d];
        *a = (shifted){ .stride = w->r.stride, .k = w->k, .w = w };
        if (w->r.idil != 1 || a->stride < 1 || a->k < 1 || !dim_is_const(w->size, &a->size) ||
            !dim_is_const(x.dims[w->axis], &a->extent))
            return false;
        if (a->size == 0 || a->extent == 0 || a->stride > MAX_RESIDUES || a->k > MAX_TAPS) return false;
        residues *= a->stride;
        taps *= a->k;
        a->rows = (a->extent + a->stride - 1) / a->stride;
        for (int64_t e = 0; e < a->stride; e++)
            for (int64_t k = 0; k < a->k; k++) {
                bool divides;
                int64_t shift = shift_of(a, e, k, &divides), over = a->rows - 1 + shift - (a->size - 1);
                if (!divides) continue;
                if (-shift > a->lo) a->lo = -shift;
                if (over > a->hi) a->hi = over;
            }
    }
    return residues <= MAX_RESIDUES && taps <= MAX_TAPS;
}

static value with_border(graph *g, value x, int n, const shifted *axes, value outside)
{
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t none[MAX_RANK] = { 0 };
    for (int i = 0; i < rank_of(g, x); i++) lo[i] = hi[i] = dim_const(0);
    for (int d = 0; d < n; d++) {
        lo[axes[d].w->axis] = dim_const(axes[d].lo);
        hi[axes[d].w->axis] = dim_const(axes[d].hi);
    }
    return pad(g, x, lo, hi, none, outside);
}

/* The number of a combination, digit by digit; the last axis runs fastest. */
static void digits_of(int64_t x, int n, const shifted *axes, bool is_tap, int64_t *digit)
{
    for (int d = n; d-- > 0;) {
        int64_t base = is_tap ? axes[d].k : axes[d].stride;
        digit[d] = x % base;
        x /= base;
    }
}

/* dx at one residue: over all taps, where the window chose this tap. */
static value at_residue(graph *g, value dy, value chosen, int n, const shifted *axes, const int64_t *e,
                        int64_t n_taps)
{
    type t = type_of(g, dy);
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t step[MAX_RANK], k[MAX_AXES];
    value sum = NO_VALUE;
    for (int64_t tap = 0; tap < n_taps; tap++) {
        digits_of(tap, n, axes, true, k);
        for (int i = 0; i < t.rank; i++) {
            start[i] = dim_const(0);
            size[i] = t.dims[i];
            step[i] = 1;
        }
        bool all = true;
        for (int d = 0; d < n; d++) {
            bool divides;
            int axis = axes[d].w->axis;
            start[axis] = dim_const(axes[d].lo + shift_of(&axes[d], e[d], k[d], &divides));
            size[axis] = dim_const(axes[d].rows);
            all &= divides;
        }
        if (!all) continue;
        value part = slice(g, dy, start, size, step), which = slice(g, chosen, start, size, step);
        value term = select3(g, bin(g, SCALAR_eq, which, scalar_i64(g, DTYPE_i64, tap)), part,
                             splat_like(g, part, 0));
        sum = is_value(sum) ? add(g, sum, term) : term;
    }
    for (int d = 0; d < n; d++) size[axes[d].w->axis] = dim_const(axes[d].rows);
    return is_value(sum) ? sum : splat(g, scalar_f64(g, t.dtype, 0), t.rank, size);
}

static value extremum_by_residues(graph *g, value dy, value chosen, type x, int n, const shifted *axes)
{
    int64_t n_residues = 1, n_taps = 1, e[MAX_AXES];
    for (int d = 0; d < n; d++) {
        n_residues *= axes[d].stride;
        n_taps *= axes[d].k;
    }
    value part[MAX_RESIDUES];
    dy = with_border(g, dy, n, axes, scalar_f64(g, x.dtype, 0));
    chosen = with_border(g, chosen, n, axes, scalar_i64(g, DTYPE_i64, -1));
    uint32_t inserted = 0;
    for (int d = 0; d < n; d++) inserted |= 1u << (axes[d].w->axis + d + 1);
    for (int64_t i = 0; i < n_residues; i++) {
        digits_of(i, n, axes, false, e);
        part[i] = unsqueeze(g, at_residue(g, dy, chosen, n, axes, e, n_taps), inserted);
    }
    for (int d = n; d-- > 0;) {
        n_residues /= axes[d].stride;
        for (int64_t i = 0; i < n_residues; i++)
            part[i] = concat(g, (int)axes[d].stride, part + i * axes[d].stride, axes[d].w->axis + d + 1);
    }
    dim whole[MAX_RANK], start[MAX_RANK];
    int64_t step[MAX_RANK];
    for (int i = 0; i < x.rank; i++) {
        whole[i] = x.dims[i];
        start[i] = dim_const(0);
        step[i] = 1;
    }
    for (int d = 0; d < n; d++) whole[axes[d].w->axis] = dim_const(axes[d].rows * axes[d].stride);
    return slice(g, reshape(g, part[0], x.rank, whole), start, x.dims, step);
}

/* dx[i] = sum over taps k of dy[o] * (chosen[o] == k), o the window that has i at place k. */
static value window_extremum(grad_step *s)
{
    graph *g = s->g;
    const window_attr *c = s->n.window;
    value x = s->n.in[0], dy = s->dy[0];
    value chosen = window_reduce(g, WINDOW_argmax, c->kind == WINDOW_max ? x : un(g, SCALAR_neg, x), c->n,
                                 c->axes);
    shifted axes[MAX_AXES];
    if (find_shifts(g, c, type_of(g, x), axes))
        return extremum_by_residues(g, dy, chosen, type_of(g, x), c->n, axes);
    uint32_t taps = 0;
    for (int d = 0; d < c->n; d++) {
        const window_axis *w = &c->axes[d];
        value over = windows_over(g, w, dim_of(g, x, w->axis));
        dy = take(g, dy, over, w->axis + d);
        chosen = take(g, chosen, over, w->axis + d);
        taps |= 1u << (w->axis + d + 1);
    }
    if (!is_value(dy)) return NO_VALUE;
    type t = type_of(g, dy);
    value tap = scalar_i64(g, DTYPE_i64, 0);
    for (int d = 0; d < c->n; d++) {
        const window_axis *w = &c->axes[d];
        dim shape[MAX_RANK];
        for (int i = 0; i < t.rank; i++) shape[i] = i == w->axis + d + 1 ? dim_const(w->k) : dim_const(1);
        value k = iota(g, DTYPE_i64, t.rank, shape, w->axis + d + 1);
        tap = add(g, mul(g, tap, scalar_i64(g, DTYPE_i64, w->k)), k);
    }
    return reduce(g, REDUCE_sum, select3(g, bin(g, SCALAR_eq, chosen, tap), dy, splat_like(g, dy, 0)), taps,
                  false);
}

/* window prod as gather and reduce prod: places outside read 1. */
static bool explicit_product(graph *g, const node *n, const value *in, value *out)
{
    const window_attr *c = n->window;
    value y = in[0];
    uint32_t taps = 0;
    for (int d = 0; d < c->n; d++) {
        const window_axis *w = &c->axes[d];
        dim extent = dim_of(g, in[0], w->axis);
        value at = positions(g, w->size, w->k, w->r.stride, w->r.dil, -w->r.pad, w->r.idil);
        value inside = bin(g, SCALAR_and, greater_equal(g, at, scalar_i64(g, DTYPE_i64, 0)),
                           bin(g, SCALAR_lt, at, constant_dim(g, DTYPE_i64, extent)));
        y = take(g, y, at, w->axis + d);
        dim shape[MAX_RANK];
        for (int i = 0; i < rank_of(g, y); i++) shape[i] = dim_const(1);
        shape[w->axis + d] = w->size;
        shape[w->axis + d + 1] = dim_const(w->k);
        y = select3(g, reshape(g, inside, rank_of(g, y), shape), y, splat_like(g, y, 1));
        taps |= 1u << (w->axis + d + 1);
    }
    out[0] = reduce(g, REDUCE_prod, y, taps, false);
    return is_value(out[0]);
}

void grad_window(grad_step *s)
{
    graph *g = s->g;
    const window_attr *c = s->n.window;
    window_axis back[MAX_RANK];
    switch (c->kind) {
    case WINDOW_sum:
        for (int d = 0; d < c->n; d++) {
            window_axis w = c->axes[d];
            back[d] = (window_axis){
                w.axis, dim_of(g, s->n.in[0], w.axis), w.k, { w.r.stride, w.r.idil, -w.r.dil, -w.r.pad }
            };
        }
        s->dx[0] = window_reduce(g, WINDOW_sum, s->dy[0], c->n, back);
        break;
    case WINDOW_max: case WINDOW_min: s->dx[0] = window_extremum(s); break;
    case WINDOW_prod: grad_through(s, explicit_product); break;
    case WINDOW_argmax: case WINDOW_COUNT: break;
    }
}
