/* Dims: canonical form, division, proofs, text, and random expressions against plain integers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "ir/dim.h"

static dlc_context *ctx;
static arena *a;
static dims *t;

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    mem_frame f;
    if (!mem_try(&ctx->mem, &f)) return 1;
    a = arena_new(&ctx->mem);
    t = dims_new(ctx, a);
    mem_end(&ctx->mem, &f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    context_free(ctx);
    return 0;
}

static dim parse(const char *s)
{
    dim d;
    const char *at = s, *end = s + strlen(s);
    assert_true(dim_parse(t, &at, end, &d));
    assert_ptr_equal(at, end);
    return d;
}

static const char *show(dim d)
{
    text out = { .a = a };
    dim_print(t, d, &out);
    return text_str(&out);
}

static void canonical_forms(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "N + N", "2*N" }, { "N - N", "0" }, { "(N + 1)*(N - 1)", "N*N - 1" }, { "M*N - N*M + 3", "3" },
        { "(4*N + 8) floordiv 4", "N + 2" }, { "(N - 1) floordiv 2 + 1", "(N + 1) floordiv 2" },
        { "N ceildiv 2", "(N + 1) floordiv 2" }, { "(6*N + 3) floordiv 4", "N + (N + 1) floordiv 2" },
        { "(6*N + 3) floordiv 12", "N floordiv 2" }, { "(N floordiv 2) floordiv 3", "N floordiv 6" },
        { "((N + 1) floordiv 2 + 1) floordiv 2", "(N + 3) floordiv 4" }, { "(N*M*4) floordiv (2*N)", "2*M" },
        { "(N*M + N) floordiv (M + 1)", "N" }, { "(5*N + 7) mod 5", "2" }, { "min(N, N + 2)", "N" },
        { "max(N, 0)", "N" }, { "min(M, N) - min(N, M)", "0" }, { "2*(N floordiv 2)", "2*(N floordiv 2)" },
        { "-N + 1", "-N + 1" }, { "-(N floordiv 3)", "-(N floordiv 3)" },
        { "\"batch size\" + 1", "\"batch size\" + 1" },
        { "(N mod 4) floordiv 4", "0" }, { "3 - 5", "-2" }, { "min(N, 3)*2", "2*min(N, 3)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dim d = parse(rows[i][0]);
        assert_string_equal(show(d), rows[i][1]);
        assert_true(dim_same(parse(rows[i][1]), d));
    }
}

static void proofs(void **state)
{
    (void)state;
    static const char *const true_le[][2] = {
        { "0", "N" }, { "N", "N + 1" }, { "4*(N floordiv 4)", "N" }, { "2*((N - 1) floordiv 2)", "N" },
        { "min(N, 3)", "N" }, { "N", "max(M, N)" }, { "N mod 4", "3" }, { "N mod 4", "N" },
        { "2*((N + 1) floordiv 2) - 1", "N" }, { "M*(4*(N floordiv 4))", "M*N" },
        { "N - N floordiv 2", "(N + 1) floordiv 2" }, { "(N + 1) floordiv 2", "N - N floordiv 2" },
    };
    static const char *const not_le[][2] = {
        { "1", "N" }, { "N + 1", "N" }, { "N", "M" }, { "N", "4*(N floordiv 4)" }, { "N", "min(N, 3)" },
    };
    for (size_t i = 0; i < sizeof true_le / sizeof *true_le; i++)
        if (!dim_known_le(t, parse(true_le[i][0]), parse(true_le[i][1])))
            fail_msg("%s <= %s is not proved", true_le[i][0], true_le[i][1]);
    for (size_t i = 0; i < sizeof not_le / sizeof *not_le; i++)
        assert_false(dim_known_le(t, parse(not_le[i][0]), parse(not_le[i][1])));
    dim p = dim_symbol(t, "P");
    assert_false(dim_known_lt(t, dim_const(0), p));
    assert_true(dim_symbol_bounds(t, p, 1, 100));
    assert_true(dim_known_lt(t, dim_const(0), p));
    assert_true(dim_divides(t, parse("4*N + 8"), 4));
    assert_false(dim_divides(t, parse("4*N + 2"), 4));
    assert_true(dim_is(dim_div(t, p, p), 1));
}

static void overflow_is_bad_and_sticky(void **state)
{
    (void)state;
    dim big = dim_const(DIM_LIMIT - 1);
    assert_true(dim_is_bad(dim_add(t, big, big)));
    assert_true(dim_is_bad(dim_mul(t, big, dim_symbol(t, "N"))) == false);
    assert_true(dim_is_bad(dim_mulk(t, dim_mul(t, big, dim_symbol(t, "N")), 2)));
    assert_true(dim_is_bad(dim_add(t, DIM_BAD, dim_const(1))));
    assert_true(dim_is_bad(dim_div(t, dim_const(1), dim_const(0))));
    assert_true(dim_is_bad(dim_div(t, dim_const(1), parse("N - M"))));
    dim d = parse("N + 1");
    for (int i = 0; i < 40; i++) d = dim_mul(t, d, parse("N + M + K + 1"));   /* grows without end: refused */
    assert_true(dim_is_bad(d));
}

/* A random expression as a dim and as its value at x[]. */
static uint64_t seed = 7;
static int below(int n) { return (int)((seed = hash_u64(seed, 1)) >> 33) % n; }

static dim random_dim(int depth, const int64_t *x, int64_t *value)
{
    if (depth == 0 || below(5) == 0) {
        int k = below(6);
        if (k < 3) {
            static const char *const names[] = { "N", "M", "K" };
            *value = x[dims_n_symbols(t) ? k : 0];
            return dim_symbol(t, names[k]);
        }
        *value = below(9) - 3;
        return dim_const(*value);
    }
    int64_t p, q;
    dim a1 = random_dim(depth - 1, x, &p), b1 = random_dim(depth - 1, x, &q);
    switch (below(8)) {
    case 0: case 1: *value = p + q; return dim_add(t, a1, b1);
    case 2: *value = p - q; return dim_sub(t, a1, b1);
    case 3: *value = p * q; return dim_mul(t, a1, b1);
    case 4: *value = p < q ? p : q; return dim_min(t, a1, b1);
    case 5: *value = p > q ? p : q; return dim_max(t, a1, b1);
    case 6: {
        int64_t k = below(7) + 1;
        *value = (p >= 0 ? p : p - (k - 1)) / k;
        return dim_div(t, a1, dim_const(k));
    }
    default: {
        int64_t k = below(7) + 1;
        *value = ((p % k) + k) % k;
        return dim_mod(t, a1, dim_const(k));
    }
    }
}

static void random_expressions(void **state)
{
    (void)state;
    int n_le = 0;
    for (const char *const *s = (const char *const[]){ "N", "M", "K", NULL }; *s; s++) dim_symbol(t, *s);
    for (int i = 0; i < 20000; i++) {
        int64_t x[64] = { 0 }, named[3] = { below(20), below(20), below(20) }, value, got, lo, hi;
        for (int k = 0; k < dims_n_symbols(t); k++) {
            const char *s = dims_symbol_name(t, k);
            x[k] = *s == 'N' ? named[0] : *s == 'M' ? named[1] : *s == 'K' ? named[2] : 1;
        }
        dim d = random_dim(4, named, &value);
        if (dim_is_bad(d)) continue;
        assert_true(dim_eval(t, d, x, &got));
        assert_int_equal(got, value);
        dim_range(t, d, &lo, &hi);
        assert_true(lo <= value && value <= hi);
        assert_true(dim_same(parse(show(d)), d));
        int64_t other_value;
        dim other = random_dim(3, named, &other_value);
        if (!dim_is_bad(other) && dim_known_le(t, d, other)) {
            n_le++;
            assert_true(value <= other_value);
        }
        dim to[64];
        for (int k = 0; k < dims_n_symbols(t); k++) to[k] = dim_const(x[k]);
        assert_true(dim_is(dim_subst(t, d, to), value));
    }
    assert_true(n_le > 500);
}

/* A count is at most what it counts among, whatever the bounds of both are. */
static void bounded_by_another(void **state)
{
    (void)state;
    dim n = parse("N"), m = parse("M"), count = parse("count");
    assert_false(dim_known_le(t, count, n));
    dim_symbol_at_most(t, count, n);
    assert_true(dim_known_le(t, count, n) &&
                dim_known_le(t, dim_mulk(t, count, 3), dim_add(t, dim_mulk(t, n, 3), m)));
    assert_false(dim_known_lt(t, count, n) || dim_known_le(t, n, count));
    assert_true(dim_same(dim_min(t, count, n), count));
    dim_symbol_at_most(t, n, count);              /* later than N: not noted, or proofs would go in circles */
    assert_false(dim_known_le(t, n, count));
    dim of_both = parse("found");
    dim_symbol_at_most(t, of_both, dim_mul(t, n, m));
    assert_true(dim_known_le(t, of_both, dim_mul(t, m, n)));
    dim_symbol_at_most(t, dim_const(3), n);           /* no symbol: nothing to note */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(canonical_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(proofs, setup, teardown),
        cmocka_unit_test_setup_teardown(bounded_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(overflow_is_bad_and_sticky, setup, teardown),
        cmocka_unit_test_setup_teardown(random_expressions, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
