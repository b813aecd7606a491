/* external: weights in files beside the model
 *
 * What   Opens the file that a tensor's external_data names, maps it, and gives the range that the tensor
 *        claims.
 * Why    The name comes from the model, which may be hostile: it must not reach outside the model's folder,
 *        wait for a pipe, or read a device.
 * How    The folder is opened once. A location is taken apart at '/'; each part is opened relative to the one
 *        before with O_NOFOLLOW, so neither "..", nor an absolute path, nor a link (also one put there
 *        meanwhile) leads out. The file must be regular; offset and length are checked against its size. A
 *        file is mapped once, however many tensors lie in it.
 * Limits Links are refused even where they stay inside the folder.
 */
#include "frontend/onnx/external.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_LOCATION = 4096 };

struct external {
    dlc_context *ctx;
    arena *a;
    const char *folder;
    map_str files;            /* location -> index into maps */
    vec(bytes) maps;
};

external *external_new(dlc_context *ctx, arena *a, const char *model_path)
{
    external *e = NEW(a, external);
    const char *slash = strrchr(model_path, '/');
    const char *folder = !slash                ? "."
                         : slash == model_path ? "/"
                                               : arena_strndup(a, model_path, (size_t)(slash - model_path));
    *e = (external){ .ctx = ctx, .a = a, .folder = folder };
    map_init(&e->files, a);
    return e;
}

/* -- Opening --------------------------------------------------------------------------------------------- */

/* What is wrong with a location as a text, or NULL. */
static const char *location_fault(const char *s)
{
    if (!*s) return "is empty";
    if (*s == '/') return "is an absolute path";
    if (strlen(s) > MAX_LOCATION) return "is longer than 4096 bytes";
    if (strchr(s, '\\')) return "holds a backslash";
    for (const char *p = s; p; p = strchr(p, '/')) {
        if (*p == '/') p++;
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') return "leads out of the model's folder by \"..\"";
    }
    return NULL;
}

/* Opens the location below the folder. -1: errno says why. */
static int open_below(const char *folder, const char *location)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char part[256];
    for (const char *p = location; dir >= 0;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        const char *rest = p + n + strspn(p + n, "/");
        int fd = -1, err = ENAMETOOLONG;
        if (n < sizeof part) {
            memcpy(part, p, n);
            part[n] = '\0';
            int how = *rest ? O_DIRECTORY : O_NONBLOCK | O_NOCTTY;
            fd = openat(dir, n ? part : ".", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | how);
            err = errno;
        }
        close(dir);
        errno = err;
        if (fd < 0 || !*rest) return fd;
        dir = fd;
        p = rest;
    }
    return dir;
}

static const char *open_fault(int err)
{
    switch (err) {
    case ENOENT: return "does not exist";
    case ELOOP: return "is a link, or leads through one";
    case EACCES: return "may not be read";
    case ENOTDIR: return "leads through something that is not a folder";
    case ENXIO: return "is not a regular file";
    default: return "cannot be opened";
    }
}

/* The mapped file of a location, from the table or opened now. */
static const char *file_of(external *e, const char *location, bytes *out)
{
    uint64_t *known = map_find(&e->files, location, strlen(location));
    if (known) {
        *out = e->maps.at[*known];
        return NULL;
    }
    const char *fault = location_fault(location);
    if (fault) return fault;

    /* all that may run out of memory comes before the file is open */
    file_mapping *k = file_mapping_new(e->a);
    file_see(arena_mem(e->a), arena_printf(e->a, "%s/%s", e->folder, location));
    int err = 0, fd = open_below(e->folder, location);
    if (fd < 0) fault = open_fault(errno);
    else if (!file_map_open(k, fd, out, &err))
        fault = err == EINVAL ? "is not a regular file" : "cannot be mapped";
    if (fd >= 0) close(fd);
    if (fault) return fault;
    map_put(&e->files, location, strlen(location), (uint64_t)e->maps.n, NULL);
    vec_push(e->a, &e->maps, *out);
    return NULL;
}

/* -- Entries --------------------------------------------------------------------------------------------- */

/* A decimal number below 2^63, and nothing else. */
static bool parse_size(const char *s, int64_t *v)
{
    int64_t x = 0;
    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        if (!mul_ok(x, 10, &x) || !add_ok(x, *s - '0', &x)) return false;
    }
    *v = x;
    return true;
}

typedef struct { const char *location; int64_t offset, length; const char *fault; } entry;

static entry read_entries(const tensor_proto *t)
{
    entry e = { NULL, 0, -1, NULL };
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = str_or(t->external_data[i]->key, ""), *val = str_or(t->external_data[i]->value, "");
        if (strcmp(key, "location") == 0) {
            if (e.location) e.fault = "is followed by a second location";
            else e.location = val;
        } else if (strcmp(key, "offset") == 0) {
            if (!parse_size(val, &e.offset)) e.fault = "has an offset that is not a number of bytes";
        } else if (strcmp(key, "length") == 0) {
            if (!parse_size(val, &e.length)) e.fault = "has a length that is not a number of bytes";
        }
    }
    return e;
}

bool external_bytes(external *x, place at, const tensor_proto *t, int64_t need, const uint8_t **out)
{
    const char *name = str_or(t->name, "");
    entry e = read_entries(t);
    if (!e.location && !e.fault) e.fault = "has no location";
    bytes file = { NULL, 0 };
    if (!e.fault) e.fault = file_of(x, e.location, &file);
    int64_t left;
    char size[160];
    if (!e.fault && (!sub_ok((int64_t)file.n, e.offset, &left) || left < 0)) {
        snprintf(size, sizeof size, "has offset %lld in a file of %zu bytes", (long long)e.offset, file.n);
        e.fault = size;
    } else if (!e.fault && e.length >= 0 && e.length != need) {
        snprintf(size, sizeof size, "has length %lld, the tensor takes %lld bytes", (long long)e.length,
                 (long long)need);
        e.fault = size;
    } else if (!e.fault && need > left) {
        snprintf(size, sizeof size, "holds %lld bytes from its offset on, the tensor takes %lld",
                 (long long)left, (long long)need);
        e.fault = size;
    }
    if (e.fault) {
        diag_onnx_external(x->ctx, at, name, str_or(e.location, ""), e.fault);
        return false;
    }
    *out = file.at + e.offset;
    return true;
}
