/* engine: a model made ready to run by interpreter, JIT, library or C, and run (engine.h)
 *
 * How    Interpreters run what the driver made. Generated code is reached through its dlc_model alone, as any program
 *        would: so what `dlc test --backend=so` shows holds for every user of the library.
 * Sizes  A dlc_model says which extents follow from its dims, not the reverse. What an input's sizes say about the dims is
 *        found by asking it for the extents at two values of each dim; the answer is checked against all inputs.
 */
#include "api/engine.h"
#include "api/engine_c.h"
#include "api/profile.h"
#include "backend/eval/eval.h"
#include "base/process.h"
#include "runtime/pool.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const char *const engine_name[ENGINE_COUNT] = {
#define X(name) #name,
    ENGINE_LIST(X)
#undef X
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* -- What a model says of itself ---------------------------------------------------------------------------------------------- */

static void alloc_lists(engine *e, int n_in, int n_out)
{
    arena *a = e->arena;
    e->n_in = n_in;
    e->n_out = n_out;
    e->in_name = NEW_ARRAY(a, const char *, n_in);
    e->out_name = NEW_ARRAY(a, const char *, n_out);
    e->in_dtype = NEW_ARRAY(a, dtype, n_in);
    e->out_dtype = NEW_ARRAY(a, dtype, n_out);
    e->in_rank = NEW_ARRAY(a, int, n_in);
    e->out_rank = NEW_ARRAY(a, int, n_out);
    e->in_at = NEW_ARRAY(a, int, n_in);
    e->out_at = NEW_ARRAY(a, int, n_out);
}

/* Which of a graph's inputs (outputs) are states. */
static bool *marked_states(arena *a, const state_binding *b, int64_t n, bool is_input)
{
    bool *is_state = NEW_ARRAY(a, bool, n + 1);
    for (int i = 0; b && i < b->n; i++) {
        int at = is_input ? b->pairs[i].input : b->pairs[i].output;
        if (at >= 0) is_state[at] = true;
    }
    return is_state;
}

static void describe_graph(engine *e, const graph *g)
{
    arena *scratch = arena_new(arena_mem(e->arena));
    const bool *skip_in = marked_states(scratch, e->bound, g->inputs.n, true), *skip_out = marked_states(scratch, e->bound, g->results.n, false);
    alloc_lists(e, (int)g->inputs.n, (int)g->results.n);
    e->n_in = e->n_out = 0;
    for (int i = 0; i < g->inputs.n; i++) {
        const node *n = node_of(g, g->inputs.at[i]);
        if (skip_in[i]) continue;
        e->in_name[e->n_in] = n->input->name ? n->input->name : "";
        e->in_dtype[e->n_in] = n->types[0].dtype;
        e->in_rank[e->n_in] = n->types[0].rank;
        e->in_at[e->n_in++] = i;
    }
    for (int i = 0; i < g->results.n; i++) {
        type t = type_of(g, g->results.at[i]);
        if (skip_out[i]) continue;
        e->out_name[e->n_out] = g->result_names.at[i] ? g->result_names.at[i] : "";
        e->out_dtype[e->n_out] = t.dtype;
        e->out_rank[e->n_out] = t.rank;
        e->out_at[e->n_out++] = i;
    }
    arena_free(scratch);
}

static dlc_status refuse(dlc_context *ctx, const char *path, const char *what)
{
    diag_run_refused(ctx, (place){ .file = path }, what);
    return DLC_ERR_INPUT;
}

static bool describe_tensors(int n, const dlc_tensor_info *info, const char **name, dtype *type_, int *rank)
{
    for (int i = 0; i < n; i++) {
        if (!info[i].dtype || info[i].rank < 0 || info[i].rank > MAX_RANK) return false;
        name[i] = info[i].name ? info[i].name : "";
        type_[i] = dtype_by_name(info[i].dtype, strlen(info[i].dtype));
        rank[i] = info[i].rank;
        if (type_[i] == DTYPE_NONE) return false;
    }
    return true;
}

static void *align64(void *p) { return (void *)(((uintptr_t)p + 63) & ~(uintptr_t)63); }

/* The states of a training step, at their first values; they go on from run to run. */
static dlc_status begin_states(dlc_context *ctx, engine *e, const char *path)
{
    const dlc_model *m = e->model, *init = NULL;
    if (!m->states_bytes || e->states) return DLC_OK;
    for (int i = 0; i < m->n_entries; i++)
        if (strcmp(m->entries[i].name, "init") == 0) init = m->entries[i].model;
    if (!init || m->states_bytes < 0 || init->n_inputs || init->n_outputs) return refuse(ctx, path, "its description is damaged");
    e->states = align64(arena_alloc(e->arena, (size_t)m->states_bytes + 64));
    dlc_run run = { .workspace = align64(arena_alloc(e->arena, (size_t)init->workspace(NULL) + 64)), .states = e->states };
    return init->run(&run, NULL, NULL, NULL) == DLC_RUN_OK ? DLC_OK : refuse(ctx, path, "its states cannot be set");
}

static dlc_status describe_model(dlc_context *ctx, engine *e, const char *path, const dlc_model *m)
{
    if (m->abi != DLC_MODEL_ABI) return refuse(ctx, path, "made by another version of dlc: compile it again");
    if (m->n_inputs < 0 || m->n_outputs < 0 || m->n_dims < 0) return refuse(ctx, path, "its description is damaged");
    alloc_lists(e, m->n_inputs, m->n_outputs);
    e->model = m;
    bool ok = describe_tensors(m->n_inputs, m->inputs, e->in_name, e->in_dtype, e->in_rank)
        && describe_tensors(m->n_outputs, m->outputs, e->out_name, e->out_dtype, e->out_rank);
    return ok ? begin_states(ctx, e, path) : refuse(ctx, path, "its description is damaged");
}

/* -- Opening -------------------------------------------------------------------------------------------------------------------- */

static void close_library(void *handle) { dlclose(handle); }
static void unload_code(void *code) { driver_unload(code); }

static dlc_status open_library(dlc_context *ctx, engine *e, const char *path)
{
    const char *with_slash = strchr(path, '/') ? path : arena_printf(e->arena, "./%s", path);
    void *handle = dlopen(with_slash, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return refuse(ctx, path, dlerror());
    arena_on_free(e->arena, close_library, handle);
    const dlc_model *m = dlsym(handle, "dlc_model_v1");
    if (!m) return refuse(ctx, path, "not a library made by dlc: it has no dlc_model_v1");
    return describe_model(ctx, e, path, m);
}

/* Writes into a folder of its own, which is gone once the library is open. */
static dlc_status make_library(dlc_context *ctx, engine *e, const driver_options *o, dlc_status (*write)(dlc_context *, engine *,
                               const driver_options *, const char *folder, const char *path))
{
    const char *folder = process_folder(e->arena);
    if (!folder) {
        diag_cannot_write(ctx, (place){ .file = "TMPDIR" }, "no folder can be made for the library");
        return DLC_ERR_IO;
    }
    const char *path = arena_printf(e->arena, "%s/model.so", folder);
    dlc_status s = write(ctx, e, o, folder, path);
    if (s == DLC_OK) s = open_library(ctx, e, path);
    if (s == DLC_OK) describe_graph(e, e->graph);               /* names as the model has them: y[0] */
    unlink(path);
    rmdir(folder);
    return s;
}

static dlc_status write_so(dlc_context *ctx, engine *e, const driver_options *o, const char *folder, const char *path)
{
    const char *kept;
    (void)folder;
    return driver_emit_shared(ctx, e->arena, e->program, o, path, &kept);
}

static dlc_status write_c(dlc_context *ctx, engine *e, const driver_options *o, const char *folder, const char *path)
{
    return c_library(ctx, e->arena, e->program, o, folder, path, &e->weights);
}

/* Portable C rounds after each multiplication unless it may ask for the instruction. */
static driver_options options_for(engine_kind kind, const driver_options *o)
{
    driver_options r = *o;
    if (kind == ENGINE_c) driver_set_portable(&r);
    if (kind == ENGINE_loop) r.off[PASS_states] = true;           /* the interpreters' states are copied (step_interpreted) */
    return r;
}

static dlc_status make(dlc_context *ctx, engine *e, graph *g, const driver_options *o)
{
    e->graph = g;
    e->fma = o->fma;
    e->bound = o->states;
    if (e->bound) e->states = align64(arena_alloc(e->arena, (size_t)e->bound->bytes + 64));
    describe_graph(e, g);
    if (e->kind == ENGINE_eval) return DLC_OK;
    const program *plain = NULL;
    double start;
    dlc_status s = driver_passes(ctx, o, &g);
    if (s == DLC_OK) s = driver_lower_plain(ctx, o, g, &e->program);
    bool may_vary = s == DLC_OK && e->kind == ENGINE_jit && !o->no_variants && e->program && dims_n_symbols(e->program->dims);
    if (may_vary) plain = program_copy(ctx, e->arena, e->program);
    start = now();
    if (s == DLC_OK) s = driver_schedule(ctx, o, e->program);
    if (s == DLC_OK) s = driver_weights(ctx, o, e->program);
    if (s != DLC_OK) return s;
    switch (e->kind) {
    case ENGINE_eval: case ENGINE_loop: case ENGINE_COUNT: break;
    case ENGINE_jit:
        s = driver_load(ctx, e->program, o, &e->code, &e->model);
        if (s == DLC_OK) arena_on_free(e->arena, unload_code, e->code);
        if (s == DLC_OK && plain) e->variants = variants_new(e->arena, plain, e->program, o, now() - start);
        break;
    case ENGINE_so:
        s = make_library(ctx, e, o, write_so);
        break;
    case ENGINE_c:
        s = make_library(ctx, e, o, write_c);
        break;
    }
    return s;
}

static engine *engine_new(arena *a, engine_kind kind)
{
    engine *e = NEW(a, engine);
    e->arena = a;
    e->kind = kind;
    return e;
}

dlc_status engine_make(dlc_context *ctx, arena *a, graph *g, const driver_options *o, engine_kind kind, engine **out)
{
    engine *e = engine_new(a, kind);
    driver_options mine = options_for(kind, o);
    dlc_status s = make(ctx, e, g, &mine);
    *out = s == DLC_OK ? e : NULL;
    return s;
}

dlc_status engine_open(dlc_context *ctx, arena *a, const char *path, const driver_options *o, engine_kind kind, engine **out)
{
    engine *e = engine_new(a, kind);
    graph *g;
    dlc_status s;
    if (ends_with(path, ".so")) {
        e->kind = ENGINE_so;
        s = open_library(ctx, e, path);
    } else {
        driver_options mine = options_for(kind, o);
        s = driver_import(ctx, e->arena, path, &mine, &g);
        if (s == DLC_OK) s = make(ctx, e, g, &mine);
    }
    *out = s == DLC_OK ? e : NULL;
    return s;
}

/* -- Sizes ------------------------------------------------------------------------------------------------------------------------ */

static int n_extents(const engine *e)
{
    int n = 0;
    for (int i = 0; i < e->n_in; i++) n += e->in_rank[i];
    for (int i = 0; i < e->n_out; i++) n += e->out_rank[i];
    return n;
}

static int first_extent(const engine *e, int input)
{
    int n = 0;
    for (int i = 0; i < input; i++) n += e->in_rank[i];
    return n;
}

void engine_input_shape(const engine *e, int i, int64_t *extents)
{
    arena *scratch = arena_new(arena_mem(e->arena));
    if (e->graph) {
        type t = type_of(e->graph, e->graph->inputs.at[e->in_at[i]]);
        for (int k = 0; k < t.rank; k++)
            if (!dim_is_const(t.dims[k], &extents[k])) extents[k] = -1;
    } else {
        const dlc_model *m = e->model;
        int n = n_extents(e), at = first_extent(e, i);
        int64_t *size = NEW_ARRAY(scratch, int64_t, m->n_dims), *low = NEW_ARRAY(scratch, int64_t, n), *high = NEW_ARRAY(scratch, int64_t, n);
        for (int k = 0; k < m->n_dims; k++) size[k] = m->dims[k].lo;
        m->shapes(size, low);
        for (int k = 0; k < m->n_dims; k++) size[k] += size[k] < m->dims[k].hi;
        m->shapes(size, high);
        for (int k = 0; k < e->in_rank[i]; k++) extents[k] = low[at + k] == high[at + k] ? low[at + k] : -1;
    }
    arena_free(scratch);
}

/* Axis k of input i differs from the axis of an input that has the same size: number `other` of all axes. */
static void report_other(dlc_context *ctx, const engine *e, int i, int k, const int64_t *have, int other)
{
    int at = 0, first = first_extent(e, i);
    while (first_extent(e, at + 1) <= other) at++;
    diag_run_same(ctx, (place){ 0 }, e->in_name[i], k, (long long)have[first + k], other - first_extent(e, at), e->in_name[at], (long long)have[other]);
}

/* The dims of a model from the sizes of its inputs. */
static dlc_status bind_model(dlc_context *ctx, arena *a, const engine *e, const tensor *in, int64_t *size)
{
    const dlc_model *m = e->model;
    int n = n_extents(e), n_in = first_extent(e, e->n_in), at = 0;
    int64_t *have = NEW_ARRAY(a, int64_t, n_in), *low = NEW_ARRAY(a, int64_t, n), *next = NEW_ARRAY(a, int64_t, n);
    for (int i = 0; i < e->n_in; i++)
        for (int k = 0; k < in[i].rank; k++) have[at++] = in[i].dims[k];
    for (int k = 0; k < m->n_dims; k++) size[k] = m->dims[k].is_result ? m->dims[k].hi : m->dims[k].lo;
    m->shapes(size, low);
    int64_t *found = NEW_ARRAY(a, int64_t, m->n_dims), *steps = NEW_ARRAY(a, int64_t, n_in + 1);
    int *from = NEW_ARRAY(a, int, m->n_dims + 1), *dim_of = NEW_ARRAY(a, int, n_in + 1);      /* a dim's axis; an axis that is a dim */
    for (int j = 0; j < n_in; j++) dim_of[j] = -1;
    memcpy(found, size, sizeof *size * (size_t)m->n_dims);
    for (int k = 0; k < m->n_dims; k++) {
        if (m->dims[k].is_result || m->dims[k].lo >= m->dims[k].hi) continue;
        size[k]++;
        m->shapes(size, next);
        size[k]--;
        bool is_sure = false;
        for (int j = 0; j < n_in; j++) {
            int64_t step = next[j] - low[j];
            bool is_dim = step == 1 && low[j] == size[k];             /* the dim itself: surely right */
            if (step > steps[j]) steps[j] = step;
            if (is_dim) dim_of[j] = k;
            if (is_sure || step <= 0 || (have[j] - low[j]) % step) continue;
            found[k] = size[k] + (have[j] - low[j]) / step;
            from[k] = j;
            is_sure = is_dim;
        }
        if (found[k] < m->dims[k].lo || found[k] > m->dims[k].hi) {
            diag_run_dim(ctx, (place){ 0 }, m->dims[k].name, (long long)m->dims[k].lo, (long long)m->dims[k].hi, (long long)found[k]);
            return DLC_ERR_SHAPE;
        }
    }
    memcpy(size, found, sizeof *size * (size_t)m->n_dims);
    m->shapes(size, next);
    for (int i = 0, j = 0; i < e->n_in; i++)
        for (int k = 0; k < in[i].rank; k++, j++)
            if (next[j] != have[j]) {
                if (dim_of[j] >= 0 && from[dim_of[j]] != j)
                    report_other(ctx, e, i, k, have, from[dim_of[j]]);
                else if (steps[j] > 1 && low[j] % steps[j] == 0 && have[j] % steps[j])
                    diag_run_multiple(ctx, (place){ 0 }, e->in_name[i], k, (long long)steps[j], (long long)have[j]);
                else
                    diag_run_size(ctx, (place){ 0 }, e->in_name[i], k, (long long)next[j], (long long)have[j]);
                return DLC_ERR_SHAPE;
            }
    return DLC_OK;
}

/* -- Running ------------------------------------------------------------------------------------------------------------------------ */

static dlc_status check_types(dlc_context *ctx, const engine *e, const tensor *in)
{
    for (int i = 0; i < e->n_in; i++) {
        int64_t n;
        bool is_right = in[i].dtype == e->in_dtype[i] && in[i].rank == e->in_rank[i] && tensor_count(&in[i], &n);
        if (is_right) continue;
        diag_run_input(ctx, (place){ 0 }, e->in_name[i],
                       arena_printf(ctx->arena, "%s of rank %d", dtype_info[e->in_dtype[i]].name, e->in_rank[i]),
                       arena_printf(ctx->arena, "%s of rank %d", dtype_info[in[i].dtype].name, in[i].rank));
        return DLC_ERR_INPUT;
    }
    return DLC_OK;
}

/* Sizes of all outputs for dims that are bound, into out[]; bytes stay NULL. */
static dlc_status output_sizes(dlc_context *ctx, arena *a, const engine *e, const int64_t *size, tensor *out)
{
    int64_t *extents = NEW_ARRAY(a, int64_t, n_extents(e)), n;
    e->model->shapes(size, extents);
    for (int i = 0, at = first_extent(e, e->n_in); i < e->n_out; at += e->out_rank[i++]) {
        out[i] = (tensor){ .dtype = e->out_dtype[i], .rank = e->out_rank[i] };
        memcpy(out[i].dims, extents + at, sizeof *extents * (size_t)e->out_rank[i]);
        if (!tensor_count(&out[i], &n) || n > (int64_t)1 << 40) return refuse(ctx, NULL, "an output is too large");
    }
    return DLC_OK;
}

static void *state_at(const engine *e, int k) { return (char *)e->states + e->bound->rows[k].offset; }

/* What the graph takes: states where they stand, and in[]. */
static const tensor *graph_inputs(arena *a, const engine *e, const tensor *in)
{
    if (!e->bound) return in;
    tensor *all = NEW_ARRAY(a, tensor, e->graph->inputs.n + 1);
    for (int i = 0; i < e->n_in; i++) all[e->in_at[i]] = in[i];
    for (int k = 0; k < e->bound->n; k++) {
        const state_row *r = &e->bound->rows[k];
        if (e->bound->pairs[k].input < 0) continue;
        tensor t = { .dtype = r->dtype, .rank = r->rank, .bytes = state_at(e, k) };
        memcpy(t.dims, r->extents, sizeof *t.dims * (size_t)r->rank);
        all[e->bound->pairs[k].input] = t;
    }
    return all;
}

static dlc_status bind_prepared(dlc_context *ctx, arena *a, prepared *p)
{
    const engine *e = p->e;
    dlc_status s = check_types(ctx, e, p->in);
    if (s != DLC_OK) return s;
    p->sizes = NEW_ARRAY(a, int64_t, (e->model ? e->model->n_dims : dims_n_symbols(e->graph->dims)) + 1);
    if (!e->model) return eval_bind(ctx, e->graph, graph_inputs(a, e, p->in), p->sizes);
    s = bind_model(ctx, a, e, p->in, p->sizes);
    if (s != DLC_OK) return s;
    p->workspace_bytes = e->model->workspace(p->sizes);
    return p->workspace_bytes < 0 ? refuse(ctx, NULL, "a size is out of its bounds") : DLC_OK;
}

dlc_status engine_sizes(dlc_context *ctx, arena *a, const engine *e, const tensor *in, tensor *out, size_t *work)
{
    prepared p = { .e = e, .in = in };
    dlc_status s = bind_prepared(ctx, a, &p);
    *work = (size_t)p.workspace_bytes;
    if (s != DLC_OK) return s;
    return e->model ? output_sizes(ctx, a, e, p.sizes, out) : engine_step(ctx, a, &p, out);
}

dlc_status engine_prepare_in(dlc_context *ctx, arena *a, const engine *e, const tensor *in, const dlc_run_hook *hook, void *work,
                             void **outputs, prepared *out)
{
    *out = (prepared){ .e = e, .in = in, .outputs = outputs };
    if (hook) out->run.hook = *hook;
    dlc_status s = bind_prepared(ctx, a, out);
    if (s != DLC_OK || !e->model) return s;
    out->run.weights = e->weights;
    out->run.states = e->states;
    out->run.workspace = work ? work : align64(arena_alloc(a, (size_t)out->workspace_bytes + 64));
    out->inputs = NEW_ARRAY(a, const void *, e->n_in);
    for (int i = 0; i < e->n_in; i++) out->inputs[i] = in[i].bytes;
    if (outputs) return DLC_OK;
    tensor *y = NEW_ARRAY(a, tensor, e->n_out);
    s = output_sizes(ctx, a, e, out->sizes, y);
    out->outputs = NEW_ARRAY(a, void *, e->n_out);
    for (int i = 0; i < e->n_out && s == DLC_OK; i++) out->outputs[i] = align64(arena_alloc(a, tensor_bytes(&y[i]) + 64));
    return s;
}

dlc_status engine_prepare(dlc_context *ctx, arena *a, const engine *e, const tensor *in, const dlc_run_hook *hook, prepared *out)
{
    dlc_status s = engine_prepare_in(ctx, a, e, in, hook, NULL, NULL, out);
    if (!e->model && e->program) out->workspace_bytes = e->program->workspace_bytes;
    return s;
}

static dlc_status step_model(dlc_context *ctx, arena *a, prepared *p, tensor *out)
{
    const engine *e = p->e;
    profiled_run run = { p->run, p->profile ? profile_call : NULL, p->profile };
    struct seen_sizes *spent = NULL;
    if (!p->variant && e->variants) p->variant = variants_pick(e->variants, p->sizes, p->workspace_bytes, &spent);
    const dlc_model *model = p->variant ? p->variant : e->model;
    double start = spent ? now() : 0;
    if (model->run(&run.run, p->sizes, p->inputs, p->outputs) != DLC_RUN_OK) return refuse(ctx, NULL, "a size is out of its bounds");
    if (spent) variants_ran(e->variants, spent, now() - start);
    if (!out) return DLC_OK;
    int64_t *extents = NEW_ARRAY(a, int64_t, n_extents(e));
    e->model->shapes(p->sizes, extents);
    for (int i = 0, at = first_extent(e, e->n_in); i < e->n_out; at += e->out_rank[i++]) {
        out[i] = (tensor){ .dtype = e->out_dtype[i], .rank = e->out_rank[i], .bytes = p->outputs[i] };
        memcpy(out[i].dims, extents + at, sizeof *extents * (size_t)e->out_rank[i]);
    }
    return DLC_OK;
}

static void take_states(arena *a, const engine *e, tensor *all)
{
    const state_binding *b = e->bound;
    const char *from = e->states, *to = from + b->bytes;
    for (int64_t i = 0; i < e->graph->results.n; i++) {            /* a result may be a state as it was */
        const char *p = all[i].bytes;
        if (p >= from && p < to) all[i].bytes = arena_copy(a, p, tensor_bytes(&all[i]));
    }
    for (int k = 0; k < b->n; k++)
        if (b->pairs[k].output >= 0) memcpy(state_at(e, k), all[b->pairs[k].output].bytes, (size_t)b->rows[k].bytes);
}

/* The interpreters take and give states as any tensors; new values are copied to their places, also to the outputs of the caller. */
static dlc_status step_interpreted(dlc_context *ctx, arena *a, prepared *p, tensor *out)
{
    const engine *e = p->e;
    const tensor *in = graph_inputs(a, e, p->in);
    tensor *all = e->bound || !out ? NEW_ARRAY(a, tensor, e->graph->results.n + 1) : out;
    eval_options o = { .fma = e->fma };
    dlc_status s = e->kind == ENGINE_loop ? driver_eval(ctx, a, e->program, p->sizes, in, all) : eval_graph(ctx, a, e->graph, p->sizes, in, all, &o);
    if (e->bound && s == DLC_OK) take_states(a, e, all);
    for (int i = 0; s == DLC_OK && i < e->n_out; i++) {
        const tensor *t = &all[e->out_at[i]];
        if (p->outputs) memcpy(p->outputs[i], t->bytes, tensor_bytes(t));
        if (out) out[i] = *t;
    }
    return s;
}

dlc_status engine_step(dlc_context *ctx, arena *a, prepared *p, tensor *out)
{
    return p->e->model ? step_model(ctx, a, p, out) : step_interpreted(ctx, a, p, out);
}

dlc_status engine_run(dlc_context *ctx, arena *a, const engine *e, const tensor *in, tensor *out, const dlc_run_hook *hook)
{
    prepared p;
    dlc_status s = engine_prepare(ctx, a, e, in, hook, &p);
    return s == DLC_OK ? engine_step(ctx, a, &p, out) : s;
}

static void end_pool(void *pool) { dlc_pool_destroy(pool); }

dlc_run_hook engine_threads(arena *a, int threads, int *n)
{
    dlc_pool *pool = dlc_pool_create(threads);
    *n = pool ? dlc_pool_threads(pool) : 1;
    if (!pool) return (dlc_run_hook){ NULL, NULL };
    arena_on_free(a, end_pool, pool);
    return (dlc_run_hook){ *n > 1 ? dlc_parallel : NULL, pool };
}
