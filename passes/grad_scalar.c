/* grad_scalar: the derivative of each row of scalar.def, in the rows themselves
 *
 * Column `grad` of the table names a rule here: gradient dy of the result y of operands x -> gradients dx, of
 * the result's shape (map's rule in grad_prim_compute.c sums over stretched dims). Rules name y where it
 * saves work (exp, tanh). A side that is not taken never gives 0 * inf: it is selected, not multiplied. Ties
 * of max and min share in halves; relu and abs have slope 0 at 0, as JAX and PyTorch do.
 * See    docs/gradients.md; tests/grad/test_grad_rows.c
 */
#include "passes/grad_step.h"

typedef struct { graph *g; const value *x; value y, dy; value *dx; } row_step;

#define RULE(name) static void row_##name(const row_step *s)
#define G s->g
#define X s->x[0]
#define Y s->y
#define DY s->dy

static value neg(graph *g, value x) { return un(g, SCALAR_neg, x); }
static value square(graph *g, value x) { return mul(g, x, x); }
static value zeros(const row_step *s) { return splat_like(G, DY, 0); }
static value one_minus(graph *g, value x) { return k_bin(g, SCALAR_sub, 1, x); }
static value one_plus(graph *g, value x) { return bin_k(g, SCALAR_add, x, 1); }

RULE(zero) { (void)s; }
RULE(add) { s->dx[0] = s->dx[1] = DY; }
RULE(sub) { s->dx[0] = DY; s->dx[1] = neg(G, DY); }
RULE(mul) { s->dx[0] = mul(G, DY, s->x[1]); s->dx[1] = mul(G, DY, X); }
RULE(div) { s->dx[0] = divide(G, DY, s->x[1]); s->dx[1] = neg(G, divide(G, mul(G, DY, Y), s->x[1])); }
RULE(neg) { s->dx[0] = neg(G, DY); }
RULE(fma) { s->dx[0] = mul(G, DY, s->x[1]); s->dx[1] = mul(G, DY, X); s->dx[2] = DY; }
RULE(abs) { s->dx[0] = mul(G, DY, un(G, SCALAR_sign, X)); }
/* y, which others need too */
RULE(relu) { s->dx[0] = select3(G, greater(G, Y, splat_like(G, Y, 0)), DY, zeros(s)); }
RULE(sqrt) { s->dx[0] = divide(G, bin_k(G, SCALAR_mul, DY, 0.5), Y); }

/* a = q b + r: the quotient is constant in between its jumps. */
static void remainder_rule(const row_step *s, scalar quotient)
{
    s->dx[0] = DY;
    s->dx[1] = neg(G, mul(G, DY, un(G, quotient, divide(G, X, s->x[1]))));
}

RULE(mod) { remainder_rule(s, SCALAR_floor); }
RULE(fmod) { remainder_rule(s, SCALAR_trunc); }

/* b a^(b-1), which is 0 for b = 0 even where a^-1 is infinite (a * 0, so that it is still a function of a);
 * y log a, taken as 0 where a <= 0. */
RULE(pow)
{
    value a = X, b = s->x[1], zero = splat_like(G, a, 0), one = splat_like(G, a, 1);
    value slope = mul(G, b, bin(G, SCALAR_pow, a, bin_k(G, SCALAR_sub, b, 1)));
    s->dx[0] = mul(G, DY, select3(G, bin_k(G, SCALAR_eq, b, 0), mul(G, a, zero), slope));
    value positive = greater(G, a, zero);
    value log_a = select3(G, positive, un(G, SCALAR_log, select3(G, positive, a, one)), zero);
    s->dx[1] = mul(G, DY, mul(G, Y, log_a));
}

static void extremum(const row_step *s)
{
    value half = bin_k(G, SCALAR_mul, DY, 0.5), tie = bin(G, SCALAR_eq, X, s->x[1]);
    for (int k = 0; k < 2; k++)
        s->dx[k] = select3(G, tie, half, select3(G, bin(G, SCALAR_eq, Y, s->x[k]), DY, zeros(s)));
}

RULE(max) { extremum(s); }
RULE(min) { extremum(s); }

RULE(select) { s->dx[1] = select3(G, X, DY, zeros(s)); s->dx[2] = select3(G, X, zeros(s), DY); }
RULE(cast) { s->dx[0] = cast(G, DY, dtype_of(G, X)); }

RULE(exp) { s->dx[0] = mul(G, DY, Y); }
RULE(expm1) { s->dx[0] = mul(G, DY, one_plus(G, Y)); }
RULE(log) { s->dx[0] = divide(G, DY, X); }
RULE(log1p) { s->dx[0] = divide(G, DY, one_plus(G, X)); }
RULE(sin) { s->dx[0] = mul(G, DY, un(G, SCALAR_cos, X)); }
RULE(cos) { s->dx[0] = neg(G, mul(G, DY, un(G, SCALAR_sin, X))); }
RULE(tan) { s->dx[0] = mul(G, DY, one_plus(G, square(G, Y))); }
RULE(asin) { s->dx[0] = divide(G, DY, un(G, SCALAR_sqrt, one_minus(G, square(G, X)))); }
RULE(acos) { s->dx[0] = neg(G, divide(G, DY, un(G, SCALAR_sqrt, one_minus(G, square(G, X))))); }
RULE(atan) { s->dx[0] = divide(G, DY, one_plus(G, square(G, X))); }
RULE(sinh) { s->dx[0] = mul(G, DY, un(G, SCALAR_cosh, X)); }
RULE(cosh) { s->dx[0] = mul(G, DY, un(G, SCALAR_sinh, X)); }
RULE(tanh) { s->dx[0] = mul(G, DY, one_minus(G, square(G, Y))); }
RULE(asinh) { s->dx[0] = divide(G, DY, un(G, SCALAR_sqrt, one_plus(G, square(G, X)))); }
RULE(acosh) { s->dx[0] = divide(G, DY, un(G, SCALAR_sqrt, bin_k(G, SCALAR_sub, square(G, X), 1))); }
RULE(atanh) { s->dx[0] = divide(G, DY, one_minus(G, square(G, X))); }
RULE(erf)
{
    value bell = un(G, SCALAR_exp, neg(G, square(G, X)));
    s->dx[0] = mul(G, DY, bin_k(G, SCALAR_mul, bell, 1.1283791670955126));      /* 2 / sqrt(pi) */
}

RULE(sigmoid) { s->dx[0] = mul(G, DY, mul(G, Y, one_minus(G, Y))); }

static void (*const rules[SCALAR_COUNT])(const row_step *s) = {
#define BASIC(name, arity, takes, result, grad, doc) [SCALAR_##name] = row_##grad,
#define SCALAR(name, arity, takes, result, grad, doc) [SCALAR_##name] = row_##grad,
#include "ir/scalar.def"
};

void grad_scalar_row(grad_step *s)
{
    row_step r = { s->g, s->n.in, s->y, s->dy[0], s->dx };
    rules[s->n.map->fn](&r);
}
