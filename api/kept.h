/* api/kept.h: the files of a compile, kept by what they were made from. */
#ifndef DLC_API_KEPT_H
#define DLC_API_KEPT_H
#include "api/output.h"

typedef struct {
    const char *name;                /* of the file, without a folder */
    bytes contents;
    const char *library;        /* what holds the contents instead (backend/cache.h, keep_library); or NULL */
} kept_file;

typedef struct {
    dlc_context *ctx;
    arena *a;
    const char *dir, *path;          /* of the cache, and of the entry in it */
    bool is_strict;
    int64_t n_diags;                 /* of the context before the compile */
    file_log log;
    vec(kept_file) files;
    output_memory memory;
} kept;

/* NULL: no cache. The settings are finished, the prefix and the target are set. */
kept *kept_open(dlc_context *ctx, arena *a, const char *model, const char *stem, output_kind kind,
                const settings *s);
/* True: files and memory are those of an earlier compile of the same. */
bool kept_read(kept *k);
/* From here on it is noted which files are read, until kept_unwatch(). */
void kept_watch(kept *k);
void kept_unwatch(kept *k);
void kept_add(kept *k, const char *path, bytes contents, const char *library);
/* Keeps the files that were added, if they depend on nothing but what was noted. */
void kept_write(kept *k);
#endif
