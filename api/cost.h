/* api/cost.h: what one call of a kernel does, by counting. */
#ifndef DLC_API_COST_H
#define DLC_API_COST_H
#include "ir/loop.h"

/* flops: floating-point operations, and integer ones on data; a multiply-add is two, any other function one.
 * bytes: elements that are read or written, each buffer's once: at most its size, at most what its accesses
 * touch. */
typedef struct { double flops, bytes; } kernel_cost;

/* symbols: the open sizes by number, NULL if there are none. */
kernel_cost cost_of(dlc_context *ctx, const kernel_code *k, const int64_t *symbols);
#endif
