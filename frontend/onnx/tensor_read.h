/* frontend/onnx/tensor_read.h: TensorProto and SparseTensorProto as plain elements. */
#ifndef DLC_FRONTEND_ONNX_TENSOR_READ_H
#define DLC_FRONTEND_ONNX_TENSOR_READ_H
#include "frontend/onnx/external.h"
#include "ir/graph.h"

typedef struct {
    dlc_context *ctx;
    arena *a;                 /* where elements go that cannot stay in the file */
    const decoded *from;
    external *files;          /* NULL: external data are refused */
} tensor_source;

typedef struct {
    dtype dtype;
    int rank;
    int64_t dims[MAX_RANK];
    int64_t n;                /* elements */
    /* row-major, one element in dtype_bytes(dtype), perhaps not aligned; NULL: only checked */
    const void *bytes;
} tensor_data;

typedef enum { TENSOR_CHECK, TENSOR_ELEMENTS } tensor_want;

/* Checks a tensor completely, and if wanted gives its elements. False: a diagnostic at `at`. */
bool tensor_read(const tensor_source *s, place at, const tensor_proto *t, tensor_want want, tensor_data *out);
bool sparse_read(const tensor_source *s, place at, const sparse_proto *t, tensor_want want, tensor_data *out);

dtype onnx_dtype(int code);
int onnx_dtype_code(dtype t);
const char *onnx_type_name(int code);                /* "float", "int4", …; NULL: unknown */

#endif
