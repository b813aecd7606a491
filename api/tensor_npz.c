/* tensor_npz: NumPy's archives: a ZIP file of .npy members, stored or deflated
 *
 * How    The directory at the end of the file is believed only as far as it fits the file; from each member
 *        the first HEAD bytes give its npy header. Elements are inflated by tensor_load, exactly as many as
 *        the header asks for: what a member would give beyond that is an error, found without making it.
 * Limits No ZIP64 (members over 4 GB), no encryption, no other compression.
 */
#include "api/tensor_file.h"
#include <errno.h>
#include <stdio.h>
#include <zlib.h>

enum { END_BYTES = 22, DIRECTORY_BYTES = 46, LOCAL_BYTES = 30, MAX_MEMBERS = 100000 };
enum { HEAD = 1 << 16 };                        /* a longer npy header is refused */
enum { STORED = 0, DEFLATED = 8 };

static unsigned u16(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }

static dlc_status wrong(dlc_context *ctx, const char *path, const char *what)
{
    diag_tensor_file(ctx, (place){ .file = path }, what);
    return DLC_ERR_INPUT;
}

/* The record at the end of the archive, behind which a comment may stand; NULL: none. */
static const uint8_t *find_end(bytes file)
{
    if (file.n < END_BYTES) return NULL;
    size_t first = file.n > END_BYTES + 0xffff ? file.n - END_BYTES - 0xffff : 0;
    for (size_t i = file.n - END_BYTES + 1; i-- > first;)
        if (memcmp(file.at + i, "PK\5\6", 4) == 0 && i + END_BYTES + u16(file.at + i + 20) <= file.n)
            return file.at + i;
    return NULL;
}

/* Inflates or copies from e->packed: at most n bytes into out. Returns how many, or -1. *is_end: nothing is
 * left. */
static int64_t unpack(const tensor_entry *e, uint8_t *out, size_t n, bool *is_end)
{
    *is_end = false;
    if (e->method == STORED) {
        size_t k = n < e->packed.n ? n : e->packed.n;
        memcpy(out, e->packed.at, k);
        *is_end = k == e->packed.n;
        return (int64_t)k;
    }
    z_stream z = { .next_in = (Bytef *)(uintptr_t)e->packed.at };
    if (inflateInit2(&z, -15) != Z_OK) return -1;
    size_t in_left = e->packed.n, done = 0;
    int rc = Z_OK;
    uint8_t one;
    while (rc == Z_OK) {
        size_t in_now = in_left < 1u << 30 ? in_left : 1u << 30,
               room = n - done < 1u << 30 ? n - done : 1u << 30;
        z.avail_in = (uInt)in_now;
        z.avail_out = room ? (uInt)room : 1;
        z.next_out = room ? out + done : &one;
        rc = inflate(&z, Z_NO_FLUSH);
        in_left -= in_now - z.avail_in;
        size_t made = (room ? room : 1) - z.avail_out;
        if (!room && made) break;                             /* there is more than was asked for */
        done += made;
        if (rc == Z_BUF_ERROR || (rc == Z_OK && !made && !in_left)) break;
    }
    inflateEnd(&z);
    *is_end = rc == Z_STREAM_END;
    return rc == Z_STREAM_END || rc == Z_OK ? (int64_t)done : -1;
}

/* One row of the directory; *next moves behind it. */
static dlc_status read_member(dlc_context *ctx, arena *a, const char *path, bytes file, size_t *next,
                              tensor_entries *out)
{
    if (*next > file.n || file.n - *next < DIRECTORY_BYTES || memcmp(file.at + *next, "PK\1\2", 4) != 0)
        return wrong(ctx, path, "the archive's directory is cut off");
    const uint8_t *d = file.at + *next;
    size_t n_name = u16(d + 28), n_packed = u32(d + 20), local = u32(d + 42);
    size_t n_row = DIRECTORY_BYTES + n_name + u16(d + 30) + u16(d + 32);
    if (n_row > file.n - *next) return wrong(ctx, path, "the archive's directory is cut off");
    *next += n_row;
    if (n_packed == UINT32_MAX || local == UINT32_MAX)
        return wrong(ctx, path, "members over 4 GB are not implemented");
    if (local > file.n || file.n - local < LOCAL_BYTES || memcmp(file.at + local, "PK\3\4", 4) != 0)
        return wrong(ctx, path, "a member of the archive lies outside of it");
    const uint8_t *l = file.at + local;
    size_t start = local + LOCAL_BYTES + u16(l + 26) + u16(l + 28);
    if (start > file.n || n_packed > file.n - start)
        return wrong(ctx, path, "a member of the archive is cut off");
    tensor_entry e = { .file = path, .packed = { file.at + start, n_packed }, .method = (int)u16(d + 10) };
    if (u16(d + 8) & 1) {
        diag_tensor_file_unsupported(ctx, (place){ .file = path }, "encrypted members are not implemented");
        return DLC_ERR_UNSUPPORTED;
    }
    if (e.method != STORED && e.method != DEFLATED) {
        diag_tensor_file_unsupported(ctx, (place){ .file = path },
                                     "the archive's compression is not implemented");
        return DLC_ERR_UNSUPPORTED;
    }
    const char *name = (const char *)d + DIRECTORY_BYTES;
    if (n_name >= 4 && memcmp(name + n_name - 4, ".npy", 4) == 0) n_name -= 4;
    e.name = arena_strndup(a, name, n_name);
    for (int64_t i = 0; i < out->n; i++)
        if (out->at[i].file == path && strcmp(out->at[i].name, e.name) == 0)
            return wrong(ctx, path, "two members have the same name");
    arena *scratch = arena_new(&ctx->mem);
    uint8_t *head = arena_alloc(scratch, HEAD);
    bool is_end;
    int64_t n = unpack(&e, head, HEAD, &is_end);
    bool ok = n >= 0 && npy_read_header(ctx, a, path, (bytes){ head, (size_t)n }, &e);
    arena_free(scratch);
    if (n < 0) return wrong(ctx, path, "a member of the archive cannot be decompressed");
    if (!ok) return ctx->status;
    vec_push(a, out, e);
    return DLC_OK;
}

dlc_status npz_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out)
{
    const uint8_t *end = find_end(file);
    if (!end) return wrong(ctx, path, "not an npz file, or cut off");
    unsigned n = u16(end + 10);
    size_t next = u32(end + 16);
    if (n == 0) return wrong(ctx, path, "the archive holds no array");
    for (unsigned i = 0; i < n; i++) {
        dlc_status s = read_member(ctx, a, path, file, &next, out);
        if (s != DLC_OK) return s;
    }
    return DLC_OK;
}

dlc_status npz_load(dlc_context *ctx, arena *a, tensor_entry *e)
{
    size_t n = e->header_bytes + tensor_bytes(&e->t);
    /* deflate makes at most 1032 bytes of one: a lie about the size is seen before memory is taken */
    if (n / 1032 > e->packed.n + 1) return wrong(ctx, e->file, "a member is shorter than its header says");
    uint8_t *p = arena_alloc(a, n + 16);
    bool is_end;
    int64_t got = unpack(e, p, n, &is_end);
    if (got != (int64_t)n || !is_end)
        return wrong(ctx, e->file, "a member's size is not what its header says");
    memmove(p, p + e->header_bytes, tensor_bytes(&e->t));
    npy_finish(a, e, p);
    return DLC_OK;
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void put16(text *t, unsigned v)
{
    text_putn(t, (char[2]){ (char)(v & 255), (char)(v >> 8 & 255) }, 2);
}

static void put32(text *t, uint32_t v) { put16(t, v & 0xffff); put16(t, v >> 16); }

/* The fields that a member's own header and its row of the directory share. */
static void put_common(text *t, uint32_t crc, uint32_t size, size_t n_name)
{
    put16(t, 20);                               /* version needed */
    put16(t, 0x800);                            /* names are UTF-8 */
    put16(t, STORED);
    put32(t, 0x00210000);                       /* 1980-01-01: equal results give equal files */
    put32(t, crc);
    put32(t, size);
    put32(t, size);
    put16(t, (unsigned)n_name);
    put16(t, 0);
}

dlc_status npz_write(dlc_context *ctx, arena *a, const char *path, int n, const named_tensor *tensors)
{
    int err = 0;
    text directory = { .a = a };
    uint64_t offset = 0;
    file_out *f = file_create(a, path, 0666, &err);
    for (int i = 0; i < n && f; i++) {
        text head = { .a = a }, local = { .a = a };
        npy_header(&head, tensors[i].t);
        size_t n_elem = tensor_bytes(tensors[i].t), n_name = strlen(tensors[i].name) + 4;
        if (n_name > 0xffff || offset + (uint64_t)head.n + n_elem + n_name + 1000 > UINT32_MAX) {
            diag_tensor_file_unsupported(ctx, (place){ .file = path },
                                         "archives over 4 GB are not implemented");
            return DLC_ERR_UNSUPPORTED;
        }
        uint32_t crc = (uint32_t)crc32_z(crc32_z(0, (const Bytef *)head.at, (size_t)head.n),
                                         tensors[i].t->bytes, n_elem);
        uint32_t size = (uint32_t)((size_t)head.n + n_elem);
        text_put(&local, "PK\3\4");
        put_common(&local, crc, size, n_name);
        text_printf(&local, "%s.npy", tensors[i].name);
        text_put(&directory, "PK\1\2");
        put16(&directory, 20);
        put_common(&directory, crc, size, n_name);
        put16(&directory, 0);
        put16(&directory, 0);
        put16(&directory, 0);
        put32(&directory, 0);
        put32(&directory, (uint32_t)offset);
        text_printf(&directory, "%s.npy", tensors[i].name);
        file_write(f, local.at, (size_t)local.n);
        file_write(f, head.at, (size_t)head.n);
        file_write(f, tensors[i].t->bytes, n_elem);
        offset += (uint64_t)local.n + size;
    }
    text end = { .a = a };
    text_put(&end, "PK\5\6");
    put32(&end, 0);
    put16(&end, (unsigned)n);
    put16(&end, (unsigned)n);
    put32(&end, (uint32_t)directory.n);
    put32(&end, (uint32_t)offset);
    put16(&end, 0);
    if (f) {
        file_write(f, text_str(&directory), (size_t)directory.n);
        file_write(f, end.at, (size_t)end.n);
        if (file_commit(f)) return DLC_OK;
        err = errno;
    }
    diag_cannot_write(ctx, (place){ .file = path }, strerror(err));
    return DLC_ERR_IO;
}
