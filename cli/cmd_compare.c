/* compare: where two ways of running a model, or two models, first differ
 *
 *     dlc compare M --backend=jit --with=eval        one model, two ways
 *     dlc compare A B                                two models whose nodes bear the same names; of a library
 *     (.so) its outputs
 *
 * Every layer's result becomes an output of both; both run on the same inputs; the layers are compared in
 * order. Exit 0: all agree; 1: one does not, and is named. --bits asks for equal bits.
 */
#include "cli/cli.h"
#include "ir/build.h"

/* n_own: results of the model itself, the first */
typedef struct { const char *path; engine *e; graph *g; int n_own; } side;

static bool is_layer(const node *n)
{
    return n->prim != PRIM_const && n->prim != PRIM_input && n->at && n->at->node && *n->at->node &&
           n->n_out > 0;
}

/* The last value of each node of the model, in order of first appearance, after the model's own results. */
static void show_layers(cli *c, graph *g)
{
    map_str last;
    map_init(&last, c->a);
    int64_t n;
    uint32_t *order = graph_order(g, c->a, &n);
    for (int64_t i = 0; i < n; i++) {
        const node *x = &g->nodes.at[order[i]];
        if (!is_layer(x)) continue;
        bool is_new;
        uint64_t *at = map_put(&last, x->at->node, strlen(x->at->node), 0, &is_new);
        *at = x->first;
    }
    for (int64_t i = 0; i < last.n; i++)
        add_result(g, (value){ (uint32_t)last.entries[i].value },
                   arena_strndup(c->a, last.entries[i].key, last.entries[i].len));
}

static dlc_status open_side(cli *c, side *s, const settings *set, engine_kind kind)
{
    size_t n = strlen(s->path);
    if (n > 3 && strcmp(s->path + n - 3, ".so") == 0) {
        dlc_status st = engine_open(c->ctx, c->a, s->path, &set->driver, ENGINE_so, &s->e);
        s->n_own = st == DLC_OK ? s->e->n_out : 0;
        return st;
    }
    dlc_status st = driver_import(c->ctx, c->a, s->path, &set->driver, &s->g);
    if (st != DLC_OK) return st;
    s->n_own = (int)s->g->results.n;
    show_layers(c, s->g);
    return engine_make(c->ctx, c->a, s->g, &set->driver, kind, &s->e);
}

static int find_output(const engine *e, const char *name, int from)
{
    for (int i = from; i < e->n_out; i++)
        if (strcmp(e->out_name[i], name) == 0) return i;
    return -1;
}

static int compare_all(cli *c, const side *a, const side *b, const tensor *x, const tensor *y)
{
    int n_same = 0, n_compared = 0;
    progress_clear(c);
    for (int k = 0; k < a->e->n_out; k++) {                     /* layers first, then the results */
        int i = (k + a->n_own) % a->e->n_out;
        const char *name = a->e->out_name[i];
        int j = find_output(b->e, name, i < a->n_own ? 0 : b->n_own);
        if (j < 0) continue;
        n_compared++;
        const char *d = opt_given(c, OPT_bits) ? tensor_differs_bits(c->a, &x[i], &y[j])
                                               : tensor_differs(c->a, &x[i], &y[j], 1e-3, 1e-5);
        if (!d) {
            n_same++;
            continue;
        }
        text shown = { .a = c->a };
        text_put_escaped(&shown, name, strlen(name), 100);
        printf("%s differs: %s\n", text_str(&shown), d);
        return EXIT_INPUT;
    }
    printf("%d of %d values agree\n", n_same, n_compared);
    return n_compared ? EXIT_OK : EXIT_INPUT;
}

int command_compare(cli *c)
{
    settings set;
    if (c->operands.n < 1 || c->operands.n > 2) {
        cli_operand(c);
        return EXIT_USAGE;
    }
    if (!cli_settings(c, &set)) return EXIT_USAGE;
    side a = { .path = c->operands.at[0] }, b = { .path = c->operands.at[c->operands.n - 1] };
    engine_kind with = (engine_kind)opt_choice(c, OPT_with, c->operands.n == 2 ? (int)set.kind : ENGINE_eval);
    dlc_status s = open_side(c, &a, &set, set.kind);
    if (s == DLC_OK) s = open_side(c, &b, &set, with);
    tensor *in = NULL;
    if (s == DLC_OK) s = cli_make_inputs(c, a.e, &in);
    if (s != DLC_OK) return exit_code(s);
    if (b.e->n_in != a.e->n_in) {
        diag_run_inputs(c->ctx, (place){ .file = b.path }, b.e->n_in, a.e->n_in);
        return EXIT_INPUT;
    }
    tensor *x = NEW_ARRAY(c->a, tensor, a.e->n_out), *y = NEW_ARRAY(c->a, tensor, b.e->n_out);
    progress_put(c, "run");
    s = engine_run(c->ctx, c->a, a.e, in, x, NULL);
    if (s == DLC_OK) s = engine_run(c->ctx, c->a, b.e, in, y, NULL);
    return s == DLC_OK ? compare_all(c, &a, &b, x, y) : exit_code(s);
}
