/* ir/expand_f32.c: the functions of f32: constants for the shared recipes, and what differs.
 *
 * exp, expm1, tanh, sigmoid, erf, log, log1p, sinh, cosh, asin, acos, atan stay in f32: full lanes. The rest
 * computes in f64, where 29 bits to spare make short work of what f64 itself has to do in two words:
 *
 * sin cos tan   x * 2/pi modulo 4, exactly enough for every finite x: 2/pi is cut into pieces of 29 bits, so
 *               that x (24 bits) times a piece is exact, and each product is reduced modulo 4 alone. Five
 *               pieces starting at bit 0 serve |x| < 2^77, five starting at bit 52 the larger ones, where
 *               what is left out is a multiple of 4.
 * pow           exp(y log |x|), the logarithm to 2^-37.
 * asinh acosh atanh   by the logarithm, of sums that lose nothing in f64.
 * fmod          ten chunks of 28 bits of the quotient, from the highest: q = trunc(r / y'), r - q y' exact,
 *               for y' = |y| 2^252 … |y|. A quotient may come out one off where it is nearly whole; the next
 *               chunk, and at the end one correction each way, take that back.
 * log           m in [sqrt 1/2, sqrt 2), f = m - 1: f - f^2/2 + f^3 P(f), e ln 2 added in two pieces.
 * log1p         u = 1 + x, what the sum lost scaled with it into f: at e = 0 then f is x itself.
 */
#include "ir/expand.h"

#define COEFFS(table) { sizeof table / sizeof *table, table }

/* scripts/fit_scalar.py; 2^-25.7 2^-28.4 2^-29.5 2^-29.6 2^-27.6 2^-30.5 */
static const double f32_exp[] = { 0.49999997, 0.16666539, 4.1667223e-2, 8.36718082e-3, 1.38824061e-3 };
static const double f32_log[] = { 0.333333135, -0.250000089, 0.200021178, -0.166679949, 0.142195553,
    -0.124056004,
    0.118881576, -0.116755918, 6.7465879e-2 };
static const double f32_erf[] = { 0.128379166, -0.376126289, 0.112836182, -2.6855126e-2, 5.19073382e-3,
    -8.03076313e-4,
    7.92038627e-5 };
static const double f32_erf_tail[] = { 3.00468295e-4, 1.12725127, 0.637883425, 0.103327051, -2.19402928e-2,
    2.9724068e-3,
    -1.88818667e-4 };
static const double f32_asin[] = { 0.166667536, 7.49524906e-2, 4.54766601e-2, 2.41481233e-2, 4.22198214e-2 };
static const double f32_atan[] = { -0.333333164, 0.199985296, -0.142444223, 0.105993569, -6.09035492e-2 };
/* in f64; 2^-37.5 2^-43.1 2^-37.6 2^-34.2 */
static const double f32_sin[] = { -0.16666666641022382, 8.3333293147115281e-3, -1.9839311666884575e-4,
    2.7180885803135775e-6 };
static const double f32_cos[] = { 4.1666666621768871e-2, -1.3888883660683612e-3, 2.4799495221320783e-5,
    -2.7208167146900348e-7 };
static const double f32_log_wide[] = { 0.66666665641344236, 0.400003362099699, 0.28537238811991045,
                                       0.23583560911375445 };
static const double f32_exp_wide[] = { 0.50000000826419433, 0.16666666872263025, 4.1666254001236649e-2,
    8.3332616367256807e-3, 1.3947211823232054e-3, 1.9919892875748052e-4 };

const float_facts facts_f32 = {
    .fraction = 23, .bias = 127, .magic = 12582912.0, .least = 0x1p-126, .tiny = 0x1p-25, .tiny3 = 0x1p-13,
    .ln2_hi = 0x1.62e4p-1, .ln2_lo = 0x1.7f7d1cf79abcap-20, .pi_hi = 0x1.921fb6p+1, .pi_lo = -0x1.777a5cp-24,
    .exp_min = -104, .exp_max = 89, .sinh_max = 89.5, .tanh_max = 20, .expm1_min = -30, .erf_max = 4,
    .erf_mid = 0,
    .exp = COEFFS(f32_exp), .asin = COEFFS(f32_asin), .atan = COEFFS(f32_atan), .erf = COEFFS(f32_erf),
    .erf_tail = COEFFS(f32_erf_tail),
};

/* -- Logarithms in f32 ----------------------------------------------------------------------------------- */

static val log_sum(line *b, val f, val e)             /* log(1 + f) + e ln 2 */
{
    val z = mul(b, f, f);
    val y = fma3(b, mul(b, z, f), poly(b, f, (coeffs)COEFFS(f32_log)), mul(b, e, k(b, facts_f32.ln2_lo)));
    y = fma3(b, z, k(b, -0.5), y);
    return fma3(b, e, k(b, facts_f32.ln2_hi), add(b, f, y));
}

static val log_f32(line *b, val x, val y)
{
    (void)y;
    val small = lt(b, x, k(b, facts_f32.least));
    split_float s = frexp_sqrt2(b, sel(b, small, mul(b, x, k(b, 0x1p24)), x), small, 24);
    return log_limits(b, x, log_sum(b, sub(b, s.m, k(b, 1)), s.e), 0);
}

static val log1p_f32(line *b, val x, val y)
{
    (void)y;
    val one = k(b, 1), u = add(b, one, x);
    val lost = sel(b, lt(b, one, x), sub(b, one, sub(b, u, x)), sub(b, x, sub(b, u, one)));
    split_float s = frexp_sqrt2(b, u, (val){ -1 }, 0);
    /* lost / 2^e = (lost / 2) 2^(1 - e): the exponent of m less that of u, one more so that e = 128 gives 0
     */
    val down = flt(b, add(b, sub(b, bits(b, s.m), bits(b, u)), ki(b, 0x40000000)));
    val f = fma3(b, mul(b, lost, k(b, 0.5)), down, sub(b, s.m, one));
    val r = log_limits(b, x, log_sum(b, f, s.e), -1);
    return sel(b, lt(b, abs1(b, x), k(b, facts_f32.tiny)), x, r);
}

/* -- In f64 ---------------------------------------------------------------------------------------------- */

static val widen(line *b, val x) { line_type(b, DTYPE_f64); return to(b, DTYPE_f64, x); }
static val narrow(line *b, val x) { line_type(b, DTYPE_f32); return to(b, DTYPE_f32, x); }

static val log_wide(line *b, val x)                    /* of a normal x > 0 */
{
    split_float p = frexp_sqrt2(b, x, (val){ -1 }, 0);
    val f = sub(b, p.m, k(b, 1)), s = divide(b, f, add(b, f, k(b, 2))), z = mul(b, s, s);
    val cubic = mul(b, z, poly(b, z, (coeffs)COEFFS(f32_log_wide)));
    /* 2 s + s cubic, with 2 s = f - s f */
    return fma3(b, p.e, k(b, 0.69314718055994531), sub(b, f, mul(b, s, sub(b, f, cubic))));
}

static val pow_f32(line *b, val x, val y)
{
    val exponent = pow_exponent(b, y), a = abs1(b, x);
    val logarithm = log_wide(b, widen(b, a));
    val p = mul(b, to(b, DTYPE_f64, exponent), logarithm);
    p = at_least(b, at_most(b, p, 200), -200);
    val magic = k(b, facts_f64.magic), t = fma3(b, p, k(b, 1.4426950408889634), magic);
    val r = fma3(b, sub(b, t, magic), k(b, -0.69314718055994531), p);
    val m = mul(b, add(b, exp_poly(b, r, (coeffs)COEFFS(f32_exp_wide)), k(b, 1)), pow2(b, ubits(b, t), 0));
    return pow_limits(b, x, y, narrow(b, m));
}

/* asinh x = log(a + sqrt(a^2 + 1)); near 0, where the 1 would swallow a: a - a^3/6. */
static val asinh_f32(line *b, val x, val y)
{
    (void)y;
    val sign = sign_bit(b, x), a = widen(b, abs1(b, x)), one = k(b, 1);
    val z = mul(b, a, a);
    val far = log_wide(b, add(b, a, sqrt1(b, add(b, z, one))));
    val near = sub(b, a, mul(b, mul(b, a, z), k(b, 1.0 / 6)));
    val r = sel(b, lt(b, a, k(b, 0x1p-10)), near, far);
    return with_sign(b, narrow(b, sel(b, lt(b, a, k(b, __builtin_inf())), r, a)), sign);
}

static val acosh_f32(line *b, val x, val y)
{
    (void)y;
    val a = widen(b, x), one = k(b, 1);
    val r = log_wide(b, add(b, a, sqrt1(b, mul(b, sub(b, a, one), add(b, a, one)))));
    val limits = sel(b, lt(b, a, one), k(b, __builtin_nan("")), a);
    return narrow(b, sel(b, and2(b, le(b, one, a), lt(b, a, k(b, __builtin_inf()))), r, limits));
}

static val atanh_f32(line *b, val x, val y)
{
    (void)y;
    val sign = sign_bit(b, x), a = widen(b, abs1(b, x)), one = k(b, 1);
    val far = mul(b, log_wide(b, divide(b, add(b, one, a), sub(b, one, a))), k(b, 0.5));
    val near = fma3(b, mul(b, mul(b, a, a), a), k(b, 1.0 / 3), a);
    val r = sel(b, lt(b, a, k(b, 0x1p-10)), near, far);
    val limits = sel(b, eq(b, a, one), k(b, __builtin_inf()), k(b, __builtin_nan("")));
    return with_sign(b, narrow(b, sel(b, lt(b, a, one), r, limits)), sign);
}

/* -- sin, cos, tan --------------------------------------------------------------------------------------- */

typedef struct { val quadrant, sin, cos; } circular;

/* Bits 1-145 and 53-197 of 2/pi, 29 a piece. */
static const double two_over_pi[2][5] = {
    { 341782637 * 0x1p-29, 423170132 * 0x1p-58, 352195499 * 0x1p-87, 488592205 * 0x1p-116,
      461485765 * 0x1p-145 },
    { 173275214 * 0x1p-81, 368344397 * 0x1p-110, 116262619 * 0x1p-139, 43358524 * 0x1p-168,
      141690943 * 0x1p-197 },
};

static val mod4(line *b, val x) { return fma3(b, rint1(b, mul(b, x, k(b, 0.25))), k(b, -4), x); }

typedef struct { val hi, lo; } pair;
static pair two_sum(line *b, val x, val y)             /* hi + lo = x + y, exactly */
{
    val s = add(b, x, y), x1 = sub(b, s, y), y1 = sub(b, s, x1);
    return (pair){ s, add(b, sub(b, x, x1), sub(b, y, y1)) };
}

static circular circle(line *b, val ax)            /* sine and cosine of the rest modulo pi/2; ax >= 0, f32 */
{
    val a = widen(b, ax), large = le(b, k(b, 0x1p77), a), p[5];
    for (int i = 0; i < 5; i++)
        p[i] = mul(b, a, sel(b, large, k(b, two_over_pi[1][i]), k(b, two_over_pi[0][i])));
    pair s = two_sum(b, mod4(b, p[0]), mod4(b, p[1])), t = two_sum(b, s.hi, mod4(b, p[2]));
    val magic = k(b, facts_f64.magic), rounded = add(b, t.hi, magic);
    val rest = add(b, add(b, s.lo, t.lo), add(b, p[3], p[4]));
    val turn = add(b, sub(b, t.hi, sub(b, rounded, magic)), rest);
    val r = mul(b, turn, k(b, 1.5707963267948966)), z = mul(b, r, r);
    val sine = fma3(b, mul(b, r, z), poly(b, z, (coeffs)COEFFS(f32_sin)), r);
    val cosine = fma3(b, mul(b, z, z), poly(b, z, (coeffs)COEFFS(f32_cos)), fma3(b, z, k(b, -0.5), k(b, 1)));
    return (circular){ bits(b, rounded), sine, cosine };
}

/* Bit `at` of n as the sign bit of an i64 and then of an f32 result, xor-ed by whoever wants it. */
static val flip_by_bit(line *b, val x, val n, int at)
{
    val sign = and2(b, shl(b, n, ki(b, 63 - at)), ki(b, INT64_MIN));
    return flt(b, xor2(b, bits(b, x), sign));
}

static val is_odd(line *b, val n) { return not1(b, eq(b, and2(b, n, ki(b, 1)), ki(b, 0))); }

static val sin_f32(line *b, val x, val y)
{
    (void)y;
    val sign = sign_bit(b, x);
    circular c = circle(b, abs1(b, x));
    val r = narrow(b, flip_by_bit(b, sel(b, is_odd(b, c.quadrant), c.cos, c.sin), c.quadrant, 1));
    return flt(b, xor2(b, bits(b, r), sign));
}

static val cos_f32(line *b, val x, val y)
{
    (void)y;
    circular c = circle(b, abs1(b, x));
    val r = sel(b, is_odd(b, c.quadrant), c.sin, c.cos);
    return narrow(b, flip_by_bit(b, r, add(b, c.quadrant, ki(b, 1)), 1));
}

static val tan_f32(line *b, val x, val y)
{
    (void)y;
    val sign = sign_bit(b, x);
    circular c = circle(b, abs1(b, x));
    val odd = is_odd(b, c.quadrant);
    val r = divide(b, sel(b, odd, c.cos, c.sin), sel(b, odd, c.sin, c.cos));
    r = narrow(b, flip_by_bit(b, r, c.quadrant, 0));
    return flt(b, xor2(b, bits(b, r), sign));
}

/* -- fmod ------------------------------------------------------------------------------------------------ */

static val fmod_f32(line *b, val x, val y)
{
    val sign = sign_bit(b, x), r = widen(b, abs1(b, x)), d = to(b, DTYPE_f64, y);
    d = at_most(b, abs1(b, d), 0x1p130);              /* an infinite divisor: any one above all f32 */
    val inverse = divide(b, k(b, 1), d), minus = neg(b, d);
    for (int chunk = 9; chunk >= 0; chunk--) {
        double up = __builtin_ldexp(1, 28 * chunk);
        val q = trunc1(b, mul(b, r, mul(b, inverse, k(b, 1 / up))));
        r = fma3(b, q, mul(b, minus, k(b, up)), r);
    }
    r = sel(b, lt(b, r, k(b, 0)), add(b, r, d), r);
    r = sel(b, le(b, d, r), sub(b, r, d), r);
    return with_sign(b, narrow(b, r), sign);
}

static val mod_f32(line *b, val x, val y) { return mod_of_fmod(b, x, y, fmod_f32(b, x, y)); }

const recipe recipes_f32[SCALAR_COUNT] = {
#define X(name) [SCALAR_##name] = name##_any,
    SHARED_RECIPES(X)
#undef X
    [SCALAR_log] = log_f32, [SCALAR_log1p] = log1p_f32,
    [SCALAR_asinh] = asinh_f32, [SCALAR_acosh] = acosh_f32, [SCALAR_atanh] = atanh_f32,
    [SCALAR_sin] = sin_f32, [SCALAR_cos] = cos_f32, [SCALAR_tan] = tan_f32,
    [SCALAR_mod] = mod_f32, [SCALAR_fmod] = fmod_f32, [SCALAR_pow] = pow_f32,
};
