/* step: a training step in the hands of the caller (the part "Training" of include/dlc/dlc.h)
 *
 * The variables stand in the block of states of the engine, which a step changes in place, as the step in a file does. Sizes are
 * fixed, so all pointers but those of the batch are laid out once; then a step is one call of the generated code.
 */
#include "api/public.h"
#include "api/train.h"
#include <math.h>

struct dlc_step {
    arena *arena;
    engine *e;
    lang_training train;
    int n_batch; int *batch;            /* inputs of the engine that a batch brings */
    tensor *type;                       /* of each input of the engine */
    tensor *var;                        /* the values */
    tensor *losses;
    prepared p;
    int64_t step, epoch;
    float val_loss;
};

/* An input that is no batch; NULL: it is one. */
static void *number_named(dlc_step *s, const char *name)
{
    if (strcmp(name, "step") == 0) return &s->step;
    if (strcmp(name, "epoch") == 0) return &s->epoch;
    return strcmp(name, "val_loss") == 0 ? &s->val_loss : NULL;
}

static dlc_status lay_out(dlc_context *ctx, dlc_step *s)
{
    arena *a = s->arena;
    const engine *e = s->e;
    tensor *in = s->type = NEW_ARRAY(a, tensor, e->n_in + 1);
    void **out = NEW_ARRAY(a, void *, e->n_out + 1);
    s->batch = NEW_ARRAY(a, int, e->n_in + 1);
    for (int i = 0; i < e->n_in; i++) {
        in[i] = (tensor){ .dtype = e->in_dtype[i], .rank = e->in_rank[i], .bytes = number_named(s, e->in_name[i]) };
        engine_input_shape(e, i, in[i].dims);
        if (!in[i].bytes) s->batch[s->n_batch++] = i;
    }
    s->losses = NEW_ARRAY(a, tensor, s->train.n_losses + 1);
    for (int i = 0; i < s->train.n_losses; i++) {
        s->losses[i] = (tensor){ .dtype = e->out_dtype[i], .bytes = arena_alloc(a, 64) };
        out[i] = s->losses[i].bytes;
    }
    return engine_prepare_in(ctx, a, e, in, NULL, NULL, out, &s->p);
}

static dlc_status make(dlc_context *ctx, dlc_step *s, const char *path, const char *block_name, const char *const *options)
{
    settings set;
    dlc_status st = public_options(ctx, s->arena, options, &set);
    if (st == DLC_OK) st = driver_train(ctx, s->arena, path, block_name, &set.driver, &s->train);
    if (st == DLC_OK) st = train_engine(ctx, s->arena, &set.driver, set.kind, &s->train, &s->e, &s->var);
    s->val_loss = INFINITY;
    return st == DLC_OK ? lay_out(ctx, s) : st;
}

dlc_status dlc_step_open(dlc_context *ctx, const char *path, const char *block_name, const char *const *options, dlc_step **step)
{
    mem_frame frame;
    context_clear_diags(ctx);
    *step = NULL;
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    arena *a = arena_new(&ctx->mem);
    dlc_step *s = NEW(a, dlc_step);
    s->arena = a;
    dlc_status st = make(ctx, s, path, block_name, options);
    if (st == DLC_OK) *step = s;
    else arena_free(a);
    mem_end(&ctx->mem, &frame);
    return st;
}

void dlc_step_close(dlc_step *s)
{
    if (s) arena_free(s->arena);
}

static dlc_tensor outside(const tensor *t)
{
    dlc_tensor x = { .dtype = (int32_t)t->dtype, .rank = t->rank, .data = t->bytes };
    memcpy(x.dims, t->dims, sizeof x.dims);
    return x;
}

size_t dlc_step_n_inputs(const dlc_step *s) { return (size_t)s->n_batch; }
const char *dlc_step_input_name(const dlc_step *s, size_t i) { return i < (size_t)s->n_batch ? s->e->in_name[s->batch[i]] : NULL; }
dlc_tensor dlc_step_input(const dlc_step *s, size_t i) { return i < (size_t)s->n_batch ? outside(&s->type[s->batch[i]]) : (dlc_tensor){ 0 }; }
size_t dlc_step_n_losses(const dlc_step *s) { return (size_t)s->train.n_losses; }
const char *dlc_step_loss_name(const dlc_step *s, size_t i) { return i < (size_t)s->train.n_losses ? s->train.losses[i] : NULL; }
size_t dlc_step_n_variables(const dlc_step *s) { return (size_t)s->train.n_vars; }
const char *dlc_step_variable_name(const dlc_step *s, size_t i) { return i < (size_t)s->train.n_vars ? s->train.vars[i].path : NULL; }
dlc_tensor dlc_step_variable(dlc_step *s, size_t i) { return i < (size_t)s->train.n_vars ? outside(&s->var[i]) : (dlc_tensor){ 0 }; }

static bool same_type(const dlc_tensor *x, const tensor *t)
{
    return x->dtype == (int32_t)t->dtype && x->rank == t->rank && memcmp(x->dims, t->dims, sizeof *t->dims * (size_t)t->rank) == 0;
}

static dlc_status check_batch(dlc_context *ctx, const dlc_step *s, const dlc_tensor *batch)
{
    for (int i = 0; i < s->n_batch; i++) {
        const tensor *want = &s->type[s->batch[i]];
        if (same_type(&batch[i], want)) continue;
        const char *name = s->e->in_name[s->batch[i]];
        if (batch[i].dtype != (int32_t)want->dtype || batch[i].rank != want->rank) {
            tensor have = public_tensor(&batch[i]);
            diag_run_input(ctx, (place){ 0 }, name, arena_printf(ctx->arena, "%s of rank %d", dtype_info[want->dtype].name, want->rank),
                           arena_printf(ctx->arena, "%s of rank %d", have.dtype ? dtype_info[have.dtype].name : "?", have.rank));
            return DLC_ERR_DTYPE;
        }
        int k = 0;
        while (batch[i].dims[k] == want->dims[k]) k++;
        diag_run_size(ctx, (place){ 0 }, name, k, (long long)want->dims[k], (long long)batch[i].dims[k]);
        return DLC_ERR_SHAPE;
    }
    return DLC_OK;
}

static dlc_status run_one(dlc_context *ctx, dlc_step *s, const dlc_tensor *batch, double *losses, dlc_pool *pool)
{
    dlc_status st = check_batch(ctx, s, batch);
    if (st != DLC_OK) return st;
    prepared *p = &s->p;
    for (int i = 0; i < s->n_batch; i++) {
        s->type[s->batch[i]].bytes = batch[i].data;
        if (p->inputs) p->inputs[s->batch[i]] = batch[i].data;
    }
    p->run.hook = (dlc_run_hook){ pool ? dlc_parallel : NULL, pool };
    arena *a = s->e->model ? NULL : arena_new(&ctx->mem);           /* the interpreters need memory */
    st = engine_step(ctx, a, p, NULL);
    arena_free(a);
    if (st != DLC_OK) return st;
    for (int i = 0; losses && i < s->train.n_losses; i++)
        losses[i] = sv_to_f64(s->losses[i].dtype, sv_load(s->losses[i].dtype, s->losses[i].bytes));
    s->step++;
    return DLC_OK;
}

dlc_status dlc_step_run(dlc_context *ctx, dlc_step *s, const dlc_tensor *batches, size_t count, double *losses, dlc_pool *pool)
{
    mem_frame frame;
    context_clear_diags(ctx);
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    dlc_status st = DLC_OK;
    for (size_t k = 0; k < count && st == DLC_OK; k++)
        st = run_one(ctx, s, batches + k * (size_t)s->n_batch, losses ? losses + k * (size_t)s->train.n_losses : NULL, pool);
    mem_end(&ctx->mem, &frame);
    return st;
}
