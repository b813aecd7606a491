/* summary: what a graph holds and costs (summary.h)
 *
 * How  One walk in order; consecutive primitives that came from the same node of the model are one layer.
 *      Bodies of loops count once a trip where the number of trips is known.
 */
#include "api/summary.h"
#include "ir/lifetime.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const graph *g;
    arena *a;
    int64_t *symbols;
    bool *is_seen;
    vec(layer) layers;
    map_str index;
} walk;

static double elements(const walk *w, type t)
{
    double n = 1;
    for (int i = 0; i < t.rank; i++) {
        int64_t k;
        n *= dim_eval(w->g->dims, t.dims[i], w->symbols, &k) ? (double)k : 1;
    }
    return n;
}

static double extent(const walk *w, dim d)
{
    int64_t k;
    return dim_eval(w->g->dims, d, w->symbols, &k) ? (double)k : 1;
}

static double graph_flops(const walk *w, const graph *g);

static double node_flops(const walk *w, const graph *g, const node *n)
{
    double out = elements(w, n->types[0]), per = 1;
    switch ((prim)n->prim) {
    case PRIM_contract:
        for (int i = 0; i < n->contract->n_sum; i++)
            per *= extent(w, n->contract->extent[n->contract->sum[i]]);
        return 2 * out * per;
    case PRIM_window:
        for (int i = 0; i < n->window->n; i++) per *= (double)n->window->axes[i].k;
        return out * per;
    case PRIM_reduce: return elements(w, type_of(g, n->in[0]));
    case PRIM_map: return out;
    case PRIM_scan: return extent(w, n->scan->n) * graph_flops(w, n->scan->body);
    case PRIM_cond: return graph_flops(w, n->cond->then_body);
    case PRIM_while: return graph_flops(w, n->loop->body);
    case PRIM_kernel: return graph_flops(w, n->kernel->body);
    default: return 0;
    }
}

static double graph_flops(const walk *w, const graph *g)
{
    double sum = 0;
    for (int64_t i = 1; i < g->nodes.n; i++) sum += node_flops(w, g, &g->nodes.at[i]);
    return sum;
}

static bool is_view(const node *n)
{
    return n->prim == PRIM_const || n->prim == PRIM_input || n->prim == PRIM_reshape ||
           n->prim == PRIM_transpose || n->prim == PRIM_broadcast || n->prim == PRIM_slice ||
           n->prim == PRIM_iota;
}

static layer *layer_of(walk *w, const node *n)
{
    const char *name = n->at && n->at->node ? n->at->node : "", *op = n->at && n->at->op ? n->at->op : "";
    const char *key = arena_printf(w->a, "%s\n%s", name, op);
    bool is_new;
    uint64_t *at = map_put(&w->index, key, strlen(key), (uint64_t)w->layers.n, &is_new);
    if (is_new) {
        layer l = { .name = name, .op = op };
        vec_push(w->a, &w->layers, l);
    }
    return &w->layers.at[*at];
}

static void add_node(walk *w, const node *n)
{
    const graph *g = w->g;
    layer *l = layer_of(w, n);
    text t = { .a = w->a };
    type_print(g, n->types[n->n_out - 1], &t);
    l->type = text_str(&t);
    l->n_prims++;
    l->flops += node_flops(w, g, n);
    for (int i = 0; i < n->n_out && !is_view(n); i++)
        l->bytes += elements(w, n->types[i]) * dtype_bytes(n->types[i].dtype);
    for (int i = 0; i < n->n_in; i++) {
        const node *from = node_of(g, n->in[i]);
        type ty = type_of(g, n->in[i]);
        if (!is_view(n)) l->bytes += elements(w, ty) * dtype_bytes(ty.dtype);
        if (from->prim != PRIM_const || w->is_seen[from->first]) continue;
        w->is_seen[from->first] = true;
        if (from->konst->n < 2) continue;
        l->params += from->konst->n;
        l->param_bytes += from->konst->n * dtype_bytes(ty.dtype);
    }
}

summary summarize(const graph *g, arena *a)
{
    walk w = { .g = g, .a = a };
    int n_symbols = dims_n_symbols(g->dims);
    w.symbols = NEW_ARRAY(a, int64_t, n_symbols + 1);
    for (int i = 0; i < n_symbols; i++) {
        int64_t lo, hi;
        dims_symbol_range(g->dims, i, &lo, &hi);
        w.symbols[i] = lo > 0 ? lo : hi > 0 ? 1 : 0;
    }
    w.is_seen = NEW_ARRAY(a, bool, g->owner.n + 1);
    map_init(&w.index, a);
    int64_t n;
    uint32_t *order = graph_order(g, a, &n);
    for (int64_t i = 0; i < n; i++) {
        const node *x = &g->nodes.at[order[i]];
        if (x->prim != PRIM_const && x->prim != PRIM_input) add_node(&w, x);
    }
    summary s = { .n_layers = (int)w.layers.n, .layers = w.layers.at };
    for (int64_t i = 0; i < w.layers.n; i++) {
        s.flops += w.layers.at[i].flops;
        s.bytes += w.layers.at[i].bytes;
        s.params += w.layers.at[i].params;
        s.param_bytes += w.layers.at[i].param_bytes;
    }
    return s;
}

/* -- The memory plan ------------------------------------------------------------------------------------- */

static int by_first(const void *x, const void *y)
{
    const planned *a = x, *b = y;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

planned *plan_of(const program *p, arena *a, int64_t *n)
{
    lifetime *l = lifetimes_of(a, p);
    planned *list = NEW_ARRAY(a, planned, p->bufs.n + 1);
    *n = 0;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind != PBUF_temp || b->slot_of >= 0 || l->of[i].last < 0) continue;
        text t = { .a = a };
        text_printf(&t, "%s[", dtype_info[b->dtype].name);
        for (int k = 0; k < b->rank; k++) {
            if (k) text_put(&t, ", ");
            dim_print(p->dims, b->dims[k], &t);
        }
        text_put(&t, "]");
        planned *x = &list[(*n)++];
        *x = (planned){ b->name, text_str(&t), b->offset, -1, l->of[i].first, l->of[i].last };
        dim_is_const(buffer_bytes(p, l, (int)i), &x->bytes);
    }
    qsort(list, (size_t)*n, sizeof *list, by_first);
    return list;
}
