/* plan_check: a proof that the plan is sound, which knows nothing of how it was made
 *
 * Runs the program symbolically: at each call, every byte range a temporary occupies carries the name of the buffer that
 * last wrote there. A call must find, in the range of each buffer it reads, that buffer's own name; loops are run twice, so
 * that values carried from one trip to the next are checked too. Where sizes are open, buffers are placed as at entry
 * (ir/open_plan.h), for several values of the symbols.
 */
#include "ir/open_plan.h"
#include "passes/pipeline.h"
#include <stdlib.h>

typedef struct { int64_t begin, end; int owner; } span;     /* sorted, disjoint */
typedef struct {
    arena *a;
    program *p;
    vec(span) spans;
    int64_t *offset, *size;         /* by buffer; size -1: not in the workspace */
    bool ok;
} check;

/* The part of the workspace of buffer b now belongs to `owner`. */
static void give(check *c, int64_t begin, int64_t end, int owner)
{
    vec(span) next = { 0 };
    for (int64_t i = 0; i < c->spans.n; i++) {
        span s = c->spans.at[i];
        if (s.end <= begin || s.begin >= end) {
            vec_push(c->a, &next, s);
            continue;
        }
        if (s.begin < begin) vec_push(c->a, &next, ((span){ s.begin, begin, s.owner }));
        if (s.end > end) vec_push(c->a, &next, ((span){ end, s.end, s.owner }));
    }
    vec_push(c->a, &next, ((span){ begin, end, owner }));
    c->spans.at = next.at;
    c->spans.n = next.n;
    c->spans.cap = next.cap;
}

static bool owns(const check *c, int64_t begin, int64_t end, int owner)
{
    int64_t found = 0;
    for (int64_t i = 0; i < c->spans.n; i++) {
        span s = c->spans.at[i];
        if (s.end <= begin || s.begin >= end) continue;
        if (s.owner != owner) return false;
        found += (s.end < end ? s.end : end) - (s.begin > begin ? s.begin : begin);
    }
    return found == end - begin;
}

static void touch(check *c, view v, buf_role role, const char *kernel)
{
    if (v.buf < 0) return;
    const pbuf *b = &c->p->bufs.at[v.buf];
    int64_t at = c->offset[v.buf], end = at + c->size[v.buf];
    if (end <= at) return;
    bool is_write = role == ROLE_out || role == ROLE_inout;
    if (is_write) {
        if (!owns(c, at, end, v.buf)) give(c, at, end, v.buf);
        return;
    }
    if (owns(c, at, end, v.buf)) return;
    c->ok = false;
    diag_internal(c->p->ctx, (place){ .node = kernel }, arena_printf(c->a, "plan: buffer %d (%s) was overwritten before it is read",
                  v.buf, b->name ? b->name : "unnamed"));
}

static void run(check *c, const prog_block *b)
{
    for (int i = 0; i < b->n && c->ok; i++) {
        const prog_op *op = b->at[i];
        int trips = op->kind == PROG_scan || op->kind == PROG_while ? 2 : 1;
        if (op->kind == PROG_call) {
            const kernel_code *k = c->p->kernels.at[op->kernel];
            for (int reads = 0; reads <= 1; reads++)      /* outputs first: they must not cover an input */
                for (int q = 0; q < k->n_params; q++)
                    if ((k->bufs.at[q].role == ROLE_in || k->bufs.at[q].role == ROLE_const) == reads)
                        touch(c, op->args[q], k->bufs.at[q].role, k->name);
        }
        if (op->kind == PROG_setdim) touch(c, op->source, ROLE_in, "setdim");
        if (op->kind == PROG_cond) touch(c, op->pred, ROLE_in, "cond");
        for (int t = 0; t < trips && op->kind != PROG_call; t++) {
            run(c, &op->test);
            if (op->kind == PROG_while) touch(c, op->pred, ROLE_in, "while");
            run(c, &op->body);
            run(c, &op->other);
        }
    }
}

static bool check_placed(check *c)
{
    c->ok = true;
    c->spans.n = 0;
    run(c, &c->p->body);
    return c->ok;
}

static bool check_static(check *c)
{
    for (int64_t i = 0; i < c->p->bufs.n; i++) {
        const pbuf *b = &c->p->bufs.at[i];
        if (b->kind != PBUF_temp || !dim_is_const(b->bytes, &c->size[i])) c->size[i] = -1;
        c->offset[i] = b->offset;
    }
    return check_placed(c);
}

/* Symbols at lo + t^2, kept within their bounds, the first one larger than the others. */
static bool check_open(check *c, const open_plan *o, int64_t t)
{
    int n = dims_n_symbols(c->p->dims);
    int64_t *symbols = NEW_ARRAY(c->a, int64_t, n + 1), *size = NEW_ARRAY(c->a, int64_t, o->n_sizes + 1), *offset = NEW_ARRAY(c->a, int64_t, o->n + 1);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(c->p->dims, i, &lo, &hi);
        symbols[i] = lo + (i ? t : t * t);
        if (symbols[i] > hi) symbols[i] = hi;
    }
    for (int i = 0; i < o->n_sizes; i++)
        if (!dim_eval(c->p->dims, o->size[i], symbols, &size[i]) || size[i] < 0) return true;       /* not sizes of a run */
    open_plan_place(o, size, offset);
    for (int64_t i = 0; i < c->p->bufs.n; i++) {
        int item = o->item_of[i];
        c->size[i] = item < 0 ? -1 : size[o->size_of[item]];
        c->offset[i] = item < 0 ? 0 : offset[item];
    }
    return check_placed(c);
}

bool plan_check(program *p)
{
    arena *a = arena_new(&p->ctx->mem);
    check c = { .a = a, .p = p, .offset = NEW_ARRAY(a, int64_t, p->bufs.n + 1), .size = NEW_ARRAY(a, int64_t, p->bufs.n + 1) };
    const open_plan *o = open_plan_make(a, p);
    bool ok = true;
    if (!o) ok = check_static(&c);
    for (int64_t t = 0; o && ok && t < 20; t += 3) ok = check_open(&c, o, t);
    arena_free(a);
    return ok;
}
