/* ir/loop_verify.c: what every kernel must satisfy. The rules, each with a test in
 * tests/loop/test_loop_verify.c:
 *
 *    1  buffers, variables and temps exist; accesses have their buffer's rank
 *    2  operands have the types that operations take; indices and bounds are i64, conditions bool, values
 *       their buffer's type
 *    3  a variable is used inside its loop; loops of one variable do not nest
 *    4  a temp is used after its let, in the same block or inside; it has one let
 *    5  a local buffer is used after its alloc, in the same block or inside; it has one; parameters have none
 *    6  `in` and `const` parameters are not stored to
 *    7  f16, bf16 and storage types are loaded, stored, cast, bitcast and selected, nothing else
 *    8  locals have constant extents; vector and unroll loops too; divisors that are constant are positive
 *    9  no loop is inside a vector loop but unrolled and serial ones; no parallel loop inside an unrolled one
 *   10  tree combines by add, mul, max or min a buffer of 16 elements
 *   11  iterations of a vector loop touch different elements of whatever is stored in it
 *   12  iterations of a parallel loop do too
 *
 * 11, 12 are proved in ir/apart.c. What cannot be proved is a violation: the rewrite that set the mark had no
 * reason to.
 * Cost   linear, but for 11 and 12: stores times accesses of one buffer in one loop.
 */
#include "ir/apart.h"

typedef struct {
    dlc_context *ctx;
    kernel_code *k;           /* a copy whose arena is scratch */
    const char *when;
    const stmt *at;
    bool *var, *temp, *buf;   /* in scope */
    bool *had_let, *had_alloc;
    bool in_vector, in_unroll;
    bool broken;              /* a rule 1 was violated: statements may not be printable */
    bool ok;
} checker;

static void report(checker *c, int rule, const char *what)
{
    text s = { .a = c->k->arena };
    c->broken |= rule == 1;
    if (c->at && !c->broken) s_print_line(c->k, c->at, &s);
    diag_loop_verify(c->ctx, (place){ 0 }, c->when, c->k->name, text_str(&s), rule, what);
    c->ok = false;
}

static const char *say(checker *c, const char *fmt, const char *a)
{
    return arena_printf(c->k->arena, fmt, a);
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

static bool is_narrow(dtype t) { return t == DTYPE_f16 || t == DTYPE_bf16 || is_storage(t); }

static bool buffer_exists(checker *c, int id, int rank)
{
    if (id < 0 || id >= c->k->bufs.n) { report(c, 1, "no such buffer"); return false; }
    if (rank >= 0 && rank != c->k->bufs.at[id].rank) {
        report(c, 1, say(c, "access to %s of another rank", c->k->bufs.at[id].name));
        return false;
    }
    if (!c->buf[id])
        report(c, 5, say(c, "%s is used before its alloc, or outside its block", c->k->bufs.at[id].name));
    return true;
}

static void check_expr(checker *c, const expr *e);

static void check_index(checker *c, const expr *e)
{
    check_expr(c, e);
    if (e->type != DTYPE_i64) report(c, 2, "an index, bound or divisor that is not i64");
}

static void check_op(checker *c, const expr *e)
{
    const scalar_row *row = &scalar_info[e->fn];
    int first = row->result == RESULT_SELECT ? 1 : 0;
    if (e->n_args != row->arity) {
        report(c, 1, say(c, "%s with a wrong number of operands", row->name));
        return;
    }
    dtype t = e->args[first]->type;
    for (int i = first; i < e->n_args; i++)
        if (e->args[i]->type != t) report(c, 2, say(c, "%s of different types", row->name));
    if (first && e->args[0]->type != DTYPE_bool) report(c, 2, "a condition that is not bool");
    dtype result = row->result == RESULT_CMP ? DTYPE_bool : row->result == RESULT_CAST ? e->type : t;
    if (e->type != result) report(c, 2, say(c, "%s with a wrong type of result", row->name));
    if (row->result == RESULT_SELECT) return;
    bool casts = row->result == RESULT_CAST;
    if ((is_narrow(t) && !casts) || (casts && (is_storage(t) || is_storage(e->type))))
        report(c, 7, say(c, "%s of a type that is only stored", row->name));
    else if (!casts && !scalar_accepts(e->fn, t))
        report(c, 2, say(c, "%s of a type that it does not take", row->name));
}

static void check_tree(checker *c, const expr *e)
{
    if (!buffer_exists(c, e->id, -1)) return;
    int64_t n;
    const buffer *b = &c->k->bufs.at[e->id];
    if (!dim_is_const(dim_product(c->k->dims, b->dims, b->rank), &n) || n != 16)
        report(c, 10, "tree of a buffer that has not 16 elements");
    if (e->fn != SCALAR_add && e->fn != SCALAR_mul && e->fn != SCALAR_max && e->fn != SCALAR_min)
        report(c, 10, "tree by another function");
    else if (is_narrow(b->dtype)) report(c, 7, "tree of a type that is only stored");
}

static void check_expr(checker *c, const expr *e)
{
    int64_t v;
    switch (e->kind) {
    case EXPR_const:
        return;
    case EXPR_dim:
        if (dim_is_bad(e->dim)) report(c, 1, "a dim that overflows");
        return;
    case EXPR_var:
        if (e->id < 0 || e->id >= c->k->vars.n) report(c, 1, "no such variable");
        else if (!c->var[e->id])
            report(c, 3, say(c, "%s is used outside its loop", c->k->vars.at[e->id].name));
        return;
    case EXPR_temp:
        if (e->id < 0 || e->id >= c->k->temps.n) report(c, 1, "no such temp");
        else if (!c->temp[e->id])
            report(c, 4,
                   say(c, "%s is used before its let, or outside its block", c->k->temps.at[e->id].name));
        else if (e->type != c->k->temps.at[e->id].type) report(c, 2, "a temp of another type");
        return;
    case EXPR_load:
        if (!buffer_exists(c, e->id, e->n_args)) return;
        if (e->type != c->k->bufs.at[e->id].dtype) report(c, 2, "a load of another type");
        for (int i = 0; i < e->n_args; i++) check_index(c, e->args[i]);
        return;
    case EXPR_floordiv: case EXPR_mod:
        for (int i = 0; i < 2; i++) check_index(c, e->args[i]);
        if (x_is_int(e->args[1], &v) && v <= 0) report(c, 8, "a divisor that is not positive");
        return;
    case EXPR_op:
        for (int i = 0; i < e->n_args; i++) check_expr(c, e->args[i]);
        check_op(c, e);
        return;
    case EXPR_bitcast:
        check_expr(c, e->args[0]);
        if (dtype_bytes(e->type) != dtype_bytes(e->args[0]->type)) report(c, 2, "a bitcast to another width");
        return;
    case EXPR_tree:
        check_tree(c, e);
        return;
    }
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static void check_block(checker *c, const block *b);

static void check_for(checker *c, const stmt *s)
{
    int64_t n;
    check_index(c, s->lo);
    check_index(c, s->hi);
    if (s->var < 0 || s->var >= c->k->vars.n) { report(c, 1, "no such variable"); return; }
    if (c->var[s->var]) {
        report(c, 3, say(c, "a loop over %s inside another one", c->k->vars.at[s->var].name));
        return;
    }
    bool is_vector = s->mark == MARK_vector, is_unroll = s->mark == MARK_unroll;
    if ((is_vector || is_unroll) && !x_is_int(x_sub(c->k, s->hi, s->lo), &n))
        report(c, 8, "the extent is not constant");
    if (c->in_vector && (is_vector || s->mark == MARK_parallel)) report(c, 9, "inside a vector loop");
    if (c->in_unroll && s->mark == MARK_parallel) report(c, 9, "a parallel loop inside an unrolled one");
    bool vector = c->in_vector, unroll = c->in_unroll;
    c->in_vector |= is_vector;
    c->in_unroll |= is_unroll;
    c->var[s->var] = true;
    check_block(c, &s->body);
    c->var[s->var] = false;
    c->in_vector = vector;
    c->in_unroll = unroll;
}

static void check_store(checker *c, const stmt *s)
{
    if (!buffer_exists(c, s->id, -1)) return;
    const buffer *b = &c->k->bufs.at[s->id];
    for (int i = 0; i < b->rank; i++) check_index(c, s->index[i]);
    if (s->kind == STMT_prefetch) return;
    check_expr(c, s->value);
    if (s->value->type != b->dtype) report(c, 2, say(c, "%s holds another type", b->name));
    if (b->space == SPACE_param && (b->role == ROLE_in || b->role == ROLE_const))
        report(c, 6, say(c, "%s is only read", b->name));
}

static void check_alloc(checker *c, const stmt *s)
{
    if (s->id < 0 || s->id >= c->k->bufs.n) { report(c, 1, "no such buffer"); return; }
    const buffer *b = &c->k->bufs.at[s->id];
    if (b->space == SPACE_param) report(c, 5, "an alloc of a parameter");
    else if (c->had_alloc[s->id]) report(c, 5, say(c, "another alloc of %s", b->name));
    for (int i = 0; i < b->rank; i++)
        if (!dim_is_const(b->dims[i], NULL)) {
            report(c, 8, say(c, "%s has an open extent", b->name));
            break;
        }
    if (s->value) {
        check_expr(c, s->value);
        if (s->value->type != b->dtype) report(c, 2, say(c, "%s holds another type", b->name));
    }
    c->buf[s->id] = c->had_alloc[s->id] = true;
}

static void check_stmt(checker *c, const stmt *s)
{
    c->at = s;
    switch (s->kind) {
    case STMT_for: check_for(c, s); return;
    case STMT_if:
        check_expr(c, s->cond);
        if (s->cond->type != DTYPE_bool) report(c, 2, "a condition that is not bool");
        check_block(c, &s->body);
        check_block(c, &s->other);
        return;
    case STMT_let:
        check_expr(c, s->value);
        if (s->id < 0 || s->id >= c->k->temps.n) { report(c, 1, "no such temp"); return; }
        if (c->had_let[s->id]) report(c, 4, say(c, "another let of %s", c->k->temps.at[s->id].name));
        if (s->value->type != c->k->temps.at[s->id].type) report(c, 2, "a temp of another type");
        c->temp[s->id] = c->had_let[s->id] = true;
        return;
    case STMT_store: case STMT_prefetch: check_store(c, s); return;
    case STMT_alloc: check_alloc(c, s); return;
    }
}

/* What a block defines ends with it. */
static void check_block(checker *c, const block *b)
{
    for (int i = 0; i < b->n; i++) check_stmt(c, b->at[i]);
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        if (s->kind == STMT_let && s->id >= 0 && s->id < c->k->temps.n) c->temp[s->id] = false;
        if (s->kind == STMT_alloc && s->id >= c->k->n_params && s->id < c->k->bufs.n) c->buf[s->id] = false;
    }
}

/* -- Independence (11, 12) ------------------------------------------------------------------------------- */

static void tell_meeting(void *arg, const stmt *loop, const stmt *at, int buf)
{
    checker *c = arg;
    c->at = at;
    report(c, loop->mark == MARK_vector ? 11 : 12,
           arena_printf(c->k->arena, "iterations of %s may meet in an element of %s",
                        c->k->vars.at[loop->var].name, c->k->bufs.at[buf].name));
}

/* -- The whole ------------------------------------------------------------------------------------------- */

bool kernel_verify(const kernel_code *kernel, const char *when)
{
    arena *scratch = arena_new(arena_mem(kernel->arena));
    kernel_code *k = arena_copy(scratch, kernel, sizeof *kernel);      /* expressions made here die here */
    k->arena = scratch;
    checker c = { .ctx = k->ctx, .k = k, .when = when, .ok = true,
                  .var = NEW_ARRAY(scratch, bool, k->vars.n), .temp = NEW_ARRAY(scratch, bool, k->temps.n),
                  .buf = NEW_ARRAY(scratch, bool, k->bufs.n), .had_let = NEW_ARRAY(scratch, bool, k->temps.n),
                  .had_alloc = NEW_ARRAY(scratch, bool, k->bufs.n) };
    for (int i = 0; i < k->n_params; i++) c.buf[i] = true;
    for (int64_t i = 0; i < k->bufs.n; i++)
        for (int j = 0; j < k->bufs.at[i].rank; j++)
            if (dim_is_bad(k->bufs.at[i].dims[j])) report(&c, 1, "a dim that overflows");
    check_block(&c, &k->body);
    if (c.ok) loops_apart(k, tell_meeting, &c);
    bool ok = c.ok;
    arena_free(scratch);
    return ok;
}

/* -- Registers ------------------------------------------------------------------------------------------- */

/* known: unrolled and vector variables */
typedef struct { const kernel_code *k; int buf; bool *known; bool ok; } reg_test;

static bool is_known(const reg_test *t, const expr *e)
{
    if (e->kind == EXPR_var) return t->known[e->id];
    if (e->kind != EXPR_const && e->kind != EXPR_op && e->kind != EXPR_floordiv && e->kind != EXPR_mod)
        return false;
    for (int i = 0; i < e->n_args; i++)
        if (!is_known(t, e->args[i])) return false;
    return true;
}

static void test_expr(reg_test *t, const expr *e)
{
    if (!e) return;
    for (int i = 0; i < e->n_args; i++) {
        if (e->kind == EXPR_load && e->id == t->buf) t->ok &= is_known(t, e->args[i]);
        test_expr(t, e->args[i]);
    }
}

static void test_block(reg_test *t, const block *b)
{
    int64_t lo;
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        for (int j = 0; s->index && j < t->k->bufs.at[s->id].rank; j++) {
            if (s->kind == STMT_store && s->id == t->buf) t->ok &= is_known(t, s->index[j]);
            test_expr(t, s->index[j]);
        }
        test_expr(t, s->lo);
        test_expr(t, s->hi);
        test_expr(t, s->cond);
        test_expr(t, s->value);
        bool marked = s->kind == STMT_for && (s->mark == MARK_vector || s->mark == MARK_unroll) &&
                      x_is_int(s->lo, &lo);
        if (s->kind == STMT_for) t->known[s->var] = marked;
        test_block(t, &s->body);
        test_block(t, &s->other);
        if (s->kind == STMT_for) t->known[s->var] = false;
    }
}

bool buffer_in_registers(const kernel_code *k, int buf)
{
    if (k->bufs.at[buf].space != SPACE_reg) return false;
    arena *scratch = arena_new(arena_mem(k->arena));
    reg_test t = { k, buf, NEW_ARRAY(scratch, bool, k->vars.n), true };
    test_block(&t, &k->body);
    arena_free(scratch);
    return t.ok;
}
