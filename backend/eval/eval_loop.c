/* backend/eval/eval_loop.c: translates a kernel to the register code of eval_code.h.
 *
 * Levels. Level 0 is the kernel's entry, level n the body of the n-th loop around. A pure i64 or bool
 *        expression (of variables, dims, constants and arithmetic that cannot fail) belongs to the level of
 *        its innermost variable: its code goes to the head of that loop's body, once for equal expressions.
 *        The same for the outer dims of an access.
 * Code   is collected a level at a time: `head` and `body` of the loop under construction; at its end both
 *        are joined and put into the body of the loop around. Jumps are relative, so pieces move freely.
 * Functions that are not basic are translated as their expansion (scalar_expand), step by step.
 * Cost   linear in the kernel, times the number of different pure expressions of a level.
 */
#include "backend/eval/eval_code.h"

typedef vec(eval_instr) instrs;
typedef struct { const expr *e; uint32_t reg; } known;
typedef struct {
    const stmt *s;
    int buf;
    int axes;
    uint32_t outer, reg;
    const expr *const *index;
} known_part;
typedef struct {
    instrs head, body;
    vec(known) known;
    vec(known_part) parts;
    int var;                  /* of the loop; -1 at level 0 */
} level;

typedef struct {
    dlc_context *ctx;
    eval_code *c;
    kernel_code *k;           /* k of c, for the makers */
    arena *scratch;
    vec(level) levels;
    uint32_t *var_reg, *temp_reg;      /* by id */
    int *var_level;                    /* -1: not in scope */
    uint32_t stmt;                     /* being translated */
    bool failed;
} translator;

static level *top(translator *t) { return &t->levels.at[t->levels.n - 1]; }
static int depth(const translator *t) { return (int)t->levels.n - 1; }
static uint32_t new_reg(translator *t) { return t->c->n_regs++; }

static void fail(translator *t, const char *what)
{
    if (t->failed) return;
    text s = { .a = t->scratch };
    if (t->c->stmts.n) s_print_line(t->c->k, t->c->stmts.at[t->stmt], &s);
    diag_loop_run(t->ctx, (place){ 0 }, t->c->k->name, text_str(&s), what);
    t->failed = true;
}

static eval_instr *emit_to(translator *t, instrs *to, eval_op op, uint32_t dst, uint32_t a, uint32_t b,
                           uint32_t c)
{
    vec_push(t->scratch, to,
             ((eval_instr){ .op = (uint16_t)op, .dst = dst, .a = a, .b = b, .c = c, .stmt = t->stmt }));
    return &to->at[to->n - 1];
}

static eval_instr *emit(translator *t, eval_op op, uint32_t dst, uint32_t a, uint32_t b, uint32_t c)
{
    return emit_to(t, &top(t)->body, op, dst, a, b, c);
}

static uint32_t constant_reg(translator *t, scalar_value v)
{
    for (int64_t i = 0; i < t->c->consts.n; i++)
        if (t->c->consts.at[i].v.bits == v.bits) return t->c->consts.at[i].reg;
    uint32_t r = new_reg(t);
    vec_push(t->c->arena, &t->c->consts, ((eval_const){ r, v }));
    return r;
}

static uint32_t dim_reg(translator *t, dim d)
{
    int64_t v;
    if (dim_is_const(d, &v)) return constant_reg(t, (scalar_value){ (uint64_t)v });
    for (int64_t i = 0; i < t->c->dims.n; i++)
        if (dim_same(t->c->dims.at[i].d, d)) return t->c->dims.at[i].reg;
    uint32_t r = new_reg(t);
    vec_push(t->c->arena, &t->c->dims, ((eval_dim){ r, d }));
    return r;
}

/* -- One scalar row -------------------------------------------------------------------------------------- */

static const uint8_t f32_op[SCALAR_COUNT] = {
    [SCALAR_add] = OP_ADD_F32, [SCALAR_sub] = OP_SUB_F32, [SCALAR_mul] = OP_MUL_F32,
    [SCALAR_div] = OP_DIV_F32,
    [SCALAR_neg] = OP_NEG_F32, [SCALAR_relu] = OP_RELU_F32, [SCALAR_max] = OP_MAX_F32,
    [SCALAR_min] = OP_MIN_F32,
    [SCALAR_lt] = OP_LT_F32, [SCALAR_le] = OP_LE_F32, [SCALAR_eq] = OP_EQ_F32, [SCALAR_fma] = OP_FMA_F32 };
static const uint8_t f64_op[SCALAR_COUNT] = {
    [SCALAR_add] = OP_ADD_F64, [SCALAR_sub] = OP_SUB_F64, [SCALAR_mul] = OP_MUL_F64, [SCALAR_fma] = OP_FMA_F64
};
static const uint8_t i64_op[SCALAR_COUNT] = {
    [SCALAR_add] = OP_ADD_I64, [SCALAR_sub] = OP_SUB_I64, [SCALAR_mul] = OP_MUL_I64,
    [SCALAR_min] = OP_MIN_I64,
    [SCALAR_max] = OP_MAX_I64, [SCALAR_lt] = OP_LT_I64, [SCALAR_le] = OP_LE_I64, [SCALAR_eq] = OP_EQ_I64 };
static const uint8_t i32_op[SCALAR_COUNT] = { [SCALAR_add] = OP_ADD_I32, [SCALAR_sub] = OP_SUB_I32 };
static const uint8_t bool_op[SCALAR_COUNT] = { [SCALAR_and] = OP_AND_BOOL,
                                               [SCALAR_or] = OP_OR_BOOL,
                                               [SCALAR_not] = OP_NOT_BOOL };

/* The instruction of a basic row at a type; OP_SCALAR if it has none of its own (then 0 is OP_FOR, never a
 * row's). */
static eval_op row_op(const translator *t, scalar fn, dtype of)
{
    int op = 0;
    if (fn == SCALAR_select) return OP_SELECT;
    if (of == DTYPE_f32) op = f32_op[fn];
    if (of == DTYPE_f64) op = f64_op[fn];
    if (of == DTYPE_i64) op = i64_op[fn];
    if (of == DTYPE_i32) op = i32_op[fn];
    if (of == DTYPE_bool) op = bool_op[fn];
    if (op == OP_FMA_F32 && t->c->mode == FMA_ROUNDED) return OP_FMA_F32_ROUNDED;
    if (op == OP_FMA_F64 && t->c->mode == FMA_ROUNDED) return OP_FMA_F64_ROUNDED;
    return op ? (eval_op)op : OP_SCALAR;
}

static uint32_t emit_row(translator *t, instrs *to, scalar fn, dtype of, dtype result, int n,
                         const uint32_t *in)
{
    uint32_t dst = new_reg(t);
    eval_op op = row_op(t, fn, of);
    eval_instr *i = emit_to(t, to, op, dst, in[0], n > 1 ? in[1] : in[0], n > 2 ? in[2] : in[0]);
    if (op == OP_SCALAR) {
        i->x = (int32_t)t->c->rows.n;
        vec_push(t->c->arena, &t->c->rows, ((eval_row){ fn, of, fn == SCALAR_cast ? result : DTYPE_NONE }));
    }
    return dst;
}

static uint32_t emit_expansion(translator *t, instrs *to, const scalar_code *code, const uint32_t *in)
{
    uint32_t *reg = NEW_ARRAY(t->scratch, uint32_t, code->n_steps);
    for (int i = 0; i < code->n_steps; i++) {
        const scalar_step *s = &code->steps[i];
        uint32_t x[3] = { 0 };
        if (s->kind == STEP_CONST) { reg[i] = constant_reg(t, s->imm); continue; }
        int arity = s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int j = 0; j < arity; j++)
            x[j] = s->in[j] < code->n_in ? in[s->in[j]] : reg[s->in[j] - code->n_in];
        reg[i] = s->kind == STEP_BITCAST ? x[0] : emit_row(t, to, s->fn, s->from, s->type, arity, x);
    }
    return reg[code->n_steps - 1];
}

static uint32_t emit_scalar(translator *t, instrs *to, const expr *e, const uint32_t *in)
{
    dtype of = e->args[e->fn == SCALAR_select ? 1 : 0]->type;
    if (!scalar_info[e->fn].is_basic && compute_dtype(of) == of) {
        const scalar_code *code = scalar_expand(t->c->expander, e->fn, of);
        if (code) return emit_expansion(t, to, code, in);
    }
    if (!scalar_info[e->fn].is_basic && !scalar_expand(t->c->expander, e->fn, compute_dtype(of))) {
        fail(t, arena_printf(t->scratch, "%s of %s has no expansion", scalar_info[e->fn].name,
                             dtype_info[of].name));
        return in[0];
    }
    return emit_row(t, to, e->fn, of, e->type, e->n_args, in);
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

/* The level that a pure expression belongs to; -1: not pure. */
static int pure_level(const translator *t, const expr *e)
{
    int64_t v;
    switch (e->kind) {
    case EXPR_const: case EXPR_dim: return 0;
    case EXPR_var: return t->var_level[e->id];
    case EXPR_op:
        if (e->type != DTYPE_i64 && e->type != DTYPE_bool) return -1;
        if (row_op(t, e->fn, e->args[0]->type) == OP_SCALAR) return -1;
        break;
    case EXPR_floordiv: case EXPR_mod:
        if (!x_is_int(e->args[1], &v) || v <= 0) return -1;
        break;
    case EXPR_temp: case EXPR_load: case EXPR_bitcast: case EXPR_tree: return -1;
    }
    int deepest = 0;
    for (int i = 0; i < e->n_args; i++) {
        int l = pure_level(t, e->args[i]);
        if (l < 0) return -1;
        if (l > deepest) deepest = l;
    }
    return deepest;
}

static uint32_t reg_of(translator *t, const expr *e);

/* The register of a pure expression of level l: found, or computed at the head of that level's loop. */
static uint32_t pure_value(translator *t, const expr *e, int l)
{
    if (e->kind == EXPR_const) return constant_reg(t, e->value);
    if (e->kind == EXPR_dim) return dim_reg(t, e->dim);
    if (e->kind == EXPR_var) return t->var_reg[e->id];
    for (int64_t i = 0; i < t->levels.at[l].known.n; i++)
        if (x_same(t->levels.at[l].known.at[i].e, e)) return t->levels.at[l].known.at[i].reg;
    uint32_t in[3] = { 0 };
    for (int i = 0; i < e->n_args; i++) in[i] = reg_of(t, e->args[i]);
    instrs *head = &t->levels.at[l].head;
    uint32_t r;
    if (e->kind == EXPR_op) r = emit_scalar(t, head, e, in);
    else emit_to(t, head, e->kind == EXPR_mod ? OP_MOD : OP_FLOORDIV, r = new_reg(t), in[0], in[1], 0);
    vec_push(t->scratch, &t->levels.at[l].known, ((known){ e, r }));
    return r;
}

/* Sums the axes of `set` into one PART at level l, on top of register `outer`. */
static uint32_t part(translator *t, int buf, const expr *const *index, int set, int l, uint32_t outer)
{
    level *at = &t->levels.at[l];
    const buffer *b = &t->k->bufs.at[buf];
    for (int64_t i = 0; i < at->parts.n; i++) {
        const known_part *p = &at->parts.at[i];
        bool same = p->buf == buf && p->axes == set && p->outer == outer;
        for (int j = 0; same && j < b->rank; j++)
            if (set >> j & 1) same = x_same(p->index[j], index[j]);
        if (same) return p->reg;
    }
    uint32_t reg[MAX_RANK];
    int n = 0;
    for (int j = 0; j < b->rank; j++)
        if (set >> j & 1) reg[n++] = reg_of(t, index[j]);
    uint32_t first = (uint32_t)t->c->axes.n, r = new_reg(t);
    n = 0;
    for (int j = 0; j < b->rank; j++)
        if (set >> j & 1)
            vec_push(t->c->arena, &t->c->axes, ((eval_axis){ .reg = reg[n++], .buf = buf, .axis = j }));
    eval_instr *i = emit_to(t, &t->levels.at[l].head, OP_PART, r, outer, first, 0);
    i->n = (uint16_t)n;
    i->x = buf;
    vec_push(t->scratch, &t->levels.at[l].parts,
             ((known_part){ .buf = buf, .axes = set, .outer = outer, .reg = r, .index = index }));
    return r;
}

/* An access to buf at index: LOAD into, or STORE of, register `reg`. */
static void access(translator *t, bool store, int buf, const expr *const *index, uint32_t reg)
{
    const buffer *b = &t->k->bufs.at[buf];
    int level_of[MAX_RANK], rest = 0;
    uint32_t outer = constant_reg(t, (scalar_value){ 0 });
    for (int j = 0; j < b->rank; j++) {
        level_of[j] = pure_level(t, index[j]);
        if (level_of[j] < 0 || level_of[j] == depth(t)) { rest |= 1 << j; level_of[j] = -1; }
    }
    for (int l = 0; l < depth(t); l++) {
        int set = 0;
        for (int j = 0; j < b->rank; j++)
            if (level_of[j] == l) set |= 1 << j;
        if (set) outer = part(t, buf, index, set, l, outer);
    }
    uint32_t axis_reg[MAX_RANK];
    int n = 0;
    for (int j = 0; j < b->rank; j++)
        if (rest >> j & 1) axis_reg[n++] = reg_of(t, index[j]);
    uint32_t first = (uint32_t)t->c->axes.n;
    n = 0;
    for (int j = 0; j < b->rank; j++)
        if (rest >> j & 1)
            vec_push(t->c->arena, &t->c->axes, ((eval_axis){ .reg = axis_reg[n++], .buf = buf, .axis = j }));
    int width = dtype_bytes(b->dtype);
    eval_op op;
    if (width == 4 && n <= 1) op = store ? (n ? OP_STORE4_1 : OP_STORE4_0) : (n ? OP_LOAD4_1 : OP_LOAD4_0);
    else if (n <= 1) op = store ? (n ? OP_STORE1 : OP_STORE0) : (n ? OP_LOAD1 : OP_LOAD0);
    else op = store ? OP_STOREN : OP_LOADN;
    eval_instr *i = emit(t, op, reg, outer, first, (uint32_t)width);
    i->n = (uint16_t)n;
    i->x = buf;
}

static uint32_t reg_of(translator *t, const expr *e)
{
    int l = pure_level(t, e);
    if (l >= 0) return pure_value(t, e, l);
    uint32_t in[3] = { 0 }, r;
    switch (e->kind) {
    case EXPR_temp:
        return t->temp_reg[e->id];
    case EXPR_load:
        r = new_reg(t);
        access(t, false, e->id, e->args, r);
        return r;
    case EXPR_op:
        for (int i = 0; i < e->n_args; i++) in[i] = reg_of(t, e->args[i]);
        return emit_scalar(t, &top(t)->body, e, in);
    case EXPR_floordiv: case EXPR_mod:
        for (int i = 0; i < 2; i++) in[i] = reg_of(t, e->args[i]);
        r = new_reg(t);
        emit(t, e->kind == EXPR_mod ? OP_MOD : OP_FLOORDIV, r, in[0], in[1], 0);
        return r;
    case EXPR_bitcast:
        return reg_of(t, e->args[0]);
    case EXPR_tree: {
        r = new_reg(t);
        eval_instr *i = emit(t, OP_TREE, r, (uint32_t)t->c->rows.n, 0, 0);
        i->x = e->id;
        vec_push(t->c->arena, &t->c->rows, ((eval_row){ e->fn, e->type, DTYPE_NONE }));
        return r;
    }
    case EXPR_var:
        fail(t, "a loop variable outside its loop");
        return 0;
    case EXPR_const: case EXPR_dim:
        break;
    }
    return 0;
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static void translate_block(translator *t, const block *b);

static void push_level(translator *t, int var)
{
    vec_push(t->scratch, &t->levels, ((level){ .var = var }));
}

static void append(translator *t, instrs *to, const instrs *from)
{
    if (from->n == 0) return;
    vec_grow(t->scratch, to, from->n);
    memcpy(to->at + to->n, from->at, (size_t)from->n * sizeof *from->at);
    to->n += from->n;
}

static void translate_for(translator *t, const stmt *s)
{
    int64_t extent;
    uint32_t stmt_id = t->stmt;
    if ((s->mark == MARK_vector || s->mark == MARK_unroll) && !x_is_int(x_sub(t->k, s->hi, s->lo), &extent)) {
        fail(t, "the extent of a vector or unroll loop is not constant");
        return;
    }
    if (t->var_level[s->var] >= 0) { fail(t, "a loop inside another one of the same variable"); return; }
    uint32_t lo = reg_of(t, s->lo), hi = reg_of(t, s->hi), var = new_reg(t);
    push_level(t, s->var);
    t->var_reg[s->var] = var;
    t->var_level[s->var] = depth(t);
    translate_block(t, &s->body);
    t->var_level[s->var] = -1;
    level inner = vec_pop(&t->levels);
    t->stmt = stmt_id;
    int32_t n = (int32_t)(inner.head.n + inner.body.n);
    emit(t, OP_FOR, var, lo, hi, 0)->x = n + 2;
    append(t, &top(t)->body, &inner.head);
    append(t, &top(t)->body, &inner.body);
    emit(t, OP_NEXT, var, (uint32_t)(n + 1), hi, 0)->x = -n;
}

/* Statements under an `if` may run in fewer iterations than the loop's head, which only holds what cannot
 * fail. */
static void translate_if(translator *t, const stmt *s)
{
    uint32_t cond = reg_of(t, s->cond);
    int64_t at = top(t)->body.n;
    emit(t, OP_UNLESS, 0, cond, 0, 0);
    translate_block(t, &s->body);
    if (s->other.n) {
        int64_t end = top(t)->body.n;
        emit(t, OP_JUMP, 0, 0, 0, 0);
        top(t)->body.at[at].x = (int32_t)(top(t)->body.n - at);
        translate_block(t, &s->other);
        top(t)->body.at[end].x = (int32_t)(top(t)->body.n - end);
    } else {
        top(t)->body.at[at].x = (int32_t)(top(t)->body.n - at);
    }
}

static void translate_stmt(translator *t, const stmt *s)
{
    uint32_t r;
    t->stmt = (uint32_t)t->c->stmts.n;
    vec_push(t->c->arena, &t->c->stmts, s);
    switch (s->kind) {
    case STMT_for: translate_for(t, s); return;
    case STMT_if:  translate_if(t, s); return;
    case STMT_let:
        r = reg_of(t, s->value);
        t->temp_reg[s->id] = new_reg(t);
        emit(t, OP_COPY, t->temp_reg[s->id], r, 0, 0);
        return;
    case STMT_store:
        r = reg_of(t, s->value);
        access(t, true, s->id, s->index, r);
        return;
    case STMT_alloc:
        r = s->value ? reg_of(t, s->value) : 0;
        emit(t, OP_ALLOC, r, s->value ? 1 : 0, 0, (uint32_t)dtype_bytes(t->k->bufs.at[s->id].dtype))->x =
            s->id;
        return;
    case STMT_prefetch: return;
    }
}

static void translate_block(translator *t, const block *b)
{
    for (int i = 0; i < b->n && !t->failed; i++) translate_stmt(t, b->at[i]);
}

eval_code *eval_translate(dlc_context *ctx, arena *a, expander *e, const kernel_code *k, fma_mode mode)
{
    eval_code *c = NEW(a, eval_code);
    c->k = k;
    c->arena = a;
    c->expander = e;
    c->mode = mode;
    translator t = { .ctx = ctx, .c = c, .scratch = arena_new(arena_mem(a)) };
    kernel_code *maker = arena_copy(t.scratch, k, sizeof *k);       /* expressions made here die here */
    maker->arena = t.scratch;
    t.k = maker;
    t.var_reg = NEW_ARRAY(t.scratch, uint32_t, k->vars.n);
    t.temp_reg = NEW_ARRAY(t.scratch, uint32_t, k->temps.n);
    t.var_level = NEW_ARRAY(t.scratch, int, k->vars.n);
    for (int64_t i = 0; i < k->vars.n; i++) t.var_level[i] = -1;
    push_level(&t, -1);
    translate_block(&t, &k->body);
    append(&t, &t.levels.at[0].head, &t.levels.at[0].body);
    emit_to(&t, &t.levels.at[0].head, OP_END, 0, 0, 0, 0);
    instrs *all = &t.levels.at[0].head;
    vec_grow(a, &c->code, all->n);
    memcpy(c->code.at, all->at, (size_t)all->n * sizeof *all->at);
    c->code.n = all->n;
    c->regs = NEW_ARRAY(a, uint64_t, c->n_regs + 1);
    c->base = NEW_ARRAY(a, uint8_t *, k->bufs.n);
    c->n_elem = NEW_ARRAY(a, int64_t, k->bufs.n);
    arena_free(t.scratch);
    return t.failed ? NULL : c;
}

bool eval_kernel(dlc_context *ctx, expander *e, const kernel_code *k, void *const *params,
                 const int64_t *symbols, fma_mode mode, const loop_eval_options *o)
{
    arena *a = arena_new(&ctx->mem);
    eval_code *c = eval_translate(ctx, a, e, k, mode);
    bool ok = c && eval_run(ctx, c, params, symbols, o);
    arena_free(a);
    return ok;
}
