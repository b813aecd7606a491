/* ir/build_simplify.c: the builder's local rewrites. */
#include "ir/build_inner.h"

value simplify_map(graph *g, scalar fn, dtype to, int n, const value *x, type t) { (void)g, (void)fn, (void)to, (void)n, (void)x, (void)t; return NO_VALUE; }
value simplify_reduce(graph *g, const reduce_attr *a, value x, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value simplify_reshape(graph *g, value x, type t) { (void)g, (void)x, (void)t; return NO_VALUE; }
value simplify_transpose(graph *g, value x, const transpose_attr *a, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value simplify_broadcast(graph *g, value x, type t) { (void)g, (void)x, (void)t; return NO_VALUE; }
value simplify_slice(graph *g, value x, const slice_attr *a, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value simplify_pad(graph *g, value x, value with, const pad_attr *a, type t) { (void)g, (void)a, (void)x, (void)with, (void)t; return NO_VALUE; }
value simplify_concat(graph *g, int n, const value *x, int axis, type t) { (void)g, (void)n, (void)x, (void)axis, (void)t; return NO_VALUE; }
value simplify_gather(graph *g, value x, int n, const value *idx, const gather_attr *a, type t) { (void)g, (void)x, (void)n, (void)idx, (void)a, (void)t; return NO_VALUE; }
