/* backend/cache.h: code in memory: from the cache of compiled programs, or made by the LLVM backend. */
#ifndef DLC_BACKEND_CACHE_H
#define DLC_BACKEND_CACHE_H
#include "backend/codegen.h"

/* Loads p's code. With o->cache_dir a shared library there is used, or made; without it (or where the cache cannot be
 * used: no linker, no space) the code is made in memory. `llvm` opens the backend and is called only if code must be made.
 * Constants stay where p holds them: p must live as long as the code. */
dlc_status load_code(dlc_context *ctx, const program *p, const codegen_options *o,
                     const llvm_backend *(*llvm)(dlc_context *ctx), loaded_code **out, const struct dlc_model **model);
void unload_code(loaded_code *code);                     /* NULL is fine */

/* $DLC_CACHE_DIR, else $XDG_CACHE_HOME/dlc, else ~/.cache/dlc; made if it is not there. NULL: none can be had. In arena a. */
const char *cache_default_dir(arena *a);
#endif
