/* fuzz_onnx_value: bytes as a value file; the first byte says of which kind. What is read is written and read
 * again. */
#include "frontend/onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_twice(dlc_context *ctx, bytes file, onnx_kind kind)
{
    arena *a = arena_new(&ctx->mem);
    onnx_tensor v, again;
    text t = { .a = a };
    if (onnx_read_value_bytes(ctx, a, "fuzz.pb", file, kind, &v) == DLC_OK) {
        onnx_put_value(&t, &v);
        bytes back = { (const uint8_t *)text_str(&t), (size_t)t.n };
        if (onnx_read_value_bytes(ctx, a, "fuzz.pb", back, kind, &again) != DLC_OK) __builtin_trap();
        if (again.n_items != v.n_items || again.n != v.n || again.dtype != v.dtype) __builtin_trap();
    }
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    const bytes file = { data + 1, n - 1 };
    const onnx_kind kind = data[0] & 3;
    dlc_context *ctx = context_new();
    mem_frame frame;
    if (!ctx) return 0;
    ctx->mem.limit = (size_t)1 << 30;
    if (mem_try(&ctx->mem, &frame)) {
        read_twice(ctx, file, kind);
        mem_end(&ctx->mem, &frame);
    }
    context_free(ctx);
    return 0;
}
