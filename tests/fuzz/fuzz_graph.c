/* fuzz_graph: bytes as the text of a graph. What parses must verify, print, parse back to the same print, and
 * (if it is small and has no loops) evaluate without fault, whatever its sizes claim. */
#include "backend/eval/eval.h"
#include "ir/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_WORK = 100000, SYMBOL = 3 };

/* Elements of a type with every symbol at SYMBOL; false: too many. */
static bool add_work(const graph *g, const int64_t *symbols, const dim *d, int rank, int64_t *work)
{
    int64_t n = 1, x;
    for (int i = 0; i < rank; i++)
        if (!dim_eval(g->dims, d[i], symbols, &x) || x < 0 || (x && !mul_ok(n, x, &n)) || n > MAX_WORK)
            return false;
    *work += n;
    return *work <= MAX_WORK;
}

static bool is_small(const graph *g, const int64_t *symbols)
{
    int64_t work = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *x = &g->nodes.at[i];
        text_body body[2];
        if (text_bodies(x, body)) return false;
        for (int k = 0; k < x->n_out; k++)
            if (!add_work(g, symbols, x->types[k].dims, x->types[k].rank, &work)) return false;
        if (x->prim == PRIM_contract &&
            !add_work(g, symbols, x->contract->extent, x->contract->n_labels, &work))
            return false;
        int64_t taps = 1;
        for (int k = 0; x->prim == PRIM_window && k < x->window->n; k++)
            if (!mul_ok(taps, x->window->axes[k].k, &taps) || taps > 100) return false;
    }
    return true;
}

static void evaluate(dlc_context *ctx, arena *a, const graph *g)
{
    int n_symbols = dims_n_symbols(g->dims);
    int64_t *symbols = NEW_ARRAY(a, int64_t, n_symbols + 1);
    for (int i = 0; i < n_symbols; i++) {
        int64_t lo, hi;
        dims_symbol_range(g->dims, i, &lo, &hi);
        symbols[i] = lo > SYMBOL ? lo : hi < SYMBOL ? hi : SYMBOL;
    }
    if (!is_small(g, symbols)) return;
    tensor *in = NEW_ARRAY(a, tensor, g->inputs.n + 1), *out = NEW_ARRAY(a, tensor, g->results.n + 1);
    for (int64_t i = 0; i < g->inputs.n; i++) {
        type t = type_of(g, g->inputs.at[i]);
        in[i] = (tensor){ .dtype = t.dtype, .rank = t.rank };
        for (int k = 0; k < t.rank; k++)
            if (!dim_eval(g->dims, t.dims[k], symbols, &in[i].dims[k]) || in[i].dims[k] < 0) return;
        in[i].bytes = arena_alloc(a, tensor_bytes(&in[i]));
    }
    eval_options o = { .fma = FMA_FUSED };
    if (eval_graph(ctx, a, g, symbols, in, out, &o) == DLC_ERR_INTERNAL) __builtin_trap();
}

static void run(dlc_context *ctx, const uint8_t *data, size_t n)
{
    arena *a = arena_new(&ctx->mem);
    graph *g = graph_parse(ctx, a, "fuzz", (const char *)data, n), *h;
    if (!g != (ctx->n_errors > 0)) __builtin_trap();
    if (!g) return;
    if (!graph_verify(g, "parse")) __builtin_trap();
    text first = { .a = a }, second = { .a = a };
    graph_print(g, &first);
    h = graph_parse(ctx, a, "print", text_str(&first), (size_t)first.n);
    if (!h) __builtin_trap();
    graph_print(h, &second);
    if (first.n != second.n || memcmp(first.at, second.at, (size_t)first.n)) __builtin_trap();
    evaluate(ctx, a, g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    dlc_context *ctx = context_new();
    mem_frame frame;
    if (!ctx) return 0;
    ctx->mem.limit = (size_t)1 << 29;
    if (mem_try(&ctx->mem, &frame)) {
        run(ctx, data, n);
        mem_end(&ctx->mem, &frame);
    }
    context_free(ctx);
    return 0;
}
