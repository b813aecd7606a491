/* dlc.h: libdlc: compile a model and run it, or write it as code. C99, usable from C++.
 *
 *     dlc_context *ctx = dlc_context_create();
 *     dlc_program *p;
 *     if (dlc_program_open(ctx, "model.onnx", NULL, &p) != DLC_OK) puts(dlc_diag_text(ctx, 0));
 *     size_t work;
 *     dlc_program_prepare(ctx, p, in, 1, out, 1, &work);           types and sizes of out[]
 *     ...the caller allocates out[0].data and work bytes...
 *     dlc_program_run(ctx, p, in, 1, out, 1, memory, work, NULL);
 *
 * Errors    A function that can fail returns a status; what went wrong stands in the context, in words, until
 *           the next such call. Nothing is printed, and the process is never ended.
 * Threads   A context is used by one thread at a time. A program is only read when it runs: several threads
 *           may run it at once, each with its own context, outputs and work.
 * Memory    What the caller passes stays the caller's. Strings that are returned live as long as what they
 *           were asked of.
 * Versions  A function once released keeps its meaning; new ones are added. DLC_VERSION_NUMBER is this
 *           header's, dlc_version() the library's.
 */
#ifndef DLC_DLC_H
#define DLC_DLC_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef DLC_API
#if defined __GNUC__
#define DLC_API __attribute__((visibility("default")))
#else
#define DLC_API
#endif
#endif

#define DLC_VERSION_NUMBER 0x000100          /* 0.1.0: major, minor, patch, a byte each */
DLC_API uint32_t dlc_version(void);

#ifndef DLC_STATUS
#define DLC_STATUS
typedef enum {
    DLC_OK = 0,
    DLC_ERR_INPUT = 1,        /* a file, model, program or argument is wrong */
    DLC_ERR_UNSUPPORTED = 2,  /* right, but not implemented */
    DLC_ERR_SHAPE = 3,        /* a size does not fit */
    DLC_ERR_DTYPE = 4,        /* an element type does not fit */
    DLC_ERR_MEMORY = 5,
    DLC_ERR_IO = 6,
    DLC_ERR_INTERNAL = 70     /* a bug in dlc */
} dlc_status;
#endif

/* -- Context --------------------------------------------------------------------------------------------- */

typedef struct dlc_context dlc_context;
DLC_API dlc_context *dlc_context_create(void);               /* NULL: out of memory */
DLC_API void dlc_context_destroy(dlc_context *ctx);          /* after its programs; NULL is fine */

/* More than this many bytes are refused while compiling (DLC_ERR_MEMORY); 0: no limit. */
DLC_API void dlc_context_set_memory_limit(dlc_context *ctx, size_t bytes);

/* Diagnostics of the last call that can fail, oldest first: "FILE: error: …" with hints, perhaps of several
 * lines. */
DLC_API size_t dlc_diag_count(const dlc_context *ctx);
DLC_API const char *dlc_diag_text(dlc_context *ctx, size_t i);        /* "" if there is none of that number */

/* -- Tensors --------------------------------------------------------------------------------------------- */

/* Element types. 4 and 2 bit types take a byte each in memory. */
typedef enum {
    DLC_NONE, DLC_F64, DLC_F32, DLC_F16, DLC_BF16, DLC_I64, DLC_I32, DLC_I16, DLC_I8, DLC_U64, DLC_U32,
    DLC_U16, DLC_U8, DLC_BOOL,
    DLC_F8E4M3FN, DLC_F8E4M3FNUZ, DLC_F8E5M2, DLC_F8E5M2FNUZ, DLC_F8E8M0, DLC_F6E2M3, DLC_F6E3M2, DLC_F4E2M1,
    DLC_U4, DLC_I4, DLC_U2, DLC_I2
} dlc_dtype;

enum { DLC_MAX_RANK = 16 };

/* Dense, last axis fastest. */
typedef struct {
    int32_t dtype;                 /* a dlc_dtype */
    int32_t rank;
    int64_t dims[DLC_MAX_RANK];
    void *data;                    /* aligned to its elements; may be NULL if there are none */
} dlc_tensor;

/* -- Programs -------------------------------------------------------------------------------------------- */

typedef struct dlc_program dlc_program;

/* Open a model (.onnx, .dl, graph text), compiled in memory, or a library that `dlc compile` wrote (.so).
 *
 *   options   NULL, or words "name=value" ended by NULL, as on the command line:
 *             backend=jit|so|c|eval|loop   dim=NAME=8   dim=NAME=1..64   bind=NAME=1,2
 *             no-fma   O=2   cpu=NAME   jobs=2
 *             no-cache (else code and packed weights are kept in $DLC_CACHE_DIR, $XDG_CACHE_HOME/dlc or
 *             ~/.cache/dlc)
 *             no-specialize (see dlc_program_run)
 *
 * *program is NULL unless DLC_OK is returned. */
DLC_API dlc_status dlc_program_open(dlc_context *ctx, const char *path, const char *const *options,
                                    dlc_program **program);
DLC_API void dlc_program_close(dlc_program *p);              /* NULL is fine */

/* Inputs and outputs. dims[k] is -1 where a size is open; of outputs everything is in rank and dtype only
 * until dlc_program_prepare. An index out of range gives NULL, or an empty tensor. */
DLC_API size_t dlc_program_n_inputs(const dlc_program *p);
DLC_API size_t dlc_program_n_outputs(const dlc_program *p);
DLC_API const char *dlc_program_input_name(const dlc_program *p, size_t i);
DLC_API const char *dlc_program_output_name(const dlc_program *p, size_t i);
DLC_API dlc_tensor dlc_program_input(const dlc_program *p, size_t i);
DLC_API dlc_tensor dlc_program_output(const dlc_program *p, size_t i);

/* What a run with these inputs needs: sets dtype, rank and dims of out[] (data stays as it is) and
 * *work_bytes. Sizes that only data decide stand at their upper bound. in[].data is not read. */
DLC_API dlc_status dlc_program_prepare(dlc_context *ctx, const dlc_program *p, const dlc_tensor *in,
                                       size_t n_in, dlc_tensor *out, size_t n_out, size_t *work_bytes);

struct dlc_pool;                   /* <dlc/pool.h>; libdlc has its functions */

/* Run once.
 *
 *   in[i]    a symbol (N) takes its size from the inputs, which must agree; read during the call only
 *   out[i]   data: room for the sizes that dlc_program_prepare gave, apart from in[] and work; dims are set
 *            to the sizes found
 *   work     work_bytes bytes aligned to 64, at least what dlc_program_prepare gave for these sizes
 *   pool     threads, or NULL; the result does not depend on it
 *
 * A program in memory (backend=jit) with open sizes is compiled once more for sizes that come again and
 * again, once the runs with them took a quarter of the time that it took to compile: the run that follows
 * takes as long as compiling does, later ones with these sizes may be faster, and the bits are the same. It
 * does so for at most eight choices of sizes; runs of other threads go on meanwhile. no-specialize leaves it
 * out.
 *
 * DLC_ERR_SHAPE, DLC_ERR_DTYPE (DLC_ERR_INPUT): an input does not fit; DLC_ERR_MEMORY: work is too small or
 * not aligned. */
DLC_API dlc_status dlc_program_run(dlc_context *ctx, const dlc_program *p, const dlc_tensor *in, size_t n_in,
                                   dlc_tensor *out, size_t n_out, void *work, size_t work_bytes,
                                   struct dlc_pool *pool);

/* -- Training -------------------------------------------------------------------------------------------- */

/* The step of a train block of a .dl file, compiled in memory: losses, gradients and updates in one. The
 * caller brings the batches; the block's own data say their sizes. Parameters and states are variables by
 * their paths (Net.Dense.W, Net.Dense.W.m), which begin at the block's initial values. A step is used by one
 * thread at a time. */
typedef struct dlc_step dlc_step;

/* block: NULL if the file has one only. options: as of dlc_program_open, and set=NAME=VALUE. */
DLC_API dlc_status dlc_step_open(dlc_context *ctx, const char *path, const char *block,
                                 const char *const *options, dlc_step **step);
DLC_API void dlc_step_close(dlc_step *s);                    /* NULL is fine */

/* What a batch is made of, by name (d.x of `data d = (x: …)`); only what the losses need. */
DLC_API size_t dlc_step_n_inputs(const dlc_step *s);
DLC_API const char *dlc_step_input_name(const dlc_step *s, size_t i);
DLC_API dlc_tensor dlc_step_input(const dlc_step *s, size_t i);

DLC_API size_t dlc_step_n_losses(const dlc_step *s);
DLC_API const char *dlc_step_loss_name(const dlc_step *s, size_t i);

/* A variable's value, in data: steps change it there, and it may be read and written between them. */
DLC_API size_t dlc_step_n_variables(const dlc_step *s);
DLC_API const char *dlc_step_variable_name(const dlc_step *s, size_t i);
DLC_API dlc_tensor dlc_step_variable(dlc_step *s, size_t i);

/* Runs `count` steps. batches: count times the inputs, one batch after another. losses: count times the
 * losses, each before its update; may be NULL. */
DLC_API dlc_status dlc_step_run(dlc_context *ctx, dlc_step *s, const dlc_tensor *batches, size_t count,
                                double *losses, struct dlc_pool *pool);

/* -- Files ----------------------------------------------------------------------------------------------- */

/* Compile a model to a file, by its ending .so, .o, .a, .ll, .s or .h, as `dlc compile` does; a header of the
 * same name goes beside code. Options as above, and  name=PREFIX  target=TRIPLE  pool. */
DLC_API dlc_status dlc_compile_file(dlc_context *ctx, const char *model, const char *output,
                                    const char *const *options);

#ifdef __cplusplus
}
#endif
#endif
