/* api/header.h: the C header of a compiled model. */
#ifndef DLC_API_HEADER_H
#define DLC_API_HEADER_H
#include "ir/loop.h"

/* A C identifier out of any name: what does not fit becomes _, and a leading digit or keyword is prefixed. */
const char *c_identifier(arena *a, const char *name);

/* PREFIX.h: self-contained C99: the interface of runtime/model.h, macros for sizes, one typed function.
 * has_pool: the library holds the thread pool, and the header declares it; stack_bytes: of local arrays, < 0:
 * not known. */
void header_write(const program *p, const char *prefix, bool has_pool, int64_t stack_bytes, text *out);
#endif
