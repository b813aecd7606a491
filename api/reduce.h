/* api/reduce.h: a graph made smaller while something about it stays (`dlc reduce`). */
#ifndef DLC_API_REDUCE_H
#define DLC_API_REDUCE_H
#include "ir/graph.h"

/* How large a graph is, most important first: nodes that compute (those of bodies too), open sizes, bytes of
 * its text, the sum of its numbers. What is smaller in this order is taken, so the search ends. */
typedef struct { int64_t nodes, symbols, bytes, numbers; } graph_size;

typedef struct {
    bool (*fails)(void *arg, const char *source, size_t n);      /* does the graph of this text still fail? */
    void (*accepted)(void *arg, const char *source, size_t n);   /* it does, and it is the smallest so far */
    void (*step)(void *arg, int64_t steps, graph_size best);     /* before each call of fails; may be NULL */
    void *arg;
    int64_t max_steps;                                           /* calls of fails */
    double seconds;                                              /* 0: as long as it takes */
} reduce_options;

/* is_done: no limit was met */
typedef struct { graph_size first, last; int64_t steps; bool is_done; } reduce_result;

/* False: the graph as it is does not fail, so there is nothing to reduce; or a diagnostic was given. */
bool reduce_graph(dlc_context *ctx, const graph *g, const reduce_options *o, reduce_result *out);

#endif
