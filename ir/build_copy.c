/* ir/build_copy.c: the same node again: over other operands (rebuild), or in a graph of reachable nodes
 * (graph_compact).
 *
 * rebuild goes through the builder, so it simplifies and folds; graph_compact copies nodes as they are. Both
 * may go to another arena, but not to another table of dims. Bodies are shared where the arena is the same,
 * else copied; depth of nesting bounds the recursion.
 */
#include "ir/build_inner.h"
#include <assert.h>

enum { MAX_OPERANDS_ON_STACK = 64 };

static graph *copy_graph(graph *like, const graph *from);

static graph *body_for(graph *to, const graph *from, graph *body)
{
    return to->arena == from->arena ? body : copy_graph(to, body);
}

/* -- rebuild --------------------------------------------------------------------------------------------- */

static value rebuild_const(graph *to, const graph *from, const node *n)
{
    const_attr c = *n->konst;
    type t = n->types[0];
    if (to->arena != from->arena) {
        c.ints = NULL;
        if (c.name) c.name = arena_strdup(to->arena, c.name);
        if (c.dims) c.dims = arena_copy(to->arena, c.dims, (size_t)c.n * sizeof(dim));
        else if (!c.is_file)
            c.bytes = arena_copy(to->arena, c.bytes, (size_t)c.n * (size_t)dtype_bytes(t.dtype));
    }
    return make_const(to, t, &c);
}

static void widen(const uint8_t *from, int n, int *to)
{
    for (int i = 0; i < n; i++) to[i] = from[i];
}

static value rebuild_index(graph *to, const node *n, const value *in)
{
    const gather_attr *a = n->gather;
    int axes[MAX_RANK], batch_x[MAX_RANK], batch_s[MAX_RANK];
    widen(a->axes, a->n_axes, axes);
    widen(a->batch_x, a->n_batch, batch_x);
    widen(a->batch_s, a->n_batch, batch_s);
    return n->prim == PRIM_gather
               ? gather(to, in[0], a->n_axes, in + 1, axes, a->n_batch, batch_x, batch_s)
               : scatter(to, a->mode, in[0], in[1], a->n_axes, in + 2, axes, a->n_batch, batch_x, batch_s);
}

/* Primitives of one result. */
static value rebuild_one(graph *to, const graph *from, const node *n, const value *in)
{
    type t = n->types[0];
    int perm[MAX_RANK];
    switch ((prim)n->prim) {
    case PRIM_input: return input(to, n->input->name, t.dtype, t.rank, t.dims);
    case PRIM_const: return rebuild_const(to, from, n);
    case PRIM_iota: return iota(to, t.dtype, t.rank, t.dims, n->iota->axis);
    case PRIM_random: return random_bits(to, in[0], t.rank, t.dims);
    case PRIM_map:
        return n->map->fn == SCALAR_cast ? cast(to, in[0], n->map->to) : map(to, n->map->fn, n->n_in, in);
    case PRIM_reduce: return reduce(to, n->reduce->kind, in[0], n->reduce->axes, n->reduce->last);
    case PRIM_contract:
        return contract_by(to, in[0], in[1], n->n_in == 3 ? in[2] : NO_VALUE, n->contract, n->contract->acc,
                           t.dtype);
    case PRIM_window: return window_reduce(to, n->window->kind, in[0], n->window->n, n->window->axes);
    case PRIM_reshape: return reshape(to, in[0], t.rank, t.dims);
    case PRIM_transpose:
        widen(n->transpose->perm, t.rank, perm);
        return transpose(to, in[0], perm);
    case PRIM_broadcast: return broadcast(to, in[0], t.rank, t.dims);
    case PRIM_slice: return slice(to, in[0], n->slice->start, t.dims, n->slice->step);
    case PRIM_pad:
        return n->n_in == 2 ? pad(to, in[0], n->pad->lo, n->pad->hi, n->pad->interior, in[1])
                            : pad_undef(to, in[0], n->pad->lo, n->pad->hi);
    case PRIM_concat: return concat(to, n->n_in, in, n->concat->axis);
    case PRIM_gather: case PRIM_scatter: return rebuild_index(to, n, in);
    case PRIM_sort: return sort(to, n->n_in, in, n->sort->axis, n->sort->descending, n->sort->k);
    case PRIM_bitcast: return bitcast(to, in[0], n->bitcast->to);
    case PRIM_scan:
    case PRIM_cond:
    case PRIM_while:
    case PRIM_compact:
    case PRIM_kernel:
    case PRIM_COUNT: break;
    }
    return NO_VALUE;
}

bool rebuild(graph *to, const graph *from, const node *x, const value *in, value *out)
{
    assert(to->dims == from->dims);
    node n = *x;                      /* copied: building moves the nodes */
    dim count;
    switch ((prim)n.prim) {
    case PRIM_scan:
        return scan(to, body_for(to, from, n.scan->body), n.scan->n_carry, n.scan->n_xs, n.scan->n,
                    n.scan->reverse, n.n_in, in, out);
    case PRIM_cond:
        return cond(to, in[0], body_for(to, from, n.cond->then_body), body_for(to, from, n.cond->else_body),
                    n.n_in - 1, in + 1, out);
    case PRIM_while:
        return while_loop(to, body_for(to, from, n.loop->test), body_for(to, from, n.loop->body),
                          n.loop->n_carry, n.loop->max_trip, n.n_in, in, out);
    case PRIM_kernel:
        return kernel(to, n.kernel->anchor, body_for(to, from, n.kernel->body), n.n_in, in, out);
    case PRIM_compact:
        if (!n.compact->has_symbol) return compact(to, in[0], &out[0], &out[1]);
        if (!compact_to(to, in[0], n.compact->symbol, &out[0], &count)) return false;
        out[1] = (value){ out[0].id + 1 };
        return true;
    default:
        out[0] = rebuild_one(to, from, &n, in);
        return is_value(out[0]);
    }
}

/* -- Copies as they are ---------------------------------------------------------------------------------- */

typedef struct { const graph *from; graph *to; } copied_body;
typedef vec(copied_body) body_list;

static graph *copy_reachable(graph *to, const graph *from, body_list *bodies);

static graph *copy_body(graph *like, const graph *body, body_list *bodies)
{
    for (int64_t i = 0; i < bodies->n; i++)
        if (bodies->at[i].from == body) return bodies->at[i].to;
    graph *to = graph_body(like, body->name);
    to->parent = NULL;
    copy_reachable(to, body, bodies);
    copied_body pair = { body, to };
    vec_push(like->arena, bodies, pair);
    return to;
}

/* n's attribute for `to`, in *room. */
static const void *copy_attr(graph *to, const node *n, body_list *bodies, void *room)
{
    if (attr_bytes((prim)n->prim) == 0) return NULL;
    memcpy(room, n->attr, attr_bytes((prim)n->prim));
    if (n->prim == PRIM_scan) ((scan_attr *)room)->body = copy_body(to, n->scan->body, bodies);
    if (n->prim == PRIM_kernel) ((kernel_attr *)room)->body = copy_body(to, n->kernel->body, bodies);
    if (n->prim == PRIM_cond) {
        ((cond_attr *)room)->then_body = copy_body(to, n->cond->then_body, bodies);
        ((cond_attr *)room)->else_body = copy_body(to, n->cond->else_body, bodies);
    }
    if (n->prim == PRIM_while) {
        ((while_attr *)room)->test = copy_body(to, n->loop->test, bodies);
        ((while_attr *)room)->body = copy_body(to, n->loop->body, bodies);
    }
    if (n->prim == PRIM_contract) {
        contract_attr *c = room;
        for (int l = 0; l < c->n_labels; l++) c->label_name[l] = arena_strdup(to->arena, c->label_name[l]);
    }
    return room;
}

static void copy_node(graph *to, const graph *from, const node *n, value *map, body_list *bodies)
{
    union {
        contract_attr c;
        window_attr w;
        pad_attr p;
        slice_attr s;
        gather_attr g;
        scan_attr sc;
        while_attr wh;
    } room;
    if (n->at) to->at = *n->at;
    else to->at = (place){ 0 };
    value small[MAX_OPERANDS_ON_STACK],
        *in = n->n_in <= MAX_OPERANDS_ON_STACK ? small : NEW_ARRAY(to->arena, value, n->n_in);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k].id];
    if (n->prim == PRIM_const) {
        map[n->first] = rebuild_const(to, from, n);
        return;
    }
    const void *attr = copy_attr(to, n, bodies, &room);
    const node *made = make_node_n(to, n->prim, n->n_in, in, attr, n->n_out, n->types);
    for (int k = 0; k < n->n_out; k++) map[n->first + (uint32_t)k] = result_of(made, k);
}

static graph *copy_reachable(graph *to, const graph *from, body_list *bodies)
{
    arena *scratch = arena_new(arena_mem(to->arena));
    value *map = NEW_ARRAY(scratch, value, from->owner.n);
    for (int64_t i = 0; i < from->inputs.n; i++) {
        value v = from->inputs.at[i];
        const node *n = node_of(from, v);
        if (n->at) to->at = *n->at;
        map[v.id] = input(to, n->input->name, n->types[0].dtype, n->types[0].rank, n->types[0].dims);
    }
    int64_t n;
    const uint32_t *order = graph_order(from, scratch, &n);
    for (int64_t i = 0; i < n; i++) {
        const node *x = &from->nodes.at[order[i]];
        if (x->prim != PRIM_input) copy_node(to, from, x, map, bodies);
    }
    for (int64_t v = 1; v < from->names.n; v++)
        if (from->names.at[v]) set_name(to, map[v], from->names.at[v]);
    for (int64_t r = 0; r < from->results.n; r++)
        add_result(to, map[from->results.at[r].id], from->result_names.at[r]);
    to->at = from->at;
    arena_free(scratch);
    return to;
}

static graph *copy_graph(graph *like, const graph *from)
{
    body_list bodies = { 0 };
    return copy_body(like, from, &bodies);
}

graph *graph_compact(const graph *g)
{
    body_list bodies = { 0 };
    graph *to = graph_new(g->ctx, g->arena, g->dims, g->name);
    to->failed = g->failed;
    return g->failed ? to : copy_reachable(to, g, &bodies);
}

bool graph_inline(graph *to, const graph *from, const value *in, value *out)
{
    arena *scratch = arena_new(arena_mem(to->arena));
    value *at = NEW_ARRAY(scratch, value, from->owner.n + 1);
    for (int64_t i = 0; i < from->inputs.n; i++) at[from->inputs.at[i].id] = in[i];
    int64_t n;
    const uint32_t *order = graph_order(from, scratch, &n);
    bool ok = !to->failed && !from->failed;
    for (int64_t i = 0; i < n && ok; i++) {
        const node *x = &from->nodes.at[order[i]];
        if (x->prim == PRIM_input) continue;
        value small[MAX_OPERANDS_ON_STACK],
            *args = x->n_in <= MAX_OPERANDS_ON_STACK ? small : NEW_ARRAY(scratch, value, x->n_in);
        for (int k = 0; k < x->n_in; k++) args[k] = at[x->in[k].id];
        value *res = NEW_ARRAY(scratch, value, x->n_out + 1);
        ok = rebuild(to, from, x, args, res) && !to->failed;
        for (int k = 0; k < x->n_out; k++) at[x->first + (uint32_t)k] = res[k];
    }
    for (int64_t r = 0; r < from->results.n && ok; r++) out[r] = at[from->results.at[r].id];
    arena_free(scratch);
    return ok;
}
