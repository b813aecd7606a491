/* reduce: the smallest graph that a command still fails on
 *
 *     dlc reduce model.onnx -o small.graph -- dlc compare {file} --with=eval
 *
 * {file} stands for the candidate, a text that every dlc command reads; without it the path is the last
 * argument. The command fails if its exit status is not 0, or is the one of --status; with --grep, if it
 * prints that text (and has that status, if both are given). The file of -o is written whenever a smaller one
 * is found: the search can be stopped at any time.
 */
#include "api/reduce.h"
#include "base/process.h"
#include "cli/cli.h"
#include <errno.h>
#include <unistd.h>

typedef struct {
    cli *c;
    const char *const *argv;
    const char *file, *messages, *grep, *output;
    int status;                    /* -1: any but 0 */
    double timeout;
    bool is_absent, is_unwritten;
    text best;
} reduction;

static bool write_text(reduction *r, const char *path, const char *source, size_t n)
{
    if (!r->is_unwritten && cli_write(r->c, path, source, n)) return true;
    r->is_unwritten = true;
    return false;
}

static bool prints(reduction *r, const char *word)
{
    arena *a = arena_new(&r->c->ctx->mem);
    bytes b;
    int err;
    bool is_there = file_map(a, r->messages, &b, &err) && memmem(b.at, b.n, word, strlen(word));
    arena_free(a);
    return is_there;
}

static bool fails(void *arg, const char *source, size_t n)
{
    reduction *r = arg;
    if (!write_text(r, r->file, source, n)) return false;
    int status = process_run(r->argv, r->messages, r->timeout);
    r->is_absent |= status == PROCESS_ABSENT;
    if (status < 0) return false;
    bool has_status = r->status >= 0 ? status == r->status : r->grep || status != 0;
    return has_status && (!r->grep || prints(r, r->grep));
}

static void accepted(void *arg, const char *source, size_t n)
{
    reduction *r = arg;
    r->best.n = 0;
    text_putn(&r->best, source, n);
    if (r->output) write_text(r, r->output, source, n);
}

static void step(void *arg, int64_t steps, graph_size best)
{
    reduction *r = arg;
    progress_put(r->c, "reduce: %lld nodes, %lld bytes of text; %lld tried", (long long)best.nodes,
                 (long long)best.bytes, (long long)steps);
}

/* The command, with the file in the place of {file}. */
static const char **command_line(cli *c, const char *file)
{
    int64_t n = c->operands.n - 1;
    const char **argv = NEW_ARRAY(c->a, const char *, n + 2);
    bool has_file = false;
    for (int64_t i = 0; i < n; i++) {
        const char *word = c->operands.at[i + 1], *at = strstr(word, "{file}");
        argv[i] = at ? arena_printf(c->a, "%.*s%s%s", (int)(at - word), word, file, at + 6) : word;
        has_file |= at != NULL;
    }
    if (!has_file) argv[n] = file;
    return argv;
}

static int finish(reduction *r, const reduce_result *result, bool is_found)
{
    cli *c = r->c;
    progress_clear(c);
    if (r->is_absent) {
        diag_reduce_absent(c->ctx, (place){ .file = r->argv[0] });
        return EXIT_USAGE;
    }
    if (r->is_unwritten) return EXIT_INPUT;
    if (!is_found) {
        if (!c->ctx->n_errors) diag_reduce_passes(c->ctx, (place){ .file = c->operands.at[0] });
        return EXIT_INPUT;
    }
    fprintf(stderr, "%lld nodes, %lld bytes of text -> %lld nodes, %lld bytes; %lld runs%s\n",
            (long long)result->first.nodes, (long long)result->first.bytes, (long long)result->last.nodes,
            (long long)result->last.bytes, (long long)result->steps,
            result->is_done ? "" : " (stopped by the limit)");
    if (!r->output) fwrite(text_str(&r->best), 1, (size_t)r->best.n, stdout);
    return EXIT_OK;
}

int command_reduce(cli *c)
{
    settings set;
    if (c->operands.n < 2) {
        diag_operands(c->ctx, (place){ 0 }, "reduce", command_info[c->command].operands, (int)c->operands.n);
        c->is_usage = true;
        return EXIT_USAGE;
    }
    reduce_options o = { .fails = fails,
                         .accepted = accepted,
                         .step = step,
                         .max_steps = opt_int(c, OPT_steps, 1, 1000000000, 5000),
                         .seconds = (double)opt_int(c, OPT_seconds, 1, 10000000, 0) };
    reduction r = { .c = c,
                    .grep = opt_value(c, OPT_grep),
                    .output = opt_value(c, OPT_reduce_out),
                    .best = { .a = c->a },
                    .status = (int)opt_int(c, OPT_status, 0, 255, -1),
                    .timeout = (double)opt_int(c, OPT_timeout, 1, 1000000, 60) };
    if (!cli_settings(c, &set) || c->is_usage) return EXIT_USAGE;
    graph *g;
    dlc_status s = driver_import(c->ctx, c->a, c->operands.at[0], &set.driver, &g);
    if (s != DLC_OK) return exit_code(s);
    const char *folder = process_folder(c->a);
    if (!folder) {
        diag_cannot_write(c->ctx, (place){ .file = "TMPDIR" }, strerror(errno));
        return EXIT_INPUT;
    }
    r.file = arena_printf(c->a, "%s/candidate.graph", folder);
    r.messages = arena_printf(c->a, "%s/messages", folder);
    r.argv = command_line(c, r.file);
    o.arg = &r;
    reduce_result result;
    bool is_found = reduce_graph(c->ctx, g, &o, &result);
    unlink(r.file);
    unlink(r.messages);
    rmdir(folder);
    return finish(&r, &result, is_found);
}
