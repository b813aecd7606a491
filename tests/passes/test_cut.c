/* A kernel of 200 nests is cut in pieces, which give what the whole gave. */
#include "backend/eval/eval_loop.h"
#include "passes/pipeline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { PARTS = 200 };

static program *make(dlc_context *ctx, arena *a)
{
    text t = { .a = a };
    text_put(&t, "kernel @k(");
    for (int i = 0; i < PARTS; i++) text_printf(&t, "x%d: f32[2] in, ", i);
    text_printf(&t, "y: f32[%d, 2] out) {\n", PARTS);
    for (int i = 0; i < PARTS; i++)
        text_printf(&t, "  for d in 0..2 {\n    reg r: f32[] = x%d[d]\n    y[%d, d] = r[]\n  }\n", i, i);
    text_put(&t, "}\nprogram @p {\n");
    for (int i = 0; i < PARTS; i++) text_printf(&t, "  input i%d_: f32[2]\n", i);
    text_printf(&t, "  output y: f32[%d, 2]\n  call @k(", PARTS);
    for (int i = 0; i < PARTS; i++) text_printf(&t, "i%d_, ", i);
    text_put(&t, "y)\n}\n");
    return program_parse(ctx, a, "p", text_str(&t), (size_t)t.n);
}

static void pieces_do_the_same(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    program *p = make(ctx, a);
    assert_non_null(p);
    pass_run run = { .ctx = ctx, .scratch = a, .limit = -1 };
    assert_true(cut_program(&run, p));
    assert_int_equal(run.changes, 1);
    assert_int_equal(p->kernels.n, 4);
    assert_int_equal(p->body.n, 4);
    assert_int_equal(p->kernels.at[0]->n_params, 65);
    assert_int_equal(p->kernels.at[3]->n_params, 9);
    assert_true(program_verify(p, "cut") && program_text_check(p, "cut"));

    float in[PARTS][2], out[PARTS][2] = { { 0 } };
    const void *inputs[PARTS];
    for (int i = 0; i < PARTS; i++) {
        in[i][0] = (float)i;
        in[i][1] = (float)-i;
        inputs[i] = in[i];
    }
    void *outputs[1] = { out };
    eval_io io = { .inputs = inputs, .outputs = outputs };
    assert_true(eval_program(ctx, expander_new(a), p, &io, &(loop_eval_options){ .fill = 0 }));
    assert_memory_equal(in, out, sizeof in);

    assert_true(cut_program(&run, p));                      /* what is short enough stays */
    assert_int_equal(run.changes, 1);
    arena_free(a);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pieces_do_the_same) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
