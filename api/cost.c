/* cost: counts what a kernel does by walking its loops (cost.h)
 *
 * How    A loop whose trips do not change what lies inside counts once and is multiplied. A loop whose
 *        variable decides inner bounds or conditions (borders, tails) is walked trip by trip. So the count is
 *        exact but for what data decide: a test of data counts its taken side.
 */
#include "api/cost.h"

enum { MAX_VISITS = 4000000 };

typedef struct { bool is_known; int64_t v; } number;

typedef struct {
    const kernel_code *k;
    const int64_t *symbols;
    number *var, *temp;
    double *touched;               /* accesses by buffer */
    double flops;
    int64_t visits;
    expander *ex;
} walk;

static bool fits(dtype t) { return t == DTYPE_i64 || t == DTYPE_bool; }

/* The value of an index expression or of a test of indices. */
static number value_of(walk *w, const expr *e)
{
    number n = { false, 0 }, in[3];
    switch (e->kind) {
    case EXPR_const: return (number){ fits(e->type), sv_to_i64(e->type, e->value) };
    case EXPR_dim: n.is_known = dim_eval(w->k->dims, e->dim, w->symbols, &n.v); return n;
    case EXPR_var: return w->var[e->id];
    case EXPR_temp: return w->temp[e->id];
    case EXPR_op: case EXPR_floordiv: case EXPR_mod: break;
    case EXPR_load: case EXPR_bitcast: case EXPR_tree: return n;
    }
    if (!fits(e->type) || e->n_args > 3 || !fits(e->args[e->n_args - 1]->type)) return n;
    scalar_value v[3];
    for (int i = 0; i < e->n_args; i++) {
        in[i] = value_of(w, e->args[i]);
        if (!in[i].is_known) return n;
        v[i] = sv_from_i64(e->args[i]->type, in[i].v);
    }
    if (e->kind == EXPR_op) {
        dtype from = e->args[e->n_args - 1]->type;
        return (number){ true, sv_to_i64(e->type, sv_apply(w->ex, e->fn, from, e->type, v, FMA_FUSED)) };
    }
    if (in[1].v <= 0) return n;
    int64_t q = in[0].v / in[1].v, r = in[0].v % in[1].v;
    if (r < 0) r += in[1].v, q--;
    return (number){ true, e->kind == EXPR_floordiv ? q : r };
}

static void count_expr(walk *w, const expr *e, double times)
{
    switch (e->kind) {
    case EXPR_const: case EXPR_dim: case EXPR_var: case EXPR_temp: return;
    case EXPR_load: w->touched[e->id] += times; break;
    case EXPR_tree: w->flops += 15 * times; return;
    case EXPR_op:
        if (e->fn == SCALAR_cast || e->fn == SCALAR_select || fits(e->args[0]->type)) break;
        w->flops += e->fn == SCALAR_fma ? 2 * times : times;
        break;
    case EXPR_floordiv: case EXPR_mod: case EXPR_bitcast: break;
    }
    for (int i = 0; i < e->n_args; i++) count_expr(w, e->args[i], times);
}

static bool uses(const kernel_code *k, const expr *e, int var)
{
    if (x_uses_var(e, var)) return true;
    for (int64_t i = 0; i < k->temps.n; i++)
        if (fits(k->temps.at[i].type) && x_uses_temp(e, (int)i)) return true;
    return false;
}

/* Does the variable decide how often something inside runs? Nesting in a kernel bounds the recursion. */
static bool decides(const kernel_code *k, const block *b, int var)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        if (s->kind == STMT_for && (uses(k, s->lo, var) || uses(k, s->hi, var))) return true;
        if (s->kind == STMT_if && uses(k, s->cond, var)) return true;
        if (decides(k, &s->body, var) || decides(k, &s->other, var)) return true;
    }
    return false;
}

static void count(walk *w, const block *b, double times);

static void count_loop(walk *w, const stmt *s, double times)
{
    number lo = value_of(w, s->lo), hi = value_of(w, s->hi);
    if (!lo.is_known || !hi.is_known) lo.v = 0, hi.v = 1;
    if (hi.v <= lo.v) return;
    bool is_walked = w->visits < MAX_VISITS && decides(w->k, &s->body, s->var);
    int64_t step = is_walked ? 1 : hi.v - lo.v;
    for (int64_t v = lo.v; v < hi.v; v += step) {
        w->var[s->var] = (number){ true, v };
        w->visits++;
        count(w, &s->body, times * (double)step);
    }
}

static void count(walk *w, const block *b, double times)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        switch (s->kind) {
        case STMT_for: count_loop(w, s, times); break;
        case STMT_if: {
            number c = value_of(w, s->cond);
            count(w, !c.is_known || c.v ? &s->body : &s->other, times);
            break;
        }
        case STMT_let:
            w->temp[s->id] = value_of(w, s->value);
            count_expr(w, s->value, times);
            break;
        case STMT_store:
            w->touched[s->id] += times;
            count_expr(w, s->value, times);
            for (int j = 0; j < w->k->bufs.at[s->id].rank; j++) count_expr(w, s->index[j], times);
            break;
        case STMT_alloc:
            if (s->value) count_expr(w, s->value, times);
            break;
        case STMT_prefetch: break;
        }
    }
}

kernel_cost cost_of(dlc_context *ctx, const kernel_code *k, const int64_t *symbols)
{
    arena *a = arena_new(&ctx->mem);
    walk w = { .k = k, .symbols = symbols, .ex = expander_new(a) };
    w.var = NEW_ARRAY(a, number, k->vars.n + 1);
    w.temp = NEW_ARRAY(a, number, k->temps.n + 1);
    w.touched = NEW_ARRAY(a, double, k->bufs.n + 1);
    count(&w, &k->body, 1);
    kernel_cost c = { .flops = w.flops };
    for (int i = 0; i < k->n_params; i++) {
        const buffer *b = &k->bufs.at[i];
        double n = 1;
        int64_t extent;
        for (int j = 0; j < b->rank; j++)
            n *= dim_eval(k->dims, b->dims[j], symbols, &extent) ? (double)extent : 1;
        c.bytes += (n < w.touched[i] ? n : w.touched[i]) * dtype_bytes(b->dtype);
    }
    arena_free(a);
    return c;
}
