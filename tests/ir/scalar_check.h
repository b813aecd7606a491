/* tests/ir/scalar_check.h: runs an expansion over blocks of arguments at once, and measures it against a
 * longer type.
 *
 * Blocks     each step is one loop over N elements in its C type, which the compiler turns into vectors: 2^32
 *            arguments of a function of 40 steps take about a minute. test_scalar_accuracy compares it with
 *            sv_apply, bit for bit.
 * Measure    in units in the last place of the exact result (for f32: libm in f64; for f64: libm in long
 *            double). An infinite result counts as the power of two after the largest number. NaN must meet
 *            NaN, and the sign must be that of the exact result, of zeros, too.
 */
#include "ir/expand.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if defined __GNUC__ && !defined __clang__ && defined __x86_64__
#define FAST_LOOPS __attribute__((optimize("O3", "no-trapping-math", "no-math-errno"), target("avx2,fma")))
#define fast_loops_run() (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#else
#define FAST_LOOPS
#define fast_loops_run() true
#endif

enum { N = 256 };
typedef union {
    float f[N];
    double d[N];
    int32_t i[N];
    uint32_t u[N];
    int64_t l[N];
    uint64_t x[N];
    uint8_t b[N];
} block;

#define LOOP(lhs, rhs) for (int j = 0; j < N; j++) lhs[j] = (rhs)
#define ARITH(F, T, INT)                                                                \
    case SCALAR_add: LOOP(r->F, (T)((INT)p->F[j] + (INT)q->F[j])); return;              \
    case SCALAR_sub: LOOP(r->F, (T)((INT)p->F[j] - (INT)q->F[j])); return;              \
    case SCALAR_mul: LOOP(r->F, (T)((INT)p->F[j] * (INT)q->F[j])); return;              \
    case SCALAR_neg: LOOP(r->F, (T)(-(INT)p->F[j])); return;                            \
    case SCALAR_eq: LOOP(r->b, p->F[j] == q->F[j]); return;                             \
    case SCALAR_lt: LOOP(r->b, p->F[j] < q->F[j]); return;                              \
    case SCALAR_le: LOOP(r->b, p->F[j] <= q->F[j]); return;                             \
    case SCALAR_select: LOOP(r->F, p->b[j] ? q->F[j] : s->F[j]); return;
#define FLOAT_STEP(NAME, F, T, SUFFIX)                                                               \
    FAST_LOOPS static void NAME(scalar fn, block *r, const block *p, const block *q, const block *s, \
                                fma_mode mode)                                                       \
    {                                                                                                \
        switch ((int)fn) {                                                                           \
        ARITH(F, T, T)                                                                               \
        case SCALAR_div: LOOP(r->F, p->F[j] / q->F[j]); return;                                      \
        case SCALAR_fma:                                                                             \
            if (mode == FMA_FUSED) LOOP(r->F, __builtin_fma##SUFFIX(p->F[j], q->F[j], s->F[j]));     \
            else LOOP(r->F, p->F[j] * q->F[j] + s->F[j]);                                            \
            return;                                                                                  \
        case SCALAR_abs: LOOP(r->F, __builtin_fabs##SUFFIX(p->F[j])); return;                        \
        case SCALAR_sqrt: LOOP(r->F, __builtin_sqrt##SUFFIX(p->F[j])); return;                       \
        case SCALAR_rint: LOOP(r->F, __builtin_rint##SUFFIX(p->F[j])); return;                       \
        case SCALAR_floor: LOOP(r->F, __builtin_floor##SUFFIX(p->F[j])); return;                     \
        case SCALAR_trunc: LOOP(r->F, __builtin_trunc##SUFFIX(p->F[j])); return;                     \
        }                                                                                            \
        fprintf(stderr, "scalar_check.h lacks %s of floats\n", scalar_info[fn].name), abort();       \
    }
FLOAT_STEP(f32_step, f, float, f)
FLOAT_STEP(f64_step, d, double, )

#define INT_STEP(NAME, F, T, UT, WIDTH, FILL)                                                         \
    FAST_LOOPS static void NAME(scalar fn, block *r, const block *p, const block *q, const block *s)  \
    {                                                                                                 \
        switch ((int)fn) {                                                                            \
        ARITH(F, T, UT)                                                                               \
        case SCALAR_and: LOOP(r->F, p->F[j] & q->F[j]); return;                                       \
        case SCALAR_or: LOOP(r->F, p->F[j] | q->F[j]); return;                                        \
        case SCALAR_xor: LOOP(r->F, p->F[j] ^ q->F[j]); return;                                       \
        case SCALAR_shl: LOOP(r->F, (UT)q->F[j] < WIDTH ? (T)((UT)p->F[j] << q->F[j]) : 0); return;   \
        case SCALAR_shr: LOOP(r->F, (UT)q->F[j] < WIDTH ? p->F[j] >> q->F[j] : (T)(FILL)); return;    \
        }                                                                                             \
        fprintf(stderr, "scalar_check.h lacks %s of ints\n", scalar_info[fn].name), abort();          \
    }
INT_STEP(i32_step, i, int32_t, uint32_t, 32, p->i[j] < 0 ? -1 : 0)
INT_STEP(i64_step, l, int64_t, uint64_t, 64, p->l[j] < 0 ? -1 : 0)
INT_STEP(u32_step, u, uint32_t, uint32_t, 32, 0)
INT_STEP(u64_step, x, uint64_t, uint64_t, 64, 0)

FAST_LOOPS static void bool_step(scalar fn, block *r, const block *p, const block *q, const block *s)
{
    switch ((int)fn) {
    case SCALAR_and: LOOP(r->b, p->b[j] & q->b[j]); return;
    case SCALAR_or: LOOP(r->b, p->b[j] | q->b[j]); return;
    case SCALAR_xor: LOOP(r->b, p->b[j] ^ q->b[j]); return;
    case SCALAR_not: LOOP(r->b, p->b[j] ^ 1); return;
    case SCALAR_select: LOOP(r->b, p->b[j] ? q->b[j] : s->b[j]); return;
    }
    fprintf(stderr, "scalar_check.h lacks %s of bools\n", scalar_info[fn].name), abort();
}

static void cast_step(dtype from, dtype result, block *r, const block *p)
{
    if (from == DTYPE_f32 && result == DTYPE_f64) LOOP(r->d, (double)p->f[j]);
    else if (from == DTYPE_f64 && result == DTYPE_f32) LOOP(r->f, (float)p->d[j]);
    else if (from == DTYPE_i64 && result == DTYPE_f64) LOOP(r->d, (double)p->l[j]);
    else if (from == DTYPE_u64 && result == DTYPE_f64) LOOP(r->d, (double)p->x[j]);
    else if (from == DTYPE_bool && dtype_bytes(result) == 8) LOOP(r->x, p->b[j]);
    else
        for (int j = 0; j < N; j++) {
            scalar_value v = sv_load(from, (const char *)p + j * dtype_bytes(from));
            sv_store(result, (char *)r + j * dtype_bytes(result),
                     sv_basic(SCALAR_cast, from, result, &v, FMA_FUSED));
        }
}

/* n_in + n_steps blocks, the operands first; constants filled in. The caller frees. */
static block *new_blocks(const scalar_code *c)
{
    block *at = calloc((size_t)(c->n_in + c->n_steps), sizeof *at);
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *t = &c->steps[i];
        char *r = (char *)&at[c->n_in + i];
        for (int j = 0; t->kind == STEP_CONST && j < N; j++)
            sv_store(t->type, r + j * dtype_bytes(t->type), t->imm);
    }
    return at;
}

/* The result is the last block. */
static void run_blocks(const scalar_code *c, block *at, fma_mode mode)
{
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *t = &c->steps[i];
        block *r = &at[c->n_in + i];
        const block *p = &at[t->in[0]], *q = &at[t->in[1]], *s = &at[t->in[2]];
        if (t->kind == STEP_CONST) continue;
        if (t->kind == STEP_BITCAST) memcpy(r, p, sizeof *r);
        else if (t->fn == SCALAR_cast) cast_step(t->from, t->type, r, p);
        else switch ((int)t->from) {
        case DTYPE_f32: f32_step(t->fn, r, p, q, s, mode); break;
        case DTYPE_f64: f64_step(t->fn, r, p, q, s, mode); break;
        case DTYPE_i32: i32_step(t->fn, r, p, q, s); break;
        case DTYPE_i64: i64_step(t->fn, r, p, q, s); break;
        case DTYPE_u32: u32_step(t->fn, r, p, q, s); break;
        case DTYPE_u64: u64_step(t->fn, r, p, q, s); break;
        case DTYPE_bool: bool_step(t->fn, r, p, q, s); break;
        default: abort();
        }
    }
}

/* -- What is right --------------------------------------------------------------------------------------- */

/* bound: what docs/accuracy.md states, fused and rounded; also_64: the same for f64. */
typedef struct {
    scalar fn;
    double (*f64)(double); long double (*ld)(long double);
    double (*f64_2)(double, double); long double (*ld_2)(long double, long double);
    double bound32[2], bound64[2];
} judged;

static double sigmoid_d(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static long double sigmoid_l(long double x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
static double sign_d(double x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
static long double sign_l(long double x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
static double mod_d(double x, double y)
{
    double r = fmod(x, y);
    return r == 0 ? copysign(0, y) : !signbit(r) != !signbit(y) ? r + y : r;
}

static long double mod_l(long double x, long double y)
{
    long double r = fmodl(x, y);
    return r == 0 ? copysignl(0, y) : !signbit(r) != !signbit(y) ? r + y : r;
}

#define ONE(name, d, l) { SCALAR_##name, d, l, NULL, NULL
#define TWO(name, d, l) { SCALAR_##name, NULL, NULL, d, l
static const judged functions[] = {
    ONE(exp, exp, expl),              { 1.05, 1.05 }, { 1.0, 1.0 } },
    ONE(expm1, expm1, expm1l),        { 2, 2 }, { 2, 2.5 } },
    ONE(sigmoid, sigmoid_d, sigmoid_l), { 2.5, 2.5 }, { 2.5, 2.5 } },
    ONE(tanh, tanh, tanhl),           { 3, 3 }, { 3, 3 } },
    ONE(sinh, sinh, sinhl),           { 2.5, 2.5 }, { 2.5, 2.5 } },
    ONE(cosh, cosh, coshl),           { 2, 2 }, { 2, 2 } },
    ONE(erf, erf, erfl),              { 1.5, 1.5 }, { 1.5, 1.5 } },
    ONE(log, log, logl),              { 1, 1 }, { 1, 1 } },
    ONE(log1p, log1p, log1pl),        { 1.5, 1.5 }, { 1.5, 1.5 } },
    ONE(sin, sin, sinl),              { 1, 1 }, { 1, 1 } },
    ONE(cos, cos, cosl),              { 1, 1 }, { 1, 1 } },
    ONE(tan, tan, tanl),              { 1, 1 }, { 2.5, 2.5 } },
    ONE(asin, asin, asinl),           { 2.5, 2.5 }, { 2.5, 2.5 } },
    ONE(acos, acos, acosl),           { 2, 2 }, { 2, 2 } },
    ONE(atan, atan, atanl),           { 2, 2 }, { 2, 2 } },
    ONE(asinh, asinh, asinhl),        { 1, 1 }, { 2.5, 2.5 } },
    ONE(acosh, acosh, acoshl),        { 1, 1 }, { 2.5, 2.5 } },
    ONE(atanh, atanh, atanhl),        { 1, 1 }, { 2.5, 2.5 } },
    ONE(sign, sign_d, sign_l),        { 0, 0 }, { 0, 0 } },
    TWO(pow, pow, powl),              { 1, 1 }, { 1, 1 } },
    TWO(fmod, fmod, fmodl),           { 0, 0 }, { 0, 0 } },
    TWO(mod, mod_d, mod_l),           { 0.5, 0.5 }, { 0.5, 0.5 } },
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

typedef struct { double worst; uint64_t at[2]; uint64_t n_wrong, wrong_at[2], wrong_got; } verdict;

/* ulps between got and the exact value; infinite for a NaN, sign or infinity that should not be, or be
 * another. */
static double ulps_f32(float got, double exact)
{
    if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : (double)INFINITY;
    if (!signbit(got) != !signbit(exact)) return (double)INFINITY;
    double g = isinf(got) ? 0x1p128 : fabs(got), e = fabs(exact);
    if (e >= 0x1p128) return isinf(got) ? 0 : (double)INFINITY;
    int exponent = e < 0x1p-126 ? -126 : ilogb(e);
    return ldexp(fabs(g - e), 23 - exponent);
}

static double ulps_f64(double got, long double exact)
{
    if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : (double)INFINITY;
    if (!signbit(got) != !signbit(exact)) return (double)INFINITY;
    long double g = isinf(got) ? 0x1p1024l : fabsl(got), e = fabsl(exact);
    if (e >= 0x1p1024l) return isinf(got) ? 0 : (double)INFINITY;
    int exponent = e < 0x1p-1022l ? -1022 : ilogbl(e);
    return (double)ldexpl(fabsl(g - e), 52 - exponent);
}

/* Bulk form for f32: the plain case in vector arithmetic, whatever looks odd again by ulps_f32. */
FAST_LOOPS static inline void judge_f32(const float *got, const double *exact, const uint32_t *arg,
                                        verdict *v)
{
    double err[N];
    for (int j = 0; j < N; j++) {
        union { double d; int64_t i; } e = { exact[j] }, one_ulp;
        int64_t exponent = e.i & INT64_C(0x7ff0000000000000), low = INT64_C(897) << 52;
        one_ulp.i = (exponent > low ? exponent : low) - (INT64_C(23) << 52);
        double d = __builtin_fabs((double)got[j] - e.d);
        err[j] = d / one_ulp.d;
    }
    double most = 0; bool odd = false;
    for (int j = 0; j < N; j++) {
        odd |= !(err[j] <= v->worst) || !__builtin_signbit(got[j]) != !__builtin_signbit(exact[j]);
        most = err[j] > most ? err[j] : most;
    }
    if (!odd) return;
    for (int j = 0; j < N; j++) {
        double u = ulps_f32(got[j], exact[j]);
        if (isinf(u)) {
            if (v->n_wrong++ == 0) { v->wrong_at[0] = arg[j]; memcpy(&v->wrong_got, &got[j], 4); }
        } else if (u > v->worst) { v->worst = u; v->at[0] = arg[j]; }
    }
}

/* -- Arguments ------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *s)               /* splitmix64 */
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double f64_from_bits(uint64_t b) { double x; memcpy(&x, &b, 8); return x; }
static float f32_from_bits(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

/* One of: any pattern; a number of size 2^-60 … 2^12; uniform in +-1.5, +-30, +-760; near a small multiple of
 * pi/4. */
static double random_f64(uint64_t *s)
{
    uint64_t r = next_random(s), w = next_random(s);
    double u = (double)(int64_t)r * 0x1p-63;
    switch (w % 8) {
    case 0: return f64_from_bits(r);
    case 1: case 2: return f64_from_bits((r & ~(UINT64_C(0x7ff) << 52)) | (963 + (w >> 8) % 73) << 52);
    case 3: case 4: return u * 1.5;
    case 5: return u * 30;
    case 6: return u * 760;
    default: return (double)((int64_t)(w >> 8) % 100000) * 0.78539816339744831 * (1 + u * 0x1p-40);
    }
}

/* As random_f64; also pairs of like size, and small whole numbers. */
static inline void random_pair(uint64_t *s, double p[2])
{
    p[0] = random_f64(s);
    p[1] = random_f64(s);
    uint64_t w = next_random(s);
    if (w % 8 == 0) p[1] = p[0] * (1 + (double)(w >> 40) * 0x1p-30);
    if (w % 8 == 1) p[1] = (double)((int64_t)(w >> 8) % 41 - 20);
    if (w % 8 == 2) p[0] = 1 + (double)((int64_t)(w >> 8) % 2001 - 1000) * 0x1p-30, p[1] *= 0x1p20;
    if (w % 8 == 3) p[0] = (double)((int64_t)(w >> 8) % 41 - 20);
}

static const double special[] = { 0,
                                  1,
                                  2,
                                  3,
                                  0.5,
                                  1.5,
                                  4,
                                  1023,
                                  1024,
                                  0x1p-1074,
                                  0x1p-1022,
                                  0x1p-149,
                                  0x1p-126,
                                  0x1.fffffep127,
                                  0x1.fffffffffffffp1023,
                                  0x1p52,
                                  0x1p53,
                                  0x1p24,
                                  0x1p23,
                                  0x1p77,
                                  88.7228317,
                                  88.8,
                                  103.97,
                                  104,
                                  709.78271289338397,
                                  710.4,
                                  744.4,
                                  745.13,
                                  746,
                                  89.4159,
                                  0.3465735902799727,
                                  0.6931471805599453,
                                  1.5707963267948966,
                                  3.1415926535897931,
                                  6381956970095103.0 *
                                      0x1p797 /* of all f64 the closest to a multiple of pi/2 */,
                                  0x1.f0ffffp100,
                                  1e22,
                                  0x1p-25,
                                  0x1p-54,
                                  0x1p-13,
                                  0x1p-27,
                                  0x1p-10,
                                  0x1p28,
                                  0x1p65,
                                  INFINITY,
                                  NAN };
enum { N_SPECIAL = 2 * sizeof special / sizeof *special };
static double special_at(int i) { return i % 2 ? -special[i / 2] : special[i / 2]; }

/* One argument pair through both modes by run_blocks is wasteful; these fill a block and judge it. */
static inline void judge_block(const judged *f, dtype t, const scalar_code *c, block *at, verdict v[2])
{
    for (int mode = 0; mode < 2; mode++) {
        run_blocks(c, at, (fma_mode)mode);
        const block *r = &at[c->n_in + c->n_steps - 1];
        for (int j = 0; j < N; j++) {
            double u;
            if (t == DTYPE_f32) {
                double exact = f->f64 ? f->f64(at[0].f[j]) : f->f64_2(at[0].f[j], at[1].f[j]);
                u = ulps_f32(r->f[j], exact);
            } else {
                long double exact = f->ld ? f->ld(at[0].d[j]) : f->ld_2(at[0].d[j], at[1].d[j]);
                u = ulps_f64(r->d[j], exact);
            }
            uint64_t x = 0, y = 0, got = 0;
            int n = dtype_bytes(t);
            memcpy(&x, (char *)&at[0] + j * n, (size_t)n);
            if (c->n_in > 1) memcpy(&y, (char *)&at[1] + j * n, (size_t)n);
            memcpy(&got, (const char *)r + j * n, (size_t)n);
            if (isinf(u)) {
                if (v[mode].n_wrong++ == 0) {
                    v[mode].wrong_at[0] = x;
                    v[mode].wrong_at[1] = y;
                    v[mode].wrong_got = got;
                }
            } else if (u > v[mode].worst) { v[mode].worst = u; v[mode].at[0] = x; v[mode].at[1] = y; }
        }
    }
}

static inline void set_element(dtype t, block *b, int j, double x)
{
    if (t == DTYPE_f32) b->f[j] = (float)x;
    else b->d[j] = x;
}

/* n_random arguments (rounded up to blocks) and all specials, or all pairs of specials. */
static inline void judge_random(const judged *f, dtype t, const scalar_code *c, block *at, int64_t n_random,
                                uint64_t seed, verdict v[2])
{
    int n_pairs = c->n_in == 1 ? N_SPECIAL : N_SPECIAL * N_SPECIAL;
    for (int i = 0; i < n_pairs; i += N) {
        for (int j = 0; j < N; j++) {
            int p = i + j < n_pairs ? i + j : 0;
            set_element(t, &at[0], j, special_at(p % N_SPECIAL));
            if (c->n_in > 1) set_element(t, &at[1], j, special_at(p / N_SPECIAL));
        }
        judge_block(f, t, c, at, v);
    }
    for (int64_t i = 0; i < n_random; i += N) {
        for (int j = 0; j < N; j++) {
            double p[2] = { 0 };
            if (c->n_in > 1) random_pair(&seed, p);
            else p[0] = random_f64(&seed);
            if (t == DTYPE_f32 && next_random(&seed) % 8 == 0)
                p[0] = f32_from_bits((uint32_t)next_random(&seed));
            if (t == DTYPE_f32 && next_random(&seed) % 8 == 0)
                p[1] = f32_from_bits((uint32_t)next_random(&seed));
            set_element(t, &at[0], j, p[0]);
            if (c->n_in > 1) set_element(t, &at[1], j, p[1]);
        }
        judge_block(f, t, c, at, v);
    }
}

static inline int n_arithmetic(const scalar_code *c)           /* steps but for constants and bitcasts */
{
    int n = 0;
    for (int i = 0; i < c->n_steps; i++) n += c->steps[i].kind == STEP_SCALAR;
    return n;
}

/* One f32 in each `stride` patterns, at changing places; stride 1: all. */
static inline void judge_patterns(const judged *f, expander *e, uint64_t stride, verdict v[2])
{
    const scalar_code *c = scalar_expand(e, f->fn, DTYPE_f32);
    block *at = new_blocks(c);
    for (uint64_t first = 0; first < UINT64_C(1) << 32; first += stride * N) {
        double exact[N];
        for (uint64_t j = 0; j < N; j++)
            at[0].u[j] = (uint32_t)(first + stride * j + (stride > 1 ? (first / N + j) % stride : 0));
        for (int j = 0; j < N; j++) exact[j] = f->f64(at[0].f[j]);
        for (int mode = 0; mode < 2; mode++) {
            run_blocks(c, at, (fma_mode)mode);
            judge_f32(at[c->n_in + c->n_steps - 1].f, exact, at[0].u, &v[mode]);
        }
    }
    free(at);
}

/* One line of docs/accuracy.md; true if within the bounds. */
static inline bool print_verdict(const judged *f, dtype t, const scalar_code *c, const verdict v[2])
{
    const double *bound = t == DTYPE_f32 ? f->bound32 : f->bound64;
    bool good = true;
    printf("%-8s %s  %3d steps", scalar_info[f->fn].name, dtype_info[t].name, n_arithmetic(c));
    for (int mode = 0; mode < 2; mode++) {
        good &= v[mode].n_wrong == 0 && v[mode].worst <= bound[mode];
        printf("   %.3f of %g at %llx %llx", v[mode].worst, bound[mode], (unsigned long long)v[mode].at[0],
               (unsigned long long)v[mode].at[1]);
        if (v[mode].n_wrong)
            printf("; %llu WRONG, first %llx %llx: %llx", (unsigned long long)v[mode].n_wrong,
                   (unsigned long long)v[mode].wrong_at[0], (unsigned long long)v[mode].wrong_at[1],
                   (unsigned long long)v[mode].wrong_got);
    }
    printf("%s\n", good ? "" : "   FAILED");
    fflush(stdout);
    return good;
}

static inline int judge_all_f32(const scalar *walked, size_t n)
{
    if (!fast_loops_run()) return 77;
    mem memory = { 0 };
    arena *a = arena_new(&memory);
    expander *e = expander_new(a);
    int n_failed = 0;
    for (size_t k = 0; k < n; k++)
        for (int i = 0; i < N_FUNCTIONS; i++) {
            if (functions[i].fn != walked[k]) continue;
            verdict v[2] = { { 0 } };
            judge_patterns(&functions[i], e, 1, v);
            n_failed += !print_verdict(&functions[i], DTYPE_f32, scalar_expand(e, walked[k], DTYPE_f32), v);
        }
    arena_free(a);
    return n_failed != 0;
}
