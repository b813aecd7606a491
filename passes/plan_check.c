/* plan_check: a proof that the plan is sound, which knows nothing of how it was made
 *
 * Runs the program symbolically: at each call, every byte range a temporary occupies carries the name of the buffer that
 * last wrote there. A call must find, in the range of each buffer it reads, that buffer's own name; loops are run twice, so
 * that values carried from one trip to the next are checked too.
 */
#include "passes/pipeline.h"
#include <stdlib.h>

typedef struct { int64_t begin, end; int owner; } span;     /* sorted, disjoint */
typedef struct {
    arena *a;
    program *p;
    vec(span) spans;
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
    int64_t size;
    if (b->kind != PBUF_temp || !dim_is_const(b->bytes, &size) || size == 0) return;
    bool is_write = role == ROLE_out || role == ROLE_inout;
    if (is_write) {
        if (!owns(c, b->offset, b->offset + size, v.buf)) give(c, b->offset, b->offset + size, v.buf);
        return;
    }
    if (owns(c, b->offset, b->offset + size, v.buf)) return;
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

bool plan_check(program *p)
{
    if (p->workspace_bytes < 0) return true;
    arena *a = arena_new(&p->ctx->mem);
    check c = { .a = a, .p = p, .ok = true };
    run(&c, &p->body);
    arena_free(a);
    return c.ok;
}
