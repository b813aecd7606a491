/* report: messages to the terminal
 *
 * Diagnostics go to stderr, coloured if that is a terminal, and at most MAX_SHOWN bytes of them: a hostile
 * file must not flood it. What is left out is counted.
 */
#include "cli/cli.h"

enum { MAX_SHOWN = 12000 };

int exit_code(dlc_status s)
{
    switch (s) {
    case DLC_OK: return EXIT_OK;
    case DLC_ERR_UNSUPPORTED: return EXIT_USAGE;
    case DLC_ERR_INTERNAL: return EXIT_INTERNAL;
    case DLC_ERR_INPUT: case DLC_ERR_SHAPE: case DLC_ERR_DTYPE: case DLC_ERR_MEMORY: case DLC_ERR_IO: break;
    }
    return EXIT_INPUT;
}

/* The word of the severity in colour. */
static void put_coloured(const char *s, const diag *d)
{
    static const char *const word[] = { "error:", "warning:", "note:" }, *const colour[] = { "31", "35",
                                                                                             "36" };
    const char *at = strstr(s, word[d->severity]);
    if (!at) {
        fprintf(stderr, "%s\n", s);
        return;
    }
    int n = (int)strlen(word[d->severity]);
    fprintf(stderr, "\033[1m%.*s\033[1;%sm%.*s\033[0m%s\n", (int)(at - s), s, colour[d->severity], n, at,
            at + n);
}

void cli_show_diags(cli *c)
{
    dlc_context *ctx = c->ctx;
    if (c->n_shown > ctx->diags.n) c->n_shown = 0;             /* some were taken back */
    for (; c->n_shown < ctx->diags.n; c->n_shown++) {
        if (c->shown_bytes > MAX_SHOWN) {
            fprintf(stderr, "and %lld more\n", (long long)(ctx->diags.n - c->n_shown));
            c->n_shown = ctx->diags.n;
            return;
        }
        const diag *d = &ctx->diags.at[c->n_shown];
        text t = { .a = c->a };
        diag_format(&t, d);
        c->shown_bytes += (size_t)t.n;
        if (c->has_colour) put_coloured(text_str(&t), d);
        else fprintf(stderr, "%s\n", text_str(&t));
    }
}
