/* backend/store.c: files that can be made again, kept and checked (store.h) */
#include "backend/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STORE_LIMIT ((int64_t)2 << 30)
enum { HASH_LETTERS = 32, ABANDONED_SECONDS = 3600, UNIT = 64 };

/* -- The folder ------------------------------------------------------------------------------------------ */

static bool is_own_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

const char *store_default(arena *a)
{
    const char *own = getenv("DLC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own) return *own ? arena_strdup(a, own) : NULL;
    if (xdg && *xdg == '/') return arena_printf(a, "%s/dlc", xdg);
    /* sudo keeps HOME: nothing of root's is put into another user's home */
    return home && *home == '/' && is_own_folder(home) ? arena_printf(a, "%s/.cache/dlc", home) : NULL;
}

static bool is_safe(const char *dir)
{
    struct stat st;
    return stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022);
}

bool store_ready(arena *a, const char *dir)
{
    const char *slash = strrchr(dir, '/');
    if (mkdir(dir, 0700) && errno == ENOENT && slash && slash > dir) {
        mkdir(arena_strndup(a, dir, (size_t)(slash - dir)), 0700);
        mkdir(dir, 0700);
    }
    return is_safe(dir) && access(dir, W_OK | X_OK) == 0;
}

const char *store_path(arena *a, const char *dir, const text *key, const char *ending)
{
    uint64_t x = hash_bytes(key->at, (size_t)key->n, 1), y = hash_bytes(key->at, (size_t)key->n, 2);
    return arena_printf(a, "%s/%016llx%016llx.%s", dir, (unsigned long long)x, (unsigned long long)y, ending);
}

const char *store_fresh(arena *a, const char *path)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return arena_printf(a, "%s.%ld.%09ld", path, (long)getpid(), t.tv_nsec);
}

/* -- Writing --------------------------------------------------------------------------------------------- */

/* A file's end: 8 bytes "dlcseal1", 8 of size, 8 of hash. A loader of ELF does not look there. */
static void seal_of(const uint8_t *p, size_t n, uint8_t seal[STORE_SEAL])
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
    uint8_t seal[STORE_SEAL];
    if (chmod(path, 0600) || !file_map(a, path, &b, &err)) return false;
    seal_of(b.at, b.n, seal);
    FILE *f = fopen(path, "ab");
    if (!f) return false;
    bool ok = fwrite(seal, 1, STORE_SEAL, f) == STORE_SEAL;
    return fclose(f) == 0 && ok;
}

bool store_commit(arena *a, const char *fresh, const char *path)
{
    arena *scratch = arena_new(arena_mem(a));
    bool ok = append_seal(scratch, fresh) && rename(fresh, path) == 0;
    if (!ok) unlink(fresh);
    arena_free(scratch);
    return ok;
}

bool store_write(arena *a, const char *path, int64_t n, const bytes *parts)
{
    static const uint8_t zeros[UNIT];
    const char *fresh = store_fresh(a, path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    bool ok = f != NULL;
    if (fd >= 0 && !f) close(fd);
    for (int64_t i = 0; i < n && ok; i++) {
        size_t rest = (UNIT - parts[i].n % UNIT) % UNIT;
        ok = fwrite(parts[i].at, 1, parts[i].n, f) == parts[i].n && fwrite(zeros, 1, rest, f) == rest;
    }
    if (f && fclose(f) != 0) ok = false;
    if (!ok) unlink(fresh);
    return ok && store_commit(a, fresh, path);
}

/* -- Reading --------------------------------------------------------------------------------------------- */

/* Opens a file that only this user can have written; -1: none. */
static int open_own(const char *path, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077) &&
        st.st_size > STORE_SEAL) {
        *size = (size_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

static bool is_sealed(const uint8_t *p, size_t size)
{
    uint8_t seal[STORE_SEAL];
    seal_of(p, size - STORE_SEAL, seal);
    return memcmp(seal, p + size - STORE_SEAL, STORE_SEAL) == 0;
}

bool store_map(arena *a, const char *path, bytes *out)
{
    size_t size;
    file_mapping *k = file_mapping_new(a);
    int err, fd = open_own(path, &size);
    if (fd < 0) return false;
    bool ok = file_map_open(k, fd, out, &err) && out->n > STORE_SEAL && is_sealed(out->at, out->n);
    if (ok) {
        out->n -= STORE_SEAL;
        futimens(fd, NULL);                                     /* used now */
    }
    close(fd);
    return ok;
}

int store_copy(const char *path)
{
    size_t size;
    int fd = open_own(path, &size), copy = -1;
    void *map = MAP_FAILED;
    if (fd < 0) return -1;
    copy = memfd_create("dlc-code", MFD_CLOEXEC);
    if (copy >= 0 && !ftruncate(copy, (off_t)size))
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
    bool ok = map != MAP_FAILED;
    for (size_t at = 0; ok && at < size;) {
        ssize_t n = pread(fd, (char *)map + at, size - at, (off_t)at);
        ok = n > 0;
        at += ok ? (size_t)n : 0;
    }
    ok = ok && is_sealed(map, size);
    if (map != MAP_FAILED) munmap(map, size);
    if (ok) futimens(fd, NULL);
    close(fd);
    if (ok) return copy;
    if (copy >= 0) close(copy);
    return -1;
}

/* -- Eviction -------------------------------------------------------------------------------------------- */

typedef struct { const char *path; struct timespec used; int64_t size; } entry;

static int by_age(const void *x, const void *y)
{
    const struct timespec *a = &((const entry *)x)->used, *b = &((const entry *)y)->used;
    if (a->tv_sec != b->tv_sec) return a->tv_sec < b->tv_sec ? -1 : 1;
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

typedef enum { NOT_OURS, AN_ENTRY, A_FRESH } file_kind;
static file_kind kind_of(const char *name)
{
    size_t n = strspn(name, "0123456789abcdef");
    if (n != HASH_LETTERS || name[n] != '.') return NOT_OURS;
    return strchr(name + n + 1, '.') ? A_FRESH : AN_ENTRY;
}

static void close_folder(void *arg)
{
    DIR **d = arg;
    if (*d) closedir(*d);
}

void store_evict(arena *a, const char *dir)
{
    arena *scratch = arena_new(arena_mem(a));
    DIR **folder = NEW(scratch, DIR *), *d;
    arena_on_free(scratch, close_folder, folder);               /* also where memory runs out in between */
    d = *folder = opendir(dir);
    vec(entry) files = { 0 };
    int64_t total = 0;
    time_t now = time(NULL);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        file_kind kind = kind_of(e->d_name);
        struct stat st;
        if (kind == NOT_OURS || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(st.st_mode))
            continue;
        if (kind == A_FRESH && now - st.st_mtim.tv_sec > ABANDONED_SECONDS) unlinkat(dirfd(d), e->d_name, 0);
        if (kind == A_FRESH) continue;
        vec_push(scratch, &files,
                 ((entry){ arena_printf(scratch, "%s/%s", dir, e->d_name), st.st_mtim, st.st_size }));
        total += st.st_size;
    }
    if (total > STORE_LIMIT) qsort(files.at, (size_t)files.n, sizeof *files.at, by_age);
    for (int64_t i = 0; i < files.n && total > STORE_LIMIT; i++)
        if (unlink(files.at[i].path) == 0) total -= files.at[i].size;
    arena_free(scratch);
}
