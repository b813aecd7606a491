/* check: reads a program of the language, elaborates every model and every train block; errors go to the
 * terminal */
#include "cli/cli.h"

int command_check(cli *c)
{
    const char *path = cli_operand(c);
    settings s;
    if (!path || !cli_settings(c, &s)) return EXIT_USAGE;
    dlc_status st = driver_check(c->ctx, c->a, path, &s.driver);
    return exit_code(st);
}
