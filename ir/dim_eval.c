/* ir/dim_eval.c: dims at values of their symbols, with other dims in place of symbols, and in another table.
 *
 * Two open sizes that meet where equal ones are needed, and differ in one symbol only, ask that the symbols
 * become one (dims_want_equal); whoever made the symbols looks at the wish and builds again.
 */
#include "ir/dim_inside.h"

static bool eval_opaque(const dims *t, const entry *e, const int64_t *values, int64_t *out)
{
    int64_t a, b;
    if (!dim_eval(t, e->a, values, &a) || !dim_eval(t, e->b, values, &b)) return false;
    bool divides = e->kind == ENTRY_FLOORDIV || e->kind == ENTRY_MOD;
    if (divides && (b == 0 || (b == -1 && a == INT64_MIN))) return false;
    *out = e->kind == ENTRY_FLOORDIV ? floor_div(a, b) : e->kind == ENTRY_MOD ? floor_mod(a, b)
         : e->kind == ENTRY_MIN ? min64(a, b) : max64(a, b);
    return true;
}

bool dim_eval(const dims *t, dim d, const int64_t *symbol_values, int64_t *out)
{
    if (dim_is_bad(d)) return false;
    if (dim_is_const(d, out)) return true;
    const entry *e = entry_of(t, d);
    if (e->kind == ENTRY_SYMBOL) {
        *out = symbol_values[e->symbol];
        return true;
    }
    if (e->kind != ENTRY_POLY) return eval_opaque(t, e, symbol_values, out);
    int64_t sum = e->constant;
    for (int i = 0; i < e->n_terms; i++) {
        int64_t product = e->terms[i].coef, x;
        for (int j = 0; j < e->terms[i].n; j++)
            if (!dim_eval(t, entry_dim(e->terms[i].atoms[j]), symbol_values, &x) ||
                !mul_ok(product, x, &product))
                return false;
        if (!add_ok(sum, product, &sum)) return false;
    }
    *out = sum;
    return true;
}

/* d of one table, built anew in another (or the same one). */
static dim carry(const dims *from, dim d, dims *t, const dim *symbol_to)
{
    if (!is_expr(d)) return d;
    entry e = *entry_of(from, d);                /* copied: interning moves the entries */
    if (e.kind == ENTRY_SYMBOL) return symbol_to[e.symbol];
    if (e.kind != ENTRY_POLY) {
        dim a = carry(from, e.a, t, symbol_to), b = carry(from, e.b, t, symbol_to);
        return e.kind == ENTRY_FLOORDIV ? dim_div(t, a, b) : e.kind == ENTRY_MOD ? dim_mod(t, a, b)
             : e.kind == ENTRY_MIN ? dim_min(t, a, b) : dim_max(t, a, b);
    }
    dim sum = dim_const(e.constant);
    for (int i = 0; i < e.n_terms; i++) {
        dim product = dim_const(e.terms[i].coef);
        for (int j = 0; j < e.terms[i].n; j++)
            product = dim_mul(t, product, carry(from, entry_dim(e.terms[i].atoms[j]), t, symbol_to));
        sum = dim_add(t, sum, product);
    }
    return sum;
}

dim dim_subst(dims *t, dim d, const dim *symbol_to) { return carry(t, d, t, symbol_to); }

void dim_symbol_may_merge(dims *t, dim sym)
{
    if (is_expr(sym) && entry_of(t, sym)->kind == ENTRY_SYMBOL)
        t->symbols.at[entry_of(t, sym)->symbol].may_merge = true;
}

static void mark_symbols(const dims *t, dim d, bool *in)
{
    if (!is_expr(d)) return;
    const entry *e = entry_of(t, d);
    if (e->kind == ENTRY_SYMBOL) in[e->symbol] = true;
    else if (e->kind != ENTRY_POLY) {
        mark_symbols(t, e->a, in);
        mark_symbols(t, e->b, in);
    } else {
        for (int i = 0; i < e->n_terms; i++)
            for (int j = 0; j < e->terms[i].n; j++) mark_symbols(t, entry_dim(e->terms[i].atoms[j]), in);
    }
}

/* The only symbol that stands in one and not in the other; -1: none, or several. */
static int only_in(const dims *t, const bool *in, const bool *other)
{
    int found = -1;
    for (int i = 0; i < t->symbols.n; i++) {
        if (!in[i] || other[i]) continue;
        if (found >= 0) return -1;
        found = i;
    }
    return found;
}

bool dims_want_equal(dims *t, dim a, dim b)
{
    int n = dims_n_symbols(t);
    bool *in_a = NEW_ARRAY(t->arena, bool, n + 1), *in_b = NEW_ARRAY(t->arena, bool, n + 1);
    mark_symbols(t, a, in_a);
    mark_symbols(t, b, in_b);
    int x = only_in(t, in_a, in_b), y = only_in(t, in_b, in_a);
    if (x < 0 || y < 0 || !t->symbols.at[x].may_merge || !t->symbols.at[y].may_merge) return false;
    if (t->symbols.at[x].lo > t->symbols.at[y].hi || t->symbols.at[y].lo > t->symbols.at[x].hi) return false;
    dim *to = NEW_ARRAY(t->arena, dim, n);
    for (int i = 0; i < n; i++) to[i] = dims_symbol(t, i == y ? x : i);
    if (!dim_same(dim_subst(t, b, to), a)) return false;
    if (t->has_wish) return true;
    t->has_wish = true;
    t->keep = x < y ? x : y;
    t->drop = x < y ? y : x;
    return true;
}

bool dims_wanted(const dims *t, const char **keep, const char **drop)
{
    if (!t->has_wish) return false;
    *keep = t->symbols.at[t->keep].name;
    *drop = t->symbols.at[t->drop].name;
    return true;
}

dims *dims_fixed(dlc_context *ctx, arena *a, const dims *from, const int64_t *value, const bool *is_open,
                 dim *symbol_to)
{
    dims *t = dims_new(ctx, a);
    for (int i = 0; i < from->symbols.n; i++) {
        const symbol *s = &from->symbols.at[i];
        symbol_to[i] = dim_symbol(t, s->name);
        symbol *mine = &t->symbols.at[i];
        mine->lo = is_open[i] ? s->lo : value[i];
        mine->hi = is_open[i] ? s->hi : value[i];
        if (is_open[i] && s->has_most)
            dim_symbol_at_most(t, symbol_to[i], carry(from, s->most, t, symbol_to));
        if (!is_open[i]) symbol_to[i] = dim_const(value[i]);
    }
    t->n_fresh = from->n_fresh;
    return t;
}

dim dim_carry(const dims *from, dim d, dims *to, const dim *symbol_to)
{
    return carry(from, d, to, symbol_to);
}
