/* simplify: rewrite rules, each an equation of the primitives
 *
 *     bias     add(contract(a, b), t)        =>  contract(a, b, init t)        t smaller than the result, or init constant too
 *     scale    mul(contract(a, b, i), s)     =>  contract(a, b * s, i * s)     s along free labels of b, b and s constant
 *     ahead    mul|add(reshape(contract), t) =>  reshape(mul|add(contract, t')) where the reshape only merges axes t is split by
 *     flat     sum(broadcast x) over the stretched axes  =>  x * extents;   max, min(broadcast x)  =>  max, min of x
 *     log      log(exp(u) / sum exp(u)), u = x - max x   =>  u - log(sum exp(u))
 *
 * Why    BatchNormalization after a convolution is a scale and a shift by channel: the scale moves into the weights, the
 *        shift into the start of each chain, and nothing is left to compute. The logarithm of a softmax (a cross-entropy) loses
 *        what a small probability rounds away, and is -inf where one vanishes; its other form is exact and saves the division.
 * How    One walk in topological order; the new node is seen by the next rule, so scale, then bias, fold one after another.
 * Needs  a verified graph.
 * Keeps  every type. Bits change (VALUE): one rounding less for each rule that fires.
 * Leaves contracts with several readers: the sum would be made twice. x·Wq, x·Wk, x·Wv as one contract: no gain was measured
 *        (attention of MiniLM 1.36 and 1.37 ms, of a small decoder 0.127 and 0.127), since each is at 99 % of the peak alone.
 * Cost   O(nodes).
 * See    tests/passes/simplify.test
 */
#include "passes/pass.h"

static bool is_contract(const graph *g, value v) { return node_of(g, v)->prim == PRIM_contract; }

bool is_constant_value(const graph *g, value v, int depth)
{
    const node *n = node_of(g, v);
    if (n->prim == PRIM_const || n->prim == PRIM_iota) return true;
    if (depth == 0 || n->n_in == 0 || n->n_out != 1 || n->prim == PRIM_random) return false;
    for (int i = 0; i < n->n_in; i++)
        if (!is_constant_value(g, n->in[i], depth - 1)) return false;
    return true;
}

enum { CONSTANT_DEPTH = 6 };

static bool is_smaller(const graph *g, type t, type than)
{
    for (int i = 0; i < t.rank; i++)
        if (dim_is(t.dims[i], 1) && !dim_is(than.dims[i], 1)) return true;
    (void)g;
    return false;
}

static bool fits_accumulator(const graph *g, const node *c, value t)
{
    return type_of(g, t).dtype == c->contract->acc && c->types[0].dtype == c->contract->acc;
}

static value fold_bias(graph *g, value sum, value t)
{
    const node *c = node_of(g, sum);
    type result = type_of(g, sum);
    bool has_init = c->n_in == 3;
    if (!fits_accumulator(g, c, t) || !is_smaller(g, type_of(g, t), result)) return NO_VALUE;
    contract_attr a = *c->contract;
    value x = c->in[0], y = c->in[1], init = has_init ? c->in[2] : NO_VALUE;
    if (has_init && !(is_constant_value(g, init, CONSTANT_DEPTH) && is_constant_value(g, t, CONSTANT_DEPTH))) return NO_VALUE;
    return contract_by(g, x, y, has_init ? add(g, init, t) : t, &a, a.acc, result.dtype);
}

/* s, which has the result's rank, as a factor of b: its extents along b's free labels, 1 along the others. */
static value factor_of_b(graph *g, const contract_attr *a, int rank_b, type result, value s)
{
    type t = type_of(g, s);
    int perm[MAX_RANK], n = 0;
    dim shape[MAX_RANK];
    bool used[MAX_RANK] = { 0 };
    for (int i = 0; i < rank_b; i++) {
        shape[i] = dim_const(1);
        for (int j = 0; j < result.rank; j++) {
            if (a->lo[j] != a->lb[i]) continue;
            for (int q = 0; q < a->n_windows; q++)
                if (a->windows[q].o == a->lo[j]) return NO_VALUE;
            perm[n++] = j;
            used[j] = true;
            shape[i] = t.dims[j];
        }
    }
    int m = 0;
    for (int j = 0; j < result.rank; j++)
        if (!used[j]) {
            if (!dim_is(t.dims[j], 1)) return NO_VALUE;       /* s varies along something b does not have */
            perm[n + m++] = j;
        }
    return reshape(g, transpose(g, s, perm), rank_b, shape);
}

static value fold_scale(graph *g, value sum, value s)
{
    const node *c = node_of(g, sum);
    type result = type_of(g, sum);
    contract_attr a = *c->contract;
    value x = c->in[0], y = c->in[1], init = c->n_in == 3 ? c->in[2] : NO_VALUE;
    if (!is_float(a.acc) || !fits_accumulator(g, c, s) || type_of(g, y).dtype != a.acc) return NO_VALUE;
    if (!is_constant_value(g, y, CONSTANT_DEPTH) || !is_constant_value(g, s, CONSTANT_DEPTH)) return NO_VALUE;
    value f = factor_of_b(g, &a, type_of(g, y).rank, result, s);
    if (!is_value(f)) return NO_VALUE;
    return contract_by(g, x, mul(g, y, f), is_value(init) ? mul(g, init, s) : init, &a, a.acc, result.dtype);
}

/* t over the reshaped result -> t over the contract's own, where each axis of the reshape is a run of axes. */
static value split_along(graph *g, type merged, type result, value t)
{
    type u = type_of(g, t);
    dim shape[MAX_RANK];
    int i = 0;
    for (int j = 0; j < merged.rank; j++) {
        dim p = dim_const(1);
        int first = i;
        while (i < result.rank && !dim_same(p, merged.dims[j])) p = dim_mul(g->dims, p, result.dims[i++]);
        while (i < result.rank && j + 1 == merged.rank && dim_is(result.dims[i], 1)) i++;
        if (!dim_same(p, merged.dims[j])) return NO_VALUE;
        for (int q = first; q < i; q++) shape[q] = dim_is(u.dims[j], 1) ? dim_const(1) : result.dims[q];
    }
    if (i != result.rank || !dim_same(dim_product(g->dims, shape, result.rank), type_elements(g, u))) return NO_VALUE;
    return reshape(g, t, result.rank, shape);
}

static value fold(graph *g, scalar fn, value sum, value t)
{
    return fn == SCALAR_add ? fold_bias(g, sum, t) : fold_scale(g, sum, t);
}

/* -- Reductions of what is the same along an axis ---------------------------------------------------------------------------- */

enum { MOST_FACTOR = 1 << 24 };          /* exact in f32 */

static bool takes_factor(dtype t) { return t == DTYPE_f32 || t == DTYPE_f64 || t == DTYPE_i32 || t == DTYPE_i64; }

static value flat_reduction(graph *g, const node *n, value wide)
{
    const node *b = node_of(g, wide);
    reduce_kind kind = n->reduce->kind;
    type result = n->types[0];
    if (b->prim != PRIM_broadcast || (kind != REDUCE_sum && kind != REDUCE_max && kind != REDUCE_min)) return NO_VALUE;
    if (kind == REDUCE_sum && !takes_factor(result.dtype)) return NO_VALUE;
    type full = b->types[0], small = type_of(g, b->in[0]);
    value x = b->in[0];
    uint32_t rest = n->reduce->axes;
    int64_t factor = 1, extent;
    dim shape[MAX_RANK];
    for (int i = 0; i < full.rank; i++) {
        shape[i] = full.dims[i];
        if (!(rest >> i & 1) || !dim_is(small.dims[i], 1) || !dim_is_const(full.dims[i], &extent) || extent < 1) continue;
        if (!mul_ok(factor, extent, &factor) || factor > MOST_FACTOR) return NO_VALUE;
        shape[i] = dim_const(1);
        rest &= ~(1u << i);
    }
    if (rest == n->reduce->axes) return NO_VALUE;
    value y = reshape(g, reduce(g, kind, broadcast(g, x, full.rank, shape), rest, false), result.rank, result.dims);
    if (kind != REDUCE_sum) return y;
    value k = is_float(result.dtype) ? scalar_f64(g, result.dtype, (double)factor) : scalar_i64(g, result.dtype, factor);
    return mul(g, y, splat(g, k, result.rank, result.dims));
}

/* -- The logarithm of a softmax ------------------------------------------------------------------------------------------------- */

static const node *below_views(const graph *g, value v)
{
    const node *n = node_of(g, v);
    while (n->prim == PRIM_reshape || n->prim == PRIM_broadcast) n = node_of(g, n->in[0]);
    return n;
}

static bool is_map(const node *n, scalar fn) { return n->prim == PRIM_map && n->map->fn == fn; }

static bool is_reduction(const node *n, reduce_kind kind, value of)
{
    return n->prim == PRIM_reduce && n->reduce->kind == kind && n->in[0].id == of.id;
}

static value log_of_softmax(graph *g, value p)
{
    const node *quotient = node_of(g, p);
    if (!is_map(quotient, SCALAR_div)) return NO_VALUE;
    value e = quotient->in[0], sum = quotient->in[1];
    const node *power = node_of(g, e);
    if (!is_map(power, SCALAR_exp) || !is_reduction(below_views(g, sum), REDUCE_sum, e)) return NO_VALUE;
    value u = power->in[0];
    const node *shift = node_of(g, u);
    if (!is_map(shift, SCALAR_sub) || !is_reduction(below_views(g, shift->in[1]), REDUCE_max, shift->in[0])) return NO_VALUE;
    return bin(g, SCALAR_sub, u, un(g, SCALAR_log, sum));
}

/* -- The walk ---------------------------------------------------------------------------------------------------------------------- */

static bool rewrite_sums(pass_run *run, graph *to, const graph *from, const node *n, const value *in, value *out)
{
    if (n->prim != PRIM_map || (n->map->fn != SCALAR_add && n->map->fn != SCALAR_mul)) return false;
    scalar fn = n->map->fn;
    for (int k = 0; k < 2; k++) {
        value sum = in[k], t = in[1 - k];
        if (!is_value(sum) || !is_value(t) || run->uses[n->in[k].id] != 1) continue;
        type whole = type_of(to, sum);
        value y = NO_VALUE;
        if (is_contract(to, sum)) {
            y = fold(to, fn, sum, t);
        } else if (node_of(to, sum)->prim == PRIM_reshape && is_contract(to, node_of(to, sum)->in[0])) {
            value inner = node_of(to, sum)->in[0];
            value split = split_along(to, whole, type_of(to, inner), t);
            if (is_value(split)) y = fold(to, fn, inner, split);
            if (is_value(y)) y = reshape(to, y, whole.rank, whole.dims);
        }
        if (!is_value(y) || !type_same(type_of(to, y), n->types[0])) continue;
        if (!pass_allow(run)) return false;
        out[0] = y;
        return true;
    }
    (void)from;
    return false;
}

static bool rewrite(pass_run *run, graph *to, const graph *from, const node *n, const value *in, value *out)
{
    bool is_sum = n->prim == PRIM_reduce, is_log = is_map(n, SCALAR_log);
    if (!is_sum && !is_log) return rewrite_sums(run, to, from, n, in, out);
    value y = is_sum ? flat_reduction(to, n, in[0]) : log_of_softmax(to, in[0]);
    if (!is_value(y) || !type_same(type_of(to, y), n->types[0]) || !pass_allow(run)) return false;
    out[0] = y;
    return true;
}

dlc_status pass_simplify(pass_run *run, graph **g) { return pass_rewrite(run, g, rewrite); }
