/* Programs: text form, the verifier's rules, the interpreter. */
#include <math.h>
#include "backend/eval/eval_loop.h"
#include "tests/support/loop_fixture.h"

static program *parse(const char *src)
{
    program *p = program_parse(ctx, a, "test.loop", src, strlen(src));
    assert_non_null(p);
    return p;
}

#define KERNELS                                                                                  \
    "kernel @add(x: f32[4] in, y: f32[4] in, z: f32[4] out) {\n"                                 \
    "  for i in 0..4 {\n    z[i] = x[i] + y[i]\n  }\n}\n\n"                                      \
    "kernel @less(x: f32[4] in, p: bool[] out) {\n  p[] = x[0] < 8\n}\n\n"                       \
    "kernel @count(x: f32[4] in, n: i64[] out) {\n  reg c: i64[] = 0\n"                          \
    "  for i in 0..4 {\n    if 0 < x[i] {\n      c[] = c[] + 1\n    }\n  }\n  n[] = c[]\n}\n\n"  \
    "kernel @shift(x: f32[4] in, y: f32[4] out) move writes_early {\n  for i in 0..4 {\n"        \
    "    y[i] = x[(i + 1) mod 4]\n  }\n}\n\n"

static const char *const everything =
    "symbol K in 0..4\n" KERNELS
    "kernel @sum(x: f32[K] in, y: f32[4] out) {\n  for i in 0..4 {\n    y[i] = 0\n  }\n  for i in 0..K {\n"
    "    y[0] = y[0] + x[i]\n  }\n}\n\n"
    "program @every rounded workspace 4096 least 100 {\n"
    "  input x: f32[4]\n  output y: f32[4]\n  output total: f32[4]\n"
    "  const one: f32[4] = [1, 1, -0, nan]\n"
    "  const table: u8[20] = hex \"000102030405060708090a0b0c0d0e0f10111213\"\n"
    "  const two: f32[4] = [2, 2, 2, 2]\n"
    "  temp p: bool[] at 64\n  temp n: i64[]\n  temp t: f32[3, 4] at 128\n  temp u: f32[4] in t + 4\n"
    "  state s: f32[4]\n  temp few: f32[K] bytes 16\n"
    "  call @add(x, two, t[0])\n"
    "  while w max 100 test {\n    call @less(t[0], p)\n  } if p {\n    call @add(t[0], two, t[0])\n  }\n"
    "  call @add(t[0], two, u)\n"
    "  call @less(x, p)\n"
    "  cond p {\n    call @add(t[0], t[1], y)\n  } else {\n    call @shift(x, y)\n  }\n"
    "  scan i in 0..3 reverse {\n    call @add(t[0], two, t[2 - i])\n    call @add(s, two, s)\n  }\n"
    "  call @count(x, n)\n  setdim K = n\n"
    "  call @sum(few, total)\n"
    "}\n";

static void text_form(void **state)
{
    (void)state;
    program *p = parse(everything);
    assert_string_equal(program_show(p), everything);
}

static void graph_constant(void **state)
{
    (void)state;
    const char *src = KERNELS
        "program @g {\n  input x: f32[4]\n  output y: f32[4]\n  const w: f32[4] = {\n"
        "    graph @w() {\n      %a = const [1, 2, 3, 4] : f32[4]\n      %0 = map exp %a : f32[4]\n"
        "      return %0\n    }\n  }\n"
        "  call @add(x, w, y)\n}\n";
    program *p = program_parse(ctx, a, "test.loop", src, strlen(src));
    if (!p) { context_clear_diags(ctx); skip(); }
    program *q = parse(program_show(p));
    assert_non_null(q->bufs.at[2].expr_graph);
    assert_string_equal(program_show(p), program_show(q));
}

static bool run(program *p, const float *x, float *y, float *total, float *s, int64_t *k, void *workspace,
                double fill)
{
    eval_io io = { .inputs = (const void *const[]){ x },
                   .outputs = (void *[]){ y, total },
                   .states = (void *[]){ s },
                   .symbols = k,
                   .workspace = workspace,
                   .workspace_bytes = 4096 };
    return eval_program(ctx, ex, p, &io, &(loop_eval_options){ .fill = fill, .max_steps = 1000000 });
}

static void runs(void **state)
{
    (void)state;
    char *src = arena_strdup(a, everything);
    char *few = strstr(src, "  call @sum(few, total)");
    memcpy(few, "  call @sum(x, total)  ", strlen("  call @sum(few, total)"));  /* K of the 4 elements of x */
    program *p = parse(src);
    float x[4] = { 1, 2, 0, 4 }, y[4], total[4], workspace[1024];
    for (int planned = 0; planned < 2; planned++) {
        float s[4] = { 0, 1, 2, 3 };
        int64_t k[1] = { 4 };
        assert_true(run(p, x, y, total, s, k, planned ? workspace : NULL, NAN));
        /* t0 = x + 2, then + 2 until t0[0] >= 8: 9 10 8 12; u = t1 = t0 + 2; y = t0 + t1 */
        for (int i = 0; i < 4; i++) {
            float t0 = x[i] + 8;
            assert_true(y[i] == 2 * t0 + 2);
            assert_true(s[i] == (float)i + 6);
        }
        assert_int_equal(k[0], 3);
        assert_true(total[0] == 3);
    }
    x[0] = 20;                                /* the other side of cond */
    float s[4] = { 0 };
    int64_t k[1] = { 4 };
    assert_true(run(p, x, y, total, s, k, NULL, 1e30));
    assert_true(y[0] == 2 && y[1] == 0 && y[2] == 4 && y[3] == 20);
}

static void lstm(void **state)
{
    (void)state;
    enum { T = 5, I = 8, H = 16 };
    bytes f;
    int err;
    assert_true(file_map(a, "tests/loop/lstm.loop", &f, &err));
    char *src = arena_strndup(a, (const char *)f.at, f.n);
    program *p = parse(src);
    assert_string_equal(program_show(p), src);
    assert_true(program_verify(p, "test"));
    float x[T * I], w[I * 4 * H], b[4 * H], r[H * 4 * H], y[T * H], h[H] = { 0 }, c[H] = { 0 };
    for (int i = 0; i < T * I; i++) x[i] = (float)sin(i);
    for (int i = 0; i < I * 4 * H; i++) w[i] = (float)sin(2 * i) / 2;
    for (int i = 0; i < 4 * H; i++) b[i] = (float)sin(3 * i) / 8;
    for (int i = 0; i < H * 4 * H; i++) r[i] = (float)sin(5 * i) / 4;
    p->bufs.at[2].data = w;
    p->bufs.at[3].data = b;
    p->bufs.at[4].data = r;
    int64_t symbols[1] = { T };
    eval_io io = { .inputs = (const void *const[]){ x }, .outputs = (void *[]){ y }, .symbols = symbols };
    assert_true(eval_program(ctx, ex, p, &io, &(loop_eval_options){ .fill = NAN }));
    for (int step = 0; step < T; step++) {
        float next[H];
        for (int j = 0; j < H; j++) {
            double g[4];
            for (int q = 0; q < 4; q++) {
                g[q] = b[q * H + j];
                for (int i = 0; i < I; i++) g[q] += x[step * I + i] * w[i * 4 * H + q * H + j];
                for (int i = 0; i < H; i++) g[q] += h[i] * r[i * 4 * H + q * H + j];
            }
            double s = c[j] / (1 + exp(-g[2])) + tanh(g[3]) / (1 + exp(-g[0]));
            c[j] = (float)s;
            next[j] = (float)(tanh(s) / (1 + exp(-g[1])));
        }
        memcpy(h, next, sizeof h);
        for (int j = 0; j < H; j++) assert_true(fabs(h[j] - y[step * H + j]) < 1e-5);
    }
}

/* -- Rules ----------------------------------------------------------------------------------------------- */

static program *small(const char *rest)
{
    return parse(arena_printf(
        a,
        KERNELS "program @p {\n  input x: f32[4]\n  output y: f32[4]\n  const one: f32[4] = [1, 1, 1, 1]\n"
                "  temp t: f32[3, 4]\n  temp n: i64[]\n  temp p: bool[]\n  temp q: bool[4]\n%s\n}\n",
        rest));
}

static void refused(const program *p, int rule)
{
    assert_false(program_verify(p, "test"));
    const char *want = arena_printf(a, "rule %d:", rule);
    bool found = false;
    for (int64_t i = 0; i < ctx->diags.n; i++) found |= strstr(ctx->diags.at[i].message, want) != NULL;
    if (!found) fail_msg("%s not reported, but: %s", want, ctx->diags.at[0].message);
    context_clear_diags(ctx);
}

static void rules(void **state)
{
    (void)state;
    program *p = small("call @add(x, x, y)");
    assert_true(program_verify(p, "test"));
    p->body.at[0]->kernel = 17;
    refused(p, 21);
    p = small("call @add(x, x, y)");
    p->body.at[0]->args[1].buf = 99;
    refused(p, 21);
    refused(small("call @add(x, n, y)"), 22);
    refused(small("call @add(x, t, y)"), 22);
    refused(small("call @add(x, x, one)"), 23);
    refused(small("call @add(x, x, x)"), 23);
    refused(small("call @add(x, t[0], y)"), 24);
    refused(small("cond p { }"), 24);
    refused(small("call @add(x, x, t[0])\ncall @shift(t[0], t[0])"), 25);
    assert_true(program_verify(
        small("call @add(x, x, t[0])\ncall @shift(t[0], t[1])\ncall @add(t[0], t[1], t[0])"), "test"));
    refused(small("call @count(x, n)\ncond n { }"), 26);
    p = small("call @count(x, n)\nsetdim K = n");
    p->body.at[1]->symbol = 7;
    refused(p, 26);
    p = small("scan i in 0..3 { call @add(x, x, t[i]) }");
    prog_op *call = p->body.at[0]->body.at[0];
    p->body.at[0] = call;
    refused(p, 27);
    refused(small("scan i in 0..3 { scan i in 0..3 { call @add(x, x, t[i]) } }"), 27);
    p = small("");
    p->bufs.at[3].slot_of = 3;
    refused(p, 28);
    p = small("");
    p->bufs.at[2].data = NULL;
    refused(p, 28);
    refused(parse("kernel @k(x: f32[4] in) {\n  x[0] = 1\n}\nprogram @p {\n  input x: f32[4]\n}\n"), 6);
    assert_true(program_verify(parse(everything), "test") || ctx->diags.n == 1);  /* `few` is never written */
    context_clear_diags(ctx);
}

/* Memory that runs out at the n-th request, for every n: an error each time, and nothing is left. */
static bool attempt(uint64_t n)
{
    volatile bool done = false;
    dlc_context *c = context_new();
    mem_frame f;
    assert_non_null(c);
    c->mem.fail_at = n;
    if (mem_try(&c->mem, &f)) {
        arena *m = arena_new(&c->mem);
        program *p = program_parse(c, m, "test.loop", everything, strlen(everything));
        assert_non_null(p);
        program_show(p);
        program_verify(p, "test");
        float x[4] = { 1, 2, 3, 4 }, y[4], total[4], st[4] = { 0 };
        int64_t k[1] = { 4 };
        eval_io io = { .inputs = (const void *const[]){ x },
                       .outputs = (void *[]){ y, total },
                       .states = (void *[]){ st },
                       .symbols = k };
        eval_program(c, expander_new(m), p, &io, &(loop_eval_options){ .fill = 0 });
        mem_end(&c->mem, &f);
        done = true;
    }
    context_free(c);
    return done;
}

static void out_of_memory(void **state)
{
    (void)state;
    uint64_t n = 0;
    while (!attempt(++n)) assert_true(n < 100000);
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(text_form), T(graph_constant), T(runs), T(lstm), T(rules), T(out_of_memory)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
