/* compile: a model to a file: what kind is said by its ending, or by --emit (api/output.h) */
#include "api/output.h"
#include "cli/cli.h"

int command_compile(cli *c)
{
    settings s;
    const char *model = cli_operand(c), *path = opt_value(c, OPT_compile_out);
    if (!model) return EXIT_USAGE;
    output_kind kind = path ? (output_kind)opt_choice(c, OPT_emit, (int)output_of(path)) : OUTPUT_COUNT;
    if (kind == OUTPUT_COUNT) {
        diag_option_value(c->ctx, (place){ 0 }, "output", path ? "ends in none of .so, .o, .a, .ll, .s, .h, .c; or say which by --emit"
                                                               : "is missing: say what to write, as -o model.so");
        return EXIT_USAGE;
    }
    if (!cli_settings(c, &s)) return EXIT_USAGE;
    return exit_code(output_compile(c->ctx, c->a, model, path, kind, &s));
}
