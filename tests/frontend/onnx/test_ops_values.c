/* test_ops_values: results of operators where the official tests say little: spectra of every size, what holds for random
 * numbers of any generator.
 */
#include "tests/frontend/onnx/model_run.h"
#include <math.h>

/* -- Fourier ------------------------------------------------------------------------------------------------------------- */

/* Bin k of the transform of n points x[i * stride], imaginary parts at im[i * stride] (NULL: real), in double. */
static void bin(const float *x, const float *im, int stride, int n, int k, double sign, double *re_out, double *im_out)
{
    double re = 0, jm = 0;
    for (int i = 0; i < n; i++) {
        double angle = sign * 2 * 3.14159265358979323846 * (double)((int64_t)i * k % n) / n;
        double a = x[i * stride], b = im ? im[i * stride] : 0;
        re += a * cos(angle) - b * sin(angle);
        jm += a * sin(angle) + b * cos(angle);
    }
    *re_out = re;
    *im_out = jm;
}

static void check_dft(fixture *f, int n, bool pairs, bool inverse)
{
    text t = { .a = f->a };
    text_printf(&t, "in x f32 1 %d %d\ny = DFT x | axis=1 inverse=%d\nout y\n", n, pairs ? 2 : 1, inverse);
    graph *g = import(f, text_str(&t));
    if (!g) show(f);
    assert_non_null(g);
    tensor x = floats(f, 3, (int64_t[]){ 1, n, pairs ? 2 : 1 });
    const float *in = x.bytes, *y = run(f, g, &x)[0].bytes;
    for (int k = 0; k < n; k++) {
        double re, im, scale = inverse ? 1.0 / n : 1;
        bin(in, pairs ? in + 1 : NULL, pairs ? 2 : 1, n, k, inverse ? 1 : -1, &re, &im);
        assert_true(fabs(y[2 * k] - re * scale) < 1e-5 * n * scale + 1e-7);
        assert_true(fabs(y[2 * k + 1] - im * scale) < 1e-5 * n * scale + 1e-7);
        if (pairs) continue;
        int m = (n - k) % n;                              /* a real signal: exactly symmetric */
        assert_true(y[2 * k] == y[2 * m] && y[2 * k + 1] == -y[2 * m + 1]);
    }
}

static void test_dft(void **state)
{
    static const int sizes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 21, 30, 64, 97, 120 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int form = 0; form < 4; form++) check_dft(*state, sizes[i], form & 1, form & 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = { T(test_dft) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
