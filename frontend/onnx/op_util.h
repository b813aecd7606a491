/* frontend/onnx/op_util.h: what operator functions of several files share: axes, structural inputs,
 * activations. */
#ifndef DLC_FRONTEND_ONNX_OP_UTIL_H
#define DLC_FRONTEND_ONNX_OP_UTIL_H
#include "frontend/onnx/op.h"

/* An activation by its ONNX name, as the activation operators and the recurrent ones know it. NAN for alpha
 * or beta takes the standard's default. A name that is none of them: op_fail. */
value op_activation(op_call *c, graph *g, const char *name, value x, double alpha, double beta);

/* The axes of a node as a bit set: attribute `axes` before version `since`, input `i` from there on. *given
 * is false if there are none. `rank` is what negative axes count from. */
uint32_t op_axes(op_call *c, int i, int since, int rank, bool *given);

/* Like op_known, but beyond ±2^60 (as in "to the end") elements are brought to ±(2^60 - 1). NULL: reported.
 */
const dim *op_known_dims(op_call *c, int i, const char *what, int *n);

/* The constant value of dim d, else op_unsupported that names `what` and --dim; false. */
bool op_const_dim(op_call *c, dim d, const char *what, int64_t *v);

/* Extent of all axes of x in [from, to). */
dim op_extent(graph *g, value x, int from, int to);

/* A dim as a number of type t, rank 0. */
value op_dim_value(graph *g, dtype t, dim d);

/* An input of a body for an outer value: the next capture. */
value op_capture(graph *body, const graph *outer, value v);

/* i64 literal of rank 1 (cols < 0) or 2. */
value op_ints(graph *g, const int64_t *v, int64_t rows, int64_t cols);
/* doubles as a literal of type t */
value op_reals(graph *g, dtype t, const double *v, int rank, const dim *d);
void op_out_edge(op_call *c, int i, edge e);                               /* a sequence or optional result */
#endif
