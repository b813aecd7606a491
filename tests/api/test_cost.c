/* cost_of: operations and bytes of kernels whose counts are known */
#include "api/cost.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static kernel_cost cost_of_text(const char *source)
{
    dlc_context *ctx = context_new();
    dims *d = dims_new(ctx, ctx->arena);
    const kernel_code *k = kernel_parse(ctx, ctx->arena, d, "test", source, strlen(source));
    assert_non_null(k);
    kernel_cost c = cost_of(ctx, k, NULL);
    context_free(ctx);
    return c;
}

static void dense(void **state)
{
    (void)state;
    kernel_cost c = cost_of_text(
        "kernel @dense(x: f32[4, 784] in, w: f32[784, 128] const, b: f32[128] const, y: f32[4, 128] out) {\n"
        "  parallel for n in 0..4 { for o in 0..128 {\n"
        "    reg acc: f32[] = b[o]\n"
        "    for i in 0..784 { acc[] = fma(x[n, i], w[i, o], acc[]) }\n"
        "    y[n, o] = relu(acc[])\n"
        "  } }\n}\n");
    assert_true(c.flops == 2.0 * 4 * 128 * 784 + 4 * 128);
    assert_true(c.bytes == 4.0 * (4 * 784 + 784 * 128 + 128 + 4 * 128));
}

/* Taps outside are not walked: 3 of each row of 8, but 2 at both ends. */
static void borders(void **state)
{
    (void)state;
    kernel_cost c = cost_of_text(
        "kernel @taps(x: f32[8] in, y: f32[8] out) {\n"
        "  for o in 0..8 {\n"
        "    reg acc: f32[] = 0\n"
        "    for k in max(1 - o, 0)..min(9 - o, 3) { acc[] = acc[] + x[o + k - 1] }\n"
        "    y[o] = acc[]\n"
        "  }\n}\n");
    assert_true(c.flops == 3 * 8 - 2);
    assert_true(c.bytes == 4.0 * (8 + 8));
}

static void branches(void **state)
{
    (void)state;
    kernel_cost c = cost_of_text(
        "kernel @halves(x: f32[10] in, table: f32[1000] in, at: i64[10] in, y: f32[10] out) {\n"
        "  for i in 0..10 {\n"
        "    if (i < 3) { y[i] = x[i] + x[i] + x[i] } else { y[i] = exp(table[at[i]]) }\n"
        "  }\n}\n");
    assert_true(c.flops == 3 * 2 + 7);
    assert_true(c.bytes == 4.0 * (9 + 7 + 10) + 8 * 7);                /* of the table what is read */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(dense), cmocka_unit_test(borders),
                                        cmocka_unit_test(branches) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
