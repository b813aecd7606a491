/* lifetime: when each buffer of a program is alive
 *
 * Calls are numbered in the order of the text, bodies in line. A buffer lives from its first to its last use.
 * Around a loop this is not enough: unless all its uses are inside and the first of them writes it whole, a
 * value may pass from one trip to the next, or must outlast all trips; then it lives through the whole loop.
 * A buffer that others live in lives from the first to the last of their uses and its own.
 */
#include "ir/lifetime.h"

typedef struct { int64_t first, last; int parent; } loop_span;
typedef struct { int buf, loop; } touch;
typedef struct {
    arena *a;
    const program *p;
    lifetime *l;
    bool *written_first;              /* by buffer: the first use stores all of it */
    vec(loop_span) loops;
    vec(touch) touches;
    int64_t now;
} walk;

static void use(walk *w, view v, bool writes_all, int loop)
{
    if (v.buf < 0) return;
    interval *i = &w->l->of[v.buf];
    if (i->last < 0) {
        i->first = w->now;
        w->written_first[v.buf] = writes_all && !v.at;
    }
    i->last = w->now;
    vec_push(w->a, &w->touches, ((touch){ v.buf, loop }));
}

/* Recursion follows the nesting of bodies, which the front ends bound. */
static void walk_block(walk *w, const prog_block *b, int loop)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *op = b->at[i];
        int inner = loop;
        if (op->kind == PROG_scan || op->kind == PROG_while) {
            inner = (int)w->loops.n;
            vec_push(w->a, &w->loops, ((loop_span){ w->now + 1, 0, loop }));
        }
        w->now++;
        switch (op->kind) {
        case PROG_call: {
            const kernel_code *k = w->p->kernels.at[op->kernel];
            for (int q = 0; q < k->n_params; q++)
                use(w, op->args[q], k->bufs.at[q].role == ROLE_out, loop);
            break;
        }
        case PROG_setdim:
            use(w, op->source, false, loop);
            break;
        case PROG_scan: case PROG_cond: case PROG_while:
            if (op->kind == PROG_cond) use(w, op->pred, false, loop);
            walk_block(w, &op->test, inner);
            if (op->kind == PROG_while) use(w, op->pred, false, inner);
            walk_block(w, &op->body, inner);
            walk_block(w, &op->other, inner);
            w->now++;
            break;
        }
        if (inner != loop) w->loops.at[inner].last = w->now;
    }
}

static void widen(walk *w, touch t)
{
    interval *i = &w->l->of[t.buf];
    for (int k = t.loop; k >= 0; k = w->loops.at[k].parent) {
        loop_span s = w->loops.at[k];
        if (i->first >= s.first && i->last <= s.last && w->written_first[t.buf]) return;
        if (s.first < i->first) i->first = s.first;
        if (s.last > i->last) i->last = s.last;
    }
}

static void collect_bounds(const program *p, const prog_block *b, dim *bound)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *op = b->at[i];
        int64_t lo, hi;
        if (op->kind == PROG_setdim) {
            dims_symbol_range(p->dims, op->symbol, &lo, &hi);
            bound[op->symbol] = dim_const(hi);
        }
        collect_bounds(p, &op->test, bound);
        collect_bounds(p, &op->body, bound);
        collect_bounds(p, &op->other, bound);
    }
}

/* What another buffer lives in is alive with it. */
static void join(lifetime *l, const program *p, int buf)
{
    interval x = l->of[buf];
    if (x.last < 0) return;
    for (int at = p->bufs.at[buf].slot_of; at >= 0; at = p->bufs.at[at].slot_of) {
        interval *i = &l->of[at];
        if (i->last < 0 || x.first < i->first) i->first = x.first;
        if (x.last > i->last) i->last = x.last;
    }
}

lifetime *lifetimes_of(arena *a, const program *p)
{
    lifetime *l = NEW(a, lifetime);
    int n = dims_n_symbols(p->dims);
    dim *bound = NEW_ARRAY(a, dim, n + 1);
    for (int i = 0; i < n; i++) bound[i] = dims_symbol(p->dims, i);
    collect_bounds(p, &p->body, bound);
    l->bound = bound;
    l->of = NEW_ARRAY(a, interval, p->bufs.n + 1);
    for (int64_t i = 0; i < p->bufs.n; i++) l->of[i] = (interval){ 0, -1 };
    walk w = { .a = a, .p = p, .l = l, .written_first = NEW_ARRAY(a, bool, p->bufs.n + 1) };
    walk_block(&w, &p->body, -1);
    for (int pass = 0; pass < 2; pass++)        /* widening at one loop can undo locality in another */
        for (int64_t i = 0; i < w.touches.n; i++) widen(&w, w.touches.at[i]);
    for (int64_t i = 0; i < p->bufs.n; i++) join(l, p, (int)i);
    l->n_calls = w.now + 1;
    return l;
}

dim buffer_bytes(const program *p, const lifetime *l, int buf)
{
    const pbuf *b = &p->bufs.at[buf];
    dim n = dim_const(dtype_bytes(b->dtype));
    for (int i = 0; i < b->rank; i++) n = dim_mul(p->dims, n, dim_subst(p->dims, b->dims[i], l->bound));
    return n;
}
