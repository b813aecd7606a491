/* frontend/onnx/trip_count.c: whether a Loop's condition can end it before its trip count does
 *
 * Why    Exporters write `for t < T` as a Loop of T trips that also carries t, and t + 1 < T as its
 *        condition. Only the count is needed; taken for a condition of its own it would make the number of
 *        stacked results a matter of run time.
 * How    A scalar in iteration k is followed as a line step*k + start, where start is a dim: constants,
 *        captured sizes, the iteration number, and what is carried and gets a constant added. A comparison
 *        holds in all iterations if it does at the first and at the last that matters, k = trips - 2.
 * Keeps  the loop's meaning exactly: casts to a type that does not hold all values of the line are not
 *        followed.
 */
#include "frontend/onnx/trip_count.h"

enum { DEPTH = 16, LARGEST_STEP = 1 << 20 };
typedef struct { int64_t step; dim start; } line;

static bool fits(const counted_loop *l, dtype t, line x)
{
    dims *d = l->outer->dims;
    int64_t lo, hi, lo2, hi2;
    int64_t most = t == DTYPE_f32                     ? 1 << 24
                   : t == DTYPE_i32                   ? INT32_MAX
                   : t == DTYPE_f64 || t == DTYPE_i64 ? (int64_t)1 << 53
                                                      : -1;
    dim last = dim_add(d, x.start, dim_mulk(d, dim_max(d, dim_addk(d, l->trips, -1), dim_const(0)), x.step));
    dim_range(d, x.start, &lo, &hi);
    dim_range(d, last, &lo2, &hi2);
    return lo >= -most && lo2 >= -most && hi <= most && hi2 <= most;
}

static bool known_start(graph *g, value v, line *x)
{
    int n;
    scalar_value s;
    const dim *d = known_ints(g, v, &n);
    if (d && n == 1) {
        *x = (line){ 0, d[0] };
        return true;
    }
    dtype t = dtype_of(g, v);
    if ((t != DTYPE_f32 && t != DTYPE_f64) || !known_splat(g, v, &s)) return false;
    double f = sv_to_f64(t, s);
    if (!(f >= -1e6 && f <= 1e6) || f != (double)(int64_t)f) return false;
    *x = (line){ 0, dim_const((int64_t)f) };
    return true;
}

static bool line_of(const counted_loop *l, graph *g, value v, int depth, line *x);

/* Input i of the body: what it was before the loop, and what an iteration adds. */
static bool input_line(const counted_loop *l, int i, value v, int depth, line *x)
{
    if (i == l->n_carried) {
        *x = (line){ 1, dim_const(0) };
        return true;
    }
    if (i > l->n_carried) return line_of(l, l->outer, l->captures[i - l->n_carried - 1], depth, x);
    if (!line_of(l, l->outer, l->first[i], depth, x)) return false;
    value next = l->next[i];
    if (same_value(next, v)) return true;
    const node *n = node_of(l->body, next);
    line by;
    if (n->prim != PRIM_map || n->map->fn != SCALAR_add) return false;
    int k = same_value(n->in[0], v) ? 0 : 1;
    if (!same_value(n->in[k], v) || !known_start(l->body, n->in[1 - k], &by) ||
        !dim_is_const(by.start, &x->step))
        return false;
    return x->step >= -LARGEST_STEP && x->step <= LARGEST_STEP && fits(l, n->types[0].dtype, *x);
}

static bool line_of(const counted_loop *l, graph *g, value v, int depth, line *x)
{
    line a, b;
    dims *d = l->outer->dims;
    if (known_start(g, v, x)) return true;
    const node *n = node_of(g, v);
    if (depth == 0) return false;
    if (n->prim == PRIM_input) return g == l->body && input_line(l, n->input->index, v, depth - 1, x);
    if (n->prim == PRIM_reshape && dim_is(type_elements(g, n->types[0]), 1))
        return line_of(l, g, n->in[0], depth - 1, x);
    if (n->prim != PRIM_map || !line_of(l, g, n->in[0], depth - 1, &a)) return false;
    if (n->map->fn == SCALAR_cast) {
        *x = a;
        return fits(l, n->types[0].dtype, a);
    }
    if (n->map->fn != SCALAR_add && n->map->fn != SCALAR_sub) return false;
    if (!line_of(l, g, n->in[1], depth - 1, &b)) return false;
    *x = n->map->fn == SCALAR_add ? (line){ a.step + b.step, dim_add(d, a.start, b.start) }
                                  : (line){ a.step - b.step, dim_sub(d, a.start, b.start) };
    return fits(l, n->types[0].dtype, *x);
}

/* Is x at least `least` in iterations 0 to trips - 2 (in the body), or if there is an iteration at all
 * (before it)? */
static bool stays_above(const counted_loop *l, bool in_body, line x, int64_t least)
{
    dims *d = l->outer->dims;
    if (!in_body)
        return dim_known_le(d, dim_const(least), x.start) ||
               dim_known_le(d, dim_addk(d, l->trips, least - 1), x.start);
    dim at = x.step >= 0 ? x.start : dim_add(d, x.start, dim_mulk(d, dim_addk(d, l->trips, -2), x.step));
    return dim_known_le(d, dim_const(least), at);
}

static bool holds(const counted_loop *l, graph *g, value v, int depth)
{
    scalar_value s;
    line a, b;
    dims *d = l->outer->dims;
    if (!is_value(v) || depth == 0 || dtype_of(g, v) != DTYPE_bool) return false;
    if (known_splat(g, v, &s)) return s.bits != 0;
    const node *n = node_of(g, v);
    if (n->prim == PRIM_reshape && dim_is(type_elements(g, n->types[0]), 1))
        return holds(l, g, n->in[0], depth - 1);
    if (n->prim != PRIM_map) return false;
    if (n->map->fn == SCALAR_and) return holds(l, g, n->in[0], depth - 1) && holds(l, g, n->in[1], depth - 1);
    if (n->map->fn != SCALAR_lt && n->map->fn != SCALAR_le) return false;
    if (!line_of(l, g, n->in[0], DEPTH, &a) || !line_of(l, g, n->in[1], DEPTH, &b)) return false;
    line gap = { b.step - a.step, dim_sub(d, b.start, a.start) };
    return stays_above(l, g == l->body, gap, n->map->fn == SCALAR_lt ? 1 : 0);
}

bool loop_runs_through(const counted_loop *l, value cond, value go)
{
    return (!is_value(cond) || holds(l, l->outer, cond, DEPTH)) && holds(l, l->body, go, DEPTH);
}
