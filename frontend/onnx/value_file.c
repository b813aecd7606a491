/* value_file: tensors, sequences and optionals in files of their own, as the official tests keep their inputs
 * and outputs; and what a model declares its inputs and outputs to be, which says how those files are read.
 */
#include "frontend/onnx/importer.h"
#include <errno.h>

bool onnx_map(dlc_context *ctx, arena *a, const char *path, bytes *file)
{
    int err;
    if (file_map(a, path, file, &err)) return true;
    diag_onnx_open(ctx, (place){ .file = path }, err == EINVAL ? "not a regular file" : strerror(err));
    return false;
}

static dlc_status status_of(const dlc_context *ctx, bool ok)
{
    return ok ? DLC_OK : ctx->status ? ctx->status : DLC_ERR_INPUT;
}

/* -- What a model declares ------------------------------------------------------------------------------- */

onnx_kind declared_kind(const type_proto *t)
{
    if (!t) return ONNX_TENSOR;
    if (t->sequence_type) return ONNX_SEQUENCE;
    if (!t->optional_type) return ONNX_TENSOR;
    return t->optional_type->elem_type && t->optional_type->elem_type->sequence_type ? ONNX_OPTIONAL_SEQUENCE
                                                                                     : ONNX_OPTIONAL;
}

static onnx_io io_of(arena *a, const value_info_proto *v)
{
    return (onnx_io){ arena_strdup(a, str_or(v->name, "")), declared_kind(v->type) };
}

static void list_io(arena *a, arena *scratch, const graph_proto *g, int *n_in, onnx_io **ins, int *n_out,
                    onnx_io **outs)
{
    map_str constants;
    map_init(&constants, scratch);
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = str_or(g->initializer[i]->name, "");
        map_put(&constants, name, strlen(name), 0, NULL);
    }
    *n_in = 0;
    *ins = NEW_ARRAY(a, onnx_io, g->n_input + 1);
    *outs = NEW_ARRAY(a, onnx_io, g->n_output + 1);
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = str_or(g->input[i]->name, "");
        if (!map_find(&constants, name, strlen(name))) (*ins)[(*n_in)++] = io_of(a, g->input[i]);
    }
    for (size_t i = 0; i < g->n_output; i++) (*outs)[i] = io_of(a, g->output[i]);
    *n_out = (int)g->n_output;
}

dlc_status onnx_list_io(dlc_context *ctx, arena *a, const char *path, int *n_in, onnx_io **ins, int *n_out,
                        onnx_io **outs)
{
    bytes file;
    decoded d;
    arena *scratch = arena_new(&ctx->mem);
    bool ok = onnx_map(ctx, scratch, path, &file) &&
              decode_message(ctx, scratch, path, file, &onnx__model_proto__descriptor, &d);
    const graph_proto *g = ok ? ((const model_proto *)d.root)->graph : NULL;
    if (g) list_io(a, scratch, g, n_in, ins, n_out, outs);
    if (ok && !g) diag_onnx_model(ctx, (place){ .file = path }, "the model has no graph");
    arena_free(scratch);
    return status_of(ctx, g != NULL);
}

/* -- Reading --------------------------------------------------------------------------------------------- */

static bool read_one(const tensor_source *s, const char *path, const tensor_proto *t, onnx_tensor *out)
{
    tensor_data e;
    if (!tensor_read(s, (place){ .file = path }, t, TENSOR_ELEMENTS, &e)) return false;
    *out = (onnx_tensor){
        .dtype = e.dtype, .rank = e.rank, .n = e.n, .name = arena_strdup(s->a, str_or(t->name, ""))
    };
    memcpy(out->dims, e.dims, sizeof out->dims);
    out->bytes = arena_copy(s->a, e.bytes, (size_t)(e.n * dtype_bytes(e.dtype)));
    return true;
}

static bool read_items(const tensor_source *s, const char *path, size_t n, tensor_proto *const *t,
                       onnx_tensor *out)
{
    onnx_tensor *items = NEW_ARRAY(s->a, onnx_tensor, n + 1);
    for (size_t i = 0; i < n; i++)
        if (!read_one(s, path, t[i], &items[i])) return false;
    out->n_items = (int)n;
    out->items = items;
    return true;
}

static bool read_sequence(const tensor_source *s, const char *path, const Onnx__SequenceProto *q,
                          onnx_tensor *out)
{
    if (q->n_sequence_values == 0) return read_items(s, path, q->n_tensor_values, q->tensor_values, out);
    diag_onnx_limit(s->ctx, (place){ .file = path }, "a sequence of sequences is not implemented");
    return false;
}

static bool read_root(const tensor_source *s, const char *path, onnx_kind kind, onnx_tensor *out)
{
    const ProtobufCMessage *root = s->from->root;
    if (kind == ONNX_TENSOR) return read_one(s, path, (const tensor_proto *)root, out);
    *out = (onnx_tensor){ .kind = kind, .dtype = DTYPE_f32, .name = "" };
    if (kind == ONNX_SEQUENCE) return read_sequence(s, path, (const Onnx__SequenceProto *)root, out);
    const Onnx__OptionalProto *o = (const Onnx__OptionalProto *)root;
    if (o->sequence_value) return read_sequence(s, path, o->sequence_value, out);
    out->is_absent = !o->tensor_value;
    return read_items(s, path, o->tensor_value ? 1 : 0, &o->tensor_value, out);
}

dlc_status onnx_read_value_bytes(dlc_context *ctx, arena *a, const char *path, bytes file, onnx_kind kind,
                                 onnx_tensor *out)
{
    static const ProtobufCMessageDescriptor *const message[] = {
        &onnx__tensor_proto__descriptor, &onnx__sequence_proto__descriptor, &onnx__optional_proto__descriptor,
        &onnx__optional_proto__descriptor
    };
    decoded d;
    arena *scratch = arena_new(&ctx->mem);
    tensor_source s = { ctx, a, &d, NULL };
    bool ok = decode_message(ctx, scratch, path, file, message[kind], &d) && read_root(&s, path, kind, out);
    arena_free(scratch);
    return status_of(ctx, ok);
}

dlc_status onnx_read_value(dlc_context *ctx, arena *a, const char *path, onnx_kind kind, onnx_tensor *out)
{
    bytes file;
    arena *mapped = arena_new(&ctx->mem);
    dlc_status st = onnx_map(ctx, mapped, path, &file) ? onnx_read_value_bytes(ctx, a, path, file, kind, out)
                                                       : status_of(ctx, false);
    arena_free(mapped);
    return st;
}

dlc_status onnx_read_tensor(dlc_context *ctx, arena *a, const char *path, onnx_tensor *out)
{
    return onnx_read_value(ctx, a, path, ONNX_TENSOR, out);
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void put_varint(text *to, uint64_t v)
{
    char b[10];
    size_t n = 0;
    for (; v > 127; v >>= 7) b[n++] = (char)(v | 0x80);
    b[n++] = (char)v;
    text_putn(to, b, n);
}

static void put_int(text *to, unsigned field, int64_t v)
{
    put_varint(to, (uint64_t)field << 3);
    put_varint(to, (uint64_t)v);
}

static void put_bytes(text *to, unsigned field, const void *p, int64_t n)
{
    put_varint(to, (uint64_t)field << 3 | 2);
    put_varint(to, (uint64_t)n);
    text_putn(to, p, (size_t)n);
}

/* Elements of less than a byte form a stream of bits, the first in the low ones. */
static const void *pack_bits(arena *a, const uint8_t *p, int64_t n, int bits, int64_t *n_bytes)
{
    *n_bytes = (n * bits + 7) / 8;
    uint8_t *q = arena_alloc(a, (size_t)*n_bytes + 1);
    for (int64_t i = 0; i < n; i++) {
        unsigned v = (unsigned)(p[i] & ((1u << bits) - 1)) << (i * bits & 7);
        q[i * bits >> 3] |= (uint8_t)v;
        q[(i * bits >> 3) + 1] |= (uint8_t)(v >> 8);
    }
    return q;
}

static void put_tensor(text *to, const onnx_tensor *t)
{
    int bits = t->dtype == DTYPE_bool ? 8 : dtype_info[t->dtype].bits;
    int64_t n_bytes = t->n * dtype_bytes(t->dtype);
    const void *p = bits < 8 ? pack_bits(to->a, t->bytes, t->n, bits, &n_bytes) : t->bytes;
    for (int i = 0; i < t->rank; i++) put_int(to, 1, t->dims[i]);
    put_int(to, 2, onnx_dtype_code(t->dtype));
    if (t->name && *t->name) put_bytes(to, 8, t->name, (int64_t)strlen(t->name));
    put_bytes(to, 9, p, n_bytes);
}

static void put_message(text *to, unsigned field, const text *m)
{
    put_bytes(to, field, m->at ? m->at : "", m->n);
}

static void put_items(text *to, const onnx_tensor *v)
{
    for (int i = 0; i < v->n_items; i++) {
        text t = { .a = to->a };
        put_tensor(&t, &v->items[i]);
        put_message(to, 3, &t);
    }
}

void onnx_put_value(text *to, const onnx_tensor *v)
{
    enum { TENSOR_ELEMENT = 1, SEQUENCE_ELEMENT = 3 };
    bool is_optional = v->kind == ONNX_OPTIONAL || v->kind == ONNX_OPTIONAL_SEQUENCE;
    if (v->kind == ONNX_TENSOR) {
        put_tensor(to, v);
        return;
    }
    put_int(to, 2, v->kind == ONNX_OPTIONAL_SEQUENCE ? SEQUENCE_ELEMENT : TENSOR_ELEMENT);
    if (v->kind == ONNX_OPTIONAL_SEQUENCE && !v->is_absent) {
        text q = { .a = to->a };
        put_int(&q, 2, TENSOR_ELEMENT);
        put_items(&q, v);
        put_message(to, 5, &q);
    } else if (!is_optional || !v->is_absent) {
        put_items(to, v);
    }
}
