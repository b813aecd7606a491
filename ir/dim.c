/* ir/dim.c: canonical integer expressions over symbols.
 *
 * What   Every expression is a polynomial: a constant and terms `coefficient * atom * atom …`. An atom is a
 *        symbol or an opaque term: floordiv, mod, min, max of two dims. Terms stand in graded lexicographic
 *        order (higher degree first, then by atoms), atoms in a structural order (symbols by name first), so
 *        the form depends on nothing but the expression. Entries are hash-consed: equal expressions have
 *        equal handles.
 * How    floordiv by a constant k reduces coefficients and constant into [0, k), takes the multiples out, and
 *        divides by common factors; a leading minus comes out as -ceildiv, so that halves are written the
 *            same way:
 *            (4*N + 8) floordiv 4 = N + 2      (N - 1) floordiv 2 = (N + 1) floordiv 2 - 1
 *            (x floordiv a + c) floordiv b = (x + a*c) floordiv (a*b)
 *        floordiv by an expression is polynomial division; what it does not divide must be provably nonzero.
 * Proofs a <= b if b - a has an interval from 0 up, also after an opaque term is replaced by a bound it
 *            obeys:
 *            x - (k - 1) <= k*(x floordiv k) <= x       min(a, b) <= a       a <= max(a, b)
 * Limits an expression over MAX_TERMS, MAX_DEGREE or MAX_SIZE, or a number of DIM_LIMIT, is DIM_BAD:
 *        recursion over an expression is thereby bounded.
 */
#include "ir/dim.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_TERMS = 64, MAX_DEGREE = 16, MAX_SIZE = 2000, MAX_PARSE_DEPTH = 100, PROOF_DEPTH = 3,
       PROOF_WORK = 64 };

#define DIM_EXPR ((int64_t)1 << 61)
const dim DIM_BAD = { INT64_MIN };

/* -- Table ----------------------------------------------------------------------------------------------- */

typedef enum { ENTRY_SYMBOL, ENTRY_FLOORDIV, ENTRY_MOD, ENTRY_MIN, ENTRY_MAX, ENTRY_POLY } entry_kind;

/* atoms: entries, sorted, repeated for powers */
typedef struct { int64_t coef; int n; const uint32_t *atoms; } term;

typedef struct {
    entry_kind kind;
    int symbol;               /* ENTRY_SYMBOL */
    int size;                 /* of the expression written out */
    uint32_t version;         /* of the bounds that lo, hi were computed with; 0: not computed */
    int64_t lo, hi;
    dim a, b;                 /* opaque terms */
    int64_t constant;         /* ENTRY_POLY */
    int n_terms;
    const term *terms;
    const dim *args; int n_args;     /* for dim_look, made when first asked for */
} entry;

typedef struct {
    const char *name;
    uint32_t entry;
    int64_t lo, hi;
    bool may_merge;
    bool has_most;
    dim most;                 /* has_most: at most this, too (made of symbols of earlier numbers) */
} symbol;

struct dims {
    dlc_context *ctx;
    arena *arena;
    vec(entry) entries;
    vec(symbol) symbols;
    map_str names;            /* of the symbols -> index */
    cons_table cons;
    uint32_t version;         /* counts changes of bounds, from 1 */
    int n_fresh;
    bool has_wish;            /* symbol `drop` should be symbol `keep` */
    int keep, drop;
};

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

static bool is_expr(dim d) { return d.code >= DIM_EXPR; }
static entry *entry_of(const dims *t, dim d) { return &t->entries.at[d.code - DIM_EXPR]; }
static dim entry_dim(uint32_t i) { return (dim){ DIM_EXPR + (int64_t)i }; }

/* -- Order ----------------------------------------------------------------------------------------------- */

/* A view of any dim as a polynomial; `one` and `self` are room for the term of an atom. */
typedef struct { int64_t constant; int n; const term *terms; term one; uint32_t self; } poly_view;

static void look(const dims *t, dim d, poly_view *v)
{
    *v = (poly_view){ .constant = 0 };
    if (!is_expr(d)) {
        v->constant = d.code;
        return;
    }
    const entry *e = entry_of(t, d);
    if (e->kind == ENTRY_POLY) {
        v->constant = e->constant;
        v->n = e->n_terms;
        v->terms = e->terms;
        return;
    }
    v->self = (uint32_t)(d.code - DIM_EXPR);
    v->one = (term){ 1, 1, &v->self };
    v->n = 1;
    v->terms = &v->one;
}

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
    look(t, a, &x);
    look(t, b, &y);
    for (int i = 0; i < x.n && i < y.n; i++) {
        int c = compare_monomials(t, x.terms[i].atoms, x.terms[i].n, y.terms[i].atoms, y.terms[i].n);
        if (c) return c;
        if (x.terms[i].coef != y.terms[i].coef) return sign_of(x.terms[i].coef, y.terms[i].coef);
    }
    return x.n != y.n ? sign_of(y.n, x.n) : sign_of(x.constant, y.constant);
}

/* -- Polynomials in the making --------------------------------------------------------------------------- */

typedef struct { int64_t coef; int n; uint32_t atoms[MAX_DEGREE]; } loose_term;
typedef struct { bool bad; int64_t constant; int n; loose_term terms[MAX_TERMS]; } poly;

static bool in_limit(int64_t v) { return v > -DIM_LIMIT && v < DIM_LIMIT; }

static void add_constant(poly *p, int64_t c)
{
    if (!add_ok(p->constant, c, &p->constant) || !in_limit(p->constant)) p->bad = true;
}

static void add_term(const dims *t, poly *p, int64_t coef, const uint32_t *atoms, int n)
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
    look(t, d, &v);
    int64_t c;
    if (!mul_ok(v.constant, k, &c)) p->bad = true;
    else add_constant(p, c);
    for (int i = 0; i < v.n && !p->bad; i++) {
        if (!mul_ok(v.terms[i].coef, k, &c)) p->bad = true;
        else add_term(t, p, c, v.terms[i].atoms, v.terms[i].n);
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
    add_term(t, p, coef, atoms, n);
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

static dim finish(dims *t, const poly *p)
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

typedef struct { int64_t lo, hi; } interval;

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

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

static interval range_of(dims *t, dim d);

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
            r = mul_intervals(r, range_of(t, entry_dim(e->terms[i].atoms[j])));
        lo += r.lo;
        hi += r.hi;
    }
    return (interval){ clamp(lo), clamp(hi) };
}

static interval range_of(dims *t, dim d)
{
    if (!is_expr(d))
        return dim_is_bad(d) ? (interval){ -DIM_LIMIT, DIM_LIMIT } : (interval){ d.code, d.code };
    entry *e = entry_of(t, d);
    if (e->version == t->version) return (interval){ e->lo, e->hi };
    interval x = { 0, 0 }, y = { 0, 0 }, r = { 0, 0 };
    if (e->kind != ENTRY_SYMBOL && e->kind != ENTRY_POLY) {
        x = range_of(t, e->a);
        y = range_of(t, e->b);
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
    interval r = range_of(t, d);
    *lo = r.lo;
    *hi = r.hi;
}

/* -- Arithmetic ------------------------------------------------------------------------------------------ */

static bool any_bad(dim a, dim b) { return dim_is_bad(a) || dim_is_bad(b); }

static dim add_two(dims *t, dim a, dim b, int64_t kb)
{
    if (any_bad(a, b)) return DIM_BAD;
    if (!is_expr(a) && !is_expr(b)) return dim_const(a.code + kb * b.code);
    poly p = { .n = 0 };
    add_scaled(t, &p, a, 1);
    add_scaled(t, &p, b, kb);
    return finish(t, &p);
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
    look(t, a, &x);
    look(t, b, &y);
    if (x.n == 0) add_scaled(t, &p, b, x.constant);
    else if (y.n == 0) add_scaled(t, &p, a, y.constant);
    else {
        term cx = { x.constant, 0, NULL }, cy = { y.constant, 0, NULL };
        for (int i = 0; i <= x.n; i++)
            for (int j = 0; j <= y.n && !p.bad; j++)
                add_product(t, &p, i < x.n ? &x.terms[i] : &cx, j < y.n ? &y.terms[j] : &cy);
    }
    return finish(t, &p);
}

dim dim_product(dims *t, const dim *d, int n)
{
    dim r = dim_const(1);
    for (int i = 0; i < n; i++) r = dim_mul(t, r, d[i]);
    return r;
}

static int64_t gcd64(int64_t a, int64_t b)
{
    if (a < 0) a = -a;
    if (b < 0) b = -b;
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
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
    dim x = finish(t, &p);
    if (k == 1 || dim_is_bad(x)) return x;
    interval range = range_of(t, x);
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
    look(t, a, &v);
    if (v.n && v.terms[0].coef < 0) return dim_neg(t, div_constant(t, dim_addk(t, dim_neg(t, a), k - 1), k));
    poly whole = { .constant = floor_div(v.constant, k) }, rest = { .constant = floor_mod(v.constant, k) };
    for (int i = 0; i < v.n; i++) {
        add_term(t, &whole, floor_div(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
        add_term(t, &rest, floor_mod(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
    }
    dim q = finish(t, &whole);
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
static bool divide_exactly(dims *t, dim a, dim b, dim *q)
{
    dim quotient = dim_const(0), rest = a;
    for (int step = 0; step < MAX_TERMS; step++) {
        if (dim_is(rest, 0)) {
            *q = quotient;
            return true;
        }
        poly_view x, y;
        look(t, rest, &x);
        look(t, b, &y);
        uint32_t atoms[MAX_DEGREE];
        term m;
        if (!x.n || !y.n || !divide_monomial(&x.terms[0], &y.terms[0], &m, atoms)) return false;
        poly p = { .n = 0 };
        add_term(t, &p, m.coef, m.atoms, m.n);
        dim part = finish(t, &p);
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
    look(t, a, &x);
    look(t, b, &y);
    *rest = a;
    if (y.n != 1 || y.constant != 0) return dim_const(0);
    poly whole = { .n = 0 };
    for (int i = 0; i < x.n; i++) {
        uint32_t atoms[MAX_DEGREE];
        term m;
        if (divide_monomial(&x.terms[i], &y.terms[0], &m, atoms)) add_term(t, &whole, m.coef, m.atoms, m.n);
    }
    dim q = finish(t, &whole);
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
    interval r = range_of(t, b);
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
    look(t, a, &v);
    poly p = { .constant = floor_mod(v.constant, k) };
    for (int i = 0; i < v.n; i++)
        add_term(t, &p, floor_mod(v.terms[i].coef, k), v.terms[i].atoms, v.terms[i].n);
    dim r = finish(t, &p);
    interval range = range_of(t, r);
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

/* -- Proofs ---------------------------------------------------------------------------------------------- */

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
        return !c_positive && range_of(t, e.a).lo >= 0 &&
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
        if (range_of(t, entry_dim(s->atoms[i])).lo < 0) *known = false;
    }
    *positive = s->coef > 0;
    add_term(t, &p, s->coef, atoms, n);
    return finish(t, &p);
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
        if (n == v->n && range_of(t, entry_dim(atom)).lo >= 0) return entry_dim(atom);
    }
    return dim_const(0);
}

static bool prove_by_parts(dims *t, dim d, proof *p)
{
    poly_view v;
    look(t, d, &v);
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
    if (range_of(t, d).lo > -p->scale) return true;
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
    look(t, d, &v);
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

/* -- Evaluation, substitution ---------------------------------------------------------------------------- */

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

/* -- Text ------------------------------------------------------------------------------------------------ */

static bool is_word_start(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
static bool is_word(char c) { return is_word_start(c) || (c >= '0' && c <= '9') || c == '.'; }

static const char *const keywords[] = { "floordiv", "ceildiv", "mod", "min", "max" };

static bool is_plain_name(const char *s)
{
    if (!is_word_start(*s)) return false;
    for (const char *c = s; *c; c++)
        if (!is_word(*c)) return false;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(s, keywords[i]) == 0) return false;
    return true;
}

static void print_symbol(const char *name, text *out)
{
    if (is_plain_name(name)) {
        text_put(out, name);
        return;
    }
    text_put(out, "\"");
    text_put_escaped(out, name, strlen(name), SIZE_MAX);
    text_put(out, "\"");
}

static void print_factor(const dims *t, dim d, text *out)      /* in parentheses unless it is one word */
{
    bool bare = !is_expr(d) ? d.code >= 0
                            : entry_of(t, d)->kind == ENTRY_SYMBOL || entry_of(t, d)->kind == ENTRY_MIN ||
                                  entry_of(t, d)->kind == ENTRY_MAX;
    text_put(out, bare ? "" : "(");
    dim_print(t, d, out);
    text_put(out, bare ? "" : ")");
}

static void print_atom(const dims *t, const entry *e, text *out)
{
    switch (e->kind) {
    case ENTRY_SYMBOL:
        print_symbol(t->symbols.at[e->symbol].name, out);
        break;
    case ENTRY_FLOORDIV: case ENTRY_MOD:
        print_factor(t, e->a, out);
        text_put(out, e->kind == ENTRY_MOD ? " mod " : " floordiv ");
        print_factor(t, e->b, out);
        break;
    case ENTRY_MIN: case ENTRY_MAX:
        text_put(out, e->kind == ENTRY_MIN ? "min(" : "max(");
        dim_print(t, e->a, out);
        text_put(out, ", ");
        dim_print(t, e->b, out);
        text_put(out, ")");
        break;
    case ENTRY_POLY: break;
    }
}

/* |coefficient| * atoms */
static void print_term(const dims *t, const term *s, text *out)
{
    int64_t coef = s->coef < 0 ? -s->coef : s->coef;
    if (coef != 1) text_printf(out, "%" PRId64 "*", coef);
    for (int j = 0; j < s->n; j++) {
        if (j) text_put(out, "*");
        if (coef == 1 && s->n == 1) print_atom(t, &t->entries.at[s->atoms[j]], out);
        else print_factor(t, entry_dim(s->atoms[j]), out);
    }
}

void dim_print(const dims *t, dim d, text *out)
{
    if (dim_is_bad(d)) {
        text_put(out, "bad");
        return;
    }
    poly_view v;
    look(t, d, &v);
    for (int i = 0; i < v.n; i++) {
        bool minus = v.terms[i].coef < 0;
        text_put(out, i ? (minus ? " - " : " + ") : minus ? "-" : "");
        if (i == 0 && minus && v.terms[i].coef == -1 && v.terms[i].n == 1)
            print_factor(t, entry_dim(v.terms[i].atoms[0]), out);
        else print_term(t, &v.terms[i], out);
    }
    if (v.n == 0) text_printf(out, "%" PRId64, v.constant);
    else if (v.constant)
        text_printf(out, v.constant < 0 ? " - %" PRId64 : " + %" PRId64,
                    v.constant < 0 ? -v.constant : v.constant);
}

typedef struct { dims *t; const char *at, *end; int depth; bool failed; } reader;

static dim read_sum(reader *r);

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) r->at++;
}

static bool take_char(reader *r, char c)
{
    skip_space(r);
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    skip_space(r);
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
    if ((size_t)(r->end - r->at) > n && is_word(r->at[n])) return false;
    r->at += n;
    return true;
}

static dim read_failed(reader *r)
{
    r->failed = true;
    return DIM_BAD;
}

static dim read_number(reader *r)
{
    int64_t v = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        if (!mul_ok(v, 10, &v) || !add_ok(v, *r->at++ - '0', &v)) return read_failed(r);
    return in_limit(v) ? dim_const(v) : read_failed(r);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static dim read_quoted(reader *r)              /* after the opening quote */
{
    text name = { .a = r->t->arena };
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at++;
        if (c == '\\') {
            if (r->end - r->at < 3 || r->at[0] != 'x' || hex_digit(r->at[1]) < 0 || hex_digit(r->at[2]) < 0)
                return read_failed(r);
            c = (char)(hex_digit(r->at[1]) * 16 + hex_digit(r->at[2]));
            r->at += 3;
        }
        if (c == '\0' || c == '\n') return read_failed(r);
        text_putn(&name, &c, 1);
    }
    if (!take_char(r, '"')) return read_failed(r);
    return dim_symbol(r->t, text_str(&name));
}

static dim read_pair(reader *r, dim (*combine)(dims *, dim, dim))
{
    if (!take_char(r, '(')) return read_failed(r);
    dim a = read_sum(r);
    if (!take_char(r, ',')) return read_failed(r);
    dim b = read_sum(r);
    if (!take_char(r, ')')) return read_failed(r);
    return combine(r->t, a, b);
}

static dim read_primary(reader *r)
{
    skip_space(r);
    if (r->failed || r->at >= r->end) return read_failed(r);
    char c = *r->at;
    if (c >= '0' && c <= '9') return read_number(r);
    if (take_char(r, '(')) {
        dim d = read_sum(r);
        return take_char(r, ')') ? d : read_failed(r);
    }
    if (take_char(r, '"')) return read_quoted(r);
    if (take_word(r, "min")) return read_pair(r, dim_min);
    if (take_word(r, "max")) return read_pair(r, dim_max);
    if (!is_word_start(c)) return read_failed(r);
    const char *from = r->at;
    while (r->at < r->end && is_word(*r->at)) r->at++;
    const char *name = arena_strndup(r->t->arena, from, (size_t)(r->at - from));
    return is_plain_name(name) ? dim_symbol(r->t, name) : read_failed(r);
}

static dim read_unary(reader *r)
{
    bool minus = false;
    while (take_char(r, '-')) minus = !minus;
    dim d = read_primary(r);
    return minus ? dim_neg(r->t, d) : d;
}

static dim read_product(reader *r)
{
    dim d = read_unary(r);
    while (!r->failed) {
        if (take_char(r, '*')) d = dim_mul(r->t, d, read_unary(r));
        else if (take_word(r, "floordiv")) d = dim_div(r->t, d, read_unary(r));
        else if (take_word(r, "ceildiv")) d = dim_ceildiv(r->t, d, read_unary(r));
        else if (take_word(r, "mod")) d = dim_mod(r->t, d, read_unary(r));
        else break;
    }
    return d;
}

static dim read_sum(reader *r)
{
    if (++r->depth > MAX_PARSE_DEPTH) return read_failed(r);
    dim d = read_product(r);
    while (!r->failed) {
        if (take_char(r, '+')) d = dim_add(r->t, d, read_product(r));
        else if (take_char(r, '-')) d = dim_sub(r->t, d, read_product(r));
        else break;
    }
    r->depth--;
    return d;
}

bool dim_parse(dims *t, const char **at, const char *end, dim *out)
{
    reader r = { .t = t, .at = *at, .end = end };
    *out = read_sum(&r);
    *at = r.at;
    return !r.failed && !dim_is_bad(*out);
}

/* -- Walking --------------------------------------------------------------------------------------------- */

static dim term_dim(dims *t, const term *s)
{
    poly p = { .n = 0 };
    add_term(t, &p, s->coef, s->atoms, s->n);
    return finish(t, &p);
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
