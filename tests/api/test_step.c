/* test_step: a training step in the hands of the caller: variables by path, batches, losses, and what is
 * refused */
#include "include/dlc/dlc.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static dlc_context *ctx;

static dlc_step *open_step(const char *path)
{
    dlc_step *s = NULL;
    dlc_status st = dlc_step_open(ctx, path, NULL, NULL, &s);
    if (st == DLC_ERR_UNSUPPORTED) skip();               /* built without LLVM */
    if (st != DLC_OK) fail_msg("%s", dlc_diag_text(ctx, 0));
    return s;
}

static void set(dlc_step *s, const char *path, const float *v)
{
    for (size_t i = 0; i < dlc_step_n_variables(s); i++) {
        if (strcmp(dlc_step_variable_name(s, i), path) != 0) continue;
        dlc_tensor t = dlc_step_variable(s, i);
        size_t n = 1;
        for (int k = 0; k < t.rank; k++) n *= (size_t)t.dims[k];
        memcpy(t.data, v, n * sizeof *v);
        return;
    }
    fail_msg("no variable %s", path);
}

static float x[4][2] = { { 0, 0 }, { 0, 1 }, { 1, 0 }, { 1, 1 } }, y[4] = { 0, 1, 1, 0 };

static void start_xor(dlc_step *s)
{
    static const float w1[8] = { .5f, -.4f, .9f, .3f, -.7f, .8f, -.2f, .6f }, w2[4] = { .4f, -.9f, .7f, .5f };
    set(s, "fit.Net.w1", w1);
    set(s, "fit.Net.w2", w2);
}

/* So many steps in one call give what single ones give, and the losses fall. */
static void xor_steps(void **state)
{
    (void)state;
    dlc_step *a = open_step("tests/bench/train/xor.dl"), *b = open_step("tests/bench/train/xor.dl");
    dlc_tensor batch[2 * 64];
    double many[64], one[64];
    start_xor(a);
    start_xor(b);
    assert_int_equal(dlc_step_n_inputs(a), 2);
    assert_string_equal(dlc_step_input_name(a, 0), "d.x");
    assert_null(dlc_step_input_name(a, 2));
    assert_int_equal(dlc_step_n_losses(a), 1);
    assert_string_equal(dlc_step_loss_name(a, 0), "loss");
    for (int k = 0; k < 64; k++) {
        batch[2 * k] = dlc_step_input(a, 0);
        batch[2 * k + 1] = dlc_step_input(a, 1);
        batch[2 * k].data = x;
        batch[2 * k + 1].data = y;
    }
    assert_int_equal(dlc_step_run(ctx, a, batch, 63, many, NULL), DLC_OK);
    for (int k = 0; k < 63; k++) assert_int_equal(dlc_step_run(ctx, b, batch, 1, &one[k], NULL), DLC_OK);
    assert_memory_equal(many, one, 63 * sizeof *many);
    for (size_t i = 0; i < dlc_step_n_variables(a); i++)
        assert_memory_equal(dlc_step_variable(a, i).data, dlc_step_variable(b, i).data, 4);
    for (int k = 0; k < 40; k++) assert_int_equal(dlc_step_run(ctx, a, batch, 64, many, NULL), DLC_OK);
    assert_true(many[63] < 0.02 && many[63] < one[0]);
    dlc_step_close(a);
    dlc_step_close(b);
}

static void refused(void **state)
{
    (void)state;
    dlc_step *s = open_step("tests/bench/train/xor.dl"), *none;
    dlc_tensor batch[2] = { dlc_step_input(s, 0), dlc_step_input(s, 1) };
    batch[0].data = x;
    batch[1].data = y;
    batch[0].dims[0] = 3;
    assert_int_equal(dlc_step_run(ctx, s, batch, 1, NULL, NULL), DLC_ERR_SHAPE);
    assert_non_null(strstr(dlc_diag_text(ctx, 0), "d.x"));
    batch[0].dims[0] = 4;
    batch[1].dtype = DLC_F64;
    assert_int_equal(dlc_step_run(ctx, s, batch, 1, NULL, NULL), DLC_ERR_DTYPE);
    batch[1].dtype = 99;
    assert_int_equal(dlc_step_run(ctx, s, batch, 1, NULL, NULL), DLC_ERR_DTYPE);
    dlc_step_close(s);
    dlc_step_close(NULL);
    assert_int_not_equal(dlc_step_open(ctx, "tests/bench/train/xor.dl", "other", NULL, &none), DLC_OK);
    assert_null(none);
}

/* By the interpreters, too: the same losses, and weights that stay where they are. */
static void interpreted(void **state)
{
    (void)state;
    static const char *const ways[][2] = { { "backend=jit", NULL },
                                           { "backend=eval", NULL },
                                           { "backend=loop", NULL } };
    double losses[3][8];
    float w[3][8];
    for (int k = 0; k < 3; k++) {
        dlc_step *s;
        assert_int_equal(dlc_step_open(ctx, "tests/bench/train/xor.dl", NULL, ways[k], &s), DLC_OK);
        start_xor(s);
        dlc_tensor batch[2] = { dlc_step_input(s, 0), dlc_step_input(s, 1) };
        batch[0].data = x;
        batch[1].data = y;
        const float *w1 = NULL;
        for (size_t i = 0; i < dlc_step_n_variables(s); i++)
            if (strcmp(dlc_step_variable_name(s, i), "fit.Net.w1") == 0) w1 = dlc_step_variable(s, i).data;
        assert_non_null(w1);
        for (int i = 0; i < 8; i++)
            assert_int_equal(dlc_step_run(ctx, s, batch, 1, &losses[k][i], NULL), DLC_OK);
        memcpy(w[k], w1, sizeof w[k]);
        dlc_step_close(s);
    }
    assert_memory_equal(losses[0], losses[2], sizeof *losses);
    assert_memory_equal(w[0], w[2], sizeof *w);
    for (int i = 0; i < 8; i++)
        assert_true(losses[0][i] - losses[1][i] < 1e-5 && losses[1][i] - losses[0][i] < 1e-5);
    for (int i = 0; i < 8; i++) assert_true(w[0][i] - w[1][i] < 1e-5f && w[1][i] - w[0][i] < 1e-5f);
}

static void constants(void **state)
{
    (void)state;
    dlc_step *s = open_step("tests/train/constants.dl");
    assert_int_equal(dlc_step_n_inputs(s), 2);
    static const float w[2] = { 1, -1 };
    set(s, "fit.Line.w", w);
    dlc_tensor batch[2] = { dlc_step_input(s, 0), dlc_step_input(s, 1) };
    batch[0].data = x;
    batch[1].data = y;
    double loss;
    assert_int_equal(dlc_step_run(ctx, s, batch, 1, &loss, NULL), DLC_OK);
    /* 0.5, -1.5, 2.5, 0.5 against 0, 1, 1, 0 */
    assert_true(loss == (0.25 + 2.5 * 2.5 + 1.5 * 1.5 + 0.25) / 4);
    dlc_step_close(s);
}

static int begin(void **state) { (void)state; ctx = dlc_context_create(); return 0; }
static int end(void **state) { (void)state; dlc_context_destroy(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(xor_steps), cmocka_unit_test(refused),
                                        cmocka_unit_test(interpreted), cmocka_unit_test(constants) };
    return cmocka_run_group_tests(tests, begin, end);
}
