/* backend/llvm/emit.h: inside of the LLVM backend: a module under construction, values, and who emits what.
 *
 *   ops.c       the basic rows of scalar.def on scalars and vectors, casts, expansions; soft.c what the
 *               target lacks
 *   address.c   linear forms of indices, pointers hoisted to the loop where they become known
 *   memory.c    buffers: loads, stores, register slices
 *   kernel.c    statements and loops; a kernel is a function, each parallel nest of it a region function
 *   program.c   run(), workspace(), shapes() and the tables of runtime/model.h
 *   compile.c   contexts, threads, target machines, objects;  jit.c  ORC;  backend.c  the table of codegen.h
 *
 * Everything here belongs to one thread: an emitter has its own LLVMContext, arena and expander. Programs and
 * kernels are only read. Memory of LLVM objects is freed by compile.c, which makes them.
 */
#ifndef DLC_LLVM_EMIT_H
#define DLC_LLVM_EMIT_H
#include "backend/codegen.h"
#include <llvm-c/Core.h>

typedef LLVMValueRef V;

/* A value of element type t: one scalar (lanes 0: the same in all lanes), or a vector of `lanes` of them.
 * Held as: floats as LLVM floats, f16 and bf16 as i16 (they are only moved and cast), bool as i1, storage
 * types as i8. */
typedef struct { V v; dtype t; int lanes; } val;

typedef struct emitter {
    LLVMContextRef c;
    LLVMModuleRef m;
    LLVMBuilderRef b;
    arena *a;
    expander *ex;
    const target *target;
    fma_mode fma;
    const char *prefix;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, f64, half, ptr, nothing;
    V soft_fma64;                     /* the function, once needed */
    int64_t copies;                   /* of the code in work, by unrolled loops around it; 0 counts as 1 */
} emitter;

/* -- Types and constants (ops.c) ------------------------------------------------------------------------- */

LLVMTypeRef llvm_type(emitter *e, dtype t);                        /* of a value */
LLVMTypeRef memory_type(emitter *e, dtype t);                    /* in a buffer: bool takes a byte */
LLVMTypeRef lanes_of(LLVMTypeRef t, int n_lanes);                  /* t, or a vector of it */
V k_i64(emitter *e, int64_t v);
val const_val(emitter *e, dtype t, scalar_value v);
V splat_v(emitter *e, V scalar, int n_lanes);
V iota_v(emitter *e, int lanes, int64_t step);                   /* <0, step, 2 step, …> of i64 */
V shuffle(emitter *e, V a, V b, int n, const int *lane);         /* -1: any */
val widen(emitter *e, val x, int n_lanes);                         /* splat a scalar; lanes 0: as it is */
V call_intrinsic(emitter *e, const char *name, int n_types, LLVMTypeRef *types, int n, V *args);
bool is_const_int(V v, int64_t *out);

/* -- Rows (ops.c) ---------------------------------------------------------------------------------------- */

/* fn of the operands, which have one type (select: of a and b); expands what is not basic. `to`: casts only.
 */
val row(emitter *e, scalar fn, dtype to, const val *x);
val bitcast_to(emitter *e, val x, dtype to);
val floordiv_val(emitter *e, val a, val b);
val mod_val(emitter *e, val a, val b);

/* What the target lacks (soft.c), in inline arithmetic. */
V soft_fma(emitter *e, V a, V b, V c, dtype t, int n_lanes);
V soft_round(emitter *e, scalar fn, V x, dtype t, int n_lanes);
V f16_to_f32(emitter *e, V x, int n_lanes);
V f32_to_f16(emitter *e, V x, int n_lanes);
V bf16_to_f32(emitter *e, V x, int n_lanes);
V f32_to_bf16(emitter *e, V x, int n_lanes);
V f64_to_f16(emitter *e, V x, int n_lanes);

/* -- Functions (kernel.c) -------------------------------------------------------------------------------- */

/* The function `name` of kernel k: (ptr hook, ptr params…, i64 dims…), the dims being those of
 * kernel_open_dims(). */
V emit_kernel(emitter *e, const kernel_code *k, const char *name);
/* The type of such functions, and a declaration. */
LLVMTypeRef kernel_type(emitter *e, const kernel_code *k);
/* The distinct non-constant dims that k names, in order of appearance. */
typedef vec(dim) dim_list;
void kernel_open_dims(arena *a, const kernel_code *k, dim_list *out);

V new_function(emitter *e, const char *name, LLVMTypeRef type, bool is_public);
V fp_enter(emitter *e);                                         /* sets the default mode; gives the old one */
void fp_leave(emitter *e, V old);

#endif
