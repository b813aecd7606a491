/* api/engine_c.h: portable C, written, and made into a library. */
#ifndef DLC_API_ENGINE_C_H
#define DLC_API_ENGINE_C_H
#include "api/driver.h"
#include "backend/c/cgen.h"

/* The C file and its weights (backend/c/cgen.h); header: as the file includes it. */
dlc_status driver_emit_c(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *header, bytes *c, bytes *bin);
/* A shared library at `path`, made in `folder`; *weights: to be given to runs, or NULL; in `a`. */
dlc_status c_library(dlc_context *ctx, arena *a, const program *p, const driver_options *o, const char *folder, const char *path, const void **weights);

#endif
