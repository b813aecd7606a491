/* fmt: lays programs out anew, in place; a file that is laid out already is not touched */
#include "cli/cli.h"

static bool format_file(cli *c, const char *path, bool only_check, bool *changes)
{
    text out = { .a = c->a };
    bytes old;
    int err = 0;
    if (driver_format(c->ctx, c->a, path, &out) != DLC_OK || !file_map(c->a, path, &old, &err)) return false;
    bool same = old.n == (size_t)out.n && memcmp(old.at, text_str(&out), old.n) == 0;
    if (same) return true;
    *changes = true;
    if (only_check) printf("%s\n", path);
    return only_check || cli_write_text(c, path, &out);
}

int command_fmt(cli *c)
{
    if (!c->operands.n) {
        diag_operands(c->ctx, (place){ 0 }, "fmt", "FILE.dl…", 0);
        c->is_usage = true;
        return EXIT_USAGE;
    }
    bool only_check = opt_given(c, OPT_fmt_check), changes = false, ok = true;
    for (int64_t i = 0; i < c->operands.n; i++) ok &= format_file(c, c->operands.at[i], only_check, &changes);
    return !ok || (only_check && changes) ? EXIT_INPUT : EXIT_OK;
}
