/* api/train_onnx.h: a model of ONNX as a training program of the language. */
#ifndef DLC_API_TRAIN_ONNX_H
#define DLC_API_TRAIN_ONNX_H
#include "api/driver.h"

/* The program that minimizes o->loss with o->optimizer: out->lang.source, under *name; the rest of *out is *o. */
dlc_status train_onnx_program(dlc_context *ctx, arena *a, const char *path, const driver_options *o, driver_options *out, const char **name);
#endif
