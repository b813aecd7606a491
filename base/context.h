/* base/context.h: the one object from which all state hangs, and the diagnostics it gathers.
 *
 * A diagnostic is a row of base/diag.def: a severity, a text with arguments, a hint. Row `x` is the function
 *     diag_x(context, place, arguments...)
 * so the compiler checks each call. Errors are gathered; whoever drives asks ctx->n_errors at the end of a
 * step.
 */
#ifndef DLC_BASE_CONTEXT_H
#define DLC_BASE_CONTEXT_H

#include "base/base.h"

typedef enum { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE } diag_severity;

/* Where: any part may be absent (NULL or 0). `node` and `op` are names out of the file; printing escapes
 * them. */
typedef struct {
    const char *file;
    const char *node, *op;    /* as in: node "conv1" (Conv) */
    int line, col;            /* from 1 */
} place;

typedef struct {
    diag_severity severity;
    const char *id;           /* the row's name */
    place at;
    const char *message;      /* one line, escaped, at most 1000 bytes */
    const char *hint;         /* "" if none */
    const char *source_line;  /* the line of program text under the caret, or NULL */
} diag;

typedef struct dlc_context dlc_context;
struct dlc_context {
    mem mem;
    arena *arena;             /* lives as long as the context: diagnostics, interned names */
    vec(diag) diags;
    int n_errors;
    int max_diags;            /* more are counted, not kept (default 100) */
    dlc_status status;        /* the first error's kind, DLC_OK if none */
    const struct graph_evaluator *evaluator; /* of constants (ir/graph.h); installed by the api, NULL: none */
};

dlc_context *context_new(void);                 /* NULL: out of memory */
void context_free(dlc_context *ctx);
void context_clear_diags(dlc_context *ctx);

/* "model.onnx: error: node \"conv1\" (Conv): expected …", or "FILE:LINE:COL: error: …"; the source line with
 * a caret; the hint; no newline at the end, no colours. */
void diag_format(text *out, const diag *d);

enum { DIAG_STATUS_INPUT = DLC_ERR_INPUT, DIAG_STATUS_UNSUPPORTED = DLC_ERR_UNSUPPORTED };
void diag_report(dlc_context *ctx, diag_severity s, dlc_status status, const char *id, place at,
                 const char *hint, const char *fmt, ...) DLC_PRINTF(7, 8);

#define DIAG_ARGS(...) __VA_ARGS__
#define DIAG(name, severity, status, params, args, text, hint) \
    void diag_##name(dlc_context *ctx, place at DIAG_PARAMS params);
#define DIAG_PARAMS(...) __VA_OPT__(,) __VA_ARGS__
#include "base/diag.def"
#undef DIAG

#endif
