/* backend/eval/eval_run.c: runs the register code of eval_code.h.
 *
 * One switch in a loop. Values are the bits of scalar_value; f32, f64 and i64 arithmetic that kernels are
 * full of has instructions of its own, everything else goes through sv_apply, whose meaning these must have.
 * Compiled with optimization in debug builds too: the tests run hundreds of millions of steps.
 */
#if defined __GNUC__ && !defined __clang__ && !defined __OPTIMIZE__
#pragma GCC optimize("O2", "fp-contract=off")
#endif
#include "backend/eval/eval_code.h"
#include <math.h>

#if defined __GNUC__
#define INLINE static inline __attribute__((always_inline))      /* also at -O0 */
#else
#define INLINE static inline
#endif

/* -- Bits ------------------------------------------------------------------------------------------------ */

INLINE float f32(uint64_t v) { uint32_t b = (uint32_t)v; float x; memcpy(&x, &b, 4); return x; }
INLINE uint64_t of_f32(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
INLINE double f64(uint64_t v) { double x; memcpy(&x, &v, 8); return x; }
INLINE uint64_t of_f64(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }

INLINE uint64_t load(const uint8_t *p, uint32_t width)
{
    uint64_t v = 0;
    switch (width) {
    case 1: return *p;
    case 2: { uint16_t x; memcpy(&x, p, 2); return x; }
    case 4: { uint32_t x; memcpy(&x, p, 4); return x; }
    default: memcpy(&v, p, 8); return v;
    }
}

INLINE void store(uint8_t *p, uint32_t width, uint64_t v)
{
    switch (width) {
    case 1: *p = (uint8_t)v; return;
    case 2: { uint16_t x = (uint16_t)v; memcpy(p, &x, 2); return; }
    case 4: { uint32_t x = (uint32_t)v; memcpy(p, &x, 4); return; }
    default: memcpy(p, &v, 8); return;
    }
}

/* Of equal values only zeros differ in bits: or gives -0, and gives +0. */
INLINE uint64_t min_f32(uint64_t x, uint64_t y)
{
    float a = f32(x), b = f32(y);
    return a < b ? x : b < a ? y : a == b ? x | y : a != a ? x : y;
}

INLINE uint64_t max_f32(uint64_t x, uint64_t y)
{
    float a = f32(x), b = f32(y);
    return a > b ? x : b > a ? y : a == b ? x & y : a != a ? x : y;
}

INLINE int64_t floor_div(int64_t a, int64_t b) { int64_t q = a / b; return q - (a % b < 0); }

/* -- Failing --------------------------------------------------------------------------------------------- */

static const char *stmt_text(const eval_code *c, const eval_instr *i, arena *a)
{
    text s = { .a = a };
    s_print_line(c->k, c->stmts.at[i->stmt], &s);
    return text_str(&s);
}

static bool fail(dlc_context *ctx, const eval_code *c, const eval_instr *i, const char *what)
{
    diag_loop_run(ctx, (place){ 0 }, c->k->name, stmt_text(c, i, ctx->arena), what);
    return false;
}

/* An access outside: names the axis, if it is one of the innermost loop; others were summed before. */
static bool fail_outside(dlc_context *ctx, const eval_code *c, const eval_instr *i)
{
    const uint64_t *r = c->regs;
    const char *buf = c->k->bufs.at[i->x].name;
    for (int j = 0; j < i->n; j++) {
        const eval_axis *x = &c->axes.at[i->b + (uint32_t)j];
        if (r[x->reg] < (uint64_t)x->extent) continue;
        diag_loop_outside(ctx, (place){ 0 }, c->k->name, stmt_text(c, i, ctx->arena), buf, x->axis,
                          (long long)r[x->reg], (long long)x->extent);
        return false;
    }
    for (int64_t p = 0; p < c->code.n; p++) {                 /* the part that poisoned it */
        const eval_instr *q = &c->code.at[p];
        if (q->op != OP_PART || q->x != i->x || (int64_t)r[q->dst] >= 0) continue;
        for (int j = 0; j < q->n; j++) {
            const eval_axis *x = &c->axes.at[q->b + (uint32_t)j];
            if (r[x->reg] < (uint64_t)x->extent) continue;
            diag_loop_outside(ctx, (place){ 0 }, c->k->name, stmt_text(c, i, ctx->arena), buf, x->axis,
                              (long long)r[x->reg], (long long)x->extent);
            return false;
        }
    }
    return fail(ctx, c, i, "an access outside its buffer");
}

/* -- Running --------------------------------------------------------------------------------------------- */

static uint64_t tree(eval_code *c, const eval_instr *i)
{
    const eval_row *row = &c->rows.at[i->a];
    scalar_value v[16];
    int width = dtype_bytes(row->type);
    for (int l = 0; l < 16; l++) v[l].bits = load(c->base[i->x] + l * width, (uint32_t)width);
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++)
            v[l] = sv_apply(c->expander, row->fn, row->type, DTYPE_NONE,
                            (scalar_value[]){ v[l], v[l + half] }, c->mode);
    return v[0].bits;
}

static bool step(dlc_context *ctx, eval_code *c, const loop_eval_options *o)
{
    uint64_t *const r = c->regs;
    const eval_axis *const axes = c->axes.at;
    uint8_t *const *const base = c->base;
    const int64_t *const n_elem = c->n_elem;
    uint64_t budget = o->max_steps ? o->max_steps : UINT64_MAX;

#define A r[i->a]
#define B r[i->b]
#define C r[i->c]
#define SET(v) r[i->dst] = (v); break
    for (const eval_instr *i = c->code.at;; i++) {
        switch ((eval_op)i->op) {
        case OP_FOR:                                   /* dst: variable, from a to b; x: past the loop */
            r[i->dst] = A;
            if ((int64_t)A >= (int64_t)B) i += i->x - 1;
            break;
        case OP_NEXT:                                  /* a: steps an iteration; x: back to the head */
            if (budget <= i->a) {
                diag_loop_steps(ctx, (place){ 0 }, c->k->name, (unsigned long long)o->max_steps);
                return false;
            }
            budget -= i->a;
            if ((int64_t)++r[i->dst] < (int64_t)B) i += i->x - 1;
            break;
        case OP_UNLESS: if (!A) i += i->x - 1; break;
        case OP_JUMP:   i += i->x - 1; break;
        case OP_ALLOC: {                               /* a: 1 if dst holds the first value; c: width */
            uint8_t *p = base[i->x];
            uint64_t v = i->a ? r[i->dst] : sv_from_f64(c->k->bufs.at[i->x].dtype, o->fill).bits;
            for (int64_t j = 0; j < n_elem[i->x]; j++) store(p + j * i->c, i->c, v);
            break;
        }
        case OP_TREE: SET(tree(c, i));
        case OP_COPY: SET(A);
        case OP_SCALAR: {
            const eval_row *row = &c->rows.at[i->x];
            scalar_value in[3] = { { A }, { B }, { C } };
            SET(sv_apply(c->expander, row->fn, row->type, row->to, in, c->mode).bits);
        }
        /* a: offset so far; b: first axis, n of them; c: width; x: buffer */
#define OFFSET1(at) \
        at = (int64_t)A; \
        if (r[axes[i->b].reg] >= (uint64_t)axes[i->b].extent) return fail_outside(ctx, c, i); \
        at += (int64_t)r[axes[i->b].reg] * axes[i->b].stride; \
        if ((uint64_t)at >= (uint64_t)n_elem[i->x]) return fail_outside(ctx, c, i)
#define OFFSET0(at) \
        at = (int64_t)A; \
        if ((uint64_t)at >= (uint64_t)n_elem[i->x]) return fail_outside(ctx, c, i)
#define OFFSETN(at) \
        at = (int64_t)A; \
        for (int j = 0; j < i->n; j++) { \
            const eval_axis *x = &axes[i->b + (uint32_t)j]; \
            if (r[x->reg] >= (uint64_t)x->extent) return fail_outside(ctx, c, i); \
            at += (int64_t)r[x->reg] * x->stride; \
        } \
        if ((uint64_t)at >= (uint64_t)n_elem[i->x]) return fail_outside(ctx, c, i)
        case OP_LOAD0: { int64_t at; OFFSET0(at); SET(load(base[i->x] + at * i->c, i->c)); }
        case OP_LOAD1: { int64_t at; OFFSET1(at); SET(load(base[i->x] + at * i->c, i->c)); }
        case OP_LOADN: { int64_t at; OFFSETN(at); SET(load(base[i->x] + at * i->c, i->c)); }
        case OP_LOAD4_0: { int64_t at; OFFSET0(at); SET(load(base[i->x] + at * 4, 4)); }
        case OP_LOAD4_1: { int64_t at; OFFSET1(at); SET(load(base[i->x] + at * 4, 4)); }
        case OP_STORE0: { int64_t at; OFFSET0(at); store(base[i->x] + at * i->c, i->c, r[i->dst]); break; }
        case OP_STORE1: { int64_t at; OFFSET1(at); store(base[i->x] + at * i->c, i->c, r[i->dst]); break; }
        case OP_STOREN: { int64_t at; OFFSETN(at); store(base[i->x] + at * i->c, i->c, r[i->dst]); break; }
        case OP_STORE4_0: { int64_t at; OFFSET0(at); store(base[i->x] + at * 4, 4, r[i->dst]); break; }
        case OP_STORE4_1: { int64_t at; OFFSET1(at); store(base[i->x] + at * 4, 4, r[i->dst]); break; }
        case OP_PART: {
            int64_t at = (int64_t)A;
            for (int j = 0; j < i->n; j++) {
                const eval_axis *x = &axes[i->b + (uint32_t)j];
                if (at < 0 || r[x->reg] >= (uint64_t)x->extent) { at = EVAL_POISON; break; }
                at += (int64_t)r[x->reg] * x->stride;
            }
            SET((uint64_t)at);
        }
        case OP_ADD_I64: SET(A + B);
        case OP_SUB_I64: SET(A - B);
        case OP_MUL_I64: SET(A * B);
        case OP_MIN_I64: SET((int64_t)A < (int64_t)B ? A : B);
        case OP_MAX_I64: SET((int64_t)A > (int64_t)B ? A : B);
        case OP_LT_I64:  SET((int64_t)A < (int64_t)B);
        case OP_LE_I64:  SET((int64_t)A <= (int64_t)B);
        case OP_EQ_I64:  SET(A == B);
        case OP_FLOORDIV:
            if ((int64_t)B <= 0) return fail(ctx, c, i, "a divisor that is not positive");
            SET((uint64_t)floor_div((int64_t)A, (int64_t)B));
        case OP_MOD:
            if ((int64_t)B <= 0) return fail(ctx, c, i, "a divisor that is not positive");
            SET((uint64_t)((int64_t)A % (int64_t)B + ((int64_t)A % (int64_t)B < 0 ? (int64_t)B : 0)));
        case OP_ADD_F32: SET(of_f32(f32(A) + f32(B)));
        case OP_SUB_F32: SET(of_f32(f32(A) - f32(B)));
        case OP_MUL_F32: SET(of_f32(f32(A) * f32(B)));
        case OP_DIV_F32: SET(of_f32(f32(A) / f32(B)));
        case OP_FMA_F32: SET(of_f32(fmaf(f32(A), f32(B), f32(C))));
        case OP_FMA_F32_ROUNDED: { float p = f32(A) * f32(B); SET(of_f32(p + f32(C))); }
        case OP_NEG_F32:  SET(A ^ 0x80000000u);
        case OP_RELU_F32: SET(f32(A) < 0 ? 0 : A);
        case OP_MAX_F32: SET(max_f32(A, B));
        case OP_MIN_F32: SET(min_f32(A, B));
        case OP_LT_F32: SET(f32(A) < f32(B));
        case OP_LE_F32: SET(f32(A) <= f32(B));
        case OP_EQ_F32: SET(f32(A) == f32(B));
        case OP_ADD_I32: SET((uint32_t)(A + B));
        case OP_SUB_I32: SET((uint32_t)(A - B));
        case OP_ADD_F64: SET(of_f64(f64(A) + f64(B)));
        case OP_SUB_F64: SET(of_f64(f64(A) - f64(B)));
        case OP_MUL_F64: SET(of_f64(f64(A) * f64(B)));
        case OP_FMA_F64: SET(of_f64(fma(f64(A), f64(B), f64(C))));
        case OP_FMA_F64_ROUNDED: { double p = f64(A) * f64(B); SET(of_f64(p + f64(C))); }
        case OP_AND_BOOL: SET(A & B);
        case OP_OR_BOOL:  SET(A | B);
        case OP_NOT_BOOL: SET(A ^ 1);
        case OP_SELECT:   SET(A ? B : C);
        case OP_END: return true;
        }
    }
#undef A
#undef B
#undef C
#undef SET
}

/* Sizes, strides and dims for these symbols; memory of locals. */
static bool prepare(dlc_context *ctx, eval_code *c, void *const *params, const int64_t *symbols,
                    arena *scratch)
{
    const kernel_code *k = c->k;
    int64_t (*shape)[MAX_RANK] = arena_array(scratch, (size_t)k->bufs.n, sizeof *shape);
    int64_t (*stride)[MAX_RANK] = arena_array(scratch, (size_t)k->bufs.n, sizeof *stride);
    static const char *const bad = "a size that is negative or too large";
    eval_instr none = { 0 };
    for (int64_t b = 0; b < k->bufs.n; b++) {
        int64_t n = 1, v, bytes_;
        for (int j = k->bufs.at[b].rank - 1; j >= 0; j--) {
            if (!dim_eval(k->dims, k->bufs.at[b].dims[j], symbols, &v) || v < 0)
                return fail(ctx, c, &none, bad);
            shape[b][j] = v;
            stride[b][j] = n;
            if (!mul_ok(n, v, &n)) return fail(ctx, c, &none, bad);
        }
        if (!mul_ok(n, 8, &bytes_)) return fail(ctx, c, &none, bad);
        c->n_elem[b] = n;
        c->base[b] = b < k->n_params
                         ? params[b]
                         : arena_array(scratch, (size_t)n, (size_t)dtype_bytes(k->bufs.at[b].dtype));
    }
    for (int64_t i = 0; i < c->axes.n; i++) {
        eval_axis *x = &c->axes.at[i];
        x->extent = shape[x->buf][x->axis];
        x->stride = stride[x->buf][x->axis];
    }
    for (int64_t i = 0; i < c->consts.n; i++) c->regs[c->consts.at[i].reg] = c->consts.at[i].v.bits;
    for (int64_t i = 0; i < c->dims.n; i++) {
        int64_t v;
        if (!dim_eval(k->dims, c->dims.at[i].d, symbols, &v))
            return fail(ctx, c, &none, "a dim that overflows");
        c->regs[c->dims.at[i].reg] = (uint64_t)v;
    }
    for (int64_t i = 0; i < c->code.n; i++) {
        const eval_instr *t = &c->code.at[i];
        if (t->op == OP_TREE && c->n_elem[t->x] != 16)
            return fail(ctx, c, t, "tree of a buffer that has not 16 elements");
    }
    return true;
}

bool eval_run(dlc_context *ctx, eval_code *c, void *const *params, const int64_t *symbols,
              const loop_eval_options *o)
{
    if (c->stmts.n == 0) return true;
    arena *scratch = arena_new(arena_mem(c->arena));
    bool ok = prepare(ctx, c, params, symbols, scratch) && step(ctx, c, o);
    arena_free(scratch);
    return ok;
}
