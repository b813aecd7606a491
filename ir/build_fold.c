/* ir/build_fold.c: constants computed while the graph is built.
 *
 * What   Known elements are those of a constant, of a splat (views of a constant of one element), and of a
 *        small iota. An element is its bits, or (i64, i32) a dim with symbols: Shape -> Gather -> Concat ->
 *        Reshape of a model with open dims leaves nothing behind. Results of up to FOLD_LIMIT elements are
 *        folded, INT_FOLD_LIMIT if all is ints. Splats stay splats, at any size and with open dims.
 * How    Movement primitives say for each element of the result which element it is (a move); map applies
 *        sv_apply, or apply_dims where a symbol takes part; sums in floats, contracts, sorts … go to the
 *        evaluator that the api installs (ctx->evaluator), so that their order of rounding is written in one
 *        place.
 * Keeps  every bit. Shape arithmetic with symbols is taken not to overflow.
 */
#include "ir/build_inner.h"
#include <assert.h>

typedef struct { bool is_dim; dim d; scalar_value v; } element;

/* Known elements of a value. */
typedef struct {
    dtype t;
    int64_t n;                    /* elements of the value */
    bool splat;                   /* element 0 stands for all */
    const char *bytes;            /* exactly one of bytes and dims */
    const dim *dims;
} known;

static bool is_integral(dtype t) { return is_int(t) || t == DTYPE_bool; }

static const node *splat_source(const graph *g, value v)
{
    const node *n = node_of(g, v);
    while (n->prim == PRIM_broadcast || n->prim == PRIM_reshape || n->prim == PRIM_transpose)
        n = node_of(g, n->in[0]);
    return n->prim == PRIM_const && n->konst->n == 1 ? n : NULL;
}

/* One element stands for all; the shape may be open. */
static bool find_splat(const graph *g, value v, known *k)
{
    const node *c = splat_source(g, v);
    if (!c) return false;
    *k = (known){ .t = c->types[0].dtype, .n = 1, .splat = true, .bytes = c->konst->bytes,
                  .dims = c->konst->dims };
    return true;
}

static char *iota_elements(graph *g, const node *n, int64_t count)
{
    type t = n->types[0];
    int size = dtype_bytes(t.dtype);
    char *p = arena_alloc(g->arena, (size_t)count * (size_t)size);
    int64_t inner = 1, extent = 1;
    for (int i = n->iota->axis + 1; i < t.rank; i++) {
        dim_is_const(t.dims[i], &extent);
        inner *= extent;
    }
    dim_is_const(t.dims[n->iota->axis], &extent);
    for (int64_t i = 0; i < count; i++)
        sv_store(t.dtype, p + i * size, sv_from_i64(t.dtype, i / inner % extent));
    return p;
}

/* All elements known, and not more than limit (a constant may be larger: it is there already). */
static bool find_known(graph *g, value v, int64_t limit, known *k)
{
    const node *n = node_of(g, v);
    int64_t count;
    if (n->prim == PRIM_const) {
        *k = (known){ .t = n->types[0].dtype, .n = n->konst->n, .bytes = n->konst->bytes,
                      .dims = n->konst->dims };
        return true;
    }
    if (n->prim != PRIM_iota && n->prim != PRIM_broadcast && n->prim != PRIM_reshape &&
        n->prim != PRIM_transpose)
        return false;
    if (!dim_is_const(type_elements(g, type_of(g, v)), &count) || count > limit) return false;
    if (n->prim == PRIM_iota) {
        *k = (known){ .t = n->types[0].dtype, .n = count, .bytes = iota_elements(g, n, count) };
        return true;
    }
    if (!find_splat(g, v, k)) return false;
    k->n = count;
    return true;
}

static element element_at(const known *k, int64_t i)
{
    if (k->splat) i = 0;
    element e = { 0 };
    int64_t x;
    if (k->dims && !dim_is_const(k->dims[i], &x)) {
        e.is_dim = true;
        e.d = k->dims[i];
    } else {
        e.v = k->dims ? sv_from_i64(k->t, x) : sv_load(k->t, k->bytes + i * dtype_bytes(k->t));
    }
    return e;
}

static int64_t limit_of(dtype t) { return is_integral(t) ? INT_FOLD_LIMIT : FOLD_LIMIT; }

/* The elements of the result of type t are to be computed: how many, or -1 if too many. */
static int64_t foldable(const graph *g, type t, int64_t limit)
{
    int64_t n;
    return all_const(t.dims, t.rank) && dim_is_const(type_elements(g, t), &n) && n <= limit ? n : -1;
}

/* -- Results --------------------------------------------------------------------------------------------- */

static value constant_of_bytes(graph *g, type t, const char *p)
{
    return constant(g, t.dtype, t.rank, t.dims, p, NULL);
}

static value constant_of(graph *g, type t, const element *e, int64_t n)
{
    bool any_dim = false;
    for (int64_t i = 0; i < n; i++) any_dim = any_dim || e[i].is_dim;
    int size = dtype_bytes(t.dtype);
    char *p = any_dim ? NULL : arena_alloc(g->arena, (size_t)n * (size_t)size);
    dim *d = any_dim ? NEW_ARRAY(g->arena, dim, n) : NULL;
    for (int64_t i = 0; i < n; i++) {
        if (!any_dim) sv_store(t.dtype, p + i * size, e[i].v);
        else d[i] = e[i].is_dim ? e[i].d : dim_const(sv_to_i64(t.dtype, e[i].v));
        if (any_dim && dim_is_bad(d[i])) return NO_VALUE;
    }
    if (!any_dim) return constant_of_bytes(g, t, p);
    return constant_of_dims(g, t, d, (int)n);
}

/* A tensor of any shape whose elements are all e. */
static value splat_of(graph *g, type t, element e)
{
    dim ones[MAX_RANK];
    for (int i = 0; i < t.rank; i++) ones[i] = dim_const(1);
    value one = constant_of(g, (type){ t.dtype, t.rank, ones }, &e, 1);
    return is_value(one) ? broadcast(g, one, t.rank, t.dims) : NO_VALUE;
}

/* -- Movement -------------------------------------------------------------------------------------------- */

/* Walks the positions of a shape in row-major order. */
typedef struct { int rank; int64_t extent[MAX_RANK], at[MAX_RANK]; } walk;

static walk walk_of(type t)
{
    walk w = { .rank = t.rank };
    for (int i = 0; i < t.rank; i++) dim_is_const(t.dims[i], &w.extent[i]);
    return w;
}

static void step(walk *w)
{
    for (int i = w->rank - 1; i >= 0; i--) {
        if (++w->at[i] < w->extent[i]) return;
        w->at[i] = 0;
    }
}

/* Where element 0 lies, and how far apart neighbours along each axis of the result are, in the source. */
typedef struct { int64_t base, stride[MAX_RANK]; } affine;

static void row_major(type t, int64_t *stride)
{
    int64_t s = 1;
    for (int i = t.rank - 1; i >= 0; i--) {
        int64_t extent = 1;
        dim_is_const(t.dims[i], &extent);
        stride[i] = s;
        s *= extent;
    }
}

static int64_t affine_at(const affine *a, const walk *w)
{
    int64_t p = a->base;
    for (int i = 0; i < w->rank; i++) p += a->stride[i] * w->at[i];
    return p;
}

static value fold_affine(graph *g, const known *k, const affine *a, type t, int64_t n)
{
    element *e = NEW_ARRAY(g->arena, element, n);
    walk w = walk_of(t);
    for (int64_t i = 0; i < n; i++, step(&w)) e[i] = element_at(k, affine_at(a, &w));
    return constant_of(g, t, e, n);
}

/* x is known and t small enough: true, or *done is the answer (a splat, or NO_VALUE). */
static bool movable(graph *g, value x, type t, known *k, int64_t *n, value *done)
{
    *done = NO_VALUE;
    if (find_splat(g, x, k)) {
        *done = splat_of(g, t, element_at(k, 0));
        return false;
    }
    *n = foldable(g, t, limit_of(t.dtype));
    return *n >= 0 && all_const(type_of(g, x).dims, type_of(g, x).rank) &&
           find_known(g, x, limit_of(t.dtype), k);
}

/* The same elements in another shape or type of equal width. */
static value fold_same_elements(graph *g, const known *k, type t, int64_t n)
{
    if (k->bytes) return constant_of_bytes(g, t, k->bytes);
    return constant_of_dims(g, t, k->dims, (int)n);
}

value fold_reshape(graph *g, value x, type t)
{
    known k;
    int64_t n;
    value done;
    return movable(g, x, t, &k, &n, &done) ? fold_same_elements(g, &k, t, n) : done;
}

value fold_bitcast(graph *g, value x, type t)
{
    known k;
    int64_t n = foldable(g, t, limit_of(t.dtype));
    if (find_splat(g, x, &k) && k.bytes) {
        element e = element_at(&k, 0);
        return splat_of(g, t, e);
    }
    if (n < 0 || !find_known(g, x, limit_of(t.dtype), &k) || !k.bytes) return NO_VALUE;
    return fold_same_elements(g, &k, t, n);
}

value fold_transpose(graph *g, value x, const transpose_attr *a, type t)
{
    known k;
    int64_t n, stride[MAX_RANK];
    value done;
    if (!movable(g, x, t, &k, &n, &done)) return done;
    affine m = { 0 };
    row_major(type_of(g, x), stride);
    for (int j = 0; j < t.rank; j++) m.stride[j] = stride[a->perm[j]];
    return fold_affine(g, &k, &m, t, n);
}

value fold_broadcast(graph *g, value x, type t)
{
    known k;
    int64_t n, stride[MAX_RANK];
    value done;
    if (find_splat(g, x, &k)) {                       /* a broadcast of one element is the form of splats */
        if (node_of(g, x)->prim == PRIM_const) return NO_VALUE;
        return splat_of(g, t, element_at(&k, 0));
    }
    if (!movable(g, x, t, &k, &n, &done)) return done;
    affine m = { 0 };
    type from = type_of(g, x);
    row_major(from, stride);
    for (int j = 0; j < t.rank; j++) m.stride[j] = dim_is(from.dims[j], 1) ? 0 : stride[j];
    return fold_affine(g, &k, &m, t, n);
}

value fold_slice(graph *g, value x, const slice_attr *a, type t)
{
    known k;
    int64_t n, stride[MAX_RANK];
    value done;
    if (!movable(g, x, t, &k, &n, &done)) return done;
    affine m = { 0 };
    row_major(type_of(g, x), stride);
    for (int j = 0; j < t.rank; j++) {
        int64_t start;
        if (!dim_is_const(a->start[j], &start)) return NO_VALUE;
        m.base += start * stride[j];
        m.stride[j] = a->step[j] * stride[j];
    }
    return fold_affine(g, &k, &m, t, n);
}

static bool same_element(element a, element b)
{
    return a.is_dim == b.is_dim && (a.is_dim ? dim_same(a.d, b.d) : a.v.bits == b.v.bits);
}

value fold_pad(graph *g, value x, value with, const pad_attr *a, type t)
{
    known k, w;
    int64_t n = foldable(g, t, limit_of(t.dtype)), stride[MAX_RANK], lo[MAX_RANK], extent[MAX_RANK];
    if (!is_value(with) || !find_splat(g, with, &w)) return NO_VALUE;
    if (find_splat(g, x, &k) && same_element(element_at(&k, 0), element_at(&w, 0)))
        return splat_of(g, t, element_at(&w, 0));
    type from = type_of(g, x);
    if (n < 0 || !all_const(from.dims, from.rank) || !find_known(g, x, limit_of(t.dtype), &k))
        return NO_VALUE;
    row_major(from, stride);
    for (int j = 0; j < t.rank; j++)
        if (!dim_is_const(a->lo[j], &lo[j]) || !dim_is_const(from.dims[j], &extent[j])) return NO_VALUE;
    element *e = NEW_ARRAY(g->arena, element, n);
    walk at = walk_of(t);
    for (int64_t i = 0; i < n; i++, step(&at)) {
        int64_t p = 0;
        bool inside = true;
        for (int j = 0; j < t.rank; j++) {
            int64_t q = at.at[j] - lo[j], every = a->interior[j] + 1;
            inside = inside && q >= 0 && q % every == 0 && q / every < extent[j];
            p += q / every * stride[j];
        }
        e[i] = inside ? element_at(&k, p) : element_at(&w, 0);
    }
    return constant_of(g, t, e, n);
}

static value concat_of_splats(graph *g, int n, const value *x, type t)
{
    known first, k;
    if (!find_splat(g, x[0], &first)) return NO_VALUE;
    for (int i = 1; i < n; i++)
        if (!find_splat(g, x[i], &k) || !same_element(element_at(&first, 0), element_at(&k, 0)))
            return NO_VALUE;
    return splat_of(g, t, element_at(&first, 0));
}

value fold_concat(graph *g, int n_in, const value *x, int axis, type t)
{
    value splat = concat_of_splats(g, n_in, x, t);
    int64_t n = foldable(g, t, limit_of(t.dtype));
    if (is_value(splat) || n < 0) return splat;
    int64_t inner = 1, outer_stride, extent, begin = 0;
    for (int i = axis + 1; i < t.rank; i++) {
        dim_is_const(t.dims[i], &extent);
        inner *= extent;
    }
    dim_is_const(t.dims[axis], &extent);
    outer_stride = extent * inner;
    element *e = NEW_ARRAY(g->arena, element, n);
    for (int k = 0; k < n_in; k++) {
        known part;
        if (!all_const(type_of(g, x[k]).dims, t.rank) || !find_known(g, x[k], n, &part)) return NO_VALUE;
        int64_t run = 0;
        dim_is_const(type_of(g, x[k]).dims[axis], &run);
        run *= inner;
        for (int64_t i = 0; i < part.n; i++)
            e[i / run * outer_stride + begin + i % run] = element_at(&part, i);
        begin += run;
    }
    return constant_of(g, t, e, n);
}

value fold_gather(graph *g, value x, int n_idx, const value *idx, const gather_attr *a, type t)
{
    known k, index[MAX_RANK];
    int64_t n = foldable(g, t, limit_of(t.dtype)), stride[MAX_RANK], extent[MAX_RANK];
    type from = type_of(g, x), it = type_of(g, idx[0]);
    if (n < 0 || !all_const(from.dims, from.rank) || !find_known(g, x, limit_of(t.dtype), &k))
        return NO_VALUE;
    for (int j = 0; j < n_idx; j++) {
        if (!find_known(g, idx[j], INT_FOLD_LIMIT, &index[j])) return NO_VALUE;
        for (int64_t i = 0; i < index[j].n; i++)
            if (element_at(&index[j], i).is_dim) return NO_VALUE;
    }
    row_major(from, stride);
    for (int i = 0; i < from.rank; i++) dim_is_const(from.dims[i], &extent[i]);
    uint32_t used = 0;
    for (int j = 0; j < n_idx; j++) used |= 1u << a->axes[j];
    for (int j = 0; j < a->n_batch; j++) used |= 1u << a->batch_x[j];
    int64_t index_stride[MAX_RANK];
    row_major(it, index_stride);
    element *e = NEW_ARRAY(g->arena, element, n);
    walk at = walk_of(t);
    for (int64_t i = 0; i < n; i++, step(&at)) {
        int64_t s = 0, p = 0;
        bool inside = true;
        for (int j = 0; j < it.rank; j++) s += at.at[j] * index_stride[j];
        for (int j = 0; j < n_idx; j++) {
            int64_t q = sv_to_i64(index[j].t, element_at(&index[j], s).v);
            inside = inside && q >= 0 && q < extent[a->axes[j]];
            if (inside) p += q * stride[a->axes[j]];
        }
        for (int j = 0; j < a->n_batch; j++) p += at.at[a->batch_s[j]] * stride[a->batch_x[j]];
        for (int d = 0, f = it.rank; d < from.rank; d++)
            if (!(used >> d & 1)) p += at.at[f++] * stride[d];
        if (inside) e[i] = element_at(&k, p);
    }
    return constant_of(g, t, e, n);
}

/* -- map ------------------------------------------------------------------------------------------------- */

static element number(dtype t, int64_t x) { return (element){ .v = sv_from_i64(t, x) }; }

static bool make_dim(dtype t, dim d, element *out)
{
    int64_t x;
    if (dim_is_bad(d)) return false;
    *out = dim_is_const(d, &x) ? number(t, x) : (element){ .is_dim = true, .d = d };
    return true;
}

static bool to_dim(dtype t, element e, dim *d)
{
    *d = e.is_dim ? e.d : dim_const(sv_to_i64(t, e.v));
    return !dim_is_bad(*d);
}

/* Comparisons that hold, or fail, for all values of the symbols. */
static bool decide(dims *t, scalar fn, dim a, dim b, element *out)
{
    bool yes, no;
    if (fn == SCALAR_eq) {
        yes = dim_same(a, b);
        no = dim_known_lt(t, a, b) || dim_known_lt(t, b, a);
    } else if (fn == SCALAR_lt) {
        yes = dim_known_lt(t, a, b);
        no = dim_known_le(t, b, a);
    } else {
        yes = dim_known_le(t, a, b);
        no = dim_known_lt(t, b, a);
    }
    *out = number(DTYPE_bool, yes);
    return yes || no;
}

/* One element with a symbol among its operands, each of type t (i64 or i32). False: not decidable as a dim.
 */
static bool apply_dims(graph *g, scalar fn, dtype t, dtype to, const element *x, element *out)
{
    dims *d = g->dims;
    dim a, b = dim_const(0), zero = dim_const(0), one = dim_const(1);
    if (!to_dim(t, x[0], &a) || (scalar_info[fn].arity > 1 && !to_dim(t, x[1], &b))) return false;
    bool natural = dim_known_le(d, zero, a) && dim_known_le(d, one, b);
    switch (fn) {
    case SCALAR_add: return make_dim(t, dim_add(d, a, b), out);
    case SCALAR_sub: return make_dim(t, dim_sub(d, a, b), out);
    case SCALAR_mul: return make_dim(t, dim_mul(d, a, b), out);
    case SCALAR_neg: return make_dim(t, dim_neg(d, a), out);
    case SCALAR_max: return make_dim(t, dim_max(d, a, b), out);
    case SCALAR_min: return make_dim(t, dim_min(d, a, b), out);
    case SCALAR_relu: return make_dim(t, dim_max(d, a, zero), out);
    case SCALAR_abs: return dim_known_le(d, zero, a) && make_dim(t, a, out);
    case SCALAR_div: {
        dim q = dim_div(d, a, b);                 /* exact, or rounds down, which is towards zero from 0 up */
        bool exact = !dim_is_bad(q) && dim_same(dim_mul(d, q, b), a);
        return (exact || natural) && make_dim(t, q, out);
    }
    case SCALAR_mod: return dim_known_le(d, one, b) && make_dim(t, dim_mod(d, a, b), out);
    case SCALAR_fmod: return natural && make_dim(t, dim_mod(d, a, b), out);
    case SCALAR_sign:
        if (dim_known_lt(d, zero, a)) *out = number(t, 1);
        else if (dim_known_lt(d, a, zero)) *out = number(t, -1);
        else return false;
        return true;
    case SCALAR_eq: case SCALAR_lt: case SCALAR_le: return decide(d, fn, a, b, out);
    case SCALAR_cast:
        if (to == DTYPE_bool) {
            if (!decide(d, SCALAR_eq, a, zero, out)) return false;
            out->v.bits ^= 1;
            return true;
        }
        return (to == DTYPE_i64 || to == DTYPE_i32) && make_dim(to, a, out);
    default: return false;
    }
}

static expander *expander_of(graph *g)
{
    if (!g->shared->expander) g->shared->expander = expander_new(g->shared->arena);
    return g->shared->expander;
}

/* One element. t: the operands' type (select: of a and b). */
static bool apply(graph *g, scalar fn, dtype t, dtype to, const element *x, element *out)
{
    scalar_value in[3];
    bool any_dim = false;
    for (int i = 0; i < scalar_info[fn].arity; i++) {
        any_dim = any_dim || x[i].is_dim;
        in[i] = x[i].v;
    }
    if (fn == SCALAR_select && any_dim) {
        *out = x[0].v.bits ? x[1] : x[2];
        return true;
    }
    if (any_dim) return apply_dims(g, fn, t, to, x, out);
    fma_mode mode = g->ctx->evaluator ? g->ctx->evaluator->fma : FMA_FUSED;
    *out = (element){ .v = sv_apply(expander_of(g), fn, t, to, in, mode) };
    return true;
}

static value fold_map_of_splats(graph *g, scalar fn, dtype t, dtype to, int n, const value *x, type result)
{
    element e[3], out;
    for (int i = 0; i < n; i++) {
        known k;
        if (!find_splat(g, x[i], &k)) return NO_VALUE;
        e[i] = element_at(&k, 0);
    }
    return apply(g, fn, t, to, e, &out) ? splat_of(g, result, out) : NO_VALUE;
}

value fold_map(graph *g, scalar fn, dtype to, int n_in, const value *x, type t)
{
    dtype from = dtype_of(g, x[n_in - 1]);
    value splat = fold_map_of_splats(g, fn, from, to, n_in, x, t);
    if (is_value(splat)) return splat;
    int64_t limit = is_integral(from) && is_integral(t.dtype) ? INT_FOLD_LIMIT : FOLD_LIMIT,
            n = foldable(g, t, limit);
    if (n < 0) return NO_VALUE;
    known k[3];
    affine m[3] = { { 0 } };
    for (int i = 0; i < n_in; i++) {
        type u = type_of(g, x[i]);
        int64_t stride[MAX_RANK];
        if (!all_const(u.dims, u.rank) || !find_known(g, x[i], limit, &k[i])) return NO_VALUE;
        row_major(u, stride);
        for (int j = 0; j < u.rank; j++) m[i].stride[j] = dim_is(u.dims[j], 1) ? 0 : stride[j];
    }
    element *e = NEW_ARRAY(g->arena, element, n);
    walk w = walk_of(t);
    for (int64_t p = 0; p < n; p++, step(&w)) {
        element in[3];
        for (int i = 0; i < n_in; i++) in[i] = element_at(&k[i], affine_at(&m[i], &w));
        if (!apply(g, fn, from, to, in, &e[p])) return NO_VALUE;
    }
    return constant_of(g, t, e, n);
}

/* -- reduce ---------------------------------------------------------------------------------------------- */

value fold_reduce(graph *g, const reduce_attr *a, value x, type t)
{
    static const scalar step_fn[REDUCE_COUNT] = {
        SCALAR_add, SCALAR_mul, SCALAR_max, SCALAR_min, SCALAR_COUNT, SCALAR_COUNT
    };
    type from = type_of(g, x);
    scalar fn = step_fn[a->kind];
    int64_t n = foldable(g, t, INT_FOLD_LIMIT), stride[MAX_RANK];
    known k;
    if (fn == SCALAR_COUNT || n < 0 || !is_integral(from.dtype) || !all_const(from.dims, from.rank))
        return NO_VALUE;
    if (foldable(g, from, INT_FOLD_LIMIT) < 0 || !find_known(g, x, INT_FOLD_LIMIT, &k)) return NO_VALUE;
    scalar_value empty = a->kind == REDUCE_max   ? sv_lowest(t.dtype)
                         : a->kind == REDUCE_min ? sv_highest(t.dtype)
                                                 : sv_from_i64(t.dtype, a->kind == REDUCE_prod);
    element *e = NEW_ARRAY(g->arena, element, n);
    bool *started = NEW_ARRAY(g->arena, bool, n);
    for (int64_t i = 0; i < n; i++) e[i].v = empty;
    row_major(t, stride);
    walk w = walk_of(from);
    for (int64_t i = 0; i < k.n; i++, step(&w)) {
        int64_t p = 0;
        for (int d = 0, kept = 0; d < from.rank; d++)
            if (!(a->axes >> d & 1)) p += w.at[d] * stride[kept++];
        element in[2] = { e[p], element_at(&k, i) };
        if (!started[p]) e[p] = in[1];
        else if (!apply(g, fn, t.dtype, DTYPE_NONE, in, &e[p])) return NO_VALUE;
        started[p] = true;
    }
    return constant_of(g, t, e, n);
}

/* -- By the evaluator ------------------------------------------------------------------------------------ */

enum { EVALUATOR_WORK = 1 << 20 };

/* Multiply-adds or so that the node needs; the operands are small. */
static bool is_cheap(const node *n)
{
    int64_t work = 1;
    if (n->prim != PRIM_window) return true;
    for (int i = 0; i < n->window->n; i++)
        if (!mul_ok(work, n->window->axes[i].k, &work) || work > EVALUATOR_WORK / FOLD_LIMIT) return false;
    return true;
}

value fold_by_evaluator(graph *g, value y)
{
    const graph_evaluator *eval = g->ctx->evaluator;
    if (!is_value(y) || !eval) return y;
    type t = type_of(g, y);
    const node *n = node_of(g, y);
    int64_t count = foldable(g, t, FOLD_LIMIT);
    if (count < 0 || !is_cheap(n)) return y;
    for (int i = 0; i < n->n_in; i++) {
        known k;
        if (foldable(g, type_of(g, n->in[i]), FOLD_LIMIT) < 0 || !find_known(g, n->in[i], FOLD_LIMIT, &k))
            return y;
        for (int64_t j = 0; k.dims && j < (k.splat ? 1 : k.n); j++)
            if (element_at(&k, j).is_dim) return y;
    }
    char *p = arena_alloc(g->arena, (size_t)count * (size_t)dtype_bytes(t.dtype));
    return eval->evaluate(eval->arg, g, y, p) ? constant_of_bytes(g, t, p) : y;
}

/* -- What is known --------------------------------------------------------------------------------------- */

/* Numbers of 2^60 and beyond (ONNX writes "to the end" as INT64_MAX) are given as the largest dims. */
static dim saturated(int64_t x)
{
    return dim_const(x >= DIM_LIMIT ? DIM_LIMIT - 1 : x <= -DIM_LIMIT ? 1 - DIM_LIMIT : x);
}

const dim *known_ints(graph *g, value v, int *n)
{
    known k;
    if (!is_value(v) || !is_integral(dtype_of(g, v))) return NULL;
    int64_t count = foldable(g, type_of(g, v), INT_FOLD_LIMIT);
    if (count < 0 || !find_known(g, v, INT_FOLD_LIMIT, &k)) return NULL;
    *n = (int)count;
    const node *x = node_of(g, v);
    if (x->prim == PRIM_const && x->konst->dims) return x->konst->dims;
    if (x->prim == PRIM_const && x->konst->ints) return x->konst->ints;
    dim *d = NEW_ARRAY(g->arena, dim, count);
    for (int64_t i = 0; i < count; i++) {
        element e = element_at(&k, i);
        d[i] = e.is_dim ? e.d : saturated(sv_to_i64(k.t, e.v));
    }
    if (x->prim == PRIM_const) ((const_attr *)(uintptr_t)x->konst)->ints = d;
    return d;
}
