/* backend/eval/eval_loop.h: the interpreter of the loop program: what every kernel means, scheduled or not.
 *
 * Kernels are translated once to a register code (eval_code.h) and run as written: sequentially, one element
 * at a time, every access checked against its buffer's dims. Marks change nothing, so a scheduled kernel must
 * give the bits of the plain one. About 100 million multiply-adds a second.
 */
#ifndef DLC_BACKEND_EVAL_EVAL_LOOP_H
#define DLC_BACKEND_EVAL_EVAL_LOOP_H
#include "ir/loop.h"

typedef struct {
    double fill;        /* what nobody wrote (stack, reg, temporaries): this value cast to the element type */
    uint64_t max_steps;       /* 0: none; else more elementary steps than this are an error */
} loop_eval_options;

/* Runs k once. params: the parameters' elements, in order; symbols: by number in k->dims. False: a diagnostic
 * names the statement and what went wrong. */
bool eval_kernel(dlc_context *ctx, expander *e, const kernel_code *k, void *const *params,
                 const int64_t *symbols, fma_mode mode, const loop_eval_options *o);

/* Runs p once. */
typedef struct {
    const void *const *inputs;         /* by pbuf.index */
    void *const *outputs;
    void *const *states;               /* by pbuf.index */
    int64_t *symbols;                  /* by number; those that setdim sets are set on return */
    void *workspace;              /* temporaries at their planned offsets; NULL: each has memory of its own */
    int64_t workspace_bytes;
    bool places_open;   /* temporaries without a planned offset share memory, as generated code places them */
} eval_io;
bool eval_program(dlc_context *ctx, expander *e, const program *p, const eval_io *io,
                  const loop_eval_options *o);

#endif
