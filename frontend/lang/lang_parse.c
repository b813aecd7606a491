/* lang_parse: tokens to a tree, by recursive descent without backtracking (grammar.ebnf)
 *
 * One function a rule. The depth of nesting is limited (MAX_DEPTH), so that no text exhausts the C stack.
 */
#include "frontend/lang/ast.h"

enum { MAX_DEPTH = 200 };

typedef vec(ast *) ast_list;
typedef vec(const char *) name_list;
typedef struct { lang *l; const source *src; tokens t; int64_t at; int depth; bool in_train; } parser;

static token *now(parser *p) { return &p->t.at[p->at]; }
static token *peek(parser *p, int64_t k) { return &p->t.at[p->at + k < p->t.n ? p->at + k : p->t.n - 1]; }
static bool is_op(const token *t, const char *s) { return t->kind == T_OP && strcmp(t->name, s) == 0; }
static bool is_key(const token *t, const char *s) { return t->kind == T_KEYWORD && strcmp(t->name, s) == 0; }
static bool is_word(const token *t, const char *s) { return t->kind == T_NAME && strcmp(t->name, s) == 0; }
static bool at_op(parser *p, const char *s) { return is_op(now(p), s); }
static bool at_key(parser *p, const char *s) { return is_key(now(p), s); }

static const char *shown(parser *p, const token *t)
{
    if (t->kind == T_NL) return t->i ? "`;`" : "the end of the line";
    if (t->kind == T_END) return "the end of the file";
    return arena_printf(p->l->a, "`%.*s`", t->n > 60 ? 60 : t->n, t->at);
}

/* An error at a token; if the file ended inside a bracket, that is the error. */
#define FAIL(p, token_, help, row, ...)                                                                      \
    do {                                                                                                     \
        if ((p)->t.has_open && (token_)->kind == T_END)                                                      \
            lang_error((p)->l, (p)->src, (p)->t.open.line, (p)->t.open.col, NULL, never_closed,              \
                       (p)->t.open.name);                                                                    \
        lang_error((p)->l, (p)->src, (token_)->line, (token_)->col, help, row __VA_OPT__(, ) __VA_ARGS__);   \
    } while (0)

static void expect(parser *p, const char *s)
{
    if (!at_op(p, s)) FAIL(p, now(p), NULL, expected_token, s, shown(p, now(p)));
    p->at++;
}

static bool accept(parser *p, const char *s) { return at_op(p, s) ? p->at++, true : false; }

static const char *expect_name(parser *p, const char *what)
{
    if (now(p)->kind != T_NAME) FAIL(p, now(p), NULL, expected_what, what, shown(p, now(p)));
    return p->t.at[p->at++].name;
}

static const char *expect_word(parser *p, const char *what)
{
    if (now(p)->kind != T_NAME && now(p)->kind != T_KEYWORD)
        FAIL(p, now(p), NULL, expected_what, what, shown(p, now(p)));
    return p->t.at[p->at++].name;
}

static void enter(parser *p)
{
    if (++p->depth > MAX_DEPTH) FAIL(p, now(p), NULL, expression_too_deep, MAX_DEPTH);
}

static ast *new_at(parser *p, ast_kind k, const token *t)
{
    ast *x = NEW(p->l->a, ast);
    x->kind = k; x->src = p->src;
    x->line = x->op_line = t->line;
    x->col = x->op_col = t->col;
    return x;
}

static ast *new_here(parser *p, ast_kind k) { return new_at(p, k, now(p)); }
/* Begins where `first` does; its operator is at token op. */
static ast *new_op(parser *p, ast_kind k, const ast *first, const token *op)
{
    ast *x = new_at(p, k, op);
    x->line = first->line; x->col = first->col;
    return x;
}

static void set_kids(ast *x, ast_list v) { x->kid = v.at; x->n = (int)v.n; }

static ast *expr(parser *p);
static ast *or_expr(parser *p);
static ast *sum_expr(parser *p);
static ast *product_expr(parser *p);
static ast *unary(parser *p);
static ast *postfix(parser *p);
static ast *block(parser *p);
static ast *type_of_text(parser *p);

/* -- Types and parameters -------------------------------------------------------------------------------- */

static ast *spread(parser *p)
{
    ast *s = new_here(p, A_SPREAD);
    expect(p, "..");
    s->name = expect_name(p, "a name after `..`");
    return s;
}

static ast *type_of_text(parser *p)
{
    ast *t = new_here(p, A_TYPE);
    t->name = expect_name(p, "a type such as f32[N, 3]");
    if (!accept(p, "[")) return t;
    t->flag = true;
    ast_list dims = { 0 };
    int spreads = 0;
    while (!at_op(p, "]")) {
        if (at_op(p, "..") && spreads++) FAIL(p, now(p), NULL, one_rest_in_type);
        vec_push(p->l->a, &dims, at_op(p, "..") ? spread(p) : expr(p));
        if (!accept(p, ",")) break;
    }
    expect(p, "]");
    set_kids(t, dims);
    return t;
}

static ast *result_type(parser *p)
{
    enter(p);
    ast *r = new_here(p, A_RESULT);
    if (!at_op(p, "(")) { p->depth--; return type_of_text(p); }
    p->at++;
    ast_list kids = { 0 };
    name_list names = { 0 };
    while (!at_op(p, ")")) {
        const char *name = NULL;
        if (is_op(peek(p, 1), ":")) { name = expect_word(p, "a name"); p->at++; }
        vec_push(p->l->a, &names, name);
        vec_push(p->l->a, &kids, result_type(p));
        if (!accept(p, ",")) break;
    }
    expect(p, ")");
    set_kids(r, kids);
    r->names = names.at;
    p->depth--;
    return r;
}

static ast *params(parser *p)
{
    ast *x = new_here(p, A_PARAMS);
    ast_list kids = { 0 };
    expect(p, "(");
    while (!at_op(p, ")")) {
        ast *q = new_here(p, A_PARAM);
        q->name = expect_name(p, "a parameter's name");
        if (accept(p, ":")) q->a = type_of_text(p);
        if (accept(p, "=")) q->b = expr(p);
        vec_push(p->l->a, &kids, q);
        if (!accept(p, ",")) break;
    }
    expect(p, ")");
    set_kids(x, kids);
    return x;
}

static ast *body(parser *p)
{
    if (accept(p, "=")) return expr(p);
    if (at_op(p, "{")) return block(p);
    FAIL(p, now(p), NULL, expected_body, shown(p, now(p)));
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

static ast *indices_of(parser *p, ast *x)
{
    ast_list kids = { 0 };
    expect(p, "[");
    do {
        if (at_op(p, "]")) break;
        ast *i = new_here(p, A_INDEX);
        if (accept(p, "..")) { i->flag = true; i->name = expect_name(p, "a name after `..`"); }
        else {
            i->name = expect_name(p, "an index name");
            if (at_key(p, "in")) {
                p->at++;
                i->a = sum_expr(p);
                expect(p, "..");
                i->b = sum_expr(p);
            }
        }
        vec_push(p->l->a, &kids, i);
    } while (accept(p, ","));
    expect(p, "]");
    set_kids(x, kids);
    return x;
}

static ast *argument_list(parser *p, ast *call)
{
    ast_list kids = { 0 };
    bool named = false;
    expect(p, "(");
    while (!at_op(p, ")")) {
        ast *g = new_here(p, A_ARG);
        if ((now(p)->kind == T_NAME || now(p)->kind == T_KEYWORD) && is_op(peek(p, 1), ":")) {
            g->name = now(p)->name;
            p->at += 2;
            named = true;
        } else if (now(p)->kind == T_NAME && is_op(peek(p, 1), "=")) {
            FAIL(p, peek(p, 1), NULL, named_argument_form, now(p)->name);
        } else if (named) FAIL(p, now(p), NULL, positional_first);
        g->a = expr(p);
        if (!g->name) { g->line = g->a->line; g->col = g->a->col; }
        vec_push(p->l->a, &kids, g);
        if (!accept(p, ",")) break;
    }
    expect(p, ")");
    set_kids(call, kids);
    return call;
}

static ast *subscript(parser *p)
{
    ast *s = new_here(p, A_SLICE);
    if (at_op(p, "..")) {
        s->kind = A_SPREAD;
        p->at++;
        if (now(p)->kind == T_NAME) s->name = p->t.at[p->at++].name;
        return s;
    }
    if (!at_op(p, ":")) s->a = expr(p);
    if (!at_op(p, ":")) return s->a;
    p->at++;
    if (!at_op(p, ":") && !at_op(p, ",") && !at_op(p, "]")) s->b = expr(p);
    if (accept(p, ":") && !at_op(p, ",") && !at_op(p, "]")) s->c = expr(p);
    return s;
}

static ast *postfix_of(parser *p, ast *x)
{
    for (int n = 0;; n++) {
        token *t = now(p);
        if (n > 5000) FAIL(p, t, NULL, chain_too_long);
        bool same_line = p->at > 0 && p->t.at[p->at - 1].line == t->line;
        if (is_op(t, "(") && same_line) {
            ast *c = new_op(p, A_CALL, x, t);
            c->a = x;
            x = argument_list(p, c);
        } else if (is_op(t, "[") && same_line) {
            ast *s = new_op(p, A_SUB, x, t);
            ast_list kids = { 0 };
            s->a = x;
            p->at++;
            while (!at_op(p, "]")) {
                if (at_key(p, "else") && kids.n) { p->at++; expect(p, ":"); s->b = expr(p); break; }
                vec_push(p->l->a, &kids, subscript(p));
                if (!accept(p, ",")) break;
            }
            expect(p, "]");
            set_kids(s, kids);
            x = s;
        } else if (is_op(t, ".")) {
            p->at++;
            ast *f = new_op(p, A_FIELD, x, now(p));
            f->a = x;
            f->name = expect_word(p, "a field's name after `.`");
            x = f;
        } else return x;
    }
}

static ast *carries(parser *p, ast *loop)
{
    ast_list kids = { 0 };
    p->at++;
    do {
        ast *b = new_here(p, A_BIND);
        b->name = expect_name(p, "a carried name");
        expect(p, "=");
        b->a = expr(p);
        vec_push(p->l->a, &kids, b);
    } while (accept(p, ","));
    set_kids(loop, kids);
    return loop;
}

static ast *if_expr(parser *p)
{
    ast *first = NULL, *last = NULL;
    for (;;) {
        ast *x = new_here(p, A_IF);
        p->at++;
        x->a = expr(p);
        x->b = block(p);
        if (last) last->c = x; else first = x;
        last = x;
        if (!at_key(p, "else")) return first;
        p->at++;
        if (at_key(p, "if")) { enter(p); continue; }
        x->c = block(p);
        return first;
    }
}

static ast *loop_expr(parser *p)
{
    ast *x = new_here(p, at_key(p, "for") ? A_FOR : A_WHILE);
    p->at++;
    if (x->kind == A_WHILE) {
        x->a = expr(p);
        if (!at_key(p, "carry")) FAIL(p, now(p), NULL, while_needs_carry, shown(p, now(p)));
        carries(p, x);
    } else {
        x->name = expect_name(p, "a name after `for`");
        if (!at_key(p, "in")) FAIL(p, now(p), NULL, expected_in, shown(p, now(p)));
        p->at++;
        x->a = sum_expr(p);
        if (accept(p, "..")) x->b = sum_expr(p);
        if (at_key(p, "carry")) {
            if (!x->b) FAIL(p, now(p), NULL, run_time_loop_range);
            carries(p, x);
            x->flag = true;
        }
    }
    x->d = block(p);
    return x;
}

/* "(" expr ")", a tuple or a record. */
static ast *parenthesis(parser *p)
{
    ast *x = new_here(p, A_TUPLE);
    ast_list kids = { 0 };
    name_list names = { 0 };
    bool comma = false, named = false;
    expect(p, "(");
    while (!at_op(p, ")")) {
        const char *name = NULL;
        if ((now(p)->kind == T_NAME || now(p)->kind == T_KEYWORD) && is_op(peek(p, 1), ":")) {
            name = now(p)->name;
            p->at += 2;
            named = true;
        }
        vec_push(p->l->a, &names, name);
        vec_push(p->l->a, &kids, expr(p));
        if (!accept(p, ",")) break;
        comma = true;
    }
    expect(p, ")");
    if (kids.n == 1 && !comma && !named) return kids.at[0];
    set_kids(x, kids);
    x->names = names.at;
    return x;
}

/* Is there "=>" after the bracket that closes this "["? */
static bool is_comprehension(parser *p)
{
    int depth = 0;
    for (int64_t i = p->at; i < p->t.n; i++) {
        const token *t = &p->t.at[i];
        if (t->kind != T_OP) continue;
        if (strchr("([{", t->name[0])) depth++;
        else if (strchr(")]}", t->name[0]) && --depth == 0)
            return is_op(&p->t.at[i + 1 < p->t.n ? i + 1 : i], "=>");
    }
    return false;
}

static ast *list_expr(parser *p)
{
    ast *x = new_here(p, A_LIST);
    if (is_comprehension(p)) {
        x->kind = A_COMP;
        indices_of(p, x);
        expect(p, "=>");
        x->a = or_expr(p);
        return x;
    }
    ast_list kids = { 0 };
    expect(p, "[");
    while (!at_op(p, "]")) {
        vec_push(p->l->a, &kids, at_op(p, "..") ? spread(p) : expr(p));
        if (!accept(p, ",")) break;
    }
    expect(p, "]");
    set_kids(x, kids);
    return x;
}

static ast *function_expr(parser *p)
{
    ast *x = new_here(p, A_FN);
    p->at++;
    ast *q = params(p);
    x->kid = q->kid; x->n = q->n;
    if (accept(p, "->")) x->c = result_type(p);
    x->d = body(p);
    return x;
}

static ast *primary(parser *p)
{
    token *t = now(p);
    ast *x = new_here(p, A_INT);
    switch (t->kind) {
    case T_INT: x->i = t->i; p->at++; return x;
    case T_FLOAT: x->kind = A_FLOAT; x->f = t->f; p->at++; return x;
    case T_STRING: x->kind = A_STRING; x->name = t->name; p->at++; return x;
    case T_NAME: x->kind = A_NAME; x->name = t->name; p->at++; return x;
    case T_OP:
        if (is_op(t, "(")) return parenthesis(p);
        if (is_op(t, "[")) return list_expr(p);
        break;
    case T_KEYWORD:
        x->kind = is_key(t, "true") ? A_TRUE : is_key(t, "false") ? A_FALSE : A_NONE;
        if (is_key(t, "true") || is_key(t, "false") || is_key(t, "none")) { p->at++; return x; }
        if (is_key(t, "fn")) return function_expr(p);
        if (is_key(t, "if")) { int d = p->depth; x = if_expr(p); p->depth = d; return x; }
        if (is_key(t, "for") || is_key(t, "while")) return loop_expr(p);
        break;
    default: break;
    }
    FAIL(p, t, NULL, expected_expression, shown(p, t));
}

static ast *postfix(parser *p)
{
    enter(p);
    ast *x = postfix_of(p, primary(p));
    p->depth--;
    return x;
}

static bool is_reducer(const token *t)
{
    static const char *const names[] = {
        "sum", "prod", "mean", "max", "min", "any", "all", "argmax", "argmin"
    };
    if (t->kind != T_NAME) return false;
    for (int i = 0; i < 9; i++)
        if (strcmp(t->name, names[i]) == 0) return true;
    return false;
}

static ast *unary(parser *p)
{
    token *t = now(p);
    if (is_op(t, "-")) {
        enter(p);
        ast *x = new_here(p, A_UN);
        x->name = t->name;
        p->at++;
        x->a = unary(p);
        p->depth--;
        return x;
    }
    if (is_reducer(t) && is_op(peek(p, 1), "[") && !(p->at > 0 && is_op(&p->t.at[p->at - 1], "."))) {
        enter(p);
        ast *x = new_here(p, A_REDUCE);
        x->name = t->name;
        p->at++;
        indices_of(p, x);
        x->a = product_expr(p);
        p->depth--;
        return x;
    }
    ast *x = postfix(p);
    if (!at_op(p, "**")) return x;
    ast *b = new_op(p, A_BIN, x, now(p));
    b->name = now(p)->name;
    p->at++;
    enter(p);
    b->a = x;
    b->b = unary(p);
    p->depth--;
    return b;
}

static bool at_one_of(parser *p, const char *const *ops)
{
    if (now(p)->kind != T_OP && now(p)->kind != T_KEYWORD) return false;
    for (int i = 0; ops[i]; i++)
        if (strcmp(now(p)->name, ops[i]) == 0) return true;
    return false;
}

/* next { op next }, grouped to the left */
static ast *left(parser *p, const char *const *ops, ast *(*next)(parser *))
{
    ast *x = next(p);
    for (int n = 0; at_one_of(p, ops); n++) {
        token *t = now(p);
        if (t->kind == T_OP && is_op(peek(p, 1), "=") && t->at + t->n == peek(p, 1)->at)
            FAIL(p, t, NULL, no_compound_assignment, t->name);
        if (n > 150) FAIL(p, t, NULL, expression_too_long);
        ast *b = new_op(p, A_BIN, x, t);
        b->name = t->name;
        p->at++;
        b->a = x;
        b->b = next(p);
        x = b;
    }
    return x;
}

static ast *product_expr(parser *p)
{
    static const char *const ops[] = { "*", "/", "//", "%", "@", NULL };
    return left(p, ops, unary);
}

static ast *sum_expr(parser *p)
{
    static const char *const ops[] = { "+", "-", NULL };
    return left(p, ops, product_expr);
}

static ast *compare(parser *p)
{
    static const char *const ops[] = { "==", "!=", "<", "<=", ">", ">=", NULL };
    ast *x = sum_expr(p);
    if (!at_one_of(p, ops)) return x;
    ast *b = new_op(p, A_BIN, x, now(p));
    b->name = now(p)->name;
    p->at++;
    b->a = x;
    b->b = sum_expr(p);
    if (at_one_of(p, ops)) FAIL(p, now(p), NULL, comparison_chain);
    return b;
}

static ast *not_expr(parser *p)
{
    if (!at_key(p, "not")) return compare(p);
    ast *x = new_here(p, A_UN);
    x->name = now(p)->name;
    p->at++;
    enter(p);
    x->a = not_expr(p);
    p->depth--;
    return x;
}

static ast *and_expr(parser *p)
{
    static const char *const ops[] = { "and", NULL };
    return left(p, ops, not_expr);
}

static ast *or_expr(parser *p)
{
    static const char *const ops[] = { "or", NULL };
    return left(p, ops, and_expr);
}

static ast *expr(parser *p)
{
    enter(p);
    ast *x = or_expr(p);
    for (int n = 0; at_op(p, "|>"); n++) {
        if (n > 1000) FAIL(p, now(p), NULL, pipe_too_long);
        p->at++;
        if (at_op(p, ".")) {
            p->at++;
            ast *f = new_op(p, A_FIELD, x, now(p));
            f->a = x;
            f->name = expect_word(p, "a field's name after `.`");
            x = f;
            continue;
        }
        ast *b = new_op(p, A_PIPE, x, now(p));
        b->a = x;
        b->b = postfix(p);
        x = b;
    }
    p->depth--;
    return x;
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static bool is_binding(parser *p)
{
    int64_t i = 0;
    while (peek(p, i)->kind == T_NAME && is_op(peek(p, i + 1), ",")) i += 2;
    return peek(p, i)->kind == T_NAME && is_op(peek(p, i + 1), "=");
}

static ast *binding(parser *p)
{
    ast *b = new_here(p, A_BIND);
    ast_list names = { 0 };
    do {
        ast *n = new_here(p, A_NAME);
        n->name = expect_name(p, "a name");
        vec_push(p->l->a, &names, n);
    } while (accept(p, ","));
    set_kids(b, names);
    expect(p, "=");
    b->a = expr(p);
    return b;
}

static ast *param_statement(parser *p)
{
    ast *x = new_here(p, at_key(p, "param") ? A_PARAM_ST : A_STATE_ST);
    p->at++;
    x->name = expect_name(p, "a name");
    expect(p, ":");
    x->a = type_of_text(p);
    if (accept(p, "~")) { x->flag = true; x->b = postfix(p); }
    else if (accept(p, "=")) x->b = expr(p);
    else FAIL(p, now(p), NULL, expected_initial_value, shown(p, now(p)));
    return x;
}

static ast *minimize(parser *p)
{
    ast *x = new_here(p, A_MINIMIZE);
    ast_list over = { 0 };
    p->at++;
    x->a = expr(p);
    if (is_word(now(p), "over")) {
        do { p->at++; vec_push(p->l->a, &over, postfix(p)); } while (at_op(p, ","));
    }
    set_kids(x, over);
    if (!is_word(now(p), "with"))
        lang_error(p->l, p->src, x->line, x->col, NULL, minimize_needs_with);
    p->at++;
    x->b = postfix(p);
    if (is_word(now(p), "clip")) { p->at++; x->c = postfix(p); }
    return x;
}

static ast *train_statement(parser *p)
{
    ast *x;
    if (at_key(p, "data")) {
        x = new_here(p, A_DATA);
        p->at++;
        x->name = expect_name(p, "a name");
        expect(p, "=");
        x->a = expr(p);
    } else if (at_key(p, "minimize")) x = minimize(p);
    else if (at_key(p, "report")) {
        x = new_here(p, A_REPORT);
        p->at++;
        if ((now(p)->kind == T_NAME || now(p)->kind == T_KEYWORD) && is_op(peek(p, 1), ":")) {
            x->name = now(p)->name;
            p->at += 2;
        }
        x->a = expr(p);
    } else {
        x = new_here(p, A_SEARCH);
        ast_list kids = { 0 };
        do {
            p->at++;
            ast *g = new_here(p, A_ARG);
            g->name = expect_name(p, "a constant's name");
            if (!at_key(p, "in")) FAIL(p, now(p), NULL, expected_in, shown(p, now(p)));
            p->at++;
            g->a = expr(p);
            vec_push(p->l->a, &kids, g);
        } while (at_op(p, ","));
        set_kids(x, kids);
    }
    return x;
}

static ast *statement(parser *p, bool in_train)
{
    token *t = now(p);
    if (is_binding(p)) return binding(p);
    if (is_key(t, "param") || is_key(t, "state")) return param_statement(p);
    if (is_key(t, "assert")) {
        ast *x = new_here(p, A_ASSERT);
        p->at++;
        x->a = expr(p);
        expect(p, ",");
        x->b = expr(p);
        return x;
    }
    if (is_key(t, "yield")) {
        ast *x = new_here(p, A_YIELD);
        p->at++;
        x->a = expr(p);
        return x;
    }
    if (is_key(t, "data") || is_key(t, "minimize") || is_key(t, "report") || is_key(t, "search")) {
        if (!in_train) FAIL(p, t, NULL, only_in_train, t->name);
        return train_statement(p);
    }
    return expr(p);
}

/* What follows a statement must end it. */
static void end_statement(parser *p, const token *first, int64_t n_tokens)
{
    token *t = now(p);
    if (t->kind == T_NL) { p->at++; return; }
    if (is_op(t, "}")) return;
    if (t->kind == T_END) FAIL(p, t, NULL, expected_new_line);
    if (n_tokens == 1 && first->kind == T_NAME && t->kind != T_OP) {
        if (strcmp(first->name, "return") == 0) FAIL(p, first, NULL, no_return);
        FAIL(p, first,
             strcmp(first->name, "let") == 0 || strcmp(first->name, "var") == 0
                 ? "a binding is `name = value`"
                 : NULL,
             unexpected_token, first->name);
    }
    bool glued = t->kind == T_OP && is_op(peek(p, 1), "=") && t->at + t->n == peek(p, 1)->at;
    if (glued) FAIL(p, t, NULL, no_compound_assignment, t->name);
    FAIL(p, t, is_op(t, "=") ? NULL : "to go on computing with a pipe's result, put the pipe in parentheses",
         expected_new_line_before, shown(p, t));
}

static ast *block_of(parser *p, bool in_train)
{
    enter(p);
    ast *x = new_here(p, A_BLOCK);
    ast_list kids = { 0 };
    if (!at_op(p, "{")) FAIL(p, now(p), NULL, expected_block, shown(p, now(p)));
    p->at++;
    while (!at_op(p, "}")) {
        if (now(p)->kind == T_NL) { p->at++; continue; }
        token *first = now(p);
        int64_t at = p->at;
        vec_push(p->l->a, &kids, statement(p, in_train));
        end_statement(p, first, p->at - at);
    }
    p->at++;
    set_kids(x, kids);
    p->depth--;
    return x;
}

static ast *block(parser *p) { return block_of(p, false); }

/* -- Definitions ----------------------------------------------------------------------------------------- */

static ast *definition(parser *p)
{
    token *t = now(p);
    ast *x = new_here(p, A_USE);
    if (is_key(t, "use")) {
        p->at++;
        if (now(p)->kind != T_STRING) FAIL(p, now(p), NULL, expected_file_name, shown(p, now(p)));
        x->name = now(p)->name;
        p->at++;
        if (is_word(now(p), "as")) { p->at++; x->as = expect_name(p, "a name after `as`"); }
        return x;
    }
    if (t->kind == T_NAME && is_op(peek(p, 1), "=")) {
        x->kind = A_CONST;
        x->name = t->name;
        p->at += 2;
        x->d = expr(p);
        return x;
    }
    bool fn = is_key(t, "fn"), layer = is_key(t, "layer"), model = is_key(t, "model"),
         train = is_key(t, "train"), op = is_key(t, "op");
    if (!fn && !layer && !model && !train && !op)
        FAIL(p, t, NULL, expected_definition, shown(p, t));
    x->kind = fn ? A_DEF_FN : layer ? A_DEF_LAYER : model ? A_DEF_MODEL : train ? A_DEF_TRAIN : A_DEF_OP;
    p->at++;
    x->line = now(p)->line; x->col = now(p)->col;
    x->name = expect_name(p, "a name");
    if (op) {
        text full = { .a = p->l->a };
        text_put(&full, x->name);
        while (accept(p, ".")) { text_put(&full, "."); text_put(&full, expect_name(p, "a name")); }
        x->name = lang_intern(p->l, text_str(&full), strlen(text_str(&full)));
    }
    if (train) {
        if (at_op(p, "(")) {
            x->a = new_here(p, A_CALL);
            argument_list(p, x->a);
            for (int i = 0; i < x->a->n; i++)
                if (!x->a->kid[i]->name)
                    lang_error(p->l, p->src, x->a->kid[i]->line, x->a->kid[i]->col, NULL, setting_by_name);
        }
        x->d = block_of(p, true);
        return x;
    }
    x->a = params(p);
    if (layer || op) {
        int64_t k = now(p)->kind == T_NL ? 1 : 0;
        if (is_op(peek(p, k), "(")) { p->at += k; x->b = params(p);
        } else if (layer)
            lang_error(p->l, p->src, x->line, x->col, arena_printf(p->l->a, "layer %s()(x: ...)", x->name),
                       layer_needs_two_lists, x->name);
        else { x->b = x->a; x->a = NULL; }
    }
    if (accept(p, "->")) x->c = result_type(p);
    else if (model || op)
        lang_error(p->l, p->src, x->line, x->col, NULL, must_declare_outputs, model ? "model" : "op",
                   x->name);
    if (model)
        for (int i = 0; i < x->a->n; i++)
            if (!x->a->kid[i]->a)
                lang_error(p->l, p->src, x->a->kid[i]->line, x->a->kid[i]->col, NULL, model_input_needs_type,
                           x->a->kid[i]->name, x->name);
    x->d = body(p);
    return x;
}

ast *lang_parse(lang *l, const source *src)
{
    parser p = { .l = l, .src = src, .t = lang_lex(l, src) };
    ast *f = new_here(&p, A_FILE);
    ast_list kids = { 0 };
    while (now(&p)->kind != T_END) {
        if (now(&p)->kind == T_NL) { p.at++; continue; }
        token *first = now(&p);
        int64_t at = p.at;
        vec_push(l->a, &kids, definition(&p));
        if (now(&p)->kind != T_END) end_statement(&p, first, p.at - at);
        else if (p.t.has_open) FAIL(&p, now(&p), NULL, unclosed);
    }
    if (p.t.has_open) FAIL(&p, now(&p), NULL, unclosed);
    set_kids(f, kids);
    return f;
}
