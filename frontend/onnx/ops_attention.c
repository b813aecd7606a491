/* frontend/onnx/ops_attention.c: attention and its relatives. Scores and mixtures are contracts in which
 * query heads that share a key head differ by a group label, so nothing is repeated. Masks are comparisons of
 * positions, joined to one select; a row without any allowed position gives zeros.
 */
#include "frontend/onnx/op_tensor.h"
#include <math.h>

/* -- Parts ----------------------------------------------------------------------------------------------- */

/* [B, S, n*D] -> [B, n, S, D] */
static value split_heads(graph *g, value x, int64_t n)
{
    if (!is_value(x)) return x;
    dim each = dim_div(g->dims, dim_of(g, x, 2), dim_const(n));
    return transpose(g, as_shape(g, x, 4, dim_of(g, x, 0), dim_of(g, x, 1), dim_const(n), each),
                     (int[]){ 0, 2, 1, 3 });
}

/* x[B, H, …] -> x[B, k, H/k, …] */
static value group_heads(graph *g, value x, dim k)
{
    if (!is_value(x)) return x;
    return as_shape(g, x, 5, dim_of(g, x, 0), k, dim_div(g->dims, dim_of(g, x, 1), k), dim_of(g, x, 2),
                    dim_of(g, x, 3));
}

static value by_groups(graph *g, value a, value b, const char *la, const char *lb, const char *lo)
{
    contract_spec s = { .la = la, .lb = lb, .lo = lo, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    value y = contract(g, group_heads(g, a, dim_of(g, b, 1)), b, NO_VALUE, &s);
    if (!is_value(y)) return y;
    return as_shape(g, y, 4, dim_of(g, y, 0), dim_of(g, a, 1), dim_of(g, y, 3), dim_of(g, y, 4));
}

value sdpa_scores(graph *g, value q, value k) { return by_groups(g, q, k, "bhgld", "bhsd", "bhgls"); }
value sdpa_mix(graph *g, value p, value v) { return by_groups(g, p, v, "bhgls", "bhsd", "bhgld"); }

/* softmax over the last axis; a row of -inf gives zeros */
static value masked_softmax(graph *g, value s)
{
    if (!is_value(s)) return s;
    uint32_t last = axis_bit(rank_of(g, s) - 1);
    value top = reduce_keep(g, REDUCE_max, s, last);
    value dead = bin_k(g, SCALAR_eq, top, -HUGE_VAL);
    value e = un(g, SCALAR_exp, sub(g, s, select3(g, dead, splat_like(g, top, 0), top)));
    value sum = reduce_keep(g, REDUCE_sum, e, last);
    return divide(g, e, select3(g, bin_k(g, SCALAR_eq, sum, 0), splat_like(g, sum, 1), sum));
}

static bool heads_attr(op_call *c, const char *name, int64_t *n)
{
    *n = attr_int(name, 0);
    if (*n >= 1) return true;
    op_fail(c, "attribute %s is %lld, expected at least 1", name, (long long)*n);
    return false;
}

/* The factor of the scores: the attribute, or 1/sqrt(D). 0 after a diagnostic. */
static double score_scale(op_call *c, dim depth)
{
    double scale = attr_float("scale", 0);
    int64_t d;
    if (scale != 0) return scale;
    if (!dim_is_const(depth, &d)) { op_unsupported(c, "heads of open size (fix it with --dim)"); return 0; }
    return d > 0 ? 1 / sqrt((double)d) : 1;
}

static value also(graph *g, value a, value b)
{
    return is_value(a) ? bin(g, SCALAR_and, a, b) : b;
}

/* -- Attention ------------------------------------------------------------------------------------------- */

/* Which (query, key) positions may meet, by causality, windows and lengths: [B|1, 1, L, S], or NO_VALUE if
 * all may. */
static value allowed_positions(op_call *c, dim B, dim L, dim S, dim past, value nonpad, bool past_given)
{
    graph *g = c->g;
    value i = range_of(g, DTYPE_i64, L, 4, 2), j = range_of(g, DTYPE_i64, S, 4, 3), ok = NO_VALUE,
          lengths = NO_VALUE;
    if (is_value(nonpad)) lengths = as_shape(g, nonpad, 4, B, dim_const(1), dim_const(1), dim_const(1));
    value shift = is_value(nonpad) && c->version >= 24 && !past_given
                ? sub(g, lengths, constant_dim(g, DTYPE_i64, L)) : constant_dim(g, DTYPE_i64, past);
    value here = add(g, i, shift);                                   /* the query's position among the keys */
    int64_t left = attr_int("left_window_size", -1), right = attr_int("right_window_size", -1);
    if (attr_int("is_causal", 0)) ok = also(g, ok, bin(g, SCALAR_le, j, here));
    if (left >= 0) ok = also(g, ok, greater_equal(g, j, sub(g, here, scalar_i64(g, DTYPE_i64, left))));
    if (right >= 0) ok = also(g, ok, bin(g, SCALAR_le, j, add(g, here, scalar_i64(g, DTYPE_i64, right))));
    if (is_value(nonpad)) ok = also(g, ok, bin(g, SCALAR_lt, j, lengths));
    return ok;
}

/* attn_mask, bool or added; a shorter last axis is filled with "not allowed". */
static value apply_mask(op_call *c, value s, value mask, dim S)
{
    graph *g = c->g;
    dtype t = dtype_of(g, s), tm = dtype_of(g, mask);
    int last = rank_of(g, mask) - 1;
    dim have = dim_of(g, mask, last);
    if (!dim_same(have, S) && (!dim_is(have, 1) || dim_known_lt(g->dims, have, S))) {
        value fill = tm == DTYPE_bool ? scalar_i64(g, tm, 0) : scalar_f64(g, tm, -HUGE_VAL);
        mask = pad_axis(g, mask, last, dim_const(0), dim_sub(g->dims, S, have), fill);
    }
    if (tm == DTYPE_bool) return select3(g, mask, s, scalar_f64(g, t, -HUGE_VAL));
    return add(g, s, cast(g, mask, t));
}

/* Attention (23, 24, 25) */
ONNX_OP(Attention)
{
    value q = in(0), k = in(1), v = in(2), mask = op_in_or(c, 3, NO_VALUE), nonpad = op_in_or(c, 6, NO_VALUE);
    if (!op_rank(c, q, 3, 4, "Q")) return;
    bool rank3 = rank_of(g, q) == 3;
    int r = rank3 ? 3 : 4;
    if (!op_rank(c, k, r, r, "K") || !op_rank(c, v, r, r, "V")) return;
    dtype t = dtype_of(g, q);
    if (rank3) {
        int64_t nq, nk;
        if (!heads_attr(c, "q_num_heads", &nq) || !heads_attr(c, "kv_num_heads", &nk) ||
            !op_divides(c, dim_of(g, q, 2), nq, "the last extent of Q") ||
            !op_divides(c, dim_of(g, k, 2), nk, "the last extent of K") ||
            !op_divides(c, dim_of(g, v, 2), nk, "the last extent of V"))
            return;
        q = split_heads(g, q, nq);
        k = split_heads(g, k, nk);
        v = split_heads(g, v, nk);
    }
    double scale = score_scale(c, dim_of(g, q, 3));
    if (c->failed) return;
    scale = sqrt(scale);
    if (is_value(mask) && !op_rank(c, mask, 1, 4, "attn_mask")) return;
    if (is_value(nonpad) && !op_rank(c, nonpad, 1, 1, "nonpad_kv_seqlen")) return;
    dim past = dim_const(0);
    bool past_given = has_in(4);
    if (past_given) {
        value pk = in(4), pv = in(5);
        if (!op_rank(c, pk, 4, 4, "past_key") || !op_rank(c, pv, 4, 4, "past_value")) return;
        past = dim_of(g, pk, 2);
        k = concat2(g, pk, k, 2);
        v = concat2(g, pv, v, 2);
    }
    if (g->failed) return;
    dim B = dim_of(g, q, 0), L = dim_of(g, q, 2), S = dim_of(g, k, 2);

    value raw = sdpa_scores(g, bin_k(g, SCALAR_mul, q, scale), bin_k(g, SCALAR_mul, k, scale));
    double cap = attr_float("softcap", 0);
    value capped = cap != 0 ? bin_k(g, SCALAR_mul, un(g, SCALAR_tanh, bin_k(g, SCALAR_div, raw, cap)), cap)
                            : raw;
    value biased = is_value(mask) ? apply_mask(c, capped, mask, S) : capped;
    value ok = allowed_positions(c, B, L, S, past, nonpad, past_given);
    if (is_value(ok)) biased = select3(g, ok, biased, scalar_f64(g, t, -HUGE_VAL));
    value p = cast(g, masked_softmax(g, cast(g, biased, op_attr_dtype(c, "softmax_precision", t))), t);
    value y = sdpa_mix(g, p, cast(g, v, t));
    if (rank3 && is_value(y)) {
        dim width = dim_mul(g->dims, dim_of(g, y, 1), dim_of(g, y, 3));
        y = as_shape(g, swap_axes(g, y, 1, 2), 3, B, L, width);
    }
    out(0, y);
    out(1, k);
    out(2, v);
    if (!op_wants(c, 3)) return;
    int64_t mode = attr_int("qk_matmul_output_mode", 0);
    const value stages[] = { raw, capped, biased, p };
    if (mode < 0 || mode > 3) {
        op_fail(c, "attribute qk_matmul_output_mode is %lld, expected 0 to 3", (long long)mode);
        return;
    }
    out(3, stages[mode]);
}

/* -- FlexAttention --------------------------------------------------------------------------------------- */

/* Runs the body in attribute `name`, if there is one, over the one tensor x. */
static value modified(op_call *c, const char *name, value x)
{
    if (!op_has_attr(c, name) || !is_value(x)) return x;
    edge arg = { .kind = EDGE_TENSOR, .v = x }, *r;
    int n = 0;
    if (!op_inline_body(c, name, 1, &arg, &n, &r)) return NO_VALUE;
    if (n == 1 && r[0].kind == EDGE_TENSOR) return r[0].v;
    op_fail(c, "body %s must give one tensor", name);
    return NO_VALUE;
}

/* FlexAttention (preview 1): bodies score_mod and prob_mod are inlined */
ONNX_OP(FlexAttention)
{
    value q = in(0), k = in(1), v = in(2);
    if (!op_rank(c, q, 4, 4, "Q") || !op_rank(c, k, 4, 4, "K") || !op_rank(c, v, 4, 4, "V")) return;
    dtype t = dtype_of(g, q),
          sp = op_attr_dtype(c, "softmax_precision", t == DTYPE_f64 ? DTYPE_f64 : DTYPE_f32);
    double scale = score_scale(c, dim_of(g, q, 3));
    if (c->failed) return;
    value s = bin_k(g, SCALAR_mul, sdpa_scores(g, cast(g, q, sp), cast(g, k, sp)), scale);
    value p = modified(c, "prob_mod", masked_softmax(g, modified(c, "score_mod", s)));
    out(0, cast(g, sdpa_mix(g, p, cast(g, v, sp)), t));
}

/* -- RotaryEmbedding ------------------------------------------------------------------------------------- */

/* RotaryEmbedding (23): pairs of elements as complex numbers, turned by the angle of their position */
ONNX_OP(RotaryEmbedding)
{
    value x = in(0), cosine = in(1), sine = in(2);
    if (!op_rank(c, x, 3, 4, "X")) return;
    bool rank3 = rank_of(g, x) == 3, interleaved = attr_int("interleaved", 0) != 0;
    type shape = type_of(g, x);
    dims *t = g->dims;
    int64_t heads = attr_int("num_heads", 0), turned = attr_int("rotary_embedding_dim", 0);
    if (rank3) {
        if (!heads_attr(c, "num_heads", &heads) ||
            !op_divides(c, dim_of(g, x, 2), heads, "the last extent of X"))
            return;
        x = as_shape(g, x, 4, shape.dims[0], shape.dims[1], dim_const(heads),
                     dim_div(t, shape.dims[2], dim_const(heads)));
    } else {
        x = swap_axes(g, x, 1, 2);                                                          /* [B, S, H, D] */
    }
    dim D = dim_of(g, x, 3), R = turned ? dim_const(turned) : D, half = dim_div(t, R, dim_const(2));
    if (turned < 0 || !dim_divides(t, R, 2)) {
        op_fail(c, "the rotated part must have an even extent");
        return;
    }
    if (has_in(3)) {
        value at = in(3);
        if (!op_rank(c, at, 2, 2, "position_ids")) return;
        cosine = take(g, cosine, at, 0);
        sine = take(g, sine, at, 0);
    }
    if (!op_rank(c, cosine, 3, 3, "cos_cache") || !op_rank(c, sine, 3, 3, "sin_cache")) return;
    cosine = unsqueeze(g, part(g, cosine, 2, dim_const(0), half), axis_bit(2));
    sine = unsqueeze(g, part(g, sine, 2, dim_const(0), half), axis_bit(2));
    value rot = part(g, x, 3, dim_const(0), R), a, b, y;
    if (interleaved) {
        a = slice_axis(g, rot, 3, dim_const(0), half, 2);
        b = slice_axis(g, rot, 3, dim_const(1), half, 2);
    } else {
        a = part(g, rot, 3, dim_const(0), half);
        b = part(g, rot, 3, half, half);
    }
    value re = sub(g, mul(g, a, cosine), mul(g, b, sine)), im = add(g, mul(g, a, sine), mul(g, b, cosine));
    if (interleaved) {
        y = concat2(g, column(g, re, 1), column(g, im, 1), 4);
        if (is_value(y)) y = reshape(g, y, 4, type_of(g, rot).dims);
    } else {
        y = concat2(g, re, im, 3);
    }
    if (!dim_same(R, D)) y = concat2(g, y, part(g, x, 3, R, dim_sub(t, D, R)), 3);
    out(0, rank3 ? reshape(g, y, 3, shape.dims) : swap_axes(g, y, 1, 2));
}

/* -- LinearAttention ------------------------------------------------------------------------------------- */

/* z[B, T, n*D] -> [T, B, n, D] in type f */
static value by_time(op_call *c, value z, int64_t n, dtype f, const char *what)
{
    graph *g = c->g;
    if (!op_rank(c, z, 3, 3, what) || !op_divides(c, dim_of(g, z, 2), n, what)) return NO_VALUE;
    dim each = dim_div(g->dims, dim_of(g, z, 2), dim_const(n));
    return swap_axes(g, as_shape(g, cast(g, z, f), 4, dim_of(g, z, 0), dim_of(g, z, 1), dim_const(n), each),
                     0, 1);
}

static value by_labels(graph *g, value a, value b, const char *la, const char *lb, const char *lo)
{
    contract_spec s = { .la = la, .lb = lb, .lo = lo, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    return contract(g, a, b, NO_VALUE, &s);
}

/* LinearAttention (27): a scan over tokens with the state S[B, h, dk, dv] as carry:
 *     S = exp(decay) * S (gated);  u = v, or beta * (v - k.S) (delta);  S = S + k (x) u;  y = scale * q.S */
ONNX_OP(LinearAttention)
{
    value q = in(0), k = in(1), v = in(2), past = op_in_or(c, 3, NO_VALUE);
    int64_t hq, hk;
    if (!op_rank(c, q, 3, 3, "query") || !heads_attr(c, "q_num_heads", &hq) ||
        !heads_attr(c, "kv_num_heads", &hk))
        return;
    if (hq % hk) {
        op_fail(c, "q_num_heads %lld is not a multiple of kv_num_heads %lld", (long long)hq, (long long)hk);
        return;
    }
    dtype t = dtype_of(g, q), ts = is_value(past) ? dtype_of(g, past) : t,
          f = t == DTYPE_f64 ? DTYPE_f64 : DTYPE_f32;
    dim B = dim_of(g, q, 0), T = dim_of(g, q, 1);
    value qt = by_time(c, q, hq, f, "query"), kt = by_time(c, k, hk, f, "key"),
          vt = by_time(c, v, hk, f, "value");
    if (!is_value(qt) || !is_value(kt) || !is_value(vt)) return;
    dim dk = dim_of(g, qt, 3), dv = dim_of(g, vt, 3);
    double scale = score_scale(c, dk);
    if (c->failed) return;
    body_maker m = body_begin(g, "linear_attention");
    value start = is_value(past) ? cast(g, past, f) : full(g, f, 0, 4, (dim[]){ B, dim_const(hk), dk, dv });
    value s = body_carry(&m, start, "s");
    value qs = body_slice(&m, qt, "q"), ks = body_slice(&m, kt, "k"), vs = body_slice(&m, vt, "v");
    value decay = NO_VALUE, beta = NO_VALUE;
    const char *rule = attr_str("update_rule", "gated_delta");
    bool gated = !strncmp(rule, "gated", 5), delta = strstr(rule, "delta") != NULL;
    if (!gated && !delta && strcmp(rule, "linear")) {
        op_fail(c, "attribute update_rule is \"%s\"", rule);
        return;
    }
    if (gated) decay = body_slice(&m, un(g, SCALAR_exp, by_time(c, in(4), hk, f, "decay")), "decay");
    if (delta) {
        value b = in(5);
        int64_t n;
        if (!op_rank(c, b, 3, 3, "beta")) return;
        if (!dim_is_const(dim_of(g, b, 2), &n) || n < 1) {
            op_unsupported(c, "beta of open size (fix it with --dim)");
            return;
        }
        beta = body_slice(&m, by_time(c, b, n, f, "beta"), "beta");
    }
    if (g->failed || m.g->failed || c->failed) return;
    graph *b = m.g;
    if (is_value(decay)) s = mul(b, s, column(b, decay, 1));
    value update = vs;
    if (is_value(beta)) update = mul(b, sub(b, vs, by_labels(b, s, ks, "bhkv", "bhk", "bhv")), beta);
    s = add(b, s, mul(b, column(b, ks, 1), unsqueeze(b, update, axis_bit(2))));
    value grouped = as_shape(b, qs, 4, B, dim_const(hk), dim_const(hq / hk), dk);
    value y = bin_k(b, SCALAR_mul, by_labels(b, grouped, s, "bhgk", "bhkv", "bhgv"), scale);
    body_result(&m, s);
    body_result(&m, as_shape(b, y, 2, B, dim_mulk(b->dims, dv, hq)));
    value r[2];
    if (!body_scan(&m, T, false, r)) return;
    out(0, cast(g, swap_axes(g, r[1], 0, 1), t));
    out(1, cast(g, r[0], ts));
}
