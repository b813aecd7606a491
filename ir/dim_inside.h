/* ir/dim_inside.h: the table of dims, and what its files share; nobody else includes it.
 *
 *   dim.c          canonical form: entries, symbols and their bounds, intervals, arithmetic
 *   dim_proof.c    a <= b, and divisibility
 *   dim_eval.c     values, substitution, symbols that should be one
 *   dim_text.c     printing and parsing
 */
#ifndef DLC_IR_DIM_INSIDE_H
#define DLC_IR_DIM_INSIDE_H
#include "ir/dim.h"

enum { MAX_TERMS = 64, MAX_DEGREE = 16, MAX_SIZE = 2000 };

#define DIM_EXPR ((int64_t)1 << 61)

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

static inline bool is_expr(dim d) { return d.code >= DIM_EXPR; }
static inline entry *entry_of(const dims *t, dim d) { return &t->entries.at[d.code - DIM_EXPR]; }
static inline dim entry_dim(uint32_t i) { return (dim){ DIM_EXPR + (int64_t)i }; }

/* A view of any dim as a polynomial; `one` and `self` are room for the term of an atom. */
typedef struct { int64_t constant; int n; const term *terms; term one; uint32_t self; } poly_view;

static inline void poly_look(const dims *t, dim d, poly_view *v)
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

typedef struct { int64_t coef; int n; uint32_t atoms[MAX_DEGREE]; } loose_term;
typedef struct { bool bad; int64_t constant; int n; loose_term terms[MAX_TERMS]; } poly;

static inline bool in_limit(int64_t v) { return v > -DIM_LIMIT && v < DIM_LIMIT; }

typedef struct { int64_t lo, hi; } interval;

static inline int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

static inline bool any_bad(dim a, dim b) { return dim_is_bad(a) || dim_is_bad(b); }

static inline int64_t gcd64(int64_t a, int64_t b)
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

/* p += coef * the product of n atoms */
void poly_add_term(const dims *t, poly *p, int64_t coef, const uint32_t *atoms, int n);
dim poly_finish(dims *t, const poly *p);
interval dim_interval(dims *t, dim d);
bool divide_exactly(dims *t, dim a, dim b, dim *q);      /* polynomial long division: true if b divides a */
#endif
