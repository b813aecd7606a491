/* grad: the gradient of a graph, by one sweep backwards over the nodes the result needs
 *
 *     adjoint[y] += dy
 *     for each node, users before operands:   adjoint[operand] += rule(node, adjoint[results])
 *
 * Why    A gradient that is a graph of primitives is simplified, fused, planned and compiled like the rest,
 *        and has a gradient itself.
 * How    The nodes in the order of a depth-first walk from y (so that numbering does not matter); those that
 *        depend on a wrt through floats are marked; the walk backwards calls each marked node's rule for the
 *        marked operands only. Rules stand in grad_scalar.c (rows of scalar.def) and grad_prim_*.c.
 * Needs  a verified graph without kernels.
 * Keeps  the graph: nodes are only added. Sums of adjoints are formed in the order of the walk.
 * Cost   O(nodes + operands), apart from the size of the rules.
 * See    docs/gradients.md; tests/grad
 */
#include "passes/grad_step.h"
#include <stdio.h>

static const char *const nondiff_reason[NONDIFF_COUNT] = {
#define NONDIFF(name, reason) [NONDIFF_##name] = reason,
#include "passes/nondiff.def"
};

void grad_refuse(graph *g, nondiff why, const char *what)
{
    if (!g->failed) diag_no_gradient(g->ctx, g->at, what, nondiff_reason[why]);
    g->failed = true;
}

/* -- What has none --------------------------------------------------------------------------------------- */

static nondiff reason_for(const graph *g, value v)
{
    const node *n = node_of(g, v);
    if (is_storage(type_of(g, v).dtype)) return NONDIFF_storage;
    switch ((prim)n->prim) {
    case PRIM_reduce: case PRIM_sort: case PRIM_compact: return NONDIFF_position;
    case PRIM_random: return NONDIFF_random;
    case PRIM_bitcast: return NONDIFF_bits;
    default: return NONDIFF_whole_number;
    }
}

/* "%scores: i64[4]", or "reduce: i64[4]" */
static const char *describe(graph *g, value v)
{
    text t = { .a = g->arena };
    if (g->names.at[v.id]) text_printf(&t, "%%%s: ", g->names.at[v.id]);
    else text_printf(&t, "%s: ", prim_info[node_of(g, v)->prim].name);
    type_print(g, type_of(g, v), &t);
    return text_str(&t);
}

static bool all_floats(graph *g, int n, const value *v)
{
    for (int i = 0; i < n; i++) {
        if (!is_value(v[i])) return false;
        if (is_float(dtype_of(g, v[i]))) continue;
        grad_refuse(g, reason_for(g, v[i]), describe(g, v[i]));
        return false;
    }
    return true;
}

/* -- Rounding to a storage format ---------------------------------------------------------------------------
 * x -> f8 -> y is integer arithmetic on x's bits. As a cast it has the derivative that casts between floats
 * have: 1. It is recognized by building it again: equal nodes are one node. */

/* -- The walk -------------------------------------------------------------------------------------------- */

typedef struct {
    graph *g;
    arena *scratch;
    uint32_t *order;          /* nodes, operands first */
    int64_t n_order;
    bool *depends;            /* values: floats that depend on a wrt */
    value *adjoint;           /* values */
    value *rounded;   /* values: the f32 that this one is, rounded to a storage format; NO_VALUE: it is not */
} sweep;

static void find_order(sweep *s, int n, const value *roots)
{
    const graph *g = s->g;
    arena *a = s->scratch;
    s->order = NEW_ARRAY(a, uint32_t, g->nodes.n);
    uint32_t *next = NEW_ARRAY(a, uint32_t, g->nodes.n);
    bool *seen = NEW_ARRAY(a, bool, g->nodes.n);
    vec(uint32_t) stack = { 0 };
    for (int r = 0; r < n; r++) {
        uint32_t root = g->owner.at[roots[r].id];
        if (seen[root]) continue;
        seen[root] = true;
        vec_push(a, &stack, root);
        while (stack.n) {
            uint32_t i = stack.at[stack.n - 1];
            const node *x = &g->nodes.at[i];
            if (next[i] == x->n_in) {
                s->order[s->n_order++] = i;
                stack.n--;
                continue;
            }
            uint32_t operand = g->owner.at[x->in[next[i]++].id];
            if (seen[operand]) continue;
            seen[operand] = true;
            vec_push(a, &stack, operand);
        }
    }
}

/* Notes where x, an f32 whose bits are read, comes back rounded to a storage format. What is built for
 * nothing stays unused. */
static void find_rounded_from(sweep *s, value x, int64_t n_values)
{
    static const char *const modes[] = { "up", "down", "nearest" };
    graph *g = s->g;
    for (int t = DTYPE_NONE + 1; t < DTYPE_COUNT; t++) {
        if (!is_storage((dtype)t)) continue;
        int n = t == DTYPE_f8e8m0 ? 6 : 2;
        bool is_whole = t == DTYPE_i4 || t == DTYPE_u4 || t == DTYPE_i2 || t == DTYPE_u2;
        for (int k = 0; !is_whole && k < n; k++) {
            value q = build_cast(g, x, (dtype)t, k & 1, modes[k / 2]);
            if (!is_value(q) || node_of(g, q)->prim != PRIM_bitcast || node_of(g, q)->in[0].id >= n_values)
                continue;
            value y = decode_storage(g, q);
            if (is_value(y) && y.id < n_values) s->rounded[y.id] = x;
        }
    }
}

static void find_rounded(sweep *s)
{
    graph *g = s->g;
    int64_t n_values = g->owner.n;
    s->rounded = NEW_ARRAY(s->scratch, value, n_values);
    for (int64_t i = 0; i < s->n_order; i++) {
        node n = g->nodes.at[s->order[i]];
        if (n.prim == PRIM_bitcast && n.types[0].dtype == DTYPE_i32 && dtype_of(g, n.in[0]) == DTYPE_f32)
            find_rounded_from(s, n.in[0], n_values);
    }
}

static void find_dependent(sweep *s, int n, const value *wrt)
{
    const graph *g = s->g;
    s->depends = NEW_ARRAY(s->scratch, bool, g->owner.n);
    for (int i = 0; i < n; i++) s->depends[wrt[i].id] = true;
    for (int64_t i = 0; i < s->n_order; i++) {
        const node *x = &g->nodes.at[s->order[i]];
        bool any = false;
        for (int k = 0; k < x->n_in; k++) any |= s->depends[x->in[k].id];
        if (is_value(s->rounded[x->first])) s->depends[x->first] |= s->depends[s->rounded[x->first].id];
        for (int k = 0; any && k < x->n_out; k++)
            if (is_float(x->types[k].dtype)) s->depends[x->first + (uint32_t)k] = true;
    }
}

static void add_to(sweep *s, value v, value dv)
{
    value *sum = &s->adjoint[v.id];
    *sum = is_value(*sum) ? add(s->g, *sum, dv) : dv;
}

static void apply_rule(grad_step *s)
{
    switch ((prim)s->n.prim) {
    case PRIM_map: grad_map(s); break;
    case PRIM_reduce: grad_reduce(s); break;
    case PRIM_contract: grad_contract(s); break;
    case PRIM_window: grad_window(s); break;
    case PRIM_reshape: grad_reshape(s); break;
    case PRIM_transpose: grad_transpose(s); break;
    case PRIM_broadcast: grad_broadcast(s); break;
    case PRIM_slice: grad_slice(s); break;
    case PRIM_pad: grad_pad(s); break;
    case PRIM_concat: grad_concat(s); break;
    case PRIM_gather: grad_gather(s); break;
    case PRIM_scatter: grad_scatter(s); break;
    case PRIM_scan: grad_scan(s); break;
    case PRIM_cond: grad_cond(s); break;
    case PRIM_while: grad_while(s); break;
    case PRIM_kernel: grad_refuse(s->g, NONDIFF_kernel, "a kernel"); break;
    case PRIM_input: case PRIM_const: case PRIM_iota: case PRIM_random: case PRIM_sort: case PRIM_compact:
    case PRIM_bitcast: case PRIM_COUNT: break;
    }
}

/* Adds the gradients of one node's operands. */
static void step_back(sweep *s, uint32_t index)
{
    graph *g = s->g;
    node n = g->nodes.at[index];
    value from = s->rounded[n.first], own = s->adjoint[n.first];
    if (is_value(from)) {
        if (is_value(own) && s->depends[from.id]) add_to(s, from, own);
        return;
    }
    bool *wanted = NEW_ARRAY(s->scratch, bool, n.n_in + 1), any_wanted = false, any_dy = false;
    for (int k = 0; k < n.n_in; k++) any_wanted |= wanted[k] = s->depends[n.in[k].id];
    for (int k = 0; k < n.n_out; k++) any_dy |= is_value(s->adjoint[n.first + (uint32_t)k]);
    if (!any_wanted || !any_dy) return;
    grad_step step = { .g = g, .scratch = s->scratch, .n = n, .y = result_of(&n, 0), .wanted = wanted };
    step.dx = NEW_ARRAY(s->scratch, value, n.n_in + 1);
    value *dy = NEW_ARRAY(s->scratch, value, n.n_out);
    for (int k = 0; k < n.n_out; k++) dy[k] = s->adjoint[n.first + (uint32_t)k];
    step.dy = dy;
    if (n.at) g->at = *n.at;
    apply_rule(&step);
    for (int k = 0; k < n.n_in && !g->failed; k++) {
        if (!wanted[k] || !is_value(step.dx[k])) continue;
        if (type_same(type_of(g, step.dx[k]), type_of(g, n.in[k]))) add_to(s, n.in[k], step.dx[k]);
        else
            build_fail(g, "the gradient of %s %s has another type: %s", prim_info[n.prim].name,
                       describe(g, n.in[k]), describe(g, step.dx[k]));
    }
}

bool grad_of(graph *g, int n_y, const value *y, const value *dy, int n, const value *wrt, value *dwrt)
{
    for (int i = 0; i < n; i++) dwrt[i] = NO_VALUE;
    if (g->failed || !all_floats(g, n_y, y) || !all_floats(g, n, wrt)) return false;
    arena *scratch = arena_new(arena_mem(g->arena));
    place at = g->at;
    sweep s = { .g = g, .scratch = scratch };
    find_order(&s, n_y, y);
    find_rounded(&s);
    find_dependent(&s, n, wrt);
    s.adjoint = NEW_ARRAY(scratch, value, g->owner.n);
    for (int k = 0; k < n_y; k++)
        if (is_value(dy[k])) add_to(&s, y[k], dy[k]);
    for (int64_t i = s.n_order; i-- > 0 && !g->failed;) step_back(&s, s.order[i]);
    g->at = at;
    for (int i = 0; i < n && !g->failed; i++)
        dwrt[i] = is_value(s.adjoint[wrt[i].id]) ? s.adjoint[wrt[i].id] : grad_zeros(g, type_of(g, wrt[i]));
    arena_free(scratch);
    return !g->failed;
}

bool grad(graph *g, value loss, int n, const value *wrt, value *dwrt)
{
    value one = is_value(loss) && is_float(dtype_of(g, loss)) ? splat_like(g, loss, 1) : NO_VALUE;
    return grad_of(g, 1, &loss, &one, n, wrt, dwrt);
}

/* -- Parts of rules -------------------------------------------------------------------------------------- */

value grad_unstretch(graph *g, value dy, type t)
{
    if (!is_value(dy)) return NO_VALUE;
    type from = type_of(g, dy);
    uint32_t axes = 0;
    for (int i = 0; i < t.rank; i++)
        if (dim_is(t.dims[i], 1) && !dim_is(from.dims[i], 1)) axes |= 1u << i;
    return axes ? reduce_keep(g, REDUCE_sum, dy, axes) : dy;
}

bool grad_inline(graph *to, const graph *from, int n, const value *roots, value *map)
{
    arena *scratch = arena_new(arena_mem(to->arena));
    bool *needed = NEW_ARRAY(scratch, bool, from->owner.n), *build = NEW_ARRAY(scratch, bool, from->nodes.n);
    for (int r = 0; r < n; r++) needed[roots[r].id] = true;
    for (int64_t i = n_nodes(from); i-- > 1;) {
        const node *x = &from->nodes.at[i];
        for (int k = 0; k < x->n_out; k++) {
            uint32_t v = x->first + (uint32_t)k;
            build[i] |= needed[v] && !is_value(map[v]);
        }
        for (int k = 0; build[i] && k < x->n_in; k++) needed[x->in[k].id] = true;
    }
    bool ok = !to->failed;
    place at = to->at;
    for (int64_t i = 1; ok && i < n_nodes(from); i++) {
        const node *x = &from->nodes.at[i];
        if (!build[i]) continue;
        value *in = NEW_ARRAY(scratch, value, x->n_in + 1), *out = NEW_ARRAY(scratch, value, x->n_out + 1);
        for (int k = 0; k < x->n_in; k++) in[k] = map[x->in[k].id];
        to->at = x->at ? *x->at : (place){ 0 };
        ok = rebuild(to, from, x, in, out);
        for (int k = 0; k < x->n_out; k++)
            if (!is_value(map[x->first + (uint32_t)k])) map[x->first + (uint32_t)k] = out[k];
    }
    to->at = at;
    if (!ok) to->failed = true;
    arena_free(scratch);
    return ok;
}

static value parameter(graph *g, type t) { return input(g, NULL, t.dtype, t.rank, t.dims); }

void grad_through(grad_step *s, grad_composition f)
{
    graph *g = s->g, *inner = graph_body(g, "gradient");
    const node *n = &s->n;
    value *in = NEW_ARRAY(s->scratch, value, n->n_in), *y = NEW_ARRAY(s->scratch, value, n->n_out),
          *dy = NEW_ARRAY(s->scratch, value, n->n_out);
    value *wrt = NEW_ARRAY(s->scratch, value, n->n_in), *d = NEW_ARRAY(s->scratch, value, n->n_in);
    int n_wrt = 0;
    for (int k = 0; k < n->n_in; k++) in[k] = parameter(inner, type_of(g, n->in[k]));
    for (int k = 0; k < n->n_out; k++) dy[k] = is_value(s->dy[k]) ? parameter(inner, n->types[k]) : NO_VALUE;
    bool ok = f(inner, n, in, y);
    int n_y = 0;
    for (int k = 0; k < n->n_out; k++)
        if (is_value(dy[k])) {
            y[n_y] = y[k];
            dy[n_y++] = dy[k];
        }
    for (int k = 0; k < n->n_in; k++)
        if (s->wanted[k]) wrt[n_wrt++] = in[k];
    ok = ok && grad_of(inner, n_y, y, dy, n_wrt, wrt, d);
    if (!ok) {
        g->failed = true;
        return;
    }
    value *map = NEW_ARRAY(s->scratch, value, inner->owner.n);
    for (int k = 0; k < n->n_in; k++) map[in[k].id] = n->in[k];
    for (int k = 0, j = 0; k < n->n_out; k++)
        if (is_value(s->dy[k])) map[dy[j++].id] = s->dy[k];
    if (!grad_inline(g, inner, n_wrt, d, map)) return;
    for (int k = 0, j = 0; k < n->n_in; k++)
        if (s->wanted[k]) s->dx[k] = map[d[j++].id];
}
