/* loops: split, tiles, fuse; marks; constant extents
 *
 * split(i, k) writes  for i.o in 0..ceil(N/k) { for i.i in 0..min(k, N - k*i.o) { … i = k*i.o + i.i … } }. Where the inner
 * extent has to be a constant (vectorize, unroll), the outer loop is cut at the point where the min changes sides
 * (make_constant), so a main loop of full tiles and a tail come out.
 */
#include "passes/schedule/schedule.h"
#include <stdlib.h>

static bool to_number(scheduler *s, const char *word, int64_t *n)
{
    char *end;
    *n = strtoll(word, &end, 10);
    return (*word && !*end && *n > 0) || refuse(s, "expected a positive number, found %s", word);
}

typedef struct { int outer, inner; int64_t k; bool even; } split_arg;

static int part_var(scheduler *s, const char *name, const char *part, loop_role role)
{
    return kernel_var(s->k, arena_printf(s->k->arena, "%s.%s", name, part), role);
}

/* Replaces loop x by outer { inner { body } } with x's variable = `position`. */
static void nest_split(scheduler *s, block *b, int i, const split_arg *a, const expr *n_tiles, const expr *extent, const expr *position)
{
    kernel_code *k = s->k;
    stmt *x = b->at[i];
    stmt *outer = s_for(k, a->outer, x_int(k, 0), n_tiles, MARK_serial), *inner = s_for(k, a->inner, x_int(k, 0), extent, MARK_serial);
    block_subst(k, &x->body, x->var, x_add(k, x->lo, position));
    inner->body = x->body;
    block_push(k, &outer->body, inner);
    b->at[i] = outer;
}

static bool split_loop(scheduler *s, block *b, int i, void *arg)
{
    split_arg *a = arg;
    kernel_code *k = s->k;
    stmt *x = b->at[i];
    const expr *n = x_sub(k, x->hi, x->lo), *size = x_int(k, a->k), *o = x_var(k, a->outer), *r = x_var(k, a->inner);
    int64_t extent;
    if (a->even) {
        if (!x_is_int(n, &extent)) return refuse(s, "tiles need a constant extent");
        int64_t tiles = (extent + a->k - 1) / a->k, big = tiles ? (extent + tiles - 1) / tiles : 1, n_big = extent - (big - 1) * tiles;
        /* tile t is big for t < n_big, else big - 1 */
        const expr *least = x_int(k, big - 1), *most = x_int(k, big);
        const expr *here = x_op3(k, SCALAR_select, x_op2(k, SCALAR_lt, o, x_int(k, n_big)), most, least);
        const expr *position = x_add(k, x_add(k, x_mul(k, least, o), x_op2(k, SCALAR_min, o, x_int(k, n_big))), r);
        bool equal = n_big == tiles;
        nest_split(s, b, i, a, x_int(k, tiles), equal ? most : here,
                   equal ? x_add(k, x_mul(k, most, o), r) : position);
        return true;
    }
    const expr *tiles = x_floordiv(k, x_add(k, n, x_int(k, a->k - 1)), size);
    bool divides = x_is_int(n, &extent) && extent % a->k == 0;
    const expr *here = divides ? size : x_op2(k, SCALAR_min, size, x_sub(k, n, x_mul(k, size, o)));
    nest_split(s, b, i, a, tiles, here, x_add(k, x_mul(k, size, o), r));
    return true;
}

static bool split_named(scheduler *s, const char *name, int64_t k, bool even)
{
    int var = find_var(s, name);
    if (var < 0) return false;
    loop_role role = s->k->vars.at[var].role;
    split_arg a = { part_var(s, name, "o", role), part_var(s, name, "i", role), k, even };
    return each_loop(s, &s->k->body, var, split_loop, &a);
}

bool step_split(scheduler *s, const sched_step *step)
{
    int64_t k;
    if (step->n != 2) return refuse(s, "expected (loop, number)");
    return to_number(s, step->word[1], &k) && split_named(s, step->word[0], k, false);
}

bool step_tiles(scheduler *s, const sched_step *step)
{
    int64_t k;
    if (step->n != 3 || strcmp(step->word[2], "even") != 0) return refuse(s, "expected (loop, number even)");
    return to_number(s, step->word[1], &k) && split_named(s, step->word[0], k, true);
}

/* -- fuse ---------------------------------------------------------------------------------------------------------------- */

typedef struct { int inner, both; bool any; } fuse_arg;

static bool fuse_loop(scheduler *s, block *b, int i, void *arg)
{
    fuse_arg *a = arg;
    kernel_code *k = s->k;
    stmt *x = b->at[i];
    int64_t zero;
    if (x->body.n != 1 || x->body.at[0]->kind != STMT_for || x->body.at[0]->var != a->inner)
        return refuse(s, "the second loop is not directly inside the first");
    stmt *y = x->body.at[0];
    if (!x_is_int(x->lo, &zero) || zero || !x_is_int(y->lo, &zero) || zero || x_uses_var(y->hi, x->var))
        return refuse(s, "the loops do not form a rectangle from 0");
    const expr *both = x_var(k, a->both);
    stmt *z = s_for(k, a->both, x_int(k, 0), x_mul(k, x->hi, y->hi), x->mark);
    block_subst(k, &y->body, x->var, x_floordiv(k, both, y->hi));
    block_subst(k, &y->body, y->var, x_mod(k, both, y->hi));
    z->body = y->body;
    b->at[i] = z;
    a->any = true;
    return true;
}

bool step_fuse(scheduler *s, const sched_step *step)
{
    if (step->n != 2) return refuse(s, "expected (outer, inner)");
    int outer = find_var(s, step->word[0]), inner = find_var(s, step->word[1]);
    if (outer < 0 || inner < 0) return false;
    const char *name = arena_printf(s->k->arena, "%s%s", step->word[0], step->word[1]);
    fuse_arg a = { inner, kernel_var(s->k, name, s->k->vars.at[outer].role), false };
    if (!each_loop(s, &s->k->body, outer, fuse_loop, &a)) return false;
    if (!a.any) return refuse(s, "there is no loop %s any more", step->word[0]);
    flatten_params(s->k, s->scratch);
    return true;
}

/* -- Constant extents ------------------------------------------------------------------------------------------------------- */

/* Does e use a variable of a loop in b? */
static bool uses_loops_of(const block *b, const expr *e)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for && x_uses_var(e, x->var)) return true;
        if (uses_loops_of(&x->body, e) || uses_loops_of(&x->other, e)) return true;
    }
    return false;
}

/* What an extent depends on var through: the innermost min(constant, something that falls with var), or a choice by
 * var < constant, that no loop of b moves. */
static bool changes_with(const expr *e, int var)
{
    if (e->kind != EXPR_op || !x_uses_var(e, var)) return false;
    if (e->fn == SCALAR_min) return x_is_int(e->args[0], NULL) || x_is_int(e->args[1], NULL);
    const expr *c = e->args[0];
    return e->fn == SCALAR_select && c->kind == EXPR_op && c->fn == SCALAR_lt && c->args[0]->kind == EXPR_var && c->args[0]->id == var;
}

static const expr *find_change(const block *b, const expr *e, int var)
{
    for (int i = 0; i < e->n_args; i++) {
        const expr *m = find_change(b, e->args[i], var);
        if (m) return m;
    }
    return changes_with(e, var) && !uses_loops_of(b, e) ? e : NULL;
}

typedef struct { const expr *from, *to; } exchange;

static const expr *exchange_one(kernel_code *k, const expr *e, void *arg)
{
    (void)k;
    const exchange *x = arg;
    return x_same(e, x->from) ? x->to : NULL;
}

/* A loop of `inner` in the body whose extent changes with var: what it changes through. */
static const expr *dependent_extent(const block *whole, const block *b, int inner, int var)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *y = b->at[i];
        const expr *m = y->kind == STMT_for && y->var == inner ? find_change(whole, y->hi, var) : NULL;
        if (!m) m = dependent_extent(whole, &y->body, inner, var);
        if (!m) m = dependent_extent(whole, &y->other, inner, var);
        if (m) return m;
    }
    return NULL;
}

/* Where the loop has to be cut: var < cut takes the first form, var >= cut the second. */
typedef struct { const expr *cut, *first, *second; } cut_at;

/* min(c, E - q*var) with q > 0: c as long as var <= (E - c) floordiv q. */
static bool cut_of_min(scheduler *s, const stmt *x, const expr *m, cut_at *out)
{
    kernel_code *k = s->k;
    int64_t c, q = 0;
    const expr *constant = x_is_int(m->args[0], &c) ? m->args[0] : m->args[1], *e = constant == m->args[0] ? m->args[1] : m->args[0];
    x_is_int(constant, &c);
    affine f;
    if (!x_affine(k, e, &f)) return refuse(s, "a tile's extent is not affine");
    for (int j = 0; j < f.n; j++)
        if (f.var[j] == x->var && !dim_is_const(f.coef[j], &q)) return refuse(s, "a tile's extent is not affine");
    if (q >= 0) return refuse(s, "a tile's extent does not shrink with its number");
    const expr *at0 = x_subst_var(k, e, x->var, x_int(k, 0));
    out->cut = x_add(k, x_floordiv(k, x_sub(k, at0, constant), x_int(k, -q)), x_int(k, 1));
    out->first = constant;
    out->second = e;
    return true;
}

static bool cut_loop(scheduler *s, block *b, int i, const expr *m)
{
    kernel_code *k = s->k;
    stmt *x = b->at[i];
    cut_at at = { 0 };
    if (m->fn == SCALAR_select) at = (cut_at){ m->args[0]->args[1], m->args[1], m->args[2] };
    else if (!cut_of_min(s, x, m, &at)) return false;
    const expr *cut = x_op2(k, SCALAR_min, x_op2(k, SCALAR_max, at.cut, x->lo), x->hi);
    stmt *tail = s_clone(k, x, NEW_ARRAY(s->scratch, const expr *, k->vars.n + 1));
    tail->lo = cut;
    x->hi = cut;
    exchange first = { m, at.first }, second = { m, at.second };
    block_rewrite(k, &x->body, exchange_one, &first);
    block_rewrite(k, &tail->body, exchange_one, &second);
    block_insert(k, b, i + 1, tail);
    return true;
}

static bool make_constant(scheduler *s, block *b, int inner, bool *changed)
{
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (x->kind == STMT_for) {
            const expr *m = dependent_extent(&x->body, &x->body, inner, x->var);
            if (m) {
                *changed = true;
                return cut_loop(s, b, i, m);
            }
        }
        if (!make_constant(s, &x->body, inner, changed) || *changed) return !s->error || *changed;
        if (!make_constant(s, &x->other, inner, changed) || *changed) return !s->error || *changed;
    }
    return true;
}

/* Cuts outer loops until no extent of `inner` depends on them. */
bool make_extents_constant(scheduler *s, int inner)
{
    for (int guard = 0; guard < 64; guard++) {
        bool changed = false;
        if (!make_constant(s, &s->k->body, inner, &changed)) return false;
        if (!changed) return true;
        simplify_kernel(s);
    }
    return refuse(s, "too many tile shapes");
}

/* -- Marks ---------------------------------------------------------------------------------------------------------------------- */

typedef struct { loop_mark mark; int64_t most; int n_loops, n_marked; } mark_arg;

static bool is_independent(loop_role role)
{
    return role != LOOP_sum && role != LOOP_sum_window;
}

static bool mark_loop(scheduler *s, block *b, int i, void *arg)
{
    mark_arg *a = arg;
    stmt *x = b->at[i];
    int64_t extent;
    a->n_loops++;
    if (a->mark != MARK_parallel) {
        bool fits = x_is_int(x_sub(s->k, x->hi, x->lo), &extent) && extent <= a->most;
        if (a->mark == MARK_vector) fits = fits && extent >= 2 && (extent & (extent - 1)) == 0;
        if (!fits) return true;                       /* tails stay serial */
    }
    x->mark = a->mark;
    a->n_marked++;
    return true;
}

static bool mark_named(scheduler *s, const sched_step *step, loop_mark mark, int64_t most, bool needs_independent)
{
    for (int w = 0; w < step->n; w++) {
        int var = find_var(s, step->word[w]);
        if (var < 0) return false;
        if (needs_independent && !is_independent(s->k->vars.at[var].role)) return refuse(s, "%s is summed", step->word[w]);
        if (mark != MARK_parallel && !make_extents_constant(s, var)) return false;
        mark_arg a = { mark, most, 0, 0 };
        if (!each_loop(s, &s->k->body, var, mark_loop, &a)) return false;
        if (a.n_loops && !a.n_marked) return refuse(s, "no loop %s has a constant extent of at most %lld that fits", step->word[w], (long long)most);
    }
    return true;
}

bool step_vectorize(scheduler *s, const sched_step *step) { return mark_named(s, step, MARK_vector, 64, true); }
bool step_unroll(scheduler *s, const sched_step *step) { return mark_named(s, step, MARK_unroll, 64, false); }

/* A tail: the extents of tiles inside depend on its own variable. It has one iteration at most, and stays serial. */
static bool is_tail(const scheduler *s, const block *b, int var)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for && is_independent(s->k->vars.at[x->var].role) && x_uses_var(x->hi, var)) return true;
        if (is_tail(s, &x->body, var) || is_tail(s, &x->other, var)) return true;
    }
    return false;
}

/* Marks the chain of these loops from the outside of each top-level nest; loops further in stay serial. */
bool step_parallel(scheduler *s, const sched_step *step)
{
    for (int i = 0; i < s->k->body.n; i++) {
        stmt *x = s->k->body.at[i];
        for (int w = 0; w < step->n && x->kind == STMT_for; w++) {
            int var = find_var(s, step->word[w]);
            if (var < 0) return false;
            if (!is_independent(s->k->vars.at[var].role)) return refuse(s, "%s is summed", step->word[w]);
            if (x->var != var) continue;
            if (is_tail(s, &x->body, var)) break;
            x->mark = MARK_parallel;
            if (x->body.n != 1) break;
            x = x->body.at[0];
        }
    }
    return true;
}

/* Registers are found by the backends from constant indices; here only the name is checked. */
bool step_reg(scheduler *s, const sched_step *step)
{
    for (int w = 0; w < step->n; w++) {
        bool found = false;
        for (int64_t i = 0; i < s->k->bufs.n; i++)
            found |= s->k->bufs.at[i].space == SPACE_reg && strcmp(s->k->bufs.at[i].name, step->word[w]) == 0;
        if (!found) return refuse(s, "there is no register %s", step->word[w]);
    }
    return true;
}
