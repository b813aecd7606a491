/* onnx_eval: runs one ONNX test folder through the front end and the graph interpreter
 *
 *     onnx_eval DIR -o OUT [--print] [--specialize | --open]     DIR/model.onnx, DIR/test_data_set_0/input_K.pb -> OUT/output_K.pb
 *
 * Inputs that decide a structure (axes, sizes, trip counts) become constants where the import asks for their value. If
 * the model cannot be built for all sizes (or with --specialize), it is built for those of the inputs; with --open never.
 * Exit: 0 ran, 2 not implemented, 3 refused, 4 the interpreter failed, 70 a bug. Whoever calls compares.
 */
#include "backend/eval/eval.h"
#include "frontend/onnx/onnx.h"
#include <stdio.h>
#include <stdlib.h>

int onnx_dtype_code(dtype t);                    /* frontend/onnx/tensor_read.c */

enum { MAX_INPUTS = 256 };

typedef struct { const char *dir, *out_dir; bool print, specialize, open; } options;
typedef struct { onnx_tensor at[MAX_INPUTS]; bool is_taken[MAX_INPUTS]; int n; } inputs;

/* -- Inputs ------------------------------------------------------------------------------------------------------------ */

static bool file_exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static bool read_inputs(dlc_context *ctx, arena *a, const char *dir, inputs *in)
{
    for (in->n = 0; in->n < MAX_INPUTS; in->n++) {
        const char *path = arena_printf(a, "%s/test_data_set_0/input_%d.pb", dir, in->n);
        if (!file_exists(path)) return true;
        if (onnx_read_tensor(ctx, a, path, &in->at[in->n]) != DLC_OK) return false;
    }
    return true;
}

/* -- Outputs ------------------------------------------------------------------------------------------------------------- */

static void put_varint(text *t, uint64_t v)
{
    for (; v >= 128; v >>= 7) text_putn(t, &(char){ (char)(v | 128) }, 1);
    text_putn(t, &(char){ (char)v }, 1);
}

static void put_field(text *t, int number, const void *p, size_t n)
{
    put_varint(t, (uint64_t)number << 3 | 2);
    put_varint(t, n);
    text_putn(t, p, n);
}

/* Elements of less than a byte are packed in files, the first in the low bits. */
static const uint8_t *packed(arena *a, const tensor *y, int64_t *n_bytes)
{
    int bits = dtype_info[y->dtype].bits;
    int64_t n = tensor_n(y), per = 8 / bits;
    const uint8_t *from = y->bytes;
    uint8_t *p = arena_alloc(a, (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++) p[i / per] |= (uint8_t)((from[i] & ((1 << bits) - 1)) << (i % per * bits));
    *n_bytes = (n + per - 1) / per;
    return p;
}

static bool write_tensor(arena *a, const char *path, const char *name, const tensor *y)
{
    text t = { .a = a };
    for (int i = 0; i < y->rank; i++) {
        put_varint(&t, 1 << 3);
        put_varint(&t, (uint64_t)y->dims[i]);
    }
    put_varint(&t, 2 << 3);
    put_varint(&t, (uint64_t)onnx_dtype_code(y->dtype));
    if (name) put_field(&t, 8, name, strlen(name));
    int64_t n = (int64_t)tensor_bytes(y);
    const void *p = y->bytes;
    if (is_storage(y->dtype) && dtype_info[y->dtype].bits <= 4) p = packed(a, y, &n);
    put_field(&t, 9, p, (size_t)n);
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool ok = fwrite(t.at, 1, (size_t)t.n, f) == (size_t)t.n;
    return fclose(f) == 0 && ok;
}

/* -- Running -------------------------------------------------------------------------------------------------------------- */

/* The next input that has not become a constant. */
static bool next_input(const inputs *in, int *next, tensor *t)
{
    while (*next < in->n && in->is_taken[*next]) ++*next;
    if (*next >= in->n) return false;
    const onnx_tensor *o = &in->at[(*next)++];
    *t = (tensor){ .dtype = o->dtype, .rank = o->rank, .bytes = (void *)(uintptr_t)o->bytes };
    memcpy(t->dims, o->dims, sizeof t->dims);
    return true;
}

static dlc_status run_graph(dlc_context *ctx, arena *a, const graph *g, const inputs *in, const char *out_dir)
{
    int n = (int)g->inputs.n, next = 0;
    tensor *x = NEW_ARRAY(a, tensor, n), *y = NEW_ARRAY(a, tensor, g->results.n);
    for (int k = 0; k < n; k++)
        if (!next_input(in, &next, &x[k])) {
            fprintf(stderr, "no input file for graph input %d\n", k);
            return DLC_ERR_INPUT;
        }
    int64_t *symbols = NEW_ARRAY(a, int64_t, dims_n_symbols(g->dims) + 1);
    eval_options o = { 0 };
    dlc_status st = eval_bind(ctx, g, x, symbols);
    if (st == DLC_OK) st = eval_graph(ctx, a, g, symbols, x, y, &o);
    for (int64_t k = 0; k < g->results.n && st == DLC_OK; k++)
        if (!write_tensor(a, arena_printf(a, "%s/output_%lld.pb", out_dir, (long long)k), g->result_names.at[k], &y[k]))
            st = DLC_ERR_IO;
    return st;
}

static int exit_code(dlc_status st, bool imported)
{
    if (st == DLC_OK) return 0;
    if (st == DLC_ERR_UNSUPPORTED) return 2;
    if (st == DLC_ERR_INTERNAL) return 70;
    return imported ? 4 : 3;
}

static void show_diags(arena *a, const dlc_context *ctx)
{
    for (int64_t i = 0; i < ctx->diags.n && i < 5; i++) {
        text t = { .a = a };
        diag_format(&t, &ctx->diags.at[i]);
        fprintf(stderr, "%s\n", text_str(&t));
    }
}

/* Open dimensions stay open if that works, else they take the sizes of the inputs. */
static dlc_status try_folder(dlc_context *ctx, arena *a, const options *o, bool is_specialized, bool *imported)
{
    inputs *in = NEW(a, inputs);
    graph *g = NULL;
    context_clear_diags(ctx);
    if (!read_inputs(ctx, a, o->dir, in)) return ctx->status ? ctx->status : DLC_ERR_INPUT;
    onnx_options how = { .n_offers = in->n, .offers = in->at, .is_offer_taken = in->is_taken, .is_specialized = is_specialized };
    dlc_status st = onnx_import(ctx, a, arena_printf(a, "%s/model.onnx", o->dir), &how, &g);
    *imported = g != NULL;
    if (!g) return st;
    if (o->print) {
        text t = { .a = a };
        graph_print(g, &t);
        puts(text_str(&t));
    }
    return run_graph(ctx, a, g, in, o->out_dir);
}

static dlc_status run_folder(dlc_context *ctx, const options *o, bool *imported)
{
    mem_frame frame;
    if (!mem_try(&ctx->mem, &frame)) return DLC_ERR_MEMORY;
    arena *a = arena_new(&ctx->mem);
    dlc_status st = o->specialize ? DLC_ERR_SHAPE : try_folder(ctx, a, o, false, imported);
    if (st != DLC_OK && !o->open) st = try_folder(ctx, a, o, true, imported);
    show_diags(a, ctx);
    mem_end(&ctx->mem, &frame);
    arena_free(a);
    return st;
}

int main(int argc, char **argv)
{
    options o = { .out_dir = "." };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) o.out_dir = argv[++i];
        else if (strcmp(argv[i], "--print") == 0) o.print = true;
        else if (strcmp(argv[i], "--specialize") == 0) o.specialize = true;
        else if (strcmp(argv[i], "--open") == 0) o.open = true;
        else o.dir = argv[i];
    }
    if (!o.dir) {
        fprintf(stderr, "usage: onnx_eval DIR -o OUT [--print] [--specialize | --open]\n");
        return 64;
    }
    dlc_context *ctx = context_new();
    if (!ctx) return 70;
    bool imported = false;
    int rc = exit_code(run_folder(ctx, &o, &imported), imported);
    context_free(ctx);
    return rc;
}
