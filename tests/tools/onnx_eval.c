/* onnx_eval: runs one ONNX test folder through the front end and the graph interpreter
 *
 *     onnx_eval DIR -o OUT [--print] [--specialize | --open]     DIR/model.onnx,
 *     DIR/test_data_set_0/input_K.pb -> OUT/output_K.pb
 *
 * Inputs that decide a structure (axes, sizes, trip counts) become constants where the import asks for their
 * value. If the model cannot be built for all sizes (or with --specialize), it is built for those of the
 * inputs; with --open never. Exit: 0 ran, 2 not implemented, 3 refused, 4 the interpreter failed, 70 a bug.
 * Whoever calls compares.
 */
#include "backend/eval/eval.h"
#include "frontend/onnx/onnx.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_INPUTS = 256 };

typedef struct { const char *dir, *out_dir; bool print, specialize, open; } options;
typedef struct {
    onnx_tensor at[MAX_INPUTS];
    bool is_taken[MAX_INPUTS];
    int n;
    onnx_io *out;
    int n_out;
} inputs;

/* -- Inputs ---------------------------------------------------------------------------------------------- */

static bool file_exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static bool read_inputs(dlc_context *ctx, arena *a, const char *dir, inputs *in)
{
    onnx_io *io;
    int n;
    if (onnx_list_io(ctx, a, arena_printf(a, "%s/model.onnx", dir), &n, &io, &in->n_out, &in->out) != DLC_OK)
        return false;
    for (in->n = 0; in->n < MAX_INPUTS && in->n < n; in->n++) {
        const char *path = arena_printf(a, "%s/test_data_set_0/input_%d.pb", dir, in->n);
        if (!file_exists(path)) return true;
        if (onnx_read_value(ctx, a, path, io[in->n].kind, &in->at[in->n]) != DLC_OK) return false;
    }
    return true;
}

/* -- Outputs --------------------------------------------------------------------------------------------- */

static onnx_tensor as_value(arena *a, const char *name, const tensor *y)
{
    onnx_tensor t = {
        .dtype = y->dtype, .rank = y->rank, .n = tensor_n(y), .bytes = y->bytes, .name = arena_strdup(a, name)
    };
    memcpy(t.dims, y->dims, sizeof t.dims);
    return t;
}

/* Output `io`: a result of its name, or the results name[0], name[1], … as its items. */
static bool write_value(arena *a, const char *path, const onnx_io *io, const graph *g, const tensor *y)
{
    onnx_tensor v = { .name = io->name, .kind = io->kind, .is_absent = true };
    onnx_tensor *items = NEW_ARRAY(a, onnx_tensor, g->results.n);
    size_t n = strlen(io->name);
    for (int64_t k = 0; k < g->results.n; k++) {
        const char *name = g->result_names.at[k] ? g->result_names.at[k] : "";
        if (strncmp(name, io->name, n) != 0 || (name[n] && name[n] != '[')) continue;
        if (io->kind == ONNX_TENSOR) v = as_value(a, io->name, &y[k]);
        else items[v.n_items++] = as_value(a, "", &y[k]);
        v.is_absent = false;
    }
    v.items = items;
    text t = { .a = a };
    onnx_put_value(&t, &v);
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool ok = fwrite(text_str(&t), 1, (size_t)t.n, f) == (size_t)t.n;
    return fclose(f) == 0 && ok;
}

/* -- Running --------------------------------------------------------------------------------------------- */

/* The inputs that have not become constants, items of sequences one by one. */
static int flatten(const inputs *in, int most, tensor *x)
{
    int n = 0;
    for (int k = 0; k < in->n; k++) {
        const onnx_tensor *o = &in->at[k];
        if (in->is_taken[k] || o->is_absent) continue;
        bool is_tensor = o->kind == ONNX_TENSOR;
        for (int i = 0; i < (is_tensor ? 1 : o->n_items) && n < most; i++) {
            const onnx_tensor *t = is_tensor ? o : &o->items[i];
            x[n] = (tensor){ .dtype = t->dtype, .rank = t->rank, .bytes = (void *)(uintptr_t)t->bytes };
            memcpy(x[n].dims, t->dims, sizeof t->dims);
            n++;
        }
    }
    return n;
}

static dlc_status run_graph(dlc_context *ctx, arena *a, const graph *g, const inputs *in, const char *out_dir)
{
    int n = (int)g->inputs.n;
    tensor *x = NEW_ARRAY(a, tensor, n), *y = NEW_ARRAY(a, tensor, g->results.n);
    if (flatten(in, n, x) != n) {
        fprintf(stderr, "fewer input files than graph inputs\n");
        return DLC_ERR_INPUT;
    }
    int64_t *symbols = NEW_ARRAY(a, int64_t, dims_n_symbols(g->dims) + 1);
    eval_options o = { 0 };
    dlc_status st = eval_bind(ctx, g, x, symbols);
    if (st == DLC_OK) st = eval_graph(ctx, a, g, symbols, x, y, &o);
    for (int k = 0; k < in->n_out && st == DLC_OK; k++)
        if (!write_value(a, arena_printf(a, "%s/output_%d.pb", out_dir, k), &in->out[k], g, y))
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
static dlc_status try_folder(dlc_context *ctx, arena *a, const options *o, bool is_specialized,
                             bool *imported)
{
    inputs *in = NEW(a, inputs);
    graph *g = NULL;
    context_clear_diags(ctx);
    if (!read_inputs(ctx, a, o->dir, in)) return ctx->status ? ctx->status : DLC_ERR_INPUT;
    onnx_options how = {
        .n_offers = in->n, .offers = in->at, .is_offer_taken = in->is_taken, .is_specialized = is_specialized
    };
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
