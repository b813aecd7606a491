/* backend/llvm/compile.h: a program as objects, LLVM IR or assembly; used by backend.c and jit.c. */
#ifndef DLC_LLVM_COMPILE_H
#define DLC_LLVM_COMPILE_H
#include "ir/kernel_key.h"
#include "backend/llvm/program.h"
#include <llvm-c/TargetMachine.h>

/* What comes out for each unit (a module): in arena a. */
typedef struct { int n; bytes *at; } unit_list;

dlc_status compile_units(dlc_context *ctx, arena *a, const program *p, const codegen_options *o,
                         emit_kind kind, unit_list *out);


/* NULL, and *error (LLVMDisposeMessage) says why. */
LLVMTargetMachineRef target_machine(const target *t, char **error);
#endif
