/* test_train: programs trained as dlc train does, against golden curves (data drawn, or in examples/)
 *
 * The curves come from a reference implementation in single precision; the bound is the one of their first
 * ten steps. */
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
        "linear", "logistic", "xor", "gan", "gru_sequence", "fewshot", "iris", "custom_op"
    };
    int ok = 0, n = sizeof names / sizeof *names;
    for (int i = 0; i < n; i++) ok += golden_curve(names[i], 1e-4);
    assert_int_equal(ok, n);
}

static void permutation(void **state)
{
    (void)state;
    int64_t p[100];
    bool there[100] = { false };
    lang_permutation(100, "fit.d.shuffle", 1, 3, p);
    for (int i = 0; i < 100; i++) {
        assert_in_range(p[i], 0, 99);
        assert_false(there[p[i]]);
        there[p[i]] = true;
    }
}

int main(void)
{
    dlc_context *ctx = context_new();
    bool has_llvm = driver_llvm(ctx) != NULL;
    context_free(ctx);
    if (!has_llvm) return 77;
    const struct CMUnitTest tests[] = { cmocka_unit_test(curves), cmocka_unit_test(permutation) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
