/* lower_map: elementwise kernels, and concat, whose parts are each an elementwise copy
 *
 *     for d0 in 0..D0, d1 in 0..D1, … { y[d0, d1, …] = … }
 */
#include "passes/lower.h"

/* Opens a loop for each dim of t; the position goes to index. */
static void open_shape(lowering *l, type t, const expr **index)
{
    for (int i = 0; i < t.rank; i++)
        open_dim(l, arena_printf(l->k->arena, "d%d", i), LOOP_plain, t.dims[i], &index[i]);
}

void lower_map(lowering *l)
{
    scope_mark outside = { l->at, l->memo.n };
    const expr *index[MAX_RANK];
    type t = type_of(l->body, l->body->results.at[0]);
    open_shape(l, t, index);
    store_results(l, t, index);
    close_scope(l, outside);
}

void lower_move(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_concat);
    int axis = n->concat->axis;
    dim offset = dim_const(0);
    for (int i = 0; i < n->n_in; i++) {
        scope_mark outside = { l->at, l->memo.n };
        const expr *index[MAX_RANK], *to[MAX_RANK];
        type t = type_of(l->body, n->in[i]);
        open_shape(l, t, index);
        memcpy(to, index, sizeof to);
        to[axis] = x_add(l->k, index[axis], x_dim(l->k, offset));
        store(l, l->result_param[0], to, pull(l, n->in[i], index));
        close_scope(l, outside);
        offset = dim_add(l->k->dims, offset, t.dims[axis]);
    }
}

/* scatter: a copy of x, then the updates one after another; the free dims of x run inside.
 * f16 and bf16 sums, products and extrema are kept in f32 until all updates are in. */
void lower_scatter(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_scatter);
    const gather_attr *a = n->gather;
    kernel_code *k = l->k;
    type t = n->types[0], s = type_of(l->body, n->in[2]);
    int y = l->result_param[0], at = y;
    dtype wide = a->mode == SCATTER_set ? t.dtype : compute_dtype(t.dtype);
    scope_mark outside = { l->at, l->memo.n };
    const expr *index[MAX_RANK];
    if (wide != t.dtype) at = kernel_param(k, "sum", wide, ROLE_out, t.rank, t.dims);

    open_shape(l, t, index);
    const expr *x = pull(l, n->in[0], index);
    store(l, at, index, wide == t.dtype ? x : x_cast(k, x, wide));
    close_scope(l, outside);

    const expr *from[2 * MAX_RANK], *to[MAX_RANK] = { 0 }, *cond = NULL;
    for (int i = 0; i < s.rank; i++)
        open_dim(l, arena_printf(k->arena, "s%d", i), LOOP_sum, s.dims[i], &from[i]);
    for (int j = 0; j < a->n_axes; j++) {
        const expr *p = let(l, x_cast(k, pull(l, n->in[2 + j], from), DTYPE_i64));
        to[a->axes[j]] = p;
        cond = x_all(l, cond, in_bounds(l, p, t.dims[a->axes[j]]));
    }
    for (int j = 0; j < a->n_batch; j++) to[a->batch_x[j]] = from[a->batch_s[j]];
    if (cond) open_if(l, cond);
    int f = s.rank;
    for (int i = 0; i < t.rank; i++)
        if (!to[i]) {
            open_dim(l, arena_printf(k->arena, "f%d", i), LOOP_plain, t.dims[i], &from[f]);
            to[i] = from[f++];
        }
    static const scalar fn[SCATTER_COUNT] = { SCALAR_COUNT, SCALAR_add, SCALAR_mul, SCALAR_max, SCALAR_min };
    const expr *u = pull(l, n->in[1], from);
    if (a->mode != SCATTER_set)
        u = x_op2(k, fn[a->mode], x_load(k, at, to), wide == t.dtype ? u : x_cast(k, u, wide));
    store(l, at, to, u);
    close_scope(l, outside);

    if (at == y) return;
    open_shape(l, t, index);
    store(l, y, index, x_cast(k, x_load(k, at, index), t.dtype));
    close_scope(l, outside);
}
