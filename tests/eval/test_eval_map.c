/* test_eval_map: the interpreter's blocks of elements against sv_apply, every row, every type, both modes. */
#include "backend/eval/eval_inside.h"
#include "tests/support/bench.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { N = 600 };

static uint64_t word(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Half arbitrary bits, half ordinary values, so that every branch is taken. */
static scalar_value element(dtype t, uint64_t *s)
{
    uint64_t w = word(s);
    if (t == DTYPE_bool) return (scalar_value){ w & 1 };
    if (w >> 63) return sv_from_f64(t, (double)(int64_t)(w >> 8 & 0xffff) / 2048 - 16);
    int n = 8 * dtype_bytes(t);
    uint64_t bits = word(s);
    return (scalar_value){ n == 64 ? bits : bits & ((1ull << n) - 1) };
}

static bool same(dtype t, scalar_value a, scalar_value b)
{
    if (a.bits == b.bits) return true;
    return is_float(t) && isnan(sv_to_f64(t, a)) && isnan(sv_to_f64(t, b));
}

static void compare(bench *b, run *r, scalar fn, dtype t, dtype to)
{
    uint64_t seed = (uint64_t)fn * 977 + t;
    dtype result = fn == SCALAR_cast ? to : scalar_info[fn].result == RESULT_CMP ? DTYPE_bool : t;
    scalar_value x[3][N];
    char *in[3], *out = arena_alloc(b->a, N * 8);
    const void *at[3] = { NULL, NULL, NULL };
    for (int k = 0; k < scalar_info[fn].arity; k++) {
        dtype tk = fn == SCALAR_select && k == 0 ? DTYPE_bool : t;
        at[k] = in[k] = arena_alloc(b->a, N * 8);
        for (int i = 0; i < N; i++) {
            x[k][i] = element(tk, &seed);
            sv_store(tk, in[k] + i * dtype_bytes(tk), x[k][i]);
        }
    }
    map_block(r, fn, t, to, N, at, out);
    for (int i = 0; i < N; i++) {
        scalar_value one[3] = { x[0][i], x[1][i], x[2][i] };
        scalar_value want = sv_apply(r->expander, fn, t, to, one, r->o.fma);
        scalar_value found = sv_load(result, out + i * dtype_bytes(result));
        if (same(result, found, want)) continue;
        printf("%s %s: element %d: %#llx, expected %#llx\n", scalar_info[fn].name, dtype_info[t].name, i,
               (unsigned long long)found.bits, (unsigned long long)want.bits);
        fail();
    }
}

static void every_row(void **state)
{
    (void)state;
    for (int mode = FMA_FUSED; mode <= FMA_ROUNDED; mode++)
        for (int fn = 0; fn < SCALAR_COUNT; fn++)
            for (int t = 0; t < DTYPE_COUNT; t++) {
                if (is_storage((dtype)t) || !scalar_accepts((scalar)fn, (dtype)t)) continue;
                bench b = bench_new();
                run r = {
                    .ctx = b.ctx, .arena = b.a, .expander = expander_new(b.a), .o = { .fma = (fma_mode)mode }
                };
                for (int to = 0; to < DTYPE_COUNT; to++)
                    if (fn == SCALAR_cast ? !is_storage((dtype)to) : to == 0)
                        compare(&b, &r, (scalar)fn, (dtype)t, (dtype)to);
                bench_free(&b);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_row) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
