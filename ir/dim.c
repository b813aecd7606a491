/* ir/dim.c: canonical integer expressions over symbols; proofs, values and text in files of their own
 * (dim_inside.h).
 *
 * What   Every expression is a polynomial: a constant and terms `coefficient * atom * atom …`. An atom is a
 *        symbol or an opaque term: floordiv, mod, min, max of two dims. Terms stand in graded lexicographic
 *        order (higher degree first, then by atoms), atoms in a structural order (symbols by name first), so
 *        the form depends on nothing but the expression. Entries are hash-consed: equal expressions have
 *        equal handles.
 * How    floordiv by a constant k reduces coefficients and constant into [0, k), takes the multiples out, and
 *        divides by common factors; a leading minus comes out as -ceildiv, so that halves are written the
 *        same way:
 *            (4*N + 8) floordiv 4 = N + 2      (N - 1) floordiv 2 = (N + 1) floordiv 2 - 1
 *            (x floordiv a + c) floordiv b = (x + a*c) floordiv (a*b)
 *        floordiv by an expression is polynomial division; what it does not divide must be provably nonzero.
 * Limits an expression over MAX_TERMS, MAX_DEGREE or MAX_SIZE, or a number of DIM_LIMIT, is DIM_BAD:
 *        recursion over an expression is thereby bounded.
 */
#include "ir/dim_inside.h"
#include <assert.h>

const dim DIM_BAD = { INT64_MIN };

/* -- Table ----------------------------------------------------------------------------------------------- */

dims *dims_new(dlc_context *ctx, arena *a)
{
    dims *t = NEW(a, dims);
    t->ctx = ctx;
    t->arena = a;
    t->version = 1;
    map_init(&t->names, a);
    cons_init(&t->cons, a);
    return t;
}

dim dim_const(int64_t v)
{
    return v > -DIM_LIMIT && v < DIM_LIMIT ? (dim){ v } : DIM_BAD;
}

bool dim_is_bad(dim d) { return d.code == INT64_MIN; }

bool dim_is_const(dim d, int64_t *v)
{
    if (d.code >= DIM_LIMIT || d.code <= -DIM_LIMIT) return false;
    if (v) *v = d.code;
    return true;
}

bool dim_is(dim d, int64_t v) { return d.code == v && dim_is_const(d, NULL); }


/* -- Order ----------------------------------------------------------------------------------------------- */

static int sign_of(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int compare_dims(const dims *t, dim a, dim b);

static int compare_atoms(const dims *t, uint32_t i, uint32_t j)
{
    if (i == j) return 0;
    const entry *x = &t->entries.at[i], *y = &t->entries.at[j];
    if (x->kind != y->kind) return sign_of(x->kind, y->kind);
    if (x->kind == ENTRY_SYMBOL) return strcmp(t->symbols.at[x->symbol].name, t->symbols.at[y->symbol].name);
    int c = compare_dims(t, x->a, y->a);
    return c ? c : compare_dims(t, x->b, y->b);
}

/* Negative: x stands before y in a sum. */
static int compare_monomials(const dims *t, const uint32_t *x, int nx, const uint32_t *y, int ny)
{
    if (nx != ny) return sign_of(ny, nx);
    for (int i = 0; i < nx; i++)
        if (x[i] != y[i]) return compare_atoms(t, x[i], y[i]);
    return 0;
}

/* Structural; different handles are different expressions, so the first difference decides: one path is
 * followed. */
static int compare_dims(const dims *t, dim a, dim b)
{
    if (dim_same(a, b)) return 0;
    poly_view x, y;
    poly_look(t, a, &x);
    poly_look(t, b, &y);
    for (int i = 0; i < x.n && i < y.n; i++) {
        int c = compare_monomials(t, x.terms[i].atoms, x.terms[i].n, y.terms[i].atoms, y.terms[i].n);
        if (c) return c;
        if (x.terms[i].coef != y.terms[i].coef) return sign_of(x.terms[i].coef, y.terms[i].coef);
    }
    return x.n != y.n ? sign_of(y.n, x.n) : sign_of(x.constant, y.constant);
}

/* -- Polynomials in the making --------------------------------------------------------------------------- */

static void add_constant(poly *p, int64_t c)
{
    if (!add_ok(p->constant, c, &p->constant) || !in_limit(p->constant)) p->bad = true;
}

void poly_add_term(const dims *t, poly *p, int64_t coef, const uint32_t *atoms, int n)
{
    if (coef == 0 || p->bad) return;
    if (n == 0) {
        add_constant(p, coef);
        return;
    }
    int lo = 0, hi = p->n;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        int c = compare_monomials(t, p->terms[mid].atoms, p->terms[mid].n, atoms, n);
        if (c == 0) {
            loose_term *s = &p->terms[mid];
            if (!add_ok(s->coef, coef, &s->coef) || !in_limit(s->coef)) p->bad = true;
            if (s->coef == 0) {
                memmove(s, s + 1, (size_t)(p->n - mid - 1) * sizeof *s);
                p->n--;
            }
            return;
        }
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    if (p->n == MAX_TERMS || n > MAX_DEGREE || !in_limit(coef)) {
        p->bad = true;
        return;
    }
    memmove(&p->terms[lo + 1], &p->terms[lo], (size_t)(p->n - lo) * sizeof p->terms[0]);
    p->terms[lo].coef = coef;
    p->terms[lo].n = n;
    memcpy(p->terms[lo].atoms, atoms, (size_t)n * sizeof *atoms);
    p->n++;
}

/* p += k * d */
static void add_scaled(const dims *t, poly *p, dim d, int64_t k)
{
    poly_view v;
    poly_look(t, d, &v);
    int64_t c;
    if (!mul_ok(v.constant, k, &c)) p->bad = true;
    else add_constant(p, c);
    for (int i = 0; i < v.n && !p->bad; i++) {
        if (!mul_ok(v.terms[i].coef, k, &c)) p->bad = true;
        else poly_add_term(t, p, c, v.terms[i].atoms, v.terms[i].n);
    }
}

/* p += x * y */
static void add_product(const dims *t, poly *p, const term *x, const term *y)
{
    uint32_t atoms[2 * MAX_DEGREE];
    int64_t coef;
    if (x->n + y->n > MAX_DEGREE || !mul_ok(x->coef, y->coef, &coef)) {
        p->bad = true;
        return;
    }
    int i = 0, j = 0, n = 0;
    while (i < x->n || j < y->n) {
        bool left = j == y->n || (i < x->n && compare_atoms(t, x->atoms[i], y->atoms[j]) <= 0);
        atoms[n++] = left ? x->atoms[i++] : y->atoms[j++];
    }
    poly_add_term(t, p, coef, atoms, n);
}

/* -- Interning ------------------------------------------------------------------------------------------- */

static uint64_t entry_hash(const entry *e)
{
    uint64_t h = hash_u64((uint64_t)e->kind, (uint64_t)e->symbol);
    h = hash_u64(hash_u64(h, (uint64_t)e->a.code), (uint64_t)e->b.code);
    h = hash_u64(hash_u64(h, (uint64_t)e->constant), (uint64_t)e->n_terms);
    for (int i = 0; i < e->n_terms; i++)
        h = hash_bytes(e->terms[i].atoms, (size_t)e->terms[i].n * sizeof(uint32_t),
                       h ^ (uint64_t)e->terms[i].coef);
    return h;
}

static bool entry_equal(const void *owner, uint32_t id, const void *key)
{
    const entry *x = &((const dims *)owner)->entries.at[id], *y = key;
    if (x->kind != y->kind || x->symbol != y->symbol || !dim_same(x->a, y->a) || !dim_same(x->b, y->b))
        return false;
    if (x->constant != y->constant || x->n_terms != y->n_terms) return false;
    for (int i = 0; i < x->n_terms; i++) {
        const term *s = &x->terms[i], *u = &y->terms[i];
        if (s->coef != u->coef || s->n != u->n || memcmp(s->atoms, u->atoms, (size_t)s->n * sizeof *s->atoms))
            return false;
    }
    return true;
}

static int dim_size(const dims *t, dim d) { return is_expr(d) ? entry_of(t, d)->size : 1; }

static const term *keep_terms(arena *a, const term *from, int n)
{
    term *to = NEW_ARRAY(a, term, n);
    for (int i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].atoms = arena_copy(a, from[i].atoms, (size_t)from[i].n * sizeof *from[i].atoms);
    }
    return to;
}

static dim intern(dims *t, entry e)
{
    if (e.size > MAX_SIZE) return DIM_BAD;
    uint64_t hash = entry_hash(&e);
    uint32_t id;
    if (cons_find(&t->cons, hash, entry_equal, t, &e, &id)) return entry_dim(id);
    e.terms = e.n_terms ? keep_terms(t->arena, e.terms, e.n_terms) : NULL;
    vec_push(t->arena, &t->entries, e);
    id = (uint32_t)t->entries.n - 1;
    cons_add(&t->cons, hash, id);
    return entry_dim(id);
}

static dim intern_opaque(dims *t, entry_kind kind, dim a, dim b)
{
    return intern(t, (entry){ .kind = kind, .a = a, .b = b, .size = 1 + dim_size(t, a) + dim_size(t, b) });
}

dim poly_finish(dims *t, const poly *p)
{
    if (p->bad) return DIM_BAD;
    if (p->n == 0) return dim_const(p->constant);
    if (p->n == 1 && p->terms[0].coef == 1 && p->terms[0].n == 1 && p->constant == 0)
        return entry_dim(p->terms[0].atoms[0]);
    term terms[MAX_TERMS];
    entry e = { .kind = ENTRY_POLY, .constant = p->constant, .n_terms = p->n, .terms = terms, .size = 1 };
    for (int i = 0; i < p->n; i++) {
        terms[i] = (term){ p->terms[i].coef, p->terms[i].n, p->terms[i].atoms };
        e.size++;
        for (int j = 0; j < terms[i].n; j++) e.size += t->entries.at[terms[i].atoms[j]].size;
        if (e.size > MAX_SIZE) return DIM_BAD;
    }
    return intern(t, e);
}

/* -- Symbols --------------------------------------------------------------------------------------------- */

dim dim_symbol(dims *t, const char *name)
{
    uint64_t *old = map_find(&t->names, name, strlen(name));
    if (old) return dims_symbol(t, (int)*old);
    int index = (int)t->symbols.n;
    dim d = intern(t, (entry){ .kind = ENTRY_SYMBOL, .symbol = index, .size = 1 });
    symbol s = { arena_strdup(t->arena, name), (uint32_t)(d.code - DIM_EXPR), 0, ((int64_t)1 << 31) - 1,
                 .has_most = false };
    vec_push(t->arena, &t->symbols, s);
    map_put(&t->names, name, strlen(name), (uint64_t)index, NULL);
    return d;
}

bool dim_symbol_bounds(dims *t, dim sym, int64_t lo, int64_t hi)
{
    assert(is_expr(sym) && entry_of(t, sym)->kind == ENTRY_SYMBOL);
    symbol *s = &t->symbols.at[entry_of(t, sym)->symbol];
    if (lo > s->lo) s->lo = lo;
    if (hi < s->hi) s->hi = hi;
    t->version++;
    return s->lo <= s->hi;
}

/* The highest number of a symbol in d, -1 without one. */
static int last_symbol(const dims *t, dim d)
{
    if (!is_expr(d)) return -1;
    const entry *e = entry_of(t, d);
    if (e->kind == ENTRY_SYMBOL) return e->symbol;
    int last = -1;
    if (e->kind != ENTRY_POLY) {
        int a = last_symbol(t, e->a), b = last_symbol(t, e->b);
        return a > b ? a : b;
    }
    for (int i = 0; i < e->n_terms; i++)
        for (int j = 0; j < e->terms[i].n; j++) {
            int k = last_symbol(t, entry_dim(e->terms[i].atoms[j]));
            if (k > last) last = k;
        }
    return last;
}

/* Only a bound in terms of earlier symbols is kept, so that no proof goes round in circles. */
void dim_symbol_at_most(dims *t, dim sym, dim bound)
{
    if (!is_expr(sym) || entry_of(t, sym)->kind != ENTRY_SYMBOL || !is_expr(bound) || dim_is_bad(bound))
        return;
    int index = entry_of(t, sym)->symbol;
    symbol *s = &t->symbols.at[index];
    if (s->has_most || last_symbol(t, bound) >= index) return;
    s->has_most = true;
    s->most = bound;
    t->version++;
}

dim dim_fresh(dims *t, const char *prefix, int64_t lo, int64_t hi)
{
    const char *name;
    do name = arena_printf(t->arena, "%s%d", prefix, t->n_fresh++);
    while (map_find(&t->names, name, strlen(name)));
    dim d = dim_symbol(t, name);
    symbol *s = &t->symbols.at[t->symbols.n - 1];
    s->lo = lo;
    s->hi = hi;
    return d;
}

int dims_n_symbols(const dims *t) { return (int)t->symbols.n; }
const char *dims_symbol_name(const dims *t, int i) { return t->symbols.at[i].name; }
dim dims_symbol(const dims *t, int i) { return entry_dim(t->symbols.at[i].entry); }

void dims_symbol_range(const dims *t, int i, int64_t *lo, int64_t *hi)
{
    *lo = t->symbols.at[i].lo;
    *hi = t->symbols.at[i].hi;
}

/* -- Intervals ------------------------------------------------------------------------------------------- */

static int64_t clamp(__int128 v)
{
    return v > DIM_LIMIT ? DIM_LIMIT : v < -DIM_LIMIT ? -DIM_LIMIT : (int64_t)v;
}

static interval mul_intervals(interval x, interval y)
{
    __int128 p[4] = { (__int128)x.lo * y.lo, (__int128)x.lo * y.hi, (__int128)x.hi * y.lo,
                      (__int128)x.hi * y.hi };
    __int128 lo = p[0], hi = p[0];
    for (int i = 1; i < 4; i++) {
        if (p[i] < lo) lo = p[i];
        if (p[i] > hi) hi = p[i];
    }
    return (interval){ clamp(lo), clamp(hi) };
}

static interval floordiv_range(interval x, interval y)
{
    if (y.lo <= 0) return (interval){ -DIM_LIMIT, DIM_LIMIT };
    return (interval){ floor_div(x.lo, x.lo < 0 ? y.lo : y.hi), floor_div(x.hi, x.hi < 0 ? y.hi : y.lo) };
}

static interval mod_range(interval x, interval y)
{
    if (y.lo <= 0) return (interval){ -DIM_LIMIT, DIM_LIMIT };
    int64_t hi = y.hi - 1;
    return (interval){ 0, x.lo >= 0 ? min64(hi, x.hi) : hi };
}

static interval poly_range(dims *t, const entry *e)
{
    __int128 lo = e->constant, hi = e->constant;
    for (int i = 0; i < e->n_terms; i++) {
        interval r = { e->terms[i].coef, e->terms[i].coef };
        for (int j = 0; j < e->terms[i].n; j++)
            r = mul_intervals(r, dim_interval(t, entry_dim(e->terms[i].atoms[j])));
        lo += r.lo;
        hi += r.hi;
    }
    return (interval){ clamp(lo), clamp(hi) };
}

interval dim_interval(dims *t, dim d)
{
    if (!is_expr(d))
        return dim_is_bad(d) ? (interval){ -DIM_LIMIT, DIM_LIMIT } : (interval){ d.code, d.code };
    entry *e = entry_of(t, d);
    if (e->version == t->version) return (interval){ e->lo, e->hi };
    interval x = { 0, 0 }, y = { 0, 0 }, r = { 0, 0 };
    if (e->kind != ENTRY_SYMBOL && e->kind != ENTRY_POLY) {
        x = dim_interval(t, e->a);
        y = dim_interval(t, e->b);
    }
    switch (e->kind) {
    case ENTRY_SYMBOL: r = (interval){ t->symbols.at[e->symbol].lo, t->symbols.at[e->symbol].hi }; break;
    case ENTRY_FLOORDIV: r = floordiv_range(x, y); break;
    case ENTRY_MOD: r = mod_range(x, y); break;
    case ENTRY_MIN: r = (interval){ min64(x.lo, y.lo), min64(x.hi, y.hi) }; break;
    case ENTRY_MAX: r = (interval){ max64(x.lo, y.lo), max64(x.hi, y.hi) }; break;
    case ENTRY_POLY: r = poly_range(t, e); break;
    }
    e->lo = r.lo;
    e->hi = r.hi;
    e->version = t->version;
    return r;
}

void dim_range(dims *t, dim d, int64_t *lo, int64_t *hi)
{
    interval r = dim_interval(t, d);
    *lo = r.lo;
    *hi = r.hi;
}

/* -- Arithmetic ------------------------------------------------------------------------------------------ */

static dim add_two(dims *t, dim a, dim b, int64_t kb)
{
    if (any_bad(a, b)) return DIM_BAD;
    if (!is_expr(a) && !is_expr(b)) return dim_const(a.code + kb * b.code);
    poly p = { .n = 0 };
    add_scaled(t, &p, a, 1);
    add_scaled(t, &p, b, kb);
    return poly_finish(t, &p);
}

dim dim_add(dims *t, dim a, dim b) { return add_two(t, a, b, 1); }
dim dim_sub(dims *t, dim a, dim b) { return add_two(t, a, b, -1); }
dim dim_neg(dims *t, dim a) { return add_two(t, dim_const(0), a, -1); }

dim dim_mul(dims *t, dim a, dim b)
{
    if (any_bad(a, b)) return DIM_BAD;
    int64_t c;
    if (!is_expr(a) && !is_expr(b)) return mul_ok(a.code, b.code, &c) ? dim_const(c) : DIM_BAD;
    poly p = { .n = 0 };
    poly_view x, y;
    poly_look(t, a, &x);
    poly_look(t, b, &y);
    if (x.n == 0) add_scaled(t, &p, b, x.constant);
    else if (y.n == 0) add_scaled(t, &p, a, y.constant);
    else {
        term cx = { x.constant, 0, NULL }, cy = { y.constant, 0, NULL };
        for (int i = 0; i <= x.n; i++)
            for (int j = 0; j <= y.n && !p.bad; j++)
                add_product(t, &p, i < x.n ? &x.terms[i] : &cx, j < y.n ? &y.terms[j] : &cy);
    }
    return poly_finish(t, &p);
}

dim dim_product(dims *t, const dim *d, int n)
{
    dim r = dim_const(1);
    for (int i = 0; i < n; i++) r = dim_mul(t, r, d[i]);
    return r;
}

/* r floordiv k, where r has coefficients in (0, k) and its constant in [0, k). */
static dim div_reduced(dims *t, const poly *r, int64_t k)
{
    int64_t g = k;
    for (int i = 0; i < r->n; i++) g = gcd64(g, r->terms[i].coef);
    poly p = *r;
    for (int i = 0; i < p.n; i++) p.terms[i].coef /= g;
    p.constant = floor_div(p.constant, g);
    k /= g;
    dim x = poly_finish(t, &p);
    if (k == 1 || dim_is_bad(x)) return x;
    interval range = dim_interval(t, x);
    if (range.lo > -DIM_LIMIT && range.hi < DIM_LIMIT && floor_div(range.lo, k) == floor_div(range.hi, k))
        return dim_const(floor_div(range.lo, k));
    if (p.n == 1 && p.terms[0].coef == 1 && p.terms[0].n == 1) {
        const entry *e = &t->entries.at[p.terms[0].atoms[0]];
        int64_t m, c, mk;
        if (e->kind == ENTRY_FLOORDIV && dim_is_const(e->b, &m) && mul_ok(m, p.constant, &c) &&
            mul_ok(m, k, &mk))
            return dim_div(t, dim_addk(t, e->a, c), dim_const(mk));
    }
    return intern_opaque(t, ENTRY_FLOORDIV, x, dim_const(k));
}

static dim div_constant(dims *t, dim a, int64_t k)
{
    if (k == INT64_MIN || k == 0) return DIM_BAD;
    if (k < 0) return div_constant(t, dim_neg(t, a), -k);
    if (k == 1) return a;
    poly_view v;
    poly_look(t, a, &v);
    if (v.n && v.terms[0].coef < 0) return dim_neg(t, div_constant(t, dim_addk(t, dim_neg(t, a), k - 1), k));
    poly whole = { .constant = floor_div(v.constant, k) }, rest = { .constant = floor_mod(v.constant, k) };
    for (int i = 0; i < v.n; i++) {
        poly_add_term(t, &whole, floor_div(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
        poly_add_term(t, &rest, floor_mod(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
    }
    dim q = poly_finish(t, &whole);
    if (rest.n == 0 || dim_is_bad(q)) return q;
    return dim_add(t, q, div_reduced(t, &rest, k));
}

/* If monomial y divides x: their quotient. */
static bool divide_monomial(const term *x, const term *y, term *q, uint32_t *atoms)
{
    if (y->coef == 0 || x->coef % y->coef) return false;
    int n = 0, j = 0;
    for (int i = 0; i < x->n; i++) {
        if (j < y->n && x->atoms[i] == y->atoms[j]) j++;
        else atoms[n++] = x->atoms[i];
    }
    *q = (term){ x->coef / y->coef, n, atoms };
    return j == y->n;
}

/* Polynomial long division: true if b divides a. */
bool divide_exactly(dims *t, dim a, dim b, dim *q)
{
    dim quotient = dim_const(0), rest = a;
    for (int step = 0; step < MAX_TERMS; step++) {
        if (dim_is(rest, 0)) {
            *q = quotient;
            return true;
        }
        poly_view x, y;
        poly_look(t, rest, &x);
        poly_look(t, b, &y);
        uint32_t atoms[MAX_DEGREE];
        term m;
        if (!x.n || !y.n || !divide_monomial(&x.terms[0], &y.terms[0], &m, atoms)) return false;
        poly p = { .n = 0 };
        poly_add_term(t, &p, m.coef, m.atoms, m.n);
        dim part = poly_finish(t, &p);
        quotient = dim_add(t, quotient, part);
        rest = dim_sub(t, rest, dim_mul(t, part, b));
        if (any_bad(rest, quotient)) return false;
    }
    return false;
}

/* b a single monomial: splits a into a multiple of b and the terms that b does not divide. */
static dim take_out_multiples(dims *t, dim a, dim b, dim *rest)
{
    poly_view x, y;
    poly_look(t, a, &x);
    poly_look(t, b, &y);
    *rest = a;
    if (y.n != 1 || y.constant != 0) return dim_const(0);
    poly whole = { .n = 0 };
    for (int i = 0; i < x.n; i++) {
        uint32_t atoms[MAX_DEGREE];
        term m;
        if (divide_monomial(&x.terms[i], &y.terms[0], &m, atoms))
            poly_add_term(t, &whole, m.coef, m.atoms, m.n);
    }
    dim q = poly_finish(t, &whole);
    *rest = dim_sub(t, a, dim_mul(t, q, b));
    return q;
}

dim dim_div(dims *t, dim a, dim b)
{
    if (any_bad(a, b) || dim_is(b, 0)) return DIM_BAD;
    int64_t k;
    if (dim_is_const(b, &k)) return div_constant(t, a, k);
    dim q, rest;
    if (divide_exactly(t, a, b, &q)) return q;
    interval r = dim_interval(t, b);
    if (r.hi < 0) return dim_div(t, dim_neg(t, a), dim_neg(t, b));
    if (r.lo <= 0) return DIM_BAD;
    q = take_out_multiples(t, a, b, &rest);
    if (any_bad(q, rest)) return DIM_BAD;
    if (dim_known_le(t, dim_const(0), rest) && dim_known_lt(t, rest, b)) return q;
    return dim_add(t, q, intern_opaque(t, ENTRY_FLOORDIV, rest, b));
}

dim dim_ceildiv(dims *t, dim a, dim b) { return dim_neg(t, dim_div(t, dim_neg(t, a), b)); }

dim dim_mod(dims *t, dim a, dim b)
{
    if (any_bad(a, b)) return DIM_BAD;
    int64_t k, c;
    if (!dim_is_const(b, &k)) {
        dim q = dim_div(t, a, b);
        return dim_sub(t, a, dim_mul(t, q, b));
    }
    if (k == 0) return DIM_BAD;
    if (dim_is_const(a, &c)) return dim_const(floor_mod(c, k));
    if (k < 0) return dim_neg(t, dim_mod(t, dim_neg(t, a), dim_const(-k)));
    poly_view v;
    poly_look(t, a, &v);
    poly p = { .constant = floor_mod(v.constant, k) };
    for (int i = 0; i < v.n; i++)
        poly_add_term(t, &p, floor_mod(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
    dim r = poly_finish(t, &p);
    interval range = dim_interval(t, r);
    if (!is_expr(r) || (range.lo >= 0 && range.hi < k)) return r;
    return intern_opaque(t, ENTRY_MOD, r, b);
}

static dim smaller(dims *t, entry_kind kind, dim a, dim b)
{
    return compare_dims(t, a, b) <= 0 ? intern_opaque(t, kind, a, b) : intern_opaque(t, kind, b, a);
}

dim dim_min(dims *t, dim a, dim b)
{
    if (any_bad(a, b)) return DIM_BAD;
    if (dim_known_le(t, a, b)) return a;
    if (dim_known_le(t, b, a)) return b;
    return smaller(t, ENTRY_MIN, a, b);
}

dim dim_max(dims *t, dim a, dim b)
{
    if (any_bad(a, b)) return DIM_BAD;
    if (dim_known_le(t, a, b)) return b;
    if (dim_known_le(t, b, a)) return a;
    return smaller(t, ENTRY_MAX, a, b);
}

/* -- Walking --------------------------------------------------------------------------------------------- */

static dim term_dim(dims *t, const term *s)
{
    poly p = { .n = 0 };
    poly_add_term(t, &p, s->coef, s->atoms, s->n);
    return poly_finish(t, &p);
}

/* The args of a polynomial, kept with its entry. */
static void make_args(dims *t, dim d)
{
    entry e = *entry_of(t, d);
    bool is_product = e.n_terms == 1 && e.constant == 0;
    dim *args = NEW_ARRAY(t->arena, dim, e.n_terms + MAX_DEGREE + 1);
    int n = 0;
    if (is_product) {
        if (e.terms[0].coef != 1) args[n++] = dim_const(e.terms[0].coef);
        for (int j = 0; j < e.terms[0].n; j++) args[n++] = entry_dim(e.terms[0].atoms[j]);
    } else {
        for (int i = 0; i < e.n_terms; i++) args[n++] = term_dim(t, &e.terms[i]);
        if (e.constant) args[n++] = dim_const(e.constant);
    }
    entry_of(t, d)->args = args;
    entry_of(t, d)->n_args = n;
}

dim_view dim_look(dims *t, dim d)
{
    if (!is_expr(d)) return (dim_view){ .kind = DIM_CONST, .value = d.code };
    if (entry_of(t, d)->kind == ENTRY_POLY && !entry_of(t, d)->args) make_args(t, d);
    const entry *e = entry_of(t, d);
    static const dim_kind kind[] = {
        [ENTRY_SYMBOL] = DIM_SYMBOL, [ENTRY_FLOORDIV] = DIM_FLOORDIV, [ENTRY_MOD] = DIM_MOD,
        [ENTRY_MIN] = DIM_MIN, [ENTRY_MAX] = DIM_MAX,
    };
    if (e->kind == ENTRY_SYMBOL) return (dim_view){ .kind = DIM_SYMBOL, .symbol = e->symbol };
    if (e->kind == ENTRY_POLY)
        return (dim_view){ .kind = e->n_terms == 1 && e->constant == 0 ? DIM_PRODUCT : DIM_SUM,
                           .args = e->args,
                           .n_args = e->n_args };
    if (!e->args) {
        dim *args = NEW_ARRAY(t->arena, dim, 2);
        args[0] = e->a;
        args[1] = e->b;
        entry_of(t, d)->args = args;
        entry_of(t, d)->n_args = 2;
    }
    return (dim_view){ .kind = kind[e->kind], .args = e->args, .n_args = 2 };
}
