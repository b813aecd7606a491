/* api/output.h: a model compiled to files. */
#ifndef DLC_API_OUTPUT_H
#define DLC_API_OUTPUT_H
#include "api/settings.h"

/*     so   shared library        o    object            a   archive of one object
 *     ll   LLVM IR               s    assembly          h   the header alone
 *     c    portable C, and STEM.bin if the weights are too large for it
 * A header of the same name goes beside so, o, a and c. */
#define OUTPUT_LIST(X) X(so) X(o) X(a) X(ll) X(s) X(h) X(c)
typedef enum {
#define X(name) OUTPUT_##name,
    OUTPUT_LIST(X)
#undef X
    OUTPUT_COUNT
} output_kind;

/* By the ending of a path; OUTPUT_COUNT: none of these. */
output_kind output_of(const char *path);
/* What running it takes, in bytes: workspace as planned, -1 if it depends on open sizes; the least that any
 * plan could take (the largest sum of values that live at once); constants; of portable C, local arrays on
 * the stack (-1: not known). */
typedef struct { int64_t workspace, least, weights, stack; } output_memory;

/* The whole way from a model to the files. Nothing is written unless everything else has succeeded. memory:
 * may be NULL. */
dlc_status output_compile(dlc_context *ctx, arena *a, const char *model, const char *path, output_kind kind,
                          settings *s, output_memory *memory);
#endif
