/* ir/loop.h: the loop program: how a graph is computed. Kernels of nested loops over buffers, and a program
 * that calls them.
 *
 *   kernel @dense(x: f32[N, 784] in, w: f32[784, 128] const, b: f32[128] const, y: f32[N, 128] out) {
 *     for n in 0..N, o in 0..128 {
 *       reg acc: f32[] = b[o]
 *       for i in 0..784 { acc[] = fma(x[n, i], w[i, o], acc[]) }
 *       y[n, o] = relu(acc[])
 *     }
 *   }
 *
 * Semantics are sequential and scalar: every loop runs its body for var = lo … hi-1, in order, marks
 * notwithstanding. A mark is a promise about how it may be run, checked by the rewrite that set it and by the
 * verifier:
 *   parallel  iterations are independent: threads may share them
 *   vector    the extent is constant; iterations are independent lanes: the body may run statement by
 *             statement on all lanes at once (stores go to different elements; a lane reads only what itself,
 *             or an earlier loop, wrote)
 *   unroll    the extent is constant and small: copies of the body, the variable constant in each
 * So scheduling changes the nest and the marks, text stays short (no copies of tile bodies), and the
 * interpreter runs every stage to the same bits. Backends make vector values and register names out of the
 * marks when they emit.
 *
 * Registers are buffers with space `reg`: small, of constant extents, indexed only by constants, unrolled and
 * vector variables; backends turn each scalar or vector slice into a value. `stack` buffers are scratch of
 * constant size.
 *
 * Expressions are immutable trees (shared subtrees allowed) in the program's arena. Index arithmetic is i64
 * in the same expressions: add, sub, mul, min, max of scalar.def, floordiv and mod (divisor > 0).
 * Transcendental rows stand as they are; evaluators and backends expand them by scalar_expand(). f16/bf16 are
 * loaded, stored and cast only: `lower` writes the casts.
 *
 * Bits: fma(a, b, c) rounds once in FMA_FUSED programs and twice in FMA_ROUNDED ones; nothing else is ever
 * contracted.
 */
#ifndef DLC_IR_LOOP_H
#define DLC_IR_LOOP_H
#include "ir/dim.h"
#include "ir/scalar.h"
#include "ir/graph.h"

typedef struct expr expr;
typedef struct stmt stmt;
typedef struct { stmt **at; int n, cap; } block;

/* -- Expressions ----------------------------------------------------------------------------------------- */

typedef enum {
    EXPR_const,      /* value */
    EXPR_dim,        /* i64: the value of a dim at run time */
    EXPR_var,        /* i64: loop variable `id` */
    EXPR_temp,       /* the value of let `id` */
    EXPR_load,       /* buffer `id` at args[rank] */
    EXPR_op,         /* scalar row fn of args; cast: to type */
    EXPR_floordiv,   /* i64, args[1] > 0 */
    EXPR_mod,        /* i64, args[1] > 0, result in [0, args[1]) */
    EXPR_bitcast,    /* same width */
    EXPR_tree        /* all elements of reg buffer `id` (16 of them) combined by fn (add, mul, max, min) as
                        16-8-4-2-1: e[l] = fn(e[l], e[l + 8]) for l < 8, then 4, 2, 1 */
} expr_kind;

struct expr {
    expr_kind kind;
    dtype type;               /* of the value */
    scalar fn;
    int id;
    int n_args;
    const expr *const *args;
    scalar_value value;
    dim dim;
};

/* -- Statements ------------------------------------------------------------------------------------------ */

typedef enum { STMT_for, STMT_if, STMT_let, STMT_store, STMT_alloc, STMT_prefetch } stmt_kind;
typedef enum { MARK_serial, MARK_parallel, MARK_vector, MARK_unroll } loop_mark;

struct stmt {
    stmt_kind kind;
    /* for: variable, bounds (half open), body */
    int var; const expr *lo, *hi; loop_mark mark;
    block body;               /* for; if: the taken side */
    block other;              /* if: else */
    const expr *cond;         /* if: a bool */
    int id;                   /* let: temp; store, prefetch, alloc: buffer */
    const expr *const *index; /* store, prefetch: rank of them */
    const expr *value;        /* let, store; alloc: every element's first value, or NULL (then undefined) */
    bool for_write;           /* prefetch */
};

/* -- Kernels --------------------------------------------------------------------------------------------- */

typedef enum { SPACE_param, SPACE_stack, SPACE_reg } buf_space;
typedef enum { ROLE_in, ROLE_out, ROLE_inout, ROLE_const, ROLE_none } buf_role;
typedef struct {
    const char *name;
    dtype dtype;
    buf_space space; buf_role role;
    int rank; const dim *dims;
} buffer;

/* What lower knows of a loop, for the formula that chooses schedules. */
typedef enum { LOOP_plain, LOOP_free_a, LOOP_free_b, LOOP_batch, LOOP_window_out, LOOP_sum, LOOP_sum_window,
               LOOP_lane } loop_role;
typedef struct { const char *name; loop_role role; } loop_var;      /* name as in schedules: "y", "y.o" */
typedef struct { const char *name; dtype type; } temp;

typedef struct kernel_code {
    dlc_context *ctx; arena *arena; dims *dims;
    const char *name;
    anchor_kind anchor;
    vec(buffer) bufs;         /* the first n_params are the parameters, in order */
    int n_params;
    vec(loop_var) vars;
    vec(temp) temps;
    map_str names;            /* every name of a buffer, variable and temp -> kind * 2^32 + id */
    block body;
    const char *schedule;     /* text of what was applied so far, "" for the plain nest */
    /* may write outputs before all inputs are read: no output shares memory with an input */
    bool writes_early;
} kernel_code;

/* -- Programs -------------------------------------------------------------------------------------------- */

typedef enum { PBUF_input, PBUF_output, PBUF_const, PBUF_temp, PBUF_state } pbuf_kind;
typedef struct {
    const char *name;
    pbuf_kind kind; int index;             /* input, output: position */
    dtype dtype; int rank; const dim *dims;
    dim bytes;                             /* upper bound of the size where data decide it */
    const void *data;                      /* const: elements; NULL until the driver evaluated `expr_graph` */
    graph *expr_graph;                     /* const: a graph without inputs and with one result, or NULL */
    const char *external;            /* const, read from text: what stood there for data too large to print */
    int64_t offset;    /* temp: bytes from the workspace's start; -1 unplanned or open. state: in the block */
    int slot_of;                           /* output/temp living in another buffer: its number, else -1 */
    dim slot_offset;                       /* in elements */
    bool in_place;            /* temp: in a buffer of its size that dies where it is made; the plan says so */
} pbuf;

/* A kernel's operand: a whole buffer, or part number `at` of it, counted in parts of the size that the
 * parameter has (so g[t] of g: f32[100, 1024] is part t for a parameter of 1024 elements). Dims may differ as
 * long as the elements agree: reshapes and bitcasts of equal width are views. */
typedef struct { int buf; const expr *at; } view;

typedef enum { PROG_call, PROG_scan, PROG_cond, PROG_while, PROG_setdim } prog_kind;
typedef struct prog_op prog_op;
typedef struct { prog_op **at; int n, cap; } prog_block;
struct prog_op {
    prog_kind kind;
    int kernel; view *args;                /* call: n_params of the kernel */
    const place *layer;                  /* call: where what it computes came from, for people; may be NULL */
    int var; dim n; bool reverse;        /* scan: var = 0 … n-1, or n-1 … 0. while: var counts trips from 0 */
    prog_block body, other;                /* scan, while: body; cond: taken side, other side */
    prog_block test; view pred;            /* while: runs test, then reads pred; cond: pred. bool[] */
    int64_t max_trip;                      /* while; < 0: none */
    int symbol; view source;               /* setdim: symbol number = the i64 in source */
};

/* What lasts from one run to the next: in the block of states that the caller keeps, at `offset`. */
typedef struct {
    const char *name;
    dtype dtype; int rank; const int64_t *extents;
    int64_t offset, bytes;
    bool is_trained;                       /* a parameter that the step minimizes over */
} state_row;

typedef struct program program;
struct program {
    dlc_context *ctx; arena *arena; dims *dims;
    const char *name;
    fma_mode fma;
    vec(pbuf) bufs;
    vec(kernel_code *) kernels;
    kernel_code *exprs; /* a kernel without body: holds the variables of scans and whiles; pass it as k
                                              to the x_ functions that make the `at` of views */
    prog_block body;
    int n_inputs, n_outputs;
    int64_t workspace_bytes;               /* after plan; -1 if open */
    int64_t workspace_lower_bound;         /* largest sum of live bytes; -1 if open */
    /* by pbuf.index of those that the program touches; all of the block */
    int n_states; const state_row *states;
    int64_t states_bytes;                  /* of the block */
    /* one of several programs of a library, over one block of states: its name; else NULL */
    const char *entry;
    program *next;                         /* the next entry: its kernels stand in this program's list, too */
};

/* -- Making ---------------------------------------------------------------------------------------------- */

/* Names are identifiers, letters, digits, _ and dots between parts; what does not fit becomes _. In one
 * kernel all names of buffers and temps differ (the makers append _2, _3 …); variables of the same name are
 * the same variable, so sibling loops may share one, nested loops may not. In a sum the terms are ordered by
 * coefficient, then by name. */
kernel_code *kernel_new(dlc_context *ctx, arena *a, dims *d, const char *name, anchor_kind anchor);
kernel_code *kernel_clone(const kernel_code *k);
int kernel_param(kernel_code *k, const char *name, dtype t, buf_role role, int rank, const dim *dims);
/* One more parameter behind the others, for a kernel that is complete already. */
int kernel_late_param(kernel_code *k, const char *name, dtype t, buf_role role, int rank, const dim *dims);
/* A kernel of some of whole's statements, with the parameters and locals that are `used`, by buffer. */
kernel_code *kernel_part(const kernel_code *whole, const block *body, const bool *used);
/* The statements of `from` behind those of k: its parameter i is buffer param[i] of k, all else is made anew.
 * Variables get names of their own, which begin with `prefix`. */
void kernel_append(kernel_code *k, const kernel_code *from, const int *param, const char *prefix);
int kernel_local(kernel_code *k, const char *name, dtype t, buf_space space, int rank, const dim *dims);
int kernel_var(kernel_code *k, const char *name, loop_role role);
int kernel_temp(kernel_code *k, const char *name, dtype t);

/* Expressions fold constants (never where bits could change) and keep i64 arithmetic canonical: a sum of coef
 * * atom plus a constant, coefficients dims, like terms merged, larger coefficients first, negative ones
 * subtracted, constant last; an atom is a variable, load, floordiv, … A floordiv or mod by k gives up what is
 * a multiple of k: (16*a + b) floordiv 16 = a + b floordiv 16. Dims absorb what is computed of dims alone. */
const expr *x_const(kernel_code *k, dtype t, scalar_value v);
const expr *x_int(kernel_code *k, int64_t v);                /* i64 */
const expr *x_f64(kernel_code *k, dtype t, double v);
const expr *x_dim(kernel_code *k, dim d);                    /* a constant dim gives x_int */
const expr *x_var(kernel_code *k, int var);
const expr *x_temp(kernel_code *k, int id);
const expr *x_load(kernel_code *k, int buf, const expr *const *index);
const expr *x_op(kernel_code *k, scalar fn, int n, const expr *const *args);       /* not cast */
const expr *x_op1(kernel_code *k, scalar fn, const expr *a);
const expr *x_op2(kernel_code *k, scalar fn, const expr *a, const expr *b);
const expr *x_op3(kernel_code *k, scalar fn, const expr *a, const expr *b, const expr *c);
const expr *x_cast(kernel_code *k, const expr *a, dtype to);
const expr *x_bitcast(kernel_code *k, const expr *a, dtype to);
const expr *x_floordiv(kernel_code *k, const expr *a, const expr *b);
const expr *x_mod(kernel_code *k, const expr *a, const expr *b);
const expr *x_tree(kernel_code *k, scalar fn, int buf);
static inline const expr *x_add(kernel_code *k, const expr *a, const expr *b)
{
    return x_op2(k, SCALAR_add, a, b);
}

static inline const expr *x_sub(kernel_code *k, const expr *a, const expr *b)
{
    return x_op2(k, SCALAR_sub, a, b);
}

static inline const expr *x_mul(kernel_code *k, const expr *a, const expr *b)
{
    return x_op2(k, SCALAR_mul, a, b);
}

bool x_is_int(const expr *e, int64_t *v);                    /* an i64 constant */
bool x_same(const expr *a, const expr *b);                   /* structurally */

stmt *s_for(kernel_code *k, int var, const expr *lo, const expr *hi, loop_mark mark);      /* fill .body */
stmt *s_if(kernel_code *k, const expr *cond);
stmt *s_let(kernel_code *k, int temp, const expr *value);
stmt *s_store(kernel_code *k, int buf, const expr *const *index, const expr *value);
stmt *s_alloc(kernel_code *k, int buf, const expr *init);
stmt *s_prefetch(kernel_code *k, int buf, const expr *const *index, bool for_write);
void block_push(kernel_code *k, block *b, stmt *s);
void block_insert(kernel_code *k, block *b, int at, stmt *s);
void block_remove(block *b, int at);

/* -- Analysis and rewriting ------------------------------------------------------------------------------ */

/* e with variables replaced: to[var] or unchanged if NULL. */
const expr *x_subst(kernel_code *k, const expr *e, const expr *const *to);
/* deep; fresh temps and locals, same vars */
stmt *s_clone(kernel_code *k, const stmt *s, const expr *const *to);
/* e rebuilt bottom up: fn sees every node, its operands rewritten already, and returns what replaces it, or
 * NULL: keep. */
typedef const expr *(*x_rewriter)(kernel_code *k, const expr *e, void *arg);
const expr *x_rewrite(kernel_code *k, const expr *e, x_rewriter fn, void *arg);
bool x_uses_var(const expr *e, int var);                     /* not through temps */
bool x_uses_temp(const expr *e, int id);
bool x_loads(const expr *e, int buf);                        /* buf, or any buffer if -1; trees too */

/* e = constant + sum of coef[i] * var[i] + rest; coefficients are dims (strides may be open). False: not
 * affine in loop variables (rest then holds all of it). */
typedef struct { int n; int var[16]; dim coef[16]; dim constant; } affine;
bool x_affine(kernel_code *k, const expr *e, affine *out);
/* Bounds of an i64 expression, given loops in scope (bounds of vars by lo/hi expressions; -1/+1 when
 * unknown). */
typedef struct { int64_t lo, hi; } range;                    /* inclusive, saturated to ±DIM_LIMIT */
typedef struct { int n_vars; const range *var; } scope;      /* by var id; {-LIMIT, LIMIT} if unknown */
range x_range(kernel_code *k, const scope *s, const expr *e);
/* floordiv/mod/min/max/compare by ranges */
const expr *x_simplify(kernel_code *k, const scope *s, const expr *e);
range x_var_range(kernel_code *k, const scope *s, const stmt *loop);     /* of the variable of a for */

/* Element offset of an access in its row-major buffer: the sum of index[i] * (product of the dims after i).
 */
const expr *x_address(kernel_code *k, int buf, const expr *const *index);
/* What an i64 expression does over the lanes of variable `var`: uniform: the same in all; contiguous: var +
 * uniform; strided: coef * var + uniform (coefficient in *stride, also 0 and 1 for the first two); arbitrary:
 * anything else. A temp counts as uniform: ask about its value where it is defined. */
typedef enum { LANES_uniform, LANES_contiguous, LANES_strided, LANES_arbitrary } lanes;
lanes x_lanes(kernel_code *k, const expr *e, int var, dim *stride);

/* -- Text, checks ---------------------------------------------------------------------------------------- */

void kernel_print(const kernel_code *k, text *out);
void program_print(const program *p, text *out);
void program_print_frame(const program *p, text *out);       /* without its kernels */
kernel_code *kernel_parse(dlc_context *ctx, arena *a, dims *d, const char *file, const char *src, size_t n);
program *program_parse(dlc_context *ctx, arena *a, const char *file, const char *src, size_t n);
/* rules: ir/loop_verify.c; reports every violation */
bool kernel_verify(const kernel_code *k, const char *when);
/* a reg buffer whose every index is known once unrolled and vectorized; if not, backends keep it in memory */
bool buffer_in_registers(const kernel_code *k, int buf);
bool program_verify(const program *p, const char *when);
bool program_text_check(const program *p, const char *when);      /* prints, parses, prints: the same? */
const char *kernel_show(const kernel_code *k);               /* for the debugger */
void x_print(const kernel_code *k, const expr *e, text *out);
void s_print_line(const kernel_code *k, const stmt *s, text *out);     /* its first line only: for messages */
const char *program_show(const program *p);

/* By symbol: is it found by a run (setdim, or in no input's shape), and not given by the inputs? In `a`. */
bool *program_found_symbols(arena *a, const program *p);

program *program_new(dlc_context *ctx, arena *a, dims *d, const char *name);
int program_buf(program *p, const char *name, pbuf_kind kind, int index, dtype t, int rank, const dim *dims);
void program_join(program *p, program *q);        /* q becomes p's last entry, its kernels part of p's list */
prog_op *program_op(program *p, prog_block *b, prog_kind kind);     /* made and put at the end of b */
int program_var(program *p, const char *name);                      /* same name, same variable */
int *program_calls(arena *a, const program *p);                     /* by kernel, in `a` */
void program_drop_kernels(program *p);                           /* those that nobody calls; numbers change */
int program_kernel(program *p, kernel_code *k);                     /* its number; makes k's name unique */

#endif
