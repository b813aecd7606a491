/* Arenas: zeroed aligned pieces, growth, limits, and every allocation failing in turn. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/base.h"

static bool all_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static void pieces_are_zeroed_and_aligned(void **state)
{
    (void)state;
    mem m = { 0 };
    mem_frame f;
    assert_true(mem_try(&m, &f));
    arena *a = arena_new(&m);
    for (size_t n = 0; n < 300000; n = n * 3 + 1) {
        char *p = arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_true(all_zero(p, n));
        memset(p, 0xff, n);
    }
    arena_free(a);
    mem_end(&m, &f);
    assert_int_equal(m.live, 0);
    assert_null(m.arenas);
}

static void vectors_keep_their_elements(void **state)
{
    (void)state;
    mem m = { 0 };
    mem_frame f;
    assert_true(mem_try(&m, &f));
    arena *a = arena_new(&m);
    vec(int) x = { 0 }, y = { 0 };
    for (int i = 0; i < 200000; i++) {
        vec_push(a, &x, i);
        vec_push(a, &y, -i);
    }
    for (int i = 0; i < 200000; i++) {
        assert_int_equal(x.at[i], i);
        assert_int_equal(y.at[i], -i);
    }
    assert_true(m.live < 8u << 20);                /* the old halves of large arrays are given back */
    arena_free(a);
    mem_end(&m, &f);
    assert_int_equal(m.live, 0);
}

static void count_call(void *arg) { ++*(int *)arg; }

/* True if the work came to its end. */
static bool work(mem *m, int *n_freed)
{
    mem_frame f;
    if (!mem_try(m, &f)) return false;
    arena *a = arena_new(m), *b = arena_new(m);
    arena_on_free(a, count_call, n_freed);
    map_str names;
    map_init(&names, b);
    for (int i = 0; i < 40; i++) {
        char *s = arena_printf(a, "name %d", i);
        map_put(&names, s, strlen(s), (uint64_t)i, NULL);
    }
    arena_free(b);
    arena_free(a);
    mem_end(m, &f);
    return true;
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        mem m = { .fail_at = n };
        int n_freed = 0;
        bool done = work(&m, &n_freed);
        assert_int_equal(m.live, 0);
        assert_null(m.arenas);
        assert_null(m.frame);
        assert_in_range(n_freed, 0, 1);
        if (done) {
            assert_int_equal(n, m.n_allocs + 1);
            return;
        }
    }
}

static void a_limit_is_kept(void **state)
{
    (void)state;
    mem m = { .limit = 1 << 20 };
    mem_frame f;
    volatile bool failed = true;
    if (mem_try(&m, &f)) {
        arena *a = arena_new(&m);
        for (int i = 0; i < 100000; i++) arena_alloc(a, 100);
        failed = false;
    }
    assert_true(failed);
    assert_true(m.peak <= 1 << 20);
    assert_int_equal(m.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_zeroed_and_aligned), cmocka_unit_test(vectors_keep_their_elements),
        cmocka_unit_test(every_allocation_can_fail),     cmocka_unit_test(a_limit_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
