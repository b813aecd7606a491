/* op_util: helpers that operator functions of several files share; see op_util.h. */
#include "frontend/onnx/op_util.h"

#include <stdlib.h>

static dim saturated(int64_t x)
{
    return dim_const(x >= DIM_LIMIT ? DIM_LIMIT - 1 : x <= -DIM_LIMIT ? 1 - DIM_LIMIT : x);
}

uint32_t op_axes(op_call *c, int i, int since, int rank, bool *given)
{
    int n = 0;
    uint32_t axes = 0;
    *given = false;
    if (c->version < since) {
        const int64_t *a = op_attr_ints(c, "axes", &n);
        if (!a) return 0;
        *given = true;
        for (int k = 0; k < n; k++) axes |= 1u << op_axis(c, a[k], rank);
        return axes;
    }
    if (!op_has(c, i)) return 0;
    *given = true;
    const dim *d = op_known_dims(c, i, "axes", &n);
    for (int k = 0; d && k < n; k++) {
        int64_t a;
        if (!dim_is_const(d[k], &a)) {
            op_fail(c, "axes that are numbers expected");
            return 0;
        }
        axes |= 1u << op_axis(c, a, rank);
    }
    return axes;
}

const dim *op_known_dims(op_call *c, int i, const char *what, int *n)
{
    value v = op_in(c, i);
    const void *p;
    int64_t count;
    if (is_value(v) && known_bytes(c->g, v, &p, &count) && dtype_of(c->g, v) == DTYPE_i64) {
        dim *d = NEW_ARRAY(op_arena(c), dim, count + 1);
        for (int64_t k = 0; k < count; k++) {
            int64_t x;
            memcpy(&x, (const char *)p + 8 * k, 8);
            d[k] = saturated(x);
        }
        *n = (int)count;
        return d;
    }
    scalar_value one;
    if (is_value(v) && dim_is(type_elements(c->g, type_of(c->g, v)), 0)) {        /* nothing to know */
        *n = 0;
        return NEW_ARRAY(op_arena(c), dim, 1);
    }
    if (is_value(v) && dtype_of(c->g, v) == DTYPE_i64 && known_splat(c->g, v, &one) &&
        rank_of(c->g, v) == 1 && dim_is_const(dim_of(c->g, v, 0), &count) && count <= 2 * MAX_RANK) {
        dim *d = NEW_ARRAY(op_arena(c), dim, count + 1);
        for (int64_t k = 0; k < count; k++) d[k] = saturated((int64_t)one.bits);
        *n = (int)count;
        return d;
    }
    return op_known(c, i, what, n);
}

bool op_const_dim(op_call *c, dim d, const char *what, int64_t *v)
{
    if (dim_is_bad(d)) {
        op_fail(c, "%s overflows", what);
        return false;
    }
    if (dim_is_const(d, v)) return true;
    text t = { .a = op_arena(c) };
    dim_print(c->g->dims, d, &t);
    op_unsupported(c, "%s must be a number here, found %s; fix its symbols by --dim NAME=SIZE", what,
                   text_str(&t));
    return false;
}

dim op_extent(graph *g, value x, int from, int to)
{
    dim n = dim_const(1);
    for (int i = from; i < to && is_value(x); i++) n = dim_mul(g->dims, n, dim_of(g, x, i));
    return n;
}

value op_dim_value(graph *g, dtype t, dim d)
{
    int64_t v;
    if (dim_is_const(d, &v)) return scalar_i64(g, t, v);
    return cast(g, constant_dim(g, DTYPE_i64, d), t);
}

value op_capture(graph *body, const graph *outer, value v)
{
    if (!is_value(v)) return NO_VALUE;
    type t = type_of(outer, v);
    return input(body, arena_printf(body->arena, "p%d", (int)body->inputs.n), t.dtype, t.rank, t.dims);
}

value op_ints(graph *g, const int64_t *v, int64_t rows, int64_t cols)
{
    dim d[2] = { dim_const(rows), dim_const(cols) };
    return constant(g, DTYPE_i64, cols < 0 ? 1 : 2, d, v, NULL);
}

value op_reals(graph *g, dtype t, const double *v, int rank, const dim *d)
{
    int64_t n = 1, k;
    for (int i = 0; i < rank; i++)
        if (dim_is_const(d[i], &k)) n *= k;
    int size = dtype_bytes(t);
    unsigned char *raw = arena_array(g->arena, (size_t)n + 1, (size_t)size);
    for (int64_t i = 0; i < n; i++) sv_store(t, raw + i * size, sv_from_f64(t, v[i]));
    return constant(g, t, rank, d, raw, NULL);
}

void op_out_edge(op_call *c, int i, edge e)
{
    if (i < c->n_out) c->out[i] = e;
}
