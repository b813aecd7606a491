/* The verifier of kernels: a test for each of its rules. */
#include "tests/support/loop_fixture.h"

static kernel_code *kernel(const char *body)
{
    char *src = arena_printf(
        a,
        "kernel @k(x: f32[4, 32] in, h: f16[8] in, idx: i64[32] in, n: i64[] in, y: f32[64] out, z: f32[4, "
        "64] inout) {\n%s\n}\n",
        body);
    kernel_code *k = kernel_parse(ctx, a, t, "test.loop", src, strlen(src));
    assert_non_null(k);
    return k;
}

static void refused(const kernel_code *k, int rule)
{
    assert_false(kernel_verify(k, "test"));
    const char *want = arena_printf(a, "rule %d:", rule);
    bool found = false;
    for (int64_t i = 0; i < ctx->diags.n; i++) found |= strstr(ctx->diags.at[i].message, want) != NULL;
    if (!found) fail_msg("%s not reported, but: %s", want, ctx->diags.at[0].message);
    context_clear_diags(ctx);
}

static void good(const char *body)
{
    kernel_code *k = kernel(body);
    if (!kernel_verify(k, "test")) fail_msg("%s", ctx->diags.at[0].message);
}

static void bad(const char *body, int rule) { refused(kernel(body), rule); }

static void put(kernel_code *k, stmt *s) { block_push(k, &k->body, s); }

static void rule_1_exist(void **state)
{
    (void)state;
    kernel_code *k = kernel("");
    expr e = { .kind = EXPR_load, .type = DTYPE_f32, .id = 99 };
    put(k, s_if(k, &e));
    refused(k, 1);
    k = kernel("");
    expr load = { .kind = EXPR_load, .type = DTYPE_f32, .id = 0 };
    const expr *zero = x_int(k, 0);
    put(k, s_store(k, 4, &zero, &load));
    refused(k, 1);
    k = kernel("");
    expr v = { .kind = EXPR_var, .type = DTYPE_i64, .id = 7 };
    put(k, s_if(k, &v));
    refused(k, 1);
}

static void rule_2_types(void **state)
{
    (void)state;
    kernel_code *k = kernel("");
    const expr *i = x_int(k, 0);
    put(k, s_store(k, 4, &i, i));
    refused(k, 2);
    k = kernel("");
    put(k, s_if(k, x_int(k, 1)));
    refused(k, 2);
    k = kernel("");
    const expr *f = x_f64(k, DTYPE_f32, 1);
    put(k, s_store(k, 4, &f, f));
    refused(k, 2);
    k = kernel("");
    expr mixed = {
        .kind = EXPR_op, .fn = SCALAR_add, .type = DTYPE_f32, .n_args = 2, .args = (const expr *[]){ f, i }
    };
    put(k, s_store(k, 4, &i, &mixed));
    refused(k, 2);
}

static void rule_3_variables(void **state)
{
    (void)state;
    bad("for i in 0..4 { for i in 0..4 { y[i] = 0 } }", 3);
    kernel_code *k = kernel("for i in 0..4 { y[i] = 0 }");
    put(k, s_store(k, 4, k->body.at[0]->body.at[0]->index, x_f64(k, DTYPE_f32, 1)));
    refused(k, 3);
    good("for i in 0..4 { y[i] = 0 }\nfor i in 0..8 { y[i] = 0 }");
}

static void rule_4_temps(void **state)
{
    (void)state;
    kernel_code *k = kernel("let v = x[0, 0]\ny[0] = v");
    stmt *let = k->body.at[0];
    block_remove(&k->body, 0);
    put(k, let);
    refused(k, 4);
    k = kernel("for i in 0..4 { let v = x[i, 0]\ny[i] = v }");
    put(k, k->body.at[0]->body.at[1]);
    refused(k, 4);
    k = kernel("let v = x[0, 0]");
    put(k, k->body.at[0]);
    refused(k, 4);
}

static void rule_5_locals(void **state)
{
    (void)state;
    kernel_code *k = kernel("reg r: f32[] = 0\nr[] = 1");
    stmt *alloc = k->body.at[0];
    block_remove(&k->body, 0);
    refused(k, 5);
    put(k, alloc);
    put(k, alloc);
    refused(k, 5);
    k = kernel("");
    put(k, s_alloc(k, 0, NULL));
    refused(k, 5);
}

static void rule_6_roles(void **state)
{
    (void)state;
    bad("x[0, 0] = 1", 6);
    good("z[0, 0] = z[0, 1]");
}

static void rule_7_narrow(void **state)
{
    (void)state;
    bad("y[0] = f32(h[0] + h[1])", 7);
    bad("y[0] = h[0] < h[1] ? f32(1) : 0", 7);
    good("y[0] = f32(h[0]) + f32(n[] < 1 ? h[0] : 0)");
}

static void rule_8_constant(void **state)
{
    (void)state;
    bad("vector for i in 0..n[] { y[i] = 1 }", 8);
    bad("unroll for i in 0..n[] { y[i] = 1 }", 8);
    bad("reg r: f32[N] = 0", 8);
    good("for j in 0..4 { vector for i in j..j + 8 { y[i] = 1 } }");
}

static void rule_9_nesting(void **state)
{
    (void)state;
    bad("vector for i in 0..4 { vector for j in 0..8 { z[i, j] = 1 } }", 9);
    bad("vector for i in 0..4 { parallel for j in 0..8 { z[i, j] = 1 } }", 9);
    bad("unroll for i in 0..4 { parallel for j in 0..8 { z[i, j] = 1 } }", 9);
    good("for i in 0..4 { parallel for j in 0..8 { z[i, j] = 1 } }");
}

static void rule_10_tree(void **state)
{
    (void)state;
    bad("reg r: f32[8] = 0\ny[0] = tree(add, r)", 10);
    good("reg r: f32[2, 8] = 0\ny[0] = tree(add, r)");
}

static void rule_11_lanes(void **state)
{
    (void)state;
    bad("vector for i in 0..8 { y[0] = x[0, i] }", 11);
    bad("vector for i in 0..8 { y[i] = y[i + 1] }", 11);
    bad("reg r: f32[] = 0\nvector for i in 0..8 { r[] = r[] + x[0, i] }", 11);
    bad("vector for i in 0..8 { for j in 0..2 { y[i + j] = 1 } }", 11);
    bad("vector for i in 0..8 { y[idx[i]] = 1 }", 11);
    bad("reg r: f32[16] = 0\nvector for i in 0..16 { r[i] = 1\ny[i] = tree(add, r) }", 11);
    good("vector for i in 0..8 { y[i] = y[i] + 1 }");
    good("vector for i in 0..8 { reg r: f32[] = 0\nfor j in 0..4 { r[] = r[] + x[j, i] }\ny[i] = r[] }");
    good("vector for i in 0..8 { for j in 0..2 { y[2*i + j] = 1 } }");
    good(
        "vector for i in 0..8 { y[8*i] = x[0, i floordiv 2] }\n"
        "vector for i in 0..8 { y[4*(i floordiv 4) + i mod 4] = 1 }");
}

static void rule_11_flat(void **state)
{
    (void)state;
    good("for u in 0..4 { vector for v in 0..8 { z[u, 8*u + 7 - v] = 1 } }");
    bad("vector for v in 0..8 { z[v mod 4, v floordiv 4] = 1\nz[v mod 4, 0] = 2 }", 11);
}

static void rule_12_threads(void **state)
{
    (void)state;
    bad("parallel for i in 0..8 { y[0] = x[0, i] }", 12);
    bad("stack s: f32[4]\nparallel for i in 0..8 { for j in 0..4 { s[j] = x[j, i] }\ny[i] = s[2] }", 12);
    bad("parallel for i in 0..4 { for j in 0..8 { y[7*i + j] = x[0, j] } }", 12);
    good("parallel for i in 0..4 { for j in 0..8 { y[8*i + j] = x[0, j] } }");
    good("parallel for i in 0..4 { let b = 8*i\nfor j in 0..min(8, n[]) { let c = b + j\ny[c] = x[0, j] } }");
    good("parallel for i in 0..8 { stack s: f32[4]\nfor j in 0..4 { s[j] = x[j, i] }\ny[i] = s[2] }");
    good("parallel for i in 0..2, j in 0..8 { z[i, j] = z[i, j] + 1 }");
    good("parallel for p in 0..128 { z[p floordiv 64, p mod 64] = 1 }");
}

static void registers(void **state)
{
    (void)state;
    kernel_code *k = kernel(
        "reg r: f32[4, 8] = 0\nreg s: f32[16] = 0\n"
        "unroll for i in 0..4 { vector for l in 0..8 { r[i, l] = 1 } }\n"
        "for i in 0..16 { s[i] = r[3, 0] }");
    assert_true(buffer_in_registers(k, 6));
    assert_false(buffer_in_registers(k, 7));
    assert_false(buffer_in_registers(k, 0));
}

static void files(void **state)
{
    (void)state;
    static const char *const name[] = { "dense", "conv3x3", "conv3x3_scheduled", "softmax", "maxpool" };
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        bytes b;
        int err;
        assert_true(file_map(a, arena_printf(a, "tests/loop/%s.loop", name[i]), &b, &err));
        kernel_code *k = kernel_parse(ctx, a, t, name[i], (const char *)b.at, b.n);
        assert_non_null(k);
        assert_true(kernel_verify(k, "test"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rule_1_exist), T(rule_2_types), T(rule_3_variables), T(rule_4_temps), T(rule_5_locals),
        T(rule_6_roles), T(rule_7_narrow),
        T(rule_8_constant), T(rule_9_nesting), T(rule_10_tree), T(rule_11_lanes), T(rule_11_flat),
        T(rule_12_threads), T(registers), T(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
