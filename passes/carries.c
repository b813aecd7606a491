/* carries: a carry of a scan that is made from itself in place needs no pair of buffers
 *
 *     temp h: f32[2, 256]                                   temp h: f32[256]
 *     call @copy(h0, h[0])                                  call @copy(h0, h)
 *     scan t in 0..T {                                      scan t in 0..T {
 *       call @u(h[t mod 2], g)                        =>      call @u(h, g)
 *       call @cell(g, h[t mod 2], h[(t + 1) mod 2])           call @cell(g, h, h)
 *     }                                                     }
 *
 * Why    lower reads a carry at [t mod 2] and writes it at [(t + 1) mod 2], which is right whatever the body does. Where a
 *        map of the old value makes the new one, half of it is enough: less memory, and stores to lines that are in cache.
 * How    A pair becomes one buffer if in the scan's body
 *          1  one call makes the new value, whole;
 *          2  whoever else reads the old value comes before that call, and whoever reads the new one after it;
 *          3  that call does not read the old value, or its kernel as it stands reads each element before it stores over
 *             it (ir/apart.h);
 *        and if outside of the scan, in its block, the first value is written before it and the last read behind it.
 * Keeps  every bit.
 * Leaves carries of a while, which are copied at the end of a trip; carries that a body's own blocks use.
 * Cost   O(operands); a kernel is looked at once for each carry.
 * See    tests/passes/carries.test
 */
#include "ir/apart.h"
#include "passes/pipeline.h"

typedef struct {
    prog_op *op; int arg;
    const prog_block *block; int at;      /* where op stands */
    const prog_op *scan;                  /* whose body block is; NULL */
} use;
typedef vec(use) use_list;

typedef struct {
    pass_run *run;
    program *p;
    use_list *uses;           /* by buffer: of the pairs */
    bool *is_pair;
    vec(use) scans;           /* op: the scan; block, at: where it stands */
} search;

static void look_at(search *s, view v)
{
    if (v.buf >= 0) s->is_pair[v.buf] = false;
}

static void look(search *s, const prog_block *b, const prog_op *scan)
{
    for (int i = 0; i < b->n; i++) {
        prog_op *x = b->at[i];
        if (x->kind == PROG_cond || x->kind == PROG_while) look_at(s, x->pred);
        if (x->kind == PROG_setdim) look_at(s, x->source);
        for (int j = 0; x->kind == PROG_call && j < s->p->kernels.at[x->kernel]->n_params; j++)
            if (s->is_pair[x->args[j].buf]) vec_push(s->run->scratch, &s->uses[x->args[j].buf], ((use){ x, j, b, i, scan }));
        if (x->kind == PROG_scan) vec_push(s->run->scratch, &s->scans, ((use){ x, 0, b, i, scan }));
        look(s, &x->test, NULL);
        look(s, &x->body, x->kind == PROG_scan ? x : NULL);
        look(s, &x->other, NULL);
    }
}

static buf_role role_of(const search *s, const use *u) { return s->p->kernels.at[u->op->kernel]->bufs.at[u->arg].role; }

/* e with the scan's variable at its first, or last, value. */
static const expr *at_end(search *s, const prog_op *scan, const expr *e, bool is_last)
{
    kernel_code *k = s->p->exprs;
    const expr **to = NEW_ARRAY(s->run->scratch, const expr *, k->vars.n + 1);
    to[scan->var] = is_last != scan->reverse ? x_sub(k, x_dim(k, scan->n), x_int(k, 1)) : x_int(k, 0);
    return x_subst(k, e, to);
}

/* Is e  (t + c) mod 2, or (c - t) mod 2, with what follows in *inside? */
static bool is_parity(const search *s, const expr *e, int var, const expr **inside)
{
    int64_t two, step;
    if (e->kind != EXPR_mod || !x_is_int(e->args[1], &two) || two != 2) return false;
    affine a;
    *inside = e->args[0];
    if (!x_affine(s->p->exprs, e->args[0], &a)) return false;
    for (int i = 0; i < a.n; i++)
        if (a.var[i] == var) return dim_is_const(a.coef[i], &step) && (step == 1 || step == -1);
    return false;
}

/* The use that makes the new value; NULL: none, or several, or they are no two turns of one carry. */
static const use *find_writer(const search *s, const use_list *l, const prog_op *scan, const expr **old)
{
    const use *w = NULL;
    const expr *a = NULL, *b = NULL;
    int64_t step;
    *old = NULL;
    for (int64_t i = 0; i < l->n; i++) {
        const use *u = &l->at[i];
        buf_role r = role_of(s, u);
        if (u->scan != scan) continue;
        if (r == ROLE_out) {
            if (w) return NULL;
            w = u;
        } else if (r != ROLE_in) return NULL;
    }
    if (!w || !is_parity(s, w->op->args[w->arg].at, scan->var, &b)) return NULL;
    for (int64_t i = 0; i < l->n; i++) {
        const use *u = &l->at[i];
        const expr *at = u->op->args[u->arg].at;
        if (u->scan != scan || x_same(at, w->op->args[w->arg].at)) continue;
        if (*old && !x_same(*old, at)) return NULL;
        *old = at;
    }
    if (!*old || !is_parity(s, *old, scan->var, &a)) return NULL;
    return x_is_int(x_sub(s->p->exprs, b, a), &step) && step % 2 ? w : NULL;
}

static bool is_in_order(search *s, const use_list *l, const use *scan, const use *w, const expr *old)
{
    const prog_op *loop = scan->op;
    const expr *fresh = w->op->args[w->arg].at;
    const expr *first = at_end(s, loop, old, false), *last = at_end(s, loop, fresh, true);
    for (int64_t i = 0; i < l->n; i++) {
        const use *u = &l->at[i];
        const expr *at = u->op->args[u->arg].at;
        buf_role r = role_of(s, u);
        if (u->scan != loop) {
            if (u->block != scan->block) return false;
            if (r == ROLE_out ? u->at > scan->at || !x_same(at, first) : r != ROLE_in || u->at < scan->at || !x_same(at, last)) return false;
        } else if (u != w && x_same(at, fresh)) {
            if (u->at <= w->at) return false;
        } else if (u != w) {
            if (u->at > w->at || (u->op == w->op && !kernel_in_place(s->p->kernels.at[w->op->kernel], u->arg, w->arg))) return false;
        }
    }
    return true;
}

static bool are_halves(const search *s, int buf)
{
    const pbuf *b = &s->p->bufs.at[buf];
    dim half = dim_product(s->p->dims, b->dims + 1, b->rank - 1);
    for (int64_t i = 0; i < s->uses[buf].n; i++) {
        const use *u = &s->uses[buf].at[i];
        const buffer *x = &s->p->kernels.at[u->op->kernel]->bufs.at[u->arg];
        if (!u->op->args[u->arg].at || !dim_same(half, dim_product(s->p->dims, x->dims, x->rank))) return false;
    }
    return true;
}

static void try_pair(search *s, int buf)
{
    use_list *l = &s->uses[buf];
    pbuf *b = &s->p->bufs.at[buf];
    const use *scan = NULL;
    const expr *old;
    if (!are_halves(s, buf)) return;
    for (int64_t i = 0; i < l->n && !scan; i++)           /* the scan that has a use in its body and others beside it */
        for (int64_t j = 0; j < s->scans.n && !scan; j++)
            if (s->scans.at[j].op == l->at[i].scan && (l->at[i].block != l->at[0].block)) scan = &s->scans.at[j];
    const use *w = scan ? find_writer(s, l, scan->op, &old) : NULL;
    if (!w || !is_in_order(s, l, scan, w, old) || !pass_allow(s->run)) return;
    for (int64_t i = 0; i < l->n; i++) l->at[i].op->args[l->at[i].arg].at = NULL;
    b->dims++;
    b->rank--;
    b->bytes = dim_mulk(s->p->dims, dim_product(s->p->dims, b->dims, b->rank), dtype_bytes(b->dtype));
    if (s->run->explain) text_printf(s->run->explain, "%s: in place\n", b->name);
}

bool carries_program(pass_run *run, program *p)
{
    search s = { .run = run, .p = p, .uses = NEW_ARRAY(run->scratch, use_list, p->bufs.n + 1), .is_pair = NEW_ARRAY(run->scratch, bool, p->bufs.n + 1) };
    bool any = false;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        any |= s.is_pair[i] = b->kind == PBUF_temp && b->slot_of < 0 && b->rank > 0 && dim_is(b->dims[0], 2);
        if (b->slot_of >= 0) s.is_pair[b->slot_of] = false;
    }
    if (!any) return true;
    look(&s, &p->body, NULL);
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (s.is_pair[i] && s.uses[i].n) try_pair(&s, (int)i);
    return true;
}
