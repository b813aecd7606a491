/* backend/eval/eval_widen.c: a graph with every float made f64: the value that errors are measured against.
 *
 * A pass that may change values (simplify, layout) is right if the error of its result against this graph is
 * at most twice that of the graph before. Inputs, constants, casts and accumulators become f64; everything
 * else follows from the builder. A bitcast of a float has no wide counterpart: then there is no such graph,
 * and NULL comes back.
 */
#include "backend/eval/eval.h"
#include "ir/build.h"

enum { MAX_DEPTH = 64 };

static dtype wide(dtype t) { return is_float(t) ? DTYPE_f64 : t; }

static graph *widen_graph(const graph *g, graph *to, int depth);

static value widen_const(graph *to, const node *n, const value *in)
{
    const const_attr *c = n->konst;
    type t = n->types[0];
    value out = NO_VALUE;
    if (!is_float(t.dtype) || !c->bytes) {
        rebuild(to, to, n, in, &out);
        return out;
    }
    double *x = NEW_ARRAY(to->arena, double, c->n);
    for (int64_t i = 0; i < c->n; i++)
        x[i] = sv_to_f64(t.dtype, sv_load(t.dtype, (const char *)c->bytes + i * dtype_bytes(t.dtype)));
    return constant(to, DTYPE_f64, t.rank, t.dims, x, c->name);
}

static graph *widen_body(graph *to, const graph *body, int depth)
{
    return depth < MAX_DEPTH ? widen_graph(body, graph_body(to, body->name), depth + 1) : NULL;
}

static bool widen_loop(graph *to, const node *n, const value *in, value *out, int depth)
{
    graph *a, *b;
    switch ((prim)n->prim) {
    case PRIM_scan:
        a = widen_body(to, n->scan->body, depth);
        return a &&
               scan(to, a, n->scan->n_carry, n->scan->n_xs, n->scan->n, n->scan->reverse, n->n_in, in, out);
    case PRIM_kernel:
        a = widen_body(to, n->kernel->body, depth);
        return a && kernel(to, n->kernel->anchor, a, n->n_in, in, out);
    case PRIM_cond:
        a = widen_body(to, n->cond->then_body, depth);
        b = widen_body(to, n->cond->else_body, depth);
        return a && b && cond(to, in[0], a, b, n->n_in - 1, in + 1, out);
    default:
        a = widen_body(to, n->loop->test, depth);
        b = widen_body(to, n->loop->body, depth);
        return a && b && while_loop(to, a, b, n->loop->n_carry, n->loop->max_trip, n->n_in, in, out);
    }
}

static bool widen_node(const graph *g, const node *n, graph *to, const value *in, value *out, int depth)
{
    type t = n->types[0];
    switch ((prim)n->prim) {
    case PRIM_input: out[0] = input(to, n->input->name, wide(t.dtype), t.rank, t.dims); break;
    case PRIM_const: out[0] = widen_const(to, n, in); break;
    case PRIM_iota: out[0] = iota(to, wide(t.dtype), t.rank, t.dims, n->iota->axis); break;
    case PRIM_map:
        out[0] = n->map->fn == SCALAR_cast ? cast(to, in[0], wide(n->map->to))
                                           : map(to, n->map->fn, n->n_in, in);
        break;
    case PRIM_contract:
        out[0] = contract_by(to, in[0], in[1], n->n_in == 3 ? in[2] : NO_VALUE, n->contract,
                             wide(n->contract->acc), wide(t.dtype));
        break;
    case PRIM_bitcast:
        if (is_float(t.dtype) || is_float(type_of(g, n->in[0]).dtype)) return false;
        out[0] = bitcast(to, in[0], n->bitcast->to);
        break;
    case PRIM_scan:
    case PRIM_cond:
    case PRIM_while:
    case PRIM_kernel: return widen_loop(to, n, in, out, depth);
    default: return rebuild(to, g, n, in, out);
    }
    return is_value(out[0]);
}

static graph *widen_graph(const graph *g, graph *to, int depth)
{
    value *map_to = NEW_ARRAY(to->arena, value, g->owner.n);
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        value *in = NEW_ARRAY(to->arena, value, n->n_in + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = map_to[n->in[k].id];
        if (!widen_node(g, n, to, in, &map_to[n->first], depth) || to->failed) return NULL;
    }
    for (int64_t i = 0; i < g->results.n; i++)
        add_result(to, map_to[g->results.at[i].id], g->result_names.at[i]);
    return to;
}

graph *eval_widened(const graph *g)
{
    return widen_graph(g, graph_new(g->ctx, g->arena, g->dims, g->name), 0);
}
