/* common: options that several commands share, as the driver takes them; files written */
#include "cli/cli.h"
#include <errno.h>

static void on_progress(void *arg, const char *what, int64_t done, int64_t of)
{
    if (of)
        progress_put(arg, "%s: %lld of %lld", strcmp(what, "code") == 0 ? "code of kernels" : what,
                     (long long)done, (long long)of);
    else progress_put(arg, "%s", what);
}

bool cli_settings(cli *c, settings *s)
{
    *s = settings_default();
    s->driver.codegen.progress = on_progress;
    s->driver.codegen.progress_arg = c;
    /* its time of compiling is one; --cache=on says otherwise */
    s->has_no_cache = c->command == COMMAND_bench;
    bool is_known, ok = true;
    for (int64_t i = 0; i < c->options.n && ok; i++) {
        const given *g = &c->options.at[i];
        ok = settings_set(c->ctx, c->a, s, option_info[g->option].name, g->value, &is_known);
    }
    ok = ok && settings_finish(c->ctx, s);
    c->is_usage |= !ok;
    return ok;
}

bool cli_write(cli *c, const char *path, const void *p, size_t n)
{
    int err = 0;
    file_out *f = file_create(c->a, path, 0666, &err);
    if (f) {
        file_write(f, p, n);
        if (file_commit(f)) return true;
        err = errno;
    }
    diag_cannot_write(c->ctx, (place){ .file = path }, strerror(err));
    return false;
}

bool cli_write_text(cli *c, const char *path, text *t)
{
    return cli_write(c, path, text_str(t), (size_t)t->n);
}

const char *cli_quoted(arena *a, const char *s)
{
    text t = { .a = a };
    text_put(&t, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == '"' || *p == '\\') text_printf(&t, "\\%c", *p);
        else if (*p == '\n') text_put(&t, "\\n");
        else if (*p < 32 || *p == 127) text_printf(&t, "\\u%04x", *p);
        else text_putn(&t, (const char *)p, 1);
    }
    text_put(&t, "\"");
    return text_str(&t);
}
