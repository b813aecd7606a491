/* tensor_read: from a TensorProto to elements
 *
 * What   Checks dims, element type and payload against each other; gives the elements in the form of
 *        ir/dtype.def.
 * How    ONNX keeps elements as raw bytes, in typed lists, or in another file. A table says, for each element
 *        type, its bits and its list. Raw bytes of whole bytes are used where they lie (little endian, as
 *        this machine); small ones are copied, so that they are aligned. Everything else is unpacked once
 *        into the arena.
 * Limits Strings and complex numbers are not computed with: unsupported. At most MAX_RANK dims.
 * Keeps  Nothing is allocated before the payload's size has been found to fit the dims.
 */
#include "frontend/onnx/tensor_read.h"
#include <stdio.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little endian and used as it lies");

enum { F_FLOAT = 4, F_INT32 = 5, F_STRING = 6, F_INT64 = 7, F_RAW = 9, F_DOUBLE = 10, F_UINT64 = 11 };
enum { COPY_BELOW = 4096 };        /* raw bytes: smaller ones are copied to be aligned */
static const int64_t MAX_DIM = (int64_t)1 << 59;

typedef struct { const char *name; dtype dtype; int bits, field; int64_t lo, hi; } element_row;
static const element_row element[ONNX_TYPE_COUNT] = {
    /*                         name              dtype            bits list      range in the list */
    [ONNX_FLOAT]          = { "float",          DTYPE_f32,         32, F_FLOAT,  0, 0 },
    [ONNX_UINT8]          = { "uint8",          DTYPE_u8,           8, F_INT32,  0, 255 },
    [ONNX_INT8]           = { "int8",           DTYPE_i8,           8, F_INT32,  -128, 127 },
    [ONNX_UINT16]         = { "uint16",         DTYPE_u16,         16, F_INT32,  0, 65535 },
    [ONNX_INT16]          = { "int16",          DTYPE_i16,         16, F_INT32,  -32768, 32767 },
    [ONNX_INT32]          = { "int32",          DTYPE_i32,         32, F_INT32,  INT32_MIN, INT32_MAX },
    [ONNX_INT64]          = { "int64",          DTYPE_i64,         64, F_INT64,  INT64_MIN, INT64_MAX },
    [ONNX_STRING]         = { "string",         DTYPE_NONE,         0, F_STRING, 0, 0 },
    [ONNX_BOOL]           = { "bool",           DTYPE_bool,         8, F_INT32,  0, 1 },
    [ONNX_FLOAT16]        = { "float16",        DTYPE_f16,         16, F_INT32,  0, 65535 },
    [ONNX_DOUBLE]         = { "double",         DTYPE_f64,         64, F_DOUBLE, 0, 0 },
    [ONNX_UINT32]         = { "uint32",         DTYPE_u32,         32, F_UINT64, 0, UINT32_MAX },
    [ONNX_UINT64]         = { "uint64",         DTYPE_u64,         64, F_UINT64, INT64_MIN, INT64_MAX },
    [ONNX_COMPLEX64]      = { "complex64",      DTYPE_NONE,        64, F_FLOAT,  0, 0 },
    [ONNX_COMPLEX128]     = { "complex128",     DTYPE_NONE,       128, F_DOUBLE, 0, 0 },
    [ONNX_BFLOAT16]       = { "bfloat16",       DTYPE_bf16,        16, F_INT32,  0, 65535 },
    [ONNX_FLOAT8E4M3FN]   = { "float8e4m3fn",   DTYPE_f8e4m3fn,     8, F_INT32,  0, 255 },
    [ONNX_FLOAT8E4M3FNUZ] = { "float8e4m3fnuz", DTYPE_f8e4m3fnuz,   8, F_INT32,  0, 255 },
    [ONNX_FLOAT8E5M2]     = { "float8e5m2",     DTYPE_f8e5m2,       8, F_INT32,  0, 255 },
    [ONNX_FLOAT8E5M2FNUZ] = { "float8e5m2fnuz", DTYPE_f8e5m2fnuz,   8, F_INT32,  0, 255 },
    [ONNX_UINT4]          = { "uint4",          DTYPE_u4,           4, F_INT32,  0, 255 },
    [ONNX_INT4]           = { "int4",           DTYPE_i4,           4, F_INT32,  -128, 255 },
    [ONNX_FLOAT4E2M1]     = { "float4e2m1",     DTYPE_f4e2m1,       4, F_INT32,  0, 255 },
    [ONNX_FLOAT8E8M0]     = { "float8e8m0",     DTYPE_f8e8m0,       8, F_INT32,  0, 255 },
    [ONNX_UINT2]          = { "uint2",          DTYPE_u2,           2, F_INT32,  0, 255 },
    [ONNX_INT2]           = { "int2",           DTYPE_i2,           2, F_INT32,  -128, 255 },
    [ONNX_FLOAT6E2M3]     = { "float6e2m3",     DTYPE_f6e2m3,       6, F_INT32,  0, 63 },
    [ONNX_FLOAT6E3M2]     = { "float6e3m2",     DTYPE_f6e3m2,       6, F_INT32,  0, 63 },
};

static bool is_code(int code) { return code > 0 && code < ONNX_TYPE_COUNT; }
dtype onnx_dtype(int code) { return is_code(code) ? element[code].dtype : DTYPE_NONE; }
const char *onnx_type_name(int code) { return is_code(code) ? element[code].name : NULL; }
int onnx_dtype_code(dtype t)
{
    for (int i = 1; i < ONNX_TYPE_COUNT; i++)
        if (element[i].dtype == t && t != DTYPE_NONE) return i;
    return 0;
}

/* -- Checks ---------------------------------------------------------------------------------------------- */

typedef struct {
    const tensor_source *s;
    place at;
    const tensor_proto *t;
    const element_row *row;
    const wire_chunk *chunks;
    uint32_t n_chunks;
} reading;

static DLC_PRINTF(2, 3) bool wrong(const reading *r, const char *fmt, ...)
{
    char what[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    diag_onnx_tensor(r->s->ctx, r->at, str_or(r->t->name, ""), what);
    return false;
}

static bool unsupported(const reading *r, const char *what)
{
    diag_onnx_tensor_unsupported(r->s->ctx, r->at, str_or(r->t->name, ""), what);
    return false;
}

/* Dims into out, and their product; huge or negative ones are wrong. */
static bool read_dims(const reading *r, size_t n_dims, const int64_t *d, tensor_data *out)
{
    bool is_empty = false;
    for (size_t i = 0; i < n_dims; i++) {
        if (d[i] < 0 || d[i] > MAX_DIM) return wrong(r, "has dimension %lld", (long long)d[i]);
        is_empty |= d[i] == 0;
    }
    if (n_dims > MAX_RANK) {
        char what[80];
        snprintf(what, sizeof what, "has rank %zu; at most %d is implemented", n_dims, MAX_RANK);
        return unsupported(r, what);
    }
    out->rank = (int)n_dims;
    out->n = is_empty ? 0 : 1;
    for (size_t i = 0; i < n_dims; i++) {
        out->dims[i] = d[i];
        if (!is_empty && !mul_ok(out->n, d[i], &out->n))
            return wrong(r, "has more elements than 64 bits count");
    }
    int64_t bits;
    if (!mul_ok(out->n, 128, &bits)) return wrong(r, "has more elements than 64 bits count");
    return true;
}

static bool check_type(reading *r)
{
    int code = r->t->has_data_type ? r->t->data_type : 0;
    if (code == 0) return wrong(r, "has no element type");
    if (!is_code(code)) return wrong(r, "has unknown element type %d", code);
    r->row = &element[code];
    return true;
}

/* How many entries the typed list must have. */
static int64_t list_entries(const element_row *e, int64_t n)
{
    if (e->bits < 6 && e->bits) return (n * e->bits + 7) / 8;    /* 4 and 2 bits: an entry is a packed byte */
    return e->field != F_STRING && e->dtype == DTYPE_NONE ? 2 * n : n;        /* complex: pairs */
}

static int64_t raw_bytes(const element_row *e, int64_t n) { return (n * e->bits + 7) / 8; }

/* One place for the elements, and of the right size. *raw: the bytes if they are raw, else NULL. */
static bool check_payload(reading *r, const tensor_data *d, const uint8_t **raw)
{
    const tensor_proto *t = r->t;
    int64_t n_list = 0, n_raw = -1;
    *raw = NULL;
    for (uint32_t i = 0; i < r->n_chunks; i++) {
        const wire_chunk *c = &r->chunks[i];
        if (c->field == F_RAW) {
            n_raw = (int64_t)c->n;
            *raw = c->at;
        } else if (c->field != r->row->field && c->n_elem > 0) {
            return wrong(r, "of type %s has its elements in a list of another type", r->row->name);
        } else {
            n_list += c->n_elem;
        }
    }
    bool is_external = t->has_data_location && t->data_location == 1;
    if (t->has_data_location && t->data_location > 1)
        return wrong(r, "has unknown data_location %d", t->data_location);
    if (is_external && (n_raw > 0 || n_list > 0))
        return wrong(r, "has both external data and elements of its own");
    if (n_raw > 0 && n_list > 0) return wrong(r, "has both raw_data and a typed list");
    if (r->row->field == F_STRING) {
        if (n_raw > 0) return wrong(r, "of type string has raw_data");
        if (n_list != d->n)
            return wrong(r, "has %lld strings for %lld elements", (long long)n_list, (long long)d->n);
        return true;
    }
    int64_t need = raw_bytes(r->row, d->n);
    if (is_external) {
        if (!r->s->files) return wrong(r, "has external data, which are not read here");
        return external_bytes(r->s->files, r->at, t, need, raw);
    }
    if (n_raw >= 0 && n_list == 0) {
        if (n_raw != need)
            return wrong(r, "has %lld bytes of raw_data where %lld elements of type %s take %lld",
                         (long long)n_raw, (long long)d->n, r->row->name, (long long)need);
        return true;
    }
    *raw = NULL;                                     /* raw_data may be present and empty beside a list */
    int64_t want = list_entries(r->row, d->n);
    if (n_list != want)
        return wrong(r, "has %lld entries in its list where %lld elements of type %s take %lld",
                     (long long)n_list, (long long)d->n, r->row->name, (long long)want);
    return true;
}

/* -- Elements -------------------------------------------------------------------------------------------- */

static const void *unpack_bits(arena *a, const uint8_t *p, int64_t n, int bits, bool is_signed_)
{
    uint8_t *q = arena_alloc(a, (size_t)n);
    unsigned mask = (1u << bits) - 1, sign = 1u << (bits - 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t bit = i * bits;
        unsigned at = (unsigned)(bit & 7), v = p[bit >> 3] >> at;
        if (at + (unsigned)bits > 8) v |= (unsigned)p[(bit >> 3) + 1] << (8 - at);
        v &= mask;
        q[i] = (uint8_t)(is_signed_ && (v & sign) ? v | ~mask : v);
    }
    return q;
}

static const void *raw_elements(const reading *r, const uint8_t *p, int64_t n)
{
    arena *a = r->s->a;
    dtype t = r->row->dtype;
    if (r->row->bits < 8) return unpack_bits(a, p, n, r->row->bits, t == DTYPE_i4 || t == DTYPE_i2);
    int64_t n_bytes = raw_bytes(r->row, n);
    bool is_bad = false;
    if (t == DTYPE_bool)
        for (int64_t i = 0; i < n; i++) is_bad |= p[i] > 1;
    if (!is_bad && n_bytes >= COPY_BELOW) return p;
    uint8_t *q = arena_copy(a, p, (size_t)n_bytes);
    if (is_bad)
        for (int64_t i = 0; i < n; i++) q[i] = q[i] != 0;
    return q;
}

/* One entry of a list, as 64 bits; *p moves behind it. */
static uint64_t list_entry(const uint8_t **p, const uint8_t *end, int field)
{
    uint64_t v = 0;
    if (field == F_FLOAT || field == F_DOUBLE) {
        size_t n = field == F_FLOAT ? 4 : 8;
        memcpy(&v, *p, n);
        *p += n;
    } else {
        wire_varint(p, end, &v);                     /* the scan has seen it whole */
        if (field == F_INT32) v = (uint64_t)(int64_t)(int32_t)v;
    }
    return v;
}

/* The typed list as little-endian elements of `size` bytes. */
static const uint8_t *list_elements(const reading *r, int64_t n, int size)
{
    uint8_t *q = arena_alloc(r->s->a, (size_t)n * (size_t)size), *o = q;
    for (uint32_t i = 0; i < r->n_chunks; i++) {
        const wire_chunk *c = &r->chunks[i];
        if (c->field != r->row->field) continue;
        const uint8_t *p = c->at, *end = p + c->n;
        for (int64_t k = 0; k < c->n_elem; k++, o += size) {
            uint64_t v;
            if (!c->packed) wire_varint(&p, end, &v);                 /* its tag */
            v = list_entry(&p, end, c->field);
            bool is_checked = r->row->lo != r->row->hi && r->row->lo != INT64_MIN;
            if (is_checked && ((int64_t)v < r->row->lo || (int64_t)v > r->row->hi)) {
                wrong(r, "of type %s holds %lld in its list", r->row->name, (long long)(int64_t)v);
                return NULL;
            }
            memcpy(o, &v, (size_t)size);
        }
    }
    return q;
}

static const void *elements(const reading *r, const tensor_data *d, const uint8_t *raw)
{
    if (raw || d->n == 0) return raw && d->n ? raw_elements(r, raw, d->n) : "";
    int bits = r->row->bits;
    int64_t n = list_entries(r->row, d->n);
    const uint8_t *p = list_elements(r, n, bits < 8 ? 1 : bits / 8);
    if (!p || bits >= 6) return p;
    return unpack_bits(r->s->a, p, d->n, bits, r->row->dtype == DTYPE_i4 || r->row->dtype == DTYPE_i2);
}

bool tensor_read(const tensor_source *s, place at, const tensor_proto *t, tensor_want want, tensor_data *out)
{
    reading r = { .s = s, .at = at, .t = t };
    *out = (tensor_data){ .dtype = DTYPE_NONE };
    if (t->has_payload) {
        const wire_payload *p = &s->from->scan.payloads[t->payload];
        r.chunks = s->from->scan.chunks + p->first;
        r.n_chunks = p->n;
    }
    const uint8_t *raw;
    if (!check_type(&r) || !read_dims(&r, t->n_dims, t->dims, out) || !check_payload(&r, out, &raw))
        return false;
    if (t->segment) return unsupported(&r, "is stored in segments, which is not implemented");
    out->dtype = r.row->dtype;
    if (out->dtype == DTYPE_NONE) {
        char what[80];
        snprintf(what, sizeof what, "is of type %s, which is not implemented", r.row->name);
        return unsupported(&r, what);
    }
    /* Lists are decoded for the check too: their values may be out of range. Only those of small types can
     * be. */
    if (want == TENSOR_ELEMENTS || (!raw && r.row->lo != r.row->hi && r.row->bits < 32))
        out->bytes = elements(&r, out, raw);
    return want == TENSOR_CHECK ? (raw || r.row->bits >= 32 || r.row->lo == r.row->hi || out->bytes)
                                : out->bytes != NULL;
}

/* -- Sparse tensors -------------------------------------------------------------------------------------- */

/* values[NNZ], indices[NNZ] (flat) or [NNZ, rank], ascending. The dense form is made; zeros elsewhere. */
bool sparse_read(const tensor_source *s, place at, const sparse_proto *t, tensor_want want, tensor_data *out)
{
    static const int64_t MAX_DENSE = (int64_t)1 << 31;
    *out = (tensor_data){ .dtype = DTYPE_NONE };
    if (!t->values || !t->indices) {
        diag_onnx_tensor(s->ctx, at, "", "is sparse and has no values or no indices");
        return false;
    }
    reading r = { .s = s, .at = at, .t = t->values };
    tensor_data values, indices;
    if (!tensor_read(s, at, t->values, TENSOR_ELEMENTS, &values)) return false;
    if (!tensor_read(s, at, t->indices, TENSOR_ELEMENTS, &indices)) return false;
    if (!read_dims(&r, t->n_dims, t->dims, out)) return false;
    if (t->n_dims == 0) return wrong(&r, "is sparse and has no dims");
    int64_t nnz = values.n;
    bool is_flat = indices.rank == 1, fits = values.rank == 1 && indices.dtype == DTYPE_i64 &&
                                             indices.rank >= 1 && indices.dims[0] == nnz &&
                                             (is_flat || (indices.rank == 2 && indices.dims[1] == out->rank));
    if (!fits)
        return wrong(&r, "is sparse, and its indices are not int64[%lld] or int64[%lld, %d]", (long long)nnz,
                     (long long)nnz, out->rank);
    if (out->n > MAX_DENSE)
        return unsupported(&r, "is sparse and of over 2^31 elements, which is not implemented");

    out->dtype = values.dtype;
    int size = dtype_bytes(values.dtype);
    uint8_t *q = want == TENSOR_ELEMENTS ? arena_alloc(s->a, (size_t)out->n * (size_t)size) : NULL;
    int64_t before = -1;
    for (int64_t i = 0; i < nnz; i++) {
        int64_t flat = 0;
        for (int k = 0; k < (is_flat ? 1 : out->rank); k++) {
            int64_t x, extent = is_flat ? out->n : out->dims[k];
            memcpy(&x, (const uint8_t *)indices.bytes + 8 * (is_flat ? i : i * out->rank + k), 8);
            if (x < 0 || x >= extent)
                return wrong(&r, "is sparse and has index %lld where %lld are", (long long)x,
                             (long long)extent);
            flat = flat * extent + x;
        }
        if (is_flat) memcpy(&flat, (const uint8_t *)indices.bytes + 8 * i, 8);
        if (flat <= before) return wrong(&r, "is sparse, and its indices do not ascend");
        before = flat;
        if (q) memcpy(q + flat * size, (const uint8_t *)values.bytes + i * size, (size_t)size);
    }
    out->bytes = q;
    return true;
}
