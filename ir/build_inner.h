/* ir/build_inner.h: what the files of the builder share; nobody else includes it.
 *
 * A builder function checks its operands, infers the result's type, tries simplify_* and fold_*, and only
 * then makes the node (make_node). Attribute structs are zeroed before they are filled, so that what is
 * unused compares equal.
 */
#ifndef DLC_IR_BUILD_INNER_H
#define DLC_IR_BUILD_INNER_H
#include "ir/build.h"

enum { FOLD_LIMIT = 64, INT_FOLD_LIMIT = 1024 };      /* elements */

struct graph_shared {
    arena *arena;
    vec(const type *) types;                    /* interned */
    cons_table type_cons;
    vec(struct { prim p; const void *at; }) attrs;        /* interned */
    cons_table attr_cons;
    const place *last_place;                    /* given to the newest node */
    const char *label[128];                     /* names of one character */
    expander *expander;                         /* made when first needed */
};

/* False if the builder is to give NO_VALUE back: an operand is missing, or an error was reported before. */
bool ready(const graph *g, int n, const value *x);
static inline bool ready1(const graph *g, value x) { return ready(g, 1, &x); }

const type *intern_type(graph *g, type t);

/* Attributes (ir/attr.c): the struct of primitive p; 0 bytes if it has none, or is a constant. */
typedef enum { ATTR_MEANING, ATTR_ALL } attr_part;           /* ATTR_ALL: names, too */
size_t attr_bytes(prim p);
bool attr_same(prim p, const void *a, const void *b, attr_part part);
uint64_t attr_hash(prim p, const void *a, attr_part part, uint64_t seed);
const void *intern_attr(graph *g, prim p, const void *attr);

/* One result of type t; attr is p's struct, or NULL. */
value make_node(graph *g, prim p, int n_in, const value *in, const void *attr, type t);
/* Several results. */
const node *make_node_n(graph *g, prim p, int n_in, const value *in, const void *attr, int n_out,
                        const type *types);
bool compact_to(graph *g, value mask, dim symbol, value *idx, dim *count);
value make_const(graph *g, type t, const const_attr *c);
value constant_of_dims(graph *g, type t, const dim *d, int n);

bool dims_equal(graph *g, dim a, dim b);        /* provably */
/* A mismatch of these dims: if one is open the sizes may yet fit, and the message says how to fix them. */
value build_fail_dims(graph *g, const dim *d, int n, const char *fmt, ...) DLC_PRINTF(4, 5);
/* The bounds of symbol x become narrower, since other sizes have no meaning; false if x is no symbol, nothing
 * would be left, or g is a body (which may not run for those sizes). */
bool narrow_symbol(graph *g, dim x, int64_t lo, int64_t hi);
/* Extents that must be equal. Where they are for all but some sizes of a symbol (N and min(N, 512), or N and
 * 3), its bounds are narrowed. Where they are if one open size of the inputs is another, that is noted
 * (dims_wanted): a front end can build again with one symbol for both. */
bool dims_agree(graph *g, dim a, dim b);
bool types_equal(graph *g, type a, type b);
const char *show_type(graph *g, type t);        /* for messages */
const char *show_shape(graph *g, int rank, const dim *d);
const char *show_dim(graph *g, dim d);
bool check_shape(graph *g, const char *what, int rank, const dim *d);
bool slice_is_inside(graph *g, dim extent, dim start, dim size, int64_t step);      /* provably */
bool all_const(const dim *d, int n);
bool check_relation(graph *g, const char *what, relation *r);      /* normalizes to idil >= 1 */

/* The operands of a scan that is to be made, and the scan over simpler ones (build_scan.c): *done false:
 * nothing applies, nothing was made. False: an error. */
typedef struct { int n_carry, n_xs, n_in; dim n; bool reverse; const value *in; } scan_parts;
bool simplify_scan(graph *g, graph *body, const scan_parts *s, value *out, bool *done);

/* -- Simplification and folding: NO_VALUE if nothing applies --------------------------------------------- */

value simplify_map(graph *g, scalar fn, dtype to, int n, const value *x, type t);
value simplify_reduce(graph *g, const reduce_attr *a, value x, type t);
value simplify_reshape(graph *g, value x, type t);
value simplify_transpose(graph *g, value x, const transpose_attr *a, type t);
value simplify_broadcast(graph *g, value x, type t);
value simplify_slice(graph *g, value x, const slice_attr *a, type t);
value simplify_pad(graph *g, value x, value with, const pad_attr *a, type t);
value simplify_concat(graph *g, int n, const value *x, int axis, type t);
value simplify_gather(graph *g, value x, int n, const value *idx, const gather_attr *a, type t);

value fold_map(graph *g, scalar fn, dtype to, int n, const value *x, type t);
value fold_reduce(graph *g, const reduce_attr *a, value x, type t);
value fold_reshape(graph *g, value x, type t);
value fold_transpose(graph *g, value x, const transpose_attr *a, type t);
value fold_broadcast(graph *g, value x, type t);
value fold_slice(graph *g, value x, const slice_attr *a, type t);
value fold_pad(graph *g, value x, value with, const pad_attr *a, type t);
value fold_concat(graph *g, int n, const value *x, int axis, type t);
value fold_gather(graph *g, value x, int n, const value *idx, const gather_attr *a, type t);
value fold_bitcast(graph *g, value x, type t);
value fold_by_evaluator(graph *g, value y);     /* y itself if it does not fold */

#endif
