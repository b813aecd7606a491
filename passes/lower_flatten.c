/* lower_flatten: axes of a parameter that are read through a split position become one
 *
 * A position that runs over several axes at once (a row of a reduction over H and W, a reshape) is split by floordiv and
 * mod. In the element's address the parts meet again:
 *
 *     c*p * (a floordiv c) + p * (a mod c)  =  p * a
 *
 * also where a lane below 16 has left the quotient. The axes from the first to the last whose index is divided somewhere are
 * merged, if that removes every division from every access to the buffer, but for those in rows that no lane moves: what is
 * left is affine in the lanes, and vectors can run along it. Else (sums over N, H and W of N C H W) the last axes side by side
 * that are divided, if that leaves fewer divisions: a mod over all of them, which blocks of lanes take apart. Any other buffer
 * stays as it is.
 */
#include "passes/lower.h"
#include "ir/linear.h"
#include "ir/order.h"

static bool has_division(const expr *e)
{
    if (e->kind == EXPR_floordiv || e->kind == EXPR_mod) return true;
    for (int i = 0; i < e->n_args; i++)
        if (e->kind != EXPR_load && has_division(e->args[i])) return true;
    return false;
}

static bool constant_of(const expr *e, int64_t *n) { return e->kind == EXPR_dim ? dim_is_const(e->dim, n) : x_is_int(e, n); }

/* Are they the same number? A lane below 16 may have left the one: (16*b + lane) floordiv 784 = b floordiv 49. */
static bool same_quotient(kernel_code *k, const expr *a, const expr *b)
{
    int64_t by_a, by_b;
    if (x_same(a, b)) return true;
    if (a->kind != EXPR_floordiv || b->kind != EXPR_floordiv) return false;
    if (!constant_of(a->args[1], &by_a) || !constant_of(b->args[1], &by_b) || by_b != by_a * LANES) return false;
    linear l;
    linear_init(&l);
    linear_add(k, &l, b->args[0], dim_const(1));
    linear_add(k, &l, a->args[0], dim_const(-LANES));
    const expr *rest = linear_expr(k, &l);
    return rest->kind == EXPR_var && k->vars.at[rest->id].role == LOOP_lane;
}

/* One meeting of a mod and its floordiv in l; false if there is none. */
static bool meet(kernel_code *k, linear *l)
{
    for (int64_t j = 0; j < l->n; j++) {
        const expr *m = l->at[j].atom;
        dim p = l->at[j].coef;
        int64_t c;
        if (m->kind != EXPR_mod || dim_is(p, 0)) continue;
        dim by = m->args[1]->kind == EXPR_dim ? m->args[1]->dim : x_is_int(m->args[1], &c) ? dim_const(c) : DIM_BAD;
        const expr *quotient = x_floordiv(k, m->args[0], m->args[1]);
        for (int64_t i = 0; i < l->n && !dim_is_bad(by); i++) {
            if (dim_is(l->at[i].coef, 0) || !same_quotient(k, l->at[i].atom, quotient)) continue;
            if (!dim_same(l->at[i].coef, dim_mul(k->dims, by, p))) continue;
            l->at[i].coef = l->at[j].coef = dim_const(0);
            linear_add(k, l, m->args[0], p);
            return true;
        }
    }
    return false;
}

/* Axes lo … hi of a buffer are to become one; hi < lo: none. */
typedef struct { int lo, hi; bool keep; uint32_t divided; } merge;      /* divided: axes, a bit each */

/* Position in the merged axis. */
static const expr *merged_position(kernel_code *k, int buf, const expr *const *index, merge m)
{
    const buffer *b = &k->bufs.at[buf];
    linear l;
    dim stride = dim_const(1);
    linear_init(&l);
    for (int i = m.hi; i >= m.lo; i--) {
        linear_add(k, &l, index[i], stride);
        stride = dim_mul(k->dims, stride, b->dims[i]);
    }
    while (meet(k, &l)) continue;
    return linear_expr(k, &l);
}

static int merged_index(kernel_code *k, int buf, const expr *const *index, merge m, const expr **out)
{
    int n = 0;
    for (int i = 0; i < k->bufs.at[buf].rank; i++) {
        if (i < m.lo || i > m.hi) out[n++] = index[i];
        else if (i == m.lo) out[n++] = merged_position(k, buf, index, m);
    }
    return n;
}

/* -- Walks over all accesses ------------------------------------------------------------------------------------------- */

/* Three rounds: which axes are divided; whether merging all of them helps; else, whether merging the last ones does. */
typedef struct { kernel_code *k; merge *merges; int round; } survey;

static bool is_merged(const merge *m) { return m->hi >= m->lo && !m->keep; }

/* A division that only a row's blocks move (where the last one ends) is the same for all lanes: it does no harm. */
static bool has_lane_division(const kernel_code *k, const expr *e)
{
    bool divides = e->kind == EXPR_floordiv || e->kind == EXPR_mod;
    if (k->anchor != ANCHOR_row) return has_division(e);
    for (int64_t v = 0; divides && v < k->vars.n; v++)
        if (k->vars.at[v].role != LOOP_sum && x_uses_var(e, (int)v)) return true;
    for (int i = 0; i < e->n_args; i++)
        if (e->kind != EXPR_load && has_lane_division(k, e->args[i])) return true;
    return false;
}

static int count_divisions(const expr *e)
{
    int n = e->kind == EXPR_floordiv || e->kind == EXPR_mod;
    for (int i = 0; i < e->n_args; i++)
        if (e->kind != EXPR_load) n += count_divisions(e->args[i]);
    return n;
}

static bool has_fewer(const expr *e, const expr *const *index, const merge *m)
{
    int n = 0;
    for (int i = m->lo; i <= m->hi; i++) n += count_divisions(index[i]);
    return n == 0 || count_divisions(e) < n;
}

/* The last axes side by side that are divided; only one: nothing to merge. */
static void try_last_axes(merge *m)
{
    int lo = m->hi;
    while (lo > m->lo && m->divided >> (lo - 1) & 1) lo--;
    m->keep = lo == m->lo || lo == m->hi;
    m->lo = lo;
}

static void look_access(survey *s, int buf, const expr *const *index)
{
    merge *m = &s->merges[buf];
    if (buf >= s->k->n_params) return;
    if (s->round > 0) {
        if (!is_merged(m)) return;
        const expr *e = merged_position(s->k, buf, index, *m);
        m->keep = s->round == 1 ? has_lane_division(s->k, e) : !has_fewer(e, index, m);
        return;
    }
    for (int i = 0; i < s->k->bufs.at[buf].rank; i++) {
        if (!has_division(index[i])) continue;
        m->divided |= 1u << i;
        if (m->hi < m->lo) m->lo = m->hi = i;
        if (i < m->lo) m->lo = i;
        if (i > m->hi) m->hi = i;
    }
}

static void look_expr(survey *s, const expr *e)
{
    if (e->kind == EXPR_load) look_access(s, e->id, e->args);
    for (int i = 0; i < e->n_args; i++) look_expr(s, e->args[i]);
}

static const expr *merge_load(kernel_code *k, const expr *e, void *arg)
{
    const merge *m = (const merge *)arg + e->id;
    const expr *index[MAX_RANK];
    if (e->kind != EXPR_load || e->id >= k->n_params || m->hi < m->lo) return NULL;
    buffer whole = k->bufs.at[e->id];                /* its axes are still needed for the other accesses */
    k->bufs.at[e->id].rank = merged_index(k, e->id, e->args, *m, index);
    const expr *merged = x_load(k, e->id, index);
    k->bufs.at[e->id] = whole;
    return merged;
}

/* Calls both on every statement. Loop nests are as deep as lower made them, so recursion is bounded. */
static void each_statement(block *b, void (*fn)(void *, stmt *), void *arg)
{
    for (int i = 0; i < b->n; i++) {
        fn(arg, b->at[i]);
        each_statement(&b->at[i]->body, fn, arg);
        each_statement(&b->at[i]->other, fn, arg);
    }
}

static void look_statement(void *arg, stmt *s)
{
    survey *v = arg;
    if (s->kind == STMT_store) look_access(v, s->id, s->index);
    if (s->index)
        for (int i = 0; i < v->k->bufs.at[s->id].rank; i++) look_expr(v, s->index[i]);
    if (s->value) look_expr(v, s->value);
    if (s->cond) look_expr(v, s->cond);
}

typedef struct { kernel_code *k; merge *merges; } change;

static void change_statement(void *arg, stmt *s)
{
    change *c = arg;
    if (s->value) s->value = x_rewrite(c->k, s->value, merge_load, c->merges);
    if (s->cond) s->cond = x_rewrite(c->k, s->cond, merge_load, c->merges);
    if (!s->index || s->kind != STMT_store) return;
    int rank = c->k->bufs.at[s->id].rank;
    const expr **index = NEW_ARRAY(c->k->arena, const expr *, rank + 1);
    for (int i = 0; i < rank; i++) index[i] = x_rewrite(c->k, s->index[i], merge_load, c->merges);
    if (s->id < c->k->n_params && c->merges[s->id].hi >= c->merges[s->id].lo) {
        const expr *merged[MAX_RANK];
        int n = merged_index(c->k, s->id, index, c->merges[s->id], merged);
        memcpy(index, merged, sizeof *merged * (size_t)n);
    }
    s->index = index;
}

void flatten_params(kernel_code *k, arena *scratch)
{
    survey s = { k, NEW_ARRAY(scratch, merge, k->bufs.n + 1), 0 };
    for (int64_t i = 0; i < k->bufs.n; i++) s.merges[i] = (merge){ 0, -1, false, 0 };
    for (; s.round < 3; s.round++) {
        for (int64_t i = 0; s.round == 2 && i < k->bufs.n; i++)
            if (s.merges[i].keep) try_last_axes(&s.merges[i]);
            else s.merges[i].divided = 0;
        each_statement(&k->body, look_statement, &s);
    }
    bool any = false;
    for (int i = 0; i < k->n_params; i++) {
        if (s.merges[i].keep) s.merges[i].hi = s.merges[i].lo - 1;
        any |= s.merges[i].hi >= s.merges[i].lo;
    }
    if (!any) return;
    change c = { k, s.merges };
    each_statement(&k->body, change_statement, &c);
    for (int i = 0; i < k->n_params; i++) {
        merge m = s.merges[i];
        buffer *b = &k->bufs.at[i];
        if (m.hi < m.lo) continue;
        dim *extents = NEW_ARRAY(k->arena, dim, b->rank);
        int n = 0;
        for (int j = 0; j < b->rank; j++) {
            if (j < m.lo || j > m.hi) extents[n++] = b->dims[j];
            else if (j == m.lo) extents[n++] = dim_product(k->dims, b->dims + m.lo, m.hi - m.lo + 1);
        }
        b->rank = n;
        b->dims = extents;
    }
}
