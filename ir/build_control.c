/* ir/build_control.c: the builder's scan, cond, while and kernel: nodes with bodies.
 *
 * A body is a graph over the same dims and arena whose inputs are exactly the node's operands as it sees
 * them. A body that failed has reported why; the node over it fails silently.
 */
#include "ir/build_inner.h"

/* Does input i of body take `t`? */
static bool check_input(graph *g, const char *what, const graph *body, int i, type t)
{
    type u = type_of(body, body->inputs.at[i]);
    if (types_equal(g, t, u)) return true;
    build_fail(g, "%s: input %d of the body is %s, the operand gives %s", what, i, show_type(g, u),
               show_type(g, t));
    return false;
}

static bool check_result(graph *g, const char *what, const graph *body, int i, type t)
{
    type u = type_of(body, body->results.at[i]);
    if (types_equal(g, t, u)) return true;
    build_fail(g, "%s: result %d of the body is %s, expected %s", what, i, show_type(g, u), show_type(g, t));
    return false;
}

static bool check_body(graph *g, const char *what, const graph *body, int n_in, int min_out)
{
    if (body->failed) {
        g->failed = true;
        return false;
    }
    if (body->inputs.n == n_in && body->results.n >= min_out) return true;
    build_fail(g, "%s: a body with %lld inputs and %lld results, expected %d and at least %d", what,
               (long long)body->inputs.n, (long long)body->results.n, n_in, min_out);
    return false;
}

/* The body is done: nothing more is captured. */
static graph *closed(graph *body)
{
    body->parent = NULL;
    return body;
}

static bool results_to(const node *n, value *out)
{
    if (!n) return false;
    for (int k = 0; k < n->n_out; k++) out[k] = result_of(n, k);
    return true;
}

static bool no_results(int n, value *out)
{
    for (int k = 0; k < n; k++) out[k] = NO_VALUE;
    return false;
}

/* The type of x without its first axis. */
static type step_type(type t) { return (type){ t.dtype, t.rank - 1, t.dims + 1 }; }

static bool check_scan(graph *g, const graph *body, int n_carry, int n_xs, dim n, int n_in, const value *in)
{
    if (!check_body(g, "scan", body, n_in, n_carry)) return false;
    if (n_carry < 0 || n_xs < 0 || n_carry + n_xs > n_in || dim_is_bad(n)) {
        build_fail(g, "scan: %d carries and %d sequences of %d operands", n_carry, n_xs, n_in);
        return false;
    }
    for (int i = 0; i < n_in; i++) {
        type t = type_of(g, in[i]);
        bool is_x = i >= n_carry && i < n_carry + n_xs;
        if (is_x && (t.rank < 1 || !dims_equal(g, t.dims[0], n))) {
            build_fail(g, "scan: sequence %s, expected %s steps along axis 0", show_type(g, t),
                       show_dim(g, n));
            return false;
        }
        if (!check_input(g, "scan", body, i, is_x ? step_type(t) : t)) return false;
        if (i < n_carry && !check_result(g, "scan", body, i, t)) return false;
    }
    return true;
}

bool scan(graph *g, graph *body, int n_carry, int n_xs, dim n, bool reverse, int n_in, const value *in,
          value *out)
{
    int n_out = (int)body->results.n;
    if (!ready(g, n_in, in) || !check_scan(g, body, n_carry, n_xs, n, n_in, in)) {
        if (body->failed) g->failed = true;
        return no_results(n_out, out);
    }
    arena *a = g->arena;
    type *types = NEW_ARRAY(a, type, n_out);
    for (int k = 0; k < n_out; k++) {
        type t = type_of(body, body->results.at[k]);
        if (k < n_carry) {
            types[k] = type_of(g, in[k]);
            continue;
        }
        if (t.rank == MAX_RANK) {
            build_fail(g, "scan: result %d of the body has rank %d already", k, MAX_RANK);
            return no_results(n_out, out);
        }
        dim *d = NEW_ARRAY(a, dim, t.rank + 1);
        d[0] = n;
        memcpy(d + 1, t.dims, (size_t)t.rank * sizeof *d);
        types[k] = (type){ t.dtype, t.rank + 1, d };
        if (!check_shape(g, "scan", t.rank + 1, d)) return no_results(n_out, out);
    }
    if (dim_is(n, 0)) {                          /* no step: what was carried, and empty sequences */
        closed(body);
        for (int k = 0; k < n_out; k++)
            out[k] = k < n_carry ? in[k]
                                 : splat(g, scalar_i64(g, types[k].dtype, 0), types[k].rank, types[k].dims);
        return !g->failed;
    }
    scan_parts parts = { n_carry, n_xs, n_in, n, reverse, in };
    bool done;
    closed(body);
    if (!simplify_scan(g, body, &parts, out, &done)) return no_results(n_out, out);
    if (done) return true;
    scan_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.body = body;
    attr.n_carry = n_carry;
    attr.n_xs = n_xs;
    attr.n = n;
    attr.reverse = reverse;
    return results_to(make_node_n(g, PRIM_scan, n_in, in, &attr, n_out, types), out);
}

bool cond(graph *g, value pred, graph *then_body, graph *else_body, int n_in, const value *in, value *out)
{
    int n_out = (int)then_body->results.n;
    if (then_body->failed || else_body->failed) g->failed = true;
    if (!ready1(g, pred) || !ready(g, n_in, in)) return no_results(n_out, out);
    type p = type_of(g, pred);
    if (p.rank != 0 || p.dtype != DTYPE_bool) {
        build_fail(g, "cond: the predicate is %s, expected bool[]", show_type(g, p));
        return no_results(n_out, out);
    }
    const graph *bodies[2] = { then_body, else_body };
    for (int b = 0; b < 2; b++) {
        if (!check_body(g, "cond", bodies[b], n_in, n_out)) return no_results(n_out, out);
        for (int i = 0; i < n_in; i++)
            if (!check_input(g, "cond", bodies[b], i, type_of(g, in[i]))) return no_results(n_out, out);
    }
    if (else_body->results.n != n_out) {
        build_fail(g, "cond: the bodies give %d and %lld results", n_out, (long long)else_body->results.n);
        return no_results(n_out, out);
    }
    type *types = NEW_ARRAY(g->arena, type, n_out);
    value *all = NEW_ARRAY(g->arena, value, n_in + 1);
    for (int k = 0; k < n_out; k++) {
        types[k] = type_of(then_body, then_body->results.at[k]);
        if (!check_result(g, "cond", else_body, k, types[k])) return no_results(n_out, out);
    }
    all[0] = pred;
    if (n_in) memcpy(all + 1, in, (size_t)n_in * sizeof *in);
    cond_attr attr = { closed(then_body), closed(else_body) };
    return results_to(make_node_n(g, PRIM_cond, n_in + 1, all, &attr, n_out, types), out);
}

bool while_loop(graph *g, graph *test, graph *body, int n_carry, int64_t max_trip, int n_in, const value *in,
                value *out)
{
    if (test->failed || body->failed) g->failed = true;
    if (!ready(g, n_in, in) || !check_body(g, "while", test, n_in, 1) ||
        !check_body(g, "while", body, n_in, n_carry))
        return no_results(n_carry, out);
    type t = type_of(test, test->results.at[0]);
    if (test->results.n != 1 || t.rank != 0 || t.dtype != DTYPE_bool || body->results.n != n_carry ||
        n_carry > n_in) {
        build_fail(g, "while: expected a test that gives bool[] and a body that gives the %d carries",
                   n_carry);
        return no_results(n_carry, out);
    }
    type *types = NEW_ARRAY(g->arena, type, n_carry);
    for (int i = 0; i < n_in; i++) {
        type u = type_of(g, in[i]);
        if (!check_input(g, "while", test, i, u) || !check_input(g, "while", body, i, u))
            return no_results(n_carry, out);
        if (i >= n_carry) continue;
        if (!check_result(g, "while", body, i, u)) return no_results(n_carry, out);
        types[i] = u;
    }
    while_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.test = closed(test);
    attr.body = closed(body);
    attr.n_carry = n_carry;
    attr.max_trip = max_trip < 0 ? -1 : max_trip;
    return results_to(make_node_n(g, PRIM_while, n_in, in, &attr, n_carry, types), out);
}

bool kernel(graph *g, anchor_kind anchor, graph *body, int n_in, const value *in, value *out)
{
    int n_out = (int)body->results.n;
    if (!ready(g, n_in, in) || !check_body(g, "kernel", body, n_in, 1)) {
        if (body->failed) g->failed = true;
        return no_results(n_out, out);
    }
    for (int i = 0; i < n_in; i++)
        if (!check_input(g, "kernel", body, i, type_of(g, in[i]))) return no_results(n_out, out);
    type *types = NEW_ARRAY(g->arena, type, n_out);
    for (int k = 0; k < n_out; k++) types[k] = type_of(body, body->results.at[k]);
    kernel_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.anchor = anchor;
    attr.body = closed(body);
    return results_to(make_node_n(g, PRIM_kernel, n_in, in, &attr, n_out, types), out);
}
