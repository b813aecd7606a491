/* ir/expand.c: builds, caches and prints the straight lines of the functions that are not basic.
 *
 * Why    exp, tanh, pow … are the same bits in the interpreter, LLVM and C, as scalars and as vectors, only
 *        if all of them run the same arithmetic. So each function is a line of basic rows, made here once for
 *        each type.
 * How    Recipes (expand_f32.c, expand_f64.c, expand_int.c) append steps; equal steps are shared; steps that
 *        the result does not reach are dropped and the rest renumbered.
 * Cost   Built at the first use by an expander. docs/accuracy.md lists steps and errors of each.
 */
#include "ir/expand.h"
#include <assert.h>
#include <inttypes.h>

expander *expander_new(arena *a)
{
    expander *e = NEW(a, expander);
    e->a = a;
    return e;
}

/* -- Vocabulary ------------------------------------------------------------------------------------------ */

void line_type(line *b, dtype t)
{
    b->t = t;
    b->i = t == DTYPE_f64 ? DTYPE_i64 : t == DTYPE_f32 ? DTYPE_i32 : t;
    b->u = t == DTYPE_f64 ? DTYPE_u64 : t == DTYPE_f32 ? DTYPE_u32 : t;
}

dtype type_at(const line *b, val x) { return x.id < b->n_in ? b->in_type : b->steps.at[x.id - b->n_in].type; }

static int n_operands(const scalar_step *s)
{
    return s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
}

static bool same_step(const scalar_step *p, const scalar_step *q)
{
    return p->kind == q->kind && p->fn == q->fn && p->type == q->type && p->from == q->from &&
           p->imm.bits == q->imm.bits && p->in[0] == q->in[0] && p->in[1] == q->in[1] && p->in[2] == q->in[2];
}

static val append(line *b, scalar_step s)
{
    for (int64_t i = 0; i < b->steps.n; i++)
        if (same_step(&b->steps.at[i], &s)) return (val){ (int16_t)(b->n_in + i) };
    vec_push(b->a, &b->steps, s);
    assert(b->n_in + b->steps.n < INT16_MAX);
    return (val){ (int16_t)(b->n_in + b->steps.n - 1) };
}

val line_step(line *b, scalar fn, dtype result, int n, val x, val y, val z)
{
    assert(scalar_info[fn].is_basic && scalar_info[fn].arity == n);
    dtype from = fn == SCALAR_select ? type_at(b, y) : type_at(b, x);
    if (fn == SCALAR_select) { assert(type_at(b, x) == DTYPE_bool && type_at(b, z) == from); result = from; }
    else assert(scalar_accepts(fn, from) && type_at(b, y) == from && type_at(b, z) == from);
    scalar_step s = { .kind = STEP_SCALAR, .fn = fn, .type = result, .from = from, .in = { x.id } };
    if (n > 1) s.in[1] = y.id;
    if (n > 2) s.in[2] = z.id;
    return append(b, s);
}

val line_const(line *b, dtype t, scalar_value imm)
{
    return append(b, (scalar_step){ .kind = STEP_CONST, .type = t, .from = t, .imm = imm });
}

val line_bitcast(line *b, dtype t, val x)
{
    assert(dtype_bytes(t) == dtype_bytes(type_at(b, x)));
    return append(b, (scalar_step){ .kind = STEP_BITCAST, .type = t, .from = type_at(b, x), .in = { x.id } });
}

val poly(line *b, val x, coeffs p)
{
    val y = k(b, p.c[p.n - 1]);
    for (int i = p.n - 2; i >= 0; i--) y = fma3(b, y, x, k(b, p.c[i]));
    return y;
}

/* -- Building -------------------------------------------------------------------------------------------- */

/* The steps that `last` needs, in order, renumbered. */
static const scalar_code *finish(line *b, val last)
{
    assert(last.id >= b->n_in);
    int n = last.id - b->n_in + 1, n_live = 0;
    bool *live = NEW_ARRAY(b->a, bool, n);
    int16_t *number = NEW_ARRAY(b->a, int16_t, n);
    live[n - 1] = true;
    for (int i = n - 1; i >= 0; i--)
        for (int j = 0; live[i] && j < n_operands(&b->steps.at[i]); j++)
            if (b->steps.at[i].in[j] >= b->n_in) live[b->steps.at[i].in[j] - b->n_in] = true;
    scalar_step *steps = NEW_ARRAY(b->a, scalar_step, n);
    for (int i = 0; i < n; i++) {
        if (!live[i]) continue;
        scalar_step s = b->steps.at[i];
        for (int j = 0; j < n_operands(&s); j++)
            if (s.in[j] >= b->n_in) s.in[j] = number[s.in[j] - b->n_in];
        number[i] = (int16_t)(b->n_in + n_live);
        steps[n_live++] = s;
    }
    scalar_code *c = NEW(b->a, scalar_code);
    *c = (scalar_code){ .n_in = b->n_in, .n_steps = n_live, .steps = steps };
    return c;
}

const scalar_code *scalar_expand(expander *e, scalar fn, dtype t)
{
    if (scalar_info[fn].is_basic || !scalar_accepts(fn, t)) return NULL;
    if (e->code[fn][t]) return e->code[fn][t];
    recipe make = t == DTYPE_f64   ? recipes_f64[fn]
                  : t == DTYPE_f32 ? recipes_f32[fn]
                  : is_int(t)      ? recipes_int[fn]
                                   : NULL;
    if (!make) return NULL;
    line b = { .a = e->a, .n_in = scalar_info[fn].arity, .in_type = t };
    line_type(&b, t);
    return e->code[fn][t] = finish(&b, make(&b, (val){ 0 }, (val){ (int16_t)(b.n_in - 1) }));
}

/* -- Text ------------------------------------------------------------------------------------------------ */

static void print_operand(const scalar_code *c, int id, text *out)
{
    if (id < c->n_in) text_printf(out, " %c", 'x' + id);
    else text_printf(out, " %%%d", id - c->n_in);
}

void expansion_print(const scalar_code *c, text *out)
{
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *s = &c->steps[i];
        text_printf(out, "%%%d = ", i);
        if (s->kind == STEP_CONST && is_float(s->type)) text_printf(out, "%.17g", sv_to_f64(s->type, s->imm));
        else if (s->kind == STEP_CONST && is_signed(s->type))
            text_printf(out, "%" PRId64, sv_to_i64(s->type, s->imm));
        else if (s->kind == STEP_CONST) text_printf(out, "%" PRIu64, s->imm.bits);
        else text_put(out, s->kind == STEP_BITCAST ? "bitcast" : scalar_info[s->fn].name);
        for (int j = 0; j < n_operands(s); j++) print_operand(c, s->in[j], out);
        text_printf(out, " : %s\n", dtype_info[s->type].name);
    }
}
