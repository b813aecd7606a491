/* pass: the table of passes, and the walk that rewriting passes share */
#include "passes/pass.h"
#include <assert.h>
#include <limits.h>

dlc_status pass_grad(pass_run *run, graph **g);
dlc_status pass_merge_scans(pass_run *run, graph **g);
dlc_status pass_simplify(pass_run *run, graph **g);
dlc_status pass_layout(pass_run *run, graph **g);
dlc_status pass_fuse(pass_run *run, graph **g);
#define BEFORE(a, b, why) static_assert((int)PASS_##a < (int)PASS_##b, why);
#define PASS(name, ...)
#include "passes/pass.def"

/* Only graph passes have a function of one common form. */
#define FUNCTION_GRAPH(name) pass_##name
#define FUNCTION_LOWER(name) NULL
#define FUNCTION_PROGRAM(name) NULL

const pass_row pass_info[PASS_COUNT] = {
#define PASS(name, stage, level, bits, doc) \
    [PASS_##name] = { #name, STAGE_##stage, level, BITS_##bits, doc, FUNCTION_##stage(name) },
#define BEFORE(a, b, why)
#include "passes/pass.def"
};

enum { CONSTANT_DEPTH = 6, MAX_CONSTANT_IN = 8 };

typedef struct { pass_run *run; node_rewrite rewrite; const node *owner; } rewriting;

static void put_node(text *t, const graph *g, const node *n)
{
    text_put(t, prim_info[n->prim].name);
    if (n->prim == PRIM_map) text_printf(t, " %s", scalar_info[n->map->fn].name);
    text_put(t, " ");
    type_print(g, n->types[0], t);
}

void pass_explain(const pass_run *run, const graph *g, const node *n, const char *what)
{
    enum { LONGEST_NAME = 60 };
    text *t = run->explain;
    if (!t) return;
    if (n->at && n->at->node) text_put_escaped(t, n->at->node, strlen(n->at->node), LONGEST_NAME);
    if (n->at && n->at->op) text_put(t, " (");
    if (n->at && n->at->op) text_put_escaped(t, n->at->op, strlen(n->at->op), LONGEST_NAME);
    if (n->at && n->at->op) text_put(t, ")");
    if (n->at && (n->at->node || n->at->op)) text_put(t, ": ");
    put_node(t, g, n);
    text_printf(t, ": %s\n", what);
}

/* What a rule has made of n. */
static void explain_change(const pass_run *run, const graph *from, const node *n, const graph *to, value made)
{
    if (!run->explain || !is_value(made)) return;
    text t = { .a = run->scratch };
    text_put(&t, "becomes ");
    put_node(&t, to, node_of(to, made));
    pass_explain(run, from, n, text_str(&t));
}

/* operands: of the node that owns this body, in `outer`; NULL for the whole graph. */
static dlc_status rewrite_graph(const rewriting *w, const graph *g, graph *outer, const value *operands,
                                graph **result);

/* Rebuilds a node that owns bodies over rewritten ones. */
static dlc_status rewrite_owner(const rewriting *outside, graph *to, const node *n, const value *in,
                                value *out)
{
    rewriting inside = { outside->run, outside->rewrite, n }, *w = &inside;
    graph *first = NULL, *second = NULL;
    dlc_status s = DLC_OK;
    bool ok = false;
    if (n->prim == PRIM_scan) {
        if ((s = rewrite_graph(w, n->scan->body, to, in, &first)) != DLC_OK) return s;
        ok = scan(to, first, n->scan->n_carry, n->scan->n_xs, n->scan->n, n->scan->reverse, n->n_in, in, out);
    } else if (n->prim == PRIM_cond) {
        if ((s = rewrite_graph(w, n->cond->then_body, to, in + 1, &first)) != DLC_OK) return s;
        if ((s = rewrite_graph(w, n->cond->else_body, to, in + 1, &second)) != DLC_OK) return s;
        ok = cond(to, in[0], first, second, n->n_in - 1, in + 1, out);
    } else if (n->prim == PRIM_while) {
        if ((s = rewrite_graph(w, n->loop->test, to, NULL, &first)) != DLC_OK) return s;
        if ((s = rewrite_graph(w, n->loop->body, to, NULL, &second)) != DLC_OK) return s;
        ok = while_loop(to, first, second, n->loop->n_carry, n->loop->max_trip, n->n_in, in, out);
    } else {
        if ((s = rewrite_graph(w, n->kernel->body, to, NULL, &first)) != DLC_OK) return s;
        ok = kernel(to, n->kernel->anchor, first, n->n_in, in, out);
    }
    return ok ? DLC_OK : DLC_ERR_INTERNAL;
}

static bool owns_bodies(const node *n)
{
    return n->prim == PRIM_scan || n->prim == PRIM_cond || n->prim == PRIM_while || n->prim == PRIM_kernel;
}

/* Constants that a body captures are made again inside it, where rules see that they are constant; what is
 * evaluated in the end is one buffer all the same. Loop-carried operands are none of them. */
static value copy_constant(graph *to, const graph *from, value v, int depth)
{
    const node *n = node_of(from, v);
    value in[MAX_CONSTANT_IN], out[1];
    if (n->n_in > MAX_CONSTANT_IN || n->n_out != 1 || depth == 0) return NO_VALUE;
    for (int i = 0; i < n->n_in; i++) {
        in[i] = copy_constant(to, from, n->in[i], depth - 1);
        if (!is_value(in[i])) return NO_VALUE;
    }
    return rebuild(to, from, n, in, out) ? out[0] : NO_VALUE;
}

static bool is_captured(const node *owner, int64_t input)
{
    return owner->prim == PRIM_cond ||
           (owner->prim == PRIM_scan && input >= owner->scan->n_carry + owner->scan->n_xs);
}

bool is_invariant_value(const pass_run *run, const graph *g, value v, int depth)
{
    const node *n = node_of(g, v);
    if (n->prim == PRIM_input) return n->input->index >= run->first_capture;
    if (depth == 0) return false;
    for (int i = 0; i < n->n_in; i++)
        if (!is_invariant_value(run, g, n->in[i], depth - 1)) return false;
    return n->n_in > 0;
}

/* Bodies nest as deep as the front ends allow; that bounds the recursion. */
static dlc_status rewrite_graph(const rewriting *w, const graph *g, graph *outer, const value *operands,
                                graph **result)
{
    graph *to = outer ? graph_body(outer, g->name) : graph_new(g->ctx, g->arena, g->dims, g->name);
    value *map_to = NEW_ARRAY(w->run->scratch, value, g->owner.n + 1);
    uint32_t *uses = graph_uses(g, w->run->scratch);
    for (int64_t i = 1; i < n_nodes(g) && !to->failed; i++) {
        const node *n = &g->nodes.at[i];
        bool is_used = n->prim == PRIM_input;
        for (int k = 0; k < n->n_out; k++) is_used |= uses[n->first + (uint32_t)k] > 0;
        if (!is_used) continue;
        value *in = NEW_ARRAY(w->run->scratch, value, n->n_in + 1),
              *out = NEW_ARRAY(w->run->scratch, value, n->n_out + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = map_to[n->in[k].id];
        to->at = n->at ? *n->at : (place){ 0 };
        w->run->uses = uses;
        w->run->first_capture = w->owner && w->owner->prim == PRIM_scan
                                    ? w->owner->scan->n_carry + w->owner->scan->n_xs
                                    : INT_MAX;
        bool done = !owns_bodies(n) && n->prim != PRIM_input && w->rewrite(w->run, to, g, n, in, out);
        if (!done && owns_bodies(n)) {
            dlc_status s = rewrite_owner(w, to, n, in, out);
            if (s != DLC_OK) return s;
        } else if (!done && !rebuild(to, g, n, in, out)) {
            return DLC_ERR_INTERNAL;
        }
        if (done) explain_change(w->run, g, n, to, out[0]);
        if (n->prim == PRIM_input && operands && is_captured(w->owner, n->input->index) &&
            is_constant_value(outer, operands[n->input->index], CONSTANT_DEPTH)) {
            value inside = copy_constant(to, outer, operands[n->input->index], CONSTANT_DEPTH + 1);
            if (is_value(inside)) out[0] = inside;
        }
        for (int k = 0; k < n->n_out; k++) {
            value v = result_of(n, k);
            map_to[v.id] = out[k];
            if (g->names.at[v.id] && is_value(out[k]) && !to->names.at[out[k].id])
                set_name(to, out[k], g->names.at[v.id]);
        }
    }
    for (int64_t r = 0; r < g->results.n; r++)
        add_result(to, map_to[g->results.at[r].id], g->result_names.at[r]);
    *result = to;
    return to->failed ? DLC_ERR_INTERNAL : DLC_OK;
}

dlc_status pass_rewrite(pass_run *run, graph **g, node_rewrite rewrite)
{
    rewriting w = { run, rewrite, NULL };
    graph *to = NULL;
    dlc_status s = rewrite_graph(&w, *g, NULL, NULL, &to);
    if (s == DLC_OK) *g = to;
    return s;
}
