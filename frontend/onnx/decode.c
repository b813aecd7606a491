/* decode: from bytes to messages, by protobuf-c, of what the scan has let through
 *
 * What   Scans a file (wire_scan.c), then has protobuf-c unpack the skeleton into an arena.
 * Why    protobuf-c allocates many small pieces; from an arena they cost little and die together.
 * How    Its allocator hands out arena memory up to a budget and frees nothing. The budget follows from the
 *        skeleton: the densest message, an empty node of two bytes, takes a struct and a pointer; names are
 *        copied once.
 */
#include "frontend/onnx/onnx_model.h"

enum { BUDGET_BASE = 1 << 20, BUDGET_PER_BYTE = 160 };
static const size_t BUDGET_MAX = (size_t)8 << 30;

typedef struct { arena *a; size_t left; } budget;

static void *budget_alloc(void *data, size_t n)
{
    budget *b = data;
    if (n > b->left) return NULL;
    b->left -= n;
    return arena_alloc(b->a, n);
}

static void budget_free(void *data, void *p) { (void)data, (void)p; }

bool decode_message(dlc_context *ctx, arena *a, const char *path, bytes file,
                    const ProtobufCMessageDescriptor *root, decoded *out)
{
    arena *scratch = arena_new(&ctx->mem);
    *out = (decoded){ .path = path };
    if (wire_scan(ctx, a, scratch, path, file, root, &out->scan)) {
        size_t n = out->scan.skeleton.n, most = BUDGET_BASE + BUDGET_PER_BYTE * n;
        budget b = { a, most < BUDGET_MAX ? most : BUDGET_MAX };
        ProtobufCAllocator allocator = { budget_alloc, budget_free, &b };
        out->root = protobuf_c_message_unpack(root, &allocator, n, out->scan.skeleton.at);
        if (!out->root) diag_onnx_decode(ctx, (place){ .file = path });
    }
    out->scan.skeleton = (bytes){ NULL, 0 };
    arena_free(scratch);
    return out->root != NULL;
}
