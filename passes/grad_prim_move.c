/* grad_prim_move: gradient rules of the primitives that move elements
 *
 *     reshape    reshape back
 *     transpose  the inverse permutation
 *     broadcast  sum over stretched dims
 *     slice      pad, with step - 1 zeros between (reversed first if step < 0)
 *     pad        slice with step interior + 1; the value: sum over what it fills
 *     concat     slices
 *     gather     scatter add onto zeros
 *     scatter    by mode, below
 */
#include "passes/grad_step.h"

void grad_reshape(grad_step *s)
{
    type t = type_of(s->g, s->n.in[0]);
    s->dx[0] = reshape(s->g, s->dy[0], t.rank, t.dims);
}

void grad_transpose(grad_step *s)
{
    int back[MAX_RANK];
    for (int j = 0; j < s->n.types[0].rank; j++) back[s->n.transpose->perm[j]] = j;
    s->dx[0] = transpose(s->g, s->dy[0], back);
}

void grad_broadcast(grad_step *s) { s->dx[0] = grad_unstretch(s->g, s->dy[0], type_of(s->g, s->n.in[0])); }

/* -- slice, pad, concat ---------------------------------------------------------------------------------- */

/* n elements and `between` zeros after each but the last. */
static dim spread(graph *g, dim n, int64_t between)
{
    if (between == 0) return n;
    return dim_max(g->dims, dim_addk(g->dims, dim_mulk(g->dims, n, between + 1), -between), dim_const(0));
}

void grad_slice(grad_step *s)
{
    graph *g = s->g;
    dims *D = g->dims;
    type x = type_of(g, s->n.in[0]), y = s->n.types[0];
    const slice_attr *c = s->n.slice;
    value dy = s->dy[0];
    dim lo[MAX_RANK], hi[MAX_RANK];
    int64_t between[MAX_RANK];
    for (int i = 0; i < x.rank; i++) {
        if (dim_is(y.dims[i], 0)) return;
        lo[i] = c->start[i];
        if (c->step[i] < 0) {
            dy = flip(g, dy, i);
            lo[i] = dim_add(D, lo[i], dim_mulk(D, dim_addk(D, y.dims[i], -1), c->step[i]));
        }
        between[i] = (c->step[i] < 0 ? -c->step[i] : c->step[i]) - 1;
        hi[i] = dim_sub(D, dim_sub(D, x.dims[i], lo[i]), spread(g, y.dims[i], between[i]));
    }
    s->dx[0] = pad(g, dy, lo, hi, between, scalar_f64(g, x.dtype, 0));
}

/* Where the pad of an x of this shape holds its value. */
static value filled_places(graph *g, type x, const pad_attr *c)
{
    value no = scalar_i64(g, DTYPE_bool, 0), yes = scalar_i64(g, DTYPE_bool, 1);
    return pad(g, splat(g, no, x.rank, x.dims), c->lo, c->hi, c->interior, yes);
}

/* Cropped places get zeros: a negative lo is a pad of dy. */
static value pad_back(graph *g, value dy, type x, const pad_attr *c)
{
    dim lo[MAX_RANK], hi[MAX_RANK], start[MAX_RANK];
    int64_t none[MAX_RANK] = { 0 }, step[MAX_RANK];
    bool crops = false;
    for (int i = 0; i < x.rank; i++) {
        step[i] = c->interior[i] + 1;
        start[i] = c->lo[i];
        lo[i] = dim_neg(g->dims, c->lo[i]);
        hi[i] = dim_neg(g->dims, c->hi[i]);
        crops |= !dim_known_le(g->dims, dim_const(0), c->lo[i]) ||
                 !dim_known_le(g->dims, dim_const(0), c->hi[i]);
    }
    if (crops) {
        dy = pad(g, dy, lo, hi, none, scalar_f64(g, x.dtype, 0));
        for (int i = 0; i < x.rank; i++) start[i] = dim_const(0);
    }
    return slice(g, dy, start, x.dims, step);
}

void grad_pad(grad_step *s)
{
    graph *g = s->g;
    type x = type_of(g, s->n.in[0]);
    const pad_attr *c = s->n.pad;
    bool is_empty = false;
    for (int i = 0; i < x.rank; i++) is_empty |= dim_is(x.dims[i], 0);
    if (s->wanted[0] && !is_empty) s->dx[0] = pad_back(g, s->dy[0], x, c);
    if (s->n.n_in < 2 || !s->wanted[1]) return;
    value filled = select3(g, filled_places(g, x, c), s->dy[0], splat_like(g, s->dy[0], 0));
    s->dx[1] = reduce(g, REDUCE_sum, filled, x.rank == 32 ? ~0u : (1u << x.rank) - 1, false);
}

void grad_concat(grad_step *s)
{
    graph *g = s->g;
    int axis = s->n.concat->axis;
    dim at = dim_const(0);
    for (int k = 0; k < s->n.n_in; k++) {
        dim size = dim_of(g, s->n.in[k], axis);
        if (s->wanted[k]) s->dx[k] = slice_axis(g, s->dy[0], axis, at, size, 1);
        at = dim_add(g->dims, at, size);
    }
}

/* -- gather, scatter ------------------------------------------------------------------------------------- */

typedef struct {
    int n, axes[MAX_RANK], n_batch, batch_x[MAX_RANK], batch_s[MAX_RANK];
    const value *idx;
} places;

static places places_of(const grad_step *s, int first_index)
{
    const gather_attr *c = s->n.gather;
    places p = { .n = c->n_axes, .n_batch = c->n_batch, .idx = s->n.in + first_index };
    for (int i = 0; i < p.n; i++) p.axes[i] = c->axes[i];
    for (int i = 0; i < p.n_batch; i++) {
        p.batch_x[i] = c->batch_x[i];
        p.batch_s[i] = c->batch_s[i];
    }
    return p;
}

static value get(graph *g, const places *p, value x)
{
    return gather(g, x, p->n, p->idx, p->axes, p->n_batch, p->batch_x, p->batch_s);
}

static value put(graph *g, const places *p, scatter_mode mode, value x, value u)
{
    return scatter(g, mode, x, u, p->n, p->idx, p->axes, p->n_batch, p->batch_x, p->batch_s);
}

void grad_gather(grad_step *s)
{
    places p = places_of(s, 1);
    s->dx[0] = put(s->g, &p, SCATTER_add, grad_zeros(s->g, type_of(s->g, s->n.in[0])), s->dy[0]);
}

/* The gradient of the updates where each was the last writer of its place: numbers are scattered and read
 * back. */
static value of_last_writers(graph *g, const places *p, type x, type u, value dy)
{
    type index = type_of(g, p->idx[0]);
    dim count = type_elements(g, index), shape[MAX_RANK];
    for (int i = 0; i < u.rank; i++) shape[i] = i < index.rank ? index.dims[i] : dim_const(1);
    value number = broadcast(g, reshape(g, iota(g, DTYPE_i64, 1, &count, 0), u.rank, shape), u.rank, u.dims);
    value nobody = splat(g, scalar_i64(g, DTYPE_i64, -1), x.rank, x.dims);
    value last = get(g, p, put(g, p, SCATTER_set, nobody, number)), back = get(g, p, dy);
    return select3(g, bin(g, SCALAR_eq, last, number), back, splat_like(g, back, 0));
}

/* The product of the other factors of an update's place, exact to second order also with zeros: n updates are
 * zero there, t is their sum (n = 1: the zero itself; n = 2: t - u is the other one). */
static value other_factors(graph *g, const places *p, value x, value u)
{
    value zero = bin_k(g, SCALAR_eq, u, 0), nil = splat_like(g, x, 0),
          safe = select3(g, zero, splat_like(g, u, 1), u);
    value n = get(g, p, put(g, p, SCATTER_add, nil, cast(g, zero, dtype_of(g, x))));
    value t = get(g, p, put(g, p, SCATTER_add, nil, select3(g, zero, u, splat_like(g, u, 0))));
    value others = get(g, p, put(g, p, SCATTER_mul, x, safe));
    value none = splat_like(g, u, 0), one = splat_like(g, u, 1);
    value if_zero = select3(g, bin_k(g, SCALAR_eq, n, 1), one,
                            select3(g, bin_k(g, SCALAR_eq, n, 2), sub(g, t, u), none));
    value if_not = select3(g, bin_k(g, SCALAR_eq, n, 0), one, select3(g, bin_k(g, SCALAR_eq, n, 1), t, none));
    return select3(g, zero, mul(g, others, if_zero), mul(g, divide(g, others, safe), if_not));
}

static void scatter_extremum(grad_step *s, const places *p)
{
    graph *g = s->g;
    value x = s->n.in[0], u = s->n.in[1], y = s->y, dy = s->dy[0];
    value hit_x = bin(g, SCALAR_eq, x, y), hit_u = bin(g, SCALAR_eq, u, get(g, p, y));
    dtype t = dtype_of(g, x), wide = compute_dtype(t);
    value count = put(g, p, SCATTER_add, cast(g, hit_x, wide), cast(g, hit_u, wide));
    value share = cast(g, divide(g, cast(g, dy, wide), count), t);
    s->dx[0] = select3(g, hit_x, share, splat_like(g, x, 0));
    s->dx[1] = select3(g, hit_u, get(g, p, share), splat_like(g, u, 0));
}

void grad_scatter(grad_step *s)
{
    graph *g = s->g;
    places p = places_of(s, 2);
    value x = s->n.in[0], u = s->n.in[1], dy = s->dy[0];
    type tx = type_of(g, x), tu = type_of(g, u);
    switch (s->n.gather->mode) {
    case SCATTER_add:
        s->dx[0] = dy;
        if (s->wanted[1]) s->dx[1] = get(g, &p, dy);
        break;
    case SCATTER_set:
        if (s->wanted[0]) s->dx[0] = put(g, &p, SCATTER_set, dy, grad_zeros(g, tu));
        if (s->wanted[1]) s->dx[1] = of_last_writers(g, &p, tx, tu, dy);
        break;
    case SCATTER_mul:
        if (s->wanted[0]) s->dx[0] = put(g, &p, SCATTER_mul, dy, u);
        if (s->wanted[1]) s->dx[1] = mul(g, get(g, &p, dy), other_factors(g, &p, x, u));
        break;
    case SCATTER_max: case SCATTER_min: scatter_extremum(s, &p); break;
    case SCATTER_COUNT: break;
    }
}
