/* compile: a model to a file: what kind is said by its ending, or by --emit (api/output.h) */
#include "api/output.h"
#include "cli/cli.h"
#include <stdio.h>

/* Whoever asks for C wants to know what it takes. */
static void print_memory(const char *path, const output_memory *m)
{
    printf("%s: ", path);
    if (m->workspace < 0) printf("workspace by the sizes");
    else
        printf("workspace %lld bytes (no plan could take less than %lld)", (long long)m->workspace,
               (long long)m->least);
    printf(", local arrays %lld, constants %lld\n", (long long)m->stack, (long long)m->weights);
}

int command_compile(cli *c)
{
    settings s;
    const char *model = cli_operand(c), *path = opt_value(c, OPT_compile_out);
    if (!model) return EXIT_USAGE;
    output_kind kind = path ? (output_kind)opt_choice(c, OPT_emit, (int)output_of(path)) : OUTPUT_COUNT;
    if (kind == OUTPUT_COUNT) {
        if (path) diag_output_ending(c->ctx, (place){ 0 }, ".so, .o, .a, .ll, .s, .h, .c", path);
        else
            diag_option_value(c->ctx, (place){ 0 }, "output",
                              "is missing: say what to write, as -o model.so");
        return EXIT_USAGE;
    }
    if (!cli_settings(c, &s)) return EXIT_USAGE;
    output_memory memory;
    dlc_status status = output_compile(c->ctx, c->a, model, path, kind, &s, &memory);
    if (status == DLC_OK && kind == OUTPUT_c && !opt_given(c, OPT_compile_quiet)) print_memory(path, &memory);
    return exit_code(status);
}
