/* step: a training step in the hands of the caller (the part "Training" of include/dlc/dlc.h)
 *
 * Every variable has two places. A step reads the values in the one and writes the new ones to the other, and the next step
 * goes the other way: nothing is copied, and no gradient can meet a weight that is changed already. Sizes are fixed, so all
 * pointers but those of the batch are laid out once; then a step is one call of the generated code.
 */
#include "api/public.h"
#include "api/train.h"
#include <math.h>

enum { FROM_VARIABLE, FROM_BATCH, FROM_STEP, FROM_EPOCH, FROM_VAL_LOSS };
typedef struct { int from, index; } source_of;

struct dlc_step {
    arena *arena;
    engine *e;
    lang_training train;
    source_of *source;                  /* of each input of the engine */
    int n_batch; int *batch;            /* inputs of the engine that a batch brings */
    tensor *type;                       /* of each input of the engine */
    tensor *var[2];                     /* the values, in either place */
    tensor *losses;
    prepared p[2];                      /* a run from place k to the other */
    void *work;
    int now;                            /* the place of the values */
    int64_t step, epoch;
    float val_loss;
};

static int named(const lang_training *t, const char *name)
{
    for (int i = 0; i < t->n_vars; i++)
        if (strcmp(t->vars[i].path, name) == 0) return i;
    return -1;
}

static source_of source_named(const lang_training *t, const char *name)
{
    int v = named(t, name);
    if (v >= 0) return (source_of){ FROM_VARIABLE, v };
    if (strcmp(name, "step") == 0) return (source_of){ FROM_STEP, 0 };
    if (strcmp(name, "epoch") == 0) return (source_of){ FROM_EPOCH, 0 };
    if (strcmp(name, "val_loss") == 0) return (source_of){ FROM_VAL_LOSS, 0 };
    return (source_of){ FROM_BATCH, 0 };
}

static void *aligned(arena *a, size_t bytes_)
{
    return (void *)(((uintptr_t)arena_alloc(a, bytes_ + 64) + 63) & ~(uintptr_t)63);
}

static dlc_status first_values(dlc_context *ctx, dlc_step *s, const driver_options *o)
{
    arena *a = arena_new(&ctx->mem);
    engine *e;
    tensor *out = NEW_ARRAY(a, tensor, s->train.n_vars + 1);
    dlc_status st = engine_make(ctx, a, s->train.init, o, ENGINE_eval, &e);
    if (st == DLC_OK) st = engine_run(ctx, a, e, NULL, out, NULL);
    for (int k = 0; k < 2; k++) s->var[k] = NEW_ARRAY(s->arena, tensor, s->train.n_vars + 1);
    for (int i = 0; st == DLC_OK && i < s->train.n_vars; i++) {
        for (int k = 0; k < 2; k++) {
            s->var[k][i] = out[i];
            s->var[k][i].bytes = aligned(s->arena, tensor_bytes(&out[i]));
        }
        memcpy(s->var[0][i].bytes, out[i].bytes, tensor_bytes(&out[i]));
    }
    arena_free(a);
    return st;
}

/* Where each input of the step comes from, and what it is. */
static void find_inputs(dlc_step *s)
{
    arena *a = s->arena;
    const engine *e = s->e;
    s->source = NEW_ARRAY(a, source_of, e->n_in + 1);
    s->type = NEW_ARRAY(a, tensor, e->n_in + 1);
    s->batch = NEW_ARRAY(a, int, e->n_in + 1);
    for (int i = 0; i < e->n_in; i++) {
        s->source[i] = source_named(&s->train, e->in_name[i]);
        if (s->source[i].from == FROM_BATCH) s->batch[s->n_batch++] = i;
        s->type[i] = (tensor){ .dtype = e->in_dtype[i], .rank = e->in_rank[i] };
        engine_input_shape(e, i, s->type[i].dims);
    }
}

static void *place_of(dlc_step *s, int k, source_of from)
{
    switch (from.from) {
    case FROM_VARIABLE: return s->var[k][from.index].bytes;
    case FROM_STEP: return &s->step;
    case FROM_EPOCH: return &s->epoch;
    case FROM_VAL_LOSS: return &s->val_loss;
    default: return NULL;
    }
}

/* Lays out the run from place k to the other. */
static dlc_status lay_out(dlc_context *ctx, dlc_step *s, int k)
{
    arena *a = s->arena;
    const engine *e = s->e;
    tensor *in = NEW_ARRAY(a, tensor, e->n_in + 1);
    void **out = NEW_ARRAY(a, void *, e->n_out + 1);
    for (int i = 0; i < e->n_in; i++) {
        in[i] = s->type[i];
        in[i].bytes = place_of(s, k, s->source[i]);
    }
    for (int i = 0; i < s->train.n_losses; i++) out[i] = s->losses[i].bytes;
    for (int i = 0; i < s->train.n_vars; i++) out[s->train.n_losses + i] = s->var[!k][i].bytes;
    if (!s->work) {
        size_t work;
        tensor *y = NEW_ARRAY(a, tensor, e->n_out + 1);
        dlc_status st = engine_sizes(ctx, a, e, in, y, &work);
        if (st != DLC_OK) return st;
        s->work = aligned(a, work);
    }
    return engine_prepare_in(ctx, a, e, in, NULL, s->work, out, &s->p[k]);
}

static dlc_status make(dlc_context *ctx, dlc_step *s, const char *path, const char *block_name, const char *const *options)
{
    settings set;
    dlc_status st = public_options(ctx, s->arena, options, &set);
    if (st == DLC_OK && (set.kind == ENGINE_eval || set.kind == ENGINE_loop)) {
        diag_option_value(ctx, (place){ 0 }, "backend", "a step of the caller runs as generated code: jit, so or c");
        st = DLC_ERR_INPUT;
    }
    if (st == DLC_OK) st = driver_train(ctx, s->arena, path, block_name, &set.driver, &s->train);
    if (st == DLC_OK) st = engine_make(ctx, s->arena, s->train.step, &set.driver, set.kind, &s->e);
    if (st == DLC_OK) st = first_values(ctx, s, &set.driver);
    if (st != DLC_OK) return st;
    find_inputs(s);
    s->losses = NEW_ARRAY(s->arena, tensor, s->train.n_losses + 1);
    for (int i = 0; i < s->train.n_losses; i++)
        s->losses[i] = (tensor){ .dtype = s->e->out_dtype[i], .bytes = aligned(s->arena, 8) };
    s->val_loss = INFINITY;
    st = lay_out(ctx, s, 0);
    return st == DLC_OK ? lay_out(ctx, s, 1) : st;
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
dlc_tensor dlc_step_variable(dlc_step *s, size_t i) { return i < (size_t)s->train.n_vars ? outside(&s->var[s->now][i]) : (dlc_tensor){ 0 }; }

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
    prepared *p = &s->p[s->now];
    for (int i = 0; i < s->n_batch; i++) p->inputs[s->batch[i]] = batch[i].data;
    p->run.hook = (dlc_run_hook){ pool ? dlc_parallel : NULL, pool };
    st = engine_step(ctx, NULL, p, NULL);
    if (st != DLC_OK) return st;
    for (int i = 0; losses && i < s->train.n_losses; i++)
        losses[i] = sv_to_f64(s->losses[i].dtype, sv_load(s->losses[i].dtype, s->losses[i].bytes));
    s->now = !s->now;
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
