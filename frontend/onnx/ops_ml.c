/* ops_ml: the numeric operators of ai.onnx.ml: scaling, encoding, linear models, ensembles of trees.
 *
 * Maps, strings and dictionaries are no tensors and stay unsupported. A tree ensemble is a table of nodes: a
 * scan of `depth` steps moves one node number for each (row, tree), by gather, compare and select; leaves
 * lead to themselves.
 */
#include "frontend/onnx/op_util.h"

#include <math.h>

#define D (g->dims)
#define K(row, x, k) bin_k(g, SCALAR_##row, (x), (k))

static value f32s(graph *g, const float *v, int n)
{
    dim d = dim_const(n);
    return constant(g, DTYPE_f32, n == 1 ? 0 : 1, &d, v, NULL);
}

ONNX_OP(Binarizer)
{
    value x = in(0);
    out(0, cast(g, k_bin(g, SCALAR_lt, attr_float("threshold", 0), x), dtype_of(g, x)));
}

ONNX_OP(ArrayFeatureExtractor)
{
    value x = in(0), i = in(1);
    if (!is_value(x) || !is_value(i)) return;
    dim n = type_elements(g, type_of(g, i));
    value y = take(g, x, reshape(g, cast(g, i, DTYPE_i64), 1, &n), rank_of(g, x) - 1);
    out(0, rank_of(g, y) == 1 ? unsqueeze(g, y, 1) : y);
}

ONNX_OP(Scaler)
{
    value x = cast(g, in(0), DTYPE_f32);
    int n = 0;
    const float *o = op_attr_floats(c, "offset", &n);
    if (o) x = sub(g, x, f32s(g, o, n));
    const float *s = op_attr_floats(c, "scale", &n);
    out(0, s ? mul(g, x, f32s(g, s, n)) : x);
}

ONNX_OP(Imputer)
{
    value x = in(0), with = NO_VALUE, hit;
    int n = 0;
    dtype t = dtype_of(g, x);
    if (is_float(t)) {
        const float *v = op_attr_floats(c, "imputed_value_floats", &n);
        double r = attr_float("replaced_value_float", 0);
        if (v) with = cast(g, f32s(g, v, n), t);
        hit = isnan(r) ? is_nan(g, x) : K(eq, x, r);
    } else {
        const int64_t *v = op_attr_ints(c, "imputed_value_int64s", &n);
        if (v) with = cast(g, n == 1 ? scalar_i64(g, DTYPE_i64, v[0]) : op_ints(g, v, n, -1), t);
        hit = bin(g, SCALAR_eq, x, scalar_i64(g, t, attr_int("replaced_value_int64", 0)));
    }
    if (!is_value(with)) op_fail(c, "imputed values expected");
    else out(0, select3(g, hit, with, x));
}

ONNX_OP(Normalizer)
{
    value x = cast(g, in(0), DTYPE_f32), n;
    if (!is_value(x)) return;
    const char *how = attr_str("norm", "MAX");
    uint32_t last = rank_of(g, x) ? 1u << (rank_of(g, x) - 1) : 0;
    if (!strcmp(how, "MAX")) n = reduce_keep(g, REDUCE_max, x, last);
    else if (!strcmp(how, "L1")) n = reduce_keep(g, REDUCE_sum, un(g, SCALAR_abs, x), last);
    else if (!strcmp(how, "L2")) n = un(g, SCALAR_sqrt, reduce_keep(g, REDUCE_sum, mul(g, x, x), last));
    else {
        op_fail(c, "norm MAX, L1 or L2 expected, found %s", how);
        return;
    }
    out(0, divide(g, x, select3(g, K(eq, n, 0), scalar_f64(g, DTYPE_f32, 1), n)));
}

/* What linear and tree models do to their scores at the end: by name, or (TreeEnsemble) by number. */
static value post_transform(op_call *c, graph *g, value y, const char *how)
{
    if (!is_value(y)) return NO_VALUE;
    uint32_t last = 1u << (rank_of(g, y) - 1);
    if (!strcmp(how, "NONE")) return y;
    if (!strcmp(how, "LOGISTIC")) return un(g, SCALAR_sigmoid, y);
    if (!strcmp(how, "SOFTMAX")) return softmax(g, y, last);
    if (!strcmp(how, "SOFTMAX_ZERO")) {
        value e = un(g, SCALAR_exp, sub(g, y, reduce_keep(g, REDUCE_max, y, last)));
        e = select3(g, K(eq, y, 0), scalar_f64(g, dtype_of(g, y), 0), e);
        return divide(g, e, reduce_keep(g, REDUCE_sum, e, last));
    }
    op_unsupported(c, "post_transform %s", how);
    return NO_VALUE;
}

ONNX_OP(LinearRegressor)
{
    value x = in(0);
    if (!is_value(x)) return;
    int n = 0, nb = 0;
    int64_t targets = attr_int("targets", 1);
    const float *w = op_attr_floats(c, "coefficients", &n), *b = op_attr_floats(c, "intercepts", &nb);
    if (!w || targets < 1 || n % targets || (b && nb != targets)) {
        op_fail(c, "coefficients for each target expected");
        return;
    }
    dim d[2] = { dim_const(targets), dim_const(n / targets) };
    value init = b ? constant(g, DTYPE_f32, 2, (dim[]){ dim_const(1), d[0] }, b, NULL) : NO_VALUE;
    contract_spec s = { .la = "nf", .lb = "tf", .lo = "nt", .acc = DTYPE_NONE, .out = DTYPE_NONE };
    value y = contract(g, cast(g, x, DTYPE_f32), constant(g, DTYPE_f32, 2, d, w, NULL), init, &s);
    out(0, post_transform(c, g, y, attr_str("post_transform", "NONE")));
}

ONNX_OP(FeatureVectorizer)
{
    value *x = NEW_ARRAY(op_arena(c), value, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++) {
        value v = in(i);
        if (!is_value(v)) return;
        bool is_row = rank_of(g, v) == 1;
        dim d[2] = { is_row ? dim_const(1) : dim_of(g, v, 0),
                     is_row ? dim_of(g, v, 0) : op_extent(g, v, 1, rank_of(g, v)) };
        x[i] = cast(g, reshape(g, v, 2, d), DTYPE_f32);
    }
    if (c->n_in) out(0, concat(g, c->n_in, x, 1));
    else op_fail(c, "an input expected");
}

ONNX_OP(OneHotEncoder)
{
    value x = in(0);
    int n = 0;
    const int64_t *cats = op_attr_ints(c, "cats_int64s", &n);
    if (!cats) {
        op_unsupported(c, "OneHotEncoder over strings");
        return;
    }
    value i = unsqueeze(g, cast(g, x, DTYPE_i64), 1u << rank_of(g, x));
    out(0, cast(g, bin(g, SCALAR_eq, i, op_ints(g, cats, n, -1)), DTYPE_f32));
}

/* -- LabelEncoder ---------------------------------------------------------------------------------------- */

static value label_side(op_call *c, graph *g, const char *tensor, const char *ints, const char *floats)
{
    int n = 0;
    if (op_has_attr(c, tensor)) {
        value v = op_attr_tensor(c, tensor);
        return is_value(v) ? reshape(g, v, 1, (dim[]){ type_elements(g, type_of(g, v)) }) : NO_VALUE;
    }
    if (op_has_attr(c, ints)) {
        const int64_t *v = op_attr_ints(c, ints, &n);
        return v ? op_ints(g, v, n, -1) : NO_VALUE;
    }
    if (op_has_attr(c, floats)) {
        const float *v = op_attr_floats(c, floats, &n);
        dim d = dim_const(n);
        return v ? constant(g, DTYPE_f32, 1, &d, v, NULL) : NO_VALUE;
    }
    op_unsupported(c, "LabelEncoder over strings");
    return NO_VALUE;
}

/* LabelEncoder (2, 4): the value of the first key that equals x, else the default; NaN equals NaN */
ONNX_OP(LabelEncoder)
{
    value x = in(0);
    value keys = label_side(c, g, "keys_tensor", "keys_int64s", "keys_floats");
    value values = label_side(c, g, "values_tensor", "values_int64s", "values_floats");
    if (!is_value(x) || !is_value(keys) || !is_value(values)) return;
    dtype t = dtype_of(g, values);
    value other = is_float(t) ? scalar_f64(g, t, attr_float("default_float", -0.0))
                              : scalar_i64(g, t, attr_int("default_int64", -1));
    if (op_has_attr(c, "default_tensor")) other = reshape(g, op_attr_tensor(c, "default_tensor"), 0, NULL);
    int rank = rank_of(g, x);
    value e = unsqueeze(g, x, 1u << rank), k = cast(g, keys, dtype_of(g, x)), hit = bin(g, SCALAR_eq, e, k);
    if (is_float(dtype_of(g, x)))
        hit = bin(g, SCALAR_or, hit, bin(g, SCALAR_and, is_nan(g, e), is_nan(g, k)));
    value pos = reduce(g, REDUCE_argmax, cast(g, hit, DTYPE_i8), 1u << rank, false);
    value found = gather(g, values, 1, &pos, (int[]){ 0 }, 0, NULL, NULL);
    out(0, select3(g, reduce(g, REDUCE_max, hit, 1u << rank, false), found, other));
}

/* -- Trees ----------------------------------------------------------------------------------------------- */

enum { MODE_LEQ, MODE_LT, MODE_GTE, MODE_GT, MODE_EQ, MODE_NEQ, MODE_MEMBER, MODE_COUNT };

typedef struct {
    int64_t n, n_leaves, n_roots, depth, set_size;           /* nodes 0 … n-1, leaves after them */
    int64_t *feature, *yes, *no, *mode, *root;
    double *split, *sets;                                 /* sets: [n + n_leaves, set_size], NaN where none */
    unsigned char *nan_goes_yes;
    bool uses[MODE_COUNT];
} forest;

/* The longest way from a root; a table with a cycle, or a number outside, is refused. Nodes point anywhere,
 * so the ways are counted level by level. */
static bool forest_depth(op_call *c, forest *f)
{
    int64_t all = f->n + f->n_leaves;
    bool *now = NEW_ARRAY(op_arena(c), bool, all + 1), *next = NEW_ARRAY(op_arena(c), bool, all + 1);
    for (int64_t i = 0; i < f->n; i++)
        if (f->yes[i] < 0 || f->yes[i] >= all || f->no[i] < 0 || f->no[i] >= all) {
            op_fail(c, "node numbers within the table expected");
            return false;
        }
    for (int64_t i = 0; i < f->n_roots; i++) {
        if (f->root[i] < 0 || f->root[i] >= all) {
            op_fail(c, "tree roots within the table expected");
            return false;
        }
        now[f->root[i]] = true;
    }
    for (f->depth = 0; f->depth <= f->n; f->depth++) {
        bool any = false;
        memset(next, 0, (size_t)all);
        for (int64_t i = 0; i < f->n; i++) {
            if (!now[i]) continue;
            any = true;
            next[f->yes[i]] = next[f->no[i]] = true;
        }
        if (!any) return true;
        bool *t = now;
        now = next;
        next = t;
        if (f->depth > 4096) break;
    }
    op_fail(c, "trees without cycles and of a depth below 4096 expected");
    return false;
}

static value at_node(graph *g, value table, value i)
{
    return gather(g, table, 1, &i, (int[]){ 0 }, 0, NULL, NULL);
}

/* One step of all rows and trees: current[N, T] -> next. Operands: x[N, F], then the tables. */
static value forest_step(graph *g, const forest *f, value now, const value *op)
{
    value x = op[0], column = at_node(g, op[1], now);
    value v = gather(g, x, 1, &column, (int[]){ 1 }, 1, (int[]){ 0 }, (int[]){ 0 });
    value s = at_node(g, op[2], now), mode = at_node(g, op[3], now), yes = scalar_i64(g, DTYPE_bool, 0);
    for (int m = 0; m < MODE_COUNT; m++) {
        if (!f->uses[m]) continue;
        value hit = NO_VALUE;
        switch (m) {
        case MODE_LEQ: hit = bin(g, SCALAR_le, v, s); break;
        case MODE_LT: hit = bin(g, SCALAR_lt, v, s); break;
        case MODE_GTE: hit = greater_equal(g, v, s); break;
        case MODE_GT: hit = greater(g, v, s); break;
        case MODE_EQ: hit = bin(g, SCALAR_eq, v, s); break;
        case MODE_NEQ: hit = not_equal(g, v, s); break;
        case MODE_MEMBER:
            hit = reduce(g, REDUCE_max, bin(g, SCALAR_eq, at_node(g, op[7], now), unsqueeze(g, v, 4)), 4,
                         false);
            break;
        }
        yes = select3(g, bin(g, SCALAR_eq, mode, scalar_i64(g, DTYPE_i64, m)), hit, yes);
    }
    yes = bin(g, SCALAR_or, yes, bin(g, SCALAR_and, is_nan(g, v), at_node(g, op[6], now)));
    return select3(g, yes, at_node(g, op[4], now), at_node(g, op[5], now));
}

/* The leaf, counted from 0, that each row of x[N, F] reaches in each tree: i64[N, T] */
static value walk(op_call *c, graph *g, value x, forest *f)
{
    int64_t all = f->n + f->n_leaves;
    if (!forest_depth(c, f)) return NO_VALUE;
    dtype t = dtype_of(g, x);
    dim n = dim_const(all), N = dim_of(g, x, 0), T = dim_const(f->n_roots);
    int64_t *yes = NEW_ARRAY(op_arena(c), int64_t, all), *no = NEW_ARRAY(op_arena(c), int64_t, all);
    for (int64_t i = 0; i < all; i++) {                      /* leaves lead to themselves */
        yes[i] = i < f->n ? f->yes[i] : i;
        no[i] = i < f->n ? f->no[i] : i;
    }
    value op[9] = { NO_VALUE,
                    x,
                    op_ints(g, f->feature, all, -1),
                    op_reals(g, t, f->split, 1, &n),
                    op_ints(g, f->mode, all, -1),
                    op_ints(g, yes, all, -1),
                    op_ints(g, no, all, -1),
                    constant(g, DTYPE_bool, 1, &n, f->nan_goes_yes, NULL) };
    int n_ops = 8;
    if (f->uses[MODE_MEMBER]) op[n_ops++] = op_reals(g, t, f->sets, 2, (dim[]){ n, dim_const(f->set_size) });
    op[0] = broadcast(g, unsqueeze(g, op_ints(g, f->root, f->n_roots, -1), 1), 2, (dim[]){ N, T });
    graph *body = graph_body(g, "trees");
    value inner[9], y;
    for (int i = 0; i < n_ops; i++) inner[i] = op_capture(body, g, op[i]);
    add_result(body, forest_step(body, f, inner[0], inner + 1), NULL);
    if (!scan(g, body, 1, 0, dim_const(f->depth), false, n_ops, op, &y)) return NO_VALUE;
    return bin(g, SCALAR_sub, y, scalar_i64(g, DTYPE_i64, f->n));
}

typedef enum { AGGREGATE_average, AGGREGATE_sum, AGGREGATE_min, AGGREGATE_max } aggregation;

/* leaf[N, T] -> scores[N, targets]: weights of the reached leaves by their target */
static value aggregate(graph *g, value leaf, value weight, value target, int64_t targets, aggregation how,
                       int64_t trees)
{
    dtype t = dtype_of(g, weight);
    dim n = dim_const(targets);
    value w = unsqueeze(g, at_node(g, weight, leaf), 4), to = unsqueeze(g, at_node(g, target, leaf), 4);
    value hot = bin(g, SCALAR_eq, to, iota(g, DTYPE_i64, 1, &n, 0));
    if (how == AGGREGATE_min || how == AGGREGATE_max) {
        value none = scalar_f64(g, t, how == AGGREGATE_min ? (double)INFINITY : (double)-INFINITY);
        return reduce(g, how == AGGREGATE_min ? REDUCE_min : REDUCE_max, select3(g, hot, w, none), 2, false);
    }
    value y = reduce(g, REDUCE_sum, select3(g, hot, w, scalar_f64(g, t, 0)), 2, false);
    return how == AGGREGATE_average ? K(mul, y, 1.0 / (double)trees) : y;
}

static const int64_t *some_ints(op_call *c, const char *name, int64_t n)
{
    int m = 0;
    const int64_t *v = op_attr_ints(c, name, &m);
    if (v && (n < 0 || m == n)) return v;
    op_fail(c, "%lld %s expected, found %d", (long long)n, name, m);
    return NULL;
}

static const double *tensor_reals(op_call *c, graph *g, const char *name, int64_t *n)
{
    value v = op_attr_tensor(c, name);
    const void *p;
    *n = 0;
    if (!is_value(v) || !op_known_value(c, v, name, &p, n)) return NULL;
    dtype t = dtype_of(g, v);
    double *r = NEW_ARRAY(op_arena(c), double, *n + 1);
    for (int64_t i = 0; i < *n; i++) r[i] = sv_to_f64(t, sv_load(t, (const char *)p + i * dtype_bytes(t)));
    return r;
}

/* Sets of MEMBER nodes, one after the other, each ended by a NaN. */
static void read_sets(op_call *c, graph *g, forest *f)
{
    int64_t n = 0, all = f->n + f->n_leaves, widest = 1, run = 0;
    const double *v = op_has_attr(c, "membership_values") ? tensor_reals(c, g, "membership_values", &n)
                                                          : NULL;
    for (int64_t i = 0; i < n; i++) {
        run = isnan(v[i]) ? 0 : run + 1;
        if (run > widest) widest = run;
    }
    f->set_size = widest;
    f->sets = NEW_ARRAY(op_arena(c), double, all * widest);
    for (int64_t i = 0; i < all * widest; i++) f->sets[i] = (double)NAN;
    int64_t at = 0;
    for (int64_t i = 0; i < f->n && at < n; i++) {
        if (f->mode[i] != MODE_MEMBER) continue;
        for (int64_t k = 0; at < n && !isnan(v[at]); at++) f->sets[i * widest + k++] = v[at];
        at++;
    }
}

/* TreeEnsemble (5) */
ONNX_OP(TreeEnsemble)
{
    static const char *const post[] = { "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT" };
    value x = in(0);
    int n = 0, nl = 0, nr = 0;
    int64_t n_split, n_mode = 0, n_weight = 0;
    const int64_t *yes = op_attr_ints(c, "nodes_truenodeids", &n),
                  *target = op_attr_ints(c, "leaf_targetids", &nl);
    const int64_t *root = op_attr_ints(c, "tree_roots", &nr);
    if (!yes || !target || !root || n < 1 || nl < 1 || nr < 1) {
        op_fail(c, "nodes, leaves and roots expected");
        return;
    }
    const int64_t *no = some_ints(c, "nodes_falsenodeids", n), *yes_leaf = some_ints(c, "nodes_trueleafs", n);
    const int64_t *no_leaf = some_ints(c, "nodes_falseleafs", n),
                  *feature = some_ints(c, "nodes_featureids", n);
    const int64_t *missing = op_has_attr(c, "nodes_missing_value_tracks_true")
                                 ? some_ints(c, "nodes_missing_value_tracks_true", n)
                                 : NULL;
    const double *split = tensor_reals(c, g, "nodes_splits", &n_split),
                 *mode = tensor_reals(c, g, "nodes_modes", &n_mode);
    value weight = op_attr_tensor(c, "leaf_weights");
    if (is_value(weight)) dim_is_const(type_elements(g, type_of(g, weight)), &n_weight);
    if (!c->failed && (!split || !mode || n_split != n || n_mode != n || n_weight != nl))
        op_fail(c, "splits, modes and weights for all nodes expected");
    if (c->failed || !is_value(x)) return;
    int64_t all = n + nl;
    forest f = { .n = n, .n_leaves = nl, .n_roots = nr };
    f.feature = NEW_ARRAY(op_arena(c), int64_t, all);
    f.yes = NEW_ARRAY(op_arena(c), int64_t, all);
    f.no = NEW_ARRAY(op_arena(c), int64_t, all);
    f.mode = NEW_ARRAY(op_arena(c), int64_t, all);
    f.root = NEW_ARRAY(op_arena(c), int64_t, nr);
    f.split = NEW_ARRAY(op_arena(c), double, all);
    f.nan_goes_yes = NEW_ARRAY(op_arena(c), unsigned char, all);
    memcpy(f.root, root, (size_t)nr * sizeof *root);
    for (int i = 0; i < n; i++) {
        f.yes[i] = yes_leaf[i] ? yes[i] + n : yes[i];
        f.no[i] = no_leaf[i] ? no[i] + n : no[i];
        f.feature[i] = feature[i];
        f.split[i] = split[i];
        f.mode[i] = (int64_t)mode[i];
        f.nan_goes_yes[i] = missing && missing[i];
        if (f.mode[i] < 0 || f.mode[i] >= MODE_COUNT) {
            op_fail(c, "node modes 0 to 6 expected");
            return;
        }
        f.uses[f.mode[i]] = true;
    }
    read_sets(c, g, &f);
    int64_t targets = attr_int("n_targets", 1), how = attr_int("aggregate_function", 1),
            last = attr_int("post_transform", 0);
    if (targets < 1 || how < 0 || how > 3 || last < 0 || last > 4)
        op_fail(c, "n_targets, aggregate_function or post_transform of the standard expected");
    value leaf = walk(c, g, x, &f);
    if (!is_value(leaf) || c->failed) return;
    value y = aggregate(g, leaf, reshape(g, weight, 1, (dim[]){ dim_const(nl) }), op_ints(g, target, nl, -1),
                        targets, (aggregation)how, nr);
    out(0, post_transform(c, g, y, post[last]));
}

/* -- TreeEnsembleRegressor, TreeEnsembleClassifier (1, 3, 5) ------------------------------------------------
 * Nodes are named by (tree, node) pairs, a leaf is a node of mode LEAF, and weights name the leaf they belong
 * to. Every weight becomes a leaf of the table above; a leaf with several weights (targets) has them summed
 * from a dense row. */

static bool mode_by_name(const char *s, int64_t *mode)
{
    static const char *const names[] = {
        "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"
    };
    for (int i = 0; i < 6; i++)
        if (!strcmp(s, names[i])) {
            *mode = i;
            return true;
        }
    *mode = -1;
    return !strcmp(s, "LEAF");
}

static const double *reals_of(op_call *c, graph *g, const char *floats, const char *tensor, int64_t *n)
{
    if (op_has_attr(c, tensor)) return tensor_reals(c, g, tensor, n);
    int m = 0;
    const float *v = op_attr_floats(c, floats, &m);
    double *r = NEW_ARRAY(op_arena(c), double, m + 1);
    for (int i = 0; i < m; i++) r[i] = (double)v[i];
    *n = v ? m : 0;
    return r;
}

static uint64_t *node_slot(map_str *m, int64_t tree, int64_t id, uint64_t v, bool *fresh)
{
    int64_t key[2] = { tree, id };
    return map_put(m, (const char *)key, sizeof key, v, fresh);
}

static bool find_node(const map_str *m, int64_t tree, int64_t id, int64_t *i)
{
    int64_t key[2] = { tree, id };
    const uint64_t *p = map_find(m, (const char *)key, sizeof key);
    if (p) *i = (int64_t)*p;
    return p != NULL;
}

/* The attributes of the older operators: n nodes, and n_weights weights of leaves. */
typedef struct {
    int n, n_weights;
    const int64_t *tree, *id, *yes, *no, *feature;
    const int64_t *missing;                              /* NaN goes to `yes`; may be NULL */
    const char *const *mode;
    const double *split;
    const int64_t *w_tree, *w_node, *w_target;
    const double *weight;
} node_table;

static bool read_table(op_call *c, graph *g, const char *prefix, node_table *t)
{
    arena *a = op_arena(c);
    int n_modes = 0;
    int64_t n_split, n_weight;
    t->tree = op_attr_ints(c, "nodes_treeids", &t->n);
    t->mode = op_attr_strs(c, "nodes_modes", &n_modes);
    if (!t->tree || !t->mode || n_modes != t->n || t->n < 1) {
        op_fail(c, "nodes and their modes expected");
        return false;
    }
    t->id = some_ints(c, "nodes_nodeids", t->n);
    t->yes = some_ints(c, "nodes_truenodeids", t->n);
    t->no = some_ints(c, "nodes_falsenodeids", t->n);
    t->feature = some_ints(c, "nodes_featureids", t->n);
    if (op_has_attr(c, "nodes_missing_value_tracks_true"))
        t->missing = some_ints(c, "nodes_missing_value_tracks_true", t->n);
    t->w_tree = op_attr_ints(c, arena_printf(a, "%s_treeids", prefix), &t->n_weights);
    t->w_node = some_ints(c, arena_printf(a, "%s_nodeids", prefix), t->n_weights);
    t->w_target = some_ints(c, arena_printf(a, "%s_ids", prefix), t->n_weights);
    t->split = reals_of(c, g, "nodes_values", "nodes_values_as_tensor", &n_split);
    t->weight = reals_of(c, g, arena_printf(a, "%s_weights", prefix),
                         arena_printf(a, "%s_weights_as_tensor", prefix), &n_weight);
    if (c->failed) return false;
    if (t->w_tree && t->weight && t->split && n_weight == t->n_weights && n_split == t->n) return true;
    op_fail(c, "a value for each node and a weight for each leaf expected");
    return false;
}

/* Inner nodes first, then leaves, as `forest` wants them: row i of the table becomes node order[i]. `at`
 * finds a row by tree and id. */
static bool number_nodes(op_call *c, const node_table *t, map_str *at, int64_t *order, int64_t *n_inner)
{
    int64_t mode, next_inner = 0, next_leaf = 0;
    bool fresh;
    *n_inner = 0;
    for (int i = 0; i < t->n; i++) {
        if (!mode_by_name(t->mode[i], &mode)) {
            op_unsupported(c, "node mode %s", t->mode[i]);
            return false;
        }
        node_slot(at, t->tree[i], t->id[i], (uint64_t)i, &fresh);
        if (!fresh) {
            op_fail(c, "node (%lld, %lld) is given twice", (long long)t->tree[i], (long long)t->id[i]);
            return false;
        }
        *n_inner += mode >= 0;
    }
    for (int i = 0; i < t->n; i++) {
        mode_by_name(t->mode[i], &mode);
        order[i] = mode >= 0 ? next_inner++ : *n_inner + next_leaf++;
    }
    return true;
}

/* Leaves stay among the nodes and lead to themselves. */
static bool plant(op_call *c, const node_table *t, const map_str *at, const int64_t *order, forest *f)
{
    arena *a = op_arena(c);
    int n = t->n;
    f->feature = NEW_ARRAY(a, int64_t, n);
    f->yes = NEW_ARRAY(a, int64_t, n);
    f->no = NEW_ARRAY(a, int64_t, n);
    f->mode = NEW_ARRAY(a, int64_t, n);
    f->root = NEW_ARRAY(a, int64_t, n);
    f->split = NEW_ARRAY(a, double, n);
    f->nan_goes_yes = NEW_ARRAY(a, unsigned char, n);
    bool *has_parent = NEW_ARRAY(a, bool, n);
    for (int i = 0; i < n; i++) {
        int64_t mode, k = order[i], p = i, q = i;
        mode_by_name(t->mode[i], &mode);
        bool is_inner = mode >= 0;
        if (is_inner &&
            (!find_node(at, t->tree[i], t->yes[i], &p) || !find_node(at, t->tree[i], t->no[i], &q))) {
            op_fail(c, "children of node (%lld, %lld) expected in the table", (long long)t->tree[i],
                    (long long)t->id[i]);
            return false;
        }
        if (is_inner) has_parent[p] = has_parent[q] = f->uses[mode] = true;
        f->yes[k] = order[p];
        f->no[k] = order[q];
        f->mode[k] = is_inner ? mode : 0;
        f->feature[k] = is_inner ? t->feature[i] : 0;
        f->split[k] = t->split[i];
        f->nan_goes_yes[k] = t->missing && t->missing[i];
    }
    for (int i = 0; i < n; i++)
        if (!has_parent[i]) f->root[f->n_roots++] = order[i];
    return true;
}

/* weights[leaves, targets], where a leaf has several for one target their sum. */
static value leaf_weights(op_call *c, graph *g, dtype real, const node_table *t, const map_str *at,
                          const int64_t *order, const forest *f, int64_t targets, aggregation how)
{
    int64_t size;
    if (!mul_ok(f->n_leaves, targets, &size) || size > 1 << 28) {
        op_unsupported(c, "%lld leaves for %lld targets", (long long)f->n_leaves, (long long)targets);
        return NO_VALUE;
    }
    double none = how == AGGREGATE_min ? (double)INFINITY : how == AGGREGATE_max ? (double)-INFINITY : 0;
    double *table = NEW_ARRAY(op_arena(c), double, size + 1);
    for (int64_t i = 0; i < size; i++) table[i] = none;
    for (int i = 0; i < t->n_weights; i++) {
        int64_t k, target = t->w_target[i];
        bool is_leaf = find_node(at, t->w_tree[i], t->w_node[i], &k) && order[k] >= f->n;
        if (!is_leaf || target < 0 || target >= targets) {
            op_fail(c, "weights of leaves, and targets below %lld expected", (long long)targets);
            return NO_VALUE;
        }
        double *p = &table[(order[k] - f->n) * targets + target];
        *p = *p == none ? t->weight[i] : *p + t->weight[i];
    }
    return op_reals(g, real, table, 2, (dim[]){ dim_const(f->n_leaves), dim_const(targets) });
}

/* scores[N, targets] of the older operators. Names begin with `prefix` ("target" or "class"). */
static value old_trees(op_call *c, graph *g, value x, const char *prefix, int64_t targets, aggregation how)
{
    node_table t = { 0 };
    if (!read_table(c, g, prefix, &t)) return NO_VALUE;
    forest f = { 0 };
    int64_t *order = NEW_ARRAY(op_arena(c), int64_t, t.n);
    map_str at;
    map_init(&at, op_arena(c));
    if (!number_nodes(c, &t, &at, order, &f.n)) return NO_VALUE;
    f.n_leaves = t.n - f.n;
    if (!plant(c, &t, &at, order, &f)) return NO_VALUE;
    value leaf = walk(c, g, x, &f);
    if (!is_value(leaf)) return NO_VALUE;
    value weights = leaf_weights(c, g, dtype_of(g, x), &t, &at, order, &f, targets, how);
    if (!is_value(weights)) return NO_VALUE;
    value y = at_node(g, weights, leaf);                     /* [N, T, targets] */
    if (how == AGGREGATE_min) return reduce(g, REDUCE_min, y, 2, false);
    if (how == AGGREGATE_max) return reduce(g, REDUCE_max, y, 2, false);
    y = reduce(g, REDUCE_sum, y, 2, false);
    return how == AGGREGATE_average ? K(div, y, (double)f.n_roots) : y;
}

static value add_base(op_call *c, graph *g, value y, int64_t targets)
{
    int64_t n = 0;
    if (!op_has_attr(c, "base_values") && !op_has_attr(c, "base_values_as_tensor")) return y;
    const double *b = reals_of(c, g, "base_values", "base_values_as_tensor", &n);
    if (!b || n != targets) {
        op_unsupported(c, "%lld base values for %lld targets", (long long)n, (long long)targets);
        return NO_VALUE;
    }
    dim d = dim_const(n);
    return add(g, y, op_reals(g, dtype_of(g, y), b, 1, &d));
}

ONNX_OP(TreeEnsembleRegressor)
{
    static const char *const names[] = { "AVERAGE", "SUM", "MIN", "MAX" };
    value x = in(0);
    const char *s = attr_str("aggregate_function", "SUM");
    int64_t targets = attr_int("n_targets", 1);
    int how = -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(s, names[i])) how = i;
    if (how < 0 || targets < 1)
        op_fail(c, "aggregate_function AVERAGE, SUM, MIN or MAX and 1 or more targets expected");
    if (c->failed || !is_value(x)) return;
    if (dtype_of(g, x) != DTYPE_f64) x = cast(g, x, DTYPE_f32);
    value y = old_trees(c, g, x, "target", targets, (aggregation)how);
    if (is_value(y)) y = add_base(c, g, y, targets);
    out(0, cast(g, post_transform(c, g, y, attr_str("post_transform", "NONE")), DTYPE_f32));
}

/* TreeEnsembleClassifier (1, 3, 5): the class with the largest score; over two classes runtimes decide by
 * rules of their own that the standard does not state */
ONNX_OP(TreeEnsembleClassifier)
{
    value x = in(0);
    int n = 0;
    const int64_t *labels = op_attr_ints(c, "classlabels_int64s", &n);
    if (!labels) op_unsupported(c, "classes named by strings");
    else if (n < 3) op_unsupported(c, "TreeEnsembleClassifier with %d classes", n);
    if (c->failed || !is_value(x)) return;
    if (dtype_of(g, x) != DTYPE_f64) x = cast(g, x, DTYPE_f32);
    value y = old_trees(c, g, x, "class", n, AGGREGATE_sum);
    if (is_value(y)) y = add_base(c, g, y, n);
    if (!is_value(y)) return;
    value best = reduce(g, REDUCE_argmax, y, 2, false);
    out(0, at_node(g, op_ints(g, labels, n, -1), best));
    out(1, cast(g, post_transform(c, g, y, attr_str("post_transform", "NONE")), DTYPE_f32));
}
