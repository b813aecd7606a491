/* backend/llvm/soft.c: what a target may lack, in inline arithmetic, since generated code calls no library.
 *
 * fma      f32: the product is exact in f64; the sum is rounded to odd there, so that rounding it once more
 *          to f32 gives the correctly rounded result. f64: 128-bit integers, one function for each module,
 *          called lane by lane.
 * rounding |x| + 2^23 - 2^23 (2^52 for f64) rounds to an integer; floor, ceil and trunc correct it by one.
 * f16      integer arithmetic where the target has no conversion; f64 -> f16 goes through an f32 rounded to
 *          odd.
 * bf16     always integer arithmetic.
 * See      tests/backend/test_llvm_rows.c, which also runs for a plain x86-64.
 */
#include "backend/llvm/emit.h"

static V k_lanes(emitter *e, LLVMTypeRef t, uint64_t v, int n_lanes)
{
    return splat_v(e, LLVMConstInt(t, v, 0), n_lanes);
}

static V k_float(emitter *e, LLVMTypeRef t, double v, int n_lanes)
{
    return splat_v(e, LLVMConstReal(t, v), n_lanes);
}

/* -- Rounding -------------------------------------------------------------------------------------------- */

static V sign_from(emitter *e, V x, V sign)
{
    LLVMTypeRef t = LLVMTypeOf(x);
    return call_intrinsic(e, "llvm.copysign", 1, &t, 2, (V[]){ x, sign });
}

V soft_round(emitter *e, scalar fn, V x, dtype t, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef ty = LLVMTypeOf(x), scalar_type = llvm_type(e, t);
    V magic = k_float(e, scalar_type, t == DTYPE_f64 ? 0x1p52 : 0x1p23, n_lanes), zero = LLVMConstNull(ty);
    V one = k_float(e, scalar_type, 1, n_lanes);
    V size = call_intrinsic(e, "llvm.fabs", 1, &ty, 1, &x);
    V near = LLVMBuildFSub(b, LLVMBuildFAdd(b, size, magic, ""), magic, ""), r;
    if (fn == SCALAR_trunc) {
        V up = LLVMBuildFCmp(b, LLVMRealOGT, near, size, "");
        r = LLVMBuildFSub(b, near, LLVMBuildSelect(b, up, one, zero, ""), "");
    } else {
        r = sign_from(e, near, x);
        if (fn == SCALAR_floor)
            r = LLVMBuildFSub(b, r,
                              LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, r, x, ""), one, zero, ""), "");
        if (fn == SCALAR_ceil)
            r = LLVMBuildFAdd(b, r,
                              LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, r, x, ""), one, zero, ""), "");
    }
    V small = LLVMBuildFCmp(b, LLVMRealOLT, size, magic, "");       /* false with NaN */
    return LLVMBuildSelect(b, small, sign_from(e, r, x), x, "");
}

/* -- Narrow floats --------------------------------------------------------------------------------------- */

V f16_to_f32(emitter *e, V x, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef f32 = lanes_of(e->f32, n_lanes), i32 = lanes_of(e->i32, n_lanes);
    if (e->target->has_f16c)
        return LLVMBuildFPExt(b, LLVMBuildBitCast(b, x, lanes_of(e->half, n_lanes), ""), f32, "");
    V h = LLVMBuildZExt(b, x, i32, "");
    V sign = LLVMBuildShl(b, LLVMBuildAnd(b, h, k_lanes(e, e->i32, 0x8000, n_lanes), ""),
                          k_lanes(e, e->i32, 16, n_lanes), "");
    V size = LLVMBuildAnd(b, h, k_lanes(e, e->i32, 0x7fff, n_lanes), ""),
      rebias = k_lanes(e, e->i32, 112u << 23, n_lanes);
    V normal = LLVMBuildAdd(b, LLVMBuildShl(b, size, k_lanes(e, e->i32, 13, n_lanes), ""), rebias, "");
    V is_top = LLVMBuildICmp(b, LLVMIntUGE, size, k_lanes(e, e->i32, 0x7c00, n_lanes), "");
    normal = LLVMBuildSelect(b, is_top, LLVMBuildAdd(b, normal, rebias, ""), normal, "");
    V tiny = LLVMBuildFMul(b, LLVMBuildSIToFP(b, size, f32, ""), k_float(e, e->f32, 0x1p-24, n_lanes), "");
    V is_tiny = LLVMBuildICmp(b, LLVMIntULT, size, k_lanes(e, e->i32, 0x400, n_lanes), "");
    V bits = LLVMBuildSelect(b, is_tiny, LLVMBuildBitCast(b, tiny, i32, ""), normal, "");
    return LLVMBuildBitCast(b, LLVMBuildOr(b, bits, sign, ""), f32, "");
}

V f32_to_f16(emitter *e, V x, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef i32 = lanes_of(e->i32, n_lanes), i16 = lanes_of(e->i16, n_lanes);
    if (e->target->has_f16c)
        return LLVMBuildBitCast(b, LLVMBuildFPTrunc(b, x, lanes_of(e->half, n_lanes), ""), i16, "");
    V bits = LLVMBuildBitCast(b, x, i32, "");
    V size = LLVMBuildAnd(b, bits, k_lanes(e, e->i32, 0x7fffffff, n_lanes), "");
    V sign = LLVMBuildLShr(b, LLVMBuildXor(b, bits, size, ""), k_lanes(e, e->i32, 16, n_lanes), "");
    V thirteen = k_lanes(e, e->i32, 13, n_lanes), half = k_float(e, e->f32, 0.5, n_lanes);
    V odd = LLVMBuildAnd(b, LLVMBuildLShr(b, size, thirteen, ""), k_lanes(e, e->i32, 1, n_lanes), "");
    V rounded = LLVMBuildAdd(b, LLVMBuildAdd(b, size, k_lanes(e, e->i32, 0xfff, n_lanes), ""), odd, "");
    V normal = LLVMBuildSub(b, LLVMBuildLShr(b, rounded, thirteen, ""),
                            k_lanes(e, e->i32, 112u << 10, n_lanes), "");
    /* an ulp of 1/2 is 2^-24 */
    V sum = LLVMBuildFAdd(b, LLVMBuildBitCast(b, size, LLVMTypeOf(x), ""), half, "");
    V tiny = LLVMBuildSub(b, LLVMBuildBitCast(b, sum, i32, ""), k_lanes(e, e->i32, 0x3f000000, n_lanes), "");
    V is_tiny = LLVMBuildICmp(b, LLVMIntULT, size, k_lanes(e, e->i32, 0x38800000, n_lanes), "");
    V is_big = LLVMBuildICmp(b, LLVMIntUGE, size, k_lanes(e, e->i32, 0x477ff000, n_lanes), "");
    V is_nan = LLVMBuildICmp(b, LLVMIntUGT, size, k_lanes(e, e->i32, 0x7f800000, n_lanes), "");
    V r = LLVMBuildSelect(b, is_tiny, tiny, normal, "");
    r = LLVMBuildSelect(b, is_big, k_lanes(e, e->i32, 0x7c00, n_lanes), r, "");
    r = LLVMBuildSelect(b, is_nan, k_lanes(e, e->i32, 0x7e00, n_lanes), r, "");
    return LLVMBuildTrunc(b, LLVMBuildOr(b, r, sign, ""), i16, "");
}

V f64_to_f16(emitter *e, V x, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef f32 = lanes_of(e->f32, n_lanes), i32 = lanes_of(e->i32, n_lanes),
                f64 = lanes_of(e->f64, n_lanes);
    V near = LLVMBuildFPTrunc(b, x, f32, ""), back = LLVMBuildFPExt(b, near, f64, "");
    V size = call_intrinsic(e, "llvm.fabs", 1, &f64, 1, &x),
      back_size = call_intrinsic(e, "llvm.fabs", 1, &f64, 1, &back);
    V above = LLVMBuildSExt(b, LLVMBuildFCmp(b, LLVMRealOGT, back_size, size, ""), i32, "");
    V inexact = LLVMBuildZExt(b, LLVMBuildFCmp(b, LLVMRealONE, back, x, ""), i32, "");
    V bits = LLVMBuildOr(b, LLVMBuildAdd(b, LLVMBuildBitCast(b, near, i32, ""), above, ""), inexact, "");
    return f32_to_f16(e, LLVMBuildBitCast(b, bits, f32, ""), n_lanes);
}

V bf16_to_f32(emitter *e, V x, int n_lanes)
{
    V wide = LLVMBuildZExt(e->b, x, lanes_of(e->i32, n_lanes), "");
    return LLVMBuildBitCast(e->b, LLVMBuildShl(e->b, wide, k_lanes(e, e->i32, 16, n_lanes), ""),
                            lanes_of(e->f32, n_lanes), "");
}

V f32_to_bf16(emitter *e, V x, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    V bits = LLVMBuildBitCast(b, x, lanes_of(e->i32, n_lanes), ""), sixteen = k_lanes(e, e->i32, 16, n_lanes);
    V top = LLVMBuildLShr(b, bits, sixteen, "");
    V odd = LLVMBuildAnd(b, top, k_lanes(e, e->i32, 1, n_lanes), "");
    V rounded = LLVMBuildAdd(b, LLVMBuildAdd(b, bits, k_lanes(e, e->i32, 0x7fff, n_lanes), ""), odd, "");
    V nan = LLVMBuildOr(b, top, k_lanes(e, e->i32, 0x40, n_lanes), "");
    V r = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), nan,
                          LLVMBuildLShr(b, rounded, sixteen, ""), "");
    return LLVMBuildTrunc(b, r, lanes_of(e->i16, n_lanes), "");
}

/* -- fma of f32 ------------------------------------------------------------------------------------------ */

static V soft_fma32(emitter *e, V a, V x, V c, int n_lanes)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef f64 = lanes_of(e->f64, n_lanes), i64 = lanes_of(e->i64, n_lanes);
    V p = LLVMBuildFMul(b, LLVMBuildFPExt(b, a, f64, ""), LLVMBuildFPExt(b, x, f64, ""), "");
    V d = LLVMBuildFPExt(b, c, f64, ""), s = LLVMBuildFAdd(b, p, d, "");
    V part = LLVMBuildFSub(b, s, p, "");                            /* s + error = p + d, exactly */
    V error = LLVMBuildFAdd(b, LLVMBuildFSub(b, p, LLVMBuildFSub(b, s, part, ""), ""),
                            LLVMBuildFSub(b, d, part, ""), "");
    V zero = LLVMConstNull(f64), one = k_lanes(e, e->i64, 1, n_lanes), bits = LLVMBuildBitCast(b, s, i64, "");
    V even = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, bits, one, ""), LLVMConstNull(i64), "");
    V fix = LLVMBuildAnd(b, LLVMBuildFCmp(b, LLVMRealONE, error, zero, ""), even, "");
    V differ = LLVMBuildXor(b, bits, LLVMBuildBitCast(b, error, i64, ""), "");              /* signs */
    V step = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, differ, LLVMConstNull(i64), ""),
                             LLVMConstAllOnes(i64), one, "");
    bits = LLVMBuildAdd(b, bits, LLVMBuildSelect(b, fix, step, LLVMConstNull(i64), ""), "");
    return LLVMBuildFPTrunc(b, LLVMBuildBitCast(b, bits, f64, ""), lanes_of(e->f32, n_lanes), "");
}

/* -- fma of f64 ------------------------------------------------------------------------------------------ */

/* value = ± sig * 2^(exponent - 1075), sig normalized */
typedef struct { V bits, field, sig, exponent, negative; } parts;

static V k64(emitter *e, int64_t v) { return k_i64(e, v); }

static V leading_zeros(emitter *e, V x)
{
    LLVMTypeRef t = LLVMTypeOf(x);
    return call_intrinsic(e, "llvm.ctlz", 1, &t, 2, (V[]){ x, LLVMConstInt(e->i1, 0, 0) });
}

static parts parts_of(emitter *e, V x)
{
    LLVMBuilderRef b = e->b;
    parts r;
    r.bits = LLVMBuildBitCast(b, x, e->i64, "");
    r.negative = LLVMBuildICmp(b, LLVMIntSLT, r.bits, k64(e, 0), "");
    r.field = LLVMBuildAnd(b, LLVMBuildLShr(b, r.bits, k64(e, 52), ""), k64(e, 0x7ff), "");
    V is_normal = LLVMBuildICmp(b, LLVMIntNE, r.field, k64(e, 0), "");
    V top = LLVMBuildShl(b, LLVMBuildZExt(b, is_normal, e->i64, ""), k64(e, 52), "");
    V m = LLVMBuildOr(b, LLVMBuildAnd(b, r.bits, k64(e, ((int64_t)1 << 52) - 1), ""), top, "");
    V shift = LLVMBuildSub(b, leading_zeros(e, m), k64(e, 11), "");
    r.sig = LLVMBuildShl(b, m, shift, "");
    r.exponent = LLVMBuildSub(b, LLVMBuildSelect(b, is_normal, r.field, k64(e, 1), ""), shift, "");
    return r;
}

/* x >> n, with 1 or-ed in if a bit was lost; n is cut to 127. */
static V shift_jam(emitter *e, V x, V n)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef i128 = LLVMTypeOf(x);
    V far = LLVMBuildICmp(b, LLVMIntUGT, n, k64(e, 127), "");
    V count = LLVMBuildZExt(b, LLVMBuildSelect(b, far, k64(e, 127), n, ""), i128, "");
    V q = LLVMBuildLShr(b, x, count, "");
    V lost = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildShl(b, q, count, ""), x, "");
    return LLVMBuildOr(b, q, LLVMBuildZExt(b, lost, i128, ""), "");
}

static V clamp0(emitter *e, V x)
{
    return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, x, k64(e, 0), ""), x, k64(e, 0), "");
}

static void fma64_body(emitter *e, V a, V x, V c)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef i128 = LLVMIntTypeInContext(e->c, 128);
    V zero = LLVMConstNull(e->f64), special = k64(e, 0x7ff), zero128 = LLVMConstNull(i128);
    parts A = parts_of(e, a), B = parts_of(e, x), C = parts_of(e, c);
    V c_zero = LLVMBuildFCmp(b, LLVMRealOEQ, c, zero, "");

    /* both at a scale where the larger has its top bit at 124 or 123: value = sig * 2^exponent */
    V product = LLVMBuildMul(b, LLVMBuildZExt(b, A.sig, i128, ""), LLVMBuildZExt(b, B.sig, i128, ""), "");
    product = LLVMBuildShl(b, product, LLVMConstInt(i128, 19, 0), "");
    V ep = LLVMBuildSub(b, LLVMBuildAdd(b, A.exponent, B.exponent, ""), k64(e, 2150 + 19), "");
    V addend = LLVMBuildShl(b, LLVMBuildZExt(b, C.sig, i128, ""), LLVMConstInt(i128, 72, 0), "");
    V ec = LLVMBuildSelect(b, c_zero, ep, LLVMBuildSub(b, C.exponent, k64(e, 1075 + 72), ""), "");
    V d = LLVMBuildSub(b, ep, ec, "");
    addend = shift_jam(e, addend, clamp0(e, d));
    product = shift_jam(e, product, clamp0(e, LLVMBuildNeg(b, d, "")));
    V exponent = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, d, k64(e, 0), ""), ep, ec, "");

    V p_negative = LLVMBuildXor(b, A.negative, B.negative, "");
    V differ = LLVMBuildAnd(b, LLVMBuildXor(b, p_negative, C.negative, ""), LLVMBuildNot(b, c_zero, ""), "");
    V sum = LLVMBuildSelect(b, differ, LLVMBuildSub(b, product, addend, ""),
                            LLVMBuildAdd(b, product, addend, ""), "");
    V flip = LLVMBuildICmp(b, LLVMIntSLT, sum, zero128, "");
    sum = LLVMBuildSelect(b, flip, LLVMBuildNeg(b, sum, ""), sum, "");
    V negative = LLVMBuildXor(b, p_negative, flip, "");

    V lz = leading_zeros(e, sum);
    V n = LLVMBuildShl(b, sum, LLVMBuildAnd(b, lz, LLVMConstInt(i128, 127, 0), ""), "");
    V field = LLVMBuildSub(b, LLVMBuildAdd(b, exponent, k64(e, 127 + 1023), ""),
                           LLVMBuildTrunc(b, lz, e->i64, ""), "");
    V low = LLVMBuildICmp(b, LLVMIntSLT, field, k64(e, 1), "");
    V shift = LLVMBuildAdd(b, k64(e, 73), clamp0(e, LLVMBuildSub(b, k64(e, 1), field, "")), "");
    V q = LLVMBuildTrunc(b, shift_jam(e, n, shift), e->i64, "");    /* the fraction and two bits more */
    V whole = LLVMBuildLShr(b, q, k64(e, 2), ""), rest = LLVMBuildAnd(b, q, k64(e, 3), "");
    V odd = LLVMBuildAnd(b, whole, k64(e, 1), "");
    V up = LLVMBuildICmp(b, LLVMIntUGT, LLVMBuildAdd(b, rest, odd, ""), k64(e, 2), "");
    whole = LLVMBuildAdd(b, whole, LLVMBuildZExt(b, up, e->i64, ""), "");
    V top = LLVMBuildShl(b, LLVMBuildSub(b, field, k64(e, 1), ""), k64(e, 52), "");
    V bits = LLVMBuildAdd(b, whole, LLVMBuildSelect(b, low, k64(e, 0), top, ""), "");
    V over = LLVMBuildICmp(b, LLVMIntSGT, field, k64(e, 2046), "");
    bits = LLVMBuildSelect(b, over, k64(e, (int64_t)0x7ff << 52), bits, "");
    bits = LLVMBuildOr(b, bits, LLVMBuildShl(b, LLVMBuildZExt(b, negative, e->i64, ""), k64(e, 63), ""), "");
    bits = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntEQ, sum, zero128, ""), k64(e, 0), bits, "");

    /* infinities, NaN and zero factors follow the plain operations */
    V top_ab = LLVMBuildOr(b, LLVMBuildICmp(b, LLVMIntEQ, A.field, special, ""),
                           LLVMBuildICmp(b, LLVMIntEQ, B.field, special, ""), "");
    V top_c = LLVMBuildICmp(b, LLVMIntEQ, C.field, special, "");
    V zeros = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOEQ, a, zero, ""),
                          LLVMBuildFCmp(b, LLVMRealOEQ, x, zero, ""), "");
    V plain = LLVMBuildFAdd(b, LLVMBuildFMul(b, a, x, ""), c, "");
    V r = LLVMBuildBitCast(b, bits, e->f64, "");
    r = LLVMBuildSelect(b, LLVMBuildOr(b, top_ab, zeros, ""), plain, LLVMBuildSelect(b, top_c, c, r, ""), "");
    LLVMBuildRet(b, r);
}

static V fma64_function(emitter *e)
{
    if (e->soft_fma64) return e->soft_fma64;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
    LLVMTypeRef ty = LLVMFunctionType(e->f64, (LLVMTypeRef[]){ e->f64, e->f64, e->f64 }, 3, 0);
    V fn = e->soft_fma64 = new_function(e, "soft_fma64", ty, false);
    LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->c, fn, ""));
    fma64_body(e, LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2));
    LLVMPositionBuilderAtEnd(e->b, here);
    return fn;
}

V soft_fma(emitter *e, V a, V x, V c, dtype t, int n_lanes)
{
    if (t == DTYPE_f32) return soft_fma32(e, a, x, c, n_lanes);
    V fn = fma64_function(e);
    LLVMTypeRef ty = LLVMGlobalGetValueType(fn);
    if (!n_lanes) return LLVMBuildCall2(e->b, ty, fn, (V[]){ a, x, c }, 3, "");
    V r = LLVMGetPoison(LLVMTypeOf(a));
    for (int i = 0; i < n_lanes; i++) {
        V in[3] = { a, x, c };
        for (int j = 0; j < 3; j++) in[j] = LLVMBuildExtractElement(e->b, in[j], k_i64(e, i), "");
        r = LLVMBuildInsertElement(e->b, r, LLVMBuildCall2(e->b, ty, fn, in, 3, ""), k_i64(e, i), "");
    }
    return r;
}
