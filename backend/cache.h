/* backend/cache.h: code and packed weights, from the cache or made anew. Files: backend/store.h. */
#ifndef DLC_BACKEND_CACHE_H
#define DLC_BACKEND_CACHE_H
#include "backend/codegen.h"

/* Loads p's code. With o->cache_dir a shared library there is used, or made; without it (or where the cache
 * cannot be used: no linker, no space) the code is made in memory. `llvm` opens the backend and is called
 * only if code must be made. Constants stay where p holds them: p must live as long as the code. */
dlc_status load_code(dlc_context *ctx, const program *p, const codegen_options *o,
                     const llvm_backend *(*llvm)(dlc_context *ctx), loaded_code **out,
                     const struct dlc_model **model);
/* A shared library for users at `path`, its constants inside; from the cache, if one was made of the same
 * program and constants. *kept: its name in the cache, in a; NULL: it is not there. */
dlc_status emit_library(dlc_context *ctx, arena *a, const program *p, const codegen_options *o,
                        const llvm_backend *(*llvm)(dlc_context *ctx), const char *path, const char **kept);
/* The one of this name to `path`; false: there is none. */
bool copy_library(arena *a, const codegen_options *o, const char *name, const char *path);
/* What tells one build of dlc from another, into a key. */
void cache_put_build(text *t);
void unload_code(loaded_code *code);                     /* NULL is fine */

/* Sets the data of p's constants that are computed (pbuf.expr_graph) to what the cache holds, mapped for p's
 * life. False: it has nothing, or they are few; they are to be evaluated. */
bool load_weights(dlc_context *ctx, program *p, const codegen_options *o);
/* Keeps them, once they are evaluated. */
void keep_weights(dlc_context *ctx, const program *p, const codegen_options *o);
#endif
