/* backend/eval/eval.h: the interpreters: small, obviously right, the oracle of the tests. */
#ifndef DLC_BACKEND_EVAL_H
#define DLC_BACKEND_EVAL_H
#include "ir/tensor.h"

typedef struct {
    fma_mode fma;
    bool fills_undef;         /* pad undef holds `undef`, else NaN (of ints: the largest value) */
    double undef;
} eval_options;

/* Run a graph once.
 *
 *   symbols  value of each symbol of g->dims, by index; symbols that data decide are set on the way. NULL if
 *            g has none
 *   in[i]    value of g->inputs.at[i], as its type says once symbols are put in; aligned for its elements;
 *            only read
 *   out[i]   value of g->results.at[i]; out[i].bytes lives in `a` (or is in[]'s, or a constant's): only read
 *
 * Memory: values are freed after their last use, all else with `a`. Returns DLC_OK, or a diagnostic at a
 * node: DLC_ERR_SHAPE where sizes that were left open do not fit. The order of every sum is ir/order.h's.
 */
dlc_status eval_graph(dlc_context *ctx, arena *a, const graph *g, const int64_t *symbols, const tensor *in,
                      tensor *out, const eval_options *options);

/* The symbols' values from the inputs' sizes: symbols[dims_n_symbols(g->dims)]. A symbol that no input
 * determines keeps the upper bound if data decide it, else is reported; so is an input whose type or size
 * does not fit. */
dlc_status eval_bind(dlc_context *ctx, const graph *g, const tensor *in, int64_t *symbols);

/* The builder's evaluator of small constants (ir/graph.h), by eval_graph: set ctx->evaluator to it before
 * building. */
graph_evaluator eval_evaluator(fma_mode fma);
/* The same graph with every float f64 (in g's arena): what errors are measured against. NULL: it has no such
 * form. */
graph *eval_widened(const graph *g);
#endif
