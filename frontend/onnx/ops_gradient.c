/* ops_gradient: Gradient (ai.onnx.preview.training): derivatives of a value of the graph
 *
 * The attributes name y and what it is a function of: xs, and zs that are held fast. The operands are the
 * point at which the derivatives are wanted. The derivatives are made where y was computed, then what they
 * are made of is built again with the operands in place of xs and zs; where an operand is that value itself
 * there is nothing to replace.
 */
#include "frontend/onnx/op.h"

static value named(op_call *c, const char *name)
{
    edge e;
    if (c->failed || !op_named(c, name, &e)) return NO_VALUE;
    if (e.kind == EDGE_TENSOR && is_value(e.v) && is_float(dtype_of(c->g, e.v))) return e.v;
    op_fail(c, "\"%.100s\" is not a tensor of floating point", name);
    return NO_VALUE;
}

/* Nodes that lead to the roots, and depend on one of the n values. */
static bool *between(op_call *c, int n_roots, const value *roots, int n, const value *from)
{
    graph *g = c->g;
    int64_t n_all = n_nodes(g);
    bool *needed = NEW_ARRAY(op_arena(c), bool, n_all + 1),
         *depends = NEW_ARRAY(op_arena(c), bool, n_all + 1);
    for (int i = 0; i < n_roots; i++) needed[g->owner.at[roots[i].id]] = true;
    for (int64_t k = n_all; k-- > 1;)
        for (int i = 0; needed[k] && i < g->nodes.at[k].n_in; i++)
            needed[g->owner.at[g->nodes.at[k].in[i].id]] = true;
    for (int i = 0; i < n; i++) depends[g->owner.at[from[i].id]] = true;
    for (int64_t k = 1; k < n_all; k++)
        for (int i = 0; !depends[k] && i < g->nodes.at[k].n_in; i++)
            depends[k] = depends[g->owner.at[g->nodes.at[k].in[i].id]];
    for (int64_t k = 1; k < n_all; k++) depends[k] &= needed[k];
    return depends;
}

/* roots, with to[i] in place of from[i]. */
static bool replaced(op_call *c, int n_roots, value *roots, int n, const value *from, const value *to)
{
    graph *g = c->g;
    bool *built_again = between(c, n_roots, roots, n, from);
    int64_t n_all = n_nodes(g), n_values = g->owner.n;
    value *at = NEW_ARRAY(op_arena(c), value, n_values + 1);
    for (int64_t v = 1; v < n_values; v++) at[v] = (value){ (uint32_t)v };
    for (int64_t k = 1; k < n_all; k++) {
        const node x = g->nodes.at[k];
        value *args = NEW_ARRAY(op_arena(c), value, x.n_in + 1);
        int s = 0;
        if (!built_again[k]) continue;
        while (s < n && g->owner.at[from[s].id] != k) s++;
        for (int i = 0; i < x.n_in; i++) args[i] = at[x.in[i].id];
        if (s == n && !rebuild(g, g, &x, args, &at[x.first])) return false;
        for (s = 0; s < n; s++)
            if (g->owner.at[from[s].id] == k) at[from[s].id] = to[s];
    }
    for (int i = 0; i < n_roots; i++) roots[i] = at[roots[i].id];
    return true;
}

/* Gradient (1) */
ONNX_OP(Gradient)
{
    int n_xs, n_zs;
    const char *const *xs = op_attr_strs(c, "xs", &n_xs), *const *zs = op_attr_strs(c, "zs", &n_zs);
    const char *y_name = attr_str("y", "");
    if (c->failed) return;
    int n = n_xs + n_zs, moved = 0;
    if (c->n_in != n || c->n_out > n_xs) {
        op_fail(c, "xs and zs name %d values and xs %d, but there are %d inputs and %d outputs", n, n_xs,
                c->n_in, c->n_out);
        return;
    }
    value y = named(c, y_name), *all = NEW_ARRAY(op_arena(c), value, n + 1),
          *from = NEW_ARRAY(op_arena(c), value, n + 1);
    value *to = NEW_ARRAY(op_arena(c), value, n + 1), *d = NEW_ARRAY(op_arena(c), value, n_xs + 1);
    for (int i = 0; i < n && !c->failed; i++) {
        value v = in(i);
        all[i] = named(c, i < n_xs ? xs[i] : zs[i - n_xs]);
        if (c->failed || same_value(v, all[i])) continue;
        if (!type_same(type_of(g, v), type_of(g, all[i]))) {
            op_fail(c, "input %d has not the type of \"%.100s\"", i, i < n_xs ? xs[i] : zs[i - n_xs]);
            return;
        }
        from[moved] = all[i];
        to[moved++] = v;
    }
    if (c->failed || !op_gradient(c, y, n_xs, all, d)) return;
    if (moved && !replaced(c, n_xs, d, moved, from, to)) return;
    for (int i = 0; i < n_xs; i++) out(i, d[i]);
}
