/* ir/build_index.c: the builder's gather, scatter, sort and compact. */
#include "ir/build_inner.h"

#define SIMPLER(expression) \
    do { value simpler_ = (expression); if (is_value(simpler_) || g->failed) return simpler_; } while (0)

/* -- gather, scatter ------------------------------------------------------------------------------------- */

typedef struct {
    int n;
    const value *idx;
    const int *axes;
    int n_batch;
    const int *batch_x, *batch_s;
} index_spec;

/* Fills *a (sorted as given) and gives the shape: the indices' dims, then x's free dims. False on error. */
static bool check_index(graph *g, const char *what, value x, const index_spec *s, gather_attr *a, int *rank,
                        dim *d)
{
    type t = type_of(g, x);
    memset(a, 0, sizeof *a);
    if (s->n < 1 || s->n + s->n_batch > t.rank) {
        build_fail(g, "%s: %d index tensors and %d batch axes for %s", what, s->n, s->n_batch,
                   show_type(g, t));
        return false;
    }
    type it = type_of(g, s->idx[0]);
    for (int j = 0; j < s->n; j++) {
        type u = type_of(g, s->idx[j]);
        if ((u.dtype != DTYPE_i64 && u.dtype != DTYPE_i32) ||
            !types_equal(g, (type){ it.dtype, u.rank, u.dims }, it)) {
            build_fail(g, "%s: index %d is %s, index 0 is %s; expected i64 or i32 of one shape", what, j,
                       show_type(g, u), show_type(g, it));
            return false;
        }
    }
    uint32_t used = 0, used_s = 0;
    for (int j = 0; j < s->n + s->n_batch; j++) {
        int axis = j < s->n ? s->axes[j] : s->batch_x[j - s->n];
        if (axis < 0 || axis >= t.rank || used >> axis & 1) {
            build_fail(g, "%s: axis %d of %s is outside or listed twice", what, axis, show_type(g, t));
            return false;
        }
        used |= 1u << axis;
    }
    for (int j = 0; j < s->n_batch; j++) {
        int sd = s->batch_s[j];
        if (sd < 0 || sd >= it.rank || used_s >> sd & 1 ||
            !dims_agree(g, t.dims[s->batch_x[j]], it.dims[sd])) {
            build_fail_dims(
                g, (dim[]){ t.dims[s->batch_x[j]], sd >= 0 && sd < it.rank ? it.dims[sd] : dim_const(0) }, 2,
                "%s: batch axis %d of %s does not run with axis %d of the index %s", what, s->batch_x[j],
                show_type(g, t), sd, show_type(g, it));
            return false;
        }
        used_s |= 1u << sd;
    }
    *rank = it.rank + t.rank - s->n - s->n_batch;
    if (*rank > MAX_RANK) {
        build_fail(g, "%s: the result's rank %d is more than the %d supported", what, *rank, MAX_RANK);
        return false;
    }
    a->n_axes = s->n;
    a->n_batch = s->n_batch;
    for (int j = 0; j < s->n; j++) a->axes[j] = (uint8_t)s->axes[j];
    for (int j = 0; j < s->n_batch; j++) {
        a->batch_x[j] = (uint8_t)s->batch_x[j];
        a->batch_s[j] = (uint8_t)s->batch_s[j];
    }
    memcpy(d, it.dims, (size_t)it.rank * sizeof *d);
    int k = it.rank;
    for (int i = 0; i < t.rank; i++)
        if (!(used >> i & 1)) d[k++] = t.dims[i];
    return true;
}

value gather(graph *g, value x, int n, const value *idx, const int *axes, int n_batch, const int *batch_x,
             const int *batch_s)
{
    if (!ready1(g, x) || !ready(g, n, idx)) return NO_VALUE;
    index_spec s = { n, idx, axes, n_batch, batch_x, batch_s };
    gather_attr a;
    dim d[MAX_RANK];
    type to = { .dtype = dtype_of(g, x), .dims = d };
    if (!check_index(g, "gather", x, &s, &a, &to.rank, d) || !check_shape(g, "gather", to.rank, d))
        return NO_VALUE;
    SIMPLER(simplify_gather(g, x, n, idx, &a, to));
    SIMPLER(fold_gather(g, x, n, idx, &a, to));
    value in[MAX_RANK + 1] = { x };
    memcpy(in + 1, idx, (size_t)n * sizeof *idx);
    return make_node(g, PRIM_gather, n + 1, in, &a, to);
}

value scatter(graph *g, scatter_mode mode, value x, value upd, int n, const value *idx, const int *axes,
              int n_batch, const int *batch_x, const int *batch_s)
{
    value two[2] = { x, upd };
    if (!ready(g, 2, two) || !ready(g, n, idx)) return NO_VALUE;
    index_spec s = { n, idx, axes, n_batch, batch_x, batch_s };
    gather_attr a;
    dim d[MAX_RANK];
    type t = type_of(g, x), u = type_of(g, upd), want = { .dtype = t.dtype, .dims = d };
    if (!check_index(g, "scatter", x, &s, &a, &want.rank, d)) return NO_VALUE;
    if (!types_equal(g, u, want))
        return build_fail(g, "scatter: updates are %s, expected %s", show_type(g, u), show_type(g, want));
    bool sums = mode == SCATTER_add || mode == SCATTER_mul;
    if ((mode != SCATTER_set && is_storage(t.dtype)) || (sums && t.dtype == DTYPE_bool))
        return build_fail(g, "scatter %s: does not take %s", scatter_name[mode], dtype_info[t.dtype].name);
    a.mode = mode;
    value in[MAX_RANK + 2] = { x, upd };
    memcpy(in + 2, idx, (size_t)n * sizeof *idx);
    return fold_by_evaluator(g, make_node(g, PRIM_scatter, n + 2, in, &a, t));
}

/* -- sort, compact --------------------------------------------------------------------------------------- */

value sort(graph *g, int n_keys, const value *keys, int axis, uint32_t descending, dim k)
{
    if (!ready(g, n_keys, keys)) return NO_VALUE;
    if (n_keys < 1) return build_fail(g, "sort: no keys");
    if (n_keys > 32) return build_fail(g, "sort: %d keys are more than the 32 supported", n_keys);
    type t = type_of(g, keys[0]), to = t;
    if (axis < 0 || axis >= t.rank) return build_fail(g, "sort: axis %d of %s", axis, show_type(g, t));
    for (int j = 0; j < n_keys; j++) {
        type u = type_of(g, keys[j]);
        if (is_storage(u.dtype) || !types_equal(g, (type){ t.dtype, u.rank, u.dims }, t))
            return build_fail(g, "sort: key %d is %s, key 0 is %s; expected computable types of one shape", j,
                              show_type(g, u), show_type(g, t));
    }
    int64_t n;
    bool fits = dim_known_le(g->dims, k, t.dims[axis]) ||
                (dim_is_const(k, &n) && narrow_symbol(g, t.dims[axis], n, INT64_MAX));
    if (dim_is_bad(k) || !fits)
        return build_fail_dims(g, (dim[]){ k, t.dims[axis] }, 2, "sort: the first %s of axis %d of %s",
                               show_dim(g, k), axis, show_type(g, t));
    dim d[MAX_RANK];
    memcpy(d, t.dims, (size_t)t.rank * sizeof *d);
    d[axis] = k;
    to.dtype = DTYPE_i64;
    to.dims = d;
    if (!check_shape(g, "sort", to.rank, d)) return NO_VALUE;
    sort_attr a;
    memset(&a, 0, sizeof a);
    a.axis = axis;
    a.descending = n_keys == 32 ? descending : descending & ((1u << n_keys) - 1);
    a.k = k;
    return fold_by_evaluator(g, make_node(g, PRIM_sort, n_keys, keys, &a, to));
}

/* The compact node of mask with a symbol (or without); NULL on error. */
static const node *compact_node(graph *g, value mask, const dim *symbol, bool has_symbol)
{
    if (!ready1(g, mask)) return NULL;
    type t = type_of(g, mask);
    if (t.rank != 1 || t.dtype != DTYPE_bool) {
        build_fail(g, "compact: the mask is %s, expected bool[N]", show_type(g, t));
        return NULL;
    }
    compact_attr a;
    memset(&a, 0, sizeof a);
    a.has_symbol = has_symbol;
    if (symbol) a.symbol = *symbol;
    type types[2] = { { DTYPE_i64, 1, t.dims }, { DTYPE_i64, 0, NULL } };
    return make_node_n(g, PRIM_compact, 1, &mask, &a, 2, types);
}

bool compact(graph *g, value mask, value *idx, value *count)
{
    const node *n = compact_node(g, mask, NULL, false);
    *idx = n ? result_of(n, 0) : NO_VALUE;
    *count = n ? result_of(n, 1) : NO_VALUE;
    return n != NULL;
}

/* Compacting the same mask again finds the node and its symbol; the fresh one made for nothing stays unused.
 */
bool compact_symbol(graph *g, value mask, value *idx, dim *count)
{
    *idx = NO_VALUE;
    *count = dim_const(0);
    if (!ready1(g, mask) || rank_of(g, mask) != 1) return compact_node(g, mask, NULL, true) != NULL;
    int64_t lo, hi;
    dim_range(g->dims, dim_of(g, mask, 0), &lo, &hi);
    dim symbol = dim_fresh(g->dims, "count", 0, hi < 0 ? 0 : hi);
    return compact_to(g, mask, symbol, idx, count);
}

bool compact_to(graph *g, value mask, dim symbol, value *idx, dim *count)
{
    const node *n = compact_node(g, mask, &symbol, true);
    /* no more than the mask is long */
    if (n) dim_symbol_at_most(g->dims, n->compact->symbol, n->types[0].dims[0]);
    *idx = n ? result_of(n, 0) : NO_VALUE;
    *count = n ? n->compact->symbol : dim_const(0);
    return n != NULL;
}
