/* checkpoint: progress of a training in a file (checkpoint.h) */
#include "api/checkpoint.h"
#include "api/tensor_file.h"
#include <unistd.h>

enum { N_NUMBERS = 5, N_SCORES = 2 };
#define BEST "=best."

dlc_status checkpoint_write(dlc_context *ctx, arena *a, const char *path, const lang_training *t,
                            const progress *p)
{
    int64_t numbers[N_NUMBERS] = { p->step, p->epoch, p->batch, p->wait, p->has_kept };
    double scores[N_SCORES] = { p->best, (double)p->val_loss };
    tensor progress_t = { .dtype = DTYPE_i64, .rank = 1, .dims = { N_NUMBERS }, .bytes = numbers };
    tensor scores_t = { .dtype = DTYPE_f64, .rank = 1, .dims = { N_SCORES }, .bytes = scores };
    named_tensor *all = NEW_ARRAY(a, named_tensor, 2 * t->n_vars + 2);
    int n = 0;
    all[n++] = (named_tensor){ "=progress", &progress_t };
    all[n++] = (named_tensor){ "=scores", &scores_t };
    for (int i = 0; i < t->n_vars; i++) all[n++] = (named_tensor){ t->vars[i].path, &p->values[i] };
    for (int i = 0; p->has_kept && i < t->n_vars; i++)
        all[n++] = (named_tensor){ arena_printf(a, BEST "%s", t->vars[i].path), &p->kept[i] };
    return tensors_write(ctx, a, path, n, all);
}

/* The tensor of a name, of this type, into `to`. */
static bool take(dlc_context *ctx, arena *a, const char *path, tensor_entries *e, const char *name,
                 const tensor *like, void *to)
{
    for (int64_t i = 0; i < e->n; i++) {
        const tensor *t = &e->at[i].t;
        if (strcmp(e->at[i].name, name) != 0) continue;
        if (t->dtype != like->dtype || t->rank != like->rank ||
            memcmp(t->dims, like->dims, sizeof *t->dims * (size_t)t->rank) != 0)
            break;
        if (tensor_load(ctx, a, &e->at[i]) != DLC_OK) return false;
        memcpy(to, e->at[i].t.bytes, tensor_bytes(like));
        return true;
    }
    diag_checkpoint(ctx, (place){ .file = path }, name);
    return false;
}

dlc_status checkpoint_read(dlc_context *ctx, arena *a, const char *path, const lang_training *t, progress *p)
{
    tensor_entries e = { 0 };
    int64_t numbers[N_NUMBERS];
    double scores[N_SCORES];
    tensor progress_t = { .dtype = DTYPE_i64, .rank = 1, .dims = { N_NUMBERS } },
           scores_t = { .dtype = DTYPE_f64, .rank = 1, .dims = { N_SCORES } };
    if (access(path, F_OK) != 0) return DLC_OK;
    dlc_status s = tensors_open(ctx, a, path, &e);
    if (s != DLC_OK) return s;
    bool ok = take(ctx, a, path, &e, "=progress", &progress_t, numbers) &&
              take(ctx, a, path, &e, "=scores", &scores_t, scores);
    for (int i = 0; ok && i < t->n_vars; i++)
        ok = take(ctx, a, path, &e, t->vars[i].path, &p->values[i], p->values[i].bytes);
    for (int i = 0; ok && numbers[4] && i < t->n_vars; i++)
        ok = take(ctx, a, path, &e, arena_printf(a, BEST "%s", t->vars[i].path), &p->kept[i],
                  p->kept[i].bytes);
    for (int i = 0; ok && i < 4; i++)
        if (numbers[i] < 0) { diag_checkpoint(ctx, (place){ .file = path }, "=progress"); ok = false; }
    if (!ok) return ctx->status ? ctx->status : DLC_ERR_INPUT;
    p->step = numbers[0];
    p->epoch = numbers[1];
    p->batch = numbers[2];
    p->wait = numbers[3];
    p->has_kept = numbers[4] != 0;
    p->best = scores[0];
    p->val_loss = (float)scores[1];
    return DLC_OK;
}
