/* Every row of scalar.def at every type, and every cast, as C against sv_apply: on hard values, by every
 * compiler of this machine. The quick test runs the basic rows with two of them; test_cgen_rows_slow.c
 * includes this file and runs all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/backend/c_run.h"
#include "tests/support/row_case.h"

#ifdef ALL_ROWS
enum { IS_QUICK = 0 };
#else
enum { IS_QUICK = 1 };
#endif
static row_case r = { .n = 1024 };

static void run_jobs(const row_job *jobs, int n_jobs, int cc, fma_mode mode)
{
    void *handle;
    const void *weights;
    program *p = row_program(&r, jobs, n_jobs, mode);
    const dlc_model *m = c_open(r.ctx, r.a, p, cc, mode == FMA_FUSED ? "-mfma" : "", &handle, &weights);
    assert_int_equal(m->run(&(dlc_run){ 0 }, NULL, r.in, r.out), DLC_RUN_OK);
    dlclose(handle);
    row_check(&r, jobs, n_jobs, mode, compilers[cc].command);
}

static void rows(bool basic)
{
    static row_job jobs[MAX_ROW_JOBS];
    for (int cc = 0; cc < N_COMPILERS; cc++) {
        bool is_tcc = strcmp(compilers[cc].name, "tcc") == 0;
        int n = row_jobs(jobs, basic, compilers[cc].vectors ? 8 : 0);
        if (!has_compiler(cc) || (IS_QUICK && cc != 0 && !is_tcc)) continue;
        run_jobs(jobs, n, cc, FMA_ROUNDED);
        bool fused = !IS_QUICK && !is_tcc;
#if defined(__x86_64__)
        fused = fused && __builtin_cpu_supports("fma");
#endif
        if (fused) run_jobs(jobs, n, cc, FMA_FUSED);
    }
}

static void basic_rows(void **state) { (void)state; rows(true); }
static void expanded_rows(void **state) { (void)state; if (!IS_QUICK) rows(false); }

int main(void)
{
    mem_frame frame;
    r.ctx = context_new();
    if (!r.ctx || !mem_try(&r.ctx->mem, &frame)) return 1;
    r.a = arena_new(&r.ctx->mem);
    r.ex = expander_new(r.a);
    const struct CMUnitTest tests[] = { cmocka_unit_test(basic_rows), cmocka_unit_test(expanded_rows) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
