/* onnx_import: imports an ONNX file and prints its graph
 *
 *     onnx_import [--dim NAME=LO..HI]... [--bind NAME=V,V]... [--offer TENSOR.pb]... [--specialize] [--quiet]
 *     MODEL.onnx
 *
 * --offer: values of the graph inputs, in order; used where a structure depends on one; with --specialize
 * their sizes are those of the open dimensions
 *
 * Exit: 0 imported, 1 wrong, 2 not implemented, 70 a bug. For tests of the front end alone; `dlc opt` does
 * more.
 */
#include "frontend/onnx/onnx.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_OPTIONS = 32 };

typedef struct {
    onnx_dim_option dims[MAX_OPTIONS];
    onnx_bind_option binds[MAX_OPTIONS];
    onnx_options o;
    bool quiet;
    const char *path;
    int n_offers; const char *offers[MAX_OPTIONS];
} arguments;

static char *cut_at(char *s, const char *sep)
{
    char *p = strstr(s, sep);
    if (!p) return NULL;
    *p = '\0';
    return p + strlen(sep);
}

static bool read_arguments(int argc, char **argv, arguments *a)
{
    for (int i = 1; i < argc; i++) {
        char *name = i + 1 < argc ? argv[i + 1] : NULL, *val;
        if (strcmp(argv[i], "--quiet") == 0) {
            a->quiet = true;
        } else if (strcmp(argv[i], "--specialize") == 0) {
            a->o.is_specialized = true;
        } else if (strcmp(argv[i], "--dim") == 0 && name && (val = cut_at(name, "=")) &&
                   a->o.n_dims < MAX_OPTIONS) {
            char *hi = cut_at(val, "..");
            a->dims[a->o.n_dims++] =
                (onnx_dim_option){ .name = name, .lo = atoll(val), .hi = atoll(hi ? hi : val) };
            i++;
        } else if (strcmp(argv[i], "--bind") == 0 && name && (val = cut_at(name, "=")) &&
                   a->o.n_binds < MAX_OPTIONS) {
            a->binds[a->o.n_binds++] = (onnx_bind_option){ name, val };
            i++;
        } else if (strcmp(argv[i], "--offer") == 0 && name && a->n_offers < MAX_OPTIONS) {
            a->offers[a->n_offers++] = name;
            i++;
        } else {
            a->path = argv[i];
        }
    }
    a->o.dims = a->dims;
    a->o.binds = a->binds;
    return a->path != NULL;
}

static void print_diags(dlc_context *ctx, arena *a)
{
    for (int64_t i = 0; i < ctx->diags.n && i < 20; i++) {
        text t = { .a = a };
        diag_format(&t, &ctx->diags.at[i]);
        fprintf(stderr, "%s\n", text_str(&t));
    }
}

static dlc_status import_and_print(dlc_context *ctx, arguments *a)
{
    arena *at = arena_new(&ctx->mem);
    graph *g = NULL;
    onnx_tensor offers[MAX_OPTIONS];
    bool taken[MAX_OPTIONS] = { false };
    dlc_status status = DLC_OK;
    int n_in = 0, n_out;
    onnx_io *ins, *outs;
    if (a->n_offers) status = onnx_list_io(ctx, at, a->path, &n_in, &ins, &n_out, &outs);
    for (int i = 0; i < a->n_offers && status == DLC_OK; i++)
        status = onnx_read_value(ctx, at, a->offers[i], i < n_in ? ins[i].kind : ONNX_TENSOR, &offers[i]);
    a->o.n_offers = a->n_offers;
    a->o.offers = offers;
    a->o.is_offer_taken = taken;
    if (status == DLC_OK) status = onnx_import(ctx, at, a->path, &a->o, &g);
    if (g && !graph_verify(g, "after import")) status = DLC_ERR_INTERNAL;
    if (g && !a->quiet) {
        text t = { .a = at };
        graph_print(graph_compact(g), &t);
        fputs(text_str(&t), stdout);

    }
    print_diags(ctx, at);
    arena_free(at);
    return status;
}

int main(int argc, char **argv)
{
    arguments a = { .path = NULL };
    dlc_context *ctx = context_new();
    if (!ctx || !read_arguments(argc, argv, &a)) return 2;
    mem_frame frame;
    dlc_status status = DLC_ERR_MEMORY;
    if (mem_try(&ctx->mem, &frame)) {
        status = import_and_print(ctx, &a);
        mem_end(&ctx->mem, &frame);
    } else {
        fputs("out of memory\n", stderr);
    }
    context_free(ctx);
    return status == DLC_OK ? 0 : status == DLC_ERR_UNSUPPORTED ? 2 : status == DLC_ERR_INTERNAL ? 70 : 1;
}
