/* frontend/onnx/wire_scan.h: the first look at a protobuf file: is it well formed, and where are its large
 * parts. */
#ifndef DLC_FRONTEND_ONNX_WIRE_SCAN_H
#define DLC_FRONTEND_ONNX_WIRE_SCAN_H
#include "base/context.h"
#include <protobuf-c/protobuf-c.h>

/* A run of elements of one payload field of a TensorProto, left in the file: `n_elem` elements in `n` bytes.
 * Packed elements lie bare, one after the other; others each behind the `tag` bytes of their own tag.
 * raw_data is one chunk. */
typedef struct {
    int field;                /* number of the field in TensorProto */
    bool packed;
    int64_t n_elem;           /* of raw_data: n */
    const uint8_t *at;
    size_t n;
} wire_chunk;

typedef struct { uint32_t first, n; } wire_payload;       /* the chunks of one tensor, in file order */

typedef struct {
    bytes skeleton;           /* the message without what the schema does not know and without payloads */
    const wire_chunk *chunks;
    const wire_payload *payloads;      /* TensorProto.payload indexes it */
    uint32_t n_payloads;
} wire_scanned;

/* Checks `file` as a message of type `root`. The skeleton goes into `scratch`, the tables into `a`; both
 * point into the file. False: a diagnostic says what is wrong at which byte. */
bool wire_scan(dlc_context *ctx, arena *a, arena *scratch, const char *path, bytes file,
               const ProtobufCMessageDescriptor *root, wire_scanned *out);

/* A varint at *at, before end. False: cut, longer than ten bytes, or over 64 bits. */
bool wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *v);

#endif
