/* ir/expr_range.c: what is known about i64 expressions: affine forms, ranges, simplification by them,
 * addresses, lanes.
 *
 * Ranges are intervals over the loops in scope, saturated at ±DIM_LIMIT, which also stands for "unknown".
 * Sums are ranged in their linear form, so equal terms have cancelled; dims enter with the bounds of their
 * symbols.
 * Cost   linear in the expression, but for floordiv and mod, which try each coefficient of their operand.
 */
#include "ir/loop.h"
#include "ir/linear.h"

/* -- Intervals ------------------------------------------------------------------------------------------- */

static const range unknown = { -DIM_LIMIT, DIM_LIMIT };

static int64_t clamp(int64_t v) { return v < -DIM_LIMIT ? -DIM_LIMIT : v > DIM_LIMIT ? DIM_LIMIT : v; }
static bool open_end(int64_t v) { return v <= -DIM_LIMIT || v >= DIM_LIMIT; }

static int64_t plus(int64_t a, int64_t b)
{
    if (open_end(a)) return a;
    if (open_end(b)) return b;
    return clamp(a + b);
}

static int64_t times(int64_t a, int64_t b)
{
    int64_t r;
    if (a == 0 || b == 0) return 0;
    if (mul_ok(a, b, &r)) return clamp(r);
    return (a < 0) == (b < 0) ? DIM_LIMIT : -DIM_LIMIT;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

static range range_mul(range a, range b)
{
    int64_t p = times(a.lo, b.lo), q = times(a.lo, b.hi), r = times(a.hi, b.lo), s = times(a.hi, b.hi);
    return (range){ min64(min64(p, q), min64(r, s)), max64(max64(p, q), max64(r, s)) };
}

static int64_t floor_div(int64_t a, int64_t b)
{
    if (open_end(a)) return a;
    return a / b - (a % b != 0 && a < 0);
}

static range range_div(range a, range b)
{
    if (b.lo < 1) b.lo = 1;
    if (b.hi < b.lo) return unknown;
    int64_t p = floor_div(a.lo, b.lo), q = floor_div(a.lo, b.hi), r = floor_div(a.hi, b.lo),
            s = floor_div(a.hi, b.hi);
    return (range){ min64(p, q), max64(r, s) };
}

/* -- Ranges ---------------------------------------------------------------------------------------------- */

static range dim_interval(kernel_code *k, dim d)
{
    range r;
    dim_range(k->dims, d, &r.lo, &r.hi);
    return r;
}

static range linear_range(kernel_code *k, const scope *s, const linear *l)
{
    if (l->bad) return unknown;
    range sum = dim_interval(k, l->constant);
    for (int64_t i = 0; i < l->n; i++) {
        range t = range_mul(dim_interval(k, l->at[i].coef), x_range(k, s, l->at[i].atom));
        sum = (range){ plus(sum.lo, t.lo), plus(sum.hi, t.hi) };
        if (t.lo <= -DIM_LIMIT) sum.lo = -DIM_LIMIT;
        if (t.hi >= DIM_LIMIT) sum.hi = DIM_LIMIT;
    }
    return sum;
}

static range type_range(dtype t)
{
    if (t == DTYPE_bool) return (range){ 0, 1 };
    if (!is_int(t) || dtype_info[t].bits == 64) return unknown;
    int bits = dtype_info[t].bits;
    if (is_signed(t)) return (range){ -((int64_t)1 << (bits - 1)), ((int64_t)1 << (bits - 1)) - 1 };
    return (range){ 0, ((int64_t)1 << bits) - 1 };
}

range x_range(kernel_code *k, const scope *s, const expr *e)
{
    int64_t v;
    range a, b;
    if (e->type != DTYPE_i64) return unknown;
    switch (e->kind) {
    case EXPR_const:
        x_is_int(e, &v);
        return (range){ clamp(v), clamp(v) };
    case EXPR_dim:
        return dim_interval(k, e->dim);
    case EXPR_var:
        return s && e->id < s->n_vars ? s->var[e->id] : unknown;
    case EXPR_floordiv:
        return range_div(x_range(k, s, e->args[0]), x_range(k, s, e->args[1]));
    case EXPR_mod:
        a = x_range(k, s, e->args[0]);
        b = x_range(k, s, e->args[1]);
        if (a.lo >= 0 && a.hi < max64(b.lo, 1)) return a;
        return (range){ 0, b.hi >= DIM_LIMIT ? (a.lo >= 0 ? a.hi : DIM_LIMIT) : max64(b.hi - 1, 0) };
    case EXPR_op:
        switch (e->fn) {
        case SCALAR_add: case SCALAR_sub: case SCALAR_neg: {
            linear l = linear_of(k, e);
            return linear_range(k, s, &l);
        }
        case SCALAR_mul:
            return range_mul(x_range(k, s, e->args[0]), x_range(k, s, e->args[1]));
        case SCALAR_min:
            a = x_range(k, s, e->args[0]);
            b = x_range(k, s, e->args[1]);
            return (range){ min64(a.lo, b.lo), min64(a.hi, b.hi) };
        case SCALAR_max:
            a = x_range(k, s, e->args[0]);
            b = x_range(k, s, e->args[1]);
            return (range){ max64(a.lo, b.lo), max64(a.hi, b.hi) };
        case SCALAR_select:
            a = x_range(k, s, e->args[1]);
            b = x_range(k, s, e->args[2]);
            return (range){ min64(a.lo, b.lo), max64(a.hi, b.hi) };
        case SCALAR_cast:
            return type_range(e->args[0]->type);
        default:
            return unknown;
        }
    case EXPR_temp: case EXPR_load: case EXPR_bitcast: case EXPR_tree:
        return unknown;
    }
    return unknown;
}

range x_var_range(kernel_code *k, const scope *s, const stmt *loop)
{
    range lo = x_range(k, s, loop->lo), hi = x_range(k, s, loop->hi);
    return (range){ lo.lo, hi.hi >= DIM_LIMIT ? DIM_LIMIT : hi.hi - 1 };
}

/* -- Affine forms ---------------------------------------------------------------------------------------- */

bool x_affine(kernel_code *k, const expr *e, affine *out)
{
    *out = (affine){ .constant = dim_const(0) };
    if (e->type != DTYPE_i64) return false;
    linear l = linear_of(k, e);
    if (l.bad) return false;
    out->constant = l.constant;
    for (int64_t i = 0; i < l.n; i++) {
        if (dim_is(l.at[i].coef, 0)) continue;
        if (l.at[i].atom->kind != EXPR_var || out->n == 16) return false;
        out->var[out->n] = l.at[i].atom->id;
        out->coef[out->n++] = l.at[i].coef;
    }
    return true;
}

const expr *x_address(kernel_code *k, int buf, const expr *const *index)
{
    const buffer *b = &k->bufs.at[buf];
    const expr *sum = x_int(k, 0);
    dim stride = dim_const(1);
    for (int i = b->rank - 1; i >= 0; i--) {
        sum = x_add(k, sum, x_mul(k, x_dim(k, stride), index[i]));
        stride = dim_mul(k->dims, stride, b->dims[i]);
    }
    return sum;
}

lanes x_lanes(kernel_code *k, const expr *e, int var, dim *stride)
{
    linear l = linear_of(k, e);
    dim coef = dim_const(0);
    *stride = coef;
    if (l.bad) return x_uses_var(e, var) ? LANES_arbitrary : LANES_uniform;
    for (int64_t i = 0; i < l.n; i++) {
        const expr *atom = l.at[i].atom;
        if (dim_is(l.at[i].coef, 0)) continue;
        if (atom->kind == EXPR_var && atom->id == var) coef = l.at[i].coef;
        else if (x_uses_var(atom, var)) return LANES_arbitrary;
    }
    *stride = coef;
    return dim_is(coef, 0) ? LANES_uniform : dim_is(coef, 1) ? LANES_contiguous : LANES_strided;
}

/* -- Simplification by ranges ---------------------------------------------------------------------------- */

/* Splits rest = g*x + r with 0 <= r < g for a g that divides by; takes the largest g that works, or 0. */
static int64_t split_rest(kernel_code *k, const scope *s, const linear *rest, int64_t by, linear *x,
                          linear *r)
{
    int64_t m, best = 0;
    if (!dim_is_const(rest->constant, &m)) return 0;
    for (int64_t i = -1; i < rest->n; i++) {
        int64_t g = by, c;
        if (i >= 0 && !dim_is_const(rest->at[i].coef, &g)) continue;
        if (g < 0) g = -g;
        if (g <= 1 || g <= best || by % g) continue;
        linear big, small;
        linear_init(&big);
        linear_init(&small);
        for (int64_t j = 0; j < rest->n; j++) {
            bool whole = dim_is_const(rest->at[j].coef, &c) && c % g == 0;
            linear_add(k, whole ? &big : &small, rest->at[j].atom,
                       whole ? dim_const(c / g) : rest->at[j].coef);
        }
        /* the constant's multiple of g goes where it brings the small part into [0, g) */
        small.constant = dim_const(m);
        range a = linear_range(k, s, &small);
        if (open_end(a.lo) || open_end(a.hi)) continue;
        int64_t q = floor_div(a.lo, g);
        if (floor_div(a.hi, g) != q || !dim_is_const(dim_const(m - q * g), &m)) continue;
        small.constant = dim_const(m);
        big.constant = dim_const(q);
        dim_is_const(rest->constant, &m);
        best = g;
        *x = big;
        *r = small;
    }
    return best;
}

static const expr *simplify_divmod(kernel_code *k, const scope *s, const expr *e)
{
    dim by;
    int64_t b;
    if (x_is_int(e->args[1], &b) && b > 0 && b < DIM_LIMIT) by = dim_const(b);
    else if (e->args[1]->kind == EXPR_dim) by = e->args[1]->dim;
    else return NULL;
    bool is_div = e->kind == EXPR_floordiv;
    range a = x_range(k, s, e->args[0]);
    int64_t lo, hi;
    dim_range(k->dims, by, &lo, &hi);
    if (a.lo >= 0 && a.hi < max64(lo, 1)) return is_div ? x_int(k, 0) : e->args[0];
    if (!dim_is_const(by, &b)) return NULL;
    linear_split d = linear_divide(k, e->args[0], by);
    int64_t rest_by;
    if (d.failed || !dim_is_const(d.by, &rest_by)) return NULL;
    linear x, r;
    int64_t g = split_rest(k, s, &d.rest, rest_by, &x, &r);
    if (!g) return NULL;
    const expr *big = linear_expr(k, &x), *divisor = x_int(k, rest_by / g);
    if (is_div) return x_add(k, linear_expr(k, &d.quotient), x_floordiv(k, big, divisor));
    const expr *rest = x_add(k, x_mul(k, x_int(k, g), x_mod(k, big, divisor)), linear_expr(k, &r));
    return x_add(k, x_mul(k, x_int(k, d.g), rest), x_int(k, d.add));
}

static const expr *simplify_node(kernel_code *k, const expr *e, void *arg)
{
    const scope *s = arg;
    if (e->kind == EXPR_floordiv || e->kind == EXPR_mod) return simplify_divmod(k, s, e);
    if (e->kind != EXPR_op || e->n_args != 2 || e->args[0]->type != DTYPE_i64) return NULL;
    if (e->fn != SCALAR_min && e->fn != SCALAR_max && scalar_info[e->fn].result != RESULT_CMP) return NULL;
    linear l = linear_of(k, e->args[0]);
    linear_add(k, &l, e->args[1], dim_const(-1));
    range d = linear_range(k, s, &l);
    scalar_value yes = { 1 }, no = { 0 };
    switch (e->fn) {
    case SCALAR_min: return d.hi <= 0 ? e->args[0] : d.lo >= 0 ? e->args[1] : NULL;
    case SCALAR_max: return d.lo >= 0 ? e->args[0] : d.hi <= 0 ? e->args[1] : NULL;
    case SCALAR_lt:
        return d.hi < 0 ? x_const(k, DTYPE_bool, yes) : d.lo >= 0 ? x_const(k, DTYPE_bool, no) : NULL;
    case SCALAR_le:
        return d.hi <= 0 ? x_const(k, DTYPE_bool, yes) : d.lo > 0 ? x_const(k, DTYPE_bool, no) : NULL;
    case SCALAR_eq:  return d.lo > 0 || d.hi < 0 ? x_const(k, DTYPE_bool, no)
                          : d.lo == 0 && d.hi == 0 ? x_const(k, DTYPE_bool, yes) : NULL;
    default:         return NULL;
    }
}

const expr *x_simplify(kernel_code *k, const scope *s, const expr *e)
{
    return x_rewrite(k, e, simplify_node, (void *)(uintptr_t)s);
}
