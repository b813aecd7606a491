/* phase: a divided subscript becomes residue classes
 *
 *     for x in 0..28 { … for s in 0..3 { if (x + 1 - s) mod 2 == 0 and … { … a[(x + 1 - s) floordiv 2] … } } … }
 *
 * phase(x) writes the nest once for each residue of x: x = 2*x + 0 in one, 2*x + 1 in the other. There the test holds for
 * one residue class of the tap s only, which its loop then runs through: s = 2*s + 1, or 2*s. So a transposed convolution
 * of stride d becomes d dense ones (d*d in two axes) and nothing is tested or divided inside; taps that never meet a
 * position (a kernel shorter than its stride) leave a nest without a sum.
 *
 * Keeps  every bit: the taps left out are those whose test fails, the others run in their order; loops around x are parallel,
 *        so their iterations may go by classes.
 */
#include "passes/schedule/schedule.h"

enum { MAX_DIVISOR = 16 };

/* The coefficient of var in an affine e; false if there is none that is known. */
static bool coefficient(scheduler *s, const expr *e, int var, int64_t *c)
{
    affine f;
    *c = 0;
    if (!x_affine(s->k, e, &f)) return false;
    for (int i = 0; i < f.n; i++)
        if (f.var[i] == var && !dim_is_const(f.coef[i], c)) return false;
    return true;
}

/* A conjunct  e mod d == 0  of the condition in which e moves with var: e, and d. */
static const expr *divided_by(scheduler *s, const expr *cond, int var, int64_t *d)
{
    if (cond->kind != EXPR_op) return NULL;
    if (cond->fn == SCALAR_and) {
        const expr *e = divided_by(s, cond->args[0], var, d);
        return e ? e : divided_by(s, cond->args[1], var, d);
    }
    const expr *m = cond->args[0];
    int64_t zero, c;
    if (cond->fn != SCALAR_eq || !x_is_int(cond->args[1], &zero) || zero || m->kind != EXPR_mod) return NULL;
    if (!x_is_int(m->args[1], d) || *d < 2 || *d > MAX_DIVISOR) return NULL;
    return coefficient(s, m->args[0], var, &c) && c ? m->args[0] : NULL;
}

static bool find_divisor(scheduler *s, const block *b, int var, int64_t *d)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_if && divided_by(s, x->cond, var, d)) return true;
        if (find_divisor(s, &x->body, var, d) || find_divisor(s, &x->other, var, d)) return true;
    }
    return false;
}

/* The test that guards everything below a loop: down through perfectly nested loops. */
static const expr *guard_below(scheduler *s, const block *b, int var, int64_t *d)
{
    while (b->n == 1) {
        const stmt *x = b->at[0];
        if (x->kind == STMT_if && !x->other.n) return divided_by(s, x->cond, var, d);
        if (x->kind != STMT_for) return NULL;
        b = &x->body;
    }
    return NULL;
}

/* var becomes step*var + first in the block. By way of another variable: (2*y) floordiv 2 is y again, and would be replaced
 * once more. */
static void rescale(scheduler *s, block *b, int var, int64_t step, int64_t first)
{
    kernel_code *k = s->k;
    int other = kernel_var(k, arena_printf(k->arena, "%s.q", k->vars.at[var].name), LOOP_plain);
    block_subst(k, b, var, x_add(k, x_mul(k, x_int(k, step), x_var(k, other)), x_int(k, first)));
    block_subst(k, b, other, x_var(k, var));
}

/* The class of tap positions at which base + step*tap is a multiple of d: tap = first + by*j. False: there is none. */
static bool class_of(int64_t base, int64_t step, int64_t d, int64_t *first, int64_t *by)
{
    int n = 0;
    for (int64_t t = d - 1; t >= 0; t--) {
        if ((((base + step * t) % d) + d) % d) continue;
        *first = t;
        n++;
    }
    *by = n ? d / n : d;
    return n > 0;
}

/* for s in 0..S  =>  for s in 0..ceil((S - first) / by), with first + by*s in its body; all others fail the test. */
static void restrict_tap(scheduler *s, stmt *x, bool any, int64_t first, int64_t by)
{
    kernel_code *k = s->k;
    if (!any) {
        x->hi = x->lo;
        return;
    }
    const expr *left = x_add(k, x_sub(k, x->hi, x_int(k, first)), x_int(k, by - 1));
    x->hi = x_op2(k, SCALAR_max, x_floordiv(k, left, x_int(k, by)), x_int(k, 0));
    rescale(s, &x->body, x->var, by, first);
}

/* Where the residue is known, a test on it moves with its tap only: every loop over such a tap. */
static void restrict_taps(scheduler *s, block *b)
{
    for (int i = 0; i < b->n; i++) {
        stmt *x = b->at[i];
        int64_t d, zero, step, own, first = 0, by = 1;
        affine f;
        const expr *e = x->kind == STMT_for ? guard_below(s, &x->body, x->var, &d) : NULL;
        bool fits = e && x_is_int(x->lo, &zero) && zero == 0 && coefficient(s, e, x->var, &step) && step % d != 0 && x_affine(s->k, e, &f);
        for (int j = 0; fits && j < f.n; j++)             /* what else moves the subscript does so in multiples of d */
            fits = f.var[j] == x->var || (dim_is_const(f.coef[j], &own) && own % d == 0);
        int64_t base;
        if (fits && dim_is_const(f.constant, &base)) {
            bool any = class_of(base, step, d, &first, &by);
            restrict_tap(s, x, any, first, by);
        }
        restrict_taps(s, &x->body);
        restrict_taps(s, &x->other);
    }
}

/* The loop over var in a chain of parallel loops; NULL if something else stands before it. */
static stmt *find_in_chain(const scheduler *s, stmt *x, int var)
{
    while (x->kind == STMT_for) {
        loop_role r = s->k->vars.at[x->var].role;
        if (r == LOOP_sum || r == LOOP_sum_window) return NULL;
        if (x->var == var) return x;
        if (x->body.n != 1) return NULL;
        x = x->body.at[0];
    }
    return NULL;
}

static bool write_phases(scheduler *s, block *to, stmt *nest, int var, int64_t d)
{
    kernel_code *k = s->k;
    const stmt *loop = find_in_chain(s, nest, var);
    int64_t zero;
    if (!loop || !x_is_int(loop->lo, &zero) || zero)
        return refuse(s, "%s is not one of the parallel loops around everything, from 0", k->vars.at[var].name);
    for (int64_t p = 0; p < d; p++) {
        stmt *copy = p + 1 < d ? s_clone(k, nest, NEW_ARRAY(s->scratch, const expr *, k->vars.n + 1)) : nest;
        stmt *x = find_in_chain(s, copy, var);
        x->hi = x_floordiv(k, x_add(k, x->hi, x_int(k, d - 1 - p)), x_int(k, d));
        rescale(s, &x->body, var, d, p);
        restrict_taps(s, &x->body);
        block_push(k, to, copy);
    }
    return true;
}

bool step_phase(scheduler *s, const sched_step *step)
{
    for (int w = 0; w < step->n; w++) {
        int var = find_var(s, step->word[w]);
        int64_t d;
        if (var < 0) return false;
        if (!find_divisor(s, &s->k->body, var, &d)) return refuse(s, "no subscript that moves with %s is divided", step->word[w]);
        block phases = { 0 };
        for (int i = 0; i < s->k->body.n; i++)
            if (!write_phases(s, &phases, s->k->body.at[i], var, d)) return false;
        s->k->body = phases;
        simplify_kernel(s);
    }
    return true;
}
