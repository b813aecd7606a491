/* ir/dim_proof.c: what holds of dims for all values of their symbols.
 *
 * a <= b if b - a has an interval from 0 up, also after an opaque term is replaced by a bound it obeys:
 *     x - (k - 1) <= k*(x floordiv k) <= x       min(a, b) <= a       a <= max(a, b)
 * False means not proved, not that it is false.
 */
#include "ir/dim_inside.h"

enum { PROOF_DEPTH = 3, PROOF_WORK = 64 };

/* What may still be spent, and how often the whole has been taken: scale * (b - a) >= what is looked at.
 * Since b - a is an integer, more than -scale will do. */
typedef struct { int depth, work; int64_t scale; } proof;
static bool prove_nonnegative(dims *t, dim d, proof *p);

/* d = rest + c * atom. Replaces the atom by a bound that makes d no larger (times k > 0, if it is a
 * floordiv). */
static bool prove_by_atom(dims *t, dim rest, dim c, bool c_positive, dim atom, proof *p)
{
    entry e = *entry_of(t, atom);
    int64_t k;
    switch (e.kind) {
    case ENTRY_FLOORDIV: {
        if (!dim_is_const(e.b, &k) || k <= 0) return false;
        dim bound = c_positive ? dim_addk(t, e.a, 1 - k) : e.a;
        proof scaled = *p;
        if (!mul_ok(p->scale, k, &scaled.scale) || !in_limit(scaled.scale)) return false;
        bool done = prove_nonnegative(t, dim_add(t, dim_mulk(t, rest, k), dim_mul(t, c, bound)), &scaled);
        p->work = scaled.work;
        return done;
    }
    case ENTRY_MOD:
        return !c_positive && dim_interval(t, e.a).lo >= 0 &&
               prove_nonnegative(t, dim_add(t, rest, dim_mul(t, c, e.a)), p);
    case ENTRY_MIN: case ENTRY_MAX: {
        bool a = prove_nonnegative(t, dim_add(t, rest, dim_mul(t, c, e.a)), p);
        bool either = (e.kind == ENTRY_MAX) == c_positive;
        if (a == either) return a;
        return prove_nonnegative(t, dim_add(t, rest, dim_mul(t, c, e.b)), p);
    }
    case ENTRY_SYMBOL: {
        const symbol *s = &t->symbols.at[e.symbol];
        return s->has_most && !c_positive &&
               prove_nonnegative(t, dim_add(t, rest, dim_mul(t, c, s->most)), p);
    }
    case ENTRY_POLY: return false;
    }
    return false;
}

/* The product of a term's atoms but the j-th, times its coefficient; its sign must be known. */
static dim cofactor(dims *t, const term *s, int j, bool *positive, bool *known)
{
    poly p = { .n = 0 };
    uint32_t atoms[MAX_DEGREE];
    int n = 0;
    *known = true;
    for (int i = 0; i < s->n; i++) {
        if (i == j) continue;
        atoms[n++] = s->atoms[i];
        if (dim_interval(t, entry_dim(s->atoms[i])).lo < 0) *known = false;
    }
    *positive = s->coef > 0;
    poly_add_term(t, &p, s->coef, atoms, n);
    return poly_finish(t, &p);
}

/* An atom >= 0 that divides every term, or 0 if there is none. */
static dim common_factor(dims *t, const poly_view *v)
{
    for (int j = 0; v->n && v->constant == 0 && j < v->terms[0].n; j++) {
        uint32_t atom = v->terms[0].atoms[j];
        int n = 0;
        for (int i = 0; i < v->n; i++)
            for (int k = 0; k < v->terms[i].n; k++)
                if (v->terms[i].atoms[k] == atom) { n++; break; }
        if (n == v->n && dim_interval(t, entry_dim(atom)).lo >= 0) return entry_dim(atom);
    }
    return dim_const(0);
}

static bool prove_by_parts(dims *t, dim d, proof *p)
{
    poly_view v;
    poly_look(t, d, &v);
    dim factor = common_factor(t, &v), q;
    if (!dim_is(factor, 0) && v.n > 1 && divide_exactly(t, d, factor, &q)) {
        proof plain = { p->depth, p->work, 1 };
        return prove_nonnegative(t, q, &plain);
    }
    for (int i = 0; i < v.n; i++) {
        for (int j = 0; j < v.terms[i].n; j++) {
            dim atom = entry_dim(v.terms[i].atoms[j]);
            const entry *e = entry_of(t, atom);
            if (e->kind == ENTRY_SYMBOL && !t->symbols.at[e->symbol].has_most) continue;
            bool positive, known;
            dim c = cofactor(t, &v.terms[i], j, &positive, &known);
            dim rest = dim_sub(t, d, dim_mul(t, c, atom));
            if (known && !any_bad(c, rest) && prove_by_atom(t, rest, c, positive, atom, p)) return true;
        }
    }
    return false;
}

static bool prove_nonnegative(dims *t, dim d, proof *p)
{
    if (dim_is_bad(d)) return false;
    if (dim_interval(t, d).lo > -p->scale) return true;
    if (!is_expr(d) || p->depth == 0 || p->work-- <= 0) return false;
    p->depth--;
    bool done = prove_by_parts(t, d, p);
    p->depth++;
    return done;
}

bool dim_known_le(dims *t, dim a, dim b)
{
    if (any_bad(a, b)) return false;
    if (!is_expr(a) && !is_expr(b)) return a.code <= b.code;
    proof p = { PROOF_DEPTH, PROOF_WORK, 1 };
    return prove_nonnegative(t, dim_sub(t, b, a), &p);
}

bool dim_known_lt(dims *t, dim a, dim b) { return dim_known_le(t, dim_addk(t, a, 1), b); }

/* What remains of k after taking out what provably divides d: 1 if k divides d. */
static int64_t undivided(const dims *t, dim d, int64_t k)
{
    poly_view v;
    poly_look(t, d, &v);
    int64_t worst = k / gcd64(k, v.constant);
    for (int i = 0; i < v.n && worst == 1; i++) {
        worst = k / gcd64(k, v.terms[i].coef);
        for (int j = 0; j < v.terms[i].n && worst > 1; j++) {
            const entry *e = &t->entries.at[v.terms[i].atoms[j]];
            if (e->kind != ENTRY_MIN && e->kind != ENTRY_MAX) continue;
            int64_t x = undivided(t, e->a, worst), y = undivided(t, e->b, worst);
            if (x == 1 && y == 1) worst = 1;
        }
    }
    return worst;
}

bool dim_divides(dims *t, dim d, int64_t k)
{
    if (dim_is_bad(d) || k == 0) return false;
    return undivided(t, d, k < 0 ? -k : k) == 1;
}
