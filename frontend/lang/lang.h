/* frontend/lang/lang.h: the front end of the language: a .dl file in, a graph out. The one header for the rest of the system.
 *
 * What it needs of others comes as callbacks that the api installs: the gradient, and functions of ONNX.
 */
#ifndef DLC_FRONTEND_LANG_LANG_H
#define DLC_FRONTEND_LANG_LANG_H
#include "ir/graph.h"

typedef struct { const char *name, *value; } lang_set;      /* --set NAME=VALUE: a constant of the file */

typedef struct {
    const char *model;                 /* --model; NULL: the only one */
    int n_sets; const lang_set *sets;
    /* passes/grad.h: d loss / d wrt[i], as nodes of g. NULL: `grad` says that it is not available. */
    bool (*gradient)(graph *g, value loss, int n, const value *wrt, value *dwrt);
} lang_options;

/* The inference graph of a model, its parameters at their initial values. Not DLC_OK: one diagnostic says why. */
dlc_status lang_compile(dlc_context *ctx, arena *a, const char *path, const lang_options *o, graph **out);
/* Reads the file and elaborates every model and train block. */
dlc_status lang_check(dlc_context *ctx, arena *a, const char *path, const lang_options *o);
/* Names of the file's models, in order. */
dlc_status lang_models(dlc_context *ctx, arena *a, const char *path, int *n, const char ***names);

#endif
