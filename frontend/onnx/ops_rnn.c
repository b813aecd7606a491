/* frontend/onnx/ops_rnn.c: recurrent layers. One driver for RNN, GRU and LSTM:
 *
 *     xg = X . W^T + bias                one contract for all steps, before the loop
 *     scan over t: states = cell(xg[t], states, R)
 *
 * A step past sequence_lens keeps the states and yields 0; so a reverse direction is a scan that runs
 * backwards, and no data is reversed. Directions are separate scans, joined at the end. What does not depend
 * on the step (slices of R, peepholes, biases) is a capture of the body.
 */
#include "frontend/onnx/op_tensor.h"
#include <math.h>
#include <strings.h>

/* -- Activations ----------------------------------------------------------------------------------------- */

/* What op_activation() takes; alpha and beta NAN for the standard's defaults. */
typedef struct { const char *name; double alpha, beta; } activation;

/* Those that consume an entry of activation_alpha, of activation_beta, in order of the activations. */
static const char *const takes_alpha[] = { "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
                                          "HardSigmoid", "Elu", NULL };
static const char *const takes_beta[] = { "Affine", "ScaledTanh", "HardSigmoid", NULL };

static bool is_one_of(const char *const *names, const char *name)
{
    while (*names && strcasecmp(*names, name)) names++;
    return *names != NULL;
}

static value zero_unless(graph *g, value keep, value x)
{
    return select3(g, keep, x, splat_like(g, x, 0));
}

/* The activations of all directions, `per` for each, in f. */
static bool read_activations(op_call *c, const char *const *usual, int per, int dirs, activation *f)
{
    int n = 0, n_alpha = 0, n_beta = 0, a = 0, b = 0;
    const char *const *names = op_attr_strs(c, "activations", &n);
    const float *alpha = op_attr_floats(c, "activation_alpha", &n_alpha);
    const float *beta = op_attr_floats(c, "activation_beta", &n_beta);
    if (names && n < per * dirs) {
        op_fail(c, "attribute activations has %d entries, expected %d", n, per * dirs);
        return false;
    }
    for (int i = 0; i < per * dirs; i++) {
        f[i] = (activation){ names ? names[i] : usual[i % per], NAN, NAN };
        if (is_one_of(takes_alpha, f[i].name) && a < n_alpha) f[i].alpha = (double)alpha[a++];
        if (is_one_of(takes_beta, f[i].name) && b < n_beta) f[i].beta = (double)beta[b++];
    }
    return true;
}

/* -- The driver ------------------------------------------------------------------------------------------ */

enum { MAX_STATES = 2, MAX_ACTS = 6, MAX_HELD = 8 };

typedef struct layer layer;
struct layer {
    op_call *c;
    int n_states, per;                       /* states; activations of one direction */
    activation acts[MAX_ACTS];
    double clip;                             /* 0: none */
    bool flag;                               /* linear_before_reset; input_forget */
    dim H;
    bool quantized;           /* DynamicQuantizeLSTM: W[D, I, G], R[D, H, G] of 8 bits, with the four below */
    value w_scale, w_zero, r_scale, r_zero;  /* [D] or [D, G] */
    value (*bias)(const layer *l, graph *g, value b);    /* B of one direction -> what joins the projection */
    /* What the cell holds besides R (outside the body); returns how many. */
    int (*hold)(const layer *l, graph *g, int d, value r, value b, value p, value *held);
    /* One step; held as captures of the body. */
    void (*cell)(const layer *l, graph *g, const activation *f, value x, const value *states,
                 const value *held, value *next);
};

static value activate(const layer *l, graph *g, activation f, value x)
{
    return op_activation(l->c, g, f.name, x, f.alpha, f.beta);
}

static value clipped(const layer *l, graph *g, value x)
{
    return l->clip != 0 ? clamp(g, x, -l->clip, l->clip) : x;
}

/* h[B, K] . R[G, K]^T */
static value project(graph *g, value h, value r)
{
    contract_spec s = { .la = "bk", .lb = "gk", .lo = "bg", .acc = DTYPE_NONE, .out = DTYPE_NONE };
    return contract(g, h, r, NO_VALUE, &s);
}

/* -- Quantized while running ----------------------------------------------------------------------------- */

/* An 8-bit matrix w[K, G] as an operand of projections: its scale and zero point ([] or [G]), the sums of its
 * columns. */
typedef struct { value w, scale, zero, sums; } narrow_matrix;

static narrow_matrix narrow(graph *g, value w, value scale, value zero, int d)
{
    narrow_matrix m = { .w = w,
                        .scale = pick(g, scale, 0, d),
                        .zero = cast(g, pick(g, zero, 0, d), DTYPE_i32) };
    m.sums = reduce(g, REDUCE_sum, cast(g, w, DTYPE_i32), 1, false);
    return m;
}

/* a[R, K] . w with a quantized to u8 over all its elements, as DynamicQuantizeLinear does; the result in f32.
 */
static value project_narrow(graph *g, value a, narrow_matrix m)
{
    if (!is_value(a)) return a;
    value lo = bin_k(g, SCALAR_min, reduce(g, REDUCE_min, a, 3, false), 0);
    value hi = bin_k(g, SCALAR_max, reduce(g, REDUCE_max, a, 3, false), 0);
    value scale = bin_k(g, SCALAR_div, sub(g, hi, lo), 255);
    scale = select3(g, bin_k(g, SCALAR_eq, scale, 0), splat_like(g, scale, 1), scale);
    value zero = un(g, SCALAR_rint, clamp(g, un(g, SCALAR_neg, divide(g, lo, scale)), 0, 255));
    value q = cast(g, clamp(g, add(g, un(g, SCALAR_rint, divide(g, a, scale)), zero), 0, 255), DTYPE_u8);
    contract_spec s = { .la = "bk", .lb = "kg", .lo = "bg", .acc = DTYPE_i32, .out = DTYPE_i32 };
    value y = contract(g, q, m.w, NO_VALUE, &s), p = cast(g, zero, DTYPE_i32);
    y = sub(g, y, mul(g, p, m.sums));
    y = sub(g, y, mul(g, reduce_keep(g, REDUCE_sum, cast(g, q, DTYPE_i32), 2), m.zero));
    y = add(g, y, mul(g, mul(g, p, m.zero), constant_dim(g, DTYPE_i32, dim_of(g, a, 1))));
    return mul(g, cast(g, y, DTYPE_f32), mul(g, scale, m.scale));
}

/* x[T, B, I] . W -> [T, B, G], for all steps at once */
static value project_all(const layer *l, graph *g, value x, value w, int d)
{
    if (!l->quantized) {
        contract_spec s = { .la = "tbi", .lb = "gi", .lo = "tbg", .acc = DTYPE_NONE, .out = DTYPE_NONE };
        return contract(g, x, w, NO_VALUE, &s);
    }
    dim T = dim_of(g, x, 0), B = dim_of(g, x, 1);
    value flat = as_shape(g, x, 2, dim_mul(g->dims, T, B), dim_of(g, x, 2));
    return as_shape(g, project_narrow(g, flat, narrow(g, w, l->w_scale, l->w_zero, d)), 3, T, B,
                    dim_of(g, w, 1));
}

/* One direction: out = final states, then Y[T, B, H]. */
static bool run_direction(const layer *l, int d, bool reverse, value x, value w, value r, value b, value lens,
                          value p, const value *init, value *result)
{
    graph *g = l->c->g;
    dim T = dim_of(g, x, 0), B = dim_of(g, x, 1);
    value wd = pick(g, w, 0, d), rd = pick(g, r, 0, d), bd = is_value(b) ? pick(g, b, 0, d) : NO_VALUE;
    value xg = project_all(l, g, x, wd, d);
    if (is_value(bd)) xg = add(g, xg, l->bias(l, g, bd));

    body_maker m = body_begin(g, reverse ? "recurrent_reverse" : "recurrent");
    value state[MAX_STATES], next[MAX_STATES], held[MAX_HELD] = { NO_VALUE }, inner[MAX_HELD] = { NO_VALUE };
    value at = NO_VALUE, inner_lens = NO_VALUE;
    static const char *const state_name[MAX_STATES] = { "h", "c" };
    static const char *const held_name[MAX_HELD] = { "r", "k1", "k2", "k3", "k4", "k5", "k6", "k7" };
    for (int i = 0; i < l->n_states; i++) {
        value first = is_value(init[i]) ? pick(g, init[i], 0, d)
                                        : full(g, dtype_of(g, x), 0, 2, (dim[]){ B, l->H });
        state[i] = body_carry(&m, first, state_name[i]);
    }
    value xt = body_slice(&m, xg, "x");
    if (is_value(lens)) at = body_slice(&m, range_of(g, dtype_of(g, lens), T, 1, 0), "t");
    int n_held = l->hold(l, g, d, rd, bd, is_value(p) ? pick(g, p, 0, d) : NO_VALUE, held);
    for (int i = 0; i < n_held; i++) inner[i] = body_capture(&m, held[i], held_name[i]);
    if (is_value(lens)) inner_lens = body_capture(&m, lens, "lens");
    if (g->failed || m.g->failed) return false;

    l->cell(l, m.g, l->acts + d * l->per, xt, state, inner, next);
    value y = next[0];
    if (is_value(lens)) {
        value on = column(m.g, bin(m.g, SCALAR_lt, at, inner_lens), 1);
        for (int i = 0; i < l->n_states; i++) next[i] = select3(m.g, on, next[i], state[i]);
        y = zero_unless(m.g, on, y);
    }
    for (int i = 0; i < l->n_states; i++) body_result(&m, next[i]);
    body_result(&m, y);
    return body_scan(&m, T, reverse, result);
}

static bool recurrent_operands(op_call *c, const layer *l, value x, value w, value r, int dirs, int gates)
{
    graph *g = c->g;
    if (!op_rank(c, x, 3, 3, "X") || !op_rank(c, w, 3, 3, "W") || !op_rank(c, r, 3, 3, "R")) return false;
    int64_t d, have, want;
    if (dim_is_const(dim_of(g, w, 0), &d) && d != dirs) {
        op_fail(c, "W has %lld directions, attribute direction says %d", (long long)d, dirs);
        return false;
    }
    if (dim_is_const(dim_of(g, w, l->quantized ? 2 : 1), &have) &&
        dim_is_const(dim_mulk(g->dims, l->H, gates), &want) && have != want) {
        op_fail(c, "the gates of W have %lld rows, expected %lld", (long long)have, (long long)want);
        return false;
    }
    return true;
}

static void recurrent(layer *l, int gates, const char *const *usual, value b, value lens,
                      const value *initial, value p)
{
    op_call *c = l->c;
    graph *g = c->g;
    value x = in(0), w = in(1), r = in(2), init[MAX_STATES];
    bool layout = attr_int("layout", 0) != 0;
    const char *direction = attr_str("direction", "forward");
    bool both = !strcmp(direction, "bidirectional"), reverse = !strcmp(direction, "reverse");
    int dirs = both ? 2 : 1;
    /* GRU-1 spells it so */
    if (!both && !reverse && strcmp(direction, "forward") && strcmp(direction, "foward")) {
        op_fail(c, "attribute direction is \"%s\", expected forward, reverse or bidirectional", direction);
        return;
    }
    if (!op_rank(c, r, 3, 3, "R")) return;
    l->H = dim_of(g, r, l->quantized ? 1 : 2);
    l->clip = attr_float("clip", 0);
    if (!recurrent_operands(c, l, x, w, r, dirs, gates) || !read_activations(c, usual, l->per, dirs, l->acts))
        return;
    if (is_value(b) && !op_rank(c, b, 2, 2, "B")) return;
    if (is_value(lens) && !op_rank(c, lens, 1, 1, "sequence_lens")) return;
    if (is_value(p) && !op_rank(c, p, 2, 2, "P")) return;
    if (layout) x = swap_axes(g, x, 0, 1);
    for (int i = 0; i < l->n_states; i++) {
        init[i] = initial[i];
        if (!is_value(init[i])) continue;
        if (!op_rank(c, init[i], 3, 3, i ? "initial_c" : "initial_h")) return;
        if (layout) init[i] = swap_axes(g, init[i], 0, 1);
    }

    value got[2][MAX_STATES + 1], parts[2];
    for (int d = 0; d < dirs; d++)
        if (!run_direction(l, d, reverse || d == 1, x, w, r, b, lens, p, init, got[d])) return;
    for (int d = 0; d < dirs; d++) parts[d] = unsqueeze(g, got[d][l->n_states], axis_bit(1));
    value y = concat(g, dirs, parts, 1);                                                /* [T, D, B, H] */
    out(0, layout ? transpose(g, y, (int[]){ 2, 0, 1, 3 }) : y);
    for (int i = 0; i < l->n_states; i++) {
        for (int d = 0; d < dirs; d++) parts[d] = unsqueeze(g, got[d][i], axis_bit(0));
        value last = concat(g, dirs, parts, 0);
        out(1 + i, layout ? swap_axes(g, last, 0, 1) : last);
    }
}

/* Wb + Rb */
static value sum_of_biases(const layer *l, graph *g, value b)
{
    (void)l;
    value half[2];
    cut(g, b, 0, 2, half);
    return add(g, half[0], half[1]);
}

/* -- RNN ------------------------------------------------------------------------------------------------- */

static int hold_r(const layer *l, graph *g, int d, value r, value b, value p, value *held)
{
    (void)l, (void)g, (void)d, (void)b, (void)p;
    held[0] = r;
    return 1;
}

static void rnn_cell(const layer *l, graph *g, const activation *f, value x, const value *s,
                     const value *held, value *next)
{
    next[0] = activate(l, g, f[0], clipped(l, g, add(g, x, project(g, s[0], held[0]))));
}

/* RNN (1, 7, 14, 22): h' = f(x.W + h.R + b) */
ONNX_OP(RNN)
{
    (void)g;
    static const char *const usual[] = { "Tanh" };
    layer l = { .c = c, .n_states = 1, .per = 1, .bias = sum_of_biases, .hold = hold_r, .cell = rnn_cell };
    value h0 = op_in_or(c, 5, NO_VALUE);
    recurrent(&l, 1, usual, op_in_or(c, 3, NO_VALUE), op_in_or(c, 4, NO_VALUE), &h0, NO_VALUE);
}

/* -- GRU ------------------------------------------------------------------------------------------------- */

/* The recurrent bias joins the input's, except that of the hidden gate where it stands inside r * (.). */
static value gru_bias(const layer *l, graph *g, value b)
{
    if (!l->flag) return sum_of_biases(l, g, b);
    value half[2], gates[3];
    cut(g, b, 0, 2, half);
    cut(g, half[1], 0, 3, gates);
    gates[2] = splat_like(g, gates[2], 0);
    return add(g, half[0], concat(g, 3, gates, 0));
}

/* linear_before_reset: R whole and the hidden gate's recurrent bias; else R of gates z, r and R of the hidden
 * gate. */
static int gru_hold(const layer *l, graph *g, int d, value r, value b, value p, value *held)
{
    (void)d, (void)p;
    dims *t = g->dims;
    if (l->flag) {
        held[0] = r;
        if (!is_value(b)) return 1;
        held[1] = part(g, b, 0, dim_mulk(t, l->H, 5), l->H);
        return 2;
    }
    held[0] = part(g, r, 0, dim_const(0), dim_mulk(t, l->H, 2));
    held[1] = part(g, r, 0, dim_mulk(t, l->H, 2), l->H);
    return 2;
}

static value blend(graph *g, value z, value a, value b)          /* (1 - z) * a + z * b */
{
    return add(g, mul(g, k_bin(g, SCALAR_sub, 1, z), a), mul(g, z, b));
}

static void gru_cell(const layer *l, graph *g, const activation *f, value x, const value *s,
                     const value *held, value *next)
{
    value xs[3], hs[2], h = s[0];
    cut(g, x, 1, 3, xs);
    cut(g, project(g, h, held[0]), 1, 2, hs);
    value z = activate(l, g, f[0], clipped(l, g, add(g, xs[0], hs[0])));
    value q = activate(l, g, f[0], clipped(l, g, add(g, xs[1], hs[1])));
    value n = activate(l, g, f[1], clipped(l, g, add(g, xs[2], project(g, mul(g, q, h), held[1]))));
    next[0] = blend(g, z, n, h);
}

static void gru_cell_linear(const layer *l, graph *g, const activation *f, value x, const value *s,
                            const value *held, value *next)
{
    value xs[3], hs[3], h = s[0];
    cut(g, x, 1, 3, xs);
    cut(g, project(g, h, held[0]), 1, 3, hs);
    value z = activate(l, g, f[0], clipped(l, g, add(g, xs[0], hs[0])));
    value q = activate(l, g, f[0], clipped(l, g, add(g, xs[1], hs[1])));
    value inside = is_value(held[1]) ? add(g, hs[2], held[1]) : hs[2];
    value n = activate(l, g, f[1], clipped(l, g, add(g, xs[2], mul(g, q, inside))));
    next[0] = blend(g, z, n, h);
}

/* GRU (1, 3, 7, 14, 22) */
ONNX_OP(GRU)
{
    (void)g;
    static const char *const usual[] = { "Sigmoid", "Tanh" };
    bool linear = attr_int("linear_before_reset", 0) != 0;
    layer l = { .c = c, .n_states = 1, .per = 2, .flag = linear, .bias = gru_bias, .hold = gru_hold,
                .cell = linear ? gru_cell_linear : gru_cell };
    value h0 = op_in_or(c, 5, NO_VALUE);
    recurrent(&l, 3, usual, op_in_or(c, 3, NO_VALUE), op_in_or(c, 4, NO_VALUE), &h0, NO_VALUE);
}

/* -- LSTM ------------------------------------------------------------------------------------------------ */

/* R (of 8 bits: with its scale, zero point and sums), then the peepholes of gates i, o, f, if there are any
 */
static int lstm_hold(const layer *l, graph *g, int d, value r, value b, value p, value *held)
{
    (void)b;
    int n = 0;
    held[n++] = r;
    if (l->quantized) {
        narrow_matrix m = narrow(g, r, l->r_scale, l->r_zero, d);
        held[n++] = m.scale, held[n++] = m.zero, held[n++] = m.sums;
    }
    if (!is_value(p)) return n;
    cut(g, p, 0, 3, held + n);
    return n + 3;
}

static value peep(graph *g, value gate, value weight, value state)
{
    return is_value(weight) ? add(g, gate, mul(g, weight, state)) : gate;
}

static void lstm_cell(const layer *l, graph *g, const activation *f, value x, const value *s,
                      const value *held, value *next)
{
    value gate[4], h = s[0], c = s[1];                          /* gates in the order i, o, f, c */
    const value *peepholes = held + (l->quantized ? 4 : 1);
    value recurrent_part = l->quantized
                               ? project_narrow(g, h, (narrow_matrix){ held[0], held[1], held[2], held[3] })
                               : project(g, h, held[0]);
    cut(g, add(g, x, recurrent_part), 1, 4, gate);
    value i = activate(l, g, f[0], clipped(l, g, peep(g, gate[0], peepholes[0], c)));
    value forget = l->flag ? k_bin(g, SCALAR_sub, 1, i)
                           : activate(l, g, f[0], clipped(l, g, peep(g, gate[2], peepholes[2], c)));
    value cell = add(g, mul(g, forget, c), mul(g, i, activate(l, g, f[1], clipped(l, g, gate[3]))));
    value o = activate(l, g, f[0], clipped(l, g, peep(g, gate[1], peepholes[1], cell)));
    next[0] = mul(g, o, activate(l, g, f[2], cell));
    next[1] = cell;
}

/* LSTM (1, 7, 14, 22) */
ONNX_OP(LSTM)
{
    (void)g;
    static const char *const usual[] = { "Sigmoid", "Tanh", "Tanh" };
    layer l = { .c = c,
                .n_states = 2,
                .per = 3,
                .flag = attr_int("input_forget", 0) != 0,
                .bias = sum_of_biases,
                .hold = lstm_hold,
                .cell = lstm_cell };
    value init[2] = { op_in_or(c, 5, NO_VALUE), op_in_or(c, 6, NO_VALUE) };
    recurrent(&l, 4, usual, op_in_or(c, 3, NO_VALUE), op_in_or(c, 4, NO_VALUE), init,
              op_in_or(c, 7, NO_VALUE));
}

/* DynamicQuantizeLSTM (com.microsoft 1): W and R of 8 bits, X and h quantized while running */
ONNX_OP(DynamicQuantizeLSTM)
{
    static const char *const usual[] = { "Sigmoid", "Tanh", "Tanh" };
    layer l = { .c = c,
                .n_states = 2,
                .per = 3,
                .flag = attr_int("input_forget", 0) != 0,
                .bias = sum_of_biases,
                .hold = lstm_hold,
                .cell = lstm_cell,
                .quantized = true,
                .w_scale = in(8),
                .w_zero = in(9),
                .r_scale = in(10),
                .r_zero = in(11) };
    if (!op_rank(c, l.w_scale, 1, 2, "W_scale") || !op_rank(c, l.w_zero, 1, 2, "W_zero_point") ||
        !op_rank(c, l.r_scale, 1, 2, "R_scale") || !op_rank(c, l.r_zero, 1, 2, "R_zero_point"))
        return;
    if (dtype_of(g, in(0)) != DTYPE_f32) {
        op_unsupported(c, "X of type %s", dtype_info[dtype_of(g, in(0))].name);
        return;
    }
    value init[2] = { op_in_or(c, 5, NO_VALUE), op_in_or(c, 6, NO_VALUE) };
    recurrent(&l, 4, usual, op_in_or(c, 3, NO_VALUE), op_in_or(c, 4, NO_VALUE), init,
              op_in_or(c, 7, NO_VALUE));
}
