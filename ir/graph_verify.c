/* ir/graph_verify.c: is this a graph? Runs after every pass in debug and test builds.
 *
 *   1  values    value ids run through the nodes in order without gaps, and each knows its node
 *   2  order     an operand is a value of an earlier node of the same graph
 *   3  arity     as many operands and results as the primitive and its attributes say
 *   4  inputs    the list of inputs and the input nodes are the same, and each knows its number
 *   5  results   each is a value of this graph, and has a name or NULL
 *   6  types     a known element type, rank at most MAX_RANK, no size that is bad or always negative
 *   7  consts    bytes or sizes, not both; as many as the type has; sizes only for i64 and i32; bools are 0
 *      or 1
 *   8  tables    functions, kinds, modes and anchors are rows of their tables
 *   9  inference the builder, given operands of these types and this attribute, gives this type
 *  10  bodies    present, of the same dims; what they take and give is rule 9
 *  11  kernels   hold no kernel, scan, cond or while
 *
 * All violations are reported, each with the node's text; a node that breaks rules 1 to 8 is not asked for
 * rule 9. Rule 9 calls rebuild() in a scratch graph whose operands are inputs, so nothing folds and nothing
 * is shared; a new scratch graph every CHUNK nodes keeps memory small. Bodies are taken from a list, not by
 * recursion. O(nodes).
 */
#include "ir/build.h"
#include "ir/text.h"
#include <stdio.h>

enum { CHUNK = 4096 };

typedef struct {
    const graph *g;
    const char *when;
    bool ok;
    bool in_kernel;
    arena *scratch;
    graph *scratch_graph;
    vec(struct { const graph *g; bool in_kernel; }) queue;
} verifier;

static void broken(verifier *v, const node *n, int rule, const char *fmt, ...) DLC_PRINTF(4, 5);
static void broken(verifier *v, const node *n, int rule, const char *fmt, ...)
{
    char what[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    text line = { .a = v->g->arena };
    if (n) node_print(v->g, n, &line);
    diag_verify(v->g->ctx, n && n->at ? *n->at : (place){ 0 }, v->when ? v->when : "graph", rule, what,
                text_str(&line));
    v->ok = false;
}

/* -- Rules 1 to 8 ---------------------------------------------------------------------------------------- */

static bool check_values(verifier *v)
{
    const graph *g = v->g;
    uint32_t next = 1;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        bool ok = n->first == next && (int64_t)next + n->n_out <= g->owner.n;
        for (int k = 0; ok && k < n->n_out; k++) ok = g->owner.at[next + (uint32_t)k] == (uint32_t)i;
        if (!ok) {
            broken(v, NULL, 1, "node %lld (%s) does not own values from %u on", (long long)i,
                   n->prim < PRIM_COUNT ? prim_info[n->prim].name : "?", next);
            return false;
        }
        next += n->n_out;
    }
    if (next == g->owner.n && g->names.n == g->owner.n) return true;
    broken(v, NULL, 1, "%u values, %lld have an owner and %lld a place for a name", next - 1,
           (long long)g->owner.n - 1, (long long)g->names.n - 1);
    return false;
}

static bool check_operands(verifier *v, const node *n)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k].id == 0 || n->in[k].id >= n->first) {
            broken(v, n, 2, "operand %d is not defined above", k);
            return false;
        }
    return true;
}

/* What the attributes say; -1: any number. */
static int wanted_in(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_map: return n->map->fn < SCALAR_COUNT ? scalar_info[n->map->fn].arity : -1;
    case PRIM_contract: return n->n_in == 3 ? 3 : 2;
    case PRIM_pad: return n->n_in == 1 ? 1 : 2;
    case PRIM_gather: return 1 + n->gather->n_axes;
    case PRIM_scatter: return 2 + n->gather->n_axes;
    default: return prim_info[n->prim].n_in;
    }
}

static int least_in(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_concat: case PRIM_sort: case PRIM_cond: return 1;
    case PRIM_scan: return n->scan->n_carry + n->scan->n_xs;
    case PRIM_while: return n->loop->n_carry;
    default: return 0;
    }
}

static bool check_arity(verifier *v, const node *n)
{
    int want = wanted_in(n), out = prim_info[n->prim].n_out;
    if (want >= 0 && n->n_in != want) {
        broken(v, n, 3, "%s takes %d operands", prim_info[n->prim].name, want);
        return false;
    }
    if (n->n_in < least_in(n)) {
        broken(v, n, 3, "%s takes at least %d operands here", prim_info[n->prim].name, least_in(n));
        return false;
    }
    if (out < 0 || n->n_out == out) return true;
    broken(v, n, 3, "%s has %d results", prim_info[n->prim].name, out);
    return false;
}

static void check_interface(verifier *v)
{
    const graph *g = v->g;
    int64_t n_inputs = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) n_inputs += g->nodes.at[i].prim == PRIM_input;
    if (n_inputs != g->inputs.n)
        broken(v, NULL, 4, "%lld input nodes, %lld inputs are listed", (long long)n_inputs,
               (long long)g->inputs.n);
    for (int64_t i = 0; i < g->inputs.n; i++) {
        value x = g->inputs.at[i];
        const node *n = x.id > 0 && x.id < g->owner.n ? node_of(g, x) : NULL;
        if (!n || n->prim != PRIM_input || n->input->index != (int)i)
            broken(v, n, 4, "input %lld is not an input node of this number", (long long)i);
    }
    if (g->result_names.n != g->results.n) broken(v, NULL, 5, "results and their names differ in number");
    for (int64_t i = 0; i < g->results.n; i++)
        if (g->results.at[i].id == 0 || g->results.at[i].id >= g->owner.n)
            broken(v, NULL, 5, "result %lld is no value of this graph", (long long)i);
}

static bool check_types(verifier *v, const node *n)
{
    for (int k = 0; k < n->n_out; k++) {
        type t = n->types[k];
        bool ok = t.dtype < DTYPE_COUNT && t.rank >= 0 && t.rank <= MAX_RANK;
        for (int i = 0; ok && i < t.rank; i++) {
            int64_t lo, hi = -1;
            if (!dim_is_bad(t.dims[i])) dim_range(v->g->dims, t.dims[i], &lo, &hi);
            ok = hi >= 0;
        }
        if (ok) continue;
        broken(v, NULL, 6, "result %d of a node (%s) has an impossible type", k, prim_info[n->prim].name);
        return false;
    }
    return true;
}

static bool check_const(verifier *v, const node *n)
{
    const const_attr *c = n->konst;
    type t = n->types[0];
    int64_t count;
    if (!c->bytes == !c->dims)
        broken(v, NULL, 7, "a const holds bytes or sizes, not %s", c->bytes ? "both" : "nothing");
    else if (c->dims && t.dtype != DTYPE_i64 && t.dtype != DTYPE_i32)
        broken(v, n, 7, "sizes in a const of %s", dtype_info[t.dtype].name);
    else if (!dim_is_const(type_elements(v->g, t), &count) || count != c->n)
        broken(v, NULL, 7, "a const of %lld elements has another number in its type", (long long)c->n);
    else {
        const uint8_t *b = c->bytes;
        for (int64_t i = 0; b && t.dtype == DTYPE_bool && i < c->n; i++)
            if (b[i] > 1) {
                broken(v, n, 7, "element %lld of a bool const is %d", (long long)i, b[i]);
                return false;
            }
        return true;
    }
    return false;
}

static bool check_tables(verifier *v, const node *n)
{
    bool ok = true;
    switch ((prim)n->prim) {
    case PRIM_map:
        ok = n->map->fn < SCALAR_COUNT
          && (scalar_info[n->map->fn].result == RESULT_CAST ? n->map->to < DTYPE_COUNT : true);
        break;
    case PRIM_reduce: ok = n->reduce->kind < REDUCE_COUNT; break;
    case PRIM_window:
        ok = n->window->kind < WINDOW_COUNT && n->window->n >= 0 && n->window->n <= MAX_RANK;
        break;
    case PRIM_gather: case PRIM_scatter:
        ok = n->gather->mode < SCATTER_COUNT && n->gather->n_axes <= MAX_RANK &&
             n->gather->n_batch <= MAX_RANK;
        break;
    case PRIM_kernel: ok = n->kernel->anchor < ANCHOR_COUNT; break;
    default: break;
    }
    if (!ok) broken(v, NULL, 8, "a node (%s) has an attribute outside its table", prim_info[n->prim].name);
    return ok;
}

/* -- Rules 9 to 11 --------------------------------------------------------------------------------------- */

static void new_scratch(verifier *v)
{
    if (v->scratch) arena_free(v->scratch);
    v->scratch = arena_new(arena_mem(v->g->arena));
    v->scratch_graph = graph_new(v->g->ctx, v->scratch, v->g->dims, "verify");
}

static bool type_agrees(const graph *g, type a, type b)
{
    if (type_same(a, b)) return true;
    if (a.dtype != b.dtype || a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (!dim_known_le(g->dims, a.dims[i], b.dims[i]) || !dim_known_le(g->dims, b.dims[i], a.dims[i]))
            return false;
    return true;
}

/* An operand of the same type: an input; of a compact the compact itself, for its count bounds slices of its
 * positions. */
static value scratch_operand(verifier *v, value x)
{
    graph *s = v->scratch_graph;
    const node *n = node_of(v->g, x);
    type t = type_of(v->g, x);
    value mask, out[2] = { NO_VALUE, NO_VALUE };
    if (n->prim != PRIM_compact || !n->compact->has_symbol) return input(s, NULL, t.dtype, t.rank, t.dims);
    t = type_of(v->g, n->in[0]);
    mask = input(s, NULL, t.dtype, t.rank, t.dims);
    rebuild(s, v->g, n, &mask, out);
    return out[result_index(v->g, x)];
}

static void check_inference(verifier *v, const node *n)
{
    graph *s = v->scratch_graph;
    value *in = NEW_ARRAY(v->scratch, value, n->n_in + 1), *out = NEW_ARRAY(v->scratch, value, n->n_out + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = scratch_operand(v, n->in[k]);
    s->failed = false;
    s->at = n->at ? *n->at : (place){ 0 };
    if (!rebuild(s, v->g, n, in, out) || s->failed) {
        broken(v, n, 9, "the builder refuses it, for the reason above");
        s->failed = false;
        return;
    }
    for (int k = 0; k < n->n_out; k++) {
        type t = type_of(s, out[k]);
        if (is_value(out[k]) && type_agrees(v->g, t, n->types[k])) continue;
        text found = { .a = v->scratch };
        type_print(v->g, t, &found);
        broken(v, n, 9, "result %d is inferred as %s", k, text_str(&found));
    }
}

static void check_compact(verifier *v, const node *n)
{
    type m = type_of(v->g, n->in[0]), count = { DTYPE_i64, 0, NULL }, idx = { DTYPE_i64, 1, m.dims };
    if (m.dtype != DTYPE_bool || m.rank != 1 || !type_agrees(v->g, idx, n->types[0]) ||
        !type_agrees(v->g, count, n->types[1]))
        broken(v, n, 9, "compact takes bool[N] and gives i64[N], i64[]");
    if (n->compact->has_symbol && dim_look(v->g->dims, n->compact->symbol).kind != DIM_SYMBOL)
        broken(v, n, 9, "the count is no symbol");
}

static bool check_bodies(verifier *v, const node *n)
{
    text_body body[2];
    int n_bodies = text_bodies(n, body);
    for (int i = 0; i < n_bodies; i++) {
        if (!body[i].g || body[i].g->dims != v->g->dims) {
            broken(v, NULL, 10, "a node (%s) has no body, or one of other dims", prim_info[n->prim].name);
            return false;
        }
        vec_grow(v->g->arena, &v->queue, 1);
        v->queue.at[v->queue.n].g = body[i].g;
        v->queue.at[v->queue.n++].in_kernel = v->in_kernel || n->prim == PRIM_kernel;
    }
    if (n_bodies && v->in_kernel) broken(v, n, 11, "%s inside a kernel", prim_info[n->prim].name);
    return true;
}

static void check_node(verifier *v, const node *n)
{
    if (n->prim >= PRIM_COUNT) {
        broken(v, NULL, 8, "no primitive has number %d", n->prim);
        return;
    }
    if (!check_tables(v, n) || !check_types(v, n) || !check_bodies(v, n)) return;
    if (!check_operands(v, n) || !check_arity(v, n)) return;
    if (n->prim == PRIM_const) check_const(v, n);
    else if (n->prim == PRIM_compact) check_compact(v, n);
    else if (n->prim != PRIM_input) check_inference(v, n);
}

static void check_graph(verifier *v)
{
    if (!check_values(v)) return;
    check_interface(v);
    for (int64_t i = 1; i < n_nodes(v->g); i++) {
        if (i % CHUNK == 1) new_scratch(v);
        check_node(v, &v->g->nodes.at[i]);
    }
}

bool graph_verify(const graph *g, const char *when)
{
    verifier v = { .g = g, .when = when, .ok = true };
    vec_grow(g->arena, &v.queue, 1);
    v.queue.at[v.queue.n].g = g;
    v.queue.at[v.queue.n++].in_kernel = false;
    for (int64_t i = 0; i < v.queue.n; i++) {
        v.g = v.queue.at[i].g;
        v.in_kernel = v.queue.at[i].in_kernel;
        check_graph(&v);
    }
    if (v.scratch) arena_free(v.scratch);
    return v.ok;
}
