/* ir/expand_f64.c: the functions of f64: constants for the shared recipes, and what differs.
 *
 * log      m in [sqrt 1/2, sqrt 2), f = m - 1, s = f / (2 + f), R = z L(z) with z = s^2: log(1 + f) = 2 s + s
 *          R = f - (f^2/2 - s (f^2/2 + R)), e ln 2 added in two pieces.
 * log1p    u = 1 + x, what the sum lost scaled with it into f: at e = 0 then f is x itself. The inverse
 *          hyperbolic functions are log1p of arguments that cancel nothing.
 * sin cos tan   For |x| >= pi/4 the argument is M 2^q, M of 53 bits; 192 bits of 2/pi, from the first that
 *          can matter modulo 4, are chosen out of 20 words by selects on the bits of q; M times them modulo
 *          2^192, in 32-bit digits, is the number of quarter turns to 2^-123 (the closest any f64 comes to a
 *          whole one is about 2^-61). Its fraction times pi/2 is the angle in two words. (Payne and Hanek,
 *          Radian reduction for trigonometric functions, 1983.)
 * pow      log |x| in two words: m in [2^(-9/16), 2^(7/16)) divided by the nearest of 8 short c, of which 1
 *          is one, so that s = (m - c) / (m + c) stays below 0.0253 and only 2 s needs two words. exp of the
 *          product with y likewise. Where a product must be exact, its factors are cut to 26 bits.
 * fmod     with x = M 2^(e+d), y = m 2^e: M 2^d mod m. 2^d mod m by six squarings, 2^(d/64) first and one bit
 *          of d each; a product modulo m is a b - q m in wrapping 64 bits, q = a b / m estimated in f64
 *          within a few units, which leaves a small number to be reduced exactly.
 */
#include "ir/expand.h"

#define COEFFS(table) { sizeof table / sizeof *table, table }

/* scripts/fit_scalar.py; 2^-59.4 2^-59.5 2^-57.9 2^-64.1 2^-59.8 2^-59.5 2^-56.2 2^-56.6 2^-71.5 */
static const double f64_exp[] = { 0.5, 0.16666666666666677, 4.1666666666666491e-2, 8.3333333333207409e-3,
    1.388888888896834e-3, 1.9841269888679996e-4, 2.4801587164740245e-5, 2.7557241372275265e-6,
    2.7557405980205542e-7,
    2.5110108818909117e-8, 2.0875298184248469e-9 };
static const double f64_log[] = { 0.66666666666667351, 0.39999999999409336, 0.28571428743692595,
                                  0.22222198428155915, 0.18183572406101289, 0.15313830670030892,
                                  0.14798275382507359 };
static const double f64_sin[] = { -0.1666666666666663,  8.3333333333217956e-3,  -1.9841269829291936e-4,
                                  2.755731350632428e-6, -2.5050728108561142e-8, 1.5895005777073291e-10 };
static const double f64_cos[] = { 4.1666666666666595e-2, -1.3888888888873303e-3, 2.4801587288946978e-5,
    -2.755731419178011e-7, 2.0875700706223473e-9, -1.135844371232577e-11 };
static const double f64_asin[] = { 0.16666666666666763,   7.4999999999701181e-2, 4.4642857175271292e-2,
                                   3.0381942675879649e-2, 2.2372215891027093e-2, 1.7351595741333908e-2,
                                   1.3981015877909857e-2, 1.1397313287734866e-2, 1.0789214589130498e-2,
                                   3.6725658368474516e-3, 2.1789765903843197e-2, -2.1115527434938081e-2,
                                   3.2701446795250208e-2 };
static const double f64_atan[] = { -0.33333333333333198,   0.19999999999953766,   -0.14285714280212075,
                                   0.11111110784144992,    -9.090897775182219e-2, 7.692060487946388e-2,
                                   -6.6631067352008369e-2, 5.8479058201855047e-2, -5.0393655949201761e-2,
                                   3.8065770824052408e-2,  -1.790817512381411e-2 };
static const double f64_erf[] = { 0.12837916709551259,    -0.37612638903184109,   0.11283791670972065,
                                  -2.686617064828134e-2,  5.2239776556881543e-3,  -8.5483287354582663e-4,
                                  1.2055394335282141e-4,  -1.4927094922281921e-5, 1.6484730344248347e-6,
                                  -1.6598330076618835e-7, 1.6303695177411081e-8,  -1.7632541642365844e-9,
                                  1.638565336439136e-10 };
static const double f64_erf_tail[] = { 1.8496055099332482, 2.6389675142347917, 0.84310725635850536,
    4.1561098045103419e-2, -1.0033825407924107e-2, 1.9779027744049591e-3, -2.3732331594016452e-4,
    -2.6275546761831159e-5, 2.7154470559274229e-5, -9.6021357807248312e-6, 2.0524611836916796e-6,
    -1.3697378297379037e-7, -1.0110677285397585e-7, 5.3630271734888162e-8, -1.5431070967054475e-8,
    2.983929717179564e-9, -3.8673961283194968e-10, 3.05228817797309e-11, -1.1103348601274224e-12 };
static const double f64_pow_log[] = { 0.66666666666666663, 0.40000000000069524, 0.28571428165836948,
                                      0.22223152127425502, 0.17455428718266378 };

const float_facts facts_f64 = {
    .fraction = 52, .bias = 1023, .magic = 0x1.8p52, .least = 0x1p-1022, .tiny = 0x1p-54, .tiny3 = 0x1p-27,
    .ln2_hi = 0x1.62e42fefa38p-1, .ln2_lo = 0x1.ef35793c7673p-45, .pi_hi = 0x1.921fb54442d18p+1,
    .pi_lo = 0x1.1a62633145c07p-53, .exp_min = -746, .exp_max = 710, .sinh_max = 710.6, .tanh_max = 40,
    .expm1_min = -60, .erf_max = 5.95, .erf_mid = 1,
    .exp = COEFFS(f64_exp), .asin = COEFFS(f64_asin), .atan = COEFFS(f64_atan), .erf = COEFFS(f64_erf),
    .erf_tail = COEFFS(f64_erf_tail),
};

typedef struct { val hi, lo; } pair;

/* x without its low 27 bits of significand: 26 are left. */
static val high_part(line *b, val x) { return flt(b, and2(b, bits(b, x), ki(b, -(INT64_C(1) << 27)))); }

/* -- Logarithms ------------------------------------------------------------------------------------------ */

static val log_sum(line *b, val f, val e)             /* log(1 + f) + e ln 2 */
{
    val s = divide(b, f, add(b, f, k(b, 2))), z = mul(b, s, s);
    val square = mul(b, mul(b, f, f), k(b, 0.5));
    val r = fma3(b, z, poly(b, z, (coeffs)COEFFS(f64_log)), square);
    val low = fma3(b, s, r, mul(b, e, k(b, facts_f64.ln2_lo)));
    return fma3(b, e, k(b, facts_f64.ln2_hi), sub(b, f, sub(b, square, low)));
}

static val log_f64(line *b, val x, val y)
{
    (void)y;
    val small = lt(b, x, k(b, facts_f64.least));
    split_float s = frexp_sqrt2(b, sel(b, small, mul(b, x, k(b, 0x1p54)), x), small, 54);
    return log_limits(b, x, log_sum(b, sub(b, s.m, k(b, 1)), s.e), 0);
}

/* log(1 + x), x > -1 and finite; where `is_double`, log(2 (1 + x)). */
static val log1p_core(line *b, val x, val is_double)
{
    val one = k(b, 1), u = add(b, one, x);
    val lost = sel(b, lt(b, one, x), sub(b, one, sub(b, u, x)), sub(b, x, sub(b, u, one)));
    split_float s = frexp_sqrt2(b, u, is_double, -1);
    /* lost / 2^e = (lost / 2) 2^(1 - e): the exponent of m less that of u, one more so that e = 1024 gives 0
     */
    val down = flt(b, add(b, sub(b, bits(b, s.m), bits(b, u)), ki(b, INT64_C(1) << 62)));
    return log_sum(b, fma3(b, mul(b, lost, k(b, 0.5)), down, sub(b, s.m, one)), s.e);
}

static val log1p_f64(line *b, val x, val y)
{
    (void)y;
    val r = log_limits(b, x, log1p_core(b, x, (val){ -1 }), -1);
    return sel(b, lt(b, abs1(b, x), k(b, facts_f64.tiny)), x, r);
}

/* log(a + sqrt(a^2 + 1)) = log1p(a + a^2 / (1 + sqrt(a^2 + 1))); from 2^28 on log 2a. */
static val asinh_f64(line *b, val x, val y)
{
    (void)y;
    val a = abs1(b, x), one = k(b, 1), far = lt(b, k(b, 0x1p28), a), z = mul(b, a, a);
    val sum = add(b, a, divide(b, z, add(b, one, sqrt1(b, add(b, z, one)))));
    val r = log1p_core(b, sel(b, far, sub(b, a, one), sum), far);
    r = sel(b, lt(b, a, k(b, facts_f64.tiny3)), a, sel(b, lt(b, a, k(b, __builtin_inf())), r, a));
    return with_sign(b, r, sign_bit(b, x));
}

/* t = a - 1: log1p(t + sqrt(2t + t^2)); from 2^28 on log 2a. */
static val acosh_f64(line *b, val x, val y)
{
    (void)y;
    val one = k(b, 1), far = lt(b, k(b, 0x1p28), x), t = sub(b, x, one);
    val sum = add(b, t, sqrt1(b, fma3(b, t, t, add(b, t, t))));
    val r = log1p_core(b, sel(b, far, t, sum), far);
    r = sel(b, lt(b, x, k(b, __builtin_inf())), r, x);
    return sel(b, lt(b, x, one), k(b, __builtin_nan("")), r);
}

/* log1p(2a / (1 - a)) / 2, for small a as 2a + 2a a / (1 - a). */
static val atanh_f64(line *b, val x, val y)
{
    (void)y;
    val a = abs1(b, x), one = k(b, 1), twice = add(b, a, a), rest = sub(b, one, a);
    val near = lt(b, a, k(b, 0.5));
    val q = divide(b, sel(b, near, mul(b, twice, a), twice), rest);
    val r = mul(b, log1p_core(b, sel(b, near, add(b, twice, q), q), (val){ -1 }), k(b, 0.5));
    r = sel(b, lt(b, a, k(b, facts_f64.tiny3)), a, r);
    val limits = sel(b, eq(b, a, one), k(b, __builtin_inf()), k(b, __builtin_nan("")));
    return with_sign(b, sel(b, lt(b, a, one), r, limits), sign_bit(b, x));
}

/* -- sin, cos, tan --------------------------------------------------------------------------------------- */

static const uint64_t two_over_pi[20] = {             /* after 64 zero bits */
    0, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
    0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d, 0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
};

/* w[0 … 2]: 192 bits of two_over_pi from bit `from` < 1088 on, the first on top. */
static void window(line *b, val from, val w[3])
{
    val c[20];
    for (int i = 0; i < 20; i++) c[i] = ku(b, two_over_pi[i]);
    for (int by = 8; by; by /= 2) {          /* words from c[word] on, word = from / 64, but for its bit 16 */
        val off = eq(b, and2(b, from, ku(b, (uint64_t)by * 64)), ku(b, 0));
        for (int i = 0; i < by + 3; i++) c[i] = sel(b, off, c[i], c[i + by]);
    }
    val off = eq(b, and2(b, from, ku(b, 1024)), ku(b, 0));
    for (int i = 0; i < 4; i++) c[i] = sel(b, off, c[i], ku(b, two_over_pi[16 + i]));
    val up = and2(b, from, ku(b, 63)), down = sub(b, ku(b, 64), up);
    for (int i = 0; i < 3; i++) w[i] = or2(b, shl(b, c[i], up), shr(b, c[i + 1], down));
}

static val low32(line *b, val x) { return and2(b, x, ku(b, 0xffffffff)); }
static val high32(line *b, val x) { return shr(b, x, ku(b, 32)); }

/* Bits 64 … 191 of m w modulo 2^192, m < 2^53; a few units of the last may be missing. */
static void turns(line *b, val m, const val w[3], val *hi, val *lo)
{
    val part[2] = { low32(b, m), high32(b, m) }, word[2][2];
    val d[6] = { low32(b, w[2]),  high32(b, w[2]), low32(b, w[1]),
                 high32(b, w[1]), low32(b, w[0]),  high32(b, w[0]) };
    for (int p = 0; p < 2; p++) {                   /* part[1] counts one digit higher, so starts one lower */
        val carry = high32(b, mul(b, part[p], d[1 - p]));
        for (int i = 0; i < 2; i++) {
            val x = add(b, mul(b, part[p], d[2 * i + 2 - p]), carry);
            val y = add(b, mul(b, part[p], d[2 * i + 3 - p]), high32(b, x));
            word[p][i] = or2(b, shl(b, y, ku(b, 32)), low32(b, x));
            carry = high32(b, y);
        }
    }
    *lo = add(b, word[0][0], word[1][0]);
    val carry = to(b, b->u, lt(b, *lo, word[0][0]));
    *hi = add(b, add(b, word[0][1], word[1][1]), carry);
}

/* (hi + lo) 2^-126 quarter turns, less the whole ones, in radians. */
static pair angle(line *b, val hi, val lo, val *quadrant)
{
    *quadrant = shr(b, add(b, hi, ku(b, UINT64_C(1) << 61)), ku(b, 62));
    val top = line_bitcast(b, b->i, sub(b, hi, shl(b, *quadrant, ku(b, 62))));
    /* 51 bits, then 53, then 22 */
    val p = mul(b, to(b, b->t, and2(b, top, ki(b, ~INT64_C(2047)))), k(b, 0x1p-62));
    val mid = or2(b, shl(b, and2(b, hi, ku(b, 2047)), ku(b, 42)), shr(b, lo, ku(b, 22)));
    val q = mul(b, to(b, b->t, line_bitcast(b, b->i, mid)), k(b, 0x1p-104));
    val last = line_bitcast(b, b->i, and2(b, lo, ku(b, (UINT64_C(1) << 22) - 1)));
    val r = mul(b, to(b, b->t, last), k(b, 0x1p-126));
    val x = add(b, p, q), x_lo = add(b, sub(b, q, sub(b, x, p)), r);
    /* times pi/2: x * c exactly in pieces, c = c1 + c2 */
    val c1 = k(b, 0x1.921fb58p+0), c2 = k(b, -0x1.dde9740p-27), c = k(b, 0x1.921fb54442d18p+0);
    val x1 = high_part(b, x), x2 = sub(b, x, x1), y = mul(b, x, c);
    val err = fma3(b, x2, c1, fma3(b, x1, c2, fma3(b, x1, c1, neg(b, y))));
    err = fma3(b, x2, c2, err);
    val y_lo = add(b, err, fma3(b, x_lo, c, mul(b, x, k(b, 0x1.1a62633145c07p-54))));
    return (pair){ y, y_lo };
}

typedef struct { val quadrant, sin, cos; } circular;
static circular circle(line *b, val a)                /* a >= 0 */
{
    val near = lt(b, a, k(b, 0.78539816339744831)), u = ubits(b, a), w[3], hi, lo, quadrant;
    val from = sub(b, shr(b, u, ku(b, 52)), ku(b, 1013));
    val m = or2(b, and2(b, u, ku(b, (UINT64_C(1) << 52) - 1)), ku(b, UINT64_C(1) << 52));
    window(b, from, w);
    turns(b, m, w, &hi, &lo);
    pair r = angle(b, hi, lo, &quadrant);
    val x = sel(b, near, a, r.hi), tail = sel(b, near, k(b, 0), r.lo);
    x = sel(b, lt(b, a, k(b, __builtin_inf())), x, k(b, __builtin_nan("")));
    val z = mul(b, x, x), half = mul(b, z, k(b, 0.5)), one = k(b, 1), rest = sub(b, one, half);
    val sine = add(b, x, fma3(b, mul(b, x, z), poly(b, z, (coeffs)COEFFS(f64_sin)), mul(b, tail, rest)));
    val small = fma3(b, mul(b, z, z), poly(b, z, (coeffs)COEFFS(f64_cos)), neg(b, mul(b, x, tail)));
    val cosine = add(b, rest, add(b, sub(b, sub(b, one, rest), half), small));
    return (circular){ sel(b, near, ku(b, 0), quadrant), sine, cosine };
}

static val flip_by_bit(line *b, val x, val n, int at)
{
    val sign = and2(b, shl(b, n, ku(b, (uint64_t)(63 - at))), ku(b, UINT64_C(1) << 63));
    return flt(b, xor2(b, ubits(b, x), sign));
}

static val is_odd(line *b, val n) { return eq(b, and2(b, n, ku(b, 1)), ku(b, 1)); }

static val sin_f64(line *b, val x, val y)
{
    (void)y;
    circular c = circle(b, abs1(b, x));
    val r = flip_by_bit(b, sel(b, is_odd(b, c.quadrant), c.cos, c.sin), c.quadrant, 1);
    return flt(b, xor2(b, bits(b, r), sign_bit(b, x)));
}

static val cos_f64(line *b, val x, val y)
{
    (void)y;
    circular c = circle(b, abs1(b, x));
    return flip_by_bit(b, sel(b, is_odd(b, c.quadrant), c.sin, c.cos), add(b, c.quadrant, ku(b, 1)), 1);
}

static val tan_f64(line *b, val x, val y)
{
    (void)y;
    circular c = circle(b, abs1(b, x));
    val odd = is_odd(b, c.quadrant), r = divide(b, sel(b, odd, c.cos, c.sin), sel(b, odd, c.sin, c.cos));
    return flt(b, xor2(b, bits(b, flip_by_bit(b, r, c.quadrant, 0)), sign_bit(b, x)));
}

/* -- pow ------------------------------------------------------------------------------------------------- */

/* c = 2^(i/8) to 6 bits, i = -4 … 3; log c in two words, the first a multiple of 2^-42; c serves from `from`
 * on. */
static const struct { double c, log_hi, log_lo, from; } pow_c[8] = {
    { 0.703125, -0x1.68ac83e9c7000p-2, 0x1.7af966c548a30p-44, 0 },
    { 0.765625, -0x1.1178e8227e000p-2, -0x1.1ef78ce2d07f2p-44, 0.7384130729697497 },
    { 0.84375, -0x1.5bf406b544000p-3, 0x1.27023eb68981cp-46, 0.8052451659746271 },
    { 0.921875, -0x1.4d3115d208000p-4, 0x1.53a2582f4e1efp-48, 0.8781260801866497 },
    { 1.0, 0, 0, 0.9576032806985737 },
    { 1.09375, 0x1.6f0d28ae58000p-4, -0x1.4b4641b664613p-44, 1.0442737824274138 },
    { 1.1875, 0x1.5ff3070a7a000p-3, -0x1.8586f183bebf2p-44, 1.1387886347566916 },
    { 1.296875, 0x1.0a324e2739000p-2, 0x1.c6bee7ef4030ep-47, 1.241857812073484 },
};

static pair log_pair(line *b, val a)                  /* of a > 0, finite; hi has 26 bits */
{
    val small = lt(b, a, k(b, facts_f64.least)), x = ubits(b, sel(b, small, mul(b, a, k(b, 0x1p54)), a));
    const uint64_t start = 0x3fe5ab07dd485429;        /* 2^(-9/16) */
    val above = sub(b, x, ku(b, start - (UINT64_C(1023) << 52)));
    val e = flt(b, add(b, shr(b, above, ku(b, 52)), ku(b, 0x4338000000000000)));
    val m = flt(b, add(b, and2(b, above, ku(b, (UINT64_C(1) << 52) - 1)), ku(b, start)));
    e = sub(b, e, sel(b, small, k(b, 0x1.8p52 + 1023 + 54), k(b, 0x1.8p52 + 1023)));

    val c = k(b, pow_c[0].c), log_hi = k(b, pow_c[0].log_hi), log_lo = k(b, pow_c[0].log_lo);
    for (int i = 1; i < 8; i++) {
        val here = le(b, k(b, pow_c[i].from), m);
        c = sel(b, here, k(b, pow_c[i].c), c);
        log_hi = sel(b, here, k(b, pow_c[i].log_hi), log_hi);
        log_lo = sel(b, here, k(b, pow_c[i].log_lo), log_lo);
    }
    /* s = s1 + s2 = f / d, s1 of 26 bits; d = d1 + d2 */
    val f = sub(b, m, c), d = add(b, m, c), d_lo = sub(b, m, sub(b, d, c));
    val inverse = divide(b, k(b, 1), d), s1 = high_part(b, mul(b, f, inverse)), d1 = high_part(b, d);
    val d2 = add(b, sub(b, d, d1), d_lo);
    val left = sub(b, sub(b, f, mul(b, s1, d1)), mul(b, s1, d2));
    val s2 = mul(b, left, inverse), s = add(b, s1, s2), z = mul(b, s, s);
    val cubic = mul(b, mul(b, s, z), poly(b, z, (coeffs)COEFFS(f64_pow_log)));
    val low = fma3(b, e, k(b, facts_f64.ln2_lo), log_lo);
    low = add(b, add(b, s2, s2), add(b, cubic, low));
    /* |base| > |2 s1| or base = 0 */
    val base = fma3(b, e, k(b, facts_f64.ln2_hi), log_hi), twice = add(b, s1, s1), sum = add(b, base, twice);
    low = add(b, sub(b, twice, sub(b, sum, base)), low);
    val hi = high_part(b, add(b, sum, low));
    return (pair){ hi, add(b, sub(b, sum, hi), low) };
}

static val pow_f64(line *b, val x, val y)
{
    val exponent = pow_exponent(b, y);
    pair l = log_pair(b, abs1(b, x));
    val y1 = high_part(b, exponent), y2 = sub(b, exponent, y1);
    val p = mul(b, y1, l.hi), p_lo = fma3(b, y1, l.lo, mul(b, y2, add(b, l.hi, l.lo)));
    val sum = add(b, p, p_lo), most = k(b, facts_f64.exp_max), least = k(b, facts_f64.exp_min),
        zero = k(b, 0);
    val above = lt(b, most, sum), below = lt(b, sum, least);
    p = sel(b, above, most, sel(b, below, least, p));
    p_lo = sel(b, or2(b, above, below), zero, p_lo);

    val magic = k(b, facts_f64.magic), t = fma3(b, p, k(b, 1.4426950408889634), magic), n = sub(b, t, magic);
    val r = fma3(b, n, k(b, -facts_f64.ln2_hi), p), low = fma3(b, n, k(b, -facts_f64.ln2_lo), p_lo);
    val whole = add(b, r, low), tail = sub(b, low, sub(b, whole, r));
    val em = add(b, whole, fma3(b, mul(b, whole, whole), poly(b, whole, facts_f64.exp), tail));
    return pow_limits(b, x, y, scale2(b, add(b, em, k(b, 1)), ubits(b, t)));
}

/* -- fmod ------------------------------------------------------------------------------------------------ */

typedef struct { val m, inverse; } modulus;           /* 0 < m < 2^53, an i64; 1 / m */

/* x modulo m, |x| < 2^62 and below 2^30 m: within m / 2^20 of the interval [0, m). */
static val reduce_near(line *b, modulus d, val x)
{
    val q = floor1(b, mul(b, to(b, b->t, x), d.inverse));
    return sub(b, x, mul(b, to(b, b->i, q), d.m));
}

/* x y modulo m for |x| < 3.1 m, |y| < 1.1 m or 2^53 if that is more: |x y - q m| < 64 m, so that wrapping
 * does not matter. */
static val mul_mod(line *b, modulus d, val x, val y)
{
    val q = mul(b, mul(b, to(b, b->t, x), to(b, b->t, y)), d.inverse);
    return reduce_near(b, d, sub(b, mul(b, x, y), mul(b, to(b, b->i, q), d.m)));
}

typedef struct { val significand, exponent; } parts;  /* a = significand * 2^(exponent - 1075) */
static parts parts_of(line *b, val a)
{
    val u = bits(b, a), one = ki(b, 1), e = shr(b, u, ki(b, 52)),
        fraction = and2(b, u, ki(b, (INT64_C(1) << 52) - 1));
    val is_normal = lt(b, ki(b, 0), e);
    return (parts){ sel(b, is_normal, or2(b, fraction, ki(b, INT64_C(1) << 52)), fraction),
                    sel(b, is_normal, e, one) };
}

static val fmod_f64(line *b, val x, val y)
{
    val a = abs1(b, x), c = abs1(b, y), zero = ki(b, 0), one = ki(b, 1);
    parts p = parts_of(b, a), q = parts_of(b, c);
    modulus d = { q.significand, divide(b, k(b, 1), to(b, b->t, q.significand)) };
    val shift = sub(b, p.exponent, q.exponent);
    shift = sel(b, lt(b, shift, zero), zero, shift);
    val r = reduce_near(b, d, shl(b, one, shr(b, shift, ki(b, 6))));
    for (int bit = 5; bit >= 0; bit--) {
        val twice = and2(b, shr(b, shift, ki(b, bit)), one);
        r = mul_mod(b, d, shl(b, r, twice), r);
    }
    r = mul_mod(b, d, r, p.significand);
    r = sel(b, lt(b, r, zero), add(b, r, d.m), r);
    r = sel(b, lt(b, r, d.m), r, sub(b, r, d.m));
    /* as scale2 has it: magic + n */
    val power = add(b, q.exponent, ki(b, INT64_C(0x4338000000000000) - 1075));
    val rest = scale2(b, to(b, b->t, r), line_bitcast(b, b->u, power));
    val inf = k(b, __builtin_inf());
    val is_good = and2(b, lt(b, a, inf), lt(b, k(b, 0), c));
    return with_sign(b, sel(b, is_good, sel(b, lt(b, a, c), a, rest), k(b, __builtin_nan(""))),
                     sign_bit(b, x));
}

static val mod_f64(line *b, val x, val y) { return mod_of_fmod(b, x, y, fmod_f64(b, x, y)); }

const recipe recipes_f64[SCALAR_COUNT] = {
#define X(name) [SCALAR_##name] = name##_any,
    SHARED_RECIPES(X)
#undef X
    [SCALAR_log] = log_f64, [SCALAR_log1p] = log1p_f64,
    [SCALAR_asinh] = asinh_f64, [SCALAR_acosh] = acosh_f64, [SCALAR_atanh] = atanh_f64,
    [SCALAR_sin] = sin_f64, [SCALAR_cos] = cos_f64, [SCALAR_tan] = tan_f64,
    [SCALAR_mod] = mod_f64, [SCALAR_fmod] = fmod_f64, [SCALAR_pow] = pow_f64,
};
