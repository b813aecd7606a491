/* backend/eval/eval_move.c: what computes nothing: copies, indices, order. iota random transpose broadcast
 * slice pad concat gather scatter sort compact. Views are made dense here; only reshape and bitcast share
 * memory.
 */
#include "backend/eval/eval_inside.h"

/* -- Strided copies -------------------------------------------------------------------------------------- */

walk joined_axes(int rank, const int64_t *extents, int n, const int64_t (*stride)[MAX_RANK])
{
    walk w = { 0 };
    for (int i = 0; i < rank; i++) {
        if (extents[i] == 1) continue;
        bool joins = w.rank > 0;
        for (int k = 0; k < n && joins; k++) joins = w.stride[k][w.rank - 1] == stride[k][i] * extents[i];
        if (!joins) w.dims[w.rank++] = 1;
        w.dims[w.rank - 1] *= extents[i];
        for (int k = 0; k < n; k++) w.stride[k][w.rank - 1] = stride[k][i];
    }
    if (w.rank == 0) w.dims[w.rank++] = 1;
    return w;
}

static void copy_row(int width, int64_t n, char *to, int64_t st, const char *from, int64_t sf)
{
    switch (width) {
#define COPY(T) { T *y = (T *)(void *)to; const T *x = (const T *)(const void *)from; \
        for (int64_t i = 0; i < n; i++) { y[i * st] = x[i * sf]; } break; }
    case 1: COPY(uint8_t)
    case 2: COPY(uint16_t)
    case 4: COPY(uint32_t)
    default: COPY(uint64_t)
#undef COPY
    }
}

void copy_strided(int width, int rank, const int64_t *n, char *to, const int64_t *st, const char *from,
                  const int64_t *sf)
{
    int64_t at[MAX_RANK] = { 0 }, off[2] = { 0, 0 }, stride[2][MAX_RANK];
    for (int i = 0; i < rank; i++)
        if (n[i] <= 0) return;
    if (rank == 0) {
        memcpy(to, from, (size_t)width);
        return;
    }
    memcpy(stride[0], st, (size_t)rank * sizeof *st);
    memcpy(stride[1], sf, (size_t)rank * sizeof *sf);
    walk w = joined_axes(rank, n, 2, (const int64_t (*)[MAX_RANK])stride);
    int last = w.rank - 1;
    bool dense = w.stride[0][last] == 1 && w.stride[1][last] == 1;
    do {
        char *y = to + off[0] * width;
        const char *x = from + off[1] * width;
        if (dense) memcpy(y, x, (size_t)w.dims[last] * (size_t)width);
        else copy_row(width, w.dims[last], y, w.stride[0][last], x, w.stride[1][last]);
    } while (step_position(last, w.dims, at, 2, off, (const int64_t (*)[MAX_RANK])w.stride));
}

static void fill(int width, int64_t n, void *to, const void *v)
{
    copy_row(width, n, to, 1, v, 0);
}

bool eval_transpose(job *j)
{
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    int64_t sx[MAX_RANK], sy[MAX_RANK], from[MAX_RANK];
    strides_of(x, sx);
    strides_of(y, sy);
    for (int i = 0; i < y->rank; i++) from[i] = sx[j->n->transpose->perm[i]];
    copy_strided(dtype_bytes(x->dtype), y->rank, y->dims, y->bytes, sy, x->bytes, from);
    return true;
}

bool eval_broadcast(job *j)
{
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    int64_t sx[MAX_RANK], sy[MAX_RANK];
    strides_of(x, sx);
    strides_of(y, sy);
    for (int i = 0; i < y->rank; i++) {
        if (x->dims[i] != 1 && x->dims[i] != y->dims[i])
            return job_fail(j, "axis %d has size %lld, the result %lld", i, (long long)x->dims[i],
                            (long long)y->dims[i]);
        if (x->dims[i] == 1) sx[i] = 0;
    }
    copy_strided(dtype_bytes(x->dtype), y->rank, y->dims, y->bytes, sy, x->bytes, sx);
    return true;
}

bool eval_slice(job *j)
{
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    const slice_attr *s = j->n->slice;
    int width = dtype_bytes(x->dtype);
    int64_t sx[MAX_RANK], sy[MAX_RANK], first = 0, n = tensor_n(y);
    strides_of(x, sx);
    strides_of(y, sy);
    for (int i = 0; i < y->rank && n > 0; i++) {
        int64_t start, last;
        if (!job_dim(j, s->start[i], &start)) return false;
        if (!mul_ok(s->step[i], y->dims[i] - 1, &last) || !add_ok(start, last, &last) || start < 0 || last < 0
            || start >= x->dims[i] || last >= x->dims[i])
            return job_fail(j, "axis %d of size %lld is read from %lld to %lld", i, (long long)x->dims[i],
                            (long long)start, (long long)last);
        first += start * sx[i];
        sx[i] *= s->step[i];
    }
    if (n > 0)
        copy_strided(width, y->rank, y->dims, y->bytes, sy, (const char *)x->bytes + first * width, sx);
    return true;
}

/* -- pad, concat ----------------------------------------------------------------------------------------- */

static void undef_element(const run *r, dtype t, void *out)
{
    dtype c = carrier_dtype(t);
    scalar_value v = !is_float(c) ? sv_highest(c) : r->o.fills_undef ? sv_from_f64(c, r->o.undef)
                   : sv_from_f64(c, (double)__builtin_nan(""));
    sv_store(c, out, v);
}

/* The positions i of 0 … d-1 with 0 <= lo + i*step < n: [*from, *to) */
static void kept_range(int64_t d, int64_t lo, int64_t step, int64_t n, int64_t *from, int64_t *to)
{
    *from = lo < 0 ? (-lo + step - 1) / step : 0;
    *to = n - lo <= 0 ? 0 : (n - lo + step - 1) / step;
    if (*to > d) *to = d;
    if (*from > *to) *from = *to;
}

bool eval_pad(job *j)
{
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    const pad_attr *p = j->n->pad;
    int width = dtype_bytes(x->dtype);
    int64_t sx[MAX_RANK], sy[MAX_RANK], n[MAX_RANK], from_x = 0, from_y = 0;
    uint8_t with[8];
    if (j->n->n_in == 2) memcpy(with, j->in[1].bytes, (size_t)width);
    else undef_element(j->r, x->dtype, with);
    fill(width, tensor_n(y), y->bytes, with);
    strides_of(x, sx);
    strides_of(y, sy);
    for (int i = 0; i < y->rank; i++) {
        int64_t lo, hi, from, to, step, big;
        if (!job_dim(j, p->lo[i], &lo) || !job_dim(j, p->hi[i], &hi)) return false;
        if (!add_ok(p->interior[i], 1, &step) || !mul_ok(x->dims[i] ? x->dims[i] - 1 : 0, step, &big)
            || !add_ok(big, (x->dims[i] ? 1 : 0), &big) || !add_ok(big, lo, &big) || !add_ok(big, hi, &big)
            || big != y->dims[i])
            return job_fail(j, "axis %d does not fit the result's size %lld", i, (long long)y->dims[i]);
        kept_range(x->dims[i], lo, step, y->dims[i], &from, &to);
        n[i] = to - from;
        if (n[i] <= 0) return true;
        from_x += from * sx[i];
        from_y += (lo + from * step) * sy[i];
        sy[i] *= step;
    }
    copy_strided(width, y->rank, n, (char *)y->bytes + from_y * width, sy,
                 (const char *)x->bytes + from_x * width, sx);
    return true;
}

bool eval_concat(job *j)
{
    tensor *y = &j->out[0];
    int axis = j->n->concat->axis, width = dtype_bytes(y->dtype);
    int64_t outer = 1, inner = width, at = 0;
    for (int i = 0; i < axis; i++) outer *= y->dims[i];
    for (int i = axis + 1; i < y->rank; i++) inner *= y->dims[i];
    for (int k = 0; k < j->n->n_in; k++) {
        const tensor *x = &j->in[k];
        for (int i = 0; i < y->rank; i++)
            if (i != axis && x->dims[i] != y->dims[i])
                return job_fail(j, "axis %d of operand %d has size %lld, the result %lld", i, k,
                                (long long)x->dims[i], (long long)y->dims[i]);
        if (at + x->dims[axis] > y->dims[axis]) return job_fail(j, "the parts are longer than the result");
        size_t part = (size_t)(x->dims[axis] * inner);
        for (int64_t o = 0; o < outer && part; o++)
            memcpy((char *)y->bytes + (o * y->dims[axis] + at) * inner,
                   (const char *)x->bytes + (size_t)o * part, part);
        at += x->dims[axis];
    }
    return at == y->dims[axis] || job_fail(j, "the parts have %lld entries, the result %lld", (long long)at,
                                           (long long)y->dims[axis]);
}

/* -- gather, scatter ------------------------------------------------------------------------------------- */

typedef struct {
    const tensor *x, *index; int n_index;
    int rank_s, n_free;
    int64_t s[MAX_RANK], free[MAX_RANK], x_stride[MAX_RANK];      /* of the index's shape; of x's free dims */
    int64_t free_stride[MAX_RANK], dense[MAX_RANK];                   /* in x; in the other operand */
    int64_t s_stride[1][MAX_RANK];                                    /* of batch dims in x, by index dim */
    int64_t n_free_elem;
} gather_nest;

static bool gather_setup(const job *j, const tensor *x, const tensor *index, gather_nest *g)
{
    const gather_attr *a = j->n->gather;
    *g = (gather_nest){ .x = x, .index = index, .n_index = a->n_axes, .n_free_elem = 1 };
    uint32_t taken = 0;
    strides_of(x, g->x_stride);
    g->rank_s = index[0].rank;
    memcpy(g->s, index[0].dims, sizeof g->s);
    for (int k = 1; k < a->n_axes; k++)
        for (int i = 0; i < g->rank_s; i++)
            if (index[k].dims[i] != g->s[i]) return job_fail(j, "the index tensors have different sizes");
    for (int k = 0; k < a->n_axes; k++) taken |= 1u << a->axes[k];
    for (int k = 0; k < a->n_batch; k++) {
        if (x->dims[a->batch_x[k]] != g->s[a->batch_s[k]])
            return job_fail(j, "batch axis %d differs in size", a->batch_x[k]);
        taken |= 1u << a->batch_x[k];
        g->s_stride[0][a->batch_s[k]] += g->x_stride[a->batch_x[k]];
    }
    for (int i = 0; i < x->rank; i++) {
        if (taken >> i & 1) continue;
        g->free_stride[g->n_free] = g->x_stride[i];
        g->free[g->n_free++] = x->dims[i];
        g->n_free_elem *= x->dims[i];
    }
    int64_t s = 1;
    for (int i = g->n_free - 1; i >= 0; i--) { g->dense[i] = s; s *= g->free[i]; }
    return true;
}

/* Where in x position e of the index tensors points, batch offset included; false: outside. */
static bool gather_offset(const gather_nest *g, const gather_attr *a, int64_t e, int64_t batch, int64_t *off)
{
    *off = batch;
    for (int k = 0; k < g->n_index; k++) {
        const tensor *t = &g->index[k];
        int64_t i = t->dtype == DTYPE_i32 ? ((const int32_t *)t->bytes)[e] : ((const int64_t *)t->bytes)[e];
        if (i < 0 || i >= g->x->dims[a->axes[k]]) return false;
        *off += i * g->x_stride[a->axes[k]];
    }
    return true;
}

bool eval_gather(job *j)
{
    gather_nest g;
    tensor *y = &j->out[0];
    int width = dtype_bytes(y->dtype);
    if (!gather_setup(j, &j->in[0], j->in + 1, &g)) return false;
    if (tensor_n(y) == 0) return true;
    int64_t at[MAX_RANK] = { 0 }, batch[1] = { 0 }, e = 0, row = g.n_free_elem * width;
    char *to = y->bytes;
    do {
        int64_t off;
        if (gather_offset(&g, j->n->gather, e, batch[0], &off))
            copy_strided(width, g.n_free, g.free, to, g.dense, (const char *)j->in[0].bytes + off * width,
                         g.free_stride);
        else
            memset(to, 0, (size_t)row);
        to += row;
        e++;
    } while (step_position(g.rank_s, g.s, at, 1, batch, (const int64_t (*)[MAX_RANK])g.s_stride));
    return true;
}

/* y op= one row of updates; y and u in the computing type. */
static void scatter_row(run *r, const gather_nest *g, scalar fn, dtype t, char *y, const char *u)
{
    int width = dtype_bytes(t);
    if (g->n_free == 0 || g->free_stride[g->n_free - 1] == 1) {
        int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 }, row = g->n_free ? g->free[g->n_free - 1] : 1;
        do {
            const void *in[3] = { y + off[0] * width, u, NULL };
            map_block(r, fn, t, DTYPE_NONE, row, in, y + off[0] * width);
            u += row * width;
        } while (step_position(g->n_free - 1, g->free, at, 1, off,
                               (const int64_t (*)[MAX_RANK]) & g->free_stride));
        return;
    }
    int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 };
    do {
        const void *in[3] = { y + off[0] * width, u, NULL };
        map_block(r, fn, t, DTYPE_NONE, 1, in, y + off[0] * width);
        u += width;
    } while (step_position(g->n_free, g->free, at, 1, off, (const int64_t (*)[MAX_RANK])&g->free_stride));
}

bool eval_scatter(job *j)
{
    static const scalar row_of[SCATTER_COUNT] = {
        SCALAR_COUNT, SCALAR_add, SCALAR_mul, SCALAR_max, SCALAR_min
    };
    gather_nest g;
    tensor *y = &j->out[0];
    scatter_mode mode = j->n->gather->mode;
    bool is_set = mode == SCATTER_set, own_u;
    dtype t = is_set ? y->dtype : compute_dtype(y->dtype);
    int width = dtype_bytes(t);
    tensor x = j->in[0];
    if (!gather_setup(j, &x, j->in + 2, &g)) return false;
    int64_t n = tensor_n(y), count = 1;
    for (int i = 0; i < g.rank_s; i++) count *= g.s[i];
    if (n == 0) return true;
    if (tensor_n(&j->in[1]) != count * g.n_free_elem)
        return job_fail(j, "the updates have another size than the indices say");
    const char *u = converted(j->r, &j->in[1], t, &own_u);
    char *to = t == y->dtype ? y->bytes : scratch_take(j->r, n, (size_t)width);
    cast_block(j->r, x.dtype, t, n, x.bytes, to);
    int64_t at[MAX_RANK] = { 0 }, batch[1] = { 0 }, e = 0, off;
    if (count * g.n_free_elem > 0)
        do {
            if (gather_offset(&g, j->n->gather, e, batch[0], &off)) {
                const char *from = u + e * g.n_free_elem * width;
                if (is_set)
                    copy_strided(width, g.n_free, g.free, to + off * width, g.free_stride, from, g.dense);
                else scatter_row(j->r, &g, row_of[mode], t, to + off * width, from);
            }
            e++;
        } while (step_position(g.rank_s, g.s, at, 1, batch, (const int64_t (*)[MAX_RANK])g.s_stride));
    if (to != y->bytes) {
        cast_block(j->r, t, y->dtype, n, to, y->bytes);
        scratch_give(j->r, to);
    }
    if (own_u) scratch_give(j->r, (void *)(uintptr_t)u);
    return true;
}

/* -- sort ------------------------------------------------------------------------------------------------ */

/* A code that orders as the elements do: -0 with +0, every NaN alike and last. */
static uint64_t sort_code(dtype t, const void *p)
{
    scalar_value v = sv_load(t, p);
    if (is_float(t)) {
        double x = sv_to_f64(t, v);
        if (x != x) return UINT64_MAX;
        if (x == 0) x = 0.0;
        uint64_t b;
        memcpy(&b, &x, sizeof b);
        return b >> 63 ? ~b : b | (uint64_t)1 << 63;
    }
    return is_signed(t) ? (uint64_t)sv_to_i64(t, v) ^ (uint64_t)1 << 63 : v.bits;
}

/* a strictly before b */
static bool before(const uint64_t *code, int n_keys, int64_t n, int64_t a, int64_t b)
{
    for (int k = 0; k < n_keys; k++) {
        uint64_t x = code[k * n + a], y = code[k * n + b];
        if (x != y) return x < y;
    }
    return false;
}

/* Bottom-up merge sort of positions: stable, no recursion. */
static void sort_positions(const uint64_t *code, int n_keys, int64_t n, int64_t *p, int64_t *spare)
{
    for (int64_t i = 0; i < n; i++) p[i] = i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            int64_t a = lo, b = mid, k = lo;
            while (a < mid && b < hi) spare[k++] = before(code, n_keys, n, p[b], p[a]) ? p[b++] : p[a++];
            while (a < mid) spare[k++] = p[a++];
            while (b < hi) spare[k++] = p[b++];
        }
        memcpy(p, spare, (size_t)n * sizeof *p);
    }
}

bool eval_sort(job *j)
{
    const sort_attr *s = j->n->sort;
    const tensor *x = &j->in[0];
    tensor *y = &j->out[0];
    int n_keys = j->n->n_in, axis = s->axis;
    int64_t n = x->dims[axis], k = y->dims[axis], outer = 1, inner = 1;
    for (int q = 1; q < n_keys; q++)
        if (memcmp(j->in[q].dims, x->dims, (size_t)x->rank * sizeof *x->dims))
            return job_fail(j, "the keys differ in size");
    if (k > n) return job_fail(j, "k is %lld of %lld", (long long)k, (long long)n);
    if (tensor_n(y) == 0) return true;
    for (int i = 0; i < axis; i++) outer *= x->dims[i];
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dims[i];
    uint64_t *code = scratch_take(j->r, n * n_keys, sizeof *code);
    int64_t *p = scratch_take(j->r, 2 * n, sizeof *p), *to = y->bytes;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            for (int q = 0; q < n_keys; q++) {
                int width = dtype_bytes(j->in[q].dtype);
                const char *from = (const char *)j->in[q].bytes + (o * n * inner + i) * width;
                uint64_t flip = s->descending >> q & 1 ? UINT64_MAX : 0;
                for (int64_t e = 0; e < n; e++)
                    code[q * n + e] = sort_code(j->in[q].dtype, from + e * inner * width) ^ flip;
            }
            sort_positions(code, n_keys, n, p, p + n);
            for (int64_t e = 0; e < k; e++) to[(o * k + e) * inner + i] = p[e];
        }
    scratch_give(j->r, p);
    scratch_give(j->r, code);
    return true;
}

/* -- compact, iota, random ------------------------------------------------------------------------------- */

bool eval_compact(job *j)
{
    const uint8_t *mask = j->in[0].bytes;
    int64_t n = j->in[0].dims[0], *idx = j->out[0].bytes, count = 0;
    for (int64_t i = 0; i < n; i++)
        if (mask[i]) idx[count++] = i;
    for (int64_t i = count; i < n; i++) idx[i] = n;
    *(int64_t *)j->out[1].bytes = count;
    if (j->n->compact->has_symbol) j->r->symbols[dim_look(j->g->dims, j->n->compact->symbol).symbol] = count;
    return true;
}

bool eval_iota(job *j)
{
    tensor *y = &j->out[0];
    int axis = j->n->iota->axis, width = dtype_bytes(y->dtype);
    int64_t outer = 1, inner = 1, d = y->dims[axis];
    if (tensor_n(y) == 0) return true;
    for (int i = 0; i < axis; i++) outer *= y->dims[i];
    for (int i = axis + 1; i < y->rank; i++) inner *= y->dims[i];
    char *to = y->bytes;
    for (int64_t i = 0; i < d; i++) {
        uint8_t e[8];
        sv_store(y->dtype, e, sv_from_i64(y->dtype, i));
        fill(width, inner, to + i * inner * width, e);
    }
    size_t block = (size_t)(d * inner * width);
    for (int64_t o = 1; o < outer; o++) memcpy(to + (size_t)o * block, to, block);
    return true;
}

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = { (uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1,
                             (uint32_t)p0 };
        memcpy(c, next, sizeof next);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

bool eval_random(job *j)
{
    uint32_t key[5], *y = j->out[0].bytes;
    int64_t n = tensor_n(&j->out[0]);
    memcpy(key, j->in[0].bytes, sizeof key);
    if (n >> 34) return job_fail(j, "more than 2^34 elements");
    for (int64_t e = 0; e < n; e += 4) {
        uint32_t c[4] = { (uint32_t)(e / 4), key[2], key[3], key[4] };
        philox(c, key[0], key[1]);
        for (int i = 0; i < 4 && e + i < n; i++) y[e + i] = c[i];
    }
    return true;
}
