/* ir/scalar_eval.c: the exact value of a scalar function at one element: what all backends must reproduce.
 *
 * Floats   f64 and f32 by C's operators (contraction off, rounding to nearest even) and the functions of
 *          math.h that IEEE 754 specifies exactly: fma sqrt floor ceil trunc rint. f16 and bf16 widen to f32;
 *          the result is rounded once, to nearest even, subnormals and overflow to infinity included. Which
 *          NaN comes out is not defined.
 * Ints     computed in 64 bits and wrapped to the width, which gives the wrapped result of each row.
 * Casts    float to int truncates, saturates, and takes NaN to 0; int to int wraps; to bool is != 0; int to
 *          float rounds once, except to f16 and bf16, which go through f32; f64 to f16 rounds once, f64 to
 *          bf16 goes through f32.
 * Others   rows that are not basic run their expansion (ir/expand.h) step by step.
 */
#include "ir/expand.h"
#include <assert.h>
#include <math.h>

/* -- Bits ------------------------------------------------------------------------------------------------ */

static double f64_of(scalar_value v) { double x; memcpy(&x, &v.bits, 8); return x; }
static scalar_value sv_f64(double x) { scalar_value v; memcpy(&v.bits, &x, 8); return v; }
static float f32_of_bits(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
static uint32_t bits_of_f32(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static float f32_of(scalar_value v) { return f32_of_bits((uint32_t)v.bits); }
static scalar_value sv_f32(float x) { return (scalar_value){ bits_of_f32(x) }; }

static scalar_value sv_int(dtype t, uint64_t x)       /* wraps */
{
    int n = dtype_bytes(t);
    return (scalar_value){ n == 8 ? x : x & (((uint64_t)1 << (8 * n)) - 1) };
}

static int64_t sint_of(dtype t, scalar_value v)       /* sign-extended */
{
    int unused = 64 - 8 * dtype_bytes(t);
    return (int64_t)(v.bits << unused) >> unused;
}

/* -- f16 and bf16 ---------------------------------------------------------------------------------------- */

static double f64_of_f16(uint32_t h)
{
    int exponent = h >> 10 & 31;
    double m = h & 1023, x;
    if (exponent == 31) x = m ? (double)NAN : (double)INFINITY;
    else if (exponent == 0) x = ldexp(m, -24);
    else x = ldexp(m + 1024, exponent - 25);
    return h >> 15 ? -x : x;
}

static uint32_t f16_of_f64(double x)
{
    uint64_t b = sv_f64(x).bits, a = b & (UINT64_MAX >> 1);
    uint32_t sign = (uint32_t)(b >> 48) & 0x8000;
    if (isnan(x)) return sign | 0x7e00;
    double m = fabs(x);
    if (m >= 65520.0) return sign | 0x7c00;       /* half a unit over the largest: the tie goes to infinity */
    if (m < 0x1p-14) return sign | (uint32_t)rint(m * 0x1p24);
    a += ((uint64_t)1 << 41) - 1 + (a >> 42 & 1);     /* a carry out of the fraction moves to the exponent */
    return sign | ((uint32_t)(a >> 42) - ((1023 - 15) << 10));
}

static uint32_t bf16_of_f32(float x)
{
    uint32_t b = bits_of_f32(x);
    if (isnan(x)) return b >> 16 | 0x40;
    return (b + 0x7fff + (b >> 16 & 1)) >> 16;
}

/* A float of any width, exactly; narrow ones fit f32, too. */
static double float_of(dtype t, scalar_value v)
{
    switch (t) {
    case DTYPE_f64: return f64_of(v);
    case DTYPE_f32: return f32_of(v);
    case DTYPE_f16: return f64_of_f16((uint32_t)v.bits);
    default: return f32_of_bits((uint32_t)v.bits << 16);
    }
}

static scalar_value sv_float(dtype t, double x)
{
    switch (t) {
    case DTYPE_f64: return sv_f64(x);
    case DTYPE_f32: return sv_f32((float)x);
    case DTYPE_f16: return (scalar_value){ f16_of_f64(x) };
    default: return (scalar_value){ bf16_of_f32((float)x) };
    }
}

/* -- Casts ----------------------------------------------------------------------------------------------- */

static scalar_value float_to_int(dtype t, double x)
{
    if (isnan(x)) return (scalar_value){ 0 };
    int width = 8 * dtype_bytes(t);
    double end = ldexp(1, is_signed(t) ? width - 1 : width);       /* one past the largest */
    if (x >= end) return sv_highest(t);
    if (is_signed(t)) return x < -end ? sv_lowest(t) : sv_int(t, (uint64_t)(int64_t)x);
    return sv_int(t, x <= 0 ? 0 : (uint64_t)x);
}

static scalar_value int_to_float(dtype from, dtype to, scalar_value v)
{
    if (to == DTYPE_f64) return sv_f64(is_signed(from) ? (double)sint_of(from, v) : (double)v.bits);
    return sv_float(to, is_signed(from) ? (float)sint_of(from, v) : (float)v.bits);
}

static scalar_value cast_to(dtype from, dtype to, scalar_value v)
{
    assert(!is_storage(from) && !is_storage(to));
    if (from == to) return v;
    if (is_float(from)) {
        double x = float_of(from, v);
        if (is_float(to)) return sv_float(to, x);
        return to == DTYPE_bool ? (scalar_value){ x != 0 } : float_to_int(to, x);
    }
    if (is_float(to)) return int_to_float(from, to, v);
    if (to == DTYPE_bool) return (scalar_value){ v.bits != 0 };
    return sv_int(to, is_signed(from) ? (uint64_t)sint_of(from, v) : v.bits);
}

/* -- One element ----------------------------------------------------------------------------------------- */

scalar_value sv_load(dtype t, const void *p)
{
    uint8_t b; uint16_t h; uint32_t w; uint64_t d;
    switch (dtype_bytes(t)) {
    case 1: memcpy(&b, p, 1); return (scalar_value){ b };
    case 2: memcpy(&h, p, 2); return (scalar_value){ h };
    case 4: memcpy(&w, p, 4); return (scalar_value){ w };
    default: memcpy(&d, p, 8); return (scalar_value){ d };
    }
}

void sv_store(dtype t, void *p, scalar_value v)
{
    uint8_t b = (uint8_t)v.bits; uint16_t h = (uint16_t)v.bits; uint32_t w = (uint32_t)v.bits;
    switch (dtype_bytes(t)) {
    case 1: memcpy(p, &b, 1); return;
    case 2: memcpy(p, &h, 2); return;
    case 4: memcpy(p, &w, 4); return;
    default: memcpy(p, &v.bits, 8); return;
    }
}

double sv_to_f64(dtype t, scalar_value v) { return f64_of(cast_to(t, DTYPE_f64, v)); }
scalar_value sv_from_f64(dtype t, double x) { return cast_to(DTYPE_f64, t, sv_f64(x)); }
int64_t sv_to_i64(dtype t, scalar_value v) { return (int64_t)cast_to(t, DTYPE_i64, v).bits; }
scalar_value sv_from_i64(dtype t, int64_t x) { return cast_to(DTYPE_i64, t, (scalar_value){ (uint64_t)x }); }

scalar_value sv_lowest(dtype t)
{
    if (is_float(t)) return sv_float(t, -(double)INFINITY);
    if (is_signed(t)) return (scalar_value){ (uint64_t)1 << (8 * dtype_bytes(t) - 1) };
    return (scalar_value){ 0 };
}

scalar_value sv_highest(dtype t)
{
    if (is_float(t)) return sv_float(t, (double)INFINITY);
    if (t == DTYPE_bool) return (scalar_value){ 1 };
    return sv_int(t, is_signed(t) ? ((uint64_t)1 << (8 * dtype_bytes(t) - 1)) - 1 : UINT64_MAX);
}

/* -- Basic rows of floats -------------------------------------------------------------------------------- */

/* basic_T(fn, x, mode): x[0 … arity-1] -> the result, a truth value of the comparisons as 0 or 1. */
#define FLOAT_ROWS(T, SUFFIX)                                                                            \
    static T larger_##T(T a, T b)                                                                        \
    {                                                                                                    \
        if (isnan(a) || isnan(b)) return a + b;                                                          \
        if (a == b) return signbit(a) ? b : a;                                                           \
        return a > b ? a : b;                                                                            \
    }                                                                                                    \
    static T basic_##T(scalar fn, const T *x, fma_mode mode)                                             \
    {                                                                                                    \
        switch (fn) {                                                                                    \
        case SCALAR_add: return x[0] + x[1];                                                             \
        case SCALAR_sub: return x[0] - x[1];                                                             \
        case SCALAR_mul: return x[0] * x[1];                                                             \
        case SCALAR_div: return x[0] / x[1];                                                             \
        case SCALAR_neg: return -x[0];                                                                   \
        case SCALAR_fma: return mode == FMA_FUSED ? fma##SUFFIX(x[0], x[1], x[2]) : x[0] * x[1] + x[2];  \
        case SCALAR_abs: return fabs##SUFFIX(x[0]);                                                      \
        case SCALAR_max: return larger_##T(x[0], x[1]);                                                  \
        case SCALAR_min: return -larger_##T(-x[0], -x[1]);                                               \
        case SCALAR_relu: return x[0] < 0 ? 0 : x[0];                                                    \
        case SCALAR_sqrt: return sqrt##SUFFIX(x[0]);                                                     \
        case SCALAR_floor: return floor##SUFFIX(x[0]);                                                   \
        case SCALAR_ceil: return ceil##SUFFIX(x[0]);                                                     \
        case SCALAR_trunc: return trunc##SUFFIX(x[0]);                                                   \
        case SCALAR_rint: return rint##SUFFIX(x[0]);                                                     \
        case SCALAR_eq: return x[0] == x[1];                                                             \
        case SCALAR_lt: return x[0] < x[1];                                                              \
        case SCALAR_le: return x[0] <= x[1];                                                             \
        default: break;                                                                                  \
        }                                                                                                \
        assert(!"a row of floats");                                                                      \
        return 0;                                                                                        \
    }
FLOAT_ROWS(double, )
FLOAT_ROWS(float, f)

static scalar_value float_basic(scalar fn, dtype t, const scalar_value *in, fma_mode mode)
{
    int n = scalar_info[fn].arity;
    bool is_cmp = scalar_info[fn].result == RESULT_CMP;
    if (t == DTYPE_f64) {
        double x[3] = { 0 };
        for (int i = 0; i < n; i++) x[i] = f64_of(in[i]);
        double y = basic_double(fn, x, mode);
        return is_cmp ? (scalar_value){ y != 0 } : sv_f64(y);
    }
    float x[3] = { 0 };
    for (int i = 0; i < n; i++) x[i] = t == DTYPE_f32 ? f32_of(in[i]) : (float)float_of(t, in[i]);
    float y = basic_float(fn, x, mode);
    return is_cmp ? (scalar_value){ y != 0 } : sv_float(t, y);
}

/* -- Basic rows of ints and bools ------------------------------------------------------------------------ */

static uint64_t int_div(dtype t, uint64_t a, uint64_t b)
{
    if (b == 0) return 0;
    if (!is_signed(t)) return a / b;
    return b == UINT64_MAX ? 0 - a : (uint64_t)((int64_t)a / (int64_t)b);       /* INT_MIN / -1 wraps */
}

/* Operands extended to 64 bits; the caller wraps the result. */
static uint64_t int_basic(scalar fn, dtype t, const uint64_t *x)
{
    uint64_t a = x[0], b = x[1];
    int64_t sa = (int64_t)a, sb = (int64_t)b;
    bool is_sint = is_signed(t), is_less = is_sint ? sa < sb : a < b;
    bool in_range = b < (uint64_t)(8 * dtype_bytes(t));
    switch (fn) {
    case SCALAR_add: return a + b;
    case SCALAR_sub: return a - b;
    case SCALAR_mul: return a * b;
    case SCALAR_div: return int_div(t, a, b);
    case SCALAR_neg: return 0 - a;
    case SCALAR_abs: return is_sint && sa < 0 ? 0 - a : a;
    case SCALAR_max: return is_less ? b : a;
    case SCALAR_min: return is_less ? a : b;
    case SCALAR_relu: return is_sint && sa < 0 ? 0 : a;
    case SCALAR_eq: return a == b;
    case SCALAR_lt: return is_less;
    case SCALAR_le: return is_less || a == b;
    case SCALAR_and: return a & b;
    case SCALAR_or: return a | b;
    case SCALAR_xor: return a ^ b;
    case SCALAR_not: return t == DTYPE_bool ? a ^ 1 : ~a;
    case SCALAR_shl: return in_range ? a << b : 0;
    case SCALAR_shr: return is_sint ? (uint64_t)(sa >> (in_range ? sb : 63)) : in_range ? a >> b : 0;
    default: break;
    }
    assert(!"a row of ints");
    return 0;
}

/* -- All rows -------------------------------------------------------------------------------------------- */

scalar_value sv_basic(scalar fn, dtype t, dtype to, const scalar_value *in, fma_mode mode)
{
    if (fn == SCALAR_cast) return cast_to(t, to, in[0]);
    if (fn == SCALAR_select) return in[0].bits ? in[1] : in[2];
    if (is_float(t)) return float_basic(fn, t, in, mode);
    uint64_t x[3] = { 0 };
    for (int i = 0; i < scalar_info[fn].arity; i++)
        x[i] = is_signed(t) ? (uint64_t)sint_of(t, in[i]) : in[i].bits;
    uint64_t y = int_basic(fn, t, x);
    return scalar_info[fn].result == RESULT_CMP ? (scalar_value){ y } : sv_int(t, y);
}

static scalar_value run(expander *e, const scalar_code *c, const scalar_value *in, fma_mode mode)
{
    if (e->cap_values < c->n_steps) {
        e->cap_values = 2 * c->n_steps;
        e->values = NEW_ARRAY(e->a, scalar_value, e->cap_values);
    }
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *s = &c->steps[i];
        scalar_value x[3] = { { 0 } };
        int n = s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int k = 0; k < n; k++) x[k] = s->in[k] < c->n_in ? in[s->in[k]] : e->values[s->in[k] - c->n_in];
        e->values[i] = s->kind == STEP_CONST ? s->imm
                     : s->kind == STEP_BITCAST ? x[0] : sv_basic(s->fn, s->from, s->type, x, mode);
    }
    return e->values[c->n_steps - 1];
}

scalar_value sv_apply(expander *e, scalar fn, dtype t, dtype to, const scalar_value *in, fma_mode mode)
{
    if (scalar_info[fn].is_basic) return sv_basic(fn, t, to, in, mode);
    dtype c = compute_dtype(t);
    const scalar_code *code = scalar_expand(e, fn, c);
    if (c == t) return run(e, code, in, mode);
    scalar_value x[3] = { { 0 } };
    for (int i = 0; i < scalar_info[fn].arity; i++) x[i] = cast_to(t, c, in[i]);
    return cast_to(c, t, run(e, code, x, mode));
}
