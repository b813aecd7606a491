/* test_bits_bar: the same bits in every way of running a model (docs/design.md §11).
 *
 *     graph after its passes, interpreted  =  plain nests, interpreted  =  scheduled for vectors of 16, 32,
 *                                          64 bytes
 *     =  JIT for each of them, on 1, 2 and 4 threads  =  shared library  =  portable C  =  C with vector
 *        types (gcc, clang)
 *
 * each with fused and with rounded multiply-adds, on ordinary inputs and on ones with NaN, infinities, -0 and
 * subnormals. Memory that nobody wrote and lanes that nothing defines hold NaN, then 1e30. What is not built
 * is left out, and said.
 *
 *     test_bits_bar [NAME]                     the models of tests/models (whose path holds NAME)
 *     test_bits_bar [-no-c] [-heavy=N] FOLDER...   ONNX test folders, with the inputs of their first data set
 *
 * A folder's model of more than N operations (200 million) is not interpreted: its plain nests are compiled
 * instead.
 */
#include "tests/bars/bar_model.h"
#include "api/summary.h"
#include "backend/eval/eval.h"
#include <sys/stat.h>

enum { N_KINDS = 2 };                       /* of inputs: ordinary, special */
static const int64_t open_sizes[2] = { 3, 21 };
static double heavy = 2e8;

typedef struct {
    bar *b;
    const char *path, *folder;              /* folder: NULL for the models of tests/models */
    int n_data; onnx_tensor *data;          /* of the folder */
    bool *taken;                            /* those that became constants */
    bool is_heavy;
    driver_options o;
    tensor *in[N_KINDS], *want[N_KINDS];
    int n_out;
    dlc_run_hook threads[3];                /* 1, 2, 4 */
    int n_ways;
} trial;

static const char *way(trial *t, const char *how, int kind)
{
    return arena_printf(t->b->a, "%s, %s, %s, %s inputs", t->path, how,
                        t->o.fma == FMA_FUSED ? "fused" : "rounded", kind ? "special" : "ordinary");
}

static engine *make(trial *t, arena *a, const driver_options *o, engine_kind kind)
{
    engine *e;
    bar_check(t->b, way(t, engine_name[kind], 0), engine_open(t->b->ctx, a, t->path, o, kind, &e));
    return e;
}

/* -- Folders --------------------------------------------------------------------------------------------- */

static void read_data(trial *t)
{
    bar *b = t->b;
    int n_in, n_out;
    onnx_io *in, *out;
    bar_check(b, t->path, onnx_list_io(b->ctx, b->a, t->path, &n_in, &in, &n_out, &out));
    t->data = NEW_ARRAY(b->a, onnx_tensor, n_in + 1);
    t->taken = NEW_ARRAY(b->a, bool, n_in + 1);
    t->n_data = n_in;
    for (int i = 0; i < n_in; i++)
        bar_check(b, t->path,
                  onnx_read_value(b->ctx, b->a,
                                  arena_printf(b->a, "%s/test_data_set_0/input_%d.pb", t->folder, i),
                                  in[i].kind, &t->data[i]));
}

/* Structural inputs get the values of the data; open sizes are fixed if it does not go otherwise. */
static void open_folder(trial *t)
{
    arena *a = arena_new(&t->b->ctx->mem);
    graph *g = NULL;
    t->o.onnx.n_offers = t->n_data;
    t->o.onnx.offers = t->data;
    t->o.onnx.is_offer_taken = t->taken;
    for (int fixed = 0; fixed < 2; fixed++) {
        memset(t->taken, 0, sizeof *t->taken * (size_t)t->n_data);
        t->o.onnx.is_specialized = fixed;
        dlc_status s = driver_import(t->b->ctx, a, t->path, &t->o, &g);
        if (s == DLC_OK) break;
        if (fixed) bar_check(t->b, t->path, s);
        context_clear_diags(t->b->ctx);
    }
    t->is_heavy = summarize(g, a).flops > heavy;
    arena_free(a);
}

/* The data; with `special`, every fourth float or so one that needs care. */
static tensor *folder_inputs(trial *t, bool special)
{
    bar *b = t->b;
    tensor *in = NEW_ARRAY(b->a, tensor, t->n_data + 1);
    int n = 0;
    for (int i = 0; i < t->n_data; i++) {
        const onnx_tensor *x = &t->data[i];
        if (t->taken[i]) continue;
        if (x->kind != ONNX_TENSOR) fail_msg("%s: input %d is no tensor", t->path, i);
        tensor *y = &in[n++];
        *y = (tensor){ .dtype = x->dtype, .rank = x->rank };
        memcpy(y->dims, x->dims, sizeof y->dims);
        y->bytes = arena_copy(b->a, x->bytes, tensor_bytes(y));
        if (!special || !is_float(y->dtype)) continue;
        tensor care = *y;
        size_t width = (size_t)dtype_bytes(y->dtype), n_bytes = tensor_bytes(y);
        care.bytes = arena_alloc(b->a, n_bytes + 64);
        if (y->dtype == DTYPE_f32 || y->dtype == DTYPE_f64 || y->dtype == DTYPE_f16)
            bar_fill(&care, (uint64_t)i, true);
        else continue;
        for (size_t k = 0; k < n_bytes; k += 4 * width)
            memcpy((char *)y->bytes + k, (char *)care.bytes + k, width);
    }
    return in;
}

/* -- The ways -------------------------------------------------------------------------------------------- */

static void plain(trial *t)
{
    driver_options o = t->o;
    o.off[PASS_schedule] = true;
    o.verify = true;
    engine *e = make(t, t->b->a, &o, t->is_heavy ? ENGINE_jit : ENGINE_loop);
    t->n_out = e->n_out;
    for (int k = 0; k < N_KINDS; k++) {
        tensor *out = NEW_ARRAY(t->b->a, tensor, e->n_out + 1);
        t->in[k] = t->folder ? folder_inputs(t, k == 1)
                             : bar_inputs(t->b, e, (uint64_t)k + 1, k == 1, open_sizes);
        bar_check(t->b, way(t, "plain nests", k), engine_run(t->b->ctx, t->b->a, e, t->in[k], out, NULL));
        t->want[k] = bar_keep(t->b->a, e->n_out, out);
    }
}

/* The graph of kernels that lowering starts from. */
static void graph_after_passes(trial *t)
{
    arena *a = arena_new(&t->b->ctx->mem);
    graph *g;
    bar_check(t->b, t->path, driver_import(t->b->ctx, a, t->path, &t->o, &g));
    bar_check(t->b, t->path, driver_passes(t->b->ctx, &t->o, &g));
    for (int k = 0; k < N_KINDS; k++)
        for (int fill = 0; fill < 2; fill++, t->n_ways++) {
            int64_t *symbols = NEW_ARRAY(a, int64_t, dims_n_symbols(g->dims) + 1);
            tensor *out = NEW_ARRAY(a, tensor, t->n_out + 1);
            eval_options e = { .fma = t->o.fma, .fills_undef = fill, .undef = 1e30 };
            const char *what = way(t, fill ? "graph, undef 1e30" : "graph, undef NaN", k);
            bar_check(t->b, what, eval_bind(t->b->ctx, g, t->in[k], symbols));
            bar_check(t->b, what, eval_graph(t->b->ctx, a, g, symbols, t->in[k], out, &e));
            bar_same(t->b, what, t->n_out, out, t->want[k]);
        }
    arena_free(a);
}

static void scheduled(trial *t, int vector_bytes)
{
    static const double fills[] = { NAN, 1e30 };
    arena *a = arena_new(&t->b->ctx->mem);
    driver_options o = t->o;
    o.machine.vector_bytes = vector_bytes;
    o.verify = true;
    engine *e = make(t, a, &o, ENGINE_loop);
    for (int fill = 0; fill < 2; fill++) {
        bar_check(t->b, t->path, driver_constants_filled(t->b->ctx, e->program, fills[fill]));
        for (int k = 0; k < N_KINDS; k++, t->n_ways++) {
            prepared p;
            tensor *out = NEW_ARRAY(a, tensor, t->n_out + 1);
            const char *what = way(
                t, arena_printf(t->b->a, "scheduled for %d bytes, filled with %g", vector_bytes, fills[fill]),
                k);
            bar_check(t->b, what, engine_prepare(t->b->ctx, a, e, t->in[k], NULL, &p));
            bar_check(t->b, what,
                      driver_eval_filled(t->b->ctx, a, e->program, p.sizes, t->in[k], out, fills[fill]));
            bar_same(t->b, what, t->n_out, out, t->want[k]);
        }
    }
    arena_free(a);
}

static void compiled(trial *t, engine_kind kind, int vector_bytes)
{
    arena *a = arena_new(&t->b->ctx->mem);
    driver_options o = t->o;
    target host = target_host(vector_bytes);
    driver_set_target(&o, &host);
    o.codegen.threads = 1;
    engine *e = make(t, a, &o, kind);
    for (int k = 0; k < N_KINDS; k++)
        for (int th = 0; th < 3; th++, t->n_ways++) {
            tensor *out = NEW_ARRAY(a, tensor, t->n_out + 1);
            const char *what = way(t,
                                   arena_printf(t->b->a, "%s, %d bytes, %d threads", engine_name[kind],
                                                host.vector_bytes, 1 << th),
                                   k);
            bar_check(t->b, what, engine_run(t->b->ctx, a, e, t->in[k], out, &t->threads[th]));
            bar_same(t->b, what, t->n_out, out, t->want[k]);
        }
    arena_free(a);
}

/* -- All of them ----------------------------------------------------------------------------------------- */

static bool with_llvm, with_c;
static const char *with_clang;

/* The dialect with vector types, by the system's compiler (gcc, most often) and by clang. */
static void compiled_vectors(trial *t)
{
    const char *cc = getenv("CC"), *own = cc ? arena_strdup(t->b->a, cc) : NULL;
    t->o.c_vectors = true;
    compiled(t, ENGINE_c, 0);
    if (with_clang) {
        setenv("CC", with_clang, 1);
        compiled(t, ENGINE_c, 0);
        if (own) setenv("CC", own, 1);
        else unsetenv("CC");
    }
    t->o.c_vectors = false;
}

/* The C backend may not be built, or the system without a compiler. */
static void find_c(bar *b, void *arg)
{
    (void)arg;
    engine *e;
    driver_options o = driver_defaults();
    o.fma = FMA_ROUNDED;
    with_c = engine_open(b->ctx, b->a, "tests/models/scalars.graph", &o, ENGINE_c, &e) == DLC_OK;
}

static const char *find_clang(void)
{
    static const char *const names[] = { "clang", "clang-22", "clang-19" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[100];
        snprintf(line, sizeof line, "command -v %s >/dev/null", names[i]);
        if (system(line) == 0) return names[i];
    }
    return NULL;
}

static void every_way(bar *b, void *arg)
{
    const char *model = arena_printf(b->a, "%s/model.onnx", (const char *)arg);
    bool is_folder = access(model, R_OK) == 0;
    trial t = { .b = b, .path = is_folder ? model : arg, .folder = is_folder ? arg : NULL };
    if (is_folder) read_data(&t);
    for (int i = 0; i < 3; i++) {
        int n;
        t.threads[i] = i ? engine_threads(b->a, 1 << i, &n) : (dlc_run_hook){ NULL, NULL };
    }
    for (int mode = FMA_FUSED; mode <= FMA_ROUNDED; mode++) {
        t.o = driver_defaults();
        t.o.fma = (fma_mode)mode;
        t.o.c_fma = mode == FMA_FUSED;
        if (t.folder) open_folder(&t);
        plain(&t);
        if (!t.is_heavy) graph_after_passes(&t);
        for (int v = 16; v <= 64 && !t.is_heavy; v *= 2) scheduled(&t, v);
        for (int v = 16; v <= 64 && with_llvm; v *= 2)
            if (v == 16 || target_host(v).vector_bytes == v) compiled(&t, ENGINE_jit, v);
        if (with_llvm) compiled(&t, ENGINE_so, 0);
        if (with_c) compiled(&t, ENGINE_c, 0);
        if (with_c && !t.folder) compiled_vectors(&t);
    }
    print_message("%s: %d runs%s\n", t.path, t.n_ways, t.is_heavy ? ", compiled only" : "");
}

static void test(void **state) { bar_with(every_way, *state); }

int main(int argc, char **argv)
{
    struct CMUnitTest *tests = calloc((size_t)(N_BAR_MODELS + argc), sizeof *tests);
    struct stat info;
    bool no_c = false;
    int n = 0;
    if (!tests) return 1;
    for (int i = 1; i < argc; i++) {
        no_c |= strcmp(argv[i], "-no-c") == 0;
        if (strncmp(argv[i], "-heavy=", 7) == 0) heavy = atof(argv[i] + 7);
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode))
            tests[n++] = (struct CMUnitTest){ argv[i], test, NULL, NULL, argv[i] };
    }
    for (int i = 0; i < N_BAR_MODELS && n == 0; i++)
        if (argc < 2 || strstr(bar_models[i], argv[1]))
            tests[n++] = (struct CMUnitTest){ bar_models[i], test, NULL, NULL, (void *)bar_models[i] };
    with_llvm = bar_has_llvm();
    if (!no_c) bar_with(find_c, NULL);
    with_clang = with_c ? find_clang() : NULL;
    print_message("LLVM: %s, C: %s, by clang: %s\n", with_llvm ? "yes" : "no", with_c ? "yes" : "no",
                  with_clang ? with_clang : "no");
    int failed = _cmocka_run_group_tests("bits", tests, (size_t)n, NULL, NULL);
    free(tests);
    return failed;
}
