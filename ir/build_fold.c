/* ir/build_fold.c: folding of small constants in the builder. */
#include "ir/build_inner.h"

value fold_map(graph *g, scalar fn, dtype to, int n, const value *x, type t) { (void)g, (void)fn, (void)to, (void)n, (void)x, (void)t; return NO_VALUE; }
value fold_reduce(graph *g, const reduce_attr *a, value x, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value fold_reshape(graph *g, value x, type t) { (void)g, (void)x, (void)t; return NO_VALUE; }
value fold_transpose(graph *g, value x, const transpose_attr *a, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value fold_broadcast(graph *g, value x, type t) { (void)g, (void)x, (void)t; return NO_VALUE; }
value fold_slice(graph *g, value x, const slice_attr *a, type t) { (void)g, (void)a, (void)x, (void)t; return NO_VALUE; }
value fold_pad(graph *g, value x, value with, const pad_attr *a, type t) { (void)g, (void)a, (void)x, (void)with, (void)t; return NO_VALUE; }
value fold_concat(graph *g, int n, const value *x, int axis, type t) { (void)g, (void)n, (void)x, (void)axis, (void)t; return NO_VALUE; }
value fold_gather(graph *g, value x, int n, const value *idx, const gather_attr *a, type t) { (void)g, (void)x, (void)n, (void)idx, (void)a, (void)t; return NO_VALUE; }
value fold_bitcast(graph *g, value x, type t) { (void)g, (void)x, (void)t; return NO_VALUE; }
value fold_by_evaluator(graph *g, value y) { (void)g; return y; }

const dim *known_ints(graph *g, value v, int *n)
{
    const node *x = node_of(g, v);
    if (x->prim != PRIM_const || x->konst->n > INT_FOLD_LIMIT) return NULL;
    *n = (int)x->konst->n;
    if (x->konst->dims) return x->konst->dims;
    dtype t = x->types[0].dtype;
    if (!is_int(t) && t != DTYPE_bool) return NULL;
    dim *d = NEW_ARRAY(g->arena, dim, *n);
    for (int i = 0; i < *n; i++) d[i] = dim_const(sv_to_i64(t, sv_load(t, (const char *)x->konst->bytes + i * dtype_bytes(t))));
    return d;
}
