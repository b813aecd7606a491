/* Loop program: index expressions, and the text form of kernels. */
#include "tests/support/loop_fixture.h"

static const char *printed(const kernel_code *k, const expr *e)
{
    text s = { .a = a };
    x_print(k, e, &s);
    return text_str(&s);
}

static kernel_code *parse(const char *s)
{
    return kernel_parse(ctx, a, dims_new(ctx, a), "test.loop", s, strlen(s));
}

/* The expression written in an index, through the parser. */
static void gives(const char *in, const char *out)
{
    char *src = arena_printf(
        a,
        "symbol N in 1..64\nsymbol M in 1..64\n"
        "kernel @k(x: i64[1000] in, f: f32[9] in, b: bool[2] out, y: i64[1] out) {\n"
        "for i in 0..16, j in 0..16, k in 0..16 {\n y[0] = %s\n}\n}\n",
        in);
    kernel_code *k = parse(src);
    assert_non_null(k);
    const stmt *s = k->body.at[0]->body.at[0]->body.at[0]->body.at[0];
    assert_string_equal(printed(k, s->value), out);
}

static void sums(void **state)
{
    (void)state;
    gives("j + i", "i + j");
    gives("i + 16*j", "16*j + i");
    gives("j*16 + i + 0", "16*j + i");
    gives("i*1 + 3 + i - 2 - 1", "2*i");
    gives("i - i", "0");
    gives("57 - i", "57 - i");
    gives("-3 - i", "-1*i - 3");
}

static void sums_open(void **state)
{
    (void)state;
    gives("i*N + j + N", "N*i + j + N");
    gives("(i + 1)*(N + 1)", "(N + 1)*i + N + 1");
    gives("i*N*M - M*i*N", "0");
    gives("j - N*i", "j - N*i");
    gives("x[i] + x[i]", "2*x[i]");
    gives("x[i]*x[j]*3", "3*(x[i]*x[j])");
    gives("x[i] + 9223372036854775807", "x[i] + 9223372036854775807");
    gives("min(i, j + 1) + max(3, i)", "max(i, 3) + min(i, j + 1)");
    gives("min(i, i + 1)", "i");
    gives("max(N, N - 1)", "N");
    gives("min(N, 3)*2", "2*min(N, 3)");
}

static void division(void **state)
{
    (void)state;
    gives("(16*i + j) floordiv 16", "i + j floordiv 16");
    gives("(16*i + j) mod 16", "j mod 16");
    gives("(16*i + 35) floordiv 16", "i + 2");
    gives("(16*i - 1) floordiv 16", "i - 1");
    gives("(16*i - 1) mod 16", "15");
    gives("(4*i + 2*j + 1) floordiv 8", "(2*i + j) floordiv 4");
    gives("(4*i + 2*j + 1) mod 8", "2*((2*i + j) mod 4) + 1");
    gives("(i floordiv 4) floordiv 4", "i floordiv 16");
    gives("(i mod 16) mod 4", "i mod 4");
    gives("i floordiv 1 + i mod 1", "i");
    gives("14*((i + j) floordiv 7) + 2*((i + j) mod 7)", "2*i + 2*j");
    gives("14*(i floordiv 7) + i mod 7", "14*(i floordiv 7) + i mod 7");
    gives("(N*i + j) floordiv N", "i + j floordiv N");
    gives("(N*M*i + N*j) mod N", "0");
    gives("(16*N + 3) floordiv 16", "N");
    gives("(N + 1) floordiv 2", "(N + 1) floordiv 2");
}

static void by_ranges(void **state)
{
    (void)state;
    kernel_code *k = kernel_new(ctx, a, t, "k", ANCHOR_map);
    const expr *v[4];
    static const char *const name[] = { "i", "j", "k", "l" };
    for (int i = 0; i < 4; i++) v[i] = x_var(k, kernel_var(k, name[i], LOOP_plain));
    scope s = { 4, (range[]){ { 0, 7 }, { 0, 15 }, { 0, 3 }, { 0, 3 } } };
    const expr *flat = x_add(k, x_mul(k, x_int(k, 16), v[0]), v[1]);
    assert_string_equal(printed(k, x_simplify(k, &s, x_floordiv(k, flat, x_int(k, 16)))), "i");
    assert_string_equal(printed(k, x_simplify(k, &s, x_mod(k, flat, x_int(k, 16)))), "j");
    assert_string_equal(printed(k, x_simplify(k, &s, x_floordiv(k, flat, x_int(k, 32)))), "i floordiv 2");
    assert_string_equal(printed(k, x_simplify(k, &s, x_mod(k, flat, x_int(k, 32)))), "16*(i mod 2) + j");
    const expr *three = x_add(k, x_add(k, flat, x_int(k, 16)), x_int(k, 0));
    assert_string_equal(printed(k, x_simplify(k, &s, x_floordiv(k, three, x_int(k, 16)))), "i + 1");
    assert_string_equal(printed(k, x_simplify(k, &s, x_op2(k, SCALAR_min, v[0], x_int(k, 7)))), "i");
    assert_string_equal(printed(k, x_simplify(k, &s, x_op2(k, SCALAR_lt, v[0], x_add(k, v[1], x_int(k, 8))))),
                        "true");
    assert_string_equal(printed(k, x_simplify(k, &s, x_op2(k, SCALAR_lt, v[0], x_int(k, 7)))), "i < 7");
    range r = x_range(k, &s, x_sub(k, flat, v[2]));
    assert_int_equal(r.lo, -3);
    assert_int_equal(r.hi, 127);
    affine f;
    assert_true(x_affine(k, flat, &f));
    assert_int_equal(f.n, 2);
    assert_false(x_affine(k, x_mod(k, v[0], v[1]), &f));
    dim stride;
    assert_int_equal(x_lanes(k, flat, 0, &stride), LANES_strided);
    assert_true(dim_is(stride, 16));
    assert_int_equal(x_lanes(k, flat, 1, &stride), LANES_contiguous);
    assert_int_equal(x_lanes(k, flat, 2, &stride), LANES_uniform);
    assert_int_equal(x_lanes(k, x_mod(k, flat, x_int(k, 32)), 0, &stride), LANES_arbitrary);
}

/* Written as it prints. */
static void same(const char *statement)
{
    char *src = arena_printf(
        a,
        "kernel @k(x: i64[N, M] in, f: f32[9] in, d: f64[] in, h: f16[9] in, u: u8[9] in, b: bool[2] out, "
        "y: f32[9] out, z: i64[] out, w: bool[] out) {\n  for i in 0..N {\n    %s\n  }\n}\n",
        statement);
    kernel_code *k = parse(src);
    assert_non_null(k);
    assert_string_equal(kernel_show(k), src);
}

static void statements(void **state)
{
    (void)state;
    static const char *const good[] = {
        "y[0] = 0.1", "y[0] = -0", "y[0] = -inf", "y[0] = nan", "y[0] = nan(0x7fc00001)", "y[0] = 1e-45",
        "y[0] = 3.4028235e+38",
        "y[0] = f[i] + 0", "y[0] = 1 - f[i] * 2", "y[0] = (f[i] + 1) * (f[i] - 1)",
        "y[0] = f[i] - (f[i] - f[1])",
        "y[0] = f[i] / (f[1] * f[2]) / f[3]", "y[0] = -f[i]", "y[0] = -(f[i] + 1)", "y[0] = -(-f[i])",
        "y[0] = f[0] < 0 ? 0 : f[0]", "y[0] = f[0] < 0 ? (f[1] < 0 ? 1 : 2) : f[0] == 1 ? 3 : 4",
        "y[0] = (f[0] < 0 ? f32(1) : 2) * f[0]", "y[0] = fma(f[0], 2, -0.5)", "y[0] = fma(f32(1), 2, 3)",
        "y[0] = exp(f32(1))",
        "y[0] = f32(d[])", "y[0] = f32(f64(f[0]) * 0.5)", "y[0] = f32(h[0]) + 1", "y[0] = f32(i)",
        "y[0] = bitcast(f32, i32(i))",
        "z[] = i64(u[i] + 250)", "z[] = x[i, (i + 1) mod M]", "z[] = i*(x[0, 0] floordiv 3)",
        "z[] = i floordiv (i + 1)",
        "z[] = and(i, 7)", "z[] = shl(i, 3)", "z[] = pow(2, 3)", "z[] = min(i, 3)", "z[] = i / 3",
        "w[] = true", "w[] = i < 3 and i < N or not f[i] < 0", "w[] = (i < 3 or i < 4) and b[0]",
        "w[] = not (i < 3 and b[0])",
        "w[] = 0 <= x[i, 0] < 5", "w[] = 0 < f[0]", "w[] = i == 3", "w[] = 3 <= f[0] < 4",
        "w[] = b[0] ? b[1] : false",
        "let q = f[0] * f[0]\n    y[0] = q * q", "let q = f32(0.25)\n    y[0] = q",
        "let q = 5\n    y[0] = f32(q)",
        "reg r: f32[4, 16] = f[0]\n    r[1, i] = 2\n    y[0] = r[1, i]",
        "stack s: f64[8]\n    s[i] = 1\n    y[0] = f32(s[i])",
        "reg r: f32[16] = 0\n    y[0] = tree(add, r) + 1", "prefetch x[i, i + 1]", "prefetch write y[i + 64]",
        "y[0] = 2\n    for a in 0..3, b.c in a..N {\n      y[a] = 1\n    }",
        "unroll for v in 0..4 {\n      vector for l in 0..8 {\n        y[v] = f[l]\n      }\n    }",
        "if i < 3 {\n      y[0] = 1\n    } else {\n      y[0] = 2\n    }",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        same(good[i]);
}

static void files(void **state)
{
    (void)state;
    static const char *const name[] = { "dense", "conv3x3", "conv3x3_scheduled", "softmax", "maxpool" };
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        bytes b;
        int err;
        assert_true(file_map(a, arena_printf(a, "tests/loop/%s.loop", name[i]), &b, &err));
        char *src = arena_strndup(a, (const char *)b.at, b.n);
        kernel_code *k = parse(src);
        assert_non_null(k);
        assert_string_equal(kernel_show(k), src);
        assert_string_equal(kernel_show(kernel_clone(k)), src);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(sums),
        T(sums_open),
        T(division),
        T(by_ranges),
        T(statements),
        T(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
