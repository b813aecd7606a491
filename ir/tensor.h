/* ir/tensor.h: a dense tensor in memory: what the interpreters, folding, files and the public API hand
 * around. */
#ifndef DLC_IR_TENSOR_H
#define DLC_IR_TENSOR_H
#include "ir/graph.h"

/* Elements row-major, last axis fastest, one element in dtype_bytes(dtype) bytes. Who owns `bytes` is said
 * where a tensor is handed over. */
typedef struct {
    dtype dtype;
    int rank;
    int64_t dims[MAX_RANK];
    void *bytes;
} tensor;

/* False if the product does not fit 2^62. */
static inline bool tensor_count(const tensor *t, int64_t *n)
{
    int64_t x = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] == 0) { *n = 0; return true; }
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] < 0 || !mul_ok(x, t->dims[i], &x) || x > (int64_t)1 << 62) return false;
    *n = x;
    return true;
}

/* Elements and bytes of a tensor whose size has been checked. */
static inline int64_t tensor_n(const tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i];
    return n;
}

static inline size_t tensor_bytes(const tensor *t)
{
    return (size_t)tensor_n(t) * (size_t)dtype_bytes(t->dtype);
}

#endif
