/* backend/llvm/program.c: the program around the kernels, as the functions and tables of runtime/model.h.
 *
 *   i32  PREFIX_run(dlc_run *, i64 *dims, void *const *in, void *const *out)
 *   i64  PREFIX_workspace(const i64 *dims)          void PREFIX_shapes(const i64 *dims, i64 *extents)
 *   const dlc_model PREFIX_model, also under the name dlc_model_v1
 *
 * Buffers   inputs and outputs come by pointer, temporaries from the workspace: at their planned offset, or, where sizes are
 *           open, where PREFIX_place puts them at entry (ir/open_plan.h). Constants are symbols PREFIX_wN (backend/elf.c);
 *           small ones stand in the module; or they lie in the block `weights` of the run; or they are read through the
 *           table dlc_constants_v1.
 * Symbols   of open dims live in stack slots, since setdim writes some; those are given back in dims[].
 * Parts     LLVM's time for one function grows faster than its length: a program of more than 2 * PART_OPS operations is cut
 *           into functions PREFIX_partN(run, in, out, symbols, offsets), which run() calls one after another.
 * Floats    run() sets the default floating-point mode and restores the caller's; regions do the same in their threads.
 */
#include "backend/llvm/program.h"
#include "ir/open_plan.h"
#include <assert.h>
#include <stdlib.h>

typedef struct {
    emitter *e;
    const program *p;
    const codegen_options *o;
    const int *kernel_of;             /* by kernel: the equal one that was compiled */
    emit_kind kind;
    const char *prefix;               /* of this entry's symbols; kernels bear the emitter's */
    V states_table;
    V fn, run_arg, in, out, workspace, weights, states;
    V *symbol;                        /* slots of i64 */
    V symbols;                        /* they are elements of this array; NULL: each has its own */
    const open_plan *open;            /* NULL: every temporary is planned */
    V offsets;                        /* of its items: array of i64, from where the planned part ends */
    V *var;                           /* by program variable: its value in scope */
    V *data;                          /* by constant: its address, once used */
    const int *first;                 /* constant_table() */
    int64_t *weight_offset, weights_bytes;
} prog_state;

/* -- Constants ---------------------------------------------------------------------------------------------------------- */

enum { SMALL_CONSTANT = 4096 };

int64_t constant_bytes(const program *p, int buf)
{
    const pbuf *b = &p->bufs.at[buf];
    int64_t n = dtype_bytes(b->dtype), k;
    for (int i = 0; i < b->rank; i++)
        if (!dim_is_const(b->dims[i], &k) || !mul_ok(n, k, &n)) return -1;
    return n;
}

/* By buffer: the first constant with the same data, which is the one that is stored. */
int *constant_table(arena *a, const program *p)
{
    int *first = NEW_ARRAY(a, int, p->bufs.n);
    map_str seen;
    map_init(&seen, a);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        first[i] = (int)i;
        if (p->bufs.at[i].kind != PBUF_const) continue;
        uint64_t key[2] = { (uint64_t)(uintptr_t)p->bufs.at[i].data, (uint64_t)constant_bytes(p, (int)i) };
        bool fresh;
        first[i] = (int)*map_put(&seen, (const char *)key, sizeof key, (uint64_t)i, &fresh);
    }
    return first;
}

bool constant_is_small(const program *p, int buf) { return constant_bytes(p, buf) <= SMALL_CONSTANT; }

const char *entry_prefix(arena *a, const char *prefix, const program *p, const program *first)
{
    return p == first ? prefix : arena_printf(a, "%s_%s", prefix, p->entry);
}

const char *constant_symbol(arena *a, const char *prefix, int buf) { return arena_printf(a, "%s_w%d", prefix, buf); }

int64_t weights_layout(const program *p, const int *first, int64_t *offset)
{
    int64_t at = 0;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        if (p->bufs.at[i].kind != PBUF_const) continue;
        offset[i] = first[i] < i ? offset[first[i]] : at;
        if (first[i] == i) at += (constant_bytes(p, (int)i) + 63) / 64 * 64;
    }
    return at;
}

static V text_constant(emitter *e, const char *s)
{
    V init = LLVMConstStringInContext(e->c, s, (unsigned)strlen(s), 0);
    V g = LLVMAddGlobal(e->m, LLVMTypeOf(init), "");
    LLVMSetInitializer(g, init);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetAlignment(g, 1);
    return g;
}

static V constant_address(prog_state *s, int buf)
{
    emitter *e = s->e;
    int first = s->first[buf];
    if (s->o->external_weights) {
        V at = k_i64(e, s->weight_offset[first]);
        return LLVMBuildGEP2(e->b, e->i8, s->weights, &at, 1, "");
    }
    if (s->o->constant_table) {
        V at = k_i64(e, first);
        V p = LLVMBuildGEP2(e->b, e->ptr, LLVMGetNamedGlobal(e->m, "dlc_constants_v1"), &at, 1, "");
        return LLVMBuildLoad2(e->b, e->ptr, p, "");
    }
    if (s->data[first]) return s->data[first];
    const char *name = constant_symbol(e->a, s->prefix, first);
    int64_t n = constant_bytes(s->p, first);
    bool is_text = s->kind == EMIT_LLVM_IR || s->kind == EMIT_ASM;       /* stands alone */
    if (is_text || (s->kind != EMIT_JIT && constant_is_small(s->p, first))) {
        V init = LLVMConstStringInContext(e->c, n ? s->p->bufs.at[first].data : "", (unsigned)n, 1);
        V g = LLVMAddGlobal(e->m, LLVMTypeOf(init), name);
        LLVMSetInitializer(g, init);
        LLVMSetGlobalConstant(g, 1);
        LLVMSetLinkage(g, LLVMPrivateLinkage);
        LLVMSetAlignment(g, 64);
        return s->data[first] = g;
    }
    V g = LLVMAddGlobal(e->m, LLVMArrayType2(e->i8, (uint64_t)n), name);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMExternalLinkage);
    if (s->kind != EMIT_JIT) LLVMSetVisibility(g, LLVMHiddenVisibility);       /* in memory it may lie far away: through the GOT */
    return s->data[first] = g;
}

/* -- Dims ---------------------------------------------------------------------------------------------------------------- */

static V symbol_value(prog_state *s, int i) { return LLVMBuildLoad2(s->e->b, s->e->i64, s->symbol[i], ""); }

static V choose(emitter *e, LLVMIntPredicate p, V a, V b, V then, V other)
{
    return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, p, a, b, ""), then, other, "");
}

/* Floor division and its remainder for any signs; by zero: as by one. */
static V floor_part(emitter *e, V a, V d, bool remainder)
{
    V zero = k_i64(e, 0), one = k_i64(e, 1);
    d = choose(e, LLVMIntEQ, d, zero, one, d);
    V q = LLVMBuildSDiv(e->b, a, d, ""), r = LLVMBuildSub(e->b, a, LLVMBuildMul(e->b, q, d, ""), "");
    V differ = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMBuildXor(e->b, r, d, ""), zero, "");
    V fix = LLVMBuildAnd(e->b, differ, LLVMBuildICmp(e->b, LLVMIntNE, r, zero, ""), "");
    if (remainder) return LLVMBuildAdd(e->b, r, LLVMBuildSelect(e->b, fix, d, zero, ""), "");
    return LLVMBuildSub(e->b, q, LLVMBuildZExt(e->b, fix, e->i64, ""), "");
}

static V dim_value(prog_state *s, dim d)
{
    emitter *e = s->e;
    int64_t k;
    if (dim_is_const(d, &k)) return k_i64(e, k);
    dim_view v = dim_look(s->p->dims, d);
    if (v.kind == DIM_CONST) return k_i64(e, v.value);
    if (v.kind == DIM_SYMBOL) return symbol_value(s, v.symbol);
    dim *args = arena_copy(e->a, v.args, (size_t)v.n_args * sizeof *args);
    V r = dim_value(s, args[0]);
    for (int i = 1; i < v.n_args; i++) {
        V x = dim_value(s, args[i]);
        switch (v.kind) {
        case DIM_SUM: r = LLVMBuildAdd(e->b, r, x, ""); break;
        case DIM_PRODUCT: r = LLVMBuildMul(e->b, r, x, ""); break;
        case DIM_FLOORDIV: r = floor_part(e, r, x, false); break;
        case DIM_MOD: r = floor_part(e, r, x, true); break;
        case DIM_MIN: r = choose(e, LLVMIntSLT, r, x, r, x); break;
        case DIM_MAX: r = choose(e, LLVMIntSLT, r, x, x, r); break;
        case DIM_CONST: case DIM_SYMBOL: break;
        }
    }
    return r;
}

static V element(emitter *e, LLVMTypeRef t, V table, V i) { return LLVMBuildGEP2(e->b, t, table, &i, 1, ""); }

static V slot(prog_state *s) { return LLVMBuildAlloca(s->e->b, s->e->i64, ""); }

/* Reads dims[] into the symbols' slots; those that the run finds start at their upper bound. Gives a bool: all in bounds. */
static V load_symbols(prog_state *s, V open)
{
    emitter *e = s->e;
    int n = dims_n_symbols(s->p->dims);
    s->symbol = NEW_ARRAY(e->a, V, n);
    const bool *is_result = program_found_symbols(e->a, s->p);
    V ok = LLVMConstInt(e->i1, 1, 0);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(s->p->dims, i, &lo, &hi);
        s->symbol[i] = s->symbols ? element(e, e->i64, s->symbols, k_i64(e, i)) : slot(s);
        if (is_result[i]) { LLVMBuildStore(e->b, k_i64(e, hi), s->symbol[i]); continue; }
        V at = k_i64(e, i);
        V v = LLVMBuildLoad2(e->b, e->i64, LLVMBuildGEP2(e->b, e->i64, open, &at, 1, ""), "");
        ok = LLVMBuildAnd(e->b, ok, LLVMBuildICmp(e->b, LLVMIntSGE, v, k_i64(e, lo), ""), "");
        ok = LLVMBuildAnd(e->b, ok, LLVMBuildICmp(e->b, LLVMIntSLE, v, k_i64(e, hi), ""), "");
        LLVMBuildStore(e->b, v, s->symbol[i]);
    }
    return ok;
}

/* -- Workspace ------------------------------------------------------------------------------------------------------------- */

static LLVMTypeRef array_of(LLVMTypeRef t, int n) { return LLVMArrayType2(t, (uint64_t)(n > 0 ? n : 1)); }

static V load_element_of(emitter *e, LLVMTypeRef t, V table, V i) { return LLVMBuildLoad2(e->b, t, element(e, t, table, i), ""); }

static V table_i32(emitter *e, const int *at, int n)
{
    V *rows = NEW_ARRAY(e->a, V, n + 1);
    for (int i = 0; i < n; i++) rows[i] = LLVMConstInt(e->i32, (uint64_t)(uint32_t)at[i], 0);
    V g = LLVMAddGlobal(e->m, array_of(e->i32, n), "");
    LLVMSetInitializer(g, n ? LLVMConstArray2(e->i32, rows, (uint64_t)n) : LLVMConstNull(array_of(e->i32, n)));
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    return g;
}

/* i64 PREFIX_place(const i64 *sizes, i64 *offsets): open_plan_place as a function, over constant tables; sizes are rounded. */
static V place_function(prog_state *s)
{
    emitter *e = s->e;
    const open_plan *o = s->open;
    const char *name = arena_printf(e->a, "%s_place", s->prefix);
    V fn = LLVMGetNamedFunction(e->m, name);
    if (fn) return fn;
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
    fn = new_function(e, name, LLVMFunctionType(e->i64, (LLVMTypeRef[]){ e->ptr, e->ptr }, 2, 0), false);
    V size_of = table_i32(e, o->size_of, o->n), first = table_i32(e, o->near_first, o->n + 1), near = table_i32(e, o->near, o->near_first[o->n]);
    V sizes = LLVMGetParam(fn, 0), offsets = LLVMGetParam(fn, 1), zero = k_i64(e, 0), one = k_i64(e, 1);
    enum { ENTRY, NEXT, ITEM, AGAIN, HEAD, TEST, DONE, PUT, END, N_BLOCKS };
    LLVMBasicBlockRef at[N_BLOCKS];
    for (int i = 0; i < N_BLOCKS; i++) at[i] = LLVMAppendBasicBlockInContext(e->c, fn, "");
    LLVMPositionBuilderAtEnd(e->b, at[ENTRY]);
    LLVMBuildBr(e->b, at[NEXT]);

    LLVMPositionBuilderAtEnd(e->b, at[NEXT]);                     /* item i; total: bytes so far */
    V i = LLVMBuildPhi(e->b, e->i64, ""), total = LLVMBuildPhi(e->b, e->i64, "");
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, i, k_i64(e, o->n), ""), at[ITEM], at[END]);

    LLVMPositionBuilderAtEnd(e->b, at[ITEM]);
    V n = load_element_of(e, e->i64, sizes, LLVMBuildZExt(e->b, load_element_of(e, e->i32, size_of, i), e->i64, ""));
    V begin = LLVMBuildZExt(e->b, load_element_of(e, e->i32, first, i), e->i64, ""), next_i = LLVMBuildAdd(e->b, i, one, "");
    V end = LLVMBuildZExt(e->b, load_element_of(e, e->i32, first, next_i), e->i64, "");
    LLVMBuildBr(e->b, at[AGAIN]);

    LLVMPositionBuilderAtEnd(e->b, at[AGAIN]);                    /* all neighbours, until none is in the way */
    V before = LLVMBuildPhi(e->b, e->i64, "");
    LLVMBuildBr(e->b, at[HEAD]);

    LLVMPositionBuilderAtEnd(e->b, at[HEAD]);
    V j = LLVMBuildPhi(e->b, e->i64, ""), here = LLVMBuildPhi(e->b, e->i64, "");
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, j, end, ""), at[TEST], at[DONE]);

    LLVMPositionBuilderAtEnd(e->b, at[TEST]);
    V k = LLVMBuildSExt(e->b, load_element_of(e, e->i32, near, j), e->i64, "");
    V behind = LLVMBuildICmp(e->b, LLVMIntSLT, k, zero, ""), safe = LLVMBuildSelect(e->b, behind, zero, k, "");
    V lo = load_element_of(e, e->i64, offsets, safe);
    V width = load_element_of(e, e->i64, sizes, LLVMBuildZExt(e->b, load_element_of(e, e->i32, size_of, safe), e->i64, ""));
    V hi = LLVMBuildSelect(e->b, behind, total, LLVMBuildAdd(e->b, lo, width, ""), "");
    lo = LLVMBuildSelect(e->b, behind, zero, lo, "");
    V meets = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, lo, LLVMBuildAdd(e->b, here, n, ""), ""), LLVMBuildICmp(e->b, LLVMIntSLT, here, hi, ""), "");
    V moved = LLVMBuildSelect(e->b, meets, hi, here, ""), next_j = LLVMBuildAdd(e->b, j, one, "");
    LLVMBuildBr(e->b, at[HEAD]);

    LLVMPositionBuilderAtEnd(e->b, at[DONE]);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, here, before, ""), at[PUT], at[AGAIN]);

    LLVMPositionBuilderAtEnd(e->b, at[PUT]);
    LLVMBuildStore(e->b, here, element(e, e->i64, offsets, i));
    V top = LLVMBuildAdd(e->b, here, n, ""), most = choose(e, LLVMIntSGT, top, total, top, total);
    LLVMBuildBr(e->b, at[NEXT]);

    LLVMPositionBuilderAtEnd(e->b, at[END]);
    LLVMBuildRet(e->b, total);
    LLVMAddIncoming(i, (V[]){ zero, next_i }, (LLVMBasicBlockRef[]){ at[ENTRY], at[PUT] }, 2);
    LLVMAddIncoming(total, (V[]){ zero, most }, (LLVMBasicBlockRef[]){ at[ENTRY], at[PUT] }, 2);
    LLVMAddIncoming(before, (V[]){ zero, here }, (LLVMBasicBlockRef[]){ at[ITEM], at[DONE] }, 2);
    LLVMAddIncoming(j, (V[]){ begin, next_j }, (LLVMBasicBlockRef[]){ at[AGAIN], at[TEST] }, 2);
    LLVMAddIncoming(here, (V[]){ before, moved }, (LLVMBasicBlockRef[]){ at[AGAIN], at[TEST] }, 2);
    LLVMPositionBuilderAtEnd(e->b, back);
    return fn;
}

/* Places the open temporaries for the symbols' values; returns the bytes of the whole workspace. */
static V lay_out(prog_state *s)
{
    emitter *e = s->e;
    const open_plan *o = s->open;
    V base = k_i64(e, open_plan_base(s->p));
    if (!o) return base;
    V sizes = LLVMBuildAlloca(e->b, array_of(e->i64, o->n_sizes), "");
    s->offsets = LLVMBuildAlloca(e->b, array_of(e->i64, o->n), "");
    for (int i = 0; i < o->n_sizes; i++) {
        V n = LLVMBuildAdd(e->b, dim_value(s, o->size[i]), k_i64(e, 63), "");
        LLVMBuildStore(e->b, LLVMBuildAnd(e->b, n, k_i64(e, ~(int64_t)63), ""), element(e, e->i64, sizes, k_i64(e, i)));
    }
    V fn = place_function(s);
    LLVMTypeRef ty = LLVMGlobalGetValueType(fn);
    return LLVMBuildAdd(e->b, base, LLVMBuildCall2(e->b, ty, fn, (V[]){ sizes, s->offsets }, 2, ""), "");
}

static V temp_offset(prog_state *s, int buf)
{
    emitter *e = s->e;
    int item = s->open ? s->open->item_of[buf] : -1;
    int64_t offset = s->p->bufs.at[buf].offset;
    if (item < 0) return k_i64(e, offset < 0 ? 0 : offset);              /* < 0: nobody uses it */
    return LLVMBuildAdd(e->b, load_element_of(e, e->i64, s->offsets, k_i64(e, item)), k_i64(e, open_plan_base(s->p)), "");
}

/* -- Views --------------------------------------------------------------------------------------------------------------------- */

static V index_value(prog_state *s, const expr *x)
{
    emitter *e = s->e;
    switch (x->kind) {
    case EXPR_const: return k_i64(e, (int64_t)x->value.bits);
    case EXPR_dim: return dim_value(s, x->dim);
    case EXPR_var: return s->var[x->id];
    default: break;
    }
    val in[3] = { { 0 } };
    for (int i = 0; i < x->n_args; i++) in[i] = (val){ index_value(s, x->args[i]), x->args[i]->type, 0 };
    switch (x->kind) {
    case EXPR_op: return row(e, x->fn, x->type, in).v;
    case EXPR_floordiv: return floordiv_val(e, in[0], in[1]).v;
    case EXPR_mod: return mod_val(e, in[0], in[1]).v;
    default: break;
    }
    assert(!"an index of the program");
    return k_i64(e, 0);
}

static V pointer_plus(emitter *e, V p, V size) { return LLVMBuildGEP2(e->b, e->i8, p, &size, 1, ""); }

static V pointer_in(prog_state *s, V table, int i)
{
    V at = k_i64(s->e, i);
    return LLVMBuildLoad2(s->e->b, s->e->ptr, LLVMBuildGEP2(s->e->b, s->e->ptr, table, &at, 1, ""), "");
}

static V buffer_pointer(prog_state *s, int buf)
{
    emitter *e = s->e;
    const pbuf *b = &s->p->bufs.at[buf];
    if (b->slot_of >= 0) {
        V base = buffer_pointer(s, b->slot_of);
        return pointer_plus(e, base, LLVMBuildMul(e->b, dim_value(s, b->slot_offset), k_i64(e, dtype_bytes(b->dtype)), ""));
    }
    switch (b->kind) {
    case PBUF_input: return pointer_in(s, s->in, b->index);
    case PBUF_output: return pointer_in(s, s->out, b->index);
    case PBUF_const: return constant_address(s, buf);
    case PBUF_temp: return pointer_plus(e, s->workspace, temp_offset(s, buf));
    case PBUF_state: return pointer_plus(e, s->states, k_i64(e, b->offset));
    }
    assert(!"a buffer with a place");
    return LLVMConstNull(e->ptr);
}

/* Part number v.at of the buffer, parts being of `part` elements. */
static V view_pointer(prog_state *s, view v, V part)
{
    emitter *e = s->e;
    V p = buffer_pointer(s, v.buf);
    if (!v.at) return p;
    V element = k_i64(e, dtype_bytes(s->p->bufs.at[v.buf].dtype));
    return pointer_plus(e, p, LLVMBuildMul(e->b, LLVMBuildMul(e->b, index_value(s, v.at), element, ""), part, ""));
}

static V one_element(prog_state *s, view v) { return view_pointer(s, v, k_i64(s->e, 1)); }

static V part_of(prog_state *s, const buffer *b)
{
    V n = k_i64(s->e, 1);
    for (int i = 0; i < b->rank; i++) n = LLVMBuildMul(s->e->b, n, dim_value(s, b->dims[i]), "");
    return n;
}

/* -- The body --------------------------------------------------------------------------------------------------------------------- */

static void emit_ops(prog_state *s, const prog_block *b);

static LLVMBasicBlockRef new_block(prog_state *s) { return LLVMAppendBasicBlockInContext(s->e->c, s->fn, ""); }

/* Tells who runs the program that kernel number `kernel` begins or has ended (profiled_run). */
static void emit_mark(prog_state *s, int kernel, bool is_end)
{
    emitter *e = s->e;
    if (!s->o->profile) return;
    V call = LLVMBuildLoad2(e->b, e->ptr, pointer_plus(e, s->run_arg, k_i64(e, offsetof(profiled_run, call))), "");
    V arg = LLVMBuildLoad2(e->b, e->ptr, pointer_plus(e, s->run_arg, k_i64(e, offsetof(profiled_run, arg))), "");
    LLVMBasicBlockRef mark = new_block(s), after = new_block(s);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntNE, call, LLVMConstNull(e->ptr), ""), mark, after);
    LLVMPositionBuilderAtEnd(e->b, mark);
    LLVMTypeRef ty = LLVMFunctionType(e->nothing, (LLVMTypeRef[]){ e->ptr, e->i64, e->i64 }, 3, 0);
    LLVMBuildCall2(e->b, ty, call, (V[]){ arg, k_i64(e, kernel), k_i64(e, is_end) }, 3, "");
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

static void emit_call(prog_state *s, const prog_op *x)
{
    emitter *e = s->e;
    int id = s->kernel_of[x->kernel];
    const kernel_code *k = s->p->kernels.at[x->kernel];
    const char *name = kernel_symbol(e->a, e->prefix, id);
    LLVMTypeRef ty = kernel_type(e, k);
    V fn = LLVMGetNamedFunction(e->m, name);
    if (!fn) {
        fn = LLVMAddFunction(e->m, name, ty);
        LLVMSetVisibility(fn, LLVMHiddenVisibility);
    }
    dim_list open = { 0 };
    kernel_open_dims(e->a, k, &open);
    V *args = NEW_ARRAY(e->a, V, 1 + k->n_params + open.n);
    int n = 0;
    args[n++] = s->run_arg;                                     /* its first field is the hook */
    for (int i = 0; i < k->n_params; i++) args[n++] = view_pointer(s, x->args[i], part_of(s, &k->bufs.at[i]));
    for (int64_t i = 0; i < open.n; i++) args[n++] = dim_value(s, open.at[i]);
    emit_mark(s, x->kernel, false);
    LLVMBuildCall2(e->b, ty, fn, args, (unsigned)n, "");
    emit_mark(s, x->kernel, true);
}

static V truth_at(prog_state *s, view v)
{
    emitter *e = s->e;
    V byte = LLVMBuildLoad2(e->b, e->i8, one_element(s, v), "");
    return LLVMBuildICmp(e->b, LLVMIntNE, byte, LLVMConstInt(e->i8, 0, 0), "");
}

/* for i in 0 … n-1; while: n is the limit of trips (or NULL), and the test stands at the head. */
static void emit_repeat(prog_state *s, const prog_op *x, V n)
{
    emitter *e = s->e;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), head = new_block(s), body = new_block(s), after = new_block(s);
    LLVMBuildBr(e->b, head);
    LLVMPositionBuilderAtEnd(e->b, head);
    V i = LLVMBuildPhi(e->b, e->i64, ""), zero = k_i64(e, 0);
    LLVMAddIncoming(i, &zero, &before, 1);
    V go = n ? LLVMBuildICmp(e->b, LLVMIntSLT, i, n, "") : LLVMConstInt(e->i1, 1, 0);
    V outer = s->var[x->var];
    if (x->kind == PROG_while) {
        LLVMBasicBlockRef test = new_block(s);
        LLVMBuildCondBr(e->b, go, test, after);
        LLVMPositionBuilderAtEnd(e->b, test);
        s->var[x->var] = i;
        emit_ops(s, &x->test);
        go = truth_at(s, x->pred);
    }
    LLVMBuildCondBr(e->b, go, body, after);
    LLVMPositionBuilderAtEnd(e->b, body);
    s->var[x->var] = x->kind == PROG_scan && x->reverse
        ? LLVMBuildSub(e->b, LLVMBuildSub(e->b, n, k_i64(e, 1), ""), i, "") : i;
    emit_ops(s, &x->body);
    V next = LLVMBuildAdd(e->b, i, k_i64(e, 1), "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b);
    LLVMAddIncoming(i, &next, &last, 1);
    LLVMBuildBr(e->b, head);
    LLVMPositionBuilderAtEnd(e->b, after);
    s->var[x->var] = outer;
}

static void emit_cond(prog_state *s, const prog_op *x)
{
    emitter *e = s->e;
    LLVMBasicBlockRef then = new_block(s), other = new_block(s), after = new_block(s);
    LLVMBuildCondBr(e->b, truth_at(s, x->pred), then, other);
    LLVMPositionBuilderAtEnd(e->b, then);
    emit_ops(s, &x->body);
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, other);
    emit_ops(s, &x->other);
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

/* Kept in the symbol's bounds: buffers were sized by them. */
static void emit_setdim(prog_state *s, const prog_op *x)
{
    emitter *e = s->e;
    int64_t lo, hi;
    dims_symbol_range(s->p->dims, x->symbol, &lo, &hi);
    V v = LLVMBuildLoad2(e->b, e->i64, one_element(s, x->source), "");
    v = choose(e, LLVMIntSLT, v, k_i64(e, lo), k_i64(e, lo), v);
    v = choose(e, LLVMIntSGT, v, k_i64(e, hi), k_i64(e, hi), v);
    LLVMBuildStore(e->b, v, s->symbol[x->symbol]);
}

static void emit_ops(prog_state *s, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *x = b->at[i];
        switch (x->kind) {
        case PROG_call: emit_call(s, x); break;
        case PROG_scan: emit_repeat(s, x, dim_value(s, x->n)); break;
        case PROG_while: emit_repeat(s, x, x->max_trip >= 0 ? k_i64(s->e, x->max_trip) : NULL); break;
        case PROG_cond: emit_cond(s, x); break;
        case PROG_setdim: emit_setdim(s, x); break;
        }
    }
}

/* -- Functions ----------------------------------------------------------------------------------------------------------------------- */

static V begin_function(prog_state *s, const char *what, LLVMTypeRef ty)
{
    s->fn = new_function(s->e, arena_printf(s->e->a, "%s_%s", s->prefix, what), ty, false);
    LLVMPositionBuilderAtEnd(s->e->b, new_block(s));
    return s->fn;
}

/* Returns `bad` unless ok holds; goes on where it does. */
static void return_unless(prog_state *s, V ok, V bad)
{
    LLVMBasicBlockRef no = new_block(s), yes = new_block(s);
    LLVMBuildCondBr(s->e->b, ok, yes, no);
    LLVMPositionBuilderAtEnd(s->e->b, no);
    LLVMBuildRet(s->e->b, bad);
    LLVMPositionBuilderAtEnd(s->e->b, yes);
}

enum { PART_OPS = 200 };

static int count_ops(const prog_block *b)
{
    int n = b->n;
    for (int i = 0; i < b->n; i++) n += count_ops(&b->at[i]->body) + count_ops(&b->at[i]->other) + count_ops(&b->at[i]->test);
    return n;
}

static void load_environment(prog_state *s)
{
    emitter *e = s->e;
    s->workspace = LLVMBuildLoad2(e->b, e->ptr, pointer_plus(e, s->run_arg, k_i64(e, 16)), "");
    s->weights = LLVMBuildLoad2(e->b, e->ptr, pointer_plus(e, s->run_arg, k_i64(e, 24)), "");
    if (s->p->n_states) s->states = LLVMBuildLoad2(e->b, e->ptr, pointer_plus(e, s->run_arg, k_i64(e, 32)), "");
}

/* Calls a function of its own that does operations first … end-1. */
static void emit_part(prog_state *s, V symbols, int first, int end)
{
    emitter *e = s->e;
    prog_state outer = *s;
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
    LLVMTypeRef ty = LLVMFunctionType(e->nothing, (LLVMTypeRef[]){ e->ptr, e->ptr, e->ptr, e->ptr, e->ptr }, 5, 0);
    V fn = begin_function(s, arena_printf(e->a, "part%d", first), ty);
    s->run_arg = LLVMGetParam(fn, 0);
    s->in = LLVMGetParam(fn, 1);
    s->out = LLVMGetParam(fn, 2);
    s->offsets = LLVMGetParam(fn, 4);
    int n = dims_n_symbols(s->p->dims);
    s->symbol = NEW_ARRAY(e->a, V, n + 1);
    for (int i = 0; i < n; i++) s->symbol[i] = element(e, e->i64, LLVMGetParam(fn, 3), k_i64(e, i));
    load_environment(s);
    emit_ops(s, &(prog_block){ .at = s->p->body.at + first, .n = end - first });
    LLVMBuildRetVoid(e->b);
    *s = outer;
    LLVMPositionBuilderAtEnd(e->b, back);
    LLVMBuildCall2(e->b, ty, fn, (V[]){ s->run_arg, s->in, s->out, symbols, s->offsets ? s->offsets : LLVMConstNull(e->ptr) }, 5, "");
}

static void emit_body(prog_state *s, V symbols)
{
    const prog_block *b = &s->p->body;
    if (!symbols) { emit_ops(s, b); return; }
    for (int first = 0, i = 0, n = 0; i < b->n; i++) {
        n += count_ops(&(prog_block){ .at = b->at + i, .n = 1 });
        if (n < PART_OPS && i + 1 < b->n) continue;
        emit_part(s, symbols, first, i + 1);
        first = i + 1;
        n = 0;
    }
}

static V emit_run(prog_state *s)
{
    emitter *e = s->e;
    LLVMTypeRef ty = LLVMFunctionType(e->i32, (LLVMTypeRef[]){ e->ptr, e->ptr, e->ptr, e->ptr }, 4, 0);
    V fn = begin_function(s, "run", ty);
    s->run_arg = LLVMGetParam(fn, 0);
    V open = LLVMGetParam(fn, 1);
    s->in = LLVMGetParam(fn, 2);
    s->out = LLVMGetParam(fn, 3);
    if (count_ops(&s->p->body) > 2 * PART_OPS) s->symbols = LLVMBuildAlloca(e->b, array_of(e->i64, dims_n_symbols(s->p->dims)), "");
    V ok = load_symbols(s, open);
    return_unless(s, ok, LLVMConstInt(e->i32, 1, 0));                         /* DLC_RUN_BAD_DIM */
    load_environment(s);
    lay_out(s);
    V old = fp_enter(e);
    emit_body(s, s->symbols);
    fp_leave(e, old);
    s->symbols = NULL;
    int n = dims_n_symbols(s->p->dims);
    const bool *is_result = program_found_symbols(e->a, s->p);
    for (int i = 0; i < n; i++) {
        if (!is_result[i]) continue;
        V at = k_i64(e, i);
        LLVMBuildStore(e->b, symbol_value(s, i), LLVMBuildGEP2(e->b, e->i64, open, &at, 1, ""));
    }
    LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
    return fn;
}

/* As a float, so that sizes beyond 64 bits are seen. */
static V rough_bytes(prog_state *s)
{
    emitter *e = s->e;
    V sum = LLVMConstReal(e->f64, 0);
    for (int64_t i = 0; i < s->p->bufs.n; i++) {
        const pbuf *b = &s->p->bufs.at[i];
        if (!s->open || s->open->item_of[i] < 0) continue;
        V n = LLVMConstReal(e->f64, dtype_bytes(b->dtype));
        for (int j = 0; j < b->rank; j++)
            n = LLVMBuildFMul(e->b, n, LLVMBuildSIToFP(e->b, dim_value(s, b->dims[j]), e->f64, ""), "");
        sum = LLVMBuildFAdd(e->b, sum, n, "");
    }
    return sum;
}

static V emit_workspace(prog_state *s)
{
    emitter *e = s->e;
    V fn = begin_function(s, "workspace", LLVMFunctionType(e->i64, &e->ptr, 1, 0));
    V bad = k_i64(e, -1), ok = load_symbols(s, LLVMGetParam(fn, 0));
    return_unless(s, ok, bad);
    return_unless(s, LLVMBuildFCmp(e->b, LLVMRealOLT, rough_bytes(s), LLVMConstReal(e->f64, 0x1p60), ""), bad);
    LLVMBuildRet(e->b, lay_out(s));
    return fn;
}

const pbuf **program_tensors(arena *a, const program *p)
{
    const pbuf **t = NEW_ARRAY(a, const pbuf *, p->n_inputs + p->n_outputs + 1);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *b = &p->bufs.at[i];
        if (b->kind == PBUF_input) t[b->index] = b;
        if (b->kind == PBUF_output) t[p->n_inputs + b->index] = b;
    }
    return t;
}

/* The constant ones from a table, in a loop: there may be thousands; the others are stored over them. */
static void emit_extents(prog_state *s, const dim *all, int n, V extents)
{
    emitter *e = s->e;
    if (!n) return;
    V *rows = NEW_ARRAY(e->a, V, n);
    for (int i = 0; i < n; i++) {
        int64_t k = 0;
        dim_is_const(all[i], &k);
        rows[i] = k_i64(e, k);
    }
    V table = LLVMAddGlobal(e->m, array_of(e->i64, n), ""), zero = k_i64(e, 0);
    LLVMSetInitializer(table, LLVMConstArray2(e->i64, rows, (uint64_t)n));
    LLVMSetGlobalConstant(table, 1);
    LLVMSetLinkage(table, LLVMPrivateLinkage);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = new_block(s), after = new_block(s);
    LLVMBuildBr(e->b, body);
    LLVMPositionBuilderAtEnd(e->b, body);
    V i = LLVMBuildPhi(e->b, e->i64, "");
    LLVMBuildStore(e->b, load_element_of(e, e->i64, table, i), element(e, e->i64, extents, i));
    V next = LLVMBuildAdd(e->b, i, k_i64(e, 1), "");
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, k_i64(e, n), ""), body, after);
    LLVMAddIncoming(i, (V[]){ zero, next }, (LLVMBasicBlockRef[]){ before, body }, 2);
    LLVMPositionBuilderAtEnd(e->b, after);
    for (int j = 0; j < n; j++)
        if (!dim_is_const(all[j], NULL)) LLVMBuildStore(e->b, dim_value(s, all[j]), element(e, e->i64, extents, k_i64(e, j)));
}

static V emit_shapes(prog_state *s)
{
    emitter *e = s->e;
    LLVMTypeRef ty = LLVMFunctionType(e->nothing, (LLVMTypeRef[]){ e->ptr, e->ptr }, 2, 0);
    V fn = begin_function(s, "shapes", ty), open = LLVMGetParam(fn, 0), extents = LLVMGetParam(fn, 1);
    int n = dims_n_symbols(s->p->dims);
    load_symbols(s, open);
    for (int i = 0; i < n; i++) {                        /* found sizes too are read, once they were: 0 … bound */
        int64_t lo, hi;
        dims_symbol_range(s->p->dims, i, &lo, &hi);
        V k = k_i64(e, i), v = LLVMBuildLoad2(e->b, e->i64, LLVMBuildGEP2(e->b, e->i64, open, &k, 1, ""), "");
        V out = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, v, k_i64(e, lo), ""),
                            LLVMBuildICmp(e->b, LLVMIntSGT, v, k_i64(e, hi), ""), "");
        LLVMBuildStore(e->b, LLVMBuildSelect(e->b, out, k_i64(e, hi), v, ""), s->symbol[i]);
    }
    vec(dim) all = { 0 };
    const pbuf **tensor = program_tensors(e->a, s->p);
    for (int i = 0; i < s->p->n_inputs + s->p->n_outputs; i++)
        for (int j = 0; j < tensor[i]->rank; j++) vec_push(e->a, &all, tensor[i]->dims[j]);
    emit_extents(s, all.at, (int)all.n, extents);
    LLVMBuildRetVoid(e->b);
    return fn;
}

/* -- Tables --------------------------------------------------------------------------------------------------------------------------- */

static V global_of(emitter *e, V init, const char *name)
{
    V g = LLVMAddGlobal(e->m, LLVMTypeOf(init), name);
    LLVMSetInitializer(g, init);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, *name ? LLVMExternalLinkage : LLVMPrivateLinkage);
    return g;
}

static V table_of(emitter *e, V *rows, int n)
{
    if (!n) return LLVMConstNull(e->ptr);
    return global_of(e, LLVMConstArray2(LLVMTypeOf(rows[0]), rows, (uint64_t)n), "");
}

static V tensor_table(prog_state *s, pbuf_kind kind, int n)
{
    emitter *e = s->e;
    V *rows = NEW_ARRAY(e->a, V, n);
    const pbuf **tensor = program_tensors(e->a, s->p) + (kind == PBUF_output ? s->p->n_inputs : 0);
    for (int i = 0; i < n; i++) {
        const pbuf *b = tensor[i];
        V fields[] = { text_constant(e, b->name), text_constant(e, dtype_info[b->dtype].name), LLVMConstInt(e->i32, (uint64_t)b->rank, 0) };
        rows[i] = LLVMConstStructInContext(e->c, fields, 3, 0);
    }
    return table_of(e, rows, n);
}

static V dim_table(prog_state *s)
{
    emitter *e = s->e;
    int n = dims_n_symbols(s->p->dims);
    V *rows = NEW_ARRAY(e->a, V, n);
    const bool *is_result = program_found_symbols(e->a, s->p);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(s->p->dims, i, &lo, &hi);
        V fields[] = { text_constant(e, dims_symbol_name(s->p->dims, i)), k_i64(e, lo), k_i64(e, hi), LLVMConstInt(e->i32, is_result[i], 0) };
        rows[i] = LLVMConstStructInContext(e->c, fields, 4, 0);
    }
    return table_of(e, rows, n);
}

static V extents_table(emitter *e, const state_row *r)
{
    V *rows = NEW_ARRAY(e->a, V, r->rank + 1);
    for (int i = 0; i < r->rank; i++) rows[i] = k_i64(e, r->extents[i]);
    return table_of(e, rows, r->rank);
}

static V states_table(emitter *e, const program *p)
{
    V *rows = NEW_ARRAY(e->a, V, p->n_states + 1);
    for (int i = 0; i < p->n_states; i++) {
        const state_row *r = &p->states[i];
        V fields[] = { text_constant(e, r->name), text_constant(e, dtype_info[r->dtype].name), LLVMConstInt(e->i32, (uint64_t)r->rank, 0),
                       LLVMConstInt(e->i32, r->is_trained, 0), extents_table(e, r), k_i64(e, r->offset), k_i64(e, r->bytes) };
        rows[i] = LLVMConstStructInContext(e->c, fields, sizeof fields / sizeof *fields, 0);
    }
    return table_of(e, rows, p->n_states);
}

static V entries_table(emitter *e, const program *first, const V *model, int n)
{
    V *rows = NEW_ARRAY(e->a, V, n + 1);
    const program *p = first;
    for (int i = 0; i < n; i++, p = p->next) {
        V fields[] = { text_constant(e, p->entry), model[i] };
        rows[i] = LLVMConstStructInContext(e->c, fields, 2, 0);
    }
    return table_of(e, rows, n);
}

static LLVMTypeRef model_type(emitter *e)
{
    LLVMTypeRef i = e->i32, l = e->i64, p = e->ptr;
    LLVMTypeRef fields[] = { i, p, p, i, i, i, p, p, p, l, p, p, p, l, i, i, p, p };
    return LLVMStructTypeInContext(e->c, fields, sizeof fields / sizeof *fields, 0);
}

static void emit_model(prog_state *s, V model, V workspace, V shapes, V run, int n_entries, V entries)
{
    emitter *e = s->e;
    const program *p = s->p;
    V fields[] = {
        LLVMConstInt(e->i32, 2, 0),                                            /* DLC_MODEL_ABI */
        text_constant(e, p->name ? p->name : ""), text_constant(e, e->target->cpu),
        LLVMConstInt(e->i32, (uint64_t)p->n_inputs, 0), LLVMConstInt(e->i32, (uint64_t)p->n_outputs, 0),
        LLVMConstInt(e->i32, (uint64_t)dims_n_symbols(p->dims), 0),
        tensor_table(s, PBUF_input, p->n_inputs), tensor_table(s, PBUF_output, p->n_outputs), dim_table(s),
        k_i64(e, s->o->external_weights ? s->weights_bytes : 0),
        workspace, shapes, run,
        k_i64(e, p->states_bytes), LLVMConstInt(e->i32, (uint64_t)p->n_states, 0), LLVMConstInt(e->i32, (uint64_t)n_entries, 0),
        s->states_table, entries,
    };
    LLVMSetInitializer(model, LLVMConstStructInContext(e->c, fields, sizeof fields / sizeof *fields, 0));
}

void emit_program(emitter *e, const program *p, const codegen_options *o, const int *kernel_of, const open_plan *const *open,
                  emit_kind kind)
{
    int n = 0, i = 0;
    for (const program *q = p; q; q = q->next) n++;
    V *model = NEW_ARRAY(e->a, V, n), states = p->n_states ? states_table(e, p) : LLVMConstNull(e->ptr);
    for (const program *q = p; q; q = q->next, i++) {
        model[i] = LLVMAddGlobal(e->m, model_type(e), arena_printf(e->a, "%s_model", entry_prefix(e->a, e->prefix, q, p)));
        LLVMSetGlobalConstant(model[i], 1);
        LLVMSetLinkage(model[i], LLVMExternalLinkage);
    }
    if (o->constant_table) {
        LLVMTypeRef table = LLVMArrayType2(e->ptr, (uint64_t)p->bufs.n);
        LLVMSetInitializer(LLVMAddGlobal(e->m, table, "dlc_constants_v1"), LLVMConstNull(table));
    }
    i = 0;
    for (const program *q = p; q; q = q->next, i++) {
        prog_state s = { .e = e, .p = q, .o = o, .kernel_of = kernel_of, .kind = kind, .open = open[i], .states_table = states };
        s.prefix = entry_prefix(e->a, e->prefix, q, p);
        s.data = NEW_ARRAY(e->a, V, q->bufs.n);
        s.first = constant_table(e->a, q);
        s.weight_offset = NEW_ARRAY(e->a, int64_t, q->bufs.n);
        s.weights_bytes = weights_layout(q, s.first, s.weight_offset);
        s.var = NEW_ARRAY(e->a, V, q->exprs ? q->exprs->vars.n : 0);
        V run = emit_run(&s), workspace = emit_workspace(&s), shapes = emit_shapes(&s);
        bool is_first = q == p && p->entry;
        emit_model(&s, model[i], workspace, shapes, run, is_first ? n : 0, is_first ? entries_table(e, p, model, n) : LLVMConstNull(e->ptr));
    }
    LLVMAddAlias2(e->m, model_type(e), 0, model[0], "dlc_model_v1");
}
