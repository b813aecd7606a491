/* onnx_eval: runs an official ONNX test folder through the graph interpreter
 *
 *     onnx_eval DIR [-o OUT] [--rounded] [--print]
 *
 * Reads DIR/model.onnx and DIR/test_data_set_0/input_K.pb, writes OUT/output_K.pb. An input that decides shapes is bound
 * to its value and the model imported again. It compares nothing: whoever calls judges the outputs.
 * Exit: 0 run, 1 wrong, 2 not implemented, 3 refused, 70 a bug.
 */
#include "backend/eval/eval.h"
#include "frontend/onnx/onnx.h"
#include "frontend/onnx/op.h"
#undef in
#undef out
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAX_FILES = 256 };

typedef struct {
    const char *dir, *to;
    bool rounded, prints;
    int n_in, n_binds;
    onnx_tensor in[MAX_FILES];
    onnx_bind_option binds[MAX_FILES];
} job;

/* -- Inputs ------------------------------------------------------------------------------------------------------------- */

static dlc_status read_inputs(dlc_context *ctx, arena *a, job *j)
{
    for (; j->n_in < MAX_FILES; j->n_in++) {
        const char *path = arena_printf(a, "%s/test_data_set_0/input_%d.pb", j->dir, j->n_in);
        struct stat s;
        if (stat(path, &s) != 0) return DLC_OK;
        dlc_status status = onnx_read_tensor(ctx, a, path, &j->in[j->n_in]);
        if (status != DLC_OK) return status;
    }
    return DLC_OK;
}

static const char *as_text(arena *a, const onnx_tensor *t)
{
    text s = { .a = a };
    for (int64_t i = 0; i < t->n; i++) {
        const char *p = (const char *)t->bytes + i * dtype_bytes(t->dtype);
        if (i) text_put(&s, ",");
        if (is_float(t->dtype)) text_printf(&s, "%.17g", sv_to_f64(t->dtype, sv_load(t->dtype, p)));
        else text_printf(&s, "%lld", (long long)sv_to_i64(t->dtype, sv_load(t->dtype, p)));
    }
    return text_str(&s);
}

static bool is_bound(const job *j, const char *name)
{
    for (int i = 0; i < j->n_binds; i++)
        if (!strcmp(j->binds[i].name, name)) return true;
    return false;
}

static bool bind(arena *a, job *j, const onnx_tensor *t)
{
    if (!t->name || !*t->name || is_bound(j, t->name) || is_storage(t->dtype) || t->n < 1 || t->n > 4096) return false;
    j->binds[j->n_binds++] = (onnx_bind_option){ t->name, as_text(a, t) };
    return true;
}

/* The input that a diagnostic asks for; if it names none, every small one. */
static bool bind_what_is_missing(dlc_context *ctx, arena *a, job *j)
{
    bool asked = false, done = false;
    for (int64_t d = 0; d < ctx->diags.n; d++) {
        if (strcmp(ctx->diags.at[d].id, "onnx_not_known")) continue;
        asked = true;
        for (int i = 0; i < j->n_in; i++) {
            if (!j->in[i].name || !strstr(ctx->diags.at[d].message, arena_printf(a, "\"%s\"", j->in[i].name))) continue;
            done |= bind(a, j, &j->in[i]);
        }
    }
    if (!asked || done) return done;
    for (int i = 0; i < j->n_in; i++)
        if (j->in[i].n <= 64) done |= bind(a, j, &j->in[i]);
    return done;
}

static void print_diags(dlc_context *ctx, arena *a)
{
    for (int64_t i = 0; i < ctx->diags.n && i < 5; i++) {
        text t = { .a = a };
        diag_format(&t, &ctx->diags.at[i]);
        fprintf(stderr, "%s\n", text_str(&t));
    }
}

static dlc_status import(dlc_context *ctx, arena *a, job *j, graph **g)
{
    const char *path = arena_printf(a, "%s/model.onnx", j->dir);
    for (;;) {
        onnx_options o = { .n_binds = j->n_binds, .binds = j->binds };
        dlc_status status = onnx_import(ctx, a, path, &o, g);
        if (status != DLC_ERR_UNSUPPORTED || !bind_what_is_missing(ctx, a, j)) return status;
        context_clear_diags(ctx);
    }
}

/* -- Outputs ----------------------------------------------------------------------------------------------------------------- */

static void put_varint(text *t, uint64_t v)
{
    for (; v >= 128; v >>= 7) text_putn(t, (char[]){ (char)(v | 128) }, 1);
    text_putn(t, (char[]){ (char)v }, 1);
}

/* Sub-byte elements are packed, the first in the lowest bits. */
static void put_elements(text *t, const tensor *x)
{
    int bits = is_storage(x->dtype) ? dtype_info[x->dtype].bits : 8;
    int64_t n = tensor_n(x);
    int per = bits == 4 ? 2 : bits == 2 ? 4 : 1;
    size_t size = per == 1 ? (size_t)n * (size_t)dtype_bytes(x->dtype) : (size_t)((n + per - 1) / per);
    put_varint(t, 9 << 3 | 2);
    put_varint(t, size);
    if (per == 1) {
        text_putn(t, x->bytes, size);
        return;
    }
    const uint8_t *p = x->bytes;
    for (int64_t i = 0; i < n; i += per) {
        unsigned byte = 0;
        for (int k = 0; k < per && i + k < n; k++) byte |= (p[i + k] & ((1u << bits) - 1)) << (k * bits);
        text_putn(t, (char[]){ (char)byte }, 1);
    }
}

static bool write_output(arena *a, const char *path, const char *name, const tensor *x)
{
    text t = { .a = a };
    for (int i = 0; i < x->rank; i++) {
        put_varint(&t, 1 << 3);
        put_varint(&t, (uint64_t)x->dims[i]);
    }
    put_varint(&t, 2 << 3);
    put_varint(&t, (uint64_t)onnx_dtype_code(x->dtype));
    put_varint(&t, 8 << 3 | 2);
    put_varint(&t, strlen(name));
    text_put(&t, name);
    put_elements(&t, x);
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(t.at, 1, (size_t)t.n, f) == (size_t)t.n;
    if (f && fclose(f) != 0) ok = false;
    if (!ok) fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return ok;
}

/* -- Running --------------------------------------------------------------------------------------------------------------------- */

static bool gather_inputs(const job *j, const graph *g, tensor *x)
{
    for (int64_t i = 0; i < g->inputs.n; i++) {
        const char *name = node_of(g, g->inputs.at[i])->input->name;
        const onnx_tensor *found = NULL;
        for (int k = 0; k < j->n_in; k++)
            if (name && j->in[k].name && !strcmp(j->in[k].name, name)) found = &j->in[k];
        if (!found && g->inputs.n == j->n_in) found = &j->in[i];
        if (!found) return false;
        x[i] = (tensor){ .dtype = found->dtype, .rank = found->rank, .bytes = (void *)(uintptr_t)found->bytes };
        memcpy(x[i].dims, found->dims, sizeof x[i].dims);
    }
    return true;
}

static dlc_status run(dlc_context *ctx, arena *a, job *j)
{
    graph *g = NULL;
    dlc_status status = read_inputs(ctx, a, j);
    if (status == DLC_OK) status = import(ctx, a, j, &g);
    if (status != DLC_OK) return status;
    if (j->prints) {
        text t = { .a = a };
        graph_print(graph_compact(g), &t);
        fputs(text_str(&t), stdout);
    }
    int64_t n_in = g->inputs.n, n_out = g->results.n, *symbols = NEW_ARRAY(a, int64_t, dims_n_symbols(g->dims) + 1);
    tensor *x = NEW_ARRAY(a, tensor, n_in + 1), *y = NEW_ARRAY(a, tensor, n_out + 1);
    if (!gather_inputs(j, g, x)) {
        fprintf(stderr, "the inputs' files do not fit the model's inputs\n");
        return DLC_ERR_INTERNAL;
    }
    status = eval_bind(ctx, g, x, symbols);
    eval_options o = { .fma = j->rounded ? FMA_ROUNDED : FMA_FUSED };
    if (status == DLC_OK) status = eval_graph(ctx, a, g, symbols, x, y, &o);
    for (int64_t i = 0; status == DLC_OK && j->to && i < n_out; i++) {
        const char *name = g->result_names.at[i] ? g->result_names.at[i] : "";
        if (!write_output(a, arena_printf(a, "%s/output_%d.pb", j->to, (int)i), name, &y[i])) status = DLC_ERR_IO;
    }
    return status;
}

int main(int argc, char **argv)
{
    static job j;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-o") && i + 1 < argc) j.to = argv[++i];
        else if (!strcmp(argv[i], "--rounded")) j.rounded = true;
        else if (!strcmp(argv[i], "--print")) j.prints = true;
        else j.dir = argv[i];
    }
    if (!j.dir) {
        fprintf(stderr, "usage: onnx_eval DIR [-o OUT] [--rounded] [--print]\n");
        return 2;
    }
    dlc_context *ctx = context_new();
    if (!ctx) return 1;
    mem_frame frame;
    dlc_status status = DLC_ERR_MEMORY;
    if (mem_try(&ctx->mem, &frame)) {
        arena *a = arena_new(&ctx->mem);
        status = run(ctx, a, &j);
        print_diags(ctx, a);
        arena_free(a);
        mem_end(&ctx->mem, &frame);
    } else {
        fprintf(stderr, "out of memory\n");
    }
    context_free(ctx);
    switch (status) {
    case DLC_OK: return 0;
    case DLC_ERR_UNSUPPORTED: return 2;
    case DLC_ERR_INPUT: return 3;
    case DLC_ERR_INTERNAL: return 70;
    default: return 1;
    }
}
