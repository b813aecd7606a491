/* ir/scalar.h: the scalar functions (scalar.def), their exact value, and the expansion of the transcendental
 * ones.
 *
 * Expansion: a function that is not basic is a straight line of basic rows, constants, bitcasts and casts,
 * made by ir/expand*.c for f32 and f64. Interpreter, LLVM and C all run these same steps, so their bits
 * agree. f16 and bf16 operands are widened to f32 before, and rounded after, by whoever applies the row.
 */
#ifndef DLC_IR_SCALAR_H
#define DLC_IR_SCALAR_H
#include "ir/dtype.h"

typedef enum {
#define BASIC(name, ...) SCALAR_##name,
#define SCALAR(name, ...) SCALAR_##name,
#include "ir/scalar.def"
    SCALAR_COUNT
} scalar;

typedef enum { TAKES_FLOAT, TAKES_INT, TAKES_LOGIC, TAKES_NUM, TAKES_ANY } scalar_takes;
typedef enum { RESULT_SAME, RESULT_CMP, RESULT_SELECT, RESULT_CAST } scalar_result;
typedef struct {
    const char *name;
    int arity;
    scalar_takes takes;
    scalar_result result;
    bool is_basic;
    const char *grad, *doc;
} scalar_row;
extern const scalar_row scalar_info[SCALAR_COUNT];
scalar scalar_by_name(const char *s, size_t n);      /* SCALAR_COUNT if unknown */
bool scalar_accepts(scalar fn, dtype t);             /* t: the operands' type (select: of a and b) */

/* -- One element --------------------------------------------------------------------------------------------
 * Held by its bits in the low bytes of a u64, other bits zero (so equal bits compare equal): f32 as its 32
 * bits, i8 as its 8 bits, bool as 0 or 1. */
typedef struct { uint64_t bits; } scalar_value;

scalar_value sv_load(dtype t, const void *p);
void sv_store(dtype t, void *p, scalar_value v);
double sv_to_f64(dtype t, scalar_value v);           /* any computable type, nearest */
scalar_value sv_from_f64(dtype t, double x);         /* as cast f64 -> t */
int64_t sv_to_i64(dtype t, scalar_value v);
scalar_value sv_from_i64(dtype t, int64_t x);        /* as cast i64 -> t */
scalar_value sv_lowest(dtype t);                     /* -inf, the smallest int, false */
scalar_value sv_highest(dtype t);

/* How multiply-add rounds: once, or (as --no-fma) twice. Part of a program's definition. */
typedef enum { FMA_FUSED, FMA_ROUNDED } fma_mode;

/* The value of a row. t: the operands' type (select: of a and b; cast: from t to `to`); basic rows directly,
 * others by their expansion. Narrow floats are widened and rounded here. */
typedef struct expander expander;
expander *expander_new(arena *a);                    /* caches expansions; one per thread */
scalar_value sv_apply(expander *e, scalar fn, dtype t, dtype to, const scalar_value *in, fma_mode mode);

/* -- Expansion ------------------------------------------------------------------------------------------- */

typedef enum { STEP_SCALAR, STEP_CONST, STEP_BITCAST } step_kind;
typedef struct {
    step_kind kind;
    scalar fn;                /* STEP_SCALAR: a basic row */
    dtype type;               /* type of the result */
    dtype from;               /* type of the operands (select: of a and b) */
    int16_t in[3];            /* 0 … n_in-1: the function's operands; n_in + k: step k */
    scalar_value imm;         /* STEP_CONST */
} scalar_step;
typedef struct { int n_in; int n_steps; const scalar_step *steps; } scalar_code;   /* result: the last step */

/* The straight line of fn at type t (f32 or f64; ints for mod, fmod, pow, sign); NULL for basic rows. */
const scalar_code *scalar_expand(expander *e, scalar fn, dtype t);
/* one step a line: "%3 = fma %2 x %1 : f32"; operands x y */
void expansion_print(const scalar_code *c, text *out);

#endif
