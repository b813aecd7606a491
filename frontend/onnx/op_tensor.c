/* frontend/onnx/op_tensor.c: see op_tensor.h */
#include "frontend/onnx/op_tensor.h"

/* -- Shapes ---------------------------------------------------------------------------------------------- */

bool op_rank(op_call *c, value v, int lo, int hi, const char *what)
{
    if (!is_value(v) || c->g->failed || c->failed) return false;
    int r = rank_of(c->g, v);
    if (r >= lo && r <= hi) return true;
    text t = { .a = op_arena(c) };
    type_print(c->g, type_of(c->g, v), &t);
    if (lo == hi)
        op_fail(c, "%s has rank %d, expected a tensor of rank %d, found %s", what, r, lo, text_str(&t));
    else op_fail(c, "%s has rank %d, expected a rank from %d to %d, found %s", what, r, lo, hi, text_str(&t));
    return false;
}

bool op_divides(op_call *c, dim d, int64_t n, const char *what)
{
    int64_t k;
    if (n > 0 && dim_divides(c->g->dims, d, n)) return true;
    if (dim_is_const(d, &k))
        op_fail(c, "%s is %lld, which %lld does not divide", what, (long long)k, (long long)n);
    else
        op_unsupported(c, "%s of an open size that %lld may not divide (fix it with --dim)", what,
                       (long long)n);
    return false;
}

value as_shape(graph *g, value x, int rank, ...)
{
    dim d[MAX_RANK];
    va_list ap;
    va_start(ap, rank);
    for (int i = 0; i < rank; i++) d[i] = va_arg(ap, dim);
    va_end(ap);
    return reshape(g, x, rank, d);
}

value as_scalar(graph *g, value x)
{
    return is_value(x) && rank_of(g, x) == 0 ? x : reshape(g, x, 0, NULL);
}

value column(graph *g, value v, int tail)
{
    if (!is_value(v)) return v;
    type t = type_of(g, v);
    dim d[MAX_RANK];
    if (t.rank + tail > MAX_RANK) return build_fail(g, "rank %d exceeds %d", t.rank + tail, MAX_RANK);
    for (int i = 0; i < t.rank; i++) d[i] = t.dims[i];
    for (int i = 0; i < tail; i++) d[t.rank + i] = dim_const(1);
    return reshape(g, v, t.rank + tail, d);
}

value full(graph *g, dtype t, double x, int rank, const dim *d)
{
    return splat(g, scalar_f64(g, t, x), rank, d);
}

value part(graph *g, value x, int axis, dim start, dim size)
{
    return slice_axis(g, x, axis, start, size, 1);
}

value pick(graph *g, value x, int axis, int64_t at)
{
    return squeeze(g, part(g, x, axis, dim_const(at), dim_const(1)), axis_bit(axis));
}

void cut(graph *g, value x, int axis, int n, value *parts)
{
    dim size = is_value(x) ? dim_div(g->dims, dim_of(g, x, axis), dim_const(n)) : dim_const(1);
    for (int i = 0; i < n; i++) parts[i] = part(g, x, axis, dim_mulk(g->dims, size, i), size);
}

value range_of(graph *g, dtype t, dim n, int rank, int axis)
{
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) d[i] = dim_const(1);
    d[axis] = n;
    return iota(g, t, rank, d, axis);
}

value concat2(graph *g, value a, value b, int axis)
{
    return concat(g, 2, (value[]){ a, b }, axis);
}

value clamp(graph *g, value x, double lo, double hi)
{
    return bin_k(g, SCALAR_max, bin_k(g, SCALAR_min, x, hi), lo);
}

/* -- What is known --------------------------------------------------------------------------------------- */

bool known_zero(const graph *g, value v)
{
    scalar_value x;
    return is_value(v) && known_splat(g, v, &x) && !is_storage(dtype_of(g, v)) &&
           sv_to_f64(dtype_of(g, v), x) == 0;
}

/* -- Bodies by hand -------------------------------------------------------------------------------------- */

body_maker body_begin(graph *outer, const char *name)
{
    return (body_maker){ .outer = outer, .g = graph_body(outer, name) };
}

static value body_input(body_maker *b, value outer, int drop, const char *name)
{
    vec_push(b->g->arena, &b->operands, outer);
    if (!is_value(outer)) {
        b->g->failed = true;
        return NO_VALUE;
    }
    type t = type_of(b->outer, outer);
    return input(b->g, name, t.dtype, t.rank - drop, t.dims + drop);
}

value body_carry(body_maker *b, value init, const char *name)
{
    b->n_carry++;
    return body_input(b, init, 0, name);
}

value body_slice(body_maker *b, value xs, const char *name)
{
    b->n_xs++;
    return body_input(b, xs, 1, name);
}

value body_capture(body_maker *b, value v, const char *name)
{
    return body_input(b, v, 0, name);
}

void body_result(body_maker *b, value v)
{
    if (is_value(v)) add_result(b->g, v, NULL);
    else b->g->failed = true;
}

bool body_scan(body_maker *b, dim n, bool reverse, value *out)
{
    if (b->g->failed) b->outer->failed = true;
    if (b->outer->failed) return false;
    return scan(b->outer, b->g, b->n_carry, b->n_xs, n, reverse, (int)b->operands.n, b->operands.at, out);
}
