/* The C form against the interpreter: kernels and programs of tests/backend/ and tests/loop/, written as C, compiled with
 * warnings as errors by every compiler of this machine, run with and without threads; equal bits (all NaN are equal). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include "backend/eval/eval_loop.h"
#include "runtime/pool.h"
#include "tests/backend/c_run.h"

static dlc_pool *pool;

typedef struct { dlc_context *ctx; arena *a; dims *d; expander *ex; mem_frame frame; uint64_t seed; } bench;

static void show(dlc_context *ctx)
{
    for (int64_t i = 0; i < ctx->diags.n; i++) {
        text s = { .a = ctx->arena };
        diag_format(&s, &ctx->diags.at[i]);
        fprintf(stderr, "%s\n", text_str(&s));
    }
}

static uint64_t next(bench *b) { return b->seed = b->seed * 6364136223846793005u + 1442695040888963407u, b->seed >> 24; }

/* Mostly small numbers; for floats a few NaN, infinities, zeros of both signs and subnormals. */
static void fill(bench *b, dtype t, void *p, int64_t n)
{
    static const double special[] = { NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-40, -3e-42, 65504, 1e38, 5e-324 };
    for (int64_t i = 0; i < n; i++) {
        double x = (double)(int64_t)(next(b) % 4001 - 2000) / 256;
        if (is_float(t) && next(b) % 97 == 0) x = special[next(b) % 10];
        if (t == DTYPE_bool) x = (double)(next(b) & 1);
        if (is_int(t)) x = (double)(int64_t)(next(b) % 16) - (is_signed(t) ? 8 : 0);
        sv_store(t, (char *)p + i * dtype_bytes(t), is_storage(t) ? (scalar_value){ next(b) & 15 } : sv_from_f64(t, x));
    }
}

static bool same_bits(dtype t, const void *p, const void *q)
{
    scalar_value a = sv_load(t, p), c = sv_load(t, q);
    if (a.bits == c.bits) return true;
    return is_float(t) && isnan(sv_to_f64(t, a)) && isnan(sv_to_f64(t, c));
}

/* One call of k; every parameter an input or output of the program, inout copied before. */
static program *program_of(bench *b, kernel_code *k)
{
    program *p = program_new(b->ctx, b->a, b->d, "test");
    int id = program_kernel(p, k);
    view *args = NEW_ARRAY(b->a, view, k->n_params);
    for (int i = 0; i < k->n_params; i++) {
        const buffer *f = &k->bufs.at[i];
        bool is_out = f->role == ROLE_out || f->role == ROLE_inout;
        int index = is_out ? p->n_outputs++ : p->n_inputs++;
        args[i] = (view){ program_buf(p, f->name, is_out ? PBUF_output : PBUF_input, index, f->dtype, f->rank, f->dims), NULL };
    }
    prog_op *call = program_op(p, &p->body, PROG_call);
    call->kernel = id;
    call->args = args;
    p->workspace_bytes = 0;
    return p;
}

static int64_t elements(bench *b, const pbuf *f, const int64_t *sym)
{
    int64_t e = 1, v;
    for (int j = 0; j < f->rank; j++) { assert_true(dim_eval(b->d, f->dims[j], sym, &v)); e *= v; }
    return e;
}

static void compare_program(bench *b, program *p, fma_mode mode, int cc, bool threads)
{
    p->fma = mode;
    b->d = p->dims;
    void *handle;
    const void *weights;
    const dlc_model *m = c_open(b->ctx, b->a, p, cc, mode == FMA_FUSED ? "-mfma" : "", &handle, &weights);
    int64_t sym[64], sym2[64];
    for (int i = 0; i < dims_n_symbols(p->dims); i++) {
        int64_t lo, hi;
        dims_symbol_range(p->dims, i, &lo, &hi);
        sym[i] = 3 + (int64_t)(next(b) % 5);
        if (sym[i] < lo) sym[i] = lo;
        if (sym[i] > hi) sym[i] = hi;
        sym2[i] = sym[i];
    }
    void *in[32], *want[32], *got[32];
    const pbuf *out[32];
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *f = &p->bufs.at[i];
        if (f->kind != PBUF_input && f->kind != PBUF_output) continue;
        int64_t e = elements(b, f, sym);
        void *x = calloc((size_t)e + 1, (size_t)dtype_bytes(f->dtype));
        if (f->kind == PBUF_input) { fill(b, f->dtype, x, e); in[f->index] = x; continue; }
        want[f->index] = x;
        got[f->index] = calloc((size_t)e + 1, (size_t)dtype_bytes(f->dtype));
        out[f->index] = f;
    }
    eval_io io = { .inputs = (const void *const *)in, .outputs = want, .symbols = sym2 };
    bool ran = eval_program(b->ctx, b->ex, p, &io, &(loop_eval_options){ .fill = NAN });
    if (!ran) show(b->ctx);
    assert_true(ran);
    void *workspace = aligned_alloc(64, (size_t)m->workspace(sym) + 64);
    memset(workspace, 0xff, (size_t)m->workspace(sym));
    dlc_run run = { .hook = { threads ? dlc_parallel : NULL, pool }, .workspace = workspace, .weights = weights };
    assert_int_equal(m->run(&run, sym, (const void *const *)in, got), DLC_RUN_OK);
    for (int i = 0; i < p->n_outputs; i++) {
        dtype d = out[i]->dtype;
        for (int64_t j = 0; j < elements(b, out[i], sym2); j++) {
            const char *x = (char *)want[i] + j * dtype_bytes(d), *y = (char *)got[i] + j * dtype_bytes(d);
            if (same_bits(d, x, y)) continue;
            fprintf(stderr, "%s %s[%lld]: interpreter %.9g, compiled %.9g (%s)\n", p->name, out[i]->name,
                    (long long)j, sv_to_f64(d, sv_load(d, x)), sv_to_f64(d, sv_load(d, y)), compilers[cc].command);
            fail();
        }
        free(want[i]);
        free(got[i]);
    }
    for (int i = 0; i < p->n_inputs; i++) free(in[i]);
    free(workspace);
    dlclose(handle);
}

/* Which compilers take which programs: the first takes all, the others one each in turn. */
static void compare_all(bench *b, program *p, int turn)
{
    int n = 0;
    for (int cc = 0; cc < N_COMPILERS; cc++) {
        if (!has_compiler(cc) || (n++ && (cc + turn) % 2)) continue;
        compare_program(b, p, FMA_ROUNDED, cc, turn % 2);
    }
#ifdef __FMA__
    bool fused = true;
#else
    bool fused = __builtin_cpu_supports("fma");
#endif
    for (int cc = 0; cc < N_COMPILERS; cc++)
        if (fused && has_compiler(cc) && (cc == 0 || (compilers[cc].vectors && (cc + turn) % 4 == 0))) compare_program(b, p, FMA_FUSED, cc, true);
}

static void run_program(bench *b, const char *path, const bytes *src, int turn)
{
    b->ex = expander_new(b->a);
    program *p = program_parse(b->ctx, b->a, path, (const char *)src->at, src->n);
    if (!p) show(b->ctx);
    assert_non_null(p);
    b->d = p->dims;
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *f = &p->bufs.at[i];
        if (f->kind != PBUF_const || f->data) continue;
        int64_t n = elements(b, f, NULL);
        void *x = arena_array(b->a, (size_t)n, (size_t)dtype_bytes(f->dtype));
        fill(b, f->dtype, x, n);
        f->data = x;
    }
    compare_all(b, p, turn);
}

static void run_file(const char *path, int first)
{
    bench b = { .seed = 7 };
    volatile int turn = first;                       /* survives the jump of mem_try */
    b.ctx = context_new();
    assert_non_null(b.ctx);
    assert_true(mem_try(&b.ctx->mem, &b.frame));
    bytes src;
    int err;
    b.a = arena_new(&b.ctx->mem);
    assert_true(file_map(b.a, path, &src, &err));
    if (getenv("DLC_TEST_VERBOSE")) fprintf(stderr, "%s\n", path);
    bool is_program = memmem(src.at, src.n, "program @", 9) != NULL;
    if (is_program) run_program(&b, path, &src, turn);
    /* a file may hold several kernels: each starts at "kernel @" in the first column */
    const char *at = (const char *)src.at, *end = at + src.n;
    while (at < end && !is_program) {
        const char *stop = memmem(at + 1, (size_t)(end - at - 1), "\nkernel @", 9);
        stop = stop ? stop + 1 : end;
        b.d = dims_new(b.ctx, b.a);
        b.ex = expander_new(b.a);
        kernel_code *k = kernel_parse(b.ctx, b.a, b.d, path, at, (size_t)(stop - at));
        if (!k) show(b.ctx);
        assert_non_null(k);
        compare_all(&b, program_of(&b, k), turn++);
        at = stop;
    }
    mem_end(&b.ctx->mem, &b.frame);
    context_free(b.ctx);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int is_loop(const struct dirent *d) { size_t n = strlen(d->d_name); return n > 5 && strcmp(d->d_name + n - 5, ".loop") == 0; }

static void run_folder(const char *folder)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_loop, by_name);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        run_file(path, i);
        free(names[i]);
    }
    free(names);
}

static void loop_kernels(void **state) { (void)state; run_folder("tests/loop"); }
static void own_kernels(void **state) { (void)state; run_folder("tests/backend/kernels"); }
static void programs(void **state) { (void)state; run_folder("tests/backend/programs"); }

int main(int argc, char **argv)
{
    bool any = false;
    for (int i = 0; i < N_COMPILERS; i++) any |= has_compiler(i);
    if (!any) { fprintf(stderr, "no C compiler\n"); return 77; }
    pool = dlc_pool_create(2);
    if (argc > 1) { run_file(argv[1], 0); return 0; }
    const struct CMUnitTest tests[] = { cmocka_unit_test(loop_kernels), cmocka_unit_test(own_kernels), cmocka_unit_test(programs) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dlc_pool_destroy(pool);
    return failed;
}
