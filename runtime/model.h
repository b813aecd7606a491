/* model: the interface of every generated library, as data
 *
 * A generated library (or object, or C file) exports `const dlc_model PREFIX_model`; a shared library exports
 * the same object also as `dlc_model_v1`, so that it can be opened without knowing its name. Everything else
 * (the header with one typed function, macros for sizes) is made from this. All state is the caller's:
 * several runs at once need each their own dlc_run, workspace and outputs.
 *
 * Plain C99, no dependency but runtime.h.
 */
#ifndef DLC_MODEL_H
#define DLC_MODEL_H
#include "runtime.h"

#define DLC_MODEL_ABI 2

/* Element types, in the order of ir/dtype.def. */
typedef struct {
    const char *name;
    const char *dtype;              /* "f32", "i64", … */
    int32_t rank;
} dlc_tensor_info;

/* An open dim. Those with is_result are found by the run itself (sizes that data decide). */
typedef struct {
    const char *name;
    int64_t lo, hi;
    int32_t is_result;
} dlc_dim_info;

/* One call's environment. workspace: at least workspace(dims) bytes, aligned to 64. weights: the contents of
 * PREFIX.bin if weights_bytes != 0 and the library was made without them, aligned to 64; else not read.
 * states: the block of states_bytes of a training step, aligned to 64; else not read. */
typedef struct dlc_run {
    dlc_run_hook hook;
    void *workspace;
    const void *weights;
    void *states;
} dlc_run;

enum { DLC_RUN_OK = 0, DLC_RUN_BAD_DIM = 1 };

/* A parameter or another state of a training step: dense, last axis fastest, at `offset` in the block of
 * states. */
typedef struct {
    const char *name;               /* its path: "Digits.Dense.W" */
    const char *dtype;
    int32_t rank;
    int32_t is_trained;             /* a parameter that the step minimizes over */
    const int64_t *extents;
    int64_t offset, bytes;
} dlc_state_info;

/* One of the programs of a library: of a training step "step", "grad", "apply", "init". */
struct dlc_model;
typedef struct {
    const char *name;
    const struct dlc_model *model;
} dlc_entry;

typedef struct dlc_model {
    uint32_t abi;                   /* DLC_MODEL_ABI */
    const char *name;
    const char *target;             /* what the code was made for, for people */
    int32_t n_inputs, n_outputs, n_dims;
    const dlc_tensor_info *inputs, *outputs;
    const dlc_dim_info *dims;
    int64_t weights_bytes;          /* of PREFIX.bin; 0: weights are inside */
    /* Bytes of workspace for these dims (n_dims of them; NULL where n_dims is 0). -1: a dim is out of bounds.
     */
    int64_t (*workspace)(const int64_t *dims);
    /* Extents of all inputs, then all outputs, one after another. After a run also right for dims found by
     * it; before, those stand at their upper bound. */
    void (*shapes)(const int64_t *dims, int64_t *extents);
    /* One run. in[i], out[i]: dense, last axis fastest, aligned to their element; out[] apart from in[] and
     * workspace. dims: read, and where is_result written. */
    int32_t (*run)(const dlc_run *run, int64_t *dims, const void *const *in, void *const *out);
    /* A training step: its states, read and written by run(), and all programs over them, this one the first.
     * Else 0. */
    int64_t states_bytes;
    int32_t n_states, n_entries;
    const dlc_state_info *states;
    const dlc_entry *entries;
} dlc_model;

#endif
