/* output: a model compiled to files (output.h) */
#include "api/output.h"
#include "api/engine_c.h"
#include "api/header.h"
#include "api/kept.h"
#include "api/training.h"
#include "backend/cache.h"
#include "base/embed.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const ending[OUTPUT_COUNT] = {
#define X(name) #name,
    OUTPUT_LIST(X)
#undef X
};

typedef struct {
    dlc_context *ctx;
    arena *a;
    /* folder ends in / or is empty; stem: the file's name without its ending */
    const char *path, *folder, *stem;
    output_kind kind;
    const settings *s;
    program *p;
    output_memory memory;
    kept *kept;                            /* NULL: nothing is kept */
    bool is_done;                          /* all files are written: they stay */
} output;

typedef struct { const output *o; const char *path; } made;

/* -- Names ----------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

output_kind output_of(const char *path)
{
    const char *dot = strrchr(base_name(path), '.');
    int i = 0;
    while (i < OUTPUT_COUNT && (!dot || strcmp(dot + 1, ending[i]) != 0)) i++;
    return (output_kind)i;
}

static void split_path(output *o)
{
    const char *base = base_name(o->path), *dot = strrchr(base, '.');
    o->folder = arena_strndup(o->a, o->path, (size_t)(base - o->path));
    o->stem = dot && dot != base ? arena_strndup(o->a, base, (size_t)(dot - base)) : base;
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void remove_unless_done(void *arg)
{
    const made *m = arg;
    if (!m->o->is_done) unlink(m->path);
}

/* What is written at `path` goes again when the arena does, if the rest fails or memory runs out. */
static void will_make(output *o, const char *path)
{
    made *m = NEW(o->a, made);
    *m = (made){ o, path };
    arena_on_free(o->a, remove_unless_done, m);
}

static dlc_status write_file(output *o, const char *path, const void *p, size_t n)
{
    int err = 0;
    struct stat old;
    if (stat(path, &old) != 0) will_make(o, path);          /* what was there before is not removed */
    file_out *f = file_create(o->a, path, 0666, &err);
    if (f) {
        file_write(f, p, n);
        if (file_commit(f)) {
            kept_add(o->kept, path, (bytes){ p, n }, NULL);
            return DLC_OK;
        }
        err = errno;
    }
    diag_cannot_write(o->ctx, (place){ .file = path }, strerror(err));
    return DLC_ERR_IO;
}

/* An archive as ar writes it, with one member and its symbol in the index. */
static void put_archive(text *t, const char *prefix, bytes object)
{
    const char *symbol = arena_printf(t->a, "%s_model", prefix);
    size_t n_symbols = strlen(symbol) + 1, n_index = (8 + n_symbols + 1) & ~(size_t)1;
    uint32_t at = (uint32_t)(8 + 60 + n_index);
    text_printf(t, "!<arch>\n%-16s%-12d%-6d%-6d%-8o%-10zu`\n", "/", 0, 0, 0, 0, n_index);
    text_putn(t, (char[8]){ 0, 0, 0, 1, (char)(at >> 24), (char)(at >> 16), (char)(at >> 8), (char)at }, 8);
    text_putn(t, symbol, n_symbols);
    while ((size_t)t->n < at) text_putn(t, "", 1);
    text_printf(t, "%-16s%-12d%-6d%-6d%-8o%-10zu`\n", arena_printf(t->a, "%.12s.o/", prefix), 0, 0, 0, 0644,
                object.n);
    text_putn(t, (const char *)object.at, object.n);
    if (object.n & 1) text_putn(t, "\n", 1);
}

static dlc_status write_c(output *o)
{
    bytes source, weights;
    dlc_status s = driver_emit_c(o->ctx, o->a, o->p, &o->s->driver, arena_printf(o->a, "%s.h", o->stem),
                                 &source, &weights);
    if (s == DLC_OK) s = write_file(o, o->path, source.at, source.n);
    if (s == DLC_OK && weights.at)
        s = write_file(o, arena_printf(o->a, "%s%s.bin", o->folder, o->stem), weights.at, weights.n);
    return s;
}

static dlc_status write_code(output *o)
{
    const driver_options *d = &o->s->driver;
    emit_kind kind = o->kind == OUTPUT_ll ? EMIT_LLVM_IR : o->kind == OUTPUT_s ? EMIT_ASM : EMIT_OBJECT;
    if (o->kind == OUTPUT_h) return DLC_OK;
    if (o->kind == OUTPUT_so) {
        struct stat old;
        const char *library;
        if (stat(o->path, &old) != 0) will_make(o, o->path);
        dlc_status s = driver_emit_shared(o->ctx, o->a, o->p, d, o->path, &library);
        kept_add(o->kept, o->path, (bytes){ 0 }, library);
        return s;
    }
    if (o->kind == OUTPUT_c) return write_c(o);
    bytes code;
    dlc_status s = driver_emit(o->ctx, o->a, o->p, d, kind, &code);
    if (s != DLC_OK) return s;
    text archive = { .a = o->a };
    if (o->kind == OUTPUT_a) {
        put_archive(&archive, d->codegen.prefix, code);
        code = (bytes){ (const uint8_t *)archive.at, (size_t)archive.n };
    }
    return write_file(o, o->path, code.at, code.n);
}

static dlc_status write_header(output *o)
{
    text t = { .a = o->a };
    if (o->kind == OUTPUT_ll || o->kind == OUTPUT_s || (o->kind != OUTPUT_h && file_is_special(o->path)))
        return DLC_OK;
    header_write(o->p, o->s->driver.codegen.prefix, o->s->driver.codegen.pool.n > 0, o->memory.stack, &t);
    const char *path = o->kind == OUTPUT_h ? o->path : arena_printf(o->a, "%s%s.h", o->folder, o->stem);
    return write_file(o, path, text_str(&t), (size_t)t.n);
}

static dlc_status write_pool(output *o)
{
    static const char *const names[] = { "pool.c", "pool.h", "runtime.h" };
    dlc_status s = DLC_OK;
    for (const embedded_file *f = embedded_runtime; f->name && o->s->has_pool; f++)
        for (int i = 0; i < 3 && s == DLC_OK; i++)
            if (strcmp(f->name, names[i]) == 0)
                s = write_file(o, arena_printf(o->a, "%s%s", o->folder, f->name), f->bytes, f->size);
    return s;
}

/* The pool as an object, for a library of this machine's kind; none for others, who compile pool.c. */
static bytes pool_object(const output *o)
{
    const char *here = target_host(0).triple, *there = o->s->driver.codegen.target.triple;
    if (o->kind != OUTPUT_so || o->s->has_no_pool || strcmp(here, there) != 0) return (bytes){ 0 };
    for (const embedded_file *f = embedded_runtime; f->name; f++)
        if (strcmp(f->name, "pool.o") == 0) return (bytes){ (const uint8_t *)f->bytes, f->size };
    return (bytes){ 0 };
}

static dlc_status lower_model(output *o, const char *model, const driver_options *d)
{
    graph *g;
    dlc_status s = driver_import(o->ctx, o->a, model, d, &g);
    if (s == DLC_OK) s = driver_passes(o->ctx, d, &g);
    if (s == DLC_OK) s = driver_lower(o->ctx, d, g, &o->p);
    kept_unwatch(o->kept);
    if (s == DLC_OK) s = driver_weights(o->ctx, &o->s->driver, o->p);
    for (program *q = s == DLC_OK ? o->p : NULL; q; q = q->next) driver_merge_constants(o->ctx, q);
    return s;
}

static void measure(output *o)
{
    c_sizes c = c_measure(o->a, o->p);
    o->memory = (output_memory){ o->p->workspace_bytes, o->p->workspace_lower_bound, c.weights_bytes,
                                 o->kind == OUTPUT_c ? c.stack_bytes : -1 };
    for (const program *q = o->p->next; q; q = q->next) {           /* of several programs: the largest */
        bool is_open = o->memory.workspace < 0 || q->workspace_bytes < 0;
        if (is_open || q->workspace_bytes > o->memory.workspace)
            o->memory.workspace = is_open ? -1 : q->workspace_bytes;
        if (q->workspace_lower_bound > o->memory.least) o->memory.least = q->workspace_lower_bound;
    }
}

static dlc_status write_fresh(output *o, const char *model)
{
    const driver_options *d = &o->s->driver;
    kept_watch(o->kept);
    dlc_status s = d->train ? training_programs(o->ctx, o->a, model, d, &o->p) : lower_model(o, model, d);
    kept_unwatch(o->kept);
    if (s == DLC_OK) measure(o);
    if (s == DLC_OK) s = write_code(o);
    if (s == DLC_OK) s = write_header(o);
    if (s == DLC_OK) s = write_pool(o);
    if (o->kept) o->kept->memory = o->memory;
    if (s == DLC_OK) kept_write(o->kept);
    return s;
}

/* From the cache. False: it has them not, or they cannot be written; what was written is written again. */
static bool write_kept(output *o)
{
    kept *k = o->kept;
    if (!kept_read(k)) return false;
    o->kept = NULL;
    for (int64_t i = 0; i < k->files.n; i++) {
        const kept_file *f = &k->files.at[i];
        const char *path = strcmp(f->name, base_name(o->path)) == 0
                               ? o->path
                               : arena_printf(o->a, "%s%s", o->folder, f->name);
        struct stat old;
        if (f->library && stat(path, &old) != 0) will_make(o, path);
        if (f->library && !copy_library(o->a, &o->s->driver.codegen, f->library, path)) return false;
        if (!f->library && write_file(o, path, f->contents.at, f->contents.n) != DLC_OK) return false;
    }
    o->memory = k->memory;
    return true;
}

dlc_status output_compile(dlc_context *ctx, arena *a, const char *model, const char *path, output_kind kind,
                          settings *set, output_memory *memory)
{
    output *o = NEW(a, output);
    *o = (output){ .ctx = ctx, .a = a, .path = path, .kind = kind, .s = set };
    split_path(o);
    struct stat folder;
    if (*o->folder && stat(o->folder, &folder) != 0) {           /* before the work */
        diag_cannot_write(ctx, (place){ .file = path }, strerror(errno));
        return DLC_ERR_IO;
    }
    set->driver.codegen.prefix = c_identifier(a, set->prefix ? set->prefix : o->stem);
    if (kind == OUTPUT_c) driver_set_portable(&set->driver);
    set->driver.codegen.debug_names = kind == OUTPUT_ll;
    set->driver.codegen.pool = pool_object(o);
    o->kept = file_is_special(path) ? NULL : kept_open(ctx, a, model, o->stem, kind, set);
    dlc_status s = write_kept(o) ? DLC_OK : write_fresh(o, model);
    if (s == DLC_OK && memory) *memory = o->memory;
    o->is_done = s == DLC_OK;
    return s;
}
