/* backend/codegen.h: what the driver asks of a code generator, the same for LLVM and C.
 *
 * In: a planned, scheduled program whose constants have been evaluated (pbuf.data). Out: code with the
 * interface of runtime/model.h.
 *
 * Regions. A kernel's body is a list of top-level statements. Each one that is a `parallel` loop (or several,
 * perfectly nested) is a region: a function (arg, begin, end) over the flattened iterations, called through
 * the run's hook, or directly if the hook is NULL. The others run between them in the calling thread.
 */
#ifndef DLC_BACKEND_CODEGEN_H
#define DLC_BACKEND_CODEGEN_H
#include "backend/target/target.h"
#include "ir/loop.h"
#include "runtime/model.h"

typedef enum { EMIT_OBJECT, EMIT_SHARED, EMIT_LLVM_IR, EMIT_ASM, EMIT_JIT } emit_kind;

typedef struct codegen_options {
    target target;
    const char *prefix;        /* of every symbol; a C identifier */
    int threads;               /* to compile with */
    bool debug_names;          /* keep readable names in .ll */
    const char *cache_dir;     /* NULL: no cache */
    bool cache_strict;         /* weights are told by their contents, not by the file they lie in */
    bytes pool;                /* an object to link into a shared library: the thread pool; or none */
    bool external_weights;     /* weights are passed by pointer (PREFIX.bin), not inside */
    /* constants are read through the table dlc_constants_v1, by buffer (backend/cache.h) */
    bool constant_table;
    bool profile;       /* the code tells when a kernel begins and ends: it must be run with a profiled_run */
    /* Told what is done now, from any thread: "code" with the number of kernels that are compiled, "link",
     * and by the driver whatever comes before; of is 0 where nothing is counted. May be NULL. */
    void (*progress)(void *arg, const char *what, int64_t done, int64_t of);
    void *progress_arg;
} codegen_options;

/* What profiled code takes as its dlc_run. call: before (is_end 0) and after (1) each call of kernel number
 * `kernel`; may be NULL. Runs in the thread that runs the model. */
typedef struct {
    dlc_run run;
    void (*call)(void *arg, int64_t kernel, int64_t is_end);
    void *arg;
} profiled_run;

/* A loaded program, run through its dlc_model (runtime/model.h). */
typedef struct loaded_code loaded_code;
struct loaded_code { void (*unload)(loaded_code *code); };
struct dlc_model;

/* The LLVM module's table, found by dlsym("dlc_llvm_backend") in libdlc-llvm.so. */
typedef struct llvm_backend {
    uint32_t abi;
    const char *llvm_version;
    /* Code in memory. Free with unload, or by (*code)->unload. */
    dlc_status (*jit)(dlc_context *ctx, const program *p, const codegen_options *o, loaded_code **out,
                      const struct dlc_model **model);
    void (*unload)(loaded_code *code);
    /* OBJECT (relocatable, position independent), LLVM_IR or ASM into `out`, whose memory is in arena a. */
    dlc_status (*emit)(dlc_context *ctx, arena *a, const program *p, const codegen_options *o, emit_kind kind,
                       bytes *out);
    /* A shared library at `path`, joined by the system's linker (backend/link.h); it needs nothing but libc.
     */
    dlc_status (*emit_shared)(dlc_context *ctx, const program *p, const codegen_options *o, const char *path);
} llvm_backend;
#define DLC_LLVM_BACKEND_ABI 3

#endif
