/* api/profile.h: where the time of a run goes, kernel by kernel, and what the machine could do (`dlc bench --profile`). */
#ifndef DLC_API_PROFILE_H
#define DLC_API_PROFILE_H
#include "api/engine.h"

typedef struct {
    const char *name;
    vec(const char *) layers;          /* what its calls are for: "conv1 (Conv)", "line 12"; each once */
    int64_t calls;                     /* in a run */
    double least;                      /* seconds of these calls, of the run where they took least */
    double flops, bytes;               /* of one call (cost.h) */
    double seconds; int64_t n;         /* of the run under way */
} profile_row;

typedef struct profile { int64_t n; profile_row *rows; double started; } profile;

/* Of a program that was made with codegen.profile, for open sizes as in p: of the variant that p runs, if there is one. */
profile *profile_new(dlc_context *ctx, arena *a, const prepared *p);
void profile_call(void *arg, int64_t kernel, int64_t is_end);          /* the hook of profiled_run; arg: a profile */
void profile_run_done(profile *f);                                     /* after each run */
void profile_reset(profile *f);                                        /* forgets what was counted */

/* The most that generated code reaches on these threads, measured now (some 0.2 s): multiply-adds of f32 in vectors of the
 * target that o names, and bytes read from memory, `read_bytes` of them, several times what the caches hold. */
typedef struct { double flops, bytes, read_bytes; } machine_peak;
dlc_status profile_peak(dlc_context *ctx, const driver_options *o, const dlc_run_hook *hook, int threads, machine_peak *out);
#endif
