/* backend/c/c_expr.c: expressions and addresses as C text.
 *
 * Rows       What C's operators do exactly is written with them; everything else calls a helper.
 * Indices    are int64_t and written with the operators of C where they are made of variables, sizes and
 *            constants alone: those cannot overflow. Arithmetic on data of type i64 wraps, by helpers.
 * Addresses  are one sum: coefficient * variable terms, like terms merged, the constant last.
 * Sharing    A node with two users, or too deep for a line, becomes a local of its statement (name_shared).
 */
#include "backend/c/cgen_inside.h"
#include <assert.h>

void start_line(scope_text *s)
{
    for (int i = 0; i < s->depth; i++) text_put(s->out, "    ");
}

/* -- Rows ------------------------------------------------------------------------------------------------ */

typedef enum { SPELL_infix, SPELL_fma, SPELL_choose, SPELL_negative, SPELL_not, SPELL_bit_not, SPELL_call,
               SPELL_expand, SPELL_cast, SPELL_bitcast } spelling;
typedef struct { spelling how; const char *text; int bind, left, right; } row_spelling;

static const row_spelling by_call = { SPELL_call, NULL, BIND_primary, BIND_any, BIND_any };

static row_spelling arithmetic(dtype t, const char *op, int bind)
{
    bool is_plain = t == DTYPE_f32 || t == DTYPE_f64 || t == DTYPE_u32 || t == DTYPE_u64;
    return is_plain ? (row_spelling){ SPELL_infix, op, bind, bind, bind + 1 } : by_call;
}

static row_spelling spell(writer *w, scalar fn, dtype t)
{
    if (fn == SCALAR_COUNT) return (row_spelling){ SPELL_bitcast, NULL, BIND_unary, BIND_unary, 0 };
    if (!scalar_info[fn].is_basic)
        return (row_spelling){ SPELL_expand, NULL, BIND_primary, BIND_any, BIND_any };
    switch (fn) {
    case SCALAR_add: return arithmetic(t, " + ", BIND_add);
    case SCALAR_sub: return arithmetic(t, " - ", BIND_add);
    case SCALAR_mul: return arithmetic(t, " * ", BIND_mul);
    case SCALAR_div:
        return is_float(t) ? (row_spelling){ SPELL_infix, " / ", BIND_mul, BIND_mul, BIND_unary } : by_call;
    case SCALAR_neg:
        return is_float(t) ? (row_spelling){ SPELL_negative, NULL, BIND_unary, BIND_primary, 0 } : by_call;
    case SCALAR_fma:
        if (w->p->fma == FMA_FUSED)
            return (row_spelling){ SPELL_fma, NULL, BIND_primary, BIND_any, BIND_any };
        return (row_spelling){ SPELL_fma, NULL, BIND_add, BIND_mul, BIND_unary };
    case SCALAR_eq: return (row_spelling){ SPELL_infix, " == ", BIND_compare, BIND_add, BIND_add };
    case SCALAR_lt: return (row_spelling){ SPELL_infix, " < ", BIND_compare, BIND_add, BIND_add };
    case SCALAR_le: return (row_spelling){ SPELL_infix, " <= ", BIND_compare, BIND_add, BIND_add };
    case SCALAR_and: return (row_spelling){ SPELL_infix, " & ", BIND_bits, BIND_unary, BIND_unary };
    case SCALAR_or: return (row_spelling){ SPELL_infix, " | ", BIND_bits, BIND_unary, BIND_unary };
    case SCALAR_xor: return (row_spelling){ SPELL_infix, " ^ ", BIND_bits, BIND_unary, BIND_unary };
    case SCALAR_not:
        return (row_spelling){ t == DTYPE_bool ? SPELL_not : SPELL_bit_not, NULL, BIND_unary, BIND_primary,
                               0 };
    case SCALAR_select:
        return (row_spelling){ SPELL_choose, NULL, BIND_choose, BIND_choose + 1, BIND_choose + 1 };
    case SCALAR_cast: return (row_spelling){ SPELL_cast, NULL, BIND_unary, BIND_unary, 0 };
    default: return by_call;
    }
}

int row_bind(writer *w, scalar fn, dtype from, dtype to, int i)
{
    row_spelling s = spell(w, fn, from);
    (void)to;
    if (s.how == SPELL_fma && w->p->fma == FMA_ROUNDED)
        return i == 0 ? BIND_mul : i == 1 ? BIND_unary : BIND_mul;
    return i == 0 ? s.left : s.right;
}

/* Compilers warn where a limit is compared with a constant. */
static bool warns(dtype t, const bool *is_const)
{
    return (is_const[0] || is_const[1]) && t != DTYPE_i32 && t != DTYPE_i64 && !is_float(t);
}

static const char *cast_text(writer *w, dtype from, dtype to, const char *x, int *bind)
{
    from = carrier_dtype(from);
    to = carrier_dtype(to);
    *bind = BIND_primary;
    if (from == to) { *bind = BIND_unary; return x; }
    if (from == DTYPE_f16 || from == DTYPE_bf16) {
        const char *wide = arena_printf(w->a, "%s(%s)",
                                        helper(w, from == DTYPE_f16 ? "of_f16" : "of_bf16", DTYPE_f32), x);
        return to == DTYPE_f32 ? wide : cast_text(w, DTYPE_f32, to, wide, bind);
    }
    if (to == DTYPE_f16 || to == DTYPE_bf16) {
        if (from == DTYPE_f64 && to == DTYPE_f16)
            return arena_printf(w->a, "%s(%s)", helper(w, "to_f16", from), x);
        if (from != DTYPE_f32) x = cast_text(w, from, DTYPE_f32, x, bind);
        *bind = BIND_primary;
        return arena_printf(w->a, "%s(%s)", helper(w, to == DTYPE_f16 ? "to_f16" : "to_bf16", DTYPE_f32), x);
    }
    if (to == DTYPE_bool) {
        *bind = BIND_compare;
        return arena_printf(w->a, is_float(from) ? "%s != 0.0f" : "%s != 0", x);
    }
    const char *call = cast_helper(w, from, to);
    if (call) return arena_printf(w->a, "%s(%s)", call, x);
    *bind = BIND_unary;
    return arena_printf(w->a, "(%s)%s", c_type(to), x);
}

static const char *bitcast_text(writer *w, dtype from, dtype to, const char *x, int *bind)
{
    from = carrier_dtype(from);
    to = carrier_dtype(to);
    bool from_float = from == DTYPE_f32 || from == DTYPE_f64, to_float = to == DTYPE_f32 || to == DTYPE_f64;
    *bind = BIND_unary;
    if (from == to) return x;
    if (from_float) return arena_printf(w->a, "(%s)%s(%s)", c_type(to), helper(w, "bits", from), x);
    if (to_float) {
        *bind = BIND_primary;
        return arena_printf(w->a, "%s((%s)%s)", helper(w, "of_bits", to),
                            to == DTYPE_f32 ? "uint32_t" : "uint64_t", x);
    }
    if (to == DTYPE_bool) { *bind = BIND_compare; return arena_printf(w->a, "%s != 0", x); }
    return arena_printf(w->a, "(%s)%s", c_type(to), x);
}

static void put_bound(text *t, const char *x, int bind, int prec)
{
    text_printf(t, bind < prec ? "(%s)" : "%s", x);
}

/* Does C text call something? */
static bool has_call(const char *x)
{
    for (const char *p = strchr(x, '('); p; p = strchr(p + 1, '('))
        if (p > x && (p[-1] == '_' || (p[-1] >= '0' && p[-1] <= '9') || (p[-1] >= 'a' && p[-1] <= 'z')))
            return true;
    return false;
}

static const char *row_text(writer *w, scalar fn, dtype from, dtype to, const char *const *x,
                            const bool *is_const, int *bind)
{
    arena *a = w->a;
    row_spelling s = spell(w, fn, from);
    *bind = s.bind;
    switch (s.how) {
    case SPELL_infix:
        if (s.bind == BIND_compare && fn != SCALAR_eq && warns(from, is_const)) break;
        if (from == DTYPE_bool && (fn == SCALAR_and || fn == SCALAR_or) &&
            (has_call(x[0]) || has_call(x[1]))) {
            *bind = BIND_choose;                      /* clang warns of & between bools that are called for */
            return arena_printf(a, fn == SCALAR_and ? "%s && %s" : "%s || %s", x[0], x[1]);
        }
        return arena_printf(a, "%s%s%s", x[0], s.text, x[1]);
    case SPELL_fma:
        if (w->p->fma == FMA_ROUNDED) return arena_printf(a, "%s * %s + %s", x[0], x[1], x[2]);
        return arena_printf(a, "__builtin_fma%s(%s, %s, %s)", from == DTYPE_f32 ? "f" : "", x[0], x[1], x[2]);
    case SPELL_choose: return arena_printf(a, "%s ? %s : %s", x[0], x[1], x[2]);
    case SPELL_negative: return arena_printf(a, "-%s", x[0]);
    case SPELL_not: return arena_printf(a, "!%s", x[0]);
    case SPELL_bit_not: return arena_printf(a, "(%s)~%s", c_type(from), x[0]);
    case SPELL_cast: return cast_text(w, from, to, x[0], bind);
    case SPELL_bitcast: return bitcast_text(w, from, to, x[0], bind);
    case SPELL_call: case SPELL_expand: break;
    }
    const char *f = s.how == SPELL_expand ? row_function(w, fn, from) : helper(w, scalar_info[fn].name, from);
    text t = { .a = a };
    text_printf(&t, "%s(", f);
    for (int i = 0; i < scalar_info[fn].arity; i++) text_printf(&t, "%s%s", i ? ", " : "", x[i]);
    text_put(&t, ")");
    *bind = BIND_primary;
    return text_str(&t);
}

void put_row(writer *w, text *t, scalar fn, dtype from, dtype to, const char *const *args,
             const bool *is_const, int prec)
{
    int bind;
    const char *x = row_text(w, fn, from, to, args, is_const, &bind);
    put_bound(t, x, bind, prec);
}

/* -- Sizes ----------------------------------------------------------------------------------------------- */

static void put_call2(writer *w, scope_text *s, text *t, const char *f, dim a, dim b)
{
    text_printf(t, "%s(", helper(w, f, DTYPE_i64));
    put_dim(s, t, a, BIND_any);
    text_put(t, ", ");
    put_dim(s, t, b, BIND_any);
    text_put(t, ")");
}

void put_dim(scope_text *s, text *t, dim d, int prec)
{
    int64_t k;
    if (dim_is_const(d, &k)) {
        text_put(t, k < 0 && prec > BIND_add ? "(" : "");
        put_i64(t, k);
        text_put(t, k < 0 && prec > BIND_add ? ")" : "");
        return;
    }
    for (int64_t i = 0; i < s->dims.n; i++)
        if (dim_same(s->dims.at[i], d)) { text_put(t, s->dim_name[i]); return; }
    dim_view v = dim_look(s->k->dims, d);
    static const char *const fn[] = {
        [DIM_FLOORDIV] = "size_div", [DIM_MOD] = "size_mod", [DIM_MIN] = "min", [DIM_MAX] = "max"
    };
    switch (v.kind) {
    case DIM_CONST: put_i64(t, v.value); return;
    case DIM_SYMBOL: assert(s->symbol_name); text_put(t, s->symbol_name[v.symbol]); return;
    case DIM_SUM: case DIM_PRODUCT: {
        int bind = v.kind == DIM_SUM ? BIND_add : BIND_mul, n = v.n_args;
        dim *args = arena_copy(s->w->a, v.args, (size_t)n * sizeof *args);
        if (bind < prec) text_put(t, "(");
        for (int i = 0; i < n; i++) {
            if (i) text_put(t, v.kind == DIM_SUM ? " + " : "*");
            put_dim(s, t, args[i], bind + 1);
        }
        if (bind < prec) text_put(t, ")");
        return;
    }
    case DIM_FLOORDIV:
    case DIM_MOD:
    case DIM_MIN:
    case DIM_MAX: put_call2(s->w, s, t, fn[v.kind], v.args[0], v.args[1]); return;
    }
}

/* -- Indices: sums --------------------------------------------------------------------------------------- */

bool is_index(const scope_text *s, const expr *e)
{
    if (e->type != DTYPE_i64) return false;
    switch (e->kind) {
    case EXPR_const: case EXPR_dim: case EXPR_var: return true;
    case EXPR_temp: return s->temp_is_index[e->id];
    case EXPR_op:
        if (e->fn != SCALAR_add && e->fn != SCALAR_sub && e->fn != SCALAR_mul && e->fn != SCALAR_neg &&
            e->fn != SCALAR_min && e->fn != SCALAR_max)
            return false;
        break;
    case EXPR_floordiv: case EXPR_mod: break;
    default: return false;
    }
    for (int i = 0; i < e->n_args; i++)
        if (!is_index(s, e->args[i])) return false;
    return true;
}

/* coef * atom * scale; atom and scale are text, "" for one. */
typedef struct { int64_t coef; const char *atom, *scale; } sum_term;
typedef struct { int64_t constant; vec(sum_term) at; } sum;

static void add_term(scope_text *s, sum *r, int64_t coef, const char *atom, const char *scale)
{
    if (coef == 0) return;
    if (!*atom && !*scale) { r->constant += coef; return; }
    for (int64_t i = 0; i < r->at.n; i++) {
        if (strcmp(r->at.at[i].atom, atom) != 0 || strcmp(r->at.at[i].scale, scale) != 0) continue;
        r->at.at[i].coef += coef;
        return;
    }
    vec_push(s->w->a, &r->at, ((sum_term){ coef, atom, scale }));
}

/* An index that differs by lane may have a name as a value: a vector, of no use in an address. */
static const char *name_of(const scope_text *s, const expr *e)
{
    if (s->in_address && s->shape.lanes && is_index(s, e) && varies(s, e)) return NULL;
    for (int64_t i = s->named.n - 1; i >= 0; i--)
        if (s->named.at[i].e == e) return s->named.at[i].name;
    return NULL;
}

static const char *times(scope_text *s, const char *a, const char *b)
{
    return !*a ? b : !*b ? a : arena_printf(s->w->a, "%s*%s", a, b);
}

static bool fixed_value(const scope_text *s, const expr *e, int64_t *k)
{
    if (e->kind == EXPR_var && s->var[e->id].is_known) { *k = s->var[e->id].k; return true; }
    return x_is_int(e, k);
}

static int64_t wrapped_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }

static void add_sum(scope_text *s, sum *r, const expr *e, int64_t coef, const char *scale)
{
    arena *a = s->w->a;
    int64_t k;
    if (fixed_value(s, e, &k)) { add_term(s, r, wrapped_mul(k, coef), "", scale); return; }
    if (e->kind == EXPR_op && !name_of(s, e) && is_index(s, e)) {
        switch (e->fn) {
        case SCALAR_add:
            add_sum(s, r, e->args[0], coef, scale);
            add_sum(s, r, e->args[1], coef, scale);
            return;
        case SCALAR_sub:
            add_sum(s, r, e->args[0], coef, scale);
            add_sum(s, r, e->args[1], -coef, scale);
            return;
        case SCALAR_neg: add_sum(s, r, e->args[0], -coef, scale); return;
        case SCALAR_mul:
            for (int i = 0; i < 2; i++) {
                const expr *x = e->args[i], *other = e->args[1 - i];
                if (fixed_value(s, x, &k)) { add_sum(s, r, other, wrapped_mul(coef, k), scale); return; }
                if (x->kind != EXPR_dim) continue;
                text d = { .a = a };
                put_dim(s, &d, x->dim, BIND_unary);
                add_sum(s, r, other, coef, times(s, scale, text_str(&d)));
                return;
            }
            break;
        default: break;
        }
    }
    text atom = { .a = a };
    put_expr(s, &atom, e, BIND_unary);
    add_term(s, r, coef, text_str(&atom), scale);
}

static int put_sum(scope_text *s, text *t, const sum *r)
{
    int n = 0;
    for (int64_t i = 0; i < r->at.n; i++) {
        const sum_term *x = &r->at.at[i];
        int64_t c = x->coef;
        if (c == 0) continue;
        const char *unit = times(s, x->atom, x->scale);
        text_put(t, !n ? c < 0 ? "-" : "" : c < 0 ? " - " : " + ");
        c = c < 0 ? -c : c;
        if (c != 1) { put_i64(t, c); text_put(t, "*"); }
        text_put(t, unit);
        n++;
    }
    if (!n) put_i64(t, r->constant);
    else if (r->constant > 0) { text_put(t, " + "); put_i64(t, r->constant); }
    else if (r->constant < 0) { text_put(t, " - "); put_i64(t, -r->constant); }
    if (n > 1 || (n && r->constant)) return BIND_add;
    if (!n) return r->constant < 0 ? BIND_add : BIND_primary;
    const char *p = t->at;
    return strpbrk(p, "*- ") ? BIND_mul - (strchr(p, '-') != NULL) : BIND_primary;
}

void put_element(scope_text *s, text *t, int buf, const expr *const *index)
{
    const buffer *b = &s->k->bufs.at[buf];
    arena *a = s->w->a;
    text_put(t, s->buf[buf]);
    if (s->buf_is_scalar[buf]) return;
    sum r = { 0 };
    int64_t stride = 1, k;
    const char *scale = "";
    bool was_in_address = s->in_address;
    s->in_address = true;
    for (int i = b->rank - 1; i >= 0; i--) {
        sum one = { 0 };
        add_sum(s, &one, index[i], stride, scale);
        for (int64_t j = 0; j < one.at.n; j++)
            add_term(s, &r, one.at.at[j].coef, one.at.at[j].atom, one.at.at[j].scale);
        r.constant += one.constant;
        if (dim_is_const(b->dims[i], &k)) { if (!mul_ok(stride, k, &stride)) stride = 0; }
        else {
            text d = { .a = a };
            put_dim(s, &d, b->dims[i], BIND_unary);
            scale = times(s, text_str(&d), scale);
        }
    }
    s->in_address = was_in_address;
    text_put(t, "[");
    put_sum(s, t, &r);
    text_put(t, "]");
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

static void put_index_op(scope_text *s, text *t, const expr *e, int prec)
{
    sum r = { 0 };
    text x = { .a = s->w->a };
    if (e->fn == SCALAR_mul && !fixed_value(s, e->args[0], &(int64_t){ 0 }) &&
        !fixed_value(s, e->args[1], &(int64_t){ 0 }) && e->args[0]->kind != EXPR_dim &&
        e->args[1]->kind != EXPR_dim) {
        if (prec > BIND_mul) text_put(t, "(");
        put_expr(s, t, e->args[0], BIND_mul);
        text_put(t, "*");
        put_expr(s, t, e->args[1], BIND_unary);
        if (prec > BIND_mul) text_put(t, ")");
        return;
    }
    add_sum(s, &r, e, 1, "");
    int bind = put_sum(s, &x, &r);
    put_bound(t, text_str(&x), bind, prec);
}

static void put_pair(scope_text *s, text *t, const char *f, const expr *e)
{
    text_printf(t, "%s(", helper(s->w, f, DTYPE_i64));
    put_expr(s, t, e->args[0], BIND_any);
    text_put(t, ", ");
    put_expr(s, t, e->args[1], BIND_any);
    text_put(t, ")");
}

static dtype operand_type(const expr *e) { return e->args[e->fn == SCALAR_select ? 1 : 0]->type; }

bool limit_of(const expr *e, const char **f, int *other)
{
    if (e->kind != EXPR_op || (e->fn != SCALAR_max && e->fn != SCALAR_min) ||
        (e->type != DTYPE_f32 && e->type != DTYPE_f64))
        return false;
    bool is_max = e->fn == SCALAR_max;
    uint64_t minus_zero = e->type == DTYPE_f32 ? (uint64_t)1 << 31 : (uint64_t)1 << 63,
             bad = is_max ? minus_zero : 0;
    for (int i = 0; i < 2; i++) {
        const expr *k = e->args[i];
        if (k->kind != EXPR_const || k->value.bits == bad) continue;
        double v = sv_to_f64(k->type, k->value);
        if (v != v) continue;
        *f = is_max ? "at_least" : "at_most";
        *other = 1 - i;
        return true;
    }
    return false;
}

static bool put_limit(scope_text *s, text *t, const expr *e)
{
    const char *f;
    int other;
    if (!limit_of(e, &f, &other)) return false;
    text_printf(t, "%s(", helper(s->w, f, e->type));
    put_expr(s, t, e->args[other], BIND_any);
    text_put(t, ", ");
    put_expr(s, t, e->args[1 - other], BIND_any);
    text_put(t, ")");
    return true;
}

static void put_op(scope_text *s, text *t, const expr *e, int prec)
{
    if (put_limit(s, t, e)) return;
    const char *x[3] = { 0 };
    bool is_const[3] = { 0 };
    dtype from = operand_type(e);
    scalar fn = e->kind == EXPR_bitcast ? SCALAR_COUNT : e->fn;
    for (int i = 0; i < e->n_args; i++) {
        text one = { .a = s->w->a };
        put_expr(s, &one, e->args[i], row_bind(s->w, fn, from, e->type, i));
        x[i] = text_str(&one);
        is_const[i] = e->args[i]->kind == EXPR_const;
    }
    put_row(s->w, t, fn, from, e->type, x, is_const, prec);
}

void put_expr(scope_text *s, text *t, const expr *e, int prec)
{
    const char *known = name_of(s, e);
    int64_t k;
    bool in_lanes = s->shape.lanes && varies(s, e);
    if (known && in_lanes && s->lane_q) { put_one_lane(s, t, known, e->type); return; }
    if (known) { text_put(t, known); return; }
    if (in_lanes && !s->lane_q && !is_index(s, e)) { put_vector(s, t, e, prec); return; }
    switch (e->kind) {
    case EXPR_const: put_const(s->w, t, e->type, e->value, prec); return;
    case EXPR_dim: put_dim(s, t, e->dim, prec); return;
    case EXPR_var:
        if (s->var[e->id].is_known)
            put_const(s->w, t, DTYPE_i64, (scalar_value){ (uint64_t)s->var[e->id].k }, prec);
        else text_put(t, s->var[e->id].name);
        return;
    case EXPR_temp:
        if (in_lanes) put_one_lane(s, t, s->temp[e->id], e->type);
        else text_put(t, s->temp[e->id]);
        return;
    case EXPR_load:
        if (in_lanes && s->is_private[e->id]) {
            text v = { .a = s->w->a };
            put_element(s, &v, e->id, e->args);
            put_one_lane(s, t, text_str(&v), e->type);
        } else put_element(s, t, e->id, e->args);
        return;
    case EXPR_floordiv: case EXPR_mod: {
        bool is_div = e->kind == EXPR_floordiv;
        if (x_is_int(e->args[1], &k) && k == 1 && is_div) { put_expr(s, t, e->args[0], prec); return; }
        put_pair(s, t, is_div ? "floor_div" : "modulo", e);
        return;
    }
    case EXPR_tree:
        text_printf(t, "%s(%s)", tree_function(s->w, e->fn, s->k->bufs.at[e->id].dtype), s->buf[e->id]);
        return;
    case EXPR_bitcast: put_op(s, t, e, prec); return;
    case EXPR_op:
        if ((e->fn == SCALAR_add || e->fn == SCALAR_sub || e->fn == SCALAR_mul || e->fn == SCALAR_neg) &&
            is_index(s, e))
            put_index_op(s, t, e, prec);
        else put_op(s, t, e, prec);
        return;
    }
}

/* -- Shared and deep nodes ------------------------------------------------------------------------------- */

enum { MAX_HEIGHT = 12 };
typedef struct { const expr *e; int uses, height; } node_use;
typedef struct { scope_text *s; vec(node_use) at; map_str index; } use_list;

static bool is_leaf(const expr *e)
{
    return e->kind == EXPR_const || e->kind == EXPR_var || e->kind == EXPR_temp || e->kind == EXPR_dim;
}

static int count_uses(use_list *u, const expr *e)
{
    if (is_leaf(e)) return 0;
    bool fresh;
    uint64_t *at = map_put(&u->index, (const char *)&e, sizeof e, (uint64_t)u->at.n, &fresh);
    if (!fresh) { u->at.at[*at].uses++; return u->at.at[*at].height; }
    int me = (int)u->at.n, height = 0;
    vec_push(u->s->w->a, &u->at, ((node_use){ e, 1, 0 }));
    for (int i = 0; i < e->n_args; i++) {
        int h = count_uses(u, e->args[i]);
        if (h > height) height = h;
    }
    height = height >= MAX_HEIGHT ? 1 : height + 1;
    u->at.at[me].height = height;
    return height;
}

static bool is_small_index(const scope_text *s, const expr *e, int *budget)
{
    if (--*budget < 0) return false;
    for (int i = 0; i < e->n_args; i++)
        if (!is_small_index(s, e->args[i], budget)) return false;
    return true;
}

static void put_named(scope_text *s, const expr *e, bool by_lane)
{
    const char *name = arena_printf(s->w->a, "e_%d", ++*s->n_made);
    if (by_lane) put_by_lane(s, e, name);
    else {
        start_line(s);
        text_printf(s->out, "const %s %s = ",
                    s->shape.lanes && varies(s, e) ? vector_type(s->w, s->shape, e->type) : c_type(e->type),
                    name);
        put_expr(s, s->out, e, BIND_any);
        text_put(s->out, ";\n");
    }
    vec_push(s->w->a, &s->named, ((named_expr){ e, name }));
}

enum { SEEN = -1, SEEN_AS_SCALAR = -2 };

/* as_scalar: part of an index, or of what is computed lane by lane. */
static void name_nodes(use_list *u, const expr *e, bool as_scalar)
{
    scope_text *s = u->s;
    bool in_lanes = s->shape.lanes && varies(s, e), by_lane = in_lanes && is_by_lane(s, e);
    bool is_number = e->kind == EXPR_var && by_lane && !as_scalar;       /* of the lane, as a value */
    if ((is_leaf(e) && !is_number) || name_of(s, e)) return;
    if (is_number) { put_named(s, e, true); return; }
    node_use *n = &u->at.at[*map_find(&u->index, (const char *)&e, sizeof e)];
    if (n->uses == SEEN || (n->uses == SEEN_AS_SCALAR && as_scalar)) return;
    bool wanted = n->uses > 1 || n->height >= MAX_HEIGHT || (by_lane && !as_scalar);
    n->uses = as_scalar && in_lanes ? SEEN_AS_SCALAR : SEEN;
    int budget = 8;
    if (wanted && is_index(s, e) && (in_lanes ? as_scalar : is_small_index(s, e, &budget))) wanted = false;
    bool is_scalar = as_scalar || by_lane || (in_lanes && e->kind == EXPR_load);
    for (int i = 0; i < e->n_args; i++) name_nodes(u, e->args[i], is_scalar);
    if (wanted) put_named(s, e, by_lane);
}

void name_shared(scope_text *s, int n_index, int n, const expr *const *roots)
{
    use_list u = { .s = s };
    s->named.n = 0;
    map_init(&u.index, s->w->a);
    for (int i = 0; i < n; i++) count_uses(&u, roots[i]);
    for (int i = 0; i < n; i++) name_nodes(&u, roots[i], i < n_index);
}
