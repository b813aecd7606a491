/* lower_pull: the expression of one element
 *
 * A view is a change of index; a map is arithmetic on elements pulled at the same index; an input is a load.
 * Anchors put their own results into the memo first, so the walk ends there. Narrow floats: each map widens
 * its operands and rounds its result, as docs/design.md §4 defines.
 *
 * Reads that might lie outside (pad, gather) are made at a clamped position and then replaced by a select, so
 * that vector code needs no branches; where the operand may be empty, by an `if`.
 */
#include "passes/lower.h"

/* -- Scopes and statements ------------------------------------------------------------------------------- */

static void set_range(lowering *l, int var, const expr *lo, const expr *hi)
{
    scope s = { (int)l->ranges.n, l->ranges.at };
    range a = x_range(l->k, &s, lo), b = x_range(l->k, &s, hi);
    while (l->ranges.n <= var) vec_push(l->scratch, &l->ranges, ((range){ -DIM_LIMIT, DIM_LIMIT }));
    l->ranges.at[var] = (range){ a.lo, b.hi > -DIM_LIMIT ? b.hi - 1 : b.hi };
}

scope_mark open_loop(lowering *l, int var, const expr *lo, const expr *hi)
{
    scope_mark m = { l->at, l->memo.n };
    stmt *s = s_for(l->k, var, lo, hi, MARK_serial);
    block_push(l->k, l->at, s);
    set_range(l, var, lo, hi);
    l->at = &s->body;
    return m;
}

scope_mark open_if(lowering *l, const expr *cond)
{
    scope_mark m = { l->at, l->memo.n };
    stmt *s = s_if(l->k, cond);
    block_push(l->k, l->at, s);
    l->at = &s->body;
    return m;
}

void close_scope(lowering *l, scope_mark m)
{
    l->at = m.at;
    l->memo.n = m.memo;
}

scope_mark open_dim(lowering *l, const char *name, loop_role role, dim extent, const expr **var_x)
{
    if (dim_is(extent, 1)) {
        *var_x = x_int(l->k, 0);
        return (scope_mark){ l->at, l->memo.n };
    }
    int var = kernel_var(l->k, name, role);
    *var_x = x_var(l->k, var);
    return open_loop(l, var, x_int(l->k, 0), x_dim(l->k, extent));
}

const expr *let(lowering *l, const expr *x)
{
    if (x->kind == EXPR_const || x->kind == EXPR_temp || x->kind == EXPR_var || x->kind == EXPR_dim) return x;
    int t = kernel_temp(l->k, "t", x->type);
    block_push(l->k, l->at, s_let(l->k, t, x));
    return x_temp(l->k, t);
}

void store(lowering *l, int buf, index_list index, const expr *x)
{
    block_push(l->k, l->at, s_store(l->k, buf, index, x));
}

int reg_scalar(lowering *l, const char *name, dtype t, const expr *init)
{
    int r = kernel_local(l->k, name, t, SPACE_reg, 0, NULL);
    block_push(l->k, l->at, s_alloc(l->k, r, init));
    return r;
}

const expr *load_scalar(lowering *l, int reg) { return x_load(l->k, reg, NULL); }
void store_scalar(lowering *l, int reg, const expr *x) { store(l, reg, NULL, x); }

const expr *simplified(lowering *l, const expr *x)
{
    scope s = { (int)l->ranges.n, l->ranges.at };
    return x_simplify(l->k, &s, x);
}

index_list index_copy(lowering *l, const expr *const *x, int n)
{
    return arena_copy(l->k->arena, x, sizeof *x * (size_t)n);
}

/* -- The memo -------------------------------------------------------------------------------------------- */

void remember(lowering *l, value v, index_list index, const expr *x)
{
    int rank = type_of(l->body, v).rank;
    vec_push(l->scratch, &l->memo, ((pulled){ v.id, rank, index_copy(l, index, rank), x }));
}

static const expr *recall(const lowering *l, value v, index_list index)
{
    for (int64_t i = l->memo.n - 1; i >= 0; i--) {
        const pulled *p = &l->memo.at[i];
        if (p->value != v.id) continue;
        int k = 0;
        while (k < p->rank && x_same(p->index[k], index[k])) k++;
        if (k == p->rank) return p->x;
    }
    return NULL;
}

/* -- Index arithmetic ------------------------------------------------------------------------------------ */

index_list stretched(lowering *l, type t, index_list full)
{
    const expr *x[MAX_RANK];
    for (int i = 0; i < t.rank; i++) x[i] = dim_is(t.dims[i], 1) ? x_int(l->k, 0) : full[i];
    return index_copy(l, x, t.rank);
}

const expr *x_all(lowering *l, const expr *a, const expr *b)
{
    return !a ? b : !b ? a : x_op2(l->k, SCALAR_and, a, b);
}

const expr *in_bounds(lowering *l, const expr *position, dim extent)
{
    scope s = { (int)l->ranges.n, l->ranges.at };
    range r = x_range(l->k, &s, position);
    range gap = x_range(l->k, &s, x_sub(l->k, x_dim(l->k, extent), position));
    const expr *low = r.lo >= 0 ? NULL : x_op2(l->k, SCALAR_le, x_int(l->k, 0), position);
    const expr *high = gap.lo >= 1 ? NULL : x_op2(l->k, SCALAR_lt, position, x_dim(l->k, extent));
    return x_all(l, low, high);
}

/* The nearest position inside; the extent is at least 1. */
static const expr *clamped(lowering *l, const expr *position, dim extent)
{
    const expr *last = x_dim(l->k, dim_addk(l->k->dims, extent, -1));
    const expr *x = x_op2(l->k, SCALAR_min, x_op2(l->k, SCALAR_max, position, x_int(l->k, 0)), last);
    return simplified(l, x);
}

void delinearize(lowering *l, const expr *e, int rank, const dim *extents, const expr **index)
{
    for (int i = rank - 1; i >= 0; i--) {
        if (dim_is(extents[i], 1) || dim_is(extents[i], 0)) {      /* 0: nothing will be read */
            index[i] = x_int(l->k, 0);
            continue;
        }
        bool is_first = true;
        for (int j = 0; j < i; j++) is_first &= dim_is(extents[j], 1);
        index[i] = is_first ? simplified(l, e) : simplified(l, x_mod(l->k, e, x_dim(l->k, extents[i])));
        if (!is_first) e = simplified(l, x_floordiv(l->k, e, x_dim(l->k, extents[i])));
    }
}

const expr *linearize(lowering *l, int rank, const dim *extents, index_list index)
{
    const expr *e = x_int(l->k, 0);
    dim stride = dim_const(1);
    for (int i = rank - 1; i >= 0; i--) {
        e = x_add(l->k, x_mul(l->k, index[i], x_dim(l->k, stride)), e);
        stride = dim_mul(l->k->dims, stride, extents[i]);
    }
    return e;
}

/* Index into the operand of a reshape. Both shapes are cut into runs of equal product; inside a run of one
 * dim each the index passes through, others go by the flat position of the run. */
static void reshape_index(lowering *l, type from, index_list index, type to, const expr **out)
{
    dims *d = l->k->dims;
    int i = 0, j = 0;
    while (i < from.rank || j < to.rank) {
        if (i < from.rank && dim_is(from.dims[i], 1)) { i++; continue; }
        if (j < to.rank && dim_is(to.dims[j], 1)) { out[j++] = x_int(l->k, 0); continue; }
        if (i >= from.rank || j >= to.rank) break;            /* extent 0 on one side: nothing will be read */
        int i0 = i, j0 = j;
        dim p = from.dims[i++], q = to.dims[j++];
        while (!dim_same(p, q) && (i < from.rank || j < to.rank)) {
            int64_t a, b;
            bool known = dim_is_const(p, &a) && dim_is_const(q, &b);
            bool grow_from = known ? a < b : dim_known_le(d, p, q);
            if ((grow_from && i < from.rank) || j >= to.rank) p = dim_mul(d, p, from.dims[i++]);
            else q = dim_mul(d, q, to.dims[j++]);
        }
        if (i - i0 == 1 && j - j0 == 1) {
            out[j0] = index[i0];
            continue;
        }
        const expr *e = simplified(l, linearize(l, i - i0, from.dims + i0, index + i0));
        delinearize(l, e, j - j0, to.dims + j0, out + j0);
    }
    for (; j < to.rank; j++) out[j] = x_int(l->k, 0);
}

/* -- Nodes ----------------------------------------------------------------------------------------------- */

static const expr *pull_const(lowering *l, const node *n)
{
    type t = n->types[0];
    if (n->konst->bytes) return x_const(l->k, t.dtype, sv_load(t.dtype, n->konst->bytes));
    return x_cast(l->k, x_dim(l->k, n->konst->dims[0]), t.dtype);
}

/* Symbolic elements: a chain of selects; there are at most 8. */
static const expr *pull_dims(lowering *l, const node *n, index_list index)
{
    type t = n->types[0];
    const expr *x = x_dim(l->k, n->konst->dims[0]), *at = x_int(l->k, 0);
    for (int i = 0; i < t.rank; i++) {                                 /* the element's number, row-major */
        if (i) at = x_op2(l->k, SCALAR_mul, at, x_dim(l->k, t.dims[i]));
        at = i ? x_op2(l->k, SCALAR_add, at, index[i]) : index[i];
    }
    for (int64_t i = 1; i < n->konst->n; i++)
        x = x_op3(l->k, SCALAR_select, x_op2(l->k, SCALAR_eq, at, x_int(l->k, i)),
                  x_dim(l->k, n->konst->dims[i]), x);
    return x_cast(l->k, x, t.dtype);
}

static const expr *pull_map(lowering *l, const node *n, index_list index)
{
    const expr *x[8];
    dtype t = type_of(l->body, n->in[n->n_in - 1]).dtype, wide = compute_dtype(t);
    bool widens = wide != t && n->map->fn != SCALAR_select;
    for (int i = 0; i < n->n_in; i++) {
        x[i] = pull(l, n->in[i], stretched(l, type_of(l->body, n->in[i]), index));
        if (widens && n->map->fn != SCALAR_cast) x[i] = x_cast(l->k, x[i], wide);
    }
    if (n->map->fn == SCALAR_cast) return x_cast(l->k, x[0], n->map->to);
    const expr *y = x_op(l->k, n->map->fn, n->n_in, x);
    return widens ? x_cast(l->k, y, n->types[0].dtype) : y;
}

/* `cond ? element of v at index : other`, where the index holds only if cond. */
static const expr *pull_guarded(lowering *l, const expr *cond, value v, const expr **index, const expr *other)
{
    type t = type_of(l->body, v);
    if (!cond) return pull(l, v, index_copy(l, index, t.rank));
    bool may_be_empty = false;
    for (int i = 0; i < t.rank; i++) {
        int64_t lo, hi;
        dim_range(l->k->dims, t.dims[i], &lo, &hi);
        if (hi <= 0) return other;
        may_be_empty |= lo < 1;
    }
    cond = let(l, cond);
    if (may_be_empty) {
        int r = reg_scalar(l, "g", other->type, other);
        scope_mark m = open_if(l, cond);
        store_scalar(l, r, pull(l, v, index_copy(l, index, t.rank)));
        close_scope(l, m);
        return let(l, load_scalar(l, r));
    }
    for (int i = 0; i < t.rank; i++)
        if (in_bounds(l, index[i], t.dims[i])) index[i] = clamped(l, index[i], t.dims[i]);
    return x_op3(l->k, SCALAR_select, cond, pull(l, v, index_copy(l, index, t.rank)), other);
}

static const expr *pull_pad(lowering *l, const node *n, index_list index)
{
    type from = type_of(l->body, n->in[0]);
    dims *d = l->k->dims;
    const expr *x[MAX_RANK], *cond = NULL;
    for (int i = 0; i < from.rank; i++) {
        int64_t step = n->pad->interior[i] + 1;
        const expr *p = simplified(l, x_sub(l->k, index[i], x_dim(l->k, n->pad->lo[i])));
        dim span = step == 1 ? from.dims[i]
                             : dim_addk(d, dim_mulk(d, dim_addk(d, from.dims[i], -1), step), 1);
        if (!dim_is(n->pad->lo[i], 0) || !dim_is(n->pad->hi[i], 0) || step != 1)
            cond = x_all(l, cond, in_bounds(l, p, span));
        if (step != 1) {
            cond = x_all(l, cond, x_op2(l->k, SCALAR_eq, x_mod(l->k, p, x_int(l->k, step)), x_int(l->k, 0)));
            p = x_floordiv(l->k, p, x_int(l->k, step));
        }
        x[i] = p;
    }
    const expr *other = n->n_in == 2 ? pull(l, n->in[1], NULL)
                                     : x_const(l->k, n->types[0].dtype, (scalar_value){ 0 });
    return pull_guarded(l, cond, n->in[0], x, other);
}

static const expr *pull_gather(lowering *l, const node *n, index_list index)
{
    const gather_attr *a = n->gather;
    type from = type_of(l->body, n->in[0]), s = type_of(l->body, n->in[1]);
    const expr *x[MAX_RANK] = { 0 }, *cond = NULL;
    for (int j = 0; j < a->n_axes; j++) {
        const expr *i = let(l, x_cast(l->k, pull(l, n->in[1 + j], index), DTYPE_i64));
        x[a->axes[j]] = i;
        cond = x_all(l, cond, in_bounds(l, i, from.dims[a->axes[j]]));
    }
    for (int j = 0; j < a->n_batch; j++) x[a->batch_x[j]] = index[a->batch_s[j]];
    int f = s.rank;
    for (int i = 0; i < from.rank; i++)
        if (!x[i]) x[i] = index[f++];
    return pull_guarded(l, cond, n->in[0], x, x_const(l->k, n->types[0].dtype, (scalar_value){ 0 }));
}

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), as docs/primitives.md
 * 2.3. */
static const expr *pull_random(lowering *l, const node *n, index_list index)
{
    kernel_code *k = l->k;
    const expr *e = let(l, linearize(l, n->types[0].rank, n->types[0].dims, index));
    const expr *key[5], *c[4];
    for (int i = 0; i < 5; i++) {
        const expr *at[1] = { x_int(k, i) };
        key[i] = pull(l, n->in[0], index_copy(l, at, 1));
    }
    c[0] = let(l, x_cast(k, x_floordiv(k, e, x_int(k, 4)), DTYPE_u32));
    for (int i = 0; i < 3; i++) c[i + 1] = key[i + 2];
    const expr *k0 = key[0], *k1 = key[1];
    const expr *mul0 = x_const(k, DTYPE_u64, (scalar_value){ 0xD2511F53u }),
               *mul1 = x_const(k, DTYPE_u64, (scalar_value){ 0xCD9E8D57u });
    const expr *bump0 = x_const(k, DTYPE_u32, (scalar_value){ 0x9E3779B9u }),
               *bump1 = x_const(k, DTYPE_u32, (scalar_value){ 0xBB67AE85u });
    const expr *half = x_const(k, DTYPE_u64, (scalar_value){ 32 });
    for (int round = 0; round < 10; round++) {
        const expr *p0 = let(l, x_mul(k, mul0, x_cast(k, c[0], DTYPE_u64))),
                   *p1 = let(l, x_mul(k, mul1, x_cast(k, c[2], DTYPE_u64)));
        const expr *hi0 = x_cast(k, x_op2(k, SCALAR_shr, p0, half), DTYPE_u32),
                   *hi1 = x_cast(k, x_op2(k, SCALAR_shr, p1, half), DTYPE_u32);
        const expr *n0 = let(l, x_op2(k, SCALAR_xor, x_op2(k, SCALAR_xor, hi1, c[1]), k0));
        const expr *n2 = let(l, x_op2(k, SCALAR_xor, x_op2(k, SCALAR_xor, hi0, c[3]), k1));
        c[1] = let(l, x_cast(k, p1, DTYPE_u32));
        c[3] = let(l, x_cast(k, p0, DTYPE_u32));
        c[0] = n0;
        c[2] = n2;
        k0 = let(l, x_add(k, k0, bump0));
        k1 = let(l, x_add(k, k1, bump1));
    }
    const expr *word = let(l, x_mod(k, e, x_int(k, 4))), *x = c[0];
    for (int i = 1; i < 4; i++) x = x_op3(k, SCALAR_select, x_op2(k, SCALAR_eq, word, x_int(k, i)), c[i], x);
    return x;
}

static const expr *pull_view(lowering *l, const node *n, index_list index)
{
    type from = type_of(l->body, n->in[0]);
    const expr *x[MAX_RANK];
    switch ((prim)n->prim) {
    case PRIM_reshape:
        reshape_index(l, n->types[0], index, from, x);
        break;
    case PRIM_transpose:
        for (int j = 0; j < from.rank; j++) x[n->transpose->perm[j]] = index[j];
        break;
    case PRIM_broadcast:
        return pull(l, n->in[0], stretched(l, from, index));
    case PRIM_slice:
        for (int j = 0; j < from.rank; j++)
            x[j] = x_add(l->k, x_dim(l->k, n->slice->start[j]),
                         x_mul(l->k, index[j], x_int(l->k, n->slice->step[j])));
        break;
    case PRIM_bitcast:
        return x_bitcast(l->k, pull(l, n->in[0], index), n->bitcast->to);
    default:
        return NULL;
    }
    return pull(l, n->in[0], index_copy(l, x, from.rank));
}

static const expr *compute(lowering *l, value v, const node *n, index_list index)
{
    switch ((prim)n->prim) {
    case PRIM_input: return let(l, x_load(l->k, l->param[v.id], index));
    case PRIM_const: return n->konst->n == 1 ? pull_const(l, n) : pull_dims(l, n, index);
    case PRIM_iota: return x_cast(l->k, index[n->iota->axis], n->types[0].dtype);
    case PRIM_map: return let(l, pull_map(l, n, index));
    case PRIM_random: return let(l, pull_random(l, n, index));
    case PRIM_pad: return let(l, pull_pad(l, n, index));
    case PRIM_gather: return let(l, pull_gather(l, n, index));
    case PRIM_reshape: case PRIM_transpose: case PRIM_broadcast: case PRIM_slice: case PRIM_bitcast:
        return pull_view(l, n, index);
    case PRIM_reduce:
    case PRIM_contract:
    case PRIM_window:
    case PRIM_concat:
    case PRIM_scatter:
    case PRIM_sort:
    case PRIM_scan: case PRIM_cond: case PRIM_while: case PRIM_compact: case PRIM_kernel: case PRIM_COUNT:
        break;
    }
    diag_internal(l->k->ctx, (place){ 0 },
                  arena_printf(l->scratch, "lower: %s read away from its own position",
                               prim_info[n->prim].name));
    return x_const(l->k, n->types[0].dtype, (scalar_value){ 0 });
}

const expr *pull(lowering *l, value v, index_list index)
{
    const expr *x = recall(l, v, index);
    if (x) return x;
    const node *n = node_of(l->body, v);
    row_cache *c = l->cache && l->row_position && l->cache[v.id].buf >= 0 ? &l->cache[v.id] : NULL;
    const expr *at[1] = { l->row_position };
    if (c && c->is_filled) {
        x = let(l, x_load(l->k, c->buf, at));
    } else {
        x = compute(l, v, n, index);
        if (c) {
            store(l, c->buf, at, x);
            c->is_touched = true;
        }
    }
    remember(l, v, index, x);
    return x;
}

scalar reduce_scalar(reduce_kind kind)
{
    static const scalar fn[REDUCE_COUNT] = {
        SCALAR_add, SCALAR_mul, SCALAR_max, SCALAR_min, SCALAR_max, SCALAR_min
    };
    return fn[kind];
}

const expr *identity_of(lowering *l, reduce_kind kind, dtype t)
{
    switch (kind) {
    case REDUCE_sum: return x_const(l->k, t, (scalar_value){ 0 });
    case REDUCE_prod: return x_const(l->k, t, sv_from_i64(t, 1));
    case REDUCE_max: case REDUCE_argmax: return x_const(l->k, t, sv_lowest(t));
    case REDUCE_min: case REDUCE_argmin: return x_const(l->k, t, sv_highest(t));
    case REDUCE_COUNT: break;
    }
    return NULL;
}

void store_results(lowering *l, type t, index_list index)
{
    for (int64_t r = 0; r < l->body->results.n; r++) {
        type u = type_of(l->body, l->body->results.at[r]);
        bool same = u.rank == t.rank;
        for (int i = 0; same && i < t.rank; i++) same = dim_same(u.dims[i], t.dims[i]);
        if (same) store(l, l->result_param[r], index, pull(l, l->body->results.at[r], index));
    }
}

const node *find_anchor(const graph *body, prim p)
{
    for (int64_t i = 1; i < n_nodes(body); i++)
        if (body->nodes.at[i].prim == p) return &body->nodes.at[i];
    return NULL;
}
