/* test_lang_ops: operators that a program defines, in ONNX models: values, attributes, several results, and
 * what is told when a definition does not fit the node that calls it.
 */
#include "api/driver.h"
#include "backend/eval/eval.h"
#include "tests/frontend/onnx/model_text.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static const char *const programs[] = { "tests/lang/operators.dl" };

static void put_file(const char *path, bytes b)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.at, 1, b.n, f), b.n);
    fclose(f);
}

/* The results over x = [[1, -2], [3, 4]], or the first error. */
static const char *results_over(dlc_context *ctx, arena *a, const char *path, int n_ops)
{
    driver_options o = driver_defaults();
    o.n_ops = n_ops;
    o.ops = programs;
    graph *g = NULL;
    if (driver_import(ctx, a, path, &o, &g) != DLC_OK) return ctx->diags.at[0].message;
    float x[4] = { 1, -2, 3, 4 };
    tensor in = { .dtype = DTYPE_f32, .rank = 2, .dims = { 2, 2 }, .bytes = x }, out[4];
    eval_options e = { 0 };
    text t = { .a = a };
    assert_true(graph_verify(g, "import"));
    assert_int_equal(eval_graph(ctx, a, g, NULL, &in, out, &e), DLC_OK);
    for (int64_t i = 0; i < g->results.n; i++)
        for (int64_t k = 0; k < tensor_n(&out[i]); k++)
            text_printf(&t, "%.4f ", (double)((float *)out[i].bytes)[k]);
    return text_str(&t);
}

static void check(const char *lines, int n_ops, const char *want)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    char path[] = "/tmp/dlc_ops_XXXXXX.onnx";
    int f = mkstemps(path, 5);
    assert_true(f >= 0);
    close(f);
    put_file(path, model_from_text(a, 17, lines));
    const char *got = results_over(ctx, a, path, n_ops);
    unlink(path);
    if (strncmp(got, want, strlen(want)) != 0) fail_msg("%s\n  want %s\n  got  %s", lines, want, got);
    context_free(ctx);
}

static void values(void **state)
{
    (void)state;
    check("in x f32 2 2\nout y\ny = example:Swish x", 1, "0.7311 -0.2384 2.8577 3.9281 ");
    check("in x f32 2 2\nout y\ny = example:Swish x | beta=1.5", 1, "0.8176 -0.0949 2.9670 3.9901 ");
    check("in x f32 2 2\nconst k f32 [] = 2\nout a\nout b\na b = example:Halves x k", 1,
          "2.0000 -4.0000 3.0000 4.0000 ");
    check("in x f32 2 2\nout a\na = example:Halves x _ | axis=0", 1, "1.0000 -2.0000 ");
    check("in x f32 2 2\nout y\ny d = Identity x\nz = Relu y", 1, "takes");   /* others are checked as ever */
}

static void refused(void **state)
{
    (void)state;
    check("in x f32 2 2\nout y\ny = example:Swish x", 0,
          "operator com.example.Swish belongs to a domain that is not known");
    check("in x f32 2 2\nout y\ny = example:Swish x | gamma=1", 1,
          "operator `com.example.Swish` has no argument `gamma`");
    check("in x f32 2 2\nout y\ny = example:Swish x x", 1,
          "operator `com.example.Swish` takes 1 argument, found 2");
    check("in x f32 2 2\nout y\nout z\ny z = example:Swish x", 1,
          "operator `com.example.Swish` gives 1 value, a model takes 2 of it");
}

/* The node that called is named by a note. */
static void names_the_node(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    const char *path = "/tmp/dlc_ops_note.onnx";
    put_file(path, model_from_text(a, 17, "in x f32 2 2\nout y\ny = example:Swish x | gamma=1"));
    results_over(ctx, a, path, 1);
    unlink(path);
    assert_int_equal(ctx->diags.n, 2);
    assert_string_equal(ctx->diags.at[0].at.file, "tests/lang/operators.dl");
    assert_int_equal(ctx->diags.at[0].at.line, 2);
    assert_string_equal(ctx->diags.at[1].id, "onnx_called_by");
    assert_int_equal(ctx->diags.at[1].severity, DIAG_NOTE);
    assert_string_equal(ctx->diags.at[1].at.node, "y");
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(refused),
                                        cmocka_unit_test(names_the_node) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
