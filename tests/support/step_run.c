/* step_run: a compiled training step, run on the data of its program (step_run.h) */
#include "tests/support/step_run.h"
#include "runtime/pool.h"
#include <math.h>

typedef struct {
    arena *a;
    const lang_training *t;
    void *states, *work;
    dlc_run_hook hook;
    int64_t step, epoch, batch, **order;
    float val_loss;
} runner;

static void *aligned(arena *a, int64_t n)
{
    char *p = arena_alloc(a, (size_t)n + 128);
    p += 64 - (uintptr_t)p % 64;
    memset(p, 0xab, (size_t)n);
    return p;
}

static const dlc_model *entry(const dlc_model *m, const char *name)
{
    for (int i = 0; i < m->n_entries; i++)
        if (strcmp(m->entries[i].name, name) == 0) return m->entries[i].model;
    return NULL;
}

static void shuffle(runner *r)
{
    for (int k = 0; k < r->t->n_data; k++) {
        const lang_data *d = r->t->data[k];
        int64_t n = d->n_part[0], *p = NEW_ARRAY(r->a, int64_t, n + 1);
        for (int64_t i = 0; i < n; i++) p[i] = i;
        if (r->t->shuffle)
            lang_permutation(n, arena_printf(r->a, "%s.%s.shuffle", r->t->name, d->name), r->t->seed,
                             (uint32_t)r->epoch, p);
        for (int64_t i = 0; i < n; i++) r->order[k][i] = d->part[0][p[i]];
    }
}

/* Where there is no data: numbers in [-1, 1), classes 0 and 1; two batches in turn. */
static const void *drawn(runner *r, const tensor *like)
{
    tensor t = *like;
    t.dims[0] = r->batch;
    int64_t n = tensor_n(&t);
    t.bytes = aligned(r->a, (int64_t)tensor_bytes(&t));
    uint64_t x = (uint64_t)r->step % 2 * 7 + (uint64_t)t.rank;
    for (int64_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        double v = (double)(x >> 40) / (1 << 23) - 1;
        sv_store(t.dtype, (char *)t.bytes + i * dtype_bytes(t.dtype),
                 sv_from_f64(t.dtype, is_float(t.dtype) ? v : v < 0));
    }
    return t.bytes;
}

static const void *batch_of(runner *r, const char *name)
{
    if (strcmp(name, "epoch") == 0) return &r->epoch;
    if (strcmp(name, "val_loss") == 0) return &r->val_loss;
    for (int k = 0; k < r->t->n_data; k++) {
        const lang_data *d = r->t->data[k];
        size_t n = strlen(d->name);
        if (strncmp(d->name, name, n) != 0 || name[n] != '.') continue;
        for (int f = 0; f < d->n; f++) {
            if (strcmp(d->field[f], name + n + 1) != 0) continue;
            if (!d->t[f].bytes) return drawn(r, &d->t[f]);
            int64_t per_epoch = r->t->data[0]->n_part[0] / r->batch, from = r->step % per_epoch * r->batch;
            size_t row = tensor_bytes(&d->t[f]) / (size_t)d->samples;
            char *x = aligned(r->a, r->batch * (int64_t)row);
            for (int64_t i = 0; i < r->batch; i++)
                memcpy(x + (size_t)i * row,
                       (char *)d->t[f].bytes + (size_t)r->order[k][(from + i) % d->n_part[0]] * row, row);
            return x;
        }
    }
    return NULL;
}

static int64_t run(runner *r, const dlc_model *m, const void *const *in, void **out)
{
    dlc_run env = { .hook = r->hook, .workspace = r->work, .states = r->states };
    int64_t sizes[8] = { 0 };
    for (int i = 0; i < m->n_dims; i++) sizes[i] = r->batch;
    return m->run(&env, sizes, in, out);
}

static int64_t output_bytes(const dlc_model *m, const int64_t *extents, int k)
{
    int at = 0;
    for (int i = 0; i < m->n_inputs; i++) at += m->inputs[i].rank;
    for (int i = 0; i < k; i++) at += m->outputs[i].rank;
    int64_t n = 8;
    for (int i = 0; i < m->outputs[k].rank; i++) n *= extents[at + i];
    return n;
}

static void **outputs_of(runner *r, const dlc_model *m)
{
    int64_t sizes[8] = { 0 }, extents[4096];
    for (int i = 0; i < m->n_dims; i++) sizes[i] = r->batch;
    m->shapes(sizes, extents);
    void **out = NEW_ARRAY(r->a, void *, m->n_outputs + 1);
    for (int i = 0; i < m->n_outputs; i++) out[i] = aligned(r->a, output_bytes(m, extents, i));
    return out;
}

static const void **inputs_of(runner *r, const dlc_model *m)
{
    const void **in = NEW_ARRAY(r->a, const void *, m->n_inputs + 1);
    for (int i = 0; i < m->n_inputs; i++) in[i] = batch_of(r, m->inputs[i].name);
    return in;
}

static double number(const char *name, const void *p)
{
    dtype t = dtype_by_name(name, strlen(name));
    return sv_to_f64(t, sv_load(t, p));
}

static double one_step(runner *r, const dlc_model *m, bool in_halves)
{
    const dlc_model *grad = in_halves ? entry(m, "grad") : m, *apply = entry(m, "apply");
    void **out = outputs_of(r, grad);
    run(r, grad, inputs_of(r, grad), out);
    if (in_halves) {
        const void **in = inputs_of(r, apply);
        for (int i = 0; i < apply->n_inputs; i++)
            for (int k = 0; k < grad->n_outputs; k++)
                if (strcmp(apply->inputs[i].name, grad->outputs[k].name) == 0) in[i] = out[k];
        run(r, apply, in, outputs_of(r, apply));
    }
    return number(grad->outputs[0].dtype, out[0]);
}

static void run_steps(runner *r, const dlc_model *m, int64_t steps, bool is_fresh, bool in_halves,
                      double *losses)
{
    const lang_training *t = r->t;
    int64_t n = t->data[0]->n_part[0], most = 0;
    r->batch = t->batch && t->batch < n ? t->batch : n;
    if (m->n_dims) r->batch = n = 6;
    for (int i = 0; i < m->n_entries; i++) {
        int64_t sizes[8] = { r->batch, r->batch }, bytes_ = m->entries[i].model->workspace(sizes);
        if (bytes_ > most) most = bytes_;
    }
    r->work = aligned(r->a, most);
    r->order = NEW_ARRAY(r->a, int64_t *, t->n_data + 1);
    for (int k = 0; k < t->n_data; k++) r->order[k] = NEW_ARRAY(r->a, int64_t, t->data[k]->n_part[0] + 1);
    if (is_fresh) run(r, entry(m, "init"), NULL, NULL);
    for (r->step = 0; r->step < steps; r->step++) {
        r->epoch = r->step / (n / r->batch);
        if (r->step % (n / r->batch) == 0) shuffle(r);
        arena *own = r->a;
        r->a = arena_new(arena_mem(own));
        double loss = one_step(r, m, in_halves);
        arena_free(r->a);
        r->a = own;
        if (losses) losses[r->step] = loss;
    }
}

void *step_run(arena *a, const dlc_model *m, const lang_training *t, int64_t steps, int threads,
               bool in_halves, double *losses)
{
    runner r = { .a = a, .t = t, .states = aligned(a, m->states_bytes), .val_loss = INFINITY };
    dlc_pool *pool = threads > 1 ? dlc_pool_create(threads) : NULL;
    if (pool) r.hook = (dlc_run_hook){ dlc_parallel, pool };
    run_steps(&r, m, steps, true, in_halves, losses);
    if (pool) dlc_pool_destroy(pool);
    return r.states;
}

void step_go_on(arena *a, const dlc_model *m, const lang_training *t, int64_t steps, void *states)
{
    runner r = { .a = a, .t = t, .states = states, .val_loss = INFINITY };
    run_steps(&r, m, steps, false, false, NULL);
}
