/* api/driver.h: the way of a model through the compiler, step by step: the one place where front ends, passes and backends
 * meet. The command line and the public API are thin over it.
 *
 *     driver_import   file -> graph             driver_passes   graph -> graph of kernels
 *     driver_lower    -> loop program, scheduled, planned, constants evaluated
 *     driver_load     -> code in memory         driver_emit     -> files
 */
#ifndef DLC_API_DRIVER_H
#define DLC_API_DRIVER_H
#include "backend/codegen.h"
#include "frontend/lang/lang.h"
#include "frontend/onnx/onnx.h"
#include "ir/tensor.h"
#include "passes/pipeline.h"
#include "runtime/model.h"

typedef struct {
    onnx_options onnx;
    const char *weights;           /* of a .dl model: an .npz with the paths as names; NULL: initial values */
    int n_ops; const char *const *ops;     /* --ops: programs that define operators for an ONNX model */
    lang_options lang;             /* of .dl files; its callbacks are set by driver_import */
    fma_mode fma;
    bool c_fma;                    /* --fma: the C form is fused, too */
    bool c_vectors;                /* --c-vectors */
    int level;                     /* -O: passes of a higher level are left out */
    bool off[PASS_COUNT];          /* --off */
    int64_t limit[PASS_COUNT];     /* --limit=PASS:N; 0 here is "none", N is kept as N + 1 */
    int until;                     /* --until: the last pass to run; PASS_COUNT: all */
    bool verify;                   /* after each pass */
    int64_t memory;                /* --memory: most bytes of workspace; 0: as many as it takes */
    machine machine;               /* what schedules are made for */
    const char *train;             /* of a .dl file: this train block instead of a model; "": the only one; NULL: a model */
    const char *loss, *optimizer;  /* --train of an ONNX model: as the language's library has them; NULL: not given */
    const char *label;             /* the type of its labels; NULL: as the loss asks */
    const char *params;            /* a pattern of the initializers that are trained; NULL: all of floating point */
    const state_binding *states;   /* of a training step: inputs and outputs that are its states; NULL: none */
    const char *schedule_file;     /* --schedule */
    bool no_variants;              /* --no-specialize: code in memory stays open (api/variants.h) */
    bool variants_at_once;         /* it is compiled for sizes when they come a second time, worth it or not */
    codegen_options codegen;
    text *explain; int explain_pass;
    /* Called after each pass (and once with PASS_COUNT, "import", before the first); either may be NULL. */
    void (*after)(void *arg, int pass, const graph *g, const program *p, int64_t changes, double seconds);
    void *after_arg;
} driver_options;

driver_options driver_defaults(void);

/* By the file's ending: .onnx, .dl, else graph text. Sets ctx->evaluator. */
dlc_status driver_import(dlc_context *ctx, arena *a, const char *path, const driver_options *o, graph **out);
/* Reads a .dl file and elaborates all its models and train blocks, for their errors. */
dlc_status driver_check(dlc_context *ctx, arena *a, const char *path, const driver_options *o);
/* A program laid out anew. */
dlc_status driver_format(dlc_context *ctx, arena *a, const char *path, text *out);
/* The step of a train block, its data and initial values (api/train.h runs it). */
dlc_status driver_train(dlc_context *ctx, arena *a, const char *path, const char *block, const driver_options *o, lang_training *t);
dlc_status driver_passes(dlc_context *ctx, const driver_options *o, graph **g);
/* lower, unless *p is there already, and the passes on the program. */
dlc_status driver_lower(dlc_context *ctx, const driver_options *o, const graph *g, program **p);
/* The same in two parts: plain nests, and their schedules and plan. */
dlc_status driver_lower_plain(dlc_context *ctx, const driver_options *o, const graph *g, program **p);
dlc_status driver_schedule(dlc_context *ctx, const driver_options *o, program *p);
/* Does this pass run under these options? */
bool driver_runs(const driver_options *o, int pass);

/* Evaluates the program's constant expressions (by the interpreter) into its arena. */
dlc_status driver_constants(dlc_context *ctx, program *p);
/* The same, or from the cache. */
dlc_status driver_weights(dlc_context *ctx, const driver_options *o, program *p);
/* Constants with equal elements share them: what stores constants goes by the address of their data. For files, since it reads
 * all of them. */
void driver_merge_constants(dlc_context *ctx, program *p);
/* The same, and anew, with `undef` in lanes that nothing defines: no result may depend on it (NaN above). */
dlc_status driver_constants_filled(dlc_context *ctx, program *p, double undef);

/* Runs a program by the interpreter of loops. Tensors as in eval_graph. */
dlc_status driver_eval(dlc_context *ctx, arena *a, const program *p, const int64_t *symbols, const tensor *in, tensor *out);
/* The same, with `fill` in memory that nobody wrote (NaN above). */
dlc_status driver_eval_filled(dlc_context *ctx, arena *a, const program *p, const int64_t *symbols, const tensor *in, tensor *out, double fill);

/* What schedules and code are made for, in place of the host's. */
void driver_set_target(driver_options *o, const target *t);

/* What schedules of portable C are made for: a machine with 16 registers of 32 bytes, less if the target has less. */
void driver_set_portable(driver_options *o);

/* Code in memory. */
dlc_status driver_load(dlc_context *ctx, const program *p, const driver_options *o, loaded_code **code, const dlc_model **model);
void driver_unload(loaded_code *code);
/* A shared library. *kept: its name in the cache, in `a`; NULL: it is not there. */
dlc_status driver_emit_shared(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *path, const char **kept);
/* An object, LLVM IR or assembly, in `a`. */
dlc_status driver_emit(dlc_context *ctx, arena *a, const program *p, const driver_options *o, emit_kind kind, bytes *out);
/* The LLVM module; NULL and a diagnostic if it cannot be opened. */
const llvm_backend *driver_llvm(dlc_context *ctx);

#endif
