/* backend/llvm/address.c: where elements are.
 *
 * What   An access becomes a linear form: constant + sum of coef * value + what the lanes add. The pointer is
 *        made in steps, one for each loop on which it depends, at the head of that loop, and shared by all
 *        accesses with the same terms; the constant comes last and becomes the displacement of the
 *        instruction.
 * Why    No middle-end pass runs, so nothing else would hoist; and one register for all rows of a tile is
 *        what keeps the tile in registers (docs/design.md §10).
 * Keeps  GEPs without inbounds: a row's pointer may lie outside, only the element must not.
 */
#include "backend/llvm/function.h"
#include <assert.h>

/* -- Products of dims ------------------------------------------------------------------------------------ */

static int dim_number(fn_state *s, dim d)
{
    for (int64_t i = 0; i < s->dims.n; i++)
        if (dim_same(s->dims.at[i], d)) return (int)i;
    assert(!"a dim of the kernel");
    return 0;
}

static int scale_new(fn_state *s, V v, int a, int b)
{
    for (int64_t i = 0; i < s->scales.n; i++)
        if (s->scales.at[i].a == a && s->scales.at[i].b == b) return (int)i + 1;
    vec_push(s->e->a, &s->scales, ((scale_entry){ v, a, b }));
    return (int)s->scales.n;
}

static V scale_value(fn_state *s, int scale) { return s->scales.at[scale - 1].v; }

/* Product of two scales; a scale made of one dim has a = -1 - its number. */
static int scale_product(fn_state *s, int a, int b)
{
    if (!a || !b) return a ? a : b;
    if (a > b) { int t = a; a = b; b = t; }
    for (int64_t i = 0; i < s->scales.n; i++)
        if (s->scales.at[i].a == a && s->scales.at[i].b == b) return (int)i + 1;
    V token = at_level_start(s, 0);
    V v = LLVMBuildMul(s->e->b, scale_value(s, a), scale_value(s, b), "");
    back_to(s, token);
    return scale_new(s, v, a, b);
}

int scale_times(fn_state *s, int scale, dim d)
{
    int n = dim_number(s, d);
    return scale_product(s, scale, scale_new(s, s->dim_value[n], -1 - n, 0));
}

void buffer_strides(fn_state *s, int buf)
{
    const buffer *b = &s->k->bufs.at[buf];
    buf_state *state = &s->buf[buf];
    state->stride = NEW_ARRAY(s->e->a, int64_t, b->rank);
    state->scale = NEW_ARRAY(s->e->a, int, b->rank);
    int64_t stride = 1, v;
    int scale = 0;
    for (int i = b->rank - 1; i >= 0; i--) {
        state->stride[i] = stride;
        state->scale[i] = scale;
        if (dim_is_const(b->dims[i], &v)) stride *= v;
        else scale = scale_times(s, scale, b->dims[i]);
    }
    state->n = scale ? -1 : stride;
}

/* -- Linear forms ---------------------------------------------------------------------------------------- */

bool form_is_const(const linear_form *f) { return f->n == 0 && f->lane == 0 && !f->vec; }

static void add_vec(fn_state *s, linear_form *f, V v)
{
    f->vec = f->vec ? LLVMBuildAdd(s->e->b, f->vec, v, "") : v;
}

static V times(fn_state *s, V v, int64_t coef, int scale, int n_lanes)
{
    LLVMBuilderRef b = s->e->b;
    if (coef != 1) v = LLVMBuildMul(b, v, splat_v(s->e, k_i64(s->e, coef), n_lanes), "");
    if (scale) v = LLVMBuildMul(b, v, splat_v(s->e, scale_value(s, scale), n_lanes), "");
    return v;
}

static void add_term(fn_state *s, linear_form *f, term t)
{
    int64_t k;
    if (is_const_int(t.atom, &k) && !t.scale) { f->constant += k * t.coef; return; }
    for (int i = 0; i < f->n; i++) {
        if (f->at[i].id != t.id || f->at[i].scale != t.scale) continue;
        f->at[i].coef += t.coef;
        if (f->at[i].coef == 0) {                  /* the others stay in order */
            f->n--;
            memmove(&f->at[i], &f->at[i + 1], (size_t)(f->n - i) * sizeof *f->at);
        }
        return;
    }
    if (t.coef == 0) return;
    if (f->n == MAX_TERMS) {                       /* too long: the last two become one value */
        term *x = &f->at[--f->n];
        V sum = LLVMBuildAdd(s->e->b, times(s, x->atom, x->coef, x->scale, 0),
                             times(s, t.atom, t.coef, t.scale, 0), "");
        t = (term){ sum, 1 << 24 | s->n_atoms++, NOT_HOISTED, 0, 1 };
    }
    int at = f->n++;                               /* by level, then id: equal sums have equal prefixes */
    for (; at > 0 &&
           (f->at[at - 1].level > t.level || (f->at[at - 1].level == t.level && f->at[at - 1].id > t.id));
         at--)
        f->at[at] = f->at[at - 1];
    f->at[at] = t;
}

static void add_const(fn_state *s, linear_form *f, int64_t k, int64_t coef, int scale)
{
    if (!scale) f->constant += k * coef;
    else add_term(s, f, (term){ scale_value(s, scale), 1 << 22 | scale, 0, 0, k * coef });
}

static void add_value(fn_state *s, linear_form *f, val v, int64_t coef, int scale)
{
    int64_t k;
    if (v.lanes) add_vec(s, f, times(s, v.v, coef, scale, v.lanes));
    else if (is_const_int(v.v, &k)) add_const(s, f, k, coef, scale);
    else add_term(s, f, (term){ v.v, 1 << 24 | s->n_atoms++, NOT_HOISTED, scale, coef });
}

static void add_lane(fn_state *s, linear_form *f, int64_t lane, int64_t coef, int scale)
{
    if (!lane) return;
    if (!scale) f->lane += lane * coef;
    else add_vec(s, f, times(s, iota_v(s->e, s->lanes, lane), coef, scale, s->lanes));
}

void form_add_form(fn_state *s, linear_form *f, const linear_form *g, int64_t coef, int scale)
{
    add_const(s, f, g->constant, coef, scale);
    for (int i = 0; i < g->n; i++) {
        term t = g->at[i];
        t.coef *= coef;
        t.scale = scale_product(s, t.scale, scale);
        add_term(s, f, t);
    }
    add_lane(s, f, g->lane, coef, scale);
    if (g->vec) add_vec(s, f, times(s, g->vec, coef, scale, s->lanes));
}

static void add_var(fn_state *s, linear_form *f, int id, int64_t coef, int scale)
{
    const var_state *v = &s->var[id];
    switch (v->kind) {
    case VAR_const: add_const(s, f, v->k, coef, scale); return;
    case VAR_value: add_term(s, f, (term){ v->v, id, v->level, scale, coef }); return;
    case VAR_lane:
        add_value(s, f, (val){ v->v, DTYPE_i64, 0 }, coef, scale);
        add_lane(s, f, 1, coef, scale);
        return;
    case VAR_absent: break;
    }
    assert(!"a variable in scope");
}

static void add_temp(fn_state *s, linear_form *f, const expr *x, int64_t coef, int scale)
{
    const temp_state *t = &s->temp[x->id];
    if (t->has_form) form_add_form(s, f, t->form, coef, scale);
    else if (t->level != NOT_HOISTED)
        add_term(s, f, (term){ t->v.v, 1 << 23 | x->id, t->level, scale, coef });
    else add_value(s, f, t->v, coef, scale);
}

static void add_product(fn_state *s, linear_form *f, const expr *x, int64_t coef, int scale)
{
    for (int i = 0; i < 2; i++) {
        const expr *a = x->args[i], *other = x->args[1 - i];
        if (a->kind == EXPR_dim) { form_add(s, f, other, coef, scale_times(s, scale, a->dim)); return; }
        linear_form g = form_of(s, a);
        if (form_is_const(&g)) { form_add(s, f, other, coef * g.constant, scale); return; }
    }
    add_value(s, f, value_of(s, x), coef, scale);
}

void form_add(fn_state *s, linear_form *f, const expr *x, int64_t coef, int scale)
{
    switch (x->kind) {
    case EXPR_const: add_const(s, f, (int64_t)x->value.bits, coef, scale); return;
    case EXPR_dim: {
        int n = dim_number(s, x->dim);
        add_term(s, f, (term){ s->dim_value[n], 1 << 21 | n, 0, scale, coef });
        return;
    }
    case EXPR_var: add_var(s, f, x->id, coef, scale); return;
    case EXPR_temp: add_temp(s, f, x, coef, scale); return;
    case EXPR_op:
        switch (x->fn) {
        case SCALAR_add:
            form_add(s, f, x->args[0], coef, scale);
            form_add(s, f, x->args[1], coef, scale);
            return;
        case SCALAR_sub:
            form_add(s, f, x->args[0], coef, scale);
            form_add(s, f, x->args[1], -coef, scale);
            return;
        case SCALAR_neg: form_add(s, f, x->args[0], -coef, scale); return;
        case SCALAR_mul: add_product(s, f, x, coef, scale); return;
        default: break;
        }
        break;
    default: break;
    }
    add_value(s, f, value_of(s, x), coef, scale);
}

linear_form form_of(fn_state *s, const expr *x)
{
    linear_form f = { 0 };
    form_add(s, &f, x, 1, 0);
    return f;
}

linear_form address_form(fn_state *s, int buf, const expr *const *index)
{
    const buf_state *b = &s->buf[buf];
    linear_form f = { 0 };
    int n_lanes = b->private_lanes ? b->private_lanes : 1;
    for (int i = 0; i < s->k->bufs.at[buf].rank; i++)
        form_add(s, &f, index[i], b->stride[i] * n_lanes, b->scale[i]);
    if (b->private_lanes && b->kind == BUF_memory) f.lane += 1;
    return f;
}

/* -- Pointers -------------------------------------------------------------------------------------------- */

static V element_type_gep(fn_state *s, int buf, V base, V offset)
{
    return LLVMBuildGEP2(s->e->b, memory_type(s->e, s->k->bufs.at[buf].dtype), base, &offset, 1, "");
}

static V step(fn_state *s, int buf, V base, const term *t, int n)
{
    V sum = NULL;
    for (int i = 0; i < n; i++) {
        V x = times(s, t[i].atom, t[i].coef, t[i].scale, 0);
        sum = sum ? LLVMBuildAdd(s->e->b, sum, x, "") : x;
    }
    return sum ? element_type_gep(s, buf, base, sum) : base;
}

static bool same_terms(const term *a, const term *b, int n)
{
    for (int i = 0; i < n; i++)
        if (a[i].id != b[i].id || a[i].coef != b[i].coef || a[i].scale != b[i].scale) return false;
    return true;
}

/* The pointer of the first n terms, of which the last has this level. */
static V hoisted(fn_state *s, int buf, const term *t, int n)
{
    if (n == 0) return s->buf[buf].base;
    int level = t[n - 1].level, before = n;
    level_state *l = &s->level[level];
    for (int64_t i = 0; i < l->pointers.n; i++) {
        known_pointer *p = &l->pointers.at[i];
        if (p->base == s->buf[buf].base && p->n == n && same_terms(p->at, t, n)) return p->pointer;
    }
    while (before > 0 && t[before - 1].level == level) before--;
    V base = hoisted(s, buf, t, before), token = at_level_start(s, level);
    V p = step(s, buf, base, t + before, n - before);
    back_to(s, token);
    vec_push(s->e->a, &l->pointers,
             ((known_pointer){ s->buf[buf].base, n, arena_copy(s->e->a, t, (size_t)n * sizeof *t), p }));
    return p;
}

V pointer_at(fn_state *s, int buf, const linear_form *f, int64_t extra)
{
    int n = 0;
    while (n < f->n && f->at[n].level != NOT_HOISTED) n++;
    V p = step(s, buf, hoisted(s, buf, f->at, n), f->at + n, f->n - n);
    int64_t k = f->constant + extra;
    return k ? element_type_gep(s, buf, p, k_i64(s->e, k)) : p;
}
