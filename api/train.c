/* train: the loop around a training step
 *
 * Inputs of the step's graph are found by name: variables, batches NAME.FIELD, step, epoch, val_loss. An epoch goes over the
 * first data set in the order of its permutation; the other sets are shuffled too and start again as needed. The variables stand
 * in the block of states of the step's engine, which changes them in place; batches are copied together into buffers of their own.
 */
#include "api/train.h"
#include "api/checkpoint.h"
#include "api/tensor_file.h"
#include "api/training.h"
#include <math.h>
#include <stdio.h>

typedef struct {
    dlc_context *ctx;
    arena *a;
    const driver_options *o;
    engine_kind kind;
    const train_events *ev;
    lang_training *t;
    progress at;
    double score;                      /* what `monitor` names, at the end */
    int64_t **order;                   /* of each data set, in this epoch */
    engine *step;
    tensor *in;                        /* of the step */
    prepared run;
    dlc_run_hook hook;                 /* threads */
} trainer;

static int variable_named(const lang_training *t, const char *name)
{
    for (int i = 0; i < t->n_vars; i++)
        if (strcmp(t->vars[i].path, name) == 0) return i;
    return -1;
}

static const tensor *field_named(const lang_training *t, const char *name, int *set)
{
    for (int i = 0; i < t->n_data; i++) {
        const lang_data *d = t->data[i];
        size_t n = strlen(d->name);
        if (strncmp(name, d->name, n) != 0 || name[n] != '.') continue;
        *set = i;
        for (int f = 0; f < d->n; f++)
            if (strcmp(d->field[f], name + n + 1) == 0) return &d->t[f];
    }
    return NULL;
}

/* Samples rows[0 … n-1] of a field into t, in `a` where it has no memory yet; rows start again after `of`. */
static void put_batch(arena *a, tensor *t, const tensor *field, const int64_t *rows, int64_t from, int64_t n, int64_t of)
{
    void *p = t->bytes;
    size_t row = field->dims[0] ? tensor_bytes(field) / (size_t)field->dims[0] : 0;
    *t = *field;
    t->dims[0] = n;
    t->bytes = p ? p : arena_alloc(a, row * (size_t)n + 1);
    for (int64_t i = 0; i < n; i++) memcpy((char *)t->bytes + (size_t)i * row, (const char *)field->bytes + (size_t)rows[(from + i) % of] * row, row);
}

/* The inputs of an engine: batch k of n samples of a part. What is not a batch is read where it stands. */
static bool inputs(trainer *r, arena *a, const engine *e, int part, int64_t k, int64_t n, tensor *in)
{
    for (int i = 0; i < e->n_in; i++) {
        const char *name = e->in_name[i];
        int v = variable_named(r->t, name), set = -1;
        const tensor *f = v < 0 ? field_named(r->t, name, &set) : NULL;
        if (v >= 0) in[i] = r->at.values[v];
        else if (f) {
            const lang_data *d = r->t->data[set];
            int p = part > 0 && d->n_part[part] ? part : 0;
            put_batch(a, &in[i], f, part < 0 || p ? d->part[p] : r->order[set], k * n, n, d->n_part[p]);
        }
        else if (strcmp(name, "step") == 0) in[i] = (tensor){ .dtype = DTYPE_i64, .bytes = &r->at.step };
        else if (strcmp(name, "epoch") == 0) in[i] = (tensor){ .dtype = DTYPE_i64, .bytes = &r->at.epoch };
        else if (strcmp(name, "val_loss") == 0) in[i] = (tensor){ .dtype = DTYPE_f32, .bytes = &r->at.val_loss };
        else {
            diag_internal(r->ctx, (place){ 0 }, arena_printf(a, "the step has an input %s that nobody gives", name));
            return false;
        }
    }
    return true;
}

/* Values from a file in place of the first ones; those it lacks stay. */
static dlc_status load_values(dlc_context *ctx, arena *a, const char *file, const lang_training *t, tensor *values)
{
    tensor_entries e = { 0 };
    dlc_status s = tensors_open(ctx, a, file, &e);
    for (int64_t i = 0; s == DLC_OK && i < e.n; i++) {
        int v = variable_named(t, e.at[i].name);
        if (v < 0) continue;
        s = tensor_load(ctx, a, &e.at[i]);
        bool same = e.at[i].t.dtype == values[v].dtype && e.at[i].t.rank == values[v].rank
                    && memcmp(e.at[i].t.dims, values[v].dims, sizeof(int64_t) * (size_t)values[v].rank) == 0;
        if (s == DLC_OK && !same) {
            diag_run_input(ctx, (place){ .file = file }, e.at[i].name, "the parameter's type and shape", "another");
            s = DLC_ERR_SHAPE;
        }
        if (s == DLC_OK) memcpy(values[v].bytes, e.at[i].t.bytes, tensor_bytes(&values[v]));
    }
    return s;
}

dlc_status train_save(dlc_context *ctx, arena *a, const char *path, const lang_training *t, const tensor *values)
{
    named_tensor *all = NEW_ARRAY(a, named_tensor, t->n_vars + 1);
    for (int i = 0; i < t->n_vars; i++) all[i] = (named_tensor){ t->vars[i].path, &values[i] };
    return tensors_write(ctx, a, path, t->n_vars, all);
}

dlc_status train_first_values(dlc_context *ctx, arena *a, const driver_options *o, const lang_training *t, tensor **values)
{
    engine *e;
    tensor *out = NEW_ARRAY(a, tensor, t->n_vars + 1), *v = NEW_ARRAY(a, tensor, t->n_vars + 1);
    dlc_status s = engine_make(ctx, a, t->init, o, ENGINE_eval, &e);
    if (s == DLC_OK) s = engine_run(ctx, a, e, NULL, out, NULL);
    for (int i = 0; s == DLC_OK && i < t->n_vars; i++) {
        v[i] = out[i];
        v[i].bytes = arena_copy(a, out[i].bytes, tensor_bytes(&out[i]));
    }
    if (s == DLC_OK && t->load) s = load_values(ctx, a, t->load, t, v);
    if (s == DLC_OK && o->weights) s = load_values(ctx, a, o->weights, t, v);
    *values = v;
    return s;
}

dlc_status train_engine(dlc_context *ctx, arena *a, const driver_options *o, engine_kind kind, const lang_training *t, engine **e, tensor **values)
{
    training *with_states = NEW(a, training);
    state_binding *states = NEW(a, state_binding);
    driver_options mine = *o;
    graph *g;
    *with_states = (training){ .t = *t };
    dlc_status s = train_first_values(ctx, a, o, t, &with_states->values);
    if (s != DLC_OK) return s;
    training_lay_out(a, with_states);
    training_graph(a, with_states, STEP_step, &g, states);
    mine.states = states;
    s = engine_make(ctx, a, g, &mine, kind, e);
    *values = NEW_ARRAY(a, tensor, t->n_vars + 1);
    for (int i = 0; s == DLC_OK && i < t->n_vars; i++) {
        tensor *v = &(*values)[i];
        *v = with_states->values[i];
        v->bytes = memcpy((char *)(*e)->states + states->rows[i].offset, v->bytes, tensor_bytes(v));
    }
    return s;
}

static dlc_status prepare_step(trainer *r, int64_t batch)
{
    r->in = NEW_ARRAY(r->a, tensor, r->step->n_in + 1);
    return inputs(r, r->a, r->step, 0, 0, batch, r->in) ? engine_prepare(r->ctx, r->a, r->step, r->in, &r->hook, &r->run) : DLC_ERR_INTERNAL;
}

static dlc_status one_step(trainer *r, int64_t k, int64_t batch)
{
    arena *a = arena_new(&r->ctx->mem);
    tensor *out = NEW_ARRAY(a, tensor, r->step->n_out + 1);
    double losses[16];
    dlc_status s = inputs(r, r->a, r->step, 0, k, batch, r->in) ? engine_step(r->ctx, a, &r->run, out) : DLC_ERR_INTERNAL;
    int n = r->t->n_losses < 16 ? r->t->n_losses : 16;
    for (int i = 0; s == DLC_OK && i < n; i++) losses[i] = sv_to_f64(out[i].dtype, sv_load(out[i].dtype, out[i].bytes));
    if (s == DLC_OK && r->ev->step) r->ev->step(r->ev->arg, r->at.step, n, r->t->losses, losses);
    arena_free(a);
    r->at.step++;
    return s;
}

/* Losses and reports on a part as one batch. score: what `monitor` names. */
static dlc_status evaluate(trainer *r, engine *const e[3], int part, bool is_end, double *score)
{
    if (!e[part]) return DLC_OK;
    lang_training *t = r->t;
    arena *a = arena_new(&r->ctx->mem);
    tensor *in = NEW_ARRAY(a, tensor, e[part]->n_in + 1), *out = NEW_ARRAY(a, tensor, e[part]->n_out + 1);
    dlc_status s = inputs(r, a, e[part], part ? part : -1, 0, t->data[0]->n_part[part], in) ? engine_run(r->ctx, a, e[part], in, out, &r->hook) : DLC_ERR_INTERNAL;
    if (s == DLC_OK) {
        int n = t->n_losses + t->n_reports;
        const char **names = NEW_ARRAY(a, const char *, n + 1);
        for (int i = 0; i < n; i++) names[i] = i < t->n_losses ? t->losses[i] : t->reports[i - t->n_losses];
        for (int i = 0; i < n; i++)
            if (out[i].rank == 0 && ((!t->monitor && i == 0) || (t->monitor && strcmp(t->monitor, names[i]) == 0)))
                *score = sv_to_f64(out[i].dtype, sv_load(out[i].dtype, out[i].bytes));
        if (n && part != 2) r->at.val_loss = (float)sv_to_f64(out[0].dtype, sv_load(out[0].dtype, out[0].bytes));
        if (r->ev->report) r->ev->report(r->ev->arg, r->at.epoch, part, n, names, out, is_end);
    }
    arena_free(a);
    return s;
}

static bool smaller_is_better(const lang_training *t)
{
    if (!t->monitor || strstr(t->monitor, "loss") || !strcmp(t->monitor, "rmse") || !strcmp(t->monitor, "mae") || !strcmp(t->monitor, "perplexity")) return true;
    for (int i = 0; i < t->n_losses; i++)
        if (strcmp(t->losses[i], t->monitor) == 0) return true;
    return false;
}

static void shuffle(trainer *r)
{
    for (int k = 0; k < r->t->n_data; k++) {
        lang_data *d = r->t->data[k];
        int64_t n = d->n_part[0], *p = r->order[k];
        arena *a = arena_new(&r->ctx->mem);
        int64_t *perm = NEW_ARRAY(a, int64_t, n + 1);
        for (int64_t i = 0; i < n; i++) perm[i] = i;
        if (r->t->shuffle) lang_permutation(n, arena_printf(a, "%s.%s.shuffle", r->t->name, d->name), r->t->seed, (uint32_t)r->at.epoch, perm);
        for (int64_t i = 0; i < n; i++) p[i] = d->part[0][perm[i]];
        arena_free(a);
    }
}

/* Memory for the best values so far. */
static void make_kept(trainer *r)
{
    int n = r->t->n_vars;
    r->at.kept = NEW_ARRAY(r->a, tensor, n + 1);
    for (int i = 0; i < n; i++) {
        r->at.kept[i] = r->at.values[i];
        r->at.kept[i].bytes = arena_alloc(r->a, tensor_bytes(&r->at.values[i]) + 1);
    }
}

static void copy_values(const lang_training *t, tensor *to, const tensor *from)
{
    for (int i = 0; i < t->n_vars; i++) memcpy(to[i].bytes, from[i].bytes, tensor_bytes(&to[i]));
}

/* After an epoch: is it the best so far? */
static void watch(trainer *r, bool less, double score)
{
    progress *p = &r->at;
    bool is_better = less ? score < p->best : score > p->best;
    p->wait = is_better ? 0 : p->wait + 1;
    if (!is_better) return;
    p->best = score;
    p->has_kept = true;
    copy_values(r->t, p->kept, p->values);
}

static dlc_status write_checkpoint(trainer *r)
{
    arena *a = arena_new(&r->ctx->mem);
    dlc_status s = checkpoint_write(r->ctx, a, r->t->checkpoint, r->t, &r->at);
    arena_free(a);
    return s;
}

static bool goes_on(const trainer *r)
{
    const lang_training *t = r->t;
    return (t->steps ? r->at.step < t->steps : r->at.epoch < t->epochs) && (!t->patience || r->at.wait < t->patience);
}

static bool is_stopped(const trainer *r) { return r->ev->stop && r->ev->stop(r->ev->arg); }

static dlc_status run_epochs(trainer *r, engine *const eval[3])
{
    lang_training *t = r->t;
    progress *p = &r->at;
    int64_t n = t->data[0]->n_part[0], batch = t->batch && t->batch < n ? t->batch : n;
    bool less = smaller_is_better(t);
    p->best = less ? INFINITY : -INFINITY;
    make_kept(r);
    dlc_status s = t->checkpoint ? checkpoint_read(r->ctx, r->a, t->checkpoint, t, p) : DLC_OK;
    if (s == DLC_OK) s = prepare_step(r, batch);
    while (s == DLC_OK && goes_on(r)) {
        shuffle(r);
        for (; s == DLC_OK && p->batch < n / batch && (!t->steps || p->step < t->steps) && !is_stopped(r); p->batch++) s = one_step(r, p->batch, batch);
        if (s == DLC_OK && is_stopped(r)) return t->checkpoint ? write_checkpoint(r) : DLC_OK;
        double score = NAN;
        /* without an epoch's length of its own, `steps` reports at the end only */
        if (s == DLC_OK && (!t->steps || t->patience)) s = evaluate(r, eval, eval[1] ? 1 : 0, false, &score);
        if (s == DLC_OK && t->patience) watch(r, less, score);
        if (p->batch == n / batch) { p->epoch++; p->batch = 0; }
        if (s == DLC_OK && t->checkpoint) s = write_checkpoint(r);
    }
    if (p->has_kept) copy_values(t, p->values, p->kept);
    double score = NAN;
    if (s == DLC_OK) s = evaluate(r, eval, eval[1] ? 1 : 0, true, &score);
    r->score = score;
    if (s == DLC_OK && eval[2]) s = evaluate(r, eval, 2, true, &score);
    return s;
}

/* One training with the constants as they are set. */
static dlc_status train_once(trainer *r)
{
    lang_training *t = r->t;
    arena *a = r->a;
    engine *eval[3] = { NULL };
    dlc_status s = train_engine(r->ctx, a, r->o, r->kind, t, &r->step, &r->at.values);
    for (int i = 0; i < 3 && s == DLC_OK; i++)
        if (t->evaluate[i]) s = engine_make(r->ctx, a, t->evaluate[i], r->o, r->kind, &eval[i]);
    r->order = NEW_ARRAY(a, int64_t *, t->n_data + 1);
    for (int i = 0; i < t->n_data; i++) r->order[i] = NEW_ARRAY(a, int64_t, t->data[i]->n_part[0] + 1);
    if (s == DLC_OK && r->ev->first) r->ev->first(r->ev->arg, t, r->at.values);
    return s == DLC_OK ? run_epochs(r, eval) : s;
}

/* How many combinations a search has; -1: too many to be numbered. */
static int64_t combinations(const lang_training *t)
{
    enum { MOST = 1 << 20 };
    int64_t total = 1;
    for (int i = 0; i < t->n_search; i++)
        if (!mul_ok(total, t->search[i].n, &total) || total > MOST) return -1;
    return total;
}

/* The options with combination k of the search's values: the last name is the fastest. */
static driver_options *with_trial(arena *a, const driver_options *from, const lang_training *space, int64_t k)
{
    driver_options *o = NEW(a, driver_options);
    int n = from->lang.n_sets;
    lang_set *sets = NEW_ARRAY(a, lang_set, n + space->n_search + 1);
    *o = *from;
    for (int i = 0; i < n; i++) sets[i] = from->lang.sets[i];
    for (int i = space->n_search; i-- > 0; k /= space->search[i].n) sets[n + i] = (lang_set){ space->search[i].name, space->search[i].value[k % space->search[i].n] };
    o->lang.n_sets += space->n_search;
    o->lang.sets = sets;
    return o;
}

/* A checkpoint of its own for each trial. */
static const char *trial_file(arena *a, const char *path, int64_t k)
{
    size_t n = strlen(path), m = n > 4 && strcmp(path + n - 4, ".npz") == 0 ? n - 4 : n;
    return arena_printf(a, "%.*s-%lld%s", (int)m, path, (long long)k + 1, path + m);
}

/* Trials: every combination in order, or as many as `trials` says in a random one; the best by `monitor` is kept. */
static dlc_status search(trainer *best, const char *path, const char *name)
{
    lang_training space = *best->t;
    int64_t total = combinations(&space), n_trials = space.trials && space.trials < total ? space.trials : total;
    bool less = smaller_is_better(&space), has_best = false;
    if (total < 0) { diag_search_size(best->ctx, (place){ .file = path }); return DLC_ERR_UNSUPPORTED; }
    int64_t *order = NEW_ARRAY(best->a, int64_t, total + 1);
    for (int64_t k = 0; k < total; k++) order[k] = k;
    if (n_trials < total) lang_permutation(total, arena_printf(best->a, "%s.search", space.name), space.seed, 0, order);
    for (int64_t k = 0; k < n_trials; k++) {
        lang_training *t = NEW(best->a, lang_training);
        trainer r = *best;
        r.t = t;
        r.o = with_trial(best->a, best->o, &space, order[k]);
        r.at = (progress){ .val_loss = INFINITY };
        if (r.ev->trial) r.ev->trial(r.ev->arg, k, space.n_search, r.o->lang.sets + r.o->lang.n_sets - space.n_search);
        dlc_status s = driver_train(r.ctx, r.a, path, name, r.o, t);
        if (t->checkpoint) t->checkpoint = trial_file(r.a, t->checkpoint, order[k]);
        if (s == DLC_OK) s = train_once(&r);
        if (s != DLC_OK || is_stopped(&r)) return s;
        if (has_best && !(less ? r.score < best->score : r.score > best->score)) continue;
        has_best = true;
        lang_training *out = best->t;
        const driver_options *o = best->o;
        *out = *t;
        *best = r;
        best->t = out;
        best->o = o;
        if (r.ev->chosen) r.ev->chosen(r.ev->arg);
    }
    return DLC_OK;
}

dlc_status train_file(dlc_context *ctx, arena *a, const char *path, const char *name, const driver_options *o, engine_kind kind,
                      dlc_run_hook hook, const train_events *ev, lang_training *t, tensor **values)
{
    dlc_status s = driver_train(ctx, a, path, name, o, t);
    if (s != DLC_OK) return s;
    trainer r = { .ctx = ctx, .a = a, .o = o, .kind = kind, .ev = ev, .t = t, .at = { .val_loss = INFINITY }, .hook = hook };
    s = t->n_search ? search(&r, path, name) : train_once(&r);
    *values = r.at.values;
    return s;
}
