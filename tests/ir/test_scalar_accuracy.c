/* tests/ir/test_scalar_accuracy.c: every expansion of f32 and f64 against a longer type, fused and rounded:
 * the limits, a strided walk through all f32, random f64, random pairs. The bounds are those of
 * docs/accuracy.md (scalar_check.h). test_scalar_*_slow walk through everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/ir/scalar_check.h"

static mem memory;
static arena *a;
static expander *e;

static int setup(void **state) { (void)state; a = arena_new(&memory); e = expander_new(a); return 0; }
static int teardown(void **state) { (void)state; arena_free(a); return 0; }

static void report(const judged *f, dtype t, const verdict v[2], const double bound[2])
{
    for (int mode = 0; mode < 2; mode++) {
        const verdict *r = &v[mode];
        const char *name = scalar_info[f->fn].name, *how = mode ? "rounded" : "fused";
        if (r->n_wrong)
            fail_msg("%s of %s, %s: %llu plainly wrong, first of %llx, %llx: %llx", name, dtype_info[t].name,
                     how, (unsigned long long)r->n_wrong, (unsigned long long)r->wrong_at[0],
                     (unsigned long long)r->wrong_at[1], (unsigned long long)r->wrong_got);
        if (r->worst > bound[mode])
            fail_msg("%s of %s, %s: %.4f ulp at %llx, %llx; the bound is %g", name, dtype_info[t].name, how,
                     r->worst, (unsigned long long)r->at[0], (unsigned long long)r->at[1], bound[mode]);
    }
}

static void random_arguments(void **state)
{
    (void)state;
    for (int i = 0; i < N_FUNCTIONS; i++)
        for (dtype t = DTYPE_f64; t <= DTYPE_f32; t++) {
            const judged *f = &functions[i];
            const scalar_code *c = scalar_expand(e, f->fn, t);
            block *at = new_blocks(c);
            verdict v[2] = { { 0 } };
            judge_random(f, t, c, at, 40000, 1, v);
            report(f, t, v, t == DTYPE_f32 ? f->bound32 : f->bound64);
            free(at);
        }
}

static void strided_f32(void **state)
{
    (void)state;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        if (!functions[i].f64) continue;
        verdict v[2] = { { 0 } };
        judge_patterns(&functions[i], e, 4096, v);
        report(&functions[i], DTYPE_f32, v, functions[i].bound32);
    }
}

/* The blocks are a second interpreter of the steps; sv_apply is the one that defines them. */
static void blocks_agree(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < N_FUNCTIONS; i++)
        for (dtype t = DTYPE_f64; t <= DTYPE_f32; t++)
            for (int mode = 0; mode < 2; mode++) {
                const scalar_code *c = scalar_expand(e, functions[i].fn, t);
                block *at = new_blocks(c);
                for (int j = 0; j < N; j++)
                    for (int k = 0; k < c->n_in; k++)
                        set_element(t, &at[k], j,
                                    j < N_SPECIAL ? special_at((j + 17 * k) % N_SPECIAL) : random_f64(&seed));
                run_blocks(c, at, (fma_mode)mode);
                int n = dtype_bytes(t);
                for (int j = 0; j < N; j++) {
                    scalar_value in[2] = { sv_load(t, (char *)&at[0] + j * n),
                                           sv_load(t, (char *)&at[1] + j * n) };
                    scalar_value want = sv_apply(e, functions[i].fn, t, t, in, (fma_mode)mode);
                    scalar_value got = sv_load(t, (char *)&at[c->n_in + c->n_steps - 1] + j * n);
                    bool both_nan = isnan(sv_to_f64(t, want)) && isnan(sv_to_f64(t, got));
                    if (!both_nan && want.bits != got.bits)
                        fail_msg("%s of %s at %llx: %llx by sv_apply, %llx by blocks",
                                 scalar_info[functions[i].fn].name, dtype_info[t].name,
                                 (unsigned long long)in[0].bits, (unsigned long long)want.bits,
                                 (unsigned long long)got.bits);
                }
                free(at);
            }
}

/* Spelled out, so that the test does not lean on libm alone. */
static void limits(void **state)
{
    (void)state;
    static const struct { scalar fn; double x, want; } rows[] = {
        { SCALAR_exp, -INFINITY, 0 }, { SCALAR_exp, INFINITY, INFINITY }, { SCALAR_exp, 0, 1 },
        { SCALAR_exp, 1e9, INFINITY },
        { SCALAR_expm1, -INFINITY, -1 }, { SCALAR_expm1, -0.0, -0.0 }, { SCALAR_expm1, INFINITY, INFINITY },
        { SCALAR_log, 0, -INFINITY }, { SCALAR_log, -0.0, -INFINITY }, { SCALAR_log, -1, NAN },
        { SCALAR_log, 1, 0 },
        { SCALAR_log, INFINITY, INFINITY }, { SCALAR_log, -INFINITY, NAN }, { SCALAR_log1p, -1, -INFINITY },
        { SCALAR_log1p, -2, NAN }, { SCALAR_log1p, -0.0, -0.0 }, { SCALAR_log1p, INFINITY, INFINITY },
        { SCALAR_sin, -0.0, -0.0 }, { SCALAR_sin, INFINITY, NAN }, { SCALAR_cos, 0, 1 },
        { SCALAR_cos, -INFINITY, NAN },
        { SCALAR_tan, -0.0, -0.0 }, { SCALAR_asin, -0.0, -0.0 }, { SCALAR_asin, 1.5, NAN },
        { SCALAR_acos, 1, 0 },
        { SCALAR_acos, -1.5, NAN }, { SCALAR_atan, -0.0, -0.0 }, { SCALAR_sinh, -0.0, -0.0 },
        { SCALAR_sinh, -INFINITY, -INFINITY }, { SCALAR_cosh, -INFINITY, INFINITY },
        { SCALAR_tanh, -0.0, -0.0 },
        { SCALAR_tanh, INFINITY, 1 }, { SCALAR_tanh, -INFINITY, -1 }, { SCALAR_asinh, -0.0, -0.0 },
        { SCALAR_asinh, -INFINITY, -INFINITY }, { SCALAR_acosh, 1, 0 }, { SCALAR_acosh, 0.5, NAN },
        { SCALAR_acosh, INFINITY, INFINITY }, { SCALAR_atanh, 1, INFINITY }, { SCALAR_atanh, -1, -INFINITY },
        { SCALAR_atanh, 2, NAN }, { SCALAR_atanh, -0.0, -0.0 }, { SCALAR_erf, -0.0, -0.0 },
        { SCALAR_erf, INFINITY, 1 },
        { SCALAR_erf, -INFINITY, -1 }, { SCALAR_sigmoid, -INFINITY, 0 }, { SCALAR_sigmoid, INFINITY, 1 },
        { SCALAR_sigmoid, 0, 0.5 }, { SCALAR_sign, -0.0, 0 }, { SCALAR_sign, -5, -1 },
    };
    static const struct { scalar fn; double x, y, want; } pairs[] = {
        { SCALAR_pow, NAN, 0, 1 }, { SCALAR_pow, 1, NAN, 1 }, { SCALAR_pow, -1, INFINITY, 1 },
        { SCALAR_pow, 0, -3, INFINITY },
        { SCALAR_pow, -0.0, -3, -INFINITY }, { SCALAR_pow, -0.0, 3, -0.0 }, { SCALAR_pow, -0.0, 2.5, 0 },
        { SCALAR_pow, -8, 1.0 / 3, NAN }, { SCALAR_pow, -INFINITY, 3, -INFINITY },
        { SCALAR_pow, -INFINITY, -3, -0.0 },
        { SCALAR_pow, -INFINITY, 0.5, INFINITY }, { SCALAR_pow, 2, -INFINITY, 0 },
        { SCALAR_pow, 0.5, -INFINITY, INFINITY },
        { SCALAR_pow, 0, 0, 1 }, { SCALAR_pow, 2, NAN, NAN }, { SCALAR_pow, -2, 3, -8 },
        { SCALAR_pow, 10, 2, 100 },
        { SCALAR_fmod, 5, 0, NAN }, { SCALAR_fmod, INFINITY, 3, NAN }, { SCALAR_fmod, -5, INFINITY, -5 },
        { SCALAR_fmod, -6, 3, -0.0 }, { SCALAR_fmod, -7, 3, -1 }, { SCALAR_fmod, 1e30, 3, 1 },
        { SCALAR_mod, -7, 3, 2 },
        { SCALAR_mod, 7, -3, -2 }, { SCALAR_mod, -6, 3, 0 }, { SCALAR_mod, 6, -3, -0.0 },
        { SCALAR_mod, -1, INFINITY, INFINITY },
    };
    for (dtype t = DTYPE_f64; t <= DTYPE_f16; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows + sizeof pairs / sizeof *pairs; i++) {
            bool one = i < sizeof rows / sizeof *rows;
            size_t p = one ? 0 : i - sizeof rows / sizeof *rows;
            scalar fn = one ? rows[i].fn : pairs[p].fn;
            double x = one ? rows[i].x : pairs[p].x, want = one ? rows[i].want : pairs[p].want;
            if (x == 1e30 && t != DTYPE_f64) continue;
            scalar_value in[2] = { sv_from_f64(t, x), sv_from_f64(t, pairs[p].y) };
            for (int mode = 0; mode < 2; mode++) {
                double got = sv_to_f64(t, sv_apply(e, fn, t, t, in, (fma_mode)mode));
                if (isnan(want) ? !isnan(got) : !(got == want) || !signbit(got) != !signbit(want))
                    fail_msg("%s of %s: %g, %g gives %g, not %g", scalar_info[fn].name, dtype_info[t].name, x,
                             pairs[p].y, got, want);
            }
        }
}

/* f16: widened, the f32 result rounded; so within half a unit and a little of the exact value. */
static void narrow(void **state)
{
    (void)state;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        const judged *f = &functions[i];
        if (!f->f64) continue;
        for (uint32_t h = 0; h < 65536; h += 7) {
            scalar_value in = { h };
            double exact = f->f64(sv_to_f64(DTYPE_f16, in));
            double got = sv_to_f64(DTYPE_f16, sv_apply(e, f->fn, DTYPE_f16, DTYPE_f16, &in, FMA_FUSED));
            double best = sv_to_f64(DTYPE_f16, sv_from_f64(DTYPE_f16, exact));
            if (isnan(exact) ? isnan(got) : got == best) continue;
            double ulp = fabs(exact) < 0x1p-14 ? 0x1p-24 : ldexp(1, ilogb(exact) - 10);
            if (!(fabs(got - exact) <= 0.501 * ulp))
                fail_msg("%s of f16 %x: %g, not %g", scalar_info[f->fn].name, h, got, best);
        }
    }
}

static void prints(void **state)
{
    (void)state;
    text out = { .a = a };
    expansion_print(scalar_expand(e, SCALAR_sign, DTYPE_u8), &out);
    assert_string_equal(text_str(&out), "%0 = 1 : u8\n%1 = min x %0 : u8\n");
    text tanh_steps = { .a = a };
    expansion_print(scalar_expand(e, SCALAR_tanh, DTYPE_f32), &tanh_steps);
    assert_non_null(strstr(text_str(&tanh_steps), "%0 = abs x : f32\n%1 = add %0 %0 : f32\n"));
    assert_non_null(strstr(text_str(&tanh_steps), " = bitcast x : i32\n"));
}

int main(void)
{
    if (!fast_loops_run()) { printf("needs AVX2 and FMA\n"); return 77; }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits), cmocka_unit_test(blocks_agree), cmocka_unit_test(random_arguments),
        cmocka_unit_test(strided_f32), cmocka_unit_test(narrow), cmocka_unit_test(prints),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
