/* ir/build.c: making nodes: interned types and attributes, hash-consing, inputs, constants, names.
 *
 * A node costs 48 bytes, its operands, and 12 bytes a value; types, attributes and places are shared. Two
 * nodes are one if primitive, operands, types and attributes agree; a contract's label names do not count.
 */
#include "ir/build_inner.h"
#include <assert.h>
#include <stdio.h>

/* -- Graphs ---------------------------------------------------------------------------------------------- */

static graph *graph_make(dlc_context *ctx, arena *a, dims *d, graph_shared *shared, const char *name)
{
    graph *g = NEW(a, graph);
    g->ctx = ctx;
    g->arena = a;
    g->dims = d;
    g->shared = shared;
    g->name = arena_strdup(a, name ? name : "");
    cons_init(&g->cons, a);
    type *none = NEW(a, type);                     /* of NO_VALUE: f32[] */
    none->dtype = DTYPE_f32;
    node zero = { .prim = PRIM_COUNT, .n_out = 1, .types = none };
    vec_push(a, &g->nodes, zero);
    vec_push(a, &g->owner, 0);
    vec_push(a, &g->names, NULL);
    return g;
}

graph *graph_new(dlc_context *ctx, arena *a, dims *d, const char *name)
{
    graph_shared *s = NEW(a, graph_shared);
    s->arena = a;
    cons_init(&s->type_cons, a);
    cons_init(&s->attr_cons, a);
    return graph_make(ctx, a, d, s, name);
}

graph *graph_body(graph *outer, const char *name)
{
    graph *g = graph_make(outer->ctx, outer->arena, outer->dims, outer->shared, name);
    g->parent = outer;
    g->at = outer->at;
    return g;
}

value build_fail(graph *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *what = arena_vprintf(g->arena, fmt, ap);
    va_end(ap);
    diag_build(g->ctx, g->at, what);
    g->failed = true;
    return NO_VALUE;
}

value build_fail_dims(graph *g, const dim *d, int n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *what = arena_vprintf(g->arena, fmt, ap);
    va_end(ap);
    if (all_const(d, n)) diag_build(g->ctx, g->at, what);
    else diag_build_open(g->ctx, g->at, what);
    g->failed = true;
    return NO_VALUE;
}

bool ready(const graph *g, int n, const value *x)
{
    if (g->failed) return false;
    for (int i = 0; i < n; i++) {
        if (!is_value(x[i])) return false;
        assert(x[i].id < g->owner.n);
    }
    return true;
}

/* -- Messages -------------------------------------------------------------------------------------------- */

const char *show_type(graph *g, type t)
{
    text out = { .a = g->arena };
    type_print(g, t, &out);
    return text_str(&out);
}

const char *show_shape(graph *g, int rank, const dim *d)
{
    text out = { .a = g->arena };
    text_put(&out, "[");
    for (int i = 0; i < rank; i++) {
        if (i) text_put(&out, ", ");
        dim_print(g->dims, d[i], &out);
    }
    text_put(&out, "]");
    return text_str(&out);
}

const char *show_dim(graph *g, dim d)
{
    text out = { .a = g->arena };
    dim_print(g->dims, d, &out);
    return text_str(&out);
}

/* -- Types and shapes ------------------------------------------------------------------------------------ */

bool all_const(const dim *d, int n)
{
    for (int i = 0; i < n; i++)
        if (!dim_is_const(d[i], NULL)) return false;
    return true;
}

bool dims_equal(graph *g, dim a, dim b)
{
    if (dim_same(a, b)) return !dim_is_bad(a);
    if (dim_is_const(a, NULL) && dim_is_const(b, NULL)) return false;
    return dim_known_le(g->dims, a, b) && dim_known_le(g->dims, b, a);
}

bool narrow_symbol(graph *g, dim x, int64_t lo, int64_t hi)
{
    int64_t from, to;
    if (g->parent || dim_look(g->dims, x).kind != DIM_SYMBOL) return false;
    dim_range(g->dims, x, &from, &to);
    return lo <= to && hi >= from && dim_symbol_bounds(g->dims, x, lo, hi);
}

/* x is a symbol, and m would be the same if it kept within c: m is c, or min(x, c), or max(x, c). */
static bool narrow_to_agree(graph *g, dim m, dim x)
{
    int64_t c;
    if (dim_is_const(m, &c)) return c > 1 && narrow_symbol(g, x, c, c);
    dim_view v = dim_look(g->dims, m);
    if (v.kind != DIM_MIN && v.kind != DIM_MAX) return false;
    dim other = dim_same(v.args[0], x) ? v.args[1] : dim_same(v.args[1], x) ? v.args[0] : DIM_BAD;
    if (!dim_is_const(other, &c)) return false;
    return v.kind == DIM_MIN ? narrow_symbol(g, x, 0, c) : narrow_symbol(g, x, c, INT64_MAX);
}

bool dims_agree(graph *g, dim a, dim b)
{
    if (dims_equal(g, a, b) ||
        ((narrow_to_agree(g, a, b) || narrow_to_agree(g, b, a)) && dims_equal(g, a, b)))
        return true;
    dims_want_equal(g->dims, a, b);
    return false;
}

bool types_equal(graph *g, type a, type b)
{
    if (type_same(a, b)) return true;
    if (a.dtype != b.dtype || a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (!dims_equal(g, a.dims[i], b.dims[i])) return false;
    return true;
}

bool check_shape(graph *g, const char *what, int rank, const dim *d)
{
    if (rank < 0 || rank > MAX_RANK) {
        build_fail(g, "%s: rank %d is more than the %d supported", what, rank, MAX_RANK);
        return false;
    }
    for (int i = 0; i < rank; i++) {
        int64_t lo, hi;
        dim_range(g->dims, d[i], &lo, &hi);
        if (!dim_is_bad(d[i]) && hi >= 0) continue;
        build_fail(g, "%s: extent %d of %s is %s", what, i, show_shape(g, rank, d),
                   dim_is_bad(d[i]) ? "out of range" : "negative");
        return false;
    }
    if (!dim_is_bad(dim_product(g->dims, d, rank))) return true;
    for (int i = 0; i < rank; i++)
        if (dim_is(d[i], 0)) return true;
    build_fail(g, "%s: %s has too many elements", what, show_shape(g, rank, d));
    return false;
}

static bool type_cons_equal(const void *owner, uint32_t id, const void *key)
{
    return type_same(*((const graph_shared *)owner)->types.at[id], *(const type *)key);
}

const type *intern_type(graph *g, type t)
{
    graph_shared *s = g->shared;
    uint64_t hash = hash_bytes(t.dims, (size_t)t.rank * sizeof(dim), (uint64_t)t.dtype);
    uint32_t id;
    if (cons_find(&s->type_cons, hash, type_cons_equal, s, &t, &id)) return s->types.at[id];
    type *kept = NEW(s->arena, type);
    *kept = t;
    kept->dims = arena_copy(s->arena, t.dims, (size_t)t.rank * sizeof(dim));
    vec_push(s->arena, &s->types, kept);
    cons_add(&s->type_cons, hash, (uint32_t)s->types.n - 1);
    return kept;
}

/* -- Attributes ------------------------------------------------------------------------------------------ */

typedef struct { prim p; const void *at; } attr_key;

static bool attr_cons_equal(const void *owner, uint32_t id, const void *key)
{
    const graph_shared *s = owner;
    const attr_key *k = key;
    return s->attrs.at[id].p == k->p && attr_same(k->p, s->attrs.at[id].at, k->at, ATTR_ALL);
}

const void *intern_attr(graph *g, prim p, const void *attr)
{
    if (!attr) return NULL;
    graph_shared *s = g->shared;
    attr_key key = { p, attr };
    uint64_t hash = attr_hash(p, attr, ATTR_ALL, p);
    uint32_t id;
    if (cons_find(&s->attr_cons, hash, attr_cons_equal, s, &key, &id)) return s->attrs.at[id].at;
    const void *kept = arena_copy(s->arena, attr, attr_bytes(p));
    vec_grow(s->arena, &s->attrs, 1);
    s->attrs.at[s->attrs.n].p = p;
    s->attrs.at[s->attrs.n++].at = kept;
    cons_add(&s->attr_cons, hash, (uint32_t)s->attrs.n - 1);
    return kept;
}

/* -- Equality of nodes ----------------------------------------------------------------------------------- */

static bool const_equal(const const_attr *a, const const_attr *b, int element_bytes)
{
    if (a->n != b->n || a->is_file != b->is_file || !a->bytes != !b->bytes) return false;
    if (a->dims) return memcmp(a->dims, b->dims, (size_t)a->n * sizeof(dim)) == 0;
    return a->bytes == b->bytes ||
           (!a->is_file && memcmp(a->bytes, b->bytes, (size_t)a->n * (size_t)element_bytes) == 0);
}

static uint64_t const_hash(const const_attr *c, int element_bytes)
{
    if (c->dims) return hash_bytes(c->dims, (size_t)c->n * sizeof(dim), 1);
    if (c->is_file) return hash_u64((uint64_t)(uintptr_t)c->bytes, (uint64_t)c->n);
    return hash_bytes(c->bytes, (size_t)c->n * (size_t)element_bytes, 2);
}

static bool attr_equal(const node *x, const node *y)
{
    if (x->attr == y->attr) return true;
    switch (x->prim) {
    case PRIM_const: return const_equal(x->konst, y->konst, dtype_bytes(x->types[0].dtype));
    case PRIM_contract: case PRIM_compact: return attr_same((prim)x->prim, x->attr, y->attr, ATTR_MEANING);
    default: return false;                           /* without names: interned */
    }
}

static uint64_t node_hash(const node *x)
{
    uint64_t h = hash_bytes(x->in, x->n_in * sizeof(value), x->prim);
    h = hash_u64(h, (uint64_t)(uintptr_t)(x->n_out == 1 ? x->types : NULL));
    switch (x->prim) {
    case PRIM_const: return hash_u64(h, const_hash(x->konst, dtype_bytes(x->types[0].dtype)));
    case PRIM_contract: case PRIM_compact: return attr_hash((prim)x->prim, x->attr, ATTR_MEANING, h);
    default: return hash_u64(h, (uint64_t)(uintptr_t)x->attr);
    }
}

static bool node_equal(const void *owner, uint32_t id, const void *key)
{
    const node *x = &((const graph *)owner)->nodes.at[id], *y = key;
    if (x->prim != y->prim || x->n_in != y->n_in || x->n_out != y->n_out) return false;
    if (x->n_in && memcmp(x->in, y->in, x->n_in * sizeof(value)) != 0) return false;
    if (x->n_out == 1 && x->types != y->types) return false;
    return attr_equal(x, y);
}

/* -- Making nodes ---------------------------------------------------------------------------------------- */

static const place *keep_place(graph *g)
{
    place *p = &g->at;
    if (!p->file && !p->node && !p->op && !p->line) return NULL;
    const place *last = g->shared->last_place;
    if (last && last->file == p->file && last->node == p->node && last->op == p->op &&
        last->line == p->line && last->col == p->col)
        return last;
    return g->shared->last_place = arena_copy(g->shared->arena, p, sizeof *p);
}

/* x: operands and types are the caller's (types interned if there is one), attr is interned. */
static const node *add_node(graph *g, node *x)
{
    uint64_t hash = node_hash(x);
    uint32_t id;
    if (cons_find(&g->cons, hash, node_equal, g, x, &id)) return &g->nodes.at[id];
    x->in = x->n_in ? arena_copy(g->arena, x->in, x->n_in * sizeof(value)) : NULL;
    if (x->n_out != 1) {
        type *kept = NEW_ARRAY(g->arena, type, x->n_out);
        for (int k = 0; k < x->n_out; k++) kept[k] = *intern_type(g, x->types[k]);
        x->types = kept;
    }
    x->first = (uint32_t)g->owner.n;
    x->at = keep_place(g);
    vec_grow(g->arena, &g->nodes, 1);
    vec_grow(g->arena, &g->owner, x->n_out);
    vec_grow(g->arena, &g->names, x->n_out);
    id = (uint32_t)g->nodes.n;
    g->nodes.at[g->nodes.n++] = *x;
    for (int k = 0; k < x->n_out; k++) {
        g->owner.at[g->owner.n++] = id;
        g->names.at[g->names.n++] = NULL;
    }
    cons_add(&g->cons, hash, id);
    return &g->nodes.at[id];
}

const node *make_node_n(graph *g, prim p, int n_in, const value *in, const void *attr, int n_out,
                        const type *types)
{
    if (n_in > UINT16_MAX || n_out > UINT16_MAX) {
        build_fail(g, "%s: %d operands and %d results are more than the %d supported", prim_info[p].name,
                   n_in, n_out, UINT16_MAX);
        return NULL;
    }
    node x = {
        .prim = (uint8_t)p, .n_in = (uint16_t)n_in, .n_out = (uint16_t)n_out, .in = in, .types = types
    };
    if (n_out == 1) x.types = intern_type(g, types[0]);
    x.attr = intern_attr(g, p, attr);
    return add_node(g, &x);
}

value make_node(graph *g, prim p, int n_in, const value *in, const void *attr, type t)
{
    const node *x = make_node_n(g, p, n_in, in, attr, 1, &t);
    return x ? result_of(x, 0) : NO_VALUE;
}

value make_const(graph *g, type t, const const_attr *c)
{
    const const_attr *kept = arena_copy(g->arena, c, sizeof *c);
    node x = { .prim = PRIM_const, .n_out = 1, .types = intern_type(g, t) };
    x.konst = kept;
    return result_of(add_node(g, &x), 0);
}

value input(graph *g, const char *name, dtype t, int rank, const dim *d)
{
    if (g->failed || !check_shape(g, "input", rank, d)) return NO_VALUE;
    input_attr a = { .index = (int)g->inputs.n, .name = name ? arena_strdup(g->arena, name) : NULL };
    value v = make_node(g, PRIM_input, 0, NULL, &a, (type){ t, rank, d });
    vec_push(g->arena, &g->inputs, v);
    if (name) set_name(g, v, name);
    return v;
}

/* -- Constants ------------------------------------------------------------------------------------------- */

/* All elements equal, and more than one? */
static bool is_splat(const uint8_t *p, int64_t n, size_t size)
{
    return n > 1 && memcmp(p, p + size, (size_t)(n - 1) * size) == 0;
}

/* 0, 1, 2, … of i64, longer than what is folded element by element? */
static bool is_ramp(type t, const void *p, int64_t n)
{
    if (t.dtype != DTYPE_i64 || t.rank != 1 || n <= INT_FOLD_LIMIT) return false;
    for (int64_t i = 0; i < n; i++) {
        int64_t x;
        memcpy(&x, (const char *)p + i * 8, 8);
        if (x != i) return false;
    }
    return true;
}

static value new_constant(graph *g, dtype dt, int rank, const dim *d, const void *elements, const char *name,
                          bool borrow)
{
    if (g->failed || !check_shape(g, "constant", rank, d)) return NO_VALUE;
    type t = { dt, rank, d };
    int64_t n;
    size_t size = (size_t)dtype_bytes(dt);
    if (!dim_is_const(type_elements(g, t), &n))
        return build_fail(g, "constant: %s has an open dim", show_type(g, t));
    if (is_splat(elements, n, size)) {
        dim ones[MAX_RANK];
        for (int i = 0; i < rank; i++) ones[i] = dim_const(1);
        return broadcast(g, new_constant(g, dt, rank, ones, elements, name, borrow), rank, d);
    }
    if (is_ramp(t, elements, n)) return iota(g, dt, rank, d, 0);
    const_attr c = { .n = n, .name = name ? arena_strdup(g->arena, name) : NULL };
    c.is_file = borrow && (uint64_t)n * size > 4096;
    c.bytes = c.is_file ? elements : arena_copy(g->arena, elements, (size_t)n * size);
    return make_const(g, t, &c);
}

value constant(graph *g, dtype t, int rank, const dim *d, const void *elements, const char *name)
{
    return new_constant(g, t, rank, d, elements, name, false);
}

value constant_borrowed(graph *g, dtype t, int rank, const dim *d, const void *elements, const char *name)
{
    return new_constant(g, t, rank, d, elements, name, true);
}

/* A constant of any shape from dims. */
value constant_of_dims(graph *g, type t, const dim *d, int n)
{
    if (g->failed) return NO_VALUE;
    if (!all_const(d, n)) {
        for (int i = 0; i < n; i++)
            if (dim_is_bad(d[i])) return build_fail(g, "constant: element %d is out of range", i);
        const_attr c = { .n = n, .dims = arena_copy(g->arena, d, (size_t)n * sizeof *d) };
        return make_const(g, t, &c);
    }
    size_t size = (size_t)dtype_bytes(t.dtype);
    char *elements = arena_alloc(g->arena, (size_t)n * size);
    for (int i = 0; i < n; i++) {
        int64_t x = 0;
        dim_is_const(d[i], &x);
        sv_store(t.dtype, elements + (size_t)i * size, sv_from_i64(t.dtype, x));
    }
    return new_constant(g, t.dtype, t.rank, t.dims, elements, NULL, false);
}

value constant_dims(graph *g, dtype t, const dim *d, int n)
{
    dim extent = dim_const(n);
    return constant_of_dims(g, (type){ t, 1, &extent }, d, n);
}

value constant_dim(graph *g, dtype t, dim d) { return constant_of_dims(g, (type){ t, 0, NULL }, &d, 1); }

bool known_bytes(const graph *g, value v, const void **p, int64_t *n)
{
    const node *x = node_of(g, v);
    if (x->prim != PRIM_const || !x->konst->bytes) return false;
    *p = x->konst->bytes;
    *n = x->konst->n;
    return true;
}

bool known_splat(const graph *g, value v, scalar_value *x)
{
    if (!is_value(v)) return false;
    const node *n = node_of(g, v);
    while (n->prim == PRIM_broadcast || n->prim == PRIM_reshape || n->prim == PRIM_transpose) {
        v = n->in[0];
        n = node_of(g, v);
    }
    if (n->prim != PRIM_const || n->konst->n != 1 || !n->konst->bytes) return false;
    *x = sv_load(n->types[0].dtype, n->konst->bytes);
    return true;
}

/* -- Names and results ----------------------------------------------------------------------------------- */

void set_name(graph *g, value v, const char *name)
{
    if (is_value(v) && name && !g->names.at[v.id]) g->names.at[v.id] = arena_strdup(g->arena, name);
}

void add_result(graph *g, value v, const char *name)
{
    if (!is_value(v)) {
        g->failed = true;
        return;
    }
    vec_push(g->arena, &g->results, v);
    vec_push(g->arena, &g->result_names, name ? arena_strdup(g->arena, name) : NULL);
}
