/* opt: runs passes over a model, or over the text of a graph, a loop program or a kernel, and prints what
 * comes out
 *
 * The input is text unless its name ends in .onnx or .dl; what it holds is said by its first words. Without
 * options every pass runs, and the planned loop program is printed. Text goes to stdout, everything else to
 * stderr.
 */
#include "api/training.h"
#include "cli/cli.h"
#include "ir/text.h"

typedef struct { int pass; int64_t changes, size; double seconds; } stat_row;

typedef struct {
    cli *c;
    settings settings;
    driver_options options;
    graph *g;
    program *p;                /* once lowered */
    bool is_kernel;            /* the input was a kernel alone: p holds just it */
    int dump;                  /* after this pass; -1 none */
    bool dumps_changed, has_dumped;
    text out;
    vec(stat_row) stats;
} run;

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* -- Printing -------------------------------------------------------------------------------------------- */

static void put_text(const run *r, const graph *g, const program *p, text *out)
{
    if (r->is_kernel) kernel_print(p->kernels.at[0], out);
    else if (p) program_print(p, out);
    else if (opt_given(r->c, OPT_brief)) graph_print_brief(g, out);
    else graph_print(g, out);
}

static void put_schedules(const run *r, text *out)
{
    for (int64_t i = 0; r->p && i < r->p->kernels.n; i++)
        text_printf(out, "@%s: %s\n", r->p->kernels.at[i]->name, r->p->kernels.at[i]->schedule);
}

static int64_t size_of(const graph *g, const program *p) { return p ? p->kernels.n : g->nodes.n - 1; }

static void after_pass(void *arg, int pass, const graph *g, const program *p, int64_t changes, double seconds)
{
    run *r = arg;
    stat_row row = { pass, changes, size_of(g, p), seconds };
    vec_push(r->c->a, &r->stats, row);
    if (pass == PASS_COUNT || (pass != r->dump && !(r->dumps_changed && changes))) return;
    if (r->dumps_changed)
        text_printf(&r->out, "%s# after %s\n", r->has_dumped ? "\n" : "", pass_info[pass].name);
    put_text(r, g, p, &r->out);
    r->has_dumped = true;
}

static void show_stats(const run *r)
{
    fprintf(stderr, "%-14s %10s %9s %9s\n", "pass", "ms", "nodes", "changes");
    double total = 0;
    for (int64_t i = 0; i < r->stats.n; i++) {
        const stat_row *s = &r->stats.at[i];
        const char *name = s->pass == PASS_COUNT ? "import" : pass_info[s->pass].name;
        fprintf(stderr, "%-14s %10.3f %9lld %9lld\n", name, s->seconds * 1e3, (long long)s->size,
                (long long)s->changes);
        total += s->seconds;
    }
    fprintf(stderr, "%-14s %10.3f\n", "all", total * 1e3);
}

static void list_passes(void)
{
    static const char *const stage[] = { "graph -> graph", "graph -> program", "program -> program" };
    printf("%-14s %-19s %-6s %-3s %s\n", "pass", "takes", "bits", "-O", "");
    for (int i = 0; i < PASS_COUNT; i++) {
        const pass_row *p = &pass_info[i];
        printf("%-14s %-19s %-6s %-3d %s\n", p->name, stage[p->stage],
               p->bits == BITS_EXACT ? "exact" : "value", p->level, p->doc);
    }
}

/* -- Reading --------------------------------------------------------------------------------------------- */

/* The first word at the start of a line that begins a graph, program or kernel; a program may come after its
 * kernels. */
static const char *kind_of(const char *s)
{
    bool has_kernel = false;
    for (const char *line = s; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "graph ", 6) == 0) return "graph";
        if (strncmp(line, "program ", 8) == 0) return "program";
        has_kernel |= strncmp(line, "kernel ", 7) == 0;
    }
    return has_kernel ? "kernel" : "graph";
}

static dlc_status read_text(run *r, const char *path)
{
    cli *c = r->c;
    bytes file;
    int err = 0;
    if (!file_map(c->a, path, &file, &err)) {
        diag_cannot_read(c->ctx, (place){ .file = path }, strerror(err));
        return DLC_ERR_IO;
    }
    const char *source = arena_strndup(c->a, (const char *)file.at, file.n), *kind = kind_of(source);
    if (strcmp(kind, "graph") == 0) return driver_import(c->ctx, c->a, path, &r->options, &r->g);
    if (strcmp(kind, "program") == 0) {
        r->p = program_parse(c->ctx, c->a, path, source, file.n);
    } else {
        dims *d = dims_new(c->ctx, c->a);
        kernel_code *k = kernel_parse(c->ctx, c->a, d, path, source, file.n);
        r->p = k ? program_new(c->ctx, c->a, d, "kernel") : NULL;
        if (k) program_kernel(r->p, k);
        r->is_kernel = true;
    }
    return r->p ? DLC_OK : c->ctx->status;
}

/* -- Options --------------------------------------------------------------------------------------------- */

static bool read_choice(run *r)
{
    cli *c = r->c;
    bool chosen[PASS_COUNT] = { false };
    const char *pass = opt_value(c, OPT_pass), *list = opt_value(c, OPT_passes),
               *until = opt_value(c, OPT_until), *dump = opt_value(c, OPT_dump);
    if ((pass && !settings_pass_list(c->ctx, c->a, "pass", pass, chosen)) ||
        (list && !settings_pass_list(c->ctx, c->a, "passes", list, chosen)))
        return false;
    for (int i = 0; (pass || list) && i < PASS_COUNT; i++) r->options.off[i] |= !chosen[i];
    if (pass || list) r->options.level = BY_NAME;
    if (until && (r->options.until = settings_pass(c->ctx, c->a, "until", until)) < 0) return false;
    r->dump = -1;
    r->dumps_changed = dump && strcmp(dump, "changed") == 0;
    if (dump && !r->dumps_changed &&
        (r->dump = settings_pass(c->ctx, c->a, "dump", strncmp(dump, "after:", 6) == 0 ? dump + 6 : dump)) <
            0)
        return false;
    const char *explain = opt_value(c, OPT_explain);
    if (explain && (r->options.explain_pass = settings_pass(c->ctx, c->a, "explain", explain)) < 0)
        return false;
    return true;
}

/* A pass asked for by name that cannot run on this input. */
static bool check_stages(run *r)
{
    for (int i = 0; i < PASS_COUNT; i++) {
        if (!driver_runs(&r->options, i) || !(opt_given(r->c, OPT_pass) || opt_given(r->c, OPT_passes)))
            continue;
        bool lowers = driver_runs(&r->options, PASS_lower) && !r->p;
        if (pass_info[i].stage == STAGE_PROGRAM && !r->p && !lowers) {
            diag_pass_needs(r->c->ctx, (place){ 0 }, pass_info[i].name,
                            "a loop program, and this is a graph");
            return false;
        }
        if (pass_info[i].stage != STAGE_PROGRAM && r->p) {
            diag_pass_needs(r->c->ctx, (place){ 0 }, pass_info[i].name,
                            "a graph, and this is a loop program");
            return false;
        }
    }
    return true;
}

static dlc_status run_passes(run *r)
{
    dlc_status s = DLC_OK;
    if (r->is_kernel)                                    /* a kernel alone has nothing to plan */
        for (int i = 0; i < PASS_COUNT; i++) r->options.off[i] |= i != PASS_schedule;
    if (!r->p) s = driver_passes(r->c->ctx, &r->options, &r->g);
    if (s == DLC_OK) s = driver_lower(r->c->ctx, &r->options, r->g, &r->p);
    return s;
}

/* A part of a training step; its states become buffers of their own in the pass `states`. */
static dlc_status read_step(run *r, const char *path)
{
    cli *c = r->c;
    training *t = NEW(c->a, training);
    state_binding *states = NEW(c->a, state_binding);
    dlc_status s = training_open(c->ctx, c->a, path, &r->options, false, t);
    if (s != DLC_OK) return s;
    training_graph(c->a, t, (step_entry)opt_choice(c, OPT_entry, STEP_step), &r->g, states);
    r->options.states = states;
    return DLC_OK;
}

int command_opt(cli *c)
{
    if (opt_given(c, OPT_list)) {
        list_passes();
        return EXIT_OK;
    }
    run r = { .c = c, .out = { .a = c->a } };
    text explained = { .a = c->a };
    const char *path = cli_operand(c);
    if (!path || !cli_settings(c, &r.settings)) return EXIT_USAGE;
    r.options = r.settings.driver;
    if (!read_choice(&r)) {
        c->is_usage = true;
        return EXIT_USAGE;
    }
    if (opt_given(c, OPT_explain)) r.options.explain = &explained;
    r.options.after = after_pass;
    r.options.after_arg = &r;
    dlc_status s = r.options.train ? read_step(&r, path)
                   : ends_with(path, ".onnx") || ends_with(path, ".dl")
                       ? driver_import(c->ctx, c->a, path, &r.options, &r.g)
                       : read_text(&r, path);
    if (s == DLC_OK && !check_stages(&r)) return EXIT_USAGE;
    if (s == DLC_OK) s = run_passes(&r);
    progress_clear(c);
    fputs(text_str(&explained), stderr);
    if (s == DLC_OK && opt_given(c, OPT_print_schedule)) put_schedules(&r, &r.out);
    else if (s == DLC_OK && !opt_given(c, OPT_dump)) put_text(&r, r.g, r.p, &r.out);
    if (opt_given(c, OPT_stats)) show_stats(&r);
    const char *to = opt_value(c, OPT_opt_out);
    if (to && s == DLC_OK) return cli_write_text(c, to, &r.out) ? EXIT_OK : EXIT_INPUT;
    fwrite(text_str(&r.out), 1, (size_t)r.out.n, stdout);
    return exit_code(s);
}
