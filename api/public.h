/* api/public.h: what the files that define include/dlc/dlc.h share. */
#ifndef DLC_API_PUBLIC_H
#define DLC_API_PUBLIC_H
#include "api/settings.h"
#include "include/dlc/dlc.h"
#include "runtime/pool.h"

dlc_status public_out_of_memory(dlc_context *ctx);
/* Words "name=value" or "name", ended by NULL. */
dlc_status public_options(dlc_context *ctx, arena *a, const char *const *options, settings *s);
/* A tensor of the caller; one that makes no sense gets the type DTYPE_NONE, which no program takes. */
tensor public_tensor(const dlc_tensor *x);
#endif
