/* frontend/onnx/onnx.h: the ONNX front end: a file in, a graph out. The one header for the rest of the system
 * (and op.h, for whoever calls operator functions by name).
 */
#ifndef DLC_FRONTEND_ONNX_ONNX_H
#define DLC_FRONTEND_ONNX_ONNX_H
#include "ir/interop.h"

/* --dim NAME=LO..HI/STEP: an open dimension fixed (lo == hi) or bounded; with a step above 1, to multiples of
 * it. NAME is the model's own ("batch"), or INPUT.AXIS for one without a name ("x.0"). */
typedef struct { const char *name; int64_t lo, hi, step; } onnx_dim_option;

/* --bind NAME=V,V,…: a value of the main graph (an input, or what a node computes) fixed to these elements.
 */
typedef struct { const char *name, *values; } onnx_bind_option;

/* A value out of a file: a tensor; or a sequence of them, or an optional (n_items 0 or 1 tensor, or a
 * sequence). */
typedef enum { ONNX_TENSOR, ONNX_SEQUENCE, ONNX_OPTIONAL, ONNX_OPTIONAL_SEQUENCE } onnx_kind;
typedef struct onnx_tensor {
    dtype dtype; int rank; int64_t dims[MAX_RANK]; int64_t n;
    const void *bytes;        /* elements row-major, dtype_bytes each, aligned */
    const char *name;
    onnx_kind kind;           /* not ONNX_TENSOR: only name, items and is_absent count */
    int n_items; const struct onnx_tensor *items;
    bool is_absent;           /* an optional without a value */
} onnx_tensor;

typedef struct {
    int n_dims; const onnx_dim_option *dims;
    int n_binds; const onnx_bind_option *binds;
    /* Values for the graph inputs in their order, as `dlc test` has them. An input whose value decides a
     * structure (a shape, axes, k) becomes a constant of its offer, is_offer_taken[i] is set, and the graph
     * has no such input. A sequence or optional becomes as many inputs as its offer has items, x[0], x[1], …,
     * of the items' shapes; without an offer it is not implemented, since its length must be known.
     * is_specialized: open dimensions take the sizes of the offers (a graph for these shapes only). */
    int n_offers; const onnx_tensor *offers; bool *is_offer_taken;
    bool is_specialized;
    /* operators that are defined elsewhere; they go before those that are built in. NULL: none */
    const operator_library *library;
    bool by_batch;                     /* of onnx_model_graph: model_graph.moved */
    /* For Gradient: d y / d wrt[i], as nodes of g. NULL: it is not available. */
    bool (*gradient)(graph *g, value y, int n, const value *wrt, value *dwrt);
} onnx_options;

/* Reads and checks the model at `path`, and builds its graph in `a`. Constants point into the mapped file,
 * which stays mapped as long as `a`. Not DLC_OK: diagnostics in ctx say why, all of one kind that can be said
 * at once; *out NULL.
 *   DLC_ERR_INPUT         the file, the model or an option is wrong
 *   DLC_ERR_UNSUPPORTED   valid, but something in it is not implemented
 */
dlc_status onnx_import(dlc_context *ctx, arena *a, const char *path, const onnx_options *options,
                       graph **out);
/* The same from memory, which must outlive `a`. `path` names it in messages, and its folder holds external
 * data. */
dlc_status onnx_import_bytes(dlc_context *ctx, arena *a, const char *path, bytes file,
                             const onnx_options *options, graph **out);

/* -- For other front ends (ir/interop.h says what each does): as_model.c, call_op.c ---------------------- */
bool onnx_model_signature(dlc_context *ctx, arena *a, const char *path, model_signature *out);
bool onnx_model_graph(dlc_context *ctx, arena *a, const char *path, dims *d, int n_in, const type *in,
                      const onnx_options *options, model_graph *out);
char onnx_op_attribute(const char *op, const char *attr, bool *is_known);
dtype onnx_op_input_type(const char *op, int i, int n_in, const dtype *have, bool is_float, bool *is_list);
bool onnx_op_call(graph *g, const operator_call *call, const onnx_options *options, int *n_out,
                  op_value **out);
const char *const *onnx_op_names(arena *a, int *n);

/* An output that is a sequence becomes as many results, y[0], y[1], …; an empty optional none. */

/* The main graph's inputs (without those that are initializers) and outputs as the file declares them. */
typedef struct { const char *name; onnx_kind kind; } onnx_io;
dlc_status onnx_list_io(dlc_context *ctx, arena *a, const char *path, int *n_in, onnx_io **in, int *n_out,
                        onnx_io **out);

/* Reads a value file, as test_data_set_0/input_0.pb: a TensorProto, or what the kind says. */
dlc_status onnx_read_value(dlc_context *ctx, arena *a, const char *path, onnx_kind kind, onnx_tensor *out);
dlc_status onnx_read_value_bytes(dlc_context *ctx, arena *a, const char *path, bytes file, onnx_kind kind,
                                 onnx_tensor *out);
dlc_status onnx_read_tensor(dlc_context *ctx, arena *a, const char *path, onnx_tensor *out);
/* The same message as bytes, appended to `to`. */
void onnx_put_value(text *to, const onnx_tensor *v);

#endif
