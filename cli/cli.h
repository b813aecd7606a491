/* cli/cli.h: what the commands share: the options given, messages, exit codes.
 *
 * A command is one file with one function, named in options.def: it takes its options out of `cli`, calls the
 * driver, and returns an exit code. Diagnostics stay in the context; main prints what is left.
 */
#ifndef DLC_CLI_CLI_H
#define DLC_CLI_CLI_H
#include "api/driver.h"
#include "api/settings.h"
#include "api/tensor_file.h"
#include <stdio.h>

typedef enum {
#define COMMAND(name, ...) COMMAND_##name,
#define OPTION(...)
#include "cli/options.def"
    COMMAND_COUNT
} command_id;

typedef enum {
#define COMMAND(...)
#define OPTION(id, ...) OPT_##id,
#include "cli/options.def"
    OPT_COUNT
} option_id;

typedef struct cli cli;
typedef struct { const char *name, *operands, *doc, *example; int (*run)(cli *c); } command_row;
typedef struct {
    const char *name;
    char letter;
    const char *argument;
    uint32_t commands;
    const char *doc;
} option_row;
extern const command_row command_info[COMMAND_COUNT];
extern const option_row option_info[OPT_COUNT];

typedef struct progress progress;
typedef struct { option_id option; const char *value; } given;     /* value: NULL if none was given */
struct cli {
    dlc_context *ctx;
    arena *a;
    command_id command;
    vec(given) options;
    vec(const char *) operands;
    int64_t n_shown;               /* diagnostics printed */
    size_t shown_bytes;
    bool is_usage;                 /* an error was in the command line itself */
    bool is_terminal;              /* stderr is one that can erase a line */
    bool has_colour;               /* … and NO_COLOR is not set */
    progress *progress;            /* once there is a line */
};

enum { EXIT_OK = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 70 };
int exit_code(dlc_status s);

/* -- The command line (options.c) ------------------------------------------------------------------------ */

bool cli_parse(cli *c, int argc, char **argv);           /* false: diagnostics say why */
bool opt_given(const cli *c, option_id o);
const char *opt_value(const cli *c, option_id o);        /* the last one; NULL: not given */
int opt_choice(const cli *c, option_id o, int other);    /* which of the argument's words */
/* A whole number in lo..hi; a suffix k, M or G is not taken. Wrong: a diagnostic, and `other`. */
int64_t opt_int(cli *c, option_id o, int64_t lo, int64_t hi, int64_t other);
/* The one operand that a command takes; NULL and a diagnostic if there is another number of them. */
const char *cli_operand(cli *c);

/* -- Messages (report.c) --------------------------------------------------------------------------------- */

void cli_help(FILE *f, const cli *c);                    /* of the command, or of all (COMMAND_COUNT) */
void cli_man(FILE *f, arena *a);
bool cli_completion(FILE *f, arena *a, const char *shell);       /* bash, zsh, fish; false: another */
void cli_show_diags(cli *c);                             /* those not yet shown, to stderr; bounded in all */

/* -- What is done now (progress.c): a line on the terminal if it takes over a second --------------------- */

void progress_put(cli *c, const char *fmt, ...) DLC_PRINTF(2, 3);      /* from any thread */
void progress_clear(cli *c);                /* before anything else is printed; the next put shows it again */

/* -- Options that several commands share (common.c) ------------------------------------------------------ */

bool cli_settings(cli *c, settings *s);                  /* false: a diagnostic */
/* Writes beside the place and renames; false: a diagnostic. */
bool cli_write(cli *c, const char *path, const void *p, size_t n);
bool cli_write_text(cli *c, const char *path, text *t);
const char *cli_quoted(arena *a, const char *s);         /* as JSON has it */

/* -- Models and their inputs (inputs.c) ------------------------------------------------------------------ */

/* Opens operand 0 with the backend asked for, and makes its inputs: from the files that are the other
 * operands, else as --zero-inputs or --random-inputs say. */
dlc_status cli_open_model(cli *c, engine **e, tensor **in);
/* Inputs for a model that is open: zero with --zero-inputs, else random. */
dlc_status cli_make_inputs(cli *c, const engine *e, tensor **in);
dlc_run_hook cli_threads(cli *c, int *n);                /* by --threads; the pool dies with the context */

#define COMMAND(name, ...) int command_##name(cli *c);
#define OPTION(...)
#include "cli/options.def"
#endif
