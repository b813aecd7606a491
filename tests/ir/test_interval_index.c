/* The index of lifetimes against looking at all of them; and offsets of open temporaries against their
 * lifetimes. */
#include "ir/interval_index.h"
#include "ir/lifetime.h"
#include "ir/open_plan.h"
#include "passes/pipeline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

static uint64_t next_random(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s >> 33;
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void finds_what_meets(void **state)
{
    (void)state;
    mem m = { 0 };
    arena *a = arena_new(&m);
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        int64_t n_times = 1 + (int64_t)(next_random(&seed) % 40), first[60], last[60];
        interval_index *x = interval_index_new(a, n_times);
        for (int i = 0; i < 60; i++) {
            first[i] = (int64_t)(next_random(&seed) % (uint64_t)n_times);
            last[i] = first[i] + (int64_t)(next_random(&seed) % (uint64_t)(n_times - first[i]));
            item_list found = { 0 };
            assert_true(interval_index_find(x, a, first[i], last[i], 1000, &found));
            if (found.n) qsort(found.at, (size_t)found.n, sizeof *found.at, by_number);
            int64_t n = 0;
            for (int j = 0; j < i; j++) {
                if (first[j] > last[i] || last[j] < first[i]) continue;
                assert_true(n < found.n && found.at[n] == j);
                n++;
            }
            assert_int_equal(n, found.n);
            found.n = 0;
            assert_true(interval_index_find(x, a, first[i], last[i], n - 1, &found) == false || n == 0);
            interval_index_add(x, i, first[i], last[i]);
        }
    }
    arena_free(a);
}

static const char chain[] =
    "kernel @f(x: f32[N, 8] in, y: f32[N, 8] out) { for i in 0..N, j in 0..8 { y[i, j] = x[i, j] } }\n"
    "kernel @g(x: f32[N, 8] in, z: f32[M] in, y: f32[M] out) { for i in 0..M { y[i] = z[i] } }\n"
    "program @p {\n"
    "  input x: f32[N, 8]\n  input z: f32[M]\n  output y: f32[M]\n"
    "  temp a: f32[N, 8]\n  temp b: f32[N, 8]\n  temp c: f32[N, 8]\n  temp d: f32[M]\n  temp e: f32[M]\n"
    "  call @f(x, a)\n  call @f(a, b)\n  call @g(a, z, d)\n  call @f(b, c)\n  call @g(c, d, e)\n"
    "  call @g(c, e, y)\n"
    "}\n";

static void open_temporaries_share_memory(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    program *p = program_parse(ctx, a, "chain", chain, sizeof chain - 1);
    assert_non_null(p);
    const open_plan *o = open_plan_make(a, p);
    const lifetime *lives = lifetimes_of(a, p);
    assert_int_equal(o->n, 5);
    assert_int_equal(o->n_sizes, 2);
    for (int64_t t = 0; t < 400; t++) {
        int64_t symbols[2] = { t % 20 * 7, t / 20 * 50 }, size[2], offset[5], sum = 0;
        for (int i = 0; i < 2; i++) assert_true(dim_eval(p->dims, o->size[i], symbols, &size[i]));
        int64_t total = open_plan_place(o, size, offset);
        for (int64_t i = 0; i < p->bufs.n; i++) {
            int x = o->item_of[i];
            if (x < 0) continue;
            sum += size[o->size_of[x]];
            assert_true(offset[x] % 64 == 0 && offset[x] + size[o->size_of[x]] <= total);
            for (int64_t j = 0; j < i; j++) {
                int y = o->item_of[j];
                if (y < 0 || lives->of[j].last < lives->of[i].first || lives->of[i].last < lives->of[j].first)
                    continue;
                assert_true(offset[x] + size[o->size_of[x]] <= offset[y] ||
                            offset[y] + size[o->size_of[y]] <= offset[x]);
            }
        }
        if (symbols[0] && symbols[1]) assert_true(total < sum);
    }
    assert_true(plan_check(p));
    arena_free(a);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(finds_what_meets),
                                        cmocka_unit_test(open_temporaries_share_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
