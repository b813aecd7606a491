/* api/engine.h: a model made ready to run in one of the ways that dlc has, and run. What `dlc run`, `test`, `bench`,
 * `compare` and the public API are made of.
 *
 *     eval    the graph, as imported, by the interpreter of graphs
 *     loop    the lowered, scheduled, planned program by the interpreter of loops
 *     jit     code in memory, by LLVM
 *     so      a shared library, written, linked and opened, by LLVM
 *     c       portable C, compiled by the system's C compiler and opened
 */
#ifndef DLC_API_ENGINE_H
#define DLC_API_ENGINE_H
#include "api/driver.h"
#include "api/variants.h"

#define ENGINE_LIST(X) X(eval) X(loop) X(jit) X(so) X(c)
typedef enum {
#define X(name) ENGINE_##name,
    ENGINE_LIST(X)
#undef X
    ENGINE_COUNT
} engine_kind;
extern const char *const engine_name[ENGINE_COUNT];

typedef struct engine {
    engine_kind kind;
    arena *arena;
    int n_in, n_out;
    const char **in_name, **out_name;
    dtype *in_dtype, *out_dtype;
    int *in_rank, *out_rank;
    int *in_at, *out_at;       /* their numbers in the graph, where states stand between them */
    graph *graph;              /* as imported; NULL for a library from a file */
    program *program;          /* NULL with eval, and for a library from a file */
    const dlc_model *model;    /* jit, so, c */
    loaded_code *code;         /* jit */
    variants *variants;        /* jit: more code, for sizes that came twice; NULL: nothing is open */
    void *states;              /* of a training step: their block; a run changes them */
    const state_binding *bound;/* which inputs and outputs of the graph they are; NULL: none, or a library from a file */
    const void *weights;       /* c: those that do not stand in the file */
    fma_mode fma;
} engine;

/* From a model (.onnx, .dl, graph text) or a library made by dlc compile (.so; `kind` is then not looked at). Everything
 * is released with `a`. Not DLC_OK: diagnostics. */
dlc_status engine_open(dlc_context *ctx, arena *a, const char *path, const driver_options *o, engine_kind kind, engine **out);
/* From a graph that is there already. o->states: these inputs and outputs are states, not inputs and outputs of the engine; the
 * caller gives them their first values, in the block. o->states must live as long. */
dlc_status engine_make(dlc_context *ctx, arena *a, graph *g, const driver_options *o, engine_kind kind, engine **out);

/* Sizes of the inputs: those fixed, and -1 where open. `extents`: rank of them. */
void engine_input_shape(const engine *e, int i, int64_t *extents);

/* Runs once. in[i] is checked against the model; out[i] is set, its bytes live in `a` (or are a constant's): only read.
 * hook may be NULL. */
dlc_status engine_run(dlc_context *ctx, arena *a, const engine *e, const tensor *in, tensor *out, const dlc_run_hook *hook);

/* The same in parts, to run several times: checks, sizes and memory once; then only the run. in[] must stay. */
typedef struct {
    const engine *e;
    const tensor *in;
    int64_t *sizes;                     /* of the open dims, in the order of the model or of the graph's symbols */
    const void **inputs; void **outputs;
    dlc_run run;
    struct profile *profile;            /* code made with codegen.profile: counts its kernels there (api/profile.h); or NULL */
    int64_t workspace_bytes;
    const dlc_model *variant;           /* the code for these sizes, once there is one */
} prepared;
dlc_status engine_prepare(dlc_context *ctx, arena *a, const engine *e, const tensor *in, const dlc_run_hook *hook, prepared *out);
/* With memory of the caller for generated code: the workspace (of the size that engine_sizes gives, aligned to 64) and the
 * outputs. */
dlc_status engine_prepare_in(dlc_context *ctx, arena *a, const engine *e, const tensor *in, const dlc_run_hook *hook, void *work,
                             void **outputs, prepared *out);
/* Types and sizes of the outputs for these inputs, and bytes of workspace. Sizes that data decide: upper bounds. The
 * interpreters find them by running. */
dlc_status engine_sizes(dlc_context *ctx, arena *a, const engine *e, const tensor *in, tensor *out, size_t *work);
dlc_status engine_step(dlc_context *ctx, arena *a, prepared *p, tensor *out);     /* out may be NULL with generated code */

/* Threads to run on, 0: as DLC_NUM_THREADS or the machine says; *n: how many there are. They end with `a`. */
dlc_run_hook engine_threads(arena *a, int threads, int *n);

#endif
