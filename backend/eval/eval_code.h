/* backend/eval/eval_code.h: the register code that kernels are translated to, between eval_loop.c and
 * eval_run.c.
 *
 * Registers hold scalar_value bits, one a variable, temp, constant, or result of an operation; nothing is
 * reused. A loop is  FOR, what is invariant in its iterations but not outside (hoisted), body, NEXT.  Jumps
 * are relative.
 *
 * An access adds up, dim by dim, index * stride. Dims whose index is fixed outside the innermost loop are
 * summed there by PART, which gives POISON where an index is outside; LOAD and STORE add the rest and check
 * the whole.
 */
#ifndef DLC_BACKEND_EVAL_EVAL_CODE_H
#define DLC_BACKEND_EVAL_EVAL_CODE_H
#include "backend/eval/eval_loop.h"

#define EVAL_POISON (INT64_MIN / 2)
enum { EVAL_NONE = UINT32_MAX & 0x7fffffff };

typedef enum {
    OP_FOR, OP_NEXT, OP_UNLESS, OP_JUMP, OP_ALLOC, OP_TREE, OP_COPY, OP_SCALAR,
    OP_LOAD0, OP_LOAD1, OP_LOADN, OP_LOAD4_0, OP_LOAD4_1, OP_STORE0, OP_STORE1, OP_STOREN, OP_STORE4_0,
    OP_STORE4_1, OP_PART,
    OP_ADD_I64, OP_SUB_I64, OP_MUL_I64, OP_MIN_I64, OP_MAX_I64, OP_LT_I64, OP_LE_I64, OP_EQ_I64, OP_FLOORDIV,
    OP_MOD,
    OP_ADD_F32, OP_SUB_F32, OP_MUL_F32, OP_DIV_F32, OP_FMA_F32, OP_FMA_F32_ROUNDED, OP_NEG_F32, OP_RELU_F32,
    OP_MAX_F32,
    OP_MIN_F32, OP_LT_F32, OP_LE_F32, OP_EQ_F32, OP_ADD_I32, OP_SUB_I32, OP_ADD_F64, OP_SUB_F64, OP_MUL_F64,
    OP_FMA_F64, OP_FMA_F64_ROUNDED, OP_AND_BOOL, OP_OR_BOOL, OP_NOT_BOOL, OP_SELECT, OP_END
} eval_op;

typedef struct {
    uint16_t op, n;           /* n: LOADN, STOREN, PART: dims of it */
    uint32_t dst, a, b, c;    /* registers, unless said otherwise in eval_run.c */
    int32_t x;                /* buffer; jump distance; OP_SCALAR: entry of `rows` */
    uint32_t stmt;            /* for messages */
} eval_instr;

/* extent, stride: set at a run */
typedef struct { uint32_t reg; int32_t buf, axis; int64_t extent, stride; } eval_axis;
typedef struct { scalar fn; dtype type, to; } eval_row;
typedef struct { uint32_t reg; dim d; } eval_dim;
typedef struct { uint32_t reg; scalar_value v; } eval_const;

typedef struct {
    const kernel_code *k;
    arena *arena;
    expander *expander;
    fma_mode mode;
    vec(eval_instr) code;
    vec(eval_axis) axes;
    vec(eval_row) rows;
    vec(eval_dim) dims;
    vec(eval_const) consts;
    vec(const stmt *) stmts;
    uint32_t n_regs;
    /* of a run, kept for the next */
    uint64_t *regs;
    uint8_t **base;           /* by buffer */
    int64_t *n_elem;
} eval_code;

/* NULL: reported */
eval_code *eval_translate(dlc_context *ctx, arena *a, expander *e, const kernel_code *k, fma_mode mode);
bool eval_run(dlc_context *ctx, eval_code *c, void *const *params, const int64_t *symbols,
              const loop_eval_options *o);
#endif
