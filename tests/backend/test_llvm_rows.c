/* Every row of scalar.def at every type, and every cast, as compiled code against sv_apply: on hard values,
 * as scalars and in vectors, for this machine and for a plain x86-64, where fma, rounding and half conversion
 * are expanded. The quick test runs the basic rows in vectors; test_llvm_rows_slow.c includes this file and
 * runs all of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include "backend/codegen.h"
#include "runtime/model.h"
#include "tests/support/llvm_module.h"
#include "tests/support/row_case.h"

static const llvm_backend *llvm;
static row_case r = { .n = 4096 };

#ifdef ALL_ROWS
enum { IS_QUICK = 0 };
#else
enum { IS_QUICK = 1 };
#endif
enum { LANES = 8 };

static void run_jobs(const row_job *jobs, int n_jobs, target t, fma_mode mode)
{
    program *p = row_program(&r, jobs, n_jobs, mode);
    codegen_options o = { .target = t, .prefix = "r", .threads = 2 };
    loaded_code *code;
    const dlc_model *m;
    dlc_status status = llvm->jit(r.ctx, p, &o, &code, &m);
    if (status != DLC_OK) fprintf(stderr, "%s\n", r.ctx->diags.at[r.ctx->diags.n - 1].message);
    assert_int_equal(status, DLC_OK);
    assert_int_equal(m->run(&(dlc_run){ 0 }, NULL, r.in, r.out), DLC_RUN_OK);
    llvm->unload(code);
    row_check(&r, jobs, n_jobs, mode, t.cpu);
}

static target plain(void)
{
    target t;
    assert_true(target_named(r.ctx, "x86_64", "x86-64", 16, &t));
    return t;
}

static void basic_rows(void **state)
{
    (void)state;
    static row_job jobs[MAX_ROW_JOBS];
    for (int vector = IS_QUICK ? LANES : 0; vector <= LANES; vector += LANES) {
        int n = row_jobs(jobs, true, vector);
        run_jobs(jobs, n, target_host(0), FMA_FUSED);
        run_jobs(jobs, n, plain(), FMA_FUSED);
    }
    if (!IS_QUICK) run_jobs(jobs, row_jobs(jobs, true, LANES), target_host(0), FMA_ROUNDED);
}

#ifdef ALL_ROWS
static void expanded_rows(void **state)
{
    (void)state;
    static row_job jobs[MAX_ROW_JOBS];
    for (int vector = 0; vector <= LANES; vector += LANES)
        run_jobs(jobs, row_jobs(jobs, false, vector), target_host(0), FMA_FUSED);
    run_jobs(jobs, row_jobs(jobs, false, 4), plain(), FMA_FUSED);
    run_jobs(jobs, row_jobs(jobs, false, 4), plain(), FMA_ROUNDED);
}

/* -- No library calls: what an object of all rows leaves undefined --------------------------------------- */

static void no_calls(const char *triple, const char *cpu, int vector)
{
    static row_job jobs[MAX_ROW_JOBS];
    target t;
    bytes b;
    assert_true(target_named(r.ctx, triple, cpu, 0, &t));
    for (int basic = 0; basic < 2; basic++) {
        program *p = row_program(&r, jobs, row_jobs(jobs, basic, vector), FMA_FUSED);
        codegen_options o = { .target = t, .prefix = "r", .threads = 2 };
        dlc_status status = llvm->emit(r.ctx, r.a, p, &o, EMIT_OBJECT, &b);
        if (status != DLC_OK) fprintf(stderr, "%s\n", r.ctx->diags.at[r.ctx->diags.n - 1].message);
        assert_int_equal(status, DLC_OK);
        const Elf64_Ehdr *h = (const void *)b.at;
        const Elf64_Shdr *sec = (const void *)(b.at + h->e_shoff);
        for (int i = 0; i < h->e_shnum; i++) {
            if (sec[i].sh_type != SHT_SYMTAB) continue;
            const char *names = (const char *)b.at + sec[sec[i].sh_link].sh_offset;
            const Elf64_Sym *sym = (const void *)(b.at + sec[i].sh_offset);
            for (size_t j = 1; j < sec[i].sh_size / sizeof *sym; j++) {
                const char *name = names + sym[j].st_name;
                if (sym[j].st_shndx != SHN_UNDEF || !strcmp(name, "memcpy") || !strcmp(name, "memset") ||
                    !strcmp(name, "memmove"))
                    continue;
                fail_msg("%s, %s: code calls %s", triple, cpu, name);
            }
        }
    }
}

static void no_library_calls(void **state)
{
    (void)state;
    no_calls("x86_64", "x86-64", 0);
    no_calls("x86_64", "x86-64", LANES);
    no_calls("x86_64", "haswell", LANES);
    no_calls("aarch64", "generic", LANES);
    no_calls("riscv64", "generic-rv64", 0);
    no_calls("riscv64", "generic-rv64", 2);
}

#endif

int main(void)
{
    mem_frame frame;
    llvm = llvm_module();
    if (!llvm) return 77;
    r.ctx = context_new();
    if (!r.ctx || !mem_try(&r.ctx->mem, &frame)) return 1;
    r.a = arena_new(&r.ctx->mem);
    r.ex = expander_new(r.a);
#ifdef ALL_ROWS
    const struct CMUnitTest tests[] = { cmocka_unit_test(basic_rows), cmocka_unit_test(expanded_rows),
                                        cmocka_unit_test(no_library_calls) };
#else
    const struct CMUnitTest tests[] = { cmocka_unit_test(basic_rows) };
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
