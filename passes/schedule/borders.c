/* borders: clip, unswitch and edges: tests at the border of a window leave the inner loops
 *
 * clip(r)       if 0 <= r + y - 1 < H { … }  inside  for r in 0..3   =>   for r in max(0, 1 - y)..min(3, H + 1 - y) { … }
 *               for every test that is affine in r with coefficient 1 or -1 and needs no variable from inside the loop.
 * unswitch(c)   if 0 <= x.i + s - 1 { … }  inside  for c { for x.i in 0..6 { … } }   =>
 *               if 0 <= s - 1 { for c { for x.i { … } } } else { for c { for x.i { if 0 <= x.i + s - 1 { … } } } }
 *               for every test that c does not move: where all of a tile is inside, its loop runs without tests.
 * edges(x: s)   the first and last tiles of x are taken apart; elsewhere the tests on s are decided by ranges and vanish. In
 *               the edge tiles only the positions at the border keep a test, a branch that is foreseen well. (Unrolling s
 *               there instead made three loops in a row, over which the accumulators were spilled: 52 % of peak, not 95.)
 *
 * Both only move a condition to where it is decided: the same terms are added in the same order.
 */
#include "passes/schedule/schedule.h"

static stmt *copy_of(scheduler *s, const stmt *x)
{
    const expr **keep = NEW_ARRAY(s->scratch, const expr *, s->k->vars.n + 1);
    return s_clone(s->k, x, keep);
}

/* -- clip ------------------------------------------------------------------------------------------------------------- */

typedef struct { const stmt *loop; const expr *lo, *hi; bool any; } clip_bounds;

static bool uses_inner(const block *b, const expr *e)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for && x_uses_var(e, x->var)) return true;
        if (x->kind == STMT_let && x_uses_temp(e, x->id)) return true;
        if (uses_inner(&x->body, e) || uses_inner(&x->other, e)) return true;
    }
    return false;
}

/* Tightens the bounds by  a <= b  (or a < b); false if this test does not fit. */
static bool clip_test(scheduler *s, clip_bounds *c, const expr *test)
{
    kernel_code *k = s->k;
    if (test->kind != EXPR_op || (test->fn != SCALAR_le && test->fn != SCALAR_lt) || test->args[0]->type != DTYPE_i64) return false;
    /* test: 0 <= d (after moving everything to one side, and 1 for <) */
    const expr *d = x_sub(k, test->args[1], test->args[0]);
    if (test->fn == SCALAR_lt) d = x_sub(k, d, x_int(k, 1));
    if (x_loads(d, -1) || uses_inner(&c->loop->body, d)) return false;
    affine f;
    int64_t q = 0;
    if (!x_affine(k, d, &f)) return false;
    for (int i = 0; i < f.n; i++)
        if (f.var[i] == c->loop->var && !dim_is_const(f.coef[i], &q)) return false;
    if (q != 1 && q != -1) return false;
    const expr *rest = x_subst_var(k, d, c->loop->var, x_int(k, 0));
    if (q == 1) c->lo = x_op2(k, SCALAR_max, c->lo, x_sub(k, x_int(k, 0), rest));          /* r >= -rest */
    else c->hi = x_op2(k, SCALAR_min, c->hi, x_add(k, rest, x_int(k, 1)));                 /* r <= rest */
    c->any = true;
    return true;
}

/* What remains of a condition: NULL if nothing. */
static const expr *clip_condition(scheduler *s, clip_bounds *c, const expr *cond)
{
    if (cond->kind == EXPR_op && cond->fn == SCALAR_and && cond->type == DTYPE_bool) {
        const expr *a = clip_condition(s, c, cond->args[0]), *b = clip_condition(s, c, cond->args[1]);
        return !a ? b : !b ? a : x_op2(s->k, SCALAR_and, a, b);
    }
    return clip_test(s, c, cond) ? NULL : cond;
}

/* The condition that guards everything below the loop: down through perfectly nested loops. */
static bool clip_below(scheduler *s, clip_bounds *c, block *b)
{
    if (b->n != 1) return false;
    stmt *x = b->at[0];
    if (x->kind == STMT_for) return clip_below(s, c, &x->body);
    if (x->kind != STMT_if || x->other.n) return false;
    const expr *rest = clip_condition(s, c, x->cond);
    if (rest) {
        x->cond = rest;
    } else {
        block inside = x->body;
        *b = inside;
    }
    return true;
}

static bool clip_loop(scheduler *s, block *b, int i, void *arg)
{
    bool *any = arg;
    stmt *x = b->at[i];
    clip_bounds c = { x, x->lo, x->hi, false };
    clip_below(s, &c, &x->body);
    x->lo = c.lo;
    x->hi = c.hi;
    *any |= c.any;
    return true;
}

bool step_clip(scheduler *s, const sched_step *step)
{
    for (int w = 0; w < step->n; w++) {
        int var = find_var(s, step->word[w]);
        bool any = false;
        if (var < 0) return false;
        if (!each_loop(s, &s->k->body, var, clip_loop, &any)) return false;
        if (!any) return refuse(s, "no border test on %s can become a bound", step->word[w]);
    }
    return true;
}

/* -- unswitch ----------------------------------------------------------------------------------------------------------- */

typedef struct { const stmt *loop[16]; int n; const expr *inside; } tile_test;

/* The test at both ends of every loop of the tile that moves it: true there, true between. NULL: does not fit. */
static const expr *test_at_ends(scheduler *s, const tile_test *t, const expr *test, int from)
{
    kernel_code *k = s->k;
    for (int i = from; i < t->n; i++) {
        const stmt *x = t->loop[i];
        if (!x_uses_var(test, x->var)) continue;
        const expr *a = test_at_ends(s, t, x_subst_var(k, test, x->var, x->lo), i + 1);
        const expr *b = test_at_ends(s, t, x_subst_var(k, test, x->var, x_sub(k, x->hi, x_int(k, 1))), i + 1);
        return a && b ? x_op2(k, SCALAR_and, a, b) : NULL;
    }
    return test;
}

static bool is_affine_test(scheduler *s, const expr *test)
{
    affine f;
    if (test->kind != EXPR_op || (test->fn != SCALAR_le && test->fn != SCALAR_lt) || test->args[0]->type != DTYPE_i64) return false;
    return !x_loads(test, -1) && x_affine(s->k, test->args[0], &f) && x_affine(s->k, test->args[1], &f);
}

static bool uses_any_temp(const expr *e)
{
    if (e->kind == EXPR_temp) return true;
    for (int i = 0; i < e->n_args; i++)
        if (uses_any_temp(e->args[i])) return true;
    return false;
}

/* What of the condition stays when t->inside holds; NULL: nothing. */
static const expr *switch_condition(scheduler *s, tile_test *t, int var, const expr *cond)
{
    kernel_code *k = s->k;
    if (cond->kind == EXPR_op && cond->fn == SCALAR_and && cond->type == DTYPE_bool) {
        const expr *a = switch_condition(s, t, var, cond->args[0]), *b = switch_condition(s, t, var, cond->args[1]);
        return !a ? b : !b ? a : x_op2(k, SCALAR_and, a, b);
    }
    if (x_uses_var(cond, var) || uses_any_temp(cond) || !is_affine_test(s, cond)) return cond;
    const expr *ends = test_at_ends(s, t, cond, 0);
    if (!ends) return cond;
    t->inside = t->inside ? x_op2(k, SCALAR_and, t->inside, ends) : ends;
    return NULL;
}

static bool unswitch_loop(scheduler *s, block *b, int i, void *arg)
{
    bool *any = arg;
    kernel_code *k = s->k;
    stmt *whole = b->at[i], *free = copy_of(s, whole);
    tile_test t = { 0 };
    block *at = &free->body;
    while (at->n == 1 && at->at[0]->kind == STMT_for && t.n < 16) {
        t.loop[t.n++] = at->at[0];
        at = &at->at[0]->body;
    }
    if (at->n != 1 || at->at[0]->kind != STMT_if || at->at[0]->other.n) return true;
    stmt *test = at->at[0];
    const expr *rest = switch_condition(s, &t, whole->var, test->cond);
    if (!t.inside) return true;
    if (rest) {
        test->cond = rest;
    } else {
        block body = test->body;
        *at = body;
    }
    stmt *choice = s_if(k, t.inside);
    block_push(k, &choice->body, free);
    block_push(k, &choice->other, whole);
    b->at[i] = choice;
    *any = true;
    return true;
}

bool step_unswitch(scheduler *s, const sched_step *step)
{
    for (int w = 0; w < step->n; w++) {
        int var = find_var(s, step->word[w]);
        bool any = false;
        if (var < 0) return false;
        if (!each_loop(s, &s->k->body, var, unswitch_loop, &any)) return false;
        if (!any) return refuse(s, "no border test inside %s stays the same in all of its iterations", step->word[w]);
    }
    return true;
}

/* -- edges --------------------------------------------------------------------------------------------------------------- */

typedef struct { int tap; bool any; } edge_arg;

static bool tests_tap(const block *b, int tap)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_if && x_uses_var(x->cond, tap)) return true;
        if (tests_tap(&x->body, tap) || tests_tap(&x->other, tap)) return true;
    }
    return false;
}

/* Would the tests vanish if the loop ran from lo to hi? Tried on a copy, apart from the nest: the tests that matter
 * depend on loops inside it. */
static bool is_free(scheduler *s, const stmt *x, const expr *lo, const expr *hi, int tap)
{
    stmt *trial = copy_of(s, x);
    block alone = { 0 };
    trial->lo = lo;
    trial->hi = hi;
    block_push(s->k, &alone, trial);
    simplify_apart(s, &alone);
    return !tests_tap(&alone, tap);
}

/* One tile of the loop, its number put in. */
static void insert_edge(scheduler *s, block *b, int i, const stmt *x, const expr *number)
{
    stmt *tile = copy_of(s, x);
    block_subst(s->k, &tile->body, x->var, number);
    for (int j = 0; j < tile->body.n; j++) block_insert(s->k, b, i + j, tile->body.at[j]);
}

static bool edge_loop(scheduler *s, block *b, int i, void *arg)
{
    edge_arg *a = arg;
    kernel_code *k = s->k;
    stmt *x = b->at[i];
    int64_t lo, hi;
    if (!tests_tap(&x->body, a->tap)) return true;
    if (!x_is_int(x->lo, &lo) || !x_is_int(x->hi, &hi)) return refuse(s, "the number of tiles is open");
    const expr *from = x->lo, *to = x->hi, *after = x_int(k, lo + 1), *before = x_int(k, hi - 1);
    if (is_free(s, x, from, to, a->tap)) return true;
    bool first = true, last = true;
    if (hi - lo >= 2 && is_free(s, x, after, to, a->tap)) last = false;
    else if (hi - lo >= 2 && is_free(s, x, from, before, a->tap)) first = false;
    else if (hi - lo == 1) last = false;
    a->any = true;
    if (last) insert_edge(s, b, i + 1, x, x_int(k, hi - 1));
    if (first) {
        insert_edge(s, b, i, x, x_int(k, lo));
        x->lo = after;
    }
    if (last) x->hi = before;
    return true;
}

/* edges(x: s): x.o is the loop over tiles. */
bool step_edges(scheduler *s, const sched_step *step)
{
    if (step->n != 3 || strcmp(step->word[1], ":") != 0) return refuse(s, "expected (tiled loop: tap)");
    int outer = find_var(s, arena_printf(s->scratch, "%s.o", step->word[0])), tap = find_var(s, step->word[2]);
    int inner = find_var(s, arena_printf(s->scratch, "%s.i", step->word[0]));
    if (outer < 0 || inner < 0 || tap < 0) return false;
    if (!make_extents_constant(s, inner)) return false;
    edge_arg a = { tap, false };
    return each_loop(s, &s->k->body, outer, edge_loop, &a);
}
