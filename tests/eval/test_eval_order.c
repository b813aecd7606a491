/* test_eval_order: the order of sums (ir/order.h), written down a second time as plain loops, and compared in
 * bits. */
#include "tests/support/bench.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static float tree(float *lane)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
    return lane[0];
}

static float sum_by_rule(const float *x, int64_t n)
{
    float lane[16] = { 0 };
    if (n <= 4096) {
        for (int64_t e = 0; e < n; e++) lane[e % 16] += x[e];
        return tree(lane);
    }
    int64_t n_blocks = (n + 4095) / 4096;
    float *sums = malloc((size_t)n_blocks * sizeof *sums);
    for (int64_t b = 0; b < n_blocks; b++)
        sums[b] = sum_by_rule(x + b * 4096, b * 4096 + 4096 <= n ? 4096 : n - b * 4096);
    float s = sum_by_rule(sums, n_blocks);
    free(sums);
    return s;
}

static float dot_by_rule(const float *x, const float *y, int64_t n, float init, bool fused)
{
    int64_t n_blocks = (n + 4095) / 4096;
    if (n_blocks == 0) n_blocks = 1;
    float *sums = malloc((size_t)n_blocks * sizeof *sums);
    for (int64_t b = 0; b < n_blocks; b++) {
        float lane[16] = { 0 };
        if (b == 0) lane[0] = init;
        for (int64_t e = b * 4096; e < n && e < (b + 1) * 4096; e++)
            lane[e % 16] = fused ? fmaf(x[e], y[e], lane[e % 16]) : x[e] * y[e] + lane[e % 16];
        sums[b] = tree(lane);
    }
    float s = n_blocks == 1 ? sums[0] : sum_by_rule(sums, n_blocks);
    free(sums);
    return s;
}

static void row_rule_of_reductions(void **state)
{
    (void)state;
    static const int64_t sizes[] = { 0, 1, 15, 16, 17, 100, 4095, 4096, 4097, 8192, 50000, 4096 * 17 + 5 };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        bench b = bench_new();
        graph *g = bench_graph(&b, "graph @g(%x: f32[3, N]) { %0 = reduce sum %x, [1] return %0 }");
        int64_t n = sizes[k], out_n = 3;
        tensor x = bench_random(&b, DTYPE_f32, 2, (int64_t[]){ 3, n }), y,
               want = bench_tensor(&b, DTYPE_f32, 1, &out_n, NULL);
        for (int i = 0; i < 3; i++) ((float *)want.bytes)[i] = sum_by_rule((float *)x.bytes + i * n, n);
        assert_true(bench_eval(&b, g, FMA_FUSED, &x, &y));
        assert_true(bench_equal(&y, &want));
        bench_free(&b);
    }
}

/* Three levels need over 16 M elements; one pass over 17 M of them. */
static void row_rule_of_many(void **state)
{
    (void)state;
    bench b = bench_new();
    graph *g = bench_graph(&b, "graph @g(%x: f32[N]) { %0 = reduce sum %x, [0] return %0 }");
    int64_t n = (int64_t)4096 * 4096 + 4096 * 3 + 7;
    tensor x = bench_random(&b, DTYPE_f32, 1, &n), y, want = bench_tensor(&b, DTYPE_f32, 0, NULL, NULL);
    *(float *)want.bytes = sum_by_rule(x.bytes, n);
    assert_true(bench_eval(&b, g, FMA_FUSED, &x, &y));
    assert_true(bench_equal(&y, &want));
    bench_free(&b);
}

/* e counts all reduced axes row-major when the innermost is among them; else one chain. */
static void reductions_over_several_axes(void **state)
{
    (void)state;
    bench b = bench_new();
    int64_t d[] = { 9, 4, 11 }, four = 4, eleven = 11;
    tensor x = bench_random(&b, DTYPE_f32, 3, d), y, want = bench_tensor(&b, DTYPE_f32, 1, &four, NULL);
    const float *p = x.bytes;
    graph *g = bench_graph(&b, "graph @g(%x: f32[9, 4, 11]) { %0 = reduce sum %x, [0, 2] return %0 }");
    for (int j = 0; j < 4; j++) {
        float row[99];
        for (int e = 0; e < 99; e++) row[e] = p[(e / 11 * 4 + j) * 11 + e % 11];
        ((float *)want.bytes)[j] = sum_by_rule(row, 99);
    }
    assert_true(bench_eval(&b, g, FMA_FUSED, &x, &y));
    assert_true(bench_equal(&y, &want));

    g = bench_graph(&b, "graph @g(%x: f32[9, 4, 11]) { %0 = reduce sum %x, [0, 1] return %0 }");
    want = bench_tensor(&b, DTYPE_f32, 1, &eleven, NULL);
    for (int k = 0; k < 11; k++)
        for (int e = 0; e < 36; e++) ((float *)want.bytes)[k] += p[e * 11 + k];
    assert_true(bench_eval(&b, g, FMA_FUSED, &x, &y));
    assert_true(bench_equal(&y, &want));
    bench_free(&b);
}

/* Fewer than 16 results: lanes. 16 and more: one chain from init. In both modes. */
static void contracts(void **state)
{
    (void)state;
    for (int mode = FMA_FUSED; mode <= FMA_ROUNDED; mode++)
        for (int columns = 3; columns <= 16; columns += 13) {
            bench b = bench_new();
            text src = { .a = b.a };
            text_printf(&src,
                        "graph @g(%%x: f32[5, K], %%w: f32[K, %d], %%b: f32[1, %d]) {\n"
                        "%%0 = contract %%x, %%w, %%b, [n, o | k] a[n, k] b[k, o] return %%0 }",
                        columns, columns);
            graph *g = bench_graph(&b, text_str(&src));
            int rows = columns < 16 ? 5 : 5;
            int64_t k = 5001;
            tensor in[3] = { bench_random(&b, DTYPE_f32, 2, (int64_t[]){ 5, k }),
                             bench_random(&b, DTYPE_f32, 2, (int64_t[]){ k, columns }),
                             bench_random(&b, DTYPE_f32, 2, (int64_t[]){ 1, columns }) };
            tensor y, want = bench_tensor(&b, DTYPE_f32, 2, (int64_t[]){ rows, columns }, NULL);
            const float *x = in[0].bytes, *w = in[1].bytes, *init = in[2].bytes;
            float *column = NEW_ARRAY(b.a, float, k);
            bool lanes = rows * columns < 16;
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < columns; c++) {
                    for (int64_t e = 0; e < k; e++) column[e] = w[e * columns + c];
                    float acc = init[c];
                    for (int64_t e = 0; e < k; e++)
                        acc = mode == FMA_FUSED ? fmaf(x[r * k + e], column[e], acc)
                                                : x[r * k + e] * column[e] + acc;
                    ((float *)want.bytes)[r * columns + c] =
                        lanes ? dot_by_rule(x + r * k, column, k, init[c], mode == FMA_FUSED) : acc;
                }
            assert_true(bench_eval(&b, g, (fma_mode)mode, in, &y));
            assert_true(bench_equal(&y, &want));
            bench_free(&b);
        }
}

/* A convolution as the six loops of walkthrough §5, in three layouts of the row: x dense, o dense, strided.
 */
static void convolution(int O, bool zero_taps, int channels, const char *la, const char *lb, const char *lo,
                        const int *pa, const int *pb, const int *po, int stride)
{
    bench b = bench_new();
    enum { H = 9, K = 3 };
    int out = (H + 2 - K) / stride + 1;
    int64_t da[3] = { channels, H, H }, db[4] = { O, channels, K, K }, dout[3] = { O, out, out };
    text src = { .a = b.a };
    text_put(&src, "graph @g(%x: f32[");
    for (int i = 0; i < 3; i++) text_printf(&src, "%s%lld", i ? ", " : "", (long long)da[pa[i]]);
    text_put(&src, "], %w: f32[");
    for (int i = 0; i < 4; i++) text_printf(&src, "%s%lld", i ? ", " : "", (long long)db[pb[i]]);
    text_printf(&src, "]) { %%0 = contract %%x, %%w, [%s | c, r, s] a[%s] b[%s] : f32[", lo, la, lb);
    for (int i = 0; i < 3; i++) text_printf(&src, "%s%lld", i ? ", " : "", (long long)dout[po[i]]);
    text_put(&src, "] return %0 }");
    graph *g = bench_graph(&b, text_str(&src));
    assert_non_null(g);
    int64_t ta[3], tb[4], to[3], sa[3], sb[4], so[3], s = 1;
    for (int i = 0; i < 3; i++) { ta[i] = da[pa[i]]; to[i] = dout[po[i]]; }
    for (int i = 0; i < 4; i++) tb[i] = db[pb[i]];
    for (int i = 2; i >= 0; i--) { sa[pa[i]] = s; s *= ta[i]; }
    s = 1;
    for (int i = 3; i >= 0; i--) { sb[pb[i]] = s; s *= tb[i]; }
    s = 1;
    for (int i = 2; i >= 0; i--) { so[po[i]] = s; s *= to[i]; }
    tensor in[2] = { bench_random(&b, DTYPE_f32, 3, ta), bench_random(&b, DTYPE_f32, 4, tb) }, y;
    float *x = in[0].bytes, *w = in[1].bytes;
    w[0] = INFINITY;                       /* o 0, c 0, tap (0, 0): lies outside at the upper left border */
    tensor want = bench_tensor(&b, DTYPE_f32, 3, to, NULL);
    for (int o = 0; o < O; o++)
        for (int i = 0; i < out; i++)
            for (int j = 0; j < out; j++) {
                float acc = 0;
                for (int c = 0; c < channels; c++)
                    for (int r = 0; r < K; r++)
                        for (int q = 0; q < K; q++) {
                            int p = stride * i + r - 1, t = stride * j + q - 1;
                            bool inside = p >= 0 && p < H && t >= 0 && t < H;
                            if (!inside && !zero_taps) continue;
                            float v = inside ? x[c * sa[0] + p * sa[1] + t * sa[2]] : 0;
                            acc = fmaf(v, w[o * sb[0] + c * sb[1] + r * sb[2] + q * sb[3]], acc);
                        }
                ((float *)want.bytes)[o * so[0] + i * so[1] + j * so[2]] = acc;
            }
    assert_true(bench_eval(&b, g, FMA_FUSED, in, &y));
    assert_true(bench_equal(&y, &want));
    assert_true(!zero_taps == !isnan(((float *)y.bytes)[0]));
    bench_free(&b);
}

/* A gradient by weights: its taps are the pixels, more than it has positions. Those outside are left out,
 * though the sum contracts no channels: an infinite pixel of dy meets no zero. */
static void weight_gradient(void **state)
{
    (void)state;
    bench b = bench_new();
    enum { O = 5, C = 4, H = 6, K = 3 };
    graph *g = bench_graph(
        &b,
        "graph @g(%x: f32[4, 6, 6], %d: f32[5, 6, 6]) {"
        " %0 = contract %x, %d, [o, c, r, s | y, x] a[c, y + r - 1, x + s - 1] b[o, y, x] : f32[5, 4, 3, 3]"
        " return %0 }");
    assert_non_null(g);
    tensor in[2] = { bench_random(&b, DTYPE_f32, 3, (int64_t[]){ C, H, H }),
                     bench_random(&b, DTYPE_f32, 3, (int64_t[]){ O, H, H }) },
           y;
    float *x = in[0].bytes, *d = in[1].bytes, *w;
    d[0] = INFINITY;
    tensor want = bench_tensor(&b, DTYPE_f32, 4, (int64_t[]){ O, C, K, K }, NULL);
    w = want.bytes;
    for (int e = 0; e < O * C * K * K; e++) {
        int o = e / (C * K * K), c = e / (K * K) % C, r = e / K % K, q = e % K;
        w[e] = 0;
        for (int i = 0; i < H; i++)
            for (int j = 0; j < H; j++) {
                int p = i + r - 1, t = j + q - 1;
                if (p >= 0 && p < H && t >= 0 && t < H)
                    w[e] = fmaf(x[(c * H + p) * H + t], d[(o * H + i) * H + j], w[e]);
            }
    }
    assert_true(bench_eval(&b, g, FMA_FUSED, in, &y));
    assert_true(bench_equal(&y, &want));
    assert_false(isnan(((float *)y.bytes)[0]));
    bench_free(&b);
}

static void borders(void **state)
{
    (void)state;
    for (int stride = 1; stride <= 2; stride++)
        for (int k = 0; k < 4; k++) {
            int channels = k % 2 ? 3 : 16, o = k < 2 ? 5 : 20;        /* under 16 input channels: zero taps */
            const char *row = stride == 1 ? "c, y + r - 1, x + s - 1" : "c, 2*y + r - 1, 2*x + s - 1";
            const char *last = stride == 1 ? "y + r - 1, x + s - 1, c" : "2*y + r - 1, 2*x + s - 1, c";
            convolution(o, k % 2, channels, row, "o, c, r, s", "o, y, x", (int[]){ 0, 1, 2 },
                        (int[]){ 0, 1, 2, 3 }, (int[]){ 0, 1, 2 }, stride);
            convolution(o, k % 2, channels, last, "c, r, s, o", "y, x, o", (int[]){ 1, 2, 0 },
                        (int[]){ 1, 2, 3, 0 }, (int[]){ 1, 2, 0 }, stride);
            convolution(o, k % 2, channels, last, "o, r, s, c", "x, o, y", (int[]){ 1, 2, 0 },
                        (int[]){ 0, 2, 3, 1 }, (int[]){ 2, 0, 1 }, stride);
        }
}

/* A limit keeps the padding's lanes out, whatever they hold. */
static void limits(void **state)
{
    (void)state;
    bench b = bench_new();
    graph *g = bench_graph(&b,
        "graph @g(%x: f32[20, 24], %w: f32[24, 20]) {\n"
        "  %p = pad undef %x, lo [0, 0], hi [0, 8] : f32[20, 32]\n"
        "  %xb = reshape %p, [20, 2, 16]\n"
        "  %q = pad undef %w, lo [0, 0], hi [8, 0] : f32[32, 20]\n"
        "  %wb = reshape %q, [2, 16, 20]\n"
        "  %0 = contract %xb, %wb, [n, o | C, c] a[n, C, c] b[C, c, o] limit 16*C + c < 24 : f32[20, 20]\n"
        "  %1 = contract %x, %w, [n, o | c] a[n, c] b[c, o] : f32[20, 20]\n"
        "  return %0, %1\n}");
    tensor in[2] = { bench_random(&b, DTYPE_f32, 2, (int64_t[]){ 20, 24 }),
                     bench_random(&b, DTYPE_f32, 2, (int64_t[]){ 24, 20 }) };
    tensor out[2];
    assert_true(bench_eval(&b, g, FMA_FUSED, in, out));
    assert_true(bench_equal(&out[0], &out[1]));
    bench_free(&b);
}

/* f16: the chain runs in f32, and is rounded once. */
static void narrow_floats(void **state)
{
    (void)state;
    bench b = bench_new();
    graph *g = bench_graph(&b,
        "graph @g(%x: f16[2, 40], %w: f16[40, 20]) {\n"
        "  %0 = contract %x, %w, [n, o | c] a[n, c] b[c, o] : f16[2, 20]\n"
        "  %a = map cast %x : f32[2, 40]  %b = map cast %w : f32[40, 20]\n"
        "  %c = contract %a, %b, [n, o | c] a[n, c] b[c, o] : f32[2, 20]\n"
        "  %1 = map cast %c : f16[2, 20]\n"
        "  %2 = reduce sum %x, [1]  %d = reduce sum %a, [1]  %3 = map cast %d : f16[2]\n"
        "  return %0, %1, %2, %3\n}");
    tensor in[2] = { bench_random(&b, DTYPE_f16, 2, (int64_t[]){ 2, 40 }),
                     bench_random(&b, DTYPE_f16, 2, (int64_t[]){ 40, 20 }) };
    tensor out[4];
    assert_true(bench_eval(&b, g, FMA_FUSED, in, out));
    assert_true(bench_equal(&out[0], &out[1]));
    assert_true(bench_equal(&out[2], &out[3]));
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_rule_of_reductions), cmocka_unit_test(row_rule_of_many),
        cmocka_unit_test(reductions_over_several_axes), cmocka_unit_test(contracts),
        cmocka_unit_test(borders),
        cmocka_unit_test(weight_gradient),
        cmocka_unit_test(limits), cmocka_unit_test(narrow_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
