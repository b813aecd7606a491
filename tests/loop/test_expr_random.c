/* Random index expressions: made, simplified, ranged, printed and parsed, against plain evaluation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ir/loop.h"

static dlc_context *ctx;
static arena *a;
static kernel_code *k;
static int64_t value_of[4];                        /* of the variables */
static int64_t symbol[2];

static uint64_t state = 88172645463325252u;
static int64_t below(int64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (int64_t)(state % (uint64_t)n);
}

static int64_t floor_div(int64_t x, int64_t y) { return x / y - (x % y < 0); }

/* The expression as built, evaluated. */
static int64_t eval(const expr *e)
{
    int64_t x = e->n_args > 0 ? eval(e->args[0]) : 0, y = e->n_args > 1 ? eval(e->args[1]) : 0, v;
    switch (e->kind) {
    case EXPR_const: return (int64_t)e->value.bits;
    case EXPR_dim: assert_true(dim_eval(k->dims, e->dim, symbol, &v)); return v;
    case EXPR_var: return value_of[e->id];
    case EXPR_floordiv: return floor_div(x, y);
    case EXPR_mod: return x - y * floor_div(x, y);
    case EXPR_op:
        switch (e->fn) {
        case SCALAR_add: return (int64_t)((uint64_t)x + (uint64_t)y);
        case SCALAR_sub: return (int64_t)((uint64_t)x - (uint64_t)y);
        case SCALAR_mul: return (int64_t)((uint64_t)x * (uint64_t)y);
        case SCALAR_min: return x < y ? x : y;
        case SCALAR_max: return x > y ? x : y;
        case SCALAR_lt: return x < y;
        case SCALAR_le: return x <= y;
        case SCALAR_eq: return x == y;
        case SCALAR_and: return x & y;
        case SCALAR_select: return x ? y : eval(e->args[2]);
        default: break;
        }
        break;
    default: break;
    }
    fail();
    return 0;
}

/* A random expression: what was meant, as a program for a stack, beside what the makers made of it. */
typedef struct { const expr *e; int64_t want[8]; } sample;       /* want: at each of the points */
static int64_t points[8][6];

static sample random_expr(int depth)
{
    sample s, p, q;
    int64_t c;
    if (depth == 0 || below(8) == 0) {
        int kind = (int)below(4);
        if (kind == 0) {
            c = below(2) ? below(40) - 8 : (int64_t[]){ 2, 4, 8, 16, 7, 14 }[below(6)];
            s.e = x_int(k, c);
            for (int i = 0; i < 8; i++) s.want[i] = c;
        } else if (kind == 1 && below(2)) {
            int n = (int)below(2);
            s.e = x_dim(k, dims_symbol(k->dims, n));
            for (int i = 0; i < 8; i++) s.want[i] = points[i][4 + n];
        } else {
            int v = (int)below(4);
            s.e = x_var(k, v);
            for (int i = 0; i < 8; i++) s.want[i] = points[i][v];
        }
        return s;
    }
    p = random_expr(depth - 1);
    int op = (int)below(9);
    if (op >= 6) {
        c = (int64_t[]){ 2, 3, 4, 7, 8, 16, 14, 1 }[below(8)];
        s.e = op == 6   ? x_floordiv(k, p.e, x_int(k, c))
              : op == 7 ? x_mod(k, p.e, x_int(k, c))
                        : x_mul(k, p.e, x_int(k, c));
        for (int i = 0; i < 8; i++)
            s.want[i] = op == 6   ? floor_div(p.want[i], c)
                        : op == 7 ? p.want[i] - c * floor_div(p.want[i], c)
                                  : p.want[i] * c;
        return s;
    }
    q = random_expr(depth - 1);
    switch (op) {
    case 0: case 1: s.e = x_add(k, p.e, q.e); break;
    case 2: s.e = x_sub(k, p.e, q.e); break;
    case 3: s.e = x_mul(k, p.e, q.e); break;
    case 4: s.e = x_op2(k, SCALAR_min, p.e, q.e); break;
    default: s.e = x_op2(k, SCALAR_max, p.e, q.e); break;
    }
    for (int i = 0; i < 8; i++) {
        int64_t x = p.want[i], y = q.want[i];
        s.want[i] = op < 2    ? x + y
                    : op == 2 ? x - y
                    : op == 3 ? x * y
                    : op == 4 ? (x < y ? x : y)
                    : x > y   ? x
                              : y;
    }
    return s;
}

static void at_point(int i)
{
    memcpy(value_of, points[i], sizeof value_of);
    memcpy(symbol, &points[i][4], sizeof symbol);
}

static const char *text_of(const expr *e)
{
    text t = { .a = a };
    x_print(k, e, &t);
    return text_str(&t);
}

static void check(const sample *s, const expr *e, const char *what)
{
    for (int i = 0; i < 8; i++) {
        at_point(i);
        int64_t got = eval(e);
        if (got != s->want[i])
            fail_msg("%s: %s is %lld, not %lld, at %lld %lld %lld %lld, N %lld M %lld", what, text_of(e),
                     (long long)got, (long long)s->want[i], (long long)value_of[0], (long long)value_of[1],
                     (long long)value_of[2], (long long)value_of[3], (long long)symbol[0],
                     (long long)symbol[1]);
    }
}

/* Reads e's text in a kernel with the same variables. */
static const expr *reread(const char *s)
{
    char *src = arena_printf(a, "symbol N in 1..9\nsymbol M in 1..9\nkernel @k(y: i64[] out) {\n"
                             "for a in 0..16, b in 0..7, c in 0..4, d in 0..16 {\n y[] = %s\n}\n}\n", s);
    kernel_code *r = kernel_parse(ctx, a, k->dims, "random", src, strlen(src));
    if (!r) fail_msg("not read: %s", s);
    const stmt *st = r->body.at[0];
    while (st->kind == STMT_for) st = st->body.at[0];
    return st->value;
}

static void random_expressions(void **unused)
{
    (void)unused;
    mem_frame frame;
    ctx = context_new();
    assert_non_null(ctx);
    assert_true(mem_try(&ctx->mem, &frame));
    static const int64_t extent[4] = { 16, 7, 4, 16 };
    range ranges[4];
    for (int i = 0; i < 4; i++) ranges[i] = (range){ 0, extent[i] - 1 };
    scope in = { 4, ranges };
    for (int round = 0; round < 20000; round++) {
        a = arena_new(&ctx->mem);
        dims *t = dims_new(ctx, a);
        dim_symbol_bounds(t, dim_symbol(t, "N"), 1, 9);
        dim_symbol_bounds(t, dim_symbol(t, "M"), 1, 9);
        k = kernel_new(ctx, a, t, "random", ANCHOR_map);
        for (int i = 0; i < 4; i++) kernel_var(k, (const char *[]){ "a", "b", "c", "d" }[i], LOOP_plain);
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 6; j++) points[i][j] = j < 4 ? below(extent[j]) : 1 + below(9);
        sample s = random_expr(1 + (int)below(4));
        check(&s, s.e, "made");
        const expr *simple = x_simplify(k, &in, s.e);
        check(&s, simple, "simplified");
        range r = x_range(k, &in, s.e);
        for (int i = 0; i < 8; i++)
            if (s.want[i] < r.lo || s.want[i] > r.hi)
                fail_msg("%s in %lld..%lld", text_of(s.e), (long long)r.lo, (long long)r.hi);
        const expr *again = reread(text_of(s.e));
        check(&s, again, "read back");
        assert_string_equal(text_of(s.e), text_of(again));
        affine f;
        if (x_affine(k, s.e, &f))
            for (int i = 0; i < 8; i++) {
                int64_t sum, c;
                at_point(i);
                assert_true(dim_eval(t, f.constant, symbol, &sum));
                for (int j = 0; j < f.n; j++) {
                    assert_true(dim_eval(t, f.coef[j], symbol, &c));
                    sum += c * value_of[f.var[j]];
                }
                assert_true(sum == s.want[i]);
            }
        arena_free(a);
    }
    mem_end(&ctx->mem, &frame);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_expressions) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
