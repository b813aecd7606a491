/* manual: --help, the man page and the shells' completions, from options.def */
#include "cli/cli.h"

static const char *const exit_codes = "0 done   1 a wrong model, program or file   2 wrong usage, or not implemented   70 internal error";

static bool applies(command_id k, int o) { return option_info[o].commands >> k & 1; }

/* "-o FILE, --output=FILE" */
static const char *spelling(arena *a, int o)
{
    const option_row *row = &option_info[o];
    text t = { .a = a };
    if (row->letter) text_printf(&t, "-%c, ", row->letter);
    else text_put(&t, "    ");
    if (row->letter && row->name[1] == 0) {                 /* -O2 */
        t.n = 0;
        text_printf(&t, "-%c", row->letter);
        text_put(&t, row->argument);
        return text_str(&t);
    }
    text_printf(&t, "--%s", row->name);
    if (row->argument) text_printf(&t, row->argument[0] == '[' ? "%s" : "=%s", row->argument);
    return text_str(&t);
}

static void put_wrapped(FILE *f, const char *s, int indent, int column)
{
    enum { WIDTH = 110 };
    while (*s) {
        int n = (int)strcspn(s, " ");
        if (column + n > WIDTH && column > indent) column = fprintf(f, "\n%*s", indent, "") - 1;
        column += fprintf(f, "%.*s%s", n, s, s[n] ? " " : "");
        s += n + (s[n] == ' ');
    }
    fputc('\n', f);
}

static void help_command(FILE *f, arena *a, command_id k)
{
    const command_row *row = &command_info[k];
    fprintf(f, "usage: dlc %s [options] %s\n\n", row->name, row->operands);
    put_wrapped(f, row->doc, 0, 0);
    fprintf(f, "\nexample:\n    %s\n\noptions:\n", row->example);
    for (int o = 0; o < OPT_COUNT; o++) {
        if (!applies(k, o)) continue;
        enum { DOC_AT = 32 };
        int column = fprintf(f, "  %s", spelling(a, o));
        if (column >= DOC_AT) column = fprintf(f, "\n") - 1;
        fprintf(f, "%*s", DOC_AT - column, "");
        put_wrapped(f, option_info[o].doc, DOC_AT, DOC_AT);
    }
    fprintf(f, "\nexit codes: %s\n", exit_codes);
}

static void help_all(FILE *f)
{
    fprintf(f, "dlc: a compiler for deep-learning models\n\nusage: dlc COMMAND [options] …\n\ncommands:\n");
    for (int k = 0; k < COMMAND_COUNT; k++) {
        fprintf(f, "  %-10s", command_info[k].name);
        put_wrapped(f, command_info[k].doc, 12, 12);
    }
    fprintf(f, "\nexamples:\n");
    for (int k = 0; k < COMMAND_COUNT; k++) fprintf(f, "  %s\n", command_info[k].example);
    fprintf(f, "\n`dlc COMMAND --help` lists a command's options; `dlc --version` prints the version.\nexit codes: %s\n", exit_codes);
}

void cli_help(FILE *f, const cli *c)
{
    if (c->command == COMMAND_COUNT) help_all(f);
    else help_command(f, c->a, c->command);
}
