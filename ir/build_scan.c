/* ir/build_scan.c: what the builder makes simpler in a scan before there is a node for it
 *
 *     carry t, from a, t + 1;  X[t]  of a captured X       a sequence: X[a … a + n), one element a step
 *                              X[k - t]                    the same, the other way round
 *     a counter that nothing else reads                    dropped: at the end it is a + n
 *     what depends on captures alone (W', 1/sqrt(s) …)     computed once, outside
 *
 * Why    A loop of the language, or of ONNX, counts its steps and subscripts what it goes through. As a
 *        sequence it needs no copy, its gradient is a sequence too instead of a sum over the whole of X a
 *        step (n² in all), and what is invariant costs once.
 * How    One pass over the body's nodes finds what applies; if anything does, the body is built anew.
 * Keeps  every bit: the same nodes over the same values.
 * Leaves views of captures (they cost nothing where they are read), counters in a scan that runs in reverse.
 */
#include "ir/build_inner.h"

typedef struct { bool is_seq; int capture; bool is_down; dim first; } sequence;       /* first: least index */

typedef struct {
    graph *g;
    arena *a;
    graph *body;
    const scan_parts *s;
    int64_t *starts_at; bool *is_counter;        /* of each carry */
    sequence *seq;                               /* of each value of the body */
    bool *varies, *captured;                     /* of each value: depends on the step; on a capture */
    bool *lifted;                                /* is computed outside */
    bool *reached;                               /* the results need it */
    bool *dropped;                               /* of each carry */
    bool any;                                    /* does anything apply? */
} simplifier;

static bool is_int_const(graph *g, value v, dim *x)
{
    int n;
    const dim *d = known_ints(g, v, &n);
    if (!d || n != 1) return false;
    *x = d[0];
    return true;
}

static int place_of(const graph *body, value v)
{
    const node *n = node_of(body, v);
    if (n->prim != PRIM_input) return -1;
    for (int i = 0; i < body->inputs.n; i++)
        if (same_value(body->inputs.at[i], v)) return i;
    return -1;
}

/* -- Counters and what they subscript -------------------------------------------------------------------- */

static void find_counters(simplifier *z)
{
    const scan_parts *s = z->s;
    for (int i = 0; i < s->n_carry && !s->reverse; i++) {
        value t = z->body->inputs.at[i], next = z->body->results.at[i];
        const node *n = node_of(z->body, next);
        dim from, by;
        if (type_of(z->body, t).rank || n->prim != PRIM_map || n->map->fn != SCALAR_add ||
            !is_int_const(z->g, s->in[i], &from))
            continue;
        int k = same_value(n->in[0], t) ? 1 : same_value(n->in[1], t) ? 0 : -1;
        if (k < 0 || !is_int_const(z->body, n->in[k], &by) || !dim_is(by, 1) ||
            !dim_is_const(from, &z->starts_at[i]))
            continue;
        z->is_counter[i] = true;
    }
}

/* Values that an index takes: from lo to hi, one step up or down. */
typedef struct { dim lo, hi; bool is_down; } range;

static bool range_of(const simplifier *z, value v, int depth, range *r)
{
    dims *d = z->g->dims;
    const node *n = node_of(z->body, v);
    int c = place_of(z->body, v);
    if (c >= 0) {
        if (c >= z->s->n_carry || !z->is_counter[c]) return false;
        r->lo = dim_const(z->starts_at[c]);
        r->hi = dim_sub(d, dim_add(d, r->lo, z->s->n), dim_const(1));
        r->is_down = false;
        return true;
    }
    if (n->prim != PRIM_map || n->n_in != 2 || depth > 6) return false;
    dim k0, k1;
    bool is_k0 = is_int_const(z->body, n->in[0], &k0), is_k1 = is_int_const(z->body, n->in[1], &k1);
    if (is_k0 == is_k1 || !range_of(z, n->in[is_k0], depth + 1, r)) return false;
    dim k = is_k0 ? k0 : k1, lo = r->lo;
    switch (n->map->fn) {
    case SCALAR_max: return dim_known_le(d, k, r->lo);
    case SCALAR_min: return dim_known_le(d, r->hi, k);
    case SCALAR_add:
        r->lo = dim_add(d, r->lo, k);
        r->hi = dim_add(d, r->hi, k);
        return true;
    case SCALAR_sub:
        if (is_k0) {
            r->lo = dim_sub(d, k, r->hi);
            r->hi = dim_sub(d, k, lo);
            r->is_down = !r->is_down;
        } else {
            r->lo = dim_sub(d, r->lo, k);
            r->hi = dim_sub(d, r->hi, k);
        }
        return true;
    default: return false;
    }
}

static void find_sequences(simplifier *z)
{
    dims *d = z->g->dims;
    for (int64_t i = 1; i < n_nodes(z->body); i++) {
        const node *n = &z->body->nodes.at[i];
        range r;
        if (n->prim != PRIM_gather || n->n_in != 2 || n->gather->n_axes != 1 || n->gather->axes[0] ||
            n->gather->n_batch)
            continue;
        int at = place_of(z->body, n->in[0]) - z->s->n_carry - z->s->n_xs;
        if (at < 0 || type_of(z->body, n->in[1]).rank || !range_of(z, n->in[1], 0, &r)) continue;
        dim extent = type_of(z->body, n->in[0]).dims[0];
        if (!dim_known_le(d, dim_const(0), r.lo) || !dim_known_lt(d, r.hi, extent)) continue;
        z->seq[n->first] = (sequence){ true, at, r.is_down, r.lo };
        z->any = true;
    }
}

/* -- What does not vary ---------------------------------------------------------------------------------- */

static bool is_view(const node *n)
{
    switch ((prim)n->prim) {
    case PRIM_reshape:
    case PRIM_broadcast:
    case PRIM_slice:
    case PRIM_pad:
    case PRIM_input:
    case PRIM_const:
    case PRIM_iota: return true;
    default: return false;
    }
}

/* v, which does not vary, is read where something does: what of it is worth being computed outside. */
static void lift(simplifier *z, value v)
{
    while (!z->varies[v.id] && z->captured[v.id]) {
        const node *n = node_of(z->body, v);
        if (!is_view(n)) {
            z->lifted[v.id] = z->any = true;
            return;
        }
        if (!n->n_in) return;
        v = n->in[0];
    }
}

static void find_invariants(simplifier *z)
{
    const graph *b = z->body;
    int first = z->s->n_carry + z->s->n_xs;
    for (int64_t i = 0; i < b->inputs.n; i++)
        *(i < first ? &z->varies[b->inputs.at[i].id] : &z->captured[b->inputs.at[i].id]) = true;
    for (int64_t i = 1; i < n_nodes(b); i++) {
        const node *n = &b->nodes.at[i];
        bool varies = z->seq[n->first].is_seq, captured = false;
        for (int k = 0; k < n->n_in; k++) {
            varies |= z->varies[n->in[k].id];
            captured |= z->captured[n->in[k].id];
        }
        for (int k = 0; k < n->n_out && n->prim != PRIM_input; k++) {
            z->varies[n->first + (uint32_t)k] = varies;
            z->captured[n->first + (uint32_t)k] = captured;
        }
        for (int k = 0; varies && k < n->n_in && !z->seq[n->first].is_seq; k++) lift(z, n->in[k]);
    }
    for (int64_t i = 0; i < b->results.n; i++) lift(z, b->results.at[i]);
}

/* -- The new scan ---------------------------------------------------------------------------------------- */

/* What the results need, once sequences and what is lifted come in as inputs. A counter's own result does not
 * count. */
static void find_reached(simplifier *z)
{
    const graph *b = z->body;
    for (int64_t i = 0; i < b->results.n; i++)
        if (i >= z->s->n_carry || !z->is_counter[i]) z->reached[b->results.at[i].id] = true;
    for (int64_t i = n_nodes(b); i-- > 1;) {
        const node *n = &b->nodes.at[i];
        bool any = false, is_leaf = z->seq[n->first].is_seq;
        for (int k = 0; k < n->n_out; k++) {
            any |= z->reached[n->first + (uint32_t)k];
            is_leaf |= z->lifted[n->first + (uint32_t)k];
        }
        for (int k = 0; any && !is_leaf && k < n->n_in; k++) z->reached[n->in[k].id] = true;
    }
    for (int i = 0; i < z->s->n_carry; i++) {
        value t = b->inputs.at[i];
        if (!z->is_counter[i]) continue;
        z->dropped[i] = !z->reached[t.id];
        if (z->dropped[i]) { z->any = true; continue; }
        const node *n = node_of(b, b->results.at[i]);
        z->reached[n->first] = z->reached[n->in[0].id] = z->reached[n->in[1].id] = true;
    }
}

/* The sequence in g that q describes. */
static value sequence_of(simplifier *z, const sequence *q)
{
    graph *g = z->g;
    value x = z->s->in[z->s->n_carry + z->s->n_xs + q->capture];
    type t = type_of(g, x);
    dim start[MAX_RANK], size[MAX_RANK];
    int64_t step[MAX_RANK];
    for (int k = 0; k < t.rank; k++) {
        step[k] = 1;
        start[k] = k ? dim_const(0) : q->first;
        size[k] = k ? t.dims[k] : z->s->n;
    }
    x = slice(g, x, start, size, step);
    return q->is_down ? flip(g, x, 0) : x;
}

static bool rebuild_into(simplifier *z, graph *to, const node *n, value *map)
{
    value *in = NEW_ARRAY(z->a, value, n->n_in + 1), *out = NEW_ARRAY(z->a, value, n->n_out);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k].id];
    if (!rebuild(to, z->body, n, in, out)) return false;
    for (int k = 0; k < n->n_out; k++) {
        value v = result_of(n, k);
        if (!is_value(map[v.id])) map[v.id] = out[k];
        if (z->body->names.at[v.id]) set_name(to, out[k], z->body->names.at[v.id]);
    }
    return true;
}

/* What is lifted, in g. */
static bool build_outside(simplifier *z, value *outside)
{
    const graph *b = z->body;
    bool *needed = NEW_ARRAY(z->a, bool, b->owner.n);
    for (int64_t i = n_nodes(b); i-- > 1;) {
        const node *n = &b->nodes.at[i];
        bool any = false;
        for (int k = 0; k < n->n_out; k++) {
            uint32_t v = n->first + (uint32_t)k;
            any |= (z->lifted[v] && z->reached[v]) || needed[v];
        }
        for (int k = 0; any && k < n->n_in; k++) needed[n->in[k].id] = true;
        for (int k = 0; any && k < n->n_out; k++) needed[n->first + (uint32_t)k] = true;
    }
    for (int i = z->s->n_carry + z->s->n_xs; i < z->s->n_in; i++) outside[b->inputs.at[i].id] = z->s->in[i];
    for (int64_t i = 1; i < n_nodes(b); i++) {
        const node *n = &b->nodes.at[i];
        if (n->prim != PRIM_input && n->n_out && needed[n->first] && !rebuild_into(z, z->g, n, outside))
            return false;
    }
    return true;
}

typedef struct { graph *body; value *map, *in; int n_in, n_carry, n_xs; } maker;

static void give_input(simplifier *z, maker *m, value v, value operand)
{
    type t = type_of(z->body, v);
    m->map[v.id] = input(m->body, z->body->names.at[v.id], t.dtype, t.rank, t.dims);
    m->in[m->n_in++] = operand;
}

/* The inputs of the new body, and the operands for them: carries, sequences old and new, captures old and
 * new. */
static bool new_inputs(simplifier *z, maker *m)
{
    const scan_parts *s = z->s;
    const graph *b = z->body;
    value *outside = NEW_ARRAY(z->a, value, b->owner.n);
    int first = s->n_carry + s->n_xs;
    if (!build_outside(z, outside)) return false;
    for (int i = 0; i < s->n_carry; i++)
        if (!z->dropped[i]) give_input(z, m, b->inputs.at[i], s->in[i]);
    m->n_carry = m->n_in;
    for (int i = s->n_carry; i < first; i++) give_input(z, m, b->inputs.at[i], s->in[i]);
    for (uint32_t v = 1; v < (uint32_t)b->owner.n; v++)
        if (z->seq[v].is_seq && z->reached[v]) give_input(z, m, (value){ v }, sequence_of(z, &z->seq[v]));
    m->n_xs = m->n_in - m->n_carry;
    for (int i = first; i < s->n_in; i++)
        if (z->reached[b->inputs.at[i].id]) give_input(z, m, b->inputs.at[i], s->in[i]);
    for (uint32_t v = 1; v < (uint32_t)b->owner.n; v++)
        if (z->lifted[v] && z->reached[v]) give_input(z, m, (value){ v }, outside[v]);
    return !z->g->failed;
}

static bool new_body(simplifier *z, maker *m)
{
    const graph *b = z->body;
    for (int64_t i = 1; i < n_nodes(b); i++) {
        const node *n = &b->nodes.at[i];
        bool is_done = true, any = false;
        for (int k = 0; k < n->n_out; k++) {
            uint32_t v = n->first + (uint32_t)k;
            any |= z->reached[v];
            is_done &= !z->reached[v] || is_value(m->map[v]);
        }
        if (n->prim != PRIM_input && any && !is_done && !rebuild_into(z, m->body, n, m->map)) return false;
    }
    for (int64_t i = 0; i < b->results.n; i++)
        if (i >= z->s->n_carry || !z->dropped[i])
            add_result(m->body, m->map[b->results.at[i].id], b->result_names.at[i]);
    return !m->body->failed;
}

bool simplify_scan(graph *g, graph *body, const scan_parts *s, value *out, bool *done)
{
    int n_values = (int)body->owner.n, n_results = (int)body->results.n;
    arena *a = arena_new(arena_mem(g->arena));
    simplifier z = { .g = g, .a = a, .body = body, .s = s };
    z.starts_at = NEW_ARRAY(a, int64_t, s->n_carry + 1);
    z.is_counter = NEW_ARRAY(a, bool, s->n_carry + 1);
    z.dropped = NEW_ARRAY(a, bool, s->n_carry + 1);
    z.seq = NEW_ARRAY(a, sequence, n_values + 1);
    z.varies = NEW_ARRAY(a, bool, n_values + 1);
    z.captured = NEW_ARRAY(a, bool, n_values + 1);
    z.lifted = NEW_ARRAY(a, bool, n_values + 1);
    z.reached = NEW_ARRAY(a, bool, n_values + 1);
    find_counters(&z);
    find_sequences(&z);
    find_invariants(&z);
    find_reached(&z);
    bool ok = true;
    *done = z.any;
    if (z.any) {
        maker m = { .body = graph_body(g, body->name),
                    .map = NEW_ARRAY(a, value, n_values + 1),
                    .in = NEW_ARRAY(a, value, s->n_in + n_values + 1) };
        value *results = NEW_ARRAY(a, value, n_results + 1);
        ok = new_inputs(&z, &m) && new_body(&z, &m) &&
             scan(g, m.body, m.n_carry, m.n_xs, s->n, s->reverse, m.n_in, m.in, results);
        for (int i = 0, k = 0; ok && i < n_results; i++)
            out[i] = i < s->n_carry && z.dropped[i] ? constant_dim(g, type_of(body, body->inputs.at[i]).dtype,
                                                                   dim_addk(g->dims, s->n, z.starts_at[i]))
                                                    : results[k++];
    }
    arena_free(a);
    return ok;
}
