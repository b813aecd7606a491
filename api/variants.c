/* variants: code for sizes that come again (variants.h)
 *
 * How    Sizes of the last runs are kept in a short list with the time spent on them. When it is worth it, the loop program as it
 *        was before its schedules is specialized to them (passes/specialize.c), scheduled, planned, compiled. It reads the same
 *        constants, and takes the same array of sizes, so the caller notices nothing.
 * Threads  A lock guards the list. The thread that makes a variant does so outside of the lock, in a context of its own; others
 *        with the same sizes meanwhile run the code of any sizes. A variant that cannot be made (or that would need more workspace
 *        than the caller was told) is not tried again.
 * Keeps  every bit, and everything the caller was told: sizes and workspace.
 */
#include "api/variants.h"
#include <pthread.h>
#include <time.h>

enum { N_SEEN = 32 };
static const double SHARE = 0.25, LEAST_SECONDS = 5e-3;        /* of the time to compile; code from the cache took next to none */

typedef enum { SEEN_nothing, SEEN_open, SEEN_making, SEEN_ready, SEEN_failed } seen_state;

typedef struct made { dlc_context *ctx; loaded_code *code; const dlc_model *model; const program *program; } made;

typedef struct seen_sizes {
    seen_state state;
    int64_t *sizes;
    double seconds;                /* of runs by the code of any sizes */
    uint64_t when;                 /* number of the run that asked last */
    const dlc_model *model;        /* ready */
    const struct made *made;
} seen;


struct variants {
    pthread_mutex_t lock;
    const program *plain, *ready;
    driver_options o;
    int n_symbols;
    const bool *is_open;           /* by symbol: found by the run */
    uint64_t n_runs;
    double worth;                  /* seconds of runs after which a variant is made */
    seen at[N_SEEN];
    int n_begun;                   /* variants made, being made, or failed */
    made made[MAX_VARIANTS];
    double seconds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- Making one --------------------------------------------------------------------------------------------------------------- */

/* Constants that are there already; the buffers have the same numbers, and names. */
static void take_constants(program *p, const program *ready)
{
    for (int64_t i = 0; i < p->bufs.n && i < ready->bufs.n; i++)
        if (p->bufs.at[i].kind == PBUF_const && ready->bufs.at[i].kind == PBUF_const
            && strcmp(p->bufs.at[i].name, ready->bufs.at[i].name) == 0) p->bufs.at[i].data = ready->bufs.at[i].data;
}

static const dlc_model *compile(variants *v, made *m, const int64_t *sizes, int64_t workspace_bytes)
{
    dlc_context *ctx = m->ctx;
    arena *a = arena_new(&ctx->mem);                  /* as long as the code: it holds what constants are made of */
    program *p = specialize_program(ctx, a, v->plain, sizes, v->is_open);
    take_constants(p, v->ready);
    dlc_status s = driver_schedule(ctx, &v->o, p);
    if (s == DLC_OK) s = driver_constants(ctx, p);
    if (s == DLC_OK) s = driver_load(ctx, p, &v->o, &m->code, &m->model);
    if (s != DLC_OK) return NULL;
    m->program = p;
    int64_t need = m->model->workspace(sizes);
    return need >= 0 && need <= workspace_bytes ? m->model : NULL;
}

static void release(made *m)
{
    driver_unload(m->code);
    context_free(m->ctx);
    *m = (made){ 0 };
}

static const dlc_model *make(variants *v, made *m, const int64_t *sizes, int64_t workspace_bytes)
{
    mem_frame frame;
    const dlc_model *volatile model = NULL;
    m->ctx = context_new();
    if (!m->ctx) return NULL;
    m->ctx->mem.limit = arena_mem(v->plain->arena)->limit;
    if (mem_try(&m->ctx->mem, &frame)) {
        model = compile(v, m, sizes, workspace_bytes);
        mem_end(&m->ctx->mem, &frame);
    }
    if (!model) release(m);
    return model;
}

/* -- The list ---------------------------------------------------------------------------------------------------------------- */

static bool same_sizes(const variants *v, const int64_t *a, const int64_t *b)
{
    for (int i = 0; i < v->n_symbols; i++)
        if (!v->is_open[i] && a[i] != b[i]) return false;
    return true;
}

/* The entry of these sizes; without one, that of the sizes which did not come for longest, emptied. NULL: all are in use. */
static seen *entry_for(variants *v, const int64_t *sizes)
{
    seen *oldest = NULL;
    for (int i = 0; i < N_SEEN; i++) {
        seen *e = &v->at[i];
        if (e->state != SEEN_nothing && same_sizes(v, e->sizes, sizes)) return e;
        if (e->state <= SEEN_open && (!oldest || e->when < oldest->when)) oldest = e;
    }
    if (!oldest) return NULL;
    memcpy(oldest->sizes, sizes, sizeof *sizes * (size_t)v->n_symbols);
    oldest->state = SEEN_open;
    oldest->seconds = -1;          /* no run yet */
    return oldest;
}

const dlc_model *variants_pick(variants *v, const int64_t *sizes, int64_t workspace_bytes, seen **spent)
{
    made *mine = NULL;
    *spent = NULL;
    pthread_mutex_lock(&v->lock);
    seen *e = entry_for(v, sizes);
    const dlc_model *model = e && e->state == SEEN_ready ? e->model : NULL;
    if (e) e->when = ++v->n_runs;
    if (e && e->state == SEEN_open && v->n_begun < MAX_VARIANTS) {
        if (e->seconds >= v->worth) {
            e->state = SEEN_making;
            mine = &v->made[v->n_begun++];
        } else {
            *spent = e;
        }
    }
    pthread_mutex_unlock(&v->lock);
    if (!mine) return model;
    double start = now();
    model = make(v, mine, e->sizes, workspace_bytes);
    pthread_mutex_lock(&v->lock);
    e->model = model;
    e->made = mine;
    e->state = model ? SEEN_ready : SEEN_failed;
    v->seconds += now() - start;
    pthread_mutex_unlock(&v->lock);
    return model;
}

/* The entry may be that of other sizes by now: then these get a little too much. */
void variants_ran(variants *v, seen *spent, double seconds)
{
    pthread_mutex_lock(&v->lock);
    spent->seconds = (spent->seconds > 0 ? spent->seconds : 0) + seconds;
    pthread_mutex_unlock(&v->lock);
}

const program *variants_program(variants *v, const dlc_model *model)
{
    const program *p = NULL;
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < N_SEEN; i++)
        if (v->at[i].state == SEEN_ready && v->at[i].model == model) p = v->at[i].made->program;
    pthread_mutex_unlock(&v->lock);
    return p;
}

int variants_made(variants *v, double *seconds)
{
    int n = 0;
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < N_SEEN; i++) n += v->at[i].state == SEEN_ready;
    *seconds = v->seconds;
    pthread_mutex_unlock(&v->lock);
    return n;
}

/* -- Life -------------------------------------------------------------------------------------------------------------------- */

static void variants_free(void *arg)
{
    variants *v = arg;
    for (int i = 0; i < MAX_VARIANTS; i++)
        if (v->made[i].ctx) release(&v->made[i]);
    pthread_mutex_destroy(&v->lock);
}

variants *variants_new(arena *a, const program *plain, const program *ready, const driver_options *o, double compile_seconds)
{
    int n = dims_n_symbols(plain->dims), n_given = 0;
    const bool *is_open = program_found_symbols(a, plain);
    for (int i = 0; i < n; i++) n_given += !is_open[i];
    if (!n_given || o->no_variants || plain->next) return NULL;
    variants *v = NEW(a, variants);
    v->plain = plain;
    v->ready = ready;
    v->n_symbols = n;
    v->is_open = is_open;
    v->worth = o->variants_at_once ? 0 : SHARE * compile_seconds > LEAST_SECONDS ? SHARE * compile_seconds : LEAST_SECONDS;
    v->o = *o;
    v->o.after = NULL;
    v->o.explain = NULL;
    v->o.codegen.progress = NULL;
    for (int i = 0; i < N_SEEN; i++) v->at[i].sizes = NEW_ARRAY(a, int64_t, n);
    pthread_mutex_init(&v->lock, NULL);
    arena_on_free(a, variants_free, v);
    return v;
}
