/* frontend/onnx/op_attempt.c: taking back a failed attempt (op.h): what it reported, and the marks of failure
 * it left. What it built stays in the graph, unused.
 */
#include "frontend/onnx/importer.h"

op_attempt op_attempt_begin(const op_call *c)
{
    const dlc_context *ctx = c->imp->ctx;
    return (op_attempt){ .n_diags = ctx->diags.n,
                         .n_errors = ctx->n_errors,
                         .status = ctx->status,
                         .n_bodies = c->imp->n_bodies };
}

void op_attempt_undo(op_call *c, op_attempt a)
{
    dlc_context *ctx = c->imp->ctx;
    ctx->diags.n = a.n_diags;
    ctx->n_errors = a.n_errors;
    ctx->status = a.status;
    c->imp->n_bodies = a.n_bodies;
    c->imp->failed = c->g->failed = c->failed = false;
}

bool op_attempt_failed(const op_call *c, op_attempt a)
{
    return c->failed || c->g->failed || c->imp->failed || c->imp->ctx->n_errors > a.n_errors;
}

const char *op_attempt_message(op_call *c, op_attempt a)
{
    const dlc_context *ctx = c->imp->ctx;
    for (int64_t i = a.n_diags; i < ctx->diags.n; i++)
        if (ctx->diags.at[i].severity == DIAG_ERROR)
            return arena_printf(op_arena(c), "%.300s", ctx->diags.at[i].message);
    return NULL;
}
