/* Diagnostics: format, escaping, cutting, statuses, and reports without memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/context.h"

static const char *shown(dlc_context *ctx, int i)
{
    text t = { .a = ctx->arena };
    diag_format(&t, &ctx->diags.at[i]);
    return text_str(&t);
}

static void places_and_hints(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    diag_build(ctx, (place){ .file = "m.onnx", .node = "conv\n1", .op = "Conv" },
               "expected 3 channels, found 4");
    assert_string_equal(shown(ctx, 0),
                        "m.onnx: error: node \"conv\\x0a1\" (Conv): expected 3 channels, found 4");
    diag_undefined_value(ctx, (place){ .file = "g.txt", .line = 3, .col = 7 }, "x");
    ctx->diags.at[1].source_line = "  %1 = map relu %x";
    assert_string_equal(
        shown(ctx, 1),
        "g.txt:3:7: error: %x is not defined above this line\n    %1 = map relu %x\n        ^\n"
        "  hint: define a value before its first use");
    diag_internal(ctx, (place){ 0 }, "a \"quoted\" \x01 byte");
    assert_string_equal(ctx->diags.at[2].message, "internal error: a \"quoted\" \\x01 byte");
    assert_int_equal(ctx->n_errors, 3);
    assert_int_equal(ctx->status, DLC_ERR_INPUT);              /* of the first */
    context_clear_diags(ctx);
    diag_internal(ctx, (place){ 0 }, "x");
    assert_int_equal(ctx->status, DLC_ERR_INTERNAL);
    context_free(ctx);
}

static void long_messages_and_many(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    char s[5000];
    memset(s, 'x', sizeof s - 1);
    s[sizeof s - 1] = '\0';
    for (int i = 0; i < 300; i++) diag_build(ctx, (place){ 0 }, s);
    assert_int_equal(ctx->n_errors, 300);
    assert_int_equal(ctx->diags.n, 100);
    assert_true(strlen(ctx->diags.at[0].message) <= 1010);
    context_free(ctx);
}

static void a_report_without_memory(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    diag_build(ctx, (place){ 0 }, "first");
    ctx->mem.fail_at = ctx->mem.n_allocs + 1;
    for (int i = 0; i < 50; i++) diag_build(ctx, (place){ 0 }, "no room for this");
    assert_true(ctx->diags.n >= 2);
    assert_string_equal(ctx->diags.at[0].message, "first");
    assert_string_equal(ctx->diags.at[1].message, "out of memory");
    assert_null(ctx->mem.frame);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_and_hints), cmocka_unit_test(long_messages_and_many),
        cmocka_unit_test(a_report_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
