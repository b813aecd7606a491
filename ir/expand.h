/* ir/expand.h: inside of scalar_eval.c and expand*.c: the cache, and the vocabulary in which expansions are
 * written.
 *
 * A recipe builds the straight line of one function. Each call below appends one step and returns it:
 *
 *     val t = fma3(b, x, k(b, 1.44269504), k(b, 12582912.0));
 *
 * A step equal to an earlier one is that one, so recipes may ask twice for the same thing. Nothing is folded
 * and nothing reordered: what is written is what is computed.
 *
 * Rules for recipes: no step may depend on multiply-add being fused (FMA_ROUNDED computes the same line with
 * two roundings); a product that must be exact has short operands. Both sides of a select are computed, so
 * the side not taken may be infinite or NaN, never a trap.
 */
#ifndef DLC_IR_EXPAND_H
#define DLC_IR_EXPAND_H
#include "ir/scalar.h"

struct expander {
    arena *a;
    const scalar_code *code[SCALAR_COUNT][DTYPE_COUNT];
    scalar_value *values;             /* of the steps, while a code runs */
    int64_t n_values, cap_values;
};

/* A basic row. Narrow floats are widened and the result rounded. */
scalar_value sv_basic(scalar fn, dtype t, dtype to, const scalar_value *in, fma_mode mode);

/* -- The line under construction ------------------------------------------------------------------------- */

typedef struct { int16_t id; } val;                  /* an operand or a step, numbered as in scalar_step.in */
typedef struct {
    arena *a;
    int n_in;
    dtype in_type;
    dtype t, i, u;                    /* the float type in work, and the ints of its width */
    vec(scalar_step) steps;
} line;

/* What the recipes that both types share need to know of the type in work. */
typedef struct { int n; const double *c; } coeffs;
typedef struct {
    int fraction;                     /* stored bits of the significand */
    int64_t bias;
    double magic;                     /* 1.5 * 2^fraction: x + magic has round(x) in its low bits */
    double least;                     /* the smallest normal number */
    double tiny;                      /* f(x) rounds to x below it, for f(x) = x + O(x^2) */
    double tiny3;                     /* the same for x + O(x^3) */
    double ln2_hi, ln2_lo;            /* n * ln2_hi is exact for every exponent n */
    double pi_hi, pi_lo;
    double exp_min, exp_max;          /* exp is 0 below, infinite above */
    double sinh_max;                  /* sinh is infinite above; 2^(round(x/ln2) - 2) is still finite */
    double tanh_max;                  /* tanh is 1 from half of it */
    double expm1_min;                 /* expm1 is -1 below */
    double erf_max;                   /* erf is 1 above */
    double erf_mid;                   /* the tail's polynomial is in x - erf_mid */
    coeffs exp, asin, atan, erf, erf_tail;
} float_facts;
extern const float_facts facts_f32, facts_f64;
static inline const float_facts *facts(const line *b) { return b->t == DTYPE_f64 ? &facts_f64 : &facts_f32; }

typedef val (*recipe)(line *b, val x, val y);               /* y: the second operand, of mod fmod pow */
extern const recipe recipes_f32[SCALAR_COUNT], recipes_f64[SCALAR_COUNT], recipes_int[SCALAR_COUNT];

void line_type(line *b, dtype t);                     /* sets t, i, u */
dtype type_at(const line *b, val x);
val line_step(line *b, scalar fn, dtype to, int n, val x, val y, val z);
val line_const(line *b, dtype t, scalar_value imm);
val line_bitcast(line *b, dtype t, val x);
val poly(line *b, val x, coeffs p);                   /* c[0] + c[1] x + … by Horner's rule */

#define V1(name, row) \
    static inline val name(line *b, val x) \
    { return line_step(b, SCALAR_##row, type_at(b, x), 1, x, x, x); }
#define V2(name, row) \
    static inline val name(line *b, val x, val y) \
    { return line_step(b, SCALAR_##row, type_at(b, x), 2, x, y, y); }
#define VC(name, row) \
    static inline val name(line *b, val x, val y) \
    { return line_step(b, SCALAR_##row, DTYPE_bool, 2, x, y, y); }
V2(add, add) V2(sub, sub) V2(mul, mul) V2(divide, div) V2(max2, max) V2(min2, min)
V2(and2, and) V2(or2, or) V2(xor2, xor) V2(shl, shl) V2(shr, shr)
V1(neg, neg) V1(abs1, abs) V1(sqrt1, sqrt) V1(rint1, rint) V1(trunc1, trunc) V1(floor1, floor) V1(not1, not)
VC(eq, eq) VC(lt, lt) VC(le, le)
#undef V1
#undef V2
#undef VC
static inline val fma3(line *b, val x, val y, val z)
{
    return line_step(b, SCALAR_fma, type_at(b, x), 3, x, y, z);
}

static inline val sel(line *b, val c, val x, val y)
{
    return line_step(b, SCALAR_select, type_at(b, x), 3, c, x, y);
}

static inline val to(line *b, dtype t, val x) { return line_step(b, SCALAR_cast, t, 1, x, x, x); }

/* rounded to b->t */
static inline val k(line *b, double x) { return line_const(b, b->t, sv_from_f64(b->t, x)); }
static inline val ki(line *b, int64_t x) { return line_const(b, b->i, sv_from_i64(b->i, x)); }
static inline val ku(line *b, uint64_t x) { return line_const(b, b->u, sv_from_i64(b->u, (int64_t)x)); }
static inline val bits(line *b, val x) { return line_bitcast(b, b->i, x); }
static inline val ubits(line *b, val x) { return line_bitcast(b, b->u, x); }
static inline val flt(line *b, val x) { return line_bitcast(b, b->t, x); }

/* -- Pieces shared by recipes (expand_float.c), on b->t -------------------------------------------------- */

typedef struct { val t, em; } reduced;     /* e^x = 2^n (1 + em), |em| < 0.42; t: bits of magic + n, a uint */
reduced exp_reduce(line *b, val x);                   /* exp_min - 1 < x < exp_max + 1 */
val exp_poly(line *b, val r, coeffs q);               /* r + r^2 q(r) */
val pow2(line *b, val t, int64_t plus);               /* 2^(n + plus), a normal number */
val scale2(line *b, val x, val t);               /* x 2^n in two steps, so that the result may be subnormal */
val at_most(line *b, val x, double limit);            /* NaN stays, and is seen at the end */
val at_least(line *b, val x, double limit);
val sign_bit(line *b, val x);                         /* an int with only the sign of x */
val with_sign(line *b, val x, val sign);              /* x >= 0 or NaN */
typedef struct { val e, m; } split_float;             /* x = 2^e m, sqrt(1/2) <= m < sqrt 2, e as a float */
/* e less scaled_by where is_scaled (or is_scaled.id < 0) */
split_float frexp_sqrt2(line *b, val x, val is_scaled, double scaled_by);
/* y, with -inf at the pole, NaN below, x where x is inf or NaN */
val log_limits(line *b, val x, val y, double pole);
val pow_limits(line *b, val x, val y, val magnitude); /* |x|^y -> x^y by the rules of IEEE 754 */
val pow_exponent(line *b, val y);                   /* y within +-2^65, beyond which only the limits matter */
val mod_of_fmod(line *b, val x, val y, val r);

#define SHARED_RECIPES(X) \
    X(sign) X(exp) X(expm1) X(sigmoid) X(tanh) X(sinh) X(cosh) X(asin) X(acos) X(atan) X(erf)
#define X(name) val name##_any(line *b, val x, val y);
SHARED_RECIPES(X)
#undef X

#endif
