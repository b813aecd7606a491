/* ops_boxes: regions of images: RoiAlign, MaxRoiPool, NonMaxSuppression. */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)
#define K(row, x, k) bin_k(g, SCALAR_##row, (x), (k))
#define UN(row, x) un(g, SCALAR_##row, (x))

static value column(graph *g, value x, int64_t j)           /* x[R, n] -> [R] */
{
    return squeeze(g, slice_axis(g, x, 1, dim_const(j), dim_const(1), 1), 2);
}

static value k4(graph *g, value v) { return unsqueeze(g, v, 6); }           /* [R] -> [R, 1, 1] */

/* -- RoiAlign -----------------------------------------------------------------------------------------------
 * Each bin is sampled at gh * gw points; the sample number s is a loop: a scan where sampling_ratio fixes the
 * grid, else a while up to the largest grid, with a mask for each box. */

enum { ROI_X, ROI_Y1, ROI_X1, ROI_H, ROI_W, ROI_GH, ROI_GW, ROI_BATCH, ROI_N };

typedef struct {
    value v[ROI_N];                                          /* in the graph in hand */
    int64_t oh, ow;
    bool is_max;
    dtype t;
} roi;

static void corner_taps(graph *g, value p, value size, value *at, value *w)
{
    value last = K(sub, size, 1), q = K(max, bin(g, SCALAR_min, p, last), 0), f = UN(floor, q),
          r = sub(g, q, f);
    at[0] = cast(g, f, DTYPE_i64);
    at[1] = cast(g, bin(g, SCALAR_min, K(add, f, 1), last), DTYPE_i64);
    w[0] = k_bin(g, SCALAR_sub, 1, r);
    w[1] = r;
}

/* acc with sample number s (i64) of every bin taken in: [R, oh, ow, C] */
static value roi_step(graph *g, const roi *q, value s, value acc)
{
    const value *v = q->v;
    value sf = cast(g, s, q->t), gw = K(max, v[ROI_GW], 1), gh = K(max, v[ROI_GH], 1);
    value iy = UN(floor, divide(g, sf, gw)), ix = sub(g, sf, mul(g, iy, gw));
    dim shape[3] = { dim_of(g, v[ROI_Y1], 0), dim_const(q->oh), dim_const(q->ow) };
    value row = iota(g, q->t, 3, (dim[]){ dim_const(1), shape[1], dim_const(1) }, 1);
    value col = iota(g, q->t, 3, (dim[]){ dim_const(1), dim_const(1), shape[2] }, 2);
    value py = mul(g, add(g, row, k4(g, divide(g, K(add, iy, 0.5), gh))),
                   k4(g, K(div, v[ROI_H], (double)q->oh)));
    value px = mul(g, add(g, col, k4(g, divide(g, K(add, ix, 0.5), gw))),
                   k4(g, K(div, v[ROI_W], (double)q->ow)));
    py = broadcast(g, add(g, k4(g, v[ROI_Y1]), py), 3, shape);
    px = broadcast(g, add(g, k4(g, v[ROI_X1]), px), 3, shape);
    value H = op_dim_value(g, q->t, dim_of(g, v[ROI_X], 2)),
          W = op_dim_value(g, q->t, dim_of(g, v[ROI_X], 3));
    value in_y = bin(g, SCALAR_and, bin(g, SCALAR_le, py, H), k_bin(g, SCALAR_le, -1, py));
    value in_x = bin(g, SCALAR_and, bin(g, SCALAR_le, px, W), k_bin(g, SCALAR_le, -1, px));
    value is_inside = bin(g, SCALAR_and, in_y, in_x), zero = scalar_f64(g, q->t, 0);
    value ay[2], wy[2], ax[2], wx[2], corner[4];
    corner_taps(g, py, H, ay, wy);
    corner_taps(g, px, W, ax, wx);
    value b = broadcast(g, k4(g, v[ROI_BATCH]), 3, shape);
    for (int k = 0; k < 4; k++) {
        value idx[3] = { b, ay[k / 2], ax[k % 2] };
        value w = select3(g, is_inside, mul(g, wy[k / 2], wx[k % 2]), zero);
        corner[k] = mul(g, gather(g, v[ROI_X], 3, idx, (int[]){ 0, 2, 3 }, 0, NULL, NULL),
                        unsqueeze(g, w, 8));
    }
    value in_grid = unsqueeze(g, bin(g, SCALAR_lt, sf, K(max, mul(g, v[ROI_GH], v[ROI_GW]), 0)), 14);
    if (q->is_max) {
        value m = bin(g, SCALAR_max, bin(g, SCALAR_max, corner[0], corner[1]),
                      bin(g, SCALAR_max, corner[2], corner[3]));
        return select3(g, in_grid, bin(g, SCALAR_max, acc, m), acc);
    }
    value sum = add(g, add(g, add(g, corner[0], corner[1]), corner[2]), corner[3]);
    return add(g, acc, select3(g, in_grid, sum, zero));
}

static value roi_scan(graph *g, const roi *q, value acc, int64_t samples)
{
    graph *body = graph_body(g, "roi_align");
    dim n = dim_const(samples);
    type ta = type_of(g, acc);
    roi inner = *q;
    value a = input(body, "acc", ta.dtype, ta.rank, ta.dims), s = input(body, "s", DTYPE_i64, 0, NULL),
          ops[2 + ROI_N], y;
    ops[0] = acc;
    ops[1] = iota(g, DTYPE_i64, 1, &n, 0);
    for (int i = 0; i < ROI_N; i++) {
        ops[2 + i] = q->v[i];
        inner.v[i] = op_capture(body, g, q->v[i]);
    }
    add_result(body, roi_step(body, &inner, s, a), NULL);
    return scan(g, body, 1, 1, n, false, 2 + ROI_N, ops, &y) ? y : NO_VALUE;
}

static value roi_while(graph *g, const roi *q, value acc, value total)
{
    graph *test = graph_body(g, "more_samples"), *body = graph_body(g, "roi_align");
    type ta = type_of(g, acc);
    roi inner = *q;
    value ops[3 + ROI_N] = { scalar_i64(g, DTYPE_i64, 0), acc }, y[2], s[2], a[2];
    graph *const bodies[2] = { test, body };
    for (int i = 0; i < ROI_N; i++) ops[2 + i] = q->v[i];
    ops[2 + ROI_N] = total;
    for (int k = 0; k < 2; k++) {
        s[k] = input(bodies[k], "s", DTYPE_i64, 0, NULL);
        a[k] = input(bodies[k], "acc", ta.dtype, ta.rank, ta.dims);
        for (int i = 0; i < ROI_N; i++) inner.v[i] = op_capture(bodies[k], g, q->v[i]);
        value limit = op_capture(bodies[k], g, total);
        if (k == 0) add_result(test, bin(test, SCALAR_lt, s[0], limit), NULL);
    }
    add_result(body, bin_k(body, SCALAR_add, s[1], 1), NULL);
    add_result(body, roi_step(body, &inner, s[1], a[1]), NULL);
    return while_loop(g, test, body, 2, -1, 3 + ROI_N, ops, y) ? y[1] : NO_VALUE;
}

/* RoiAlign (10, 16, 22): x[N, C, H, W], rois[R, 4], batch[R] -> y[R, C, oh, ow]; half_pixel from version 16
 * on */
ONNX_OP(RoiAlign)
{
    value x = in(0), rois = in(1), batch = in(2);
    if (!is_value(x) || !is_value(rois) || !is_value(batch)) return;
    const char *mode = attr_str("mode", "avg"),
               *at = attr_str("coordinate_transformation_mode", "half_pixel");
    bool half = c->version >= 16 && !strcmp(at, "half_pixel");
    int64_t sr = attr_int("sampling_ratio", 0);
    dtype narrow = dtype_of(g, x), t = compute_dtype(narrow);
    roi q = { .oh = attr_int("output_height", 1),
              .ow = attr_int("output_width", 1),
              .is_max = !strcmp(mode, "max"),
              .t = t };
    if (strcmp(mode, "avg") && strcmp(mode, "max")) op_fail(c, "mode avg or max expected, found %s", mode);
    if (rank_of(g, x) != 4 || rank_of(g, rois) != 2)
        op_fail(c, "an image batch of rank 4 and boxes of rank 2 expected");
    if (q.oh < 1 || q.ow < 1 || sr < 0 || sr > 1 << 15) op_fail(c, "positive output sizes expected");
    if (c->failed) return;
    value r = K(mul, cast(g, rois, t), attr_float("spatial_scale", 1));
    if (half) r = K(sub, r, 0.5);
    value x1 = column(g, r, 0), y1 = column(g, r, 1), w = sub(g, column(g, r, 2), x1),
          h = sub(g, column(g, r, 3), y1);
    if (!half) {
        w = K(max, w, 1);
        h = K(max, h, 1);
    }
    dim R = dim_of(g, rois, 0), shape[4] = { R, dim_const(q.oh), dim_const(q.ow), dim_of(g, x, 1) };
    value fixed = splat(g, scalar_i64(g, t, sr), 1, &R);
    value gh = sr ? fixed : UN(ceil, K(div, h, (double)q.oh)),
          gw = sr ? fixed : UN(ceil, K(div, w, (double)q.ow));
    const value parts[ROI_N] = { cast(g, x, t), y1, x1, h, w, gh, gw, cast(g, batch, DTYPE_i64) };
    memcpy(q.v, parts, sizeof parts);
    value acc = splat(g, scalar_f64(g, t, q.is_max ? (double)-INFINITY : 0), 4, shape);
    if (!is_value(acc) || g->failed) return;
    value n = mul(g, gh, gw);
    acc = sr ? roi_scan(g, &q, acc, sr * sr)
             : roi_while(g, &q, acc, cast(g, reduce(g, REDUCE_max, n, 1, false), DTYPE_i64));
    value y = q.is_max ? select3(g, K(eq, acc, (double)-INFINITY), scalar_f64(g, t, 0), acc)
                       : divide(g, acc, unsqueeze(g, K(max, n, 1), 14));
    out(0, cast(g, transpose(g, y, (int[]){ 0, 3, 1, 2 }), narrow));
}

/* -- MaxRoiPool (1, 22) -------------------------------------------------------------------------------------
 * A bin is a product of intervals, so the masked maximum is taken one axis at a time. */

static value bins(graph *g, value lo, value hi, int64_t n, dim size)
{
    dtype t = dtype_of(g, lo);
    dim dn = dim_const(n);
    value extent = unsqueeze(g, K(div, K(max, K(add, sub(g, hi, lo), 1), 1), (double)n), 2);      /* [R, 1] */
    value k = iota(g, t, 1, &dn, 0), top = op_dim_value(g, t, size), from = unsqueeze(g, lo, 2);
    value a = add(g, UN(floor, mul(g, k, extent)), from),
          b = add(g, UN(ceil, mul(g, K(add, k, 1), extent)), from);
    a = unsqueeze(g, K(max, bin(g, SCALAR_min, a, top), 0), 4);
    b = unsqueeze(g, K(max, bin(g, SCALAR_min, b, top), 0), 4);
    value p = iota(g, t, 1, &size, 0);
    return bin(g, SCALAR_and, bin(g, SCALAR_le, a, p), bin(g, SCALAR_lt, p, b));            /* [R, n, size] */
}

ONNX_OP(MaxRoiPool)
{
    value x = in(0), rois = in(1);
    int n = 0;
    const int64_t *p = op_attr_ints(c, "pooled_shape", &n);
    if (!is_value(x) || !is_value(rois)) return;
    if (n != 2 || p[0] < 1 || p[1] < 1 || rank_of(g, x) != 4 || rank_of(g, rois) != 2) {
        op_fail(c, "a pooled_shape of 2 positive numbers, an image batch and boxes expected");
        return;
    }
    double scale = attr_float("spatial_scale", 1);
    value e[4], lowest = scalar_f64(g, dtype_of(g, x), (double)-INFINITY);
    for (int i = 0; i < 4; i++) e[i] = UN(floor, K(add, K(mul, column(g, rois, 1 + i), scale), 0.5));
    dim H = dim_of(g, x, 2), W = dim_of(g, x, 3);
    value image = take(g, x, cast(g, column(g, rois, 0), DTYPE_i64), 0);                    /* [R, C, H, W] */
    value mw = bins(g, e[0], e[2], p[1], W), mh = bins(g, e[1], e[3], p[0], H);
    value y = select3(g, unsqueeze(g, mw, 6), unsqueeze(g, image, 8), lowest);          /* [R, C, H, pw, W] */
    y = swap_axes(g, reduce(g, REDUCE_max, y, 16, false), 2, 3);                           /* [R, C, pw, H] */
    y = select3(g, unsqueeze(g, mh, 10), unsqueeze(g, y, 4), lowest);                  /* [R, C, ph, pw, H] */
    y = reduce(g, REDUCE_max, y, 16, false);
    out(0, select3(g, bin(g, SCALAR_eq, y, lowest), scalar_f64(g, dtype_of(g, x), 0), y));
}

/* -- NonMaxSuppression (10, 11) -----------------------------------------------------------------------------
 * Boxes of each batch and class by falling score; a scan over candidates keeps those that overlap none kept
 * before. */

enum { NMS_Y1, NMS_X1, NMS_Y2, NMS_X2 };
enum { NMS_CAPTURES = 7 };                      /* four sorted coordinates, area, threshold, most per class */

static value nms_kept(graph *g, const value *corner, value area, value is_good, value threshold, value most)
{
    type t = type_of(g, area);                               /* [B, C, N] */
    dim N = t.dims[2];
    graph *b = graph_body(g, "suppress");
    value kept = input(b, "kept", DTYPE_bool, 3, t.dims), count = input(b, "count", DTYPE_i64, 2, t.dims);
    value at = input(b, "t", DTYPE_i64, 0, NULL), good = input(b, "good", DTYPE_bool, 2, t.dims), box[4];
    for (int i = 0; i < 4; i++) {
        value q = input(b, arena_printf(b->arena, "box%d", i), t.dtype, 2, t.dims);
        box[i] = unsqueeze(b, q, 4);
    }
    value all[4], ops[2 + 6 + NMS_CAPTURES], y[2];
    for (int i = 0; i < 4; i++) all[i] = op_capture(b, g, corner[i]);
    value areas = op_capture(b, g, area), limit = op_capture(b, g, threshold), top = op_capture(b, g, most);

    value w = sub(b, bin(b, SCALAR_min, box[NMS_X2], all[NMS_X2]),
                  bin(b, SCALAR_max, box[NMS_X1], all[NMS_X1]));
    value h = sub(b, bin(b, SCALAR_min, box[NMS_Y2], all[NMS_Y2]),
                  bin(b, SCALAR_max, box[NMS_Y1], all[NMS_Y1]));
    value overlap = mul(b, bin_k(b, SCALAR_max, w, 0), bin_k(b, SCALAR_max, h, 0));
    value mine = mul(b, sub(b, box[NMS_Y2], box[NMS_Y1]), sub(b, box[NMS_X2], box[NMS_X1]));
    value joint = sub(b, add(b, mine, areas), overlap);
    value hit = bin(b, SCALAR_and, kept, greater(b, overlap, mul(b, limit, joint)));
    value free_of = un(b, SCALAR_not, reduce(b, REDUCE_max, hit, 4, false));
    value chosen = bin(b, SCALAR_and, bin(b, SCALAR_and, good, free_of), bin(b, SCALAR_lt, count, top));
    value here = bin(b, SCALAR_eq, iota(b, DTYPE_i64, 3, (dim[]){ dim_const(1), dim_const(1), N }, 2), at);
    add_result(b, bin(b, SCALAR_or, kept, bin(b, SCALAR_and, unsqueeze(b, chosen, 4), here)), NULL);
    add_result(b, add(b, count, cast(b, chosen, DTYPE_i64)), NULL);

    int n = 0;
    ops[n++] = splat(g, scalar_i64(g, DTYPE_bool, 0), 3, t.dims);
    ops[n++] = splat(g, scalar_i64(g, DTYPE_i64, 0), 2, t.dims);
    ops[n++] = iota(g, DTYPE_i64, 1, &N, 0);
    ops[n++] = move_axis(g, is_good, 2, 0);
    for (int i = 0; i < 4; i++) ops[n++] = move_axis(g, corner[i], 2, 0);
    for (int i = 0; i < 4; i++) ops[n++] = corner[i];
    ops[n++] = area;
    ops[n++] = threshold;
    ops[n++] = most;
    return scan(g, b, 2, 6, N, false, n, ops, y) ? y[0] : NO_VALUE;
}

/* boxes[B, N, 4], scores[B, C, N] -> rows (batch, class, box) in order of batch, class, falling score */
ONNX_OP(NonMaxSuppression)
{
    value boxes = in(0), scores = in(1);
    if (!is_value(boxes) || !is_value(scores)) return;
    if (rank_of(g, boxes) != 3 || rank_of(g, scores) != 3) {
        op_fail(c, "boxes and scores of rank 3 expected");
        return;
    }
    if (!has_in(2)) {                                        /* at most 0 boxes a class */
        out(0, splat(g, scalar_i64(g, DTYPE_i64, 0), 2, (dim[]){ dim_const(0), dim_const(3) }));
        return;
    }
    dtype t = dtype_of(g, boxes);
    value most = reshape(g, cast(g, in(2), DTYPE_i64), 0, NULL);
    value threshold = has_in(3) ? reshape(g, cast(g, in(3), t), 0, NULL) : scalar_f64(g, t, 0);
    dim C = dim_of(g, scores, 1), N = dim_of(g, scores, 2), CN = dim_mul(D, C, N),
        total = dim_mul(D, dim_of(g, scores, 0), CN);
    value q[4], corner[4], perm = sort(g, 1, &scores, 2, 1, N);
    for (int i = 0; i < 4; i++) q[i] = squeeze(g, slice_axis(g, boxes, 2, dim_const(i), dim_const(1), 1), 4);
    if (attr_int("center_point_box", 0)) {                   /* x, y, width, height */
        value hw = K(mul, q[2], 0.5), hh = K(mul, q[3], 0.5), cx = q[0], cy = q[1];
        q[0] = sub(g, cy, hh);
        q[1] = sub(g, cx, hw);
        q[2] = add(g, cy, hh);
        q[3] = add(g, cx, hw);
    }
    for (int i = 0; i < 4; i++) {                            /* corners in either order */
        value edge_of = bin(g, i < 2 ? SCALAR_min : SCALAR_max, q[i % 2], q[i % 2 + 2]);
        corner[i] = gather(g, edge_of, 1, &perm, (int[]){ 1 }, 1, (int[]){ 0 }, (int[]){ 0 }); /* [B, C, N] */
    }
    value sorted = take_along(g, scores, perm, 2);
    if (!is_value(sorted) || g->failed) return;
    type ts = type_of(g, sorted);
    value is_good = has_in(4) ? greater(g, sorted, reshape(g, cast(g, in(4), ts.dtype), 0, NULL))
                              : splat(g, scalar_i64(g, DTYPE_bool, 1), 3, ts.dims);
    value area = mul(g, sub(g, corner[NMS_Y2], corner[NMS_Y1]), sub(g, corner[NMS_X2], corner[NMS_X1]));
    if (g->failed) return;
    value kept = nms_kept(g, corner, area, is_good, threshold, most), idx;
    dim count;
    if (!is_value(kept) || !compact_symbol(g, reshape(g, kept, 1, &total), &idx, &count)) return;
    idx = slice_axis(g, idx, 0, dim_const(0), count, 1);
    value n = constant_dim(g, DTYPE_i64, N), rows[3];
    rows[0] = unsqueeze(g, divide(g, idx, constant_dim(g, DTYPE_i64, CN)), 2);
    rows[1] = unsqueeze(g, bin(g, SCALAR_mod, divide(g, idx, n), constant_dim(g, DTYPE_i64, C)), 2);
    rows[2] = unsqueeze(g, gather(g, reshape(g, perm, 1, &total), 1, &idx, (int[]){ 0 }, 0, NULL, NULL), 2);
    out(0, concat(g, 3, rows, 1));
}
