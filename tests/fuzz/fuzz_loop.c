/* fuzz_loop: bytes as a kernel or a program, through parser, printer, verifier and interpreter.
 *
 * What parses prints, and parses back to the same print. What verifies runs: with few steps, on small
 * buffers, with symbols of 3, without leaving a buffer.
 */
#include "backend/eval/eval_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_ELEMENTS = 1 << 16 };

static int64_t elements(const dims *d, int rank, const dim *shape, const int64_t *symbols)
{
    int64_t n = 1, v;
    for (int i = 0; i < rank; i++)
        if (!dim_eval(d, shape[i], symbols, &v) || v < 0 || !mul_ok(n, v, &n) || n > MAX_ELEMENTS) return -1;
    return n;
}

static void run_kernel(dlc_context *ctx, arena *a, const kernel_code *k)
{
    int n = dims_n_symbols(k->dims);
    int64_t *symbols = NEW_ARRAY(a, int64_t, n);
    void **params = NEW_ARRAY(a, void *, k->n_params);
    for (int i = 0; i < n; i++) symbols[i] = 3;
    for (int64_t i = 0; i < k->bufs.n; i++) {
        int64_t size = elements(k->dims, k->bufs.at[i].rank, k->bufs.at[i].dims, symbols);
        if (size < 0) return;
        if (i < k->n_params)
            params[i] = arena_array(a, (size_t)size, (size_t)dtype_bytes(k->bufs.at[i].dtype));
    }
    eval_kernel(ctx, expander_new(a), k, params, symbols, FMA_FUSED,
                &(loop_eval_options){ .fill = 1e30, .max_steps = 100000 });
}

static void try_kernel(dlc_context *ctx, const char *src, size_t n)
{
    arena *a = arena_new(&ctx->mem);
    kernel_code *k = kernel_parse(ctx, a, dims_new(ctx, a), "fuzz", src, n);
    if (!k != (ctx->n_errors > 0)) __builtin_trap();
    if (k) {
        const char *once = kernel_show(k);
        kernel_code *again = kernel_parse(ctx, a, dims_new(ctx, a), "again", once, strlen(once));
        if (!again || strcmp(once, kernel_show(again)) != 0) __builtin_trap();
        if (kernel_verify(k, "fuzz")) run_kernel(ctx, a, k);
    }
    arena_free(a);
}

static void try_program(dlc_context *ctx, const char *src, size_t n)
{
    arena *a = arena_new(&ctx->mem);
    program *p = program_parse(ctx, a, "fuzz", src, n);
    if (!p != (ctx->n_errors > 0)) __builtin_trap();
    if (p) {
        const char *once = program_show(p);
        program *again = program_parse(ctx, a, "again", once, strlen(once));
        if (!again || strcmp(once, program_show(again)) != 0) __builtin_trap();
        program_verify(p, "fuzz");
    }
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    dlc_context *ctx = context_new();
    mem_frame frame;
    if (!ctx) return 0;
    ctx->mem.limit = (size_t)1 << 28;
    if (mem_try(&ctx->mem, &frame)) {
        try_kernel(ctx, (const char *)data, n);
        context_clear_diags(ctx);
        try_program(ctx, (const char *)data, n);
        mem_end(&ctx->mem, &frame);
    }
    context_free(ctx);
    return 0;
}
