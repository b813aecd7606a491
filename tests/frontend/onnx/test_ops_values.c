/* test_ops_values: results of operators where the official tests say little: spectra of every size, resizing
 * to one, what holds for random numbers of any generator.
 */
#include "tests/frontend/onnx/model_run.h"
#include <math.h>

/* -- Fourier --------------------------------------------------------------------------------------------- */

/* Bin k of the transform of n points x[i * stride], imaginary parts at im[i * stride] (NULL: real), in
 * double. */
static void bin(const float *x, const float *im, int stride, int n, int k, double sign, double *re_out,
                double *im_out)
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
    if (!g) fixture_messages(f);
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

/* -- Resize ---------------------------------------------------------------------------------------------- */

/* A length of 1 is where the formulas have a case of their own; it is the result's length that counts, not
 * scale * extent. The roi of tf_crop_and_resize: the second half. */
static void test_resize_to_one(void **state)
{
    static const struct { const char *mode, *at; float want; } cases[] = {
        { "linear", "pytorch_half_pixel", 10 }, { "cubic", "pytorch_half_pixel", 10 },
        { "nearest", "pytorch_half_pixel", 10 },
        { "linear", "half_pixel", 15 }, { "linear", "align_corners", 10 },
        { "linear", "tf_crop_and_resize", 25 },
    };
    fixture *f = *state;
    float in[3] = { 10, 20, 30 };
    tensor x = { .dtype = DTYPE_f32, .rank = 1, .dims = { 3 }, .bytes = in };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int open = 0; open < 2; open++) {
            text t = { .a = f->a };
            bool crop = !strcmp(cases[i].at, "tf_crop_and_resize");
            text_printf(&t, "in x f32 %s\nconst r f32 [2] = %s 1\nconst s f32 [1] = 0.5\n"
                            "y = Resize x r s | mode=%s coordinate_transformation_mode=%s\nout y\n",
                            open ? "N" : "3",
                        crop ? "0.5" : "0", cases[i].mode, cases[i].at);
            graph *g = import(f, text_str(&t));
            if (!g) fixture_messages(f);
            assert_non_null(g);
            tensor y = run(f, g, &x)[0];
            assert_true(y.rank == 1 && y.dims[0] == 1);
            if (*(const float *)y.bytes != cases[i].want)
                print_message("%s %s: %g\n", cases[i].mode, cases[i].at, *(const float *)y.bytes);
            assert_true(*(const float *)y.bytes == cases[i].want);
        }
}

/* -- Random numbers -------------------------------------------------------------------------------------- */

enum { MANY = 10000 };

static bool depends_on_random(fixture *f, const graph *g, int result)
{
    return graph_depends(g, f->a, PRIM_random)[g->owner.at[g->results.at[result].id]];
}

static void test_bernoulli(void **state)
{
    fixture *f = *state;
    graph *g = import(f, "in p f32 10000\ny = Bernoulli p\nz = Add p p\nout y\nout z\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_true(depends_on_random(f, g, 0) && !depends_on_random(f, g, 1));
    tensor x = floats(f, 1, (int64_t[]){ MANY });
    float *p = (float *)(uintptr_t)x.bytes;
    double mean = 0, variance = 0, sum = 0;
    for (int i = 0; i < MANY; i++) {
        p[i] = i < 100 ? (float)(i % 2) : (float)(i % 101) / 100;       /* 0 and 1 leave nothing to chance */
        mean += p[i];
        variance += p[i] * (1 - p[i]);
    }
    const float *y = run(f, g, &x)[0].bytes, *again = run(f, g, &x)[0].bytes;
    for (int i = 0; i < MANY; i++) {
        assert_true(y[i] == 0 || y[i] == 1);
        if (i < 100) assert_true(y[i] == p[i]);
        sum += y[i];
    }
    assert_true(fabs(sum - mean) < 5 * sqrt(variance));
    assert_memory_equal(y, again, MANY * sizeof *y);
}

static void test_dropout(void **state)
{
    fixture *f = *state;
    graph *g = import(
        f, "in x f32 10000\nconst r f32 [] = 0.75\nconst t bool [] = 1\ny m = Dropout x r t\nout y\nout m\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_true(depends_on_random(f, g, 0) && depends_on_random(f, g, 1));
    tensor x = floats(f, 1, (int64_t[]){ MANY }), *r = run(f, g, &x);
    const float *in = x.bytes, *y = r[0].bytes;
    const uint8_t *kept = r[1].bytes;
    int n = 0;
    for (int i = 0; i < MANY; i++) {
        n += kept[i];
        assert_true(y[i] == (kept[i] ? 4 * in[i] : 0));
    }
    assert_true(fabs(n - 0.25 * MANY) < 5 * sqrt(0.25 * 0.75 * MANY));
}

static void test_random_in_a_body(void **state)
{
    fixture *f = *state;
    graph *g = import(f, "graph b\ny = RandomUniform | shape=3,\nout y\nend\ngraph e\ny = Neg x\nout y\nend\n"
                         "in p bool\nin x f32 3\ny = If p | then_branch=@b else_branch=@e\nout y\n");
    if (!g) fixture_messages(f);
    assert_non_null(g);
    assert_true(depends_on_random(f, g, 0));
}

int main(void)
{
#define T FIXTURE_TEST
    const struct CMUnitTest tests[] = {
        T(test_dft), T(test_resize_to_one), T(test_bernoulli), T(test_dropout), T(test_random_in_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
