/* wire_scan: the iterative scan of the wire format, before anything is decoded
 *
 * What   Walks the nested messages of a file and checks every tag, length and varint; writes a skeleton of
 *        it: the same message in canonical tags, without the fields that the schema does not know, and
 *        without the elements of tensors, whose places in the file go into a table.
 * Why    protobuf-c copies every bytes field, recurses as deep as the file says, and counts repeated fields
 *        in 32 bits. It sees only the skeleton: as deep as MAX_DEPTH, below 2 GiB, a fraction of the file.
 *        Weights are never copied: constants point into the mapped file.
 * How    An explicit stack of open messages. Two rounds over the same code: the first checks and counts, so
 *        that nothing is allocated for a file that is wrong, and what is allocated fits exactly; the second
 *        writes. The table of messages and fields is protobuf-c's own, made from schema/dlc_onnx.proto. The
 *        length of a nested message is written as a varint padded to five bytes and filled in when the
 *        message ends.
 * Limits Groups are refused (the format has none), a singular message given twice too (protobuf would merge
 *        the two; no writer of ONNX does that). A scalar given twice counts as the last, as protobuf says. A
 *        string must not hold NUL: names are C strings from here on. Fields of the schema must have their
 *        wire type.
 * Cost   Two passes over the tags; payloads are skipped by their length, except unpacked elements.
 */
#include "frontend/onnx/wire_scan.h"
#include "frontend/onnx/schema/dlc_onnx.pb-c.h"
#include <assert.h>

enum {
    MAX_DEPTH = 100,               /* as protobuf itself: real models nest below 30 */
    LENGTH_BYTES = 5,              /* of a nested message in the skeleton */
    MAX_SINGULAR = 64,             /* message fields of one message, as bits */
    OURS = 100                     /* TensorProto.payload */
};
static const uint64_t MAX_SKELETON = INT32_MAX;

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_32 };

typedef struct {
    const ProtobufCMessageDescriptor *type;
    const uint8_t *end;
    uint64_t body;                 /* where its content begins in the skeleton */
    uint64_t seen;                 /* singular message fields, by index */
    int64_t payload;               /* of a TensorProto: index, -1 none so far */
} open_message;

typedef struct {
    dlc_context *ctx;
    place at;
    bytes file;
    const uint8_t *p;
    open_message stack[MAX_DEPTH];
    int depth;
    uint8_t *out;                  /* NULL in the first round */
    uint64_t n_out;
    wire_chunk *chunks;            /* NULL in the first round */
    wire_payload *payloads;
    uint32_t n_chunks, n_payloads;
    wire_chunk last;               /* the newest chunk, to which an unpacked element may be added */
} scan;

/* -- Reading and writing --------------------------------------------------------------------------------- */

bool wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *v)
{
    uint64_t x = 0;
    const uint8_t *p = *at;
    for (int shift = 0; shift < 70; shift += 7) {
        if (p == end) return false;
        uint8_t b = *p++;
        if (shift == 63 && b > 1) return false;
        x |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *at = p;
            *v = x;
            return true;
        }
    }
    return false;
}

static bool wrong(scan *s, const char *what)
{
    diag_onnx_wire(s->ctx, s->at, what, (unsigned long long)(s->p - s->file.at));
    return false;
}

static void put(scan *s, const void *p, size_t n)
{
    if (s->out && n) memcpy(s->out + s->n_out, p, n);
    s->n_out += n;
}

static void put_varint(scan *s, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    for (; v > 127; v >>= 7) b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    put(s, b, n);
}

static void patch_length(scan *s, uint64_t body)
{
    if (!s->out) return;
    uint64_t n = s->n_out - body;
    for (int i = 0; i < LENGTH_BYTES; i++, n >>= 7)
        s->out[body - LENGTH_BYTES + (uint64_t)i] = (uint8_t)((n & 0x7f) | (i < LENGTH_BYTES - 1 ? 0x80 : 0));
}

/* -- Payloads of tensors --------------------------------------------------------------------------------- */

static bool is_payload(const open_message *m, uint32_t field)
{
    return m->type == &onnx__tensor_proto__descriptor &&
           (field == 4 || field == 5 || field == 6 || field == 7 || field == 9 || field == 10 || field == 11);
}

static void add_chunk(scan *s, open_message *m, wire_chunk c)
{
    if (m->payload < 0) {
        m->payload = s->n_payloads++;
        if (s->payloads) s->payloads[m->payload] = (wire_payload){ s->n_chunks, 0 };
        put_varint(s, (uint64_t)OURS << 3 | WIRE_VARINT);
        put_varint(s, (uint64_t)m->payload);
        s->last.n_elem = 0;
    }
    wire_chunk *last = &s->last;
    if (!c.packed && !last->packed && last->n_elem > 0 && last->field == c.field &&
        last->at + last->n == c.at) {
        last->n += c.n;
        last->n_elem += c.n_elem;
    } else {
        *last = c;
        s->n_chunks++;
        if (s->payloads) s->payloads[m->payload].n++;
    }
    if (s->chunks) s->chunks[s->n_chunks - 1] = *last;
}

/* Elements in n packed bytes; -1 if they are not whole. */
static int64_t count_packed(ProtobufCType type, const uint8_t *p, size_t n)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FLOAT: return n % 4 ? -1 : (int64_t)(n / 4);
    case PROTOBUF_C_TYPE_DOUBLE: return n % 8 ? -1 : (int64_t)(n / 8);
    default: break;
    }
    int64_t k = 0;
    uint64_t v;
    for (const uint8_t *end = p + n; p < end; k++)
        if (!wire_varint(&p, end, &v)) return -1;
    return k;
}

/* -- One field ------------------------------------------------------------------------------------------- */

static int wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING: case PROTOBUF_C_TYPE_BYTES: case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
    default: return WIRE_VARINT;
    }
}

static bool can_pack(const ProtobufCFieldDescriptor *f)
{
    return f->label == PROTOBUF_C_LABEL_REPEATED && wire_of(f->type) != WIRE_BYTES;
}

static bool enter(scan *s, open_message *m, const ProtobufCFieldDescriptor *f, const uint8_t *body,
                  uint64_t n)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        unsigned i = (unsigned)(f - m->type->fields);
        assert(i < MAX_SINGULAR);
        if (m->seen >> i & 1) {
            diag_onnx_twice(s->ctx, s->at, f->name, (unsigned long long)(s->p - s->file.at));
            return false;
        }
        m->seen |= 1ull << i;
    }
    if (s->depth == MAX_DEPTH) {
        diag_onnx_depth(s->ctx, s->at, MAX_DEPTH, (unsigned long long)(s->p - s->file.at));
        return false;
    }
    put_varint(s, (uint64_t)f->id << 3 | WIRE_BYTES);
    put(s, "\0\0\0\0", LENGTH_BYTES);
    s->stack[s->depth++] =
        (open_message){ .type = f->descriptor, .end = body + n, .body = s->n_out, .payload = -1 };
    s->p = body;
    return true;
}

/* A field of the schema, of which [from, s->p) is the tag; val is the varint or the length that followed,
 * data what it measures. Leaves s->p behind the field, or at the start of a nested message. */
static bool known_field(scan *s, open_message *m, const ProtobufCFieldDescriptor *f, int wire,
                        const uint8_t *from, uint64_t val, const uint8_t *data, const uint8_t *after)
{
    bool packed = wire == WIRE_BYTES && can_pack(f);
    if (!packed && wire != wire_of(f->type)) {
        diag_onnx_wire_type(s->ctx, s->at, f->name, wire, (unsigned long long)(s->p - s->file.at));
        return false;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) return enter(s, m, f, data, val);

    int64_t n_elem = packed ? count_packed(f->type, data, val) : 1;
    if (n_elem < 0) return wrong(s, "packed elements that are not whole");
    if (f->type == PROTOBUF_C_TYPE_STRING && memchr(data, 0, val))
        return wrong(s, "a name that holds a NUL character");

    if (is_payload(m, f->id)) {
        wire_chunk c = {
            .field = (int)f->id, .packed = packed, .n_elem = n_elem, .at = from, .n = (size_t)(after - from)
        };
        if (packed || f->id == 9) { c.at = data; c.n = val; }
        if (f->id == 9) { c.packed = true; c.n_elem = (int64_t)val; }
        add_chunk(s, m, c);
    } else {
        put_varint(s, (uint64_t)f->id << 3 | (unsigned)wire);
        if (wire == WIRE_VARINT || wire == WIRE_BYTES) put_varint(s, val);
        if (wire != WIRE_VARINT) put(s, data, (size_t)(after - data));
    }
    s->p = after;
    return true;
}

static bool field(scan *s)
{
    open_message *m = &s->stack[s->depth - 1];
    const uint8_t *from = s->p, *p = s->p;
    uint64_t tag, val = 0;
    if (!wire_varint(&p, m->end, &tag)) return wrong(s, "a tag that is cut off or too long");
    uint64_t id = tag >> 3;
    int wire = (int)(tag & 7);
    if (id == 0 || id >= 1u << 29) return wrong(s, "a field number outside 1 to 536870911");

    const uint8_t *data = p, *after = p;
    uint64_t left = (uint64_t)(m->end - p);
    switch (wire) {
    case WIRE_VARINT:
        if (!wire_varint(&after, m->end, &val)) return wrong(s, "an integer that is cut off or over 64 bits");
        break;
    case WIRE_32: case WIRE_64:
        if (left < (wire == WIRE_32 ? 4u : 8u)) return wrong(s, "a number that is cut off");
        after = p + (wire == WIRE_32 ? 4 : 8);
        break;
    case WIRE_BYTES:
        if (!wire_varint(&data, m->end, &val)) return wrong(s, "a length that is cut off or over 64 bits");
        if (val > (uint64_t)(m->end - data)) {
            diag_onnx_length(s->ctx, s->at, (unsigned long long)val, (unsigned long long)(m->end - data),
                             (unsigned long long)(s->p - s->file.at));
            return false;
        }
        after = data + val;
        break;
    case WIRE_GROUP: case WIRE_GROUP_END: return wrong(s, "a protobuf group");
    default: return wrong(s, "a field of unknown wire type");
    }

    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(m->type, (unsigned)id);
    if (f && !(m->type == &onnx__tensor_proto__descriptor && id == OURS))
        return known_field(s, m, f, wire, from, val, data, after);
    s->p = after;                                    /* unknown: skipped */
    return true;
}

/* -- The rounds ------------------------------------------------------------------------------------------ */

static bool walk(scan *s, const ProtobufCMessageDescriptor *root)
{
    s->p = s->file.at;
    s->n_out = 0;
    s->n_chunks = s->n_payloads = 0;
    s->stack[0] = (open_message){ .type = root, .end = s->file.at + s->file.n, .payload = -1 };
    s->depth = 1;
    while (s->depth > 0) {
        open_message *m = &s->stack[s->depth - 1];
        if (s->p == m->end) {
            if (s->depth > 1) patch_length(s, m->body);
            s->depth--;
        } else if (!field(s)) {
            return false;
        }
        if (s->n_out > MAX_SKELETON) return wrong(s, "more than 2 GiB beside the elements of tensors");
    }
    return true;
}

bool wire_scan(dlc_context *ctx, arena *a, arena *scratch, const char *path, bytes file,
               const ProtobufCMessageDescriptor *root, wire_scanned *out)
{
    scan *s = NEW(scratch, scan);
    s->ctx = ctx;
    s->at = (place){ .file = path };
    s->file = file;
    if (!walk(s, root)) return false;

    s->out = arena_alloc(scratch, s->n_out + 1);
    s->chunks = NEW_ARRAY(a, wire_chunk, s->n_chunks);
    s->payloads = NEW_ARRAY(a, wire_payload, s->n_payloads);
    bool again = walk(s, root);
    assert(again);
    (void)again;
    *out = (wire_scanned){ { s->out, (size_t)s->n_out }, s->chunks, s->payloads, s->n_payloads };
    return true;
}
