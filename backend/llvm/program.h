/* backend/llvm/program.h: what compile.c and the writers of weights ask of a program. */
#ifndef DLC_LLVM_PROGRAM_H
#define DLC_LLVM_PROGRAM_H
#include "backend/llvm/emit.h"
#include "ir/open_plan.h"

/* open: of each entry. */
void emit_program(emitter *e, const program *p, const codegen_options *o, const int *kernel_of,
                  const open_plan *const *open, emit_kind kind);
const char *kernel_symbol(arena *a, const char *prefix, int kernel);
const pbuf **program_tensors(arena *a, const program *p);               /* inputs, then outputs, by index */

/* Constants: bytes (-1: open); by buffer the first with the same data, which is stored; small ones stand in
 * the code, and all of them in LLVM IR and assembly. */
int64_t constant_bytes(const program *p, int buf);
int *constant_table(arena *a, const program *p);
bool constant_is_small(const program *p, int buf);
/* Of an entry's symbols: those of the first one, and of programs alone, bear the library's. */
const char *entry_prefix(arena *a, const char *prefix, const program *p, const program *first);
const char *constant_symbol(arena *a, const char *prefix, int buf);
/* of one block of all; its bytes */
int64_t weights_layout(const program *p, const int *first, int64_t *offset);
#endif
