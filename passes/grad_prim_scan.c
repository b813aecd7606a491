/* grad_prim_scan: gradient rule of scan
 *
 *     forward   carry[t+1], ys[t] = body(carry[t], xs[t], captures)              again, with what is saved
 *     backward  dcarry[t], dxs[t] = gradient of body at t (dcarry[t+1], dys[t])  a scan the other way round
 *
 * Saved      carries, and the results of what is expensive (contracts, reductions, nested loops …) where the
 *            backward step needs them; maps and views between those are computed again, unless they are among
 *            the ys. The scan with more results begins with the results of the old one, which the pass
 *            merge_scans then replaces by it.
 * Captures   The gradient of a captured value is a sum over time of a sum of terms. A term that is a contract
 *            of two values of the step (dW = x[t]' dgate[t]) or a reduce sum is formed outside, after the
 *            loop: its operands are stacked, and one contract sums over time and batch together. Other terms
 *            are summed in a carry.
 *     term  ::= contract | reduce sum of any | transpose, reshape, neg of a term
 *            The gradient of xs, where it is a contract with a captured value, is formed outside too.
 * How        The backward step is first built as a trial graph over all that it could need; from what it does
 *            need the forward and the final backward body follow.
 */
#include "passes/grad_step.h"

typedef vec(value) values;
typedef vec(int) ints;

typedef struct {
    grad_step *s;
    graph *g, *trial;
    arena *a;
    int n_carry, n_xs, n_captures, n_ys;
    ints float_carry;         /* carries that carry gradients */
    ints float_y;             /* ys that have one */
    /* values of the trial, in the order of its inputs */
    value *dcarry, *carry, *x, *dy, *capture;
    value *result;            /* the body's results */
    int64_t n_forward;        /* nodes of the trial below this index are the body itself */
    value *d_carry, *d_x, *d_capture;      /* results of the trial; NO_VALUE: not wanted, or zero */
    values rest;              /* d_capture less what is formed outside, by capture; NO_VALUE: nothing */
    values stacked;           /* values of the trial that the backward scan gives as ys */
    bool *x_outside;          /* xs whose gradient is one contract after the loop */
    values saved;             /* values of the trial's forward part that the forward scan gives as ys */
    bool *varies;             /* values of the trial: depend on the step */
    bool *needed;             /* values of the trial: operands of the backward body */
    value *outside;           /* values of the trial -> their sequence in g */
} scan_grad;

static value parameter(graph *g, type t) { return input(g, NULL, t.dtype, t.rank, t.dims); }

static value *parameters(arena *a, graph *to, int n, const graph *from, const value *like)
{
    value *p = NEW_ARRAY(a, value, n + 1);
    for (int i = 0; i < n; i++) p[i] = parameter(to, type_of(from, like[i]));
    return p;
}

static bool is_zero(const graph *g, value v)
{
    scalar_value x;
    return !is_value(v) || (known_splat(g, v, &x) && x.bits == 0);
}

/* -- The trial ------------------------------------------------------------------------------------------- */

static bool build_trial(scan_grad *c)
{
    const grad_step *s = c->s;
    const graph *body = s->n.scan->body;
    graph *t = c->trial;
    arena *a = c->a;
    int n_fc = (int)c->float_carry.n, n_fy = (int)c->float_y.n, n_in = s->n.n_in;
    c->dcarry = NEW_ARRAY(a, value, n_fc + 1);
    for (int i = 0; i < n_fc; i++) c->dcarry[i] = parameter(t, s->n.types[c->float_carry.at[i]]);
    value *in = parameters(a, t, n_in, body, body->inputs.at);
    c->carry = in;
    c->x = in + c->n_carry;
    c->capture = in + c->n_carry + c->n_xs;
    c->dy = NEW_ARRAY(a, value, n_fy + 1);
    for (int i = 0; i < n_fy; i++)
        c->dy[i] = parameter(t, type_of(body, body->results.at[c->n_carry + c->float_y.at[i]]));
    value *map = NEW_ARRAY(a, value, body->owner.n);
    for (int i = 0; i < n_in; i++) map[body->inputs.at[i].id] = in[i];
    if (!grad_inline(t, body, (int)body->results.n, body->results.at, map)) return false;
    c->result = NEW_ARRAY(a, value, body->results.n + 1);
    for (int64_t i = 0; i < body->results.n; i++) c->result[i] = map[body->results.at[i].id];
    c->n_forward = n_nodes(t);

    value *y = NEW_ARRAY(a, value, n_fc + n_fy + 1), *dy = NEW_ARRAY(a, value, n_fc + n_fy + 1);
    value *wrt = NEW_ARRAY(a, value, n_fc + n_in + 1), *d = NEW_ARRAY(a, value, n_fc + n_in + 1);
    for (int i = 0; i < n_fc; i++) {
        y[i] = c->result[c->float_carry.at[i]];
        dy[i] = c->dcarry[i];
        wrt[i] = c->carry[c->float_carry.at[i]];
    }
    for (int i = 0; i < n_fy; i++) {
        y[n_fc + i] = c->result[c->n_carry + c->float_y.at[i]];
        dy[n_fc + i] = c->dy[i];
    }
    int n = n_fc;
    for (int i = c->n_carry; i < n_in; i++)
        if (s->wanted[i]) wrt[n++] = in[i];
    if (!grad_of(t, n_fc + n_fy, y, dy, n, wrt, d)) return false;
    c->d_carry = d;
    c->d_x = NEW_ARRAY(a, value, n_in + 1);
    c->d_capture = c->d_x + c->n_xs;
    for (int i = c->n_carry, k = n_fc; i < n_in; i++)
        if (s->wanted[i] && !is_zero(t, d[k++])) c->d_x[i - c->n_carry] = d[k - 1];
    return true;
}

static void find_varying(scan_grad *c)
{
    const graph *t = c->trial;
    c->varies = NEW_ARRAY(c->a, bool, t->owner.n);
    for (int64_t i = 0; i < t->inputs.n; i++) c->varies[t->inputs.at[i].id] = true;
    for (int i = 0; i < c->n_captures; i++) c->varies[c->capture[i].id] = false;
    for (int64_t i = 1; i < n_nodes(t); i++) {
        const node *n = &t->nodes.at[i];
        bool any = false;
        for (int k = 0; k < n->n_in; k++) any |= c->varies[n->in[k].id];
        for (int k = 0; any && k < n->n_out; k++) c->varies[n->first + (uint32_t)k] = true;
    }
}

/* -- Gradients of captures: what is formed outside ------------------------------------------------------- */

typedef enum { TERM_INSIDE, TERM_SUM, TERM_CONTRACT } term_kind;
/* The views from the term down to its core: path[0] is the term. */
typedef struct { term_kind kind; values path; value core; } term;

static bool can_stack(const scan_grad *c, value v)
{
    return c->varies[v.id] && type_of(c->trial, v).rank < MAX_RANK;
}

static term classify(const scan_grad *c, value v)
{
    const graph *t = c->trial;
    term r = { .kind = TERM_INSIDE };
    int64_t sum_at = -1;
    value core = v;
    for (;;) {
        const node *n = node_of(t, core);
        bool is_sum = n->prim == PRIM_reduce && n->reduce->kind == REDUCE_sum;
        bool is_view = n->prim == PRIM_transpose || n->prim == PRIM_reshape ||
                       (n->prim == PRIM_map && n->map->fn == SCALAR_neg);
        if (n->prim == PRIM_contract && n->n_in == 2 && n->contract->n_limits == 0 &&
            n->contract->n_labels < MAX_LABELS && can_stack(c, n->in[0]) && can_stack(c, n->in[1])) {
            r.kind = TERM_CONTRACT;
            r.core = core;
            return r;
        }
        if (!is_sum && !is_view) break;
        if (is_sum && can_stack(c, n->in[0])) sum_at = r.path.n;
        vec_push(c->a, &r.path, core);
        core = n->in[0];
    }
    if (sum_at < 0) return r;
    r.kind = TERM_SUM;
    r.core = r.path.at[sum_at];
    r.path.n = sum_at;
    return r;
}

/* The terms of a sum, left to right. */
static values terms_of(const scan_grad *c, value v)
{
    values stack = { 0 }, terms = { 0 };
    vec_push(c->a, &stack, v);
    while (stack.n) {
        value x = vec_pop(&stack);
        const node *n = node_of(c->trial, x);
        if (n->prim == PRIM_map && n->map->fn == SCALAR_add &&
            type_same(type_of(c->trial, n->in[0]), type_of(c->trial, n->in[1]))) {
            vec_push(c->a, &stack, n->in[1]);
            vec_push(c->a, &stack, n->in[0]);
        } else {
            vec_push(c->a, &terms, x);
        }
    }
    return terms;
}

static void stack_value(scan_grad *c, value v)
{
    for (int64_t i = 0; i < c->stacked.n; i++)
        if (same_value(c->stacked.at[i], v)) return;
    vec_push(c->a, &c->stacked, v);
}

static void split_captures(scan_grad *c)
{
    for (int i = 0; i < c->n_captures; i++) {
        value rest = NO_VALUE;
        values terms = { 0 };
        if (is_value(c->d_capture[i])) terms = terms_of(c, c->d_capture[i]);
        for (int64_t k = 0; k < terms.n; k++) {
            value v = terms.at[k];
            term t = classify(c, v);
            const node *n = t.kind == TERM_INSIDE ? NULL : node_of(c->trial, t.core);
            if (n) for (int j = 0; j < (t.kind == TERM_SUM ? 1 : 2); j++) stack_value(c, n->in[j]);
            else rest = is_value(rest) ? add(c->trial, rest, v) : v;
        }
        vec_push(c->a, &c->rest, rest);
    }
}

/* A gradient of xs that is a contract of a value of the step and one of no step (dx[t] = dgate[t] W') is
 * formed outside, for all steps at once. Gives the operand that varies; -1: not so. */
static int varying_side(const scan_grad *c, value d)
{
    const node *n = node_of(c->trial, d);
    if (n->prim != PRIM_contract || n->n_in != 2 || n->contract->n_labels == MAX_LABELS ||
        n->types[0].rank == MAX_RANK)
        return -1;
    for (int k = 0; k < 2; k++)
        if (can_stack(c, n->in[k]) && !c->varies[n->in[1 - k].id]) return k;
    return -1;
}

static void split_xs(scan_grad *c)
{
    c->x_outside = NEW_ARRAY(c->a, bool, c->n_xs + 1);
    for (int i = 0; i < c->n_xs; i++) {
        int k = is_value(c->d_x[i]) ? varying_side(c, c->d_x[i]) : -1;
        if (k < 0) continue;
        c->x_outside[i] = true;
        stack_value(c, node_of(c->trial, c->d_x[i])->in[k]);
    }
}

/* -- What is saved --------------------------------------------------------------------------------------- */

static bool is_expensive(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_contract:
    case PRIM_reduce:
    case PRIM_window:
    case PRIM_gather:
    case PRIM_scatter:
    case PRIM_sort:
    case PRIM_scan: case PRIM_cond: case PRIM_while: case PRIM_compact: return true;
    default: return false;
    }
}

static bool is_y(const scan_grad *c, value v)
{
    for (int k = 0; k < c->n_ys; k++)
        if (same_value(v, c->result[c->n_carry + k])) return true;
    return false;
}

/* Walks back from what the backward body gives; the forward part is entered only where it is cheap. The first
 * walk finds what is saved; the second, once sequences are known (outside), what the backward body itself
 * needs of it. */
static void find_needed(scan_grad *c, bool is_first)
{
    const graph *t = c->trial;
    bool *needed = c->needed = NEW_ARRAY(c->a, bool, t->owner.n);
    for (int64_t i = 0; i < c->float_carry.n; i++) needed[c->d_carry[i].id] = true;
    for (int i = 0; i < c->n_xs; i++)
        if (is_value(c->d_x[i]) && !c->x_outside[i]) needed[c->d_x[i].id] = true;
    for (int64_t i = 0; i < c->rest.n; i++)
        if (is_value(c->rest.at[i])) needed[c->rest.at[i].id] = true;
    for (int64_t i = 0; i < c->stacked.n; i++)
        if (is_first || !is_value(c->outside[c->stacked.at[i].id])) needed[c->stacked.at[i].id] = true;
    for (int64_t i = n_nodes(t); i-- > 1;) {
        const node *n = &t->nodes.at[i];
        bool any = false, is_forward = i < c->n_forward && n->prim != PRIM_input;
        for (int k = 0; k < n->n_out; k++) {
            value v = result_of(n, k);
            if (!needed[v.id]) continue;
            bool is_saved = is_forward && can_stack(c, v) && (is_expensive(n) || is_y(c, v));
            if (is_saved && is_first) vec_push(c->a, &c->saved, v);
            if (!is_saved) any = true;
        }
        for (int k = 0; any && k < n->n_in; k++) needed[n->in[k].id] = true;
    }
}

/* -- The scans ------------------------------------------------------------------------------------------- */

/* The forward scan again, with what is saved as further ys; their sequences into outside[]. */
static bool scan_forward(scan_grad *c)
{
    const grad_step *s = c->s;
    const scan_attr *at = s->n.scan;
    const graph *t = c->trial;
    int n_results = s->n.n_out, n_in = s->n.n_in, n = 0;
    values more = { 0 };
    for (int i = 0; i < c->n_carry; i++)
        if (c->needed[c->carry[i].id]) vec_push(c->a, &more, c->carry[i]);
    for (int64_t i = 0; i < c->saved.n; i++) {
        value v = c->saved.at[i];
        for (int k = 0; k < c->n_ys; k++)
            if (same_value(v, c->result[c->n_carry + k])) c->outside[v.id] = result_of(&s->n, c->n_carry + k);
        if (!is_value(c->outside[v.id])) vec_push(c->a, &more, v);
    }
    if (more.n == 0) return true;
    graph *f = graph_body(c->g, at->body->name);
    value *map = NEW_ARRAY(c->a, value, t->owner.n), *roots = NEW_ARRAY(c->a, value, n_results + more.n);
    value *in = parameters(c->a, f, n_in, t, c->carry), *out = NEW_ARRAY(c->a, value, n_results + more.n);
    for (int i = 0; i < n_in; i++) map[c->carry[i].id] = in[i];
    for (int i = 0; i < n_results; i++) roots[n++] = c->result[i];
    for (int64_t i = 0; i < more.n; i++) roots[n++] = more.at[i];
    if (!grad_inline(f, t, n, roots, map)) return false;
    for (int i = 0; i < n; i++) add_result(f, map[roots[i].id], NULL);
    if (!scan(c->g, f, c->n_carry, c->n_xs, at->n, at->reverse, n_in, s->n.in, out)) return false;
    for (int64_t i = 0; i < more.n; i++) c->outside[more.at[i].id] = out[n_results + i];
    return true;
}

typedef struct { graph *body; value *map; values in; } backward;

/* A further operand of the backward scan: `outer` in g, seen in the body as the trial's v. */
static void operand(scan_grad *c, backward *b, value v, value outer)
{
    b->map[v.id] = parameter(b->body, type_of(c->trial, v));
    vec_push(c->a, &b->in, outer);
}

static bool scan_backward(scan_grad *c)
{
    const grad_step *s = c->s;
    graph *g = c->g;
    const graph *t = c->trial;
    arena *a = c->a;
    const scan_attr *at = s->n.scan;
    backward b = { graph_body(g, "backward"), NEW_ARRAY(a, value, t->owner.n), { 0 } };
    values roots = { 0 }, sums = { 0 };
    int n_fc = (int)c->float_carry.n;
    for (int i = 0; i < n_fc; i++) {
        int k = c->float_carry.at[i];
        operand(c, &b, c->dcarry[i], is_value(s->dy[k]) ? s->dy[k] : grad_zeros(g, s->n.types[k]));
        vec_push(a, &roots, c->d_carry[i]);
    }
    for (int i = 0; i < c->n_captures; i++) {
        if (!is_value(c->rest.at[i])) continue;
        type ti = type_of(t, c->rest.at[i]);
        value zero = grad_zeros(g, ti);
        vec_push(a, &b.in, zero);
        value sum = parameter(b.body, ti);
        vec_push(a, &sums, sum);
        vec_push(a, &roots, c->rest.at[i]);
    }
    int n_carry = (int)roots.n;
    for (int i = 0; i < c->n_carry; i++)
        if (c->needed[c->carry[i].id]) operand(c, &b, c->carry[i], c->outside[c->carry[i].id]);
    for (int i = 0; i < c->n_xs; i++)
        if (c->needed[c->x[i].id]) operand(c, &b, c->x[i], s->n.in[c->n_carry + i]);
    for (int64_t i = 0; i < c->float_y.n; i++)
        if (c->needed[c->dy[i].id]) operand(c, &b, c->dy[i], s->dy[c->n_carry + c->float_y.at[i]]);
    for (int64_t i = 0; i < c->saved.n; i++)
        if (c->needed[c->saved.at[i].id]) operand(c, &b, c->saved.at[i], c->outside[c->saved.at[i].id]);
    int n_xs = (int)b.in.n - n_carry;
    for (int i = 0; i < c->n_captures; i++)
        if (c->needed[c->capture[i].id]) operand(c, &b, c->capture[i], s->n.in[c->n_carry + c->n_xs + i]);
    for (int i = 0; i < c->n_xs; i++)
        if (is_value(c->d_x[i]) && !c->x_outside[i]) vec_push(a, &roots, c->d_x[i]);
    for (int64_t i = 0; i < c->stacked.n; i++)
        if (!is_value(c->outside[c->stacked.at[i].id])) vec_push(a, &roots, c->stacked.at[i]);

    if (!grad_inline(b.body, t, (int)roots.n, roots.at, b.map)) return false;
    for (int64_t i = 0; i < roots.n; i++) {
        value v = b.map[roots.at[i].id];
        bool is_sum = i >= n_fc && i < n_carry;
        add_result(b.body, is_sum ? add(b.body, sums.at[i - n_fc], v) : v, NULL);
    }
    value *out = NEW_ARRAY(a, value, roots.n + 1);
    if (!scan(g, b.body, n_carry, n_xs, at->n, !at->reverse, (int)b.in.n, b.in.at, out)) return false;
    int k = 0;
    for (int i = 0; i < n_fc; i++) s->dx[c->float_carry.at[i]] = out[k++];
    for (int i = 0; i < c->n_captures; i++)
        if (is_value(c->rest.at[i])) s->dx[c->n_carry + c->n_xs + i] = out[k++];
    for (int i = 0; i < c->n_xs; i++)
        if (is_value(c->d_x[i]) && !c->x_outside[i]) s->dx[c->n_carry + i] = out[k++];
    for (int64_t i = 0; i < c->stacked.n; i++)
        if (!is_value(c->outside[c->stacked.at[i].id])) c->outside[c->stacked.at[i].id] = out[k++];
    return true;
}

/* -- Outside --------------------------------------------------------------------------------------------- */

/* The contract of the stacked operands, time as its outermost summed label. */
static value contract_over_time(scan_grad *c, const node *n)
{
    const contract_attr *from = n->contract;
    contract_attr to = *from;
    uint8_t time = (uint8_t)to.n_labels++;
    to.label_name[time] = NULL;
    for (int side = 0; side < 2; side++) {
        uint8_t *l = side ? to.lb : to.la;
        memmove(l + 1, l, MAX_RANK - 1);
        l[0] = time;
    }
    memmove(to.sum + 1, to.sum, MAX_LABELS - 1);
    to.sum[0] = time;
    to.n_sum++;
    return contract_by(c->g, c->outside[n->in[0].id], c->outside[n->in[1].id], NO_VALUE, &to, to.acc,
                       n->types[0].dtype);
}

static value form_outside(scan_grad *c, const term *r)
{
    graph *g = c->g;
    const graph *t = c->trial;
    node n = *node_of(t, r->core);
    value y = r->kind == TERM_CONTRACT
                  ? contract_over_time(c, &n)
                  : reduce(g, REDUCE_sum, c->outside[n.in[0].id], n.reduce->axes << 1 | 1, false);
    for (int64_t i = r->path.n; i-- > 0;) {
        const node *view = node_of(t, r->path.at[i]);
        value out;
        if (!rebuild(g, t, view, &y, &out)) return NO_VALUE;
        y = out;
    }
    return y;
}

static void captures_outside(scan_grad *c)
{
    for (int i = 0; i < c->n_captures; i++) {
        if (!is_value(c->d_capture[i])) continue;
        value *dx = &c->s->dx[c->n_carry + c->n_xs + i];
        values terms = terms_of(c, c->d_capture[i]);
        for (int64_t k = 0; k < terms.n; k++) {
            term r = classify(c, terms.at[k]);
            if (r.kind == TERM_INSIDE) continue;
            value y = form_outside(c, &r);
            *dx = is_value(*dx) ? add(c->g, *dx, y) : y;
        }
    }
}

/* The contract for all steps: time is a label of the operand that varies, and of the result. */
static bool xs_outside(scan_grad *c)
{
    value *map = NEW_ARRAY(c->a, value, c->trial->owner.n);
    for (int i = 0; i < c->n_captures; i++) map[c->capture[i].id] = c->s->n.in[c->n_carry + c->n_xs + i];
    for (int i = 0; i < c->n_xs; i++) {
        if (!c->x_outside[i]) continue;
        node n = *node_of(c->trial, c->d_x[i]);
        int k = varying_side(c, c->d_x[i]);
        contract_attr to = *n.contract;
        uint8_t time = (uint8_t)to.n_labels++, *l = k ? to.lb : to.la;
        to.label_name[time] = NULL;
        memmove(l + 1, l, MAX_RANK - 1);
        memmove(to.lo + 1, to.lo, MAX_RANK - 1);
        l[0] = to.lo[0] = time;
        if (!grad_inline(c->g, c->trial, 1, &n.in[1 - k], map)) return false;
        value in[2] = { map[n.in[0].id], map[n.in[1].id] };
        in[k] = c->outside[n.in[k].id];
        c->s->dx[c->n_carry + i] = contract_by(c->g, in[0], in[1], NO_VALUE, &to, to.acc, n.types[0].dtype);
    }
    return true;
}

void grad_scan(grad_step *s)
{
    const scan_attr *at = s->n.scan;
    scan_grad c = { .s = s, .g = s->g, .a = s->scratch, .n_carry = at->n_carry, .n_xs = at->n_xs,
                    .n_captures = s->n.n_in - at->n_carry - at->n_xs, .n_ys = s->n.n_out - at->n_carry };
    for (int i = 0; i < c.n_carry; i++)
        if (is_float(s->n.types[i].dtype)) vec_push(c.a, &c.float_carry, i);
    for (int k = 0; k < c.n_ys; k++)
        if (is_value(s->dy[c.n_carry + k])) vec_push(c.a, &c.float_y, k);
    c.trial = graph_body(s->g, "trial");
    if (!build_trial(&c)) {
        s->g->failed = true;
        return;
    }
    find_varying(&c);
    split_captures(&c);
    split_xs(&c);
    find_varying(&c);                  /* again: split_captures adds sums */
    find_needed(&c, true);
    c.outside = NEW_ARRAY(c.a, value, c.trial->owner.n);
    for (int i = 0; i < c.n_xs; i++) c.outside[c.x[i].id] = s->n.in[c.n_carry + i];
    for (int64_t i = 0; i < c.float_y.n; i++) c.outside[c.dy[i].id] = s->dy[c.n_carry + c.float_y.at[i]];
    bool ok = scan_forward(&c);
    find_needed(&c, false);
    if (!ok || !scan_backward(&c) || !xs_outside(&c)) {
        s->g->failed = true;
        return;
    }
    captures_outside(&c);
}
