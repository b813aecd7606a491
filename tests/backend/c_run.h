/* tests/backend/c_run.h: a program written as C, compiled by one of the compilers of this machine, and
 * opened. */
#ifndef DLC_TESTS_BACKEND_C_RUN_H
#define DLC_TESTS_BACKEND_C_RUN_H
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "api/header.h"
#include "backend/c/cgen.h"
#include "runtime/model.h"

/* vectors: of the text with vector types */
typedef struct { const char *name, *command; bool vectors; } compiler;

/* Warnings are errors. */
static const compiler compilers[] = {
    { "gcc", "gcc -std=c99 -pedantic -Wall -Wextra -Werror -O1", false },
    /* where gcc would contract by itself */
    { "gcc", "gcc -std=gnu99 -Wall -Wextra -Werror -O3 -march=native", false },
    { "clang", "clang -std=c99 -pedantic -Wall -Wextra -Werror -O2 -march=native", false },
    { "clang-22", "clang-22 -std=c99 -pedantic -Wall -Wextra -Werror -O2 -march=native", false },
    { "tcc", "tcc -std=c99 -Wall -Werror", false },
    { "gcc", "gcc -std=gnu99 -Wall -Wextra -Werror -O2", true },
    { "gcc", "gcc -std=gnu99 -Wall -Wextra -Werror -O2 -march=native", true },
    { "clang", "clang -std=gnu99 -Wall -Wextra -Werror -O1 -march=native", true },
    { "clang-22", "clang-22 -std=gnu99 -Wall -Wextra -Werror -O1 -march=native", true },
};
enum { N_COMPILERS = sizeof compilers / sizeof *compilers };

static bool has_compiler(int i)
{
    char line[200];
    snprintf(line, sizeof line, "command -v %s >/dev/null", compilers[i].name);
    return system(line) == 0;
}

static void write_bytes(const char *path, bytes b)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.at, 1, b.n, f), b.n);
    fclose(f);
}

/* The opened model; *handle: to be closed. */
static const dlc_model *c_open(dlc_context *ctx, arena *a, const program *p, int cc, const char *flags,
                               void **handle, const void **weights)
{
    char dir[] = "/tmp/dlc-test-XXXXXX";
    bytes c, bin;
    text h = { .a = a };
    c_options o = {
        .prefix = "t", .header = "t.h", .max_inside_bytes = 1 << 16, .vectors = compilers[cc].vectors
    };
    assert_non_null(mkdtemp(dir));
    assert_int_equal(c_emit(ctx, a, p, &o, &c, &bin), DLC_OK);
    *weights = bin.at;
    header_write(p, "t", false, c_measure(a, p).stack_bytes, &h);
    write_bytes(arena_printf(a, "%s/t.c", dir), c);
    write_bytes(arena_printf(a, "%s/t.h", dir), (bytes){ (const uint8_t *)h.at, (size_t)h.n });
    const char *line = arena_printf(a, "%s %s -Dt_SHARED -shared -fPIC -o %s/t.so %s/t.c",
                                    compilers[cc].command, flags, dir, dir);
    if (system(line) != 0) { fprintf(stderr, "%s\n", line); fail(); }
    *handle = dlopen(arena_printf(a, "%s/t.so", dir), RTLD_NOW | RTLD_LOCAL);
    if (!*handle) fprintf(stderr, "%s\n", dlerror());
    assert_non_null(*handle);
    if (!getenv("DLC_TEST_KEEP")) assert_int_equal(system(arena_printf(a, "rm -r %s", dir)), 0);
    const dlc_model *m = dlsym(*handle, "dlc_model_v1");
    assert_non_null(m);
    assert_int_equal(m->abi, DLC_MODEL_ABI);
    return m;
}

#endif
