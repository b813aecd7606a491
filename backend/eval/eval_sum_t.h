/* backend/eval/eval_sum_t.h: sums at one accumulator type; included by eval_sum.c once for each.
 *   T         the type                       U      what arithmetic is done in (ints: unsigned, so it wraps)
 *   F(name)   the name for this type         LARGER SMALLER IS_NAN MULADD(a, b, c, mode)
 *   ROW       F(muladd_row), or a faster one with the same result
 */

/* -- One step -------------------------------------------------------------------------------------------- */

static inline T F(op)(reduce_kind kind, T a, T b)
{
    switch (kind) {
    case REDUCE_sum: return (T)((U)a + (U)b);
    case REDUCE_prod: return (T)((U)a * (U)b);
    case REDUCE_max: return LARGER(a, b);
    default: return SMALLER(a, b);
    }
}

/* -- The row rule (ir/order.h): level 0 holds lanes of elements, level 1 lanes of block sums, … ---------- */

typedef struct { reduce_kind kind; T identity; T lane[LEVELS][LANES]; int64_t n[LEVELS]; } F(lanes);

static void F(lanes_clear)(F(lanes) *l, int level)
{
    l->n[level] = 0;
    for (int i = 0; i < LANES; i++) l->lane[level][i] = l->identity;
}

static void F(lanes_start)(F(lanes) *l, reduce_kind kind, T identity)
{
    l->kind = kind;
    l->identity = identity;
    for (int i = 0; i < LEVELS; i++) F(lanes_clear)(l, i);
}

static T F(lanes_tree)(F(lanes) *l, int level)
{
    T *x = l->lane[level];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] = F(op)(l->kind, x[i], x[i + half]);
    return x[0];
}

/* A full block is closed and goes to the next level once there is an element after it. */
static void F(lanes_put)(F(lanes) *l, int level, T x)
{
    if (l->n[level] == BLOCK) {
        T s = F(lanes_tree)(l, level);
        F(lanes_clear)(l, level);
        F(lanes_put)(l, level + 1, s);
    }
    T *to = &l->lane[level][l->n[level]++ % LANES];
    *to = F(op)(l->kind, *to, x);
}

static void F(lanes_room)(F(lanes) *l)
{
    if (l->n[0] < BLOCK) return;
    T s = F(lanes_tree)(l, 0);
    F(lanes_clear)(l, 0);
    F(lanes_put)(l, 1, s);
}

static inline void F(lanes_muladd)(F(lanes) *l, T a, T b, fma_mode mode)
{
    F(lanes_room)(l);
    T *to = &l->lane[0][l->n[0]++ % LANES];
    *to = MULADD(a, b, *to, mode);
}

static inline void F(lanes_skip)(F(lanes) *l)
{
    F(lanes_room)(l);
    l->n[0]++;
}

static T F(lanes_finish)(F(lanes) *l)
{
    int k = 0;
    for (; k + 1 < LEVELS && l->n[k + 1] > 0; k++) F(lanes_put)(l, k + 1, F(lanes_tree)(l, k));
    return F(lanes_tree)(l, k);
}

/* -- Reductions ------------------------------------------------------------------------------------------ */

static void F(reduce_lanes)(const reduce_nest *s, reduce_kind kind, const T *x, T *y, T identity)
{
    int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 };
    do {
        F(lanes) l;
        F(lanes_start)(&l, kind, identity);
        int64_t e[MAX_RANK] = { 0 }, in[1] = { off[0] };
        if (s->n_elem)
            do F(lanes_put)(&l, 0, x[in[0]]);
            while (step_position(s->n_red, s->red, e, 1, in, s->red_stride));
        *y++ = F(lanes_finish)(&l);
    } while (step_position(s->n_kept, s->kept, at, 1, off, s->kept_stride));
}

/* The innermost axis is kept: a row of chains at a time. */
static void F(reduce_chains)(const reduce_nest *s, reduce_kind kind, const T *x, T *y, T identity)
{
    int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 }, row = s->kept[s->n_kept - 1];
    do {
        for (int64_t i = 0; i < row; i++) y[i] = identity;
        int64_t e[MAX_RANK] = { 0 }, in[1] = { off[0] };
        if (s->n_elem)
            do {
                const T *p = x + in[0];
                for (int64_t i = 0; i < row; i++) y[i] = F(op)(kind, y[i], p[i]);
            } while (step_position(s->n_red, s->red, e, 1, in, s->red_stride));
        y += row;
    } while (step_position(s->n_kept - 1, s->kept, at, 1, off, s->kept_stride));
}

/* A NaN is an extremum; the first such, or the last. */
static int64_t F(arg)(const T *x, int64_t n, int64_t stride, bool is_max, bool last)
{
    int64_t best = last ? n - 1 : 0;
    for (int64_t k = 1; k < n; k++) {
        int64_t i = last ? n - 1 - k : k;
        T a = x[best * stride], b = x[i * stride];
        if (IS_NAN(a)) break;
        if (IS_NAN(b) || (is_max ? b > a : b < a)) best = i;
    }
    return best;
}

static void F(reduce_arg)(const reduce_nest *s, const reduce_attr *r, const T *x, int64_t *y)
{
    int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 };
    do *y++ = F(arg)(x + off[0], s->red[0], s->red_stride[0][0], r->kind == REDUCE_argmax, r->last);
    while (step_position(s->n_kept, s->kept, at, 1, off, s->kept_stride));
}

/* -- Windows --------------------------------------------------------------------------------------------- */

static void F(window)(const window_nest *s, const T *x, T *y, int64_t *arg, T identity)
{
    int64_t at[MAX_RANK] = { 0 }, off[1] = { 0 };
    reduce_kind kind = s->kind;
    do {
        T acc = identity;
        int64_t k[MAX_RANK] = { 0 }, tap = 0, best = -1;
        do {
            int64_t in = off[0];
            if (!window_offset(s, at, k, &in)) continue;
            if (!arg) acc = F(op)(kind, acc, x[in]);
            else if (best < 0 || (!IS_NAN(acc) && (x[in] > acc || IS_NAN(x[in])))) {
                best = tap;
                acc = x[in];
            }
        } while (tap++, step_position(s->n, s->taps, k, 0, NULL, NULL));
        if (arg) *arg++ = best;
        else *y++ = acc;
    } while (step_position(s->rank, s->out, at, 1, off, s->copied_stride));
}

/* -- Contracts ------------------------------------------------------------------------------------------- */

#ifndef HAS_ROW
static void F(muladd_row)(T *acc, const T *a, int64_t sa, const T *b, int64_t sb, int64_t n, fma_mode mode)
{
    if (sa == 0 && sb == 1) for (int64_t i = 0; i < n; i++) acc[i] = MULADD(a[0], b[i], acc[i], mode);
    else if (sa == 1 && sb == 0) for (int64_t i = 0; i < n; i++) acc[i] = MULADD(a[i], b[0], acc[i], mode);
    else for (int64_t i = 0; i < n; i++) acc[i] = MULADD(a[i * sa], b[i * sb], acc[i], mode);
}
#endif

/* One combination of the summed labels onto a row of outputs along label v. */
static void F(contract_step)(const contract_nest *s, const int64_t *pos, const T *a, const T *b, T *acc)
{
    static const T zero = 0;
    int64_t oa, ob, lo, hi, n = s->row;
    if (is_beyond_limit(s, pos)) return;
    bool inside = contract_offsets(s, pos, &oa, &ob);
    if (!inside && !s->zero_taps) return;
    if (!inside) {
        ROW(acc, &zero, 0, b + ob, s->vb, n, s->mode);
        return;
    }
    if (s->vw < 0) {
        ROW(acc, a + oa, s->va, b + ob, s->vb, n, s->mode);
        return;
    }
    const window_use *w = &s->windows[s->vw];
    int64_t k = pos[w->b];
    if (w->r.idil != 1) {
        for (int64_t v = 0, i; v < n; v++)
            if (relation_at(w->r, v, k, w->extent, &i))
                acc[v] = MULADD(a[oa + i * w->stride], b[ob + v * s->vb], acc[v], s->mode);
        return;
    }
    row_range(w, k, n, &lo, &hi);
    if (s->zero_taps) ROW(acc, &zero, 0, b + ob, s->vb, lo, s->mode);
    int64_t first = w->r.stride * lo + w->r.dil * k - w->r.pad, step = w->r.stride * w->stride;
    if (lo < hi)
        ROW(acc + lo, a + oa + first * w->stride, step, b + ob + lo * s->vb, s->vb, hi - lo, s->mode);
    if (s->zero_taps) ROW(acc + hi, &zero, 0, b + ob + hi * s->vb, s->vb, n - hi, s->mode);
}

static void F(contract_row)(const contract_nest *s, int64_t *pos, const T *a, const T *b, T *acc)
{
    if (s->n_terms == 0) return;
    for (int i = 0; i < s->n_sum; i++) pos[s->sum[i]] = 0;
    do F(contract_step)(s, pos, a, b, acc);
    while (next_sum(s, pos));
}

/* The row rule, for one output. */
static T F(contract_lanes)(const contract_nest *s, int64_t *pos, const T *a, const T *b, T init)
{
    F(lanes) l;
    F(lanes_start)(&l, REDUCE_sum, 0);
    l.lane[0][0] = init;
    for (int i = 0; i < s->n_sum; i++) pos[s->sum[i]] = 0;
    if (s->n_terms)
        do {
            int64_t oa, ob;
            if (is_beyond_limit(s, pos)) F(lanes_skip)(&l);
            else if (contract_offsets(s, pos, &oa, &ob)) F(lanes_muladd)(&l, a[oa], b[ob], s->mode);
            else if (s->zero_taps) F(lanes_muladd)(&l, 0, b[ob], s->mode);
            else F(lanes_skip)(&l);
        } while (next_sum(s, pos));
    return F(lanes_finish)(&l);
}

static void F(contract)(job *j, contract_nest *s, const T *a, const T *b, const T *init)
{
    int64_t pos[MAX_LABELS] = { 0 }, at[MAX_RANK] = { 0 }, off[2] = { 0, 0 };
    tensor *y = &j->out[0];
    int width = dtype_bytes(y->dtype);
    T *acc = scratch_take(j->r, s->row, sizeof(T));
    char *rounded = scratch_take(j->r, s->row, 8);
    do {
        set_outer(s, pos, at);
        for (int64_t v = 0; v < s->row; v++) acc[v] = init ? init[off[1] + v * s->vi] : 0;
        if (s->lanes) acc[0] = F(contract_lanes)(s, pos, a, b, acc[0]);
        else F(contract_row)(s, pos, a, b, acc);
        cast_block(j->r, s->acc, y->dtype, s->row, acc, rounded);
        char *to = (char *)y->bytes + off[0] * width;
        for (int64_t v = 0; v < s->row; v++)
            memcpy(to + v * s->vo * width, rounded + v * width, (size_t)width);
    } while (step_position(s->n_outer, s->outer, at, 2, off, s->outer_stride));
    scratch_give(j->r, rounded);
    scratch_give(j->r, acc);
}
