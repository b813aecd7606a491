/* frontend/lang/lang.h: the front end of the language: a .dl file in, a graph out. The one header for the
 * rest of the system.
 *
 * What it needs of others comes as callbacks that the api installs: the gradient, and functions of ONNX.
 */
#ifndef DLC_FRONTEND_LANG_LANG_H
#define DLC_FRONTEND_LANG_LANG_H
#include "ir/interop.h"

typedef struct { const char *name, *value; } lang_set;      /* --set NAME=VALUE: a constant of the file */

/* --dim NAME=LO..HI: a size known at run time only, fixed or bounded */
typedef struct { const char *name; int64_t lo, hi; } lang_dim;

typedef struct { const char *name; tensor t; } lang_tensor;

typedef struct {
    const char *model;                 /* --model; NULL: the only one */
    int n_sets; const lang_set *sets;
    int n_dims; const lang_dim *dims;
    /* Trained values: of the parameter or state of this path, or false. NULL: initial values. */
    bool (*weight)(void *arg, const char *path, tensor *out);
    void *weight_arg;
    /* passes/grad.h: d loss / d wrt[i], as nodes of g. NULL: `grad` says that it is not available. */
    /* Runs a graph without inputs; out[k] lives in `a`. For data sets, in training. */
    dlc_status (*evaluate)(dlc_context *ctx, arena *a, const graph *g, tensor *out);
    bool (*gradient)(graph *g, value loss, int n, const value *wrt, value *dwrt);
    const char *source;                /* the program's text; NULL: it is read from its path */
    bool (*trains)(void *arg, const char *path);       /* may `minimize` change this parameter? NULL: any */
    void *trains_arg;
    bool by_batch;       /* normalizations of an ONNX model go by the batch in training */
    bool in_parts;       /* of a train block: also its halves, and the number of steps as a variable `step` */
    bool skips_data;         /* the shapes of the data are enough: tensors have no elements, parts no order */
    bool guard;                        /* a step whose gradients are not all finite changes nothing */
    /* All tensors of a file, by its ending (.npy, .npz). For data sets. */
    dlc_status (*read_tensors)(dlc_context *ctx, arena *a, const char *path, int *n, lang_tensor **out);
    /* models and operators of ONNX; NULL: `use "x.onnx"` and `onnx` say that they are not available */
    const onnx_access *onnx;
} lang_options;

/* The inference graph of a model, its parameters at their initial values. Not DLC_OK: one diagnostic says
 * why. */
dlc_status lang_compile(dlc_context *ctx, arena *a, const char *path, const lang_options *o, graph **out);
/* Reads the file and elaborates every model and train block. */
dlc_status lang_check(dlc_context *ctx, arena *a, const char *path, const lang_options *o);
/* A program's text laid out anew: the same tokens on the same lines. */
dlc_status lang_format(dlc_context *ctx, arena *a, const char *path, text *out);

/* The operators that these programs define, for a model that uses them. They live in `a`. */
dlc_status lang_operators(dlc_context *ctx, arena *a, int n, const char *const *paths, const lang_options *o,
                          operator_library *out);

/* -- Training: what `dlc train` runs (api/train.c) ------------------------------------------------------- */

/* A parameter or state. Of the step's results, n_losses losses come first, then new[k] of each variable in
 * order. */
typedef struct { const char *path; bool is_state; } lang_variable;
/* A data set: tensors whose first axis is the sample. Inputs of the graphs are named NAME.FIELD. */
typedef struct {
    const char *name;
    int n; const char **field; tensor *t;
    int64_t samples;
    int64_t *part[3], n_part[3];           /* training, validation, test: which samples */
    bool shuffle;
} lang_data;
typedef struct {
    const char *name;
    int64_t epochs, steps, batch, patience; uint64_t seed; bool shuffle;
    const char *monitor, *save, *load, *checkpoint;        /* NULL: not given */
    int64_t trials;                        /* of the search, chosen at random; 0: all */
    int n_vars; lang_variable *vars;
    int n_losses; const char **losses;
    int n_reports; const char **reports;
    int n_data; lang_data **data;
    /* constants to vary, values as text */
    int n_search; struct { const char *name; int n; const char **value; } *search;
    graph *init;                           /* results: the variables' first values */
    graph *step;                           /* inputs by name: variables, data, step, epoch, val_loss */
    graph *evaluate[3];                    /* on each part, NULL if it is empty: losses, then reports */
    /* in_parts: no evaluate[], but the step in two halves, one after the other the same, bit for bit; and
     * evaluation on a batch.
     *     grad    results: losses, gradients of the variables graded[], new values of early[]
     *     apply   inputs grad:PATH beside others; results: new values of late[]
     *     test    results: losses, then reports; variables are as in inference */
    graph *grad, *apply, *test;
    int n_graded, n_early, n_late; const int *graded, *early, *late;
} lang_training;
/* block NULL: the only one. */
dlc_status lang_train(dlc_context *ctx, arena *a, const char *path, const char *block, const lang_options *o,
                      lang_training *out);
/* The permutation of n at (path, step) (reference.md, section 10). */
void lang_permutation(int64_t n, const char *path, uint64_t seed, uint32_t step, int64_t *p);

/* Names of the file's models, in order. */
dlc_status lang_models(dlc_context *ctx, arena *a, const char *path, int *n, const char ***names);

#endif
