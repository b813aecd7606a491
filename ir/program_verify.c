/* ir/program_verify.c: what every program must satisfy, besides its kernels (ir/loop_verify.c). The rules,
 * each with a test in tests/loop/test_program.c:
 *
 *   21  kernels, buffers and variables exist; a call has an argument for each parameter
 *   22  an argument has elements of its parameter's width, and as many; a part of one, no more than the whole
 *   23  inputs and constants are only read
 *   24  a temporary is written, in part at least, before it is read
 *   25  a call writes no element twice, and if its kernel writes early, none that it reads
 *   26  conditions are one bool, the source of setdim one i64, its symbol exists
 *   27  the index of a view is computed of variables of loops around it; loops of one variable do not nest
 *   28  a buffer inside another one is so without a cycle; a constant has elements or a graph that computes
 *       them
 */
#include "ir/loop.h"

typedef struct {
    program *p;
    const char *when;
    bool *written, *var;
    bool ok;
} checker;

static void report(checker *c, int rule, const char *where, const char *what)
{
    diag_loop_verify(c->p->ctx, (place){ 0 }, c->when, c->p->name, where ? where : "", rule, what);
    c->ok = false;
}

static const char *buffer_name(const checker *c, int id) { return c->p->bufs.at[id].name; }

/* -- Views ----------------------------------------------------------------------------------------------- */

static void check_at(checker *c, const expr *e, const char *where)
{
    if (e->kind == EXPR_load || e->kind == EXPR_temp || e->kind == EXPR_tree)
        report(c, 27, where, "an index that reads memory");
    if (e->kind == EXPR_var && (e->id < 0 || e->id >= c->p->exprs->vars.n || !c->var[e->id]))
        report(c, 27, where, "a variable outside its loop");
    for (int i = 0; i < e->n_args; i++) check_at(c, e->args[i], where);
}

static bool check_view(checker *c, view v, const char *where)
{
    if (v.buf < 0 || v.buf >= c->p->bufs.n) { report(c, 21, where, "no such buffer"); return false; }
    if (!v.at) return true;
    if (v.at->type != DTYPE_i64) report(c, 27, where, "an index that is not i64");
    else check_at(c, v.at, where);
    return true;
}

/* Does the view hold exactly the n elements a kernel sees (a part: not provably more than the whole)? */
static bool holds(const checker *c, view v, dim n)
{
    const pbuf *b = &c->p->bufs.at[v.buf];
    dim whole = dim_product(c->p->dims, b->dims, b->rank);
    return v.at ? !dim_known_lt(c->p->dims, whole, n) : dim_same(whole, n);
}

static void check_scalar(checker *c, view v, dtype t, const char *where)
{
    if (!check_view(c, v, where)) return;
    if (c->p->bufs.at[v.buf].dtype != t || !holds(c, v, dim_const(1)))
        report(c, 26, where, "needs one element of its type");
    if (!c->written[v.buf])
        report(c, 24, where,
               arena_printf(c->p->ctx->arena, "%s is read before it is written", buffer_name(c, v.buf)));
}

/* Certainly an element in common? */
static bool same_view(view a, view b) { return a.buf == b.buf && (!a.at || !b.at || x_same(a.at, b.at)); }

/* -- Operations ------------------------------------------------------------------------------------------ */

static void check_call(checker *c, const prog_op *o)
{
    if (o->kernel < 0 || o->kernel >= c->p->kernels.n || !o->args) {
        report(c, 21, NULL, "a call of no kernel");
        return;
    }
    const kernel_code *k = c->p->kernels.at[o->kernel];
    arena *a = c->p->ctx->arena;
    const char *where = arena_printf(a, "call @%s", k->name);
    for (int i = 0; i < k->n_params; i++) {
        const buffer *b = &k->bufs.at[i];
        view v = o->args[i];
        if (!check_view(c, v, where)) return;
        const pbuf *arg = &c->p->bufs.at[v.buf];
        if (dtype_bytes(arg->dtype) != dtype_bytes(b->dtype) ||
            !holds(c, v, dim_product(c->p->dims, b->dims, b->rank)))
            report(c, 22, where,
                   arena_printf(a, "argument %s does not fit parameter %s", arg->name, b->name));
        bool writes = b->role == ROLE_out || b->role == ROLE_inout;
        if (writes && (arg->kind == PBUF_input || arg->kind == PBUF_const))
            report(c, 23, where, arena_printf(a, "%s is only read", arg->name));
        if (b->role != ROLE_out && b->role != ROLE_none && !c->written[v.buf])
            report(c, 24, where, arena_printf(a, "%s is read before it is written", arg->name));
        for (int j = 0; writes && j < k->n_params; j++) {
            buf_role other = k->bufs.at[j].role;
            bool also_writes = other == ROLE_out || other == ROLE_inout;
            if (j == i || !same_view(v, o->args[j])) continue;
            if ((also_writes && j > i) || (!also_writes && k->writes_early))
                report(c, 25, where, arena_printf(a, "%s is given twice", arg->name));
        }
    }
    for (int i = 0; i < k->n_params; i++)
        if (k->bufs.at[i].role == ROLE_out || k->bufs.at[i].role == ROLE_inout)
            c->written[o->args[i].buf] = true;
}

static void check_block(checker *c, const prog_block *b);

static bool enter(checker *c, int var)
{
    if (var < 0 || var >= c->p->exprs->vars.n) { report(c, 21, NULL, "no such variable"); return false; }
    if (c->var[var]) {
        report(c, 27, c->p->exprs->vars.at[var].name, "a loop of this variable inside another one");
        return false;
    }
    return c->var[var] = true;
}

static void check_op(checker *c, const prog_op *o)
{
    switch (o->kind) {
    case PROG_call:
        check_call(c, o);
        return;
    case PROG_scan:
        if (!enter(c, o->var)) return;
        if (dim_is_bad(o->n)) report(c, 21, "scan", "a size that overflows");
        check_block(c, &o->body);
        c->var[o->var] = false;
        return;
    case PROG_cond:
        check_scalar(c, o->pred, DTYPE_bool, "cond");
        check_block(c, &o->body);
        check_block(c, &o->other);
        return;
    case PROG_while:
        if (!enter(c, o->var)) return;
        check_block(c, &o->test);
        check_scalar(c, o->pred, DTYPE_bool, "while");
        check_block(c, &o->body);
        c->var[o->var] = false;
        return;
    case PROG_setdim:
        if (o->symbol < 0 || o->symbol >= dims_n_symbols(c->p->dims))
            report(c, 26, "setdim", "no such symbol");
        check_scalar(c, o->source, DTYPE_i64, "setdim");
        return;
    }
}

static void check_block(checker *c, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) check_op(c, b->at[i]);
}

static void check_buffer(checker *c, int id)
{
    const pbuf *b = &c->p->bufs.at[id];
    int at = id, steps = 0;
    while (at >= 0 && at < c->p->bufs.n && steps++ <= c->p->bufs.n) at = c->p->bufs.at[at].slot_of;
    if (at != -1) report(c, 28, b->name, "stands in a buffer that does not exist, or in itself");
    if (b->kind == PBUF_const && !b->data && !b->expr_graph && !b->external)
        report(c, 28, b->name, "a constant without elements");
    c->written[id] = b->kind == PBUF_input || b->kind == PBUF_const || b->kind == PBUF_state ||
                     (b->slot_of >= 0 && !b->in_place);
}

/* What lives in another buffer is written when that is, and the other way round. */
static void mark_slots(checker *c)
{
    for (int64_t i = 0; i < c->p->bufs.n; i++)
        if (c->p->bufs.at[i].slot_of >= 0 && c->p->bufs.at[i].slot_of < c->p->bufs.n &&
            !c->p->bufs.at[i].in_place)
            c->written[c->p->bufs.at[i].slot_of] = true;
}

bool program_verify(const program *p, const char *when)
{
    arena *scratch = arena_new(arena_mem(p->arena));
    checker c = { .p = arena_copy(scratch, p, sizeof *p),
                  .when = when,
                  .ok = true,
                  .written = NEW_ARRAY(scratch, bool, p->bufs.n),
                  .var = NEW_ARRAY(scratch, bool, p->exprs->vars.n) };
    for (int64_t i = 0; i < p->kernels.n; i++) c.ok &= kernel_verify(p->kernels.at[i], when);
    for (int64_t i = 0; i < p->bufs.n; i++) check_buffer(&c, (int)i);
    mark_slots(&c);
    check_block(&c, &p->body);
    bool ok = c.ok;
    arena_free(scratch);
    return ok;
}
