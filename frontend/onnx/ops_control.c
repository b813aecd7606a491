/* frontend/onnx/ops_control.c: control flow.
 *
 *   If            the taken branch inlined where the condition is known, else cond
 *   Loop          known trips and a condition that never turns false: scan
 *                 else, where nothing changes its shape: while; stacked results lie in M rows, cropped to the
 *                 count else (sequences, growing tensors): unrolled while the graph is built; trips and
 *                 condition must be known
 *   Scan          scan; of version 8, one for each batch entry
 *   SequenceMap   the body inlined for each item
 *
 * Whether a loop's body keeps the shapes of what it carries is known once it has been built. So it is built
 * in a graph of its own first; if that fails, what it reported is taken back and the loop is unrolled.
 */
#include "frontend/onnx/op_tensor.h"
#include "frontend/onnx/trip_count.h"

enum { UNROLL_TRIPS = 4096, UNROLL_NODES = 2000000, STACK_ROWS = 1 << 24 };

/* -- Parts ----------------------------------------------------------------------------------------------- */

static void give(op_call *c, int n, const edge *r)
{
    for (int i = 0; i < n && i < c->n_out; i++) c->out[i] = r[i];
}

static bool all_tensors(int n, const edge *e)
{
    for (int i = 0; i < n; i++)
        if (e[i].kind != EDGE_TENSOR || !is_value(e[i].v)) return false;
    return true;
}

static bool known_bool(const graph *g, value v, bool *x)
{
    scalar_value s;
    if (!is_value(v) || !known_splat(g, v, &s)) return false;
    *x = s.bits != 0;
    return true;
}

/* The condition as bool[]; NO_VALUE if it is something else. */
static value condition(op_call *c, graph *g, value v, const char *what)
{
    if (!is_value(v)) return v;
    if (dtype_of(g, v) != DTYPE_bool || !dim_is(type_elements(g, type_of(g, v)), 1)) {
        op_fail(c, "%s must be one bool", what);
        return NO_VALUE;
    }
    return as_scalar(g, v);
}

/* Reports that input i must be known. */
static void must_know(op_call *c, int i, const char *what)
{
    int n;
    op_known(c, i, what, &n);
}

/* -- If -------------------------------------------------------------------------------------------------- */

/* `body`, whose inputs are own->outer, with the inputs `all` instead (a superset). */
static graph *with_inputs(graph *g, const graph *body, const capture_list *own, const capture_list *all)
{
    graph *to = graph_body(g, body->name);
    value *inputs = NEW_ARRAY(g->arena, value, all->outer.n),
          *map_to = NEW_ARRAY(g->arena, value, body->owner.n);
    for (int64_t i = 0; i < all->outer.n; i++) {
        type t = type_of(g, all->outer.at[i]);
        inputs[i] = input(to, arena_printf(g->arena, "c%lld", (long long)i), t.dtype, t.rank, t.dims);
    }
    for (int64_t i = 0; i < own->outer.n; i++)
        for (int64_t j = 0; j < all->outer.n; j++)
            if (same_value(own->outer.at[i], all->outer.at[j])) map_to[body->inputs.at[i].id] = inputs[j];
    for (int64_t k = 1; k < n_nodes(body); k++) {
        const node *n = &body->nodes.at[k];
        if (n->prim == PRIM_input) continue;
        value *in_values = NEW_ARRAY(g->arena, value, n->n_in),
              *results = NEW_ARRAY(g->arena, value, n->n_out);
        for (int i = 0; i < n->n_in; i++) in_values[i] = map_to[n->in[i].id];
        if (!rebuild(to, body, n, in_values, results)) { to->failed = true; return to; }
        for (int i = 0; i < n->n_out; i++) map_to[n->first + (uint32_t)i] = results[i];
    }
    for (int64_t i = 0; i < body->results.n; i++) add_result(to, map_to[body->results.at[i].id], NULL);
    return to;
}

static graph *branch(op_call *c, const char *attr, capture_list *captures, int *n, edge **r)
{
    graph *body = graph_body(c->g, attr);
    if (!op_body(c, attr, body, 0, NULL, captures, n, r)) return NULL;
    body->results.n = 0;
    if (!all_tensors(*n, *r)) {
        must_know(c, 0, "the condition of branches that give sequences");
        return NULL;
    }
    for (int i = 0; i < *n; i++) add_result(body, (*r)[i].v, NULL);
    return body;
}

/* If (1, 11, 13, 16, 19, 21, 23, 24, 25) */
ONNX_OP(If)
{
    value pred = condition(c, g, in(0), "cond");
    bool known;
    int n = 0, n_else = 0;
    edge *r = NULL, *r_else = NULL;
    if (!is_value(pred)) return;
    if (known_bool(g, pred, &known)) {
        if (op_inline_body(c, known ? "then_branch" : "else_branch", 0, NULL, &n, &r)) give(c, n, r);
        return;
    }
    capture_list a = { 0 }, b = { 0 }, all = { 0 };
    op_attempt before = op_attempt_begin(c);
    graph *then_body = branch(c, "then_branch", &a, &n, &r);
    graph *else_body = then_body ? branch(c, "else_branch", &b, &n_else, &r_else) : NULL;
    if (!else_body) {
        /* It may be the branch that the data never take. */
        const char *why = op_attempt_message(c, before);
        if (!why) return;
        op_attempt_undo(c, before);
        must_know(c, 0,
                  arena_printf(op_arena(c), "the condition, since a branch cannot be built (%s),", why));
        return;
    }
    if (n != n_else) { op_fail(c, "then_branch gives %d values, else_branch %d", n, n_else); return; }
    for (int i = 0; i < n; i++) {
        type p = type_of(then_body, r[i].v), q = type_of(else_body, r_else[i].v);
        if (type_same(p, q)) continue;
        text tp = { .a = op_arena(c) }, tq = { .a = op_arena(c) };
        type_print(then_body, p, &tp);
        type_print(else_body, q, &tq);
        if (p.dtype != q.dtype) {
            op_fail(c, "output %d is %s in then_branch and %s in else_branch", i, text_str(&tp),
                    text_str(&tq));
            return;
        }
        must_know(c, 0, arena_printf(op_arena(c), "the condition of branches that differ in type (%s and %s)",
                                     text_str(&tp), text_str(&tq)));
        return;
    }
    for (int64_t i = 0; i < a.outer.n; i++) vec_push(op_arena(c), &all.outer, a.outer.at[i]);
    for (int64_t i = 0; i < b.outer.n; i++) {
        bool seen = false;
        for (int64_t j = 0; j < a.outer.n; j++) seen |= same_value(a.outer.at[j], b.outer.at[i]);
        if (!seen) vec_push(op_arena(c), &all.outer, b.outer.at[i]);
    }
    value *got = NEW_ARRAY(op_arena(c), value, n);
    then_body = with_inputs(g, then_body, &a, &all);
    else_body = with_inputs(g, else_body, &b, &all);
    if (!cond(g, pred, then_body, else_body, (int)all.outer.n, all.outer.at, got)) return;
    for (int i = 0; i < n; i++) out(i, got[i]);
}

/* -- Loop ------------------------------------------------------------------------------------------------ */

typedef struct {
    op_call *c;
    value M, cond;                 /* rank 0, or NO_VALUE */
    bool trips_known; dim trips;   /* M as a dim */
    int n_carried; const edge *carried;
    int n_stacked;
    /* the body, built once as a graph over [carried…, i, captures…] */
    graph *body;
    capture_list captures;
    int n_results; edge *results;
} loop;

static value body_value(graph *to, const graph *from, value v, const char *name)
{
    type t = type_of(from, v);
    return input(to, name, t.dtype, t.rank, t.dims);
}

static bool build_loop_body(loop *l, graph *g)
{
    op_call *c = l->c;
    arena *a = op_arena(c);
    l->body = graph_body(g, "loop");
    edge *args = NEW_ARRAY(a, edge, l->n_carried + 2);
    for (int i = 0; i < l->n_carried; i++)
        args[2 + i] = (edge){ .kind = EDGE_TENSOR,
                              .v = body_value(l->body, g, l->carried[i].v, arena_printf(a, "v%d", i)) };
    args[0] = (edge){ .kind = EDGE_TENSOR, .v = input(l->body, "i", DTYPE_i64, 0, NULL) };
    args[1] = (edge){ .kind = EDGE_TENSOR, .v = scalar_i64(l->body, DTYPE_bool, 1) };
    if (!op_body(c, "body", l->body, l->n_carried + 2, args, &l->captures, &l->n_results, &l->results))
        return false;
    l->body->results.n = 0;
    if (l->body->failed || !all_tensors(l->n_results, l->results)) return false;
    return l->n_results == 1 + l->n_carried + l->n_stacked;
}

/* What is carried keeps its type. */
static bool keeps_types(const loop *l, const graph *g)
{
    for (int i = 0; i < l->n_carried; i++)
        if (!type_same(type_of(g, l->carried[i].v), type_of(l->body, l->results[1 + i].v))) return false;
    return true;
}

/* True once the body has been built and can be scanned: its condition never turns false before the trips are
 * over. */
static bool never_stops(const loop *l, graph *g)
{
    arena *a = op_arena(l->c);
    value *first = NEW_ARRAY(a, value, l->n_carried), *next = NEW_ARRAY(a, value, l->n_carried);
    for (int i = 0; i < l->n_carried; i++) {
        first[i] = l->carried[i].v;
        next[i] = l->results[1 + i].v;
    }
    counted_loop counted = { .outer = g,
                             .body = l->body,
                             .n_carried = l->n_carried,
                             .first = first,
                             .next = next,
                             .captures = l->captures.outer.at,
                             .trips = l->trips };
    return loop_runs_through(&counted, l->cond, l->results[0].v);
}

static bool loop_as_scan(loop *l, graph *g)
{
    op_call *c = l->c;
    int n_out = l->n_carried + l->n_stacked, n_in = 0;
    for (int i = 0; i < n_out; i++) add_result(l->body, l->results[1 + i].v, NULL);
    value *operands = NEW_ARRAY(op_arena(c), value, l->n_carried + 1 + l->captures.outer.n);
    value *got = NEW_ARRAY(op_arena(c), value, n_out);
    for (int i = 0; i < l->n_carried; i++) operands[n_in++] = l->carried[i].v;
    operands[n_in++] = range_of(g, DTYPE_i64, l->trips, 1, 0);
    for (int64_t i = 0; i < l->captures.outer.n; i++) operands[n_in++] = l->captures.outer.at[i];
    if (!scan(g, l->body, l->n_carried, 1, l->trips, false, n_in, operands, got)) return false;
    for (int i = 0; i < n_out; i++) out(i, got[i]);
    return true;
}

/* The body again, as a while's: [i, go, carried…, stacked…, captures…] -> [i+1, go', carried'…, stacked'…].
 */
static graph *while_body(loop *l, graph *g, const value *carries, int n_carry)
{
    arena *a = op_arena(l->c);
    graph *b = graph_body(g, "while");
    value *to = NEW_ARRAY(a, value, l->body->owner.n), *in_values = NEW_ARRAY(a, value, n_carry);
    for (int i = 0; i < n_carry; i++) in_values[i] = body_value(b, g, carries[i], arena_printf(a, "w%d", i));
    for (int i = 0; i < l->n_carried; i++) to[l->body->inputs.at[i].id] = in_values[2 + i];
    to[l->body->inputs.at[l->n_carried].id] = in_values[0];
    for (int64_t i = 0; i < l->captures.outer.n; i++)
        to[l->body->inputs.at[l->n_carried + 1 + i].id] =
            body_value(b, g, l->captures.outer.at[i], arena_printf(a, "c%lld", (long long)i));
    for (int64_t k = 1; k < n_nodes(l->body); k++) {
        const node *n = &l->body->nodes.at[k];
        if (n->prim == PRIM_input) continue;
        value *x = NEW_ARRAY(a, value, n->n_in), *y = NEW_ARRAY(a, value, n->n_out);
        for (int i = 0; i < n->n_in; i++) x[i] = to[n->in[i].id];
        if (!rebuild(b, l->body, n, x, y)) return NULL;
        for (int i = 0; i < n->n_out; i++) to[n->first + (uint32_t)i] = y[i];
    }
    value go = condition(l->c, b, to[l->results[0].v.id], "the body's condition");
    value row = reshape(b, in_values[0], 1, (dim[]){ dim_const(1) });
    if (!is_value(go)) return NULL;
    add_result(b, add(b, in_values[0], scalar_i64(b, DTYPE_i64, 1)), NULL);
    add_result(b, go, NULL);
    for (int i = 0; i < l->n_carried; i++) add_result(b, to[l->results[1 + i].v.id], NULL);
    for (int i = 0; i < l->n_stacked; i++) {
        int axis = 0;
        value y = unsqueeze(b, to[l->results[1 + l->n_carried + i].v.id], 1);
        value stacked = scatter(b, SCATTER_set, in_values[2 + l->n_carried + i], y, 1, &row, &axis, 0, NULL,
                                NULL);
        if (!is_value(stacked)) return NULL;
        add_result(b, stacked, NULL);
    }
    return b;
}

/* go and i < M; M is the last operand if it is a value. */
static graph *while_test(loop *l, graph *g, const value *operands, int n, bool limit)
{
    graph *t = graph_body(g, "test");
    value i = NO_VALUE, go = NO_VALUE, m = NO_VALUE;
    for (int k = 0; k < n; k++) {
        m = body_value(t, g, operands[k], arena_printf(op_arena(l->c), "w%d", k));
        if (k == 0) i = m;
        if (k == 1) go = m;
    }
    add_result(t, limit ? bin(t, SCALAR_and, go, bin(t, SCALAR_lt, i, m)) : go, NULL);
    return t;
}

static bool loop_as_while(loop *l, graph *g)
{
    op_call *c = l->c;
    arena *a = op_arena(c);
    int n_carry = 2 + l->n_carried + l->n_stacked, n = 0;
    int64_t n_captures = l->captures.outer.n, max_trip = -1;
    value *operands = NEW_ARRAY(a, value, n_carry + n_captures + 1), *got = NEW_ARRAY(a, value, n_carry);
    operands[n++] = scalar_i64(g, DTYPE_i64, 0);
    operands[n++] = is_value(l->cond) ? l->cond : scalar_i64(g, DTYPE_bool, 1);
    for (int i = 0; i < l->n_carried; i++) operands[n++] = l->carried[i].v;
    for (int i = 0; i < l->n_stacked; i++) {
        type t = type_of(l->body, l->results[1 + l->n_carried + i].v);
        dim d[MAX_RANK];
        if (t.rank >= MAX_RANK) return false;
        d[0] = l->trips;
        for (int k = 0; k < t.rank; k++) d[k + 1] = t.dims[k];
        operands[n++] = full(g, t.dtype, 0, t.rank + 1, d);
    }
    for (int64_t i = 0; i < n_captures; i++) operands[n++] = l->captures.outer.at[i];
    graph *body = while_body(l, g, operands, n_carry);
    if (!body) return false;
    bool limit = is_value(l->M);
    if (limit) {                                     /* M is one more capture, which the body does not read */
        operands[n++] = l->M;
        body_value(body, g, l->M, "limit");
    }
    if (l->trips_known && (!dim_is_const(l->trips, &max_trip) || max_trip > INT32_MAX)) max_trip = -1;
    if (!while_loop(g, while_test(l, g, operands, n, limit), body, n_carry, max_trip, n, operands, got))
        return false;
    for (int i = 0; i < l->n_carried; i++) out(i, got[2 + i]);
    if (!l->n_stacked) return true;
    value idx;
    dim count;
    if (!compact_symbol(g, bin(g, SCALAR_lt, range_of(g, DTYPE_i64, l->trips, 1, 0), got[0]), &idx, &count))
        return false;
    idx = part(g, idx, 0, dim_const(0), count);                    /* the rows that were written, in order */
    for (int i = 0; i < l->n_stacked; i++) out(l->n_carried + i, take(g, got[2 + l->n_carried + i], idx, 0));
    return true;
}

/* The stacked results of an unrolled loop; of none at all, the body's types where they are known. */
static void give_stacked(loop *l, graph *g, const edge *const *rows, int64_t n, bool types_known)
{
    op_call *c = l->c;
    for (int k = 0; k < l->n_stacked; k++) {
        if (n == 0) {
            type t = types_known ? type_of(l->body, l->results[1 + l->n_carried + k].v)
                                 : (type){ DTYPE_f32, 0, NULL };
            dim d[MAX_RANK] = { dim_const(0) };
            for (int i = 0; i < t.rank && i + 1 < MAX_RANK; i++) d[i + 1] = t.dims[i];
            out(l->n_carried + k, full(g, t.dtype, 0, t.rank + 1, d));
            continue;
        }
        value *v = NEW_ARRAY(op_arena(c), value, n);
        for (int64_t i = 0; i < n; i++) {
            const edge *e = &rows[i][1 + l->n_carried + k];
            if (e->kind != EDGE_TENSOR) {
                op_fail(c, "a stacked result of the body is not a tensor");
                return;
            }
            v[i] = unsqueeze(g, e->v, 1);
        }
        out(l->n_carried + k, n > 1 ? concat(g, (int)n, v, 0) : v[0]);
    }
}

static void loop_unrolled(loop *l, graph *g, bool types_known)
{
    op_call *c = l->c;
    arena *a = op_arena(c);
    int64_t trips = -1, i = 0, n_in = 2 + l->n_carried;
    if (l->trips_known) dim_is_const(l->trips, &trips);
    edge *args = NEW_ARRAY(a, edge, n_in);
    for (int k = 0; k < l->n_carried; k++) args[2 + k] = l->carried[k];
    vec(const edge *) rows = { 0 };
    bool go = true;
    if (is_value(l->cond) && !known_bool(g, l->cond, &go)) {
        must_know(c, 1, "the condition of a loop that changes the shapes of its tensors");
        return;
    }
    for (; go && (trips < 0 || i < trips); i++) {
        if (i >= UNROLL_TRIPS || n_nodes(g) > UNROLL_NODES) {
            op_unsupported(c,
                           "a loop that must be unrolled (its tensors change shape) for more than %lld trips",
                           (long long)i);
            return;
        }
        int n = 0;
        edge *r = NULL;
        args[0] = (edge){ .kind = EDGE_TENSOR, .v = scalar_i64(g, DTYPE_i64, i) };
        args[1] = (edge){ .kind = EDGE_TENSOR, .v = scalar_i64(g, DTYPE_bool, 1) };
        if (!op_inline_body(c, "body", (int)n_in, args, &n, &r) || g->failed) return;
        if (n != 1 + l->n_carried + l->n_stacked || r[0].kind != EDGE_TENSOR) {
            op_fail(c, "the body gives %d values, expected %d", n, 1 + l->n_carried + l->n_stacked);
            return;
        }
        for (int k = 0; k < l->n_carried; k++) args[2 + k] = r[1 + k];
        vec_push(a, &rows, r);
        const void *p;
        int64_t n_known;
        if ((trips < 0 || i + 1 < trips) && !known_bool(g, r[0].v, &go)) {
            op_known_value(c, r[0].v, "the condition of a loop that changes the shapes of its tensors", &p,
                           &n_known);
            return;
        }
    }
    give(c, l->n_carried, args + 2);
    give_stacked(l, g, (const edge *const *)rows.at, i, types_known);
}

static bool read_loop(op_call *c, loop *l)
{
    graph *g = c->g;
    int n = 0;
    *l = (loop){ .c = c, .n_carried = c->n_in > 2 ? c->n_in - 2 : 0, .carried = c->in + 2 };
    l->n_stacked = op_body_outputs(c, "body") - 1 - l->n_carried;
    if (l->n_stacked < 0) { op_fail(c, "the body gives fewer values than the loop carries"); return false; }
    if (has_in(0)) {
        value m = in(0);
        if (!is_value(m)) return false;
        if (!dim_is(type_elements(g, type_of(g, m)), 1) || !is_int(dtype_of(g, m))) {
            op_fail(c, "M must be one integer");
            return false;
        }
        l->M = cast(g, as_scalar(g, m), DTYPE_i64);
        const dim *d = known_ints(g, l->M, &n);
        if (d && n == 1) {
            l->trips_known = true;
            l->trips = dim_max(g->dims, d[0], dim_const(0));
        }
    }
    if (has_in(1)) {
        l->cond = condition(c, g, in(1), "cond");
        if (!is_value(l->cond)) return false;
    }
    return true;
}

/* Loop (1, 11, 13, 16, 19, 21, 23, 24, 25) */
ONNX_OP(Loop)
{
    loop l;
    if (!read_loop(c, &l)) return;
    bool off, built = false;
    int64_t trips;
    bool none = (l.trips_known && dim_is(l.trips, 0)) ||
                (is_value(l.cond) && known_bool(g, l.cond, &off) && !off);
    bool counted = l.trips_known && dim_is_const(l.trips, &trips);
    op_attempt before = op_attempt_begin(c);
    if (all_tensors(l.n_carried, l.carried)) {
        built = build_loop_body(&l, g);
        bool stacks = l.trips_known && (!counted || trips <= STACK_ROWS);
        if (built && !none && keeps_types(&l, g)) {
            if (l.trips_known && never_stops(&l, g)) {
                if (loop_as_scan(&l, g)) return;
            } else if (l.n_stacked == 0 || stacks) {
                if (loop_as_while(&l, g)) return;
            }
        }
    }
    /* Unrolled: that takes a trip count, or a condition. */
    if (!none && !counted && has_in(0)) {
        const char *why = op_attempt_message(c, before);
        if (op_attempt_failed(c, before) && !why) return;
        op_attempt_undo(c, before);
        must_know(c, 0,
                  why ? arena_printf(op_arena(c),
                                     "the trip count, since the body cannot be built otherwise (%s),", why)
                      : "the trip count of a loop that stacks results or changes the shapes of its tensors");
        return;
    }
    op_attempt_undo(c, before);
    loop_unrolled(&l, g, built);
}

/* -- Scan ------------------------------------------------------------------------------------------------ */

/* ints attribute of n entries, 0 where absent */
static const int64_t *scan_ints(op_call *c, const char *name, int n)
{
    int found = 0;
    const int64_t *v = op_attr_ints(c, name, &found);
    if (!v) return NEW_ARRAY(op_arena(c), int64_t, n + 1);
    if (found == n) return v;
    op_fail(c, "attribute %s has %d entries, expected %d", name, found, n);
    return NULL;
}

static bool all_set(const int64_t *v, int n)
{
    for (int i = 0; i < n; i++)
        if (!v[i]) return false;
    return true;
}

/* One scan over states[n_states] and xs[n_xs], time first. lens: steps from there on keep the states and
 * yield 0. Results: states, then ys. -1 on failure, else the number of results. */
static int scan_body(op_call *c, int n_states, const value *states, int n_xs, const value *xs, bool reverse,
                     value len, value **got)
{
    graph *g = c->g;
    arena *a = op_arena(c);
    body_maker m = body_begin(g, "scan");
    edge *args = NEW_ARRAY(a, edge, n_states + n_xs), *r = NULL;
    int n = 0;
    for (int i = 0; i < n_states; i++)
        args[i] = (edge){ .kind = EDGE_TENSOR, .v = body_carry(&m, states[i], arena_printf(a, "s%d", i)) };
    for (int i = 0; i < n_xs; i++)
        args[n_states + i] = (edge){ .kind = EDGE_TENSOR,
                                     .v = body_slice(&m, xs[i], arena_printf(a, "x%d", i)) };
    if (g->failed || m.g->failed) return -1;
    dim T = dim_of(g, xs[0], 0);
    value at = NO_VALUE, inner = NO_VALUE;
    if (is_value(len)) {
        at = body_slice(&m, range_of(g, dtype_of(g, len), T, 1, 0), "t");
        inner = body_capture(&m, len, "len");
    }
    capture_list captures = { 0 };
    if (!op_body(c, "body", m.g, n_states + n_xs, args, &captures, &n, &r)) return -1;
    if (n < n_states || !all_tensors(n, r)) {
        op_fail(c, "the body must give %d states, and tensors only", n_states);
        return -1;
    }
    m.g->results.n = 0;
    for (int64_t i = 0; i < captures.outer.n; i++) vec_push(m.g->arena, &m.operands, captures.outer.at[i]);
    value on = is_value(len) ? bin(m.g, SCALAR_lt, at, inner) : NO_VALUE;
    for (int i = 0; i < n; i++) {
        value v = r[i].v;
        if (is_value(on)) v = select3(m.g, on, v, i < n_states ? args[i].v : splat_like(m.g, v, 0));
        body_result(&m, v);
    }
    *got = NEW_ARRAY(a, value, n);
    return body_scan(&m, T, reverse, *got) ? n : -1;
}

/* Version 8: sequence_lens, states and scan inputs with the batch first, time second: one scan for each batch
 * entry. */
static void scan_8(op_call *c)
{
    graph *g = c->g;
    arena *a = op_arena(c);
    int64_t n64 = attr_int("num_scan_inputs", 0), batch;
    if (n64 < 1 || n64 > c->n_in - 1) {
        op_fail(c, "attribute num_scan_inputs is %lld", (long long)n64);
        return;
    }
    int n_xs = (int)n64, n_states = c->n_in - 1 - n_xs, n = 0;
    const int64_t *directions = scan_ints(c, "directions", n_xs);
    if (!directions) return;
    for (int i = 1; i < c->n_in; i++)
        if (!op_rank(c, in(i), i > n_states ? 2 : 1, MAX_RANK, "operand")) return;
    if (!dim_is_const(dim_of(g, in(1 + n_states), 0), &batch) || batch < 1 || batch > UNROLL_TRIPS) {
        op_unsupported(c, "a batch of open size, or more than %d (fix it with --dim)", UNROLL_TRIPS);
        return;
    }
    value *operands = NEW_ARRAY(a, value, c->n_in), **rows = NEW_ARRAY(a, value *, batch);
    for (int64_t b = 0; b < batch; b++) {
        for (int i = 1; i < c->n_in; i++) {
            value v = pick(g, in(i), 0, b);
            if (i > n_states && directions[i - 1 - n_states]) v = flip(g, v, 0);
            operands[i - 1] = v;
        }
        value len = has_in(0) ? pick(g, in(0), 0, b) : NO_VALUE;
        n = scan_body(c, n_states, operands, n_xs, operands + n_states, false, len, &rows[b]);
        if (n < 0) return;
    }
    value *column_of = NEW_ARRAY(a, value, batch);
    for (int i = 0; i < n; i++) {
        for (int64_t b = 0; b < batch; b++) column_of[b] = unsqueeze(g, rows[b][i], 1);
        out(i, concat(g, (int)batch, column_of, 0));
    }
}

/* Scan (8, 9, 11, 16, 19, 21, 23, 24, 25) */
ONNX_OP(Scan)
{
    if (c->version < 9) { scan_8(c); return; }
    arena *a = op_arena(c);
    int64_t n64 = attr_int("num_scan_inputs", 0);
    if (n64 < 1 || n64 > c->n_in) { op_fail(c, "attribute num_scan_inputs is %lld", (long long)n64); return; }
    int n_xs = (int)n64, n_states = c->n_in - n_xs, n_ys = op_body_outputs(c, "body") - n_states;
    if (n_ys < 0) { op_fail(c, "the body gives fewer values than there are states"); return; }
    const int64_t *x_axes = scan_ints(c, "scan_input_axes", n_xs),
                  *x_back = scan_ints(c, "scan_input_directions", n_xs);
    const int64_t *y_axes = scan_ints(c, "scan_output_axes", n_ys),
                  *y_back = scan_ints(c, "scan_output_directions", n_ys);
    if (!x_axes || !x_back || !y_axes || !y_back) return;
    bool reverse = all_set(x_back, n_xs);             /* all backwards: run backwards, and turn the results */
    value *states = NEW_ARRAY(a, value, n_states + 1), *xs = NEW_ARRAY(a, value, n_xs), *got = NULL;
    for (int i = 0; i < n_states; i++) states[i] = in(i);
    for (int i = 0; i < n_xs; i++) {
        value x = in(n_states + i);
        if (!op_rank(c, x, 1, MAX_RANK, "scan input")) return;
        x = move_axis(g, x, op_axis(c, x_axes[i], rank_of(g, x)), 0);
        xs[i] = x_back[i] && !reverse ? flip(g, x, 0) : x;
    }
    int n = scan_body(c, n_states, states, n_xs, xs, reverse, NO_VALUE, &got);
    if (n < 0) return;
    for (int i = 0; i < n; i++) {
        value v = got[i];
        if (i >= n_states) {
            int k = i - n_states;
            if ((y_back[k] != 0) != reverse) v = flip(g, v, 0);
            v = move_axis(g, v, 0, op_axis(c, y_axes[k], rank_of(g, v)));
        }
        out(i, v);
    }
}

/* -- SequenceMap ----------------------------------------------------------------------------------------- */

/* SequenceMap (17): the body inlined for each item; other operands are sequences of the same length, or
 * tensors */
ONNX_OP(SequenceMap)
{
    arena *a = op_arena(c);
    if (c->n_in < 1 || c->in[0].kind != EDGE_SEQUENCE) {
        op_fail(c, "the first operand must be a sequence");
        return;
    }
    int items = c->in[0].n, n = op_body_outputs(c, "body");
    edge *args = NEW_ARRAY(a, edge, c->n_in), **lists = NEW_ARRAY(a, edge *, n < 0 ? 0 : n);
    for (int k = 0; k < n; k++) lists[k] = NEW_ARRAY(a, edge, items);
    for (int i = 0; i < items && !g->failed; i++) {
        int got = 0;
        edge *r = NULL;
        for (int j = 0; j < c->n_in; j++) {
            bool seq = c->in[j].kind == EDGE_SEQUENCE;
            if (seq && c->in[j].n != items) {
                op_fail(c, "sequences of %d and %d items", items, c->in[j].n);
                return;
            }
            args[j] = seq ? c->in[j].items[i] : c->in[j];
        }
        if (!op_inline_body(c, "body", c->n_in, args, &got, &r) || got != n) return;
        for (int k = 0; k < n; k++) lists[k][i] = r[k];
    }
    for (int k = 0; k < n && k < c->n_out; k++) {
        dtype t = items && lists[k][0].kind == EDGE_TENSOR ? dtype_of(g, lists[k][0].v) : c->in[0].dtype;
        c->out[k] = (edge){ .kind = EDGE_SEQUENCE, .n = items, .items = lists[k], .dtype = t };
    }
}
