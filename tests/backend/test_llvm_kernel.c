/* The LLVM backend against the interpreter: kernels of tests/backend/kernels/ and tests/loop/, made into
 * one-call programs, run by the JIT with vectors of every width and with or without threads, compared bit by
 * bit (all NaN are equal). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "backend/codegen.h"
#include "runtime/pool.h"
#include "tests/support/llvm_module.h"
#include "tests/support/loop_case.h"

static const llvm_backend *llvm;
static dlc_pool *pool;

static void compare(loop_case *c, program *p, fma_mode mode, target t, bool threads)
{
    char what[100];
    p->fma = mode;
    codegen_options o = { .target = t, .prefix = "t", .threads = 2 };
    loaded_code *code;
    const dlc_model *m;
    dlc_status status = llvm->jit(c->ctx, p, &o, &code, &m);
    if (status != DLC_OK) loop_messages(c->ctx);
    assert_int_equal(status, DLC_OK);
    snprintf(what, sizeof what, "%s, vectors of %d bytes", t.cpu, t.vector_bytes);
    loop_compare(c, p, m, NULL, (dlc_run_hook){ threads ? dlc_parallel : NULL, pool }, what);
    llvm->unload(code);
}

static void compare_all(loop_case *c, program *p, int turn)
{
    target weak;
    (void)turn;
    assert_true(target_named(c->ctx, "x86_64", "x86-64", 16, &weak));
    for (int mode = FMA_FUSED; mode <= FMA_ROUNDED; mode++) {
        compare(c, p, (fma_mode)mode, target_host(64), true);
        compare(c, p, (fma_mode)mode, target_host(32), false);
        compare(c, p, (fma_mode)mode, weak, true);
    }
}

static void loop_kernels(void **state) { (void)state; loop_folder("tests/loop", compare_all); }
static void own_kernels(void **state)
{
    (void)state;
    loop_folder("tests/backend/kernels", compare_all);
    loop_folder("tests/backend/programs", compare_all);
}

int main(int argc, char **argv)
{
    llvm = llvm_module();
    if (!llvm) return 77;
    pool = dlc_pool_create(2);
    if (argc > 1) { loop_file(argv[1], 0, compare_all); return 0; }
    const struct CMUnitTest tests[] = { cmocka_unit_test(loop_kernels), cmocka_unit_test(own_kernels) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dlc_pool_destroy(pool);
    return failed;
}
