/* backend/llvm/kernel.c: a kernel of the loop program as LLVM functions.
 *
 *   void NAME(ptr hook, ptr params…, i64 open dims…)         hook: dlc_run_hook (runtime/runtime.h)
 *   void NAME_rI(ptr arg, i64 begin, i64 end)                 one for each parallel nest; arg: what it reads
 *   of the kernel
 *
 * How    A walk over the statements. Marks become what they promise: `unroll` copies the body, `vector` runs
 *        it once on vectors (function.h), a nest of `parallel` loops becomes a region over the flattened
 *        iterations, called through the hook. Where a body does not allow its mark (a vector loop with inner
 *        bounds that differ by lane) the loop is emitted as copies or as it stands: marks are about speed
 *        only.
 * Keeps  the order of every operation; LLVM gets no flag that would let it change one.
 * Depth  recursion is as deep as the kernel's loops and expressions nest.
 */
#include "backend/llvm/function.h"
#include <assert.h>

enum { MAX_COPIES = 4096, MAX_VECTOR = 256, MAX_FALLBACK = 64 };

/* -- Names and small things ------------------------------------------------------------------------------ */

V at_level_start(fn_state *s, int level)
{
    V here = LLVMBasicBlockAsValue(LLVMGetInsertBlock(s->e->b));
    LLVMPositionBuilderBefore(s->e->b, s->level[level].anchor);
    return here;
}

void back_to(fn_state *s, V token) { LLVMPositionBuilderAtEnd(s->e->b, LLVMValueAsBasicBlock(token)); }

static LLVMBasicBlockRef new_block(fn_state *s) { return LLVMAppendBasicBlockInContext(s->e->c, s->fn, ""); }

/* Ends the block at hand by a branch to a new one, and makes that branch the anchor of a new level. */
static int open_level(fn_state *s)
{
    assert(s->n_levels < MAX_LEVELS);
    LLVMBasicBlockRef body = new_block(s);
    level_state *l = &s->level[s->n_levels];
    *l = (level_state){ .anchor = LLVMBuildBr(s->e->b, body) };
    LLVMPositionBuilderAtEnd(s->e->b, body);
    return s->n_levels++;
}

bool const_extent(const stmt *loop, int64_t *n)
{
    int64_t lo, hi;
    if (x_is_int(loop->lo, &lo) && x_is_int(loop->hi, &hi)) { *n = hi > lo ? hi - lo : 0; return true; }
    /* lo + n, as canonical sums write it */
    const expr *h = loop->hi;
    if (h->kind == EXPR_op && h->fn == SCALAR_add && x_same(h->args[0], loop->lo) && x_is_int(h->args[1], n))
        return *n >= 0;
    return false;
}

/* -- Open dims ------------------------------------------------------------------------------------------- */

static void note_dim(arena *a, dim_list *out, dim d)
{
    if (dim_is_const(d, NULL)) return;
    for (int64_t i = 0; i < out->n; i++)
        if (dim_same(out->at[i], d)) return;
    vec_push(a, out, d);
}

static void note_expr(arena *a, const expr *x, dim_list *out)
{
    if (x->kind == EXPR_dim) note_dim(a, out, x->dim);
    for (int i = 0; i < x->n_args; i++) note_expr(a, x->args[i], out);
}

static void note_block(arena *a, const kernel_code *k, const block *b, dim_list *out)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *s = b->at[i];
        const expr *const parts[] = { s->lo, s->hi, s->cond, s->value };
        for (int j = 0; j < 4; j++)
            if (parts[j]) note_expr(a, parts[j], out);
        if (s->kind == STMT_store || s->kind == STMT_prefetch)
            for (int j = 0; j < k->bufs.at[s->id].rank; j++) note_expr(a, s->index[j], out);
        note_block(a, k, &s->body, out);
        note_block(a, k, &s->other, out);
    }
}

void kernel_open_dims(arena *a, const kernel_code *k, dim_list *out)
{
    for (int64_t i = 0; i < k->bufs.n; i++)
        for (int j = 0; j < k->bufs.at[i].rank; j++) note_dim(a, out, k->bufs.at[i].dims[j]);
    note_block(a, k, &k->body, out);
}

/* -- Bounds: of variables and i64 expressions, unknown where they leave ±BOUND --------------------------- */

static const bounds unknown = { -BOUND, BOUND };

static bounds checked(__int128 lo, __int128 hi)
{
    return lo <= -BOUND || hi >= BOUND ? unknown : (bounds){ (int64_t)lo, (int64_t)hi };
}

static bounds bounds_mul(bounds a, bounds b)
{
    __int128 p[4] = { (__int128)a.lo * b.lo, (__int128)a.lo * b.hi, (__int128)a.hi * b.lo,
                      (__int128)a.hi * b.hi };
    __int128 lo = p[0], hi = p[0];
    for (int i = 1; i < 4; i++) { if (p[i] < lo) lo = p[i]; if (p[i] > hi) hi = p[i]; }
    return checked(lo, hi);
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

bounds bounds_of(fn_state *s, const expr *x)
{
    bounds a, b;
    switch (x->kind) {
    case EXPR_const: return checked((int64_t)x->value.bits, (int64_t)x->value.bits);
    case EXPR_var: return s->var[x->id].range;
    case EXPR_temp: return s->temp[x->id].range;
    case EXPR_floordiv:
        a = bounds_of(s, x->args[0]);
        b = bounds_of(s, x->args[1]);
        if (b.lo != b.hi || b.lo <= 0 || a.lo == -BOUND) return unknown;
        return (bounds){ floor_div(a.lo, b.lo), floor_div(a.hi, b.lo) };
    case EXPR_mod:
        b = bounds_of(s, x->args[1]);
        return b.hi < BOUND && b.hi > 0 ? (bounds){ 0, b.hi - 1 } : unknown;
    case EXPR_op: break;
    default: return unknown;
    }
    if (x->type != DTYPE_i64 || scalar_info[x->fn].arity > 2) return unknown;
    a = bounds_of(s, x->args[0]);
    b = x->n_args > 1 ? bounds_of(s, x->args[1]) : a;
    bool both = a.lo != -BOUND && b.lo != -BOUND;
    switch (x->fn) {
    case SCALAR_add: return both ? checked((__int128)a.lo + b.lo, (__int128)a.hi + b.hi) : unknown;
    case SCALAR_sub: return both ? checked((__int128)a.lo - b.hi, (__int128)a.hi - b.lo) : unknown;
    case SCALAR_mul: return both ? bounds_mul(a, b) : unknown;
    case SCALAR_neg: return both ? checked(-(__int128)a.hi, -(__int128)a.lo) : unknown;
    case SCALAR_max: return both ? (bounds){ a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi } : unknown;
    case SCALAR_min: return both ? (bounds){ a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi } : unknown;
    default: return unknown;
    }
}

/* -- Which way a loop is emitted ------------------------------------------------------------------------- */

/* by temp: differs by lane; by buffer: made inside */
typedef struct { fn_state *s; int var; bool *temp, *made; } lane_check;

static bool varies(const lane_check *c, const expr *x)
{
    if (x->kind == EXPR_var && x->id == c->var) return true;
    if (x->kind == EXPR_temp && c->temp[x->id]) return true;
    if ((x->kind == EXPR_load || x->kind == EXPR_tree) && c->made[x->id]) return true;
    for (int i = 0; i < x->n_args; i++)
        if (varies(c, x->args[i])) return true;
    return false;
}

/* Do all lanes run the same inner iterations? */
static bool lanes_agree(lane_check *c, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for && (varies(c, x->lo) || varies(c, x->hi))) return false;
        if (x->kind == STMT_let) c->temp[x->id] = varies(c, x->value);
        if (x->kind == STMT_alloc) c->made[x->id] = true;
        if (!lanes_agree(c, &x->body) || !lanes_agree(c, &x->other)) return false;
    }
    return true;
}

static bool runs_in_lanes(fn_state *s, const stmt *loop)
{
    lane_check c = { .s = s, .var = loop->var };
    c.temp = NEW_ARRAY(s->e->a, bool, s->k->temps.n);
    c.made = NEW_ARRAY(s->e->a, bool, s->k->bufs.n);
    return lanes_agree(&c, &loop->body);
}

loop_way way_of(fn_state *s, const stmt *loop, bool in_lanes, bool in_region)
{
    int64_t n;
    bool fixed = const_extent(loop, &n);
    switch (loop->mark) {
    case MARK_serial: return AS_loop;
    case MARK_parallel: return in_lanes || in_region ? AS_loop : AS_region;
    case MARK_unroll: return fixed && n <= MAX_COPIES ? AS_copies : AS_loop;
    case MARK_vector:
        if (!fixed) return AS_loop;
        if (in_lanes || n < 2) return n <= MAX_FALLBACK ? AS_copies : AS_loop;
        if (n <= MAX_VECTOR && runs_in_lanes(s, loop)) return AS_lanes;
        return n <= MAX_FALLBACK ? AS_copies : AS_loop;
    }
    return AS_loop;
}

/* -- Conditions ------------------------------------------------------------------------------------------ */

static V any_lane(fn_state *s, V mask)
{
    emitter *e = s->e;
    V bits = LLVMBuildBitCast(e->b, mask, LLVMIntTypeInContext(e->c, (unsigned)s->lanes), "");
    return LLVMBuildICmp(e->b, LLVMIntNE, bits, LLVMConstNull(LLVMTypeOf(bits)), "");
}

/* Code under a condition: begin, emit, end. The code after end runs in any case. */
typedef struct { V outer_mask; LLVMBasicBlockRef after; int64_t memo; } guard;

static guard begin_guard(fn_state *s, val cond)
{
    emitter *e = s->e;
    guard g = { .outer_mask = s->mask, .memo = s->memo.n };
    V run = cond.v;
    if (cond.lanes) {
        s->mask = s->mask ? LLVMBuildAnd(e->b, s->mask, cond.v, "") : cond.v;
        run = any_lane(s, s->mask);
    }
    LLVMBasicBlockRef then = new_block(s);
    g.after = new_block(s);
    LLVMBuildCondBr(e->b, run, then, g.after);
    LLVMPositionBuilderAtEnd(e->b, then);
    return g;
}

static void end_guard(fn_state *s, guard g)
{
    LLVMBuildBr(s->e->b, g.after);
    LLVMPositionBuilderAtEnd(s->e->b, g.after);
    s->mask = g.outer_mask;
    s->memo.n = g.memo;                       /* what was computed inside is not known outside */
}

static val not_val(fn_state *s, val c)
{
    return (val){ LLVMBuildNot(s->e->b, c.v, ""), DTYPE_bool, c.lanes };
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

/* Both operands are in bounds by the loop program's rules; a constant condition still saves work. */
static val select_value(fn_state *s, const expr *x)
{
    val c = value_of(s, x->args[0]);
    int64_t k;
    if (!c.lanes && is_const_int(c.v, &k)) return value_of(s, x->args[k ? 1 : 2]);
    val a = value_of(s, x->args[1]);
    return row(s->e, SCALAR_select, x->type, (val[]){ c, a, value_of(s, x->args[2]) });
}

static val var_value(fn_state *s, int id)
{
    emitter *e = s->e;
    const var_state *v = &s->var[id];
    switch (v->kind) {
    case VAR_const: return (val){ k_i64(e, v->k), DTYPE_i64, 0 };
    case VAR_value: return (val){ v->v, DTYPE_i64, 0 };
    case VAR_lane: {
        V sum = LLVMBuildAdd(e->b, splat_v(e, v->v, s->lanes), iota_v(e, s->lanes, 1), "");
        return (val){ sum, DTYPE_i64, s->lanes };
    }
    case VAR_absent: break;
    }
    assert(!"a variable in scope");
    return (val){ 0 };
}

/* 1, 0: a comparison of indices that their bounds decide; -1: not decided. An unrolled tile has such tests
 * for each of its elements, of which only those at a border need one. */
static int decided(fn_state *s, const expr *x)
{
    if (scalar_info[x->fn].result != RESULT_CMP || x->args[0]->type != DTYPE_i64) return -1;
    bounds a = bounds_of(s, x->args[0]), b = bounds_of(s, x->args[1]);
    if (x->fn == SCALAR_lt) return a.hi < b.lo ? 1 : a.lo >= b.hi ? 0 : -1;
    if (x->fn == SCALAR_le) return a.hi <= b.lo ? 1 : a.lo > b.hi ? 0 : -1;
    if (x->fn == SCALAR_eq)
        return a.hi < b.lo || b.hi < a.lo ? 0 : a.lo == a.hi && b.lo == b.hi && a.lo == b.lo ? 1 : -1;
    return -1;
}

static val compute(fn_state *s, const expr *x)
{
    emitter *e = s->e;
    switch (x->kind) {
    case EXPR_const: return const_val(e, x->type, x->value);
    case EXPR_dim: {
        linear_form f = form_of(s, x);
        return (val){ f.at[0].atom, DTYPE_i64, 0 };
    }
    case EXPR_var: return var_value(s, x->id);
    case EXPR_temp: assert(s->temp[x->id].is_set); return s->temp[x->id].v;
    case EXPR_load: return load_element(s, x->id, x->args);
    case EXPR_op: {
        if (x->fn == SCALAR_select) return select_value(s, x);
        int known = decided(s, x);
        if (known >= 0) return const_val(e, DTYPE_bool, (scalar_value){ (uint64_t)known });
        val in[3] = { { 0 } };
        for (int i = 0; i < x->n_args; i++) in[i] = value_of(s, x->args[i]);
        return row(e, x->fn, x->type, in);
    }
    case EXPR_floordiv: {
        val a = value_of(s, x->args[0]);
        return floordiv_val(e, a, value_of(s, x->args[1]));
    }
    case EXPR_mod: {
        val a = value_of(s, x->args[0]);
        return mod_val(e, a, value_of(s, x->args[1]));
    }
    case EXPR_bitcast: return bitcast_to(e, value_of(s, x->args[0]), x->type);
    case EXPR_tree: return tree_of(s, x->fn, x->id);
    }
    return (val){ 0 };
}

val value_of(fn_state *s, const expr *x)
{
    bool leaf = x->kind == EXPR_const || x->kind == EXPR_var || x->kind == EXPR_temp || x->kind == EXPR_dim;
    if (leaf) return compute(s, x);
    int64_t oldest = s->memo.n > 64 ? s->memo.n - 64 : 0;         /* shared subtrees lie close together */
    for (int64_t i = s->memo.n - 1; i >= oldest; i--)
        if (s->memo.at[i].e == x) return s->memo.at[i].v;
    val v = compute(s, x);
    vec_push(s->e->a, &s->memo, ((memo_entry){ x, v }));
    return v;
}

static val fresh_value(fn_state *s, const expr *x)
{
    s->memo.n = 0;
    val v = value_of(s, x);
    s->memo.n = 0;
    return v;
}

/* -- Loops ----------------------------------------------------------------------------------------------- */

static void emit_block(fn_state *s, const block *b);

static bounds loop_range(fn_state *s, const stmt *x)
{
    bounds lo = bounds_of(s, x->lo), hi = bounds_of(s, x->hi);
    bounds r = { lo.lo, hi.hi < BOUND ? hi.hi - 1 : BOUND };
    return r;
}

static void emit_copies(fn_state *s, const stmt *x, int64_t n)
{
    V lo = fresh_value(s, x->lo).v;
    int64_t first;
    bool fixed = is_const_int(lo, &first);
    bounds span = bounds_of(s, x->lo);
    int64_t outer = s->e->copies;
    s->e->copies = (outer ? outer : 1) * n;
    for (int64_t i = 0; i < n; i++) {
        var_state *v = &s->var[x->var];
        if (fixed) *v = (var_state){ .kind = VAR_const, .k = first + i, .range = { first + i, first + i } };
        else {
            V now = LLVMBuildAdd(s->e->b, lo, k_i64(s->e, i), "");
            *v = (var_state){ .kind = VAR_value,
                              .v = now,
                              .level = NOT_HOISTED,
                              .range = span.lo == -BOUND ? span : (bounds){ span.lo + i, span.hi + i } };
        }
        emit_block(s, &x->body);
    }
    s->e->copies = outer;
    s->var[x->var].kind = VAR_absent;
}

static void emit_lanes(fn_state *s, const stmt *x, int64_t n)
{
    bounds span = loop_range(s, x);
    s->var[x->var] = (var_state){ .kind = VAR_lane, .v = fresh_value(s, x->lo).v, .range = span };
    s->lanes = (int)n;
    s->lane_var = x->var;
    emit_block(s, &x->body);
    s->lanes = 0;
    s->mask = NULL;
    s->var[x->var].kind = VAR_absent;
}

/* A counted loop whose body runs at least once: head with the variable, … body, latch. */
typedef struct { V var, hi; LLVMBasicBlockRef head; int level; } counted;

static counted begin_counted(fn_state *s, V lo, V hi)
{
    emitter *e = s->e;
    counted c = { .hi = hi };
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
    c.head = new_block(s);
    LLVMBuildBr(e->b, c.head);
    LLVMPositionBuilderAtEnd(e->b, c.head);
    c.var = LLVMBuildPhi(e->b, e->i64, "");
    LLVMAddIncoming(c.var, &lo, &before, 1);
    return c;
}

static void end_counted(fn_state *s, counted c, LLVMBasicBlockRef after)
{
    emitter *e = s->e;
    V next = LLVMBuildAdd(e->b, c.var, k_i64(e, 1), "");
    LLVMSetNSW(next, 1);
    LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b);
    LLVMAddIncoming(c.var, &next, &last, 1);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, c.hi, ""), c.head, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

static void emit_loop(fn_state *s, const stmt *x)
{
    emitter *e = s->e;
    bounds span = loop_range(s, x), lo_range = bounds_of(s, x->lo), hi_range = bounds_of(s, x->hi);
    val lo = fresh_value(s, x->lo), hi = fresh_value(s, x->hi);
    int64_t n, first, end;
    bool fixed = const_extent(x, &n);
    if (is_const_int(lo.v, &first) && is_const_int(hi.v, &end)) {
        fixed = true;
        n = end > first ? end - first : 0;
    }
    if (fixed && n == 0) return;
    if (fixed && n == 1) { emit_copies(s, x, 1); return; }
    LLVMBasicBlockRef after = new_block(s);
    bool runs = fixed || (lo_range.hi < hi_range.lo && lo_range.hi != BOUND && hi_range.lo != -BOUND);
    if (!runs) {
        LLVMBasicBlockRef some = new_block(s);
        LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, lo.v, hi.v, ""), some, after);
        LLVMPositionBuilderAtEnd(e->b, some);
    }
    counted c = begin_counted(s, lo.v, hi.v);
    int level = open_level(s);
    s->var[x->var] = (var_state){ .kind = VAR_value, .v = c.var, .level = level, .range = span };
    emit_block(s, &x->body);
    s->n_levels--;
    s->var[x->var].kind = VAR_absent;
    end_counted(s, c, after);
}

/* -- Regions ------------------------------------------------------------------------------------------------
 * The nest's loops become one index 0 … n-1. What its body reads of the kernel travels in a struct on the
 * stack. */

enum { MAX_NEST = 16 };
typedef struct {
    int n;
    const stmt *loop[MAX_NEST];
    V lo[MAX_NEST], extent[MAX_NEST];
    V total;
    const block *body;
} nest;
typedef struct { bool *var, *temp, *buf; } used;

static void use_expr(const expr *x, used *u)
{
    if (x->kind == EXPR_var) u->var[x->id] = true;
    if (x->kind == EXPR_temp) u->temp[x->id] = true;
    if (x->kind == EXPR_load || x->kind == EXPR_tree) u->buf[x->id] = true;
    for (int i = 0; i < x->n_args; i++) use_expr(x->args[i], u);
}

static void use_block(const kernel_code *k, const block *b, used *u)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        const expr *const parts[] = { x->lo, x->hi, x->cond, x->value };
        for (int j = 0; j < 4; j++)
            if (parts[j]) use_expr(parts[j], u);
        if (x->kind == STMT_store || x->kind == STMT_prefetch) {
            u->buf[x->id] = true;
            for (int j = 0; j < k->bufs.at[x->id].rank; j++) use_expr(x->index[j], u);
        }
        use_block(k, &x->body, u);
        use_block(k, &x->other, u);
    }
}

static bool uses_vars_of(const expr *x, const nest *n)
{
    if (x->kind == EXPR_var)
        for (int i = 0; i < n->n; i++)
            if (n->loop[i]->var == x->id) return true;
    for (int i = 0; i < x->n_args; i++)
        if (uses_vars_of(x->args[i], n)) return true;
    return false;
}

static nest nest_of(fn_state *s, const stmt *x)
{
    emitter *e = s->e;
    nest r = { 0 };
    for (;;) {
        V lo = fresh_value(s, x->lo).v, hi = fresh_value(s, x->hi).v, zero = k_i64(e, 0);
        V n = LLVMBuildSub(e->b, hi, lo, "");
        n = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, n, zero, ""), n, zero, "");
        r.loop[r.n] = x;
        r.lo[r.n] = lo;
        r.extent[r.n] = n;
        r.total = r.n ? LLVMBuildMul(e->b, r.total, n, "") : n;
        r.n++;
        r.body = &x->body;
        const stmt *inner = x->body.n == 1 ? x->body.at[0] : NULL;
        if (!inner || inner->kind != STMT_for || inner->mark != MARK_parallel || r.n == MAX_NEST) return r;
        if (uses_vars_of(inner->lo, &r) || uses_vars_of(inner->hi, &r)) return r;
        x = inner;
    }
}

typedef struct { vec(V) value; LLVMTypeRef type; } captures;

static void capture(fn_state *s, captures *c, V v)
{
    if (!LLVMIsConstant(v)) vec_push(s->e->a, &c->value, v);
}

/* In a fixed order: dims, nest, variables, temps, buffers. `restore` reads them back in the same order. */
static void collect(fn_state *s, const nest *n, const used *u, captures *c)
{
    for (int64_t i = 0; i < s->dims.n; i++) capture(s, c, s->dim_value[i]);
    for (int i = 0; i < n->n; i++) { capture(s, c, n->lo[i]); capture(s, c, n->extent[i]); }
    for (int64_t i = 0; i < s->k->vars.n; i++)
        if (u->var[i] && s->var[i].kind == VAR_value) capture(s, c, s->var[i].v);
    for (int64_t i = 0; i < s->k->temps.n; i++)
        if (u->temp[i] && s->temp[i].is_set) capture(s, c, s->temp[i].v.v);
    for (int64_t i = 0; i < s->k->bufs.n; i++)
        if (u->buf[i] && s->buf[i].kind == BUF_memory) capture(s, c, s->buf[i].base);
    LLVMTypeRef *fields = NEW_ARRAY(s->e->a, LLVMTypeRef, c->value.n + 1);
    for (int64_t i = 0; i < c->value.n; i++) fields[i] = LLVMTypeOf(c->value.at[i]);
    c->type = LLVMStructTypeInContext(s->e->c, fields, (unsigned)c->value.n, 0);
}

static V restore(fn_state *s, const captures *c, V arg, int *at, V v)
{
    if (LLVMIsConstant(v)) return v;
    int i = (*at)++;
    V p = LLVMBuildStructGEP2(s->e->b, c->type, arg, (unsigned)i, "");
    return LLVMBuildLoad2(s->e->b, LLVMTypeOf(c->value.at[i]), p, "");
}

/* The state inside the region function: the same kernel, with what was captured. */
static void restore_all(fn_state *r, const fn_state *s, nest *n, const used *u, const captures *c, V arg)
{
    int at = 0;
    for (int64_t i = 0; i < s->dims.n; i++) r->dim_value[i] = restore(r, c, arg, &at, s->dim_value[i]);
    for (int i = 0; i < n->n; i++) {
        n->lo[i] = restore(r, c, arg, &at, n->lo[i]);
        n->extent[i] = restore(r, c, arg, &at, n->extent[i]);
    }
    for (int64_t i = 0; i < s->k->vars.n; i++) {
        r->var[i] = s->var[i];
        if (!u->var[i] || s->var[i].kind != VAR_value) continue;
        r->var[i].v = restore(r, c, arg, &at, s->var[i].v);
        r->var[i].level = 0;
    }
    for (int64_t i = 0; i < s->k->temps.n; i++) {
        if (!u->temp[i] || !s->temp[i].is_set) continue;
        r->temp[i] = s->temp[i];
        r->temp[i].has_form = false;
        r->temp[i].level = 0;
        r->temp[i].v.v = restore(r, c, arg, &at, s->temp[i].v.v);
    }
    for (int64_t i = 0; i < s->k->bufs.n; i++) {
        if (!u->buf[i] || s->buf[i].kind != BUF_memory) continue;
        r->buf[i] = s->buf[i];
        r->buf[i].base = restore(r, c, arg, &at, s->buf[i].base);
    }
}

static fn_state *state_new(emitter *e, const kernel_code *k, const char *name)
{
    fn_state *s = NEW(e->a, fn_state);
    s->e = e;
    s->k = k;
    s->name = name;
    s->var = NEW_ARRAY(e->a, var_state, k->vars.n);
    s->temp = NEW_ARRAY(e->a, temp_state, k->temps.n);
    s->buf = NEW_ARRAY(e->a, buf_state, k->bufs.n);
    s->let_value = NEW_ARRAY(e->a, const expr *, k->temps.n);
    return s;
}

static void region_body(fn_state *r, nest *n, V begin, V end)
{
    emitter *e = r->e;
    LLVMBasicBlockRef after = new_block(r);
    counted c = begin_counted(r, begin, end);
    V rest = c.var;
    V now[MAX_NEST];
    for (int i = n->n - 1; i >= 0; i--) {
        V at = i ? LLVMBuildURem(e->b, rest, n->extent[i], "") : rest;
        if (i) rest = LLVMBuildUDiv(e->b, rest, n->extent[i], "");
        now[i] = LLVMBuildAdd(e->b, n->lo[i], at, "");
    }
    int level = open_level(r);
    for (int i = 0; i < n->n; i++) {
        bounds span = loop_range(r, n->loop[i]);
        r->var[n->loop[i]->var] =
            (var_state){ .kind = VAR_value, .v = now[i], .level = level, .range = span };
    }
    emit_block(r, n->body);
    r->n_levels--;
    end_counted(r, c, after);
}

static V region_function(fn_state *s, nest n, const used *u, const captures *c)
{
    emitter *e = s->e;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
    const char *name = arena_printf(e->a, "%s_r%d", s->name, s->n_regions++);
    LLVMTypeRef ty = LLVMFunctionType(e->nothing, (LLVMTypeRef[]){ e->ptr, e->i64, e->i64 }, 3, 0);
    fn_state *r = state_new(e, s->k, name);
    r->in_region = true;
    r->let_value = s->let_value;
    r->dims = s->dims;
    r->dim_value = NEW_ARRAY(e->a, V, s->dims.n);
    r->fn = new_function(e, name, ty, false);
    LLVMPositionBuilderAtEnd(e->b, new_block(r));
    restore_all(r, s, &n, u, c, LLVMGetParam(r->fn, 0));
    V old = fp_enter(e);
    open_level(r);
    for (int64_t i = 0; i < s->k->bufs.n; i++)
        if (r->buf[i].kind == BUF_memory) buffer_strides(r, (int)i);
    region_body(r, &n, LLVMGetParam(r->fn, 1), LLVMGetParam(r->fn, 2));
    fp_leave(e, old);
    LLVMBuildRetVoid(e->b);
    LLVMPositionBuilderAtEnd(e->b, here);
    return r->fn;
}

static void call_region(fn_state *s, V fn, V arg, V n)
{
    emitter *e = s->e;
    LLVMTypeRef hook_type = LLVMStructTypeInContext(e->c, (LLVMTypeRef[]){ e->ptr, e->ptr }, 2, 0);
    LLVMTypeRef parallel_type = LLVMFunctionType(e->nothing,
                                                 (LLVMTypeRef[]){ e->ptr, e->ptr, e->ptr, e->i64 }, 4, 0);
    V parallel = LLVMBuildLoad2(e->b, e->ptr, s->hook, "");
    V pool = LLVMBuildLoad2(e->b, e->ptr, LLVMBuildStructGEP2(e->b, hook_type, s->hook, 1, ""), "");
    LLVMBasicBlockRef some = new_block(s), alone = new_block(s), shared = new_block(s), after = new_block(s);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, n, k_i64(e, 0), ""), some, after);
    LLVMPositionBuilderAtEnd(e->b, some);
    V serial = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, parallel, LLVMConstNull(e->ptr), ""),
                           LLVMBuildICmp(e->b, LLVMIntEQ, n, k_i64(e, 1), ""), "");
    LLVMBuildCondBr(e->b, serial, alone, shared);
    LLVMPositionBuilderAtEnd(e->b, alone);
    LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, (V[]){ arg, k_i64(e, 0), n }, 3, "");
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, shared);
    LLVMBuildCall2(e->b, parallel_type, parallel, (V[]){ pool, fn, arg, n }, 4, "");
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

static void emit_region(fn_state *s, const stmt *x)
{
    emitter *e = s->e;
    nest n = nest_of(s, x);
    used u = { NEW_ARRAY(e->a, bool, s->k->vars.n), NEW_ARRAY(e->a, bool, s->k->temps.n),
               NEW_ARRAY(e->a, bool, s->k->bufs.n) };
    use_block(s->k, n.body, &u);
    captures c = { 0 };
    collect(s, &n, &u, &c);
    V token = at_level_start(s, 0);
    V arg = LLVMBuildAlloca(e->b, c.type, "");
    back_to(s, token);
    for (int64_t i = 0; i < c.value.n; i++)
        LLVMBuildStore(e->b, c.value.at[i], LLVMBuildStructGEP2(e->b, c.type, arg, (unsigned)i, ""));
    call_region(s, region_function(s, n, &u, &c), arg, n.total);
}

/* -- Statements ------------------------------------------------------------------------------------------ */

static void emit_for(fn_state *s, const stmt *x)
{
    int64_t n;
    switch (way_of(s, x, s->lanes > 0, s->in_region)) {
    case AS_loop: emit_loop(s, x); return;
    case AS_copies: const_extent(x, &n); emit_copies(s, x, n); return;
    case AS_lanes: const_extent(x, &n); emit_lanes(s, x, n); return;
    case AS_region: emit_region(s, x); return;
    }
}

/* Two branches, so that what both of them set is known to be set afterwards. */
static void emit_either(fn_state *s, const stmt *x, V cond)
{
    emitter *e = s->e;
    LLVMBasicBlockRef then = new_block(s), other = new_block(s), after = new_block(s);
    LLVMBuildCondBr(e->b, cond, then, other);
    LLVMPositionBuilderAtEnd(e->b, then);
    emit_block(s, &x->body);
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, other);
    emit_block(s, &x->other);
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

static void emit_if(fn_state *s, const stmt *x)
{
    val c = fresh_value(s, x->cond);
    int64_t k;
    if (!c.lanes && is_const_int(c.v, &k)) { emit_block(s, k ? &x->body : &x->other); return; }
    if (!c.lanes && x->other.n) { emit_either(s, x, c.v); return; }
    guard g = begin_guard(s, c);
    emit_block(s, &x->body);
    end_guard(s, g);
    if (!x->other.n) return;
    g = begin_guard(s, not_val(s, c));
    emit_block(s, &x->other);
    end_guard(s, g);
}

static void emit_let(fn_state *s, const stmt *x)
{
    temp_state *t = &s->temp[x->id];
    temp_state fresh = { .is_set = true, .level = NOT_HOISTED, .range = { -BOUND, BOUND } };
    if (x->value->type == DTYPE_i64) {
        s->memo.n = 0;
        fresh.range = bounds_of(s, x->value);
        fresh.form = NEW(s->e->a, linear_form);
        *fresh.form = form_of(s, x->value);
        fresh.has_form = true;
    }
    fresh.v = fresh_value(s, x->value);
    *t = fresh;
}

static void emit_store(fn_state *s, const stmt *x)
{
    s->memo.n = 0;
    val v = value_of(s, x->value);
    store_element(s, x->id, x->index, v);
    s->memo.n = 0;
}

static void emit_prefetch(fn_state *s, const stmt *x)
{
    emitter *e = s->e;
    if (s->buf[x->id].kind != BUF_memory) return;
    s->memo.n = 0;
    linear_form f = address_form(s, x->id, x->index);
    f.vec = NULL;
    V p = pointer_at(s, x->id, &f, 0);
    V args[] = { p, LLVMConstInt(e->i32, x->for_write, 0), LLVMConstInt(e->i32, 3, 0),
                 LLVMConstInt(e->i32, 1, 0) };
    call_intrinsic(e, "llvm.prefetch", 1, &e->ptr, 4, args);
}

static void emit_block(fn_state *s, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        switch (x->kind) {
        case STMT_for: emit_for(s, x); break;
        case STMT_if: emit_if(s, x); break;
        case STMT_let: emit_let(s, x); break;
        case STMT_store: emit_store(s, x); break;
        case STMT_alloc: s->memo.n = 0; alloc_buffer(s, x); s->memo.n = 0; break;
        case STMT_prefetch: emit_prefetch(s, x); break;
        }
    }
}

/* -- The kernel ------------------------------------------------------------------------------------------ */

static void note_lets(fn_state *s, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == STMT_let) s->let_value[b->at[i]->id] = b->at[i]->value;
        note_lets(s, &b->at[i]->body);
        note_lets(s, &b->at[i]->other);
    }
}

LLVMTypeRef kernel_type(emitter *e, const kernel_code *k)
{
    dim_list open = { 0 };
    kernel_open_dims(e->a, k, &open);
    int n = 0;
    LLVMTypeRef *t = NEW_ARRAY(e->a, LLVMTypeRef, 1 + k->n_params + open.n);
    t[n++] = e->ptr;
    for (int i = 0; i < k->n_params; i++) t[n++] = e->ptr;
    for (int64_t i = 0; i < open.n; i++) t[n++] = e->i64;
    return LLVMFunctionType(e->nothing, t, (unsigned)n, 0);
}

/* Operands may share memory (in place) unless the kernel forbids it; constants never do. */
static void parameter_attributes(emitter *e, const kernel_code *k, V fn)
{
    unsigned noalias = LLVMGetEnumAttributeKindForName("noalias", 7);
    for (int i = 0; i < k->n_params; i++) {
        if (!k->writes_early && k->bufs.at[i].role != ROLE_const) continue;
        LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)(i + 2), LLVMCreateEnumAttribute(e->c, noalias, 0));
    }
}

V emit_kernel(emitter *e, const kernel_code *k, const char *name)
{
    fn_state *s = state_new(e, k, name);
    s->fn = new_function(e, name, kernel_type(e, k), true);
    parameter_attributes(e, k, s->fn);
    s->hook = LLVMGetParam(s->fn, 0);
    note_lets(s, &k->body);
    kernel_open_dims(e->a, k, &s->dims);
    s->dim_value = NEW_ARRAY(e->a, V, s->dims.n);
    for (int64_t i = 0; i < s->dims.n; i++)
        s->dim_value[i] = LLVMGetParam(s->fn, (unsigned)(1 + k->n_params + i));
    LLVMPositionBuilderAtEnd(e->b, new_block(s));
    open_level(s);
    for (int i = 0; i < k->n_params; i++) {
        s->buf[i] = (buf_state){ .kind = BUF_memory, .base = LLVMGetParam(s->fn, (unsigned)(1 + i)) };
        buffer_strides(s, i);
    }
    emit_block(s, &k->body);
    LLVMBuildRetVoid(e->b);
    return s->fn;
}
