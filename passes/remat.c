/* remat: values computed again instead of kept, so that the workspace fits a budget
 *
 *     call @f(x, h)                    call @f(x, h)
 *     call @g(h, y)                    call @g(h, y)
 *     …                           =>   …
 *     call @back(h, dy, dx)            call @f(x, h2)
 *                                      call @back(h2, dy, dx)
 *
 * Why    The backward half of a training step reads what the forward half made, so all of it is alive in the middle. A
 *        buffer that is dropped after the forward half and made again when it is asked for trades time for memory.
 * How    A buffer can be dropped if one call writes it and nothing else, and what that call reads is never overwritten. It
 *        is dropped after the use before its longest pause, and made again before the next use; what is needed for that
 *        and was dropped itself is made again first. Which to drop: choices of three families are tried,
 *            the first k buffers by size times length of the pause             k = 1, 2, …
 *            all but those that pass from one to another of s parts, equal in calls or in bytes   s = 1, 2, …  (s = sqrt n:
 *                                                                              memory sqrt n, as Chen et al., 2016)
 *        less those that are made of what would have to be kept for it;
 *        and of those whose largest sum of live bytes fits, the one with the least work done again. The plan has the last
 *        word: if it does not fit after all, the target is lowered.
 * Needs  sizes that are constants.
 * Keeps  every bit: the same kernel reads the same values again.
 * Leaves buffers used inside loops only, and what loops write.
 * Cost   O(choices * (calls + operands)).
 * See    tests/grad/test_remat.c
 */
#include "passes/pass.h"
#include "passes/pipeline.h"
#include "ir/lifetime.h"
#include <stdlib.h>

typedef vec(int) ints;
typedef struct { ints reads, writes; } op_use;

typedef struct {
    int64_t bytes;
    int writers, definer;         /* top-level ops that write it; the last of them */
    bool changes;                 /* written where it is read too, or in part by a call */
    ints uses;                    /* top-level ops that read it */
    bool can_drop;
    int drop_after, next_use;     /* the longest pause */
} buf_facts;

typedef struct {
    program *p;
    arena *a;
    int n_ops, n_bufs;
    op_use *ops;
    buf_facts *bufs;
    bool *drops;                  /* the choice */
    int *by_score, n_by_score;
    int64_t *bytes_before;        /* by op: of droppable buffers written before it */
    /* one run through the program */
    bool *is_there;               /* by buffer */
    int *now_in;                  /* by buffer: the copy in use */
    int n_copies;                 /* copies are numbered after the buffers */
    ints copy_of;
    vec(interval) life;           /* by buffer and copy */
    int64_t time, work;
    prog_block *out;              /* NULL: only measured */
} remat;

/* -- Facts ---------------------------------------------------------------------------------------------------------------- */

static void add_once(arena *a, ints *v, int x)
{
    for (int64_t i = 0; i < v->n; i++)
        if (v->at[i] == x) return;
    vec_push(a, v, x);
}

/* Bodies nest as deep as the front ends allow; that bounds the recursion. */
static void collect(remat *r, const prog_op *op, op_use *u, bool is_inner)
{
    if (op->kind == PROG_call) {
        const kernel_code *k = r->p->kernels.at[op->kernel];
        for (int q = 0; q < k->n_params; q++) {
            view v = op->args[q];
            if (v.buf < 0) continue;
            buf_role role = k->bufs.at[q].role;
            bool writes = role == ROLE_out || role == ROLE_inout, reads = role != ROLE_out;
            if (writes) add_once(r->a, &u->writes, v.buf);
            if (reads) add_once(r->a, &u->reads, v.buf);
            if (writes && (is_inner || v.at || reads)) r->bufs[v.buf].changes = true;
        }
    }
    if (op->pred.buf >= 0) add_once(r->a, &u->reads, op->pred.buf);
    if (op->source.buf >= 0) add_once(r->a, &u->reads, op->source.buf);
    const prog_block *blocks[3] = { &op->test, &op->body, &op->other };
    for (int b = 0; b < 3; b++)
        for (int i = 0; i < blocks[b]->n; i++) collect(r, blocks[b]->at[i], u, true);
}

static bool find_facts(remat *r)
{
    program *p = r->p;
    r->n_ops = p->body.n;
    r->n_bufs = (int)p->bufs.n;
    r->ops = NEW_ARRAY(r->a, op_use, r->n_ops + 1);
    r->bufs = NEW_ARRAY(r->a, buf_facts, r->n_bufs + 1);
    r->drops = NEW_ARRAY(r->a, bool, r->n_bufs + 1);
    r->is_there = NEW_ARRAY(r->a, bool, r->n_bufs + 1);
    r->now_in = NEW_ARRAY(r->a, int, r->n_bufs + 1);
    lifetime *l = lifetimes_of(r->a, p);
    for (int b = 0; b < r->n_bufs; b++)
        if (p->bufs.at[b].kind == PBUF_temp && l->of[b].last >= 0 && !dim_is_const(buffer_bytes(p, l, b), &r->bufs[b].bytes)) return false;
    for (int i = 0; i < r->n_ops; i++) {
        collect(r, p->body.at[i], &r->ops[i], false);
        for (int64_t k = 0; k < r->ops[i].writes.n; k++) {
            buf_facts *f = &r->bufs[r->ops[i].writes.at[k]];
            f->writers++;
            f->definer = i;
        }
        for (int64_t k = 0; k < r->ops[i].reads.n; k++) vec_push(r->a, &r->bufs[r->ops[i].reads.at[k]].uses, i);
    }
    return true;
}

/* Its content is the same from when it is written to the end. */
static bool is_stable(const remat *r, int b)
{
    pbuf_kind kind = r->p->bufs.at[b].kind;
    if (kind == PBUF_input || kind == PBUF_const) return true;
    return kind != PBUF_state && r->bufs[b].writers == 1;
}

static void find_droppable(remat *r)
{
    for (int b = 0; b < r->n_bufs; b++) {
        buf_facts *f = &r->bufs[b];
        if (r->p->bufs.at[b].kind != PBUF_temp || f->writers != 1 || f->changes || f->uses.n == 0 || f->bytes == 0) continue;
        if (r->p->body.at[f->definer]->kind != PROG_call) continue;
        const op_use *d = &r->ops[f->definer];
        f->can_drop = true;
        for (int64_t k = 0; k < d->reads.n; k++) f->can_drop &= is_stable(r, d->reads.at[k]) && d->reads.at[k] != b;
        int from = f->definer, longest = 1;
        for (int64_t k = 0; k < f->uses.n; k++) {
            if (f->uses.at[k] - from > longest) {
                longest = f->uses.at[k] - from;
                f->drop_after = from;
                f->next_use = f->uses.at[k];
            }
            from = f->uses.at[k];
        }
        f->can_drop &= longest > 1;
    }
}

/* -- One run through the program -------------------------------------------------------------------------------------------- */

static void touch(remat *r, int copy)
{
    interval *i = &r->life.at[copy];
    if (i->last < 0) i->first = r->time;
    i->last = r->time;
}

static int new_copy(remat *r, int b)
{
    vec_push(r->a, &r->copy_of, b);
    vec_push(r->a, &r->life, ((interval){ 0, -1 }));
    if (r->out) {
        const pbuf *from = &r->p->bufs.at[b];
        program_buf(r->p, from->name, PBUF_temp, 0, from->dtype, from->rank, from->dims);
    }
    return r->n_bufs + r->n_copies++;
}

static view renamed(const remat *r, view v)
{
    if (v.buf >= 0) v.buf = r->now_in[v.buf];
    return v;
}

static void copy_block(const remat *r, prog_block *to, const prog_block *from);

static prog_op *copy_op(const remat *r, const prog_op *op)
{
    prog_op *c = arena_copy(r->p->arena, op, sizeof *op);
    if (op->kind == PROG_call) {
        int n = r->p->kernels.at[op->kernel]->n_params;
        c->args = NEW_ARRAY(r->p->arena, view, n + 1);
        for (int q = 0; q < n; q++) c->args[q] = renamed(r, op->args[q]);
    }
    c->pred = renamed(r, op->pred);
    c->source = renamed(r, op->source);
    copy_block(r, &c->test, &op->test);
    copy_block(r, &c->body, &op->body);
    copy_block(r, &c->other, &op->other);
    return c;
}

static void copy_block(const remat *r, prog_block *to, const prog_block *from)
{
    *to = (prog_block){ 0 };
    if (from->n == 0) return;
    to->at = NEW_ARRAY(r->p->arena, prog_op *, from->n);
    to->n = to->cap = from->n;
    for (int i = 0; i < from->n; i++) to->at[i] = copy_op(r, from->at[i]);
}

static void emit(remat *r, int i)
{
    const op_use *u = &r->ops[i];
    for (int64_t k = 0; k < u->reads.n; k++) touch(r, r->now_in[u->reads.at[k]]);
    for (int64_t k = 0; k < u->writes.n; k++) touch(r, r->now_in[u->writes.at[k]]);
    r->time++;
    if (!r->out) return;
    int64_t cap = r->out->cap;
    vec_reserve_(r->p->arena, (void **)&r->out->at, r->out->n, &cap, sizeof *r->out->at, 1);
    r->out->cap = (int)cap;
    r->out->at[r->out->n++] = copy_op(r, r->p->body.at[i]);
}

enum { CONTRACT_WEIGHT = 16 };

/* Makes b again, and before it what its call reads and is not there. */
static void make_again(remat *r, int b, ints *stack)
{
    vec_push(r->a, stack, b);
    while (stack->n) {
        int top = stack->at[stack->n - 1];
        if (r->is_there[top]) {
            stack->n--;
            continue;
        }
        int d = r->bufs[top].definer;
        const op_use *u = &r->ops[d];
        int64_t before = stack->n;
        for (int64_t k = 0; k < u->reads.n; k++)
            if (!r->is_there[u->reads.at[k]]) vec_push(r->a, stack, u->reads.at[k]);
        if (stack->n > before) continue;
        int64_t moved = 0;
        int *old = NEW_ARRAY(r->a, int, u->writes.n + 1);
        for (int64_t k = 0; k < u->writes.n; k++) {
            int w = u->writes.at[k];
            old[k] = r->now_in[w];
            r->now_in[w] = new_copy(r, w);
            moved += r->bufs[w].bytes;
        }
        for (int64_t k = 0; k < u->reads.n; k++) moved += r->bufs[u->reads.at[k]].bytes;
        emit(r, d);
        for (int64_t k = 0; k < u->writes.n; k++) {
            int w = u->writes.at[k];
            if (r->is_there[w]) r->now_in[w] = old[k];          /* it was kept: the copy is scrap */
            r->is_there[w] = true;
        }
        r->work += moved * (r->p->kernels.at[r->p->body.at[d]->kernel]->anchor == ANCHOR_contract ? CONTRACT_WEIGHT : 1);
        stack->n--;
    }
}

static int64_t most_alive(remat *r)
{
    int64_t *change = NEW_ARRAY(r->a, int64_t, r->time + 2), live = 0, most = 0;
    for (int64_t c = 0; c < r->life.n; c++) {
        interval i = r->life.at[c];
        int b = c < r->n_bufs ? (int)c : r->copy_of.at[c - r->n_bufs];
        if (i.last < 0 || r->p->bufs.at[b].kind != PBUF_temp) continue;
        change[i.first] += r->bufs[b].bytes;
        change[i.last + 1] -= r->bufs[b].bytes;
    }
    for (int64_t t = 0; t <= r->time; t++) {
        live += change[t];
        if (live > most) most = live;
    }
    return most;
}

/* The program under the choice; gives the largest sum of live bytes. */
static int64_t run_through(remat *r, prog_block *out)
{
    arena *own = r->a;
    arena *scratch = r->a = arena_new(arena_mem(own));
    r->out = out;
    r->n_copies = 0;
    r->copy_of = (ints){ 0 };
    r->life.at = NULL;
    r->life.n = r->life.cap = 0;
    r->time = r->work = 0;
    ints stack = { 0 };
    for (int b = 0; b < r->n_bufs; b++) {
        vec_push(r->a, &r->life, ((interval){ 0, -1 }));
        r->now_in[b] = b;
        r->is_there[b] = true;
    }
    /* buffers to forget after each op */
    ints *forget = NEW_ARRAY(r->a, ints, r->n_ops + 1);
    for (int b = 0; b < r->n_bufs; b++)
        if (r->drops[b]) vec_push(r->a, &forget[r->bufs[b].drop_after], b);
    for (int i = 0; i < r->n_ops; i++) {
        const op_use *u = &r->ops[i];
        for (int64_t k = 0; k < u->reads.n; k++)
            if (!r->is_there[u->reads.at[k]]) make_again(r, u->reads.at[k], &stack);
        emit(r, i);
        for (int64_t k = 0; k < forget[i].n; k++) r->is_there[forget[i].at[k]] = false;
    }
    int64_t most = most_alive(r);
    r->a = own;
    arena_free(scratch);
    return most;
}

/* -- Choices ------------------------------------------------------------------------------------------------------------------- */

typedef enum { CHOICE_none, CHOICE_score, CHOICE_calls, CHOICE_bytes } choice_kind;
typedef struct { choice_kind kind; int k; int64_t most, work; } choice;
typedef struct { int buf; double score; } scored;
enum { MAX_ROUNDS = 100 };

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->buf < y->buf ? -1 : x->buf > y->buf;
}

static void rank(remat *r)
{
    scored *s = NEW_ARRAY(r->a, scored, r->n_bufs + 1);
    int n = 0;
    for (int b = 0; b < r->n_bufs; b++) {
        const buf_facts *f = &r->bufs[b];
        if (f->can_drop) s[n++] = (scored){ b, (double)f->bytes * (f->next_use - f->drop_after) };
    }
    qsort(s, (size_t)n, sizeof *s, by_score);
    r->by_score = NEW_ARRAY(r->a, int, n + 1);
    r->n_by_score = n;
    for (int i = 0; i < n; i++) r->by_score[i] = s[i].buf;
    r->bytes_before = NEW_ARRAY(r->a, int64_t, r->n_ops + 1);
    for (int i = 0; i < n; i++) r->bytes_before[r->bufs[s[i].buf].definer + 1] += r->bufs[s[i].buf].bytes;
    for (int i = 0; i < r->n_ops; i++) r->bytes_before[i + 1] += r->bytes_before[i];
}

/* Of k parts of equal calls, or of equal bytes of droppable buffers written: the one that this op lies in. */
static int64_t part_by_calls(const remat *r, int op, int k) { return (int64_t)op * k / r->n_ops; }
static int64_t part_by_bytes(const remat *r, int op, int k) { return (int64_t)((double)r->bytes_before[op] * k / ((double)r->bytes_before[r->n_ops] + 1)); }

static void choose(remat *r, choice c)
{
    memset(r->drops, 0, (size_t)r->n_bufs * sizeof *r->drops);
    for (int i = 0; i < r->n_by_score; i++) {
        int b = r->by_score[i];
        const buf_facts *f = &r->bufs[b];
        if (c.kind == CHOICE_score) r->drops[b] = i < c.k;
        if (c.kind == CHOICE_calls) r->drops[b] = part_by_calls(r, f->definer, c.k) == part_by_calls(r, f->drop_after, c.k);
        if (c.kind == CHOICE_bytes) r->drops[b] = part_by_bytes(r, f->definer, c.k) == part_by_bytes(r, f->drop_after, c.k);
    }
}

static int last_use(const remat *r, int b) { return r->bufs[b].uses.n ? r->bufs[b].uses.at[r->bufs[b].uses.n - 1] : -1; }

/* Dropping b gains nothing if something that it is made of would have to be kept for that: neither dropped itself, nor
 * alive anyway when b is asked for. */
static bool is_made_of_living(const remat *r, int b)
{
    const op_use *d = &r->ops[r->bufs[b].definer];
    for (int64_t k = 0; k < d->reads.n; k++) {
        int x = d->reads.at[k];
        if (r->p->bufs.at[x].kind == PBUF_temp && !r->drops[x] && last_use(r, x) < r->bufs[b].next_use) return false;
    }
    return true;
}

static void keep_what_gains_nothing(remat *r)
{
    bool again = true;
    for (int round = 0; again && round < MAX_ROUNDS; round++) {
        again = false;
        for (int i = 0; i < r->n_by_score; i++) {
            int b = r->by_score[i];
            if (!r->drops[b] || is_made_of_living(r, b)) continue;
            r->drops[b] = false;
            again = true;
        }
    }
}

enum { MAX_PARTS = 64, MAX_TRIES = 8 };
typedef vec(choice) choices;

static choices measure_all(remat *r)
{
    choices all = { 0 };
    int step = r->n_by_score / 512 + 1;
    vec_push(r->a, &all, ((choice){ CHOICE_none, 0, 0, 0 }));
    for (int k = 1; k <= r->n_by_score; k += step) vec_push(r->a, &all, ((choice){ CHOICE_score, k, 0, 0 }));
    for (int s = 1; s <= MAX_PARTS && s < r->n_ops; s++) {
        vec_push(r->a, &all, ((choice){ CHOICE_calls, s, 0, 0 }));
        vec_push(r->a, &all, ((choice){ CHOICE_bytes, s, 0, 0 }));
    }
    for (int64_t i = 0; i < all.n; i++) {
        choose(r, all.at[i]);
        keep_what_gains_nothing(r);
        all.at[i].most = run_through(r, NULL);
        all.at[i].work = r->work;
    }
    return all;
}

/* Of the choices within target the one with the least work; none: the one with the least memory. */
static choice pick(const choices *all, int64_t target, bool *fits)
{
    choice best = all->at[0];
    *fits = best.most <= target;
    for (int64_t i = 1; i < all->n; i++) {
        choice c = all->at[i];
        bool c_fits = c.most <= target;
        bool better = *fits ? c_fits && (c.work < best.work || (c.work == best.work && c.most < best.most)) : c_fits || c.most < best.most;
        if (!better) continue;
        best = c;
        *fits = c_fits;
    }
    return best;
}

/* Rewrites the program by a choice and plans it; gives the workspace. */
static int64_t apply(pass_run *run, remat *r, choice c)
{
    prog_block body = { 0 };
    choose(r, c);
    keep_what_gains_nothing(r);
    run_through(r, &body);
    r->p->body = body;
    int64_t changes = run->changes;
    plan_program(run, r->p);
    run->changes = changes;
    return r->p->workspace_bytes;
}

static void undo(remat *r, prog_block body)
{
    r->p->body = body;
    r->p->bufs.n = r->n_bufs;
}

bool remat_program(pass_run *run, program *p, int64_t budget)
{
    remat r = { .p = p, .a = run->scratch };
    plan_program(run, p);
    run->changes = 0;
    if (p->workspace_bytes >= 0 && p->workspace_bytes <= budget) return true;
    if (!find_facts(&r)) {
        diag_memory_open(p->ctx, (place){ 0 });
        return false;
    }
    find_droppable(&r);
    rank(&r);
    choices all = measure_all(&r);
    prog_block body = p->body;
    int64_t target = budget, least = p->workspace_bytes;
    for (int i = 0; i < MAX_TRIES; i++) {
        bool fits;
        choice c = pick(&all, target, &fits);
        int64_t found = apply(run, &r, c);
        if (found < least) least = found;
        if (run->explain) text_printf(run->explain, "target %lld: %d calls more, live %lld, planned %lld\n", (long long)target, p->body.n - r.n_ops, (long long)c.most, (long long)found);
        if (found <= budget) {
            run->changes = p->body.n - r.n_ops;
            return true;
        }
        undo(&r, body);
        if (!fits) break;
        target -= found - budget;
    }
    diag_memory_budget(p->ctx, (place){ 0 }, budget, least);
    return false;
}
