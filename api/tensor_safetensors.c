/* tensor_safetensors: tensors of .safetensors files (read only): eight bytes with the header's length, a JSON
 * header, the elements
 *
 *     {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …, "__metadata__": {…}}
 *
 * Elements stay in the mapped file unless they are not aligned there.
 */
#include "api/tensor_file.h"
#include "base/context.h"
#include <stdlib.h>

typedef struct { dlc_context *ctx; arena *a; const char *path; const char *at, *end; bool failed; } reader;

static bool wrong(reader *r, const char *what)
{
    if (!r->failed) diag_tensor_file(r->ctx, (place){ .file = r->path }, what);
    r->failed = true;
    return false;
}

static void blanks(reader *r) { while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at) r->at++; }
static bool next(reader *r, char c)
{
    blanks(r);
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static bool need(reader *r, char c) { return next(r, c) || wrong(r, "the header is not well formed"); }

static const char *string(reader *r)
{
    text t = { .a = r->a };
    if (!need(r, '"')) return "";
    for (; r->at < r->end && *r->at != '"'; r->at++) {
        if (*r->at == '\\' && r->at + 1 < r->end) r->at++;
        text_putn(&t, r->at, 1);
    }
    need(r, '"');
    return text_str(&t);
}

static int64_t whole(reader *r)
{
    int64_t v = 0;
    blanks(r);
    const char *first = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (!mul_ok(v, 10, &v) || !add_ok(v, *r->at - '0', &v)) {
            wrong(r, "a number of the header is too large");
            return 0;
        }
    if (r->at == first) wrong(r, "the header is not well formed");
    return v;
}

/* Passes over "__metadata__": strings by name. */
static void metadata(reader *r)
{
    need(r, '{');
    while (!r->failed && !next(r, '}')) {
        string(r);
        need(r, ':');
        string(r);
        next(r, ',');
    }
}

static dtype type_named(const char *s)
{
    static const struct {
        const char *name;
        dtype t;
    } rows[] = { { "F64", DTYPE_f64 },  { "F32", DTYPE_f32 }, { "F16", DTYPE_f16 }, { "BF16", DTYPE_bf16 },
                 { "I64", DTYPE_i64 },  { "I32", DTYPE_i32 }, { "I16", DTYPE_i16 }, { "I8", DTYPE_i8 },
                 { "U64", DTYPE_u64 },  { "U32", DTYPE_u32 }, { "U16", DTYPE_u16 }, { "U8", DTYPE_u8 },
                 { "BOOL", DTYPE_bool } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, s) == 0) return rows[i].t;
    return DTYPE_NONE;
}

static void entry(reader *r, const char *name, const uint8_t *data, int64_t n_data, tensor_entries *out)
{
    tensor_entry e = { .file = r->path, .name = name };
    int64_t from = 0, to = 0, count;
    need(r, '{');
    while (!r->failed && !next(r, '}')) {
        const char *key = string(r);
        need(r, ':');
        if (strcmp(key, "dtype") == 0) e.t.dtype = type_named(string(r));
        else if (strcmp(key, "shape") == 0) {
            need(r, '[');
            while (!r->failed && !next(r, ']')) {
                if (e.t.rank == MAX_RANK) { wrong(r, "a tensor of more than 16 dimensions"); return; }
                e.t.dims[e.t.rank++] = whole(r);
                next(r, ',');
            }
        } else if (strcmp(key, "data_offsets") == 0) {
            need(r, '[');
            from = whole(r);
            need(r, ',');
            to = whole(r);
            need(r, ']');
        } else wrong(r, "the header has a field that is not known");
        next(r, ',');
    }
    if (r->failed) return;
    if (e.t.dtype == DTYPE_NONE) { wrong(r, "a tensor's type is not known"); return; }
    if (from < 0 || to < from || to > n_data || !tensor_count(&e.t, &count) || count > n_data ||
        count * dtype_bytes(e.t.dtype) != to - from) {
        wrong(r, "a tensor's shape and place in the file do not fit");
        return;
    }
    e.packed = (bytes){ data + from, (size_t)(to - from) };
    e.method = -1;
    if ((uintptr_t)(data + from) % 16 == 0) e.t.bytes = (void *)(uintptr_t)(data + from);
    else e.t.bytes = arena_copy(r->a, data + from, (size_t)(to - from));
    vec_push(r->a, out, e);
}

dlc_status safetensors_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out)
{
    reader r = { .ctx = ctx, .a = a, .path = path };
    uint64_t n = 0;
    for (int i = 0; i < 8 && file.n >= 8; i++) n |= (uint64_t)file.at[i] << 8 * i;
    if (file.n < 8 || n > file.n - 8 || n > 100u << 20) {
        wrong(&r, "not a .safetensors file: its header does not fit");
        return DLC_ERR_INPUT;
    }
    r.at = (const char *)file.at + 8;
    r.end = r.at + n;
    const uint8_t *data = file.at + 8 + n;
    need(&r, '{');
    while (!r.failed && !next(&r, '}')) {
        const char *name = string(&r);
        need(&r, ':');
        if (strcmp(name, "__metadata__") == 0) metadata(&r);
        else entry(&r, name, data, (int64_t)(file.n - 8 - n), out);
        next(&r, ',');
    }
    return r.failed ? DLC_ERR_INPUT : DLC_OK;
}
