/* ir/expand_float.c: the recipes that f32 and f64 share; the types differ in constants and polynomials
 * (float_facts).
 *
 * exp      n = round(x / ln 2), r = x - n ln 2 in two products of which the first is exact, em = r + r^2
 *          q(r): e^x = 2^n (1 + em). expm1, sinh, cosh, tanh, sigmoid and erf start there. Rounding to an
 *          integer is an addition of 1.5 * 2^fraction, whose low bits are then n.
 * expm1    2^n em + (2^n - 1), a factor 2 aside so that 2^n does not overflow first. At n = 0 it is em.
 * tanh     e / (e + 2) with e = expm1(2|x|): no second polynomial near 0.
 * sigmoid  e = exp(-|x|): 1 / (1 + e), or e / (1 + e) below 0: right down to subnormal results.
 * sinh     with h = expm1(|x|) / 4: 2 (h + h / (1 + 4 h)).   cosh: with h = exp(|x|) / 4: 2 (h + 1 / (16 h)).
 * asin     |x| <= 1/2: s = |x|; else asin x = pi/2 - 2 asin s, s = sqrt((1 - |x|) / 2). asin s = s + s^3
 *          P(s^2). acos alike.
 * atan     t = |x|, (|x| - 1) / (|x| + 1) or -1 / |x|, so that |t| <= tan(pi/8); added to 0, pi/4 or pi/2.
 * erf      |x| < 1: x + x P(x^2); else 1 - exp(-Q(|x|)), Q a polynomial for -log erfc.
 *
 * NaN passes through `at_most` and `at_least` (their comparisons are false) and through arithmetic, so most
 * recipes need no test for it. Odd functions work on |x| and put the sign back, which makes f(-0) = -0.
 */
#include "ir/expand.h"

/* -- Pieces ---------------------------------------------------------------------------------------------- */

val at_most(line *b, val x, double limit) { val c = k(b, limit); return sel(b, lt(b, c, x), c, x); }
val at_least(line *b, val x, double limit) { val c = k(b, limit); return sel(b, lt(b, x, c), c, x); }

val sign_bit(line *b, val x) { return and2(b, bits(b, x), line_const(b, b->i, sv_lowest(b->i))); }
val with_sign(line *b, val x, val sign) { return flt(b, or2(b, bits(b, x), sign)); }

static uint64_t bits_of(const line *b, double x) { return sv_from_f64(b->t, x).bits; }

/* Shifts are of unsigned numbers: vectors of i64 have no arithmetic shift before AVX-512. */
val pow2(line *b, val t, int64_t plus)
{
    const float_facts *f = facts(b);
    uint64_t zero = bits_of(b, f->magic) - (uint64_t)(f->bias + plus);
    return flt(b, shl(b, sub(b, t, ku(b, zero)), ku(b, (uint64_t)f->fraction)));
}

val scale2(line *b, val x, val t)
{
    const float_facts *f = facts(b);
    val both = sub(b, t, ku(b, bits_of(b, f->magic) - (uint64_t)(2 * f->bias))),
        width = ku(b, (uint64_t)f->fraction);
    val half = shr(b, both, ku(b, 1));
    return mul(b, mul(b, x, flt(b, shl(b, half, width))), flt(b, shl(b, sub(b, both, half), width)));
}

val exp_poly(line *b, val r, coeffs q) { return fma3(b, mul(b, r, r), poly(b, r, q), r); }

reduced exp_reduce(line *b, val x)
{
    const float_facts *f = facts(b);
    val magic = k(b, f->magic);
    val t = fma3(b, x, k(b, 1.4426950408889634), magic);
    val n = sub(b, t, magic);
    val r = fma3(b, n, k(b, -f->ln2_lo), fma3(b, n, k(b, -f->ln2_hi), x));
    return (reduced){ ubits(b, t), exp_poly(b, r, f->exp) };
}

split_float frexp_sqrt2(line *b, val x, val is_scaled, double scaled_by)
{
    const float_facts *f = facts(b);
    uint64_t root = bits_of(b, 0.70710678118654752), bias = (uint64_t)f->bias;
    /* biased, so that it is not negative */
    val above = sub(b, ubits(b, x), ku(b, root - (bias << f->fraction)));
    val e = add(b, shr(b, above, ku(b, (uint64_t)f->fraction)), ku(b, bits_of(b, f->magic)));
    val m = add(b, and2(b, above, ku(b, (UINT64_C(1) << f->fraction) - 1)), ku(b, root));
    val zero_at = k(b, f->magic + (double)bias);
    if (is_scaled.id >= 0) zero_at = sel(b, is_scaled, k(b, f->magic + (double)bias + scaled_by), zero_at);
    return (split_float){ sub(b, flt(b, e), zero_at), flt(b, m) };
}

val log_limits(line *b, val x, val y, double pole)
{
    val p = k(b, pole), inf = k(b, __builtin_inf());
    val beyond = sel(b, eq(b, x, p), k(b, -__builtin_inf()), k(b, __builtin_nan("")));
    return sel(b, lt(b, x, inf), sel(b, lt(b, p, x), y, beyond), x);
}

/* -- The exponential family ------------------------------------------------------------------------------ */

val exp_any(line *b, val x, val y)
{
    (void)y;
    reduced e = exp_reduce(b, at_least(b, at_most(b, x, facts(b)->exp_max), facts(b)->exp_min));
    return scale2(b, add(b, e.em, k(b, 1)), e.t);
}

val expm1_any(line *b, val x, val y)
{
    (void)y;
    reduced e = exp_reduce(b, at_least(b, at_most(b, x, facts(b)->exp_max), facts(b)->expm1_min));
    val p = pow2(b, e.t, -1);
    val half = fma3(b, p, e.em, sub(b, p, k(b, 0.5)));
    return sel(b, lt(b, abs1(b, x), k(b, facts(b)->tiny)), x, add(b, half, half));
}

val sigmoid_any(line *b, val x, val y)
{
    (void)y;
    reduced r = exp_reduce(b, at_least(b, neg(b, abs1(b, x)), facts(b)->exp_min));
    val one = k(b, 1), e = scale2(b, add(b, r.em, one), r.t);
    return divide(b, sel(b, lt(b, x, k(b, 0)), e, one), add(b, one, e));
}

val tanh_any(line *b, val x, val y)
{
    (void)y;
    val a = abs1(b, x);
    reduced r = exp_reduce(b, at_most(b, add(b, a, a), facts(b)->tanh_max));
    val p = pow2(b, r.t, 0);
    val e = fma3(b, p, r.em, sub(b, p, k(b, 1)));
    return with_sign(b, divide(b, e, add(b, e, k(b, 2))), sign_bit(b, x));
}

val sinh_any(line *b, val x, val y)
{
    (void)y;
    val a = abs1(b, x);
    reduced r = exp_reduce(b, at_most(b, a, facts(b)->sinh_max));
    val p = pow2(b, r.t, -2);
    val h = fma3(b, p, r.em, sub(b, p, k(b, 0.25)));
    val s = add(b, h, divide(b, h, fma3(b, h, k(b, 4), k(b, 1))));
    return sel(b, lt(b, a, k(b, facts(b)->tiny3)), x, with_sign(b, add(b, s, s), sign_bit(b, x)));
}

val cosh_any(line *b, val x, val y)
{
    (void)y;
    reduced r = exp_reduce(b, at_most(b, abs1(b, x), facts(b)->sinh_max));
    val h = mul(b, add(b, r.em, k(b, 1)), pow2(b, r.t, -2));
    val s = add(b, h, divide(b, k(b, 0.0625), h));
    return add(b, s, s);
}

val erf_any(line *b, val x, val y)
{
    (void)y;
    const float_facts *f = facts(b);
    val a = at_most(b, abs1(b, x), f->erf_max), one = k(b, 1);
    val low = fma3(b, a, poly(b, mul(b, a, a), f->erf), a);
    val u = f->erf_mid != 0 ? sub(b, a, k(b, f->erf_mid)) : a;
    reduced r = exp_reduce(b, neg(b, poly(b, u, f->erf_tail)));
    val high = sub(b, one, mul(b, add(b, r.em, one), pow2(b, r.t, 0)));
    return with_sign(b, sel(b, lt(b, a, one), low, high), sign_bit(b, x));
}

/* -- Inverse circular functions -------------------------------------------------------------------------- */

typedef struct { val is_far, s, cubic; } arc_sine;    /* asin s = s + cubic; is_far: s is of the half angle */
static arc_sine asin_core(line *b, val a)
{
    val half = k(b, 0.5), far = lt(b, half, a);
    val z = sel(b, far, mul(b, sub(b, k(b, 1), a), half), mul(b, a, a));
    val s = sel(b, far, sqrt1(b, z), a);
    return (arc_sine){ far, s, mul(b, mul(b, s, z), poly(b, z, facts(b)->asin)) };
}

val asin_any(line *b, val x, val y)
{
    (void)y;
    const float_facts *f = facts(b);
    arc_sine p = asin_core(b, abs1(b, x));
    val twice = add(b, p.s, p.s);
    val low = fma3(b, p.cubic, k(b, -2), k(b, f->pi_lo / 2));
    val far = add(b, sub(b, k(b, f->pi_hi / 2), twice), low);
    return with_sign(b, sel(b, p.is_far, far, add(b, p.s, p.cubic)), sign_bit(b, x));
}

/* pi/2 - x, 2 asin s, or pi - 2 asin s: a constant and a multiple of s + cubic. */
val acos_any(line *b, val x, val y)
{
    (void)y;
    const float_facts *f = facts(b);
    arc_sine p = asin_core(b, abs1(b, x));
    val zero = k(b, 0), minus = lt(b, x, zero);
    val base = sel(b, p.is_far, sel(b, minus, k(b, f->pi_hi), zero), k(b, f->pi_hi / 2));
    val base_lo = sel(b, p.is_far, sel(b, minus, k(b, f->pi_lo), zero), k(b, f->pi_lo / 2));
    val times = sel(b, p.is_far, sel(b, minus, k(b, -2), k(b, 2)), sel(b, minus, k(b, 1), k(b, -1)));
    return add(b, base, fma3(b, times, p.s, fma3(b, times, p.cubic, base_lo)));
}

val atan_any(line *b, val x, val y)
{
    (void)y;
    const float_facts *f = facts(b);
    val a = abs1(b, x), one = k(b, 1), zero = k(b, 0);
    val mid = lt(b, k(b, 0.41421356237309503), a), far = lt(b, k(b, 2.4142135623730949), a);
    val num = sel(b, far, k(b, -1), sel(b, mid, sub(b, a, one), a));
    val den = sel(b, far, a, sel(b, mid, add(b, a, one), one));
    val base = sel(b, far, k(b, f->pi_hi / 2), sel(b, mid, k(b, f->pi_hi / 4), zero));
    val base_lo = sel(b, far, k(b, f->pi_lo / 2), sel(b, mid, k(b, f->pi_lo / 4), zero));
    val t = divide(b, num, den), z = mul(b, t, t);
    val low = fma3(b, mul(b, t, z), poly(b, z, f->atan), base_lo);
    return with_sign(b, add(b, base, add(b, t, low)), sign_bit(b, x));
}

/* -- sign, mod, pow -------------------------------------------------------------------------------------- */

val sign_any(line *b, val x, val y)                    /* NaN stays: it is neither above, below, nor 0 */
{
    (void)y;
    val zero = k(b, 0);
    return sel(b, lt(b, zero, x), k(b, 1), sel(b, lt(b, x, zero), k(b, -1), sel(b, eq(b, x, zero), zero, x)));
}

/* One divisor more where the signs differ; 0 takes the sign of y. */
val mod_of_fmod(line *b, val x, val y, val r)
{
    (void)x;
    val differs = lt(b, xor2(b, bits(b, r), bits(b, y)), ki(b, 0));
    return sel(b, eq(b, r, k(b, 0)), flt(b, sign_bit(b, y)), sel(b, differs, add(b, r, y), r));
}

val pow_exponent(line *b, val y) { return at_least(b, at_most(b, y, 0x1p65), -0x1p65); }

val pow_limits(line *b, val x, val y, val magnitude)
{
    val zero = k(b, 0), one = k(b, 1), inf = k(b, __builtin_inf()), nan = k(b, __builtin_nan(""));
    val a = abs1(b, x), half = mul(b, y, k(b, 0.5));
    val whole = eq(b, rint1(b, y), y), odd = and2(b, whole, not1(b, eq(b, rint1(b, half), half)));
    val is_zero = eq(b, a, zero), is_inf = eq(b, a, inf), below = lt(b, y, zero);
    val at_end = sel(b, xor2(b, below, is_zero), zero, inf);
    val r = sel(b, or2(b, is_zero, is_inf), at_end, magnitude);
    r = sel(b, and2(b, and2(b, lt(b, x, zero), not1(b, whole)), not1(b, is_inf)), nan, r);
    r = with_sign(b, r, sel(b, odd, sign_bit(b, x), ki(b, 0)));
    r = sel(b, and2(b, eq(b, x, x), eq(b, y, y)), r, nan);
    return sel(b, or2(b, eq(b, y, zero), eq(b, x, one)), one, r);
}
