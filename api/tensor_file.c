/* tensor_file: tensors in files, by the ending of the name; TensorProto as ONNX tests have it; single
 * elements */
#include "api/tensor_file.h"
#include "frontend/onnx/onnx.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>

int onnx_dtype_code(dtype t);                    /* frontend/onnx/tensor_read.c */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* -- Reading --------------------------------------------------------------------------------------------- */

static dlc_status npy_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out)
{
    tensor_entry e = { .file = path, .name = "" };
    if (!npy_read_header(ctx, a, path, file, &e)) return ctx->status;
    if (file.n - e.header_bytes != tensor_bytes(&e.t)) {
        diag_tensor_file(ctx, (place){ .file = path },
                         arena_printf(ctx->arena, "%llu bytes follow the npy header, which asks for %llu",
                                      (unsigned long long)(file.n - e.header_bytes),
                                      (unsigned long long)tensor_bytes(&e.t)));
        return DLC_ERR_INPUT;
    }
    e.packed = (bytes){ file.at + e.header_bytes, tensor_bytes(&e.t) };
    vec_push(a, out, e);
    return DLC_OK;
}

static dlc_status pb_open(dlc_context *ctx, arena *a, const char *path, tensor_entries *out)
{
    onnx_tensor x;
    dlc_status s = onnx_read_tensor(ctx, a, path, &x);
    if (s != DLC_OK) return s;
    tensor_entry e = { .file = path, .name = x.name ? x.name : "" };
    e.t = (tensor){ .dtype = x.dtype, .rank = x.rank, .bytes = (void *)(uintptr_t)x.bytes };
    memcpy(e.t.dims, x.dims, sizeof e.t.dims);
    vec_push(a, out, e);
    return DLC_OK;
}

dlc_status tensors_open(dlc_context *ctx, arena *a, const char *path, tensor_entries *out)
{
    if (ends_with(path, ".pb")) return pb_open(ctx, a, path, out);
    bytes file;
    int err = 0;
    if (!file_map(a, path, &file, &err)) {
        diag_cannot_read(ctx, (place){ .file = path }, strerror(err));
        return DLC_ERR_IO;
    }
    if (ends_with(path, ".npy")) return npy_open(ctx, a, path, file, out);
    if (ends_with(path, ".npz")) return npz_open(ctx, a, path, file, out);
    if (ends_with(path, ".safetensors")) return safetensors_open(ctx, a, path, file, out);
    if (ends_with(path, ".png")) return png_open(ctx, a, path, file, out);
    diag_tensor_file_unsupported(ctx, (place){ .file = path },
                                 "expected a file .npy, .npz, .safetensors, .pb or .png");
    return DLC_ERR_UNSUPPORTED;
}

dlc_status tensor_load(dlc_context *ctx, arena *a, tensor_entry *e)
{
    if (e->t.bytes) return DLC_OK;
    if (ends_with(e->file, ".npz")) return npz_load(ctx, a, e);
    npy_finish(a, e, e->packed.at);
    return DLC_OK;
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void put_varint(text *t, uint64_t v)
{
    for (; v >= 128; v >>= 7) text_putn(t, &(char){ (char)(v | 128) }, 1);
    text_putn(t, &(char){ (char)v }, 1);
}

/* Elements of 4 and 2 bits are packed in files, the first in the low bits. */
static const uint8_t *packed(arena *a, const tensor *y, size_t *n_bytes)
{
    int bits = dtype_info[y->dtype].bits;
    int64_t n = tensor_n(y), per = 8 / bits;
    const uint8_t *from = y->bytes;
    uint8_t *p = arena_alloc(a, (size_t)(n / per + 1));
    for (int64_t i = 0; i < n; i++)
        p[i / per] |= (uint8_t)((from[i] & ((1 << bits) - 1)) << (i % per * bits));
    *n_bytes = (size_t)((n + per - 1) / per);
    return p;
}

/* Elements of 6 bits: a little-endian stream of bits. */
static const uint8_t *packed6(arena *a, const tensor *y, size_t *n_bytes)
{
    int64_t n = tensor_n(y);
    const uint8_t *from = y->bytes;
    uint8_t *p = arena_alloc(a, (size_t)n + 2);
    for (int64_t i = 0; i < n; i++) {
        unsigned v = (unsigned)(from[i] & 63) << (i * 6 % 8);
        p[i * 6 / 8] |= (uint8_t)v;
        p[i * 6 / 8 + 1] |= (uint8_t)(v >> 8);
    }
    *n_bytes = (size_t)((n * 6 + 7) / 8);
    return p;
}

static dlc_status write_parts(dlc_context *ctx, arena *a, const char *path, const text *head, const void *p,
                              size_t n)
{
    int err = 0;
    file_out *f = file_create(a, path, 0666, &err);
    if (f) {
        file_write(f, head->at, (size_t)head->n);
        file_write(f, p, n);
        if (file_commit(f)) return DLC_OK;
        err = errno;
    }
    diag_cannot_write(ctx, (place){ .file = path }, strerror(err));
    return DLC_ERR_IO;
}

dlc_status tensor_write_pb(dlc_context *ctx, arena *a, const char *path, const char *name, const tensor *y)
{
    enum { DIMS = 1 << 3, DATA_TYPE = 2 << 3, NAME = 8 << 3 | 2, RAW_DATA = 9 << 3 | 2 };
    text t = { .a = a };
    for (int i = 0; i < y->rank; i++) {
        put_varint(&t, DIMS);
        put_varint(&t, (uint64_t)y->dims[i]);
    }
    put_varint(&t, DATA_TYPE);
    put_varint(&t, (uint64_t)onnx_dtype_code(y->dtype));
    if (name && *name) {
        put_varint(&t, NAME);
        put_varint(&t, strlen(name));
        text_put(&t, name);
    }
    size_t n = tensor_bytes(y);
    const void *p = y->bytes;
    int bits = is_storage(y->dtype) ? dtype_info[y->dtype].bits : 8;
    if (bits < 6) p = packed(a, y, &n);
    else if (bits == 6) p = packed6(a, y, &n);
    put_varint(&t, RAW_DATA);
    put_varint(&t, n);
    return write_parts(ctx, a, path, &t, p, n);
}

dlc_status tensors_write(dlc_context *ctx, arena *a, const char *path, int n, const named_tensor *tensors)
{
    if (ends_with(path, ".npz")) return npz_write(ctx, a, path, n, tensors);
    if (n != 1 || (!ends_with(path, ".npy") && !ends_with(path, ".pb"))) {
        diag_tensor_file_unsupported(ctx, (place){ .file = path },
                                     n == 1 ? "expected a file .npy, .npz or .pb"
                                            : "several outputs go to a .npz file, or to one file each");
        return DLC_ERR_UNSUPPORTED;
    }
    if (ends_with(path, ".pb")) return tensor_write_pb(ctx, a, path, tensors[0].name, tensors[0].t);
    text head = { .a = a };
    npy_header(&head, tensors[0].t);
    return write_parts(ctx, a, path, &head, tensors[0].t->bytes, tensor_bytes(tensors[0].t));
}

/* -- Elements -------------------------------------------------------------------------------------------- */

/* A small float: sign, exponent, mantissa. has_inf: all exponent bits set mean infinity and NaN, as IEEE has
 * it. */
static double small_float(unsigned v, int exponent, int mantissa, int bias, bool has_inf)
{
    unsigned e = v >> mantissa & ((1u << exponent) - 1), m = v & ((1u << mantissa) - 1);
    double sign = v >> (exponent + mantissa) & 1 ? -1 : 1;
    if (has_inf && e == (1u << exponent) - 1) return m ? NAN : sign * INFINITY;
    if (e == 0) return sign * ldexp(m, 1 - bias - mantissa);
    return sign * ldexp(m + (double)(1u << mantissa), (int)e - bias - mantissa);
}

static double stored_f64(dtype t, uint8_t v)
{
    switch (t) {
    case DTYPE_f8e4m3fn: return (v & 127) == 127 ? NAN : small_float(v, 4, 3, 7, false);
    case DTYPE_f8e4m3fnuz: return v == 128 ? NAN : small_float(v, 4, 3, 8, false);
    case DTYPE_f8e5m2: return small_float(v, 5, 2, 15, true);
    case DTYPE_f8e5m2fnuz: return v == 128 ? NAN : small_float(v, 5, 2, 16, false);
    case DTYPE_f8e8m0: return v == 255 ? NAN : ldexp(1, v - 127);
    case DTYPE_f6e2m3: return small_float(v, 2, 3, 1, false);
    case DTYPE_f6e3m2: return small_float(v, 3, 2, 3, false);
    case DTYPE_f4e2m1: return small_float(v, 2, 1, 1, false);
    case DTYPE_i4: case DTYPE_i2: return (int8_t)v;
    default: return v;
    }
}

double tensor_f64(const tensor *t, int64_t i)
{
    const uint8_t *p = (const uint8_t *)t->bytes + i * dtype_bytes(t->dtype);
    return is_storage(t->dtype) ? stored_f64(t->dtype, *p) : sv_to_f64(t->dtype, sv_load(t->dtype, p));
}

int64_t tensor_i64(const tensor *t, int64_t i)
{
    const uint8_t *p = (const uint8_t *)t->bytes + i * dtype_bytes(t->dtype);
    return is_storage(t->dtype) ? (int64_t)stored_f64(t->dtype, *p)
                                : sv_to_i64(t->dtype, sv_load(t->dtype, p));
}

static void put_shape(text *t, const tensor *x)
{
    text_printf(t, "%s[", dtype_info[x->dtype].name);
    for (int i = 0; i < x->rank; i++) text_printf(t, "%s%lld", i ? ", " : "", (long long)x->dims[i]);
    text_put(t, "]");
}

/* NULL if types and shapes agree. */
static const char *head_differs(arena *a, const tensor *got, const tensor *want)
{
    bool is_same = got->dtype == want->dtype && got->rank == want->rank;
    for (int i = 0; i < got->rank && is_same; i++) is_same = got->dims[i] == want->dims[i];
    if (is_same) return NULL;
    text t = { .a = a };
    text_put(&t, "expected ");
    put_shape(&t, want);
    text_put(&t, ", found ");
    put_shape(&t, got);
    return text_str(&t);
}

static bool is_float_kind(dtype t)
{
    return is_float(t) || (is_storage(t) && t != DTYPE_i4 && t != DTYPE_u4 && t != DTYPE_i2 && t != DTYPE_u2);
}

static bool is_near(double g, double w, double rtol, double atol)
{
    return g == w || (isnan(g) && isnan(w)) ||
           (isfinite(g) && isfinite(w) && fabs(g - w) <= atol + rtol * fabs(w));
}

static const char *counted(arena *a, int64_t bad, int64_t n, int64_t at, double g, double w, double worst)
{
    return bad ? arena_printf(a,
                              "%lld of %lld differ (largest difference %.3g); at %lld: %.9g, expected %.9g",
                              (long long)bad, (long long)n, worst, (long long)at, g, w)
               : NULL;
}

const char *tensor_differs(arena *a, const tensor *got, const tensor *want, double rtol, double atol)
{
    const char *d = head_differs(a, got, want);
    if (d) return d;
    bool is_real = is_float_kind(want->dtype);
    if (want->dtype == DTYPE_bf16) rtol = fmax(rtol, 0x1p-6);
    int64_t n = tensor_n(want), bad = 0, first = 0;
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double g = tensor_f64(got, i), w = tensor_f64(want, i);
        bool ok = is_real ? is_near(g, w, rtol, atol)
                          : memcmp((uint8_t *)got->bytes + i * dtype_bytes(got->dtype),
                                   (uint8_t *)want->bytes + i * dtype_bytes(got->dtype),
                                   (size_t)dtype_bytes(got->dtype)) == 0;
        if (isfinite(g - w) && fabs(g - w) > worst) worst = fabs(g - w);
        if (!ok && bad++ == 0) first = i;
    }
    return bad ? counted(a, bad, n, first, tensor_f64(got, first), tensor_f64(want, first), worst) : NULL;
}

const char *tensor_differs_bits(arena *a, const tensor *got, const tensor *want)
{
    const char *d = head_differs(a, got, want);
    if (d) return d;
    int64_t n = tensor_n(want), bad = 0, first = 0;
    size_t size = (size_t)dtype_bytes(want->dtype);
    bool has_nan = is_float(want->dtype);
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        if (memcmp((uint8_t *)got->bytes + (size_t)i * size, (uint8_t *)want->bytes + (size_t)i * size,
                   size) == 0)
            continue;
        double g = tensor_f64(got, i), w = tensor_f64(want, i);
        if (has_nan && isnan(g) && isnan(w)) continue;
        if (isfinite(g - w) && fabs(g - w) > worst) worst = fabs(g - w);
        if (bad++ == 0) first = i;
    }
    return bad ? counted(a, bad, n, first, tensor_f64(got, first), tensor_f64(want, first), worst) : NULL;
}
