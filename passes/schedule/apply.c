/* apply: reads a schedule's text and runs its steps
 *
 * The nest is cloned first, so that a refused schedule leaves the kernel as it was.
 */
#include "passes/schedule/schedule.h"
#include <ctype.h>
#include <stdio.h>

typedef struct { const char *name; bool (*run)(scheduler *, const sched_step *); const char *doc; } step_row;
static const step_row rows[] = {
#define STEP(name, doc) { #name, step_##name, doc },
#include "passes/schedule/schedule.def"
#undef STEP
};

bool refuse(scheduler *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    s->error = arena_vprintf(s->scratch, fmt, ap);
    va_end(ap);
    return false;
}

int find_var(const scheduler *s, const char *name)
{
    for (int64_t i = 0; i < s->k->vars.n; i++)
        if (strcmp(s->k->vars.at[i].name, name) == 0) return (int)i;
    refuse((scheduler *)s, "there is no loop %s", name);
    return -1;
}

/* -- Text ---------------------------------------------------------------------------------------------------------------- */

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

/* name(word word, word | word: word) … */
static bool parse_steps(scheduler *s, const char *source)
{
    vec(sched_step) steps = { 0 };
    const char *p = source;
    for (;;) {
        while (isspace((unsigned char)*p)) p++;
        if (!*p) break;
        const char *start = p;
        while (is_word(*p)) p++;
        if (p == start || *p != '(') return refuse(s, "expected a step as name(…) at \"%.20s\"", start);
        sched_step step = { .name = arena_strndup(s->scratch, start, (size_t)(p - start)) };
        p++;
        while (*p && *p != ')') {
            if (isspace((unsigned char)*p) || *p == ',') { p++; continue; }
            start = p;
            if (*p == '|' || *p == ':') p++;
            else while (is_word(*p)) p++;
            if (p == start) return refuse(s, "step %s: unexpected \"%c\"", step.name, *p);
            if (step.n == MAX_STEP_ARGS) return refuse(s, "step %s: more than %d words", step.name, MAX_STEP_ARGS);
            step.word[step.n++] = arena_strndup(s->scratch, start, (size_t)(p - start));
        }
        if (*p++ != ')') return refuse(s, "step %s is not closed", step.name);
        vec_push(s->scratch, &steps, step);
    }
    s->steps = steps.at;
    s->n_steps = (int)steps.n;
    return true;
}

/* An accumulator that an open tail indexes by a run-time variable cannot be a register there: it goes to the stack. */
static bool is_constant_index(const scheduler *s, const bool *is_fixed, const expr *e)
{
    if (e->kind == EXPR_var) return is_fixed[e->id];
    for (int i = 0; i < e->n_args; i++)
        if (!is_constant_index(s, is_fixed, e->args[i])) return false;
    return true;
}

static void demote_index(scheduler *s, const bool *is_fixed, int buf, const expr *const *index)
{
    buffer *b = &s->k->bufs.at[buf];
    for (int i = 0; b->space == SPACE_reg && i < b->rank; i++)
        if (!is_constant_index(s, is_fixed, index[i])) b->space = SPACE_stack;
}

static void demote_expr(scheduler *s, const bool *is_fixed, const expr *e)
{
    if (e->kind == EXPR_load) demote_index(s, is_fixed, e->id, e->args);
    for (int i = 0; i < e->n_args; i++) demote_expr(s, is_fixed, e->args[i]);
}

static void demote_block(scheduler *s, bool *is_fixed, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_store) demote_index(s, is_fixed, x->id, x->index);
        if (x->value) demote_expr(s, is_fixed, x->value);
        if (x->cond) demote_expr(s, is_fixed, x->cond);
        if (x->kind == STMT_for) is_fixed[x->var] = x->mark == MARK_vector || x->mark == MARK_unroll;
        demote_block(s, is_fixed, &x->body);
        demote_block(s, is_fixed, &x->other);
    }
}

static void demote_registers(scheduler *s)
{
    demote_block(s, NEW_ARRAY(s->scratch, bool, s->k->vars.n + 1), &s->k->body);
}

bool schedule_apply(kernel_code **k, const char *steps, arena *scratch, const char **why)
{
    scheduler s = { .k = kernel_clone(*k), .scratch = scratch };
    bool ok = parse_steps(&s, steps);
    for (int i = 0; ok && i < s.n_steps; i++) {
        const sched_step *step = &s.steps[i];
        size_t r = 0;
        while (r < sizeof rows / sizeof *rows && strcmp(rows[r].name, step->name) != 0) r++;
        if (r == sizeof rows / sizeof *rows) { ok = refuse(&s, "there is no step %s", step->name); break; }
        ok = rows[r].run(&s, step);
        if (!ok) { s.error = arena_printf(scratch, "%s: %s", step->name, s.error); break; }
        simplify_kernel(&s);
    }
    if (!ok) {
        *why = s.error;
        return false;
    }
    demote_registers(&s);
    s.k->schedule = arena_strdup(s.k->arena, steps);
    *k = s.k;
    return true;
}

/* -- Walks ------------------------------------------------------------------------------------------------------------------- */

bool each_loop(scheduler *s, block *b, int var, loop_fn fn, void *arg)
{
    for (int i = b->n - 1; i >= 0; i--) {
        stmt *x = b->at[i];
        if (!each_loop(s, &x->body, var, fn, arg) || !each_loop(s, &x->other, var, fn, arg)) return false;
        if (x->kind == STMT_for && x->var == var && !fn(s, b, i, arg)) return false;
    }
    return true;
}

void block_rewrite(kernel_code *k, block *b, x_rewriter fn, void *arg)
{
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (x->lo) x->lo = x_rewrite(k, x->lo, fn, arg);
        if (x->hi) x->hi = x_rewrite(k, x->hi, fn, arg);
        if (x->cond) x->cond = x_rewrite(k, x->cond, fn, arg);
        if (x->value) x->value = x_rewrite(k, x->value, fn, arg);
        if (x->index) {
            int rank = k->bufs.at[x->id].rank;
            const expr **index = NEW_ARRAY(k->arena, const expr *, rank + 1);
            for (int j = 0; j < rank; j++) index[j] = x_rewrite(k, x->index[j], fn, arg);
            x->index = index;
        }
        block_rewrite(k, &x->body, fn, arg);
        block_rewrite(k, &x->other, fn, arg);
    }
}

typedef struct { int var; const expr *to; } substitution;

static const expr *subst_one(kernel_code *k, const expr *e, void *arg)
{
    (void)k;
    const substitution *u = arg;
    return e->kind == EXPR_var && e->id == u->var ? u->to : NULL;
}

void block_subst(kernel_code *k, block *b, int var, const expr *to)
{
    substitution u = { var, to };
    block_rewrite(k, b, subst_one, &u);
}

/* -- Simplification -------------------------------------------------------------------------------------------------------------- */

static range *fresh_ranges(scheduler *s)
{
    range *r = NEW_ARRAY(s->scratch, range, s->k->vars.n + 1);
    for (int64_t i = 0; i < s->k->vars.n; i++) r[i] = (range){ -DIM_LIMIT, DIM_LIMIT };
    return r;
}

static const expr *simpler(scheduler *s, range *r, const expr *e)
{
    scope sc = { (int)s->k->vars.n, r };
    return x_simplify(s->k, &sc, e);
}

static bool is_true(const expr *e) { return e->kind == EXPR_const && e->type == DTYPE_bool && e->value.bits; }
static bool is_false(const expr *e) { return e->kind == EXPR_const && e->type == DTYPE_bool && !e->value.bits; }

/* Replaces b->at[i] by the statements of `by`. */
static void splice(kernel_code *k, block *b, int i, const block *by)
{
    block_remove(b, i);
    for (int j = 0; j < by->n; j++) block_insert(k, b, i + j, by->at[j]);
}

static void simplify_block(scheduler *s, range *r, block *b)
{
    kernel_code *k = s->k;
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        if (x->cond) x->cond = simpler(s, r, x->cond);
        if (x->value) x->value = simpler(s, r, x->value);
        if (x->index) {
            int rank = k->bufs.at[x->id].rank;
            const expr **index = NEW_ARRAY(k->arena, const expr *, rank + 1);
            for (int j = 0; j < rank; j++) index[j] = simpler(s, r, x->index[j]);
            x->index = index;
        }
        if (x->kind == STMT_for) {
            x->lo = simpler(s, r, x->lo);
            x->hi = simpler(s, r, x->hi);
            int64_t lo, hi;
            if (x_is_int(x->lo, &lo) && x_is_int(x->hi, &hi) && hi <= lo + 1) {      /* no iteration, or one */
                block once = { 0 };
                if (hi > lo) {
                    block_subst(k, &x->body, x->var, x->lo);
                    once = x->body;
                }
                splice(k, b, i--, &once);
                continue;
            }
            range saved = r[x->var];
            scope sc = { (int)k->vars.n, r };
            r[x->var] = x_var_range(k, &sc, x);
            simplify_block(s, r, &x->body);
            r[x->var] = saved;
            if (x->body.n == 0) block_remove(b, i--);
        } else if (x->kind == STMT_if) {
            if (is_true(x->cond) || is_false(x->cond)) {
                block taken = is_true(x->cond) ? x->body : x->other;
                splice(k, b, i--, &taken);
                continue;
            }
            simplify_block(s, r, &x->body);
            simplify_block(s, r, &x->other);
        }
    }
}

void simplify_apart(scheduler *s, block *b) { simplify_block(s, fresh_ranges(s), b); }
void simplify_kernel(scheduler *s) { simplify_block(s, fresh_ranges(s), &s->k->body); }

/* -- The extent of a loop, by what surrounds it --------------------------------------------------------------------------------------- */

static bool find_range(scheduler *s, range *r, const block *b, const stmt *loop, range *out)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        scope sc = { (int)s->k->vars.n, r };
        if (x == loop) {
            *out = x_range(s->k, &sc, x_sub(s->k, x->hi, x->lo));
            return true;
        }
        range saved = { 0, 0 };
        if (x->kind == STMT_for) {
            saved = r[x->var];
            r[x->var] = x_var_range(s->k, &sc, x);
        }
        bool found = find_range(s, r, &x->body, loop, out) || find_range(s, r, &x->other, loop, out);
        if (x->kind == STMT_for) r[x->var] = saved;
        if (found) return true;
    }
    return false;
}

range loop_range(scheduler *s, const stmt *loop)
{
    range out = { 0, DIM_LIMIT };
    find_range(s, fresh_ranges(s), &s->k->body, loop, &out);
    return out;
}

const expr *x_subst_var(kernel_code *k, const expr *e, int var, const expr *to)
{
    substitution u = { var, to };
    return x_rewrite(k, e, subst_one, &u);
}

bool x_has_division(const expr *e)
{
    if (e->kind == EXPR_floordiv || e->kind == EXPR_mod) return true;
    for (int i = 0; i < e->n_args; i++)
        if (x_has_division(e->args[i])) return true;
    return false;
}

bool x_test_links(const expr *cond, int a, int b)
{
    if (cond->kind == EXPR_op && cond->fn == SCALAR_and) return x_test_links(cond->args[0], a, b) || x_test_links(cond->args[1], a, b);
    return x_uses_var(cond, a) && x_uses_var(cond, b);
}
