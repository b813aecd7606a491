/* grad as a pass: a graph that also gives its gradient
 *
 *     return %loss   =>   return %loss, %d_x as d_x, …       for each float input %x
 *
 * where d_x is d(sum of all float results)/d x.
 *
 * Why    To see gradients as text, and to test what later passes make of them. Front ends call passes/grad.h
 *        themselves.
 * Needs  a verified graph without kernels. Runs only when named (--pass=grad).
 * See    tests/passes/grad.test
 */
#include "passes/grad.h"
#include "passes/pass.h"

dlc_status pass_grad(pass_run *run, graph **from);

dlc_status pass_grad(pass_run *run, graph **from)
{
    graph *g = graph_compact(*from);
    arena *a = run->scratch;
    int n = 0, n_y = 0;
    value *wrt = NEW_ARRAY(a, value, g->inputs.n + 1), *d = NEW_ARRAY(a, value, g->inputs.n + 1);
    value *y = NEW_ARRAY(a, value, g->results.n + 1), *dy = NEW_ARRAY(a, value, g->results.n + 1);
    const char **name = NEW_ARRAY(a, const char *, g->inputs.n + 1);
    for (int64_t i = 0; i < g->inputs.n; i++) {
        value v = g->inputs.at[i];
        if (!is_float(dtype_of(g, v))) continue;
        const char *own = g->names.at[v.id];
        name[n] = own ? arena_printf(a, "d_%s", own) : arena_printf(a, "d_input%lld", (long long)i);
        wrt[n++] = v;
    }
    for (int64_t i = 0; i < g->results.n; i++) {
        if (!is_float(dtype_of(g, g->results.at[i]))) continue;
        y[n_y] = g->results.at[i];
        dy[n_y] = splat_like(g, y[n_y], 1);
        n_y++;
    }
    if (n == 0 || n_y == 0 || !pass_allow(run)) return DLC_OK;
    if (!grad_of(g, n_y, y, dy, n, wrt, d)) return run->ctx->status ? run->ctx->status : DLC_ERR_INTERNAL;
    for (int i = 0; i < n; i++) add_result(g, d[i], name[i]);
    *from = graph_compact(g);
    return DLC_OK;
}
