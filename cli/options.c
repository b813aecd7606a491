/* options: from argv to the options given, by the table options.def
 *
 * Spellings: --name VALUE, --name=VALUE, -oVALUE, -o VALUE, flags of one letter alone; `--` ends the options.
 * A word that is no option of the command names the nearest one.
 */
#include "cli/cli.h"
#include <errno.h>
#include <stdlib.h>

#define EVERY UINT32_MAX
#define IN(name) (1u << COMMAND_##name)

const command_row command_info[COMMAND_COUNT] = {
#define COMMAND(name, operands, doc, example) \
    [COMMAND_##name] = { #name, operands, doc, example, command_##name },
#define OPTION(...)
#include "cli/options.def"
};

const option_row option_info[OPT_COUNT] = {
#define COMMAND(...)
#define OPTION(id, name, letter, argument, commands, doc) \
    [OPT_##id] = { name, letter, argument, commands, doc },
#include "cli/options.def"
};

/* -- Near names ------------------------------------------------------------------------------------------ */

/* "; did you mean …?" or "". */
static const char *hint_of(cli *c, const char *prefix, const char *near)
{
    return near ? arena_printf(c->a, "; did you mean %s%s?", prefix, near) : "";
}

static bool usage(cli *c)
{
    c->is_usage = true;
    return false;
}

/* -- Words of an argument -------------------------------------------------------------------------------- */

/* Splits "a|b|c"; 0 if the argument is no choice. */
static int choices(arena *a, const char *argument, const char ***words)
{
    int n = 0;
    if (!argument || !strchr(argument, '|') || strchr(argument, ':')) return 0;    /* after:NAME is no word */
    *words = NEW_ARRAY(a, const char *, strlen(argument));
    for (const char *p = argument;;) {
        size_t k = strcspn(p, "|");
        (*words)[n++] = arena_strndup(a, p, k);
        if (!p[k]) return n;
        p += k + 1;
    }
}

static int word_index(int n, const char *const *words, const char *word)
{
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0) return i;
    return -1;
}

static bool add_given(cli *c, option_id o, const char *v)
{
    const char **words;
    int n = choices(c->a, option_info[o].argument, &words);
    if (n && word_index(n, words, v) < 0) {
        diag_option_choice(c->ctx, (place){ 0 }, option_info[o].name, option_info[o].argument, v,
                           hint_of(c, "", nearest(v, n, words)));
        return usage(c);
    }
    vec_push(c->a, &c->options, ((given){ o, v }));
    return true;
}

/* -- Parsing --------------------------------------------------------------------------------------------- */

static bool applies(const cli *c, int o) { return option_info[o].commands >> c->command & 1; }
static bool is_optional(const char *argument) { return argument && argument[0] == '['; }

static bool unknown_option(cli *c, const char *word, size_t n)
{
    const char *names[OPT_COUNT];
    for (int o = 0; o < OPT_COUNT; o++) names[o] = applies(c, o) ? option_info[o].name : NULL;
    const char *name = arena_strndup(c->a, word, n), *near = NULL;
    if (word[0] == '-' && word[1] == '-') near = nearest(name + 2, OPT_COUNT, names);
    diag_option_unknown(c->ctx, (place){ 0 }, command_info[c->command].name, name, hint_of(c, "--", near));
    return usage(c);
}

/* Takes argv[*i], and the value after it if the option needs one. */
static bool take_option(cli *c, option_id o, const char *inline_value, int argc, char **argv, int *i)
{
    const option_row *row = &option_info[o];
    if (!row->argument && inline_value) {
        diag_option_value(c->ctx, (place){ 0 }, row->name, "takes no value");
        return usage(c);
    }
    if (row->argument && !inline_value && !is_optional(row->argument)) {
        if (*i + 1 >= argc) {
            diag_option_value(c->ctx, (place){ 0 }, row->name,
                              arena_printf(c->a, "needs a value: %s", row->argument));
            return usage(c);
        }
        inline_value = argv[++*i];
    }
    return add_given(c, o, inline_value);
}

static bool parse_long(cli *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i] + 2;
    size_t n = strcspn(word, "=");
    for (int o = 0; o < OPT_COUNT; o++) {
        const char *name = option_info[o].name;
        if (applies(c, o) && strlen(name) == n && memcmp(name, word, n) == 0)
            return take_option(c, (option_id)o, word[n] ? word + n + 1 : NULL, argc, argv, i);
    }
    return unknown_option(c, argv[*i], n + 2);
}

static bool parse_letter(cli *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    for (int o = 0; o < OPT_COUNT; o++)
        if (applies(c, o) && option_info[o].letter && option_info[o].letter == word[1])
            return take_option(c, (option_id)o, word[2] ? word + 2 + (word[2] == '=') : NULL, argc, argv, i);
    return unknown_option(c, word, strlen(word));
}

static bool find_command(cli *c, const char *word)
{
    const char *names[COMMAND_COUNT];
    for (int k = 0; k < COMMAND_COUNT; k++) {
        names[k] = command_info[k].name;
        if (strcmp(names[k], word) != 0) continue;
        c->command = (command_id)k;
        return true;
    }
    diag_command_unknown(c->ctx, (place){ 0 }, word, hint_of(c, "", nearest(word, COMMAND_COUNT, names)));
    return usage(c);
}

bool cli_parse(cli *c, int argc, char **argv)
{
    if (!find_command(c, argv[1])) return false;
    bool is_ended = false;
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i];
        bool is_option = !is_ended && word[0] == '-' && word[1], ok = true;
        if (is_option && strcmp(word, "--") == 0) is_ended = true;
        else if (is_option)
            ok = word[1] == '-' ? parse_long(c, argc, argv, &i) : parse_letter(c, argc, argv, &i);
        else vec_push(c->a, &c->operands, word);
        if (!ok) return false;
    }
    return true;
}

/* -- Asking ---------------------------------------------------------------------------------------------- */

static const given *last(const cli *c, option_id o)
{
    for (int64_t i = c->options.n; i-- > 0;)
        if (c->options.at[i].option == o) return &c->options.at[i];
    return NULL;
}

bool opt_given(const cli *c, option_id o) { return last(c, o) != NULL; }
const char *opt_value(const cli *c, option_id o) { return last(c, o) ? last(c, o)->value : NULL; }

int opt_choice(const cli *c, option_id o, int other)
{
    const char *word = opt_value(c, o), **words;
    if (!word) return other;
    int n = choices(c->a, option_info[o].argument, &words);
    return word_index(n, words, word);
}

int64_t opt_int(cli *c, option_id o, int64_t lo, int64_t hi, int64_t other)
{
    const char *word = opt_value(c, o);
    if (!word) return other;
    char *end;
    errno = 0;
    long long v = strtoll(word, &end, 10);
    if (!errno && end != word && !*end && v >= lo && v <= hi) return v;
    diag_option_number(c->ctx, (place){ 0 }, option_info[o].name, (long long)lo, (long long)hi, word);
    usage(c);
    return other;
}

const char *cli_operand(cli *c)
{
    if (c->operands.n == 1) return c->operands.at[0];
    const command_row *row = &command_info[c->command];
    diag_operands(c->ctx, (place){ 0 }, row->name, row->operands, (int)c->operands.n);
    usage(c);
    return NULL;
}
