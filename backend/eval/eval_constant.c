/* backend/eval/eval_constant.c: small constants for the builder, by the graph interpreter.
 *
 * How    The node and the few constants and views under it are built again in a graph of their own, which is
 *        run. So the cost does not depend on the size of the graph that asks.
 */
#include "backend/eval/eval.h"
#include "ir/build.h"

enum { MAX_CHAIN = 16, MAX_OPERANDS = 64 };

/* v, a constant, an iota, or views of one, in `to`. NO_VALUE: something else. */
static value copy_operand(graph *to, const graph *g, value v)
{
    const node *chain[MAX_CHAIN];
    int n = 0;
    for (;; v = chain[n - 1]->in[0]) {
        if (n == MAX_CHAIN) return NO_VALUE;
        chain[n++] = node_of(g, v);
        if (chain[n - 1]->n_in == 0) break;
        if (chain[n - 1]->n_in != 1) return NO_VALUE;
    }
    value x = NO_VALUE;
    while (n--) {
        value below = x;
        if (chain[n]->n_in == 0 && chain[n]->prim != PRIM_const && chain[n]->prim != PRIM_iota)
            return NO_VALUE;
        if (!rebuild(to, g, chain[n], &below, &x)) return NO_VALUE;
    }
    return x;
}

static bool run(graph *one, const graph *g, value v, fma_mode fma, void *out)
{
    const node *n = node_of(g, v);
    value in[MAX_OPERANDS], y;
    if (n->n_out != 1 || n->n_in > MAX_OPERANDS) return false;
    for (int i = 0; i < n->n_in; i++) {
        in[i] = copy_operand(one, g, n->in[i]);
        if (!is_value(in[i])) return false;
    }
    if (!rebuild(one, g, n, in, &y)) return false;
    add_result(one, y, NULL);
    tensor t;
    eval_options options = { .fma = fma };
    if (eval_graph(one->ctx, one->arena, one, NULL, NULL, &t, &options) != DLC_OK) return false;
    if (tensor_bytes(&t)) memcpy(out, t.bytes, tensor_bytes(&t));
    return true;
}

static bool evaluate(void *arg, const graph *g, value v, void *out)
{
    (void)arg;
    dlc_context *ctx = g->ctx;
    const graph_evaluator *self = ctx->evaluator;
    arena *a = arena_new(&ctx->mem);
    graph *one = graph_new(ctx, a, g->dims, "constant");
    ctx->evaluator = NULL;                    /* the node is not to be folded while it is built to be run */
    bool ok = run(one, g, v, self->fma, out);
    ctx->evaluator = self;
    arena_free(a);
    return ok;
}

graph_evaluator eval_evaluator(fma_mode fma) { return (graph_evaluator){ evaluate, NULL, fma }; }
