/* backend/cache.c: compiled programs kept as shared libraries, so that a start with known code does not load LLVM.
 *
 * Key      the program's text without the constants' values, the target, the options, and the build of dlc (path, size and
 *          time of the file that holds this function, and of the LLVM module). 128 bits of hash are the file's name.
 * Values   The code reads its constants through a table of pointers, dlc_constants_v1, which is filled after loading. So
 *          one library serves all weights, and weights are used in place.
 * Loading  The file is read, checked (owner, mode, a hash at its end), and opened from a private copy in memory: two
 *          programs with the same code have each their own table, and nobody can change the file after the check.
 * Writing  by rename, mode 0600, in a directory of mode 0700. Every new file also removes the oldest ones (by last use)
 *          while all together are over CACHE_LIMIT.
 * Failure  of any kind means only that the code is made anew.
 */
#include "backend/cache.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CACHE_LIMIT ((int64_t)2 << 30)
enum { SEAL_BYTES = 24 };

typedef struct { loaded_code base; void *handle; int fd; } cached_code;       /* fd keeps the name of the copy taken */

/* -- Key --------------------------------------------------------------------------------------------------------------- */

static void put_file(text *t, const char *path)
{
    struct stat st;
    if (stat(path, &st)) return;
    text_printf(t, "%s %lld %lld.%09ld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* The file of this function, and the LLVM module beside it. */
static void put_build(text *t)
{
    Dl_info info;
    text_printf(t, "dlc %s\n", DLC_VERSION);
    if (!dladdr((void *)(uintptr_t)&cache_default_dir, &info) || !info.dli_fname) return;
    put_file(t, info.dli_fname);
    const char *slash = strrchr(info.dli_fname, '/');
    int n = slash ? (int)(slash - info.dli_fname) : 0;
    put_file(t, arena_printf(t->a, "%.*s%slibdlc-llvm.so", n, info.dli_fname, slash ? "/" : ""));
    put_file(t, arena_printf(t->a, "%.*s%s../lib/libdlc-llvm.so", n, info.dli_fname, slash ? "/" : ""));
}

static const char *key_of(arena *a, const program *p, const codegen_options *o)
{
    text t = { .a = a };
    put_build(&t);
    text_printf(&t, "%s %s %s %s %d fma %d %s\n", o->target.triple, o->target.cpu, o->target.features, o->target.tune ? o->target.tune : "",
                o->target.vector_bytes, (int)p->fma, o->prefix);
    program plain = *p;
    plain.bufs.at = arena_copy(a, p->bufs.at, (size_t)p->bufs.n * sizeof *p->bufs.at);
    for (int64_t i = 0; i < plain.bufs.n; i++) {
        plain.bufs.at[i].data = NULL;
        plain.bufs.at[i].external = "";
    }
    program_print(&plain, &t);
    for (int i = 0; i < p->n_states; i++)
        text_printf(&t, "%s %d %lld\n", p->states[i].name, p->states[i].is_trained, (long long)p->states[i].offset);
    uint64_t x = hash_bytes(t.at, (size_t)t.n, 1), y = hash_bytes(t.at, (size_t)t.n, 2);
    return arena_printf(a, "%016llx%016llx.so", (unsigned long long)x, (unsigned long long)y);
}

/* -- Files ---------------------------------------------------------------------------------------------------------------- */

static bool make_dir(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) && errno != EEXIST) return false;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022);
}

const char *cache_default_dir(arena *a)
{
    const char *own = getenv("DLC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *dir = NULL;
    if (own) return *own && make_dir(own) ? arena_strdup(a, own) : NULL;
    if (xdg && *xdg == '/') dir = arena_strdup(a, xdg);
    else if (home && *home == '/') dir = arena_printf(a, "%s/.cache", home);
    if (!dir) return NULL;
    mkdir(dir, 0700);
    dir = arena_printf(a, "%s/dlc", dir);
    return make_dir(dir) ? dir : NULL;
}

/* The file's end: 8 bytes "dlcseal1", 8 of size, 8 of hash. A loader of ELF does not look there. */
static void seal_of(const uint8_t *p, size_t n, uint8_t seal[SEAL_BYTES])
{
    uint64_t size = n, hash = hash_bytes(p, n, 3);
    memcpy(seal, "dlcseal1", 8);
    memcpy(seal + 8, &size, 8);
    memcpy(seal + 16, &hash, 8);
}

static bool append_seal(arena *a, const char *path)
{
    bytes b;
    int err;
    uint8_t seal[SEAL_BYTES];
    if (chmod(path, 0600) || !file_map(a, path, &b, &err)) return false;
    seal_of(b.at, b.n, seal);
    FILE *f = fopen(path, "ab");
    if (!f) return false;
    bool ok = fwrite(seal, 1, SEAL_BYTES, f) == SEAL_BYTES;
    return fclose(f) == 0 && ok;
}

static bool is_ours(int fd, off_t *size)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077)) return false;
    *size = st.st_size;
    return st.st_size > SEAL_BYTES;
}

/* The checked contents as a file in memory; -1: not there, or not as it was written. */
static int private_copy(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), copy = -1;
    off_t size;
    if (fd < 0) return -1;
    void *map = MAP_FAILED;
    if (is_ours(fd, &size)) {
        copy = memfd_create("dlc-code", MFD_CLOEXEC);
        if (copy >= 0 && !ftruncate(copy, size)) map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
    }
    bool ok = map != MAP_FAILED;
    for (off_t at = 0; ok && at < size;) {
        ssize_t n = pread(fd, (char *)map + at, (size_t)(size - at), at);
        ok = n > 0;
        at += n;
    }
    uint8_t seal[SEAL_BYTES];
    if (ok) {
        seal_of(map, (size_t)size - SEAL_BYTES, seal);
        ok = memcmp(seal, (uint8_t *)map + size - SEAL_BYTES, SEAL_BYTES) == 0;
    }
    if (map != MAP_FAILED) munmap(map, (size_t)size);
    if (ok) futimens(fd, NULL);                                 /* used now */
    close(fd);
    if (!ok && copy >= 0) { close(copy); copy = -1; }
    return copy;
}

typedef struct { const char *path; struct timespec used; int64_t size; } entry;

static int by_age(const void *x, const void *y)
{
    const struct timespec *a = &((const entry *)x)->used, *b = &((const entry *)y)->used;
    if (a->tv_sec != b->tv_sec) return a->tv_sec < b->tv_sec ? -1 : 1;
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

static void evict(arena *a, const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return;
    vec(entry) files = { 0 };
    int64_t total = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        struct stat st;
        if (n != 35 || strcmp(e->d_name + n - 3, ".so") != 0) continue;
        const char *path = arena_printf(a, "%s/%s", dir, e->d_name);
        if (lstat(path, &st)) continue;
        vec_push(a, &files, ((entry){ path, st.st_mtim, st.st_size }));
        total += st.st_size;
    }
    closedir(d);
    if (total <= CACHE_LIMIT) return;
    qsort(files.at, (size_t)files.n, sizeof *files.at, by_age);
    for (int64_t i = 0; i < files.n && total > CACHE_LIMIT; i++)
        if (unlink(files.at[i].path) == 0) total -= files.at[i].size;
}

/* -- Loading -------------------------------------------------------------------------------------------------------------- */

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
    int fd = private_copy(path);
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
static bool write_file(dlc_context *ctx, arena *a, const program *p, const codegen_options *o, const llvm_backend *b, const char *path)
{
    int n_errors = ctx->n_errors;
    int64_t n_diags = ctx->diags.n;
    dlc_status status = ctx->status;
    codegen_options with_table = *o;
    with_table.constant_table = true;
    const char *fresh = arena_printf(a, "%s.%ld", path, (long)getpid());
    bool ok = b->emit_shared(ctx, p, &with_table, fresh) == DLC_OK && append_seal(a, fresh) && rename(fresh, path) == 0;
    if (!ok) unlink(fresh);
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

dlc_status load_code(dlc_context *ctx, const program *p, const codegen_options *o,
                     const llvm_backend *(*llvm)(dlc_context *ctx), loaded_code **out, const struct dlc_model **model)
{
    *out = NULL;
    *model = NULL;
    const char *path = NULL;
    arena *a = arena_new(&ctx->mem);
    if (o->cache_dir && *o->cache_dir && !o->external_weights && !o->profile && !p->next && constants_are_there(p)) {
        path = arena_printf(a, "%s/%s", o->cache_dir, key_of(a, p, o));
        *out = load_file(path, p, model);
    }
    if (*out) { arena_free(a); return DLC_OK; }
    const llvm_backend *b = llvm(ctx);
    if (!b) { arena_free(a); return DLC_ERR_UNSUPPORTED; }
    if (path && make_dir(o->cache_dir) && write_file(ctx, a, p, o, b, path)) {
        *out = load_file(path, p, model);
        evict(a, o->cache_dir);
    }
    arena_free(a);
    return *out ? DLC_OK : b->jit(ctx, p, o, out, model);
}

void unload_code(loaded_code *code) { if (code) code->unload(code); }
