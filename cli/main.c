/* dlc: the command. Finds the subcommand, runs it, prints what diagnostics are left, and gives the exit code.
 */
#include "cli/cli.h"
#include <stdlib.h>
#include <unistd.h>

static int run_command(cli *c, int argc, char **argv)
{
    if (!cli_parse(c, argc, argv)) return EXIT_USAGE;
    if (opt_given(c, OPT_help)) {
        cli_help(stdout, c);
        return EXIT_OK;
    }
    c->ctx->mem.limit = (size_t)opt_int(c, OPT_memory, 1, 1 << 30, 0) << 20;
    if (c->is_usage) return EXIT_USAGE;
    int code = command_info[c->command].run(c);
    return c->is_usage ? EXIT_USAGE : code;
}

static int run(cli *c, int argc, char **argv)
{
    c->command = COMMAND_COUNT;
    if (argc < 2) {
        cli_help(stderr, c);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        cli_help(stdout, c);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("dlc " DLC_VERSION);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--man") == 0) {                    /* for the install rule */
        cli_man(stdout, c->a);
        return EXIT_OK;
    }
    if (strncmp(argv[1], "--completion=", 13) == 0)
        return cli_completion(stdout, c->a, argv[1] + 13) ? EXIT_OK : EXIT_USAGE;
    return run_command(c, argc, argv);
}

int main(int argc, char **argv)
{
    dlc_context *ctx = context_new();
    if (!ctx) {
        fputs("error: out of memory\n", stderr);
        return EXIT_INPUT;
    }
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    cli c = { .ctx = ctx,
              .a = ctx->arena,
              .is_terminal = isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0) };
    c.has_colour = c.is_terminal && !(no_colour && *no_colour);
    mem_frame frame;
    volatile int code = EXIT_INPUT;
    if (mem_try(&ctx->mem, &frame)) {
        code = run(&c, argc, argv);
        mem_end(&ctx->mem, &frame);
    } else {
        diag_out_of_memory(ctx, (place){ 0 });
    }
    progress_clear(&c);
    ctx->mem.limit = 0;
    if (mem_try(&ctx->mem, &frame)) {
        cli_show_diags(&c);
        mem_end(&ctx->mem, &frame);
    }
    if (fflush(stdout) != 0 && code == EXIT_OK) code = EXIT_INPUT;
    context_free(ctx);
    return code;
}
