/* frontend/onnx/op.h: what an ONNX operator function sees. Each operator is one function over the builder,
 * and one row of onnx_ops.def:
 *
 *     // Gemm (1, 6, 7, 9, 11, 13): alpha * op(A) op(B) + beta * C
 *     ONNX_OP(Gemm)
 *     {
 *         value a = in(0), b = in(1);
 *         if (attr_int("transA", 0)) a = transpose2(g, a);
 *         ...
 *         out(0, y);
 *     }
 *
 * Inside, `c` is the call and `g` the graph under construction. The builder's errors are sticky, so a
 * function needs no checks except those of its own attributes: op_fail(c, "…") for a wrong model,
 * op_unsupported(c, "…") for what is right but not implemented. A function that reads an attribute, input or
 * type it does not know how to honour must say so.
 */
#ifndef DLC_FRONTEND_ONNX_OP_H
#define DLC_FRONTEND_ONNX_OP_H
#include "ir/build.h"

/* What flows along ONNX edges: a tensor; a sequence of them (a list known when the graph is built); an
 * optional. */
typedef enum { EDGE_ABSENT, EDGE_TENSOR, EDGE_SEQUENCE, EDGE_NONE } edge_kind;   /* NONE: an empty optional */
typedef struct edge {
    edge_kind kind;
    value v;                          /* TENSOR */
    int n; const struct edge *items;  /* SEQUENCE */
    dtype dtype;                      /* element type of an empty SEQUENCE or NONE */
} edge;

typedef struct importer importer;     /* import.c */
typedef struct op_call {
    importer *imp;
    graph *g;
    const char *name, *op, *domain;   /* of the node: its name, operator, domain ("" is ai.onnx) */
    int version;                      /* since-version of the operator that applies in the model's opset */
    int opset;                        /* the model's version of the domain */
    int n_in, n_out;                  /* as written in the node (absent inputs counted) */
    const edge *in;
    edge *out;                        /* n_out, set by the function */
    const void *node;                 /* the decoded NodeProto, for attributes */
    struct scope *scope;     /* names seen by the node's bodies, attributes its references mean (op_call.c) */
    bool failed;
} op_call;

/* -- Operands and results -------------------------------------------------------------------------------- */
static inline bool op_has(const op_call *c, int i) { return i < c->n_in && c->in[i].kind != EDGE_ABSENT; }
value op_in(op_call *c, int i);                    /* a tensor; absent or another kind: op_fail, NO_VALUE */
static inline value op_in_or(op_call *c, int i, value other) { return op_has(c, i) ? op_in(c, i) : other; }
void op_out(op_call *c, int i, value v);           /* ignored if the node does not ask for output i */
static inline bool op_wants(const op_call *c, int i) { return i < c->n_out; }

/* In a training that goes by the statistics of the batch: is v what a normalization keeps of them? Its
 * number, or -1; and what it is from now on. */
int op_statistic(const op_call *c, value v);
void op_move_statistic(op_call *c, int param, value now);

/* -- Attributes: the default if absent; op_fail if of another kind --------------------------------------- */
bool op_has_attr(const op_call *c, const char *name);
int64_t op_attr_int(op_call *c, const char *name, int64_t other);
double op_attr_float(op_call *c, const char *name, double other);
const char *op_attr_str(op_call *c, const char *name, const char *other);
const int64_t *op_attr_ints(op_call *c, const char *name, int *n);             /* NULL if absent */
const float *op_attr_floats(op_call *c, const char *name, int *n);
const char *const *op_attr_strs(op_call *c, const char *name, int *n);
value op_attr_tensor(op_call *c, const char *name);                  /* NO_VALUE if absent; dense or sparse */
dtype op_attr_dtype(op_call *c, const char *name, dtype other);  /* ONNX TensorProto.DataType code -> dtype */
dtype onnx_dtype(int code);                                         /* DTYPE_NONE: string, complex, unknown */
int onnx_dtype_code(dtype t);

/* -- Structural inputs: must be known when the graph is built -----------------------------------------------
 * Elements as dims (possibly symbolic). Not known: a diagnostic that names the input and suggests --bind;
 * NULL. */
const dim *op_known(op_call *c, int i, const char *what, int *n);
bool op_known_ints(op_call *c, int i, const char *what, int *n, int64_t *v, int max);     /* constants only */
bool op_known_floats(op_call *c, int i, const char *what, int *n, double *v, int max);
/* Any constant subgraph of modest size, evaluated: n elements, row-major. what: as above; NULL: nothing is
 * reported. */
bool op_known_value(op_call *c, value v, const char *what, const void **bytes, int64_t *n);

/* -- Bodies (If, Loop, Scan, and functions with bodies): imports a GraphProto attribute into graph `g` with
 * these inputs; names of the outer scopes resolve through captures: an outer value used inside becomes one
 * more input of `body`, and is appended to *captures (in order of first use). */
typedef struct { vec(value) outer; } capture_list;
bool op_body(op_call *c, const char *attr, graph *body, int n_in, const edge *in, capture_list *captures,
             int *n_out, edge **out);
/* how many inputs the body declares; -1 no such attribute */
int op_body_inputs(op_call *c, const char *attr);
int op_body_outputs(op_call *c, const char *attr);
/* The same, inlined into the current graph: no captures needed. */
bool op_inline_body(op_call *c, const char *attr, int n_in, const edge *in, int *n_out, edge **out);
/* Calls another operator's function on the current graph, as in composites of the standard: newest version in
 * the model's opset; it sees the attributes of this node. */
bool op_call_other(op_call *c, const char *op, int n_in, const edge *in, int n_out, edge *out);

/* An attempt that may fail: `undo` takes back what was reported since `begin`, and the marks of failure. */
typedef struct { int64_t n_diags; int n_errors; dlc_status status; int n_bodies; } op_attempt;
op_attempt op_attempt_begin(const op_call *c);
void op_attempt_undo(op_call *c, op_attempt a);
bool op_attempt_failed(const op_call *c, op_attempt a);
const char *op_attempt_message(op_call *c, op_attempt a);   /* the first error since; NULL if there is none */

/* d y / d xs[k] as nodes of g; false: reported. */
bool op_gradient(op_call *c, value y, int n, const value *xs, value *dxs);
/* The value that a name has where the node stands, in the main graph only. */
bool op_named(op_call *c, const char *name, edge *e);
/* The node by an operator of options->library. */
void op_call_defined(op_call *c, const void *defined);

void op_fail(op_call *c, const char *fmt, ...) DLC_PRINTF(2, 3);
void op_unsupported(op_call *c, const char *fmt, ...) DLC_PRINTF(2, 3);
static inline arena *op_arena(op_call *c) { return c->g->arena; }
int op_axis(op_call *c, int64_t axis, int rank);   /* [-rank, rank) -> [0, rank); else op_fail, 0 */
uint64_t op_name_hash(const op_call *c);           /* 64-bit hash of the node's path, for random operators */

/* -- The table ------------------------------------------------------------------------------------------- */
typedef struct {
    const char *domain, *name;
    const int *versions; int n_versions;           /* since-versions implemented, ascending */
    void (*fn)(op_call *c, graph *g);
    const char *doc;                               /* limits, or "" */
} op_row;
extern const op_row onnx_ops[];
extern const int n_onnx_ops;
const op_row *onnx_op_find(const char *domain, const char *name);

/* Shorthand for operator functions. */
#define ONNX_OP(name) void onnx_op_##name(op_call *c, graph *g)
#define in(i) op_in(c, (i))
#define has_in(i) op_has(c, (i))
#define out(i, v) op_out(c, (i), (v))
#define attr_int(n, d) op_attr_int(c, (n), (d))
#define attr_float(n, d) op_attr_float(c, (n), (d))
#define attr_str(n, d) op_attr_str(c, (n), (d))
#endif
