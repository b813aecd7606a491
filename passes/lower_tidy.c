/* lower_tidy: what a nest computes and nobody reads goes
 *
 * A local buffer that is never read is not kept, a loop without a body is none, and a let that is never read
 * is not made: rows that turn out to be needed once, words of a random block that no element takes. Backends
 * need not look, and C has no warning to give.
 */
#include "passes/lower.h"

typedef struct { const kernel_code *k; bool *buf, *temp; bool changed; } tidying;

static void see(tidying *t, const expr *e)
{
    if (!e) return;
    if (e->kind == EXPR_temp) t->temp[e->id] = true;
    if (e->kind == EXPR_load || e->kind == EXPR_tree) t->buf[e->id] = true;
    for (int i = 0; i < e->n_args; i++) see(t, e->args[i]);
}

static void see_block(tidying *t, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        see(t, s->lo);
        see(t, s->hi);
        see(t, s->cond);
        see(t, s->value);
        for (int j = 0; (s->kind == STMT_store || s->kind == STMT_prefetch) && j < t->k->bufs.at[s->id].rank;
             j++)
            see(t, s->index[j]);
        see_block(t, &s->body);
        see_block(t, &s->other);
    }
}

static bool is_dead(const tidying *t, const stmt *s)
{
    if (s->kind == STMT_let) return !t->temp[s->id];
    bool is_kept = s->kind == STMT_store || s->kind == STMT_alloc || s->kind == STMT_prefetch;
    return is_kept && s->id >= t->k->n_params && !t->buf[s->id];
}

static void sweep(tidying *t, block *b)
{
    int n = 0;
    for (int i = 0; i < b->n; i++) {
        stmt *s = b->at[i];
        if (is_dead(t, s)) { t->changed = true; continue; }
        sweep(t, &s->body);
        sweep(t, &s->other);
        bool is_empty = (s->kind == STMT_for || s->kind == STMT_if) && !s->body.n && !s->other.n;
        if (is_empty) { t->changed = true; continue; }
        b->at[n++] = s;
    }
    b->n = n;
}

void tidy_kernel(kernel_code *k, arena *scratch)
{
    tidying t = { .k = k, .changed = true };
    while (t.changed) {
        t.changed = false;
        t.buf = NEW_ARRAY(scratch, bool, k->bufs.n + 1);
        t.temp = NEW_ARRAY(scratch, bool, k->temps.n + 1);
        see_block(&t, &k->body);
        sweep(&t, &k->body);
    }
}
