/* merge: small independent calls become one call
 *
 *     call @k4_row(a, loss)                                  call @k4_row_and_2(a, loss, b, w, g, m)
 *     call @k7_contract(b, w, g)                        =>
 *     call @k9_map(m)
 *
 * Why    The updates of biases and scales, gradients of small layers, losses and metrics are calls of a few dozen
 *        nanoseconds; each is a function, a kernel to schedule by hand, a line of every profile. Time they take no less together on one thread
 *        (xor: 3.55 M steps/s either way).
 * How    A kernel is small if its nest is serial, of constant sizes, and takes few steps. The calls of a block are walked in
 *        order. One of a small kernel joins the nearest earlier one that it can be moved to: it depends on nothing on the way;
 *        or else that one is moved to it, if nothing on the way depends on that. The merged kernel has the parameters and
 *        nests of its members one after another, scheduled as they were.
 *        Moving a call lengthens the life of what it reads or writes. So the program is planned before and after: if it would
 *        take more memory, it is merged again with less freedom, by the bytes of temporaries that a call may touch to be moved,
 *        and at last as many of the first merges as fit.
 * Keeps  every bit, and the planned memory.
 * Leaves programs of open sizes, whose plan is not known; kernels with parallel loops, each of which is a region of its own;
 *        kernels that many calls share: copies would make the code larger.
 * Counts as a change: a call that vanishes.
 * Cost   linear in the calls times REACH; a few plans, more where the first do not fit.
 * See    tests/passes/merge.test
 */
#include "ir/lifetime.h"
#include "passes/pipeline.h"
#include "passes/plan_in_place.h"

enum {
    REACH = 24,               /* calls that one may move over */
    SMALL_STEPS = 8192,       /* scalar steps of a small kernel: about a microsecond */
    MOST_PARAMS = 48,         /* of a merged kernel: C promises 127 */
    MOST_STATEMENTS = 256,
    MOST_COPIES = 16,         /* statements of the copies that a kernel of several calls becomes */
    MOST_BLOCK = 10000        /* calls of a program that is looked at */
};

typedef struct { int buf; bool writes; } touch;
typedef struct {
    prog_op *op;
    vec(prog_op *) members;       /* small: calls that are one, in order */
    vec(touch) touches;
    int n_params, n_statements;
    bool is_small, in_place, writes_early;
    int64_t read_bytes, written_bytes;      /* of temporaries */
} item;
typedef vec(item *) item_list;

typedef struct {
    pass_run *run;
    arena *a;
    program *p;
    const lifetime *lives;
    const int *n_statements;      /* by kernel; 0: not small */
    int64_t most_bytes;           /* of temporaries whose life a move lengthens */
    int64_t limit, n_merged, n_kernels;
} merging;

/* -- Small kernels -------------------------------------------------------------------------------------------------------- */

/* Scalar steps; more than SMALL_STEPS if it is not known. */
static int64_t steps_of(kernel_code *k, const block *b, int *n_statements)
{
    int64_t sum = 0;
    for (int i = 0; i < b->n && sum <= SMALL_STEPS; i++) {
        const stmt *s = b->at[i];
        int64_t times = 1;
        ++*n_statements;
        if (s->kind == STMT_for && (s->mark == MARK_parallel || !x_is_int(x_sub(k, s->hi, s->lo), &times))) return SMALL_STEPS + 1;
        if (times < 0) times = 0;
        int64_t inside = steps_of(k, &s->body, n_statements) + steps_of(k, &s->other, n_statements);
        sum += times > SMALL_STEPS ? SMALL_STEPS + 1 : times * (inside > 1 ? inside : 1);
    }
    return sum;
}

static int *find_small(arena *a, const program *p)
{
    int *small = NEW_ARRAY(a, int, p->kernels.n + 1), *calls = program_calls(a, p);
    for (int i = 0; i < p->kernels.n; i++) {
        kernel_code *k = p->kernels.at[i];
        int n = 0;
        if (k->n_params <= MOST_PARAMS / 2 && steps_of(k, &k->body, &n) <= SMALL_STEPS && n <= MOST_STATEMENTS / 2 &&
            (calls[i] == 1 || (int64_t)calls[i] * n <= MOST_COPIES))
            small[i] = n;
    }
    return small;
}

/* -- Who touches what ----------------------------------------------------------------------------------------------------- */

static int root_of(const program *p, int buf)
{
    while (p->bufs.at[buf].slot_of >= 0) buf = p->bufs.at[buf].slot_of;
    return buf;
}

static int64_t temp_bytes(const merging *m, int buf)
{
    int64_t n;
    if (m->p->bufs.at[buf].kind != PBUF_temp) return 0;
    return dim_is_const(buffer_bytes(m->p, m->lives, buf), &n) ? n : INT64_MAX / 4096;
}

static void add_touch(merging *m, item *x, view v, bool writes)
{
    if (v.buf < 0) return;
    *(writes ? &x->written_bytes : &x->read_bytes) += temp_bytes(m, v.buf);
    vec_push(m->a, &x->touches, ((touch){ root_of(m->p, v.buf), writes }));
}

static void touch_op(merging *m, item *x, const prog_op *o);

static void touch_block(merging *m, item *x, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) touch_op(m, x, b->at[i]);
}

static void touch_op(merging *m, item *x, const prog_op *o)
{
    const kernel_code *k = o->kind == PROG_call ? m->p->kernels.at[o->kernel] : NULL;
    for (int i = 0; k && i < k->n_params; i++) {
        buf_role r = k->bufs.at[i].role;
        add_touch(m, x, o->args[i], r != ROLE_in && r != ROLE_const);
        for (int j = 0; j < i; j++) x->in_place |= o->args[j].buf == o->args[i].buf && (r == ROLE_out || k->bufs.at[j].role == ROLE_out);
    }
    add_touch(m, x, o->pred, false);
    add_touch(m, x, o->source, false);
    touch_block(m, x, &o->test);
    touch_block(m, x, &o->body);
    touch_block(m, x, &o->other);
}

static bool depends(const item *x, const item *y)
{
    for (int64_t i = 0; i < x->touches.n; i++)
        for (int64_t j = 0; j < y->touches.n; j++)
            if (x->touches.at[i].buf == y->touches.at[j].buf && (x->touches.at[i].writes || y->touches.at[j].writes)) return true;
    return false;
}

/* What every later call may depend on: sizes that data decide. */
static bool is_fence(const prog_op *o)
{
    if (o->kind == PROG_setdim) return true;
    const prog_block *all[] = { &o->test, &o->body, &o->other };
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < all[i]->n; j++)
            if (is_fence(all[i]->at[j])) return true;
    return false;
}

/* -- The walk --------------------------------------------------------------------------------------------------------------- */

static item *item_of(merging *m, prog_op *o)
{
    item *x = NEW(m->a, item);
    x->op = o;
    touch_op(m, x, o);
    if (o->kind != PROG_call) return x;
    const kernel_code *k = m->p->kernels.at[o->kernel];
    x->n_statements = m->n_statements[o->kernel];
    x->is_small = x->n_statements > 0;
    x->n_params = k->n_params;
    x->writes_early = k->writes_early;
    if (x->is_small) vec_push(m->a, &x->members, o);
    return x;
}

static bool has_room(const item *x, const item *y)
{
    return x->is_small && x->n_params + y->n_params <= MOST_PARAMS && x->n_statements + y->n_statements <= MOST_STATEMENTS &&
           !((x->in_place || y->in_place) && (x->writes_early || y->writes_early));
}

static void put_together(merging *m, item *x, const item *y)
{
    for (int64_t i = 0; i < y->members.n; i++) vec_push(m->a, &x->members, y->members.at[i]);
    for (int64_t i = 0; i < y->touches.n; i++) vec_push(m->a, &x->touches, y->touches.at[i]);
    x->n_params += y->n_params;
    x->n_statements += y->n_statements;
    x->read_bytes += y->read_bytes;
    x->written_bytes += y->written_bytes;
    x->in_place |= y->in_place;
    x->writes_early |= y->writes_early;
}

static bool may_change(merging *m)
{
    if (m->limit >= 0 && m->n_merged >= m->limit) return false;
    m->n_merged++;
    return true;
}

/* x joins an earlier item of out, or an earlier item comes down to x. */
static bool join_earlier(merging *m, item_list *out, item *x)
{
    int64_t first = out->n > REACH ? out->n - REACH : 0;
    for (int64_t i = out->n - 1; i >= first && x->written_bytes <= m->most_bytes; i--) {
        item *y = out->at[i];
        if (is_fence(y->op) || depends(y, x)) break;
        if (!has_room(y, x)) continue;
        if (!may_change(m)) return false;
        put_together(m, y, x);
        return true;
    }
    for (int64_t i = out->n - 1; i >= first; i--) {
        item *y = out->at[i];
        if (is_fence(y->op)) break;
        bool free = has_room(y, x) && y->read_bytes <= m->most_bytes && !depends(y, x);
        for (int64_t j = i + 1; free && j < out->n; j++) free = !depends(y, out->at[j]);
        if (!free) continue;
        if (!may_change(m)) return false;
        put_together(m, y, x);
        memmove(out->at + i, out->at + i + 1, (size_t)(out->n - i - 1) * sizeof *out->at);
        out->at[out->n - 1] = y;
        return true;
    }
    return false;
}

/* -- The merged kernel -------------------------------------------------------------------------------------------------------- */

static bool same_param(const buffer *x, const buffer *y)
{
    if (x->dtype != y->dtype || x->rank != y->rank || x->role != y->role || (x->role != ROLE_in && x->role != ROLE_const)) return false;
    for (int i = 0; i < x->rank; i++)
        if (!dim_same(x->dims[i], y->dims[i])) return false;
    return true;
}

static bool same_view(view x, view y) { return x.buf == y.buf && (x.at && y.at ? x_same(x.at, y.at) : x.at == y.at); }

static prog_op *merged_call(merging *m, const item *x, prog_block *to)
{
    program *p = m->p;
    int64_t n = x->members.n;
    const char *name = p->kernels.at[x->members.at[0]->kernel]->name;
    kernel_code *k = kernel_new(p->ctx, p->arena, p->dims, arena_printf(p->arena, "%s_and_%lld", name, (long long)n - 1), ANCHOR_move);
    view *args = NEW_ARRAY(p->arena, view, x->n_params + 1);
    int **param = NEW_ARRAY(m->a, int *, n + 1);
    k->writes_early = !x->in_place;
    for (int64_t i = 0; i < n; i++) {
        const prog_op *o = x->members.at[i];
        const kernel_code *from = p->kernels.at[o->kernel];
        int others = k->n_params;
        param[i] = NEW_ARRAY(m->a, int, from->n_params + 1);
        for (int j = 0; j < from->n_params; j++) {
            const buffer *b = &from->bufs.at[j];
            int at = 0;
            while (at < others && !(same_param(&k->bufs.at[at], b) && same_view(args[at], o->args[j]))) at++;
            if (at == others) {
                at = kernel_param(k, b->name, b->dtype, b->role, b->rank, b->dims);
                args[at] = o->args[j];
            }
            param[i][j] = at;
        }
    }
    for (int64_t i = 0; i < n; i++)
        kernel_append(k, p->kernels.at[x->members.at[i]->kernel], param[i], arena_printf(m->a, "p%lld_", (long long)i));
    prog_op *call = program_op(p, to, PROG_call);
    call->args = args;
    call->layer = x->members.at[0]->layer;
    call->kernel = program_kernel(p, k);
    return call;
}

static prog_block merge_block(merging *m, const prog_block *b)
{
    item_list out = { 0 };
    for (int i = 0; i < b->n; i++) {
        item *x = item_of(m, b->at[i]);
        if (!x->is_small || !join_earlier(m, &out, x)) vec_push(m->a, &out, x);
    }
    prog_block to = { 0 };
    for (int64_t i = 0; i < out.n; i++) {
        item *x = out.at[i];
        if (x->members.n > 1) {
            merged_call(m, x, &to);
            continue;
        }
        prog_op *o = program_op(m->p, &to, x->op->kind);
        *o = *x->op;
        o->body = merge_block(m, &x->op->body);
        o->other = merge_block(m, &x->op->other);
        o->test = merge_block(m, &x->op->test);
    }
    return to;
}

/* -- The program ----------------------------------------------------------------------------------------------------------------- */

static int64_t planned_bytes(merging *m)
{
    pass_run run = { .ctx = m->run->ctx, .scratch = m->a, .limit = -1 };
    int64_t n = plan_program(&run, m->p) ? m->p->workspace_bytes : -1;
    m->p->workspace_bytes = m->p->workspace_lower_bound = -1;          /* plan runs later */
    plan_apart(m->p);
    for (int64_t i = 0; i < m->p->bufs.n; i++)
        if (m->p->bufs.at[i].kind != PBUF_state) m->p->bufs.at[i].offset = -1;
    return n;
}

/* The calls merged, at most `most` (< 0: any number), no move of more than so many bytes; the planned bytes then. */
static int64_t attempt(merging *m, const prog_block *body, int64_t most_bytes, int64_t most)
{
    m->most_bytes = most_bytes;
    m->limit = most;
    m->n_merged = 0;
    m->p->kernels.n = m->n_kernels;
    m->p->body = merge_block(m, body);
    int64_t after = planned_bytes(m);
    if (m->run->explain)
        text_printf(m->run->explain, "%lld calls merged: workspace %lld\n", (long long)m->n_merged, (long long)after);
    return after;
}

bool merge_program(pass_run *run, program *p)
{
    static const int64_t freedom[] = { INT64_MAX, 4096, 256 };
    merging m = { .run = run, .a = run->scratch, .p = p, .lives = lifetimes_of(run->scratch, p), .n_kernels = p->kernels.n };
    m.n_statements = find_small(m.a, p);
    int64_t before = planned_bytes(&m), good = 0, bad = 0, last = INT64_MAX;
    if (before < 0 || p->body.n > MOST_BLOCK) return true;
    const prog_block body = p->body;
    for (size_t i = 0; !good && i < sizeof freedom / sizeof *freedom; i++) {
        bool fits = attempt(&m, &body, last = freedom[i], run->limit) <= before;
        *(fits ? &good : &bad) = m.n_merged;
        if (fits) break;
    }
    for (int64_t least = 0; !good && bad - least > 1;) {         /* the first ones of them */
        int64_t middle = (least + bad) / 2;
        *(attempt(&m, &body, last, middle) <= before ? &least : &bad) = middle;
        if (bad - least <= 1 && least) {
            attempt(&m, &body, last, least);
            good = least;
        }
    }
    if (!good) {
        p->body = body;
        p->kernels.n = m.n_kernels;
        return true;
    }
    run->changes += good;
    program_drop_kernels(p);
    return true;
}
