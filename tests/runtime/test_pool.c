/* test_pool: every iteration runs exactly once, for any n and any number of threads, spinning, asleep,
 * nested, and from several callers; workers have the default floating-point mode; DLC_NUM_THREADS is obeyed.
 * Also built with ThreadSanitizer (tests/CMakeLists.txt). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "runtime/pool.h"
#include "runtime/runtime.h"

#define MAX_N 5000

typedef struct {
    int hits[MAX_N];            /* not atomic: two threads on one element would be a bug of the pool */
    dlc_pool *pool;
} counts;

static void count(void *arg, int64_t begin, int64_t end)
{
    counts *c = arg;
    for (int64_t i = begin; i < end; i++) c->hits[i]++;
}

static void check_region(dlc_pool *pool, counts *c, int64_t n)
{
    memset(c->hits, 0, sizeof c->hits);
    dlc_parallel_fn parallel = dlc_parallel;    /* the hook's type is the function's */
    parallel(pool, count, c, n);
    for (int64_t i = 0; i < MAX_N; i++) assert_int_equal(c->hits[i], i < n);
}

static void test_every_iteration_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = { 0, 1, 2, 3, 4, 5, 7, 8, 15, 64, 1001, MAX_N };
    static counts c;
    for (int threads = 1; threads <= 9; threads++) {
        dlc_pool *pool = dlc_pool_create(threads);
        assert_int_equal(dlc_pool_threads(pool), threads);
        for (int turn = 0; turn < 3; turn++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_region(pool, &c, sizes[i]);
        dlc_pool_destroy(pool);
    }
    check_region(NULL, &c, 100);
}

static void test_many_regions(void **state)
{
    (void)state;
    static counts c;
    dlc_pool *pool = dlc_pool_create(2);
    memset(&c, 0, sizeof c);
    for (int i = 0; i < 20000; i++) dlc_parallel(pool, count, &c, 16);
    for (int i = 0; i < 16; i++) assert_int_equal(c.hits[i], 20000);
    dlc_pool_destroy(pool);
}

static void test_wakes_sleepers(void **state)
{
    (void)state;
    static counts c;
    dlc_pool *pool = dlc_pool_create(3);
    for (int i = 0; i < 20; i++) {
        usleep((useconds_t)(i * 30));       /* around the time at which workers fall asleep, and beyond it */
        check_region(pool, &c, 100);
    }
    dlc_pool_destroy(pool);
}

static void slow_last_share(void *arg, int64_t begin, int64_t end)
{
    if (begin > 0) usleep(2000);            /* the caller falls asleep before the worker is done */
    count(arg, begin, end);
}

static void test_caller_sleeps(void **state)
{
    (void)state;
    static counts c;
    dlc_pool *pool = dlc_pool_create(2);
    memset(&c, 0, sizeof c);
    for (int i = 0; i < 10; i++) dlc_parallel(pool, slow_last_share, &c, 2);
    assert_int_equal(c.hits[0], 10);
    assert_int_equal(c.hits[1], 10);
    dlc_pool_destroy(pool);
}

static void nest(void *arg, int64_t begin, int64_t end)
{
    counts *c = arg;
    for (int64_t i = begin; i < end; i++) {
        static const int64_t inner = 10;
        counts *own = calloc(1, sizeof *own);
        dlc_parallel(c->pool, count, own, inner);
        for (int64_t k = 0; k < inner; k++) c->hits[i] += own->hits[k];
        free(own);
    }
}

static void test_nested_is_serial(void **state)
{
    (void)state;
    static counts c;
    memset(&c, 0, sizeof c);
    c.pool = dlc_pool_create(3);
    dlc_parallel(c.pool, nest, &c, 30);
    for (int i = 0; i < 30; i++) assert_int_equal(c.hits[i], 10);
    dlc_pool_destroy(c.pool);
}

static void *caller(void *arg)
{
    dlc_pool *pool = arg;
    counts *c = calloc(1, sizeof *c);
    for (int i = 0; i < 500; i++) dlc_parallel(pool, count, c, 40);
    intptr_t wrong = 0;
    for (int i = 0; i < 40; i++) wrong += c->hits[i] != 500;
    free(c);
    return (void *)wrong;
}

static void test_several_callers(void **state)
{
    (void)state;
    dlc_pool *pool = dlc_pool_create(2);
    pthread_t t[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, caller, pool), 0);
    for (int i = 0; i < 3; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
    dlc_pool_destroy(pool);
}

#ifdef __x86_64__
static void read_mode(void *arg, int64_t begin, int64_t end)
{
    unsigned *mode = arg;
    for (int64_t i = begin; i < end; i++) mode[i] = __builtin_ia32_stmxcsr() & ~0x3fu;
}

static void test_fp_mode(void **state)
{
    (void)state;
    unsigned mode[4] = { 0 }, before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);        /* flush subnormals, as a careless program does */
    dlc_pool *pool = dlc_pool_create(4);
    __builtin_ia32_ldmxcsr(before);
    dlc_parallel(pool, read_mode, mode, 4);
    for (int i = 1; i < 4; i++) assert_int_equal(mode[i], 0x1f80);
    dlc_pool_destroy(pool);
}
#endif

static void test_environment(void **state)
{
    (void)state;
    static const struct { const char *text; int threads; } cases[] = { { "3", 3 }, { "1", 1 } };
    for (int i = 0; i < 2; i++) {
        setenv("DLC_NUM_THREADS", cases[i].text, 1);
        dlc_pool *pool = dlc_pool_create(0);
        assert_int_equal(dlc_pool_threads(pool), cases[i].threads);
        dlc_pool_destroy(pool);
    }
    static const char *const not_a_number[] = { "", "x", "2x", "0", "-4" };
    unsetenv("DLC_NUM_THREADS");
    dlc_pool *plain = dlc_pool_create(0);
    for (int i = 0; i < 5; i++) {
        setenv("DLC_NUM_THREADS", not_a_number[i], 1);
        dlc_pool *pool = dlc_pool_create(0);
        assert_int_equal(dlc_pool_threads(pool), dlc_pool_threads(plain));
        dlc_pool_destroy(pool);
    }
    unsetenv("DLC_NUM_THREADS");
    dlc_pool_destroy(plain);
    dlc_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_iteration_once),
        cmocka_unit_test(test_many_regions),
        cmocka_unit_test(test_wakes_sleepers),
        cmocka_unit_test(test_caller_sleeps),
        cmocka_unit_test(test_nested_is_serial),
        cmocka_unit_test(test_several_callers),
#ifdef __x86_64__
        cmocka_unit_test(test_fp_mode),
#endif
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
