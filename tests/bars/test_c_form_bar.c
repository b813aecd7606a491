/* test_c_form_bar: what docs/c-form.md promises of the C that is written, for every small model, in both
 * dialects.
 *
 *     clean            no warning from gcc, clang and tcc under -std=c99 -pedantic -Wall -Wextra (vector
 *                      types: gcc and clang, -std=gnu99); includes nothing but the header, <stdint.h>,
 *                      <stddef.h>, <float.h>
 *     needs nothing    one global symbol, t_model; nothing undefined but memcpy, memset, memmove; no data
 *                      that changes
 *     refuses          -ffast-math, floats in a wider format, and with --fma a target without the instruction
 *     weights          in a file of their own: given by pointer, and made part of the object by t_INCBIN
 *     other machines   x86-64, x86 of 32 bits, aarch64, riscv64 (under qemu-user), plain and vectors; a
 *                      Cortex-M4 without a C library (under qemu-arm, which takes its code), plain: the
 *                      interpreter's bits
 *     stack            no function takes more than the header says, and what calls and spilled values take
 *
 * What the machine lacks (a compiler, qemu) is left out with a message.
 */
#include "tests/bars/bar_files.h"
#include "api/engine_c.h"
#include "api/header.h"
#include "backend/c/cgen.h"

typedef struct { const char *program, *flags; bool vectors; } strict_compiler;
#define STRICT "-std=c99 -pedantic -Wall -Wextra -Werror"
static const strict_compiler compilers[] = {
    { "gcc", STRICT " -O2", false }, { "gcc", "-std=gnu99 -Wall -Wextra -Werror -O2", true },
    { "clang", STRICT " -O1", false }, { "clang", "-std=gnu99 -Wall -Wextra -Werror -O1", true },
    { "clang-22", STRICT " -O1", false }, { "clang-22", "-std=gnu99 -Wall -Wextra -Werror -O1", true },
    { "tcc", "-std=c99 -Wall -Werror", false },
};
enum { N_COMPILERS = sizeof compilers / sizeof *compilers };

/* -- Files ----------------------------------------------------------------------------------------------- */

static driver_options portable(bool is_fused)
{
    driver_options o = driver_defaults();
    o.c_fma = is_fused;
    driver_set_portable(&o);
    return o;
}

/* t.c and t.h of p in the folder, t.bin if there are more weights than max_inside bytes. */
static void write_c(bar *b, const char *what, const program *p, bool vectors, int64_t max_inside)
{
    bytes c, bin;
    text h = { .a = b->a };
    c_options o = { .prefix = "t", .header = "t.h", .max_inside_bytes = max_inside, .vectors = vectors };
    bar_check(b, what, c_emit(b->ctx, b->a, p, &o, &c, &bin));
    header_write(p, "t", false, c_measure(b->a, p).stack_bytes, &h);
    write_file(in_dir(b, "t.c"), c);
    write_file(in_dir(b, "t.h"), (bytes){ (const uint8_t *)h.at, (size_t)h.n });
    if (max_inside) write_file(in_dir(b, "t.bin"), bin);
}

static int shell(bar *b, const char *line) { return system(arena_printf(b->a, "cd %s && %s", dir, line)); }

static void remove_files(bar *b) { assert_int_equal(shell(b, "rm -f t.c t.h t.bin t.o prog in out"), 0); }

/* -- Clean, needs nothing -------------------------------------------------------------------------------- */

/* The words that a command prints are all in `allowed`. */
static void only(bar *b, const char *what, const char *line, const char *allowed)
{
    FILE *f = popen(arena_printf(b->a, "cd %s && %s", dir, line), "r");
    char word[200];
    assert_non_null(f);
    while (fscanf(f, "%199s", word) == 1)
        if (!strstr(allowed, word)) fail_msg("%s: %s (%s)", what, word, line);
    pclose(f);
}

static void compile_all(bar *b, const char *what, bool vectors)
{
    for (int i = 0; i < N_COMPILERS; i++) {
        const strict_compiler *c = &compilers[i];
        if (c->vectors != vectors || !has_program(c->program)) continue;
        if (shell(b, arena_printf(b->a, "%s %s -c t.c -o t.o", c->program, c->flags)) != 0)
            fail_msg("%s: %s %s", what, c->program, c->flags);
        /* tcc has no .rodata */
        if (shell(b, "nm -P t.o > t.syms 2>/dev/null") != 0 || strcmp(c->program, "tcc") == 0) continue;
        only(b, what, "sed -n 's/^\\([^ .]*\\) [A-TV-Z].*/\\1/p' t.syms", "t_model");
        only(b, what, "sed -n 's/^\\([^ ]*\\) U.*/\\1/p' t.syms",
             "memcpy memset memmove _GLOBAL_OFFSET_TABLE_");
        only(b, what, "sed -n 's/^\\([^ ]*\\) [bBcC].*/\\1/p' t.syms", "");
    }
    assert_int_equal(shell(b, "rm -f t.syms"), 0);
}

static void clean_model(bar *b, void *arg)
{
    const char *path = arg;
    for (int i = 0; i < 4; i++) {
        bool vectors = i & 1, fused = i & 2;
        driver_options o = portable(fused);
        program *p = lowered(b, path, &o);
        const char *what = arena_printf(b->a, "%s, %s, %s", path, vectors ? "vectors" : "plain",
                                        fused ? "fused" : "rounded");
        write_c(b, what, p, vectors, 0);
        only(b, what, "sed -n 's/^# *include *//p' t.c t.h", "\"t.h\" <stdint.h> <stddef.h> <float.h>");
        if (!fused) compile_all(b, what, vectors);
    }
    remove_files(b);
}

static void clean(void **state) { bar_with(clean_model, *state); }

/* -- Refuses --------------------------------------------------------------------------------------------- */

static void refused(bar *b, const char *flags, bool is_refused)
{
    bool failed = shell(b, arena_printf(b->a, "cc %s -c t.c -o t.o 2>/dev/null", flags)) != 0;
    if (failed != is_refused) fail_msg("cc %s: %s", flags, failed ? "refused" : "taken");
}

static void refusals(bar *b, void *arg)
{
    for (int fused = 0; fused < 2; fused++) {
        driver_options o = portable(fused);
        write_c(b, arg, lowered(b, arg, &o), false, 0);
#if defined(__x86_64__)
        refused(b, "-O1", fused);
        refused(b, "-O1 -mfma", false);
        refused(b, "-O1 -mfma -ffast-math", true);
#if !defined(__clang__)
        refused(b, "-O1 -mfma -mfpmath=387", true);
#endif
#else
        refused(b, "-O1", false);
        refused(b, "-O1 -ffast-math", true);
#endif
    }
    remove_files(b);
}

static void refuses(void **state)
{
    (void)state;
    if (!has_program("cc")) { print_message("no cc\n"); skip(); }
    bar_with(refusals, "tests/models/convnet.onnx");
}

/* -- Runs ------------------------------------------------------------------------------------------------ */

/* By which the C is compiled, linked with tests/bars/MAIN, and run. */
typedef struct { const char *name, *compiler, *flags, *runner, *main; bool vectors, is_bare; } c_machine;
static const c_machine c_machines[] = {
    { "x86_64", "cc", "", "", "run_model.c", true, false },
    { "i686", "gcc", "-m32 -msse2 -mfpmath=sse -static", "", "run_model.c", true, false },
    { "aarch64", "aarch64-linux-gnu-gcc", "-static", "qemu-aarch64", "run_model.c", true, false },
    { "riscv64", "riscv64-linux-gnu-gcc", "-static", "qemu-riscv64", "run_model.c", true, false },
    { "cortex-m4", "arm-none-eabi-gcc",
      "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -ffreestanding -nostdlib -static -Iruntime",
      "qemu-arm", "run_bare.c", false, true },
};
enum { N_C_MACHINES = sizeof c_machines / sizeof *c_machines };

static bool is_at_hand(const c_machine *m)
{
    char line[400];
    snprintf(line, sizeof line,
             "echo 'int main(void) { return 0; }' | %s %s%s -x c - -o /dev/null 2>/dev/null", m->compiler,
             m->flags, m->is_bare ? " -c" : "");
    return system(line) == 0 && (!*m->runner || has_program(m->runner));
}

static void build(bar *b, const char *what, const c_machine *m, const char *flags)
{
    const char *line = arena_printf(b->a, "%s -I. -O2 %s %s -o %s tests/bars/%s %s%s", m->compiler, m->flags,
                                    flags, in_dir(b, "prog"), m->main, in_dir(b, "t.c"),
                                    m->is_bare ? " -lgcc" : "");
    if (system(line) != 0) fail_msg("%s: %s", what, line);
}

static engine *interpreter(bar *b, const char *path)
{
    engine *e;
    driver_options o = portable(false);
    bar_check(b, path, engine_open(b->ctx, b->a, path, &o, ENGINE_loop, &e));
    return e;
}

static void weights_of(bar *b, void *arg)
{
    const char *path = arg;
    engine *e = interpreter(b, path);
    for (int vectors = 0; vectors < 2; vectors++) {
        write_c(b, path, e->program, vectors, 1);
        setenv("T_WEIGHTS", in_dir(b, "t.bin"), 1);
        build(b, path, &c_machines[0], "");
        run_there(b, "weights by pointer", e, "", bar_inputs(b, e, 3, false, open_sizes));
        build(b, path, &c_machines[0], arena_printf(b->a, "-Dt_INCBIN='\"%s\"'", in_dir(b, "t.bin")));
        unlink(in_dir(b, "t.bin"));
        run_there(b, "weights inside", e, "", bar_inputs(b, e, 3, false, open_sizes));
        unsetenv("T_WEIGHTS");
    }
    remove_files(b);
}

static void weights(void **state)
{
    (void)state;
    if (!has_program("cc")) { print_message("no cc\n"); skip(); }
    bar_with(weights_of, "tests/models/convnet.onnx");
    bar_with(weights_of, "tests/models/int8.onnx");
}

typedef struct { const char *model; const c_machine *machine; } model_there;

static void there(bar *b, void *arg)
{
    const model_there *m = arg;
    engine *e = interpreter(b, m->model);
    for (int vectors = 0; vectors <= m->machine->vectors; vectors++) {
        const char *what = arena_printf(b->a, "%s, %s on %s", m->model, vectors ? "vectors" : "plain",
                                        m->machine->name);
        write_c(b, what, e->program, vectors, 0);
        build(b, what, m->machine, "");
        for (int special = 0; special < 2; special++)
            run_there(b, what, e, m->machine->runner, bar_inputs(b, e, 7, special, open_sizes));
    }
    remove_files(b);
}

static void other(void **state)
{
    const c_machine *m = *state;
    if (!is_at_hand(m)) {
        print_message("%s: %s or %s is not installed\n", m->name, m->compiler,
                      *m->runner ? m->runner : "its C library");
        skip();
    }
    static const char *const models[] = { "tests/models/convnet.onnx", "tests/models/rows.graph",
                                          "tests/models/half.onnx", "tests/models/lstm.onnx",
                                          "tests/models/attention.onnx" };
    /* the last two have open sizes */
    for (int i = 0; i < (m->is_bare ? 3 : 5); i++) bar_with(there, &(model_there){ models[i], m });
}

/* -- Stack ----------------------------------------------------------------------------------------------- */

static void stack_of(bar *b, void *arg)
{
    driver_options o = portable(false);
    program *p = lowered(b, arg, &o);
    int64_t most = c_measure(b->a, p).stack_bytes + 1024;
    char word[300];
    long n;
    write_c(b, arg, p, false, 0);
    assert_int_equal(shell(b, "gcc -O1 -fstack-usage -c t.c -o t.o"), 0);
    FILE *f = fopen(in_dir(b, "t.su"), "r");
    assert_non_null(f);
    while (fscanf(f, "%299s %ld %*s", word, &n) == 2)
        if (n > most)
            fail_msg("%s: %s takes %ld bytes, %lld were said", (const char *)arg, word, n,
                     (long long)most - 1024);
    fclose(f);
    unlink(in_dir(b, "t.su"));
    remove_files(b);
}

static void stack(void **state)
{
    (void)state;
    if (!has_program("gcc")) { print_message("no gcc\n"); skip(); }
    for (int i = 0; i < N_BAR_MODELS; i++) bar_with(stack_of, (void *)bar_models[i]);
}

int main(int argc, char **argv)
{
    if (!mkdtemp(dir)) return 1;
    struct CMUnitTest tests[N_BAR_MODELS + N_C_MACHINES + 3];
    int n = 0;
    for (int i = 0; i < N_BAR_MODELS; i++)
        if (argc < 2 || strstr(bar_models[i], argv[1]))
            tests[n++] = (struct CMUnitTest){ bar_models[i], clean, NULL, NULL, (void *)bar_models[i] };
    if (argc < 2) tests[n++] = (struct CMUnitTest){ "refuses", refuses, NULL, NULL, NULL };
    if (argc < 2) tests[n++] = (struct CMUnitTest){ "weights", weights, NULL, NULL, NULL };
    if (argc < 2) tests[n++] = (struct CMUnitTest){ "stack", stack, NULL, NULL, NULL };
    for (int i = 0; i < N_C_MACHINES && argc < 2; i++)
        tests[n++] = (struct CMUnitTest){ c_machines[i].name, other, NULL, NULL, (void *)&c_machines[i] };
    int failed = _cmocka_run_group_tests("C form", tests, (size_t)n, NULL, NULL);
    rmdir(dir);
    return failed;
}
