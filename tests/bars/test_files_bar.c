/* test_files_bar: what compiled files are, for every small model.
 *
 *     twice the same    two compiles, on one thread and on two, give the same bytes (.so, .o, .c)
 *     needs nothing     `nm -u` of an object shows memcpy, memset, memmove at most, also for the oldest
 *                       x86-64, where much is missing that LLVM would call a library for; `readelf -d` of a
 *                       library shows libc alone
 *     other machines    objects for x86-64, aarch64 and riscv64, linked and run (under qemu-user), give the
 *                       interpreter's bits
 *
 * What the machine lacks (a cross compiler, qemu) is left out with a message.
 */
#include "tests/bars/bar_files.h"
#include "api/engine_c.h"

static driver_options options_for(bar *b, const char *triple, const char *cpu)
{
    driver_options o = driver_defaults();
    target t;
    assert_true(target_named(b->ctx, triple, cpu, 0, &t));
    driver_set_target(&o, &t);
    if (!t.has_fma) o.fma = FMA_ROUNDED;
    o.codegen.prefix = "t";
    o.codegen.threads = 1;
    return o;
}

/* -- Twice the same -------------------------------------------------------------------------------------- */

static void same(const char *path, const char *form, bytes x, bytes y)
{
    if (x.n != y.n || memcmp(x.at, y.at, x.n) != 0)
        fail_msg("%s: two compiles to %s differ (%zu and %zu bytes)", path, form, x.n, y.n);
}

typedef struct { const char *path; int threads; bytes object, library, c; } compilation;

static bytes keep(bytes x)
{
    void *p = malloc(x.n + 1);
    assert_non_null(p);
    memcpy(p, x.at, x.n);
    return (bytes){ p, x.n };
}

static void make_files(bar *b, void *arg)
{
    compilation *k = arg;
    driver_options o = options_for(b, NULL, NULL);
    o.codegen.threads = k->threads;
    program *p = lowered(b, k->path, &o);
    const char *so = in_dir(b, k->threads == 1 ? "first.so" : "second.so");
    bytes object, c, bin;
    const char *kept;
    bar_check(b, k->path, driver_emit(b->ctx, b->a, p, &o, EMIT_OBJECT, &object));
    bar_check(b, k->path, driver_emit_shared(b->ctx, b->a, p, &o, so, &kept));
    bar_check(b, k->path, driver_emit_c(b->ctx, b->a, p, &o, "t.h", &c, &bin));
    k->object = keep(object);
    k->library = keep(contents(b, so));
    k->c = keep(c);
    unlink(so);
}

static void drop(compilation *k)
{
    free((void *)k->object.at);
    free((void *)k->library.at);
    free((void *)k->c.at);
}

static void twice(void **state)
{
    compilation one = { .path = *state, .threads = 1 }, two = { .path = *state, .threads = 2 };
    bar_with(make_files, &one);
    bar_with(make_files, &two);
    same(*state, ".o", one.object, two.object);
    same(*state, ".so", one.library, two.library);
    same(*state, ".c", one.c, two.c);
    drop(&one);
    drop(&two);
}

/* -- Needs nothing --------------------------------------------------------------------------------------- */

/* The words of a command's output that are not in `allowed`. */
static void only(const char *path, const char *command, const char *allowed)
{
    FILE *f = popen(command, "r");
    char word[200];
    assert_non_null(f);
    while (fscanf(f, "%199s", word) == 1) {
        const char *at = strstr(allowed, word);
        if (!at) fail_msg("%s: needs %s", path, word);
    }
    assert_int_equal(pclose(f), 0);
}

typedef struct { const char *model, *cpu; } model_on;

static void needs_nothing_on(bar *b, void *arg)
{
    const model_on *m = arg;
    bytes object;
    const char *kept;
    driver_options o = options_for(b, NULL, m->cpu);
    program *p = lowered(b, m->model, &o);
    const char *path = in_dir(b, "t.o"), *so = in_dir(b, "t.so"),
               *what = arena_printf(b->a, "%s for %s", m->model, o.codegen.target.cpu);
    bar_check(b, what, driver_emit(b->ctx, b->a, p, &o, EMIT_OBJECT, &object));
    write_file(path, object);
    only(what, arena_printf(b->a, "nm -u %s | sed 's/^ *U *//'", path), "memcpy memset memmove");
    bar_check(b, what, driver_emit_shared(b->ctx, b->a, p, &o, so, &kept));
    only(what, arena_printf(b->a, "readelf -d %s | sed -n 's/.*(NEEDED).*\\[\\(.*\\)\\]/\\1/p'", so),
         "libc.so.6");
    unlink(path);
    unlink(so);
}

static void needs_nothing(void **state)
{
    static const char *const cpus[] = { NULL, "x86-64", "haswell" };
    if (!has_program("nm") || !has_program("readelf")) { print_message("no nm or readelf\n"); skip(); }
    for (int i = 0; i < 3; i++)
        if (!cpus[i] || strstr(target_host(0).triple, "x86_64"))
            bar_with(needs_nothing_on, &(model_on){ *state, cpus[i] });
}

/* -- Other machines -------------------------------------------------------------------------------------- */

typedef struct { const char *triple, *cpu, *compiler, *runner; } other_machine;
static const other_machine machines[] = {
    { "x86_64", "x86-64", "cc", "" }, { "aarch64", NULL, "aarch64-linux-gnu-gcc", "qemu-aarch64" },
    { "riscv64", NULL, "riscv64-linux-gnu-gcc", "qemu-riscv64" },
};
enum { N_MACHINES = sizeof machines / sizeof *machines };
typedef struct { const char *model; const other_machine *machine; } model_there;
static void elsewhere(bar *b, void *arg)
{
    const model_there *there = arg;
    const other_machine *m = there->machine;
    engine *e;
    bytes object;
    driver_options o = options_for(b, m->triple, m->cpu);
    const char *what = arena_printf(b->a, "%s on %s", there->model, m->triple), *file = in_dir(b, "t.o"),
               *prog = in_dir(b, "prog");
    bar_check(b, what, engine_open(b->ctx, b->a, there->model, &o, ENGINE_loop, &e));
    bar_check(b, what, driver_emit(b->ctx, b->a, e->program, &o, EMIT_OBJECT, &object));
    write_file(file, object);
    assert_int_equal(system(arena_printf(b->a, "%s -I. -static -O1 -o %s tests/bars/run_model.c %s",
                                         m->compiler, prog, file)),
                     0);
    for (int special = 0; special < 2; special++)
        run_there(b, what, e, m->runner, bar_inputs(b, e, 7, special, open_sizes));
    unlink(file);
    unlink(prog);
}

static void other(void **state)
{
    const other_machine *m = *state;
    if (!has_program(m->compiler) || (*m->runner && !has_program(m->runner))) {
        print_message("%s or %s is not installed\n", m->compiler, m->runner);
        skip();
    }
    static const char *const models[] = { "tests/models/convnet.onnx",   "tests/models/lstm.onnx",
                                          "tests/models/attention.onnx", "tests/models/rows.graph",
                                          "tests/models/scalars.graph",  "tests/models/half.onnx",
                                          "tests/models/int8.onnx",      "tests/models/control.onnx" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        bar_with(elsewhere, &(model_there){ models[i], m });
}

int main(int argc, char **argv)
{
    if (!bar_has_llvm()) { print_message("no LLVM backend\n"); return 77; }
    if (!mkdtemp(dir)) return 1;
    struct CMUnitTest tests[2 * N_BAR_MODELS + N_MACHINES];
    int n = 0;
    for (int i = 0; i < N_BAR_MODELS; i++) {
        if (argc > 1 && !strstr(bar_models[i], argv[1])) continue;
        tests[n++] = (struct CMUnitTest){ bar_models[i], twice, NULL, NULL, (void *)bar_models[i] };
        tests[n++] = (struct CMUnitTest){ bar_models[i], needs_nothing, NULL, NULL, (void *)bar_models[i] };
    }
    for (int i = 0; i < N_MACHINES && argc < 2; i++)
        tests[n++] = (struct CMUnitTest){ machines[i].triple, other, NULL, NULL, (void *)&machines[i] };
    int failed = _cmocka_run_group_tests("files", tests, (size_t)n, NULL, NULL);
    rmdir(dir);
    return failed;
}
