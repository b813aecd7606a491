/* Float sums, contracts, windows, sorts and scatters of constants fold to what the interpreter computes from
 * inputs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "backend/eval/eval.h"
#include "ir/build.h"

#define K dim_const

/* Five primitives over x f32[4, 5] and y f32[5, 2]. */
static int five(graph *g, value x, value y, value *out)
{
    contract_spec s = { .la = "mk", .lb = "kn", .lo = "mn" };
    window_axis w = { 1, K(3), 3, { 1, 2, 1, 1 } };
    value idx = constant_dims(g, DTYPE_i64, (const dim[]){ K(1), K(1), K(3) }, 3);
    value head = slice(g, x, (const dim[]){ K(0), K(0) }, (const dim[]){ K(3), K(5) },
                       (const int64_t[]){ 1, 1 });
    out[0] = reduce(g, REDUCE_sum, x, 3, false);
    out[1] = contract(g, x, y, NO_VALUE, &s);
    out[2] = window_reduce(g, WINDOW_sum, x, 1, &w);
    out[3] = sort(g, 1, &x, 0, 0, K(4));
    out[4] = scatter(g, SCATTER_add, x, head, 1, &idx, (const int[]){ 0 }, 0, NULL, NULL);
    return 5;
}

static void folded_is_computed(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    mem_frame f;
    if (!mem_try(&ctx->mem, &f)) fail();
    arena *a = arena_new(&ctx->mem);
    graph *g = graph_new(ctx, a, dims_new(ctx, a), "g");
    graph_evaluator eval = eval_evaluator(FMA_FUSED);
    ctx->evaluator = &eval;
    float x[20], y[10];
    for (int i = 0; i < 20; i++) x[i] = (float)(i * 7 % 20) / 3.0f;
    for (int i = 0; i < 10; i++) y[i] = 1.0f / (float)(i + 1);
    const dim dx[2] = { K(4), K(5) }, dy[2] = { K(5), K(2) };
    value folded[5], computed[5];
    int n = five(g, constant(g, DTYPE_f32, 2, dx, x, NULL), constant(g, DTYPE_f32, 2, dy, y, NULL), folded);
    value ix = input(g, "x", DTYPE_f32, 2, dx), iy = input(g, "y", DTYPE_f32, 2, dy);
    five(g, ix, iy, computed);
    if (g->failed) fail_msg("%s", ctx->diags.at[0].message);
    for (int i = 0; i < n; i++) add_result(g, computed[i], NULL);
    tensor in[2] = { { DTYPE_f32, 2, { 4, 5 }, x }, { DTYPE_f32, 2, { 5, 2 }, y } }, out[5];
    eval_options options = { .fma = FMA_FUSED };
    if (eval_graph(ctx, a, g, NULL, in, out, &options))
        fail_msg("%s", ctx->diags.n ? ctx->diags.at[0].message : "failed");
    for (int i = 0; i < n; i++) {
        const void *p;
        int64_t count;
        assert_true(known_bytes(g, folded[i], &p, &count));
        assert_memory_equal(p, out[i].bytes, tensor_bytes(&out[i]));
    }
    mem_end(&ctx->mem, &f);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(folded_is_computed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
