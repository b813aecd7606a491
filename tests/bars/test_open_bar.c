/* test_open_bar: one library for every size: the attention model with batch and length open, at several
 * (batch, length), each against the graph interpreted at those sizes after the same passes. Also right on two
 * threads. */
#include "tests/bars/bar_model.h"
#include "backend/eval/eval.h"

static const char model[] = "tests/models/attention.onnx";
static const int64_t sizes[][2] = { { 1, 1 },  { 1, 128 }, { 3, 77 }, { 2, 15 },
                                    { 5, 16 }, { 7, 17 },  { 1, 2 },  { 16, 1 } };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void one_library(bar *b, void *arg)
{
    engine_kind kind = *(engine_kind *)arg;
    engine *e;
    graph *g;
    int threads;
    driver_options o = driver_defaults();
    o.verify = true;
    bar_check(b, model, engine_open(b->ctx, b->a, model, &o, kind, &e));
    bar_check(b, model, driver_import(b->ctx, b->a, model, &o, &g));
    bar_check(b, model, driver_passes(b->ctx, &o, &g));
    dlc_run_hook two = engine_threads(b->a, 2, &threads);
    for (int i = 0; i < N_SIZES; i++) {
        arena *a = arena_new(&b->ctx->mem);
        const char *what = arena_printf(b->a, "%s at (%lld, %lld)", engine_name[kind], (long long)sizes[i][0],
                                        (long long)sizes[i][1]);
        tensor *in = bar_inputs(b, e, (uint64_t)i + 1, false, sizes[i]), got[2], want[2];
        int64_t *symbols = NEW_ARRAY(a, int64_t, dims_n_symbols(g->dims) + 1);
        eval_options eo = { .fma = o.fma };
        bar_check(b, what, eval_bind(b->ctx, g, in, symbols));
        bar_check(b, what, eval_graph(b->ctx, a, g, symbols, in, want, &eo));
        bar_check(b, what, engine_run(b->ctx, a, e, in, got, i % 2 ? &two : NULL));
        assert_int_equal(got[0].dims[0], sizes[i][0]);
        assert_int_equal(got[0].dims[1], sizes[i][1]);
        bar_same(b, what, 2, got, want);
        arena_free(a);
    }
    /* sizes that contradict each other, or leave the bounds, are refused */
    tensor *in = bar_inputs(b, e, 1, false, sizes[2]), got[2];
    in[1].dims[1]--;
    assert_int_equal(engine_run(b->ctx, b->a, e, in, got, NULL), DLC_ERR_SHAPE);
}

static void test(void **state) { bar_with(one_library, *state); }

int main(void)
{
    static engine_kind kinds[] = { ENGINE_loop, ENGINE_jit, ENGINE_so };
    const struct CMUnitTest tests[] = {
        { "interpreter of loops", test, NULL, NULL, &kinds[0] },
        { "JIT", test, NULL, NULL, &kinds[1] },
        { "shared library", test, NULL, NULL, &kinds[2] },
    };
    return _cmocka_run_group_tests("open sizes", tests, bar_has_llvm() ? 3 : 1, NULL, NULL);
}
