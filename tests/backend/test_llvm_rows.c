/* Every row of scalar.def at every type, and every cast, as compiled code against sv_apply: on hard values, as scalars and
 * in vectors, for this machine and for a plain x86-64, where fma, rounding and half conversion are expanded. The quick test
 * runs the basic rows in vectors; test_llvm_rows_slow.c includes this file and runs all of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "backend/codegen.h"
#include "runtime/model.h"

static const llvm_backend *llvm;
static dlc_context *ctx;
static arena *a;
static expander *ex;

#ifdef ALL_ROWS
enum { IS_QUICK = 0 };
#else
enum { IS_QUICK = 1 };
#endif
enum { N = 4096, LANES = 8 };
typedef struct { scalar fn; dtype t, to; int vector; } job;      /* one kernel: y[i] = fn(x0[i], x1[i], x2[i]) */

static const double floats[] = {
    0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, 3, -7, 0.1, -0.3, 1e-3, 127, 128, 129.5, -128.5, 255.5, 256, 32767.5, 65504, 65519.9, 65520,
    8388607.5, 8388608.5, 4194303.5, -4194304.5, 2147483647.0, 2147483648.0, -2147483649.0, 4294967296.0, 4503599627370495.5, 9223372036854775807.0,
    -9223372036854775808.0, 18446744073709551616.0, 1e30, -1e30, 3.4028234663852886e38, 1e39, 1e300, -1e308, 1.1754943508222875e-38, 1e-40, 1.4e-45, 7e-46,
    5.9604644775390625e-8, 2.98e-8, 6.1e-5, 6.097555160522461e-05, 5e-324, 2.2250738585072014e-308, 1e-300, 88.5, -88, 104, -104, 700, -745, 20, 1e5,
    0.9999999, 1.0000001, 1.0000000000000002, 0.99999999999999989, 3.1415926535897931, 1.5707963267948966, (double)INFINITY, -(double)INFINITY, (double)NAN,
};
static const int64_t ints[] = { 0, 1, -1, 2, -2, 3, 5, 7, 8, 10, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, -127, -128, -129, 255, 256, 32767, -32768, 65535,
    65536, 2147483647, -2147483648LL, 4294967295LL, 4294967296LL, INT64_MAX, INT64_MIN, INT64_MAX - 1, 1LL << 53, (1LL << 53) + 1, -(1LL << 53) - 1,
    (1LL << 24) + 1, -(1LL << 24) - 1, 0x7fffffc0, 0x7fffff7f80LL, 1LL << 62, (1LL << 62) + 129 };

static uint64_t seed = 3;
static uint64_t next(void) { return seed = seed * 6364136223846793005u + 1442695040888963407u, seed >> 20; }

static scalar_value pick(dtype t)
{
    if (t == DTYPE_bool) return (scalar_value){ next() & 1 };
    if (!is_float(t)) return sv_from_i64(t, next() % 3 ? ints[next() % (sizeof ints / sizeof *ints)] : (int64_t)(next() << 30));
    if (next() % 3) return sv_from_f64(t, floats[next() % (sizeof floats / sizeof *floats)]);
    uint64_t bits = next() << 32 ^ next();                            /* any pattern */
    int w = 8 * dtype_bytes(t);
    return (scalar_value){ w == 64 ? bits : bits & ((1ull << w) - 1) };
}

static bool same(dtype t, scalar_value x, scalar_value y)
{
    return x.bits == y.bits || (is_float(t) && isnan(sv_to_f64(t, x)) && isnan(sv_to_f64(t, y)));
}

static dtype operand(const job *j, int i) { return j->fn == SCALAR_select && i == 0 ? DTYPE_bool : j->t; }
static dtype result(const job *j)
{
    return j->fn == SCALAR_cast ? j->to : scalar_info[j->fn].result == RESULT_CMP ? DTYPE_bool : j->t;
}

static kernel_code *kernel_of(dims *d, const job *j)
{
    kernel_code *k = kernel_new(ctx, a, d, "row", ANCHOR_map);
    dim n = dim_const(N);
    int in[3], arity = scalar_info[j->fn].arity;
    for (int i = 0; i < arity; i++) in[i] = kernel_param(k, "x", operand(j, i), ROLE_in, 1, &n);
    int out = kernel_param(k, "y", result(j), ROLE_out, 1, &n);
    int v = kernel_var(k, "i", LOOP_plain), l = kernel_var(k, "l", LOOP_plain);
    const expr *at = x_var(k, v), *args[3];
    if (j->vector) at = x_add(k, x_mul(k, at, x_int(k, j->vector)), x_var(k, l));
    for (int i = 0; i < arity; i++) args[i] = x_load(k, in[i], &at);
    const expr *y = j->fn == SCALAR_cast ? x_cast(k, args[0], j->to) : x_op(k, j->fn, arity, args);
    stmt *loop = s_for(k, v, x_int(k, 0), x_int(k, j->vector ? N / j->vector : N), MARK_serial), *inner = loop;
    if (j->vector) {
        inner = s_for(k, l, x_int(k, 0), x_int(k, j->vector), MARK_vector);
        block_push(k, &loop->body, inner);
    }
    block_push(k, &inner->body, s_store(k, out, &at, y));
    block_push(k, &k->body, loop);
    return k;
}

static program *program_of(const job *jobs, int n_jobs, fma_mode mode, void **in, void **out)
{
    dims *d = dims_new(ctx, a);
    program *p = program_new(ctx, a, d, "rows");
    p->fma = mode;
    p->workspace_bytes = 0;
    assert_true(n_jobs <= 700);
    dim n = dim_const(N);
    for (int i = 0; i < n_jobs; i++) {
        const job *j = &jobs[i];
        int arity = scalar_info[j->fn].arity;
        prog_op *call = program_op(p, &p->body, PROG_call);
        call->kernel = program_kernel(p, kernel_of(d, j));
        call->args = NEW_ARRAY(a, view, arity + 1);
        for (int k = 0; k < arity; k++) {
            dtype t_ = operand(j, k);
            char *x = in[p->n_inputs] = arena_array(a, N, (size_t)dtype_bytes(t_));
            for (int m = 0; m < N; m++) sv_store(t_, x + m * dtype_bytes(t_), pick(t_));
            call->args[k] = (view){ program_buf(p, "x", PBUF_input, p->n_inputs, t_, 1, &n), NULL };
        }
        out[p->n_outputs] = arena_array(a, N, (size_t)dtype_bytes(result(j)));
        call->args[arity] = (view){ program_buf(p, "y", PBUF_output, p->n_outputs, result(j), 1, &n), NULL };
    }
    return p;
}

static void run_jobs(const job *jobs, int n_jobs, target t, fma_mode mode)
{
    void *in[3 * 700], *out[700];
    program *p = program_of(jobs, n_jobs, mode, in, out);
    codegen_options o = { .target = t, .prefix = "r", .threads = 2 };
    loaded_code *code;
    const dlc_model *m;
    dlc_status status = llvm->jit(ctx, p, &o, &code, &m);
    if (status != DLC_OK) fprintf(stderr, "%s\n", ctx->diags.at[ctx->diags.n - 1].message);
    assert_int_equal(status, DLC_OK);
    dlc_run run = { 0 };
    assert_int_equal(m->run(&run, NULL, (const void *const *)in, out), DLC_RUN_OK);
    int first = 0, wrong = 0;
    for (int i = 0; i < n_jobs; i++) {
        const job *j = &jobs[i];
        int arity = scalar_info[j->fn].arity, shown = 0;
        for (int m_ = 0; m_ < N; m_++) {
            scalar_value x[3];
            for (int k = 0; k < arity; k++) x[k] = sv_load(operand(j, k), (char *)in[first + k] + m_ * dtype_bytes(operand(j, k)));
            scalar_value want = sv_apply(ex, j->fn, j->t, j->to, x, mode);
            scalar_value got = sv_load(result(j), (char *)out[i] + m_ * dtype_bytes(result(j)));
            if (same(result(j), want, got)) continue;
            wrong++;
            if (shown++ < 3)
                fprintf(stderr, "%s %s%s%s, %d lanes, cpu %s, mode %d: %llx %llx %llx: want %llx, got %llx\n", scalar_info[j->fn].name, dtype_info[j->t].name,
                        j->fn == SCALAR_cast ? " to " : "", j->fn == SCALAR_cast ? dtype_info[j->to].name : "", j->vector, t.cpu, mode,
                        (unsigned long long)x[0].bits, (unsigned long long)(arity > 1 ? x[1].bits : 0), (unsigned long long)(arity > 2 ? x[2].bits : 0),
                        (unsigned long long)want.bits, (unsigned long long)got.bits);
        }
        first += arity;
    }
    llvm->unload(code);
    assert_int_equal(wrong, 0);
}

static int jobs_of(job *jobs, bool basic, int vector)
{
    int n = 0;
    for (int fn = 0; fn < SCALAR_COUNT; fn++) {
        if (scalar_info[fn].is_basic != basic || fn == SCALAR_cast) continue;
        for (int t = 0; t < DTYPE_COUNT; t++)
            if (t != DTYPE_f16 && t != DTYPE_bf16 && scalar_accepts((scalar)fn, (dtype)t))
                jobs[n++] = (job){ .fn = (scalar)fn, .t = (dtype)t, .vector = vector };
    }
    if (!basic) return n;
    for (int t = 0; t < DTYPE_COUNT; t++)
        for (int to = 0; to < DTYPE_COUNT; to++)
            if (t != to && !is_storage((dtype)t) && !is_storage((dtype)to))
                jobs[n++] = (job){ .fn = SCALAR_cast, .t = (dtype)t, .to = (dtype)to, .vector = vector };
    return n;
}

static target plain(void)
{
    target t;
    assert_true(target_named(ctx, "x86_64", "x86-64", 16, &t));
    return t;
}

static void basic_rows(void **state)
{
    (void)state;
    static job jobs[1000];
    for (int vector = IS_QUICK ? LANES : 0; vector <= LANES; vector += LANES) {
        int n = jobs_of(jobs, true, vector);
        run_jobs(jobs, n, target_host(0), FMA_FUSED);
        run_jobs(jobs, n, plain(), FMA_FUSED);
    }
    if (!IS_QUICK) run_jobs(jobs, jobs_of(jobs, true, LANES), target_host(0), FMA_ROUNDED);
}

#ifdef ALL_ROWS
static void expanded_rows(void **state)
{
    (void)state;
    static job jobs[1000];
    for (int vector = 0; vector <= LANES; vector += LANES) run_jobs(jobs, jobs_of(jobs, false, vector), target_host(0), FMA_FUSED);
    run_jobs(jobs, jobs_of(jobs, false, 4), plain(), FMA_FUSED);
    run_jobs(jobs, jobs_of(jobs, false, 4), plain(), FMA_ROUNDED);
}

/* -- No library calls: what an object of all rows leaves undefined ---------------------------------------------------- */

static void no_calls(const char *triple, const char *cpu, int vector)
{
    static job jobs[1000];
    void *in[3 * 700], *out[700];
    target t;
    bytes b;
    assert_true(target_named(ctx, triple, cpu, 0, &t));
    for (int basic = 0; basic < 2; basic++) {
        program *p = program_of(jobs, jobs_of(jobs, basic, vector), FMA_FUSED, in, out);
        codegen_options o = { .target = t, .prefix = "r", .threads = 2 };
        dlc_status status = llvm->emit(ctx, a, p, &o, EMIT_OBJECT, &b);
        if (status != DLC_OK) fprintf(stderr, "%s\n", ctx->diags.at[ctx->diags.n - 1].message);
        assert_int_equal(status, DLC_OK);
        const Elf64_Ehdr *h = (const void *)b.at;
        const Elf64_Shdr *sec = (const void *)(b.at + h->e_shoff);
        for (int i = 0; i < h->e_shnum; i++) {
            if (sec[i].sh_type != SHT_SYMTAB) continue;
            const char *names = (const char *)b.at + sec[sec[i].sh_link].sh_offset;
            const Elf64_Sym *sym = (const void *)(b.at + sec[i].sh_offset);
            for (size_t j = 1; j < sec[i].sh_size / sizeof *sym; j++) {
                const char *name = names + sym[j].st_name;
                if (sym[j].st_shndx != SHN_UNDEF || !strcmp(name, "memcpy") || !strcmp(name, "memset") || !strcmp(name, "memmove")) continue;
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
    char path[512];
    snprintf(path, sizeof path, "%s/lib/libdlc-llvm.so", getenv("DLC_BUILD") ? getenv("DLC_BUILD") : "build");
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) { fprintf(stderr, "no LLVM backend: %s\n", dlerror()); return 77; }
    llvm = dlsym(module, "dlc_llvm_backend");
    mem_frame frame;
    ctx = context_new();
    if (!ctx || !mem_try(&ctx->mem, &frame)) return 1;
    a = arena_new(&ctx->mem);
    ex = expander_new(a);
#ifdef ALL_ROWS
    const struct CMUnitTest tests[] = { cmocka_unit_test(basic_rows), cmocka_unit_test(expanded_rows), cmocka_unit_test(no_library_calls) };
#else
    const struct CMUnitTest tests[] = { cmocka_unit_test(basic_rows) };
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
