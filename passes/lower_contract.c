/* lower_contract: sums of products over labels, and reductions over windows
 *
 *     for o… {
 *       reg acc = init[o…]
 *       for r… { if inside { acc = fma(a[A(o, r)], b[B(o, r)], acc) } }
 *       y[o…] = epilogue(acc)
 *     }
 *
 * One chain for each output, summed labels in their written order, one multiply-add a step (docs/design.md
 * §11). A window's
 * relation  idil*i = stride*o + dil*k - pad  gives the position in a; positions outside, or that idil does
 *           not divide, are
 * skipped, except where the zero-tap rule holds: then the tap is multiplied by 0 instead. A result of
 * statically fewer than 16 elements is summed by lanes (lower_row.c), each lane a chain of multiply-adds.
 */
#include "passes/lower.h"
#include "ir/order.h"

/* -- A relation's position ------------------------------------------------------------------------------- */

/* The position i for (o, k), and the condition under which it exists (NULL: always). */
static const expr *window_position(lowering *l, relation r, const expr *o, const expr *k, dim extent,
                                   const expr **cond)
{
    kernel_code *c = l->k;
    const expr *n = x_add(c, x_mul(c, o, x_int(c, r.stride)), x_mul(c, k, x_int(c, r.dil)));
    n = simplified(l, x_sub(c, n, x_int(c, r.pad)));
    if (r.idil != 1) {
        *cond = x_all(l, *cond, x_op2(c, SCALAR_eq, x_mod(c, n, x_int(c, r.idil)), x_int(c, 0)));
        n = simplified(l, x_floordiv(c, n, x_int(c, r.idil)));
    }
    *cond = x_all(l, *cond, in_bounds(l, n, extent));
    return n;
}

/* -- Contract -------------------------------------------------------------------------------------------- */

typedef struct {
    lowering *l;
    const node *n;
    const contract_attr *a;
    const expr *at[MAX_LABELS];      /* value of each label */
    const expr *a_index[MAX_RANK], *b_index[MAX_RANK];
    bool zero_taps;
} product;

static loop_role role_of(const contract_attr *a, type ta, type tb, uint8_t label)
{
    bool in_a = false, in_b = false, is_window = false;
    for (int i = 0; i < ta.rank; i++) in_a |= a->la[i] == label;
    for (int i = 0; i < tb.rank; i++) in_b |= a->lb[i] == label;
    for (int i = 0; i < a->n_windows; i++) is_window |= a->windows[i].o == label;
    if (is_window) return LOOP_window_out;
    return in_a && in_b ? LOOP_batch : in_a ? LOOP_free_a : LOOP_free_b;
}

static bool is_window_tap(const contract_attr *a, uint8_t label)
{
    for (int i = 0; i < a->n_windows; i++)
        if (a->windows[i].b == label) return true;
    return false;
}

static bool is_window_axis(const contract_attr *a, uint8_t label)
{
    for (int i = 0; i < a->n_windows; i++)
        if (a->windows[i].a == label) return true;
    return false;
}

/* Positions in a and b for the labels' values; *inside: the position in a exists; *within: no limit is
 * passed. */
static void term_positions(product *p, const expr **inside, const expr **within)
{
    lowering *l = p->l;
    const contract_attr *a = p->a;
    type ta = type_of(l->body, p->n->in[0]), tb = type_of(l->body, p->n->in[1]);
    *inside = *within = NULL;
    for (int i = 0; i < ta.rank; i++) {
        p->a_index[i] = p->at[a->la[i]];
        for (int w = 0; w < a->n_windows; w++)
            if (a->windows[w].a == a->la[i])
                p->a_index[i] = window_position(l, a->windows[w].r, p->at[a->windows[w].o],
                                                p->at[a->windows[w].b], ta.dims[i], inside);
    }
    for (int i = 0; i < tb.rank; i++) p->b_index[i] = p->at[a->lb[i]];
    for (int i = 0; i < a->n_limits; i++) {
        const contract_limit *m = &a->limits[i];
        const expr *x = p->at[m->y];
        if (m->x != NO_LABEL) x = x_add(l->k, x_mul(l->k, p->at[m->x], x_int(l->k, m->scale)), x);
        *within = x_all(l, *within, x_op2(l->k, SCALAR_lt, x, x_dim(l->k, m->bound)));
    }
}

/* acc plus the term's product. With zero taps a position outside is read at a clamped place and replaced by
 * 0. */
static const expr *multiply_add(product *p, const expr *acc, const expr *inside)
{
    lowering *l = p->l;
    bool zero = p->zero_taps && inside;
    type ta = type_of(l->body, p->n->in[0]);
    for (int i = 0; zero && i < ta.rank; i++) {
        const expr *last = x_dim(l->k, dim_addk(l->k->dims, ta.dims[i], -1));
        if (is_window_axis(p->a, p->a->la[i]) && in_bounds(l, p->a_index[i], ta.dims[i]))
            p->a_index[i] = x_op2(l->k, SCALAR_min, x_op2(l->k, SCALAR_max, p->a_index[i], x_int(l->k, 0)),
                                  last);
    }
    const expr *x = x_cast(l->k, pull(l, p->n->in[0], p->a_index), p->a->acc);
    const expr *y = x_cast(l->k, pull(l, p->n->in[1], p->b_index), p->a->acc);
    if (zero) x = x_op3(l->k, SCALAR_select, inside, x, x_const(l->k, p->a->acc, (scalar_value){ 0 }));
    return is_float(p->a->acc) ? x_op3(l->k, SCALAR_fma, x, y, acc) : x_add(l->k, acc, x_mul(l->k, x, y));
}

/* The condition under which the term is a step of the chain. */
static const expr *takes_step(product *p, const expr *inside, const expr *within)
{
    return p->zero_taps ? within : x_all(p->l, inside, within);
}

static const expr *initial(product *p, index_list index)
{
    lowering *l = p->l;
    if (p->n->n_in < 3) return x_const(l->k, p->a->acc, (scalar_value){ 0 });
    return x_cast(l->k, pull(l, p->n->in[2], stretched(l, type_of(l->body, p->n->in[2]), index)), p->a->acc);
}

static const expr *sum_chain(product *p, index_list index)
{
    lowering *l = p->l;
    const contract_attr *a = p->a;
    const expr *inside, *within;
    int acc = reg_scalar(l, "acc", a->acc, initial(p, index));
    scope_mark outside = { l->at, l->memo.n };
    for (int i = 0; i < a->n_sum; i++)
        open_dim(l, a->label_name[a->sum[i]], is_window_tap(a, a->sum[i]) ? LOOP_sum_window : LOOP_sum,
                 a->extent[a->sum[i]], &p->at[a->sum[i]]);
    term_positions(p, &inside, &within);
    const expr *cond = takes_step(p, inside, within);
    if (cond) open_if(l, cond);
    store_scalar(l, acc, multiply_add(p, load_scalar(l, acc), inside));
    close_scope(l, outside);
    return let(l, load_scalar(l, acc));
}

static const expr *update_product(lane_sum *s, const expr *acc, const expr *e)
{
    product *p = s->ctx;
    dim extents[MAX_LABELS];
    const expr *part[MAX_LABELS], *inside, *within;
    for (int i = 0; i < p->a->n_sum; i++) extents[i] = p->a->extent[p->a->sum[i]];
    delinearize(p->l, e, p->a->n_sum, extents, part);
    for (int i = 0; i < p->a->n_sum; i++) p->at[p->a->sum[i]] = part[i];
    term_positions(p, &inside, &within);
    const expr *cond = takes_step(p, inside, within);
    if (!cond) return multiply_add(p, acc, inside);
    int r = reg_scalar(p->l, "s", p->a->acc, acc);
    scope_mark m = open_if(p->l, cond);
    store_scalar(p->l, r, multiply_add(p, acc, inside));
    close_scope(p->l, m);
    return load_scalar(p->l, r);
}

static const expr *sum_by_lanes(product *p, index_list index)
{
    lowering *l = p->l;
    dim n = dim_const(1);
    for (int i = 0; i < p->a->n_sum; i++) n = dim_mul(l->k->dims, n, p->a->extent[p->a->sum[i]]);
    lane_sum s = { .l = l,
                   .ctx = p,
                   .acc = p->a->acc,
                   .combine = SCALAR_add,
                   .identity = x_const(l->k, p->a->acc, (scalar_value){ 0 }),
                   .first = p->n->n_in == 3 ? let(l, initial(p, index)) : NULL };
    return sum_lanes(&s, n, update_product);
}

void lower_contract(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_contract);
    product p = { .l = l, .n = n, .a = n->contract };
    type ta = type_of(l->body, n->in[0]), tb = type_of(l->body, n->in[1]), t = n->types[0];
    p.zero_taps = contract_zero_taps(p.a, ta.rank, tb.rank, t.rank);
    const expr *index[MAX_RANK];
    scope_mark outside = { l->at, l->memo.n };
    for (int i = 0; i < t.rank; i++) {
        uint8_t label = p.a->lo[i];
        open_dim(l, p.a->label_name[label], role_of(p.a, ta, tb, label), t.dims[i], &index[i]);
        p.at[label] = index[i];
    }
    const expr *sum = contract_uses_row_rule(t) ? sum_by_lanes(&p, index) : sum_chain(&p, index);
    remember(l, result_of(n, 0), index, let(l, x_cast(l->k, sum, t.dtype)));
    store_results(l, t, index);
    close_scope(l, outside);
}

/* -- Window ---------------------------------------------------------------------------------------------- */

/* argmax: row-major tap number of the first maximum, a NaN counting as one; -1 if no tap exists. */
static void update_position(lowering *l, int best, int position, const expr *x, const expr *tap)
{
    kernel_code *k = l->k;
    const expr *b = let(l, load_scalar(l, best)), *at = let(l, load_scalar(l, position));
    const expr *take = x_op2(k, SCALAR_or, x_op2(k, SCALAR_lt, at, x_int(k, 0)), x_op2(k, SCALAR_lt, b, x));
    if (is_float(x->type)) {
        const expr *x_nan = x_op1(k, SCALAR_not, x_op2(k, SCALAR_eq, x, x)),
                   *b_ok = x_op2(k, SCALAR_eq, b, b);
        take = x_op2(k, SCALAR_or, take, x_op2(k, SCALAR_and, b_ok, x_nan));
    }
    take = let(l, take);
    store_scalar(l, best, x_op3(k, SCALAR_select, take, x, b));
    store_scalar(l, position, x_op3(k, SCALAR_select, take, tap, at));
}

void lower_window(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_window);
    const window_attr *a = n->window;
    kernel_code *k = l->k;
    type from = type_of(l->body, n->in[0]), t = n->types[0];
    dtype wide = compute_dtype(from.dtype);
    const expr *index[MAX_RANK], *x_index[MAX_RANK], *cond = NULL, *tap = x_int(k, 0);
    static const reduce_kind kinds[WINDOW_COUNT] = {
        REDUCE_sum, REDUCE_prod, REDUCE_max, REDUCE_min, REDUCE_max
    };
    reduce_kind kind = kinds[a->kind];
    scope_mark outside = { l->at, l->memo.n };

    for (int i = 0; i < t.rank; i++) {
        bool is_window = false;
        for (int w = 0; w < a->n; w++) is_window |= a->axes[w].axis == i;
        open_dim(l, arena_printf(k->arena, "d%d", i), is_window ? LOOP_window_out : LOOP_batch, t.dims[i],
                 &index[i]);
        x_index[i] = index[i];
    }
    int acc = reg_scalar(l, "acc", wide, identity_of(l, kind, wide));
    int position = a->kind == WINDOW_argmax ? reg_scalar(l, "position", DTYPE_i64, x_int(k, -1)) : -1;
    scope_mark inner = { l->at, l->memo.n };
    for (int w = 0; w < a->n; w++) {
        const expr *tap_x;
        open_dim(l, arena_printf(k->arena, "k%d", a->axes[w].axis), LOOP_sum_window, dim_const(a->axes[w].k),
                 &tap_x);
        tap = x_add(k, x_mul(k, tap, x_int(k, a->axes[w].k)), tap_x);
        x_index[a->axes[w].axis] = window_position(l, a->axes[w].r, index[a->axes[w].axis], tap_x,
                                                   from.dims[a->axes[w].axis], &cond);
    }
    if (cond) open_if(l, cond);
    const expr *x = let(l, x_cast(k, pull(l, n->in[0], x_index), wide));
    if (a->kind == WINDOW_argmax) update_position(l, acc, position, x, tap);
    else store_scalar(l, acc, x_op2(k, reduce_scalar(kind), load_scalar(l, acc), x));
    close_scope(l, inner);
    const expr *y = load_scalar(l, a->kind == WINDOW_argmax ? position : acc);
    remember(l, result_of(n, 0), index, let(l, x_cast(k, y, t.dtype)));
    store_results(l, t, index);
    close_scope(l, outside);
}
