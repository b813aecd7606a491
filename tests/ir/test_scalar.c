/* tests/ir/test_scalar.c: the table, and the value of basic rows and of the integer expansions. */
#include "ir/expand.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static mem memory;
static arena *a;
static expander *e;

static int setup(void **state) { (void)state; a = arena_new(&memory); e = expander_new(a); return 0; }
static int teardown(void **state) { (void)state; arena_free(a); return 0; }

static uint64_t f64b(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }
static uint64_t f32b(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static uint64_t ib(dtype t, int64_t x) { return sv_from_i64(t, x).bits; }

static uint64_t apply(scalar fn, dtype t, uint64_t x, uint64_t y, uint64_t z)
{
    scalar_value in[3] = { { x }, { y }, { z } };
    return sv_apply(e, fn, t, t, in, FMA_FUSED).bits;
}

static uint64_t casted(dtype from, dtype to, uint64_t x)
{
    return sv_apply(e, SCALAR_cast, from, to, &(scalar_value){ x }, FMA_FUSED).bits;
}

static int64_t ints(scalar fn, dtype t, int64_t x, int64_t y)
{
    return sv_to_i64(t, (scalar_value){ apply(fn, t, ib(t, x), ib(t, y), 0) });
}

static void table(void **state)
{
    (void)state;
    for (int fn = 0; fn < SCALAR_COUNT; fn++) {
        const scalar_row *r = &scalar_info[fn];
        assert_int_equal(scalar_by_name(r->name, strlen(r->name)), fn);
        assert_true(r->arity >= 1 && r->arity <= 3);
        for (int t = DTYPE_NONE + 1; t < DTYPE_COUNT; t++) {
            bool computed = t == DTYPE_f64 || t == DTYPE_f32 || is_int((dtype)t);
            bool expands = !r->is_basic && computed && scalar_accepts((scalar)fn, (dtype)t);
            const scalar_code *c = scalar_expand(e, (scalar)fn, (dtype)t);
            if (expands != (c != NULL)) fail_msg("%s of %s", r->name, dtype_info[t].name);
            if (c) assert_int_equal(c->steps[c->n_steps - 1].type, t);
        }
    }
    assert_int_equal(scalar_by_name("nop", 3), SCALAR_COUNT);
    assert_false(scalar_accepts(SCALAR_add, DTYPE_bool));
    assert_false(scalar_accepts(SCALAR_add, DTYPE_f8e5m2));
    assert_false(scalar_accepts(SCALAR_exp, DTYPE_i32));
    assert_true(scalar_accepts(SCALAR_and, DTYPE_bool));
    assert_false(scalar_accepts(SCALAR_shl, DTYPE_bool));
    assert_false(scalar_accepts(SCALAR_and, DTYPE_f32));
}

static void int_rows(void **state)
{
    (void)state;
    assert_int_equal(ints(SCALAR_add, DTYPE_i8, 127, 1), -128);
    assert_int_equal(ints(SCALAR_sub, DTYPE_u8, 0, 1), 255);
    assert_int_equal(ints(SCALAR_mul, DTYPE_i32, 65536, 65536), 0);
    assert_int_equal(ints(SCALAR_mul, DTYPE_i16, -300, 300), (int16_t)-90000);
    assert_int_equal(ints(SCALAR_div, DTYPE_i32, -7, 2), -3);
    assert_int_equal(ints(SCALAR_div, DTYPE_i32, 7, 0), 0);
    assert_int_equal(ints(SCALAR_div, DTYPE_i64, INT64_MIN, -1), INT64_MIN);
    assert_int_equal(ints(SCALAR_div, DTYPE_i8, -128, -1), -128);
    assert_int_equal(apply(SCALAR_div, DTYPE_u64, UINT64_MAX, 2, 0), UINT64_MAX / 2);
    assert_int_equal(ints(SCALAR_abs, DTYPE_i8, -128, 0), -128);
    assert_int_equal(ints(SCALAR_neg, DTYPE_i16, 5, 0), -5);
    assert_int_equal(ints(SCALAR_max, DTYPE_i8, -1, 1), 1);
    assert_int_equal(ints(SCALAR_max, DTYPE_u8, -1, 1), 255);
    assert_int_equal(ints(SCALAR_relu, DTYPE_i8, -5, 0), 0);
    assert_int_equal(ints(SCALAR_relu, DTYPE_u8, 200, 0), 200);
    assert_int_equal(ints(SCALAR_shl, DTYPE_i8, 3, 7), -128);
    assert_int_equal(ints(SCALAR_shl, DTYPE_i32, 1, 32), 0);
    assert_int_equal(ints(SCALAR_shl, DTYPE_i32, 1, -1), 0);
    assert_int_equal(ints(SCALAR_shr, DTYPE_i32, -8, 1), -4);
    assert_int_equal(ints(SCALAR_shr, DTYPE_i32, -8, 99), -1);
    assert_int_equal(ints(SCALAR_shr, DTYPE_i32, 8, -1), 0);
    assert_int_equal(ints(SCALAR_shr, DTYPE_u8, 255, 4), 15);
    assert_int_equal(ints(SCALAR_not, DTYPE_u8, 5, 0), 250);
    assert_int_equal(apply(SCALAR_not, DTYPE_bool, 1, 0, 0), 0);
    assert_int_equal(apply(SCALAR_max, DTYPE_bool, 1, 0, 0), 1);
    assert_int_equal(apply(SCALAR_min, DTYPE_bool, 1, 0, 0), 0);
    assert_int_equal(apply(SCALAR_lt, DTYPE_i8, 0x80, 0x7f, 0), 1);
    assert_int_equal(apply(SCALAR_lt, DTYPE_u8, 0x80, 0x7f, 0), 0);
    assert_int_equal(apply(SCALAR_select, DTYPE_i8, 1, 7, 9), 7);
    assert_int_equal(ints(SCALAR_mod, DTYPE_i32, -7, 3), 2);
    assert_int_equal(ints(SCALAR_mod, DTYPE_i32, 7, -3), -2);
    assert_int_equal(ints(SCALAR_mod, DTYPE_i32, 6, -3), 0);
    assert_int_equal(ints(SCALAR_mod, DTYPE_i32, 6, 0), 0);
    assert_int_equal(ints(SCALAR_mod, DTYPE_i8, -128, -1), 0);
    assert_int_equal(ints(SCALAR_mod, DTYPE_u8, 200, 7), 200 % 7);
    assert_int_equal(ints(SCALAR_fmod, DTYPE_i32, -7, 3), -1);
    assert_int_equal(ints(SCALAR_fmod, DTYPE_i64, INT64_MIN, -1), 0);
    assert_int_equal(ints(SCALAR_fmod, DTYPE_i64, 5, 0), 0);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, 3, 5), 243);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, -2, 31), INT32_MIN);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i8, 3, 127), (int8_t)171);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, -1, -3), -1);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, -1, -4), 1);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, 2, -1), 0);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, 0, -1), 0);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i32, 0, 0), 1);
    assert_int_equal(ints(SCALAR_pow, DTYPE_u8, 2, 255), 0);
    assert_int_equal(ints(SCALAR_pow, DTYPE_u8, 3, 255), 171);
    assert_int_equal(ints(SCALAR_pow, DTYPE_i64, 3, 40), (int64_t)12157665459056928801u);
    assert_int_equal(ints(SCALAR_sign, DTYPE_i64, INT64_MIN, 0), -1);
    assert_int_equal(ints(SCALAR_sign, DTYPE_u8, 200, 0), 1);
    assert_int_equal(ints(SCALAR_sign, DTYPE_i8, 0, 0), 0);
}

static void float_rows(void **state)
{
    (void)state;
    const uint64_t nan = f32b(NAN), m0 = f32b(-0.f), p0 = 0, one = f32b(1);
    assert_int_equal(apply(SCALAR_max, DTYPE_f32, m0, p0, 0), p0);
    assert_int_equal(apply(SCALAR_max, DTYPE_f32, p0, m0, 0), p0);
    assert_int_equal(apply(SCALAR_min, DTYPE_f32, p0, m0, 0), m0);
    assert_int_equal(apply(SCALAR_min, DTYPE_f32, m0, p0, 0), m0);
    assert_true(isnan(sv_to_f64(DTYPE_f32, (scalar_value){ apply(SCALAR_max, DTYPE_f32, nan, one, 0) })));
    assert_true(isnan(sv_to_f64(DTYPE_f32, (scalar_value){ apply(SCALAR_min, DTYPE_f32, one, nan, 0) })));
    assert_int_equal(apply(SCALAR_relu, DTYPE_f32, m0, 0, 0), m0);
    assert_true(isnan(sv_to_f64(DTYPE_f32, (scalar_value){ apply(SCALAR_relu, DTYPE_f32, nan, 0, 0) })));
    assert_int_equal(apply(SCALAR_relu, DTYPE_f32, f32b(-3), 0, 0), p0);
    assert_int_equal(apply(SCALAR_neg, DTYPE_f64, 0, 0, 0), f64b(-0.0));
    assert_int_equal(apply(SCALAR_rint, DTYPE_f64, f64b(2.5), 0, 0), f64b(2));
    assert_int_equal(apply(SCALAR_rint, DTYPE_f32, f32b(-0.4f), 0, 0), m0);
    assert_int_equal(apply(SCALAR_eq, DTYPE_f32, m0, p0, 0), 1);
    assert_int_equal(apply(SCALAR_eq, DTYPE_f32, nan, nan, 0), 0);
    assert_int_equal(apply(SCALAR_le, DTYPE_f32, nan, one, 0), 0);
    assert_int_equal(apply(SCALAR_sign, DTYPE_f32, m0, 0, 0), p0);
    assert_int_equal(apply(SCALAR_sign, DTYPE_f16, 0xbc00, 0, 0), 0xbc00);
    /* once or twice rounded */
    scalar_value x[3] = { { f64b(1 + 0x1p-30) }, { f64b(1 - 0x1p-30) }, { f64b(-1) } };
    assert_int_equal(sv_apply(e, SCALAR_fma, DTYPE_f64, DTYPE_f64, x, FMA_FUSED).bits, f64b(-0x1p-60));
    assert_int_equal(sv_apply(e, SCALAR_fma, DTYPE_f64, DTYPE_f64, x, FMA_ROUNDED).bits, 0);
}

static void narrow_floats(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {          /* every code there and back, and the same value halved */
        bool f16_nan = (h & 0x7fff) > 0x7c00, bf_nan = (h & 0x7fff) > 0x7f80;
        double x = sv_to_f64(DTYPE_f16, (scalar_value){ h }), y = sv_to_f64(DTYPE_bf16, (scalar_value){ h });
        assert_int_equal(isnan(x), f16_nan);
        assert_int_equal(isnan(y), bf_nan);
        if (!f16_nan) assert_int_equal(sv_from_f64(DTYPE_f16, x).bits, h);
        if (!bf_nan) assert_int_equal(sv_from_f64(DTYPE_bf16, y).bits, h);
    }
    /* between neighbours: below the middle down, above it up, the middle to even */
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double lo = sv_to_f64(DTYPE_f16, (scalar_value){ h }),
               hi = sv_to_f64(DTYPE_f16, (scalar_value){ h + 1 });
        double mid = (lo + hi) / 2;
        assert_int_equal(sv_from_f64(DTYPE_f16, mid).bits, h + (h & 1));
        assert_int_equal(sv_from_f64(DTYPE_f16, nextafter(mid, 0)).bits, h);
        assert_int_equal(sv_from_f64(DTYPE_f16, nextafter(mid, 1e9)).bits, h + 1);
        assert_int_equal(casted(DTYPE_f32, DTYPE_f16, f32b(-(float)mid)), 0x8000 | (h + (h & 1)));
    }
    assert_int_equal(sv_from_f64(DTYPE_f16, 65519.999).bits, 0x7bff);
    assert_int_equal(sv_from_f64(DTYPE_f16, 65520).bits, 0x7c00);
    assert_int_equal(sv_from_f64(DTYPE_bf16, 3.4e38).bits, 0x7f80);
    assert_int_equal(sv_from_f64(DTYPE_bf16, 0x1p-133).bits, 1);
    assert_int_equal(sv_from_f64(DTYPE_bf16, 0x1p-134).bits, 0);
    /* f64 to bf16 through f32: the first rounding makes the tie */
    assert_int_equal(sv_from_f64(DTYPE_bf16, 1 + 0x1p-8 + 0x1p-40).bits, 0x3f80);
    assert_int_equal(apply(SCALAR_add, DTYPE_f16, 0x7bff, 0x7bff, 0), 0x7c00);
    assert_int_equal(apply(SCALAR_mul, DTYPE_f16, 1, 0x3800, 0), 0);         /* half the least: tie to even */
}

static void casts(void **state)
{
    (void)state;
    assert_int_equal(casted(DTYPE_f32, DTYPE_i8, f32b(-1.9f)), 0xff);
    assert_int_equal(casted(DTYPE_f32, DTYPE_i8, f32b(1e9f)), 127);
    assert_int_equal(casted(DTYPE_f32, DTYPE_i8, f32b(-1e9f)), 0x80);
    assert_int_equal(casted(DTYPE_f32, DTYPE_u8, f32b(-5)), 0);
    assert_int_equal(casted(DTYPE_f32, DTYPE_i64, f32b(NAN)), 0);
    assert_int_equal(casted(DTYPE_f32, DTYPE_i64, f32b(INFINITY)), INT64_MAX);
    assert_int_equal(casted(DTYPE_f64, DTYPE_i64, f64b(-0x1p63)), INT64_MIN);
    assert_int_equal(casted(DTYPE_f64, DTYPE_u64, f64b(0x1p64)), UINT64_MAX);
    assert_int_equal(casted(DTYPE_f64, DTYPE_u64, f64b(0x1p63)), (uint64_t)1 << 63);
    assert_int_equal(casted(DTYPE_f64, DTYPE_bool, f64b(NAN)), 1);
    assert_int_equal(casted(DTYPE_f64, DTYPE_bool, f64b(-0.0)), 0);
    assert_int_equal(casted(DTYPE_f64, DTYPE_bool, f64b(0.5)), 1);
    assert_int_equal(casted(DTYPE_i32, DTYPE_i8, 0x1ff), 0xff);
    assert_int_equal(casted(DTYPE_i8, DTYPE_u32, 0xff), 0xffffffff);
    assert_int_equal(casted(DTYPE_u8, DTYPE_i32, 0xff), 0xff);
    assert_int_equal(casted(DTYPE_bool, DTYPE_f32, 1), f32b(1));
    assert_int_equal(casted(DTYPE_i32, DTYPE_bool, 256), 1);
    assert_int_equal(casted(DTYPE_i64, DTYPE_f32, (1 << 24) + 1), f32b(0x1p24f));
    assert_int_equal(casted(DTYPE_u64, DTYPE_f64, UINT64_MAX), f64b(0x1p64));
    assert_int_equal(casted(DTYPE_i64, DTYPE_f16, 70000), 0x7c00);
    assert_int_equal(sv_lowest(DTYPE_i32).bits, 0x80000000);
    assert_int_equal(sv_highest(DTYPE_u16).bits, 0xffff);
    assert_int_equal(sv_lowest(DTYPE_f16).bits, 0xfc00);
    assert_int_equal(sv_highest(DTYPE_bool).bits, 1);
}

/* i8 and u8: every pair against C. */
static void small_ints(void **state)
{
    (void)state;
    for (int x = -128; x < 128; x++)
        for (int y = -128; y < 128; y++) {
            assert_int_equal(ints(SCALAR_add, DTYPE_i8, x, y), (int8_t)(x + y));
            assert_int_equal(ints(SCALAR_mul, DTYPE_i8, x, y), (int8_t)(x * y));
            assert_int_equal(ints(SCALAR_div, DTYPE_i8, x, y), y ? (int8_t)(x / y) : 0);
            assert_int_equal(ints(SCALAR_fmod, DTYPE_i8, x, y), y ? x % y : 0);
            assert_int_equal(ints(SCALAR_mod, DTYPE_i8, x, y), y ? (x % y + y) % y : 0);
            assert_int_equal(ints(SCALAR_mod, DTYPE_u8, x, y), y & 255 ? (x & 255) % (y & 255) : 0);
            assert_int_equal(ints(SCALAR_max, DTYPE_i8, x, y), x > y ? x : y);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table), cmocka_unit_test(int_rows), cmocka_unit_test(float_rows),
        cmocka_unit_test(narrow_floats), cmocka_unit_test(casts), cmocka_unit_test(small_ints),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
