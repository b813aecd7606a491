/* tests/grad/grad_check.h: gradients against central differences, first and second order, in f64
 *
 *     L(x) = sum of w * y over all float results y          S(x) = sum of v * dL/dx over all x
 *
 * w and v are fixed random numbers. L, dL/dx, S and dS/dx are results of one graph; L and S are evaluated at
 * x + h and x - h, element by element. A wrong second derivative shows even where the first is right.
 */
#ifndef DLC_TESTS_GRAD_CHECK_H
#define DLC_TESTS_GRAD_CHECK_H
#include "passes/grad.h"
#include "tests/support/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { int n_checked, n_failed, n_skipped; double worst; } grad_counts;
/* kinks: where differences to the left and to the right disagree, there is nothing to compare with: skipped.
 */
typedef struct { double h, tolerance; int max_elements; bool second, kinks; const char *name; } grad_how;

static double grad_random(bench *b)
{
    tensor t = bench_random(b, DTYPE_f64, 0, NULL);
    double x = fmod(fabs(*(double *)t.bytes), 1);
    return 2 * x - 1;
}

static tensor grad_like(bench *b, const tensor *like)
{
    tensor x = *like;
    x.bytes = arena_alloc(b->a, tensor_bytes(&x) + 8);
    for (int64_t i = 0; i < tensor_n(&x); i++) ((double *)x.bytes)[i] = grad_random(b);
    return x;
}

/* Random f64 numbers in the shape of a value whose dims are known once symbols are: as an input tensor. */
static tensor grad_tensor(bench *b, type t, const graph *g, const int64_t *symbols)
{
    tensor x = { .dtype = t.dtype, .rank = t.rank };
    for (int i = 0; i < t.rank; i++) dim_eval(g->dims, t.dims[i], symbols, &x.dims[i]);
    x.bytes = arena_alloc(b->a, tensor_bytes(&x) + 8);
    for (int64_t i = 0; i < tensor_n(&x); i++)
        sv_store(t.dtype, (char *)x.bytes + i * dtype_bytes(t.dtype),
                 is_float(t.dtype) ? sv_from_f64(t.dtype, grad_random(b))
                                   : sv_from_i64(t.dtype, llabs((int64_t)(grad_random(b) * 4)) %
                                                              (t.dtype == DTYPE_bool ? 2 : 4)));
    return x;
}

static value grad_sum_all(graph *g, value x)
{
    int rank = rank_of(g, x);
    return reduce(g, REDUCE_sum, x, (1u << rank) - 1, false);
}

static bool grad_eval2(bench *b, const graph *g, const int64_t *symbols, const tensor *in, int n_out,
                       double *l, double *s)
{
    arena *a = arena_new(&b->ctx->mem);
    tensor *out = NEW_ARRAY(a, tensor, n_out);
    eval_options o = { 0 };
    bool ok = eval_graph(b->ctx, a, g, symbols, in, out, &o) == DLC_OK;
    if (ok) {
        *l = *(double *)out[0].bytes;
        *s = *(double *)out[1].bytes;
    }
    arena_free(a);
    return ok;
}

/* in[] holds values of all inputs of g (perturbed here, and put back). False: something failed to build or
 * run. */
static bool grad_check_graph(bench *b, graph *g, const int64_t *symbols, tensor *in, const grad_how *how,
                             grad_counts *c)
{
    int n_in = (int)g->inputs.n, n = 0;
    value *wrt = NEW_ARRAY(b->a, value, n_in + 1), *d = NEW_ARRAY(b->a, value, n_in + 1),
          *dd = NEW_ARRAY(b->a, value, n_in + 1);
    int *which = NEW_ARRAY(b->a, int, n_in + 1);
    for (int i = 0; i < n_in; i++) {
        if (dtype_of(g, g->inputs.at[i]) != DTYPE_f64) continue;
        which[n] = i;
        wrt[n++] = g->inputs.at[i];
    }
    value loss = scalar_f64(g, DTYPE_f64, 0);
    vec(tensor) weights = { 0 };
    int64_t n_results = g->results.n;
    eval_options o = { 0 };
    tensor *y_found = NEW_ARRAY(b->a, tensor, n_results + 1);      /* sizes that data decide */
    if (eval_graph(b->ctx, b->a, g, symbols, in, y_found, &o) != DLC_OK) return false;
    for (int64_t r = 0; r < n_results; r++) {
        value y = g->results.at[r];
        type t = type_of(g, y);
        if (t.dtype != DTYPE_f64) continue;
        value w = input(g, NULL, t.dtype, t.rank, t.dims);
        if (!is_value(w)) return false;
        vec_push(b->a, &weights, grad_like(b, &y_found[r]));
        loss = add(g, loss, grad_sum_all(g, mul(g, y, w)));
    }
    if (n == 0 || !grad(g, loss, n, wrt, d)) return false;
    value second = scalar_f64(g, DTYPE_f64, 0);
    for (int i = 0; how->second && i < n; i++) {
        type t = type_of(g, d[i]);
        value v = input(g, NULL, t.dtype, t.rank, t.dims);
        vec_push(b->a, &weights, grad_tensor(b, t, g, symbols));
        second = add(g, second, grad_sum_all(g, mul(g, d[i], v)));
    }
    if (!grad(g, second, n, wrt, dd)) return false;
    g->results.n = 0;
    g->result_names.n = 0;
    add_result(g, loss, NULL);
    add_result(g, second, NULL);
    for (int i = 0; i < n; i++) add_result(g, d[i], NULL);
    for (int i = 0; i < n; i++) add_result(g, dd[i], NULL);
    if (g->failed) return false;
    if (!graph_verify(g, "grad")) return false;

    tensor *all = NEW_ARRAY(b->a, tensor, n_in + weights.n + 1), *out = NEW_ARRAY(b->a, tensor, 2 + 2 * n);
    memcpy(all, in, (size_t)n_in * sizeof *in);
    memcpy(all + n_in, weights.at, (size_t)weights.n * sizeof *in);
    if (eval_graph(b->ctx, b->a, g, symbols, all, out, &o) != DLC_OK) return false;
    double l0 = *(double *)out[0].bytes, s0 = *(double *)out[1].bytes;
    /* L and S alone */
    g->results.n = 2;
    g->result_names.n = 2;
    for (int i = 0; i < n; i++) {
        double *x = in[which[i]].bytes;
        int64_t m = tensor_n(&in[which[i]]),
                step = how->max_elements && m > how->max_elements ? m / how->max_elements : 1;
        for (int64_t e = step / 2; e < m; e += step) {
            double at = x[e], l[2], s[2], h = how->h * fmax(1, sqrt(fabs(at)));
            x[e] = at + h;
            bool ok = grad_eval2(b, g, symbols, all, 2, &l[0], &s[0]);
            x[e] = at - h;
            ok = ok && grad_eval2(b, g, symbols, all, 2, &l[1], &s[1]);
            x[e] = at;
            if (!ok) return false;
            double want[2] = { (l[0] - l[1]) / (2 * h), (s[0] - s[1]) / (2 * h) };
            for (int k = 0; k < 1 + how->second; k++) {
                double found = ((double *)out[2 + k * n + i].bytes)[e],
                       error = fabs(found - want[k]) / (1 + fabs(want[k]));
                double left = ((k ? s0 : l0) - (k ? s[1] : l[1])) / h,
                       right = ((k ? s[0] : l[0]) - (k ? s0 : l0)) / h;
                bool is_kink = how->kinks && error > how->tolerance &&
                               fabs(left - right) > 1e-3 * (1 + fabs(want[k]));
                if (!isfinite(want[k]) || is_kink) {
                    c->n_skipped++;
                    continue;
                }
                c->n_checked++;
                if (error > c->worst || isnan(error)) c->worst = error;
                if (error <= how->tolerance) continue;
                if (c->n_failed++ < 5)
                    printf("%s: order %d, input %d element %lld: %.12g, differences give %.12g\n", how->name,
                           k + 1, which[i], (long long)e, found, want[k]);
            }
        }
    }
    return true;
}

/* A graph as text, its inputs random in [-1, 1] (ints 0 … 3); open dims are `open`. */
static inline void grad_check_text(const char *name, const char *src, int64_t open, bool second,
                                   grad_counts *c)
{
    bench b = bench_new();
    graph *g = bench_graph(&b, src);
    if (!g) {
        c->n_failed++;
        bench_free(&b);
        return;
    }
    b.seed = hash_bytes(name, strlen(name), 1);
    int64_t *symbols = NEW_ARRAY(b.a, int64_t, dims_n_symbols(g->dims) + 8);
    for (int i = 0; i < dims_n_symbols(g->dims); i++) symbols[i] = open;
    tensor *in = NEW_ARRAY(b.a, tensor, g->inputs.n + 1);
    for (int64_t i = 0; i < g->inputs.n; i++)
        in[i] = grad_tensor(&b, type_of(g, g->inputs.at[i]), g, symbols);
    grad_how how = { .h = 1e-5, .tolerance = 1e-6, .max_elements = 40, .second = second, .name = name };
    int before = c->n_failed;
    if (!grad_check_graph(&b, g, symbols, in, &how, c)) {
        printf("%s: not built\n", name);
        bench_messages(&b);
        c->n_failed++;
    }
    if (c->n_failed > before && getenv("GRAD_PRINT")) {
        text t = { .a = b.a };
        graph_print(graph_compact(g), &t);
        puts(text_str(&t));
    }
    bench_free(&b);
}

#endif
