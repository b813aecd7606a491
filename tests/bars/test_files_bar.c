/* test_files_bar: what compiled files are, for every small model.
 *
 *     twice the same    two compiles, on one thread and on two, give the same bytes (.so, .o, .c)
 *     needs nothing     `nm -u` of an object shows memcpy, memset, memmove at most, also for the oldest x86-64, where much is
 *                       missing that LLVM would call a library for; `readelf -d` of a library shows libc alone
 *     other machines    objects for x86-64, aarch64 and riscv64, linked and run (under qemu-user), give the interpreter's bits
 *
 * What the machine lacks (a cross compiler, qemu) is left out with a message.
 */
#include "tests/bars/bar_model.h"
#include "api/engine_c.h"

static char dir[] = "/tmp/dlc-test-XXXXXX";

static bool has_program(const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "command -v %s >/dev/null 2>&1", name);
    return system(line) == 0;
}

static const char *in_dir(bar *b, const char *name) { return arena_printf(b->a, "%s/%s", dir, name); }

static bytes contents(bar *b, const char *path)
{
    bytes x;
    int err;
    if (!file_map(b->a, path, &x, &err)) fail_msg("%s: %s", path, strerror(err));
    return x;
}

static void write_file(const char *path, bytes x)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(x.at, 1, x.n, f), x.n);
    assert_int_equal(fclose(f), 0);
}

static program *lowered(bar *b, const char *path, const driver_options *o)
{
    graph *g;
    program *p = NULL;
    bar_check(b, path, driver_import(b->ctx, b->a, path, o, &g));
    bar_check(b, path, driver_passes(b->ctx, o, &g));
    bar_check(b, path, driver_lower(b->ctx, o, g, &p));
    bar_check(b, path, driver_constants(b->ctx, p));
    return p;
}

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

/* -- Twice the same -------------------------------------------------------------------------------------------------------------- */

static void same(const char *path, const char *form, bytes x, bytes y)
{
    if (x.n != y.n || memcmp(x.at, y.at, x.n) != 0) fail_msg("%s: two compiles to %s differ (%zu and %zu bytes)", path, form, x.n, y.n);
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
    bar_check(b, k->path, driver_emit(b->ctx, b->a, p, &o, EMIT_OBJECT, &object));
    bar_check(b, k->path, driver_emit_shared(b->ctx, p, &o, so));
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

/* -- Needs nothing ---------------------------------------------------------------------------------------------------------------- */

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
    driver_options o = options_for(b, NULL, m->cpu);
    program *p = lowered(b, m->model, &o);
    const char *path = in_dir(b, "t.o"), *so = in_dir(b, "t.so"), *what = arena_printf(b->a, "%s for %s", m->model, o.codegen.target.cpu);
    bar_check(b, what, driver_emit(b->ctx, b->a, p, &o, EMIT_OBJECT, &object));
    write_file(path, object);
    only(what, arena_printf(b->a, "nm -u %s | sed 's/^ *U *//'", path), "memcpy memset memmove");
    bar_check(b, what, driver_emit_shared(b->ctx, p, &o, so));
    only(what, arena_printf(b->a, "readelf -d %s | sed -n 's/.*(NEEDED).*\\[\\(.*\\)\\]/\\1/p'", so), "libc.so.6");
    unlink(path);
    unlink(so);
}

static void needs_nothing(void **state)
{
    static const char *const cpus[] = { NULL, "x86-64", "haswell" };
    if (!has_program("nm") || !has_program("readelf")) { print_message("no nm or readelf\n"); skip(); }
    for (int i = 0; i < 3; i++)
        if (!cpus[i] || strstr(target_host(0).triple, "x86_64")) bar_with(needs_nothing_on, &(model_on){ *state, cpus[i] });
}

/* -- Other machines ---------------------------------------------------------------------------------------------------------------- */

typedef struct { const char *triple, *cpu, *compiler, *runner; } other_machine;
typedef struct { const char *model; const other_machine *machine; } model_there;
static const int64_t open_sizes[2] = { 2, 19 };

/* Runs the program on these inputs and compares. */
static void run_there(bar *b, const char *what, const engine *e, const char *runner, const tensor *in)
{
    const char *x = in_dir(b, "in"), *y = in_dir(b, "out");
    tensor *want = NEW_ARRAY(b->a, tensor, e->n_out + 1);
    bar_check(b, what, engine_run(b->ctx, b->a, e, in, want, NULL));
    text all = { .a = b->a };
    for (int i = 0; i < e->n_in; i++) text_putn(&all, in[i].bytes, tensor_bytes(&in[i]));
    write_file(x, (bytes){ (const uint8_t *)all.at, (size_t)all.n });
    const char *line = arena_printf(b->a, "%s %s %s %s %lld %lld", runner, in_dir(b, "prog"), x, y, (long long)open_sizes[0], (long long)open_sizes[1]);
    assert_int_equal(system(line), 0);
    bytes got = contents(b, y);
    const uint8_t *at = got.at, *end = got.at + got.n;
    for (int i = 0; i < e->n_out; i++) {
        tensor t = want[i];
        assert_true((size_t)(end - at) >= tensor_bytes(&t));
        t.bytes = arena_copy(b->a, at, tensor_bytes(&t));
        at += tensor_bytes(&t);
        const char *differs = tensor_differs_bits(b->a, &t, &want[i]);
        if (differs) fail_msg("%s: output %d: %s", what, i, differs);
    }
    assert_ptr_equal(at, end);
    unlink(x);
    unlink(y);
}

static void elsewhere(bar *b, void *arg)
{
    const model_there *there = arg;
    const other_machine *m = there->machine;
    engine *e;
    bytes object;
    driver_options o = options_for(b, m->triple, m->cpu);
    const char *what = arena_printf(b->a, "%s on %s", there->model, m->triple), *file = in_dir(b, "t.o"), *prog = in_dir(b, "prog");
    bar_check(b, what, engine_open(b->ctx, b->a, there->model, &o, ENGINE_loop, &e));
    bar_check(b, what, driver_emit(b->ctx, b->a, e->program, &o, EMIT_OBJECT, &object));
    write_file(file, object);
    assert_int_equal(system(arena_printf(b->a, "%s -I. -static -O1 -o %s tests/bars/run_model.c %s", m->compiler, prog, file)), 0);
    for (int special = 0; special < 2; special++) run_there(b, what, e, m->runner, bar_inputs(b, e, 7, special, open_sizes));
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
    static const char *const models[] = { "tests/models/convnet.onnx", "tests/models/lstm.onnx", "tests/models/attention.onnx", "tests/models/rows.graph",
                                          "tests/models/scalars.graph", "tests/models/half.onnx", "tests/models/int8.onnx", "tests/models/control.onnx" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) bar_with(elsewhere, &(model_there){ models[i], m });
}

int main(int argc, char **argv)
{
    if (!bar_has_llvm()) { print_message("no LLVM backend\n"); return 77; }
    if (!mkdtemp(dir)) return 1;
    static const other_machine machines[] = { { "x86_64", "x86-64", "cc", "" }, { "aarch64", NULL, "aarch64-linux-gnu-gcc", "qemu-aarch64" },
                                              { "riscv64", NULL, "riscv64-linux-gnu-gcc", "qemu-riscv64" } };
    struct CMUnitTest tests[2 * N_BAR_MODELS + 3];
    int n = 0;
    for (int i = 0; i < N_BAR_MODELS; i++) {
        if (argc > 1 && !strstr(bar_models[i], argv[1])) continue;
        tests[n++] = (struct CMUnitTest){ bar_models[i], twice, NULL, NULL, (void *)bar_models[i] };
        tests[n++] = (struct CMUnitTest){ bar_models[i], needs_nothing, NULL, NULL, (void *)bar_models[i] };
    }
    for (int i = 0; i < 3 && argc < 2; i++) tests[n++] = (struct CMUnitTest){ machines[i].triple, other, NULL, NULL, (void *)&machines[i] };
    int failed = _cmocka_run_group_tests("files", tests, (size_t)n, NULL, NULL);
    rmdir(dir);
    return failed;
}
