/* test_gradient: the operator Gradient against derivatives worked out by hand: at the values themselves and
 * at others, by initializers (which must not be folded), by a value that equals another, of a gradient again;
 * and what it refuses.
 */
#include "backend/eval/eval.h"
#include "frontend/onnx/onnx.h"
#include "passes/grad.h"
#include "tests/frontend/onnx/model_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* The results, one number each, of a model over x = 3 (and z = 5), "; " between; or the first error. */
static const char *results_over(dlc_context *ctx, arena *a, const char *lines)
{
    onnx_options o = { .gradient = grad };
    graph *g = NULL;
    text t = { .a = a };
    float at[2] = { 3, 5 };
    tensor in[2] = { { .dtype = DTYPE_f32, .bytes = &at[0] }, { .dtype = DTYPE_f32, .bytes = &at[1] } },
           out[8];
    eval_options e = { 0 };
    if (onnx_import_bytes(ctx, a, "test.onnx", model_from_text(a, 17, lines), &o, &g) != DLC_OK)
        return ctx->diags.at[0].message;
    assert_true(graph_verify(g, "import"));
    if (eval_graph(ctx, a, g, NULL, in, out, &e) != DLC_OK) return "not run";
    for (int64_t i = 0; i < g->results.n; i++)
        text_printf(&t, "%s%g", i ? "; " : "", (double)*(float *)out[i].bytes);
    return text_str(&t);
}

static void check(const char *lines, const char *want)
{
    dlc_context *ctx = context_new();
    mem_frame frame;
    mem_frame_enter(&ctx->mem, &frame);
    if (setjmp(frame.jump)) fail_msg("out of memory");
    arena *a = arena_new(&ctx->mem);
    const char *got = results_over(ctx, a, lines);
    if (strncmp(got, want, strlen(want)) != 0) fail_msg("%s\n  want %s\n  got  %s", lines, want, got);
    mem_end(&ctx->mem, &frame);
    context_free(ctx);
}

#define XZ "in x f32\nin z f32\n"

static void where_they_are(void **state)
{
    (void)state;
    check(XZ "out dx\nout dz\ny = Mul x z\ndx dz = training:Gradient x z | xs=x;z y=y", "5; 3");
    check(XZ "out dx\ny = Mul x z\nw = Mul y x\ndx = training:Gradient x z | xs=x; zs=z; y=w", "30");
    check(XZ "out dx\ny = Mul z z\ndx = training:Gradient x | xs=x; y=y", "0");
}

static void by_values_inside(void **state)
{
    (void)state;
    check(XZ "out d\na = Mul x x\ny = Mul a z\nd = training:Gradient a | xs=a; y=y", "5");
    check(XZ
          "const w f32 [] = 4\nout d\nout y\nv = Mul w w\ny = Mul v x\nd = training:Gradient w | xs=w; y=y",
          "24; 48");
    /* i is x and yet another variable: only the second factor depends on it */
    check(XZ "out d\ni = Identity x\ny = Mul x i\nd = training:Gradient i | xs=i; y=y", "3");
}

static void elsewhere(void **state)
{
    (void)state;
    check(XZ "out d\ny = Mul x x\nd = training:Gradient z | xs=x; y=y", "10");
    check(XZ "out dx\nout dz\na = Add x z\ny = Mul x z\ndx dz = training:Gradient a a | xs=x;z y=y", "8; 8");
    check(XZ "out dx\ny = Mul x x\nw = Mul y z\ndx = training:Gradient x x | xs=x; zs=z; y=w", "18");
}

static void again(void **state)
{
    (void)state;
    check(
        XZ
        "out dd\na = Mul x x\ny = Mul a x\nd = training:Gradient x | xs=x; y=y\n"
        "dd = training:Gradient x | xs=x; y=d",
        "18");
}

static void refused(void **state)
{
    (void)state;
    check(XZ "out d\ny = Mul x x\nd = training:Gradient x | xs=q; y=y",
          "\"q\", which an attribute names, is neither");
    check(XZ "out d\ny = Mul x x\nd = training:Gradient x z | xs=x; y=y",
          "xs and zs name 1 values and xs 1, but there are 2 inputs");
    check(XZ "const c i64 [] = 1\nout d\ny = Mul x x\nd = training:Gradient x c | xs=x; zs=c; y=y",
          "\"c\" is not a tensor of floating point");
    check(
        XZ
        "in k bool\ngraph b\nout d\ny = Mul x x\nd = training:Gradient x | xs=x; y=y\nend\ngraph e\nout f\n"
        "f = Identity x\nend\nout o\no = If k | then_branch=@b else_branch=@e",
        "the condition, since a branch cannot be built (the operator in a body or function is not "
        "implemented)");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(where_they_are), cmocka_unit_test(by_values_inside),
                                        cmocka_unit_test(elsewhere), cmocka_unit_test(again),
                                        cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
