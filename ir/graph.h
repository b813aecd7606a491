/* ir/graph.h: the graph: what is computed. Nodes are primitives; values are their results.
 *
 * Nodes are immutable, made only by the builder (ir/build.h), which infers their types and hash-conses them.
 * Node order is a topological order: operands come before their users. A value is a number; a node with
 * several results owns consecutive values. Bodies (of scan, cond, while, kernel) are graphs of their own that
 * share the dims table and the arena; whatever they use of the outside is an operand and an `input` of the
 * body (explicit captures).
 */
#ifndef DLC_IR_GRAPH_H
#define DLC_IR_GRAPH_H
#include "ir/dim.h"
#include "ir/scalar.h"

enum { MAX_RANK = 16 };

typedef enum {
#define PRIM(name, ...) PRIM_##name,
#include "ir/prim.def"
    PRIM_COUNT
} prim;
typedef struct { const char *name; int n_in, n_out; const char *doc; } prim_row;
extern const prim_row prim_info[PRIM_COUNT];

typedef struct { uint32_t id; } value;               /* 0: NO_VALUE */
#define NO_VALUE ((value){ 0 })
static inline bool is_value(value v) { return v.id != 0; }
static inline bool same_value(value a, value b) { return a.id == b.id; }

typedef struct { dtype dtype; int rank; const dim *dims; } type;      /* dims interned in the graph's arena */

typedef struct graph graph;
typedef struct node node;

/* -- Attributes, one struct a primitive ------------------------------------------------------------------ */

/* const: the elements row-major. Exactly one of `bytes` and `dims` is set; `dims` (i64 or i32 only) are
 * symbolic elements, or constant ones of small integer tensors: every integer constant of at most 64 elements
 * has both forms reachable through const_dims(). Bytes may lie in a mapped file. `name` is the weight's own
 * name, or NULL. */
typedef struct {
    const void *bytes; const dim *dims; int64_t n;   /* n elements */
    const char *name;
    bool is_file;             /* borrowed: hash-consed by address, not content (large) */
    const dim *ints;          /* what known_ints() found; only the builder looks at it */
} const_attr;

typedef struct { int axis; } iota_attr;
typedef struct { scalar fn; dtype to; } map_attr;                     /* to: cast only, else DTYPE_NONE */
typedef enum { REDUCE_sum, REDUCE_prod, REDUCE_max, REDUCE_min, REDUCE_argmax, REDUCE_argmin,
               REDUCE_COUNT } reduce_kind;
extern const char *const reduce_name[REDUCE_COUNT];
/* axes: bit set; last: of equal extrema */
typedef struct { reduce_kind kind; uint32_t axes; bool last; } reduce_attr;

/* One relation  idil*i = stride*o + dil*k - pad  between positions i (of a), k (of b) and o (of the result).
 */
typedef struct { int64_t idil, stride, dil, pad; } relation;
typedef struct { uint8_t a, b, o; relation r; } contract_window;      /* labels */
enum { MAX_LABELS = 32 };

/* contract: labels are small numbers, the same number in la, lb, lo is the same label. `sum` lists the summed
 * labels (contracted, and the b labels of windows) in the order of the chain. Operands: a, b, and init if
 * n_in == 3. `limits`: scale*x + y < bound for summed labels x (or NO_LABEL) and y, as in "16*C + c < 24". */
#define NO_LABEL 255
typedef struct { uint8_t x; int64_t scale; uint8_t y; dim bound; } contract_limit;
typedef struct {
    int n_labels;
    const char *label_name[MAX_LABELS];              /* as printed */
    uint8_t la[MAX_RANK], lb[MAX_RANK], lo[MAX_RANK], sum[MAX_LABELS];
    int n_sum;
    dim extent[MAX_LABELS];                          /* of each label */
    contract_window windows[MAX_RANK]; int n_windows;
    contract_limit limits[4]; int n_limits;
    dtype acc;                               /* accumulator; the result is rounded once to the node's dtype */
} contract_attr;

typedef enum { WINDOW_sum, WINDOW_prod, WINDOW_max, WINDOW_min, WINDOW_argmax, WINDOW_COUNT } window_kind;
extern const char *const window_name[WINDOW_COUNT];
typedef struct { int axis; dim size; int64_t k; relation r; } window_axis;    /* size: extent of o; k: taps */
typedef struct { window_kind kind; int n; window_axis axes[MAX_RANK]; } window_attr;      /* sorted by axis */

typedef struct { uint8_t perm[MAX_RANK]; } transpose_attr;
typedef struct { dim start[MAX_RANK]; int64_t step[MAX_RANK]; } slice_attr;    /* sizes: the type */
/* pad: n_in == 2: x, rank-0 value; n_in == 1: undef. */
typedef struct { dim lo[MAX_RANK], hi[MAX_RANK]; int64_t interior[MAX_RANK]; } pad_attr;
typedef struct { int axis; } concat_attr;
/* gather: operands x, idx1…idxm. scatter: x, upd, idx1…idxm. batch pairs (x dim, index dim). */
typedef enum { SCATTER_set, SCATTER_add, SCATTER_mul, SCATTER_max, SCATTER_min, SCATTER_COUNT } scatter_mode;
extern const char *const scatter_name[SCATTER_COUNT];
typedef struct {
    int n_axes; uint8_t axes[MAX_RANK];
    int n_batch; uint8_t batch_x[MAX_RANK], batch_s[MAX_RANK];
    scatter_mode mode;                                /* scatter only */
} gather_attr;
typedef struct { int axis; uint32_t descending; dim k; } sort_attr;   /* descending: bit j for key j */
/* scan: operands carries, xs, captures; body inputs in that order; body results carries then ys. */
typedef struct { graph *body; int n_carry, n_xs; dim n; bool reverse; } scan_attr;
/* cond: operands pred, then the captures; both bodies have those captures as inputs, and results of equal
 * types. */
typedef struct { graph *then_body, *else_body; } cond_attr;
/* while: operands carries, captures. test -> bool[]; body -> carries. max_trip < 0: unbounded. */
typedef struct { graph *test, *body; int n_carry; int64_t max_trip; } while_attr;
typedef struct { dtype to; } bitcast_attr;
typedef struct { int index; const char *name; } input_attr;
/* compact: result 0 idx i64[N], result 1 count i64[]. If symbol is set, it stands for the count in later
 * shapes. */
typedef struct { bool has_symbol; dim symbol; } compact_attr;
typedef enum { ANCHOR_map, ANCHOR_row, ANCHOR_contract, ANCHOR_window, ANCHOR_move, ANCHOR_scatter,
               ANCHOR_sort,
               ANCHOR_compact, ANCHOR_COUNT } anchor_kind;
extern const char *const anchor_name[ANCHOR_COUNT];
typedef struct { anchor_kind anchor; graph *body; } kernel_attr;

struct node {
    uint8_t prim;
    uint16_t n_in, n_out;
    uint32_t first;           /* id of its first result */
    const value *in;
    const type *types;        /* of the results */
    union {
        const void *attr;
        const const_attr *konst; const iota_attr *iota; const map_attr *map; const reduce_attr *reduce;
        const contract_attr *contract; const window_attr *window; const transpose_attr *transpose;
        const slice_attr *slice; const pad_attr *pad; const concat_attr *concat; const gather_attr *gather;
        const sort_attr *sort; const scan_attr *scan; const cond_attr *cond; const while_attr *loop;
        const bitcast_attr *bitcast;
        const input_attr *input;
        const compact_attr *compact;
        const kernel_attr *kernel;
    };
    const place *at;          /* where it first came from; may be NULL */
};

typedef struct graph_shared graph_shared;      /* the builder's tables, common to a graph and its bodies */

struct graph {
    dlc_context *ctx;
    graph_shared *shared;
    arena *arena;             /* shared with the bodies */
    dims *dims;
    const char *name;
    graph *parent;           /* of a body under construction; NULL otherwise. Only the builder looks at it. */
    vec(node) nodes;          /* nodes.at[0] is unused */
    vec(uint32_t) owner;      /* value id -> node index; [0] unused */
    vec(const char *) names;  /* value id -> name given by the user, or NULL */
    vec(value) inputs;        /* in order */
    vec(value) results;
    vec(const char *) result_names;     /* parallel to results; NULL entries possible */
    cons_table cons;
    place at;                 /* given to the nodes built now */
    bool failed;              /* sticky: the builder has reported an error */
};

/* Values are valid in one graph only. NO_VALUE has the type f32[], so that code after an error may still ask.
 */
static inline const node *node_of(const graph *g, value v) { return &g->nodes.at[g->owner.at[v.id]]; }
static inline int result_index(const graph *g, value v) { return (int)(v.id - node_of(g, v)->first); }
static inline type type_of(const graph *g, value v)
{
    const node *n = node_of(g, v);
    return n->types[v.id - n->first];
}

static inline value result_of(const node *n, int k) { return (value){ n->first + (uint32_t)k }; }
static inline int64_t n_nodes(const graph *g) { return g->nodes.n; }           /* indices 1 … n-1 */

/* Computes small constants for the builder, in the order of rounding that the program would have. ir may not
 * include the backends, so whoever knows one sets ctx->evaluator. evaluate: v's elements (all its operands
 * are constants, or views of constants, of at most 64 elements; no bodies) row-major into out; false: cannot.
 */
typedef struct graph_evaluator {
    bool (*evaluate)(void *arg, const graph *g, value v, void *out);
    void *arg;
    fma_mode fma;             /* for what the builder computes itself, too (FMA_FUSED without an evaluator) */
} graph_evaluator;

dim type_elements(const graph *g, type t);
bool type_same(type a, type b);
void type_print(const graph *g, type t, text *out);                             /* "f32[N, 784]" */

/* Print, parse, verify (docs/text-form.md). print(parse(x)) == x. */
void graph_print(const graph *g, text *out);
/* NULL: diagnostics say why */
graph *graph_parse(dlc_context *ctx, arena *a, const char *file, const char *src, size_t n);
bool graph_verify(const graph *g, const char *when);                            /* reports every violation */
const char *graph_show(const graph *g);                                         /* for the debugger */

/* Indices of the nodes that the results need, operands first, in the order of a depth-first walk from the
 * results. */
uint32_t *graph_order(const graph *g, arena *a, int64_t *n);
/* Reachable nodes (and all inputs) only, renumbered in that order; bodies likewise. In the same arena. */
graph *graph_compact(const graph *g);
/* For each node, by index: does what it computes depend on a node of this primitive (one inside a body counts
 * for all)? */
bool *graph_depends(const graph *g, arena *a, prim p);
/* How many times each value is used (by nodes reachable from results, and by results). */
uint32_t *graph_uses(const graph *g, arena *a);
#endif
