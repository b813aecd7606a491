/* backend/c/cgen.h: the loop program as portable C99.
 *
 * In: a planned program whose constants have been evaluated, as every code generator takes
 * (backend/codegen.h). Out: a .c with the interface of runtime/model.h, which includes the header of
 * api/header.h; and the weights as bytes if they are too large for a C file. The program's fma mode is kept:
 * FMA_ROUNDED code runs anywhere, FMA_FUSED code asks for a target with the instruction.
 */
#ifndef DLC_BACKEND_C_CGEN_H
#define DLC_BACKEND_C_CGEN_H
#include "ir/loop.h"

typedef struct c_options {
    const char *prefix;            /* of every symbol and macro: a C identifier */
    const char *header;            /* as #include "…" spells it */
    bool vectors;                  /* loops over lanes by the vector types of gcc and clang */
    int64_t max_inside_bytes;      /* more weights than this go to bin_file; 0: C_MAX_INSIDE */
} c_options;

enum { C_MAX_INSIDE = 1 << 20 };

/* What the code takes besides workspace: constants, and local arrays of the kernel that has most of them (an
 * upper bound: compilers keep small ones in registers). */
typedef struct { int64_t weights_bytes, stack_bytes; } c_sizes;
c_sizes c_measure(arena *a, const program *p);

/* The files, in arena a; bin_file is {NULL, 0} if the weights stand in the C file. */
dlc_status c_emit(dlc_context *ctx, arena *a, const program *p, const c_options *o, bytes *c_file,
                  bytes *bin_file);

#endif
