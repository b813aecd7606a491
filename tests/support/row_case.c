/* row_case: the tables of hard values, the kernels, the comparison (row_case.h) */
#include "tests/support/row_case.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const double floats[] = {
    0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, 3, -7, 0.1, -0.3, 1e-3, 127, 128, 129.5, -128.5, 255.5, 256,
    32767.5, 65504, 65519.9, 65520,
    8388607.5, 8388608.5, 4194303.5, -4194304.5, 2147483647.0, 2147483648.0, -2147483649.0, 4294967296.0,
    4503599627370495.5, 9223372036854775807.0,
    -9223372036854775808.0, 18446744073709551616.0, 1e30, -1e30, 3.4028234663852886e38, 1e39, 1e300, -1e308,
    1.1754943508222875e-38, 1e-40, 1.4e-45, 7e-46,
    5.9604644775390625e-8, 2.98e-8, 6.1e-5, 6.097555160522461e-05, 5e-324, 2.2250738585072014e-308, 1e-300,
    88.5, -88, 104, -104, 700, -745, 20, 1e5,
    0.9999999, 1.0000001, 1.0000000000000002, 0.99999999999999989, 3.1415926535897931, 1.5707963267948966,
    (double)INFINITY, -(double)INFINITY, (double)NAN,
};
static const int64_t ints[] = { 0, 1, -1, 2, -2, 3, 5, 7, 8, 10, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128,
    -127, -128, -129, 255, 256, 32767, -32768, 65535,
    65536, 2147483647, -2147483648LL, 4294967295LL, 4294967296LL, INT64_MAX, INT64_MIN, INT64_MAX - 1,
    1LL << 53, (1LL << 53) + 1, -(1LL << 53) - 1,
    (1LL << 24) + 1, -(1LL << 24) - 1, 0x7fffffc0, 0x7fffff7f80LL, 1LL << 62, (1LL << 62) + 129 };

static uint64_t seed = 3;
static uint64_t next(void) { return seed = seed * 6364136223846793005u + 1442695040888963407u, seed >> 20; }

static scalar_value pick(dtype t)
{
    if (t == DTYPE_bool) return (scalar_value){ next() & 1 };
    if (!is_float(t))
        return sv_from_i64(t, next() % 3 ? ints[next() % (sizeof ints / sizeof *ints)]
                                         : (int64_t)(next() << 30));
    if (next() % 3) return sv_from_f64(t, floats[next() % (sizeof floats / sizeof *floats)]);
    uint64_t bits = next() << 32 ^ next();                            /* any pattern */
    int w = 8 * dtype_bytes(t);
    return (scalar_value){ w == 64 ? bits : bits & ((1ull << w) - 1) };
}

static bool same(dtype t, scalar_value x, scalar_value y)
{
    return x.bits == y.bits || (is_float(t) && isnan(sv_to_f64(t, x)) && isnan(sv_to_f64(t, y)));
}

static dtype operand(const row_job *j, int i) { return j->fn == SCALAR_select && i == 0 ? DTYPE_bool : j->t; }
static dtype result(const row_job *j)
{
    return j->fn == SCALAR_cast ? j->to : scalar_info[j->fn].result == RESULT_CMP ? DTYPE_bool : j->t;
}

static kernel_code *kernel_of(const row_case *r, dims *d, const row_job *j)
{
    kernel_code *k = kernel_new(r->ctx, r->a, d, "row", ANCHOR_map);
    dim n = dim_const(r->n);
    int in[3], arity = scalar_info[j->fn].arity;
    for (int i = 0; i < arity; i++) in[i] = kernel_param(k, "x", operand(j, i), ROLE_in, 1, &n);
    int out = kernel_param(k, "y", result(j), ROLE_out, 1, &n);
    int v = kernel_var(k, "i", LOOP_plain), l = kernel_var(k, "l", LOOP_plain);
    const expr *at = x_var(k, v), *args[3];
    if (j->vector) at = x_add(k, x_mul(k, at, x_int(k, j->vector)), x_var(k, l));
    for (int i = 0; i < arity; i++) args[i] = x_load(k, in[i], &at);
    const expr *y = j->fn == SCALAR_cast ? x_cast(k, args[0], j->to) : x_op(k, j->fn, arity, args);
    stmt *loop = s_for(k, v, x_int(k, 0), x_int(k, j->vector ? r->n / j->vector : r->n), MARK_serial),
         *inner = loop;
    if (j->vector) {
        inner = s_for(k, l, x_int(k, 0), x_int(k, j->vector), MARK_vector);
        block_push(k, &loop->body, inner);
    }
    block_push(k, &inner->body, s_store(k, out, &at, y));
    block_push(k, &k->body, loop);
    return k;
}

program *row_program(row_case *r, const row_job *jobs, int n_jobs, fma_mode mode)
{
    dims *d = dims_new(r->ctx, r->a);
    program *p = program_new(r->ctx, r->a, d, "rows");
    p->fma = mode;
    p->workspace_bytes = 0;
    assert_true(n_jobs <= MAX_ROW_JOBS);
    dim n = dim_const(r->n);
    for (int i = 0; i < n_jobs; i++) {
        const row_job *j = &jobs[i];
        int arity = scalar_info[j->fn].arity;
        prog_op *call = program_op(p, &p->body, PROG_call);
        call->kernel = program_kernel(p, kernel_of(r, d, j));
        call->args = NEW_ARRAY(r->a, view, arity + 1);
        for (int k = 0; k < arity; k++) {
            dtype t_ = operand(j, k);
            char *x = arena_array(r->a, (size_t)r->n, (size_t)dtype_bytes(t_));
            for (int m = 0; m < r->n; m++) sv_store(t_, x + m * dtype_bytes(t_), pick(t_));
            r->in[p->n_inputs] = x;
            call->args[k] = (view){ program_buf(p, "x", PBUF_input, p->n_inputs, t_, 1, &n), NULL };
        }
        r->out[p->n_outputs] = arena_array(r->a, (size_t)r->n, (size_t)dtype_bytes(result(j)));
        call->args[arity] = (view){ program_buf(p, "y", PBUF_output, p->n_outputs, result(j), 1, &n), NULL };
    }
    return p;
}

void row_check(const row_case *r, const row_job *jobs, int n_jobs, fma_mode mode, const char *what)
{
    int first = 0, wrong = 0;
    for (int i = 0; i < n_jobs; i++) {
        const row_job *j = &jobs[i];
        int arity = scalar_info[j->fn].arity, shown = 0;
        for (int m = 0; m < r->n; m++) {
            scalar_value x[3] = { { 0 } };
            for (int k = 0; k < arity; k++)
                x[k] = sv_load(operand(j, k),
                               (const char *)r->in[first + k] + m * dtype_bytes(operand(j, k)));
            scalar_value want = sv_apply(r->ex, j->fn, j->t, j->to, x, mode);
            scalar_value got = sv_load(result(j), (char *)r->out[i] + m * dtype_bytes(result(j)));
            if (same(result(j), want, got)) continue;
            wrong++;
            if (shown++ < 3)
                fprintf(stderr, "%s %s%s%s, %d lanes, %s, mode %d: %llx %llx %llx: want %llx, got %llx\n",
                        scalar_info[j->fn].name, dtype_info[j->t].name, j->fn == SCALAR_cast ? " to " : "",
                        j->fn == SCALAR_cast ? dtype_info[j->to].name : "", j->vector, what, mode,
                        (unsigned long long)x[0].bits, (unsigned long long)x[1].bits,
                        (unsigned long long)x[2].bits, (unsigned long long)want.bits,
                        (unsigned long long)got.bits);
        }
        first += arity;
    }
    assert_int_equal(wrong, 0);
}

int row_jobs(row_job *jobs, bool basic, int vector)
{
    int n = 0;
    for (int fn = 0; fn < SCALAR_COUNT; fn++) {
        if (scalar_info[fn].is_basic != basic || fn == SCALAR_cast) continue;
        for (int t = 0; t < DTYPE_COUNT; t++)
            if (t != DTYPE_f16 && t != DTYPE_bf16 && scalar_accepts((scalar)fn, (dtype)t))
                jobs[n++] = (row_job){ .fn = (scalar)fn, .t = (dtype)t, .vector = vector };
    }
    if (!basic) return n;
    for (int t = 0; t < DTYPE_COUNT; t++)
        for (int to = 0; to < DTYPE_COUNT; to++)
            if (t != to && !is_storage((dtype)t) && !is_storage((dtype)to))
                jobs[n++] = (row_job){ .fn = SCALAR_cast, .t = (dtype)t, .to = (dtype)to, .vector = vector };
    return n;
}
