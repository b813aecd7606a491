/* fuzz_onnx: bytes as an ONNX model, through scan, decoding, checks and building. */
#include "frontend/onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void import(dlc_context *ctx, bytes file)
{
    arena *a = arena_new(&ctx->mem);
    graph *g;
    dlc_status status = onnx_import_bytes(ctx, a, "/nonexistent/fuzz.onnx", file, NULL, &g);
    if (status == DLC_ERR_INTERNAL || (status == DLC_OK) != (g != NULL) ||
        (g && !graph_verify(g, "after import")))
        __builtin_trap();
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    dlc_context *ctx = context_new();
    const bytes file = { data, n };
    mem_frame frame;
    if (!ctx) return 0;
    ctx->mem.limit = (size_t)1 << 30;
    if (mem_try(&ctx->mem, &frame)) {
        import(ctx, file);
        mem_end(&ctx->mem, &frame);
    }
    context_free(ctx);
    return 0;
}
