/* grad_prim_control: gradient rules of cond and while; scan has a file of its own
 *
 * cond    cond(pred, gradient of then, gradient of else): each side computes its body again, over the same
 *         captures.
 * while   with at most MAX_SAVED trips: as a scan of max_trip steps, each cond(test, body, nothing), whose
 *         rule is known. Else the carries are computed again: one loop counts the trips T, another goes back
 *         from step T - 1 to 0 and runs the body from the start up to its step. Memory does not grow with T,
 *         time does as T squared.
 */
#include "passes/grad_step.h"

enum { MAX_SAVED = 4096 };

static value parameter(graph *g, type t) { return input(g, NULL, t.dtype, t.rank, t.dims); }

/* The results of body over arguments in `to`. */
static bool call(graph *to, arena *scratch, const graph *body, const value *args, value *out)
{
    value *map = NEW_ARRAY(scratch, value, body->owner.n);
    for (int64_t i = 0; i < body->inputs.n; i++) map[body->inputs.at[i].id] = args[i];
    if (!grad_inline(to, body, (int)body->results.n, body->results.at, map)) return false;
    for (int64_t r = 0; r < body->results.n; r++) out[r] = map[body->results.at[r].id];
    return true;
}

/* -- cond ------------------------------------------------------------------------------------------------ */

/* A body over the captures, then the gradients that exist; gives the gradients of the wanted captures. */
static graph *side(grad_step *s, const graph *branch)
{
    graph *g = s->g, *b = graph_body(g, branch->name);
    int n_in = s->n.n_in - 1, n_y = 0, n_wrt = 0;
    value *in = NEW_ARRAY(s->scratch, value, n_in + 1), *y = NEW_ARRAY(s->scratch, value, s->n.n_out),
          *dy = NEW_ARRAY(s->scratch, value, s->n.n_out);
    value *wrt = NEW_ARRAY(s->scratch, value, n_in + 1), *d = NEW_ARRAY(s->scratch, value, n_in + 1);
    for (int k = 0; k < n_in; k++) in[k] = parameter(b, type_of(g, s->n.in[1 + k]));
    if (!call(b, s->scratch, branch, in, y)) return b;
    for (int k = 0; k < s->n.n_out; k++) {
        if (!is_value(s->dy[k])) continue;
        dy[n_y] = parameter(b, s->n.types[k]);
        y[n_y++] = y[k];
    }
    for (int k = 0; k < n_in; k++)
        if (s->wanted[1 + k]) wrt[n_wrt++] = in[k];
    if (!grad_of(b, n_y, y, dy, n_wrt, wrt, d)) b->failed = true;
    for (int k = 0; k < n_wrt; k++) add_result(b, d[k], NULL);
    return b;
}

void grad_cond(grad_step *s)
{
    graph *g = s->g, *sides[2] = { side(s, s->n.cond->then_body), side(s, s->n.cond->else_body) };
    int n = s->n.n_in - 1;
    value *in = NEW_ARRAY(s->scratch, value, n + s->n.n_out), *out = NEW_ARRAY(s->scratch, value, n + 1);
    memcpy(in, s->n.in + 1, (size_t)n * sizeof *in);
    for (int k = 0; k < s->n.n_out; k++)
        if (is_value(s->dy[k])) in[n++] = s->dy[k];
    if (!cond(g, s->n.in[0], sides[0], sides[1], n, in, out)) {
        g->failed = true;
        return;
    }
    for (int k = 1, j = 0; k < s->n.n_in; k++)
        if (s->wanted[k]) s->dx[k] = out[j++];
}

/* -- while, as a scan of cond ---------------------------------------------------------------------------- */

/* A body that gives its first n inputs back; inputs as of the node. */
static graph *nothing(graph *g, const node *n, const graph *like, int n_carry)
{
    graph *b = graph_body(g, "done");
    for (int k = 0; k < n->n_in; k++) {
        value v = parameter(b, type_of(like, like->inputs.at[k]));
        if (k < n_carry) add_result(b, v, NULL);
    }
    return b;
}

static bool bounded(graph *g, const node *n, const value *in, value *out)
{
    const while_attr *w = n->loop;
    arena *scratch = arena_new(arena_mem(g->arena));
    graph *step = graph_body(g, "step");
    value *p = NEW_ARRAY(scratch, value, n->n_in), *next = NEW_ARRAY(scratch, value, n->n_in), on = NO_VALUE;
    for (int k = 0; k < n->n_in; k++) p[k] = parameter(step, type_of(g, in[k]));
    bool ok = call(step, scratch, w->test, p, &on) &&
              cond(step, on, w->body, nothing(step, n, w->body, w->n_carry), n->n_in, p, next);
    for (int k = 0; ok && k < w->n_carry; k++) add_result(step, next[k], NULL);
    ok = ok && scan(g, step, w->n_carry, 0, dim_const(w->max_trip), false, n->n_in, in, out);
    arena_free(scratch);
    return ok;
}

/* -- while, computed again ------------------------------------------------------------------------------- */

/* Loops are made over: a counter, the carries, then more operands. limit NO_VALUE: the node's own test and
 * max_trip. */
static value at_most(graph *g, value count, int64_t max_trip)
{
    return max_trip < 0 ? NO_VALUE : bin(g, SCALAR_lt, count, scalar_i64(g, DTYPE_i64, max_trip));
}

static value whole(graph *g, int64_t x) { return scalar_i64(g, DTYPE_i64, x); }

/* Runs the loop from in[] with a counter: until its test fails (limit NO_VALUE), or `limit` steps. out:
 * counter, carries. */
static bool run_loop(graph *g, arena *scratch, const node *n, const value *in, value limit, value *out)
{
    const while_attr *w = n->loop;
    int nc = w->n_carry, n_in = n->n_in, extra = is_value(limit);
    graph *test = graph_body(g, "test"), *body = graph_body(g, "body");
    value *operands = NEW_ARRAY(scratch, value, n_in + 2), *p = NEW_ARRAY(scratch, value, n_in + 2),
          *q = NEW_ARRAY(scratch, value, n_in + 2);
    value *next = NEW_ARRAY(scratch, value, nc + 1);
    operands[0] = whole(g, 0);
    memcpy(operands + 1, in, (size_t)n_in * sizeof *in);
    if (extra) operands[n_in + 1] = limit;
    for (int k = 0; k < n_in + 1 + extra; k++) {
        p[k] = parameter(test, type_of(g, operands[k]));
        q[k] = parameter(body, type_of(g, operands[k]));
    }
    value on = NO_VALUE, below = at_most(test, p[0], w->max_trip);
    if (extra) on = bin(test, SCALAR_lt, p[0], p[n_in + 1]);
    else if (!call(test, scratch, w->test, p + 1, &on)) return false;
    else if (is_value(below)) on = bin(test, SCALAR_and, on, below);
    add_result(test, on, NULL);
    if (!call(body, scratch, w->body, q + 1, next)) return false;
    add_result(body, add(body, q[0], whole(body, 1)), NULL);
    for (int k = 0; k < nc; k++) add_result(body, next[k], NULL);
    return while_loop(g, test, body, nc + 1, -1, n_in + 1 + extra, operands, out);
}

/* The backward loop's operands: step, gradients of float carries, of wanted captures; then the node's
 * operands. */
typedef struct { int *carry, n_carry, *capture, n_capture; } backward;

static void back_results(grad_step *s, const backward *b, graph *g, const value *p)
{
    const while_attr *w = s->n.loop;
    int n = 1 + b->n_carry + b->n_capture, nc = w->n_carry;
    const value *in = p + n;
    arena *a = s->scratch;
    value *at = NEW_ARRAY(a, value, nc + 1), *args = NEW_ARRAY(a, value, s->n.n_in),
          *next = NEW_ARRAY(a, value, nc);
    value *y = NEW_ARRAY(a, value, n), *wrt = NEW_ARRAY(a, value, n), *d = NEW_ARRAY(a, value, n);
    if (!run_loop(g, a, &s->n, in, p[0], at)) {
        g->failed = true;
        return;
    }
    for (int k = 0; k < s->n.n_in; k++) args[k] = k < nc ? at[1 + k] : in[k];
    /* a graph of its own, so that the carries are parameters and nothing simplifies past them */
    graph *f = graph_body(g, "step");
    value *fp = NEW_ARRAY(a, value, s->n.n_in), *fdy = NEW_ARRAY(a, value, n);
    for (int k = 0; k < s->n.n_in; k++) fp[k] = parameter(f, type_of(g, args[k]));
    for (int k = 0; k < b->n_carry; k++) fdy[k] = parameter(f, type_of(g, p[1 + k]));
    bool ok = call(f, a, s->n.loop->body, fp, next);
    for (int k = 0; k < b->n_carry; k++) {
        y[k] = next[b->carry[k]];
        wrt[k] = fp[b->carry[k]];
    }
    for (int k = 0; k < b->n_capture; k++) wrt[b->n_carry + k] = fp[b->capture[k]];
    ok = ok && grad_of(f, b->n_carry, y, fdy, b->n_carry + b->n_capture, wrt, d);
    if (!ok) {
        g->failed = true;
        return;
    }
    value *map = NEW_ARRAY(a, value, f->owner.n);
    for (int k = 0; k < s->n.n_in; k++) map[fp[k].id] = args[k];
    for (int k = 0; k < b->n_carry; k++) map[fdy[k].id] = p[1 + k];
    if (!grad_inline(g, f, b->n_carry + b->n_capture, d, map)) return;
    add_result(g, sub(g, p[0], whole(g, 1)), NULL);
    for (int k = 0; k < b->n_carry + b->n_capture; k++) {
        value v = map[d[k].id];
        add_result(g, k < b->n_carry ? v : add(g, p[1 + k], v), NULL);
    }
}

static void recompute(grad_step *s)
{
    graph *g = s->g;
    arena *a = s->scratch;
    const while_attr *w = s->n.loop;
    backward b = { .carry = NEW_ARRAY(a, int, s->n.n_in + 1), .capture = NEW_ARRAY(a, int, s->n.n_in + 1) };
    for (int k = 0; k < w->n_carry; k++)
        if (is_float(s->n.types[k].dtype)) b.carry[b.n_carry++] = k;
    for (int k = w->n_carry; k < s->n.n_in; k++)
        if (s->wanted[k]) b.capture[b.n_capture++] = k;
    int n_own = 1 + b.n_carry + b.n_capture, n = n_own + s->n.n_in;
    value *trips = NEW_ARRAY(a, value, w->n_carry + 1), *in = NEW_ARRAY(a, value, n),
          *p = NEW_ARRAY(a, value, n), *q = NEW_ARRAY(a, value, n);
    value *out = NEW_ARRAY(a, value, n_own);
    if (!run_loop(g, a, &s->n, s->n.in, NO_VALUE, trips)) return;
    in[0] = sub(g, trips[0], whole(g, 1));
    for (int k = 0; k < b.n_carry; k++)
        in[1 + k] = is_value(s->dy[b.carry[k]]) ? s->dy[b.carry[k]] : grad_zeros(g, s->n.types[b.carry[k]]);
    for (int k = 0; k < b.n_capture; k++)
        in[1 + b.n_carry + k] = grad_zeros(g, type_of(g, s->n.in[b.capture[k]]));
    memcpy(in + n_own, s->n.in, s->n.n_in * sizeof *in);
    graph *test = graph_body(g, "test"), *body = graph_body(g, "back");
    for (int k = 0; k < n; k++) {
        p[k] = parameter(test, type_of(g, in[k]));
        q[k] = parameter(body, type_of(g, in[k]));
    }
    add_result(test, bin(test, SCALAR_le, whole(test, 0), p[0]), NULL);
    back_results(s, &b, body, q);
    if (!while_loop(g, test, body, n_own, -1, n, in, out)) {
        g->failed = true;
        return;
    }
    for (int k = 0; k < b.n_carry; k++) s->dx[b.carry[k]] = out[1 + k];
    for (int k = 0; k < b.n_capture; k++) s->dx[b.capture[k]] = out[1 + b.n_carry + k];
}

void grad_while(grad_step *s)
{
    int64_t most = s->n.loop->max_trip;
    if (most >= 0 && most <= MAX_SAVED) grad_through(s, bounded);
    else recompute(s);
}
