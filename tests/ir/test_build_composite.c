/* Composites, by value: each is built over inputs, run by the graph interpreter, and compared with a plain
 * loop. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "backend/eval/eval.h"
#include "ir/build.h"

#include <math.h>
#include <stdlib.h>

static dlc_context *ctx;
static graph *g;
static tensor args[8];

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    g = graph_new(ctx, a, dims_new(ctx, a), "test");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    context_free(ctx);
    return 0;
}

/* An input of these sizes, holding these elements. */
static value in(dtype t, int rank, const int64_t *size, const void *elements)
{
    dim d[MAX_RANK];
    tensor *x = &args[g->inputs.n];
    *x = (tensor){ .dtype = t, .rank = rank, .bytes = (void *)(uintptr_t)elements };
    for (int i = 0; i < rank; i++) d[i] = dim_const(x->dims[i] = size[i]);
    return input(g, "x", t, rank, d);
}
#define SIZE(...) (const int64_t[]){ __VA_ARGS__ }

static tensor run(value v)
{
    tensor y;
    eval_options o = { .fma = FMA_FUSED };
    int64_t symbols[16] = { 0 };
    assert_true(is_value(v));
    g->results.n = g->result_names.n = 0;
    add_result(g, v, "y");
    assert_int_equal(eval_graph(ctx, g->arena, g, symbols, args, &y, &o), DLC_OK);
    return y;
}

static void is_close(tensor y, int64_t n, const double *want, double tolerance)
{
    assert_int_equal(tensor_n(&y), n);
    for (int64_t i = 0; i < n; i++) {
        double have = sv_to_f64(y.dtype, sv_load(y.dtype, (char *)y.bytes + i * dtype_bytes(y.dtype)));
        if (fabs(have - want[i]) > tolerance * (1 + fabs(want[i])))
            fail_msg("element %d: %.17g, expected %.17g", (int)i, have, want[i]);
    }
}

/* -- Storage formats: decoded by their definition; encoded to the nearest code, the even one of two ------ */

static const struct { dtype t; int e, m, bias; double top; } formats[] = {
    { DTYPE_f8e4m3fn, 4, 3, 7, 448 },  { DTYPE_f8e4m3fnuz, 4, 3, 8, 240 }, { DTYPE_f8e5m2, 5, 2, 15, 57344 },
    { DTYPE_f8e5m2fnuz, 5, 2, 16, 57344 }, { DTYPE_f4e2m1, 2, 1, 1, 6 }, { DTYPE_f6e2m3, 2, 3, 1, 7.5 },
    { DTYPE_f6e3m2, 3, 2, 3, 28 },
};

static double by_definition(int k, int code)
{
    int e = formats[k].e, m = formats[k].m, E = code >> m & ((1 << e) - 1), M = code & ((1 << m) - 1);
    double v = E ? ldexp(1 + ldexp(M, -m), E - formats[k].bias) : ldexp(M, 1 - formats[k].bias - m);
    return code >> (e + m) & 1 ? -v : v;
}

static void decodes(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        uint8_t codes[256];
        int n = 1 << dtype_info[formats[k].t].bits;
        for (int i = 0; i < n; i++) codes[i] = (uint8_t)i;
        g->inputs.n = 0;
        tensor y = run(decode_storage(g, in(formats[k].t, 1, SIZE(n), codes)));
        const float *x = y.bytes;
        for (int i = 0; i < n; i++)
            if (fabs(by_definition((int)k, i)) <= formats[k].top && !(formats[k].bias % 8 == 0 && i == 0x80))
                assert_true((double)x[i] == by_definition((int)k, i));
            else
                assert_true(isnan(x[i]) || (formats[k].t == DTYPE_f8e5m2 && isinf(x[i])));
    }
}

static int nearest_code(int k, double a)                         /* a >= 0, saturating */
{
    int best = 0;
    for (int c = 1; c < 1 << (formats[k].e + formats[k].m); c++) {
        double v = by_definition(k, c), d = fabs(v - a), b = fabs(by_definition(k, best) - a);
        if (v <= formats[k].top && (d < b || (d == b && !(c & 1)))) best = c;
    }
    return best;
}

static void encodes(void **state)
{
    (void)state;
    enum { N = 4096 };
    float x[N];
    uint64_t seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)ldexp((double)(seed >> 40) / 16777216.0 - 0.5, (int)(seed >> 20 & 31) - 14);
        if (i % 3 == 0) x[i] = (float)(int)(x[i] * 8) / 8;                       /* ties */
    }
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        g->inputs.n = 0;
        tensor y = run(build_cast(g, in(DTYPE_f32, 1, SIZE(N), x), formats[k].t, true, "up"));
        const uint8_t *code = y.bytes;
        for (int i = 0; i < N; i++) {
            int want = nearest_code((int)k, fabs((double)x[i]));
            bool has_sign = signbit(x[i]) && !(want == 0 && formats[k].bias % 8 == 0);
            assert_int_equal(code[i], want | (has_sign ? 1 << (formats[k].e + formats[k].m) : 0));
        }
    }
}

static void encodes_small_ints(void **state)
{
    (void)state;
    const int32_t x[] = { 0, 7, 8, 15, 16, -1, -8, -9 };
    tensor y = run(build_cast(g, in(DTYPE_i32, 1, SIZE(8), x), DTYPE_i4, true, "up"));
    assert_memory_equal(y.bytes, ((int8_t[]){ 0, 7, -8, -1, 0, -1, -8, 7 }), 8);
    g->inputs.n = 0;
    y = run(build_cast(g, in(DTYPE_i32, 1, SIZE(8), x), DTYPE_u4, true, "up"));
    assert_memory_equal(y.bytes, ((uint8_t[]){ 0, 7, 8, 15, 0, 15, 8, 7 }), 8);
}

/* -- Products -------------------------------------------------------------------------------------------- */

static void matmul_batches(void **state)
{
    (void)state;
    float a[12], b[12];
    for (int i = 0; i < 12; i++) a[i] = (float)i, b[i] = (float)(i * i % 7);
    /* a[3, 1, 2, 2] b[2, 2, 3] -> [3, 2, 2, 3] */
    tensor y = run(matmul(g, in(DTYPE_f32, 4, SIZE(3, 1, 2, 2), a), in(DTYPE_f32, 3, SIZE(2, 2, 3), b),
                          DTYPE_NONE, DTYPE_NONE));
    double want[36];
    for (int i = 0; i < 36; i++) {
        int n = i % 3, m = i / 3 % 2, p = i / 6 % 2, q = i / 12;
        want[i] = 0;
        for (int k = 0; k < 2; k++) want[i] += (double)(a[q * 4 + m * 2 + k] * b[p * 6 + k * 3 + n]);
    }
    is_close(y, 36, want, 0);
    g->inputs.n = 0;
    y = run(matmul(g, in(DTYPE_f32, 1, SIZE(4), a), in(DTYPE_f32, 2, SIZE(4, 3), b), DTYPE_NONE, DTYPE_NONE));
    assert_int_equal(y.rank, 1);
    for (int n = 0; n < 3; n++) {
        want[n] = 0;
        for (int k = 0; k < 4; k++) want[n] += (double)(a[k] * b[k * 3 + n]);
    }
    is_close(y, 3, want, 0);
}

/* y[o] += x[stride o + dil k - pad] w[k], or the adjoint, one group at a time */
static void conv_1d(bool transposed, int64_t groups, int64_t C, int64_t M)
{
    enum { I = 7, KERNEL = 3, STRIDE = 2, DIL = 2, PAD = 1 };
    int64_t O = transposed ? 9 : 3, cg = C / groups, mg = M / groups;
    float x[8 * I], w[64 * KERNEL], bias[8];
    double want[8 * 9];
    for (int i = 0; i < C * I; i++) x[i] = (float)(i % 5 - 2);
    for (int i = 0; i < 64 * KERNEL; i++) w[i] = (float)(i * i % 11 - 5);
    for (int i = 0; i < M; i++) bias[i] = (float)i;
    for (int m = 0; m < M; m++)
        for (int o = 0; o < O; o++) {
            double s = (double)bias[m];
            for (int64_t c = m / mg * cg; c < (m / mg + 1) * cg; c++)
                for (int k = 0; k < KERNEL; k++)
                    for (int i = 0; i < I; i++) {
                        bool hit = transposed ? STRIDE * i + DIL * k - PAD == o
                                              : i == STRIDE * o + DIL * k - PAD;
                        int64_t at = transposed ? (c * mg + m % mg) * KERNEL + k
                                                : (m * cg + c % cg) * KERNEL + k;
                        if (hit) s += (double)(x[c * I + i] * w[at]);
                    }
            want[m * O + o] = s;
        }
    conv_spec s = { .n = 1,
                    .stride = { STRIDE },
                    .dil = { DIL },
                    .pad = { PAD },
                    .size = { dim_const(O) },
                    .groups = groups,
                    .transposed = transposed,
                    .acc = DTYPE_NONE,
                    .out = DTYPE_NONE };
    g->inputs.n = 0;
    value vx = in(DTYPE_f32, 3, SIZE(1, C, I), x);
    value vw = in(DTYPE_f32, 3, SIZE(transposed ? C : M, transposed ? mg : cg, KERNEL), w);
    is_close(run(conv(g, vx, vw, in(DTYPE_f32, 1, SIZE(M), bias), &s)), M * O, want, 0);
}

static void convolutions(void **state)
{
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        conv_1d(transposed, 1, 4, 6);
        conv_1d(transposed, 2, 4, 6);
        conv_1d(transposed, 4, 4, 4);
        conv_1d(transposed, 4, 4, 8);
        conv_1d(transposed, 2, 4, 2);
    }
}

/* -- Rows, running sums, indices ------------------------------------------------------------------------- */

static void rows(void **state)
{
    (void)state;
    const float x[] = { 1, 2, 3, 1000, 1001, 1002 };
    double e = exp(-1), f = exp(-2), s = 1 + e + f, want[6], logs[6];
    for (int i = 0; i < 6; i++) want[i] = (i % 3 == 2 ? 1 : i % 3 == 1 ? e : f) / s, logs[i] = log(want[i]);
    is_close(run(softmax(g, in(DTYPE_f32, 2, SIZE(2, 3), x), 2)), 6, want, 1e-6);
    g->inputs.n = 0;
    is_close(run(log_softmax(g, in(DTYPE_f32, 2, SIZE(2, 3), x), 2)), 6, logs, 1e-6);
    g->inputs.n = 0;
    is_close(run(mean_over(g, in(DTYPE_f32, 2, SIZE(2, 3), x), 3, true)), 1, (double[]){ 501.5 }, 0);
}

static void running(void **state)
{
    (void)state;
    const int32_t x[] = { 1, 2, 3, 4, 5, 6 };
    is_close(run(cumulate(g, CUM_add, in(DTYPE_i32, 2, SIZE(2, 3), x), 1, false, false)), 6,
             (double[]){ 1, 3, 6, 4, 9, 15 }, 0);
    g->inputs.n = 0;
    is_close(run(cumulate(g, CUM_add, in(DTYPE_i32, 2, SIZE(2, 3), x), 1, true, true)), 6,
             (double[]){ 5, 3, 0, 11, 6, 0 }, 0);
    g->inputs.n = 0;
    is_close(run(cumulate(g, CUM_mul, in(DTYPE_i32, 2, SIZE(2, 3), x), 0, false, false)), 6,
             (double[]){ 1, 2, 3, 4, 10, 18 }, 0);
    g->inputs.n = 0;
    is_close(run(cumulate(g, CUM_max, in(DTYPE_i32, 2, SIZE(2, 3), x), 1, true, false)), 6,
             (double[]){ INT32_MIN, 1, 2, INT32_MIN, 4, 5 }, 0);
}

static void indices(void **state)
{
    (void)state;
    const float x[] = { 0, 1, 2, 10, 11, 12 };
    const int64_t i[] = { -1, 0, 2, 1 }, j[] = { 2, 0 };
    value vx = in(DTYPE_f32, 2, SIZE(2, 3), x),
          vi = wrap_index(g, in(DTYPE_i64, 2, SIZE(2, 2), i), dim_const(3));
    tensor y = run(take(g, vx, vi, 1));
    assert_int_equal(y.rank, 3);
    is_close(y, 8, (double[]){ 2, 0, 2, 1, 12, 10, 12, 11 }, 0);
    is_close(run(take_along(g, vx, vi, 1)), 4, (double[]){ 2, 0, 12, 11 }, 0);
    g->inputs.n = 0;
    value known = constant(g, DTYPE_i64, 1, (dim[]){ dim_const(2) }, j, NULL),
          s = take(g, in(DTYPE_f32, 2, SIZE(2, 3), x), known, 1);
    assert_int_equal(node_of(g, s)->prim, PRIM_slice);                 /* 2, 0: a progression */
    is_close(run(s), 4, (double[]){ 2, 0, 12, 10 }, 0);
}

static void random_numbers(void **state)
{
    (void)state;
    enum { N = 20001 };
    const uint32_t key[5] = { 1, 2, 3, 4, 5 };
    dim n = dim_const(N);
    value k = in(DTYPE_u32, 1, SIZE(5), key);
    tensor u = run(uniform01(g, k, DTYPE_f64, 1, &n));
    double mean = 0, square = 0;
    for (int i = 0; i < N; i++) mean += ((double *)u.bytes)[i] / N;
    assert_true(fabs(mean - 0.5) < 0.01);
    tensor z = run(standard_normal(g, k, DTYPE_f32, 1, &n));
    mean = 0;
    for (int i = 0; i < N; i++) {
        double v = (double)((float *)z.bytes)[i];
        mean += v / N;
        square += v * v / N;
    }
    assert_true(fabs(mean) < 0.03 && fabs(square - 1) < 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(decodes), T(encodes), T(encodes_small_ints), T(matmul_batches), T(convolutions), T(rows),
        T(running), T(indices),
        T(random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
