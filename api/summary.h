/* api/summary.h: what a graph holds and costs, layer by layer: for `dlc inspect`. */
#ifndef DLC_API_SUMMARY_H
#define DLC_API_SUMMARY_H
#include "ir/loop.h"

/* What one node of the model became. Open sizes count with the least size that their bounds allow, 1 if that
 * is 0. */
typedef struct {
    const char *name, *op;        /* of the node in the file; "" for what belongs to none */
    const char *type;             /* of its last result, as text */
    int64_t n_prims;
    double flops;                 /* scalar operations; a multiply-add counts as two */
    double bytes;                 /* read and written, each operand and result once */
    int64_t params, param_bytes;  /* weights that it reads first */
} layer;

typedef struct {
    int n_layers; layer *layers;
    double flops, bytes;
    int64_t params, param_bytes;
} summary;

summary summarize(const graph *g, arena *a);

/* Where a temporary lies in the workspace, and the calls that it lives from and to, numbered in line. Open
 * sizes: offset and bytes are -1. */
typedef struct { const char *name, *type; int64_t offset, bytes, first, last; } planned;
planned *plan_of(const program *p, arena *a, int64_t *n);      /* in the order of their first calls */
#endif
