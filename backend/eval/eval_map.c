/* backend/eval/eval_map.c: scalar functions over tensors, a block of elements at a time.
 *
 * Why    sv_apply defines each function, one element a call. A graph of real size needs the same bits some
 *        hundred times faster; so each step of a function's line runs over a block of CHUNK elements before
 *        the next one.
 * How    Floats f32, f64 and the ints have native loops for the basic rows, spelled as in ir/scalar_eval.c;
 *        f16 and bf16 go through f32; whatever is left asks sv_apply. tests/eval/test_eval_map.c compares
 *        every row and type with sv_apply.
 */
#include "backend/eval/eval_inside.h"
#include <math.h>

enum { CHUNK = 256 };

/* -- Basic rows ------------------------------------------------------------------------------------------ */

#define LOOP(expr) for (int64_t i = 0; i < n; i++) y[i] = (expr)
#define LOOP_BOOL(expr) for (int64_t i = 0; i < n; i++) c[i] = (expr)

#define FLOAT_BLOCK(T, S)                                                                           \
    static T greater_##T(T a, T b)                                                                  \
    {                                                                                               \
        if (isnan(a) || isnan(b)) return a + b;                                                     \
        if (a == b) return signbit(a) ? b : a;                                                      \
        return a > b ? a : b;                                                                       \
    }                                                                                               \
    static bool block_##T(scalar fn, int64_t n, const void *const in[3], void *out, fma_mode mode)  \
    {                                                                                               \
        const T *a = in[0], *b = in[1], *z = in[2];                                                 \
        T *y = out;                                                                                 \
        uint8_t *c = out;                                                                           \
        switch (fn) {                                                                               \
        case SCALAR_add: LOOP(a[i] + b[i]); return true;                                            \
        case SCALAR_sub: LOOP(a[i] - b[i]); return true;                                            \
        case SCALAR_mul: LOOP(a[i] * b[i]); return true;                                            \
        case SCALAR_div: LOOP(a[i] / b[i]); return true;                                            \
        case SCALAR_neg: LOOP(-a[i]); return true;                                                  \
        case SCALAR_fma:                                                                            \
            if (mode == FMA_FUSED) LOOP(fma##S(a[i], b[i], z[i]));                                  \
            else LOOP(a[i] * b[i] + z[i]);                                                          \
            return true;                                                                            \
        case SCALAR_abs: LOOP(fabs##S(a[i])); return true;                                          \
        case SCALAR_max: LOOP(greater_##T(a[i], b[i])); return true;                                \
        case SCALAR_min: LOOP(-greater_##T(-a[i], -b[i])); return true;                             \
        case SCALAR_relu: LOOP(a[i] < 0 ? 0 : a[i]); return true;                                   \
        case SCALAR_sqrt: LOOP(sqrt##S(a[i])); return true;                                         \
        case SCALAR_floor: LOOP(floor##S(a[i])); return true;                                       \
        case SCALAR_ceil: LOOP(ceil##S(a[i])); return true;                                         \
        case SCALAR_trunc: LOOP(trunc##S(a[i])); return true;                                       \
        case SCALAR_rint: LOOP(rint##S(a[i])); return true;                                         \
        case SCALAR_eq: LOOP_BOOL(a[i] == b[i]); return true;                                       \
        case SCALAR_lt: LOOP_BOOL(a[i] < b[i]); return true;                                        \
        case SCALAR_le: LOOP_BOOL(a[i] <= b[i]); return true;                                       \
        default: return false;                                                                      \
        }                                                                                           \
    }
FLOAT_BLOCK(float, f)
FLOAT_BLOCK(double, )

/* U: the unsigned type of the width, in which arithmetic wraps; T: the type itself, in which it compares. */
#define INT_BLOCK(T, U)                                                                     \
    static bool block_##T(scalar fn, int64_t n, const void *const in[3], void *out)         \
    {                                                                                       \
        const T *a = in[0], *b = in[1];                                                     \
        T *y = out;                                                                         \
        uint8_t *c = out;                                                                   \
        const U width = 8 * sizeof(T);                                                      \
        switch (fn) {                                                                       \
        case SCALAR_add: LOOP((T)((U)a[i] + (U)b[i])); return true;                         \
        case SCALAR_sub: LOOP((T)((U)a[i] - (U)b[i])); return true;                         \
        case SCALAR_mul: LOOP((T)((U)((U)a[i] * (uint64_t)(U)b[i]))); return true;          \
        case SCALAR_neg: LOOP((T)(0 - (U)a[i])); return true;                               \
        case SCALAR_max: LOOP(a[i] < b[i] ? b[i] : a[i]); return true;                      \
        case SCALAR_min: LOOP(a[i] < b[i] ? a[i] : b[i]); return true;                      \
        case SCALAR_eq: LOOP_BOOL(a[i] == b[i]); return true;                               \
        case SCALAR_lt: LOOP_BOOL(a[i] < b[i]); return true;                                \
        case SCALAR_le: LOOP_BOOL(a[i] <= b[i]); return true;                               \
        case SCALAR_and: LOOP(a[i] & b[i]); return true;                                    \
        case SCALAR_or: LOOP(a[i] | b[i]); return true;                                     \
        case SCALAR_xor: LOOP(a[i] ^ b[i]); return true;                                    \
        case SCALAR_not: LOOP((T)~a[i]); return true;                                       \
        case SCALAR_shl: LOOP((U)b[i] < width ? (T)((U)a[i] << (U)b[i]) : 0); return true;  \
        case SCALAR_shr:                                                                    \
            LOOP((T)((U)b[i] < width ? a[i] >> (U)b[i] : a[i] < 0 ? -1 : 0)); return true;  \
        default: return false;                                                              \
        }                                                                                   \
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtype-limits"
INT_BLOCK(int64_t, uint64_t)
INT_BLOCK(int32_t, uint32_t)
INT_BLOCK(uint64_t, uint64_t)
INT_BLOCK(uint32_t, uint32_t)
#pragma GCC diagnostic pop

static bool native_block(scalar fn, dtype t, int64_t n, const void *const in[3], void *out, fma_mode mode)
{
    switch (t) {
    case DTYPE_f32: return block_float(fn, n, in, out, mode);
    case DTYPE_f64: return block_double(fn, n, in, out, mode);
    case DTYPE_i64: return block_int64_t(fn, n, in, out);
    case DTYPE_i32: return block_int32_t(fn, n, in, out);
    case DTYPE_u64: return block_uint64_t(fn, n, in, out);
    case DTYPE_u32: return block_uint32_t(fn, n, in, out);
    default: return false;
    }
}

static void select_block(int width, int64_t n, const void *const in[3], void *out)
{
    const uint8_t *c = in[0];
    switch (width) {
#define SELECT(T) { const T *a = in[1], *b = in[2]; T *y = out; LOOP(c[i] ? a[i] : b[i]); }
    case 1: SELECT(uint8_t) break;
    case 2: SELECT(uint16_t) break;
    case 4: SELECT(uint32_t) break;
    default: SELECT(uint64_t) break;
#undef SELECT
    }
}

/* Any row, element by element. */
static void slow_block(run *r, scalar fn, dtype t, dtype to, int64_t n, const void *const in[3], void *out)
{
    int arity = scalar_info[fn].arity;
    dtype result = fn == SCALAR_cast ? to : scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : t;
    for (int64_t i = 0; i < n; i++) {
        scalar_value x[3];
        for (int k = 0; k < arity; k++) x[k] = sv_load(t, (const char *)in[k] + i * dtype_bytes(t));
        sv_store(result, (char *)out + i * dtype_bytes(result),
                 sv_apply(r->expander, fn, t, to, x, r->o.fma));
    }
}

/* -- Casts ----------------------------------------------------------------------------------------------- */

#define CAST(F, T, expr) { const F *a = in; T *y = out; LOOP(expr); return; }

void cast_block(run *r, dtype from, dtype to, int64_t n, const void *in, void *out)
{
    if (from == to || (is_int(from) && is_int(to) && dtype_bytes(from) == dtype_bytes(to))) {
        memcpy(out, in, (size_t)n * (size_t)dtype_bytes(from));
        return;
    }
#define PAIR(f, t) ((f) * DTYPE_COUNT + (t))
    switch (PAIR(from, to)) {
    case PAIR(DTYPE_f32, DTYPE_f64): CAST(float, double, a[i])
    case PAIR(DTYPE_f64, DTYPE_f32): CAST(double, float, (float)a[i])
    case PAIR(DTYPE_bf16, DTYPE_f32): CAST(uint16_t, uint32_t, (uint32_t)a[i] << 16)
    case PAIR(DTYPE_i64, DTYPE_i32): CAST(int64_t, uint32_t, (uint32_t)a[i])
    case PAIR(DTYPE_i32, DTYPE_i64): CAST(int32_t, int64_t, a[i])
    case PAIR(DTYPE_i64, DTYPE_f32): CAST(int64_t, float, (float)a[i])
    case PAIR(DTYPE_i32, DTYPE_f32): CAST(int32_t, float, (float)a[i])
    case PAIR(DTYPE_i64, DTYPE_f64): CAST(int64_t, double, (double)a[i])
    case PAIR(DTYPE_i32, DTYPE_f64): CAST(int32_t, double, a[i])
    case PAIR(DTYPE_u8, DTYPE_f32): CAST(uint8_t, float, a[i])
    case PAIR(DTYPE_i8, DTYPE_f32): CAST(int8_t, float, a[i])
    case PAIR(DTYPE_u8, DTYPE_i32): CAST(uint8_t, int32_t, a[i])
    case PAIR(DTYPE_i8, DTYPE_i32): CAST(int8_t, int32_t, a[i])
    case PAIR(DTYPE_bool, DTYPE_f32): CAST(uint8_t, float, a[i])
    case PAIR(DTYPE_bool, DTYPE_i64): CAST(uint8_t, int64_t, a[i])
    case PAIR(DTYPE_bool, DTYPE_i32): CAST(uint8_t, int32_t, a[i])
    default: break;
    }
#undef PAIR
    const void *const ins[3] = { in };
    slow_block(r, SCALAR_cast, from, to, n, ins, out);
}

const void *converted(run *r, const tensor *x, dtype to, bool *owned)
{
    *owned = x->dtype != to;
    if (!*owned) return x->bytes;
    void *p = scratch_take(r, tensor_n(x), (size_t)dtype_bytes(to));
    cast_block(r, x->dtype, to, tensor_n(x), x->bytes, p);
    return p;
}

/* -- Functions ------------------------------------------------------------------------------------------- */

static void basic_block(run *r, scalar fn, dtype t, dtype to, int64_t n, const void *const in[3], void *out)
{
    if (fn == SCALAR_cast) cast_block(r, t, to, n, in[0], out);
    else if (fn == SCALAR_select) select_block(dtype_bytes(t), n, in, out);
    else if (!native_block(fn, t, n, in, out, r->o.fma)) slow_block(r, fn, t, to, n, in, out);
}

/* The line of a function: every step over the block, each into its own row of scratch. */
static void run_line(run *r, const scalar_code *code, int64_t n, const void *const in[3], void *out)
{
    size_t need = (size_t)code->n_steps * CHUNK * 8;
    if (r->steps_bytes < need) {
        if (r->steps) scratch_give(r, r->steps);
        r->steps = scratch_take(r, (int64_t)need, 1);
        r->steps_bytes = need;
    }
    for (int s = 0; s < code->n_steps; s++) {
        const scalar_step *p = &code->steps[s];
        void *y = s == code->n_steps - 1 ? out : r->steps + (size_t)s * CHUNK * 8;
        const void *x[3] = { NULL, NULL, NULL };
        int arity = p->kind == STEP_CONST ? 0 : p->kind == STEP_BITCAST ? 1 : scalar_info[p->fn].arity;
        for (int k = 0; k < arity; k++)
            x[k] = p->in[k] < code->n_in ? in[p->in[k]]
                                         : r->steps + (size_t)(p->in[k] - code->n_in) * CHUNK * 8;
        if (p->kind == STEP_SCALAR) {
            basic_block(r, p->fn, p->from, p->type, n, x, y);
        } else if (p->kind == STEP_BITCAST) {
            memcpy(y, x[0], (size_t)n * (size_t)dtype_bytes(p->type));
        } else {
            for (int64_t i = 0; i < n; i++) sv_store(p->type, (char *)y + i * dtype_bytes(p->type), p->imm);
        }
    }
}

static void chunk(run *r, scalar fn, dtype t, dtype to, int64_t n, const void *const in[3], void *out)
{
    if (fn == SCALAR_cast || fn == SCALAR_select) {
        basic_block(r, fn, t, to, n, in, out);
        return;
    }
    dtype c = compute_dtype(t);
    if (c != t) {
        float wide[3][CHUNK], y[CHUNK];
        const void *x[3] = { wide[0], wide[1], wide[2] };
        bool is_cmp = scalar_info[fn].result == RESULT_CMP;
        for (int k = 0; k < scalar_info[fn].arity; k++) cast_block(r, t, c, n, in[k], wide[k]);
        chunk(r, fn, c, to, n, x, is_cmp ? out : (void *)y);
        if (!is_cmp) cast_block(r, c, t, n, y, out);
        return;
    }
    if (scalar_info[fn].is_basic) {
        basic_block(r, fn, t, to, n, in, out);
        return;
    }
    const scalar_code *code = scalar_expand(r->expander, fn, t);
    if (code) run_line(r, code, n, in, out);
    else slow_block(r, fn, t, to, n, in, out);
}

void map_block(run *r, scalar fn, dtype t, dtype to, int64_t n, const void *const in[3], void *out)
{
    dtype result = fn == SCALAR_cast ? to : scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : t;
    int arity = scalar_info[fn].arity;
    for (int64_t i = 0; i < n; i += CHUNK) {
        const void *x[3] = { NULL, NULL, NULL };
        for (int k = 0; k < arity; k++)
            x[k] = (const char *)in[k] + i * (fn == SCALAR_select && k == 0 ? 1 : dtype_bytes(t));
        chunk(r, fn, t, to, n - i < CHUNK ? n - i : CHUNK, x, (char *)out + i * dtype_bytes(result));
    }
}

/* -- The node: operands stretched to the result's shape, row by row -------------------------------------- */

static void fill_row(int width, int64_t n, const void *from, void *to)
{
    switch (width) {
#define FILL(T) { T v, *y = to; memcpy(&v, from, sizeof v); LOOP(v); }
    case 1: memset(to, *(const uint8_t *)from, (size_t)n); break;
    case 2: FILL(uint16_t) break;
    case 4: FILL(uint32_t) break;
    default: FILL(uint64_t) break;
#undef FILL
    }
}

bool eval_map(job *j)
{
    const tensor *y = &j->out[0];
    int arity = j->n->n_in, rank = y->rank;
    scalar fn = j->n->map->fn;
    dtype t = j->in[fn == SCALAR_select ? 1 : 0].dtype, to = j->n->map->to;
    int64_t total = tensor_n(y), off[3] = { 0 }, at[MAX_RANK] = { 0 }, stride[3][MAX_RANK] = { { 0 } };
    bool same = true;
    for (int k = 0; k < arity; k++) {
        strides_of(&j->in[k], stride[k]);
        for (int i = 0; i < rank; i++) {
            int64_t d = j->in[k].dims[i];
            if (d != y->dims[i] && d != 1)
                return job_fail(j, "axis %d of operand %d has size %lld, the result %lld", i, k, (long long)d,
                                (long long)y->dims[i]);
            if (d == 1) stride[k][i] = 0;
            same &= d == y->dims[i];
        }
    }
    if (total == 0) return true;
    const void *x[3] = { NULL, NULL, NULL };
    if (same) {
        for (int k = 0; k < arity; k++) x[k] = j->in[k].bytes;
        map_block(j->r, fn, t, to, total, x, y->bytes);
        return true;
    }
    /* A row is the innermost axis; an operand stretched along it is filled into scratch. */
    walk w = joined_axes(rank, y->dims, arity, (const int64_t (*)[MAX_RANK])stride);
    int64_t row = w.dims[w.rank - 1];
    char *filled = scratch_take(j->r, 3 * row, 8), *to_row = y->bytes;
    do {
        for (int k = 0; k < arity; k++) {
            int width = dtype_bytes(j->in[k].dtype);
            x[k] = (const char *)j->in[k].bytes + off[k] * width;
            if (row > 1 && w.stride[k][w.rank - 1] == 0) {
                fill_row(width, row, x[k], filled + k * row * 8);
                x[k] = filled + k * row * 8;
            }
        }
        map_block(j->r, fn, t, to, row, x, to_row);
        to_row += row * dtype_bytes(y->dtype);
    } while (step_position(w.rank - 1, w.dims, at, arity, off, (const int64_t (*)[MAX_RANK])w.stride));
    scratch_give(j->r, filled);
    return true;
}
