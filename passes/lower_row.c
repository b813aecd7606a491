/* lower_row: reductions, and the maps between reductions over the same axes (softmax, LayerNorm, losses)
 *
 * For each row (index of the kept axes): one pass over the reduced axes for each reduction, in the order in which they
 * depend on each other, then one pass that stores the full-size results. Values costly to compute that several passes
 * read are kept in a buffer of the row's length.
 *
 * The order of each sum is fixed here (docs/design.md §11). Innermost axis kept: one chain for each output over the reduced
 * indices, row-major. Innermost axis reduced: the row-major position e goes to lane e mod 16, lanes are combined as
 * 16-8-4-2-1; over 4096 elements, blocks of 4096 are summed so, and their sums by the same rule:
 *
 *     for b in 0..n/16, v in 0..16 { acc[v] = f(acc[v], x[16*b + v]) }        then the rest, then the tree
 */
#include "passes/lower.h"
#include "ir/order.h"

enum { CACHE_BYTES = 16384, MAX_LEVELS = 4 };

/* -- Lanes ------------------------------------------------------------------------------------------------------------- */

/* One block: elements base … base + length - 1, length at most BLOCK. */
static const expr *sum_block(lane_sum *s, const expr *base, const expr *length, lane_update update)
{
    lowering *l = s->l;
    kernel_code *k = l->k;
    dim width = dim_const(LANES);
    int acc = kernel_local(k, "acc", s->acc, SPACE_reg, 1, &width);
    block_push(k, l->at, s_alloc(k, acc, s->identity));
    if (s->first) {
        const expr *zero[1] = { x_int(k, 0) }, *start = s->first;
        if (!x_is_int(base, NULL)) start = x_op3(k, SCALAR_select, x_op2(k, SCALAR_eq, base, x_int(k, 0)), start, s->identity);
        store(l, acc, zero, start);
    }
    const expr *whole = simplified(l, x_floordiv(k, length, x_int(k, LANES)));
    const expr *rest = simplified(l, x_sub(k, length, x_mul(k, whole, x_int(k, LANES))));
    for (int part = 0; part < 2; part++) {
        int64_t n;
        if (x_is_int(part ? rest : whole, &n) && n <= 0) continue;
        scope_mark outside = { l->at, l->memo.n };
        const expr *at = base;
        if (!part) {
            int b = kernel_var(k, "block", LOOP_sum);
            open_loop(l, b, x_int(k, 0), whole);
            at = x_add(k, at, x_mul(k, x_var(k, b), x_int(k, LANES)));
        } else {
            at = x_add(k, at, x_mul(k, whole, x_int(k, LANES)));
        }
        int v = kernel_var(k, "lane", LOOP_lane);
        open_loop(l, v, x_int(k, 0), part ? rest : x_int(k, LANES));
        const expr *lane[1] = { x_var(k, v) };
        store(l, acc, lane, update(s, x_load(k, acc, lane), simplified(l, x_add(k, at, x_var(k, v)))));
        close_scope(l, outside);
    }
    return let(l, x_tree(k, s->combine, acc));
}

/* Sums of blocks are elements of the next level. Each level keeps 16 partial sums in a stack buffer. */
static const expr *sum_level(lane_sum *s, int level, const expr *base, const expr *length, lane_update update)
{
    lowering *l = s->l;
    kernel_code *k = l->k;
    if (level == 0) return sum_block(s, base, length, update);

    /* A level-n block holds up to BLOCK blocks of the level below. */
    int64_t below = BLOCK;
    for (int i = 1; i < level; i++) below *= BLOCK;
    dim width = dim_const(LANES);
    int acc = kernel_local(k, "part", s->acc, SPACE_stack, 1, &width);
    block_push(k, l->at, s_alloc(k, acc, s->identity));
    const expr *count = simplified(l, x_floordiv(k, x_add(k, length, x_int(k, below - 1)), x_int(k, below)));
    scope_mark outside = { l->at, l->memo.n };
    int c = kernel_var(k, arena_printf(k->arena, "c%d", level), LOOP_sum);
    open_loop(l, c, x_int(k, 0), count);
    const expr *start = x_mul(k, x_var(k, c), x_int(k, below));
    const expr *left = x_op2(k, SCALAR_min, x_int(k, below), x_sub(k, length, start));
    const expr *sum = sum_level(s, level - 1, x_add(k, base, start), left, update);
    const expr *lane[1] = { x_mod(k, x_var(k, c), x_int(k, LANES)) };
    store(l, acc, lane, x_op2(k, s->combine, x_load(k, acc, lane), sum));
    close_scope(l, outside);
    for (int w = LANES / 2; w >= 1; w /= 2) {
        int v = kernel_var(k, "tree", LOOP_plain);
        scope_mark m = open_loop(l, v, x_int(k, 0), x_int(k, w));
        const expr *lo[1] = { x_var(k, v) }, *hi[1] = { x_add(k, x_var(k, v), x_int(k, w)) };
        store(l, acc, lo, x_op2(k, s->combine, x_load(k, acc, lo), x_load(k, acc, hi)));
        close_scope(l, m);
    }
    const expr *zero[1] = { x_int(k, 0) };
    return let(l, x_load(k, acc, zero));
}

const expr *sum_lanes(lane_sum *s, dim n, lane_update update)
{
    int64_t lo, hi, capacity = BLOCK;
    int level = 0;
    dim_range(s->l->k->dims, n, &lo, &hi);
    while (capacity < hi && level < MAX_LEVELS) {
        capacity *= BLOCK;
        level++;
    }
    return sum_level(s, level, x_int(s->l->k, 0), x_dim(s->l->k, n), update);
}

/* -- One row -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    lowering *l;
    const node *reduce;              /* the reduction of this pass */
    type full;
    uint32_t axes;
    bool is_lanes;                   /* innermost axis reduced */
    const expr *kept[MAX_RANK];      /* position in full, kept axes */
    dim length;                      /* elements of a row */
} row;

/* Position in full of the row's element e. */
static void full_index(row *r, const expr *e, const expr **index)
{
    dim extents[MAX_RANK];
    const expr *part[MAX_RANK];
    int n = 0, j = 0;
    for (int i = 0; i < r->full.rank; i++)
        if (r->axes >> i & 1) extents[n++] = r->full.dims[i];
    delinearize(r->l, e, n, extents, part);
    for (int i = 0; i < r->full.rank; i++) index[i] = r->axes >> i & 1 ? part[j++] : r->kept[i];
}

static const expr *pull_operand(row *r, index_list index, dtype acc)
{
    return x_cast(r->l->k, pull(r->l, r->reduce->in[0], index), acc);
}

static const expr *update_lane(lane_sum *s, const expr *acc, const expr *e)
{
    row *r = s->ctx;
    const expr *index[MAX_RANK];
    full_index(r, e, index);
    r->l->row_position = e;
    const expr *x = x_op2(s->l->k, s->combine, acc, pull_operand(r, index, s->acc));
    r->l->row_position = NULL;
    return x;
}

static void finish_caches(row *r)
{
    if (!r->l->cache) return;
    for (int64_t v = 0; v < r->l->body->owner.n; v++)
        if (r->l->cache[v].is_touched) r->l->cache[v].is_filled = true;
}

/* Loops over the reduced axes in order; index gets the full position. */
static void open_reduced(row *r, const expr **index)
{
    for (int i = 0; i < r->full.rank; i++) {
        index[i] = r->kept[i];
        if (r->axes >> i & 1) open_dim(r->l, arena_printf(r->l->k->arena, "r%d", i), LOOP_sum, r->full.dims[i], &index[i]);
    }
}

static const expr *reduce_plain(row *r, dtype acc_type)
{
    lowering *l = r->l;
    reduce_kind kind = r->reduce->reduce->kind;
    int acc = reg_scalar(l, "acc", acc_type, identity_of(l, kind, acc_type));
    scope_mark outside = { l->at, l->memo.n };
    const expr *index[MAX_RANK];
    open_reduced(r, index);
    store_scalar(l, acc, x_op2(l->k, reduce_scalar(kind), load_scalar(l, acc), pull_operand(r, index, acc_type)));
    close_scope(l, outside);
    return let(l, load_scalar(l, acc));
}

/* argmax, argmin: the first (or last) extremum; a NaN is the extremum, the first (last) NaN wins. */
static const expr *reduce_position(row *r, dtype wide)
{
    lowering *l = r->l;
    kernel_code *k = l->k;
    const reduce_attr *a = r->reduce->reduce;
    int best = reg_scalar(l, "best", wide, identity_of(l, a->kind, wide));
    int position = reg_scalar(l, "position", DTYPE_i64, x_int(k, 0));
    scope_mark outside = { l->at, l->memo.n };
    const expr *index[MAX_RANK], *e = x_int(k, 0);
    open_reduced(r, index);
    for (int i = 0; i < r->full.rank; i++)
        if (r->axes >> i & 1) e = index[i];
    const expr *x = let(l, pull_operand(r, index, wide)), *b = let(l, load_scalar(l, best));
    const expr *better = a->kind == REDUCE_argmax ? x_op2(k, a->last ? SCALAR_le : SCALAR_lt, b, x)
                                                  : x_op2(k, a->last ? SCALAR_le : SCALAR_lt, x, b);
    const expr *is_first = x_op2(k, SCALAR_eq, e, x_int(k, 0));
    const expr *take = x_op2(k, SCALAR_or, is_first, better);
    if (is_float(wide)) {
        const expr *x_nan = x_op1(k, SCALAR_not, x_op2(k, SCALAR_eq, x, x)), *b_ok = x_op2(k, SCALAR_eq, b, b);
        take = a->last ? x_op2(k, SCALAR_or, take, x_nan)
                       : x_op2(k, SCALAR_or, is_first, x_op2(k, SCALAR_and, b_ok, x_op2(k, SCALAR_or, better, x_nan)));
    }
    take = let(l, take);
    store_scalar(l, best, x_op3(k, SCALAR_select, take, x, b));
    store_scalar(l, position, x_op3(k, SCALAR_select, take, e, load_scalar(l, position)));
    close_scope(l, outside);
    return let(l, load_scalar(l, position));
}

static void reduce_row(row *r)
{
    lowering *l = r->l;
    const node *n = r->reduce;
    dtype t = type_of(l->body, n->in[0]).dtype, acc = compute_dtype(t);
    const expr *x;
    if (n->reduce->kind == REDUCE_argmax || n->reduce->kind == REDUCE_argmin) {
        x = reduce_position(r, acc);
    } else if (r->is_lanes) {
        lane_sum s = { .l = l, .ctx = r, .acc = acc, .combine = reduce_scalar(n->reduce->kind), .identity = identity_of(l, n->reduce->kind, acc) };
        x = sum_lanes(&s, r->length, update_lane);
        finish_caches(r);
    } else {
        x = reduce_plain(r, acc);
    }
    const expr *index[MAX_RANK];
    int j = 0;
    for (int i = 0; i < r->full.rank; i++)
        if (!(r->axes >> i & 1)) index[j++] = r->kept[i];
    remember(l, result_of(n, 0), index, let(l, x_cast(l->k, x, n->types[0].dtype)));
}

/* -- Which full-size values to keep ------------------------------------------------------------------------------------------ */

static bool is_costly(const node *n)
{
    return n->prim == PRIM_map && (!scalar_info[n->map->fn].is_basic || n->map->fn == SCALAR_div || n->map->fn == SCALAR_sqrt);
}

static void plan_caches(row *r)
{
    lowering *l = r->l;
    const graph *g = l->body;
    int64_t length;
    if (!r->is_lanes || !dim_is_const(r->length, &length)) return;
    uint32_t *uses = graph_uses(g, l->scratch);
    l->cache = NEW_ARRAY(l->scratch, row_cache, g->owner.n + 1);
    for (int64_t v = 0; v < g->owner.n; v++) l->cache[v].buf = -1;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim != PRIM_map || !is_costly(n) || uses[n->first] < 2) continue;
        type t = n->types[0];
        bool is_full = t.rank == r->full.rank;
        for (int q = 0; is_full && q < t.rank; q++) is_full = dim_same(t.dims[q], r->full.dims[q]);
        if (!is_full || length * dtype_bytes(t.dtype) > CACHE_BYTES) continue;
        dim d = dim_const(length);
        l->cache[n->first].buf = kernel_local(l->k, "row", t.dtype, SPACE_stack, 1, &d);
        block_push(l->k, l->at, s_alloc(l->k, l->cache[n->first].buf, NULL));
    }
}

/* Do the reduced axes lie side by side? Then a row is one run of positions. */
static bool is_one_run(const row *r)
{
    uint32_t a = r->axes;
    while (a && !(a & 1)) a >>= 1;
    return (a & (a + 1)) == 0;
}

/* The axes of a row that do not lie side by side: a loop each, but one run over those at the end. */
static void store_runs(row *r, const expr **index)
{
    lowering *l = r->l;
    int last = r->full.rank, n = 0;
    dim extents[MAX_RANK], run = dim_const(1);
    const expr *part[MAX_RANK];
    while (last > 0 && r->axes >> (last - 1) & 1) run = dim_mul(l->k->dims, run, r->full.dims[--last]);
    for (int i = 0; i < last; i++) {
        index[i] = r->kept[i];
        if (!(r->axes >> i & 1)) continue;
        open_dim(l, arena_printf(l->k->arena, "r%d", i), LOOP_sum, r->full.dims[i], &index[i]);
        extents[n] = r->full.dims[i];
        part[n++] = index[i];
    }
    extents[n] = run;
    open_dim(l, "elem", LOOP_plain, run, &part[n]);
    delinearize(l, part[n], r->full.rank - last, r->full.dims + last, index + last);
    l->row_position = linearize(l, n + 1, extents, part);
}

/* Full-size results, one pass. */
static void store_full(row *r)
{
    lowering *l = r->l;
    const expr *index[MAX_RANK];
    scope_mark outside = { l->at, l->memo.n };
    if (r->is_lanes && is_one_run(r)) {
        const expr *e;
        open_dim(l, "elem", LOOP_plain, r->length, &e);
        full_index(r, e, index);
        l->row_position = e;
    } else if (r->is_lanes) {
        store_runs(r, index);
    } else {
        open_reduced(r, index);
    }
    store_results(l, r->full, index);
    l->row_position = NULL;
    close_scope(l, outside);
}

static bool has_result(const row *r, bool full)
{
    const graph *g = r->l->body;
    for (int64_t q = 0; q < g->results.n; q++) {
        type t = type_of(g, g->results.at[q]);
        bool is_full = t.rank == r->full.rank;
        for (int i = 0; is_full && i < t.rank; i++) is_full = dim_same(t.dims[i], r->full.dims[i]);
        if (is_full == full) return true;
    }
    return false;
}

/* Results of row or kept shape. */
static void store_rows(row *r)
{
    lowering *l = r->l;
    for (int64_t q = 0; q < l->body->results.n; q++) {
        value v = l->body->results.at[q];
        type t = type_of(l->body, v);
        const expr *index[MAX_RANK];
        int j = 0;
        bool is_full = t.rank == r->full.rank;
        for (int i = 0; is_full && i < t.rank; i++) is_full = dim_same(t.dims[i], r->full.dims[i]);
        if (is_full) continue;
        for (int i = 0; i < r->full.rank; i++) {
            if (!(r->axes >> i & 1)) index[j++] = r->kept[i];
            else if (t.rank == r->full.rank) index[j++] = x_int(l->k, 0);
        }
        store(l, l->result_param[q], index, pull(l, v, index));
    }
}

void lower_row(lowering *l)
{
    const node *first = find_anchor(l->body, PRIM_reduce);
    row r = { .l = l, .full = type_of(l->body, first->in[0]), .axes = first->reduce->axes, .length = dim_const(1) };
    r.is_lanes = reduce_is_lanes(r.axes, r.full.rank);
    scope_mark outside = { l->at, l->memo.n };
    for (int i = 0; i < r.full.rank; i++) {
        if (r.axes >> i & 1) r.length = dim_mul(l->k->dims, r.length, r.full.dims[i]);
        else open_dim(l, arena_printf(l->k->arena, "i%d", i), LOOP_batch, r.full.dims[i], &r.kept[i]);
    }
    plan_caches(&r);
    for (int64_t i = 1; i < n_nodes(l->body); i++) {
        r.reduce = &l->body->nodes.at[i];
        if (r.reduce->prim == PRIM_reduce) reduce_row(&r);
    }
    if (has_result(&r, false)) store_rows(&r);
    if (has_result(&r, true)) store_full(&r);
    close_scope(l, outside);
}
