/* backend/llvm/ops.c: the basic rows of ir/scalar.def as LLVM instructions, on scalars and on vectors alike.
 *
 * What   row() gives the instructions of one row with exactly the meaning of ir/scalar_eval.c; rows that are
 *        not basic are run through scalar_expand(), step by step, so a vector exp is the scalar one on all
 *        lanes.
 * Rules  No fast-math flag, no nsw/nuw: ints wrap. Nothing that LLVM makes undefined is reachable: divisors
 *        and shift counts are replaced before. Intrinsics only where every target of interest has an inline
 *        lowering.
 * See    tests/backend/test_llvm_rows.c: every row and type against sv_basic, on hard values.
 */
#include "backend/llvm/emit.h"
#include <assert.h>

/* -- Types and constants --------------------------------------------------------------------------------- */

LLVMTypeRef llvm_type(emitter *e, dtype t)
{
    switch (t) {
    case DTYPE_f64: return e->f64;
    case DTYPE_f32: return e->f32;
    case DTYPE_bool: return e->i1;
    default: break;
    }
    switch (dtype_bytes(t)) {
    case 1: return e->i8;
    case 2: return e->i16;
    case 4: return e->i32;
    default: return e->i64;
    }
}

LLVMTypeRef memory_type(emitter *e, dtype t) { return t == DTYPE_bool ? e->i8 : llvm_type(e, t); }
LLVMTypeRef lanes_of(LLVMTypeRef t, int n_lanes)
{
    return n_lanes ? LLVMVectorType(t, (unsigned)n_lanes) : t;
}

V k_i64(emitter *e, int64_t v) { return LLVMConstInt(e->i64, (uint64_t)v, 1); }

bool is_const_int(V v, int64_t *out)
{
    if (!LLVMIsAConstantInt(v)) return false;
    *out = LLVMConstIntGetSExtValue(v);
    return true;
}

val const_val(emitter *e, dtype t, scalar_value v)
{
    V bits;
    if (t == DTYPE_f32) bits = LLVMConstBitCast(LLVMConstInt(e->i32, v.bits, 0), e->f32);
    else if (t == DTYPE_f64) bits = LLVMConstBitCast(LLVMConstInt(e->i64, v.bits, 0), e->f64);
    else bits = LLVMConstInt(llvm_type(e, t), v.bits, 0);
    return (val){ bits, t, 0 };
}

V shuffle(emitter *e, V a, V b, int n, const int *lane)
{
    V *m = NEW_ARRAY(e->a, V, n);
    for (int i = 0; i < n; i++)
        m[i] = lane[i] < 0 ? LLVMGetPoison(e->i32) : LLVMConstInt(e->i32, (uint64_t)lane[i], 0);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(m, (unsigned)n), "");
}

V splat_v(emitter *e, V s, int n_lanes)
{
    if (!n_lanes) return s;
    if (LLVMIsConstant(s)) {
        V *m = NEW_ARRAY(e->a, V, n_lanes);
        for (int i = 0; i < n_lanes; i++) m[i] = s;
        return LLVMConstVector(m, (unsigned)n_lanes);
    }
    V none = LLVMGetPoison(lanes_of(LLVMTypeOf(s), n_lanes));
    V one = LLVMBuildInsertElement(e->b, none, s, k_i64(e, 0), "");
    return LLVMBuildShuffleVector(e->b, one, none, LLVMConstNull(LLVMVectorType(e->i32, (unsigned)n_lanes)),
                                  "");
}

V iota_v(emitter *e, int n_lanes, int64_t step)
{
    V *m = NEW_ARRAY(e->a, V, n_lanes);
    for (int i = 0; i < n_lanes; i++) m[i] = k_i64(e, i * step);
    return LLVMConstVector(m, (unsigned)n_lanes);
}

val widen(emitter *e, val x, int n_lanes)
{
    if (!n_lanes || x.lanes) return x;
    return (val){ splat_v(e, x.v, n_lanes), x.t, n_lanes };
}

V call_intrinsic(emitter *e, const char *name, int n_types, LLVMTypeRef *types, int n, V *args)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    V fn = LLVMGetIntrinsicDeclaration(e->m, id, types, (size_t)n_types);
    return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, (unsigned)n, "");
}

static V call1(emitter *e, const char *name, V x)
{
    LLVMTypeRef t = LLVMTypeOf(x);
    return call_intrinsic(e, name, 1, &t, 1, &x);
}

static V call2(emitter *e, const char *name, V x, V y)
{
    LLVMTypeRef t = LLVMTypeOf(x);
    return call_intrinsic(e, name, 1, &t, 2, (V[]){ x, y });
}

/* -- Rows of floats -------------------------------------------------------------------------------------- */

static V float_row(emitter *e, scalar fn, dtype t, int n_lanes, const V *x)
{
    LLVMBuilderRef b = e->b;
    V zero = LLVMConstNull(LLVMTypeOf(x[0]));
    switch (fn) {
    case SCALAR_add: return LLVMBuildFAdd(b, x[0], x[1], "");
    case SCALAR_sub: return LLVMBuildFSub(b, x[0], x[1], "");
    case SCALAR_mul: return LLVMBuildFMul(b, x[0], x[1], "");
    case SCALAR_div: return LLVMBuildFDiv(b, x[0], x[1], "");
    case SCALAR_neg: return LLVMBuildFNeg(b, x[0], "");
    case SCALAR_fma: {
        if (e->fma == FMA_ROUNDED) return LLVMBuildFAdd(b, LLVMBuildFMul(b, x[0], x[1], ""), x[2], "");
        if (!e->target->has_fma) return soft_fma(e, x[0], x[1], x[2], t, n_lanes);
        LLVMTypeRef ty = LLVMTypeOf(x[0]);
        return call_intrinsic(e, "llvm.fma", 1, &ty, 3, (V[]){ x[0], x[1], x[2] });
    }
    case SCALAR_abs: return call1(e, "llvm.fabs", x[0]);
    case SCALAR_max: return call2(e, "llvm.maximum", x[0], x[1]);
    case SCALAR_min: return call2(e, "llvm.minimum", x[0], x[1]);
    case SCALAR_relu:
        return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, x[0], zero, ""), zero, x[0], "");
    case SCALAR_sqrt: return call1(e, "llvm.sqrt", x[0]);
    case SCALAR_floor: case SCALAR_ceil: case SCALAR_trunc: case SCALAR_rint:
        if (!e->target->has_sse41) return soft_round(e, fn, x[0], t, n_lanes);
        return call1(e, fn == SCALAR_floor ? "llvm.floor" : fn == SCALAR_ceil ? "llvm.ceil"
                      : fn == SCALAR_trunc ? "llvm.trunc" : "llvm.roundeven", x[0]);
    case SCALAR_eq: return LLVMBuildFCmp(b, LLVMRealOEQ, x[0], x[1], "");
    case SCALAR_lt: return LLVMBuildFCmp(b, LLVMRealOLT, x[0], x[1], "");
    case SCALAR_le: return LLVMBuildFCmp(b, LLVMRealOLE, x[0], x[1], "");
    default: break;
    }
    assert(!"a row of floats");
    return x[0];
}

/* -- Rows of ints ---------------------------------------------------------------------------------------- */

static V int_div(emitter *e, bool is_sint, V a, V d)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef t = LLVMTypeOf(a);
    V zero = LLVMConstNull(t),
      one = LLVMGetTypeKind(t) == LLVMVectorTypeKind
                ? splat_v(e, LLVMConstInt(LLVMGetElementType(t), 1, 0), (int)LLVMGetVectorSize(t))
                : LLVMConstInt(t, 1, 0);
    V is_zero = LLVMBuildICmp(b, LLVMIntEQ, d, zero, "");
    V safe = LLVMBuildSelect(b, is_zero, one, d, "");
    if (!is_sint) return LLVMBuildSelect(b, is_zero, zero, LLVMBuildUDiv(b, a, safe, ""), "");
    V is_minus = LLVMBuildICmp(b, LLVMIntEQ, d, LLVMConstAllOnes(t), "");
    safe = LLVMBuildSelect(b, is_minus, one, safe, "");
    V q = LLVMBuildSelect(b, is_minus, LLVMBuildNeg(b, a, ""), LLVMBuildSDiv(b, a, safe, ""), "");
    return LLVMBuildSelect(b, is_zero, zero, q, "");
}

static V int_shift(emitter *e, scalar fn, dtype t, int n_lanes, V a, V n)
{
    LLVMBuilderRef b = e->b;
    int width = 8 * dtype_bytes(t);
    V limit = splat_v(e, LLVMConstInt(llvm_type(e, t), (uint64_t)width, 0), n_lanes),
      zero = LLVMConstNull(LLVMTypeOf(a));
    V last = splat_v(e, LLVMConstInt(llvm_type(e, t), (uint64_t)width - 1, 0), n_lanes);
    V in_range = LLVMBuildICmp(b, LLVMIntULT, n, limit, "");
    V count = LLVMBuildSelect(b, in_range, n, last, "");
    if (fn == SCALAR_shr && is_signed(t)) return LLVMBuildAShr(b, a, count, "");
    V r = fn == SCALAR_shl ? LLVMBuildShl(b, a, count, "") : LLVMBuildLShr(b, a, count, "");
    return LLVMBuildSelect(b, in_range, r, zero, "");
}

static V int_row(emitter *e, scalar fn, dtype t, int n_lanes, const V *x)
{
    LLVMBuilderRef b = e->b;
    bool is_sint = is_signed(t);
    V zero = LLVMConstNull(LLVMTypeOf(x[0]));
    LLVMIntPredicate lt = is_sint ? LLVMIntSLT : LLVMIntULT, le = is_sint ? LLVMIntSLE : LLVMIntULE;
    switch (fn) {
    case SCALAR_add: return LLVMBuildAdd(b, x[0], x[1], "");
    case SCALAR_sub: return LLVMBuildSub(b, x[0], x[1], "");
    case SCALAR_mul: return LLVMBuildMul(b, x[0], x[1], "");
    case SCALAR_div: return int_div(e, is_sint, x[0], x[1]);
    case SCALAR_neg: return LLVMBuildNeg(b, x[0], "");
    case SCALAR_abs:
        if (!is_sint) return x[0];
        return LLVMBuildSelect(b, LLVMBuildICmp(b, lt, x[0], zero, ""), LLVMBuildNeg(b, x[0], ""), x[0], "");
    case SCALAR_max: return LLVMBuildSelect(b, LLVMBuildICmp(b, lt, x[0], x[1], ""), x[1], x[0], "");
    case SCALAR_min: return LLVMBuildSelect(b, LLVMBuildICmp(b, lt, x[0], x[1], ""), x[0], x[1], "");
    case SCALAR_relu:
        if (!is_sint) return x[0];
        return LLVMBuildSelect(b, LLVMBuildICmp(b, lt, x[0], zero, ""), zero, x[0], "");
    case SCALAR_eq: return LLVMBuildICmp(b, LLVMIntEQ, x[0], x[1], "");
    case SCALAR_lt: return LLVMBuildICmp(b, lt, x[0], x[1], "");
    case SCALAR_le: return LLVMBuildICmp(b, le, x[0], x[1], "");
    case SCALAR_and: return LLVMBuildAnd(b, x[0], x[1], "");
    case SCALAR_or: return LLVMBuildOr(b, x[0], x[1], "");
    case SCALAR_xor: return LLVMBuildXor(b, x[0], x[1], "");
    case SCALAR_not: return LLVMBuildNot(b, x[0], "");
    case SCALAR_shl: case SCALAR_shr: return int_shift(e, fn, t, n_lanes, x[0], x[1]);
    default: break;
    }
    assert(!"a row of ints");
    return x[0];
}

/* -- Casts ----------------------------------------------------------------------------------------------- */

static V to_f32(emitter *e, val x)
{
    return x.t == DTYPE_f16 ? f16_to_f32(e, x.v, x.lanes) : bf16_to_f32(e, x.v, x.lanes);
}

static V float_to_float(emitter *e, val x, dtype to)
{
    LLVMTypeRef ty = lanes_of(llvm_type(e, to), x.lanes);
    if (x.t == DTYPE_f64) {
        if (to == DTYPE_f16) return f64_to_f16(e, x.v, x.lanes);
        V narrow = LLVMBuildFPTrunc(e->b, x.v, lanes_of(e->f32, x.lanes), "");
        return to == DTYPE_f32 ? narrow : f32_to_bf16(e, narrow, x.lanes);
    }
    V wide = x.t == DTYPE_f32 ? x.v : to_f32(e, x);
    switch (to) {
    case DTYPE_f64: return LLVMBuildFPExt(e->b, wide, ty, "");
    case DTYPE_f16: return f32_to_f16(e, wide, x.lanes);
    case DTYPE_bf16: return f32_to_bf16(e, wide, x.lanes);
    default: return wide;
    }
}

static V cast_v(emitter *e, val x, dtype to)
{
    LLVMBuilderRef b = e->b;
    if (x.t == to) return x.v;
    if (is_float(x.t) && is_float(to)) return float_to_float(e, x, to);
    LLVMTypeRef ty = lanes_of(llvm_type(e, to), x.lanes);
    if (is_float(x.t)) {
        V f = x.t == DTYPE_f16 || x.t == DTYPE_bf16 ? to_f32(e, x) : x.v;
        if (to == DTYPE_bool) return LLVMBuildFCmp(b, LLVMRealUNE, f, LLVMConstNull(LLVMTypeOf(f)), "");
        LLVMTypeRef types[2] = { ty, LLVMTypeOf(f) };
        return call_intrinsic(e, is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", 2, types, 1, &f);
    }
    if (is_float(to)) {
        dtype via = to == DTYPE_f64 ? DTYPE_f64 : DTYPE_f32;
        LLVMTypeRef f = lanes_of(llvm_type(e, via), x.lanes);
        V r = is_signed(x.t) ? LLVMBuildSIToFP(b, x.v, f, "") : LLVMBuildUIToFP(b, x.v, f, "");
        return to == DTYPE_f16    ? f32_to_f16(e, r, x.lanes)
               : to == DTYPE_bf16 ? f32_to_bf16(e, r, x.lanes)
                                  : r;
    }
    if (to == DTYPE_bool) return LLVMBuildICmp(b, LLVMIntNE, x.v, LLVMConstNull(LLVMTypeOf(x.v)), "");
    if (x.t == DTYPE_bool || dtype_bytes(to) > dtype_bytes(x.t))
        return is_signed(x.t) ? LLVMBuildSExt(b, x.v, ty, "") : LLVMBuildZExt(b, x.v, ty, "");
    return dtype_bytes(to) < dtype_bytes(x.t) ? LLVMBuildTrunc(b, x.v, ty, "") : x.v;
}

val bitcast_to(emitter *e, val x, dtype to)
{
    if (x.t == DTYPE_bool && to != DTYPE_bool)
        return (val){ LLVMBuildZExt(e->b, x.v, lanes_of(e->i8, x.lanes), ""), to, x.lanes };
    if (to == DTYPE_bool && x.t != DTYPE_bool) return (val){ cast_v(e, x, DTYPE_bool), to, x.lanes };
    return (val){ LLVMBuildBitCast(e->b, x.v, lanes_of(llvm_type(e, to), x.lanes), ""), to, x.lanes };
}

/* -- All rows -------------------------------------------------------------------------------------------- */

/* and, or of bools where one is a constant: the builder folds only if both are. */
static bool fold_logic(scalar fn, const val *in, val *out)
{
    int64_t k;
    for (int i = 0; i < 2; i++) {
        if (in[i].lanes || !is_const_int(in[i].v, &k)) continue;
        *out = (k != 0) == (fn == SCALAR_and) ? in[1 - i] : in[i];
        return true;
    }
    return false;
}

static val basic(emitter *e, scalar fn, dtype to, const val *in)
{
    val folded;
    if ((fn == SCALAR_and || fn == SCALAR_or) && in[0].t == DTYPE_bool && fold_logic(fn, in, &folded))
        return folded;
    int n = scalar_info[fn].arity, n_lanes = 0;
    for (int i = 0; i < n; i++) n_lanes = n_lanes ? n_lanes : in[i].lanes;
    val x[3] = { { 0 } };
    for (int i = 0; i < n; i++) x[i] = widen(e, in[i], n_lanes);
    V v[3] = { x[0].v, x[1].v, x[2].v };
    if (fn == SCALAR_cast) return (val){ cast_v(e, x[0], to), to, n_lanes };
    if (fn == SCALAR_select) {
        V c = in[0].lanes ? v[0] : in[0].v;                   /* a uniform condition selects whole vectors */
        return (val){ LLVMBuildSelect(e->b, c, v[1], v[2], ""), x[1].t, n_lanes };
    }
    dtype t = x[0].t, result = scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : t;
    return (val){ is_float(t) ? float_row(e, fn, t, n_lanes, v) : int_row(e, fn, t, n_lanes, v), result,
                  n_lanes };
}

static val expand_inline(emitter *e, const scalar_code *c, const val *x)
{
    val *r = NEW_ARRAY(e->a, val, c->n_in + c->n_steps);
    for (int i = 0; i < c->n_in; i++) r[i] = x[i];
    for (int i = 0; i < c->n_steps; i++) {
        const scalar_step *s = &c->steps[i];
        val in[3] = { { 0 } }, *out = &r[c->n_in + i];
        int n = s->kind == STEP_CONST ? 0 : s->kind == STEP_BITCAST ? 1 : scalar_info[s->fn].arity;
        for (int j = 0; j < n; j++) in[j] = r[s->in[j]];
        *out = s->kind == STEP_CONST ? const_val(e, s->type, s->imm)
             : s->kind == STEP_BITCAST ? bitcast_to(e, in[0], s->type) : basic(e, s->fn, s->type, in);
    }
    return r[c->n_in + c->n_steps - 1];
}

/* The line as a function of this module, for code that stands in many copies (a tile's epilogue): one call
 * each instead of one line each. A 13 x 2 tile with erf took 50 ms to compile and 5,400 instructions. */
static val expand_call(emitter *e, scalar fn, const scalar_code *c, const val *x)
{
    int n_lanes = 0;
    for (int i = 0; i < c->n_in; i++) n_lanes = n_lanes ? n_lanes : x[i].lanes;
    const char *name = arena_printf(e->a, "%s_%s_%s_x%d", e->prefix, scalar_info[fn].name,
                                    dtype_info[x[0].t].name, n_lanes);
    LLVMTypeRef operand = lanes_of(llvm_type(e, x[0].t), n_lanes), params[3] = { operand, operand, operand };
    V f = LLVMGetNamedFunction(e->m, name), args[3];
    if (!f) {
        LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
        f = new_function(e, name, LLVMFunctionType(operand, params, (unsigned)c->n_in, 0), false);
        LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->c, f, ""));
        val in[3];
        for (int i = 0; i < c->n_in; i++) in[i] = (val){ LLVMGetParam(f, (unsigned)i), x[0].t, n_lanes };
        LLVMBuildRet(e->b, expand_inline(e, c, in).v);
        LLVMPositionBuilderAtEnd(e->b, here);
    }
    for (int i = 0; i < c->n_in; i++) args[i] = widen(e, x[i], n_lanes).v;
    V r = LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, args, (unsigned)c->n_in, "");
    return (val){ r, x[0].t, n_lanes };
}

enum { SHORT_LINE = 12, FEW_COPIES = 4 };

static val expanded(emitter *e, scalar fn, const val *x)
{
    const scalar_code *c = scalar_expand(e->ex, fn, x[0].t);
    assert(c);
    bool is_call = e->copies > FEW_COPIES && c->n_steps > SHORT_LINE;
    return is_call ? expand_call(e, fn, c, x) : expand_inline(e, c, x);
}

val row(emitter *e, scalar fn, dtype to, const val *x)
{
    return scalar_info[fn].is_basic ? basic(e, fn, to, x) : expanded(e, fn, x);
}

/* -- Index division: the divisor is positive ------------------------------------------------------------- */

static int log2_of(int64_t d)
{
    for (int i = 0; i < 62; i++)
        if (d == (int64_t)1 << i) return i;
    return -1;
}

val floordiv_val(emitter *e, val a, val d)
{
    int n_lanes = a.lanes ? a.lanes : d.lanes;
    int64_t k;
    LLVMBuilderRef b = e->b;
    if (is_const_int(d.v, &k) && log2_of(k) >= 0)
        return (val){ LLVMBuildAShr(b, a.v, splat_v(e, k_i64(e, log2_of(k)), a.lanes), ""), DTYPE_i64,
                      a.lanes };
    V x = widen(e, a, n_lanes).v, y = widen(e, d, n_lanes).v, zero = LLVMConstNull(LLVMTypeOf(x));
    V q = LLVMBuildSDiv(b, x, y, ""), r = LLVMBuildSub(b, x, LLVMBuildMul(b, q, y, ""), "");
    V below = LLVMBuildSExt(b, LLVMBuildICmp(b, LLVMIntSLT, r, zero, ""), LLVMTypeOf(x), "");
    return (val){ LLVMBuildAdd(b, q, below, ""), DTYPE_i64, n_lanes };
}

val mod_val(emitter *e, val a, val d)
{
    int n_lanes = a.lanes ? a.lanes : d.lanes;
    int64_t k;
    LLVMBuilderRef b = e->b;
    if (is_const_int(d.v, &k) && log2_of(k) >= 0)
        return (val){ LLVMBuildAnd(b, a.v, splat_v(e, k_i64(e, k - 1), a.lanes), ""), DTYPE_i64, a.lanes };
    V x = widen(e, a, n_lanes).v, y = widen(e, d, n_lanes).v, zero = LLVMConstNull(LLVMTypeOf(x));
    V r = LLVMBuildSRem(b, x, y, "");
    V fix = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, r, zero, ""), y, zero, "");
    return (val){ LLVMBuildAdd(b, r, fix, ""), DTYPE_i64, n_lanes };
}
