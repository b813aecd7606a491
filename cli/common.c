/* common: options that several commands share, as the driver takes them */
#include "cli/cli.h"
#include <errno.h>
#include <stdlib.h>

static bool wrong(cli *c, option_id o, const char *what)
{
    diag_option_value(c->ctx, (place){ 0 }, option_info[o].name, what);
    c->is_usage = true;
    return false;
}

/* A size at *p, which moves behind it. */
static bool read_size(const char **p, int64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoll(*p, &end, 10);
    bool ok = end != *p && !errno && **p != '-' && **p != '+' && **p != ' ';
    *p = end;
    return ok;
}

/* NAME=N or NAME=LO..HI; the last = counts, since names may hold any character. */
static bool read_dim(cli *c, const char *s, onnx_dim_option *d)
{
    const char *eq = strrchr(s, '='), *p = eq ? eq + 1 : "";
    bool ok = eq && eq > s && read_size(&p, &d->lo);
    d->hi = d->lo;
    if (ok && strncmp(p, "..", 2) == 0) {
        p += 2;
        ok = read_size(&p, &d->hi);
    }
    if (!ok || *p) return wrong(c, OPT_dim, "takes NAME=N or NAME=LO..HI, as batch=1..64");
    d->name = arena_strndup(c->a, s, (size_t)(eq - s));
    return true;
}

static bool read_bind(cli *c, const char *s, onnx_bind_option *b)
{
    const char *eq = strrchr(s, '=');
    if (!eq || eq == s) return wrong(c, OPT_bind, "takes NAME=VALUE or NAME=VALUE,VALUE,…");
    b->name = arena_strndup(c->a, s, (size_t)(eq - s));
    b->values = eq + 1;
    return true;
}

/* Every --dim and --bind, in order. */
static bool read_onnx(cli *c, onnx_options *o)
{
    onnx_dim_option *d = NEW_ARRAY(c->a, onnx_dim_option, c->options.n);
    onnx_bind_option *b = NEW_ARRAY(c->a, onnx_bind_option, c->options.n);
    for (int64_t i = 0; i < c->options.n; i++) {
        const given *g = &c->options.at[i];
        if (g->option == OPT_dim && !read_dim(c, g->value, &d[o->n_dims++])) return false;
        if (g->option == OPT_bind && !read_bind(c, g->value, &b[o->n_binds++])) return false;
    }
    o->dims = d;
    o->binds = b;
    return true;
}

static bool read_target(cli *c, driver_options *o)
{
    static const int widths[] = { 16, 32, 64 };
    int choice = opt_choice(c, OPT_vector, -1), bytes_ = choice < 0 ? 0 : widths[choice];
    const char *triple = opt_value(c, OPT_target), *cpu = opt_value(c, OPT_cpu);
    target t = { 0 };
    if (!triple && !cpu) t = target_host(bytes_);
    else if (!target_named(c->ctx, triple, cpu ? cpu : "generic", bytes_, &t)) return false;
    driver_set_target(o, &t);
    return true;
}

/* -- Passes ------------------------------------------------------------------------------------------------------------- */

int cli_pass(cli *c, option_id o, const char *name)
{
    const char *names[PASS_COUNT];
    for (int i = 0; i < PASS_COUNT; i++) {
        names[i] = pass_info[i].name;
        if (strcmp(name, names[i]) == 0) return i;
    }
    const char *near = nearest(name, PASS_COUNT, names);
    diag_pass_name(c->ctx, (place){ 0 }, option_info[o].name, name, near ? arena_printf(c->a, "; did you mean %s?", near) : "");
    c->is_usage = true;
    return -1;
}

bool cli_pass_list(cli *c, option_id o, const char *list, bool chosen[PASS_COUNT])
{
    while (*list) {
        size_t n = strcspn(list, ",");
        int pass = cli_pass(c, o, arena_strndup(c->a, list, n));
        if (pass < 0) return false;
        chosen[pass] = true;
        list += n + (list[n] == ',');
    }
    return true;
}

static bool read_limit(cli *c, const char *s, driver_options *o)
{
    const char *colon = strchr(s, ':'), *p = colon ? colon + 1 : "";
    int64_t n;
    if (!colon || !read_size(&p, &n) || *p) return wrong(c, OPT_limit, "takes NAME:N, as fuse:37");
    int pass = cli_pass(c, OPT_limit, arena_strndup(c->a, s, (size_t)(colon - s)));
    if (pass < 0) return false;
    o->limit[pass] = n + 1;
    return true;
}

static bool read_passes(cli *c, driver_options *o)
{
    for (int64_t i = 0; i < c->options.n; i++) {
        const given *g = &c->options.at[i];
        if (g->option == OPT_off && !cli_pass_list(c, OPT_off, g->value, o->off)) return false;
        if (g->option == OPT_limit && !read_limit(c, g->value, o)) return false;
    }
    o->schedule_file = opt_value(c, OPT_schedule);
    return true;
}

bool cli_driver_options(cli *c, driver_options *o)
{
    *o = driver_defaults();
    o->fma = opt_given(c, OPT_no_fma) ? FMA_ROUNDED : FMA_FUSED;
    o->level = opt_choice(c, OPT_opt_level, o->level);
    o->verify = opt_given(c, OPT_verify);
    o->codegen.threads = (int)opt_int(c, OPT_jobs, 1, 256, o->codegen.threads);
    return read_onnx(c, &o->onnx) && read_passes(c, o) && read_target(c, o) && !c->is_usage;
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
