/* frontend/onnx/onnx_model.h: a decoded file: messages of the schema under short names, and their payloads.
 */
#ifndef DLC_FRONTEND_ONNX_ONNX_MODEL_H
#define DLC_FRONTEND_ONNX_ONNX_MODEL_H
#include "frontend/onnx/schema/dlc_onnx.pb-c.h"
#include "frontend/onnx/wire_scan.h"

typedef Onnx__ModelProto model_proto;
typedef Onnx__GraphProto graph_proto;
typedef Onnx__NodeProto node_proto;
typedef Onnx__FunctionProto function_proto;
typedef Onnx__AttributeProto attribute_proto;
typedef Onnx__TensorProto tensor_proto;
typedef Onnx__SparseTensorProto sparse_proto;
typedef Onnx__TypeProto type_proto;
typedef Onnx__ValueInfoProto value_info_proto;
typedef Onnx__TensorShapeProto shape_proto;

/* Kinds of attributes, AttributeProto.type. */
enum {
    ATTR_FLOAT = 1, ATTR_INT, ATTR_STRING, ATTR_TENSOR, ATTR_GRAPH, ATTR_FLOATS, ATTR_INTS, ATTR_STRINGS,
    ATTR_TENSORS,
    ATTR_GRAPHS, ATTR_SPARSE_TENSOR, ATTR_SPARSE_TENSORS, ATTR_TYPE_PROTO, ATTR_TYPE_PROTOS
};

/* Element types, TensorProto.data_type. */
enum {
    ONNX_FLOAT = 1, ONNX_UINT8, ONNX_INT8, ONNX_UINT16, ONNX_INT16, ONNX_INT32, ONNX_INT64, ONNX_STRING,
    ONNX_BOOL,
    ONNX_FLOAT16, ONNX_DOUBLE, ONNX_UINT32, ONNX_UINT64, ONNX_COMPLEX64, ONNX_COMPLEX128, ONNX_BFLOAT16,
    ONNX_FLOAT8E4M3FN, ONNX_FLOAT8E4M3FNUZ, ONNX_FLOAT8E5M2, ONNX_FLOAT8E5M2FNUZ, ONNX_UINT4, ONNX_INT4,
    ONNX_FLOAT4E2M1, ONNX_FLOAT8E8M0, ONNX_UINT2, ONNX_INT2, ONNX_FLOAT6E2M3, ONNX_FLOAT6E3M2,
    ONNX_TYPE_COUNT
};

/* A message decoded from a file, and what its tensors need to be read. */
typedef struct {
    const char *path;
    const ProtobufCMessage *root;
    wire_scanned scan;
} decoded;

/* Scans and decodes `file` (which outlives `a`) as a message of type `root`: messages and tables go into `a`.
 * False: a diagnostic says why. */
bool decode_message(dlc_context *ctx, arena *a, const char *path, bytes file,
                    const ProtobufCMessageDescriptor *root, decoded *out);

static inline const char *str_or(const char *s, const char *other) { return s ? s : other; }
/* The official domain has two spellings. */
static inline const char *domain_name(const char *s) { return !s || strcmp(s, "ai.onnx") == 0 ? "" : s; }

#endif
