/* ir/dim.h: dims, the integers of shapes: constants, or canonical expressions over symbols.
 *
 * A dim is a sum of products of symbols and of the opaque terms floordiv, mod, min, max. Expressions are
 * hash-consed in a `dims` table in canonical form, so equality is equality of handles. Constants carry their
 * value in the handle and need no table. Every symbol has bounds [lo, hi]; intervals prove comparisons.
 */
#ifndef DLC_IR_DIM_H
#define DLC_IR_DIM_H
#include "base/context.h"

typedef struct { int64_t code; } dim;     /* a constant, or DIM_EXPR + index of the expression in its table */
typedef struct dims dims;                    /* shared by a graph, its bodies, and the program made of it */

#define DIM_LIMIT ((int64_t)1 << 60)         /* constants lie strictly between -DIM_LIMIT and DIM_LIMIT */

dims *dims_new(dlc_context *ctx, arena *a);
dim dim_const(int64_t v);                    /* v beyond the limit gives DIM_BAD */
extern const dim DIM_BAD;           /* sticky: overflow or division by zero; any operation with it gives it */
static inline bool dim_same(dim a, dim b) { return a.code == b.code; }
bool dim_is_const(dim d, int64_t *v);        /* v may be NULL */
bool dim_is(dim d, int64_t v);
bool dim_is_bad(dim d);

/* A symbol; the same name gives the same symbol. Default bounds [0, 2^31). */
dim dim_symbol(dims *t, const char *name);
bool dim_symbol_bounds(dims *t, dim sym, int64_t lo, int64_t hi);     /* narrows; false if empty */
/* sym is at most `bound`, of symbols made before it (else nothing is noted): a fact for proofs, beside the
 * bounds. */
void dim_symbol_at_most(dims *t, dim sym, dim bound);
/* sym is a size of which its owner can still say that it is another one (the importer, which then builds
 * again). */
void dim_symbol_may_merge(dims *t, dim sym);
/* a and b have to be equal: would they be, if one such symbol were another? Then these two are noted, the
 * earlier one first. */
bool dims_want_equal(dims *t, dim a, dim b);
/* What was noted, names of symbols; false: nothing. */
bool dims_wanted(const dims *t, const char **keep, const char **drop);
/* a new symbol, for sizes that data decide */
dim dim_fresh(dims *t, const char *prefix, int64_t lo, int64_t hi);
int dims_n_symbols(const dims *t);
const char *dims_symbol_name(const dims *t, int i);
dim dims_symbol(const dims *t, int i);
void dims_symbol_range(const dims *t, int i, int64_t *lo, int64_t *hi);

dim dim_add(dims *t, dim a, dim b);
dim dim_sub(dims *t, dim a, dim b);
dim dim_mul(dims *t, dim a, dim b);
dim dim_neg(dims *t, dim a);
/* floor; b > 0 provable or constant nonzero; cancels where it divides exactly */
dim dim_div(dims *t, dim a, dim b);
dim dim_ceildiv(dims *t, dim a, dim b);
dim dim_mod(dims *t, dim a, dim b);          /* sign of b */
dim dim_min(dims *t, dim a, dim b);
dim dim_max(dims *t, dim a, dim b);
dim dim_product(dims *t, const dim *d, int n);
static inline dim dim_addk(dims *t, dim a, int64_t k) { return dim_add(t, a, dim_const(k)); }
static inline dim dim_mulk(dims *t, dim a, int64_t k) { return dim_mul(t, a, dim_const(k)); }

void dim_range(dims *t, dim d, int64_t *lo, int64_t *hi);             /* saturated to ±DIM_LIMIT */
bool dim_known_le(dims *t, dim a, dim b);    /* proved a <= b for all values in bounds; false: not proved */
bool dim_known_lt(dims *t, dim a, dim b);
bool dim_divides(dims *t, dim d, int64_t k); /* k provably divides d */

/* false: overflow, division by 0 */
bool dim_eval(const dims *t, dim d, const int64_t *symbol_values, int64_t *out);
dim dim_subst(dims *t, dim d, const dim *symbol_to);                  /* symbol i becomes symbol_to[i] */
/* A table of its own with the symbols of another: by number, those that are not open have the value given.
 * symbol_to[i], for dim_carry, is what becomes of symbol i. `from` is only read by both. */
dims *dims_fixed(dlc_context *ctx, arena *a, const dims *from, const int64_t *value, const bool *is_open,
                 dim *symbol_to);
dim dim_carry(const dims *from, dim d, dims *to, const dim *symbol_to);

void dim_print(const dims *t, dim d, text *out);            /* "4*N + 2", "(N + 1) floordiv 2", "min(N, 3)" */
/* the same form; unknown names become symbols */
bool dim_parse(dims *t, const char **at, const char *end, dim *out);

/* Walking an expression, for whoever emits code for it. */
typedef enum { DIM_CONST, DIM_SYMBOL, DIM_SUM, DIM_PRODUCT, DIM_FLOORDIV, DIM_MOD, DIM_MIN,
               DIM_MAX } dim_kind;
typedef struct { dim_kind kind; int64_t value; int symbol; const dim *args; int n_args; } dim_view;
/* DIM_SUM: args added; DIM_PRODUCT: args multiplied (a constant factor first); others two args. */
dim_view dim_look(dims *t, dim d);
#endif
