/* lower_sort: stable sorting by keys, and positions of true
 *
 * Sort: bottom-up merge sort of positions, one line at a time, between two scratch rows (Knuth, TAOCP 3,
 * 5.2.4, list form left out: rows of positions move 8 bytes an element and need no links). Runs of `width`
 * become runs of 2*width; each output takes the left head unless the right one comes strictly before it, so
 * equal keys keep their order. Ascending order puts NaN last, descending first; -0 equals +0.
 *
 * Compact: one pass that stores each position and advances by the mask, then fills with N.
 */
#include "passes/lower.h"

typedef struct { lowering *l; const node *n; type keys; const expr *line[MAX_RANK]; } sorter;

static const expr *key_at(sorter *s, int key, const expr *position)
{
    const expr *index[MAX_RANK];
    for (int i = 0; i < s->keys.rank; i++) index[i] = i == s->n->sort->axis ? position : s->line[i];
    value v = s->n->in[key];
    dtype t = type_of(s->l->body, v).dtype;
    return let(s->l, x_cast(s->l->k, pull(s->l, v, index), compute_dtype(t)));
}

/* Does position y come strictly before position x? The last key decides first when read inside out. */
static const expr *comes_before(sorter *s, const expr *y, const expr *x)
{
    kernel_code *k = s->l->k;
    const expr *result = NULL;
    for (int j = s->n->n_in - 1; j >= 0; j--) {
        const expr *a = key_at(s, j, y), *b = key_at(s, j, x);
        bool descending = s->n->sort->descending >> j & 1;
        const expr *before = descending ? x_op2(k, SCALAR_lt, b, a) : x_op2(k, SCALAR_lt, a, b);
        const expr *after = descending ? x_op2(k, SCALAR_lt, a, b) : x_op2(k, SCALAR_lt, b, a);
        if (is_float(a->type)) {
            const expr *a_nan = x_op1(k, SCALAR_not, x_op2(k, SCALAR_eq, a, a)),
                       *b_nan = x_op1(k, SCALAR_not, x_op2(k, SCALAR_eq, b, b));
            const expr *a_only = x_op2(k, SCALAR_and, a_nan, x_op1(k, SCALAR_not, b_nan)),
                       *b_only = x_op2(k, SCALAR_and, b_nan, x_op1(k, SCALAR_not, a_nan));
            before = x_op2(k, SCALAR_or, before, descending ? a_only : b_only);
            after = x_op2(k, SCALAR_or, after, descending ? b_only : a_only);
        }
        before = let(s->l, before);
        result = !result ? before
                         : x_op2(k, SCALAR_or, before,
                                 x_op2(k, SCALAR_and, x_op1(k, SCALAR_not, let(s->l, after)), result));
    }
    return result;
}

static void store_at(lowering *l, int buf, const expr *i, const expr *x) { store(l, buf, &i, x); }
static const expr *load_at(lowering *l, int buf, const expr *i) { return let(l, x_load(l->k, buf, &i)); }

/* One pass: runs of width become runs of 2*width. rows[2*n]: elements from + … are read, to + … are written.
 */
static void merge_pass(sorter *s, int rows, const expr *from, const expr *to, const expr *width,
                       const expr *n)
{
    lowering *l = s->l;
    kernel_code *k = l->k;
    const expr *twice = x_mul(k, width, x_int(k, 2));
    scope_mark outside = { l->at, l->memo.n };
    const expr *pairs = let(l, x_floordiv(k, x_add(k, n, x_sub(k, twice, x_int(k, 1))), twice));
    int pair = kernel_var(k, "pair", LOOP_plain);
    open_loop(l, pair, x_int(k, 0), pairs);
    const expr *lo = let(l, x_mul(k, x_var(k, pair), twice));
    const expr *mid = let(l, x_op2(k, SCALAR_min, x_add(k, lo, width), n)),
               *hi = let(l, x_op2(k, SCALAR_min, x_add(k, lo, twice), n));
    int left = reg_scalar(l, "left", DTYPE_i64, lo), right = reg_scalar(l, "right", DTYPE_i64, mid);
    int t = kernel_var(k, "t", LOOP_sum);
    open_loop(l, t, lo, hi);
    const expr *i = let(l, load_scalar(l, left)), *j = let(l, load_scalar(l, right));
    const expr *has_left = let(l, x_op2(k, SCALAR_lt, i, mid)),
               *has_right = let(l, x_op2(k, SCALAR_lt, j, hi));
    int take_right = reg_scalar(l, "take", DTYPE_bool, has_right);
    scope_mark both = open_if(l, x_op2(k, SCALAR_and, has_left, has_right));
    const expr *pi = load_at(l, rows, x_add(k, from, i)), *pj = load_at(l, rows, x_add(k, from, j));
    store_scalar(l, take_right, comes_before(s, pj, pi));
    close_scope(l, both);
    const expr *is_right = let(l, load_scalar(l, take_right));
    const expr *taken = let(l, x_op3(k, SCALAR_select, is_right, j, i));
    store_at(l, rows, x_add(k, to, x_var(k, t)),
             x_load(k, rows, (const expr *const[]){ x_add(k, from, taken) }));
    const expr *one = x_int(k, 1), *zero = x_int(k, 0);
    store_scalar(l, right, x_add(k, j, x_op3(k, SCALAR_select, is_right, one, zero)));
    store_scalar(l, left, x_add(k, i, x_op3(k, SCALAR_select, is_right, zero, one)));
    close_scope(l, outside);
}

void lower_sort(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_sort);
    kernel_code *k = l->k;
    sorter s = { .l = l, .n = n, .keys = type_of(l->body, n->in[0]) };
    int axis = n->sort->axis;
    dim length = s.keys.dims[axis], rows_dim = dim_mulk(k->dims, length, 2);
    const expr *len = x_dim(k, length);
    int rows = kernel_param(k, "rows", DTYPE_i64, ROLE_out, 1, &rows_dim);
    scope_mark outside = { l->at, l->memo.n };
    for (int i = 0; i < s.keys.rank; i++)
        if (i != axis) open_dim(l, arena_printf(k->arena, "d%d", i), LOOP_sum, s.keys.dims[i], &s.line[i]);

    scope_mark inner = { l->at, l->memo.n };
    const expr *i;
    open_dim(l, "i", LOOP_plain, length, &i);
    store_at(l, rows, i, i);
    close_scope(l, inner);

    /* Passes p = 0, 1, …: width 2^p, as long as it is under the length; they go back and forth between the
     * two rows. */
    int64_t lo, hi;
    dim_range(k->dims, length, &lo, &hi);
    int n_passes = 0;
    while (n_passes < 40 && ((int64_t)1 << n_passes) < hi) n_passes++;
    int side = reg_scalar(l, "side", DTYPE_i64, x_int(k, 0));
    int p = kernel_var(k, "p", LOOP_sum);
    scope_mark passes = open_loop(l, p, x_int(k, 0), x_int(k, n_passes));
    const expr *width = let(l, x_op2(k, SCALAR_shl, x_int(k, 1), x_var(k, p)));
    open_if(l, x_op2(k, SCALAR_lt, width, len));
    const expr *at = let(l, load_scalar(l, side));
    merge_pass(&s, rows, let(l, x_mul(k, at, len)), let(l, x_mul(k, x_sub(k, x_int(k, 1), at), len)), width,
               len);
    store_scalar(l, side, x_sub(k, x_int(k, 1), at));
    close_scope(l, passes);

    const expr *index[MAX_RANK], *base = let(l, x_mul(k, load_scalar(l, side), len));
    memcpy(index, s.line, sizeof index);
    open_dim(l, "j", LOOP_plain, n->types[0].dims[axis], &index[axis]);
    store(l, l->result_param[0], index, load_at(l, rows, x_add(k, base, index[axis])));
    close_scope(l, outside);
}

void lower_compact(lowering *l)
{
    const node *n = find_anchor(l->body, PRIM_compact);
    kernel_code *k = l->k;
    dim length = type_of(l->body, n->in[0]).dims[0];
    int idx = -1, count = -1;
    for (int64_t r = 0; r < l->body->results.n; r++) {
        if (same_value(l->body->results.at[r], result_of(n, 0))) idx = l->result_param[r];
        else count = l->result_param[r];
    }
    int found = reg_scalar(l, "found", DTYPE_i64, x_int(k, 0));
    scope_mark outside = { l->at, l->memo.n };
    const expr *i;
    open_dim(l, "i", LOOP_sum, length, &i);
    const expr *is_true = let(l, pull(l, n->in[0], &i)), *c = let(l, load_scalar(l, found));
    scope_mark taken = open_if(l, is_true);
    if (idx >= 0) store_at(l, idx, c, i);
    store_scalar(l, found, x_add(k, c, x_int(k, 1)));
    close_scope(l, taken);
    close_scope(l, outside);
    const expr *total = let(l, load_scalar(l, found));
    if (count >= 0) store(l, count, NULL, total);
    if (idx < 0) return;
    int rest = kernel_var(k, "rest", LOOP_plain);
    open_loop(l, rest, total, x_dim(k, length));
    store_at(l, idx, x_var(k, rest), x_dim(k, length));
    close_scope(l, outside);
}
