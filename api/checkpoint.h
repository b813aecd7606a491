/* api/checkpoint.h: how far a training has come, in a file: written after every epoch, read when it begins
 * again. */
#ifndef DLC_API_CHECKPOINT_H
#define DLC_API_CHECKPOINT_H
#include "frontend/lang/lang.h"

typedef struct {
    int64_t step, epoch, batch;        /* updates made; the epoch that goes on, from this batch */
    int64_t wait;                      /* epochs without a better score */
    bool has_kept;                     /* kept: the best values so far, whose score is best */
    double best;
    float val_loss;
    tensor *values, *kept;             /* of the variables */
} progress;

/* The file, an .npz: variables by their paths, kept ones with `=best.` before, numbers as `=progress` and
 * `=scores`. */
dlc_status checkpoint_write(dlc_context *ctx, arena *a, const char *path, const lang_training *t,
                            const progress *p);
/* Into p, if there is such a file. Every variable must be there, of its type. */
dlc_status checkpoint_read(dlc_context *ctx, arena *a, const char *path, const lang_training *t, progress *p);
#endif
