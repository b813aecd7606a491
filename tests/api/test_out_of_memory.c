/* test_out_of_memory: memory runs out at the n-th request, for every n, while a small model is imported and
 * compiled
 *
 * Each time the public call gives DLC_ERR_MEMORY and a message, everything that was made is freed, and no
 * file is left. The same context then works once memory is back.
 */
#include "base/context.h"
#include "include/dlc/dlc.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#ifndef STEP
#define STEP 29                                  /* of the requests; test_out_of_memory_slow tries them all */
#endif

static const char *const model = "examples/digits/digits.onnx";

static size_t n_arenas(const dlc_context *ctx)
{
    /* the context's own arena is the only one that may stay */
    return ctx->mem.arenas == ctx->arena ? 1 : 2;
}

typedef dlc_status (*attempt)(dlc_context *ctx);

static dlc_status open_and_close(dlc_context *ctx)
{
    static const char *const options[] = { "backend=loop", "jobs=1", NULL };
    dlc_program *p;
    dlc_status s = dlc_program_open(ctx, model, options, &p);
    assert_true((s == DLC_OK) == (p != NULL));
    dlc_program_close(p);
    return s;
}

static char output[64];
static dlc_status compile(dlc_context *ctx)
{
    static const char *const options[] = { "jobs=1", NULL };
    return dlc_compile_file(ctx, model, output, options);
}

/* Fails the n-th request for n = 1, 1 + step, … until the attempt needs fewer. */
static void try_every(attempt fn, uint64_t step)
{
    dlc_context *ctx = dlc_context_create();
    assert_non_null(ctx);
    assert_int_equal(fn(ctx), DLC_OK);
    uint64_t first = ctx->mem.n_allocs;
    assert_int_equal(fn(ctx), DLC_OK);
    uint64_t need = ctx->mem.n_allocs - first;
    assert_true(need > 10);
    dlc_context_destroy(ctx);
    fprintf(stderr, "%llu requests\n", (unsigned long long)need);
    unlink(output);
    for (uint64_t n = 1; n <= need; n += step) {
        ctx = dlc_context_create();
        assert_non_null(ctx);
        ctx->mem.fail_at = ctx->mem.n_allocs + n;
        dlc_status s = fn(ctx);
        ctx->mem.fail_at = 0;
        if (s == DLC_OK) {                     /* a few requests differ from run to run of the same context */
            dlc_context_destroy(ctx);
            continue;
        }
        assert_int_equal(s, DLC_ERR_MEMORY);
        assert_true(dlc_diag_count(ctx) > 0);
        assert_non_null(strstr(dlc_diag_text(ctx, dlc_diag_count(ctx) - 1), "out of memory"));
        assert_int_equal(n_arenas(ctx), 1);
        assert_int_not_equal(access(output, F_OK), 0);
        if (n % 137 == 1) assert_int_equal(fn(ctx), DLC_OK);
        unlink(output);
        dlc_context_destroy(ctx);
    }
}

static void opening(void **state)
{
    (void)state;
    try_every(open_and_close, STEP);
}

static void writing_c(void **state)
{
    (void)state;
    snprintf(output, sizeof output, "/tmp/dlc_oom_%d.c", (int)getpid());
    try_every(compile, STEP);
    char header[64];
    snprintf(header, sizeof header, "/tmp/dlc_oom_%d.h", (int)getpid());
    unlink(header);
}

/* Code generation takes longer: a part of the requests. */
static void writing_object(void **state)
{
    (void)state;
    snprintf(output, sizeof output, "/tmp/dlc_oom_%d.o", (int)getpid());
    dlc_context *ctx = dlc_context_create();
    dlc_status s = compile(ctx);
    dlc_context_destroy(ctx);
    unlink(output);
    if (s == DLC_ERR_UNSUPPORTED) skip();                /* built without LLVM */
    try_every(compile, 97 * STEP);
    char header[64];
    snprintf(header, sizeof header, "/tmp/dlc_oom_%d.h", (int)getpid());
    unlink(header);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(opening), cmocka_unit_test(writing_c),
                                        cmocka_unit_test(writing_object) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
