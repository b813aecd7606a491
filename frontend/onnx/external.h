/* frontend/onnx/external.h: the one opener of files that a model names. */
#ifndef DLC_FRONTEND_ONNX_EXTERNAL_H
#define DLC_FRONTEND_ONNX_EXTERNAL_H
#include "frontend/onnx/onnx_model.h"

typedef struct external external;

/* Files live as long as `a`. */
external *external_new(dlc_context *ctx, arena *a, const char *model_path);

/* The `need` bytes of t's elements. False: a diagnostic at `at` says what is wrong with the entry or the
 * file. */
bool external_bytes(external *e, place at, const tensor_proto *t, int64_t need, const uint8_t **out);

#endif
