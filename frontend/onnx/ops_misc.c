/* ops_misc: random numbers, losses, training steps, sequences and optionals.
 *
 * Random: a node's numbers are a function of its `seed` attribute (0 if it has none), the hash of its name,
 * and the element's position; so a model gives the same numbers in every run, on every backend.
 * Sequences are lists known while the graph is built, optionals likewise: they leave nothing behind.
 */
#include "frontend/onnx/op_util.h"

#define D (g->dims)
#define K(row, x, k) bin_k(g, SCALAR_##row, (x), (k))
#define UN(row, x) un(g, SCALAR_##row, (x))

/* -- Random ---------------------------------------------------------------------------------------------- */

static value random_key(op_call *c, graph *g)
{
    float seed = (float)(strcmp(c->op, "Dropout") ? attr_float("seed", 0) : (double)attr_int("seed", 0));
    uint64_t path = op_name_hash(c);
    uint32_t key[5] = { 0, 0x9e3779b9u, 0, (uint32_t)path, (uint32_t)(path >> 32) };  /* seed, step 0, path */
    memcpy(&key[0], &seed, sizeof seed);
    return constant(g, DTYPE_u32, 1, (dim[]){ dim_const(5) }, key, NULL);
}

/* Shape and type of a random operator: from its attributes, or like its input. */
static bool random_type(op_call *c, graph *g, bool is_like, int *rank, dim *d, dtype *t)
{
    dtype like = DTYPE_f32;
    if (is_like) {
        value x = in(0);
        if (!is_value(x)) return false;
        type tx = type_of(g, x);
        *rank = tx.rank;
        for (int i = 0; i < tx.rank; i++) d[i] = tx.dims[i];
        if (is_float(tx.dtype)) like = tx.dtype;
    } else {
        const int64_t *s = op_attr_ints(c, "shape", rank);
        if (!s) *rank = 0;
        if (*rank > MAX_RANK) op_unsupported(c, "tensors of more than %d dimensions", MAX_RANK);
        for (int i = 0; s && i < *rank && i < MAX_RANK; i++) {
            if (s[i] < 0) op_fail(c, "a shape of extents 0 or more expected");
            d[i] = dim_const(s[i]);
        }
    }
    *t = op_attr_dtype(c, "dtype", like);
    if (!c->failed && !is_float(*t)) op_fail(c, "a float type expected, found %s", dtype_info[*t].name);
    return !c->failed;
}

static void random_uniform(op_call *c, graph *g, bool is_like)
{
    int rank;
    dim d[MAX_RANK];
    dtype t;
    if (!random_type(c, g, is_like, &rank, d, &t)) return;
    double lo = attr_float("low", 0), hi = attr_float("high", 1);
    value u = uniform01(g, random_key(c, g), t == DTYPE_f64 ? t : DTYPE_f32, rank, d);
    out(0, cast(g, K(add, K(mul, u, hi - lo), lo), t));
}

static void random_normal(op_call *c, graph *g, bool is_like)
{
    int rank;
    dim d[MAX_RANK];
    dtype t;
    if (!random_type(c, g, is_like, &rank, d, &t)) return;
    value z = standard_normal(g, random_key(c, g), t == DTYPE_f64 ? t : DTYPE_f32, rank, d);
    out(0, cast(g, K(add, K(mul, z, attr_float("scale", 1)), attr_float("mean", 0)), t));
}

ONNX_OP(RandomUniform) { random_uniform(c, g, false); }
ONNX_OP(RandomUniformLike) { random_uniform(c, g, true); }
ONNX_OP(RandomNormal) { random_normal(c, g, false); }
ONNX_OP(RandomNormalLike) { random_normal(c, g, true); }

ONNX_OP(Bernoulli)
{
    value x = in(0);
    if (!is_value(x)) return;
    type t = type_of(g, x);
    value u = uniform01(g, random_key(c, g), DTYPE_f32, t.rank, t.dims);
    out(0, cast(g, bin(g, SCALAR_lt, u, cast(g, x, DTYPE_f32)), op_attr_dtype(c, "dtype", t.dtype)));
}

/* Multinomial (7, 22): how many entries of the running sum of the probabilities lie at or below u */
ONNX_OP(Multinomial)
{
    value x = in(0);
    if (!is_value(x)) return;
    dim N = dim_of(g, x, 0), C = dim_of(g, x, 1), S = dim_const(attr_int("sample_size", 1));
    value sums = cumulate(g, CUM_add, softmax(g, cast(g, x, DTYPE_f32), 2), 1, false, false);
    value u = uniform01(g, random_key(c, g), DTYPE_f32, 2, (dim[]){ N, S });
    value below = bin(g, SCALAR_le, unsqueeze(g, sums, 2), unsqueeze(g, u, 4));
    value k = reduce(g, REDUCE_sum, cast(g, below, DTYPE_i64), 4, false);
    k = bin(g, SCALAR_min, k, constant_dim(g, DTYPE_i64, dim_addk(D, C, -1)));
    out(0, cast(g, k, op_attr_dtype(c, "dtype", DTYPE_i32)));
}

/* Dropout (1, 6, 7, 10, 12, 13, 22): from version 12 on training is an input, before 7 an attribute, between
 * never */
ONNX_OP(Dropout)
{
    value x = in(0), ratio;
    if (!is_value(x)) return;
    type t = type_of(g, x);
    bool trains = false;
    if (c->version >= 12) {
        int n;
        int64_t flag = 0;
        if (has_in(2) && !op_known_ints(c, 2, "training_mode", &n, &flag, 1)) return;
        trains = flag != 0;
        ratio = has_in(1) ? reshape(g, cast(g, in(1), DTYPE_f32), 0, NULL) : scalar_f64(g, DTYPE_f32, 0.5);
    } else {
        trains = c->version < 7 && !attr_int("is_test", 0);
        ratio = scalar_f64(g, DTYPE_f32, attr_float("ratio", 0.5));
    }
    if (!trains) {
        out(0, x);
        if (op_wants(c, 1)) {
            dtype mask = c->version >= 10 ? DTYPE_bool : t.dtype;
            out(1, splat(g, scalar_i64(g, mask, 1), t.rank, t.dims));
        }
        return;
    }
    value u = uniform01(g, random_key(c, g), DTYPE_f32, t.rank, t.dims), one = scalar_f64(g, DTYPE_f32, 1);
    value keep = bin(g, SCALAR_le, ratio, u), some = K(lt, ratio, 1);
    value scale = k_bin(g, SCALAR_div, 1, select3(g, some, k_bin(g, SCALAR_sub, 1, ratio), one));
    scale = select3(g, some, scale, scalar_f64(g, DTYPE_f32, 0));
    out(0, select3(g, keep, mul(g, x, cast(g, scale, t.dtype)), scalar_f64(g, t.dtype, 0)));
    out(1, c->version >= 10 ? keep : cast(g, keep, t.dtype));
}

/* -- Losses ---------------------------------------------------------------------------------------------- */

/* logp[N, C, …], target[N, …], weight[C]: -logp[target] * weight, where the target is not ignore_index */
static value nll(op_call *c, graph *g, value logp, value target, value weight)
{
    const char *how = attr_str("reduction", "mean");
    if (!is_value(logp) || !is_value(target)) return NO_VALUE;
    dtype t = dtype_of(g, logp);
    value zero = scalar_f64(g, t, 0), ignored = NO_VALUE, class = target, w = NO_VALUE;
    if (op_has_attr(c, "ignore_index")) {
        ignored = bin(g, SCALAR_eq, target, scalar_i64(g, dtype_of(g, target), attr_int("ignore_index", 0)));
        class = select3(g, ignored, scalar_i64(g, dtype_of(g, target), 0), target);
    }
    value loss = UN(neg, squeeze(g, take_along(g, logp, unsqueeze(g, class, 2), 1), 2));
    if (is_value(weight)) w = take(g, weight, class, 0);
    if (is_value(ignored) && !is_value(w))
        w = splat(g, scalar_f64(g, t, 1), rank_of(g, target), type_of(g, target).dims);
    if (is_value(ignored)) w = select3(g, ignored, zero, w);
    if (is_value(w)) loss = is_value(ignored) ? select3(g, ignored, zero, mul(g, loss, w)) : mul(g, loss, w);
    if (!strcmp(how, "none") || !is_value(loss)) return loss;
    uint32_t all = (1u << rank_of(g, loss)) - 1;
    if (!strcmp(how, "mean") && !is_value(w)) return mean_over(g, loss, all, false);
    value s = reduce(g, REDUCE_sum, loss, all, false);
    if (!strcmp(how, "mean")) return divide(g, s, reduce(g, REDUCE_sum, w, all, false));
    if (strcmp(how, "sum")) op_fail(c, "reduction none, mean or sum expected, found %s", how);
    return s;
}

ONNX_OP(NegativeLogLikelihoodLoss) { out(0, nll(c, g, in(0), in(1), has_in(2) ? in(2) : NO_VALUE)); }

ONNX_OP(SoftmaxCrossEntropyLoss)
{
    value logp = log_softmax(g, in(0), 2);
    out(0, nll(c, g, logp, in(1), has_in(2) ? in(2) : NO_VALUE));
    out(1, logp);
}

/* -- Steps of training (ai.onnx.preview.training): inputs R, T, then all X, all gradients, all states ---- */

static bool step_inputs(op_call *c, int kinds, int *n)
{
    *n = (c->n_in - 2) / kinds;
    if (c->n_in < 2 + kinds || (c->n_in - 2) % kinds) {
        op_fail(c, "R, T and then %d inputs for each tensor expected, found %d", kinds, c->n_in);
        return false;
    }
    return true;
}

static value regularized(op_call *c, graph *g, value x, value grad)
{
    double l2 = attr_float("norm_coefficient", 0);
    return l2 == 0 ? grad : add(g, grad, K(mul, x, l2));
}

ONNX_OP(Momentum)
{
    int n;
    if (!step_inputs(c, 3, &n)) return;
    value r = in(0), t = in(1);
    double alpha = attr_float("alpha", 0), beta = attr_float("beta", 0);
    const char *mode = attr_str("mode", "standard");
    bool nesterov = !strcmp(mode, "nesterov");
    if (!nesterov && strcmp(mode, "standard"))
        op_fail(c, "mode standard or nesterov expected, found %s", mode);
    value first = K(eq, t, 0);
    for (int i = 0; i < n; i++) {
        value x = in(2 + i), grad = regularized(c, g, x, in(2 + n + i)), v = in(2 + 2 * n + i);
        dtype ty = dtype_of(g, x);
        value b = select3(g, first, scalar_f64(g, ty, 1), scalar_f64(g, ty, beta));
        v = add(g, K(mul, v, alpha), mul(g, grad, b));
        out(i, sub(g, x, mul(g, r, nesterov ? add(g, grad, K(mul, v, alpha)) : v)));
        out(n + i, v);
    }
}

ONNX_OP(Adagrad)
{
    int n;
    if (!step_inputs(c, 3, &n)) return;
    value r = in(0), decay = K(mul, cast(g, in(1), dtype_of(g, r)), attr_float("decay_factor", 0));
    r = divide(g, r, K(add, decay, 1));
    for (int i = 0; i < n; i++) {
        value x = in(2 + i), grad = regularized(c, g, x, in(2 + n + i));
        value h = add(g, in(2 + 2 * n + i), mul(g, grad, grad));
        out(i, sub(g, x, divide(g, mul(g, r, grad), K(add, UN(sqrt, h), attr_float("epsilon", 0)))));
        out(n + i, h);
    }
}

ONNX_OP(Adam)
{
    int n;
    if (!step_inputs(c, 4, &n)) return;
    value r = in(0), t = in(1), tf = cast(g, t, dtype_of(g, r));
    double a = attr_float("alpha", 0.9), b = attr_float("beta", 0.999), eps = attr_float("epsilon", 0);
    double post = attr_float("norm_coefficient_post", 0);
    value fix = divide(g, UN(sqrt, k_bin(g, SCALAR_sub, 1, k_bin(g, SCALAR_pow, b, tf))),
                       k_bin(g, SCALAR_sub, 1, k_bin(g, SCALAR_pow, a, tf)));
    r = select3(g, k_bin(g, SCALAR_lt, 0, t), mul(g, r, fix), r);
    for (int i = 0; i < n; i++) {
        value x = in(2 + i), grad = regularized(c, g, x, in(2 + n + i));
        value v = add(g, K(mul, in(2 + 2 * n + i), a), K(mul, grad, 1 - a));
        value h = add(g, K(mul, in(2 + 3 * n + i), b), K(mul, mul(g, grad, grad), 1 - b));
        x = sub(g, x, divide(g, mul(g, r, v), K(add, UN(sqrt, h), eps)));
        out(i, post == 0 ? x : K(mul, x, 1 - post));
        out(n + i, v);
        out(2 * n + i, h);
    }
}

/* -- Sequences and optionals: known while the graph is built --------------------------------------------- */

static bool sequence_in(op_call *c, int i, edge *e)
{
    if (op_has(c, i) && c->in[i].kind == EDGE_SEQUENCE) {
        *e = c->in[i];
        return true;
    }
    op_fail(c, "a sequence as input %d expected", i);
    return false;
}

static dtype element_type(graph *g, const edge *e)
{
    return e->n && e->items[0].kind == EDGE_TENSOR ? dtype_of(g, e->items[0].v) : e->dtype;
}

static edge sequence_of(op_call *c, int n, const edge *items, dtype t)
{
    (void)c;
    return (edge){ .kind = EDGE_SEQUENCE, .n = n, .items = items, .dtype = t };
}

/* A position in a sequence of n (past the end where `extra`), negative from the back; -1: reported. */
static int position_in(op_call *c, int i, int n, int extra)
{
    int count;
    int64_t p;
    if (!op_known_ints(c, i, "position", &count, &p, 1)) return -1;
    if (p < 0) p += n;
    if (p >= 0 && p < n + extra) return (int)p;
    op_fail(c, "a position in a sequence of length %d expected", n);
    return -1;
}

ONNX_OP(SequenceConstruct)
{
    edge *items = NEW_ARRAY(op_arena(c), edge, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++) items[i] = (edge){ .kind = EDGE_TENSOR, .v = in(i) };
    op_out_edge(c, 0, sequence_of(c, c->n_in, items, c->n_in ? dtype_of(g, items[0].v) : DTYPE_f32));
}

ONNX_OP(SequenceEmpty)
{
    (void)g;
    op_out_edge(c, 0, sequence_of(c, 0, NULL, op_attr_dtype(c, "dtype", DTYPE_f32)));
}

ONNX_OP(SequenceLength)
{
    edge s;
    if (sequence_in(c, 0, &s)) out(0, scalar_i64(g, DTYPE_i64, s.n));
}

ONNX_OP(SequenceAt)
{
    (void)g;
    edge s;
    int p;
    if (sequence_in(c, 0, &s) && (p = position_in(c, 1, s.n, 0)) >= 0) op_out_edge(c, 0, s.items[p]);
}

ONNX_OP(SequenceInsert)
{
    edge s;
    if (!sequence_in(c, 0, &s)) return;
    int p = has_in(2) ? position_in(c, 2, s.n, 1) : s.n;
    if (p < 0) return;
    edge *items = NEW_ARRAY(op_arena(c), edge, s.n + 1);
    for (int i = 0; i <= s.n; i++)
        items[i] = i < p ? s.items[i] : i == p ? (edge){ .kind = EDGE_TENSOR, .v = in(1) } : s.items[i - 1];
    op_out_edge(c, 0, sequence_of(c, s.n + 1, items, dtype_of(g, in(1))));
}

ONNX_OP(SequenceErase)
{
    edge s;
    if (!sequence_in(c, 0, &s)) return;
    int p = has_in(1) ? position_in(c, 1, s.n, 0) : s.n - 1;
    if (p < 0) {
        if (s.n == 0) op_fail(c, "a sequence that is not empty expected");
        return;
    }
    edge *items = NEW_ARRAY(op_arena(c), edge, s.n + 1);
    for (int i = 0; i < s.n - 1; i++) items[i] = s.items[i < p ? i : i + 1];
    op_out_edge(c, 0, sequence_of(c, s.n - 1, items, element_type(g, &s)));
}

ONNX_OP(ConcatFromSequence)
{
    edge s;
    if (!sequence_in(c, 0, &s)) return;
    bool fresh = attr_int("new_axis", 0);
    if (s.n == 0) {
        op_fail(c, "a sequence that is not empty expected");
        return;
    }
    int rank = rank_of(g, s.items[0].v) + fresh, axis = op_axis(c, attr_int("axis", 0), rank);
    value *x = NEW_ARRAY(op_arena(c), value, s.n);
    for (int i = 0; i < s.n; i++) x[i] = fresh ? unsqueeze(g, s.items[i].v, 1u << axis) : s.items[i].v;
    out(0, concat(g, s.n, x, axis));
}

/* SplitToSequence (11, 24): `split` absent: single positions; one number: parts of that size; a list: these
 * parts */
ONNX_OP(SplitToSequence)
{
    value x = in(0);
    if (!is_value(x)) return;
    int axis = op_axis(c, attr_int("axis", 0), rank_of(g, x)), n;
    int64_t d, step = 1;
    if (!op_const_dim(c, dim_of(g, x, axis), "the extent to be split", &d)) return;
    const dim *parts = NULL;
    if (has_in(1)) {
        parts = op_known(c, 1, "split", &n);
        if (!parts) return;
        if (rank_of(g, in(1)) == 0) {
            if (!op_const_dim(c, parts[0], "the size of a part", &step)) return;
            parts = NULL;
        }
    }
    if (step < 1) {
        op_fail(c, "parts of size 1 or more expected");
        return;
    }
    if (!parts) n = (int)((d + step - 1) / step);
    edge *items = NEW_ARRAY(op_arena(c), edge, n + 1);
    dim at = dim_const(0);
    for (int i = 0; i < n; i++) {
        dim size = parts ? parts[i] : dim_const(i * step + step <= d ? step : d - i * step);
        value v = slice_axis(g, x, axis, at, size, 1);
        if (!has_in(1) && !attr_int("keepdims", 1)) v = squeeze(g, v, 1u << axis);
        items[i] = (edge){ .kind = EDGE_TENSOR, .v = v };
        at = dim_add(D, at, size);
    }
    op_out_edge(c, 0, sequence_of(c, n, items, dtype_of(g, x)));
}

ONNX_OP(Optional)
{
    (void)g;
    op_out_edge(c, 0, has_in(0) ? c->in[0] : (edge){ .kind = EDGE_NONE, .dtype = DTYPE_f32 });
}

ONNX_OP(OptionalHasElement)
{
    out(0, scalar_i64(g, DTYPE_bool, has_in(0) && c->in[0].kind != EDGE_NONE));
}

ONNX_OP(OptionalGetElement)
{
    (void)g;
    if (has_in(0) && c->in[0].kind != EDGE_NONE) op_out_edge(c, 0, c->in[0]);
    else op_fail(c, "an optional that holds something expected");
}
