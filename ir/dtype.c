/* ir/dtype.c: the facts of dtype.def. */
#include "ir/dtype.h"

const dtype_row dtype_info[DTYPE_COUNT] = {
    [DTYPE_NONE] = { "none", 0, CLASS_STORE, 0, "" },
#define DTYPE(name, bytes, cls, bits, doc) [DTYPE_##name] = { #name, bytes, CLASS_##cls, bits, doc },
#include "ir/dtype.def"
};

dtype dtype_by_name(const char *s, size_t n)
{
    for (int t = DTYPE_NONE + 1; t < DTYPE_COUNT; t++)
        if (strlen(dtype_info[t].name) == n && memcmp(dtype_info[t].name, s, n) == 0) return (dtype)t;
    return DTYPE_NONE;
}
