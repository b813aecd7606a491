/* settings: options of the driver by name
 *
 * One table of names and functions; each function reads its value and says what is wrong with it.
 */
#include "api/settings.h"
#include "backend/store.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { dlc_context *ctx; arena *a; settings *s; const char *name; } setting;

settings settings_default(void) { return (settings){ .driver = driver_defaults(), .kind = ENGINE_jit }; }

static bool wrong(const setting *t, const char *what)
{
    diag_option_value(t->ctx, (place){ 0 }, t->name, what);
    return false;
}

/* -- Near names ---------------------------------------------------------------------------------------------------------- */

enum { MAX_WORD = 64 };

/* Edits (insert, delete, replace, swap neighbours) from a to b; MAX_WORD if either is long. */
static int distance(const char *a, const char *b)
{
    int row[3][MAX_WORD + 1];
    int n = (int)strnlen(a, MAX_WORD + 1), m = (int)strnlen(b, MAX_WORD + 1);
    if (n > MAX_WORD || m > MAX_WORD) return MAX_WORD;
    int *before = row[0], *last = row[1], *now = row[2];
    for (int j = 0; j <= m; j++) last[j] = j, before[j] = 0;
    for (int i = 1; i <= n; i++) {
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < d) d = last[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (is_swap && before[j - 2] + 1 < d) d = before[j - 2] + 1;
            now[j] = d;
        }
        int *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[m];
}

const char *nearest(const char *word, int n, const char *const *words)
{
    const char *best = NULL;
    int limit = (int)strnlen(word, MAX_WORD) / 3 + 1;
    for (int i = 0; i < n; i++) {
        int d = words[i] ? distance(word, words[i]) : MAX_WORD;
        if (d > limit || (best && d == limit)) continue;
        best = words[i];
        limit = d;
    }
    return best;
}

/* -- Values ---------------------------------------------------------------------------------------------------------------- */

/* A whole number at *p, which moves behind it. */
static bool read_size(const char **p, int64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoll(*p, &end, 10);
    bool ok = end != *p && !errno && **p >= '0' && **p <= '9';
    *p = end;
    return ok;
}

/* NAME=N, NAME=LO..HI or NAME=LO..HI/STEP; the last = counts, since names may hold any character. */
static bool choose_dim(setting *t, const char *word)
{
    onnx_dim_option d = { 0 };
    const char *eq = strrchr(word, '='), *p = eq ? eq + 1 : "";
    bool ok = eq && eq > word && read_size(&p, &d.lo);
    d.hi = d.lo;
    if (ok && strncmp(p, "..", 2) == 0) {
        p += 2;
        ok = read_size(&p, &d.hi);
        if (ok && *p == '/') {
            p++;
            ok = read_size(&p, &d.step) && d.step > 0 && d.step < 1 << 30;
        }
    }
    if (!ok || *p) return wrong(t, "takes NAME=N, NAME=LO..HI or NAME=LO..HI/STEP, as batch=1..64 or height=32..1024/32");
    d.name = arena_strndup(t->a, word, (size_t)(eq - word));
    vec_push(t->a, &t->s->dims, d);
    return true;
}

static bool choose_bind(setting *t, const char *word)
{
    const char *eq = strrchr(word, '=');
    if (!eq || eq == word) return wrong(t, "takes NAME=VALUE or NAME=VALUE,VALUE,…");
    onnx_bind_option b = { arena_strndup(t->a, word, (size_t)(eq - word)), arena_strdup(t->a, eq + 1) };
    vec_push(t->a, &t->s->binds, b);
    return true;
}

static bool choose_model(setting *t, const char *word)
{
    t->s->driver.lang.model = arena_strdup(t->a, word);
    return true;
}

static bool choose_train(setting *t, const char *word)
{
    t->s->driver.train = word ? arena_strdup(t->a, word) : "";
    return true;
}

static bool choose_loss(setting *t, const char *word) { t->s->driver.loss = arena_strdup(t->a, word); return true; }
static bool choose_optimizer(setting *t, const char *word) { t->s->driver.optimizer = arena_strdup(t->a, word); return true; }
static bool choose_label(setting *t, const char *word) { t->s->driver.label = arena_strdup(t->a, word); return true; }
static bool choose_params(setting *t, const char *word) { t->s->driver.params = arena_strdup(t->a, word); return true; }
static bool choose_statistics(setting *t, const char *word)
{
    t->s->driver.lang.by_batch = strcmp(word, "batch") == 0;
    return t->s->driver.lang.by_batch || strcmp(word, "kept") == 0 || wrong(t, "takes kept or batch");
}
static bool choose_guard(setting *t, const char *word) { (void)word; t->s->driver.lang.guard = true; return true; }

static bool choose_weights(setting *t, const char *word)
{
    t->s->driver.weights = arena_strdup(t->a, word);
    return true;
}

static bool choose_ops(setting *t, const char *word)
{
    vec_push(t->a, &t->s->ops, arena_strdup(t->a, word));
    return true;
}

static bool choose_set(setting *t, const char *word)
{
    const char *eq = strchr(word, '=');
    if (!eq || eq == word) return wrong(t, "takes NAME=VALUE, as units=128");
    lang_set x = { arena_strndup(t->a, word, (size_t)(eq - word)), arena_strdup(t->a, eq + 1) };
    vec_push(t->a, &t->s->sets, x);
    return true;
}

int settings_pass(dlc_context *ctx, arena *a, const char *option, const char *name)
{
    const char *names[PASS_COUNT];
    for (int i = 0; i < PASS_COUNT; i++) {
        names[i] = pass_info[i].name;
        if (strcmp(name, names[i]) == 0) return i;
    }
    const char *near = nearest(name, PASS_COUNT, names);
    diag_pass_name(ctx, (place){ 0 }, option, name, near ? arena_printf(a, "; did you mean %s?", near) : "");
    return -1;
}

bool settings_pass_list(dlc_context *ctx, arena *a, const char *option, const char *list, bool chosen[PASS_COUNT])
{
    while (*list) {
        size_t n = strcspn(list, ",");
        int pass = settings_pass(ctx, a, option, arena_strndup(a, list, n));
        if (pass < 0) return false;
        chosen[pass] = true;
        list += n + (list[n] == ',');
    }
    return true;
}

static bool choose_off(setting *t, const char *word) { return settings_pass_list(t->ctx, t->a, t->name, word, t->s->driver.off); }

static bool choose_limit(setting *t, const char *word)
{
    const char *colon = strchr(word, ':'), *p = colon ? colon + 1 : "";
    int64_t n;
    if (!colon || !read_size(&p, &n) || *p) return wrong(t, "takes NAME:N, as fuse:37");
    int pass = settings_pass(t->ctx, t->a, t->name, arena_strndup(t->a, word, (size_t)(colon - word)));
    if (pass >= 0) t->s->driver.limit[pass] = n + 1;
    return pass >= 0;
}

static bool choose_int(setting *t, const char *word, int lo, int hi, int *to)
{
    const char *p = word;
    int64_t v;
    if (!read_size(&p, &v) || *p || v < lo || v > hi) {
        diag_option_number(t->ctx, (place){ 0 }, t->name, lo, hi, word);
        return false;
    }
    *to = (int)v;
    return true;
}

static bool choose_backend(setting *t, const char *word)
{
    for (int i = 0; i < ENGINE_COUNT; i++)
        if (strcmp(word, engine_name[i]) == 0) {
            t->s->kind = (engine_kind)i;
            return true;
        }
    return wrong(t, "takes one of eval, loop, jit, so, c");
}

static bool choose_fma(setting *t, const char *word) { (void)word; t->s->driver.c_fma = true; return true; }
static bool choose_c_vectors(setting *t, const char *word) { (void)word; t->s->driver.c_vectors = true; return true; }
static bool choose_no_specialize(setting *t, const char *word) { (void)word; t->s->driver.no_variants = true; return true; }
static bool choose_no_fma(setting *t, const char *word) { (void)word; t->s->driver.fma = FMA_ROUNDED; return true; }
static bool choose_verify(setting *t, const char *word) { (void)word; t->s->driver.verify = true; return true; }
static bool choose_cache(setting *t, const char *word)
{
    static const char *const words[] = { "on", "off", "strict" };
    for (int i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) {
            t->s->has_no_cache = i == 1;
            t->s->driver.codegen.cache_strict = i == 2;
            return true;
        }
    return wrong(t, "takes one of on, off, strict");
}

static bool choose_no_cache(setting *t, const char *word) { (void)word; t->s->has_no_cache = true; return true; }
static bool choose_profile(setting *t, const char *word) { (void)word; t->s->driver.codegen.profile = true; return true; }
static bool choose_no_pool(setting *t, const char *word) { (void)word; t->s->has_no_pool = true; return true; }
static bool choose_pool(setting *t, const char *word) { (void)word; t->s->has_pool = true; return true; }
static bool choose_level(setting *t, const char *word) { return choose_int(t, word, 0, 3, &t->s->driver.level); }
static bool choose_jobs(setting *t, const char *word) { return choose_int(t, word, 1, 256, &t->s->driver.codegen.threads); }
static bool choose_schedule(setting *t, const char *word) { t->s->driver.schedule_file = arena_strdup(t->a, word); return true; }
static bool choose_name(setting *t, const char *word) { t->s->prefix = arena_strdup(t->a, word); return true; }
static bool choose_cpu(setting *t, const char *word) { t->s->cpu = arena_strdup(t->a, word); return true; }
static bool choose_target(setting *t, const char *word) { t->s->triple = arena_strdup(t->a, word); return true; }
/* "64MiB": bytes, with a unit of 1000s (KB MB GB) or 1024s (KiB MiB GiB). */
static bool choose_memory(setting *t, const char *word)
{
    static const struct { const char *name; int64_t bytes; } units[] = {
        { "", 1 }, { "B", 1 }, { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
        { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 },
    };
    char *end;
    errno = 0;
    long long n = strtoll(word, &end, 10);
    for (size_t i = 0; end != word && errno == 0 && n > 0 && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].name) == 0 && mul_ok(n, units[i].bytes, &t->s->driver.memory)) return true;
    return wrong(t, "takes a number of bytes, as 64MiB, 500KB, 1000000");
}

static bool choose_vector(setting *t, const char *word)
{
    if (!choose_int(t, word, 16, 64, &t->s->vector_bytes)) return false;
    return t->s->vector_bytes == 16 || t->s->vector_bytes == 32 || t->s->vector_bytes == 64 || wrong(t, "takes 16, 32 or 64");
}

static const struct { const char *name; bool needs_value; bool (*set)(setting *t, const char *word); } row[] = {
    { "dim",          true,  choose_dim },
    { "bind",         true,  choose_bind },
    { "model",        true,  choose_model },
    { "set",          true,  choose_set },
    { "weights",      true,  choose_weights },
    { "train",        false, choose_train },
    { "guard",        false, choose_guard },
    { "loss",         true,  choose_loss },
    { "optimizer",    true,  choose_optimizer },
    { "label",        true,  choose_label },
    { "params",       true,  choose_params },
    { "statistics",   true,  choose_statistics },
    { "ops",          true,  choose_ops },
    { "off",          true,  choose_off },
    { "limit",        true,  choose_limit },
    { "schedule",     true,  choose_schedule },
    { "backend",      true,  choose_backend },
    { "fma",          false, choose_fma },
    { "no-fma",       false, choose_no_fma },
    { "c-vectors",    false, choose_c_vectors },
    { "O",            true,  choose_level },
    { "verify",       false, choose_verify },
    { "jobs",         true,  choose_jobs },
    { "cpu",          true,  choose_cpu },
    { "target",       true,  choose_target },
    { "vector-bytes", true,  choose_vector },
    { "memory",       true,  choose_memory },
    { "name",         true,  choose_name },
    { "pool",         false, choose_pool },
    { "no-pool",      false, choose_no_pool },
    { "profile",      false, choose_profile },
    { "no-specialize", false, choose_no_specialize },
    { "cache",        true,  choose_cache },
    { "no-cache",     false, choose_no_cache },
};

/* Does a compiled file depend on it? */
static bool shapes_files(const char *name) { return strcmp(name, "jobs") != 0 && strcmp(name, "cache") != 0 && strcmp(name, "no-cache") != 0; }

bool settings_set(dlc_context *ctx, arena *a, settings *s, const char *name, const char *word, bool *is_known)
{
    setting t = { ctx, a, s, name };
    *is_known = true;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (strcmp(row[i].name, name) != 0) continue;
        if (row[i].needs_value && !word) return wrong(&t, "needs a value");
        s->given.a = a;
        if (shapes_files(name)) text_printf(&s->given, "%s=%s\n", name, word ? word : "");
        return row[i].set(&t, word);
    }
    *is_known = false;
    return true;
}

/* Options that say something of a training step only. */
static bool check_train(dlc_context *ctx, const driver_options *o)
{
    const char *stray = o->loss ? "loss" : o->optimizer ? "optimizer" : o->label ? "label" : o->params ? "params" : NULL;
    if (!stray || o->train) return true;
    diag_option_value(ctx, (place){ 0 }, stray, "goes with --train");
    return false;
}

bool settings_finish(dlc_context *ctx, settings *s)
{
    if (!check_train(ctx, &s->driver)) return false;
    s->driver.onnx.n_dims = (int)s->dims.n;
    s->driver.onnx.dims = s->dims.at;
    s->driver.onnx.n_binds = (int)s->binds.n;
    s->driver.onnx.binds = s->binds.at;
    s->driver.n_ops = (int)s->ops.n;
    s->driver.ops = s->ops.at;
    s->driver.lang.n_sets = (int)s->sets.n;
    s->driver.lang.sets = s->sets.at;
    target t = { 0 };
    if (!s->triple && !s->cpu) t = target_host(s->vector_bytes);
    else if (!target_named(ctx, s->triple, s->cpu ? s->cpu : "generic", s->vector_bytes, &t)) return false;
    driver_set_target(&s->driver, &t);
    if (!s->has_no_cache) s->driver.codegen.cache_dir = store_default(ctx->arena);
    return true;
}
