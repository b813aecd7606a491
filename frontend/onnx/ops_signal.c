/* frontend/onnx/ops_signal.c: windows, Fourier transforms, the mel filter bank, and n-gram counts.
 *
 * A transform of n points is of mixed radix: n = n1 * n2 by a reshape, a contract with the n1 x n1 literal of
 * roots of unity, a map with the twiddle factors, and the same on the n2 points left. Complex numbers are
 * pairs of real tensors. The factors are taken small (4, 2, 3, 5, …), as FFT libraries do: less work and less
 * rounding than one n x n product. Literals are rounded to 15 digits, so that 0 and 1/2 are exact.
 */
#include "frontend/onnx/op_tensor.h"
#include <math.h>

#define PI 3.14159265358979323846

/* -- Windows --------------------------------------------------------------------------------------------- */

/* a - b cos(p) + c cos(2p) over one period (periodic) or n-1 steps, in output_datatype. */
static void window_function(op_call *c, double a, double b, double b2)
{
    graph *g = c->g;
    int n_sizes = 0;
    int64_t n;
    if (!op_known_ints(c, 0, "size", &n_sizes, &n, 1)) return;
    if (n < 0 || n > (int64_t)1 << 31) { op_fail(c, "size is %lld", (long long)n); return; }
    int64_t steps = attr_int("periodic", 1) ? n : n - 1;
    dtype t = op_attr_dtype(c, "output_datatype", DTYPE_f32), w = t == DTYPE_f64 ? t : DTYPE_f32;
    dim size = dim_const(n);
    value p = bin_k(g, SCALAR_mul, iota(g, w, 1, &size, 0), 2 * PI / (double)(steps > 1 ? steps : 1));
    value y = k_bin(g, SCALAR_sub, a, bin_k(g, SCALAR_mul, un(g, SCALAR_cos, p), b));
    if (b2 != 0) y = add(g, y, bin_k(g, SCALAR_mul, un(g, SCALAR_cos, bin_k(g, SCALAR_mul, p, 2)), b2));
    out(0, cast(g, y, t));
}

/* HannWindow (17) */
ONNX_OP(HannWindow) { (void)g; window_function(c, 0.5, 0.5, 0); }

/* HammingWindow (17) */
ONNX_OP(HammingWindow) { (void)g; window_function(c, 25.0 / 46, 21.0 / 46, 0); }

/* BlackmanWindow (17) */
ONNX_OP(BlackmanWindow) { (void)g; window_function(c, 0.42, 0.5, 0.08); }

/* -- Fourier --------------------------------------------------------------------------------------------- */

enum { FFT_DIRECT = 5, FFT_PRIME_LIMIT = 2048, FFT_LIMIT = 1 << 24, FFT_DEPTH = 32 };

static int64_t smallest_factor(int64_t n)
{
    static const int64_t first[] = { 4, 2, 3, 5, 7 };
    for (int i = 0; i < 5; i++)
        if (n % first[i] == 0) return first[i];
    for (int64_t f = 11; f * f <= n; f += 2)
        if (n % f == 0) return f;
    return n;
}

static double round15(double x)
{
    return nearbyint(x * 1e15) / 1e15;
}

/* cos and sin of sign * 2 pi * i*j / period, [rows, columns]. */
static void roots(graph *g, dtype t, int64_t rows, int64_t columns, int64_t period, double sign,
                  value *cosine, value *sine)
{
    dim d[2] = { dim_const(rows), dim_const(columns) };
    double *re = NEW_ARRAY(g->arena, double, rows *columns), *im = NEW_ARRAY(g->arena, double, rows *columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double angle = sign * 2 * PI * (double)(i * j % period) / (double)period;
            re[i * columns + j] = round15(cos(angle));
            im[i * columns + j] = round15(sin(angle));
        }
    *cosine = op_reals(g, t, re, 2, d);
    *sine = op_reals(g, t, im, 2, d);
}

/* x[b, j, q] . w[j, k] -> [b, k, q] */
static value across(graph *g, value x, value w)
{
    contract_spec s = { .la = "bjq", .lb = "jk", .lo = "bkq", .acc = DTYPE_NONE, .out = DTYPE_NONE };
    return contract(g, x, w, NO_VALUE, &s);
}

static value last_part(graph *g, value x, int64_t start, int64_t size)
{
    return is_value(x) ? part(g, x, rank_of(g, x) - 1, dim_const(start), dim_const(size)) : x;
}

/* The spectrum of a real signal, X[n-k] = conj X[k], from its first half: the symmetry holds exactly, and the
 * two bins that are their own mirror image (0 and n/2) have imaginary part 0, not the rounding that is left
 * of it. */
static void mirror(graph *g, value *re, value *im, int64_t n)
{
    int last = is_value(*re) ? rank_of(g, *re) - 1 : 0;
    int64_t inner = (n - 1) / 2;                       /* bins 1 to inner have an image of their own */
    value zero = is_value(*im) ? splat_like(g, last_part(g, *im, 0, 1), 0) : NO_VALUE;
    value r = last_part(g, *re, 0, n / 2 + 1), i = zero;
    if (inner) i = concat2(g, i, last_part(g, *im, 1, inner), last);
    if (n % 2 == 0) i = concat2(g, i, zero, last);
    if (inner) {
        r = concat2(g, r, flip(g, last_part(g, *re, 1, inner), last), last);
        i = concat2(g, i, un(g, SCALAR_neg, flip(g, last_part(g, *im, 1, inner), last)), last);
    }
    *re = r;
    *im = i;
}

/* The transform of the last axis (n points, known) of re + i*im; im may be NO_VALUE: zero. Going down, the
 * axis is split into n1 and the rest; coming back up, the two are swapped into place. */
static void fft(op_call *c, value *re, value *im, int64_t n, double sign)
{
    graph *g = c->g;
    if (!is_value(*re)) return;
    bool real = !is_value(*im);
    type t = type_of(g, *re);
    int b = t.rank - 1, depth = 0;                 /* leading dims of the part left to transform: b + depth */
    dim d[MAX_RANK];
    int64_t radix[FFT_DEPTH];
    if (n > FFT_LIMIT) {
        op_unsupported(c, "a transform of %lld points, more than %d", (long long)n, FFT_LIMIT);
        return;
    }
    for (int i = 0; i < b; i++) d[i] = t.dims[i];
    /* The leading dims are one, so that the rank stays small: rows[R], then the factors taken off. */
    dim rows = dim_product(g->dims, d, b);
    value r = as_shape(g, *re, 2, rows, dim_const(n));
    value i = is_value(*im) ? as_shape(g, *im, 2, rows, dim_const(n)) : NO_VALUE;
    int64_t left = n, outer = 1;                       /* the rows are now rows * outer */
    while (left > 1) {
        int64_t n1 = left <= FFT_DIRECT ? left : smallest_factor(left), n2 = left / n1;
        if (n1 > FFT_PRIME_LIMIT) {
            op_unsupported(c, "a transform whose size has the prime factor %lld, more than %d", (long long)n1,
                           FFT_PRIME_LIMIT);
            return;
        }
        value C, S;
        roots(g, dtype_of(g, r), n1, n1, n1, sign, &C, &S);
        dim all = dim_mulk(g->dims, rows, outer);
        r = as_shape(g, r, 3, all, dim_const(n1), dim_const(n2));
        value r2 = across(g, r, C), i2 = across(g, r, S);
        if (is_value(i)) {
            i = as_shape(g, i, 3, all, dim_const(n1), dim_const(n2));
            r2 = sub(g, r2, across(g, i, S));
            i2 = add(g, i2, across(g, i, C));
        }
        if (n2 > 1) {                                  /* twiddle: by w^(k*q) of the left points */
            roots(g, dtype_of(g, r2), n1, n2, left, sign, &C, &S);
            r = sub(g, mul(g, r2, C), mul(g, i2, S));
            i = add(g, mul(g, r2, S), mul(g, i2, C));
        } else {
            r = r2;
            i = i2;
        }
        radix[depth++] = n1;
        outer *= n1;
        left = n2;
    }
    if (!is_value(i)) i = is_value(r) ? splat_like(g, r, 0) : NO_VALUE;
    /* r is [rows, n1(0), n1(1), …]: digit 0 is the least significant of the result's index, so the digits are
     * reversed. */
    dim shape[MAX_RANK];
    int perm[MAX_RANK];
    if (depth + 1 > MAX_RANK) { op_unsupported(c, "a transform in %d factors", depth); return; }
    shape[0] = rows;
    perm[0] = 0;
    for (int k = 0; k < depth; k++) {
        shape[1 + k] = dim_const(radix[k]);
        perm[1 + k] = depth - k;
    }
    *re = reshape(g, transpose(g, reshape(g, r, depth + 1, shape), perm), t.rank, t.dims);
    *im = reshape(g, transpose(g, reshape(g, i, depth + 1, shape), perm), t.rank, t.dims);
    if (real && n > 1) mirror(g, re, im, n);
}

/* Cuts or zero-fills the last axis to n. */
static value fit(graph *g, value x, int64_t n)
{
    int64_t d;
    if (!is_value(x)) return x;
    int axis = rank_of(g, x) - 1;
    dim have = dim_of(g, x, axis);
    if (dim_is_const(have, &d) && d >= n) return part(g, x, axis, dim_const(0), dim_const(n));
    value zero = scalar_f64(g, dtype_of(g, x), 0);
    return pad_axis(g, x, axis, dim_const(0), dim_sub(g->dims, dim_const(n), have), zero);
}

/* The real or imaginary part of x[…, 1|2], with `axis` moved to the end. */
static value component(graph *g, value x, int k, int axis)
{
    int last = rank_of(g, x) - 1;
    return move_axis(g, pick(g, x, last, k), axis, last - 1);
}

static bool is_complex(op_call *c, value x, bool *yes)
{
    graph *g = c->g;
    dim d = dim_of(g, x, rank_of(g, x) - 1);
    *yes = dim_is(d, 2);
    if (*yes || dim_is(d, 1)) return true;
    if (!dim_is_const(d, NULL)) op_unsupported(c, "a last axis of open size (fix it with --dim)");
    else op_fail(c, "the last axis must have extent 1 (real) or 2 (complex)");
    return false;
}

/* DFT (17: axis is an attribute; 20: an input) */
ONNX_OP(DFT)
{
    value x = in(0);
    int64_t axis = c->version >= 20 ? -2 : attr_int("axis", 1), n = -1;
    int n_known = 0;
    if (!op_rank(c, x, 2, MAX_RANK, "input")) return;
    if (c->version >= 20 && has_in(2) && !op_known_ints(c, 2, "axis", &n_known, &axis, 1)) return;
    if (has_in(1) && !op_known_ints(c, 1, "dft_length", &n_known, &n, 1)) return;
    if (has_in(1) && n < 1) { op_fail(c, "dft_length is %lld, expected at least 1", (long long)n); return; }
    int r = rank_of(g, x), ax = op_axis(c, axis, r);
    bool inverse = attr_int("inverse", 0) != 0, one = attr_int("onesided", 0) != 0, pairs;
    if (c->failed || !is_complex(c, x, &pairs)) return;
    if (ax == r - 1) { op_fail(c, "axis is the last one, that of the real and imaginary parts"); return; }
    value re = component(g, x, 0, ax), im = pairs ? component(g, x, 1, ax) : NO_VALUE;
    int last = r - 2;
    int64_t have;
    bool open = !dim_is_const(dim_of(g, re, last), &have);
    if (open && n < 0) {
        op_unsupported(c, "a transform along an axis of open size (fix it with --dim, or give dft_length)");
        return;
    }
    if (inverse && one) {                                         /* half a spectrum in, a real signal out */
        if (n < 0) n = 2 * (have - 1);
        re = fit(g, re, n / 2 + 1);
        im = fit(g, im, n / 2 + 1);
        int64_t k = (n - 1) / 2;
        re = concat2(g, re, flip(g, last_part(g, re, 1, k), last), last);
        if (is_value(im)) im = concat2(g, im, un(g, SCALAR_neg, flip(g, last_part(g, im, 1, k), last)), last);
    }
    if (n < 0) n = have;
    re = fit(g, re, n);
    im = fit(g, im, n);
    fft(c, &re, &im, n, inverse ? 1 : -1);
    if (inverse) {
        re = bin_k(g, SCALAR_mul, re, 1 / (double)n);
        im = bin_k(g, SCALAR_mul, im, 1 / (double)n);
    } else if (one) {
        re = last_part(g, re, 0, n / 2 + 1);
        im = last_part(g, im, 0, n / 2 + 1);
    }
    re = column(g, move_axis(g, re, last, ax), 1);
    im = column(g, move_axis(g, im, last, ax), 1);
    out(0, inverse && one ? re : concat2(g, re, im, last + 1));
}

/* STFT (17): frames of the signal, windowed, transformed */
ONNX_OP(STFT)
{
    value x = in(0), window = op_in_or(c, 2, NO_VALUE);
    int64_t step, n;
    int k = 0;
    bool pairs;
    if (!op_rank(c, x, 2, 3, "signal") || !op_known_ints(c, 1, "frame_step", &k, &step, 1)) return;
    if (has_in(3)) {
        if (!op_known_ints(c, 3, "frame_length", &k, &n, 1)) return;
    } else {
        if (!op_rank(c, window, 1, 1, "window")) return;
        if (!dim_is_const(dim_of(g, window, 0), &n)) {
            op_unsupported(c, "a window of open size (fix it with --dim)");
            return;
        }
    }
    if (step < 1 || n < 1) {
        op_fail(c, "frame_step is %lld, frame_length %lld", (long long)step, (long long)n);
        return;
    }
    if (rank_of(g, x) == 2) x = column(g, x, 1);
    if (!is_complex(c, x, &pairs)) return;
    dims *t = g->dims;
    dim frames = dim_addk(t, dim_div(t, dim_addk(t, dim_of(g, x, 1), -n), dim_const(step)), 1);
    dim grid[2] = { frames, dim_const(n) };
    value at = add(g, bin_k(g, SCALAR_mul, iota(g, DTYPE_i64, 2, grid, 0), (double)step),
                   iota(g, DTYPE_i64, 2, grid, 1));
    value fr = take(g, x, at, 1);                                 /* [B, F, n, 1|2] */
    if (is_value(window))
        fr = mul(g, fr, as_shape(g, window, 4, dim_const(1), dim_const(1), dim_const(n), dim_const(1)));
    if (!is_value(fr)) return;
    value re = pick(g, fr, 3, 0), im = pairs ? pick(g, fr, 3, 1) : NO_VALUE;
    fft(c, &re, &im, n, -1);
    if (attr_int("onesided", 1)) {
        re = last_part(g, re, 0, n / 2 + 1);
        im = last_part(g, im, 0, n / 2 + 1);
    }
    out(0, concat2(g, column(g, re, 1), column(g, im, 1), 3));
}

/* -- Mel ------------------------------------------------------------------------------------------------- */

static double to_mel(double hz) { return 2595 * log10(1 + hz / 700); }
static double from_mel(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

/* MelWeightMatrix (17): triangles between neighbouring points of an even division of the mel scale */
ONNX_OP(MelWeightMatrix)
{
    int64_t bands, length, rate;
    double lo, hi;
    int n = 0;
    if (!op_known_ints(c, 0, "num_mel_bins", &n, &bands, 1) ||
        !op_known_ints(c, 1, "dft_length", &n, &length, 1) ||
        !op_known_ints(c, 2, "sample_rate", &n, &rate, 1) ||
        !op_known_floats(c, 3, "lower_edge_hertz", &n, &lo, 1) ||
        !op_known_floats(c, 4, "upper_edge_hertz", &n, &hi, 1))
        return;
    if (bands < 1 || bands > 1 << 16 || length < 1 || length > 1 << 24 || rate < 1 ||
        bands * (length / 2 + 1) > 1 << 26) {
        op_fail(c, "num_mel_bins %lld, dft_length %lld, sample_rate %lld", (long long)bands,
                (long long)length, (long long)rate);
        return;
    }
    int64_t bins = length / 2 + 1;
    int64_t *at = NEW_ARRAY(op_arena(c), int64_t, bands + 2);
    double step = (to_mel(hi) - to_mel(lo)) / (double)(bands + 2);
    for (int64_t i = 0; i < bands + 2; i++) {
        double p = floor((double)(length + 1) * from_mel((double)i * step + to_mel(lo)) / (double)rate);
        if (!(p >= 0 && p < (double)bins)) {
            op_fail(c, "the edges in hertz lie outside of the spectrum");
            return;
        }
        at[i] = (int64_t)p;
    }
    double *w = NEW_ARRAY(op_arena(c), double, bins * bands);
    for (int64_t i = 0; i < bands; i++) {
        int64_t a = at[i], b = at[i + 1], e = at[i + 2];
        if (a == b) w[b * bands + i] = 1;
        else
            for (int64_t j = a; j <= b; j++) w[j * bands + i] = (double)(j - a) / (double)(b - a);
        for (int64_t j = b; j < e; j++) w[j * bands + i] = (double)(e - j) / (double)(e - b);
    }
    out(0, op_reals(g, op_attr_dtype(c, "output_datatype", DTYPE_f32), w, 2,
                    (dim[]){ dim_const(bins), dim_const(bands) }));
}

/* -- n-grams --------------------------------------------------------------------------------------------- */

/* Occurrences of each of `count` n-grams in the rows of x[B, L], elements `skip` apart at most: f32[B,
 * count]. */
static value count_grams(graph *g, value x, int64_t L, const int64_t *pool, int64_t count, int n,
                         int64_t skips)
{
    dim B = dim_of(g, x, 0), size[2] = { B, dim_const(count) },
        grams[3] = { dim_const(1), dim_const(1), dim_const(count) };
    value total = full(g, DTYPE_f32, 0, 2, size);
    int64_t *columns = NEW_ARRAY(g->arena, int64_t, count);
    for (int64_t s = 1; s - 1 <= (n > 1 ? skips : 0); s++) {
        int64_t starts = L - (n - 1) * s;
        if (starts <= 0) break;
        value hit = NO_VALUE;
        for (int j = 0; j < n; j++) {
            for (int64_t k = 0; k < count; k++) columns[k] = pool[k * n + j];
            value here = column(g, part(g, x, 1, dim_const(j * s), dim_const(starts)), 1);
            value same = bin(g, SCALAR_eq, here, constant(g, DTYPE_i64, 3, grams, columns, NULL));
            hit = is_value(hit) ? bin(g, SCALAR_and, hit, same) : same;
        }
        total = add(g, total, reduce(g, REDUCE_sum, cast(g, hit, DTYPE_f32), axis_bit(1), false));
    }
    return total;
}

/* TfIdfVectorizer (9): integers only */
ONNX_OP(TfIdfVectorizer)
{
    value x = in(0);
    int n_pool = 0, n_counts = 0, n_index = 0, n_weights = 0;
    const int64_t *pool = op_attr_ints(c, "pool_int64s", &n_pool),
                  *counts = op_attr_ints(c, "ngram_counts", &n_counts);
    const int64_t *index = op_attr_ints(c, "ngram_indexes", &n_index);
    const float *weights = op_attr_floats(c, "weights", &n_weights);
    const char *mode = attr_str("mode", "TF");
    int64_t lo = attr_int("min_gram_length", 1), hi = attr_int("max_gram_length", 1),
            skips = attr_int("max_skip_count", 0), L;
    if (!pool) { op_unsupported(c, "n-grams of strings"); return; }
    if (!counts || !index || !op_rank(c, x, 1, 2, "X")) {
        if (!c->failed) op_fail(c, "ngram_counts and ngram_indexes expected");
        return;
    }
    bool one = rank_of(g, x) == 1;
    x = cast(g, one ? unsqueeze(g, x, 1) : x, DTYPE_i64);
    if (!dim_is_const(dim_of(g, x, 1), &L)) {
        op_unsupported(c, "rows of open length (fix it with --dim)");
        return;
    }
    int64_t width = 0;
    for (int i = 0; i < n_index; i++) {
        if (index[i] < 0 || index[i] > 1 << 24) {
            op_fail(c, "ngram_indexes holds %lld", (long long)index[i]);
            return;
        }
        if (index[i] + 1 > width) width = index[i] + 1;
    }
    value *acc = NEW_ARRAY(op_arena(c), value, n_counts + 1);
    int64_t grams = 0;
    int n_acc = 0;
    for (int n = 1; n <= n_counts; n++) {
        int64_t from = counts[n - 1], to = n < n_counts ? counts[n] : n_pool;
        if (from < 0 || to < from || to > n_pool) {
            op_fail(c, "ngram_counts are not ascending within the pool");
            return;
        }
        int64_t count = (to - from) / n;
        if (!count) continue;
        bool counted = n >= lo && n <= hi;
        acc[n_acc++] = counted ? count_grams(g, x, L, pool + from, count, n, skips)
                               : full(g, DTYPE_f32, 0, 2, (dim[]){ dim_of(g, x, 0), dim_const(count) });
        grams += count;
    }
    if (!n_acc || grams != n_index) {
        op_fail(c, "ngram_indexes has %d entries, the pool %lld n-grams", n_index, (long long)grams);
        return;
    }
    value tf = n_acc > 1 ? concat(g, n_acc, acc, 1) : acc[0];
    value at = op_ints(g, index, n_index, -1);
    int axis = 1;
    value y = scatter(g, SCATTER_add, full(g, DTYPE_f32, 0, 2, (dim[]){ dim_of(g, x, 0), dim_const(width) }),
                      swap_axes(g, tf, 0, 1), 1, &at, &axis, 0, NULL, NULL);
    if (strcmp(mode, "TF")) {
        float *w = NEW_ARRAY(op_arena(c), float, width);
        for (int64_t i = 0; i < width; i++) w[i] = 1;
        for (int i = 0; i < n_index && i < n_weights; i++) w[index[i]] = weights[i];
        value factor = constant(g, DTYPE_f32, 2, (dim[]){ dim_const(1), dim_const(width) }, w, NULL);
        if (!strcmp(mode, "TFIDF")) y = mul(g, y, factor);
        else y = select3(g, k_bin(g, SCALAR_lt, 0, y), factor, scalar_f64(g, DTYPE_f32, 0));
    }
    out(0, one ? squeeze(g, y, 1) : y);
}
