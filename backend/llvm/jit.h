/* backend/llvm/jit.h: code in memory. */
#ifndef DLC_LLVM_JIT_H
#define DLC_LLVM_JIT_H
#include "backend/llvm/compile.h"

dlc_status jit_program(dlc_context *ctx, const program *p, const codegen_options *o, loaded_code **out,
                       const struct dlc_model **model);
void jit_unload(loaded_code *code);
#endif
