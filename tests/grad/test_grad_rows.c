/* test_grad_rows: the derivative of every row of scalar.def, found in the table, against central differences:
 * each operand, first order and all second derivatives. Elements are independent, so all are moved at once.
 */
#include "passes/grad.h"
#include "tests/support/bench.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { N = 400 };
static const double H = 1e-5, TOLERANCE = 2e-5;

typedef struct { bench b; graph *g; int arity, first; tensor in[3]; } row_test;

/* Spread over (-3, 3), so that every branch and domain has points; none at a kink. */
static double point(int i, int operand)
{
    double x = fmod((i + 1) * (operand == 0   ? 0.6180339887498949
                               : operand == 1 ? 0.7548776662466927
                                              : 0.5698402909980532),
                    1);
    return 6 * x - 3;
}

static row_test begin(scalar fn)
{
    row_test t = { .b = bench_new(),
                   .arity = scalar_info[fn].arity,
                   .first = scalar_info[fn].result == RESULT_SELECT };
    t.g = graph_new(t.b.ctx, t.b.a, dims_new(t.b.ctx, t.b.a), "row");
    dim n = dim_const(N);
    value x[3];
    for (int k = 0; k < t.arity; k++) {
        bool is_cond = t.first && k == 0;
        dtype dt = is_cond ? DTYPE_bool : DTYPE_f64;
        x[k] = input(t.g, NULL, dt, 1, &n);
        t.in[k] = bench_tensor(&t.b, dt, 1, (int64_t[]){ N }, NULL);
        for (int i = 0; i < N; i++) {
            if (is_cond) ((uint8_t *)t.in[k].bytes)[i] = point(i, 2) > 0;
            else ((double *)t.in[k].bytes)[i] = point(i, k);
        }
    }
    add_result(
        t.g, fn == SCALAR_cast ? cast(t.g, cast(t.g, x[0], DTYPE_f32), DTYPE_f64) : map(t.g, fn, t.arity, x),
        NULL);
    return t;
}

static const double *evaluate(row_test *t, int result)
{
    tensor out[1 + 3 + 9];
    assert_true(bench_eval(&t->b, t->g, FMA_FUSED, t->in, out));
    return arena_copy(t->b.a, out[result].bytes, N * sizeof(double));      /* it may be an input's memory */
}

/* Result `of` moved by operand k, against result `is`. */
static int compare(row_test *t, scalar fn, int of, int is, int k)
{
    double *x = t->in[k].bytes, h = fn == SCALAR_cast ? 1.0 / 64 : H;
    const double *found = evaluate(t, is), *y[2];
    int n_good = 0;
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < N; i++) x[i] = point(i, k) + (side ? -h : h);
        y[side] = evaluate(t, of);
    }
    for (int i = 0; i < N; i++) x[i] = point(i, k);
    for (int i = 0; i < N; i++) {
        double want = (y[0][i] - y[1][i]) / (2 * h);
        /* outside the domain, across a jump, or near a pole */
        if (!isfinite(want) || fabs(want) > 1e3) continue;
        n_good++;
        if (fabs(found[i] - want) <= (fn == SCALAR_cast ? 1e-4 : TOLERANCE) * (1 + fabs(want) * fabs(want)))
            continue;
        print_error("%s: result %d by operand %d at %g: %.12g, differences give %.12g\n",
                    scalar_info[fn].name, of, k, point(i, 0), found[i], want);
        fail();
    }
    return n_good;
}

static void every_row(void **state)
{
    (void)state;
    int n_rows = 0, n_whole = 0, n_checked = 0;
    for (int r = 0; r < SCALAR_COUNT; r++) {
        scalar fn = (scalar)r;
        if (scalar_info[fn].result == RESULT_CMP || !scalar_accepts(fn, DTYPE_f64)) {
            n_whole++;                                       /* gives or takes no float */
            continue;
        }
        row_test t = begin(fn);
        value x[3], d[3], dd[3][3];
        int n = t.arity - t.first;
        for (int k = 0; k < n; k++) x[k] = t.g->inputs.at[t.first + k];
        assert_true(grad(t.g, t.g->results.at[0], n, x, d));
        for (int k = 0; k < n; k++) add_result(t.g, d[k], NULL);
        for (int k = 0; k < n; k++) {
            assert_true(grad(t.g, d[k], n, x, dd[k]));
            for (int j = 0; j < n; j++) add_result(t.g, dd[k][j], NULL);
        }
        for (int k = 0; k < n; k++) {
            int good = compare(&t, fn, 0, 1 + k, t.first + k);
            assert_true(good >= 20);
            n_checked += good;
            for (int j = 0; j < n; j++) n_checked += compare(&t, fn, 1 + k, 1 + n + k * n + j, t.first + j);
        }
        n_rows++;
        bench_free(&t.b);
    }
    print_message("%d rows, %d derivatives; %d rows take or give no floats\n", n_rows, n_checked, n_whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_row) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
