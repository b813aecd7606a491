/* test_step_files: training steps as artifacts: the same bits by JIT, library and C, on any number of threads, whole and in halves; and what
 * `dlc train` gives. */
#include "api/train.h"
#include "tests/support/step_run.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { STEPS = 100 };

static void check(const char *file, const char *name, bool is_rounded)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    double losses[STEPS];
    assert_int_equal(step_bits(ctx, a, file, name, STEPS, is_rounded, losses), 0);
    assert_true(losses[STEPS - 1] < losses[0]);
    arena_free(a);
    context_free(ctx);
}

static void same_bits(void **state)
{
    (void)state;
    check("examples/xor.dl", NULL, false);
    check("examples/logistic.dl", NULL, true);
    check("tests/lang/step.dl", "fit", false);
    check("examples/digits/digits.onnx", NULL, false);
}

/* The artifact's states after the block's steps are the values that `dlc train` ends with. */
static void as_trained(void **state)
{
    (void)state;
    static const char *const blocks[] = { "fit", "guarded" };
    for (int k = 0; k < 2; k++) {
        dlc_context *ctx = context_new();
        arena *a = arena_new(&ctx->mem);
        driver_options o = driver_defaults();
        o.train = blocks[k];
        training t;
        program *p;
        loaded_code *code;
        const dlc_model *m;
        lang_training trained;
        tensor *values;
        train_events none = { 0 };
        assert_int_equal(training_open(ctx, a, "tests/lang/step.dl", &o, true, &t), DLC_OK);
        assert_int_equal(training_programs(ctx, a, "tests/lang/step.dl", &o, &p), DLC_OK);
        assert_int_equal(driver_load(ctx, p, &o, &code, &m), DLC_OK);
        assert_int_equal(train_file(ctx, a, "tests/lang/step.dl", blocks[k], &o, ENGINE_jit, (dlc_run_hook){ NULL, NULL }, &none, &trained, &values), DLC_OK);
        const char *states = step_run(a, m, &t.t, trained.steps, 1, false, NULL);
        assert_int_equal(trained.n_vars + 1, t.t.n_vars);           /* and the number of steps */
        for (int i = 0; i < trained.n_vars; i++) {
            assert_string_equal(trained.vars[i].path, t.rows[i].name);
            assert_memory_equal(values[i].bytes, states + t.rows[i].offset, t.rows[i].bytes);
        }
        assert_int_equal(*(const int64_t *)(states + t.rows[trained.n_vars].offset), trained.steps);
        driver_unload(code);
        arena_free(a);
        context_free(ctx);
    }
}

/* An ONNX model: a pattern chooses what is trained; statistics of normalizations stay, and a note says so. */
static void of_onnx(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    training t;
    program *p;
    loaded_code *code;
    const dlc_model *m;
    o.train = "";
    o.loss = "mse";
    o.optimizer = "gradientdescent(0.1)";
    o.params = "w1*";
    assert_int_equal(training_open(ctx, a, "tests/models/convnet.onnx", &o, false, &t), DLC_OK);
    assert_string_equal(ctx->diags.at[ctx->diags.n - 1].id, "onnx_statistics");
    assert_int_equal(training_programs(ctx, a, "tests/models/convnet.onnx", &o, &p), DLC_OK);
    assert_int_equal(driver_load(ctx, p, &o, &code, &m), DLC_OK);
    const char *before = step_run(a, m, &t.t, 0, 1, false, NULL), *after = step_run(a, m, &t.t, 3, 1, false, NULL);
    int n_changed = 0;
    for (int i = 0; i + 1 < t.t.n_vars; i++) {
        const state_row *r = &t.rows[i];
        bool has_changed = memcmp(before + r->offset, after + r->offset, (size_t)r->bytes) != 0;
        assert_int_equal(has_changed, r->is_trained);
        assert_true(!has_changed || strncmp(r->name, "Net.w1", 6) == 0);
        n_changed += has_changed;
    }
    assert_int_equal(n_changed, 5);                              /* w1, w11, w13, w17, w19; w12, w14 are statistics */
    driver_unload(code);
    arena_free(a);
    context_free(ctx);
}

/* By the statistics of the batch: they move on in the first half, and evaluation goes by them. */
static void by_batch(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    training t;
    program *p;
    loaded_code *code;
    const dlc_model *m;
    double whole[20], halves[20];
    o.train = "";
    o.loss = "mse";
    o.optimizer = "adam(0.01)";
    o.lang.by_batch = true;
    assert_int_equal(training_open(ctx, a, "tests/models/convnet.onnx", &o, false, &t), DLC_OK);
    assert_int_equal(ctx->diags.n, 0);
    assert_int_equal(t.t.n_early, 6);                             /* three means, three variances */
    assert_int_equal(training_programs(ctx, a, "tests/models/convnet.onnx", &o, &p), DLC_OK);
    assert_int_equal(driver_load(ctx, p, &o, &code, &m), DLC_OK);
    const char *before = step_run(a, m, &t.t, 0, 1, false, NULL), *after = step_run(a, m, &t.t, 20, 1, false, whole), *again = step_run(a, m, &t.t, 20, 1, true, halves);
    for (int i = 0; i < t.t.n_vars; i++) {
        const state_row *r = &t.rows[i];
        assert_memory_equal(after + r->offset, again + r->offset, r->bytes);
        assert_true(memcmp(before + r->offset, after + r->offset, (size_t)r->bytes) != 0);
    }
    assert_memory_equal(whole, halves, sizeof whole);
    assert_true(whole[19] < whole[0]);
    driver_unload(code);
    arena_free(a);
    context_free(ctx);
}

/* --guard: a batch that makes gradients infinite leaves every state as it was; any other one changes what it would without. */
static void guarded(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    void *end[2];
    training t;
    const dlc_model *m = NULL;
    loaded_code *code[2];
    for (int guard = 0; guard < 2; guard++) {
        driver_options o = driver_defaults();
        program *p;
        o.train = "guarded";
        o.lang.guard = guard;
        assert_int_equal(training_open(ctx, a, "tests/lang/step.dl", &o, true, &t), DLC_OK);
        assert_int_equal(training_programs(ctx, a, "tests/lang/step.dl", &o, &p), DLC_OK);
        assert_int_equal(driver_load(ctx, p, &o, &code[guard], &m), DLC_OK);
        end[guard] = step_run(a, m, &t.t, 20, 1, guard, NULL);
    }
    for (int i = 0; i < t.t.n_vars; i++)
        assert_memory_equal((char *)end[0] + t.rows[i].offset, (char *)end[1] + t.rows[i].offset, t.rows[i].bytes);
    char *before = arena_copy(a, end[1], (size_t)m->states_bytes);
    lang_data *d = t.t.data[0];
    float x = INFINITY;
    for (int64_t i = 0; i < tensor_n(&d->t[0]); i++) memcpy((char *)d->t[0].bytes + 4 * i, &x, 4);
    step_go_on(a, m, &t.t, 2, end[1]);
    for (int i = 0; i < t.t.n_vars; i++)
        assert_memory_equal(before + t.rows[i].offset, (char *)end[1] + t.rows[i].offset, t.rows[i].bytes);
    for (int k = 0; k < 2; k++) driver_unload(code[k]);
    arena_free(a);
    context_free(ctx);
}

int main(void)
{
    dlc_context *ctx = context_new();
    bool has_llvm = driver_llvm(ctx) != NULL;
    context_free(ctx);
    if (!has_llvm) return 77;
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(as_trained), cmocka_unit_test(guarded), cmocka_unit_test(of_onnx), cmocka_unit_test(by_batch) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
