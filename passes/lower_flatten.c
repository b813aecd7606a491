/* lower_flatten: parameters read through a split position become flat
 *
 * A position that runs over several axes at once (a row of a reduction over H and W, a reshape) is split by floordiv and
 * mod. In the element's address the parts meet again:
 *
 *     c*p * (a floordiv c) + p * (a mod c)  =  p * a
 *
 * If that removes every division from every access to a buffer, the buffer is declared with one axis and accessed by its
 * address, which is affine; vectors can then run along it. Any other buffer stays as it is.
 */
#include "passes/lower.h"
#include "ir/linear.h"

static bool has_division(const expr *e)
{
    if (e->kind == EXPR_floordiv || e->kind == EXPR_mod) return true;
    for (int i = 0; i < e->n_args; i++)
        if (e->kind != EXPR_load && has_division(e->args[i])) return true;
    return false;
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
            if (dim_is(l->at[i].coef, 0) || !x_same(l->at[i].atom, quotient)) continue;
            if (!dim_same(l->at[i].coef, dim_mul(k->dims, by, p))) continue;
            l->at[i].coef = l->at[j].coef = dim_const(0);
            linear_add(k, l, m->args[0], p);
            return true;
        }
    }
    return false;
}

static const expr *flat_address(kernel_code *k, int buf, const expr *const *index)
{
    linear l = linear_of(k, x_address(k, buf, index));
    while (meet(k, &l)) continue;
    return linear_expr(k, &l);
}

/* -- Walks over all accesses ------------------------------------------------------------------------------------------- */

typedef struct { kernel_code *k; bool *divides, *keep; } survey;

static void look_access(survey *s, int buf, const expr *const *index)
{
    bool any = false;
    for (int i = 0; i < s->k->bufs.at[buf].rank; i++) any |= has_division(index[i]);
    s->divides[buf] |= any;
    if (any && has_division(flat_address(s->k, buf, index))) s->keep[buf] = true;
}

static void look_expr(survey *s, const expr *e)
{
    if (e->kind == EXPR_load) look_access(s, e->id, e->args);
    for (int i = 0; i < e->n_args; i++) look_expr(s, e->args[i]);
}

static const expr *flatten_load(kernel_code *k, const expr *e, void *arg)
{
    const bool *flat = arg;
    if (e->kind != EXPR_load || !flat[e->id]) return NULL;
    const expr *at = flat_address(k, e->id, e->args);
    buffer whole = k->bufs.at[e->id];                /* its axes are still needed for the other accesses */
    k->bufs.at[e->id].rank = 1;
    const expr *flat_load = x_load(k, e->id, &at);
    k->bufs.at[e->id] = whole;
    return flat_load;
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

typedef struct { kernel_code *k; bool *flat; } change;

static void change_statement(void *arg, stmt *s)
{
    change *c = arg;
    if (s->value) s->value = x_rewrite(c->k, s->value, flatten_load, c->flat);
    if (s->cond) s->cond = x_rewrite(c->k, s->cond, flatten_load, c->flat);
    if (!s->index || s->kind != STMT_store) return;
    int rank = c->k->bufs.at[s->id].rank;
    const expr **index = NEW_ARRAY(c->k->arena, const expr *, rank + 1);
    for (int i = 0; i < rank; i++) index[i] = x_rewrite(c->k, s->index[i], flatten_load, c->flat);
    if (c->flat[s->id]) index[0] = flat_address(c->k, s->id, index);
    s->index = index;
}

void flatten_params(kernel_code *k, arena *scratch)
{
    survey s = { k, NEW_ARRAY(scratch, bool, k->bufs.n + 1), NEW_ARRAY(scratch, bool, k->bufs.n + 1) };
    each_statement(&k->body, look_statement, &s);
    bool any = false;
    for (int64_t i = 0; i < k->bufs.n; i++) any |= s.divides[i] = s.divides[i] && !s.keep[i] && i < k->n_params;
    if (!any) return;
    change c = { k, s.divides };
    each_statement(&k->body, change_statement, &c);
    for (int64_t i = 0; i < k->n_params; i++) {
        if (!c.flat[i]) continue;
        dim *n = NEW(k->arena, dim);
        *n = dim_product(k->dims, k->bufs.at[i].dims, k->bufs.at[i].rank);
        k->bufs.at[i].rank = 1;
        k->bufs.at[i].dims = n;
    }
}
