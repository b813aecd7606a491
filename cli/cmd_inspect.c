/* inspect: what a model is: inputs, outputs, open sizes, layers with shapes, parameters, operations; and, as
 * far as it compiles, kernels and memory plan. As a table, as JSON, or as a graph for Graphviz.
 */
#include "api/summary.h"
#include "cli/cli.h"

typedef struct {
    cli *c;
    const graph *g;
    summary s;
    const program *p;
    bool is_library;
    const engine *e;
} inspection;

/* -- JSON ------------------------------------------------------------------------------------------------ */

static const char *shown(arena *a, const char *s)
{
    text t = { .a = a };
    text_put_escaped(&t, s, strlen(s), 60);
    return text_str(&t);
}

static const char *type_text(const inspection *k, value v)
{
    text t = { .a = k->c->a };
    type_print(k->g, type_of(k->g, v), &t);
    return text_str(&t);
}

static void put_json(const inspection *k)
{
    arena *a = k->c->a;
    const graph *g = k->g;
    printf("{\n  \"inputs\": [");
    for (int64_t i = 0; i < g->inputs.n; i++) {
        const char *name = node_of(g, g->inputs.at[i])->input->name;
        printf("%s{\"name\": %s, \"type\": %s}", i ? ", " : "", cli_quoted(a, name ? name : ""),
               cli_quoted(a, type_text(k, g->inputs.at[i])));
    }
    printf("],\n  \"outputs\": [");
    for (int64_t i = 0; i < g->results.n; i++)
        printf("%s{\"name\": %s, \"type\": %s}", i ? ", " : "",
               cli_quoted(a, g->result_names.at[i] ? g->result_names.at[i] : ""),
               cli_quoted(a, type_text(k, g->results.at[i])));
    printf("],\n  \"dims\": [");
    for (int i = 0; i < dims_n_symbols(g->dims); i++) {
        int64_t lo, hi;
        dims_symbol_range(g->dims, i, &lo, &hi);
        printf("%s{\"name\": %s, \"lo\": %lld, \"hi\": %lld}", i ? ", " : "",
               cli_quoted(a, dims_symbol_name(g->dims, i)), (long long)lo, (long long)hi);
    }
    printf("],\n  \"layers\": [");
    for (int i = 0; i < k->s.n_layers; i++) {
        const layer *l = &k->s.layers[i];
        printf(
            "%s\n    {\"name\": %s, \"op\": %s, \"type\": %s, \"params\": %lld, \"flops\": %.0f, \"bytes\": "
            "%.0f}",
            i ? "," : "", cli_quoted(a, l->name), cli_quoted(a, l->op), cli_quoted(a, l->type),
            (long long)l->params, l->flops, l->bytes);
    }
    printf("],\n  \"params\": %lld, \"param_bytes\": %lld, \"flops\": %.0f, \"bytes\": %.0f",
           (long long)k->s.params, (long long)k->s.param_bytes, k->s.flops, k->s.bytes);
    if (k->p) {
        printf(",\n  \"kernels\": %lld, \"workspace_bytes\": %lld, \"workspace_lower_bound\": %lld",
               (long long)k->p->kernels.n, (long long)k->p->workspace_bytes,
               (long long)k->p->workspace_lower_bound);
        int64_t n;
        const planned *x = plan_of(k->p, a, &n);
        printf(",\n  \"plan\": [");
        for (int64_t i = 0; i < n; i++)
            printf(
                "%s\n    {\"name\": %s, \"type\": %s, \"offset\": %lld, \"bytes\": %lld, \"first\": %lld, "
                "\"last\": %lld}",
                i ? "," : "", cli_quoted(a, x[i].name), cli_quoted(a, x[i].type), (long long)x[i].offset,
                (long long)x[i].bytes, (long long)x[i].first, (long long)x[i].last);
        printf("]");
    }
    printf("\n}\n");
}

/* -- Graphviz -------------------------------------------------------------------------------------------- */

static void put_dot(const inspection *k)
{
    const graph *g = k->g;
    printf("digraph {\n  node [shape=box, fontsize=10]\n");
    int64_t n;
    uint32_t *order = graph_order(g, k->c->a, &n);
    for (int64_t i = 0; i < n; i++) {
        const node *x = &g->nodes.at[order[i]];
        if (x->prim == PRIM_const) continue;
        const char *name = x->prim == PRIM_input ? x->input->name : x->at && x->at->node ? x->at->node : "";
        const char *word = x->prim == PRIM_map ? scalar_info[x->map->fn].name : prim_info[x->prim].name;
        text label = { .a = k->c->a };
        text_printf(&label, "%s %s\n%s", word, name ? name : "", type_text(k, result_of(x, 0)));
        printf("  n%u [label=%s]\n", x->first, cli_quoted(k->c->a, text_str(&label)));
        for (int j = 0; j < x->n_in; j++) {
            const node *from = node_of(g, x->in[j]);
            if (from->prim != PRIM_const) printf("  n%u -> n%u\n", from->first, x->first);
        }
    }
    printf("}\n");
}

/* -- The table ------------------------------------------------------------------------------------------- */

static const char *scaled(arena *a, double x)
{
    static const char unit[] = " kMGT";
    int i = 0;
    for (; x >= 1000 && i < 4; i++) x /= 1000;
    return i ? arena_printf(a, "%.3g %c", x, unit[i]) : arena_printf(a, "%.0f", x);
}

static int wider(int width, const char *s)
{
    enum { MOST = 48 };
    int n = (int)strlen(s);
    return n <= width ? width : n < MOST ? n : MOST;
}

static void put_plan(const inspection *k)
{
    arena *a = k->c->a;
    int64_t n;
    const planned *x = plan_of(k->p, a, &n);
    int name = 6, type_ = 4;
    for (int64_t i = 0; i < n; i++) {
        name = wider(name, x[i].name);
        type_ = wider(type_, x[i].type);
    }
    if (n) printf("\n%-*s  %-*s %12s %12s  %s\n", name, "buffer", type_, "type", "offset", "bytes", "calls");
    for (int64_t i = 0; i < n; i++) {
        bool is_open = x[i].offset < 0 || x[i].bytes < 0;
        printf("%-*s  %-*s %12s %12s  %lld to %lld\n", name, x[i].name, type_, x[i].type,
               is_open ? "open" : arena_printf(a, "%lld", (long long)x[i].offset),
               x[i].bytes < 0 ? "open" : arena_printf(a, "%lld", (long long)x[i].bytes),
               (long long)x[i].first, (long long)x[i].last);
    }
}

static void put_table(const inspection *k)
{
    arena *a = k->c->a;
    const graph *g = k->g;
    for (int64_t i = 0; i < g->inputs.n; i++) {
        const char *name = node_of(g, g->inputs.at[i])->input->name;
        printf("input   %s: %s\n", shown(a, name ? name : ""), type_text(k, g->inputs.at[i]));
    }
    for (int64_t i = 0; i < g->results.n; i++)
        printf("output  %s: %s\n", shown(a, g->result_names.at[i] ? g->result_names.at[i] : ""),
               type_text(k, g->results.at[i]));
    for (int i = 0; i < dims_n_symbols(g->dims); i++) {
        int64_t lo, hi;
        dims_symbol_range(g->dims, i, &lo, &hi);
        printf("open    %s: %lld to %lld\n", shown(a, dims_symbol_name(g->dims, i)), (long long)lo,
               (long long)hi);
    }
    int name = 5, op = 8, type_ = 6;                            /* widths of the columns */
    for (int i = 0; i < k->s.n_layers; i++) {
        const layer *l = &k->s.layers[i];
        name = wider(name, shown(a, l->name));
        op = wider(op, shown(a, l->op));
        type_ = wider(type_, l->type);
    }
    printf("\n%-*s  %-*s  %-*s %10s %10s %8s\n", name, "layer", op, "operator", type_, "result", "parameters",
           "operations", "bytes");
    for (int i = 0; i < k->s.n_layers; i++) {
        const layer *l = &k->s.layers[i];
        printf("%-*s  %-*s  %-*s %10s %10s %8s\n", name, shown(a, l->name), op, shown(a, l->op), type_,
               l->type, l->params ? scaled(a, (double)l->params) : "",
               l->flops > 0 ? scaled(a, l->flops) : "", l->bytes > 0 ? scaled(a, l->bytes) : "");
    }
    printf("\nparameters %lld (%sB)   operations %s   bytes moved %s%s\n", (long long)k->s.params,
           scaled(a, (double)k->s.param_bytes), scaled(a, k->s.flops), scaled(a, k->s.bytes),
           dims_n_symbols(g->dims) ? " at the least sizes" : "");
    if (!k->p) return;
    if (k->p->workspace_bytes < 0)
        printf("kernels %lld   workspace depends on the open sizes\n", (long long)k->p->kernels.n);
    else
        printf("kernels %lld   workspace %lld bytes (lower bound %lld)\n", (long long)k->p->kernels.n,
               (long long)k->p->workspace_bytes, (long long)k->p->workspace_lower_bound);
    put_plan(k);
}

static void put_library(const engine *e)
{
    printf("library  %s, for %s\n", e->model->name ? e->model->name : "",
           e->model->target ? e->model->target : "");
    for (int i = 0; i < e->n_in + e->n_out; i++) {
        int64_t shape[MAX_RANK];
        bool is_in = i < e->n_in;
        int k = is_in ? i : i - e->n_in, rank = is_in ? e->in_rank[k] : e->out_rank[k];
        if (is_in) engine_input_shape(e, k, shape);
        printf("%s %s: %s[", is_in ? "input   " : "output  ", is_in ? e->in_name[k] : e->out_name[k],
               dtype_info[is_in ? e->in_dtype[k] : e->out_dtype[k]].name);
        for (int j = 0; j < rank; j++)
            if (is_in && shape[j] >= 0) printf("%s%lld", j ? ", " : "", (long long)shape[j]);
            else printf("%s?", j ? ", " : "");
        printf("]\n");
    }
    for (int i = 0; i < e->model->n_dims; i++)
        printf("open     %s: %lld to %lld%s\n", e->model->dims[i].name, (long long)e->model->dims[i].lo,
               (long long)e->model->dims[i].hi, e->model->dims[i].is_result ? ", found by the run" : "");
}

int command_inspect(cli *c)
{
    settings set;
    const char *path = cli_operand(c);
    if (!path || !cli_settings(c, &set)) return EXIT_USAGE;
    inspection k = { .c = c };
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".so") == 0) {
        engine *e;
        dlc_status s = engine_open(c->ctx, c->a, path, &set.driver, ENGINE_so, &e);
        if (s == DLC_OK) put_library(e);
        return exit_code(s);
    }
    graph *g;
    dlc_status s = driver_import(c->ctx, c->a, path, &set.driver, &g);
    if (s != DLC_OK) return exit_code(s);
    k.g = g;
    k.s = summarize(g, c->a);
    program *p = NULL;
    graph *h = g;
    s = driver_passes(c->ctx, &set.driver, &h);
    if (s == DLC_OK) s = driver_lower(c->ctx, &set.driver, h, &p);
    if (s == DLC_OK) k.p = p;
    progress_clear(c);
    if (opt_given(c, OPT_json)) put_json(&k);
    else if (opt_given(c, OPT_dot)) put_dot(&k);
    else put_table(&k);
    return EXIT_OK;
}
