/* ir/graph_parse.h: inside of graph_parse*.c: the parser's state, and how a primitive's line is read.
 *
 * A reader is called behind the primitive's name. It reads operands, attributes and types, builds, and hands
 * the results to node_finish() (BUILD does both). Everything returns false once an error is reported; TRY
 * passes that on.
 */
#ifndef DLC_IR_GRAPH_PARSE_H
#define DLC_IR_GRAPH_PARSE_H
#include "ir/build.h"
#include "ir/lex.h"
#include "ir/text.h"

typedef struct { const char *name; size_t n; bool numbered; place at; } label;

typedef struct {                                 /* a node while its line is read */
    prim prim;
    place at;
    label *out; int n_out;
    value *in; int n_in;
    type *types; int n_types;                    /* as written; n_types 0: left out */
    scan_attr scan; while_attr loop; anchor_kind anchor;
    graph *body[2]; int part;
} pending;

typedef struct {
    graph *g;
    map_str names;                               /* name, or \1 + number -> value id */
    pending node;
} level;

typedef struct {
    lex l;
    dlc_context *ctx;
    arena *arena;
    dims *dims;
    vec(level) stack;
} parser;

#define TRY(x) do { if (!(x)) return false; } while (0)

static inline level *top(parser *p) { return &p->stack.at[p->stack.n - 1]; }
static inline graph *here(parser *p) { return top(p)->g; }

/* Values separated by commas, up to what is no value; the comma before that is taken too and *more set. */
bool node_read_values(parser *p, pending *n, bool *more);
/* Operands, at least and at most so many (most < 0: any number), and the comma before the attributes if there
 * are any. */
bool node_read_count(parser *p, pending *n, int least, int most, bool attributes);
/* ": type, type" at the end of a node; needed: it may not be left out. */
bool node_read_types(parser *p, pending *n, bool needed);
bool node_read_one_type(parser *p, pending *n, type *t);
/* A row of a table of names; kind: what it is called in the message. */
bool node_read_word(parser *p, const char *const *table, int n, const char *kind, int *row);
/* Checks the results against the line and gives them their names. */
bool node_finish(parser *p, pending *n, const value *out, int n_out, int64_t values_before);

#define BUILD(call) do { \
        graph *g = here(p); \
        int64_t before = g->owner.n; \
        g->at = n->at; \
        value made_ = (call); \
        return node_finish(p, n, &made_, 1, before); \
    } while (0)

/* graph_parse_node.c: the readers of primitives without bodies, NULL for others; those with bodies are in
 * graph_parse.c. */
typedef bool (*reader)(parser *p, pending *n);
extern const reader node_readers[PRIM_COUNT];

#endif
