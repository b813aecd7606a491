/* The C form against the interpreter: kernels and programs of tests/backend/ and tests/loop/, written as C,
 * compiled with warnings as errors by every compiler of this machine, run with and without threads; equal
 * bits (all NaN are equal). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "runtime/pool.h"
#include "tests/backend/c_run.h"
#include "tests/support/loop_case.h"

static dlc_pool *pool;

static void compare(loop_case *c, program *p, fma_mode mode, int cc, bool threads)
{
    void *handle;
    const void *weights;
    p->fma = mode;
    const dlc_model *m = c_open(c->ctx, c->a, p, cc, mode == FMA_FUSED ? "-mfma" : "", &handle, &weights);
    loop_compare(c, p, m, weights, (dlc_run_hook){ threads ? dlc_parallel : NULL, pool },
                 compilers[cc].command);
    dlclose(handle);
}

/* Which compilers take which programs: the first takes all, the others one each in turn. */
static void compare_all(loop_case *c, program *p, int turn)
{
    int n = 0;
    for (int cc = 0; cc < N_COMPILERS; cc++) {
        if (!has_compiler(cc) || (n++ && (cc + turn) % 2)) continue;
        compare(c, p, FMA_ROUNDED, cc, turn % 2);
    }
#ifdef __FMA__
    bool fused = true;
#else
    bool fused = __builtin_cpu_supports("fma");
#endif
    for (int cc = 0; cc < N_COMPILERS; cc++)
        if (fused && has_compiler(cc) && (cc == 0 || (compilers[cc].vectors && (cc + turn) % 4 == 0)))
            compare(c, p, FMA_FUSED, cc, true);
}

static void loop_kernels(void **state) { (void)state; loop_folder("tests/loop", compare_all); }
static void own_kernels(void **state) { (void)state; loop_folder("tests/backend/kernels", compare_all); }
static void programs(void **state) { (void)state; loop_folder("tests/backend/programs", compare_all); }

int main(int argc, char **argv)
{
    bool any = false;
    for (int i = 0; i < N_COMPILERS; i++) any |= has_compiler(i);
    if (!any) { fprintf(stderr, "no C compiler\n"); return 77; }
    pool = dlc_pool_create(2);
    if (argc > 1) { loop_file(argv[1], 0, compare_all); return 0; }
    const struct CMUnitTest tests[] = { cmocka_unit_test(loop_kernels), cmocka_unit_test(own_kernels),
                                        cmocka_unit_test(programs) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dlc_pool_destroy(pool);
    return failed;
}
