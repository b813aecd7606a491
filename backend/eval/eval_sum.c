/* backend/eval/eval_sum.c: reduce, window and contract, each sum in the order that ir/order.h fixes.
 *
 * Operands are converted to the accumulator's type first. A contract walks its outputs a row at a time (along
 * the label that lies densest in memory) and runs the chains of a row side by side: each output still is one
 * chain in the order of the summed labels, but the inner loop is a vector operation.
 */
#include "backend/eval/eval_inside.h"
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { LEVELS = 6 };                                 /* 4096^5 elements are more than 2^59 */

/* -- Nests ----------------------------------------------------------------------------------------------- */

typedef struct {
    int n_kept, n_red;
    int64_t kept[MAX_RANK], red[MAX_RANK], kept_stride[1][MAX_RANK], red_stride[1][MAX_RANK];
    int64_t n_elem;           /* product of red */
} reduce_nest;

typedef struct {
    reduce_kind kind;
    int rank, n;
    int64_t out[MAX_RANK], copied_stride[1][MAX_RANK];        /* 0 along the windows' axes */
    int axis[MAX_RANK];
    relation r[MAX_RANK];
    int64_t taps[MAX_RANK], extent[MAX_RANK], stride[MAX_RANK];
} window_nest;

static bool window_offset(const window_nest *s, const int64_t *at, const int64_t *k, int64_t *off)
{
    for (int w = 0; w < s->n; w++) {
        int64_t i;
        if (!relation_at(s->r[w], at[s->axis[w]], k[w], s->extent[w], &i)) return false;
        *off += i * s->stride[w];
    }
    return true;
}

/* extent, stride: of a's axis */
typedef struct { uint8_t o, b; relation r; int64_t extent, stride; } window_use;
typedef struct { uint8_t x, y; int64_t scale, bound; } limit_use;
typedef struct {
    dtype acc;
    fma_mode mode;
    bool lanes, zero_taps;
    int n_sum; uint8_t sum[MAX_LABELS];
    /* by label; windows' a labels are in windows[] */
    int64_t extent[MAX_LABELS], sa[MAX_LABELS], sb[MAX_LABELS];
    int64_t n_terms;
    int n_windows; window_use windows[MAX_RANK];
    int n_limits; limit_use limits[4];
    /* the row: outputs along one label, side by side */
    int64_t row, va, vb, vo, vi;
    int vw;                   /* the window whose o it is, or -1 */
    int n_outer; uint8_t outer_label[MAX_RANK];
    int64_t outer[MAX_RANK], outer_stride[2][MAX_RANK];       /* in the result, in init */
    int64_t base_a, base_b;   /* of the current outputs */
} contract_nest;

static void set_outer(contract_nest *s, int64_t *pos, const int64_t *at)
{
    s->base_a = s->base_b = 0;
    for (int i = 0; i < s->n_outer; i++) {
        uint8_t l = s->outer_label[i];
        pos[l] = at[i];
        s->base_a += s->sa[l] * at[i];
        s->base_b += s->sb[l] * at[i];
    }
}

static bool is_beyond_limit(const contract_nest *s, const int64_t *pos)
{
    for (int i = 0; i < s->n_limits; i++) {
        const limit_use *m = &s->limits[i];
        if ((m->x == NO_LABEL ? 0 : m->scale * pos[m->x]) + pos[m->y] >= m->bound) return true;
    }
    return false;
}

/* Offsets of a (without the row's window) and b at a combination; false: a position lies outside. b's is set
 * anyway. */
static bool contract_offsets(const contract_nest *s, const int64_t *pos, int64_t *oa, int64_t *ob)
{
    int64_t a = s->base_a, b = s->base_b;
    bool inside = true;
    for (int i = 0; i < s->n_sum; i++) {
        a += s->sa[s->sum[i]] * pos[s->sum[i]];
        b += s->sb[s->sum[i]] * pos[s->sum[i]];
    }
    for (int w = 0; w < s->n_windows; w++) {
        const window_use *u = &s->windows[w];
        int64_t i;
        if (w == s->vw) continue;
        if (relation_at(u->r, pos[u->o], pos[u->b], u->extent, &i)) a += i * u->stride;
        else inside = false;
    }
    *oa = a;
    *ob = b;
    return inside;
}

static bool next_sum(const contract_nest *s, int64_t *pos)
{
    for (int i = s->n_sum - 1; i >= 0; i--) {
        if (++pos[s->sum[i]] < s->extent[s->sum[i]]) return true;
        pos[s->sum[i]] = 0;
    }
    return false;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }

/* The v in [lo, hi) of 0 … n-1 for which stride*v + dil*k - pad lies in [0, extent). */
static void row_range(const window_use *w, int64_t k, int64_t n, int64_t *lo, int64_t *hi)
{
    int64_t c = w->r.dil * k - w->r.pad, s = w->r.stride;
    int64_t first = s > 0 ? -floor_div(c, s) : -floor_div(w->extent - 1 - c, -s);
    int64_t last = s > 0 ? floor_div(w->extent - 1 - c, s) : floor_div(c, -s);
    *lo = first < 0 ? 0 : first > n ? n : first;
    *hi = last + 1 < *lo ? *lo : last + 1 > n ? n : last + 1;
}

/* -- The types ------------------------------------------------------------------------------------------- */

static float larger_f32(float a, float b)
{
    if (isnan(a) || isnan(b)) return a + b;
    return a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}

static double larger_f64(double a, double b)
{
    if (isnan(a) || isnan(b)) return a + b;
    return a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}

/* acc[i] = a*b + acc[i] along a row, eight at a time where the machine can. */
static void muladd_row_any(float *acc, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n,
                           fma_mode mode)
{
    for (int64_t i = 0; i < n; i++) {
        float x = a[i * sa], y = b[i * sb];
        acc[i] = mode == FMA_FUSED ? fmaf(x, y, acc[i]) : x * y + acc[i];
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void muladd_row_avx2(float *acc, const float *a, int64_t sa,
                                                                const float *b, int64_t sb, int64_t n,
                                                                fma_mode mode)
{
    int64_t i = 0;
    if ((sa == 0 || sa == 1) && (sb == 0 || sb == 1))
        for (; i + 8 <= n; i += 8) {
            __m256 x = sa ? _mm256_loadu_ps(a + i) : _mm256_broadcast_ss(a);
            __m256 y = sb ? _mm256_loadu_ps(b + i) : _mm256_broadcast_ss(b);
            __m256 z = _mm256_loadu_ps(acc + i);
            z = mode == FMA_FUSED ? _mm256_fmadd_ps(x, y, z) : _mm256_add_ps(_mm256_mul_ps(x, y), z);
            _mm256_storeu_ps(acc + i, z);
        }
    for (; i < n; i++) {
        float x = a[i * sa], y = b[i * sb];
        acc[i] = mode == FMA_FUSED ? __builtin_fmaf(x, y, acc[i]) : x * y + acc[i];
    }
}
#endif

static void muladd_row_f32(float *acc, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n,
                           fma_mode mode)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        muladd_row_avx2(acc, a, sa, b, sb, n, mode);
        return;
    }
#endif
    muladd_row_any(acc, a, sa, b, sb, n, mode);
}

#define T float
#define U float
#define F(name) name##_f32
#define LARGER(a, b) larger_f32(a, b)
#define SMALLER(a, b) (-larger_f32(-(a), -(b)))
#define IS_NAN(a) isnan(a)
#define MULADD(a, b, c, mode) ((mode) == FMA_FUSED ? fmaf((a), (b), (c)) : (a) * (b) + (c))
#define ROW muladd_row_f32
#define HAS_ROW
#include "backend/eval/eval_sum_t.h"
#undef T
#undef U
#undef F
#undef LARGER
#undef SMALLER
#undef IS_NAN
#undef MULADD
#undef ROW
#undef HAS_ROW

#define T double
#define U double
#define F(name) name##_f64
#define LARGER(a, b) larger_f64(a, b)
#define SMALLER(a, b) (-larger_f64(-(a), -(b)))
#define IS_NAN(a) isnan(a)
#define MULADD(a, b, c, mode) ((mode) == FMA_FUSED ? fma((a), (b), (c)) : (a) * (b) + (c))
#define ROW F(muladd_row)
#include "backend/eval/eval_sum_t.h"
#undef T
#undef U
#undef F
#undef LARGER
#undef SMALLER
#undef IS_NAN
#undef MULADD

/* Ints: sums and products in u64 keep the low bits whatever the width. */
#define U uint64_t
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define IS_NAN(a) false
#define MULADD(a, b, c, mode) ((void)(mode), (T)((U)(a) * (U)(b) + (U)(c)))

#define T int8_t
#define F(name) name##_i8
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T int16_t
#define F(name) name##_i16
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T int32_t
#define F(name) name##_i32
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T int64_t
#define F(name) name##_i64
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T uint8_t
#define F(name) name##_u8
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T uint16_t
#define F(name) name##_u16
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T uint32_t
#define F(name) name##_u32
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F
#define T uint64_t
#define F(name) name##_u64
#include "backend/eval/eval_sum_t.h"
#undef T
#undef F

/* The case for each computable type; bool is summed as bytes of 0 and 1 (max is or, min is and). */
#define BY_TYPE(t, CALL) \
    switch (t) { \
    case DTYPE_f32: CALL(f32, float) break; \
    case DTYPE_f64: CALL(f64, double) break; \
    case DTYPE_i8: CALL(i8, int8_t) break; \
    case DTYPE_i16: CALL(i16, int16_t) break; \
    case DTYPE_i32: CALL(i32, int32_t) break; \
    case DTYPE_i64: CALL(i64, int64_t) break; \
    case DTYPE_bool: case DTYPE_u8: CALL(u8, uint8_t) break; \
    case DTYPE_u16: CALL(u16, uint16_t) break; \
    case DTYPE_u32: CALL(u32, uint32_t) break; \
    case DTYPE_u64: CALL(u64, uint64_t) break; \
    default: break; \
    }

static scalar_value identity_of(reduce_kind kind, dtype t)
{
    switch (kind) {
    case REDUCE_sum: return (scalar_value){ 0 };
    case REDUCE_prod: return sv_from_i64(t, 1);
    case REDUCE_max: return sv_lowest(t);
    default: return sv_highest(t);
    }
}

/* -- reduce ---------------------------------------------------------------------------------------------- */

bool eval_reduce(job *j)
{
    const reduce_attr *r = j->n->reduce;
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    dtype acc = compute_dtype(x->dtype);
    bool is_arg = r->kind == REDUCE_argmax || r->kind == REDUCE_argmin, owned;
    int64_t stride[MAX_RANK];
    reduce_nest s = { .n_elem = 1 };
    strides_of(x, stride);
    for (int i = 0; i < x->rank; i++) {
        if (r->axes >> i & 1) {
            s.red[s.n_red] = x->dims[i];
            s.red_stride[0][s.n_red++] = stride[i];
            s.n_elem = x->dims[i] == 0 ? 0 : s.n_elem * x->dims[i];
        } else {
            s.kept[s.n_kept] = x->dims[i];
            s.kept_stride[0][s.n_kept++] = stride[i];
        }
    }
    if (tensor_n(y) == 0) return true;
    if (is_arg && s.n_elem == 0) return job_fail(j, "the axis is empty");
    const void *in = converted(j->r, x, acc, &owned);
    void *to = is_arg || acc == y->dtype ? y->bytes
                                         : scratch_take(j->r, tensor_n(y), (size_t)dtype_bytes(acc));
    uint64_t identity[1] = { 0 };
    if (!is_arg) sv_store(acc, identity, identity_of(r->kind, acc));
#define CALL(F, T) { T id; memcpy(&id, identity, sizeof id);                            \
        if (is_arg) reduce_arg_##F(&s, r, in, to);                                      \
        else if (reduce_is_lanes(r->axes, x->rank) || x->rank == 0)                     \
            reduce_lanes_##F(&s, r->kind, in, to, id);                                  \
        else reduce_chains_##F(&s, r->kind, in, to, id); }
    BY_TYPE(acc, CALL)
#undef CALL
    if (to != y->bytes) {
        cast_block(j->r, acc, y->dtype, tensor_n(y), to, y->bytes);
        scratch_give(j->r, to);
    }
    if (owned) scratch_give(j->r, (void *)(uintptr_t)in);
    return true;
}

/* -- window ---------------------------------------------------------------------------------------------- */

static reduce_kind reduce_of(window_kind k)
{
    return k == WINDOW_sum    ? REDUCE_sum
           : k == WINDOW_prod ? REDUCE_prod
           : k == WINDOW_min  ? REDUCE_min
                              : REDUCE_max;
}

bool eval_window(job *j)
{
    const window_attr *a = j->n->window;
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    dtype acc = compute_dtype(x->dtype);
    window_nest s = { .kind = reduce_of(a->kind), .rank = y->rank, .n = a->n };
    int64_t stride[MAX_RANK];
    bool owned, is_arg = a->kind == WINDOW_argmax, no_taps = false;
    strides_of(x, stride);
    memcpy(s.out, y->dims, sizeof s.out);
    memcpy(s.copied_stride[0], stride, sizeof stride);
    for (int i = 0; i < a->n; i++) {
        int axis = s.axis[i] = a->axes[i].axis;
        s.r[i] = a->axes[i].r;
        s.taps[i] = a->axes[i].k;
        s.extent[i] = x->dims[axis];
        s.stride[i] = stride[axis];
        s.copied_stride[0][axis] = 0;
        no_taps |= a->axes[i].k <= 0;
    }
    if (tensor_n(y) == 0) return true;
    if (no_taps) return job_fail(j, "a window without taps");
    const void *in = converted(j->r, x, acc, &owned);
    void *to = is_arg || acc == y->dtype ? y->bytes
                                         : scratch_take(j->r, tensor_n(y), (size_t)dtype_bytes(acc));
    uint64_t identity[1] = { 0 };
    sv_store(acc, identity, identity_of(s.kind, acc));
#define CALL(F, T) { T id; memcpy(&id, identity, sizeof id); window_##F(&s, in, to, is_arg ? to : NULL, id); }
    BY_TYPE(acc, CALL)
#undef CALL
    if (to != y->bytes) {
        cast_block(j->r, acc, y->dtype, tensor_n(y), to, y->bytes);
        scratch_give(j->r, to);
    }
    if (owned) scratch_give(j->r, (void *)(uintptr_t)in);
    return true;
}

/* -- contract -------------------------------------------------------------------------------------------- */

static int window_of_a(const contract_attr *c, uint8_t l)
{
    for (int w = 0; w < c->n_windows; w++)
        if (c->windows[w].a == l) return w;
    return -1;
}

static bool check_extent(const job *j, const contract_nest *s, const tensor *x, int axis, uint8_t l,
                         const char *which)
{
    if (x->dims[axis] == s->extent[l]) return true;
    return job_fail(j, "axis %d of %s has size %lld, its label %lld", axis, which, (long long)x->dims[axis],
                    (long long)s->extent[l]);
}

/* Extents, strides by label, windows, limits. */
static bool set_labels(job *j, contract_nest *s)
{
    const contract_attr *c = j->n->contract;
    const tensor *a = &j->in[0], *b = &j->in[1];
    int64_t stride[MAX_RANK];
    for (int l = 0; l < c->n_labels; l++)
        if (window_of_a(c, (uint8_t)l) < 0 && !job_dim(j, c->extent[l], &s->extent[l])) return false;
    strides_of(a, stride);
    for (int w = 0; w < c->n_windows; w++)
        s->windows[w] = (window_use){ .o = c->windows[w].o, .b = c->windows[w].b, .r = c->windows[w].r };
    for (int i = 0; i < a->rank; i++) {
        int w = window_of_a(c, c->la[i]);
        if (w >= 0) {
            s->windows[w].extent = a->dims[i];
            s->windows[w].stride = stride[i];
        } else {
            if (!check_extent(j, s, a, i, c->la[i], "a")) return false;
            s->sa[c->la[i]] = stride[i];
        }
    }
    strides_of(b, stride);
    for (int i = 0; i < b->rank; i++) {
        if (!check_extent(j, s, b, i, c->lb[i], "b")) return false;
        s->sb[c->lb[i]] = stride[i];
    }
    for (int i = 0; i < j->out[0].rank; i++)
        if (!check_extent(j, s, &j->out[0], i, c->lo[i], "the result")) return false;
    s->n_windows = c->n_windows;
    s->n_sum = c->n_sum;
    s->n_terms = 1;
    memcpy(s->sum, c->sum, sizeof s->sum);
    for (int i = 0; i < c->n_sum; i++) s->n_terms = s->extent[c->sum[i]] == 0 ? 0 : s->n_terms;
    s->n_limits = c->n_limits;
    for (int i = 0; i < c->n_limits; i++) {
        s->limits[i] = (limit_use){ c->limits[i].x, c->limits[i].y, c->limits[i].scale, 0 };
        if (!job_dim(j, c->limits[i].bound, &s->limits[i].bound)) return false;
    }
    return true;
}

/* Which axis of the result becomes the row: one that runs densely through b, or a, or a window of a; else the
 * last. */
static int choose_row(const contract_nest *s, const contract_attr *c, const tensor *y)
{
    int best = -1, best_score = -1;
    for (int i = 0; i < y->rank; i++) {
        uint8_t l = c->lo[i];
        int score = 0;
        for (int w = 0; w < s->n_windows; w++)
            if (s->windows[w].o == l) score = s->windows[w].stride == 1 ? 3 : 0;
        if (s->sb[l] == 1 && s->sa[l] <= 1) score = 4;
        else if (s->sa[l] == 1 && s->sb[l] == 0) score = 4;
        if (y->dims[i] < 8) score = y->dims[i] == 1 ? 0 : score / 2;
        if (score >= best_score) { best = i; best_score = score; }
    }
    return best;
}

static void set_row(contract_nest *s, const contract_attr *c, const tensor *y, const tensor *init)
{
    int64_t stride[MAX_RANK], istride[MAX_RANK] = { 0 }, from[MAX_RANK];
    strides_of(y, stride);
    if (init) {
        strides_of(init, from);
        for (int i = 0; i < init->rank; i++)
            istride[y->rank - init->rank + i] = init->dims[i] == 1 ? 0 : from[i];
    }
    int v = s->lanes ? -1 : choose_row(s, c, y);
    s->row = 1;
    s->vw = -1;
    for (int i = 0; i < y->rank; i++) {
        uint8_t l = c->lo[i];
        if (i != v) {
            s->outer_label[s->n_outer] = l;
            s->outer[s->n_outer] = y->dims[i];
            s->outer_stride[0][s->n_outer] = stride[i];
            s->outer_stride[1][s->n_outer++] = istride[i];
            continue;
        }
        s->row = y->dims[i];
        s->va = s->sa[l];
        s->vb = s->sb[l];
        s->vo = stride[i];
        s->vi = istride[i];
        for (int w = 0; w < s->n_windows; w++)
            if (s->windows[w].o == l) s->vw = w;
    }
}

static bool check_init(const job *j, const tensor *init)
{
    const tensor *y = &j->out[0];
    if (init->rank > y->rank) return job_fail(j, "init has rank %d, the result %d", init->rank, y->rank);
    for (int i = 0; i < init->rank; i++) {
        int64_t d = init->dims[i], want = y->dims[y->rank - init->rank + i];
        if (d != 1 && d != want)
            return job_fail(j, "axis %d of init has size %lld, the result %lld", i, (long long)d,
                            (long long)want);
    }
    return true;
}

/* b again with its widest free label innermost, so that rows run along it; the same values in the same order
 * of sums. NULL: it is so already, there is no such label, or the copy would cost more than it saves. */
static void *pack_b(job *j, contract_nest *s, const contract_attr *c, const void *b)
{
    const tensor *x = &j->in[1], *y = &j->out[0];
    int best = -1, width = dtype_bytes(s->acc);
    int64_t n[MAX_RANK], from[MAX_RANK], to[MAX_RANK], stride[MAX_RANK], terms = 1, step = 1;
    for (int i = 0; i < x->rank; i++) {
        uint8_t l = c->lb[i];
        if (label_in(c->lo, y->rank, l) && !label_in(c->la, j->in[0].rank, l) && x->dims[i] >= 16
            && (best < 0 || x->dims[i] > x->dims[best]))
            best = i;
    }
    for (int i = 0; i < s->n_sum; i++)
        if (!mul_ok(terms, s->extent[s->sum[i]], &terms)) terms = INT32_MAX;
    if (s->lanes || best < 0 || s->sb[c->lb[best]] == 1 ||
        (double)tensor_n(y) * (double)terms < 4.0 * (double)tensor_n(x))
        return NULL;
    strides_of(x, stride);
    for (int k = x->rank - 1; k >= 0; k--) {        /* result axis k is b's axis i: all but best, then best */
        int i = k == x->rank - 1 ? best : k < best ? k : k + 1;
        n[k] = x->dims[i];
        from[k] = stride[i];
        to[k] = step;
        s->sb[c->lb[i]] = step;
        step *= x->dims[i];
    }
    void *packed = scratch_take(j->r, tensor_n(x), (size_t)width);
    copy_strided(width, x->rank, n, packed, to, b, from);
    return packed;
}

bool eval_contract(job *j)
{
    const contract_attr *c = j->n->contract;
    const tensor *init = j->n->n_in == 3 ? &j->in[2] : NULL;
    tensor *y = &j->out[0];
    contract_nest s = { .acc = compute_dtype(c->acc), .mode = j->r->o.fma };
    s.lanes = contract_uses_row_rule(j->n->types[0]);
    s.zero_taps = contract_zero_taps(c, j->in[0].rank, j->in[1].rank, y->rank);
    if (!set_labels(j, &s) || (init && !check_init(j, init))) return false;
    if (tensor_n(y) == 0) return true;
    bool own_a, own_b, own_i = false;
    const void *a = converted(j->r, &j->in[0], s.acc, &own_a), *b = converted(j->r, &j->in[1], s.acc, &own_b);
    const void *i = init ? converted(j->r, init, s.acc, &own_i) : NULL;
    void *packed = tensor_n(&j->in[1]) ? pack_b(j, &s, c, b) : NULL;
    set_row(&s, c, y, init);
#define CALL(F, T) contract_##F(j, &s, a, packed ? packed : b, i);
    BY_TYPE(s.acc, CALL)
#undef CALL
    scratch_give(j->r, packed);
    if (own_a) scratch_give(j->r, (void *)(uintptr_t)a);
    if (own_b) scratch_give(j->r, (void *)(uintptr_t)b);
    if (own_i) scratch_give(j->r, (void *)(uintptr_t)i);
    return true;
}
