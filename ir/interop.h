/* ir/interop.h: what one front end asks of another, so that neither includes the other: an operator called by
 * its name while a graph is built, and a whole model as a graph. The callee is a table of functions that the
 * api hands over.
 *
 * A call that fails has reported why in the graph's context.
 */
#ifndef DLC_IR_INTEROP_H
#define DLC_IR_INTEROP_H
#include "ir/graph.h"
#include "ir/tensor.h"

/* What an operator takes and gives: a tensor, a list of such, or nothing. */
typedef enum { OPERAND_ABSENT, OPERAND_TENSOR, OPERAND_LIST } operand_kind;
typedef struct op_value { operand_kind kind; value v; int n; const struct op_value *items; } op_value;

/* A graph in an attribute: built by who calls, into g, over the operands `in`. Values of the graph around it
 * are captured: each becomes one more input of g, and is appended to *outer; outer NULL: g is the graph
 * around it itself. */
typedef struct operand_body {
    void *arg;
    int n_in;
    bool (*build)(void *arg, graph *g, int n_in, const op_value *in, int *n_out, op_value **out, int *n_outer,
                  value **outer);
} operand_body;

/* An attribute; kind as in frontend/onnx/schema/standard.def: i I f F s S t g; d: i, as an element type. */
typedef struct operator_attr {
    const char *name;
    char kind;
    int n;                              /* of a list; else 1 */
    const int64_t *i; const double *f; const char *const *s;
    dtype d;
    value t;                            /* a constant of the graph */
    const operand_body *body;
} operator_attr;

/* -- Operators that somebody else defines: of the language, for an ONNX model ---------------------------- */

typedef struct operator_library {
    void *arg;
    /* A definition, or NULL. */
    const void *(*find)(void *arg, const char *domain, const char *name);
    /* Its nodes, in g; n_out results in out. */
    bool (*call)(void *arg, const void *def, graph *g, int n_in, const op_value *in, int n_attrs,
                 const operator_attr *attrs, int n_out, value *out);
} operator_library;

/* -- ONNX, for the language ------------------------------------------------------------------------------ */

/* An input as a model declares it; of an open dimension size is -1 and symbol its name. */
typedef struct {
    const char *name;
    dtype dtype;
    int rank;
    int64_t size[MAX_RANK];
    const char *symbol[MAX_RANK];
} model_input;
typedef struct { int n_in; const model_input *in; int n_out; const char *const *out; } model_signature;

/* A model as a graph of inputs, then parameters; its results are the model's outputs. */
/* is_statistic: what a normalization has gathered, not to be trained. */
typedef struct { const char *name; tensor first; bool is_statistic; } model_parameter;
/* The last n_moved results are new values of parameters: moved[], their numbers. */
typedef struct { graph *g; int n_params; const model_parameter *params; int n_moved; const int *moved; } model_graph;

typedef struct operator_call {
    const char *name;                   /* of the operator */
    const char *path;                   /* of the node: names its random numbers */
    const char *file;                   /* in which the call stands */
    int n_in; const op_value *in;
    int n_attrs; const operator_attr *attrs;
    int n_out;                          /* results asked for; -1: those that are always there */
} operator_call;

typedef struct onnx_access {
    void *arg;
    bool (*signature)(void *arg, dlc_context *ctx, arena *a, const char *path, model_signature *out);
    /* For inputs of these types, over this table of dims. by_batch: normalizations go by the batch, and their
     * statistics move. */
    bool (*model)(void *arg, dlc_context *ctx, arena *a, const char *path, dims *d, int n_in, const type *in,
                  const operator_library *ops, bool by_batch, model_graph *out);
    /* Kind of an attribute, 0: there is none; is_known false: there is no such operator. */
    char (*attribute)(void *arg, const char *op, const char *attr, bool *is_known);
    /* The element type in which a plain number (is_float: with a point) is given as input i, beside tensors
     * of types have (DTYPE_NONE: no tensor); *is_list: the operator takes a list there. */
    dtype (*input_type)(void *arg, const char *op, int i, int n_in, const dtype *have, bool is_float,
                        bool *is_list);
    bool (*call)(void *arg, graph *g, const operator_call *call, int *n_out, op_value **out);
    /* Names of all operators. */
    const char *const *(*names)(void *arg, arena *a, int *n);
} onnx_access;

#endif
