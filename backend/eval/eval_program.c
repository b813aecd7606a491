/* backend/eval/eval_program.c: runs a program: its calls in order, scans and whiles turn by turn.
 *
 * Memory  Every temporary has memory of its own, as large as its bound, filled with loop_eval_options.fill;
 *         or, with eval_io.workspace, lies where `plan` put it, or with places_open where ir/open_plan.h puts
 *         it for these sizes: all must give the same results. Each argument is checked against the memory it
 *         lies in before the call, so a kernel cannot leave its buffers.
 * Kernels are translated at their first call.
 */
#include "backend/eval/eval_code.h"
#include "ir/open_plan.h"

typedef struct {
    dlc_context *ctx;
    const program *p;
    const eval_io *io;
    const loop_eval_options *o;
    arena *a;
    expander *e;
    int64_t *symbols;
    int64_t *var;             /* values of loop variables */
    uint8_t **base;           /* by buffer */
    int64_t *room;            /* bytes from base */
    eval_code **code;         /* by kernel */
    const open_plan *open;    /* NULL: every open temporary has memory of its own */
    int64_t *open_offset;     /* by item of it */
    uint8_t *open_work;
    int64_t open_bytes;
} runner;

static bool fail(const runner *r, const char *what)
{
    diag_program_run(r->ctx, (place){ 0 }, r->p->name, what);
    return false;
}

/* -- Memory ---------------------------------------------------------------------------------------------- */

static bool has_room(const runner *r, int64_t id, uint8_t *base, int64_t room)
{
    r->base[id] = base;
    r->room[id] = room;
    return true;
}

static void fill(const runner *r, dtype t, uint8_t *at, int64_t room)
{
    int64_t width = dtype_bytes(t);
    dtype c = is_storage(t) ? carrier_dtype(t) : t;
    scalar_value v = sv_from_f64(c, r->o->fill);
    for (int64_t i = 0; i + width <= room; i += width) sv_store(c, at + i, v);
}

static bool place_buffer(const runner *r, int64_t id)
{
    const pbuf *b = &r->p->bufs.at[id];
    int64_t size;
    if (!dim_eval(r->p->dims, b->bytes, r->symbols, &size) || size < 0)
        return fail(r, arena_printf(r->a, "the size of %s is negative or too large", b->name));
    switch (b->kind) {
    case PBUF_input:  return has_room(r, id, (uint8_t *)(uintptr_t)r->io->inputs[b->index], size);
    case PBUF_output: return has_room(r, id, r->io->outputs[b->index], size);
    case PBUF_state:  return has_room(r, id, r->io->states[b->index], size);
    case PBUF_const:
        if (!b->data) return fail(r, arena_printf(r->a, "constant %s has no elements", b->name));
        return has_room(r, id, (uint8_t *)(uintptr_t)b->data, size);
    case PBUF_temp: break;
    }
    if (r->open && r->open->item_of[id] >= 0) {
        int64_t at = r->open_offset[r->open->item_of[id]];
        if (at > r->open_bytes || size > r->open_bytes - at)
            return fail(r, arena_printf(r->a, "%s does not lie in the workspace", b->name));
        return has_room(r, id, r->open_work + at, size);
    }
    if (!r->io->workspace || b->offset < 0) {
        has_room(r, id, arena_alloc(r->a, (size_t)size), size);
        fill(r, b->dtype, r->base[id], size);
        return true;
    }
    if (b->offset > r->io->workspace_bytes || size > r->io->workspace_bytes - b->offset)
        return fail(r, arena_printf(r->a, "%s does not lie in the workspace", b->name));
    return has_room(r, id, (uint8_t *)r->io->workspace + b->offset, size);
}

/* Buffers inside others come after the buffers that they are in. */
static bool place_in_slot(const runner *r, int64_t id)
{
    const pbuf *b = &r->p->bufs.at[id];
    int64_t chain[64], n = 0, at = id;
    while (r->p->bufs.at[at].slot_of >= 0) {
        if (n == 64) return fail(r, "buffers inside one another without end");
        chain[n++] = at;
        at = r->p->bufs.at[at].slot_of;
    }
    uint8_t *base = r->base[at];
    int64_t room = r->room[at];
    while (n-- > 0) {
        const pbuf *in = &r->p->bufs.at[chain[n]];
        int64_t off;
        if (!dim_eval(r->p->dims, in->slot_offset, r->symbols, &off) || off < 0 ||
            !mul_ok(off, dtype_bytes(in->dtype), &off) || off > room)
            return fail(r, arena_printf(r->a, "%s does not lie in its buffer", b->name));
        base += off;
        room -= off;
    }
    return has_room(r, id, base, room);
}

static bool place_open(runner *r)
{
    const open_plan *o = r->open = open_plan_make(r->a, r->p);
    if (!o) return true;
    int64_t *size = NEW_ARRAY(r->a, int64_t, o->n_sizes + 1);
    double sum = 0;
    for (int i = 0; i < o->n_sizes; i++)
        if (!dim_eval(r->p->dims, o->size[i], r->symbols, &size[i]) || size[i] < 0)
            return fail(r, "the size of a temporary is negative or too large");
    for (int i = 0; i < o->n; i++) sum += (double)size[o->size_of[i]];
    if (!(sum < 0x1p60)) return fail(r, "the temporaries are too large");
    r->open_offset = NEW_ARRAY(r->a, int64_t, o->n + 1);
    r->open_bytes = open_plan_place(o, size, r->open_offset);
    r->open_work = arena_alloc(r->a, (size_t)r->open_bytes);
    fill(r, DTYPE_f32, r->open_work, r->open_bytes);
    return true;
}

static bool place_all(runner *r)
{
    if (r->io->places_open && !place_open(r)) return false;
    if (r->io->workspace) fill(r, DTYPE_f32, r->io->workspace, r->io->workspace_bytes);
    for (int64_t i = 0; i < r->p->bufs.n; i++)
        if (r->p->bufs.at[i].slot_of < 0 && !place_buffer(r, i)) return false;
    for (int64_t i = 0; i < r->p->bufs.n; i++)
        if (r->p->bufs.at[i].slot_of >= 0 && !place_in_slot(r, i)) return false;
    return true;
}

/* An output that lives in another buffer reaches the caller by a copy. */
static bool copy_outputs(const runner *r)
{
    for (int64_t i = 0; i < r->p->bufs.n; i++) {
        const pbuf *b = &r->p->bufs.at[i];
        int64_t size = dtype_bytes(b->dtype), v;
        if (b->kind != PBUF_output || b->slot_of < 0) continue;
        for (int j = 0; j < b->rank; j++)
            if (!dim_eval(r->p->dims, b->dims[j], r->symbols, &v) || !mul_ok(size, v, &size) || size < 0)
                return fail(r, arena_printf(r->a, "the size of %s is negative or too large", b->name));
        if (size > r->room[i]) return fail(r, arena_printf(r->a, "%s does not lie in its buffer", b->name));
        if (r->io->outputs[b->index] != r->base[i])
            memmove(r->io->outputs[b->index], r->base[i], (size_t)size);
    }
    return true;
}

/* -- Views ----------------------------------------------------------------------------------------------- */

static bool index_value(const runner *r, const expr *e, int64_t *v)
{
    int64_t x[3] = { 0 };
    scalar_value in[3];
    for (int i = 0; i < e->n_args && i < 3; i++) {
        if (!index_value(r, e->args[i], &x[i])) return false;
        in[i].bits = (uint64_t)x[i];
    }
    switch (e->kind) {
    case EXPR_const: *v = (int64_t)e->value.bits; return true;
    case EXPR_dim:   return dim_eval(r->p->dims, e->dim, r->symbols, v) || fail(r, "a size that overflows");
    case EXPR_var:   *v = r->var[e->id]; return true;
    case EXPR_op:
        *v = (int64_t)sv_apply(r->e, e->fn, e->args[e->fn == SCALAR_select ? 1 : 0]->type, e->type, in,
                               r->p->fma)
                 .bits;
        return true;
    case EXPR_floordiv: case EXPR_mod:
        if (x[1] <= 0) return fail(r, "a divisor that is not positive");
        *v = e->kind == EXPR_mod ? x[0] % x[1] + (x[0] % x[1] < 0 ? x[1] : 0)
                                 : x[0] / x[1] - (x[0] % x[1] < 0);
        return true;
    default: return fail(r, "an index that reads memory");
    }
}

/* The elements of v, which are `need` bytes: part number v.at of that size. */
static bool view_at(const runner *r, view v, int64_t need, uint8_t **at)
{
    const pbuf *b = &r->p->bufs.at[v.buf];
    int64_t off = 0, index;
    if (v.at) {
        if (!index_value(r, v.at, &index)) return false;
        if (index < 0)
            return fail(r, arena_printf(r->a, "index %lld of %s is negative", (long long)index, b->name));
        if (!mul_ok(index, need, &off)) return fail(r, "a size that overflows");
    }
    if (off > r->room[v.buf] || need > r->room[v.buf] - off)
        return fail(r, arena_printf(r->a, "%s holds %lld bytes, %lld from byte %lld are needed", b->name,
                                    (long long)r->room[v.buf], (long long)need, (long long)off));
    *at = r->base[v.buf] ? r->base[v.buf] + off : NULL;
    return true;
}

/* -- Operations ------------------------------------------------------------------------------------------ */

static bool run_call(runner *r, const prog_op *o)
{
    const kernel_code *k = r->p->kernels.at[o->kernel];
    if (!r->code[o->kernel]) r->code[o->kernel] = eval_translate(r->ctx, r->a, r->e, k, r->p->fma);
    if (!r->code[o->kernel]) return false;
    void *params[256], **at = k->n_params <= 256 ? params : NEW_ARRAY(r->a, void *, k->n_params);
    for (int i = 0; i < k->n_params; i++) {
        const buffer *b = &k->bufs.at[i];
        int64_t size = dtype_bytes(b->dtype), v;
        uint8_t *p;
        for (int j = 0; j < b->rank; j++)
            if (!dim_eval(r->p->dims, b->dims[j], r->symbols, &v) || !mul_ok(size, v, &size) || size < 0)
                return fail(r, arena_printf(r->a, "a size of @%s overflows", k->name));
        if (!view_at(r, o->args[i], size, &p)) return false;
        at[i] = p;
    }
    return eval_run(r->ctx, r->code[o->kernel], at, r->symbols, r->o);
}

static bool run_block(runner *r, const prog_block *b);

static bool run_scan(runner *r, const prog_op *o)
{
    int64_t n;
    if (!dim_eval(r->p->dims, o->n, r->symbols, &n)) return fail(r, "a size that overflows");
    for (int64_t i = 0; i < n; i++) {
        r->var[o->var] = o->reverse ? n - 1 - i : i;
        if (!run_block(r, &o->body)) return false;
    }
    return true;
}

static bool read_pred(runner *r, view v, bool *yes)
{
    uint8_t *at;
    if (!view_at(r, v, 1, &at)) return false;
    *yes = *at != 0;
    return true;
}

static bool run_while(runner *r, const prog_op *o)
{
    uint64_t turns = 0;
    for (int64_t i = 0; o->max_trip < 0 || i < o->max_trip; i++) {
        bool yes;
        r->var[o->var] = i;
        if (!run_block(r, &o->test) || !read_pred(r, o->pred, &yes)) return false;
        if (!yes) break;
        if (!run_block(r, &o->body)) return false;
        if (r->o->max_steps && ++turns > r->o->max_steps)
            return fail(r, "more turns of a while than the limit of steps");
    }
    return true;
}

static bool run_op(runner *r, const prog_op *o)
{
    bool yes;
    uint8_t *at;
    switch (o->kind) {
    case PROG_call:  return run_call(r, o);
    case PROG_scan:  return run_scan(r, o);
    case PROG_while: return run_while(r, o);
    case PROG_cond:  return read_pred(r, o->pred, &yes) && run_block(r, yes ? &o->body : &o->other);
    case PROG_setdim:
        if (!view_at(r, o->source, 8, &at)) return false;
        memcpy(&r->symbols[o->symbol], at, 8);
        return true;
    }
    return true;
}

static bool run_block(runner *r, const prog_block *b)
{
    for (int i = 0; i < b->n; i++)
        if (!run_op(r, b->at[i])) return false;
    return true;
}

bool eval_program(dlc_context *ctx, expander *e, const program *p, const eval_io *io,
                  const loop_eval_options *o)
{
    arena *a = arena_new(&ctx->mem);
    int64_t none = 0;
    runner r = { .ctx = ctx,
                 .p = p,
                 .io = io,
                 .o = o,
                 .a = a,
                 .e = e,
                 .symbols = io->symbols ? io->symbols : &none,
                 .var = NEW_ARRAY(a, int64_t, p->exprs->vars.n),
                 .base = NEW_ARRAY(a, uint8_t *, p->bufs.n),
                 .room = NEW_ARRAY(a, int64_t, p->bufs.n),
                 .code = NEW_ARRAY(a, eval_code *, p->kernels.n) };
    bool ok = place_all(&r) && run_block(&r, &p->body) && copy_outputs(&r);
    arena_free(a);
    return ok;
}
