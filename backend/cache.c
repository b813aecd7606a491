/* backend/cache.c: compiled programs kept as shared libraries, so that a start with known code does not load
 * LLVM; and weights as the code wants them, so that it does not pack them again.
 *
 * Code     Key: the program's text without the constants' values (and which of them are the same one), the
 *          target, the options, and the build of dlc (path, size and time of the file that holds this
 *          function, and of the LLVM module). The code reads its constants through a table of pointers,
 *          dlc_constants_v1, which is filled after loading. So one library serves all weights, and weights
 *          are used in place. It is opened from a private copy in memory: two programs with the same code
 *          have each their own table.
 * Weights  Key: for each constant that is computed, the text of its graph, and for each long constant in it
 *          the file it lies in (device, inode, size, time) with its place there; of others, and of all with
 *          cache_strict, a hash of the elements. The file holds them one after another, at multiples of 64
 *          bytes, and is mapped.
 * Failure  of any kind means only that both are made anew.
 */
#include "backend/cache.h"
#include "backend/store.h"
#include "ir/text.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A larger program is not worth it: its text and its library alone cost seconds. Fewer bytes of weights are
 * packed faster than read; more would fill the cache. */
enum { MAX_KERNELS = 20000, MAX_BUFFERS = 100000, MIN_WEIGHTS = 1 << 20, MAX_WEIGHTS = 1 << 29,
       SHORT_CONSTANT = 64 };

/* fd keeps the name of the copy taken */
typedef struct { loaded_code base; void *handle; int fd; } cached_code;

/* -- Keys ------------------------------------------------------------------------------------------------ */

static void put_file(text *t, const char *path)
{
    struct stat st;
    if (stat(path, &st)) return;
    text_printf(t, "%s %lld %lld.%09ld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                st.st_mtim.tv_nsec);
}

/* The file of this function, and the LLVM module beside it. A program's own name may lack its folder; the
 * system knows it. */
void cache_put_build(text *t)
{
    Dl_info info;
    char self[4096];
    text_printf(t, "dlc %s\n", DLC_VERSION);
    if (!dladdr((void *)(uintptr_t)&load_code, &info) || !info.dli_fname) return;
    const char *path = info.dli_fname;
    if (*path != '/') {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0) return;
        self[n] = 0;
        path = self;
    }
    put_file(t, path);
    int n = (int)(strrchr(path, '/') - path);
    put_file(t, arena_printf(t->a, "%.*s/libdlc-llvm.so", n, path));
    put_file(t, arena_printf(t->a, "%.*s/../lib/libdlc-llvm.so", n, path));
}

/* Constants with the same data are one in the code. */
static void put_twins(text *t, const program *p)
{
    map_str seen;
    map_init(&seen, t->a);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        if (p->bufs.at[i].kind != PBUF_const) continue;
        bool fresh;
        uint64_t *first = map_put(&seen, (const char *)&p->bufs.at[i].data, sizeof p->bufs.at[i].data,
                                  (uint64_t)i, &fresh);
        if (!fresh) text_printf(t, "%lld = %lld\n", (long long)i, (long long)*first);
    }
}

/* What the code is made for, and from. */
static void put_target(text *t, const program *p, const codegen_options *o)
{
    cache_put_build(t);
    text_printf(t, "%s %s %s %s %d fma %d %s\n", o->target.triple, o->target.cpu, o->target.features,
                o->target.tune ? o->target.tune : "", o->target.vector_bytes, (int)p->fma, o->prefix);
}

/* A program without its constants; of several, without the kernels that all share. */
static void put_program(text *t, const program *p, bool with_kernels)
{
    arena *a = t->a;
    program plain = *p;
    plain.bufs.at = arena_copy(a, p->bufs.at, (size_t)p->bufs.n * sizeof *p->bufs.at);
    for (int64_t i = 0; i < plain.bufs.n; i++) {
        plain.bufs.at[i].data = NULL;
        plain.bufs.at[i].expr_graph = NULL;
        plain.bufs.at[i].external = "";
    }
    if (with_kernels) program_print(&plain, t);
    else program_print_frame(&plain, t);
    put_twins(t, p);
    for (int i = 0; i < p->n_states; i++)
        text_printf(t, "%s %d %lld\n", p->states[i].name, p->states[i].is_trained,
                    (long long)p->states[i].offset);
}

static const char *code_path(arena *a, const program *p, const codegen_options *o)
{
    text t = { .a = a };
    put_target(&t, p, o);
    put_program(&t, p, true);
    return store_path(a, o->cache_dir, &t, "so");
}

/* -- Code ------------------------------------------------------------------------------------------------ */

static void close_code(loaded_code *code)
{
    cached_code *c = (cached_code *)code;
    dlclose(c->handle);
    close(c->fd);
    free(c);
}

static bool fill_constants(void *handle, const program *p)
{
    const void **table = dlsym(handle, "dlc_constants_v1");
    if (!table) return false;
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == PBUF_const) table[i] = p->bufs.at[i].data;
    return true;
}

static loaded_code *load_file(const char *path, const program *p, const struct dlc_model **model)
{
    int fd = store_copy(path);
    if (fd < 0) return NULL;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) { close(fd); return NULL; }
    *model = dlsym(handle, "dlc_model_v1");
    cached_code *c = *model && fill_constants(handle, p) ? calloc(1, sizeof *c) : NULL;
    if (!c) { dlclose(handle); close(fd); return NULL; }
    c->fd = fd;
    c->base.unload = close_code;
    c->handle = handle;
    return &c->base;
}

/* Compiles into the cache. Diagnostics of a cache that does not work are dropped. */
static bool make_file(dlc_context *ctx, arena *a, const program *p, const codegen_options *o,
                      const llvm_backend *b, const char *path)
{
    int n_errors = ctx->n_errors;
    int64_t n_diags = ctx->diags.n;
    dlc_status status = ctx->status;
    codegen_options with_table = *o;
    with_table.constant_table = true;
    with_table.pool = (bytes){ 0 };
    const char *fresh = store_fresh(a, path);
    bool ok = b->emit_shared(ctx, p, &with_table, fresh) == DLC_OK && store_commit(a, fresh, path);
    ctx->n_errors = n_errors;
    ctx->diags.n = n_diags;
    ctx->status = status;
    return ok;
}

static bool constants_are_there(const program *p)
{
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == PBUF_const && !p->bufs.at[i].data) return false;
    return true;
}

static bool is_cacheable(const program *p, const codegen_options *o)
{
    return o->cache_dir && !o->external_weights && !o->profile && !p->next && p->kernels.n <= MAX_KERNELS &&
           p->bufs.n <= MAX_BUFFERS && constants_are_there(p);
}

dlc_status load_code(dlc_context *ctx, const program *p, const codegen_options *o,
                     const llvm_backend *(*llvm)(dlc_context *ctx), loaded_code **out,
                     const struct dlc_model **model)
{
    *out = NULL;
    *model = NULL;
    const char *path = NULL;
    arena *a = arena_new(&ctx->mem);
    if (is_cacheable(p, o)) {
        path = code_path(a, p, o);
        *out = load_file(path, p, model);
    }
    if (*out) { arena_free(a); return DLC_OK; }
    const llvm_backend *b = llvm(ctx);
    if (!b) { arena_free(a); return DLC_ERR_UNSUPPORTED; }
    if (path && store_ready(a, o->cache_dir) && make_file(ctx, a, p, o, b, path)) {
        *out = load_file(path, p, model);
        store_evict(a, o->cache_dir);
    }
    arena_free(a);
    return *out ? DLC_OK : b->jit(ctx, p, o, out, model);
}

void unload_code(loaded_code *code) { if (code) code->unload(code); }

/* -- Libraries for users --------------------------------------------------------------------------------- */

/* Those of more constants are not kept: they would push out everything else. */
enum { MOST_INSIDE = 16 << 20 };

static int64_t size_of_const(const pbuf *b)
{
    int64_t n;
    return dim_is_const(b->bytes, &n) && b->data ? n : 0;
}

static const char *kept_path(arena *a, const codegen_options *o, const char *name)
{
    return arena_printf(a, "%s/%s", o->cache_dir, name);
}

/* Where a library with its constants inside is kept; NULL: nowhere. */
static const char *library_path(arena *a, const program *p, const codegen_options *o)
{
    text t = { .a = a };
    int64_t total = 0;
    if (!o->cache_dir || o->external_weights || o->profile || p->kernels.n > MAX_KERNELS) return NULL;
    text_put(&t, "library ");
    put_target(&t, p, o);
    text_printf(&t, "pool %016llx\n",
                (unsigned long long)(o->pool.n ? hash_bytes(o->pool.at, o->pool.n, 1) : 0));
    /* each with the symbols of its program */
    for (int64_t i = 0; i < p->kernels.n && p->next; i++) kernel_print(p->kernels.at[i], &t);
    for (const program *q = p; q; q = q->next) {
        text_printf(&t, "%s\n", q->entry ? q->entry : "");
        put_program(&t, q, !p->next);
        if (!constants_are_there(q)) return NULL;
        for (int64_t i = 0; i < q->bufs.n; i++) {
            const pbuf *b = &q->bufs.at[i];
            int64_t n = b->kind == PBUF_const ? size_of_const(b) : 0;
            if ((total += n) > MOST_INSIDE) return NULL;
            if (n)
                text_printf(&t, "%lld %016llx%016llx\n", (long long)i,
                            (unsigned long long)hash_bytes(b->data, (size_t)n, 1),
                            (unsigned long long)hash_bytes(b->data, (size_t)n, 2));
        }
    }
    return store_path(a, o->cache_dir, &t, "library");
}

bool copy_library(arena *a, const codegen_options *o, const char *name, const char *path)
{
    bytes b;
    int64_t n;
    int err;
    if (strchr(name, '/') || !store_map(a, kept_path(a, o, name), &b) || b.n < 64) return false;
    memcpy(&n, b.at, sizeof n);
    if (n < 0 || (size_t)n > b.n - 64) return false;
    file_out *f = file_create(a, path, 0777, &err);
    if (!f) return false;
    file_write(f, b.at + 64, (size_t)n);
    return file_commit(f);
}

static bool keep_library(arena *a, const codegen_options *o, const char *name, const char *path)
{
    bytes parts[2];
    int err;
    if (!store_ready(a, o->cache_dir) || !file_map(a, path, &parts[1], &err)) return false;
    int64_t n = (int64_t)parts[1].n;
    parts[0] = (bytes){ (const uint8_t *)&n, sizeof n };
    bool ok = store_write(a, kept_path(a, o, name), 2, parts);
    if (ok) store_evict(a, o->cache_dir);
    return ok;
}

dlc_status emit_library(dlc_context *ctx, arena *a, const program *p, const codegen_options *o,
                        const llvm_backend *(*llvm)(dlc_context *ctx), const char *path, const char **kept)
{
    arena *scratch = arena_new(&ctx->mem);
    const char *name = library_path(scratch, p, o);
    bool is_kept = name && copy_library(scratch, o, name = strrchr(name, '/') + 1, path);
    dlc_status s = DLC_OK;
    if (!is_kept) {
        const llvm_backend *b = llvm(ctx);
        s = b ? b->emit_shared(ctx, p, o, path) : DLC_ERR_UNSUPPORTED;
        is_kept = s == DLC_OK && name && keep_library(scratch, o, name, path);
    }
    *kept = is_kept ? arena_strdup(a, name) : NULL;
    arena_free(scratch);
    return s;
}

/* -- Weights --------------------------------------------------------------------------------------------- */

static bool is_computed(const pbuf *b) { return b->kind == PBUF_const && b->expr_graph; }

/* False: open. */
static bool size_of(const program *p, const pbuf *b, int64_t *n)
{
    return dim_is_const(dim_product(p->dims, b->dims, b->rank), n) && mul_ok(*n, dtype_bytes(b->dtype), n);
}

/* The bytes of a long constant: where they come from, or what they are. */
static void put_elements(text *t, const mem *m, const node *n, bool is_strict)
{
    const uint8_t *at = n->konst->bytes;
    size_t size = (size_t)n->konst->n * (size_t)dtype_bytes(n->types[0].dtype);
    const mapped_file *f = is_strict ? NULL : mapped_file_of(m, at, size);
    if (f)
        text_printf(t, "file %llu %llu %zu %lld.%09ld at %zu\n", (unsigned long long)f->device,
                    (unsigned long long)f->inode, f->n, (long long)f->seconds, f->nanoseconds,
                    (size_t)(at - f->at));
    else
        text_printf(t, "%016llx%016llx\n", (unsigned long long)hash_bytes(at, size, 1),
                    (unsigned long long)hash_bytes(at, size, 2));
}

/* False: the graph has bodies, which nobody looks into here. */
static bool put_expression(text *t, const mem *m, const graph *g, bool is_strict)
{
    graph_print_brief(g, t);
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *n = &g->nodes.at[i];
        if (n->prim == PRIM_scan || n->prim == PRIM_cond || n->prim == PRIM_while || n->prim == PRIM_kernel)
            return false;
        if (n->prim == PRIM_const && n->konst->bytes && n->konst->n > SHORT_CONSTANT)
            put_elements(t, m, n, is_strict);
    }
    return true;
}

/* NULL: not worth it, or not to be told. */
static const char *weights_path(dlc_context *ctx, arena *a, const program *p, const codegen_options *o)
{
    int64_t total = 0, n;
    if (!o->cache_dir || p->bufs.n > MAX_BUFFERS) return NULL;
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (is_computed(&p->bufs.at[i]) && (!size_of(p, &p->bufs.at[i], &n) || !add_ok(total, n, &total)))
            return NULL;
    if (total < MIN_WEIGHTS || total > MAX_WEIGHTS) return NULL;
    text t = { .a = a };
    cache_put_build(&t);
    text_printf(&t, "weights fma %d\n", (int)p->fma);
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (is_computed(&p->bufs.at[i]) &&
            !put_expression(&t, &ctx->mem, p->bufs.at[i].expr_graph, o->cache_strict))
            return NULL;
    return store_path(a, o->cache_dir, &t, "weights");
}

static size_t padded(int64_t n) { return ((size_t)n + 63) & ~(size_t)63; }

bool load_weights(dlc_context *ctx, program *p, const codegen_options *o)
{
    arena *a = arena_new(&ctx->mem);
    const char *path = weights_path(ctx, a, p, o);
    bytes b;
    size_t at = 0;
    int64_t n;
    bool ok = path && store_map(p->arena, path, &b);
    for (int64_t i = 0; i < p->bufs.n && ok; i++)
        if (is_computed(&p->bufs.at[i]) && size_of(p, &p->bufs.at[i], &n)) at += padded(n);
    ok = ok && at == b.n;
    at = 0;
    for (int64_t i = 0; i < p->bufs.n && ok; i++)
        if (is_computed(&p->bufs.at[i]) && size_of(p, &p->bufs.at[i], &n)) {
            p->bufs.at[i].data = b.at + at;
            at += padded(n);
        }
    arena_free(a);
    return ok;
}

void keep_weights(dlc_context *ctx, const program *p, const codegen_options *o)
{
    arena *a = arena_new(&ctx->mem);
    const char *path = weights_path(ctx, a, p, o);
    bytes *parts = NEW_ARRAY(a, bytes, p->bufs.n + 1);
    int64_t n_parts = 0, n;
    for (int64_t i = 0; i < p->bufs.n && path; i++)
        if (is_computed(&p->bufs.at[i]) && size_of(p, &p->bufs.at[i], &n))
            parts[n_parts++] = (bytes){ p->bufs.at[i].data, (size_t)n };
    if (path && store_ready(a, o->cache_dir) && store_write(a, path, n_parts, parts))
        store_evict(a, o->cache_dir);
    arena_free(a);
}
