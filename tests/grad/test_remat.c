/* test_remat: a training graph within budgets of memory: the same bits, a plan that holds, more calls the
 * less there is; and the smallest budget is named when it is too small. */
#include "api/driver.h"
#include "passes/grad.h"
#include "tests/support/bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { LAYERS = 24 };

/* x -> tanh(x w) + x, LAYERS times; the loss, and its gradients by all w. */
static graph *chain(bench *b)
{
    graph *g = graph_new(b->ctx, b->a, dims_new(b->ctx, b->a), "chain");
    dim rows[2] = { dim_const(32), dim_const(16) }, square[2] = { dim_const(16), dim_const(16) };
    value x = input(g, "x", DTYPE_f32, 2, rows), w[LAYERS], d[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        w[i] = input(g, arena_printf(b->a, "w%d", i), DTYPE_f32, 2, square);
        x = add(g, un(g, SCALAR_tanh, matmul(g, x, w[i], DTYPE_NONE, DTYPE_NONE)), x);
    }
    value loss = reduce(g, REDUCE_sum, mul(g, x, x), 3, false);
    assert_true(grad(g, loss, LAYERS, w, d));
    add_result(g, loss, "loss");
    for (int i = 0; i < LAYERS; i++) add_result(g, d[i], arena_printf(b->a, "d%d", i));
    return g;
}

typedef struct { bench b; program *p; tensor out[LAYERS + 1]; dlc_status status; int64_t calls; } result;

static result run(int64_t memory)
{
    result r = { .b = bench_new() };
    bench b = r.b;
    graph *g = chain(&b);
    driver_options o = driver_defaults();
    o.verify = true;
    o.memory = memory;
    r.status = driver_passes(b.ctx, &o, &g);
    if (r.status == DLC_OK) r.status = driver_lower(b.ctx, &o, g, &r.p);
    if (r.status == DLC_OK) {
        r.calls = r.p->body.n;
        tensor in[LAYERS + 1];
        b.seed = 7;
        for (int i = 0; i <= LAYERS; i++) {
            in[i] = bench_random(&b, DTYPE_f32, 2, i ? (int64_t[]){ 16, 16 } : (int64_t[]){ 32, 16 });
            for (int64_t k = 0; k < tensor_n(&in[i]); k++) ((float *)in[i].bytes)[k] /= 64;
        }
        assert_int_equal(driver_eval(b.ctx, b.a, r.p, NULL, in, r.out), DLC_OK);
        assert_true(memory == 0 || r.p->workspace_bytes <= memory);
    }
    if (r.status != DLC_OK) assert_string_equal(b.ctx->diags.at[0].id, "memory_budget");
    return r;
}

static void budgets(void **state)
{
    (void)state;
    result whole = run(0);
    int64_t bytes_all = whole.p->workspace_bytes, calls = whole.calls;
    for (int percent = 80; percent >= 60; percent -= 20) {
        result r = run(bytes_all * percent / 100);
        assert_int_equal(r.status, DLC_OK);
        assert_true(r.calls > calls);
        for (int i = 0; i <= LAYERS; i++) assert_true(bench_equal(&whole.out[i], &r.out[i]));
        print_message("%lld bytes of %lld: %lld calls, %lld without a budget\n",
                      (long long)r.p->workspace_bytes, (long long)bytes_all, (long long)r.calls,
                      (long long)whole.calls);
        calls = r.calls;
        bench_free(&r.b);
    }
    result tiny = run(1024);
    assert_int_equal(tiny.status, DLC_ERR_UNSUPPORTED);
    bench_free(&tiny.b);
    bench_free(&whole.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(budgets) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
