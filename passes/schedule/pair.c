/* pair: tiles of two shapes in one nest
 *
 *     for O in 0..4, x in 0..7 { … }
 *
 * has no tile of 8 to 12 accumulators in x alone where a block is two vectors: 4 x 2, then 3 x 2. pair(O, x, 4) takes blocks
 * two by two and writes the nest twice,
 *
 *     for O.o in 0..2, O.p in 0..2, x.p in 0..4 { … O = 2*O.o + O.p, x = x.p     … }
 *     for O.o in 0..2, O.q in 0..2, x.q in 0..3 { … O = 2*O.o + O.q, x = 4 + x.q … }
 *
 * so that order can put O.p before the bar and O.q behind it: two tiles of 4 x 2 and one of 3 x 4. pair(O, x, 6, 4) takes them
 * by fours: four tiles of 6 x 2 and one of 1 x 8. Loops around both that
 * are the same are one loop again after order.
 *
 * Keeps  every bit: O and x are parallel, the two nests share no element of what they store.
 */
#include "passes/schedule/schedule.h"
#include <stdlib.h>

static stmt *loop_in_chain(const scheduler *s, stmt *x, int var)
{
    while (x->kind == STMT_for && !is_summed(s, x->var)) {
        if (x->var == var) return x;
        if (x->body.n != 1) return NULL;
        x = x->body.at[0];
    }
    return NULL;
}

static int part(scheduler *s, int var, const char *suffix)
{
    const loop_var *v = &s->k->vars.at[var];
    return kernel_var(s->k, arena_printf(s->k->arena, "%s.%s", v->name, suffix), v->role);
}

/* One of the two nests: blocks o = by*o.o + o.SUFFIX, positions x = from + x.SUFFIX. */
static void write_half(scheduler *s, stmt *nest, int o, int x, int64_t by, int64_t from, int64_t to, const char *suffix)
{
    kernel_code *k = s->k;
    stmt *xs = loop_in_chain(s, nest, x);
    int inner_x = part(s, x, suffix), outer = part(s, o, "o"), inner = part(s, o, suffix);
    xs->var = inner_x;
    xs->hi = x_int(k, to - from);
    block_subst(k, &xs->body, x, x_add(k, x_int(k, from), x_var(k, inner_x)));
    stmt *os = loop_in_chain(s, nest, o), *in = s_for(k, inner, x_int(k, 0), x_int(k, by), MARK_serial);
    in->body = os->body;
    os->var = outer;
    os->hi = x_floordiv(k, os->hi, x_int(k, by));
    os->body = (block){ 0 };
    block_push(k, &os->body, in);
    block_subst(k, &in->body, o, x_add(k, x_mul(k, x_int(k, by), x_var(k, outer)), x_var(k, inner)));
}

bool step_pair(scheduler *s, const sched_step *step)
{
    kernel_code *k = s->k;
    int64_t zero, blocks, n, at, by = 2;
    if (step->n != 3 && step->n != 4) return refuse(s, "expected (blocks, positions, number) or (blocks, positions, number, number)");
    int o = find_var(s, step->word[0]), x = find_var(s, step->word[1]);
    if (o < 0 || x < 0) return false;
    if (k->body.n != 1 || s->is_paired) return refuse(s, "the kernel is not one nest");
    stmt *nest = k->body.at[0], *os = loop_in_chain(s, nest, o), *xs = loop_in_chain(s, nest, x);
    if (!os || !xs || os == xs) return refuse(s, "%s and %s are not parallel loops around everything", step->word[0], step->word[1]);
    bool fixed = x_is_int(os->lo, &zero) && zero == 0 && x_is_int(xs->lo, &zero) && zero == 0 && x_is_int(os->hi, &blocks) && x_is_int(xs->hi, &n);
    at = atoll(step->word[2]);
    if (step->n == 4) by = atoll(step->word[3]);
    if (by < 2 || by > 64) return refuse(s, "expected 2 to 64 blocks, found %s", step->word[3]);
    if (!fixed || blocks % by)
        return refuse(s, "%s has no constant extent that %lld divides, or %s no constant one", step->word[0], (long long)by, step->word[1]);
    if (at < 1 || at >= n) return refuse(s, "%s does not cut %s", step->word[2], step->word[1]);
    stmt *second = s_clone(k, nest, NEW_ARRAY(s->scratch, const expr *, k->vars.n + 1));
    write_half(s, nest, o, x, by, 0, at, "p");
    write_half(s, second, o, x, by, at, n, "q");
    block_push(k, &k->body, second);
    s->is_paired = true;
    return true;
}

/* Two nests whose outer loops are the same become one around both their insides. */
static void join(scheduler *s, stmt *a, stmt *b)
{
    while (a->body.n == 1 && b->body.n == 1) {
        stmt *x = a->body.at[0], *y = b->body.at[0];
        if (x->kind != STMT_for || y->kind != STMT_for || x->var != y->var || !x_same(x->lo, y->lo) || !x_same(x->hi, y->hi)) break;
        a = x;
        b = y;
    }
    for (int i = 0; i < b->body.n; i++) block_push(s->k, &a->body, b->body.at[i]);
}

void join_pairs(scheduler *s)
{
    block *b = &s->k->body;
    if (!s->is_paired || b->n != 2 || b->at[0]->kind != STMT_for || b->at[1]->kind != STMT_for) return;
    if (b->at[0]->var != b->at[1]->var || !x_same(b->at[0]->hi, b->at[1]->hi) || !x_same(b->at[0]->lo, b->at[1]->lo)) return;
    join(s, b->at[0], b->at[1]);
    block_remove(b, 1);
    s->is_paired = false;
}
