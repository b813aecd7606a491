/* Files that the LLVM backend writes: shared libraries and objects run and agree with the interpreter, also
 * for other architectures (under qemu, where the cross compilers are installed); what they export and need;
 * equal bytes each time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "backend/cache.h"
#include "backend/store.h"
#include "backend/codegen.h"
#include "tests/support/llvm_module.h"
#include "backend/eval/eval_loop.h"
#include "runtime/model.h"

static const llvm_backend *llvm;
static dlc_context *ctx;
static arena *a;
static char dir[] = "/tmp/dlc-test-XXXXXX";
static program *net;
static void *in[1], *want[3];
enum { N = 256 };
static const size_t want_bytes[3] = { N * 4, 4 * 4, N * 2 };

static const char *path(const char *name) { return arena_printf(a, "%s/%s", dir, name); }

static int setup(void **state)
{
    (void)state;
    bytes src;
    int err;
    uint32_t seed = 1;
    assert_non_null(mkdtemp(dir));
    assert_true(file_map(a, "tests/backend/programs/net.loop", &src, &err));
    net = program_parse(ctx, a, "net.loop", (const char *)src.at, src.n);
    assert_non_null(net);
    in[0] = arena_alloc(a, N * 4);
    for (int i = 0; i < N; i++) ((float *)in[0])[i] = (float)(i % 23) * 0.07f - 0.6f;
    for (int64_t i = 0; i < net->bufs.n; i++) {
        pbuf *b = &net->bufs.at[i];
        if (b->kind != PBUF_const) continue;
        int64_t n = 1, v;
        for (int j = 0; j < b->rank; j++) { dim_is_const(b->dims[j], &v); n *= v; }
        float *x = arena_array(a, (size_t)n, 4);
        for (int64_t j = 0; j < n; j++) {
            seed = seed * 1664525 + 1013904223;
            x[j] = (float)((int)(seed >> 8) % 2001 - 1000) / 4096.0f;
        }
        b->data = x;
    }
    for (int i = 0; i < 3; i++) want[i] = arena_alloc(a, want_bytes[i]);
    eval_io io = { .inputs = (const void *const *)in, .outputs = want };
    return !eval_program(ctx, expander_new(a), net, &io, &(loop_eval_options){ .fill = 1e30 });
}

static int teardown(void **state)
{
    (void)state;
    rmdir(dir);
    return 0;
}

static codegen_options options(target t, int threads)
{
    return (codegen_options){ .target = t, .prefix = "t", .threads = threads };
}

static void check(dlc_status status)
{
    if (status != DLC_OK) fprintf(stderr, "%s\n", ctx->diags.at[ctx->diags.n - 1].message);
    assert_int_equal(status, DLC_OK);
}

static void write_file(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void run_model(const dlc_model *m, const void *weights)
{
    void *out[3];
    for (int i = 0; i < 3; i++) out[i] = arena_alloc(a, want_bytes[i]);
    assert_int_equal(m->abi, DLC_MODEL_ABI);
    assert_int_equal(m->n_inputs, 1);
    assert_int_equal(m->n_outputs, 3);
    assert_string_equal(m->outputs[1].dtype, "i32");
    dlc_run run = { .workspace = aligned_alloc(64, (size_t)m->workspace(NULL) + 64), .weights = weights };
    assert_int_equal(m->run(&run, NULL, (const void *const *)in, out), DLC_RUN_OK);
    for (int i = 0; i < 3; i++) assert_memory_equal(want[i], out[i], want_bytes[i]);
    free(run.workspace);
}

static void shared(void **state)
{
    (void)state;
    codegen_options o = options(target_host(0), 2);
    const char *lib = path("net.so");
    check(llvm->emit_shared(ctx, net, &o, lib));
    void *h = dlopen(lib, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(h);
    run_model(dlsym(h, "dlc_model_v1"), NULL);
    assert_ptr_equal(dlsym(h, "t_model"), dlsym(h, "dlc_model_v1"));
    assert_null(dlsym(h, "t_run"));
    assert_null(dlsym(h, "t_k0"));
    dlclose(h);
    unlink(lib);
}

static void external_weights(void **state)
{
    (void)state;
    codegen_options o = options(target_host(0), 1);
    o.external_weights = true;
    const char *lib = path("net.so");
    check(llvm->emit_shared(ctx, net, &o, lib));
    void *h = dlopen(lib, RTLD_NOW | RTLD_LOCAL);
    const dlc_model *m = dlsym(h, "dlc_model_v1");
    char *weights = aligned_alloc(64, (size_t)m->weights_bytes), *at = weights;
    assert_int_equal(m->weights_bytes, 2 * 64 * 64 * 4 + 64 * 4);
    for (int64_t i = 0; i < net->bufs.n; i++) {
        const pbuf *b = &net->bufs.at[i];
        if (b->kind != PBUF_const) continue;
        size_t n = b->rank == 2 ? 64 * 64 * 4 : 64 * 4;
        memcpy(at, b->data, n);
        at += n;
    }
    run_model(m, weights);
    dlclose(h);
    free(weights);
    unlink(lib);
}

static void same_bytes(void **state)
{
    (void)state;
    for (int kind = EMIT_OBJECT; kind <= EMIT_ASM; kind++) {
        if (kind == EMIT_SHARED) continue;
        bytes x, y;
        codegen_options one = options(target_host(0), 1), four = options(target_host(0), 4);
        check(llvm->emit(ctx, a, net, &one, (emit_kind)kind, &x));
        check(llvm->emit(ctx, a, net, &four, (emit_kind)kind, &y));
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.at, y.at, x.n);
    }
}

/* -- The cache ------------------------------------------------------------------------------------------- */

static int n_opened;
static const llvm_backend *open_backend(dlc_context *c) { (void)c; n_opened++; return llvm; }

static void load_and_run(const codegen_options *o, int want_opened)
{
    loaded_code *code;
    const dlc_model *m;
    n_opened = 0;
    check(load_code(ctx, net, o, open_backend, &code, &m));
    run_model(m, NULL);
    assert_int_equal(n_opened, want_opened);
    unload_code(code);
}

static const char *only_file(const char *folder)
{
    FILE *f = popen(arena_printf(a, "ls %s", folder), "r");
    char name[256] = "", more[256];
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%255s", name), 1);
    assert_int_equal(fscanf(f, "%255s", more), EOF);
    pclose(f);
    return arena_printf(a, "%s/%s", folder, name);
}

static void cache(void **state)
{
    (void)state;
    assert_int_equal(setenv("DLC_CACHE_DIR", path("cache"), 1), 0);
    const char *folder = store_default(a);
    assert_non_null(folder);
    codegen_options o = options(target_host(0), 1);
    load_and_run(&o, 1);
    o.cache_dir = folder;
    load_and_run(&o, 1);
    load_and_run(&o, 0);
    const char *file = only_file(folder);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    /* two loads at once have each their own constants */
    loaded_code *one, *two;
    const dlc_model *m1, *m2;
    check(load_code(ctx, net, &o, open_backend, &one, &m1));
    const void *kept[64];
    for (int64_t i = 0; i < net->bufs.n; i++) {
        kept[i] = net->bufs.at[i].data;
        if (net->bufs.at[i].kind == PBUF_const) net->bufs.at[i].data = arena_alloc(a, 64 * 64 * 4);
    }
    check(load_code(ctx, net, &o, open_backend, &two, &m2));
    for (int64_t i = 0; i < net->bufs.n; i++) net->bufs.at[i].data = kept[i];
    run_model(m1, NULL);
    assert_ptr_not_equal(m1, m2);
    unload_code(two);
    run_model(m1, NULL);
    unload_code(one);

    /* a file that somebody changed, or whose mode is too open, is made anew */
    FILE *f = fopen(file, "r+b");
    fseek(f, 4000, SEEK_SET);
    fputc('x', f);
    fclose(f);
    load_and_run(&o, 1);
    load_and_run(&o, 0);
    assert_int_equal(chmod(file, 0644), 0);
    load_and_run(&o, 1);
    load_and_run(&o, 0);
    o.target = target_host(16);
    load_and_run(&o, 1);
    assert_int_equal(system(arena_printf(a, "rm -r %s", folder)), 0);
}

static bool has_program(const char *name)
{
    return system(arena_printf(a, "command -v %s >/dev/null 2>&1", name)) == 0;
}

static void cross(const char *triple, const char *cpu, const char *compiler, const char *runner)
{
    if (!has_program(compiler) || (*runner && !has_program(runner))) return;
    target t;
    bytes b;
    assert_true(target_named(ctx, triple, cpu, 0, &t));
    codegen_options o = options(t, 2);
    check(llvm->emit(ctx, a, net, &o, EMIT_OBJECT, &b));
    const char *object = path("t.o"), *prog = path("prog"), *x = path("in"), *y = path("out");
    write_file(object, b.at, b.n);
    write_file(x, in[0], N * 4);
    assert_int_equal(system(arena_printf(a, "%s -I. -static -O1 -o %s tests/backend/cross_main.c %s",
                                         compiler, prog, object)),
                     0);
    assert_int_equal(system(arena_printf(a, "%s %s %s %s", runner, prog, x, y)), 0);
    bytes got;
    int err;
    assert_true(file_map(a, y, &got, &err));
    assert_int_equal(got.n, want_bytes[0] + want_bytes[1] + want_bytes[2]);
    const uint8_t *at = got.at;
    for (int i = 0; i < 3; at += want_bytes[i++]) assert_memory_equal(want[i], at, want_bytes[i]);
    unlink(object);
    unlink(prog);
    unlink(x);
    unlink(y);
}

/* Assembly stands alone: assembled and linked, it runs. */
static void text_here(void **state)
{
    (void)state;
    bytes b;
    codegen_options o = options(target_host(0), 1);
    check(llvm->emit(ctx, a, net, &o, EMIT_ASM, &b));
    const char *source = path("t.s"), *prog = path("prog"), *x = path("in"), *y = path("out");
    if (!has_program("cc")) return;
    write_file(source, b.at, b.n);
    write_file(x, in[0], N * 4);
    assert_int_equal(system(arena_printf(a, "cc -I. -o %s tests/backend/cross_main.c %s", prog, source)), 0);
    assert_int_equal(system(arena_printf(a, "%s %s %s", prog, x, y)), 0);
    bytes got;
    int err;
    assert_true(file_map(a, y, &got, &err));
    assert_memory_equal(want[0], got.at, want_bytes[0]);
    unlink(source);
    unlink(prog);
    unlink(x);
    unlink(y);
}

static void object_here(void **state) { (void)state; cross("x86_64", "x86-64", "cc", ""); }
static void aarch64(void **state)
{
    (void)state;
    cross("aarch64", NULL, "aarch64-linux-gnu-gcc", "qemu-aarch64");
}

static void riscv64(void **state)
{
    (void)state;
    cross("riscv64", NULL, "riscv64-linux-gnu-gcc", "qemu-riscv64");
}

int main(void)
{
    llvm = llvm_module();
    if (!llvm) return 77;
    mem_frame frame;
    ctx = context_new();
    if (!ctx || !mem_try(&ctx->mem, &frame)) return 1;
    a = arena_new(&ctx->mem);
    const struct CMUnitTest tests[] = { cmocka_unit_test(shared),     cmocka_unit_test(external_weights),
                                        cmocka_unit_test(same_bytes), cmocka_unit_test(cache),
                                        cmocka_unit_test(text_here),  cmocka_unit_test(object_here),
                                        cmocka_unit_test(aarch64),    cmocka_unit_test(riscv64) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
