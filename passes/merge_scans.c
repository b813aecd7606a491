/* merge_scans: scans that step through the same carries become one
 *
 *     %h, %y = scan carry(%a) xs(%x) … body A        %h, %y, %z = scan carry(%a) xs(%x) … body A and B
 *     %g, %z = scan carry(%a) xs(%x) … body B   =>   %g = %h
 *
 * Why    The gradient of a scan issues the scan again to have its carries stacked (grad_prim_scan.c); with
 *        this pass the two are one, and nothing is computed twice.
 * How    Scans of equal operands, length and direction are candidates. Their bodies are built into one graph
 *        over the same inputs: what is equal becomes the same value there, so equal carries are seen by
 *        comparing values. The merged scan gives the carries once, and every stacked result that differs.
 *        Bodies are merged first inside.
 * Needs  a verified graph.
 * Keeps  every bit: each value is computed by the same nodes as before.
 * Leaves scans whose operands are equal in another order.
 * Cost   O(nodes), and for each scan a comparison with those of equal first operand.
 * See    tests/passes/merge_scans.test
 */
#include "passes/grad_step.h"
#include "passes/pass.h"

dlc_status pass_merge_scans(pass_run *run, graph **g);

/* Scans that may become one: in a list by first operand. */
typedef struct candidate { const node *n; graph *body; struct candidate *next; } candidate;

static bool steps_alike(const node *a, const node *b)
{
    const scan_attr *x = a->scan, *y = b->scan;
    if (x->n_carry != y->n_carry || x->n_xs != y->n_xs || !dim_same(x->n, y->n) || x->reverse != y->reverse)
        return false;
    return a->n_in == b->n_in && memcmp(a->in, b->in, a->n_in * sizeof(value)) == 0;
}

static bool has_bodies(const graph *g)
{
    for (int64_t i = 1; i < n_nodes(g); i++) {
        prim p = g->nodes.at[i].prim;
        if (p == PRIM_scan || p == PRIM_cond || p == PRIM_while) return true;
    }
    return false;
}

/* The results of body over the inputs of `to`. */
static value *results_in(pass_run *run, graph *to, const graph *body)
{
    value *map = NEW_ARRAY(run->scratch, value, body->owner.n),
          *r = NEW_ARRAY(run->scratch, value, body->results.n + 1);
    for (int64_t i = 0; i < body->inputs.n; i++) map[body->inputs.at[i].id] = to->inputs.at[i];
    if (!grad_inline(to, body, (int)body->results.n, body->results.at, map)) return NULL;
    for (int64_t i = 0; i < body->results.n; i++) r[i] = map[body->results.at[i].id];
    return r;
}

typedef vec(value) values;

static int place_of(const values *v, int from, value x)
{
    for (int i = from; i < v->n; i++)
        if (same_value(v->at[i], x)) return i;
    return -1;
}

/* Merges the bodies of the list's scans that step like the first; where[k][i] is the merged place of result i
 * of the k-th scan, where[k] NULL if it stays apart. */
static graph *merge_bodies(pass_run *run, graph *to, const candidate *list, int **where)
{
    const graph *first = list->body;
    int n_carry = list->n->scan->n_carry, k = 0;
    graph *m = graph_body(to, first->name);
    for (int64_t i = 0; i < first->inputs.n; i++) {
        value v = first->inputs.at[i];
        type t = type_of(first, v);
        input(m, first->names.at[v.id], t.dtype, t.rank, t.dims);
    }
    values merged = { 0 };
    for (const candidate *c = list; c; c = c->next, k++) {
        where[k] = NULL;
        if (c != list && !steps_alike(c->n, list->n)) continue;
        value *r = results_in(run, m, c->body);
        if (!r) return NULL;
        bool equal = true;
        for (int i = 0; c != list && i < n_carry; i++) equal &= same_value(r[i], merged.at[i]);
        if (!equal || (c != list && !pass_allow(run))) continue;
        if (c != list) pass_explain(run, to, c->n, "merged into the first scan that steps alike");
        where[k] = NEW_ARRAY(run->scratch, int, c->body->results.n + 1);
        for (int i = 0; i < c->body->results.n; i++) {
            int at = i < n_carry ? (c == list ? -1 : i) : place_of(&merged, n_carry, r[i]);
            if (at < 0) {
                at = (int)merged.n;
                vec_push(run->scratch, &merged, r[i]);
            }
            where[k][i] = at;
        }
    }
    for (int64_t i = 0; i < merged.n; i++) add_result(m, merged.at[i], NULL);
    return m;
}

static graph *merge_graph(pass_run *run, graph *g, graph *outer);

static bool rebuild_owner(pass_run *run, graph *to, const node *n, const value *in, value *out)
{
    switch ((prim)n->prim) {
    case PRIM_cond:
        return cond(to, in[0], merge_graph(run, n->cond->then_body, to),
                    merge_graph(run, n->cond->else_body, to), n->n_in - 1, in + 1, out);
    case PRIM_while:
        return while_loop(to, merge_graph(run, n->loop->test, to), merge_graph(run, n->loop->body, to),
                          n->loop->n_carry, n->loop->max_trip, n->n_in, in, out);
    default: return kernel(to, n->kernel->anchor, merge_graph(run, n->kernel->body, to), n->n_in, in, out);
    }
}

/* The scan n and those later that merge with it; their results into map_to. */
static bool rebuild_scans(pass_run *run, graph *to, const node *n, candidate *list, const value *in,
                          value *map_to)
{
    int n_list = 0;
    for (candidate *c = list; c; c = c->next) n_list++;
    int **where = NEW_ARRAY(run->scratch, int *, n_list);
    graph *m = merge_bodies(run, to, list, where);
    if (!m) return false;
    graph *body = merge_graph(run, m, to);
    value *out = NEW_ARRAY(run->scratch, value, body->results.n + 1);
    if (!scan(to, body, n->scan->n_carry, n->scan->n_xs, n->scan->n, n->scan->reverse, n->n_in, in, out))
        return false;
    int k = 0;
    for (candidate *c = list; c; c = c->next, k++)
        for (int i = 0; where[k] && i < c->n->n_out; i++)
            map_to[c->n->first + (uint32_t)i] = out[where[k][i]];
    return true;
}

/* Bodies nest as deep as the front ends allow; that bounds the recursion. */
static graph *merge_graph(pass_run *run, graph *g, graph *outer)
{
    graph *to = outer ? graph_body(outer, g->name) : graph_new(g->ctx, g->arena, g->dims, g->name);
    value *map_to = NEW_ARRAY(run->scratch, value, g->owner.n + 1);
    uint32_t *uses = graph_uses(g, run->scratch);
    candidate **by_operand = NEW_ARRAY(run->scratch, candidate *, g->owner.n + 1);
    candidate *kept = NEW_ARRAY(run->scratch, candidate, g->nodes.n);
    for (int64_t i = n_nodes(g); i-- > 1;) {
        const node *n = &g->nodes.at[i];
        bool is_used = false;
        for (int k = 0; k < n->n_out; k++) is_used |= uses[n->first + (uint32_t)k] > 0;
        if (n->prim != PRIM_scan || !is_used) continue;
        candidate **list = &by_operand[n->n_in ? n->in[0].id : 0];
        kept[i] = (candidate){ n, n->scan->body, *list };
        *list = &kept[i];
    }
    for (int64_t i = 1; i < n_nodes(g) && !to->failed; i++) {
        const node *n = &g->nodes.at[i];
        bool is_used = n->prim == PRIM_input;
        for (int k = 0; k < n->n_out; k++) is_used |= uses[n->first + (uint32_t)k] > 0;
        if (!is_used || (n->n_out && is_value(map_to[n->first]))) continue;
        value *in = NEW_ARRAY(run->scratch, value, n->n_in + 1),
              *out = NEW_ARRAY(run->scratch, value, n->n_out + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = map_to[n->in[k].id];
        to->at = n->at ? *n->at : (place){ 0 };
        bool owns = n->prim == PRIM_cond || n->prim == PRIM_while || n->prim == PRIM_kernel;
        if (n->prim == PRIM_scan) {
            if (!rebuild_scans(run, to, n, &kept[i], in, map_to)) to->failed = true;
            for (int k = 0; k < n->n_out; k++) out[k] = map_to[n->first + (uint32_t)k];
        }
        else if (!(owns ? rebuild_owner(run, to, n, in, out) : rebuild(to, g, n, in, out))) {
            to->failed = true;
        }
        for (int k = 0; k < n->n_out; k++) {
            value v = result_of(n, k);
            map_to[v.id] = out[k];
            if (g->names.at[v.id]) set_name(to, out[k], g->names.at[v.id]);
        }
    }
    for (int64_t r = 0; r < g->results.n; r++)
        add_result(to, map_to[g->results.at[r].id], g->result_names.at[r]);
    return to;
}

dlc_status pass_merge_scans(pass_run *run, graph **g)
{
    if (!has_bodies(*g)) return DLC_OK;
    graph *to = merge_graph(run, *g, NULL);
    if (to->failed) return DLC_ERR_INTERNAL;
    if (run->changes) *g = to;
    return DLC_OK;
}
