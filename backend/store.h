/* backend/store.h: a folder of files that can be made again (backend/cache.h keeps code and weights there).
 *
 * Writing  by rename, mode 0600, in a folder of mode 0700. Each new file also removes the oldest ones (by
 *          last use) while all together are over 2 GB, and what writers that died left behind.
 * Reading  only regular files of this user that nobody else may read or write, whose last 24 bytes are their
 *          size and hash.
 * Failure  of any kind means only that the thing is made anew.
 */
#ifndef DLC_BACKEND_STORE_H
#define DLC_BACKEND_STORE_H
#include "base/base.h"

enum { STORE_SEAL = 24 };

/* $DLC_CACHE_DIR, else $XDG_CACHE_HOME/dlc, else ~/.cache/dlc; NULL: none ($DLC_CACHE_DIR is empty, or no
 * home of this user). Nothing is made. In arena a. */
const char *store_default(arena *a);

/* The folder is there (made if not) and only this user may write to it. */
bool store_ready(arena *a, const char *dir);

/* The place of an entry: dir/HASH.ending, of 128 bits of hash of the key. */
const char *store_path(arena *a, const char *dir, const text *key, const char *ending);

/* A name beside it for the writer. */
const char *store_fresh(arena *a, const char *path);

/* Seals the file `fresh` and puts it at `path`. False: it is gone. */
bool store_commit(arena *a, const char *fresh, const char *path);

/* Writes the bytes of parts, each padded to a multiple of 64. */
bool store_write(arena *a, const char *path, int64_t n, const bytes *parts);

/* The checked contents, mapped as long as the arena a lives. */
bool store_map(arena *a, const char *path, bytes *out);

/* The checked contents as a file in memory, which nobody else can change; -1: none. The caller closes it. */
int store_copy(const char *path);

void store_evict(arena *a, const char *dir);
#endif
