/* scope: what a name means where it is read
 *
 * What   A scope maps the names of one graph (main graph, body, function call) to edges. Initializers become
 *        constants when they are first read. A body sees the scopes around it.
 * How    A body that is a graph of its own cannot use a value of the graph around it: such a value becomes
 *        one more input of the body (a capture), once a name. Constants are not captured but made again
 *        inside, so that shapes computed in a body stay known. A body inlined into the same graph, and a
 *        function, need none of this.
 */
#include "frontend/onnx/importer.h"

void scope_open(importer *imp, scope *s, scope *outer, graph *g, capture_list *captures)
{
    *s = (scope){ .outer = outer, .g = g, .captures = captures, .path = "" };
    if (outer) {
        s->opsets = outer->opsets;
        s->env = outer->env;
        s->path = outer->path;
    }
    map_init(&s->names, imp->scratch);
}

void scope_define(importer *imp, scope *s, const char *name, slot what)
{
    bool is_new;
    uint64_t *at = map_put(&s->names, name, strlen(name), (uint64_t)s->slots.n, &is_new);
    if (is_new) vec_push(imp->scratch, &s->slots, what);
    else s->slots.at[*at] = what;
}

value tensor_constant(graph *g, const tensor_data *t, const char *name)
{
    enum { COPY_BELOW = 4096 };
    dim d[MAX_RANK];
    for (int i = 0; i < t->rank; i++) d[i] = dim_const(t->dims[i]);
    bool is_small = t->n * dtype_bytes(t->dtype) < COPY_BELOW;
    return (is_small ? constant : constant_borrowed)(g, t->dtype, t->rank, d, t->bytes, name);
}

static bool open_initializer(importer *imp, scope *s, slot *what)
{
    place at = { .file = imp->path };
    tensor_data t;
    bool ok = what->init ? tensor_read(&imp->source, at, what->init, TENSOR_ELEMENTS, &t)
                         : sparse_read(&imp->source, at, what->sparse, TENSOR_ELEMENTS, &t);
    if (!ok) return false;
    const char *name = what->init ? what->init->name : what->sparse->values->name;
    place before = s->g->at;
    s->g->at = at;
    what->e = (edge){ .kind = EDGE_TENSOR, .v = tensor_constant(s->g, &t, arena_strdup(imp->a, name)) };
    s->g->at = before;
    what->init = NULL;
    what->sparse = NULL;
    return is_value(what->e.v);
}

/* -- Captures -------------------------------------------------------------------------------------------- */

static value copy_constant(graph *to, graph *from, value v)
{
    type t = type_of(from, v);
    const node *n = node_of(from, v);
    int n_known;
    if (n->prim == PRIM_const && n->konst->bytes)
        return (n->konst->is_file ? constant_borrowed : constant)(to, t.dtype, t.rank, t.dims,
                                                                  n->konst->bytes, n->konst->name);
    if (n->prim == PRIM_broadcast && node_of(from, n->in[0])->prim == PRIM_const) {
        value x = copy_constant(to, from, n->in[0]);
        return is_value(x) ? broadcast(to, x, t.rank, t.dims) : NO_VALUE;
    }
    const dim *d = t.dtype == DTYPE_i64 || t.dtype == DTYPE_i32 ? known_ints(from, v, &n_known) : NULL;
    if (!d || n_known == 0) return NO_VALUE;
    return reshape(to, constant_dims(to, t.dtype, d, n_known), t.rank, t.dims);
}

static value capture_value(importer *imp, scope *s, value v, const char *name)
{
    graph *from = s->outer->g, *to = s->g;
    if (!is_value(v)) return NO_VALUE;
    value k = copy_constant(to, from, v);
    if (is_value(k)) return k;
    type t = type_of(from, v);
    vec_push(imp->a, &s->captures->outer, v);
    return input(to, arena_strdup(imp->a, name), t.dtype, t.rank, t.dims);
}

static edge capture(importer *imp, scope *s, edge e, const char *name)
{
    if (e.kind == EDGE_TENSOR) e.v = capture_value(imp, s, e.v, name);
    if (e.kind == EDGE_SEQUENCE) {
        edge *items = NEW_ARRAY(imp->a, edge, e.n);
        for (int i = 0; i < e.n; i++) {
            items[i] = e.items[i];
            if (items[i].kind == EDGE_TENSOR) items[i].v = capture_value(imp, s, items[i].v, name);
        }
        e.items = items;
    }
    return e;
}

bool scope_find(importer *imp, scope *s, const char *name, edge *e)
{
    scope *inner[2 * MAX_BODIES + 2];
    int n_inner = 0;
    size_t n = strlen(name);
    uint64_t *at = NULL;
    scope *d = s;
    while (d && !(at = map_find(&d->names, name, n))) {
        inner[n_inner++] = d;
        d = d->outer;
    }
    if (!at) return false;
    slot *found = &d->slots.at[*at];
    if ((found->init || found->sparse) && !open_initializer(imp, d, found)) return false;
    *e = found->e;
    for (int i = n_inner; i-- > 0;) {
        if (!inner[i]->captures) continue;
        *e = capture(imp, inner[i], *e, name);
        scope_define(imp, inner[i], name, (slot){ .e = *e });
    }
    return true;
}
