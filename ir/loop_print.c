/* ir/loop_print.c: the text form of kernels and programs (docs/loop-program.md), read back by
 * ir/loop_parse.c.
 *
 * How    An expression prints with the fewest parentheses its precedences allow. A literal prints bare where
 *        its neighbours tell its type (the element type stored to, an index, another operand), else as
 *        f32(0.5); the parser resolves literals by the same rule, written at put_expr.
 *        Symbols print before the kernel that names them, in the order of their table, because dims are
 *        ordered by it.
 * Keeps  every bit: literals come from put_scalar.
 */
#include "ir/loop.h"
#include "ir/lex.h"
#include "ir/loop_names.h"
#include "ir/text.h"
#include "ir/loop_parse.h"

/* Precedence of the operators, loosest first; the parser has one function a level. */
enum { P_TERNARY, P_OR, P_AND, P_NOT, P_COMPARE, P_ADD, P_MUL, P_UNARY, P_PRIMARY };

typedef struct { const kernel_code *k; text *out; } printer;

static void put_expr(printer *p, const expr *e, dtype context, int level);

/* -- Literals and dims ----------------------------------------------------------------------------------- */

static void put_literal(printer *p, const expr *e, dtype context)
{
    uint8_t raw[8] = { 0 };
    sv_store(e->type, raw, e->value);
    bool bare = e->type == DTYPE_bool || e->type == context ||
                (context == DTYPE_NONE && e->type == DTYPE_i64);
    if (!bare) text_printf(p->out, "%s(", dtype_info[e->type].name);
    put_scalar(p->out, e->type, raw);
    if (!bare) text_put(p->out, ")");
}

/* Can the symbols of d stand in an expression, where names of the kernel come first? */
static bool is_readable(const kernel_code *k, dim d)
{
    dim_view v = dim_look(k->dims, d);
    if (v.kind == DIM_SYMBOL) {
        const char *s = dims_symbol_name(k->dims, v.symbol);
        int id;
        return !name_is_reserved(s, strlen(s)) && strcmp(name_clean(k->arena, s), s) == 0
            && name_find(k, s, strlen(s), &id) == NAME_absent;
    }
    for (int i = 0; i < v.n_args; i++)
        if (!is_readable(k, v.args[i])) return false;
    return true;
}

static void put_dim(printer *p, dim d, int level)
{
    static const int level_of[] = { [DIM_CONST] = P_PRIMARY, [DIM_SYMBOL] = P_PRIMARY, [DIM_SUM] = P_ADD,
                                    [DIM_PRODUCT] = P_MUL,   [DIM_FLOORDIV] = P_MUL,   [DIM_MOD] = P_MUL,
                                    [DIM_MIN] = P_PRIMARY,   [DIM_MAX] = P_PRIMARY };
    if (dim_is_bad(d) || !is_readable(p->k, d)) {
        text_put(p->out, "dim(");
        dim_print(p->k->dims, d, p->out);
        text_put(p->out, ")");
        return;
    }
    bool bare = level_of[dim_look(p->k->dims, d).kind] >= level;
    if (!bare) text_put(p->out, "(");
    dim_print(p->k->dims, d, p->out);
    if (!bare) text_put(p->out, ")");
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

static void put_index(printer *p, const char *name, int n, const expr *const *index)
{
    text_printf(p->out, "%s[", name);
    for (int i = 0; i < n; i++) {
        if (i) text_put(p->out, ", ");
        put_expr(p, index[i], DTYPE_i64, P_TERNARY);
    }
    text_put(p->out, "]");
}

/* Operands of equal type: one that is not a literal tells the type of the others; among literals only, the
 * first is written with its type. */
static void put_operand(printer *p, const expr *e, int i, int level)
{
    const expr *x = e->args[i];
    int first = e->kind == EXPR_op && e->fn == SCALAR_select ? 1 : 0;
    bool typed = false;
    for (int j = first; j < e->n_args; j++) typed |= e->args[j]->kind != EXPR_const;
    bool context = x->kind == EXPR_const && (typed || i > first);
    put_expr(p, x, context ? x->type : DTYPE_NONE, level);
}

static void put_infix(printer *p, const expr *e, const char *op, int level_of, int level)
{
    bool bare = level_of >= level;
    if (!bare) text_put(p->out, "(");
    bool chain = level_of == P_COMPARE;                       /* comparisons do not associate */
    put_operand(p, e, 0, chain ? level_of + 1 : level_of);
    text_put(p->out, op);
    bool merges = e->kind == EXPR_op && e->fn == SCALAR_add && e->args[1]->kind == EXPR_dim;   /* i + N + 1 */
    put_operand(p, e, 1, merges ? level_of : level_of + 1);
    if (!bare) text_put(p->out, ")");
}

static void put_call(printer *p, const expr *e)
{
    text_printf(p->out, "%s(", scalar_info[e->fn].name);
    for (int i = 0; i < e->n_args; i++) {
        if (i) text_put(p->out, ", ");
        put_operand(p, e, i, P_TERNARY);
    }
    text_put(p->out, ")");
}

static bool is_compare(const expr *e)
{
    return e->kind == EXPR_op && (e->fn == SCALAR_lt || e->fn == SCALAR_le);
}

/* lo <= x and x < hi as  lo <= x < hi */
static bool put_between(printer *p, const expr *e, int level)
{
    const expr *a = e->args[0], *b = e->args[1];
    if (!is_compare(a) || !is_compare(b) || !x_same(a->args[1], b->args[0]) || a->args[1]->kind == EXPR_const)
        return false;
    bool bare = P_COMPARE >= level;
    if (!bare) text_put(p->out, "(");
    put_operand(p, a, 0, P_ADD);
    text_put(p->out, a->fn == SCALAR_lt ? " < " : " <= ");
    put_operand(p, a, 1, P_ADD);
    text_put(p->out, b->fn == SCALAR_lt ? " < " : " <= ");
    put_operand(p, b, 1, P_ADD);
    if (!bare) text_put(p->out, ")");
    return true;
}

static void put_select(printer *p, const expr *e, dtype context, int level)
{
    bool bare = P_TERNARY >= level;
    if (!bare) text_put(p->out, "(");
    put_expr(p, e->args[0], DTYPE_NONE, P_OR);
    text_put(p->out, " ? ");
    for (int i = 1; i < 3; i++) {
        int branch = i == 1 ? P_OR : P_TERNARY;
        if (context != DTYPE_NONE) put_expr(p, e->args[i], context, branch);
        else put_operand(p, e, i, branch);
        if (i == 1) text_put(p->out, " : ");
    }
    if (!bare) text_put(p->out, ")");
}

static void put_unary(printer *p, const expr *e, const char *op, int level_of, int level)
{
    bool bare = level_of >= level;
    if (!bare) text_put(p->out, "(");
    text_put(p->out, op);
    put_operand(p, e, 0, level_of == P_UNARY ? P_PRIMARY : level_of);
    if (!bare) text_put(p->out, ")");
}

static void put_op(printer *p, const expr *e, dtype context, int level)
{
    bool logic = e->n_args > 0 && e->args[0]->type == DTYPE_bool;
    switch (e->fn) {
    case SCALAR_add: put_infix(p, e, " + ", P_ADD, level); return;
    case SCALAR_sub: put_infix(p, e, " - ", P_ADD, level); return;
    case SCALAR_mul: put_infix(p, e, e->type == DTYPE_i64 ? "*" : " * ", P_MUL, level); return;
    case SCALAR_div: put_infix(p, e, " / ", P_MUL, level); return;
    case SCALAR_lt:  put_infix(p, e, " < ", P_COMPARE, level); return;
    case SCALAR_le:  put_infix(p, e, " <= ", P_COMPARE, level); return;
    case SCALAR_eq:  put_infix(p, e, " == ", P_COMPARE, level); return;
    case SCALAR_neg: put_unary(p, e, "-", P_UNARY, level); return;
    case SCALAR_not: if (logic) { put_unary(p, e, "not ", P_NOT, level); return; } break;
    case SCALAR_or:  if (logic) { put_infix(p, e, " or ", P_OR, level); return; } break;
    case SCALAR_and:
        if (!logic) break;
        if (!put_between(p, e, level)) put_infix(p, e, " and ", P_AND, level);
        return;
    case SCALAR_select: put_select(p, e, context, level); return;
    case SCALAR_cast:
        text_printf(p->out, "%s(", dtype_info[e->type].name);
        put_expr(p, e->args[0], DTYPE_NONE, P_TERNARY);
        text_put(p->out, ")");
        return;
    default: break;
    }
    put_call(p, e);
}

/* context: the type that the place gives to a literal, or DTYPE_NONE. level: looser operators take
 * parentheses. */
static void put_expr(printer *p, const expr *e, dtype context, int level)
{
    switch (e->kind) {
    case EXPR_const:    put_literal(p, e, context); return;
    case EXPR_dim:      put_dim(p, e->dim, level); return;
    case EXPR_var:      text_put(p->out, p->k->vars.at[e->id].name); return;
    case EXPR_temp:     text_put(p->out, p->k->temps.at[e->id].name); return;
    case EXPR_load:     put_index(p, p->k->bufs.at[e->id].name, e->n_args, e->args); return;
    case EXPR_op:       put_op(p, e, context, level); return;
    case EXPR_floordiv: put_infix(p, e, " floordiv ", P_MUL, level); return;
    case EXPR_mod:      put_infix(p, e, " mod ", P_MUL, level); return;
    case EXPR_bitcast:
        text_printf(p->out, "bitcast(%s, ", dtype_info[e->type].name);
        put_expr(p, e->args[0], DTYPE_NONE, P_TERNARY);
        text_put(p->out, ")");
        return;
    case EXPR_tree:
        text_printf(p->out, "tree(%s, %s)", scalar_info[e->fn].name, p->k->bufs.at[e->id].name);
        return;
    }
}

void put_loop_expr(const kernel_code *k, const expr *e, dtype context, text *out)
{
    printer p = { .k = k, .out = out };
    put_expr(&p, e, context, P_TERNARY);
}

void x_print(const kernel_code *k, const expr *e, text *out)
{
    printer p = { .k = k, .out = out };
    put_expr(&p, e, DTYPE_NONE, P_TERNARY);
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static void put_shape(text *out, dims *d, dtype t, int rank, const dim *shape)
{
    text_printf(out, "%s[", dtype_info[t].name);
    for (int i = 0; i < rank; i++) {
        if (i) text_put(out, ", ");
        dim_print(d, shape[i], out);
    }
    text_put(out, "]");
}

static void put_indent(text *out, int depth)
{
    for (int i = 0; i < depth; i++) text_put(out, "  ");
}

static void put_block(printer *p, const block *b, int depth);

static void put_loop_head(printer *p, const stmt *s)
{
    text_printf(p->out, "%s in ", p->k->vars.at[s->var].name);
    put_expr(p, s->lo, DTYPE_i64, P_ADD);
    text_put(p->out, "..");
    put_expr(p, s->hi, DTYPE_i64, P_ADD);
}

/* The line of s without what is inside it; nested loops of one mark share a line: returns the innermost of
 * them. */
static const stmt *put_head(printer *p, const stmt *s)
{
    static const char *const mark[] = { [MARK_serial] = "for ", [MARK_parallel] = "parallel for ",
                                        [MARK_vector] = "vector for ", [MARK_unroll] = "unroll for " };
    const buffer *b = s->id >= 0 && s->kind != STMT_let ? &p->k->bufs.at[s->id] : NULL;
    switch (s->kind) {
    case STMT_for:
        text_put(p->out, mark[s->mark]);
        put_loop_head(p, s);
        while (s->body.n == 1 && s->body.at[0]->kind == STMT_for && s->body.at[0]->mark == s->mark) {
            s = s->body.at[0];
            text_put(p->out, ", ");
            put_loop_head(p, s);
        }
        break;
    case STMT_if:
        text_put(p->out, "if ");
        put_expr(p, s->cond, DTYPE_bool, P_OR);
        break;
    case STMT_let:
        text_printf(p->out, "let %s = ", p->k->temps.at[s->id].name);
        put_expr(p, s->value, DTYPE_NONE, P_TERNARY);
        break;
    case STMT_store:
        put_index(p, b->name, b->rank, s->index);
        text_put(p->out, " = ");
        put_expr(p, s->value, b->dtype, P_TERNARY);
        break;
    case STMT_alloc:
        text_printf(p->out, "%s %s: ", b->space == SPACE_reg ? "reg" : "stack", b->name);
        put_shape(p->out, p->k->dims, b->dtype, b->rank, b->dims);
        if (s->value) {
            text_put(p->out, " = ");
            put_expr(p, s->value, b->dtype, P_TERNARY);
        }
        break;
    case STMT_prefetch:
        text_put(p->out, s->for_write ? "prefetch write " : "prefetch ");
        put_index(p, b->name, b->rank, s->index);
        break;
    }
    return s;
}

static void put_stmt(printer *p, const stmt *s, int depth)
{
    put_indent(p->out, depth);
    s = put_head(p, s);
    if (s->kind == STMT_for || s->kind == STMT_if) {
        text_put(p->out, " {\n");
        put_block(p, &s->body, depth + 1);
        put_indent(p->out, depth);
        text_put(p->out, "}");
    }
    if (s->kind == STMT_if && s->other.n) {
        text_put(p->out, " else {\n");
        put_block(p, &s->other, depth + 1);
        put_indent(p->out, depth);
        text_put(p->out, "}");
    }
    text_put(p->out, "\n");
}

static void put_block(printer *p, const block *b, int depth)
{
    for (int i = 0; i < b->n; i++) put_stmt(p, b->at[i], depth);
}

void s_print_line(const kernel_code *k, const stmt *s, text *out)
{
    printer p = { .k = k, .out = out };
    put_head(&p, s);
}

/* -- Symbols --------------------------------------------------------------------------------------------- */

void symbols_use(symbol_set *u, dim d)
{
    if (dim_is_const(d, NULL) || dim_is_bad(d)) return;
    dim_view v = dim_look(u->d, d);
    if (v.kind == DIM_SYMBOL && v.symbol < u->n && !u->used[v.symbol]) {
        u->in_order &= v.symbol > u->last;
        u->last = v.symbol;
        u->used[v.symbol] = true;
    }
    for (int i = 0; i < v.n_args; i++) symbols_use(u, v.args[i]);
}

void symbols_use_expr(symbol_set *u, const expr *e)
{
    if (!e) return;
    if (e->kind == EXPR_dim) symbols_use(u, e->dim);
    for (int i = 0; i < e->n_args; i++) symbols_use_expr(u, e->args[i]);
}

static void use_block(symbol_set *u, const kernel_code *k, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        symbols_use_expr(u, s->lo);
        symbols_use_expr(u, s->hi);
        symbols_use_expr(u, s->cond);
        for (int j = 0; s->index && j < k->bufs.at[s->id].rank; j++) symbols_use_expr(u, s->index[j]);
        symbols_use_expr(u, s->value);
        use_block(u, k, &s->body);
        use_block(u, k, &s->other);
    }
}

void symbols_use_kernel(symbol_set *u, const kernel_code *k)
{
    for (int64_t i = 0; i < k->bufs.n; i++)
        for (int j = 0; j < k->bufs.at[i].rank; j++) symbols_use(u, k->bufs.at[i].dims[j]);
    use_block(u, k, &k->body);
}

symbol_set symbols_new(dims *d, arena *scratch)
{
    int n = dims_n_symbols(d);
    return (symbol_set){ d, NEW_ARRAY(scratch, bool, n), n, -1, true };
}

/* Symbols with the default bounds, in order, need no lines: their first use makes them. */
void symbols_print(const symbol_set *u, text *out)
{
    bool plain = u->in_order;
    int64_t lo, hi;
    for (int i = 0; i < u->n; i++) {
        if (!u->used[i]) continue;
        dims_symbol_range(u->d, i, &lo, &hi);
        plain &= lo == 0 && hi == TEXT_SYMBOL_HI;
    }
    if (plain) return;
    for (int i = 0; i < u->n; i++) {
        if (!u->used[i]) continue;
        dims_symbol_range(u->d, i, &lo, &hi);
        text_put(out, "symbol ");
        dim_print(u->d, dims_symbol(u->d, i), out);
        if (lo != 0 || hi != TEXT_SYMBOL_HI) text_printf(out, " in %lld..%lld", (long long)lo, (long long)hi);
        text_put(out, "\n");
    }
}

/* -- Kernels --------------------------------------------------------------------------------------------- */

const char *const buf_role_name[] = {
    [ROLE_in] = "in", [ROLE_out] = "out", [ROLE_inout] = "inout", [ROLE_const] = "const", [ROLE_none] = "none"
};
const char *const loop_role_name[LOOP_ROLES] = { [LOOP_plain] = "plain",           [LOOP_free_a] = "free_a",
                                                 [LOOP_free_b] = "free_b",         [LOOP_batch] = "batch",
                                                 [LOOP_window_out] = "window_out", [LOOP_sum] = "sum",
                                                 [LOOP_sum_window] = "sum_window", [LOOP_lane] = "lane" };

static void put_loops(const kernel_code *k, text *out)
{
    int n = 0;
    for (int64_t i = 0; i < k->vars.n; i++) {
        if (k->vars.at[i].role == LOOP_plain) continue;
        text_printf(out, "%s%s: %s", n++ ? ", " : "  loops ", k->vars.at[i].name,
                    loop_role_name[k->vars.at[i].role]);
    }
    if (n) text_put(out, "\n");
}

/* Without the symbols. */
void kernel_print_alone(const kernel_code *k, text *out)
{
    text_put(out, "kernel ");
    put_name(out, '@', k->name);
    text_put(out, "(");
    for (int i = 0; i < k->n_params; i++) {
        const buffer *b = &k->bufs.at[i];
        text_printf(out, "%s%s: ", i ? ", " : "", b->name);
        put_shape(out, k->dims, b->dtype, b->rank, b->dims);
        text_printf(out, " %s", buf_role_name[b->role]);
    }
    text_put(out, ")");
    if (k->anchor != ANCHOR_map) text_printf(out, " %s", anchor_name[k->anchor]);
    if (k->writes_early) text_put(out, " writes_early");
    text_put(out, " {\n");
    put_loops(k, out);
    if (k->schedule && *k->schedule) {
        text_put(out, "  schedule \"");
        text_put_escaped(out, k->schedule, strlen(k->schedule), SIZE_MAX);
        text_put(out, "\"\n");
    }
    printer p = { .k = k, .out = out };
    put_block(&p, &k->body, 1);
    text_put(out, "}\n");
}

void kernel_print(const kernel_code *k, text *out)
{
    arena *scratch = arena_new(arena_mem(k->arena));
    symbol_set u = symbols_new(k->dims, scratch);
    symbols_use_kernel(&u, k);
    symbols_print(&u, out);
    kernel_print_alone(k, out);
    arena_free(scratch);
}

const char *kernel_show(const kernel_code *k)
{
    text t = { .a = k->arena };
    kernel_print(k, &t);
    return text_str(&t);
}
