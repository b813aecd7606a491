/* api/train.h: runs a train block of a .dl file: the step compiled by an engine, data in the order of the language's rules. */
#ifndef DLC_API_TRAIN_H
#define DLC_API_TRAIN_H
#include "api/engine.h"

/* What is told while it runs. Any may be NULL. */
typedef struct {
    void (*first)(void *arg, const lang_training *t, const tensor *values);                       /* initial values */
    void (*step)(void *arg, int64_t step, int n, const char *const *names, const double *losses); /* before the update */
    /* after an epoch (is_end false) and at the end; part 0 1 2: training, validation, test */
    void (*report)(void *arg, int64_t epoch, int part, int n, const char *const *names, const tensor *values, bool is_end);
    /* a search: trial k begins with these constants; the trial that just ended is the best so far */
    void (*trial)(void *arg, int64_t k, int n, const lang_set *sets);
    void (*chosen)(void *arg);
    bool (*stop)(void *arg);            /* asked before each step; true: the checkpoint is written, and no more */
    void *arg;
} train_events;

/* block NULL: the only one. values: of t->vars, at the end, in `a`. */
dlc_status train_file(dlc_context *ctx, arena *a, const char *path, const char *block, const driver_options *o, engine_kind kind,
                      dlc_run_hook hook, const train_events *ev, lang_training *t, tensor **values);
/* What the variables begin with: drawn, or from the block's `load`, or from o->weights; in `a`. */
dlc_status train_first_values(dlc_context *ctx, arena *a, const driver_options *o, const lang_training *t, tensor **values);
/* The step as an engine whose states are the variables, at their first values; values: where they stand. */
dlc_status train_engine(dlc_context *ctx, arena *a, const driver_options *o, engine_kind kind, const lang_training *t, engine **e, tensor **values);
/* Parameters and states as an .npz with the paths as names. */
dlc_status train_save(dlc_context *ctx, arena *a, const char *path, const lang_training *t, const tensor *values);
#endif
