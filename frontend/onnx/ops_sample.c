/* ops_sample: resampling: Resize, AffineGrid, GridSample, and a deformable convolution. (Boxes: ops_boxes.c.)
 *
 * Resize is separable: along one axis, y[o] = sum over K taps of weight[o, k] * x[index[o, k]]. With extents
 * known the tables are literals; with open extents the same formulas are maps over a ramp, in f64, of the
 * axis's length. Nearest by a whole factor is a stretch, a view. A sample at computed coordinates is a sum
 * over tap combinations of weight * gather, and since a gather outside reads 0, zero padding needs nothing.
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)
#define K(row, x, k) bin_k(g, SCALAR_##row, (x), (k))
#define UN(row, x) un(g, SCALAR_##row, (x))

/* -- Resize ---------------------------------------------------------------------------------------------- */

typedef enum { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC,
               TF_CROP } coordinate_mode;
typedef enum { PREFER_FLOOR, PREFER_CEIL, TO_FLOOR, TO_CEIL } nearest_mode;
typedef enum { NEAREST, LINEAR, CUBIC } interpolation;

typedef struct {
    interpolation how;
    coordinate_mode at;
    nearest_mode round;
    double cubic_a, roi_lo, roi_hi, extrapolation;
    bool exclude_outside, antialias;
} resize_rule;

/* n rows of k */
typedef struct { int64_t n, k; int64_t *index; double *weight; bool *outside, any_outside; } taps;

/* Where position o of the result (of length O) lies in the operand (of length I). The standard's
 * length_resized is O, a whole number; only in align_corners its tests take the length before rounding, scale
 * * I. */
static double source_position(const resize_rule *r, double o, double I, double O, double scale)
{
    double width = scale * I, half = (o + 0.5) / scale - 0.5;
    switch (r->at) {
    case ALIGN_CORNERS: return width != 1 ? o * (I - 1) / (width - 1) : 0;
    case ASYMMETRIC: return o / scale;
    case TF_CROP: return O > 1 ? r->roi_lo * (I - 1) + o * (r->roi_hi - r->roi_lo) * (I - 1) / (O - 1)
                               : (r->roi_lo + r->roi_hi) * (I - 1) / 2;
    case PYTORCH_HALF_PIXEL: return O > 1 ? half : 0;
    case HALF_PIXEL_SYMMETRIC: return I / 2 * (1 - O / width) + half;
    case HALF_PIXEL: return half;
    }
    return half;
}

static double round_position(nearest_mode m, double x)
{
    switch (m) {
    case PREFER_FLOOR: return ceil(x - 0.5);
    case PREFER_CEIL: return floor(x + 0.5);
    case TO_FLOOR: return floor(x);
    case TO_CEIL: return ceil(x);
    }
    return x;
}

static double kernel_weight(const resize_rule *r, double d)
{
    double a = r->cubic_a;
    if (r->how == LINEAR) return d < 1 ? 1 - d : 0;
    return d <= 1  ? ((a + 2) * d - (a + 3)) * d * d + 1
           : d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
                   : 0;
}

static void fill_row(const resize_rule *r, taps *t, int64_t o, double x, int64_t I, double shrink)
{
    double total = 0;
    double first = floor(x) + 1 - (double)(t->k / 2);
    for (int64_t k = 0; k < t->k; k++) {
        double i = first + (double)k, w = kernel_weight(r, fabs(i - x) * shrink);
        if (r->exclude_outside && (i < 0 || i >= (double)I)) w = 0;
        t->index[o * t->k + k] = i < 0 ? 0 : i > (double)(I - 1) ? I - 1 : (int64_t)i;
        t->weight[o * t->k + k] = w;
        total += w;
    }
    if (r->exclude_outside || r->antialias)
        for (int64_t k = 0; k < t->k; k++) t->weight[o * t->k + k] /= total;
}

static bool literal_taps(op_call *c, const resize_rule *r, int64_t I, int64_t O, double scale, taps *t)
{
    double shrink = r->antialias && scale < 1 ? scale : 1;
    double reach = r->how == NEAREST ? 0.5 : (r->how == LINEAR ? 1 : 2) / shrink;
    int64_t size;
    *t = (taps){ .n = O, .k = r->how == NEAREST ? 1 : 2 * (int64_t)ceil(fmin(reach, 1e9)) };
    if (!mul_ok(t->n, t->k, &size) || size > 1 << 26 || I < 1) {
        op_fail(c, "fewer than 2^26 taps along an axis, and an extent of 1 or more expected");
        return false;
    }
    t->index = NEW_ARRAY(op_arena(c), int64_t, size + 1);
    t->weight = NEW_ARRAY(op_arena(c), double, size + 1);
    t->outside = NEW_ARRAY(op_arena(c), bool, O + 1);
    for (int64_t o = 0; o < O; o++) {
        double x = source_position(r, (double)o, (double)I, (double)O, scale);
        t->outside[o] = r->at == TF_CROP && (x < 0 || x > (double)(I - 1));
        t->any_outside |= t->outside[o];
        if (r->how != NEAREST) {
            fill_row(r, t, o, x, I, shrink);
            continue;
        }
        double i = round_position(r->round, x);
        t->index[o] = i < 0 ? 0 : i > (double)(I - 1) ? I - 1 : (int64_t)i;
    }
    return true;
}

static value along(graph *g, value v, int rank, int axis)           /* v[n] as [1, …, n, …, 1] */
{
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) d[i] = i == axis ? dim_of(g, v, 0) : dim_const(1);
    return is_value(v) ? reshape(g, v, rank, d) : NO_VALUE;
}

static value resample_literal(graph *g, value x, int axis, const resize_rule *r, const taps *t)
{
    value y = NO_VALUE;
    dtype ty = dtype_of(g, x);
    int64_t *column = NEW_ARRAY(g->arena, int64_t, t->n + 1);
    double *w = NEW_ARRAY(g->arena, double, t->n + 1);
    dim n = dim_const(t->n);
    for (int64_t k = 0; k < t->k; k++) {
        for (int64_t o = 0; o < t->n; o++) {
            column[o] = t->index[o * t->k + k];
            w[o] = t->weight[o * t->k + k];
        }
        value s = take(g, x, op_ints(g, column, t->n, -1), axis);
        if (r->how != NEAREST) s = mul(g, s, along(g, op_reals(g, ty, w, 1, &n), rank_of(g, x), axis));
        y = k ? add(g, y, s) : s;
    }
    return y;
}

/* The same for open extents. I, O, scale: rank-0 values of f64. */
static value open_position(graph *g, const resize_rule *r, value o, value I, value O, value scale)
{
    value width = mul(g, scale, I), half = K(sub, divide(g, K(add, o, 0.5), scale), 0.5), last = K(sub, I, 1);
    value is_one = K(eq, r->at == ALIGN_CORNERS ? width : O, 1);
    value steps = r->at == ALIGN_CORNERS ? width : O;
    steps = select3(g, is_one, steps, K(sub, steps, 1));                                       /* never 0 */
    switch (r->at) {
    case ALIGN_CORNERS: return select3(g, is_one, K(mul, o, 0), divide(g, mul(g, o, last), steps));
    case ASYMMETRIC: return divide(g, o, scale);
    case TF_CROP: {
        value x = add(g, K(mul, last, r->roi_lo),
                      divide(g, mul(g, K(mul, o, r->roi_hi - r->roi_lo), last), steps));
        return select3(g, is_one, K(mul, last, (r->roi_lo + r->roi_hi) / 2), x);
    }
    case PYTORCH_HALF_PIXEL: return select3(g, is_one, K(mul, o, 0), half);
    case HALF_PIXEL_SYMMETRIC:
        return add(g, mul(g, K(div, I, 2), k_bin(g, SCALAR_sub, 1, divide(g, O, width))), half);
    case HALF_PIXEL: return half;
    }
    return half;
}

static value open_round(graph *g, nearest_mode m, value x)
{
    switch (m) {
    case PREFER_FLOOR: return UN(ceil, K(sub, x, 0.5));
    case PREFER_CEIL: return UN(floor, K(add, x, 0.5));
    case TO_FLOOR: return UN(floor, x);
    case TO_CEIL: return UN(ceil, x);
    }
    return x;
}

static value open_weight(graph *g, const resize_rule *r, value d)
{
    if (r->how == LINEAR) return K(max, k_bin(g, SCALAR_sub, 1, d), 0);
    double a = r->cubic_a;
    value near = K(add, mul(g, mul(g, K(sub, K(mul, d, a + 2), a + 3), d), d), 1);
    value far = K(sub, mul(g, K(add, mul(g, K(sub, K(mul, d, a), 5 * a), d), 8 * a), d), 4 * a);
    value zero = scalar_f64(g, DTYPE_f64, 0);
    return select3(g, K(le, d, 1), near, select3(g, K(lt, d, 2), far, zero));
}

static value resample_open(op_call *c, graph *g, value x, int axis, const resize_rule *r, dim O, value scale,
                           value *outside)
{
    value I = op_dim_value(g, DTYPE_f64, dim_of(g, x, axis)), last = K(sub, I, 1),
          zero = scalar_f64(g, DTYPE_f64, 0);
    value o = iota(g, DTYPE_f64, 1, &O, 0),
          p = open_position(g, r, o, I, op_dim_value(g, DTYPE_f64, O), scale);
    int rank = rank_of(g, x), n = r->how == NEAREST ? 1 : r->how == LINEAR ? 2 : 4;
    *outside = r->at == TF_CROP ? bin(g, SCALAR_or, K(lt, p, 0), bin(g, SCALAR_lt, last, p)) : NO_VALUE;
    if (r->antialias) {
        op_unsupported(c, "antialias along an open dim; fix it by --dim NAME=SIZE");
        return NO_VALUE;
    }
    value y = NO_VALUE, total = NO_VALUE, w[4] = { NO_VALUE }, at[4];
    for (int k = 0; k < n; k++) {
        at[k] = n == 1 ? open_round(g, r->round, p) : K(add, UN(floor, p), k + 1 - n / 2);
        if (n == 1) continue;
        w[k] = open_weight(g, r, UN(abs, sub(g, at[k], p)));
        value outer = bin(g, SCALAR_or, K(lt, at[k], 0), bin(g, SCALAR_lt, last, at[k]));
        if (r->exclude_outside) w[k] = select3(g, outer, zero, w[k]);
        total = k ? add(g, total, w[k]) : w[k];
    }
    for (int k = 0; k < n; k++) {
        value i = cast(g, bin(g, SCALAR_min, K(max, at[k], 0), last), DTYPE_i64), s = take(g, x, i, axis);
        if (r->exclude_outside && n > 1) w[k] = divide(g, w[k], total);
        if (n > 1) s = mul(g, s, along(g, cast(g, w[k], dtype_of(g, x)), rank, axis));
        y = k ? add(g, y, s) : s;
    }
    return y;
}

/* Nearest by a whole factor f where position o reads o / f: x[…, i, …] stretched to [i, f]. */
static bool is_stretch(const resize_rule *r, double scale)
{
    if (r->how != NEAREST || scale != floor(scale) || scale < 1 || scale > 1e6) return false;
    bool half = r->at == HALF_PIXEL || r->at == HALF_PIXEL_SYMMETRIC || r->at == PYTORCH_HALF_PIXEL;
    return (r->at == ASYMMETRIC && r->round == TO_FLOOR) ||
           (half && (r->round == PREFER_FLOOR || r->round == PREFER_CEIL));
}

static value stretch(graph *g, value x, int axis, int64_t f)
{
    type t = type_of(g, x);
    if (t.rank >= MAX_RANK) return build_fail(g, "fewer than %d dimensions expected", MAX_RANK);
    dim a[MAX_RANK + 1], b[MAX_RANK + 1], y[MAX_RANK];
    for (int i = 0, k = 0; i < t.rank; i++) {
        a[k] = b[k] = y[i] = t.dims[i];
        k++;
        if (i != axis) continue;
        a[k] = dim_const(1);
        b[k++] = dim_const(f);
        y[i] = dim_mulk(D, t.dims[i], f);
    }
    return reshape(g, broadcast(g, reshape(g, x, t.rank + 1, a), t.rank + 1, b), t.rank, y);
}

static int choose(op_call *c, const char *attr, const char *other, int n, const char *const *names)
{
    const char *s = attr_str(attr, other);
    for (int i = 0; i < n; i++)
        if (!strcmp(s, names[i])) return i;
    op_fail(c, "%s: one of the standard's words expected, found %s", attr, s);
    return 0;
}

static resize_rule resize_rule_of(op_call *c, bool is_old)
{
    static const char *const how[] = { "nearest", "linear", "cubic", "bilinear" };
    static const char *const at[] = { "half_pixel",          "half_pixel_symmetric", "pytorch_half_pixel",
                                      "align_corners",       "asymmetric",           "tf_crop_and_resize",
                                      "tf_half_pixel_for_nn" };
    static const char *const rounding[] = { "round_prefer_floor", "round_prefer_ceil", "floor", "ceil" };
    resize_rule r = { .cubic_a = attr_float("cubic_coeff_a", -0.75),
                      .extrapolation = attr_float("extrapolation_value", 0),
                      .exclude_outside = attr_int("exclude_outside", 0),
                      .antialias = attr_int("antialias", 0) };
    int mode = choose(c, "mode", "nearest", 4, how);
    r.how = mode == 3 ? LINEAR : (interpolation)mode;
    r.at = is_old ? ASYMMETRIC
                  : (coordinate_mode)choose(c, "coordinate_transformation_mode", "half_pixel", 7, at);
    r.round = is_old ? TO_FLOOR : (nearest_mode)choose(c, "nearest_mode", "round_prefer_floor", 4, rounding);
    if (r.at > TF_CROP) {                                   /* version 11 only: floor((o + 0.5) / scale) */
        if (r.how != NEAREST || r.round != TO_FLOOR)
            op_unsupported(c, "tf_half_pixel_for_nn other than nearest with floor");
        r.at = HALF_PIXEL;
        r.round = PREFER_CEIL;
    }
    return r;
}

typedef struct {
    int n, axes[MAX_RANK];
    bool has_scale[MAX_RANK]; double scale[MAX_RANK];      /* else size / extent */
    dim size[MAX_RANK];
    double roi[2 * MAX_RANK];
} resize_plan;

static bool is_empty_input(op_call *c, graph *g, int i)
{
    return !has_in(i) || (rank_of(g, in(i)) > 0 && dim_is(dim_of(g, in(i), 0), 0));
}

static dim scaled_size(op_call *c, graph *g, dim d, double scale)
{
    int64_t v;
    if (dim_is_const(d, &v)) return dim_const((int64_t)floor((double)v * scale));
    if (scale == floor(scale)) return dim_mulk(D, d, (int64_t)scale);
    for (int64_t q = 2; q <= 64; q++)                       /* floor(d * p / q) */
        if (scale * (double)q == floor(scale * (double)q))
            return dim_div(D, dim_mulk(D, d, (int64_t)(scale * (double)q)), dim_const(q));
    op_unsupported(c, "scale %g of an open dim; fix it by --dim NAME=SIZE", scale);
    return DIM_BAD;
}

static bool read_scales(op_call *c, graph *g, value x, resize_plan *p, int input_index)
{
    int n = 0;
    double s[MAX_RANK];
    if (input_index < 0) {
        const float *f = op_attr_floats(c, "scales", &n);
        for (int i = 0; f && i < n && i < MAX_RANK; i++) s[i] = (double)f[i];
    } else if (!op_known_floats(c, input_index, "scales", &n, s, MAX_RANK)) return false;
    if (n != p->n) {
        op_fail(c, "%d scales expected, found %d", p->n, n);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (!(s[i] > 0 && s[i] < 1e9)) {
            op_fail(c, "scales above 0 expected");
            return false;
        }
        p->has_scale[i] = true;
        p->scale[i] = s[i];
        p->size[i] = scaled_size(c, g, dim_of(g, x, p->axes[i]), s[i]);
    }
    return !c->failed;
}

static bool read_sizes(op_call *c, graph *g, value x, resize_plan *p)
{
    static const char *const policies[] = { "stretch", "not_larger", "not_smaller" };
    int n, policy = choose(c, "keep_aspect_ratio_policy", "stretch", 3, policies);
    const dim *s = op_known_dims(c, 3, "sizes", &n);
    if (!s) return false;
    if (n != p->n) {
        op_fail(c, "%d sizes expected, found %d", p->n, n);
        return false;
    }
    double best = 0;
    for (int i = 0; i < n; i++) {
        int64_t a, b;
        p->size[i] = s[i];
        bool known = dim_is_const(s[i], &a) && dim_is_const(dim_of(g, x, p->axes[i]), &b);
        p->has_scale[i] = known || dim_same(s[i], dim_of(g, x, p->axes[i]));
        p->scale[i] = known && b ? (double)a / (double)b : 1;
        if (policy && !known) {
            op_unsupported(c, "keep_aspect_ratio_policy over open dims; fix them by --dim NAME=SIZE");
            return false;
        }
        if (i == 0 || (policy == 1 ? p->scale[i] < best : p->scale[i] > best)) best = p->scale[i];
    }
    for (int i = 0; policy && i < n; i++) {
        int64_t b = 0;
        dim_is_const(dim_of(g, x, p->axes[i]), &b);
        p->scale[i] = best;
        p->size[i] = dim_const((int64_t)floor(best * (double)b + 0.5));
    }
    return true;
}

static bool read_plan(op_call *c, graph *g, value x, bool is_upsample, resize_rule *r, resize_plan *p)
{
    int n = 0, rank = rank_of(g, x);
    const int64_t *axes = op_attr_ints(c, "axes", &n);
    p->n = axes ? n : rank;
    if (p->n > rank) op_fail(c, "at most %d axes expected", rank);
    for (int i = 0; i < p->n && i < rank; i++) p->axes[i] = axes ? op_axis(c, axes[i], rank) : i;
    if (c->failed) return false;
    if (is_upsample && c->version < 7) {
        for (int i = 0; i < rank; i++) {
            p->has_scale[i] = true;
            p->scale[i] = i == rank - 2   ? attr_float("height_scale", 1)
                          : i == rank - 1 ? attr_float("width_scale", 1)
                                          : 1;
            p->size[i] = scaled_size(c, g, dim_of(g, x, i), p->scale[i]);
        }
        return !c->failed;
    }
    if (is_upsample || c->version < 11)
        return read_scales(c, g, x, p, is_upsample && c->version < 9 ? -1 : 1);
    if (r->at == TF_CROP) {
        if (!op_known_floats(c, 1, "roi", &n, p->roi, 2 * MAX_RANK)) return false;
        if (n != 2 * p->n) op_fail(c, "%d numbers as roi expected, found %d", 2 * p->n, n);
    }
    if (c->failed) return false;
    if (!is_empty_input(c, g, 2) && !is_empty_input(c, g, 3)) {
        op_fail(c, "either scales or sizes expected, found both");
        return false;
    }
    if (!is_empty_input(c, g, 2)) return read_scales(c, g, x, p, 2);
    if (!is_empty_input(c, g, 3)) return read_sizes(c, g, x, p);
    op_fail(c, "scales or sizes expected");
    return false;
}

static value join_mask(graph *g, value mask, value more, int rank, int axis)
{
    more = along(g, more, rank, axis);
    return is_value(mask) ? bin(g, SCALAR_or, mask, more) : more;
}

static value literal_mask(graph *g, const taps *t)
{
    dim n = dim_const(t->n);
    return constant(g, DTYPE_bool, 1, &n, t->outside, NULL);
}

/* Resize (10, 11, 13, 18, 19), Upsample (1, 7, 9, 10): one axis after the other */
static void resize(op_call *c, graph *g, bool is_upsample)
{
    value x = in(0);
    if (!is_value(x)) return;
    bool is_old = is_upsample || c->version < 11;
    resize_rule r = resize_rule_of(c, is_old);
    resize_plan p = { 0 };
    if (c->failed || !read_plan(c, g, x, is_upsample, &r, &p)) return;
    dtype t = dtype_of(g, x);
    int rank = rank_of(g, x);
    value y = r.how == NEAREST || t == DTYPE_f64 ? x : cast(g, x, DTYPE_f32), mask = NO_VALUE;
    for (int i = 0; i < p.n && is_value(y); i++) {
        int axis = p.axes[i];
        int64_t I, O;
        dim d = dim_of(g, y, axis);
        if (dim_same(d, p.size[i]) && p.has_scale[i] && p.scale[i] == 1 && r.at != TF_CROP) continue;
        /* version 10 leaves rounding open */
        if (!is_upsample && is_old) r.round = p.scale[i] < 1 ? TO_CEIL : TO_FLOOR;
        r.roi_lo = p.roi[i];
        r.roi_hi = p.roi[i + p.n];
        if (p.has_scale[i] && is_stretch(&r, p.scale[i]) &&
            dim_same(p.size[i], dim_mulk(D, d, (int64_t)p.scale[i]))) {
            y = stretch(g, y, axis, (int64_t)p.scale[i]);
        } else if (dim_is_const(d, &I) && dim_is_const(p.size[i], &O) && p.has_scale[i]) {
            taps table;
            if (!literal_taps(c, &r, I, O, p.scale[i], &table)) return;
            y = resample_literal(g, y, axis, &r, &table);
            if (table.any_outside) mask = join_mask(g, mask, literal_mask(g, &table), rank, axis);
        } else {
            value in_f = op_dim_value(g, DTYPE_f64, d), out_f = op_dim_value(g, DTYPE_f64, p.size[i]),
                  outside;
            value scale = p.has_scale[i] ? scalar_f64(g, DTYPE_f64, p.scale[i]) : divide(g, out_f, in_f);
            y = resample_open(c, g, y, axis, &r, p.size[i], scale, &outside);
            if (is_value(outside)) mask = join_mask(g, mask, outside, rank, axis);
        }
    }
    if (is_value(mask)) y = select3(g, mask, scalar_f64(g, dtype_of(g, y), r.extrapolation), y);
    out(0, cast(g, y, t));
}

ONNX_OP(Resize) { resize(c, g, false); }
ONNX_OP(Upsample) { resize(c, g, true); }

/* -- Sampling at computed coordinates -------------------------------------------------------------------- */

typedef struct { value at, weight; } tap;         /* position (whole number as a float), NO_VALUE: weight 1 */

static int linear_taps(graph *g, value p, tap *t)
{
    value f = UN(floor, p), w = sub(g, p, f);
    t[0] = (tap){ f, k_bin(g, SCALAR_sub, 1, w) };
    t[1] = (tap){ K(add, f, 1), w };
    return 2;
}

static int cubic_taps(graph *g, value p, tap *t)
{
    resize_rule r = { .how = CUBIC, .cubic_a = -0.75 };
    value f = UN(floor, p), w = sub(g, p, f);
    double a = r.cubic_a;
    value d[4] = { K(add, w, 1), w, k_bin(g, SCALAR_sub, 1, w), k_bin(g, SCALAR_sub, 2, w) };
    for (int k = 0; k < 4; k++) {
        value v = d[k];
        bool far = k == 0 || k == 3;
        value q = far ? K(sub, mul(g, K(add, mul(g, K(sub, K(mul, v, a), 5 * a), v), 8 * a), v), 4 * a)
                      : K(add, mul(g, mul(g, K(sub, K(mul, v, a + 2), a + 3), v), v), 1);
        t[k] = (tap){ K(add, f, k - 1), q };
    }
    return 4;
}

/* Sum over combinations of taps of weight * x[batch, positions, free]. Result: the coordinates' dims, then
 * x's free dims. */
static value sample(graph *g, value x, int n, const tap (*t)[4], const int *n_taps, const int *axes,
                    int n_batch, const int *batch)
{
    int pick[MAX_RANK] = { 0 }, total = 1, n_free = rank_of(g, x) - n - n_batch;
    value y = NO_VALUE;
    for (int d = 0; d < n; d++) total *= n_taps[d];
    for (int i = 0; i < total; i++) {
        value idx[MAX_RANK], w = NO_VALUE;
        for (int d = 0; d < n; d++) {
            const tap *k = &t[d][pick[d]];
            idx[d] = cast(g, k->at, DTYPE_i64);
            if (is_value(k->weight)) w = is_value(w) ? mul(g, w, k->weight) : k->weight;
        }
        value s = gather(g, x, n, idx, axes, n_batch, batch, batch);
        if (is_value(w)) {
            type tw = type_of(g, w);
            dim d[MAX_RANK];
            if (tw.rank + n_free > MAX_RANK) return build_fail(g, "at most %d dimensions", MAX_RANK);
            for (int k = 0; k < tw.rank + n_free; k++) d[k] = k < tw.rank ? tw.dims[k] : dim_const(1);
            s = mul(g, s, reshape(g, cast(g, w, dtype_of(g, x)), tw.rank + n_free, d));
        }
        y = i ? add(g, y, s) : s;
        for (int d = n - 1; d >= 0 && ++pick[d] == n_taps[d]; d--) pick[d] = 0;
    }
    return y;
}

typedef enum { EDGE_zeros, EDGE_border, EDGE_reflection } edge_mode;
typedef struct { edge_mode mode; bool align, cubic; value lo, hi, last; } edge_rule;        /* of one axis */

static value reflect(graph *g, value p, const edge_rule *e)
{
    value span = sub(g, e->hi, e->lo), two = K(mul, span, 2);
    value q = bin(g, SCALAR_mod, sub(g, p, e->lo), two);
    value r = add(g, bin(g, SCALAR_min, q, sub(g, two, q)), e->lo);
    return select3(g, K(le, span, 0), splat_like(g, p, 0), r);
}

static value inside(graph *g, value p, const edge_rule *e)
{
    if (e->mode == EDGE_zeros) return p;
    if (e->mode == EDGE_reflection) p = reflect(g, p, e);
    if (e->mode == EDGE_reflection && e->cubic) return p;
    return K(max, bin(g, SCALAR_min, p, e->last), 0);
}

/* GridSample (16, 20, 22): x[N, C, I…], grid[N, O…, n] with x first -> y[N, C, O…] */
ONNX_OP(GridSample)
{
    static const char *const modes[] = { "linear", "nearest", "cubic", "bilinear", "bicubic" };
    static const char *const paddings[] = { "zeros", "border", "reflection" };
    value x = in(0), grid = in(1);
    int mode = choose(c, "mode", c->version < 20 ? "bilinear" : "linear", 5, modes), n = rank_of(g, x) - 2;
    edge_mode padding = (edge_mode)choose(c, "padding_mode", "zeros", 3, paddings);
    bool align = attr_int("align_corners", 0), cubic = mode == 2 || mode == 4, nearest = mode == 1;
    if (!is_value(x) || !is_value(grid)) return;
    if (n < 1 || rank_of(g, grid) != n + 2) {
        op_fail(c, "a grid of the input's rank %d expected, found %d", n + 2, rank_of(g, grid));
        return;
    }
    dtype t = dtype_of(g, grid), w = compute_dtype(t);
    grid = cast(g, grid, w);
    tap table[MAX_RANK][4];
    int n_taps[MAX_RANK], axes[MAX_RANK], last = rank_of(g, grid) - 1;
    for (int d = 0; d < n; d++) {
        value I = op_dim_value(g, w, dim_of(g, x, 2 + d)), top = K(sub, I, 1);
        edge_rule e = {
            padding, align, cubic, scalar_f64(g, w, align ? 0 : -0.5), align ? top : K(sub, I, 0.5), top
        };
        value u = K(
            add, squeeze(g, slice_axis(g, grid, last, dim_const(n - 1 - d), dim_const(1), 1), 1u << last), 1);
        value p = align ? mul(g, u, K(div, top, 2)) : K(mul, K(sub, mul(g, u, I), 1), 0.5);
        if (nearest) p = UN(rint, p);
        if (!cubic) p = inside(g, p, &e);
        n_taps[d] = nearest ? 1 : cubic ? cubic_taps(g, p, table[d]) : linear_taps(g, p, table[d]);
        if (nearest) table[d][0] = (tap){ p, NO_VALUE };
        for (int k = 0; padding != EDGE_zeros && k < n_taps[d]; k++)
            table[d][k].at = UN(rint, inside(g, table[d][k].at, &e));
        axes[d] = 2 + d;
    }
    value y = sample(g, x, n, (const tap (*)[4])table, n_taps, axes, 1, (int[]){ 0 });
    if (is_value(y)) out(0, move_axis(g, y, rank_of(g, y) - 1, 1));
}

/* AffineGrid (20): theta[N, n, n+1], size (N, C, S…) -> grid[N, S…, n] */
ONNX_OP(AffineGrid)
{
    value theta = in(0);
    int n;
    const dim *size = op_known_dims(c, 1, "size", &n);
    if (!size || !is_value(theta)) return;
    n -= 2;
    if (n < 1 || n > 6) {
        op_fail(c, "a size of 4 or 5 numbers expected, found %d", n + 2);
        return;
    }
    dtype t = dtype_of(g, theta);
    bool align = attr_int("align_corners", 0);
    dim d[MAX_RANK];
    char sp[8] = "uvwxyz", la[MAX_RANK] = "", lo[MAX_RANK] = "n";
    value part[MAX_RANK];
    for (int i = 0; i < n; i++) d[i] = size[2 + i];
    d[n] = dim_const(1);
    for (int i = 0; i < n; i++) {
        int axis = n - 1 - i;                                   /* x, the last axis, comes first */
        value r = iota(g, DTYPE_f64, 1, &d[axis], 0), s = op_dim_value(g, DTYPE_f64, d[axis]);
        r = align ? K(sub, divide(g, K(mul, r, 2), K(max, K(sub, s, 1), 1)), 1)
                  : K(sub, divide(g, K(add, K(mul, r, 2), 1), s), 1);
        part[i] = broadcast(g, along(g, cast(g, r, t), n + 1, axis), n + 1, d);
        la[i] = sp[i];
        lo[1 + i] = sp[i];
    }
    part[n] = splat(g, scalar_f64(g, t, 1), n + 1, d);
    la[n] = 'k';
    lo[1 + n] = 'j';
    contract_spec s = { .la = la, .lb = "njk", .lo = lo, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    out(0, contract(g, concat(g, n + 1, part, n), theta, NO_VALUE, &s));
}

/* -- DeformConv (19, 22) ------------------------------------------------------------------------------------
 * x[N, C, I…], w[M, C/g, K…], offset[N, og*k*n, O…], bias[M], mask[N, og*k, O…]: the taps of a convolution at
 * shifted positions, gathered with linear interpolation, then one product over channels and taps. */

static void ints_or(op_call *c, const char *name, int n, int64_t other, int64_t *v)
{
    int m = 0;
    const int64_t *a = op_attr_ints(c, name, &m);
    if (a && m != n) op_fail(c, "%d %s expected, found %d", n, name, m);
    for (int i = 0; i < n; i++) {
        v[i] = a && m == n ? a[i] : other;
        if (v[i] < INT32_MIN || v[i] > INT32_MAX) op_fail(c, "%s of fewer than 32 bits expected", name);
    }
}

ONNX_OP(DeformConv)
{
    value x = in(0), w = in(1), off = in(2);
    if (!is_value(x) || !is_value(w) || !is_value(off)) return;
    int n = rank_of(g, x) - 2;
    if (n < 1 || n > 3 || rank_of(g, w) != n + 2 || rank_of(g, off) != n + 2) {
        op_fail(c, "input, weights and offsets of equal rank 3 to 5 expected");
        return;
    }
    int64_t st[3], di[3], pa[6], Kd[3], kk = 1, groups = attr_int("group", 1),
                                        og = attr_int("offset_group", 1);
    ints_or(c, "strides", n, 1, st);
    ints_or(c, "dilations", n, 1, di);
    ints_or(c, "pads", 2 * n, 0, pa);
    if (groups < 1 || og < 1) op_fail(c, "groups of 1 or more expected");
    for (int d = 0; d < n && !c->failed; d++) {
        if (!op_const_dim(c, dim_of(g, w, 2 + d), "the kernel's extent", &Kd[d])) return;
        if (st[d] < 1 || di[d] < 1 || !mul_ok(kk, Kd[d], &kk) || kk > 1 << 20)
            op_fail(c, "positive strides and dilations expected");
    }
    if (c->failed) return;
    dtype t = dtype_of(g, x);
    dim N = dim_of(g, x, 0), C = dim_of(g, x, 1), M = dim_of(g, w, 0), O[3], split[8], one[8];
    split[0] = N, split[1] = dim_const(og), split[2] = dim_const(kk), split[3] = dim_const(n);
    for (int d = 0; d < n; d++) {
        dim reach = dim_addk(D, dim_of(g, x, 2 + d), pa[d] + pa[d + n] - di[d] * (Kd[d] - 1) - 1);
        O[d] = dim_addk(D, dim_div(D, reach, dim_const(st[d])), 1);
        split[4 + d] = O[d];
    }
    off = reshape(g, off, 4 + n, split);
    tap table[MAX_RANK][4];
    int n_taps[MAX_RANK], axes[MAX_RANK];
    double *shift = NEW_ARRAY(op_arena(c), double, kk + 1);
    for (int d = 0; d < n; d++) {
        int64_t inner = 1;
        for (int e = d + 1; e < n; e++) inner *= Kd[e];
        for (int64_t k = 0; k < kk; k++) shift[k] = (double)(k / inner % Kd[d] * di[d] - pa[d]);
        for (int e = 0; e < 3 + n; e++) one[e] = dim_const(1);
        one[2] = dim_const(kk);
        value base = reshape(g, op_reals(g, t, shift, 1, &one[2]), 3 + n, one);
        value pos = K(mul, along(g, iota(g, t, 1, &O[d], 0), 3 + n, 3 + d), (double)st[d]);
        value p = add(g, squeeze(g, slice_axis(g, off, 3, dim_const(d), dim_const(1), 1), 8),
                      add(g, base, pos));
        n_taps[d] = linear_taps(g, p, table[d]);
        axes[d] = 3 + d;
    }
    dim xd[8] = { N, dim_const(og), dim_div(D, C, dim_const(og)) };
    for (int d = 0; d < n; d++) xd[3 + d] = dim_of(g, x, 2 + d);
    value v = sample(g, reshape(g, x, 3 + n, xd), n, (const tap(*)[4])table, n_taps, axes, 2,
                     (int[]){ 0, 1 });
    if (has_in(4)) {
        dim md[8] = { N, dim_const(og), dim_const(kk) };
        for (int d = 0; d < n; d++) md[3 + d] = O[d];
        md[3 + n] = dim_const(1);
        v = mul(g, v, reshape(g, in(4), 4 + n, md));                                /* [N, og, k, O…, C/og] */
    }
    if (!is_value(v)) return;
    v = move_axis(g, v, rank_of(g, v) - 1, 2);                                      /* [N, og, C/og, k, O…] */
    dim vd[8] = { N, dim_const(groups), dim_div(D, C, dim_const(groups)), dim_const(kk) };
    dim wd[4] = { dim_const(groups), dim_div(D, M, dim_const(groups)), dim_of(g, w, 1), dim_const(kk) };
    dim bd[8] = { dim_const(1), wd[0], wd[1] }, yd[8] = { N, M };
    char la[9] = "ngck", lo[9] = "ngm";
    for (int d = 0; d < n; d++) {
        vd[4 + d] = yd[2 + d] = O[d];
        bd[3 + d] = dim_const(1);
        la[4 + d] = lo[3 + d] = "xyz"[d];
    }
    value bias = has_in(3) ? reshape(g, cast(g, in(3), compute_dtype(t)), 3 + n, bd) : NO_VALUE;
    contract_spec s = { .la = la, .lb = "gmck", .lo = lo, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    value y = contract(g, reshape(g, v, 4 + n, vd), reshape(g, w, 4, wd), bias, &s);
    out(0, reshape(g, y, 2 + n, yd));
}
