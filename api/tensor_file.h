/* api/tensor_file.h: tensors in files: .npy, .npz, .pb (a TensorProto), .safetensors (read only); pictures as
 * .png.
 *
 * Reading has two steps, so that a file's claims can be compared with what is wanted before memory is spent
 * on them: tensors_open gives names, types and shapes, tensor_load the elements.
 */
#ifndef DLC_API_TENSOR_FILE_H
#define DLC_API_TENSOR_FILE_H
#include "ir/tensor.h"

/* One tensor of a file. t.bytes is NULL until loaded, and then only read: it may lie in the mapped file. */
typedef struct tensor_entry {
    const char *file, *name;               /* name: "" if the file gives none; to be escaped when printed */
    tensor t;
    bool is_picture;                       /* u8[height, width, channels] */
    bool is_swapped, is_fortran;           /* npy: big endian; first axis fastest */
    bytes packed; int method;              /* npz: the member as stored, and its ZIP method */
    size_t header_bytes;                   /* npy: before the elements */
} tensor_entry;
typedef vec(tensor_entry) tensor_entries;

/* Appends the tensors of the file to `out`. What is said below lives in `a`. Not DLC_OK: a diagnostic. */
dlc_status tensors_open(dlc_context *ctx, arena *a, const char *path, tensor_entries *out);
dlc_status tensor_load(dlc_context *ctx, arena *a, tensor_entry *e);

/* Writes by the ending of `path`: .npy and .pb take one tensor, .npz any number (names are the members'). */
typedef struct { const char *name; const tensor *t; } named_tensor;
dlc_status tensors_write(dlc_context *ctx, arena *a, const char *path, int n, const named_tensor *tensors);
dlc_status tensor_write_pb(dlc_context *ctx, arena *a, const char *path, const char *name, const tensor *t);

/* -- Single elements ------------------------------------------------------------------------------------- */

/* Element i as a number, also of types that are only stored (f8e4m3fn, i4, …). */
double tensor_f64(const tensor *t, int64_t i);
int64_t tensor_i64(const tensor *t, int64_t i);          /* of integer types and bool */

/* NULL if `got` is as near to `want` as the ONNX suite asks: types and shapes equal, integers exactly, floats
 * within atol + rtol * |want|, NaN equal to NaN; else what differs (in `a`). */
const char *tensor_differs(arena *a, const tensor *got, const tensor *want, double rtol, double atol);
/* Bit by bit, but all NaN are equal. */
const char *tensor_differs_bits(arena *a, const tensor *got, const tensor *want);

/* -- The parts (tensor_npy.c, tensor_npz.c, tensor_png.c) ------------------------------------------------ */

bool npy_read_header(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entry *e);
bool npy_finish(arena *a, tensor_entry *e, const uint8_t *elements);
void npy_header(text *t, const tensor *x);
dlc_status npz_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out);
dlc_status npz_load(dlc_context *ctx, arena *a, tensor_entry *e);
dlc_status npz_write(dlc_context *ctx, arena *a, const char *path, int n, const named_tensor *tensors);
dlc_status safetensors_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out);
dlc_status png_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out);

#endif
