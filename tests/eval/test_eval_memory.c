/* test_eval_memory: with the n-th allocation failing, for every n: parsing, verifying, printing and
 * evaluating a graph with bodies either works or comes back to mem_try, and everything is released. */
#include "backend/eval/eval.h"
#include "ir/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char source[] =
    "graph @g(%h: f32[4], %xs: f32[T, 4], %w: f32[4, 4]) {\n"
    "  %0, %1 = scan carry(%h) xs(%xs) use(%w) n T : f32[4], f32[T, 4] body(%h: f32[4], %x: f32[4], %w: "
    "f32[4, 4]) {\n"
    "    %0 = contract %h, %w, %x, [o | i] a[i] b[i, o] : f32[4]\n"
    "    %1 = map tanh %0 : f32[4]\n"
    "    return %1, %1\n"
    "  }\n"
    "  %2 = reduce max %1, [1] : f32[T]\n"
    "  %c = const [0.5, 1.5, nan, 2] : f32[4]\n"
    "  %3 = map add %0, %c : f32[4]\n"
    "  return %2, %3 as y\n"
    "}\n";

static bool everything(dlc_context *ctx)
{
    arena *a = arena_new(&ctx->mem);
    graph *g = graph_parse(ctx, a, "test", source, sizeof source - 1);
    if (!g || !graph_verify(g, "parse")) return false;
    text out = { .a = a };
    graph_print(g, &out);
    float h[4] = { 1, 2, 3, 4 }, xs[12] = { 0 }, w[16] = { 1 };
    tensor in[3] = { { DTYPE_f32, 1, { 4 }, h },
                     { DTYPE_f32, 2, { 3, 4 }, xs },
                     { DTYPE_f32, 2, { 4, 4 }, w } },
           result[2];
    int64_t symbols[4];
    eval_options o = { .fma = FMA_FUSED };
    return eval_bind(ctx, g, in, symbols) == DLC_OK &&
           eval_graph(ctx, a, g, symbols, in, result, &o) == DLC_OK;
}

static void every_allocation(void **state)
{
    (void)state;
    volatile bool done = false;
    int n = 1;
    for (; !done && n < 100000; n++) {
        dlc_context *ctx = context_new();
        mem_frame frame;
        size_t before = ctx->mem.live;
        ctx->mem.fail_at = ctx->mem.n_allocs + (uint64_t)n;
        if (mem_try(&ctx->mem, &frame)) {
            done = everything(ctx);
            assert_true(done);
            mem_end(&ctx->mem, &frame);
        } else {
            assert_true(ctx->mem.live >= before);
        }
        context_free(ctx);
    }
    assert_true(done && n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
