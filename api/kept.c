/* kept: the files of a compile, kept by what they were made from (kept.h)
 *
 * Why     Elaborating a program, its gradients and the passes take 10 to 130 ms for a training step; what
 *         comes out of them is the same as long as the files that they read are.
 * Key     The build of dlc, the options as they were given, the target and the machine's numbers, the current
 *         folder, the path of the model, the kind and the stem of the output. An entry lists the files that
 *         were read, or looked for in vain; it holds if they are as they were: those of at most 1 MB (and all
 *         with --cache=strict) by their contents, larger ones by device, inode, size and time.
 * Entry   Numbers are 8 bytes, texts their length and their bytes. A shared library stands in an entry of its
 *         own, which other inputs that give the same program lead to, too (backend/cache.c).
 * Leaves  compiles with warnings or notes, which are to be said again, and of over 16 MB.
 * Failure of any kind means only that the files are made anew; an entry is checked as if it came from a
 * stranger.
 */
#include "api/kept.h"
#include "backend/cache.h"
#include "backend/store.h"
#include <unistd.h>

enum { SMALL_FILE = 1 << 20, MOST_BYTES = 16 << 20 };
static const char heading[] = "dlc files 1";

/* -- Key ------------------------------------------------------------------------------------------------- */

kept *kept_open(dlc_context *ctx, arena *a, const char *model, const char *stem, output_kind kind,
                const settings *s)
{
    const codegen_options *c = &s->driver.codegen;
    const machine *m = &s->driver.machine;
    char folder[4096];
    if (!c->cache_dir) return NULL;
    text key = { .a = a };
    text_put(&key, "files ");
    cache_put_build(&key);
    text_printf(&key, "%s %s %s %s %d\n", c->target.triple, c->target.cpu, c->target.features,
                c->target.tune ? c->target.tune : "", c->target.vector_bytes);
    text_printf(&key, "%d %d %d %d %d %lld %lld %lld\n", m->vector_bytes, m->vector_registers, m->fma_latency,
                m->fma_per_cycle, m->loads_per_cycle, (long long)m->l1_bytes, (long long)m->l2_bytes,
                (long long)m->l3_bytes);
    text_printf(&key, "%s\n%s\n%s\n%s %d\n", getcwd(folder, sizeof folder) ? folder : "", model, stem,
                c->prefix, (int)kind);
    if (s->given.n) text_putn(&key, s->given.at, (size_t)s->given.n);
    kept *k = NEW(a, kept);
    *k = (kept){ .ctx = ctx,
                 .a = a,
                 .dir = c->cache_dir,
                 .is_strict = c->cache_strict,
                 .n_diags = ctx->diags.n,
                 .log = { .a = a } };
    k->path = store_path(a, k->dir, &key, "files");
    return k;
}

/* -- Which files ----------------------------------------------------------------------------------------- */

static void stop_log(void *arg)
{
    mem *m = arg;
    m->log = NULL;
}

void kept_watch(kept *k)
{
    if (!k) return;
    arena_on_free(k->a, stop_log, &k->ctx->mem);                 /* also where memory runs out */
    k->ctx->mem.log = &k->log;
}

void kept_unwatch(kept *k)
{
    if (k) k->ctx->mem.log = NULL;
}

static bool same_file(const file_seen *x, const file_seen *y)
{
    return x->is_there == y->is_there && x->device == y->device && x->inode == y->inode &&
           x->size == y->size && x->seconds == y->seconds && x->nanoseconds == y->nanoseconds;
}

static bool by_contents(const kept *k, int64_t size) { return k->is_strict || size <= SMALL_FILE; }

static bool hash_file(kept *k, const char *path, uint64_t hash[2])
{
    bytes b;
    int err;
    arena *scratch = arena_new(&k->ctx->mem);
    bool ok = file_map(scratch, path, &b, &err);
    for (int i = 0; ok && i < 2; i++) hash[i] = hash_bytes(b.at, b.n, (uint64_t)i + 1);
    arena_free(scratch);
    return ok;
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void put_number(text *t, int64_t x) { text_putn(t, (const char *)&x, sizeof x); }

static void put_bytes(text *t, const void *p, size_t n)
{
    put_number(t, (int64_t)n);
    text_putn(t, p, n);
}

/* False: the file has changed meanwhile, or cannot be read. */
static bool put_seen(kept *k, text *t, const file_seen *f)
{
    file_seen now = file_look(f->path);
    uint64_t hash[2] = { 0 };
    if (!same_file(&now, f) || (f->is_there && by_contents(k, f->size) && !hash_file(k, f->path, hash)))
        return false;
    put_bytes(t, f->path, strlen(f->path));
    const int64_t numbers[] = {
        f->is_there, (int64_t)f->device, (int64_t)f->inode, f->size, f->seconds, f->nanoseconds,
        by_contents(k, f->size), (int64_t)hash[0], (int64_t)hash[1]
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) put_number(t, numbers[i]);
    return true;
}

/* How many files there are, each once, and those. */
static bool put_log(kept *k, text *t)
{
    map_str seen;
    map_init(&seen, k->a);
    for (int64_t i = 0; i < k->log.seen.n; i++) {
        const file_seen *f = &k->log.seen.at[i];
        map_put(&seen, f->path, strlen(f->path), (uint64_t)i, NULL);
    }
    put_number(t, seen.n);
    for (int64_t i = 0; i < seen.n; i++)
        if (!put_seen(k, t, &k->log.seen.at[seen.entries[i].value])) return false;
    return true;
}

void kept_add(kept *k, const char *path, bytes contents, const char *library)
{
    const char *slash = strrchr(path, '/');
    if (k) vec_push(k->a, &k->files, ((kept_file){ slash ? slash + 1 : path, contents, library }));
}

void kept_write(kept *k)
{
    if (!k || k->ctx->diags.n != k->n_diags) return;
    text t = { .a = k->a };
    text_putn(&t, heading, sizeof heading);
    if (!put_log(k, &t)) return;
    const int64_t memory[] = { k->memory.workspace, k->memory.least, k->memory.weights, k->memory.stack };
    for (int i = 0; i < 4; i++) put_number(&t, memory[i]);
    put_number(&t, k->files.n);
    for (int64_t i = 0; i < k->files.n; i++) {
        const kept_file *f = &k->files.at[i];
        bool is_library = f->library != NULL;
        bytes b = is_library ? (bytes){ (const uint8_t *)f->library, strlen(f->library) } : f->contents;
        if (!is_library && !b.at) return;
        if (b.n > MOST_BYTES || (size_t)t.n + b.n > MOST_BYTES) return;
        put_bytes(&t, f->name, strlen(f->name));
        put_number(&t, is_library);
        put_bytes(&t, b.at, b.n);
    }
    bytes all = { (const uint8_t *)t.at, (size_t)t.n };
    if (store_ready(k->a, k->dir) && store_write(k->a, k->path, 1, &all)) store_evict(k->a, k->dir);
}

/* -- Reading --------------------------------------------------------------------------------------------- */

typedef struct { const uint8_t *at; size_t n; bool ok; } cursor;

static bytes read_bytes(cursor *c, size_t n)
{
    bytes b = { c->at, n };
    c->ok = c->ok && n <= c->n;
    if (!c->ok) return (bytes){ (const uint8_t *)"", 0 };
    c->at += n;
    c->n -= n;
    return b;
}

static int64_t number(cursor *c)
{
    int64_t x = 0;
    bytes b = read_bytes(c, sizeof x);
    memcpy(&x, b.at, b.n);
    return x;
}

static bytes counted(cursor *c)
{
    int64_t n = number(c);
    c->ok = c->ok && n >= 0 && (uint64_t)n <= c->n;
    return read_bytes(c, c->ok ? (size_t)n : 0);
}

static const char *some_text(cursor *c, arena *a)
{
    bytes b = counted(c);
    c->ok = c->ok && !memchr(b.at, 0, b.n);
    return arena_strndup(a, (const char *)b.at, b.n);
}

/* Is the next file that the entry depends on as it was? */
static bool still_holds(kept *k, cursor *c)
{
    const char *path = some_text(c, k->a);
    int64_t x[9];
    uint64_t hash[2];
    for (int i = 0; i < 9; i++) x[i] = number(c);
    if (!c->ok) return false;
    file_seen then = { path, x[0] != 0, (uint64_t)x[1], (uint64_t)x[2], x[3], x[4], x[5] },
              now = file_look(path);
    if (!then.is_there || !now.is_there) return then.is_there == now.is_there;
    if (then.size != now.size) return false;
    if (!by_contents(k, now.size)) return same_file(&then, &now);
    return x[6] == 1 && hash_file(k, path, hash) && hash[0] == (uint64_t)x[7] && hash[1] == (uint64_t)x[8];
}

static void read_file(kept *k, cursor *c)
{
    kept_file f = { .name = some_text(c, k->a) };
    bool is_library = number(c) == 1;
    if (is_library) f.library = some_text(c, k->a);
    else f.contents = counted(c);
    c->ok = c->ok && *f.name && !strchr(f.name, '/') && strcmp(f.name, ".") != 0 && strcmp(f.name, "..") != 0;
    if (c->ok) vec_push(k->a, &k->files, f);
}

bool kept_read(kept *k)
{
    bytes b;
    if (!k || !store_map(k->a, k->path, &b)) return false;
    cursor c = { b.at, b.n, true };
    bytes head = read_bytes(&c, sizeof heading);
    if (!c.ok || memcmp(head.at, heading, sizeof heading) != 0) return false;
    int64_t n = number(&c);
    for (int64_t i = 0; i < n && c.ok; i++)
        if (!still_holds(k, &c)) return false;
    int64_t memory[4];
    for (int i = 0; i < 4; i++) memory[i] = number(&c);
    k->memory = (output_memory){ memory[0], memory[1], memory[2], memory[3] };
    n = number(&c);
    for (int64_t i = 0; i < n && c.ok; i++) read_file(k, &c);
    if (c.ok && n > 0) return true;
    k->files.n = 0;
    return false;
}
