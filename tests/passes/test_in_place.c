/* kernel_in_place: which outputs may overwrite which inputs; and that plan_check does not believe a plan that
 * says so. */
#include "ir/apart.h"
#include "passes/pipeline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef struct { const char *name; bool may; const char *text; } row;

static const row rows[] = {
    { "each element in its turn", true,
      "kernel @k(x: f32[8] in, y: f32[8] out) { for i in 0..8 { y[i] = relu(x[i]) } }" },
    { "dims that multiply to the same", true,
      "kernel @k(x: f32[2, 4] in, y: f32[8] out) { for i in 0..2, j in 0..4 { y[4*i + j] = relu(x[i, j]) } "
      "}" },
    { "backwards", false, "kernel @k(x: f32[8] in, y: f32[8] out) { for i in 0..8 { y[i] = x[7 - i] } }" },
    { "a transpose", false,
      "kernel @k(x: f32[4, 4] in, y: f32[4, 4] out) { for i in 0..4, j in 0..4 { y[i, j] = x[j, i] } }" },
    { "the neighbour", false,
      "kernel @k(x: f32[9] in, y: f32[9] out) { for i in 0..8 { y[i] = x[i + 1] } }" },
    { "rows, read whole before they are stored", true,
      "kernel @k(x: f32[4, 8] in, y: f32[4, 8] out) row { for i in 0..4 { reg s: f32[] = 0 for l in 0..8 { "
      "s[] = s[] + x[i, l] }"
      " for l in 0..8 { y[i, l] = x[i, l] / s[] } } }" },
    { "a row that is read after a part of it is stored", false,
      "kernel @k(x: f32[4, 8] in, y: f32[4, 8] out) row { for i in 0..4 { for l in 0..8 { reg s: f32[] = 0 "
      "for m in 0..8 { s[] = s[] + x[i, m] }"
      " y[i, l] = x[i, l] / s[] } } }" },
    { "read again after the store", false,
      "kernel @k(x: f32[8] in, y: f32[8] out) { for i in 0..8 { y[i] = relu(x[i]) y[i] = x[i] } }" },
    { "tiles, and a tail behind them", true,
      "kernel @k(x: f32[20] in, y: f32[20] out) { for o in 0..2 { vector for i in 0..8 { y[8*o + i] = "
      "relu(x[8*o + i]) } }"
      " for t in 0..4 { y[t + 16] = relu(x[t + 16]) } }" },
    { "a tail that reads what was stored", false,
      "kernel @k(x: f32[20] in, y: f32[20] out) { for i in 0..16 { y[i] = relu(x[i]) } for t in 0..4 { y[t + "
      "16] = relu(x[t + 15]) } }" },
    { "a residual behind a sum", true,
      "kernel @k(a: f32[4, 8] in, w: f32[8, 4] const, x: f32[4, 4] in, y: f32[4, 4] out) contract { parallel "
      "for n in 0..4 { for o in 0..4 {"
      " reg s: f32[] = 0 for i in 0..8 { s[] = fma(a[n, i], w[i, o], s[]) } y[n, o] = s[] + x[n, o] } } }" },
    { "partial sums that rest in the result", false,
      "kernel @k(a: f32[4, 8] in, w: f32[8, 4] const, x: f32[4, 4] in, y: f32[4, 4] out) contract { for c in "
      "0..2, n in 0..4, o in 0..4 {"
      " reg s: f32[] = y[n, o] for i in 0..4 { s[] = fma(a[n, 4*c + i], w[4*c + i, o], s[]) } if c < 1 { "
      "y[n, o] = s[] } else {"
      " y[n, o] = s[] + x[n, o] } } }" },
    { "an index that is data", false,
      "kernel @k(p: i64[8] in, x: f32[8] in, y: f32[8] out) { for i in 0..8 { y[i] = x[p[i]] } }" },
    { "another type", false,
      "kernel @k(x: f32[8] in, y: i32[8] out) { for i in 0..8 { y[i] = i32(x[i]) } }" },
    { "it says itself that it does not", false,
      "kernel @k(x: f32[8] in, y: f32[8] out) writes_early { for i in 0..8 { y[i] = relu(x[i]) } }" },
    { "open sizes", true,
      "kernel @k(x: f32[N, M] in, y: f32[N, M] out) { for i in 0..N, j in 0..M { y[i, j] = relu(x[i, j]) } "
      "}" },
};

static int param(const kernel_code *k, const char *name)
{
    for (int i = 0; i < k->n_params; i++)
        if (!strcmp(k->bufs.at[i].name, name)) return i;
    return -1;
}

static void the_proof(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dlc_context *ctx = context_new();
        dims *d = dims_new(ctx, ctx->arena);
        kernel_code *k = kernel_parse(ctx, ctx->arena, d, "test", rows[i].text, strlen(rows[i].text));
        if (!k) fail_msg("%s does not parse", rows[i].name);
        if (kernel_in_place(k, param(k, "x"), param(k, "y")) != rows[i].may)
            fail_msg("%s: should be %s", rows[i].name, rows[i].may ? "proved" : "refused");
        context_free(ctx);
    }
}

static bool check(const char *src)
{
    dlc_context *ctx = context_new();
    program *p = program_parse(ctx, ctx->arena, "test", src, strlen(src));
    if (!p || !program_verify(p, "test")) fail_msg("not a program: %s", src);
    bool ok = plan_check(p);
    context_free(ctx);
    return ok;
}

#define PROGRAM(index, place) \
    "kernel @k(x: f32[8] in, y: f32[8] out) { for i in 0..8 { y[i] = x[" index "] } }" \
    "program @p workspace 64 least 64 { input a: f32[8] output b: f32[8] " \
    "temp t: f32[8] at 0 temp u: f32[8] " place \
    " call @k(a, t) call @k(t, u) call @k(u, b) }"

static void the_checker(void **state)
{
    (void)state;
    assert_true(check(PROGRAM("i", "in t")));
    assert_true(check(PROGRAM("i", "at 0")));
    assert_false(check(PROGRAM("7 - i", "in t")));
    assert_false(check(PROGRAM("7 - i", "at 0")));
    assert_false(check(PROGRAM("i", "at 16")));
    assert_true(check(PROGRAM("7 - i", "at 32")));
}

static void no_buffer_in_itself(void **state)
{
    (void)state;
    static const char *const wrong[] = { "temp t: f32[4] in t + 0", "temp t: f32[4] in t", "temp t: f32[4] in u temp u: f32[4] in t + 0" };
    for (int i = 0; i < 3; i++) {
        dlc_context *ctx = context_new();
        const char *src = arena_printf(ctx->arena, "program @p { %s }", wrong[i]);
        assert_null(program_parse(ctx, ctx->arena, "test", src, strlen(src)));
        context_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_proof), cmocka_unit_test(the_checker), cmocka_unit_test(no_buffer_in_itself) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
