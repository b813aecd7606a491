/* slots: what a concat would copy is made where the concat puts it
 *
 *     temp a: f32[1, 4, 8]   temp y: f32[1, 12, 8]         temp a: f32[1, 4, 8] in y + 0   temp b: f32[1, 8, 8] in y + 32
 *     call @f(x, a)                                        call @f(x, a)
 *     call @g(x, b)                                   =>   call @g(x, b)
 *     call @concat(a, b, y)
 *
 * Why    The copy is a read and a write of everything, and both places of a value are in memory at once.
 * How    A kernel whose nests each fill a stretch of one result. A nest that copies an operand from end to end goes, and
 *        the operand lives in the result from then on, if
 *          1  it is a temporary, given whole, that nobody else reads;
 *          2  the result is touched by nobody before this call (their lifetimes meet in it alone), so it has no value yet
 *             that could be lost.
 *        Each other nest becomes a kernel that fills a buffer of its own, which is that part of the result.
 *        A concat along the outermost axis that is not 1 is such a kernel; others interleave their parts, and copy.
 * Needs  a program of plain nests, each kernel called once, as lower leaves it.
 * Keeps  every bit.
 * Leaves kernels of over MOST nests that would not all go, so that no call becomes thousands.
 * Cost   linear in the kernels' text and the calls.
 * See    tests/passes/slots.test
 */
#include "ir/lifetime.h"
#include "ir/linear.h"
#include "passes/pipeline.h"

enum { MOST = 64, MAX_DEPTH = 32, MAX_HEIGHT = 30 };       /* height: buffers in buffers; readers of the text form take 64 */

typedef struct {
    kernel_code *k;           /* a copy whose arena is scratch */
    const stmt *loop[MAX_DEPTH]; int depth;
    const stmt *let[MAX_DEPTH]; int n_lets;
    const stmt *store;
} nest;

typedef struct {
    dim at, n;                /* the stretch of the result, in elements */
    int from;                 /* the parameter that is copied there from end to end; -1: something else */
    const expr *address;      /* of the store in the result */
} piece;

typedef struct {
    pass_run *run;
    program *p;
    const lifetime *lives;
    int *readers;             /* by buffer: operands that read it */
    int *calls;               /* by kernel */
    int *height;              /* by buffer: how deep others live in it */
} slotting;

/* -- Nests that fill a stretch ------------------------------------------------------------------------------------------- */

static bool read_nest(nest *x, const stmt *s)
{
    for (;;) {
        if (s->kind == STMT_store) { x->store = s; return true; }
        if (s->kind != STMT_for || x->depth == MAX_DEPTH || !s->body.n) return false;
        x->loop[x->depth++] = s;
        for (int i = 0; i < s->body.n - 1; i++) {
            if (s->body.at[i]->kind != STMT_let || x->n_lets == MAX_DEPTH) return false;
            x->let[x->n_lets++] = s->body.at[i];
        }
        s = s->body.at[s->body.n - 1];
    }
}

static bool extent_of(const stmt *loop, dim *n)
{
    int64_t lo, hi;
    if (!x_is_int(loop->lo, &lo) || lo) return false;
    if (x_is_int(loop->hi, &hi)) *n = dim_const(hi);
    else if (loop->hi->kind == EXPR_dim) *n = loop->hi->dim;
    else return false;
    return true;
}

/* Does the address take each value of at … at + n - 1 once? Then its loops are the digits of a number: the coefficient of
 * each is the product of the extents below it. */
static bool is_stretch(const nest *x, const expr *address, dim *at, dim *n)
{
    linear l = linear_of(x->k, address);
    bool used[MAX_DEPTH] = { 0 };
    *at = l.constant;
    *n = dim_const(1);
    if (l.bad) return false;
    int open = 0;
    for (int i = 0; i < x->depth; i++) {
        dim e;
        if (!extent_of(x->loop[i], &e)) return false;
        used[i] = dim_is(e, 1);
        open += !used[i];
    }
    for (int64_t t = 0; t < l.n; t++) {
        bool is_loop = dim_is(l.at[t].coef, 0);
        for (int i = 0; i < x->depth; i++) is_loop |= l.at[t].atom->kind == EXPR_var && l.at[t].atom->id == x->loop[i]->var;
        if (!is_loop) return false;
    }
    while (open--) {
        int found = -1;
        for (int64_t t = 0; t < l.n && found < 0; t++)
            for (int i = 0; i < x->depth && found < 0; i++)
                if (!used[i] && l.at[t].atom->kind == EXPR_var && l.at[t].atom->id == x->loop[i]->var && dim_same(l.at[t].coef, *n)) found = i;
        if (found < 0) return false;
        dim e;
        used[found] = true;
        if (extent_of(x->loop[found], &e)) *n = dim_mul(x->k->dims, *n, e);
    }
    return !dim_is_bad(*n);
}

/* The load whose value is stored, or NULL. */
static const expr *copied(const nest *x)
{
    const expr *v = x->store->value;
    for (int i = x->n_lets - 1; i >= 0 && v->kind == EXPR_temp; i--)
        if (x->let[i]->id == v->id) v = x->let[i]->value;
    return v->kind == EXPR_load && v->id < x->k->n_params ? v : NULL;
}

static bool read_piece(kernel_code *k, const stmt *s, int result, piece *out)
{
    nest x = { .k = k };
    if (!read_nest(&x, s) || x.store->id != result) return false;
    out->address = x_address(k, result, x.store->index);
    out->from = -1;
    if (!is_stretch(&x, out->address, &out->at, &out->n)) return false;
    const expr *v = copied(&x);
    if (!v || k->bufs.at[v->id].dtype != k->bufs.at[result].dtype || k->bufs.at[v->id].role != ROLE_in) return true;
    const expr *address = x_address(k, v->id, v->args);
    linear d = linear_of(k, x_sub(k, out->address, address));
    bool moves_along = !d.bad && dim_same(d.constant, out->at);
    for (int64_t i = 0; i < d.n; i++) moves_along &= dim_is(d.at[i].coef, 0);
    const buffer *b = &k->bufs.at[v->id];
    if (moves_along && dim_same(dim_product(k->dims, b->dims, b->rank), out->n)) out->from = v->id;
    return true;
}

/* -- What may live in the result --------------------------------------------------------------------------------------------- */

static void count_block(slotting *s, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *x = b->at[i];
        if (x->kind == PROG_call) {
            const kernel_code *k = s->p->kernels.at[x->kernel];
            s->calls[x->kernel]++;
            for (int j = 0; j < k->n_params; j++) s->readers[x->args[j].buf] += k->bufs.at[j].role != ROLE_out;
        }
        if (x->kind == PROG_cond || x->kind == PROG_while) s->readers[x->pred.buf]++;
        if (x->kind == PROG_setdim) s->readers[x->source.buf]++;
        count_block(s, &x->test);
        count_block(s, &x->body);
        count_block(s, &x->other);
    }
}

/* Known when the program is entered. */
static bool is_early(const slotting *s, dim d) { return dim_same(d, dim_subst(s->p->dims, d, s->lives->bound)); }

static bool may_live_in(const slotting *s, view x, view y)
{
    const pbuf *b = &s->p->bufs.at[x.buf], *to = &s->p->bufs.at[y.buf];
    return !x.at && b->kind == PBUF_temp && b->slot_of < 0 && s->readers[x.buf] == 1 && b->dtype == to->dtype && s->height[x.buf] < MAX_HEIGHT &&
           s->lives->of[x.buf].last == s->lives->of[y.buf].first;
}

/* The only parameter that is written; -1: none, or several. */
static int only_result(const kernel_code *k)
{
    int found = -1;
    for (int i = 0; i < k->n_params; i++) {
        if (k->bufs.at[i].role == ROLE_in || k->bufs.at[i].role == ROLE_const) continue;
        if (found >= 0 || k->bufs.at[i].role != ROLE_out) return -1;
        found = i;
    }
    return found;
}

/* -- The rewriting ------------------------------------------------------------------------------------------------------------ */

static void count_loads(const expr *x, int *loads)
{
    if (x->kind == EXPR_load || x->kind == EXPR_tree) loads[x->id]++;
    for (int i = 0; i < x->n_args; i++) count_loads(x->args[i], loads);
}

/* How often a nest's text names each buffer. */
static void count_nest(const kernel_code *k, const stmt *s, int *loads)
{
    nest x = { 0 };
    if (!read_nest(&x, s)) return;
    for (int i = 0; i < x.n_lets; i++) count_loads(x.let[i]->value, loads);
    for (int i = 0; i < k->bufs.at[x.store->id].rank; i++) count_loads(x.store->index[i], loads);
    count_loads(x.store->value, loads);
}

/* A call of a kernel that is the nest alone, into a buffer that is its part of the result. */
static void call_alone(slotting *s, prog_block *to, const prog_op *op, int which, int result, const piece *part)
{
    program *p = s->p;
    const kernel_code *whole = p->kernels.at[op->kernel];
    bool *used = NEW_ARRAY(s->run->scratch, bool, whole->bufs.n + 1);
    int *loads = NEW_ARRAY(s->run->scratch, int, whole->bufs.n + 1);
    block alone = { .at = &whole->body.at[which], .n = 1, .cap = 1 };
    count_nest(whole, alone.at[0], loads);
    for (int64_t i = 0; i < whole->bufs.n; i++) used[i] = loads[i] > 0 || i == result;
    kernel_code *k = kernel_part(whole, &alone, used);
    k->name = arena_printf(p->arena, "%s_%d", whole->name, which);
    prog_op *call = program_op(p, to, PROG_call);
    call->args = NEW_ARRAY(p->arena, view, k->n_params + 1);
    const pbuf *y = &p->bufs.at[op->args[result].buf];
    int buf = program_buf(p, arena_printf(p->arena, "%s_%d", y->name, which), PBUF_temp, 0, y->dtype, 1, &part->n);
    p->bufs.at[buf].slot_of = op->args[result].buf;
    p->bufs.at[buf].slot_offset = part->at;
    int n = 0;
    for (int i = 0; i < whole->n_params; i++)
        if (used[i]) call->args[n++] = i == result ? (view){ buf, NULL } : op->args[i];
    nest y_nest = { .k = k };
    if (!read_nest(&y_nest, k->body.at[0])) return;
    stmt *store = (stmt *)(uintptr_t)y_nest.store;
    const expr **index = NEW_ARRAY(k->arena, const expr *, 1);
    index[0] = x_sub(k, x_address(k, store->id, store->index), x_dim(k, part->at));
    store->index = index;
    buffer *out = &k->bufs.at[store->id];
    out->rank = 1;
    out->dims = arena_copy(k->arena, &part->n, sizeof part->n);
    call->kernel = program_kernel(p, k);
}

/* Puts what remains of the call into `to`. False: it stays as it is. */
static bool rewrite_call(slotting *s, prog_block *to, const prog_op *op)
{
    program *p = s->p;
    kernel_code *whole = p->kernels.at[op->kernel];
    int result = only_result(whole), n = whole->body.n, n_moved = 0;
    if (result < 0 || n < 1 || s->calls[op->kernel] != 1 || op->args[result].at) return false;
    const pbuf *y = &p->bufs.at[op->args[result].buf];
    if (y->kind != PBUF_temp && y->kind != PBUF_output) return false;
    kernel_code *k = arena_copy(s->run->scratch, whole, sizeof *whole);      /* expressions made here die here */
    k->arena = s->run->scratch;
    piece *parts = NEW_ARRAY(s->run->scratch, piece, n + 1);
    int *loads = NEW_ARRAY(s->run->scratch, int, whole->bufs.n + 1);
    for (int i = 0; i < n; i++) {
        if (!read_piece(k, whole->body.at[i], result, &parts[i]) || !is_early(s, parts[i].at) || !is_early(s, parts[i].n)) return false;
        count_nest(whole, whole->body.at[i], loads);
    }
    for (int i = 0; i < n; i++) {
        int from = parts[i].from;
        if (from >= 0 && (loads[from] != 1 || !may_live_in(s, op->args[from], op->args[result]))) parts[i].from = -1;
        n_moved += parts[i].from >= 0;
    }
    if (!n_moved || (n_moved < n && n > MOST) || !pass_allow(s->run)) return false;
    for (int i = 0; i < n; i++) {
        if (parts[i].from < 0) { call_alone(s, to, op, i, result, &parts[i]); continue; }
        pbuf *b = &p->bufs.at[op->args[parts[i].from].buf];
        b->slot_of = op->args[result].buf;
        b->slot_offset = parts[i].at;
        int height = s->height[op->args[parts[i].from].buf] + 1;
        if (s->height[b->slot_of] < height) s->height[b->slot_of] = height;
        if (s->run->explain) text_printf(s->run->explain, "%s: made in %s\n", b->name, p->bufs.at[b->slot_of].name);
    }
    return true;
}

static void rewrite_block(slotting *s, prog_block *b)
{
    prog_block to = { 0 };
    bool changed = false;
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        rewrite_block(s, &x->test);
        rewrite_block(s, &x->body);
        rewrite_block(s, &x->other);
        if (x->kind == PROG_call && rewrite_call(s, &to, x)) { changed = true; continue; }
        prog_op *same = program_op(s->p, &to, x->kind);
        *same = *x;
    }
    if (changed) *b = to;
}

static void mark_kernels(const prog_block *b, bool *used)
{
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == PROG_call) used[b->at[i]->kernel] = true;
        mark_kernels(&b->at[i]->test, used);
        mark_kernels(&b->at[i]->body, used);
        mark_kernels(&b->at[i]->other, used);
    }
}

static void renumber(prog_block *b, const int *number)
{
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == PROG_call) b->at[i]->kernel = number[b->at[i]->kernel];
        renumber(&b->at[i]->test, number);
        renumber(&b->at[i]->body, number);
        renumber(&b->at[i]->other, number);
    }
}

/* Kernels that nobody calls any more go. */
static void drop_kernels(pass_run *run, program *p)
{
    bool *used = NEW_ARRAY(run->scratch, bool, p->kernels.n + 1);
    int *number = NEW_ARRAY(run->scratch, int, p->kernels.n + 1), n = 0;
    mark_kernels(&p->body, used);
    for (int64_t i = 0; i < p->kernels.n; i++) {
        if (!used[i]) continue;
        number[i] = n;
        p->kernels.at[n++] = p->kernels.at[i];
    }
    p->kernels.n = n;
    renumber(&p->body, number);
}

bool slots_program(pass_run *run, program *p)
{
    slotting s = { .run = run, .p = p, .lives = lifetimes_of(run->scratch, p), .readers = NEW_ARRAY(run->scratch, int, p->bufs.n + 1),
                   .height = NEW_ARRAY(run->scratch, int, p->bufs.n + 1), .calls = NEW_ARRAY(run->scratch, int, p->kernels.n + 1) };
    count_block(&s, &p->body);
    int64_t before = run->changes;
    rewrite_block(&s, &p->body);
    if (run->changes > before) drop_kernels(run, p);
    return true;
}
