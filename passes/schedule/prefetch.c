/* prefetch: hints for what is needed soon
 *
 * prefetch(b, k 8)      in front of the tile inside the innermost summed loop: what b's access there will read 8 turns of k
 *                       later, one line of the cache at a time
 * prefetch(b, next C)   the same, one turn of C later
 * prefetch(b, next C at y)   at the head of each turn of y: its share of all that b's accesses in y read one turn of C later,
 *                       where that lies together (a chunk of weights; every line is asked for once, not once a tile)
 * prefetch(dst)         where a tile begins: the elements of dst that it stores (or, of an operand, reads) behind its sum
 *
 * Keeps  everything: a hint changes no value and may point outside its buffer.
 */
#include "passes/schedule/schedule.h"
#include <stdlib.h>

enum { LINE = 64, MAX_TILE_LOOPS = 16 };

typedef struct { int buf, var; int64_t by; bool any; } hint;

/* An access, and the loops around it from where the walk began. */
typedef struct { const expr *const *index; bool is_store; const stmt *loop[MAX_TILE_LOOPS]; int n; } found_access;

static bool in_expr(const expr *e, int buf, found_access *f)
{
    if (e->kind == EXPR_load && e->id == buf) { f->index = e->args; return true; }
    for (int i = 0; i < e->n_args; i++)
        if (in_expr(e->args[i], buf, f)) return true;
    return false;
}

/* The first access to buf in the block; not inside summed loops. */
static bool find_access(scheduler *s, const block *b, int buf, found_access *f)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for) {
            if (is_summed(s, x->var) || f->n == MAX_TILE_LOOPS) continue;
            f->loop[f->n++] = x;
            if (find_access(s, &x->body, buf, f)) return true;
            f->n--;
            continue;
        }
        if (x->kind == STMT_store && x->id == buf) { f->index = x->index; f->is_store = true; return true; }
        if (x->value && in_expr(x->value, buf, f)) return true;
        if (find_access(s, &x->body, buf, f) || find_access(s, &x->other, buf, f)) return true;
    }
    return false;
}

static bool uses_temps(const expr *e)
{
    if (e->kind == EXPR_temp) return true;
    for (int i = 0; i < e->n_args; i++)
        if (uses_temps(e->args[i])) return true;
    return false;
}

/* Does all of this loop lie in one line of the cache? */
static bool within_line(scheduler *s, int buf, const expr *const *index, const stmt *loop)
{
    kernel_code *k = s->k;
    affine f;
    int64_t n, step = 0;
    if (!x_is_int(x_sub(k, loop->hi, loop->lo), &n) || !x_affine(k, x_address(k, buf, index), &f)) return false;
    for (int i = 0; i < f.n; i++)
        if (f.var[i] == loop->var && !dim_is_const(f.coef[i], &step)) return false;
    return step >= 0 && step * n * dtype_bytes(k->bufs.at[buf].dtype) <= LINE;
}

/* for T { prefetch buf[index] } over those loops of the tile that leave a line. */
static stmt *hint_nest(scheduler *s, const hint *h, const found_access *f)
{
    kernel_code *k = s->k;
    int rank = k->bufs.at[h->buf].rank;
    const expr **index = arena_copy(k->arena, f->index, sizeof *index * (size_t)(rank + 1));
    for (int j = 0; j < rank; j++) {
        if (uses_temps(index[j])) return NULL;
        if (h->var >= 0) index[j] = x_subst_var(k, index[j], h->var, x_add(k, x_var(k, h->var), x_int(k, h->by)));
    }
    bool keep[MAX_TILE_LOOPS];
    for (int i = 0; i < f->n; i++) {
        keep[i] = !within_line(s, h->buf, f->index, f->loop[i]);
        for (int j = 0; j < rank && !keep[i]; j++) index[j] = x_subst_var(k, index[j], f->loop[i]->var, f->loop[i]->lo);
    }
    stmt *x = s_prefetch(k, h->buf, index, f->is_store);
    for (int i = f->n - 1; i >= 0; i--) {
        if (!keep[i]) continue;
        stmt *loop = s_for(k, f->loop[i]->var, f->loop[i]->lo, f->loop[i]->hi, f->loop[i]->mark);
        block_push(k, &loop->body, x);
        x = loop;
    }
    return x;
}

/* At the head of innermost summed loops. */
static bool hint_sums(scheduler *s, block *b, hint *h, bool in_sum)
{
    bool deeper = false;
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        bool summed = x->kind == STMT_for && is_summed(s, x->var);
        deeper |= summed;
        if (!hint_sums(s, &x->body, h, summed)) return false;
        if (!hint_sums(s, &x->other, h, false)) return false;
        if (x->kind == STMT_if) deeper = true;                    /* its branches hold the loops */
    }
    found_access f = { 0 };
    if (!in_sum || deeper || !find_access(s, b, h->buf, &f)) return true;
    stmt *x = hint_nest(s, h, &f);
    if (!x) return refuse(s, "an index of %s is a value", s->k->bufs.at[h->buf].name);
    block_insert(s->k, b, 0, x);
    return h->any = true;
}

/* Behind the accumulators of a tile. */
static bool hint_tiles(scheduler *s, block *b, hint *h)
{
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (!hint_tiles(s, &x->body, h) || !hint_tiles(s, &x->other, h)) return false;
        if (x->kind != STMT_alloc || s->k->bufs.at[x->id].space != SPACE_reg || s->k->bufs.at[x->id].rank == 0) continue;
        block rest = { .at = b->at + i + 1, .n = b->n - i - 1 };
        found_access f = { 0 };
        if (!find_access(s, &rest, h->buf, &f)) continue;
        stmt *hints = hint_nest(s, h, &f);
        if (!hints) return refuse(s, "an index of %s is a value", s->k->bufs.at[h->buf].name);
        block_insert(s->k, b, i + 1, hints);
        h->any = true;
    }
    return true;
}

/* -- Shares ------------------------------------------------------------------------------------------------------------------ */

/* The first access to buf in the block, summed loops included, and the loops around it. */
static bool find_any_access(scheduler *s, const block *b, int buf, found_access *f)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->value && in_expr(x->value, buf, f)) return true;
        bool loop = x->kind == STMT_for && f->n < MAX_TILE_LOOPS;
        if (loop) f->loop[f->n++] = x;
        if (find_any_access(s, &x->body, buf, f) || find_any_access(s, &x->other, buf, f)) return true;
        if (loop) f->n--;
    }
    return false;
}

/* Bytes that the loops around the access run through, if they lie together; 0: they do not, or bounds are open. */
static int64_t bytes_together(scheduler *s, const hint *h, const found_access *f)
{
    affine a;
    int64_t last = 0, count = 1;
    if (!x_affine(s->k, x_address(s->k, h->buf, f->index), &a)) return 0;
    for (int i = 0; i < f->n; i++) {
        int64_t n, lo, step = 0;
        for (int j = 0; j < a.n; j++)
            if (a.var[j] == f->loop[i]->var && !dim_is_const(a.coef[j], &step)) return 0;
        if (step == 0) continue;
        if (step < 0 || !x_is_int(f->loop[i]->lo, &lo) || lo || !x_is_int(f->loop[i]->hi, &n) || !mul_ok(count, n, &count)) return 0;
        last += step * (n - 1);
    }
    return last + 1 == count ? count * dtype_bytes(s->k->bufs.at[h->buf].dtype) : 0;
}

static bool hint_share(scheduler *s, block *b, int i, void *arg)
{
    hint *h = arg;
    stmt *x = b->at[i];
    kernel_code *k = s->k;
    int64_t turns, lo, size = dtype_bytes(k->bufs.at[h->buf].dtype), total;
    found_access f = { 0 };
    if (!x_is_int(x->lo, &lo) || lo || !x_is_int(x->hi, &turns) || !find_any_access(s, &x->body, h->buf, &f)) return true;
    if (!(total = bytes_together(s, h, &f)) || total < turns * LINE) return true;
    int64_t lines = (total + LINE - 1) / LINE, share = (lines + turns - 1) / turns;
    int rank = k->bufs.at[h->buf].rank, line = kernel_var(k, arena_printf(k->arena, "%s.line", k->bufs.at[h->buf].name), LOOP_plain);
    const expr **index = arena_copy(k->arena, f.index, sizeof *index * (size_t)(rank + 1));
    for (int j = 0; j < rank; j++) {
        if (uses_temps(index[j])) return refuse(s, "an index of %s is a value", k->bufs.at[h->buf].name);
        for (int l = 0; l < f.n; l++) index[j] = x_subst_var(k, index[j], f.loop[l]->var, x_int(k, 0));
        index[j] = x_subst_var(k, index[j], h->var, x_add(k, x_var(k, h->var), x_int(k, 1)));
    }
    const expr *at = x_add(k, x_mul(k, x_var(k, x->var), x_int(k, share)), x_var(k, line));
    index[rank - 1] = x_add(k, index[rank - 1], x_mul(k, at, x_int(k, LINE / size)));
    stmt *loop = s_for(k, line, x_int(k, 0), x_int(k, share), MARK_serial);
    block_push(k, &loop->body, s_prefetch(k, h->buf, index, false));
    block_insert(k, &x->body, 0, loop);
    return h->any = true;
}

bool step_prefetch(scheduler *s, const sched_step *step)
{
    hint h = { .buf = -1, .var = -1, .by = 1 };
    bool shares = step->n == 5 && strcmp(step->word[1], "next") == 0 && strcmp(step->word[3], "at") == 0;
    if (step->n != 1 && step->n != 3 && !shares)
        return refuse(s, "expected (buffer), (buffer, next loop), (buffer, next loop at loop) or (buffer, loop number)");
    for (int i = 0; i < s->k->n_params; i++)
        if (strcmp(s->k->bufs.at[i].name, step->word[0]) == 0) h.buf = i;
    if (h.buf < 0) return refuse(s, "there is no operand %s", step->word[0]);
    if (shares) {
        int at = find_var(s, step->word[4]);
        h.var = find_var(s, step->word[2]);
        if (at < 0 || h.var < 0 || !each_loop(s, &s->k->body, at, hint_share, &h)) return false;
        return h.any || refuse(s, "what %s reads of %s does not lie together, or fills no line a turn", step->word[4], step->word[0]);
    }
    if (step->n == 3) {
        bool next = strcmp(step->word[1], "next") == 0;
        h.var = find_var(s, step->word[next ? 2 : 1]);
        if (h.var < 0) return false;
        if (!next) h.by = atoll(step->word[2]);
        if (h.by < 1 || h.by > 1 << 20) return refuse(s, "expected a positive number, found %s", step->word[2]);
    }
    bool ok = h.var >= 0 ? hint_sums(s, &s->k->body, &h, false) : hint_tiles(s, &s->k->body, &h);
    return ok && (h.any || refuse(s, "there is no place for it: %s is not accessed in a tile", step->word[0]));
}
