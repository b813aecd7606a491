/* order: loop interchange around a sum, and the register tile
 *
 * A nest as lower writes it is
 *
 *     for p… { A: reg acc = init    for r… { B: acc = f(acc, …) }    C: out[…] = epilogue(acc) }
 *
 * with parallel loops p and summed loops r. order(q… | s…) makes of it, T being the parallel loops after the bar,
 *
 *     for q… {
 *       reg acc[T]
 *       for T { A }
 *       for s… { B }
 *       for T { C }
 *     }
 *
 * Each acc has one element for each point of the tile. Summed loops keep their relative order, so every chain of additions
 * is what it was. Summed loops before the bar need keep(acc, out): the tile then starts from out instead of init except in
 * the first chunk, and goes back to out instead of through C except in the last; a store and a reload change no bit.
 */
#include "passes/schedule/schedule.h"

enum { MAX_LOOPS = 24 };

typedef struct {
    stmt *par[MAX_LOOPS]; int n_par;
    stmt *red[MAX_LOOPS]; int n_red;
    block *inner;                  /* A, the sum, C */
    int at_sum;                    /* which statement of inner is the sum; -1 none */
    block *core;                   /* B */
} nest;

bool is_summed(const scheduler *s, int var)
{
    return s->k->vars.at[var].role == LOOP_sum || s->k->vars.at[var].role == LOOP_sum_window;
}

static bool find_nest(scheduler *s, block *b, nest *n)
{
    n->n_par = n->n_red = 0;
    n->at_sum = -1;
    while (b->n == 1 && b->at[0]->kind == STMT_for && !is_summed(s, b->at[0]->var)) {
        if (n->n_par == MAX_LOOPS) return refuse(s, "too many loops");
        n->par[n->n_par++] = b->at[0];
        b = &b->at[0]->body;
    }
    n->inner = n->core = b;
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (x->kind == STMT_if) return refuse(s, "a condition stands between the loops");
        if (x->kind != STMT_for) continue;
        if (n->at_sum >= 0) return refuse(s, "there are several inner loops");
        if (!is_summed(s, x->var)) return refuse(s, "the loops are not a nest around one sum");
        n->at_sum = i;
    }
    if (n->at_sum < 0) return true;
    stmt *x = b->at[n->at_sum];
    for (;;) {
        if (n->n_red == MAX_LOOPS) return refuse(s, "too many loops");
        n->red[n->n_red++] = x;
        n->core = &x->body;
        if (x->body.n != 1 || x->body.at[0]->kind != STMT_for) return true;
        x = x->body.at[0];
    }
}

/* -- The wanted order --------------------------------------------------------------------------------------------------- */

typedef struct { stmt *before[MAX_LOOPS], *after[MAX_LOOPS]; int n_before, n_after; } wanted;

static stmt *take_loop(nest *n, bool *used, int var)
{
    for (int i = 0; i < n->n_par + n->n_red; i++) {
        stmt *x = i < n->n_par ? n->par[i] : n->red[i - n->n_par];
        if (x->var != var || used[i]) continue;
        used[i] = true;
        return x;
    }
    return NULL;
}

static bool read_order(scheduler *s, nest *n, const sched_step *step, wanted *w)
{
    bool used[2 * MAX_LOOPS] = { 0 }, bar = false;
    for (int i = 0; i < step->n; i++) {
        if (strcmp(step->word[i], "|") == 0) { bar = true; continue; }
        int var = find_var(s, step->word[i]);
        if (var < 0) return false;
        stmt *x = take_loop(n, used, var);
        if (!x) continue;                          /* it had one iteration */
        if (bar) w->after[w->n_after++] = x;
        else w->before[w->n_before++] = x;
    }
    for (int i = 0; i < n->n_par + n->n_red; i++)
        if (!used[i]) return refuse(s, "loop %s is left out", s->k->vars.at[(i < n->n_par ? n->par[i] : n->red[i - n->n_par])->var].name);
    return true;
}

static bool check_order(scheduler *s, const nest *n, const wanted *w)
{
    int last = -1;
    const stmt *all[2 * MAX_LOOPS];
    int m = 0;
    for (int i = 0; i < w->n_before; i++) all[m++] = w->before[i];
    for (int i = 0; i < w->n_after; i++) all[m++] = w->after[i];
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n->n_red; j++)
            if (n->red[j] == all[i]) {
                if (j < last) return refuse(s, "summed loops would change their order");
                last = j;
            }
        for (int j = i + 1; j < m; j++)
            if (x_uses_var(all[i]->hi, all[j]->var) || x_uses_var(all[i]->lo, all[j]->var))
                return refuse(s, "loop %s needs %s around it", s->k->vars.at[all[i]->var].name, s->k->vars.at[all[j]->var].name);
    }
    return true;
}

/* -- Pieces of the new nest ---------------------------------------------------------------------------------------------- */

static stmt *same_loop(kernel_code *k, const stmt *x) { return s_for(k, x->var, x->lo, x->hi, x->mark); }

/* Loops over the tile at the end of b; the innermost block. */
static block *open_tile(kernel_code *k, block *b, stmt *const *tile, int n)
{
    for (int i = 0; i < n; i++) {
        stmt *x = same_loop(k, tile[i]);
        block_push(k, b, x);
        b = &x->body;
    }
    return b;
}

typedef struct { const bool *is_acc; const expr *const *index; int n; } widen_arg;

static const expr *widen_load(kernel_code *k, const expr *e, void *arg)
{
    const widen_arg *w = arg;
    if (e->kind != EXPR_load || !w->is_acc[e->id] || e->n_args == w->n) return NULL;
    return x_load(k, e->id, w->index);
}

static void widen_stores(kernel_code *k, block *b, const widen_arg *w)
{
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (x->kind == STMT_store && w->is_acc[x->id]) x->index = w->index;
        widen_stores(k, &x->body, w);
        widen_stores(k, &x->other, w);
    }
}

/* Temps that a block uses but does not define, defined in `from`: their lets are copied to its front. */
static bool uses_temp(const kernel_code *k, const block *b, int id)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if ((x->value && x_uses_temp(x->value, id)) || (x->cond && x_uses_temp(x->cond, id))) return true;
        for (int j = 0; x->index && j < k->bufs.at[x->id].rank; j++)
            if (x_uses_temp(x->index[j], id)) return true;
        if (uses_temp(k, &x->body, id) || uses_temp(k, &x->other, id)) return true;
    }
    return false;
}

static void copy_lets(kernel_code *k, block *b, const stmt *const *lets, int n)
{
    for (int i = n - 1; i >= 0; i--)
        if (uses_temp(k, b, lets[i]->id)) block_insert(k, b, 0, s_let(k, lets[i]->id, lets[i]->value));
}

/* -- keep ------------------------------------------------------------------------------------------------------------------ */

static const sched_step *find_keep(const scheduler *s)
{
    for (int i = 0; i < s->n_steps; i++)
        if (strcmp(s->steps[i].name, "keep") == 0) return &s->steps[i];
    return NULL;
}

/* The store to `out` among C: its index says where a partial sum rests. */
static const stmt *find_store(const block *c, int buf)
{
    for (int i = 0; i < c->n; i++)
        if (c->at[i]->kind == STMT_store && c->at[i]->id == buf) return c->at[i];
    return NULL;
}

static int find_buf(const kernel_code *k, const char *name)
{
    for (int64_t i = 0; i < k->bufs.n; i++)
        if (strcmp(k->bufs.at[i].name, name) == 0) return (int)i;
    return -1;
}

static const expr *all_at(kernel_code *k, stmt *const *loops, int n, const scheduler *s, bool last)
{
    const expr *cond = NULL;
    for (int i = 0; i < n; i++) {
        if (!is_summed(s, loops[i]->var)) continue;
        const expr *edge = last ? x_sub(k, loops[i]->hi, x_int(k, 1)) : loops[i]->lo;
        const expr *c = x_op2(k, SCALAR_eq, x_var(k, loops[i]->var), edge);
        cond = cond ? x_op2(k, SCALAR_and, cond, c) : c;
    }
    return cond;
}

/* -- order ------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    scheduler *s;
    nest n;
    wanted w;
    stmt *tile[MAX_LOOPS]; int n_tile;      /* parallel loops after the bar */
    int acc[MAX_LOOPS]; const expr *init[MAX_LOOPS]; int n_acc;
    const stmt *lets[256]; int n_lets;      /* of A */
    const expr *cond_first, *cond_last;     /* NULL without keep */
    int kept_acc, kept_out;
} ordering;

static bool split_pieces(ordering *o)
{
    scheduler *s = o->s;
    for (int i = 0; i < o->n.at_sum; i++) {
        const stmt *x = o->n.inner->at[i];
        if (x->kind == STMT_let) {
            if (o->n_lets == 256) return refuse(s, "too many values before the sum");
            if (x_loads(x->value, -1))
                for (int64_t b = s->k->n_params; b < s->k->bufs.n; b++)
                    if (x_loads(x->value, (int)b)) return refuse(s, "a value before the sum reads a register");
            o->lets[o->n_lets++] = x;
        } else if (x->kind == STMT_alloc && s->k->bufs.at[x->id].rank == 0 && x->value) {
            o->acc[o->n_acc] = x->id;
            o->init[o->n_acc++] = x->value;
        } else {
            return refuse(s, "before the sum stands more than its first value");
        }
    }
    return true;
}

/* A nest written again (phase) has accumulators of its own: acc_2, … */
static bool is_copy_of(const kernel_code *k, int buf, const char *name)
{
    const char *own = k->bufs.at[buf].name;
    size_t n = strlen(name);
    return strncmp(own, name, n) == 0 && (!own[n] || own[n] == '_');
}

static bool prepare_keep(ordering *o)
{
    scheduler *s = o->s;
    bool any = false;
    for (int i = 0; i < o->w.n_before; i++) any |= is_summed(s, o->w.before[i]->var);
    if (!any) return true;
    const sched_step *keep = find_keep(s);
    if (!keep || keep->n != 2) return refuse(s, "a summed loop before | needs keep(acc, buffer)");
    o->kept_out = find_buf(s->k, keep->word[1]);
    if (find_buf(s->k, keep->word[0]) < 0 || o->kept_out < 0) return refuse(s, "keep: no such buffer");
    if (o->n_acc != 1 || !is_copy_of(s->k, o->acc[0], keep->word[0]))
        return refuse(s, "keep: %s is not the only accumulator", keep->word[0]);
    o->kept_acc = o->acc[0];
    if (s->k->bufs.at[o->kept_acc].dtype != s->k->bufs.at[o->kept_out].dtype) return refuse(s, "keep: types differ");
    o->cond_first = all_at(s->k, o->w.before, o->w.n_before, s, false);
    o->cond_last = all_at(s->k, o->w.before, o->w.n_before, s, true);
    return true;
}

/* for T { A }: acc gets its first value. */
static void write_start(ordering *o, block *to, const expr *const *point)
{
    kernel_code *k = o->s->k;
    block *first = to, *again = NULL;
    if (o->cond_first) {
        stmt *x = s_if(k, o->cond_first);
        block_push(k, to, x);
        first = &x->body;
        again = &x->other;
    }
    block *b = open_tile(k, first, o->tile, o->n_tile);
    for (int i = 0; i < o->n_lets; i++) block_push(k, b, s_let(k, o->lets[i]->id, o->lets[i]->value));
    for (int i = 0; i < o->n_acc; i++) block_push(k, b, s_store(k, o->acc[i], point, o->init[i]));
    if (!again) return;
    const stmt *store = find_store(o->n.inner, o->kept_out);
    b = open_tile(k, again, o->tile, o->n_tile);
    block_push(k, b, s_store(k, o->kept_acc, point, x_load(k, o->kept_out, store->index)));
}

static void write_end(ordering *o, block *to, const expr *const *point, const widen_arg *w)
{
    kernel_code *k = o->s->k;
    block *last = to, *partial = NULL;
    if (o->cond_last) {
        stmt *x = s_if(k, o->cond_last);
        block_push(k, to, x);
        last = &x->body;
        partial = &x->other;
    }
    block *b = open_tile(k, last, o->tile, o->n_tile);
    for (int i = o->n.at_sum + 1; i < o->n.inner->n; i++) block_push(k, b, o->n.inner->at[i]);
    widen_stores(k, b, w);
    block_rewrite(k, b, widen_load, (void *)(uintptr_t)w);
    copy_lets(k, b, o->lets, o->n_lets);
    if (!partial) return;
    const stmt *store = find_store(o->n.inner, o->kept_out);
    b = open_tile(k, partial, o->tile, o->n_tile);
    block_push(k, b, s_store(k, o->kept_out, store->index, x_load(k, o->kept_acc, point)));
}

static bool order_plain(scheduler *s, const nest *n, const wanted *w, block *out)
{
    block body = *n->inner, whole = { 0 }, *at = &whole;
    for (int i = 0; i < w->n_before + w->n_after; i++) {
        stmt *x = same_loop(s->k, i < w->n_before ? w->before[i] : w->after[i - w->n_before]);
        block_push(s->k, at, x);
        at = &x->body;
    }
    *at = body;
    for (int i = 0; i < whole.n; i++) block_push(s->k, out, whole.at[i]);
    return true;
}

/* One nest; what comes out is put at the end of `out`. */
static bool order_nest(scheduler *s, const sched_step *step, block *in, block *out)
{
    ordering o = { .s = s };
    kernel_code *k = s->k;
    if (!find_nest(s, in, &o.n) || !read_order(s, &o.n, step, &o.w) || !check_order(s, &o.n, &o.w)) return false;
    if (o.n.at_sum < 0) return order_plain(s, &o.n, &o.w, out);
    if (!split_pieces(&o)) return false;
    for (int i = 0; i < o.w.n_after; i++)
        if (!is_summed(s, o.w.after[i]->var)) o.tile[o.n_tile++] = o.w.after[i];

    dim extents[MAX_LOOPS];
    const expr *point[MAX_LOOPS];
    for (int i = 0; i < o.n_tile; i++) {
        range r = loop_range(s, o.tile[i]);
        if (r.hi > 4096) return refuse(s, "tile loop %s has no small bound", k->vars.at[o.tile[i]->var].name);
        extents[i] = dim_const(r.hi);
        point[i] = x_var(k, o.tile[i]->var);
    }
    if (!prepare_keep(&o)) return false;
    bool *is_acc = NEW_ARRAY(s->scratch, bool, k->bufs.n + 1);
    const expr *const *index = arena_copy(k->arena, point, sizeof *point * (size_t)o.n_tile);
    const dim *dims_copy = arena_copy(k->arena, extents, sizeof *extents * (size_t)o.n_tile);
    for (int i = 0; i < o.n_acc; i++) {
        is_acc[o.acc[i]] = true;
        k->bufs.at[o.acc[i]].rank = o.n_tile;
        k->bufs.at[o.acc[i]].dims = dims_copy;
    }
    if (o.cond_first && !find_store(o.n.inner, o.kept_out)) return refuse(s, "keep: nothing is stored to that buffer");
    widen_arg w = { is_acc, index, o.n_tile };

    block core = *o.n.core, whole = { 0 }, *at = &whole;
    for (int i = 0; i < o.w.n_before; i++) {
        stmt *x = same_loop(k, o.w.before[i]);
        block_push(k, at, x);
        at = &x->body;
    }
    for (int i = 0; i < o.n_acc; i++) block_push(k, at, s_alloc(k, o.acc[i], NULL));
    write_start(&o, at, index);
    block *sum = at;
    for (int i = 0; i < o.w.n_after; i++) {
        stmt *x = same_loop(k, o.w.after[i]);
        block_push(k, sum, x);
        sum = &x->body;
    }
    *sum = core;
    if (o.n_tile) {
        widen_stores(k, sum, &w);                     /* first: the accumulators have their new rank already */
        block_rewrite(k, sum, widen_load, &w);
    }
    copy_lets(k, sum, o.lets, o.n_lets);
    write_end(&o, at, index, &w);
    for (int i = 0; i < whole.n; i++) block_push(k, out, whole.at[i]);
    return true;
}

/* Nests that stand one behind the other (phase wrote them) are ordered each; anything else is one nest. */
bool step_order(scheduler *s, const sched_step *step)
{
    block body = s->k->body, out = { 0 };
    bool apart = body.n > 1;
    for (int i = 0; i < body.n; i++) apart &= body.at[i]->kind == STMT_for && !is_summed(s, body.at[i]->var);
    if (!apart) {
        if (!order_nest(s, step, &body, &out)) return false;
    }
    for (int i = 0; apart && i < body.n; i++) {
        block one = { 0 };
        block_push(s->k, &one, body.at[i]);
        if (!order_nest(s, step, &one, &out)) return false;
    }
    s->k->body = out;
    join_pairs(s);
    return true;
}

/* Read by order, which needs it to be there. */
bool step_keep(scheduler *s, const sched_step *step)
{
    return (step->n == 2 && find_buf(s->k, step->word[0]) >= 0 && find_buf(s->k, step->word[1]) >= 0) || refuse(s, "expected (accumulator, buffer)");
}
