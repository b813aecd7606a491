/* ir/build_contract.c: the builder's contract.
 *
 * Labels are numbered by first appearance in the result, then a, then b. Each label is one of
 *     batch (a, b, result)    free (a or b, and result)    contracted (a, b)    of a window (a, b, result)
 * and everything else is an error that names the label.
 */
#include "ir/build_inner.h"
#include <stdlib.h>

enum { RELATION_LIMIT = 1 << 30 };

bool check_relation(graph *g, const char *what, relation *r)
{
    if (r->idil < 0) *r = (relation){ -r->idil, -r->stride, -r->dil, -r->pad };
    bool ok = r->idil >= 1 && r->stride != 0 && r->dil != 0;
    ok = ok && r->idil < RELATION_LIMIT && llabs(r->stride) < RELATION_LIMIT &&
         llabs(r->dil) < RELATION_LIMIT;
    ok = ok && r->pad > -DIM_LIMIT / 2 && r->pad < DIM_LIMIT / 2;
    if (!ok)
        build_fail(
            g, "%s: relation %lld*i = %lld*o + %lld*k - %lld, expected factors other than 0 and below 2^30",
            what, (long long)r->idil, (long long)r->stride, (long long)r->dil, (long long)r->pad);
    return ok;
}

/* -- Checking -------------------------------------------------------------------------------------------- */

enum { IN_A = 1, IN_B = 2, IN_O = 4, IN_WINDOW = 8, IN_SUM = 16 };

typedef struct {
    graph *g;
    contract_attr c;
    type a, b;
    int rank_o;
    uint8_t where[MAX_LABELS];
    bool has_extent[MAX_LABELS];
} checker;

static bool mark(checker *k, const uint8_t *labels, int n, uint8_t bit, const char *operand)
{
    for (int i = 0; i < n; i++) {
        if (labels[i] >= k->c.n_labels) {
            build_fail(k->g, "contract: a label of %s is out of range", operand);
            return false;
        }
        if (k->where[labels[i]] & bit) {
            build_fail(k->g, "contract: label %s stands twice in %s", k->c.label_name[labels[i]], operand);
            return false;
        }
        k->where[labels[i]] |= bit;
    }
    return true;
}

static bool check_windows(checker *k)
{
    for (int i = 0; i < k->c.n_windows; i++) {
        contract_window *w = &k->c.windows[i];
        uint8_t labels[3] = { w->a, w->b, w->o }, where[3] = { IN_A, IN_B, IN_O };
        for (int j = 0; j < 3; j++) {
            if (labels[j] < k->c.n_labels && k->where[labels[j]] == where[j]) {
                k->where[labels[j]] |= IN_WINDOW;
                continue;
            }
            build_fail(
                k->g,
                "contract: window %d: its labels stand once each in a, b and the result, in that order, and "
                "in no other window",
                i);
            return false;
        }
        if (!check_relation(k->g, "contract", &w->r)) return false;
    }
    return true;
}

static bool set_extent(checker *k, uint8_t label, dim d)
{
    if (!k->has_extent[label]) {
        k->c.extent[label] = d;
        k->has_extent[label] = true;
        return true;
    }
    if (dims_agree(k->g, k->c.extent[label], d)) return true;
    build_fail_dims(k->g, (dim[]){ k->c.extent[label], d }, 2, "contract: label %s is %s and %s in %s and %s",
                    k->c.label_name[label], show_dim(k->g, k->c.extent[label]), show_dim(k->g, d),
                    show_type(k->g, k->a), show_type(k->g, k->b));
    return false;
}

/* Extents from the operands; those of the windows' o are given. */
static bool check_extents(checker *k)
{
    for (int i = 0; i < k->c.n_windows; i++) k->has_extent[k->c.windows[i].o] = true;
    for (int i = 0; i < k->a.rank; i++)
        if (!set_extent(k, k->c.la[i], k->a.dims[i])) return false;
    for (int i = 0; i < k->b.rank; i++)
        if (!set_extent(k, k->c.lb[i], k->b.dims[i])) return false;
    for (int l = 0; l < k->c.n_labels; l++) {
        uint8_t w = k->where[l];
        if (w & IN_WINDOW || (w & (w - 1))) continue;
        build_fail(k->g, "contract: label %s occurs once; reduce or broadcast it apart", k->c.label_name[l]);
        return false;
    }
    return true;
}

static bool is_summed(const checker *k, int l)
{
    return !(k->where[l] & IN_O) && ((k->where[l] & (IN_A | IN_B)) == (IN_A | IN_B) ||
                                     ((k->where[l] & IN_WINDOW) && (k->where[l] & IN_B)));
}

static bool check_sum(checker *k)
{
    int n = 0;
    for (int i = 0; i < k->c.n_sum; i++) {
        uint8_t l = k->c.sum[i];
        if (l >= k->c.n_labels || !is_summed(k, l) || k->where[l] & IN_SUM) {
            build_fail(k->g, "contract: the summed labels do not fit: %s is listed twice or not summed",
                       l < k->c.n_labels ? k->c.label_name[l] : "one");
            return false;
        }
        k->where[l] |= IN_SUM;
    }
    for (int l = 0; l < k->c.n_labels; l++) n += is_summed(k, l);
    if (n == k->c.n_sum) return true;
    build_fail(k->g, "contract: %d labels are summed, %d are listed", n, k->c.n_sum);
    return false;
}

static bool check_limits(checker *k)
{
    for (int i = 0; i < k->c.n_limits; i++) {
        const contract_limit *l = &k->c.limits[i];
        bool x_ok = l->x == NO_LABEL || (l->x < k->c.n_labels && k->where[l->x] & IN_SUM);
        if (x_ok && l->y < k->c.n_labels && k->where[l->y] & IN_SUM && !dim_is_bad(l->bound)) continue;
        build_fail(k->g, "contract: limit %d: its labels are not summed", i);
        return false;
    }
    return true;
}

static bool check_init(checker *k, value init, const dim *d)
{
    if (!is_value(init)) return true;
    type t = type_of(k->g, init);
    bool fits = t.dtype == k->c.acc && t.rank == k->rank_o;
    for (int i = 0; fits && i < t.rank; i++) fits = dim_is(t.dims[i], 1) || dims_agree(k->g, t.dims[i], d[i]);
    if (!fits)
        build_fail(k->g, "contract: init is %s, expected %s of shape %s or extents 1", show_type(k->g, t),
                   dtype_info[k->c.acc].name, show_shape(k->g, k->rank_o, d));
    return fits;
}

static bool check_dtypes(checker *k, dtype acc, dtype *out)
{
    dtype a = k->a.dtype, b = k->b.dtype;
    bool acc_is_int = acc != DTYPE_NONE && is_int(acc);
    bool same = a == b && (is_float(a) || is_int(a));
    if (!same && !(is_int(a) && is_int(b) && acc_is_int)) {
        build_fail(k->g,
                   "contract: operands %s and %s; expected one number type, or ints with an int accumulator",
                   show_type(k->g, k->a), show_type(k->g, k->b));
        return false;
    }
    k->c.acc = acc == DTYPE_NONE ? compute_dtype(a) : acc;
    if (*out == DTYPE_NONE) *out = acc_is_int ? acc : a;
    bool fits = is_float(a) ? k->c.acc == DTYPE_f32 || k->c.acc == DTYPE_f64 : is_int(k->c.acc);
    if (!fits || is_storage(*out)) {
        build_fail(k->g, "contract: %s operands do not accumulate in %s and give %s", dtype_info[a].name,
                   dtype_info[k->c.acc].name, dtype_info[*out].name);
        return false;
    }
    return true;
}

/* -- Building -------------------------------------------------------------------------------------------- */

static const char *label_text(graph *g, char c)
{
    unsigned u = (unsigned char)c & 127;
    if (!g->shared->label[u]) g->shared->label[u] = arena_strndup(g->shared->arena, &c, 1);
    return g->shared->label[u];
}

static bool is_in(const uint8_t *labels, int n, uint8_t l)
{
    for (int i = 0; i < n; i++)
        if (labels[i] == l) return true;
    return false;
}

/* Of two labels of one name (a rewrite may bring them together), one loses it: the result's keeps it, else
 * the first. */
static void part_names(contract_attr *c, int rank_o)
{
    for (int l = 0; l < c->n_labels; l++)
        for (int m = 0; m < l; m++) {
            if (!c->label_name[l] || !c->label_name[m] || strcmp(c->label_name[l], c->label_name[m]) != 0)
                continue;
            bool keeps_l = is_in(c->lo, rank_o, (uint8_t)l) && !is_in(c->lo, rank_o, (uint8_t)m);
            c->label_name[keeps_l ? m : l] = NULL;
        }
}

/* Names for labels that have none: letters not in use. */
static void name_labels(graph *g, contract_attr *c)
{
    char next = 'a';
    for (int l = 0; l < c->n_labels; l++) {
        while (!c->label_name[l]) {
            const char *name = label_text(g, next++);
            bool used = false;
            for (int m = 0; m < c->n_labels; m++)
                used = used || (c->label_name[m] && strcmp(c->label_name[m], name) == 0);
            if (!used) c->label_name[l] = name;
        }
    }
}

/* Renumbers by first appearance in the result, a, b, so that equal contracts have equal attributes. */
static void renumber(checker *k)
{
    contract_attr from = k->c, *to = &k->c;
    uint8_t number[MAX_LABELS];
    memset(number, NO_LABEL, sizeof number);
    int n = 0;
    for (int i = 0; i < k->rank_o; i++) if (number[from.lo[i]] == NO_LABEL) number[from.lo[i]] = (uint8_t)n++;
    for (int i = 0; i < k->a.rank; i++) if (number[from.la[i]] == NO_LABEL) number[from.la[i]] = (uint8_t)n++;
    for (int i = 0; i < k->b.rank; i++) if (number[from.lb[i]] == NO_LABEL) number[from.lb[i]] = (uint8_t)n++;
    memset(to, 0, sizeof *to);
    to->n_labels = n;
    to->acc = from.acc;
    for (int l = 0; l < from.n_labels; l++) {
        to->label_name[number[l]] = from.label_name[l];
        to->extent[number[l]] = from.extent[l];
    }
    for (int i = 0; i < k->rank_o; i++) to->lo[i] = number[from.lo[i]];
    for (int i = 0; i < k->a.rank; i++) to->la[i] = number[from.la[i]];
    for (int i = 0; i < k->b.rank; i++) to->lb[i] = number[from.lb[i]];
    to->n_sum = from.n_sum;
    for (int i = 0; i < from.n_sum; i++) to->sum[i] = number[from.sum[i]];
    to->n_windows = from.n_windows;
    for (int i = 0; i < from.n_windows; i++) {
        contract_window *w = &to->windows[i];
        w->a = number[from.windows[i].a];
        w->b = number[from.windows[i].b];
        w->o = number[from.windows[i].o];
        w->r = from.windows[i].r;
    }
    to->n_limits = from.n_limits;
    for (int i = 0; i < from.n_limits; i++) {
        contract_limit *l = &to->limits[i];
        l->x = from.limits[i].x == NO_LABEL ? NO_LABEL : number[from.limits[i].x];
        l->scale = from.limits[i].scale;
        l->y = number[from.limits[i].y];
        l->bound = from.limits[i].bound;
    }
}

static value contract_checked(graph *g, value a, value b, value init, const contract_attr *c, int rank_o,
                              dtype acc, dtype out)
{
    checker k = { .g = g, .c = *c, .a = type_of(g, a), .b = type_of(g, b), .rank_o = rank_o };
    if (c->n_labels < 0 || c->n_labels > MAX_LABELS || c->n_windows < 0 || c->n_windows > MAX_RANK ||
        rank_o > MAX_RANK)
        return build_fail(g, "contract: more labels or windows than supported");
    part_names(&k.c, rank_o);
    name_labels(g, &k.c);
    if (!mark(&k, c->lo, rank_o, IN_O, "the result") || !mark(&k, c->la, k.a.rank, IN_A, "a") ||
        !mark(&k, c->lb, k.b.rank, IN_B, "b"))
        return NO_VALUE;
    if (!check_dtypes(&k, acc, &out) || !check_windows(&k) || !check_extents(&k) || !check_sum(&k) ||
        !check_limits(&k))
        return NO_VALUE;
    dim d[MAX_RANK];
    for (int i = 0; i < rank_o; i++) d[i] = k.c.extent[c->lo[i]];
    if (!check_shape(g, "contract", rank_o, d) || !check_init(&k, init, d)) return NO_VALUE;
    renumber(&k);
    value in[3] = { a, b, init };
    type t = { out, rank_o, d };
    return fold_by_evaluator(g, make_node(g, PRIM_contract, is_value(init) ? 3 : 2, in, &k.c, t));
}

/* The rank of the result: the labels that are neither summed nor a window's position in a. */
static int result_rank(const contract_attr *c)
{
    bool summed[MAX_LABELS] = { false }, window_a[MAX_LABELS] = { false };
    for (int i = 0; i < c->n_sum; i++) if (c->sum[i] < MAX_LABELS) summed[c->sum[i]] = true;
    for (int i = 0; i < c->n_windows && i < MAX_RANK; i++)
        if (c->windows[i].a < MAX_LABELS) window_a[c->windows[i].a] = true;
    int n = 0;
    for (int l = 0; l < c->n_labels && l < MAX_LABELS; l++) n += !summed[l] && !window_a[l];
    return n;
}

value contract_by(graph *g, value a, value b, value init, const contract_attr *c, dtype acc, dtype out)
{
    value in[2] = { a, b };
    if (!ready(g, 2, in)) return NO_VALUE;
    return contract_checked(g, a, b, init, c, result_rank(c), acc, out);
}

/* -- From strings ---------------------------------------------------------------------------------------- */

typedef struct { graph *g; contract_attr c; char letter[MAX_LABELS]; } label_reader;

static uint8_t label_of(label_reader *r, char letter)
{
    for (int l = 0; l < r->c.n_labels; l++)
        if (r->letter[l] == letter) return (uint8_t)l;
    if (r->c.n_labels == MAX_LABELS) {
        if (!r->g->failed) build_fail(r->g, "contract: more than %d labels", MAX_LABELS);
        return 0;
    }
    r->letter[r->c.n_labels] = letter;
    r->c.label_name[r->c.n_labels] = label_text(r->g, letter);
    return (uint8_t)r->c.n_labels++;
}

static void read_labels(label_reader *r, const char *s, uint8_t *to)
{
    for (int i = 0; s[i]; i++) to[i] = label_of(r, s[i]);
}

/* a's contracted labels in a's order, then the windows' b labels in b's order. */
static void default_order(label_reader *r, const contract_spec *s)
{
    contract_attr *c = &r->c;
    for (const char *l = s->la; *l; l++)
        if (strchr(s->lb, *l) && !strchr(s->lo, *l)) c->sum[c->n_sum++] = label_of(r, *l);
    for (const char *l = s->lb; *l; l++)
        for (int i = 0; i < s->n_windows; i++)
            if (s->windows[i].b == *l) c->sum[c->n_sum++] = label_of(r, *l);
}

value contract(graph *g, value a, value b, value init, const contract_spec *s)
{
    value in[2] = { a, b };
    if (!ready(g, 2, in)) return NO_VALUE;
    size_t na = strlen(s->la), nb = strlen(s->lb), no = strlen(s->lo);
    if (na != (size_t)rank_of(g, a) || nb != (size_t)rank_of(g, b) || no > MAX_RANK)
        return build_fail(g, "contract: labels %s, %s for operands %s and %s", s->la, s->lb,
                          show_type(g, type_of(g, a)), show_type(g, type_of(g, b)));
    label_reader r = { .g = g };
    read_labels(&r, s->lo, r.c.lo);
    read_labels(&r, s->la, r.c.la);
    read_labels(&r, s->lb, r.c.lb);
    if (s->order && strlen(s->order) > MAX_LABELS)
        return build_fail(g, "contract: more than %d labels", MAX_LABELS);
    if (s->order)
        for (const char *l = s->order; *l; l++) r.c.sum[r.c.n_sum++] = label_of(&r, *l);
    else default_order(&r, s);
    if (s->n_windows > MAX_RANK || s->n_limits > 4)
        return build_fail(g, "contract: more windows or limits than supported");
    for (int i = 0; i < s->n_windows; i++) {
        const window_spec *w = &s->windows[i];
        r.c.windows[r.c.n_windows++] = (contract_window){ label_of(&r, w->a), label_of(&r, w->b),
                                                          label_of(&r, w->o), w->r };
        r.c.extent[label_of(&r, w->o)] = w->size;
    }
    for (int i = 0; i < s->n_limits; i++) {
        const limit_spec *l = &s->limits[i];
        r.c.limits[r.c.n_limits++] = (contract_limit){ l->x ? label_of(&r, l->x) : NO_LABEL, l->scale,
                                                       label_of(&r, l->y), l->bound };
    }
    return g->failed ? NO_VALUE : contract_checked(g, a, b, init, &r.c, (int)no, s->acc, s->out);
}
