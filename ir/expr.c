/* ir/expr.c: making expressions of the loop program, folded and in canonical form.
 *
 * What   x_int, x_op, x_floordiv … of ir/loop.h, comparison, and rewriting.
 * Why    Index arithmetic is compared, ranged and addressed by everything after `lower`; one form for equal
 *        things makes that cheap, keeps printed programs readable, and makes print(parse(x)) == x.
 * How    An i64 expression is read as a linear form  constant + sum of coef * atom  (linear), combined, and
 *        written back (linear_expr). Coefficients and the constant are dims, so open strides take part; the
 *        ring is that of i64, which wraps, so this is exact for data as well as for indices. Where a dim
 *        would leave its limits the plain operation is kept: it is then an atom of its parents.
 *        floordiv and mod by k, with a = k*q + g*x + m:
 *            a floordiv k = q + (x + m floordiv g) floordiv (k/g),  a mod k = g*((x + m floordiv g) mod
 *            (k/g)) + m mod g
 *        where g divides k and all coefficients of the rest.
 * Keeps  every bit of floats: they are folded only when all operands are constants, and fma never.
 * Cost   linear in the operands' terms. Recursion is as deep as an expression nests.
 */
#include "ir/loop.h"
#include "ir/linear.h"
#include <assert.h>

/* -- Plain nodes ----------------------------------------------------------------------------------------- */

static const expr *node_new(kernel_code *k, expr e) { return arena_copy(k->arena, &e, sizeof e); }

static const expr *plain_op(kernel_code *k, expr_kind kind, scalar fn, dtype t, int n,
                            const expr *const *args)
{
    return node_new(k, (expr){ .kind = kind, .fn = fn, .type = t, .id = -1, .n_args = n,
                               .args = arena_copy(k->arena, args, (size_t)n * sizeof *args) });
}

static const expr *plain_op2(kernel_code *k, expr_kind kind, scalar fn, const expr *a, const expr *b)
{
    return plain_op(k, kind, fn, a->type, 2, (const expr *const[]){ a, b });
}

const expr *x_const(kernel_code *k, dtype t, scalar_value v)
{
    return node_new(k, (expr){ .kind = EXPR_const, .type = t, .id = -1, .value = v });
}

const expr *x_int(kernel_code *k, int64_t v) { return x_const(k, DTYPE_i64, (scalar_value){ (uint64_t)v }); }
const expr *x_f64(kernel_code *k, dtype t, double v) { return x_const(k, t, sv_from_f64(t, v)); }
static const expr *x_bool(kernel_code *k, bool b) { return x_const(k, DTYPE_bool, (scalar_value){ b }); }

const expr *x_dim(kernel_code *k, dim d)
{
    int64_t v;
    if (dim_is_const(d, &v)) return x_int(k, v);
    return node_new(k, (expr){ .kind = EXPR_dim, .type = DTYPE_i64, .id = -1, .dim = d });
}

const expr *x_var(kernel_code *k, int var)
{
    assert(var >= 0 && var < k->vars.n);
    return node_new(k, (expr){ .kind = EXPR_var, .type = DTYPE_i64, .id = var });
}

const expr *x_temp(kernel_code *k, int id)
{
    assert(id >= 0 && id < k->temps.n);
    return node_new(k, (expr){ .kind = EXPR_temp, .type = k->temps.at[id].type, .id = id });
}

const expr *x_load(kernel_code *k, int buf, const expr *const *index)
{
    assert(buf >= 0 && buf < k->bufs.n);
    const buffer *b = &k->bufs.at[buf];
    return node_new(k, (expr){ .kind = EXPR_load, .type = b->dtype, .id = buf, .n_args = b->rank,
                               .args = arena_copy(k->arena, index, (size_t)b->rank * sizeof *index) });
}

const expr *x_tree(kernel_code *k, scalar fn, int buf)
{
    assert(buf >= 0 && buf < k->bufs.n);
    return node_new(k, (expr){ .kind = EXPR_tree, .type = k->bufs.at[buf].dtype, .fn = fn, .id = buf });
}

/* -- Comparing ------------------------------------------------------------------------------------------- */

bool x_is_int(const expr *e, int64_t *v)
{
    if (e->kind != EXPR_const || e->type != DTYPE_i64) return false;
    if (v) *v = (int64_t)e->value.bits;
    return true;
}

bool x_same(const expr *a, const expr *b)
{
    if (a == b) return true;
    if (a->kind != b->kind || a->type != b->type || a->id != b->id || a->n_args != b->n_args) return false;
    if (a->kind == EXPR_const) return a->value.bits == b->value.bits;
    if (a->kind == EXPR_dim) return dim_same(a->dim, b->dim);
    if ((a->kind == EXPR_op || a->kind == EXPR_tree) && a->fn != b->fn) return false;
    for (int i = 0; i < a->n_args; i++)
        if (!x_same(a->args[i], b->args[i])) return false;
    return true;
}

static const char *name_of(const kernel_code *k, const expr *e)
{
    switch (e->kind) {
    case EXPR_var:  return k->vars.at[e->id].name;
    case EXPR_temp: return k->temps.at[e->id].name;
    case EXPR_load:
    case EXPR_tree: return k->bufs.at[e->id].name;
    default:        return "";
    }
}

/* An order that depends on what is printed only, not on ids, which parsing renumbers. */
int x_compare(const kernel_code *k, const expr *a, const expr *b)
{
    static const int8_t rank[] = { [EXPR_var] = 0, [EXPR_temp] = 1,     [EXPR_load] = 2, [EXPR_tree] = 3,
                                   [EXPR_op] = 4,  [EXPR_floordiv] = 5, [EXPR_mod] = 6,  [EXPR_bitcast] = 7,
                                   [EXPR_dim] = 8, [EXPR_const] = 9 };
    if (a == b) return 0;
    if (a->kind != b->kind) return rank[a->kind] - rank[b->kind];
    if (a->type != b->type) return (int)a->type - (int)b->type;
    if (a->kind == EXPR_const) return a->value.bits < b->value.bits ? -1 : a->value.bits > b->value.bits;
    if (a->kind == EXPR_dim) {
        text s = { .a = k->arena }, t = { .a = k->arena };
        dim_print(k->dims, a->dim, &s);
        dim_print(k->dims, b->dim, &t);
        return strcmp(text_str(&s), text_str(&t));
    }
    int c = strcmp(name_of(k, a), name_of(k, b));
    if (c) return c;
    if (a->kind == EXPR_op && a->fn != b->fn) return strcmp(scalar_info[a->fn].name, scalar_info[b->fn].name);
    if (a->n_args != b->n_args) return a->n_args - b->n_args;
    for (int i = 0; i < a->n_args; i++)
        if ((c = x_compare(k, a->args[i], b->args[i])) != 0) return c;
    return 0;
}

/* -- Linear forms ---------------------------------------------------------------------------------------- */

/* A constant or dim of type i64, as a dim. */
static bool as_dim(const expr *e, dim *d)
{
    int64_t v;
    if (e->kind == EXPR_dim) *d = e->dim;
    else if (x_is_int(e, &v) && v < DIM_LIMIT && v > -DIM_LIMIT) *d = dim_const(v);
    else return false;
    return true;
}

static void add_term(kernel_code *k, linear *l, const expr *atom, dim coef)
{
    if (dim_is_bad(coef)) l->bad = true;
    for (int64_t i = 0; i < l->n; i++) {
        if (!x_same(l->at[i].atom, atom)) continue;
        l->at[i].coef = dim_add(k->dims, l->at[i].coef, coef);
        if (dim_is_bad(l->at[i].coef)) l->bad = true;
        return;
    }
    vec_push(k->arena, l, ((linear_term){ atom, coef }));
}

/* l += scale * e */
void linear_add(kernel_code *k, linear *l, const expr *e, dim scale)
{
    dim d;
    if (as_dim(e, &d)) {
        l->constant = dim_add(k->dims, l->constant, dim_mul(k->dims, scale, d));
        if (dim_is_bad(l->constant)) l->bad = true;
    } else if (e->kind == EXPR_op && e->fn == SCALAR_add) {
        linear_add(k, l, e->args[0], scale);
        linear_add(k, l, e->args[1], scale);
    } else if (e->kind == EXPR_op && e->fn == SCALAR_sub) {
        linear_add(k, l, e->args[0], scale);
        linear_add(k, l, e->args[1], dim_neg(k->dims, scale));
    } else if (e->kind == EXPR_op && e->fn == SCALAR_neg) {
        linear_add(k, l, e->args[0], dim_neg(k->dims, scale));
    } else if (e->kind == EXPR_op && e->fn == SCALAR_mul && as_dim(e->args[0], &d)) {
        linear_add(k, l, e->args[1], dim_mul(k->dims, scale, d));
    } else if (e->kind == EXPR_op && e->fn == SCALAR_mul && as_dim(e->args[1], &d)) {
        linear_add(k, l, e->args[0], dim_mul(k->dims, scale, d));
    } else {
        add_term(k, l, e, scale);
    }
}

void linear_init(linear *l) { *l = (linear){ .constant = dim_const(0) }; }

linear linear_of(kernel_code *k, const expr *e)
{
    linear l;
    linear_init(&l);
    linear_add(k, &l, e, dim_const(1));
    return l;
}

static bool is_negative(kernel_code *k, dim d)
{
    int64_t v, lo, hi;
    if (dim_is_const(d, &v)) return v < 0;
    dim_range(k->dims, d, &lo, &hi);
    return hi <= 0;
}

/* Before: open coefficients, then larger ones, then by atom. */
static bool term_before(const kernel_code *k, const linear_term *a, const linear_term *b)
{
    int64_t x = 0, y = 0;
    bool cx = dim_is_const(a->coef, &x), cy = dim_is_const(b->coef, &y);
    if (cx != cy) return cy;
    x = x < 0 ? -x : x;
    y = y < 0 ? -y : y;
    if (x != y) return x > y;
    return x_compare(k, a->atom, b->atom) < 0;
}

static const expr *term_expr(kernel_code *k, const expr *atom, dim coef)
{
    return dim_is(coef, 1) ? atom : plain_op2(k, EXPR_op, SCALAR_mul, x_dim(k, coef), atom);
}

/* What d has to be for c*by*d + c*(a mod by) to be one term: a floordiv by, which gives a; or (a floordiv by
 * + x) mod n, which gives (a + x*by) mod (by*n), as the places of a row over two axes that lie side by side
 * do. NULL: neither. */
static const expr *joined(kernel_code *k, const expr *d, const expr *a, const expr *by)
{
    dim size, n;
    if (d->kind == EXPR_floordiv) return x_same(d->args[1], by) && x_same(d->args[0], a) ? a : NULL;
    if (d->kind != EXPR_mod || !as_dim(by, &size) || !as_dim(d->args[1], &n)) return NULL;
    linear l = linear_of(k, d->args[0]), sum = linear_of(k, a);
    dim whole = dim_mul(k->dims, size, n);
    bool found = false;
    if (l.bad || dim_is_bad(whole) || is_negative(k, size) || is_negative(k, n)) return NULL;
    for (int64_t i = 0; i < l.n; i++) {
        const expr *x = l.at[i].atom;
        bool is_quotient = !found && x->kind == EXPR_floordiv && dim_is(l.at[i].coef, 1) &&
                           x_same(x->args[1], by) && x_same(x->args[0], a);
        if (is_quotient) found = true;
        else linear_add(k, &sum, x, dim_mul(k->dims, l.at[i].coef, size));
    }
    linear_add(k, &sum, x_dim(k, l.constant), size);
    return found && !sum.bad ? x_mod(k, linear_expr(k, &sum), x_dim(k, whole)) : NULL;
}

/* c*k * (a floordiv k) + c * (a mod k) = c * a */
static void join_divmod(kernel_code *k, linear *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        const expr *m = l->at[i].atom;
        dim by, c = l->at[i].coef;
        if (m->kind != EXPR_mod || dim_is(c, 0) || !as_dim(m->args[1], &by)) continue;
        for (int64_t j = 0; j < l->n; j++) {
            if (j == i || !dim_same(l->at[j].coef, dim_mul(k->dims, c, by))) continue;
            const expr *one = joined(k, l->at[j].atom, m->args[0], m->args[1]);
            if (!one) continue;
            l->at[i].coef = l->at[j].coef = dim_const(0);
            linear_add(k, l, one, c);
            break;
        }
    }
}

/* The expression of l: positive terms, then negative ones subtracted, the constant last (first if all are
 * negative). */
const expr *linear_expr(kernel_code *k, linear *l)
{
    int n = 0;
    join_divmod(k, l);
    for (int64_t i = 0; i < l->n; i++)
        if (!dim_is(l->at[i].coef, 0)) l->at[n++] = l->at[i];
    l->n = n;
    for (int i = 1; i < n; i++) {                       /* few terms: insertion */
        linear_term t = l->at[i];
        int j = i;
        for (; j > 0 && term_before(k, &t, &l->at[j - 1]); j--) l->at[j] = l->at[j - 1];
        l->at[j] = t;
    }
    const expr *sum = NULL;
    for (int i = 0; i < n; i++) {
        if (is_negative(k, l->at[i].coef)) continue;
        const expr *t = term_expr(k, l->at[i].atom, l->at[i].coef);
        sum = sum ? plain_op2(k, EXPR_op, SCALAR_add, sum, t) : t;
    }
    dim c = l->constant;
    if (!sum && !dim_is(c, 0) && !is_negative(k, c)) {
        sum = x_dim(k, c);
        c = dim_const(0);
    }
    for (int i = 0; i < n; i++) {
        if (!is_negative(k, l->at[i].coef)) continue;
        dim coef = l->at[i].coef;
        const expr *t = term_expr(k, l->at[i].atom, sum ? dim_neg(k->dims, coef) : coef);
        sum = sum ? plain_op2(k, EXPR_op, SCALAR_sub, sum, t) : t;
    }
    if (!sum) return x_dim(k, c);
    if (dim_is(c, 0)) return sum;
    if (is_negative(k, c)) return plain_op2(k, EXPR_op, SCALAR_sub, sum, x_dim(k, dim_neg(k->dims, c)));
    return plain_op2(k, EXPR_op, SCALAR_add, sum, x_dim(k, c));
}

/* a - b as a constant dim, if the variables cancel. */
static bool difference(kernel_code *k, const expr *a, const expr *b, dim *d)
{
    linear l = linear_of(k, a);
    linear_add(k, &l, b, dim_const(-1));
    if (l.bad) return false;
    for (int64_t i = 0; i < l.n; i++)
        if (!dim_is(l.at[i].coef, 0)) return false;
    *d = l.constant;
    return true;
}

/* -- Operations on i64 ----------------------------------------------------------------------------------- */

static const expr *int_sum(kernel_code *k, const expr *a, const expr *b, int64_t sign)
{
    linear l = linear_of(k, a);
    linear_add(k, &l, b, dim_const(sign));
    if (!l.bad) return linear_expr(k, &l);
    return plain_op2(k, EXPR_op, sign > 0 ? SCALAR_add : SCALAR_sub, a, b);
}

static const expr *int_product(kernel_code *k, const expr *a, const expr *b)
{
    dim d;
    if (as_dim(b, &d)) { const expr *t = a; a = b; b = t; }
    if (as_dim(a, &d)) {
        linear l;
        linear_init(&l);
        linear_add(k, &l, b, d);
        if (!l.bad) return linear_expr(k, &l);
    }
    if (x_compare(k, a, b) > 0) { const expr *t = a; a = b; b = t; }
    return plain_op2(k, EXPR_op, SCALAR_mul, a, b);
}

static const expr *int_extreme(kernel_code *k, scalar fn, const expr *a, const expr *b)
{
    dim d, e;
    if (as_dim(a, &d) && as_dim(b, &e)) {
        dim m = fn == SCALAR_max ? dim_max(k->dims, d, e) : dim_min(k->dims, d, e);
        if (!dim_is_bad(m)) return x_dim(k, m);
    }
    if (difference(k, a, b, &d)) {
        int64_t lo, hi;
        dim_range(k->dims, d, &lo, &hi);
        if (lo >= 0) return fn == SCALAR_max ? a : b;
        if (hi <= 0) return fn == SCALAR_max ? b : a;
    }
    if (as_dim(a, &d) || (!as_dim(b, &d) && x_compare(k, a, b) > 0)) { const expr *t = a; a = b; b = t; }
    return plain_op2(k, EXPR_op, fn, a, b);
}

static const expr *int_compare(kernel_code *k, scalar fn, const expr *a, const expr *b)
{
    dim d;
    if (difference(k, a, b, &d)) {
        int64_t lo, hi;
        dim_range(k->dims, d, &lo, &hi);
        if (fn == SCALAR_lt && hi < 0) return x_bool(k, true);
        if (fn == SCALAR_lt && lo >= 0) return x_bool(k, false);
        if (fn == SCALAR_le && hi <= 0) return x_bool(k, true);
        if (fn == SCALAR_le && lo > 0) return x_bool(k, false);
        if (fn == SCALAR_eq && lo == 0 && hi == 0) return x_bool(k, true);
        if (fn == SCALAR_eq && (lo > 0 || hi < 0)) return x_bool(k, false);
    }
    return plain_op(k, EXPR_op, fn, DTYPE_bool, 2, (const expr *const[]){ a, b });
}

static int64_t gcd(int64_t a, int64_t b)
{
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    while (b) { int64_t t = a % b; a = b; b = t; }
    return a;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }

/* c = k*q exactly? */
static bool divides(kernel_code *k, dim c, dim by, dim *q)
{
    int64_t x, y;
    if (dim_is(c, 0)) { *q = c; return true; }
    if (dim_same(c, by)) { *q = dim_const(1); return true; }
    if (dim_is_const(c, &x)) {
        if (!dim_is_const(by, &y) || y == 0 || x % y) return false;
        *q = dim_const(x / y);
        return true;
    }
    *q = dim_div(k->dims, c, by);
    if (dim_is_bad(*q)) return false;
    return dim_same(dim_mul(k->dims, *q, by), c);
}

linear_split linear_divide(kernel_code *k, const expr *a, dim by)
{
    linear_split s = { .by = by, .g = 1, .add = 0 };
    linear_init(&s.quotient);
    linear_init(&s.rest);
    linear l = linear_of(k, a);
    int64_t b = 0, m, lo, hi;
    bool fixed = dim_is_const(by, &b);
    dim_range(k->dims, by, &lo, &hi);
    if (l.bad || (fixed && b <= 0) || hi <= 0) { s.failed = true; return s; }
    dim q;
    for (int64_t i = 0; i < l.n; i++) {
        if (dim_is(l.at[i].coef, 0)) continue;
        if (divides(k, l.at[i].coef, by, &q)) add_term(k, &s.quotient, l.at[i].atom, q);
        else add_term(k, &s.rest, l.at[i].atom, l.at[i].coef);
    }
    if (divides(k, l.constant, by, &q)) {
        s.quotient.constant = q;
    } else if (fixed && dim_is_const(l.constant, &m)) {
        s.quotient.constant = dim_const(floor_div(m, b));
        s.rest.constant = dim_const(m - b * floor_div(m, b));
    } else if (fixed) {                                  /* 16*N + 3 = 16*N, and 3 */
        dim r = dim_mod(k->dims, l.constant, by);
        dim whole = dim_is_bad(r) ? r : dim_sub(k->dims, l.constant, r);
        if (!dim_is_bad(whole) && dim_is_const(r, NULL) && divides(k, whole, by, &q)) {
            s.quotient.constant = q;
            s.rest.constant = r;
        } else {
            s.rest.constant = l.constant;
        }
    } else {
        s.rest.constant = l.constant;
    }
    /* what all of the rest and the divisor have in common */
    if (fixed && s.rest.n > 0 && dim_is_const(s.rest.constant, &m)) {
        int64_t g = b, c;
        for (int64_t i = 0; i < s.rest.n; i++) g = dim_is_const(s.rest.at[i].coef, &c) ? gcd(g, c) : 1;
        if (g > 1) {
            for (int64_t i = 0; i < s.rest.n; i++) {
                dim_is_const(s.rest.at[i].coef, &c);
                s.rest.at[i].coef = dim_const(c / g);
            }
            s.g = g;
            s.add = m - g * floor_div(m, g);
            s.rest.constant = dim_const(floor_div(m, g));
            s.by = dim_const(b / g);
        }
    }
    s.failed = s.quotient.bad || s.rest.bad;
    return s;
}

/* rest floordiv by, with (x floordiv a) floordiv b = x floordiv (a*b). */
static const expr *plain_floordiv(kernel_code *k, const expr *a, const expr *b)
{
    int64_t p, q, pq;
    dim d, by;
    if (as_dim(a, &d) && as_dim(b, &by) && !dim_is_bad(dim_div(k->dims, d, by)))
        return x_dim(k, dim_div(k->dims, d, by));
    if (a->kind == EXPR_floordiv && x_is_int(a->args[1], &p) && x_is_int(b, &q) && p > 0 && q > 0 &&
        mul_ok(p, q, &pq) && pq < DIM_LIMIT)
        return x_floordiv(k, a->args[0], x_int(k, pq));
    return plain_op2(k, EXPR_floordiv, SCALAR_div, a, b);
}

static bool is_small_constant(const linear *rest, dim by)
{
    int64_t m, b;
    if (rest->n > 0) return false;
    if (dim_is(rest->constant, 0)) return true;
    return dim_is_const(rest->constant, &m) && dim_is_const(by, &b) && m >= 0 && m < b;
}

const expr *x_floordiv(kernel_code *k, const expr *a, const expr *b)
{
    dim by, d;
    if (!as_dim(b, &by) || dim_is(by, 0)) return plain_op2(k, EXPR_floordiv, SCALAR_div, a, b);
    if (as_dim(a, &d)) {
        dim q = dim_div(k->dims, d, by);
        if (!dim_is_bad(q)) return x_dim(k, q);
    }
    if (dim_is(by, 1)) return a;
    linear_split s = linear_divide(k, a, by);
    if (s.failed) return plain_op2(k, EXPR_floordiv, SCALAR_div, a, b);
    if (!is_small_constant(&s.rest, s.by) && !dim_is(s.by, 1))
        linear_add(k, &s.quotient, plain_floordiv(k, linear_expr(k, &s.rest), x_dim(k, s.by)), dim_const(1));
    else if (dim_is(s.by, 1)) linear_add(k, &s.quotient, linear_expr(k, &s.rest), dim_const(1));
    return s.quotient.bad ? plain_op2(k, EXPR_floordiv, SCALAR_div, a, b) : linear_expr(k, &s.quotient);
}

/* (x mod p) mod q = x mod q where q divides p. */
static const expr *plain_mod(kernel_code *k, const expr *a, const expr *b)
{
    int64_t p, q;
    dim d, by;
    if (as_dim(a, &d) && as_dim(b, &by) && !dim_is_bad(dim_mod(k->dims, d, by)))
        return x_dim(k, dim_mod(k->dims, d, by));
    if (a->kind == EXPR_mod && x_is_int(a->args[1], &p) && x_is_int(b, &q) && q > 0 && p > 0) {
        if (p % q == 0) return x_mod(k, a->args[0], b);
        if (q % p == 0) return a;
    }
    return plain_op2(k, EXPR_mod, SCALAR_mod, a, b);
}

const expr *x_mod(kernel_code *k, const expr *a, const expr *b)
{
    dim by, d;
    if (!as_dim(b, &by) || dim_is(by, 0)) return plain_op2(k, EXPR_mod, SCALAR_mod, a, b);
    if (as_dim(a, &d)) {
        dim r = dim_mod(k->dims, d, by);
        if (!dim_is_bad(r)) return x_dim(k, r);
    }
    if (dim_is(by, 1)) return x_int(k, 0);
    linear_split s = linear_divide(k, a, by);
    if (s.failed) return plain_op2(k, EXPR_mod, SCALAR_mod, a, b);
    if (is_small_constant(&s.rest, s.by)) return x_dim(k, s.rest.constant);
    if (dim_is(s.by, 1)) return x_int(k, s.add);
    linear l;
    linear_init(&l);
    linear_add(k, &l, plain_mod(k, linear_expr(k, &s.rest), x_dim(k, s.by)), dim_const(s.g));
    l.constant = dim_add(k->dims, l.constant, dim_const(s.add));
    return linear_expr(k, &l);
}

/* -- Operations ------------------------------------------------------------------------------------------ */

static bool all_const(int n, const expr *const *args)
{
    for (int i = 0; i < n; i++)
        if (args[i]->kind != EXPR_const) return false;
    return true;
}

static bool const_bool(const expr *e, bool *b)
{
    if (e->kind != EXPR_const || e->type != DTYPE_bool) return false;
    *b = e->value.bits != 0;
    return true;
}

/* and, or, not of bools with a known operand. */
static const expr *fold_bool(kernel_code *k, scalar fn, int n, const expr *const *args)
{
    bool b;
    if (fn == SCALAR_not && args[0]->kind == EXPR_op && args[0]->fn == SCALAR_not) return args[0]->args[0];
    if (n != 2 || (fn != SCALAR_and && fn != SCALAR_or)) return NULL;
    for (int i = 0; i < 2; i++)
        if (const_bool(args[i], &b)) return (fn == SCALAR_and) == b ? args[1 - i] : x_bool(k, b);
    return x_same(args[0], args[1]) ? args[0] : NULL;
}

const expr *x_op(kernel_code *k, scalar fn, int n, const expr *const *args)
{
    assert(n == scalar_info[fn].arity && fn != SCALAR_cast);
    dtype t = args[n > 1 && fn == SCALAR_select ? 1 : 0]->type;
    bool b;
    if (fn == SCALAR_select) {
        if (const_bool(args[0], &b)) return b ? args[1] : args[2];
        if (x_same(args[1], args[2])) return args[1];
        return plain_op(k, EXPR_op, fn, t, n, args);
    }
    dtype result = scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : t;
    if (all_const(n, args) && scalar_info[fn].is_basic && fn != SCALAR_fma) {
        scalar_value in[3];
        for (int i = 0; i < n; i++) in[i] = args[i]->value;
        return x_const(k, result, sv_apply(NULL, fn, t, DTYPE_NONE, in, FMA_FUSED));
    }
    if (t == DTYPE_bool) {
        const expr *e = fold_bool(k, fn, n, args);
        if (e) return e;
    }
    if (t == DTYPE_i64) {
        switch (fn) {
        case SCALAR_add: return int_sum(k, args[0], args[1], 1);
        case SCALAR_sub: return int_sum(k, args[0], args[1], -1);
        case SCALAR_neg: return int_product(k, x_int(k, -1), args[0]);
        case SCALAR_mul: return int_product(k, args[0], args[1]);
        case SCALAR_min: case SCALAR_max: return int_extreme(k, fn, args[0], args[1]);
        case SCALAR_lt: case SCALAR_le: case SCALAR_eq: return int_compare(k, fn, args[0], args[1]);
        default: break;
        }
    }
    return plain_op(k, EXPR_op, fn, result, n, args);
}

const expr *x_op1(kernel_code *k, scalar fn, const expr *a) { return x_op(k, fn, 1, &a); }

const expr *x_op2(kernel_code *k, scalar fn, const expr *a, const expr *b)
{
    return x_op(k, fn, 2, (const expr *const[]){ a, b });
}

const expr *x_op3(kernel_code *k, scalar fn, const expr *a, const expr *b, const expr *c)
{
    return x_op(k, fn, 3, (const expr *const[]){ a, b, c });
}

const expr *x_cast(kernel_code *k, const expr *a, dtype to)
{
    if (a->type == to) return a;
    if (a->kind == EXPR_const && !is_storage(a->type) && !is_storage(to))
        return x_const(k, to, sv_apply(NULL, SCALAR_cast, a->type, to, &a->value, FMA_FUSED));
    return plain_op(k, EXPR_op, SCALAR_cast, to, 1, &a);
}

const expr *x_bitcast(kernel_code *k, const expr *a, dtype to)
{
    if (a->type == to) return a;
    if (a->kind == EXPR_const) return x_const(k, to, a->value);
    if (a->kind == EXPR_bitcast) return x_bitcast(k, a->args[0], to);
    return plain_op(k, EXPR_bitcast, SCALAR_cast, to, 1, &a);
}

/* -- Rewriting ------------------------------------------------------------------------------------------- */

static const expr *remake(kernel_code *k, const expr *e, const expr *const *args)
{
    switch (e->kind) {
    case EXPR_load:     return x_load(k, e->id, args);
    case EXPR_op: return e->fn == SCALAR_cast ? x_cast(k, args[0], e->type) : x_op(k, e->fn, e->n_args, args);
    case EXPR_floordiv: return x_floordiv(k, args[0], args[1]);
    case EXPR_mod:      return x_mod(k, args[0], args[1]);
    case EXPR_bitcast:  return x_bitcast(k, args[0], e->type);
    case EXPR_const: case EXPR_dim: case EXPR_var: case EXPR_temp: case EXPR_tree: break;
    }
    return e;
}

const expr *x_rewrite(kernel_code *k, const expr *e, x_rewriter fn, void *arg)
{
    if (e->n_args > 0) {
        const expr *args[MAX_RANK];
        bool changed = false;
        for (int i = 0; i < e->n_args; i++) {
            args[i] = x_rewrite(k, e->args[i], fn, arg);
            changed |= args[i] != e->args[i];
        }
        if (changed) e = remake(k, e, args);
    }
    const expr *r = fn(k, e, arg);
    return r ? r : e;
}

static const expr *subst_var(kernel_code *k, const expr *e, void *arg)
{
    (void)k;
    const expr *const *to = arg;
    return e->kind == EXPR_var ? to[e->id] : NULL;
}

const expr *x_subst(kernel_code *k, const expr *e, const expr *const *to)
{
    return x_rewrite(k, e, subst_var, (void *)(uintptr_t)to);
}

bool x_uses_var(const expr *e, int var)
{
    if (e->kind == EXPR_var && e->id == var) return true;
    for (int i = 0; i < e->n_args; i++)
        if (x_uses_var(e->args[i], var)) return true;
    return false;
}

bool x_uses_temp(const expr *e, int id)
{
    if (e->kind == EXPR_temp && e->id == id) return true;
    for (int i = 0; i < e->n_args; i++)
        if (x_uses_temp(e->args[i], id)) return true;
    return false;
}

bool x_loads(const expr *e, int buf)
{
    if ((e->kind == EXPR_load || e->kind == EXPR_tree) && (buf < 0 || e->id == buf)) return true;
    for (int i = 0; i < e->n_args; i++)
        if (x_loads(e->args[i], buf)) return true;
    return false;
}
