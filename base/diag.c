/* base/diag.c: the context, and the diagnostics it gathers.
 *
 * A report never fails: if there is no memory for its text, a prepared "out of memory" takes its place. There
 * is always room for one more diagnostic in ctx->diags, made when the one before was put.
 */
#include "base/context.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_MESSAGE = 1000, DEFAULT_MAX_DIAGS = 100 };

static bool context_fill(dlc_context *ctx)
{
    mem_frame frame;
    if (!mem_try(&ctx->mem, &frame)) return false;
    ctx->arena = arena_new(&ctx->mem);
    vec_grow(ctx->arena, &ctx->diags, 4);
    mem_end(&ctx->mem, &frame);
    return true;
}

dlc_context *context_new(void)
{
    dlc_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return NULL;
    ctx->max_diags = DEFAULT_MAX_DIAGS;
    if (context_fill(ctx)) return ctx;
    free(ctx);
    return NULL;
}

void context_free(dlc_context *ctx)
{
    if (!ctx) return;
    while (ctx->mem.arenas) arena_free(ctx->mem.arenas);
    free(ctx);
}

void context_clear_diags(dlc_context *ctx)
{
    ctx->diags.n = 0;
    ctx->n_errors = 0;
    ctx->status = DLC_OK;
}

static const char *kept(arena *a, const char *s) { return s ? arena_strdup(a, s) : NULL; }

/* The message as it will be printed: cut, and control characters spelled out (quotes stay). */
static const char *clean_message(arena *a, const char *s)
{
    text t = { .a = a };
    size_t n = strnlen(s, MAX_MESSAGE + 1);
    for (size_t i = 0, from = 0; i <= n; i++) {
        bool quote = i < n && (s[i] == '"' || s[i] == '\\');
        if (i < n && !quote) continue;
        text_put_escaped(&t, s + from, i - from, MAX_MESSAGE);
        if (quote) text_putn(&t, s + i, 1);
        from = i + 1;
    }
    return text_str(&t);
}

static bool keep(dlc_context *ctx, diag *d, const char *fmt, va_list ap)
{
    mem_frame frame;
    if (!mem_try(&ctx->mem, &frame)) return false;
    char buffer[MAX_MESSAGE + 8];
    vsnprintf(buffer, sizeof buffer, fmt, ap);
    d->message = clean_message(ctx->arena, buffer);
    d->at.file = kept(ctx->arena, d->at.file);
    d->at.node = kept(ctx->arena, d->at.node);
    d->at.op = kept(ctx->arena, d->at.op);
    vec_grow(ctx->arena, &ctx->diags, 2);
    mem_end(&ctx->mem, &frame);
    return true;
}

void diag_report(dlc_context *ctx, diag_severity s, dlc_status status, const char *id, place at,
                 const char *hint, const char *fmt, ...)
{
    if (s == DIAG_ERROR) {
        ctx->n_errors++;
        if (!ctx->status) ctx->status = status;
    }
    if (ctx->diags.n >= ctx->max_diags || ctx->diags.n >= ctx->diags.cap) return;
    diag d = { .severity = s, .id = id, .at = at, .hint = hint };
    va_list ap;
    va_start(ap, fmt);
    if (!keep(ctx, &d, fmt, ap))
        d = (diag){
            .severity = s, .id = "out_of_memory", .message = "out of memory", .hint = "raise --memory-limit"
        };
    va_end(ap);
    ctx->diags.at[ctx->diags.n++] = d;
}

#define DIAG(name, severity, status, params, args, text, hint) \
    void diag_##name(dlc_context *ctx, place at DIAG_PARAMS params) \
    { diag_report(ctx, DIAG_##severity, DLC_ERR_##status, #name, at, hint, text DIAG_PARAMS args); }
#include "base/diag.def"
#undef DIAG

/* -- Printing -------------------------------------------------------------------------------------------- */

static void put_name(text *out, const char *s) { text_put_escaped(out, s, strlen(s), 200); }

static void put_place(text *out, const place *at)
{
    if (at->file) {
        put_name(out, at->file);
        if (at->line) text_printf(out, ":%d", at->line);
        if (at->line && at->col) text_printf(out, ":%d", at->col);
        text_put(out, ": ");
    }
}

static void put_node(text *out, const place *at)
{
    if (at->node) {
        text_put(out, "node \"");
        put_name(out, at->node);
        text_put(out, "\"");
    }
    if (at->op) {
        text_put(out, at->node ? " (" : "");
        put_name(out, at->op);
        text_put(out, at->node ? ")" : "");
    }
    if (at->node || at->op) text_put(out, ": ");
}

/* The source line, and a caret under the column. */
static void put_source(text *out, const diag *d)
{
    text_put(out, "\n  ");
    text_put(out, clean_message(out->a, d->source_line));
    if (d->at.col <= 0) return;
    text_put(out, "\n  ");
    for (int i = 1; i < d->at.col && i < 200; i++) text_put(out, " ");
    text_put(out, "^");
}

void diag_format(text *out, const diag *d)
{
    static const char *const severity_word[] = { "error: ", "warning: ", "note: " };
    put_place(out, &d->at);
    text_put(out, severity_word[d->severity]);
    put_node(out, &d->at);
    text_put(out, d->message);
    if (d->source_line) put_source(out, d);
    if (d->hint && *d->hint) text_printf(out, "\n  hint: %s", d->hint);
}
