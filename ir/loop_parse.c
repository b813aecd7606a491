/* ir/loop_parse.c: reads kernels and programs (docs/loop-program.md), what ir/loop_print.c writes.
 *
 * How    Recursive descent over the tokens of ir/lex.h, nesting bounded by MAX_NESTING. Expressions are made
 *        by the makers of ir/loop.h, so what is read is canonical. A literal waits (pending) until a
 *        neighbour tells its type: the other operands of its operation, the element type stored to, the word
 *        before its parenthesis; an integer that nothing tells is i64.
 *        Names are bound from their line to the end of the block; loop variables of one name are one
 *        variable.
 * Errors the first one is reported with its line; the lexer then gives only END, so everything unwinds.
 */
#include "ir/loop.h"
#include "ir/lex.h"
#include "ir/loop_names.h"
#include "ir/loop_parse.h"

enum { MAX_NESTING = 200 };

typedef struct { const expr *e; bool pending; lex at; } operand;     /* pending: a literal at `at`, e unset */
typedef struct { const char *name; name_kind kind; int id; } binding;

typedef struct {
    lex *l;
    kernel_code *k;
    vec(binding) scope;
    dtype context;        /* what the expression being read is for: for a select of literals in parentheses */
    int depth;
} parser;

static bool read_operand(parser *p, dtype context, operand *o);
static bool read_expr(parser *p, dtype context, const expr **e);

static bool deeper(parser *p)
{
    if (++p->depth <= MAX_NESTING) return true;
    return lex_expected(p->l, "less nesting");
}

static bool fail_type(parser *p, place at, const char *what, dtype found)
{
    diag_expected(p->l->ctx, at, what, dtype_info[found].name);
    lex_fail(p->l);
    return false;
}

/* -- Names ----------------------------------------------------------------------------------------------- */

static const binding *find(const parser *p, const char *s, size_t n)
{
    for (int64_t i = p->scope.n - 1; i >= 0; i--)
        if (strlen(p->scope.at[i].name) == n && memcmp(p->scope.at[i].name, s, n) == 0)
            return &p->scope.at[i];
    return NULL;
}

static void bind(parser *p, const char *name, name_kind kind, int id)
{
    vec_push(p->k->arena, &p->scope, ((binding){ name, kind, id }));
}

static bool find_symbol(const parser *p, const char *s, size_t n, dim *d)
{
    for (int i = 0; i < dims_n_symbols(p->k->dims); i++) {
        const char *name = dims_symbol_name(p->k->dims, i);
        if (strlen(name) != n || memcmp(name, s, n) != 0) continue;
        *d = dims_symbol(p->k->dims, i);
        return true;
    }
    return false;
}

static bool unknown(parser *p, const char *kind)
{
    const char *name = arena_strndup(p->l->arena, p->l->tok.name, p->l->tok.name_n);
    diag_unknown_name(p->l->ctx, lex_place(p->l), kind, name);
    lex_fail(p->l);
    return false;
}

/* A fresh name where one is declared: NUL-terminated. */
static bool read_new_name(parser *p, const char *what, const char **name)
{
    if (!lex_at(p->l, TOK_IDENT)) return lex_expected(p->l, what);
    if (name_is_reserved(p->l->tok.name, p->l->tok.name_n))
        return lex_expected(p->l, arena_printf(p->l->arena, "%s (this word is taken)", what));
    *name = arena_strndup(p->l->arena, p->l->tok.name, p->l->tok.name_n);
    lex_next(p->l);
    return true;
}

static bool read_buffer(parser *p, int *buf)
{
    const binding *b = lex_at(p->l, TOK_IDENT) ? find(p, p->l->tok.name, p->l->tok.name_n) : NULL;
    if (!b || b->kind != NAME_buffer)
        return lex_at(p->l, TOK_IDENT) ? unknown(p, "buffer") : lex_expected(p->l, "a buffer");
    *buf = b->id;
    lex_next(p->l);
    return true;
}

/* -- Literals -------------------------------------------------------------------------------------------- */

static bool at_number(const lex *l)
{
    return lex_at(l, TOK_INT) || lex_at(l, TOK_FLOAT) || lex_is(l, "inf") || lex_is(l, "nan");
}

/* At a minus that belongs to a literal? */
static bool at_negative(const lex *l)
{
    if (!lex_is(l, "-")) return false;
    lex next = *l;
    lex_next(&next);
    return at_number(&next);
}

static bool read_literal(lex *l, kernel_code *k, dtype t, const expr **e)
{
    uint8_t raw[8] = { 0 };
    if (!lex_scalar(l, t, raw)) return false;
    *e = x_const(k, t, sv_load(t, raw));
    return true;
}

static void skip_literal(lex *l)
{
    if (lex_is(l, "-")) lex_next(l);
    bool is_nan = lex_is(l, "nan");
    lex_next(l);
    if (is_nan && lex_take(l, "(")) {
        lex_next(l);
        lex_need(l, ")");
    }
}

/* A pending literal gets its type; others are checked against it where `t` is one. */
static bool settle(parser *p, operand *o, dtype t)
{
    if (!o->pending) return true;
    if (t == DTYPE_NONE) {
        if (!lex_at(&o->at, TOK_INT) && !lex_is(&o->at, "-")) {
            diag_expected(p->l->ctx, lex_place(&o->at), "a literal whose type is known, as f32(0.5)",
                          "one without");
            lex_fail(p->l);
            return false;
        }
        t = DTYPE_i64;
    }
    o->pending = false;
    lex l = o->at;
    if (read_literal(&l, p->k, t, &o->e)) return true;
    p->l->failed = true;
    p->l->tok.kind = TOK_END;
    return false;
}

/* Operands of one type: pending ones take it from the first that has one, or from the context. */
static bool settle_all(parser *p, int n, operand *o, dtype context, place at)
{
    dtype t = DTYPE_NONE;
    for (int i = 0; i < n && t == DTYPE_NONE; i++)
        if (!o[i].pending) t = o[i].e->type;
    if (t == DTYPE_NONE) t = context;
    for (int i = 0; i < n; i++) {
        if (!settle(p, &o[i], t)) return false;
        if (i && o[i].e->type != o[0].e->type)
            return fail_type(
                p, at, arena_printf(p->l->arena, "operands of one type (%s)", dtype_info[o[0].e->type].name),
                o[i].e->type);
    }
    return true;
}

/* -- Operations ------------------------------------------------------------------------------------------ */

static bool accepts(scalar fn, dtype t) { return !is_storage(t) && scalar_accepts(fn, t); }

static bool make_op(parser *p, place at, scalar fn, int n, operand *o, dtype context, operand *out)
{
    const expr *args[3];
    int first = fn == SCALAR_select ? 1 : 0;
    if (first) {
        if (!settle(p, &o[0], DTYPE_bool)) return false;
        if (o[0].e->type != DTYPE_bool) return fail_type(p, at, "a condition of type bool", o[0].e->type);
    }
    if (!settle_all(p, n - first, o + first, context, at)) return false;
    for (int i = 0; i < n; i++) args[i] = o[i].e;
    if (fn != SCALAR_select && !accepts(fn, args[0]->type))
        return fail_type(p, at, arena_printf(p->l->arena, "a type that %s takes", scalar_info[fn].name),
                         args[0]->type);
    *out = (operand){ .e = x_op(p->k, fn, n, args) };
    return true;
}

static bool make_binary(parser *p, place at, scalar fn, operand *a, operand *b, operand *out)
{
    operand o[2] = { *a, *b };
    if (!make_op(p, at, fn, 2, o, DTYPE_NONE, out)) return false;
    return true;
}

static bool make_divmod(parser *p, place at, bool is_div, operand *a, operand *b, operand *out)
{
    if (!settle(p, a, DTYPE_i64) || !settle(p, b, DTYPE_i64)) return false;
    if (a->e->type != DTYPE_i64) return fail_type(p, at, "operands of type i64", a->e->type);
    if (b->e->type != DTYPE_i64) return fail_type(p, at, "operands of type i64", b->e->type);
    int64_t v;
    if (x_is_int(b->e, &v) && v <= 0) {
        diag_expected(p->l->ctx, at, "a positive divisor", arena_printf(p->l->arena, "%lld", (long long)v));
        lex_fail(p->l);
        return false;
    }
    *out = (operand){ .e = is_div ? x_floordiv(p->k, a->e, b->e) : x_mod(p->k, a->e, b->e) };
    return true;
}

/* -- Primaries ------------------------------------------------------------------------------------------- */

static bool read_index(parser *p, int buf, const expr **index)
{
    const buffer *b = &p->k->bufs.at[buf];
    if (!lex_need(p->l, "[")) return false;
    for (int i = 0; i < b->rank; i++) {
        if (i && !lex_need(p->l, ",")) return false;
        place at = lex_place(p->l);
        if (!read_expr(p, DTYPE_i64, &index[i])) return false;
        if (index[i]->type != DTYPE_i64) return fail_type(p, at, "an index of type i64", index[i]->type);
    }
    return lex_need(p->l, "]");
}

static bool read_call(parser *p, scalar fn, operand *o)
{
    place at = lex_place(p->l);
    operand args[3];
    int n = scalar_info[fn].arity;
    lex_next(p->l);
    if (!lex_need(p->l, "(")) return false;
    for (int i = 0; i < n; i++) {
        if (i && !lex_need(p->l, ",")) return false;
        if (!read_operand(p, DTYPE_NONE, &args[i])) return false;
    }
    return lex_need(p->l, ")") && make_op(p, at, fn, n, args, DTYPE_NONE, o);
}

/* f32(0.5), f32(x) */
static bool read_cast(parser *p, dtype to, operand *o)
{
    place at = lex_place(p->l);
    lex_next(p->l);
    if (!lex_need(p->l, "(") || !read_operand(p, DTYPE_NONE, o)) return false;
    if (o->pending) return settle(p, o, to) && lex_need(p->l, ")");
    if (is_storage(to) || is_storage(o->e->type))
        return fail_type(p, at, "a cast between computable types", is_storage(to) ? to : o->e->type);
    o->e = x_cast(p->k, o->e, to);
    return lex_need(p->l, ")");
}

static bool read_bitcast(parser *p, operand *o)
{
    place at = lex_place(p->l);
    dtype to;
    lex_next(p->l);
    if (!lex_need(p->l, "(") || !lex_dtype(p->l, &to) || !lex_need(p->l, ",") ||
        !read_expr(p, DTYPE_NONE, &o->e))
        return false;
    if (dtype_bytes(to) != dtype_bytes(o->e->type))
        return fail_type(p, at, arena_printf(p->l->arena, "a type as wide as %s", dtype_info[to].name),
                         o->e->type);
    *o = (operand){ .e = x_bitcast(p->k, o->e, to) };
    return lex_need(p->l, ")");
}

static bool read_tree(parser *p, operand *o)
{
    int buf;
    lex_next(p->l);
    if (!lex_need(p->l, "(")) return false;
    scalar fn = lex_at(p->l, TOK_IDENT) ? scalar_by_name(p->l->tok.name, p->l->tok.name_n) : SCALAR_COUNT;
    if (fn != SCALAR_add && fn != SCALAR_mul && fn != SCALAR_max && fn != SCALAR_min)
        return lex_expected(p->l, "add, mul, max or min");
    lex_next(p->l);
    if (!lex_need(p->l, ",") || !read_buffer(p, &buf)) return false;
    *o = (operand){ .e = x_tree(p->k, fn, buf) };
    return lex_need(p->l, ")");
}

static bool read_name(parser *p, operand *o)
{
    const token *t = &p->l->tok;
    const binding *b = find(p, t->name, t->name_n);
    dim d;
    if (!b) {
        dtype to = dtype_by_name(t->name, t->name_n);
        scalar fn = scalar_by_name(t->name, t->name_n);
        if (to != DTYPE_NONE) return read_cast(p, to, o);
        if (fn != SCALAR_COUNT && fn != SCALAR_cast) return read_call(p, fn, o);
        if (lex_is(p->l, "bitcast")) return read_bitcast(p, o);
        if (lex_is(p->l, "tree")) return read_tree(p, o);
        if (lex_is(p->l, "true") || lex_is(p->l, "false")) {
            *o = (operand){ .e = NULL };
            return read_literal(p->l, p->k, DTYPE_bool, &o->e);
        }
        if (lex_take(p->l, "dim")) {
            if (!lex_is(p->l, "(")) return lex_expected(p->l, "\"(\"");
            lex_next(p->l);
            if (!lex_dim(p->l, p->k->dims, &d)) return false;
            *o = (operand){ .e = x_dim(p->k, d) };
            return lex_need(p->l, ")");
        }
        if (!find_symbol(p, t->name, t->name_n, &d)) return unknown(p, "variable, temp, buffer or symbol");
        lex_next(p->l);
        *o = (operand){ .e = x_dim(p->k, d) };
        return true;
    }
    lex_next(p->l);
    if (b->kind == NAME_var) *o = (operand){ .e = x_var(p->k, b->id) };
    else if (b->kind == NAME_temp) *o = (operand){ .e = x_temp(p->k, b->id) };
    else {
        const expr *index[MAX_RANK];
        int id = b->id;
        if (!read_index(p, id, index)) return false;
        *o = (operand){ .e = x_load(p->k, id, index) };
    }
    return true;
}

static bool read_primary(parser *p, operand *o)
{
    if (at_number(p->l) || at_negative(p->l)) {
        *o = (operand){ .pending = true, .at = *p->l };
        skip_literal(p->l);
        return !p->l->failed;
    }
    if (lex_take(p->l, "(")) {
        if (!deeper(p) || !read_operand(p, p->context, o)) return false;
        p->depth--;
        return lex_need(p->l, ")");
    }
    if (!lex_at(p->l, TOK_IDENT)) return lex_expected(p->l, "an expression");
    if (!deeper(p) || !read_name(p, o)) return false;
    p->depth--;
    return true;
}

/* -- Operators, a function a level (the levels of ir/loop_print.c) --------------------------------------- */

static bool read_unary(parser *p, operand *o)
{
    if (!lex_is(p->l, "-") || at_negative(p->l)) return read_primary(p, o);
    place at = lex_place(p->l);
    operand x;
    lex_next(p->l);
    return deeper(p) && read_unary(p, &x) && (p->depth--, make_op(p, at, SCALAR_neg, 1, &x, DTYPE_NONE, o));
}

static bool read_product(parser *p, operand *o)
{
    if (!read_unary(p, o)) return false;
    for (;;) {
        place at = lex_place(p->l);
        operand a = *o, b;
        bool div = lex_is(p->l, "floordiv"), mod = lex_is(p->l, "mod"), mul = lex_is(p->l, "*");
        if (!div && !mod && !mul && !lex_is(p->l, "/")) return !p->l->failed;
        lex_next(p->l);
        if (!read_unary(p, &b)) return false;
        bool ok = div || mod ? make_divmod(p, at, div, &a, &b, o)
                             : make_binary(p, at, mul ? SCALAR_mul : SCALAR_div, &a, &b, o);
        if (!ok) return false;
    }
}

static bool read_sum(parser *p, operand *o)
{
    if (!read_product(p, o)) return false;
    while (lex_is(p->l, "+") || lex_is(p->l, "-")) {
        place at = lex_place(p->l);
        operand a = *o, b;
        scalar fn = lex_is(p->l, "+") ? SCALAR_add : SCALAR_sub;
        lex_next(p->l);
        if (!read_product(p, &b) || !make_binary(p, at, fn, &a, &b, o)) return false;
    }
    return !p->l->failed;
}

static bool at_compare(const parser *p, scalar *fn)
{
    *fn = lex_is(p->l, "<")    ? SCALAR_lt
          : lex_is(p->l, "<=") ? SCALAR_le
          : lex_is(p->l, "==") ? SCALAR_eq
                               : SCALAR_COUNT;
    return *fn != SCALAR_COUNT;
}

/* a < b, or a <= b < c: both */
static bool read_compare(parser *p, operand *o)
{
    operand a, b, c, left, right;
    scalar fn, next;
    if (!read_sum(p, &a)) return false;
    place at = lex_place(p->l);
    if (!at_compare(p, &fn)) { *o = a; return true; }
    lex_next(p->l);
    if (!read_sum(p, &b)) return false;
    if (!at_compare(p, &next)) return make_binary(p, at, fn, &a, &b, o);
    lex_next(p->l);
    if (!read_sum(p, &c)) return false;
    operand all[3] = { a, b, c };
    return settle_all(p, 3, all, DTYPE_NONE, at) && make_binary(p, at, fn, &all[0], &all[1], &left) &&
           make_binary(p, at, next, &all[1], &all[2], &right) &&
           make_binary(p, at, SCALAR_and, &left, &right, o);
}

static bool read_not(parser *p, operand *o)
{
    if (!lex_is(p->l, "not")) return read_compare(p, o);
    place at = lex_place(p->l);
    operand x;
    lex_next(p->l);
    return deeper(p) && read_not(p, &x) && (p->depth--, make_op(p, at, SCALAR_not, 1, &x, DTYPE_NONE, o));
}

static bool read_and(parser *p, operand *o)
{
    if (!read_not(p, o)) return false;
    while (lex_is(p->l, "and")) {
        place at = lex_place(p->l);
        operand a = *o, b;
        lex_next(p->l);
        if (!read_not(p, &b) || !make_binary(p, at, SCALAR_and, &a, &b, o)) return false;
    }
    return !p->l->failed;
}

static bool read_or(parser *p, operand *o)
{
    if (!read_and(p, o)) return false;
    while (lex_is(p->l, "or")) {
        place at = lex_place(p->l);
        operand a = *o, b;
        lex_next(p->l);
        if (!read_and(p, &b) || !make_binary(p, at, SCALAR_or, &a, &b, o)) return false;
    }
    return !p->l->failed;
}

/* The whole of an expression; it may come back pending. */
static bool read_operand(parser *p, dtype context, operand *o)
{
    operand c[3];
    dtype outer = p->context;
    p->context = context;
    if (!deeper(p) || !read_or(p, o)) return false;
    place at = lex_place(p->l);
    if (lex_take(p->l, "?")) {
        c[0] = *o;
        if (!read_operand(p, context, &c[1]) || !lex_need(p->l, ":") || !read_operand(p, context, &c[2]))
            return false;
        if (!make_op(p, at, SCALAR_select, 3, c, context, o)) return false;
    }
    p->depth--;
    p->context = outer;
    return true;
}

static bool read_expr(parser *p, dtype context, const expr **e)
{
    operand o;
    if (!read_operand(p, context, &o) || !settle(p, &o, context)) return false;
    *e = o.e;
    return true;
}

static bool read_typed(parser *p, dtype t, const expr **e)
{
    place at = lex_place(p->l);
    if (!read_expr(p, t, e)) return false;
    return (*e)->type == t ||
           fail_type(p, at, arena_printf(p->l->arena, "a value of type %s", dtype_info[t].name), (*e)->type);
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static bool read_block(parser *p, block *b);

static bool read_shape(lex *l, dims *d, dtype *t, int *rank, dim *shape)
{
    return lex_dtype(l, t) && lex_dim_list(l, d, MAX_RANK, rank, shape);
}

/* for a in 0..4, b in 0..8 { … } */
static bool read_loops(parser *p, block *b, loop_mark mark)
{
    int64_t mark_scope = p->scope.n;
    do {
        const char *name;
        const expr *lo, *hi;
        if (!deeper(p) || !read_new_name(p, "a loop variable", &name) || !lex_need(p->l, "in")) return false;
        if (!read_typed(p, DTYPE_i64, &lo) || !lex_need(p->l, "..") || !read_typed(p, DTYPE_i64, &hi))
            return false;
        int var = kernel_var(p->k, name, LOOP_plain);
        stmt *s = s_for(p->k, var, lo, hi, mark);
        bind(p, name, NAME_var, var);
        block_push(p->k, b, s);
        b = &s->body;
    } while (lex_take(p->l, ","));
    int loops = (int)(p->scope.n - mark_scope);
    if (!read_block(p, b)) return false;
    p->depth -= loops;
    p->scope.n = mark_scope;
    return true;
}

static bool read_if(parser *p, block *b)
{
    const expr *cond;
    if (!read_typed(p, DTYPE_bool, &cond)) return false;
    stmt *s = s_if(p->k, cond);
    block_push(p->k, b, s);
    if (!read_block(p, &s->body)) return false;
    if (!lex_take(p->l, "else")) return !p->l->failed;
    if (!lex_is(p->l, "if")) return read_block(p, &s->other);
    lex_next(p->l);
    return deeper(p) && read_if(p, &s->other) && (p->depth--, true);
}

static bool read_let(parser *p, block *b)
{
    const char *name;
    const expr *e;
    if (!read_new_name(p, "a name", &name) || !lex_need(p->l, "=") || !read_expr(p, DTYPE_NONE, &e))
        return false;
    int id = kernel_temp(p->k, name, e->type);
    block_push(p->k, b, s_let(p->k, id, e));
    bind(p, name, NAME_temp, id);
    return true;
}

static bool read_alloc(parser *p, block *b, buf_space space)
{
    const char *name;
    dtype t;
    int rank;
    dim shape[MAX_RANK];
    const expr *init = NULL;
    if (!read_new_name(p, "a buffer's name", &name) || !lex_need(p->l, ":")) return false;
    if (!read_shape(p->l, p->k->dims, &t, &rank, shape)) return false;
    if (lex_take(p->l, "=") && !read_typed(p, t, &init)) return false;
    if (p->l->failed) return false;
    int id = kernel_local(p->k, name, t, space, rank, shape);
    block_push(p->k, b, s_alloc(p->k, id, init));
    bind(p, name, NAME_buffer, id);
    return true;
}

static bool read_access(parser *p, block *b, bool prefetch)
{
    const expr *index[MAX_RANK], *e;
    int buf;
    bool write = prefetch && lex_take(p->l, "write");
    if (!read_buffer(p, &buf) || !read_index(p, buf, index)) return false;
    if (prefetch) {
        block_push(p->k, b, s_prefetch(p->k, buf, index, write));
        return true;
    }
    if (!lex_need(p->l, "=") || !read_typed(p, p->k->bufs.at[buf].dtype, &e)) return false;
    block_push(p->k, b, s_store(p->k, buf, index, e));
    return true;
}

static bool read_stmt(parser *p, block *b)
{
    static const struct { const char *word; loop_mark mark; } marks[] = {
        { "parallel", MARK_parallel }, { "vector", MARK_vector }, { "unroll", MARK_unroll } };
    if (lex_take(p->l, "for")) return read_loops(p, b, MARK_serial);
    for (int i = 0; i < 3; i++)
        if (lex_take(p->l, marks[i].word)) return lex_need(p->l, "for") && read_loops(p, b, marks[i].mark);
    if (lex_take(p->l, "if")) return read_if(p, b);
    if (lex_take(p->l, "let")) return read_let(p, b);
    if (lex_take(p->l, "reg")) return read_alloc(p, b, SPACE_reg);
    if (lex_take(p->l, "stack")) return read_alloc(p, b, SPACE_stack);
    if (lex_take(p->l, "prefetch")) return read_access(p, b, true);
    return read_access(p, b, false);
}

static bool read_block(parser *p, block *b)
{
    int64_t mark = p->scope.n;
    if (!deeper(p) || !lex_need(p->l, "{")) return false;
    while (!lex_take(p->l, "}")) {
        if (lex_at(p->l, TOK_END)) return lex_expected(p->l, "\"}\"");
        if (!read_stmt(p, b)) return false;
    }
    p->depth--;
    p->scope.n = mark;
    return !p->l->failed;
}

/* -- Kernels --------------------------------------------------------------------------------------------- */

/* symbol N in 1..64 */
bool loop_read_symbols(lex *l, dims *d)
{
    while (lex_take(l, "symbol")) {
        dim s;
        int64_t lo, hi;
        place at = lex_place(l);
        if (!lex_dim(l, d, &s)) return false;
        if (!lex_take(l, "in")) continue;
        if (!lex_int(l, &lo) || !lex_need(l, "..") || !lex_int(l, &hi)) return false;
        if (dim_look(d, s).kind != DIM_SYMBOL || !dim_symbol_bounds(d, s, lo, hi)) {
            diag_expected(l->ctx, at, "a symbol with bounds lo..hi", "none that fits");
            lex_fail(l);
            return false;
        }
    }
    return !l->failed;
}

/* A word of a table; n if it is none. */
static int read_word(lex *l, int n, const char *const *names)
{
    for (int i = 0; i < n; i++)
        if (lex_take(l, names[i])) return i;
    return n;
}

static bool read_params(parser *p)
{
    if (!lex_need(p->l, "(")) return false;
    while (!lex_take(p->l, ")")) {
        const char *name;
        dtype t;
        int rank;
        dim shape[MAX_RANK];
        if (p->scope.n && !lex_need(p->l, ",")) return false;
        if (!read_new_name(p, "a parameter", &name) || !lex_need(p->l, ":")) return false;
        if (!read_shape(p->l, p->k->dims, &t, &rank, shape)) return false;
        int role = read_word(p->l, ROLE_none + 1, buf_role_name);
        if (role > ROLE_none) return lex_expected(p->l, "in, out, inout or const");
        if (find(p, name, strlen(name))) return lex_expected(p->l, "parameters of different names");
        bind(p, name, NAME_buffer, kernel_param(p->k, name, t, (buf_role)role, rank, shape));
    }
    return !p->l->failed;
}

static bool read_loop_roles(parser *p)
{
    do {
        const char *name;
        if (!read_new_name(p, "a loop variable", &name) || !lex_need(p->l, ":")) return false;
        int role = read_word(p->l, LOOP_ROLES, loop_role_name);
        if (role == LOOP_ROLES) return lex_expected(p->l, "the role of a loop");
        kernel_var(p->k, name, (loop_role)role);
    } while (lex_take(p->l, ","));
    return !p->l->failed;
}

kernel_code *loop_read_kernel(lex *l, dlc_context *ctx, arena *a, dims *d)
{
    if (!lex_need(l, "kernel")) return NULL;
    if (!lex_at(l, TOK_NAME)) { lex_expected(l, "the kernel's @name"); return NULL; }
    parser p = { .l = l, .context = DTYPE_NONE };
    p.k = kernel_new(ctx, a, d, arena_strndup(a, l->tok.name, l->tok.name_n), ANCHOR_map);
    lex_next(l);
    if (!read_params(&p)) return NULL;
    int anchor = read_word(l, ANCHOR_COUNT, anchor_name);
    if (anchor < ANCHOR_COUNT) p.k->anchor = (anchor_kind)anchor;
    p.k->writes_early = lex_take(l, "writes_early");
    if (!lex_need(l, "{")) return NULL;
    if (lex_take(l, "loops") && !read_loop_roles(&p)) return NULL;
    if (lex_take(l, "schedule")) {
        if (!lex_at(l, TOK_STRING)) { lex_expected(l, "the schedule in quotes"); return NULL; }
        p.k->schedule = arena_strndup(a, l->tok.name, l->tok.name_n);
        lex_next(l);
    }
    while (!lex_take(l, "}")) {
        if (lex_at(l, TOK_END)) { lex_expected(l, "\"}\""); return NULL; }
        if (!read_stmt(&p, &p.k->body)) return NULL;
    }
    return l->failed ? NULL : p.k;
}

/* i64 expressions over a program's variables */
bool loop_read_expr(lex *l, kernel_code *k, const expr **e)
{
    parser p = { .l = l, .k = k, .context = DTYPE_NONE };
    for (int64_t i = 0; i < k->vars.n; i++) bind(&p, k->vars.at[i].name, NAME_var, (int)i);
    return read_typed(&p, DTYPE_i64, e);
}

kernel_code *kernel_parse(dlc_context *ctx, arena *a, dims *d, const char *file, const char *src, size_t n)
{
    lex l;
    lex_start(&l, ctx, a, file, src, n);
    if (!loop_read_symbols(&l, d)) return NULL;
    kernel_code *k = loop_read_kernel(&l, ctx, a, d);
    if (k && !lex_at(&l, TOK_END)) {
        lex_expected(&l, "the end of the text");
        return NULL;
    }
    return k;
}
