/* test_grad_onnx_slow: gradients of the official ONNX tests against central differences
 *
 *     test_grad_onnx_slow [-v] [FOLDER]...        default: every folder of $DLC_ONNX_TESTS/node; without it
 *     the test is skipped
 *
 * Each folder is imported for the sizes of its inputs, made f64, its float inputs moved a little off the
 * round numbers they often are (where functions have kinks), and its first and second derivatives by every
 * float input are compared. Each runs in a process of its own, so that a crash or a hang is one failure.
 * Prints what was checked, by operator.
 */
#include "frontend/onnx/onnx.h"
#include "tests/grad/grad_check.h"
#include <dirent.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_INPUTS = 256, SECONDS = 60 };
typedef enum { CHECKED, NO_IMPORT, NO_FLOATS, NO_WIDE, NO_RUN, NO_GRADIENT, NAN_INSIDE, WRONG, CRASHED,
               N_VERDICTS } verdict;
static const char *const verdict_text[N_VERDICTS] = {
    "checked",        "not imported", "no float input or output",
    "no f64 form",    "does not run", "no gradient",
    "NaN on the way", "wrong",        "crash or time-out"
};

/* -- One folder ------------------------------------------------------------------------------------------ */

typedef struct { onnx_tensor at[MAX_INPUTS]; bool is_taken[MAX_INPUTS]; int n; } inputs;

static bool read_inputs(dlc_context *ctx, arena *a, const char *dir, inputs *in)
{
    int n_in = 0, n_out;
    onnx_io *ins, *outs;
    if (onnx_list_io(ctx, a, arena_printf(a, "%s/model.onnx", dir), &n_in, &ins, &n_out, &outs) != DLC_OK)
        return false;
    for (in->n = 0; in->n < MAX_INPUTS; in->n++) {
        const char *path = arena_printf(a, "%s/test_data_set_0/input_%d.pb", dir, in->n);
        if (access(path, R_OK) != 0) return true;
        if (onnx_read_value(ctx, a, path, in->n < n_in ? ins[in->n].kind : ONNX_TENSOR, &in->at[in->n]) !=
            DLC_OK)
            return false;
    }
    return true;
}

/* As f64 if it is a float, and moved by up to 1/64. */
static tensor widened(bench *b, const onnx_tensor *o)
{
    tensor t = { .dtype = o->dtype, .rank = o->rank, .bytes = (void *)(uintptr_t)o->bytes };
    memcpy(t.dims, o->dims, sizeof t.dims);
    if (!is_float(o->dtype)) return t;
    tensor w = t;
    w.dtype = DTYPE_f64;
    w.bytes = arena_alloc(b->a, tensor_bytes(&w) + 8);
    for (int64_t i = 0; i < tensor_n(&w); i++)
        ((double *)w.bytes)[i] = sv_to_f64(o->dtype, sv_load(o->dtype, (const char *)o->bytes +
                                                                           i * dtype_bytes(o->dtype))) +
                                 grad_random(b) / 64;
    return w;
}

static int widen_value(bench *b, const onnx_tensor *o, tensor *to)
{
    if (o->kind == ONNX_TENSOR) {
        to[0] = widened(b, o);
        return 1;
    }
    int n = 0;
    for (int i = 0; i < o->n_items; i++) n += widen_value(b, &o->items[i], to + n);
    return n;
}

static void list_operators(const graph *g, text *out)
{
    const char *seen[512];
    int n = 0;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const char *op = g->nodes.at[i].at ? g->nodes.at[i].at->op : NULL;
        bool is_new = op && n < 512;
        for (int k = 0; is_new && k < n; k++) is_new = strcmp(seen[k], op) != 0;
        if (!is_new) continue;
        seen[n++] = op;
        text_printf(out, "%s%s", n > 1 ? "," : "", op);
    }
}

/* A value that is NaN and then not taken (a row of a softmax that is masked out): 0 * NaN is NaN, here as in
 * JAX. */
static bool has_nan_inside(bench *b, graph *w, const int64_t *symbols, const tensor *in)
{
    w->results.n = w->result_names.n = 0;
    for (int64_t v = 1; v < w->owner.n; v++)
        if (dtype_of(w, (value){ (uint32_t)v }) == DTYPE_f64) add_result(w, (value){ (uint32_t)v }, NULL);
    tensor *y = NEW_ARRAY(b->a, tensor, w->results.n + 1);
    eval_options o = { 0 };
    if (eval_graph(b->ctx, b->a, w, symbols, in, y, &o) != DLC_OK) return false;
    for (int64_t r = 0; r < w->results.n; r++)
        for (int64_t i = 0; i < tensor_n(&y[r]); i++)
            if (isnan(((double *)y[r].bytes)[i])) return true;
    return false;
}

static verdict check_folder(bench *b, const char *dir, grad_counts *c, text *ops)
{
    inputs *in = NEW(b->a, inputs);
    graph *g = NULL;
    if (!read_inputs(b->ctx, b->a, dir, in)) return NO_IMPORT;
    onnx_options how = {
        .n_offers = in->n, .offers = in->at, .is_offer_taken = in->is_taken, .is_specialized = true
    };
    if (onnx_import(b->ctx, b->a, arena_printf(b->a, "%s/model.onnx", dir), &how, &g) != DLC_OK)
        return NO_IMPORT;
    list_operators(g, ops);
    bool any_in = false, any_out = false;
    for (int64_t i = 0; i < g->inputs.n; i++) any_in |= is_float(dtype_of(g, g->inputs.at[i]));
    for (int64_t i = 0; i < g->results.n; i++) any_out |= is_float(dtype_of(g, g->results.at[i]));
    if (!any_in || !any_out) return NO_FLOATS;
    graph *w = eval_widened(g);
    if (!w) return NO_WIDE;
    tensor *x = NEW_ARRAY(b->a, tensor, g->inputs.n + 1024), *y = NEW_ARRAY(b->a, tensor, g->results.n + 1);
    int n = 0;
    for (int k = 0; k < in->n; k++)
        if (!in->is_taken[k]) n += widen_value(b, &in->at[k], x + n);
    int64_t *symbols = NEW_ARRAY(b->a, int64_t, dims_n_symbols(w->dims) + 64);
    eval_options o = { 0 };
    if (n != w->inputs.n || eval_bind(b->ctx, w, x, symbols) != DLC_OK ||
        eval_graph(b->ctx, b->a, w, symbols, x, y, &o) != DLC_OK)
        return NO_RUN;
    grad_how gh = {
        .h = 1e-5, .tolerance = 1e-5, .max_elements = 6, .second = true, .kinks = true, .name = dir
    };
    if (!grad_check_graph(b, w, symbols, x, &gh, c)) return NO_GRADIENT;
    if (!c->n_failed) return CHECKED;
    return isnan(c->worst) && has_nan_inside(b, eval_widened(g), symbols, x) ? NAN_INSIDE : WRONG;
}

/* -- All of them ----------------------------------------------------------------------------------------- */

typedef struct { bool verbose; int n[N_VERDICTS], n_derivatives, n_skipped; map_str ops[2]; bench b; } totals;

static void child(const char *dir, int fd)
{
    alarm(SECONDS);
    bench b = bench_new();
    mem_frame frame;
    grad_counts c = { 0 };
    text ops = { .a = b.a };
    verdict v = NO_RUN;
    if (mem_try(&b.ctx->mem, &frame)) v = check_folder(&b, dir, &c, &ops);
    if (v == NO_GRADIENT) bench_messages(&b);
    fflush(stdout);
    dprintf(fd, "%d %d %d %.2g %s\n", v, c.n_checked, c.n_skipped, c.worst, ops.n ? ops.at : "-");
    _exit(0);
}

static void run_folder(totals *t, const char *dir)
{
    int p[2];
    if (access(arena_printf(t->b.a, "%s/model.onnx", dir), R_OK) != 0 || pipe(p) != 0) return;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) child(dir, p[1]);
    close(p[1]);
    FILE *f = fdopen(p[0], "r");
    char ops[8000] = "-";
    int v = CRASHED, n = 0, skipped = 0;
    double worst = 0;
    if (fscanf(f, "%d %d %d %lf %7999s", &v, &n, &skipped, &worst, ops) != 5) v = CRASHED;
    fclose(f);
    waitpid(pid, NULL, 0);
    if (v == CHECKED && n == 0) v = NO_FLOATS;               /* empty, or kinks only */
    t->n[v]++;
    t->n_derivatives += n;
    t->n_skipped += skipped;
    if (t->verbose || v == WRONG || v == CRASHED || v == NO_GRADIENT)
        printf("%-24s %s  %d %g  %s\n", verdict_text[v], dir, n, worst, ops);
    for (char *op = strtok(ops, ","); op && (v == CHECKED || v == WRONG); op = strtok(NULL, ","))
        map_put(&t->ops[v == WRONG], op, strlen(op), 1, NULL);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
    totals t = { .b = bench_new() };
    map_init(&t.ops[0], t.b.a);
    map_init(&t.ops[1], t.b.a);
    int n_folders = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0) t.verbose = true;
        else run_folder(&t, argv[i]), n_folders++;
    }
    const char *root = getenv("DLC_ONNX_TESTS");
    if (n_folders == 0) {
        struct dirent **entries;
        const char *dir = root ? arena_printf(t.b.a, "%s/node", root) : NULL;
        int n = dir ? scandir(dir, &entries, NULL, by_name) : -1;
        if (n <= 0) {
            puts("skipped: DLC_ONNX_TESTS names no folder of the official tests");
            return 77;
        }
        for (int i = 0; i < n; i++) run_folder(&t, arena_printf(t.b.a, "%s/%s", dir, entries[i]->d_name));
    }
    for (int v = 0; v < N_VERDICTS; v++) printf("%5d %s\n", t.n[v], verdict_text[v]);
    printf("%d derivatives of first and second order, %d at kinks left out; operators: %lld\n",
           t.n_derivatives, t.n_skipped, (long long)t.ops[0].n);
    if (t.verbose)
        for (int64_t i = 0; i < t.ops[0].n; i++)
            printf("%.*s ", (int)t.ops[0].entries[i].len, t.ops[0].entries[i].key);
    puts("");
    return t.n[WRONG] + t.n[CRASHED] + t.n[NO_GRADIENT] > 0;
}
