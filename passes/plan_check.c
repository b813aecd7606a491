/* plan_check: a proof that the plan is sound, which knows nothing of how it was made
 *
 * Runs the program symbolically: at each call, every byte range a temporary occupies carries the name of the buffer that
 * last wrote there. A call must find, in the range of each buffer it reads, that buffer's own name; loops are run twice, so
 * that values carried from one trip to the next are checked too. Of the ranges that a call writes none may meet another, and
 * one that meets a range which the call reads must be that range, whole, and the kernel as it stands must read each element
 * before it stores over it (ir/apart.h). Where sizes are open, buffers are placed as at entry (ir/open_plan.h), for several
 * values of the symbols.
 */
#include "ir/apart.h"
#include "ir/open_plan.h"
#include "passes/pipeline.h"
#include <stdlib.h>

typedef struct { int64_t begin, end; int owner; } span;     /* sorted, disjoint */
typedef struct {
    arena *a;
    program *p;
    vec(span) spans;
    int64_t *offset, *size;         /* by buffer; size -1: not in the workspace */
    map_str in_place;               /* kernel, in, out -> kernel_in_place */
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

/* Does buffer `part` live in buffer `whole` as a part of its value? */
static bool is_part(const check *c, int part, int whole)
{
    while (part >= 0 && part != whole) part = c->p->bufs.at[part].in_place ? -1 : c->p->bufs.at[part].slot_of;
    return part >= 0;
}

static bool owns(const check *c, int64_t begin, int64_t end, int owner)
{
    int64_t found = 0;
    for (int64_t i = 0; i < c->spans.n; i++) {
        span s = c->spans.at[i];
        if (s.end <= begin || s.begin >= end) continue;
        if (!is_part(c, s.owner, owner)) return false;
        found += (s.end < end ? s.end : end) - (s.begin > begin ? s.begin : begin);
    }
    return found == end - begin;
}

static const char *name_of(const check *c, int buf) { return c->p->bufs.at[buf].name ? c->p->bufs.at[buf].name : "unnamed"; }

static void read(check *c, view v, const char *kernel)
{
    if (v.buf < 0) return;
    int64_t at = c->offset[v.buf], end = at + c->size[v.buf];
    if (end <= at || owns(c, at, end, v.buf)) return;
    c->ok = false;
    diag_internal(c->p->ctx, (place){ .node = kernel }, arena_printf(c->a, "plan: buffer %d (%s) was overwritten before it is read",
                  v.buf, name_of(c, v.buf)));
}

static bool meet(const check *c, int x, int y)
{
    return c->size[x] > 0 && c->size[y] > 0 && c->offset[x] < c->offset[y] + c->size[y] && c->offset[y] < c->offset[x] + c->size[x];
}

static bool may_overwrite(check *c, const prog_op *op, int in, int out)
{
    int x = op->args[in].buf, y = op->args[out].buf;
    if (op->args[in].at || op->args[out].at || c->offset[x] != c->offset[y] || c->size[x] != c->size[y]) return false;
    int key[3] = { op->kernel, in, out };
    bool fresh;
    uint64_t *slot = map_put(&c->in_place, (const char *)key, sizeof key, 0, &fresh);
    if (fresh) *slot = kernel_in_place(c->p->kernels.at[op->kernel], in, out);
    return *slot;
}

/* One buffer, given whole to be read and to be written. */
static bool is_same_place(const check *c, const prog_op *op, int in, int out)
{
    int x = op->args[in].buf;
    return in != out && x == op->args[out].buf && !op->args[in].at && !op->args[out].at && c->p->kernels.at[op->kernel]->bufs.at[in].role == ROLE_in;
}

static bool is_written(buf_role r) { return r == ROLE_out || r == ROLE_inout || r == ROLE_none; }

/* What the call stores, before anybody else reads it. */
static void write(check *c, const prog_op *op, int out)
{
    const kernel_code *k = c->p->kernels.at[op->kernel];
    int y = op->args[out].buf;
    for (int i = 0; i < k->n_params && c->ok; i++) {
        int x = op->args[i].buf;
        if ((x == y || !meet(c, x, y)) && !is_same_place(c, op, i, out)) continue;
        if (!is_written(k->bufs.at[i].role) && may_overwrite(c, op, i, out)) continue;
        c->ok = false;
        diag_internal(c->p->ctx, (place){ .node = k->name }, arena_printf(c->a, "plan: buffer %d (%s) covers buffer %d (%s) of the same call",
                      y, name_of(c, y), x, name_of(c, x)));
    }
    int64_t at = c->offset[y], end = at + c->size[y];
    if (end > at && !owns(c, at, end, y)) give(c, at, end, y);
}

static void call(check *c, const prog_op *op)
{
    const kernel_code *k = c->p->kernels.at[op->kernel];
    for (int i = 0; i < k->n_params; i++)
        if (!is_written(k->bufs.at[i].role)) read(c, op->args[i], k->name);
    for (int i = 0; i < k->n_params && c->ok; i++)
        if (is_written(k->bufs.at[i].role)) write(c, op, i);
}

static void run(check *c, const prog_block *b)
{
    for (int i = 0; i < b->n && c->ok; i++) {
        const prog_op *op = b->at[i];
        int trips = op->kind == PROG_scan || op->kind == PROG_while ? 2 : 1;
        if (op->kind == PROG_call) call(c, op);
        if (op->kind == PROG_setdim) read(c, op->source, "setdim");
        if (op->kind == PROG_cond) read(c, op->pred, "cond");
        for (int t = 0; t < trips && op->kind != PROG_call; t++) {
            run(c, &op->test);
            if (op->kind == PROG_while) read(c, op->pred, "while");
            run(c, &op->body);
            run(c, &op->other);
        }
    }
}

/* Outputs in which others live, as if they stood far behind the workspace. */
static void place_outputs(check *c, const int64_t *symbols)
{
    int64_t far = (int64_t)1 << 52;
    for (int64_t i = 0; i < c->p->bufs.n; i++) {
        int64_t in = i, size = 0;
        while (c->p->bufs.at[in].slot_of >= 0) in = c->p->bufs.at[in].slot_of;
        const pbuf *b = &c->p->bufs.at[in];
        if (in == i || b->kind != PBUF_output || c->size[in] >= 0 || !dim_eval(c->p->dims, b->bytes, symbols, &size)) continue;
        c->offset[in] = far;
        c->size[in] = size;
        far += size;
    }
}

/* Buffers that live in others lie where those do. */
static void place_inside(check *c, const int64_t *symbols)
{
    place_outputs(c, symbols);
    for (int64_t i = 0; i < c->p->bufs.n; i++) {
        const pbuf *b = &c->p->bufs.at[i];
        int64_t at = 0, off = 0, size = 0;
        int in = (int)i;
        bool known = b->slot_of >= 0 && dim_eval(c->p->dims, b->bytes, symbols, &size);
        for (; known && c->p->bufs.at[in].slot_of >= 0; in = c->p->bufs.at[in].slot_of) {
            known = dim_eval(c->p->dims, c->p->bufs.at[in].slot_offset, symbols, &off);
            if (known) at += off * dtype_bytes(c->p->bufs.at[in].dtype);
        }
        if (!known) continue;
        c->offset[i] = c->offset[in] + at;
        c->size[i] = c->size[in] < 0 ? -1 : size;
        if (c->size[in] < 0 || at + size <= c->size[in]) continue;
        c->ok = false;
        diag_internal(c->p->ctx, (place){ 0 }, arena_printf(c->a, "plan: buffer %d (%s) does not fit into buffer %d (%s)", (int)i, name_of(c, (int)i),
                      in, name_of(c, in)));
    }
}

static bool check_placed(check *c, const int64_t *symbols)
{
    c->ok = true;
    c->spans.n = 0;
    place_inside(c, symbols);
    run(c, &c->p->body);
    return c->ok;
}

static bool check_static(check *c)
{
    for (int64_t i = 0; i < c->p->bufs.n; i++) {
        const pbuf *b = &c->p->bufs.at[i];
        if (b->kind != PBUF_temp || b->slot_of >= 0 || !dim_is_const(b->bytes, &c->size[i])) c->size[i] = -1;
        c->offset[i] = b->offset;
    }
    return check_placed(c, NEW_ARRAY(c->a, int64_t, dims_n_symbols(c->p->dims) + 1));
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
    return check_placed(c, symbols);
}

bool plan_check(program *p)
{
    arena *a = arena_new(&p->ctx->mem);
    check c = { .a = a, .p = p, .offset = NEW_ARRAY(a, int64_t, p->bufs.n + 1), .size = NEW_ARRAY(a, int64_t, p->bufs.n + 1) };
    map_init(&c.in_place, a);
    const open_plan *o = open_plan_make(a, p);
    bool ok = true;
    if (!o) ok = check_static(&c);
    for (int64_t t = 0; o && ok && t < 20; t += 3) ok = check_open(&c, o, t);
    arena_free(a);
    return ok;
}
