/* test_train_slow: the longer programs of test_train.c */
#include "api/driver.h"
#include "tests/support/golden_curve.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void curves(void **state)
{
    (void)state;
    static const char *const names[] = {
        "ctc", "lstm_classifier", "seq2seq", "transformer_lm", "unet", "cifar_cnn"
    };
    int ok = 0, n = sizeof names / sizeof *names;
    for (int i = 0; i < n; i++) ok += golden_curve(names[i], 1e-2);
    assert_int_equal(ok, n);
}

int main(void)
{
    dlc_context *ctx = context_new();
    bool has_llvm = driver_llvm(ctx) != NULL;
    context_free(ctx);
    if (!has_llvm) return 77;
    const struct CMUnitTest tests[] = { cmocka_unit_test(curves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
