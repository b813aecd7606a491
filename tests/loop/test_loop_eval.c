/* The interpreter of the loop program against plain C; its checks of every access. */
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include "backend/eval/eval_loop.h"
#include "tests/support/loop_fixture.h"

static kernel_code *file(const char *name)
{
    bytes b;
    int err;
    assert_true(file_map(a, arena_printf(a, "tests/loop/%s.loop", name), &b, &err));
    kernel_code *k = kernel_parse(ctx, a, t, name, (const char *)b.at, b.n);
    assert_non_null(k);
    return k;
}

static void symbol(const char *name, int64_t v, int64_t *values)
{
    for (int i = 0; i < dims_n_symbols(t); i++)
        if (strcmp(dims_symbol_name(t, i), name) == 0) values[i] = v;
}

static uint32_t seed = 1;
static float *noise(int n)
{
    float *x = NEW_ARRAY(a, float, n);
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = (float)((int)(seed >> 8) % 2001 - 1000) / 512.0f;
    }
    return x;
}

static float *blank(int n)
{
    float *x = NEW_ARRAY(a, float, n);
    for (int i = 0; i < n; i++) x[i] = NAN;
    return x;
}

static void run(const kernel_code *k, void *const *params, const int64_t *symbols, fma_mode mode)
{
    double fills[] = { NAN, 1e30 };
    for (int i = 0; i < 2; i++)
        assert_true(eval_kernel(ctx, ex, k, params, symbols, mode, &(loop_eval_options){ .fill = fills[i] }));
}

static void dense(void **state)
{
    (void)state;
    enum { N = 3 };
    kernel_code *k = file("dense");
    int64_t sym[4];
    symbol("N", N, sym);
    float *x = noise(N * 784), *w = noise(784 * 128), *b = noise(128), *y = blank(N * 128);
    for (int mode = 0; mode < 2; mode++) {
        run(k, (void *[]){ x, w, b, y }, sym, mode ? FMA_ROUNDED : FMA_FUSED);
        for (int n = 0; n < N; n++)
            for (int o = 0; o < 128; o++) {
                float acc = b[o];
                for (int i = 0; i < 784; i++) {
                    float p = x[n * 784 + i] * w[i * 128 + o];
                    acc = mode ? p + acc : fmaf(x[n * 784 + i], w[i * 128 + o], acc);
                }
                float want = acc < 0 ? 0 : acc;
                assert_memory_equal(&want, &y[n * 128 + o], 4);
            }
    }
}

static void conv(void **state)
{
    (void)state;
    enum { C = 4, H = 14 };
    float *x = noise(C * H * H * 16), *w = noise(C * C * 9 * 256), *b = noise(64), *y = blank(C * H * H * 16),
          *z = blank(C * H * H * 16);
    run(file("conv3x3"), (void *[]){ x, w, b, y }, NULL, FMA_FUSED);
    run(file("conv3x3_scheduled"), (void *[]){ x, w, b, z }, NULL, FMA_FUSED);
    assert_memory_equal(y, z, C * H * H * 16 * 4);
    for (int n = 0; n < C * H * H * 16; n += 7) {
        int o = n % 16, j = n / 16 % H, i = n / 16 / H % H, O = n / 16 / H / H;
        float acc = b[O * 16 + o];
        for (int ci = 0; ci < C; ci++)
            for (int r = 0; r < 3; r++)
                for (int s = 0; s < 3; s++)
                    for (int c = 0; c < 16; c++) {
                        if (i + r < 1 || i + r > H || j + s < 1 || j + s > H) continue;
                        acc = fmaf(x[((ci * H + i + r - 1) * H + j + s - 1) * 16 + c],
                                   w[((((O * C + ci) * 3 + r) * 3 + s) * 16 + c) * 16 + o], acc);
                    }
        float want = acc < 0 ? 0 : acc;
        assert_memory_equal(&want, &y[n], 4);
    }
}

static void softmax(void **state)
{
    (void)state;
    enum { R = 5 };
    if (!scalar_expand(ex, SCALAR_exp, DTYPE_f32)) skip();
    kernel_code *k = file("softmax");
    int64_t sym[4];
    symbol("R", R, sym);
    float *x = noise(R * 128), *y = blank(R * 128);
    x[0] = -INFINITY;
    x[128 + 3] = NAN;
    run(k, (void *[]){ x, y }, sym, FMA_FUSED);
    assert_true(y[0] == 0);
    assert_true(isnan(y[128]) && isnan(y[255]));
    for (int i = 0; i < R; i++) {
        if (i == 1) continue;
        double m = -INFINITY, sum = 0;
        for (int j = 0; j < 128; j++) m = fmax(m, x[i * 128 + j]);
        for (int j = 0; j < 128; j++) sum += exp(x[i * 128 + j] - m);
        for (int j = 0; j < 128; j++)
            assert_true(fabs(y[i * 128 + j] - exp(x[i * 128 + j] - m) / sum) < 1e-7);
    }
}

static void maxpool(void **state)
{
    (void)state;
    enum { N = 2, C = 3, H = 7, W = 10, P = 4, Q = 5 };
    kernel_code *k = file("maxpool");
    int64_t sym[8];
    symbol("N", N, sym); symbol("C", C, sym); symbol("H", H, sym); symbol("W", W, sym);
    float *x = noise(N * C * H * W), *y = blank(N * C * P * Q);
    run(k, (void *[]){ x, y }, sym, FMA_FUSED);
    for (int n = 0; n < N * C; n++)
        for (int i = 0; i < P; i++)
            for (int j = 0; j < Q; j++) {
                float m = -INFINITY;
                for (int r = 2 * i - 1; r < 2 * i + 2; r++)
                    for (int s = 2 * j - 1; s < 2 * j + 2; s++)
                        if (r >= 0 && r < H && s >= 0 && s < W && x[(n * H + r) * W + s] > m)
                            m = x[(n * H + r) * W + s];
                assert_true(m == y[(n * P + i) * Q + j]);
            }
}

/* Every row at several types, through x_op and through the kernel: the bits of sv_apply. */
static void rows(void **state)
{
    (void)state;
    static const dtype types[] = {
        DTYPE_f32, DTYPE_f64, DTYPE_i64, DTYPE_i32, DTYPE_u8, DTYPE_bool, DTYPE_i8, DTYPE_u64
    };
    static const double samples[] = {
        0, -0.0, 1, -1, 2.5, -3.75, 100, 1e30, INFINITY, -INFINITY, NAN, 1e-42, 0.3, 31, 255
    };
    enum { N = sizeof samples / sizeof *samples };
    for (int fn = 0; fn < SCALAR_COUNT; fn++) {
        for (size_t ti = 0; ti < sizeof types / sizeof *types; ti++) {
            dtype s = types[ti];
            if (fn == SCALAR_cast || !scalar_accepts((scalar)fn, s)) continue;
            /* not yet expanded */
            if (!scalar_info[fn].is_basic && !scalar_expand(ex, (scalar)fn, s)) continue;
            int n = scalar_info[fn].arity;
            dtype r = scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : s;
            kernel_code *k = kernel_new(ctx, a, t, "rows", ANCHOR_map);
            dim size[] = { dim_const(N) };
            int in[3], out;
            for (int i = 0; i < n; i++)
                in[i] = kernel_param(k, "x", fn == SCALAR_select && i == 0 ? DTYPE_bool : s, ROLE_in, 1,
                                     size);
            out = kernel_param(k, "y", r, ROLE_out, 1, size);
            const expr *i = x_var(k, kernel_var(k, "i", LOOP_plain)), *args[3];
            for (int j = 0; j < n; j++) args[j] = x_load(k, in[j], &i);
            stmt *loop = s_for(k, i->id, x_int(k, 0), x_int(k, N), MARK_serial);
            block_push(k, &loop->body, s_store(k, out, &i, x_op(k, (scalar)fn, n, args)));
            block_push(k, &k->body, loop);
            uint64_t memory[4][N];
            void *params[4];
            for (int shift = 0; shift < N; shift++) {
                for (int j = 0; j < n; j++) {
                    dtype sj = k->bufs.at[in[j]].dtype;
                    for (int e = 0; e < N; e++)
                        sv_store(sj, (char *)memory[j] + e * dtype_bytes(sj),
                                 sv_from_f64(sj, samples[(e + j * shift) % N]));
                    params[j] = memory[j];
                }
                params[n] = memory[3];
                for (int mode = 0; mode < 2; mode++) {
                    assert_true(
                        eval_kernel(ctx, ex, k, params, NULL, (fma_mode)mode, &(loop_eval_options){ 0 }));
                    for (int e = 0; e < N; e++) {
                        scalar_value v[3];
                        for (int j = 0; j < n; j++)
                            v[j] = sv_load(k->bufs.at[in[j]].dtype,
                                           (char *)memory[j] + e * dtype_bytes(k->bufs.at[in[j]].dtype));
                        scalar_value want = sv_apply(ex, (scalar)fn, s, DTYPE_NONE, v, (fma_mode)mode);
                        scalar_value got = sv_load(r, (char *)memory[3] + e * dtype_bytes(r));
                        bool both_nan = is_float(r) && isnan(sv_to_f64(r, want)) && isnan(sv_to_f64(r, got));
                        if (!both_nan && want.bits != got.bits)
                            fail_msg("%s at %s, mode %d: %llx, not %llx", scalar_info[fn].name,
                                     dtype_info[s].name, mode, (unsigned long long)got.bits,
                                     (unsigned long long)want.bits);
                    }
                }
            }
        }
    }
}

static void refuses(const char *body, const char *message)
{
    char *src = arena_printf(a, "kernel @k(x: f32[4, 8] in, n: i64[] in, y: f32[8] out) {\n%s\n}\n", body);
    kernel_code *k = kernel_parse(ctx, a, t, "test.loop", src, strlen(src));
    assert_non_null(k);
    float x[32] = { 0 }, y[8];
    int64_t n = 0;
    assert_false(eval_kernel(ctx, ex, k, (void *[]){ x, &n, y }, NULL, FMA_FUSED,
                             &(loop_eval_options){ .max_steps = 100000 }));
    assert_int_equal(ctx->diags.n, 1);
    assert_non_null(strstr(ctx->diags.at[0].message, message));
    context_clear_diags(ctx);
}

static void checks(void **state)
{
    (void)state;
    refuses("for i in 0..9 { y[i] = 1 }", "`y[i] = 1`: of y, index 0 is 8, outside 0..8");
    refuses("for i in 0..4, j in 0..4 { y[0] = x[i + j, 2] }", "of x, index 0 is 4, outside 0..4");
    refuses("for i in 0..5, j in 0..8 { y[j] = x[i, j] }", "of x, index 0 is 4, outside 0..4");
    refuses("for i in 0..4, j in 0..8 { y[j] = x[i, j - 1] }", "of x, index 1 is -1, outside 0..8");
    refuses("reg r: f32[2, 2] = 0\nfor i in 0..2 { y[0] = r[i, n[] + 2] }", "of r, index 1 is 2");
    refuses("y[0] = f32(3 floordiv n[])", "divisor");
    refuses("vector for i in 0..n[] { y[i] = 1 }", "extent");
    refuses("for i in 0..1000000000 { y[0] = f32(i) }", "more than 100000 steps");
    refuses("reg r: f32[3] = 0\ny[0] = tree(add, r)", "16");
}

static void speed(void **state)
{
    (void)state;
    enum { N = 20 };
    kernel_code *k = file("dense");
    int64_t sym[4];
    symbol("N", N, sym);
    float *x = noise(N * 784), *w = noise(784 * 128), *b = noise(128), *y = blank(N * 128);
    clock_t begin = clock();
    assert_true(eval_kernel(ctx, ex, k, (void *[]){ x, w, b, y }, sym, FMA_FUSED, &(loop_eval_options){ 0 }));
    double s = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%.0f million multiply-adds a second\n", N * 784 * 128 / s * 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(dense),
        T(conv),
        T(softmax),
        T(maxpool),
        T(rows),
        T(checks),
        T(speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
