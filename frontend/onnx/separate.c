/* separate: values that a Gradient differentiates by
 *
 * What   Gradient (ai.onnx.preview.training) names values of the main graph: y as a function of xs and zs.
 *        Each such value is an input of its own while the graph is built, and joined to what it is at the
 *        end.
 * Why    The builder folds constants, and gives equal values one number: an initializer in xs would be folded
 *        into what is computed from it, and the derivative by Identity(a) would be the one by a.
 * How    An input of the model is apart already. Of the others, nodes are built in an order in which what a
 *        value is comes before those who use it, so one walk in the order of building joins them.
 */
#include "frontend/onnx/importer.h"

void separate_find(importer *imp, size_t n, node_proto *const *nodes)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(str_or(nodes[i]->op_type, ""), "Gradient") != 0) continue;
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const attribute_proto *a = nodes[i]->attribute[k];
            if (strcmp(str_or(a->name, ""), "xs") != 0 && strcmp(str_or(a->name, ""), "zs") != 0) continue;
            for (size_t j = 0; j < a->n_strings; j++)
                map_put(&imp->by_gradient,
                        arena_strndup(imp->scratch, (const char *)a->strings[j].data, a->strings[j].len),
                        a->strings[j].len, 0, NULL);
        }
    }
}

edge separate_edge(importer *imp, const char *name, edge e)
{
    if (!imp->by_gradient.n || e.kind != EDGE_TENSOR || !is_value(e.v) ||
        !map_find(&imp->by_gradient, name, strlen(name)))
        return e;
    type t = type_of(imp->g, e.v);
    if (!is_float(t.dtype)) return e;
    vec_push(imp->scratch, &imp->separate_from, e.v);
    e.v = input(imp->g, arena_printf(imp->a, "%s (separate)", name), t.dtype, t.rank, t.dims);
    vec_push(imp->scratch, &imp->separate, e.v);
    vec_push(imp->scratch, &imp->offer_of_input, -1);
    return e;
}

void separate_initializers(importer *imp, scope *s)
{
    for (int64_t i = 0; i < imp->by_gradient.n && !imp->failed; i++) {
        const char *name = imp->by_gradient.entries[i].key;
        edge e;
        if (!map_find(&s->names, name, strlen(name)) || !scope_find(imp, s, name, &e)) continue;
        if (e.kind == EDGE_TENSOR && is_value(e.v) && node_of(imp->g, e.v)->prim == PRIM_input) continue;
        e = separate_edge(imp, name, e);
        scope_define(imp, s, name, (slot){ .e = e });
    }
}

graph *separate_join(importer *imp)
{
    const graph *from = imp->g;
    graph *to = graph_new(imp->ctx, imp->a, from->dims, from->name);
    value *at = NEW_ARRAY(imp->scratch, value, from->owner.n + 1);
    for (int64_t k = 1; k < n_nodes(from); k++) {
        const node *n = &from->nodes.at[k];
        value *in = NEW_ARRAY(imp->scratch, value, n->n_in + 1);
        int64_t s = 0;
        while (s < imp->separate.n && imp->separate.at[s].id != n->first) s++;
        if (s < imp->separate.n) {
            at[n->first] = at[imp->separate_from.at[s].id];
            continue;
        }
        for (int i = 0; i < n->n_in; i++) in[i] = at[n->in[i].id];
        to->at = n->at ? *n->at : (place){ 0 };
        if (!rebuild(to, from, n, in, &at[n->first])) break;
    }
    for (int64_t v = 1; v < from->names.n; v++)
        if (from->names.at[v] && is_value(at[v]) && !to->names.at[at[v].id])
            set_name(to, at[v], from->names.at[v]);
    for (int64_t i = 0; i < from->results.n; i++)
        add_result(to, at[from->results.at[i].id], from->result_names.at[i]);
    return to;
}
