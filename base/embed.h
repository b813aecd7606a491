/* embed: files that libdlc carries as bytes
 *
 * The build makes one table for each set (cmake/DlcEmbed.cmake); a table ends with a row whose name is NULL.
 * After each file's bytes comes a zero byte that size does not count, so text can be read as a string.
 */
#ifndef DLC_BASE_EMBED_H
#define DLC_BASE_EMBED_H
#include <stdint.h>

typedef struct {
    const char *name;           /* path below its folder, as "layers.dl" */
    const char *bytes;
    uint64_t size;
} embedded_file;

extern const embedded_file embedded_std[];      /* frontend/lang/std: the language's own library */
extern const embedded_file embedded_runtime[];  /* pool.c pool.h runtime.h model.h pool.o */

#endif
