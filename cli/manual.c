/* manual: --help, the man page and the shells' completions, from options.def */
#include "cli/cli.h"

static const char *const exit_codes =
    "0 done   1 a wrong model, program or file   2 wrong usage, or not implemented   70 internal error";

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
    fprintf(
        f,
        "\n`dlc COMMAND --help` lists a command's options; `dlc --version` prints the version.\n"
        "exit codes: %s\n",
        exit_codes);
}

void cli_help(FILE *f, const cli *c)
{
    if (c->command == COMMAND_COUNT) help_all(f);
    else help_command(f, c->a, c->command);
}

/* -- The man page ---------------------------------------------------------------------------------------- */

/* roff: a leading dot or quote, a backslash and a minus have meanings of their own. */
static void put_roff(FILE *f, const char *s)
{
    if (*s == '.' || *s == '\'') fputs("\\&", f);
    for (; *s; s++) {
        if (*s == '\\') fputs("\\e", f);
        else if (*s == '-') fputs("\\-", f);
        else fputc(*s, f);
    }
}

static void roff_line(FILE *f, const char *macro, const char *s)
{
    fputs(macro, f);
    put_roff(f, s);
    fputc('\n', f);
}

void cli_man(FILE *f, arena *a)
{
    fprintf(
        f, ".TH DLC 1 \"\" \"dlc %s\"\n.SH NAME\ndlc \\- a compiler for deep-learning models\n.SH SYNOPSIS\n",
        DLC_VERSION);
    for (int k = 0; k < COMMAND_COUNT; k++)
        roff_line(f, k ? ".br\n" : "",
                  arena_printf(a, "dlc %s [options] %s", command_info[k].name, command_info[k].operands));
    for (int k = 0; k < COMMAND_COUNT; k++) {
        roff_line(f, ".SH ", arena_printf(a, "dlc %s", command_info[k].name));
        roff_line(f, "", command_info[k].doc);
        roff_line(f, ".PP\nExample:\n.PP\n.nf\n    ", command_info[k].example);
        fputs(".fi\n", f);
        for (int o = 0; o < OPT_COUNT; o++) {
            if (!applies((command_id)k, o)) continue;
            const char *s = spelling(a, o);
            roff_line(f, ".TP\n", s + strspn(s, " "));
            roff_line(f, "", option_info[o].doc);
        }
    }
    roff_line(f, ".SH EXIT STATUS\n", exit_codes);
}

/* -- Completions ----------------------------------------------------------------------------------------- */

/* The words that an option's argument can be, with spaces between; "" if any. */
static const char *argument_words(arena *a, const char *argument)
{
    if (!argument || !strchr(argument, '|') || strchr(argument, ':')) return "";
    char *s = arena_strdup(a, argument);
    for (char *p = s; *p; p++)
        if (*p == '|') *p = ' ';
    return s;
}

static void put_options(FILE *f, command_id k)
{
    for (int o = 0; o < OPT_COUNT; o++)
        if (applies(k, o) && option_info[o].name[1])
            fprintf(f, " --%s%s", option_info[o].name, option_info[o].argument ? "=" : "");
}

static void complete_bash(FILE *f, arena *a)
{
    fputs(
        "_dlc() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
        "command=${COMP_WORDS[1]} options=\n"
        "    COMPREPLY=()\n"
        "    if [ \"$word\" = = ]; then word=; elif [ \"$before\" = = ]; then "
        "before=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
        "    if [ $COMP_CWORD = 1 ]; then COMPREPLY=($(compgen -W \"",
        f);
    for (int k = 0; k < COMMAND_COUNT; k++) fprintf(f, "%s ", command_info[k].name);
    fputs("--help --version\" -- \"$word\")); return; fi\n    case $before in\n", f);
    for (int o = 0; o < OPT_COUNT; o++) {
        const char *words = argument_words(a, option_info[o].argument);
        if (*words && option_info[o].name[1])
            fprintf(f, "    --%s) COMPREPLY=($(compgen -W \"%s\" -- \"$word\")); return ;;\n",
                    option_info[o].name, words);
    }
    fputs("    esac\n    case $command in\n", f);
    for (int k = 0; k < COMMAND_COUNT; k++) {
        fprintf(f, "    %s) options=\"", command_info[k].name);
        put_options(f, (command_id)k);
        fputs("\" ;;\n", f);
    }
    fputs(
        "    esac\n"
        "    if [ \"${word#-}\" != \"$word\" ]; then COMPREPLY=($(compgen -W \"$options\" -- \"$word\")); [ "
        "\"${COMPREPLY[0]%=}\" = \"${COMPREPLY[0]}\" ] || compopt -o nospace\n"
        "    else COMPREPLY=($(compgen -f -- \"$word\")); compopt -o filenames; fi\n"
        "}\ncomplete -F _dlc dlc\n",
        f);
}

/* Text inside '…' of a shell, and inside [ ] of zsh. */
static void put_quoted(FILE *f, const char *s, bool is_zsh)
{
    for (; *s; s++) {
        if (*s == '\'') fputs("'\\''", f);
        else if (is_zsh && (*s == '[' || *s == ']' || *s == ':')) fprintf(f, "\\%c", *s);
        else fputc(*s, f);
    }
}

static void complete_zsh(FILE *f, arena *a)
{
    fputs("#compdef dlc\n_dlc() {\n    if (( CURRENT == 2 )); then\n        local -a commands=(\n", f);
    for (int k = 0; k < COMMAND_COUNT; k++) {
        fprintf(f, "            '%s:", command_info[k].name);
        put_quoted(f, command_info[k].doc, false);
        fputs("'\n", f);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n    case $words[2] in\n",
          f);
    for (int k = 0; k < COMMAND_COUNT; k++) {
        fprintf(f, "    %s) _arguments", command_info[k].name);
        for (int o = 0; o < OPT_COUNT; o++) {
            const option_row *row = &option_info[o];
            if (!applies((command_id)k, o) || !row->name[1]) continue;
            fprintf(f, " \\\n        '*--%s%s[", row->name, row->argument ? "=" : "");
            put_quoted(f, row->doc, true);
            fputs("]", f);
            const char *words = argument_words(a, row->argument);
            if (*words) fprintf(f, ":word:(%s)", words);
            else if (row->argument) fputs(":value:_files", f);
            fputs("'", f);
        }
        fputs(" \\\n        '*:file:_files' ;;\n", f);
    }
    fputs("    esac\n}\n_dlc \"$@\"\n", f);
}

static void complete_fish(FILE *f, arena *a)
{
    for (int k = 0; k < COMMAND_COUNT; k++) {
        fprintf(f, "complete -c dlc -n __fish_use_subcommand -f -a %s -d '", command_info[k].name);
        put_quoted(f, command_info[k].doc, false);
        fputs("'\n", f);
        for (int o = 0; o < OPT_COUNT; o++) {
            const option_row *row = &option_info[o];
            if (!applies((command_id)k, o) || !row->name[1]) continue;
            fprintf(f, "complete -c dlc -n '__fish_seen_subcommand_from %s' -l %s", command_info[k].name,
                    row->name);
            if (row->letter) fprintf(f, " -s %c", row->letter);
            const char *words = argument_words(a, row->argument);
            if (*words) fprintf(f, " -x -a '%s'", words);
            else if (row->argument) fputs(" -r", f);
            fputs(" -d '", f);
            put_quoted(f, row->doc, false);
            fputs("'\n", f);
        }
    }
}

bool cli_completion(FILE *f, arena *a, const char *shell)
{
    if (strcmp(shell, "bash") == 0) complete_bash(f, a);
    else if (strcmp(shell, "zsh") == 0) complete_zsh(f, a);
    else if (strcmp(shell, "fish") == 0) complete_fish(f, a);
    else return false;
    return true;
}
