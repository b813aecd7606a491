/* frontend/onnx/op_spatial.h: how the windows of convolutions and poolings lie: strides, dilations, padding,
 * and the sizes of the result, out of the attributes and the sizes of the operand (which may be symbolic).
 */
#ifndef DLC_FRONTEND_ONNX_OP_SPATIAL_H
#define DLC_FRONTEND_ONNX_OP_SPATIAL_H
#include "frontend/onnx/op_tensor.h"

typedef struct {
    int n;                                       /* spatial dims: axes 2 … n+1 of the operand */
    dim in[MAX_RANK], kernel[MAX_RANK];
    int64_t stride[MAX_RANK], dil[MAX_RANK];
    dim lo[MAX_RANK], hi[MAX_RANK];      /* padding; symbolic where SAME meets a symbolic size and a stride */
    dim size[MAX_RANK];                          /* of the result */
} spatial;

/* x[N, C, I…] and the kernel's extents -> the rest; false after op_fail. ceil: ceil_mode of the poolings. */
bool spatial_windows(op_call *c, value x, const dim *kernel, bool ceil, spatial *s);
/* The ints attribute `name` of n entries, or `other` n times; false after op_fail. */
bool spatial_ints(op_call *c, const char *name, int n, int64_t other, int64_t *v);
/* kernel_shape as dims; required. */
bool spatial_kernel_attr(op_call *c, value x, dim *kernel);
/* The lower padding as numbers; where they are not known, x is padded beforehand with `fill` and lo becomes
 * 0. */
value spatial_settle(graph *g, value x, spatial *s, value fill, int64_t *lo);
#endif
