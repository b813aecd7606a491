/* frontend/onnx/ops_linear.c: linear algebra: MatMul, Gemm, Einsum, Det. All are contracts, but for Det,
 * which is a scan of elimination steps.
 */
#include "frontend/onnx/op_tensor.h"

/* MatMul (1, 9, 13): as NumPy */
ONNX_OP(MatMul)
{
    if (!op_rank(c, in(0), 1, MAX_RANK, "A") || !op_rank(c, in(1), 1, MAX_RANK, "B")) return;
    out(0, matmul(g, in(0), in(1), DTYPE_NONE, DTYPE_NONE));
}

static value scaled(graph *g, value x, double by)
{
    return by == 1 ? x : bin_k(g, SCALAR_mul, x, by);
}

/* Gemm (1, 6, 7, 9, 11, 13): alpha * op(A) op(B) + beta * C */
ONNX_OP(Gemm)
{
    value a = in(0), b = in(1);
    if (!op_rank(c, a, 2, 2, "A") || !op_rank(c, b, 2, 2, "B")) return;
    contract_spec s = { .la = attr_int("transA", 0) ? "km" : "mk", .lb = attr_int("transB", 0) ? "nk" : "kn",
                        .lo = "mn", .acc = DTYPE_NONE, .out = DTYPE_NONE };
    value y = scaled(g, contract(g, a, b, NO_VALUE, &s), attr_float("alpha", 1));
    if (has_in(2)) y = add(g, y, scaled(g, in(2), attr_float("beta", 1)));
    out(0, y);
}

/* -- Einsum -------------------------------------------------------------------------------------------------
 * Labels are letters; dims of the ellipsis get letters that the equation does not use. Operands are joined
 * from the left, each pair by one contract; a label that nobody later needs is summed before. A dim of 1 that
 * another operand stretches is dropped, so that nothing is broadcast before a contract. */

typedef struct { value x; int n; char l[MAX_RANK + 1]; } term;
typedef struct {
    op_call *c;
    char ellipsis[MAX_RANK + 1]; int n_ellipsis;
    bool in_equation[128];
    dim size[128]; bool has_size[128];
} einsum;

static bool has_label(const char *l, char q) { return strchr(l, q) != NULL; }
static bool is_label(char q) { return (q >= 'a' && q <= 'z') || (q >= 'A' && q <= 'Z'); }

/* One term of the equation, "ab...c", for an operand with `n_dots` dims in the ellipsis. */
static bool term_labels(einsum *e, const char *s, size_t len, int n_dots, term *t)
{
    bool dots = false;
    for (size_t i = 0; i < len; i++) {
        if (is_label(s[i])) {
            if (t->n >= MAX_RANK) return false;
            t->l[t->n++] = s[i];
        } else if (!dots && i + 2 < len && s[i] == '.' && s[i + 1] == '.' && s[i + 2] == '.') {
            if (n_dots < 0 || t->n + n_dots > MAX_RANK) return false;
            for (int k = 0; k < n_dots; k++) t->l[t->n++] = e->ellipsis[e->n_ellipsis - n_dots + k];
            dots = true;
            i += 2;
        } else {
            return false;
        }
    }
    t->l[t->n] = 0;
    return true;
}

static int count_letters(const char *s, size_t len)
{
    int n = 0;
    for (size_t i = 0; i < len; i++) n += is_label(s[i]);
    return n;
}

static bool has_dots(const char *s, size_t len)
{
    return memchr(s, '.', len) != NULL;
}

static void remove_label(term *t, int at)
{
    memmove(t->l + at, t->l + at + 1, (size_t)(t->n - at));
    t->n--;
}

/* A label twice in one operand: its diagonal, as the last dim. */
static void take_diagonals(graph *g, term *t)
{
    for (int i = 0; i < t->n; i++) {
        char *again = strchr(t->l + i + 1, t->l[i]);
        if (!again) continue;
        int j = (int)(again - t->l);
        char q = t->l[i];
        value x = t->x;
        dim d = dim_of(g, x, i);
        int64_t n;
        if (is_value(x) && !dim_same(d, dim_of(g, x, j))) {
            t->x = build_fail(g, "label %c stands for two sizes in one operand", q);
            return;
        }
        /* a view: step n+1 over both dims as one */
        if (dim_is_const(d, &n) && n > 0 && n < ((int64_t)1 << 30)) {
            x = move_axis(g, move_axis(g, x, j, t->n - 1), i, t->n - 2);
            if (!is_value(x)) { t->x = x; return; }
            dim s[MAX_RANK];
            for (int k = 0; k < t->n - 2; k++) s[k] = dim_of(g, x, k);
            s[t->n - 2] = dim_mul(g->dims, d, d);
            x = slice_axis(g, reshape(g, x, t->n - 1, s), t->n - 2, dim_const(0), d, n + 1);
        } else {
            value k = range_of(g, DTYPE_i64, d, 1, 0);
            x = gather(g, x, 2, (value[]){ k, k }, (int[]){ i, j }, 0, NULL, NULL);
            x = move_axis(g, x, 0, t->n - 2);
        }
        t->x = x;
        remove_label(t, j);
        remove_label(t, i);
        t->l[t->n++] = q;
        t->l[t->n] = 0;
        i = -1;
    }
}

static void note_sizes(einsum *e, const term *t)
{
    graph *g = e->c->g;
    for (int i = 0; i < t->n; i++) {
        int q = t->l[i];
        dim d = dim_of(g, t->x, i);
        if (!e->has_size[q] || dim_is(e->size[q], 1)) e->size[q] = d;
        e->has_size[q] = true;
    }
}

static void drop_stretched(einsum *e, term *t)
{
    graph *g = e->c->g;
    dim keep[MAX_RANK];
    term r = { 0 };
    for (int i = 0; i < t->n; i++) {
        dim d = dim_of(g, t->x, i);
        if (dim_is(d, 1) && !dim_is(e->size[(int)t->l[i]], 1)) continue;
        keep[r.n] = d;
        r.l[r.n++] = t->l[i];
    }
    r.x = reshape(g, t->x, r.n, keep);
    *t = r;
}

/* Sums the labels of t that stand in neither of the two sets. */
static void sum_alone(graph *g, term *t, const char *need1, const char *need2)
{
    uint32_t axes = 0;
    term r = { 0 };
    for (int i = 0; i < t->n; i++) {
        if (has_label(need1, t->l[i]) || has_label(need2, t->l[i])) r.l[r.n++] = t->l[i];
        else axes |= axis_bit(i);
    }
    r.x = axes ? reduce(g, REDUCE_sum, t->x, axes, false) : t->x;
    *t = r;
}

static term join(graph *g, term a, term b, const char *later)
{
    term o = { 0 };
    for (int i = 0; i < a.n; i++)
        if (has_label(later, a.l[i])) o.l[o.n++] = a.l[i];
    for (int i = 0; i < b.n; i++)
        if (has_label(later, b.l[i]) && !has_label(a.l, b.l[i]) && o.n < MAX_RANK) o.l[o.n++] = b.l[i];
    contract_spec s = { .la = a.l, .lb = b.l, .lo = o.l, .acc = DTYPE_NONE, .out = DTYPE_NONE };
    o.x = contract(g, a.x, b.x, NO_VALUE, &s);
    return o;
}

/* Labels of terms from `first` on, and those of the result. */
static void labels_needed(const term *t, int first, int n, const term *result, char *set)
{
    bool seen[128] = { 0 };
    int k = 0;
    for (int i = first; i <= n; i++) {
        const term *r = i < n ? &t[i] : result;
        for (int j = 0; j < r->n; j++) {
            if (!seen[(int)r->l[j]]) set[k++] = r->l[j];
            seen[(int)r->l[j]] = true;
        }
    }
    set[k] = 0;
}

/* Into the order of the result, with dims that were dropped everywhere stretched. */
static value arrange(einsum *e, const term *t, const term *result)
{
    graph *g = e->c->g;
    int perm[MAX_RANK], n = 0;
    dim ones[MAX_RANK], sizes[MAX_RANK];
    for (int i = 0; i < result->n; i++) {
        const char *at = strchr(t->l, result->l[i]);
        sizes[i] = e->size[(int)result->l[i]];
        ones[i] = at ? sizes[i] : dim_const(1);
        if (at) perm[n++] = (int)(at - t->l);
    }
    return broadcast(g, reshape(g, transpose(g, t->x, perm), result->n, ones), result->n, sizes);
}

/* Without "->": the ellipsis, then the labels that occur once, in alphabetical order. */
static void implicit_result(const einsum *e, const char *eq, term *result)
{
    int count[128] = { 0 };
    for (const char *p = eq; *p; p++)
        if (is_label(*p)) count[(int)*p]++;
    for (int i = 0; i < e->n_ellipsis; i++) result->l[result->n++] = e->ellipsis[i];
    for (int q = 'A'; q <= 'z'; q++)
        if (count[q] == 1 && result->n < MAX_RANK) result->l[result->n++] = (char)q;
    result->l[result->n] = 0;
}

static char *without_spaces(arena *a, const char *s)
{
    char *r = arena_strdup(a, s);
    char *w = r;
    for (; *s; s++)
        if (*s != ' ') *w++ = *s;
    *w = 0;
    return r;
}

/* Sizes the ellipsis and chooses its letters. False: a term does not fit its operand. */
static bool size_ellipsis(einsum *e, const char *eq, const char *end)
{
    op_call *c = e->c;
    const char *s = eq;
    int n = 0;
    for (int i = 0; i < c->n_in; i++) {
        const char *stop = s;
        while (stop < end && *stop != ',') stop++;
        if ((stop < end) != (i + 1 < c->n_in)) return false;
        int extra = rank_of(c->g, in(i)) - count_letters(s, (size_t)(stop - s));
        if (extra < 0 || (extra > 0 && !has_dots(s, (size_t)(stop - s)))) return false;
        if (extra > n) n = extra;
        s = stop + 1;
    }
    for (const char *p = eq; *p; p++)
        if (is_label(*p)) e->in_equation[(int)*p] = true;
    for (int q = 'A'; q <= 'z' && e->n_ellipsis < n; q++)
        if (is_label((char)q) && !e->in_equation[q]) e->ellipsis[e->n_ellipsis++] = (char)q;
    return e->n_ellipsis == n;
}

/* Einsum (12, 28) */
ONNX_OP(Einsum)
{
    const char *eq = without_spaces(op_arena(c), attr_str("equation", ""));
    const char *arrow = strstr(eq, "->");
    const char *end = arrow ? arrow : eq + strlen(eq);
    einsum e = { .c = c };
    if (c->n_in < 1) { op_fail(c, "at least one operand expected"); return; }
    for (int i = 0; i < c->n_in; i++)
        if (!op_rank(c, in(i), 0, MAX_RANK, "operand")) return;
    if (!size_ellipsis(&e, eq, end)) { op_fail(c, "equation \"%s\" does not fit the operands", eq); return; }

    term *t = NEW_ARRAY(op_arena(c), term, c->n_in);
    const char *s = eq;
    for (int i = 0; i < c->n_in; i++) {
        const char *stop = s;
        while (stop < end && *stop != ',') stop++;
        size_t len = (size_t)(stop - s);
        t[i].x = in(i);
        if (!term_labels(&e, s, len, rank_of(g, t[i].x) - count_letters(s, len), &t[i])) {
            op_fail(c, "equation \"%s\" does not parse", eq);
            return;
        }
        take_diagonals(g, &t[i]);
        if (g->failed) return;
        note_sizes(&e, &t[i]);
        s = stop + 1;
    }
    term result = { 0 };
    if (!arrow) {
        implicit_result(&e, eq, &result);
    } else if (!term_labels(&e, arrow + 2, strlen(arrow + 2), e.n_ellipsis, &result)) {
        op_fail(c, "right side of equation \"%s\" does not parse", eq);
        return;
    }
    for (int i = 0; i < result.n; i++)
        if (!e.has_size[(int)result.l[i]] || strchr(result.l + i + 1, result.l[i])) {
            op_fail(c, "label %c of the result must occur once there, and in an operand", result.l[i]);
            return;
        }
    for (int i = 0; i < c->n_in; i++) drop_stretched(&e, &t[i]);

    term x = t[0];
    char later[64];
    for (int i = 1; i < c->n_in && !g->failed; i++) {
        labels_needed(t, i + 1, c->n_in, &result, later);
        sum_alone(g, &x, later, t[i].l);
        sum_alone(g, &t[i], later, x.l);
        x = join(g, x, t[i], later);
    }
    sum_alone(g, &x, result.l, "");
    if (!g->failed) out(0, arrange(&e, &x, &result));
}

/* -- Det ------------------------------------------------------------------------------------------------- */

/* One elimination step on a[B…, n, n] at column k[1]: the row with the largest pivot is swapped up, its
 * multiples are subtracted below, the determinant takes the pivot and the sign of the swap. */
static void eliminate(graph *g, value a, value det, value k, int nb, value *a2, value *det2)
{
    type t = type_of(g, a);
    dim n = t.dims[nb];
    int row_axis = nb, col_axis = nb + 1;
    dim one[MAX_RANK], full_rows[MAX_RANK];
    for (int i = 0; i < nb + 2; i++) one[i] = dim_const(1);
    for (int i = 0; i < nb; i++) full_rows[i] = t.dims[i];
    full_rows[nb] = n;

    value kr = reshape(g, k, nb + 1, one);                                          /* [1…, 1] */
    value rows = range_of(g, DTYPE_i64, n, nb + 1, nb);                             /* [1…, n] */
    value col = take(g, a, k, col_axis);                                            /* [B, n, 1] */
    value size = un(g, SCALAR_abs, squeeze(g, col, axis_bit(col_axis)));
    value candidate = select3(g, greater_equal(g, rows, kr), size, splat_like(g, size, -1));
    /* [B, 1] */
    value p = unsqueeze(g, reduce(g, REDUCE_argmax, candidate, axis_bit(nb), false), axis_bit(nb));
    value source = select3(g, bin(g, SCALAR_eq, rows, kr), p,
                           select3(g, bin(g, SCALAR_eq, rows, p), kr, rows));
    int batch[MAX_RANK];
    for (int i = 0; i < nb; i++) batch[i] = i;
    source = broadcast(g, source, nb + 1, full_rows);
    value swapped = gather(g, a, 1, &source, &row_axis, nb, batch, batch);
    value prow = take(g, swapped, k, row_axis);                                     /* [B, 1, n] */
    value pivot = take(g, prow, k, col_axis);                                       /* [B, 1, 1] */
    value safe = select3(g, bin_k(g, SCALAR_eq, pivot, 0), splat_like(g, pivot, 1), pivot);
    value factor = divide(g, take(g, swapped, k, col_axis), safe);                  /* [B, n, 1] */
    value below = greater(g, range_of(g, DTYPE_i64, n, nb + 2, nb), reshape(g, k, nb + 2, one));
    factor = select3(g, below, factor, splat_like(g, factor, 0));
    *a2 = sub(g, swapped, mul(g, factor, prow));
    value stays = reshape(g, bin(g, SCALAR_eq, p, kr), nb, t.dims);
    value sign = select3(g, stays, splat_like(g, det, 1), splat_like(g, det, -1));
    *det2 = mul(g, mul(g, det, reshape(g, pivot, nb, t.dims)), sign);
}

/* Det (11, 22): elimination with partial pivoting, one scan step a column */
ONNX_OP(Det)
{
    value x = in(0);
    if (!op_rank(c, x, 2, MAX_RANK - 2, "X")) return;
    type t = type_of(g, x);
    int nb = t.rank - 2;
    dim n = t.dims[nb];
    if (!dim_same(n, t.dims[nb + 1])) {
        if (dim_is_const(n, NULL) && dim_is_const(t.dims[nb + 1], NULL))
            op_fail(c, "X holds matrices that are not square");
        else op_unsupported(c, "matrices of two open sizes (fix them with --dim)");
        return;
    }
    value one = full(g, t.dtype, 1, nb, t.dims);
    if (dim_is(n, 0)) { out(0, one); return; }
    body_maker b = body_begin(g, "det");
    value a = body_carry(&b, x, "a"), det = body_carry(&b, one, "det");
    value k = body_slice(&b, range_of(g, DTYPE_i64, n, 1, 0), "k"), a2, det2;
    if (b.g->failed) return;
    eliminate(b.g, a, det, reshape(b.g, k, 1, (dim[]){ dim_const(1) }), nb, &a2, &det2);
    body_result(&b, a2);
    body_result(&b, det2);
    value r[2];
    if (body_scan(&b, n, false, r)) out(0, r[1]);
}
