/* tensor_npy: NumPy's array file
 *
 *     "\x93NUMPY" major minor length "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n" elements
 *
 * The header is a Python literal; only this one form of it is read, never evaluated. Versions 1 to 3. Types
 * of one number an element; either byte order; either order of axes. Sizes are checked against the file
 * before anything is allocated.
 */
#include "api/tensor_file.h"
#include <stdio.h>

typedef struct {
    dlc_context *ctx;
    const char *path;
    const char *at, *end;
    bool has_descr, has_order, has_shape;
} header;

static bool wrong(const header *h, const char *what)
{
    diag_tensor_file(h->ctx, (place){ .file = h->path }, what);
    return false;
}

/* -- The literal ----------------------------------------------------------------------------------------- */

static void skip(header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t')) h->at++;
}

static bool eat(header *h, const char *s)
{
    skip(h);
    size_t n = strlen(s);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, s, n) != 0) return false;
    h->at += n;
    return true;
}

/* A quoted word of at most 31 bytes, without escapes. */
static bool read_string(header *h, char out[32])
{
    skip(h);
    if (h->at >= h->end || (*h->at != '\'' && *h->at != '"')) return false;
    char quote = *h->at++;
    size_t n = 0;
    for (; h->at < h->end && *h->at != quote; h->at++) {
        if (n >= 31 || *h->at == '\\') return false;
        out[n++] = *h->at;
    }
    out[n] = 0;
    return h->at++ < h->end;
}

static bool read_number(header *h, int64_t *v)
{
    skip(h);
    const char *start = h->at;
    for (*v = 0; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (!mul_ok(*v, 10, v) || !add_ok(*v, *h->at - '0', v)) return false;
    if (h->at < h->end && *h->at == 'L') h->at++;               /* Python 2 wrote 3L */
    return h->at > start;
}

static bool read_shape(header *h, tensor *t)
{
    if (!eat(h, "(")) return wrong(h, "the npy header has no tuple of sizes");
    for (t->rank = 0; !eat(h, ")"); t->rank++) {
        int64_t v;
        if (!read_number(h, &v)) return wrong(h, "a size in the npy header is not a number below 2^63");
        if (t->rank >= MAX_RANK) return wrong(h, "the npy header has more axes than are implemented");
        t->dims[t->rank] = v;
        if (eat(h, ",")) continue;
        if (!eat(h, ")")) return wrong(h, "the sizes in the npy header are not a tuple of numbers");
        t->rank++;
        break;
    }
    return true;
}

static dtype dtype_of(char kind, int size)
{
    static const struct { char kind; int size; dtype type; } row[] = {
        { 'f', 2, DTYPE_f16 }, { 'f', 4, DTYPE_f32 }, { 'f', 8, DTYPE_f64 }, { 'b', 1, DTYPE_bool },
        { 'i', 1, DTYPE_i8 }, { 'i', 2, DTYPE_i16 }, { 'i', 4, DTYPE_i32 }, { 'i', 8, DTYPE_i64 },
        { 'u', 1, DTYPE_u8 }, { 'u', 2, DTYPE_u16 }, { 'u', 4, DTYPE_u32 }, { 'u', 8, DTYPE_u64 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].kind == kind && row[i].size == size) return row[i].type;
    return DTYPE_NONE;
}

static bool read_descr(header *h, tensor_entry *e)
{
    char word[32];
    skip(h);
    if (h->at < h->end && *h->at == '[') {
        diag_tensor_file_unsupported(h->ctx, (place){ .file = h->path },
                                     "elements of several fields are not implemented");
        return false;
    }
    if (!read_string(h, word)) return wrong(h, "the npy header names no element type");
    const char *p = word;
    char order = strchr("<>=|", *p) && *p ? *p++ : '=';
    int size = 0;
    char kind = *p ? *p++ : 0;
    for (; *p >= '0' && *p <= '9' && size < 1000; p++) size = size * 10 + (*p - '0');
    e->t.dtype = *p ? DTYPE_NONE : dtype_of(kind, size);
    e->is_swapped = order == '>' && size > 1;
    if (e->t.dtype != DTYPE_NONE) return true;
    text t = { .a = h->ctx->arena };
    text_put(&t, "element type ");
    text_put_escaped(&t, word, strlen(word), 40);
    text_put(&t, " is not implemented");
    diag_tensor_file_unsupported(h->ctx, (place){ .file = h->path }, text_str(&t));
    return false;
}

static bool read_order(header *h, tensor_entry *e)
{
    e->is_fortran = eat(h, "True");
    return e->is_fortran || eat(h, "False") ||
           wrong(h, "fortran_order in the npy header is neither True nor False");
}

static bool read_entry(header *h, tensor_entry *e)
{
    char key[32];
    if (!read_string(h, key) || !eat(h, ":")) return wrong(h, "the npy header is not a dictionary");
    bool *seen = strcmp(key, "descr") == 0 ? &h->has_descr : strcmp(key, "fortran_order") == 0 ? &h->has_order
        : strcmp(key, "shape") == 0 ? &h->has_shape : NULL;
    if (!seen || *seen) return wrong(h, "the npy header has a key that is unknown or given twice");
    *seen = true;
    return seen == &h->has_descr   ? read_descr(h, e)
           : seen == &h->has_order ? read_order(h, e)
                                   : read_shape(h, &e->t);
}

static bool read_dictionary(header *h, tensor_entry *e)
{
    if (!eat(h, "{")) return wrong(h, "the npy header is not a dictionary");
    while (!eat(h, "}")) {
        if (!read_entry(h, e)) return false;
        if (eat(h, ",")) continue;
        if (!eat(h, "}")) return wrong(h, "the npy header is not a dictionary");
        break;
    }
    skip(h);
    if (h->at != h->end) return wrong(h, "the npy header goes on after its dictionary");
    return (h->has_descr && h->has_order && h->has_shape) ||
           wrong(h, "the npy header lacks descr, fortran_order or shape");
}

/* -- Files ----------------------------------------------------------------------------------------------- */

/* `file`: the whole file, or its beginning. Fills e->t but its bytes, and e->header_bytes. */
bool npy_read_header(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entry *e)
{
    header h = { .ctx = ctx, .path = path };
    const uint8_t *p = file.at;
    (void)a;
    if (file.n < 10 || memcmp(p, "\x93NUMPY", 6) != 0) {
        diag_not_npy(ctx, (place){ .file = path }, file.n ? "other data" : "an empty file");
        return DLC_ERR_INPUT;
    }
    if (p[6] < 1 || p[6] > 3) return wrong(&h, "an npy file of a version after 3");
    size_t start = p[6] == 1 ? 10 : 12, n = p[8] | (size_t)p[9] << 8;
    if (start == 12 && file.n >= 12) n |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (file.n < start || n > file.n - start) return wrong(&h, "the npy file ends inside its header");
    h.at = (const char *)p + start;
    h.end = h.at + n;
    if (!read_dictionary(&h, e)) return false;
    int64_t count, size;
    if (!tensor_count(&e->t, &count) || !mul_ok(count, dtype_bytes(e->t.dtype), &size) ||
        size > (int64_t)1 << 46)
        return wrong(&h, "the sizes in the npy header are too large");
    e->header_bytes = start + n;
    return true;
}

static void swap_bytes(uint8_t *p, int64_t n, int size)
{
    for (; n > 0; n--, p += size)
        for (int i = 0; i < size / 2; i++) {
            uint8_t x = p[i];
            p[i] = p[size - 1 - i];
            p[size - 1 - i] = x;
        }
}

/* From first axis fastest to last axis fastest. */
static void to_row_major(uint8_t *to, const uint8_t *from, const tensor *t)
{
    int64_t index[MAX_RANK] = { 0 }, stride[MAX_RANK], n = tensor_n(t), s = 1;
    size_t size = (size_t)dtype_bytes(t->dtype);
    for (int k = 0; k < t->rank; k++) {
        stride[k] = s;
        s *= t->dims[k];
    }
    for (int64_t i = 0, at = 0; i < n; i++) {
        memcpy(to + (size_t)i * size, from + (size_t)at * size, size);
        for (int k = t->rank - 1; k >= 0; k--) {
            at += stride[k];
            if (++index[k] < t->dims[k]) break;
            at -= stride[k] * t->dims[k];
            index[k] = 0;
        }
    }
}

/* Sets e->t.bytes from the elements as they stand in the file. */
bool npy_finish(arena *a, tensor_entry *e, const uint8_t *elements)
{
    tensor *t = &e->t;
    size_t n = tensor_bytes(t);
    bool is_aligned = (uintptr_t)elements % 16 == 0, is_bool = t->dtype == DTYPE_bool;
    t->bytes = (void *)(uintptr_t)elements;
    if (is_aligned && !is_bool && !e->is_swapped && !e->is_fortran) return true;
    uint8_t *q = arena_alloc(a, n);
    if (e->is_fortran) to_row_major(q, elements, t);
    else memcpy(q, elements, n);
    if (e->is_swapped) swap_bytes(q, tensor_n(t), dtype_bytes(t->dtype));
    for (size_t i = 0; is_bool && i < n; i++) q[i] = q[i] != 0;
    t->bytes = q;
    return true;
}

/* The header of a file that holds x, padded so that the elements begin at a multiple of 64. Types NumPy lacks
 * are written as the unsigned integers that hold their bits. */
void npy_header(text *t, const tensor *x)
{
    dtype d = x->dtype;
    char kind = is_float(d) && d != DTYPE_bf16 ? 'f' : is_signed(d) ? 'i' : d == DTYPE_bool ? 'b' : 'u';
    text h = { .a = t->a };
    text_printf(&h, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", dtype_bytes(d) == 1 ? '|' : '<',
                kind, dtype_bytes(d));
    for (int i = 0; i < x->rank; i++) text_printf(&h, "%s%lld", i ? ", " : "", (long long)x->dims[i]);
    text_put(&h, x->rank == 1 ? ",), }" : "), }");
    while ((h.n + 11) % 64) text_put(&h, " ");
    text_put(&h, "\n");
    text_putn(t, "\x93NUMPY\x01\x00", 8);
    text_putn(t, (char[2]){ (char)(h.n & 255), (char)(h.n >> 8) }, 2);
    text_putn(t, h.at, (size_t)h.n);
}
