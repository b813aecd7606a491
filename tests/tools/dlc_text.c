/* dlc_text: graphs as text, alone: for text tests, harnesses and work by hand; `dlc opt` and `dlc run` do
 * more.
 *
 *     dlc_text FILE                  parse, verify, print                        (FILE -: standard input)
 *     dlc_text --brief FILE          long constants shown as ...
 *     dlc_text --eval FILE           evaluate; the inputs are the results of a second graph in FILE, `graph
 *                                    @inputs()`
 *     dlc_text --eval --in A,B --out PREFIX FILE       inputs are raw files; results are written to PREFIX0,
 *     PREFIX1 …
 *     dlc_text --same FILE FILE      random inputs, several sizes: equal bits?
 *         --close                    no: the second's error against f64 at most twice the first's
 *         --rounded                  multiply-add with two roundings
 *         --undef X                  what pad undef holds (default NaN)
 *         --sym N=3                  value of a symbol that no input determines
 *
 * Messages go to standard output, as the tests want them. Exit: 0, 1 wrong input or different, 70 a bug.
 */
#include "backend/eval/eval.h"
#include "ir/lex.h"
#include "ir/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    bool eval, same, close, brief;
    eval_options o;
    char *in, *out, *sym[16]; int n_sym;
    const char *file[2]; int n_files;
    dlc_context *ctx;
    arena *a;
} tool;

static bool read_arguments(tool *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--eval")) t->eval = true;
        else if (!strcmp(argv[i], "--same")) t->same = true;
        else if (!strcmp(argv[i], "--close")) t->close = true;
        else if (!strcmp(argv[i], "--brief")) t->brief = true;
        else if (!strcmp(argv[i], "--rounded")) t->o.fma = FMA_ROUNDED;
        else if (!strcmp(argv[i], "--undef") && more) {
            t->o.fills_undef = true;
            t->o.undef = atof(argv[++i]);
        } else if (!strcmp(argv[i], "--in") && more) t->in = argv[++i];
        else if (!strcmp(argv[i], "--out") && more) t->out = argv[++i];
        else if (!strcmp(argv[i], "--sym") && more && t->n_sym < 16) t->sym[t->n_sym++] = argv[++i];
        else if (t->n_files < 2) t->file[t->n_files++] = argv[i];
        else return false;
    }
    return t->n_files == (t->same ? 2 : 1);
}

static void read_all(tool *t, const char *path, text *out)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    char buffer[65536];
    if (!f) return;
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0; ) text_putn(out, buffer, n);
    if (f != stdin) fclose(f);
    (void)t;
}

static void print_messages(tool *t)
{
    for (int64_t i = 0; i < t->ctx->diags.n; i++) {
        text line = { .a = t->a };
        diag_format(&line, &t->ctx->diags.at[i]);
        puts(text_str(&line));
    }
    context_clear_diags(t->ctx);
}

static graph *parse(tool *t, const char *src, size_t n)
{
    graph *g = graph_parse(t->ctx, t->a, t->file[0], src, n);
    if (g && !graph_verify(g, "parse")) return NULL;
    return g;
}

static void put_tensor(text *out, const tensor *x)
{
    text_printf(out, "%s[", dtype_info[x->dtype].name);
    for (int i = 0; i < x->rank; i++) text_printf(out, "%s%lld", i ? ", " : "", (long long)x->dims[i]);
    text_put(out, "]");
    for (int64_t i = 0; i < tensor_n(x); i++) {
        text_put(out, i ? ", " : " ");
        const char *p = (const char *)x->bytes + i * dtype_bytes(x->dtype);
        /* which is not defined */
        if (is_float(x->dtype) && isnan(sv_to_f64(x->dtype, sv_load(x->dtype, p)))) text_put(out, "nan");
        else put_scalar(out, x->dtype, p);
    }
    text_put(out, "\n");
}

/* -- Evaluation ------------------------------------------------------------------------------------------ */

static void set_symbols(tool *t, const graph *g, int64_t *symbols)
{
    for (int i = 0; i < dims_n_symbols(g->dims); i++)
        for (int k = 0; k < t->n_sym; k++) {
            const char *name = dims_symbol_name(g->dims, i);
            size_t n = strlen(name);
            if (!strncmp(t->sym[k], name, n) && t->sym[k][n] == '=') symbols[i] = atoll(t->sym[k] + n + 1);
        }
}

static tensor *inputs_from_files(tool *t, const graph *g, const int64_t *symbols)
{
    tensor *in = NEW_ARRAY(t->a, tensor, g->inputs.n + 1);
    char *path = t->in;
    for (int64_t i = 0; i < g->inputs.n; i++) {
        type ty = type_of(g, g->inputs.at[i]);
        in[i] = (tensor){ .dtype = ty.dtype, .rank = ty.rank };
        for (int k = 0; k < ty.rank; k++) dim_eval(g->dims, ty.dims[k], symbols, &in[i].dims[k]);
        char *comma = path ? strchr(path, ',') : NULL;
        if (comma) *comma = 0;
        text data = { .a = t->a };
        if (path) read_all(t, path, &data);
        path = comma ? comma + 1 : NULL;
        if ((size_t)data.n != tensor_bytes(&in[i])) {
            printf("input %lld: expected %zu bytes, found %lld\n", (long long)i, tensor_bytes(&in[i]),
                   (long long)data.n);
            return NULL;
        }
        in[i].bytes = arena_copy(t->a, text_str(&data), (size_t)data.n);
    }
    return in;
}

static tensor *inputs_from_graph(tool *t, const char *src, size_t n, int64_t want)
{
    graph *g = parse(t, src, n);
    if (!g) return NULL;
    if (g->results.n != want) {
        printf("%lld inputs are given, the graph has %lld\n", (long long)g->results.n, (long long)want);
        return NULL;
    }
    tensor *in = NEW_ARRAY(t->a, tensor, want + 1);
    return eval_graph(t->ctx, t->a, g, NULL, NULL, in, &t->o) == DLC_OK ? in : NULL;
}

static bool write_results(tool *t, const tensor *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!t->out) {
            text line = { .a = t->a };
            put_tensor(&line, &out[i]);
            fputs(text_str(&line), stdout);
            continue;
        }
        char path[4096];
        snprintf(path, sizeof path, "%s%lld", t->out, (long long)i);
        FILE *f = fopen(path, "wb");
        if (!f) return false;
        size_t size = tensor_bytes(&out[i]);
        fwrite(out[i].bytes, 1, size, f);
        fclose(f);
    }
    return true;
}

static bool run_eval(tool *t)
{
    text src = { .a = t->a };
    read_all(t, t->file[0], &src);
    const char *s = text_str(&src), *second = strstr(s, "graph @inputs(");
    size_t n = second && !t->in ? (size_t)(second - s) : (size_t)src.n;
    graph *g = parse(t, s, n);
    if (!g) return false;
    int64_t *symbols = NEW_ARRAY(t->a, int64_t, dims_n_symbols(g->dims) + 1);
    set_symbols(t, g, symbols);
    tensor *in = second && !t->in ? inputs_from_graph(t, second, (size_t)src.n - n, g->inputs.n)
                                  : inputs_from_files(t, g, symbols);
    if (!in || (!t->in && eval_bind(t->ctx, g, in, symbols) != DLC_OK)) return false;
    if (!t->in) set_symbols(t, g, symbols);
    tensor *out = NEW_ARRAY(t->a, tensor, g->results.n + 1);
    return eval_graph(t->ctx, t->a, g, symbols, in, out, &t->o) == DLC_OK &&
           write_results(t, out, g->results.n);
}

/* -- Comparison ------------------------------------------------------------------------------------------ */

static uint64_t random_word(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static scalar_value random_element(dtype t, bool tame, uint64_t *s)
{
    uint64_t w = random_word(s);
    if (t == DTYPE_bool) return (scalar_value){ w & 1 };
    dtype c = carrier_dtype(t);
    if (!is_float(c)) return sv_from_i64(c, (int64_t)(w % 7) - (is_signed(c) && w >> 60 == 0));
    static const double special[] = { NAN, INFINITY, -INFINITY, -0.0, 0.0, 1e-42, 1, -1 };
    if (!tame && w >> 59 == 0) return sv_from_f64(c, special[w % 8]);
    if (tame) return sv_from_f64(c, (double)(w >> 11) * 0x1p-51 - 2);
    double x = (double)(int64_t)(w >> 20 & 0xffff) / 16384 - 2;
    return sv_from_f64(c, w >> 63 ? rint(x) : x);
}

static bool fill_inputs(tool *t, const graph *g, const int64_t *symbols, tensor *in, uint64_t *seed)
{
    for (int64_t i = 0; i < g->inputs.n; i++) {
        type ty = type_of(g, g->inputs.at[i]);
        in[i] = (tensor){ .dtype = ty.dtype, .rank = ty.rank };
        for (int k = 0; k < ty.rank; k++)
            if (!dim_eval(g->dims, ty.dims[k], symbols, &in[i].dims[k]) || in[i].dims[k] < 0) return false;
        in[i].bytes = arena_alloc(t->a, tensor_bytes(&in[i]));
        for (int64_t e = 0; e < tensor_n(&in[i]); e++)
            sv_store(ty.dtype, (char *)in[i].bytes + e * dtype_bytes(ty.dtype),
                     random_element(ty.dtype, t->close, seed));
    }
    return true;
}

static bool equal_element(dtype t, const void *a, const void *b)
{
    scalar_value x = sv_load(t, a), y = sv_load(t, b);
    return x.bits == y.bits || (is_float(t) && isnan(sv_to_f64(t, x)) && isnan(sv_to_f64(t, y)));
}

/* The largest error of x against `wide`, and the largest magnitude; elements that are not finite in `wide` do
 * not count. */
static double error_of(const tensor *x, const tensor *wide, double *scale)
{
    double worst = 0;
    for (int64_t e = 0; e < tensor_n(x); e++) {
        double u = sv_to_f64(x->dtype, sv_load(x->dtype, (const char *)x->bytes + e * dtype_bytes(x->dtype)));
        double w = ((const double *)wide->bytes)[e], d = fabs(u - w);
        if (!isfinite(w)) continue;
        if (!(d <= worst)) worst = d;                   /* a NaN is an error of NaN, which no bound admits */
        if (fabs(w) > *scale) *scale = fabs(w);
    }
    return worst;
}

/* Twice the error of a, and two units in the last place of the largest value (a may be right by luck). */
static bool close_results(const tensor *a, const tensor *b, const tensor *wide, int64_t result)
{
    static const double unit[DTYPE_COUNT] = {
        [DTYPE_f64] = 0x1p-50, [DTYPE_f32] = 0x1p-23, [DTYPE_f16] = 0x1p-10, [DTYPE_bf16] = 0x1p-7
    };
    double scale = 0, before = error_of(a, wide, &scale), after = error_of(b, wide, &scale);
    if (after <= 2 * before + 2 * unit[a->dtype] * scale) return true;
    printf("result %lld: error %g, before %g, of values up to %g\n", (long long)result, after, before, scale);
    return false;
}

static bool equal_results(tool *t, const graph *g, const tensor *a, const tensor *b, const tensor *wide)
{
    for (int64_t i = 0; i < g->results.n; i++) {
        if (a[i].dtype != b[i].dtype || a[i].rank != b[i].rank
            || memcmp(a[i].dims, b[i].dims, (size_t)a[i].rank * sizeof *a[i].dims)) {
            printf("result %lld differs in type\n", (long long)i);
            return false;
        }
        if (wide && is_float(a[i].dtype)) {
            if (!close_results(&a[i], &b[i], &wide[i], i)) return false;
            continue;
        }
        int width = dtype_bytes(a[i].dtype);
        for (int64_t e = 0; e < tensor_n(&a[i]); e++) {
            const char *x = (const char *)a[i].bytes + e * width, *y = (const char *)b[i].bytes + e * width;
            if (equal_element(a[i].dtype, x, y)) continue;
            text line = { .a = t->a };
            text_printf(&line, "result %lld, element %lld: ", (long long)i, (long long)e);
            put_scalar(&line, a[i].dtype, x);
            text_put(&line, ", then ");
            put_scalar(&line, a[i].dtype, y);
            puts(text_str(&line));
            return false;
        }
    }
    return true;
}

/* The results of g in f64 for the same inputs; NULL if there is no such graph. */
static tensor *wide_results(tool *t, const graph *g, const int64_t *symbols, const tensor *in,
                            const eval_options *o)
{
    graph *w = t->close ? eval_widened(g) : NULL;
    if (!w) return NULL;
    tensor *x = NEW_ARRAY(t->a, tensor, g->inputs.n + 1), *out = NEW_ARRAY(t->a, tensor, g->results.n + 1);
    for (int64_t i = 0; i < g->inputs.n; i++) {
        x[i] = in[i];
        if (!is_float(in[i].dtype)) continue;
        x[i].dtype = DTYPE_f64;
        double *d = x[i].bytes = arena_alloc(t->a, tensor_bytes(&x[i]));
        for (int64_t e = 0; e < tensor_n(&x[i]); e++)
            d[e] = sv_to_f64(in[i].dtype,
                             sv_load(in[i].dtype, (const char *)in[i].bytes + e * dtype_bytes(in[i].dtype)));
    }
    return eval_graph(t->ctx, t->a, w, symbols, x, out, o) == DLC_OK ? out : NULL;
}

/* Values of g's symbols by name in h's order. */
static void carry_symbols(const graph *g, const int64_t *from, const graph *h, int64_t *to)
{
    for (int i = 0; i < dims_n_symbols(h->dims); i++)
        for (int k = 0; k < dims_n_symbols(g->dims); k++)
            if (!strcmp(dims_symbol_name(h->dims, i), dims_symbol_name(g->dims, k))) to[i] = from[k];
}

static bool compare_once(tool *t, const graph *g, const graph *h, int round)
{
    static const int64_t sizes[] = { 3, 1, 2, 17, 8, 5 };
    uint64_t seed = (uint64_t)round;
    int n = dims_n_symbols(g->dims);
    int64_t *sg = NEW_ARRAY(t->a, int64_t, n + 1),
            *sh = NEW_ARRAY(t->a, int64_t, dims_n_symbols(h->dims) + 1);
    for (int i = 0; i < n; i++) {
        int64_t lo, hi;
        dims_symbol_range(g->dims, i, &lo, &hi);
        sg[i] = sizes[(round + i) % 6];
        sg[i] = sg[i] < lo ? lo : sg[i] > hi ? hi : sg[i];
    }
    carry_symbols(g, sg, h, sh);
    tensor *in = NEW_ARRAY(t->a, tensor, g->inputs.n + 1), *a = NEW_ARRAY(t->a, tensor, g->results.n + 1),
           *b = NEW_ARRAY(t->a, tensor, g->results.n + 1);
    if (!fill_inputs(t, g, sg, in, &seed)) return true;
    eval_options o = t->o;
    o.fills_undef = round % 2;
    o.undef = 1e30;
    bool ok_g = eval_graph(t->ctx, t->a, g, sg, in, a, &o) == DLC_OK;
    context_clear_diags(t->ctx);
    if (!ok_g) return true;                              /* these sizes do not fit the graph itself */
    if (eval_graph(t->ctx, t->a, h, sh, in, b, &o) != DLC_OK) return false;
    return equal_results(t, g, a, b, wide_results(t, g, sg, in, &o));
}

static bool run_same(tool *t)
{
    graph *g[2];
    for (int i = 0; i < 2; i++) {
        text src = { .a = t->a };
        read_all(t, t->file[i], &src);
        g[i] = parse(t, text_str(&src), (size_t)src.n);
        if (!g[i]) return false;
    }
    if (g[0]->inputs.n != g[1]->inputs.n || g[0]->results.n != g[1]->results.n) {
        puts("inputs or results differ in number");
        return false;
    }
    for (int round = 0; round < 12; round++)
        if (!compare_once(t, g[0], g[1], round)) return false;
    return true;
}

static bool run_print(tool *t)
{
    text src = { .a = t->a }, out = { .a = t->a };
    read_all(t, t->file[0], &src);
    graph *g = parse(t, text_str(&src), (size_t)src.n);
    if (!g) return false;
    if (t->brief) graph_print_brief(g, &out);
    else graph_print(g, &out);
    fputs(text_str(&out), stdout);
    return true;
}

int main(int argc, char **argv)
{
    tool t = { .ctx = context_new() };
    graph_evaluator evaluator;
    if (!t.ctx || !read_arguments(&t, argc, argv)) {
        fputs("usage: see tests/tools/dlc_text.c\n", stderr);
        return 2;
    }
    mem_frame frame;
    int code = 1;
    evaluator = eval_evaluator(t.o.fma);
    t.ctx->evaluator = &evaluator;
    if (mem_try(&t.ctx->mem, &frame)) {
        t.a = arena_new(&t.ctx->mem);
        bool ok = t.same ? run_same(&t) : t.eval ? run_eval(&t) : run_print(&t);
        code = ok ? 0 : t.ctx->status == DLC_ERR_INTERNAL ? 70 : 1;
        print_messages(&t);
        mem_end(&t.ctx->mem, &frame);
    } else {
        puts("out of memory");
    }
    context_free(t.ctx);
    return code;
}
