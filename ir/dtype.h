/* ir/dtype.h: element types, from dtype.def. */
#ifndef DLC_IR_DTYPE_H
#define DLC_IR_DTYPE_H
#include "base/base.h"

typedef enum {
    DTYPE_NONE,               /* zero: a field left out says "the default" */
#define DTYPE(name, ...) DTYPE_##name,
#include "ir/dtype.def"
    DTYPE_COUNT
} dtype;

typedef enum { CLASS_FLOAT, CLASS_SINT, CLASS_UINT, CLASS_BOOL, CLASS_STORE } dtype_class;

typedef struct { const char *name; int bytes; dtype_class cls; int bits; const char *doc; } dtype_row;
extern const dtype_row dtype_info[DTYPE_COUNT];

static inline int dtype_bytes(dtype t) { return dtype_info[t].bytes; }
static inline bool is_float(dtype t) { return dtype_info[t].cls == CLASS_FLOAT; }
static inline bool is_int(dtype t)
{
    return dtype_info[t].cls == CLASS_SINT || dtype_info[t].cls == CLASS_UINT;
}

static inline bool is_signed(dtype t) { return dtype_info[t].cls == CLASS_SINT; }
static inline bool is_storage(dtype t) { return dtype_info[t].cls == CLASS_STORE; }
/* f16, bf16 compute and accumulate in f32; everything else in itself. */
static inline dtype compute_dtype(dtype t) { return t == DTYPE_f16 || t == DTYPE_bf16 ? DTYPE_f32 : t; }
static inline dtype carrier_dtype(dtype t)
{
    return !is_storage(t) ? t : t == DTYPE_i4 || t == DTYPE_i2 ? DTYPE_i8 : DTYPE_u8;
}

dtype dtype_by_name(const char *s, size_t n);     /* DTYPE_NONE if unknown */
#endif
