/* base/file.c: files mapped for reading, and files written beside their place and renamed into it. */
#include "base/base.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* -- Reading --------------------------------------------------------------------------------------------- */

struct file_mapping { mem *m; mapped_file f; };

static void unmap(void *arg)
{
    file_mapping *k = arg;
    if (!k->f.n) return;
    for (mapped_file **at = &k->m->files; *at; at = &(*at)->next)
        if (*at == &k->f) {
            *at = k->f.next;
            break;
        }
    munmap((void *)(uintptr_t)k->f.at, k->f.n);
}

file_mapping *file_mapping_new(arena *a)
{
    file_mapping *k = NEW(a, file_mapping);
    k->m = arena_mem(a);
    arena_on_free(a, unmap, k);
    return k;
}

/* Maps the open file fd, or returns an errno. */
static int map_fd(int fd, file_mapping *k, bytes *out)
{
    struct stat st;
    *out = (bytes){ (const uint8_t *)"", 0 };
    if (fstat(fd, &st) != 0) return errno;
    if (S_ISDIR(st.st_mode)) return EISDIR;
    if (!S_ISREG(st.st_mode)) return EINVAL;
    if (st.st_size == 0) return 0;
    if ((uint64_t)st.st_size > SIZE_MAX / 2) return EFBIG;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return errno;
    k->f = (mapped_file){ p,
                          (size_t)st.st_size,
                          (uint64_t)st.st_dev,
                          (uint64_t)st.st_ino,
                          st.st_mtim.tv_sec,
                          st.st_mtim.tv_nsec,
                          k->m->files };
    k->m->files = &k->f;
    *out = (bytes){ p, k->f.n };
    return 0;
}

bool file_map_open(file_mapping *k, int fd, bytes *out, int *err)
{
    *err = map_fd(fd, k, out);
    return *err == 0;
}

file_seen file_look(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return (file_seen){ .path = path };
    return (file_seen){ path,
                        true,
                        (uint64_t)st.st_dev,
                        (uint64_t)st.st_ino,
                        (int64_t)st.st_size,
                        st.st_mtim.tv_sec,
                        st.st_mtim.tv_nsec };
}

void file_see(mem *m, const char *path)
{
    if (!m->log) return;
    file_seen f = file_look(path);
    f.path = arena_strdup(m->log->a, path);
    vec_push(m->log->a, &m->log->seen, f);
}

bool file_map(arena *a, const char *path, bytes *out, int *err)
{
    file_see(arena_mem(a), path);
    file_mapping *k = file_mapping_new(a);
    /* a pipe must not wait for its writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    *err = fd < 0 ? errno : map_fd(fd, k, out);
    if (fd >= 0) close(fd);
    return *err == 0;
}

const mapped_file *mapped_file_of(const mem *m, const void *at, size_t n)
{
    const uint8_t *p = at;
    for (const mapped_file *f = m->files; f; f = f->next)
        if (p >= f->at && n <= f->n && (size_t)(p - f->at) <= f->n - n) return f;
    return NULL;
}

/* -- Writing --------------------------------------------------------------------------------------------- */

enum { BUFFER = 1 << 16 };

struct file_out {
    char *path, *temporary;       /* temporary: NULL: path is a device or pipe, written as it is */
    int fd;                       /* -1: closed */
    int error;                    /* the first errno */
    size_t n;
    uint8_t buffer[BUFFER];
};

static void abandon(void *arg)
{
    file_out *f = arg;
    if (f->fd < 0) return;
    close(f->fd);
    f->fd = -1;
    if (f->temporary) unlink(f->temporary);
}

bool file_is_special(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

file_out *file_create(arena *a, const char *path, int mode, int *err)
{
    file_out *f = NEW(a, file_out);
    f->fd = -1;
    f->path = arena_strdup(a, path);
    if (file_is_special(path)) {
        arena_on_free(a, abandon, f);
        f->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        *err = f->fd < 0 ? errno : 0;
        return *err ? NULL : f;
    }
    size_t n = strlen(path) + sizeof ".tmp00000000";
    f->temporary = arena_alloc(a, n);
    arena_on_free(a, abandon, f);
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        unsigned tag = (unsigned)now.tv_nsec ^ (unsigned)getpid() << 16 ^ attempt;
        snprintf(f->temporary, n, "%s.tmp%08x", path, tag);
        f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        *err = f->fd < 0 ? errno : 0;
        if (*err != EEXIST) break;
    }
    return *err ? NULL : f;
}

static bool write_all(file_out *f, const uint8_t *p, size_t n)
{
    while (n && !f->error) {
        ssize_t k = write(f->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) f->error = errno;
        else p += k, n -= (size_t)k;
    }
    return !f->error;
}

bool file_write(file_out *f, const void *p, size_t n)
{
    if (f->n + n > BUFFER) {
        write_all(f, f->buffer, f->n);
        f->n = 0;
    }
    if (n >= BUFFER) return write_all(f, p, n);
    if (n) memcpy(f->buffer + f->n, p, n);
    f->n += n;
    return !f->error;
}

bool file_commit(file_out *f)
{
    write_all(f, f->buffer, f->n);
    f->n = 0;
    if (close(f->fd) != 0 && !f->error) f->error = errno;
    f->fd = -1;
    if (!f->error && f->temporary && rename(f->temporary, f->path) != 0) f->error = errno;
    if (f->error && f->temporary) unlink(f->temporary);
    errno = f->error;
    return !f->error;
}
