/* Times a kernel text compiled by the LLVM backend: bench_llvm FILE.loop VECTOR_BYTES FLOP_PER_RUN [out.s]
 * Prints microseconds and GFLOP/s, best of many; compare with the machine's peak in the same minute. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "backend/codegen.h"
#include "runtime/model.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 4) return fprintf(stderr, "bench_llvm FILE.loop VECTOR_BYTES FLOP [out.s]\n"), 2;
    dlc_context *ctx = context_new();
    mem_frame frame;
    if (!ctx || !mem_try(&ctx->mem, &frame)) return 1;
    arena *a = arena_new(&ctx->mem);
    dims *d = dims_new(ctx, a);
    bytes src;
    int err;
    if (!file_map(a, argv[1], &src, &err)) return 1;
    kernel_code *k = kernel_parse(ctx, a, d, argv[1], (const char *)src.at, src.n);
    void *module = dlopen("build/lib/libdlc-llvm.so", RTLD_NOW);
    if (!k || !module) return fprintf(stderr, "no kernel or no backend: %s\n", dlerror()), 1;
    const llvm_backend *llvm = dlsym(module, "dlc_llvm_backend");
    program *p = program_new(ctx, a, d, "bench");
    int id = program_kernel(p, k);
    view args[32];
    void *in[32], *out[32];
    for (int i = 0; i < k->n_params; i++) {
        const buffer *f = &k->bufs.at[i];
        bool is_out = f->role == ROLE_out || f->role == ROLE_inout;
        int64_t n = dtype_bytes(f->dtype), v = 0;
        for (int j = 0; j < f->rank; j++) { dim_is_const(f->dims[j], &v); n *= v; }
        float *x = aligned_alloc(2 << 20, ((size_t)n + (2 << 20)) >> 21 << 21);
        for (int64_t j = 0; j < n / 4; j++) x[j] = (float)(j % 17) * 0.01f;
        int index = is_out ? p->n_outputs++ : p->n_inputs++;
        (is_out ? out : in)[index] = x;
        args[i] = (view){ program_buf(p, f->name, is_out ? PBUF_output : PBUF_input, index, f->dtype, f->rank,
                                      f->dims),
                          NULL };
    }
    prog_op *call = program_op(p, &p->body, PROG_call);
    call->kernel = id;
    call->args = args;
    p->workspace_bytes = 0;
    codegen_options o = { .target = target_host(atoi(argv[2])), .prefix = "b", .threads = 1 };
    loaded_code *code;
    const dlc_model *m;
    double t0 = now();
    if (llvm->jit(ctx, p, &o, &code, &m) != DLC_OK) {
        text s = { .a = ctx->arena };
        diag_format(&s, &ctx->diags.at[0]);
        return fprintf(stderr, "%s\n", text_str(&s)), 1;
    }
    double compile = now() - t0, best = 1e9, end = now() + 1.5;
    if (argc > 4) {
        bytes s;
        llvm->emit(ctx, a, p, &o, strstr(argv[4], ".ll") ? EMIT_LLVM_IR : EMIT_ASM, &s);
        FILE *f = fopen(argv[4], "wb");
        if (f) { fwrite(s.at, 1, s.n, f); fclose(f); }
    }
    dlc_run run = { 0 };
    while (now() < end) {
        double t = now();
        m->run(&run, NULL, (const void *const *)in, out);
        t = now() - t;
        if (t < best) best = t;
    }
    double flop = atof(argv[3]);
    printf("%s, %s bytes: compile %.1f ms, %.1f us, %.1f GFLOP/s\n", k->name, argv[2], compile * 1e3,
           best * 1e6, flop / best * 1e-9);
    llvm->unload(code);
    return 0;
}
