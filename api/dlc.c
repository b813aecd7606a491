/* dlc: the public API over the driver (include/dlc/dlc.h)
 *
 * Every function that allocates marks a frame: where memory runs out inside, everything made since is freed
 * and the caller gets DLC_ERR_MEMORY. A program has an arena of its own.
 */
#include "api/output.h"
#include "api/public.h"
#include <assert.h>
#include <stdlib.h>

static_assert((int)DLC_F64 == DTYPE_f64 && (int)DLC_BOOL == DTYPE_bool && (int)DLC_I2 == DTYPE_i2 &&
                  DTYPE_COUNT == DTYPE_i2 + 1,
              "dlc_dtype follows ir/dtype.def");
static_assert((int)DLC_MAX_RANK == (int)MAX_RANK, "dlc_tensor holds every rank");

struct dlc_program { dlc_context *ctx; arena *arena; engine *e; };

uint32_t dlc_version(void) { return DLC_VERSION_NUMBER; }

/* -- Context --------------------------------------------------------------------------------------------- */

dlc_context *dlc_context_create(void) { return context_new(); }
void dlc_context_destroy(dlc_context *ctx) { context_free(ctx); }
void dlc_context_set_memory_limit(dlc_context *ctx, size_t bytes_) { ctx->mem.limit = bytes_; }
size_t dlc_diag_count(const dlc_context *ctx) { return (size_t)ctx->diags.n; }

const char *dlc_diag_text(dlc_context *ctx, size_t i)
{
    mem_frame frame;
    const char *volatile s = "out of memory";
    if (i >= (size_t)ctx->diags.n) return "";
    if (mem_try(&ctx->mem, &frame)) {
        text t = { .a = ctx->arena };
        diag_format(&t, &ctx->diags.at[i]);
        s = text_str(&t);
        mem_end(&ctx->mem, &frame);
    }
    return s;
}

dlc_status public_out_of_memory(dlc_context *ctx)
{
    diag_out_of_memory(ctx, (place){ 0 });
    return DLC_ERR_MEMORY;
}

/* -- Options --------------------------------------------------------------------------------------------- */

dlc_status public_options(dlc_context *ctx, arena *a, const char *const *options, settings *s)
{
    *s = settings_default();
    for (int i = 0; options && options[i]; i++) {
        const char *eq = strchr(options[i], '=');
        const char *name = eq ? arena_strndup(a, options[i], (size_t)(eq - options[i])) : options[i];
        bool is_known;
        if (!settings_set(ctx, a, s, name, eq ? eq + 1 : NULL, &is_known)) return DLC_ERR_INPUT;
        if (is_known) continue;
        diag_option_unknown(ctx, (place){ 0 }, "compile", name, "");
        return DLC_ERR_INPUT;
    }
    return settings_finish(ctx, s) ? DLC_OK : DLC_ERR_INPUT;
}

/* -- Programs -------------------------------------------------------------------------------------------- */

static dlc_status open_program(dlc_context *ctx, const char *path, const char *const *options,
                               dlc_program **out)
{
    arena *a = arena_new(&ctx->mem);
    dlc_program *p = NEW(a, dlc_program);
    p->ctx = ctx;
    p->arena = a;
    settings set;
    dlc_status s = public_options(ctx, a, options, &set);
    if (s == DLC_OK) s = engine_open(ctx, a, path, &set.driver, set.kind, &p->e);
    if (s == DLC_OK) *out = p;
    else arena_free(a);
    return s;
}

dlc_status dlc_program_open(dlc_context *ctx, const char *path, const char *const *options,
                            dlc_program **program_)
{
    mem_frame frame;
    context_clear_diags(ctx);
    *program_ = NULL;
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    dlc_status s = open_program(ctx, path, options, program_);
    mem_end(&ctx->mem, &frame);
    return s;
}

void dlc_program_close(dlc_program *p)
{
    if (p) arena_free(p->arena);
}

size_t dlc_program_n_inputs(const dlc_program *p) { return (size_t)p->e->n_in; }
size_t dlc_program_n_outputs(const dlc_program *p) { return (size_t)p->e->n_out; }
const char *dlc_program_input_name(const dlc_program *p, size_t i)
{
    return i < (size_t)p->e->n_in ? p->e->in_name[i] : NULL;
}

const char *dlc_program_output_name(const dlc_program *p, size_t i)
{
    return i < (size_t)p->e->n_out ? p->e->out_name[i] : NULL;
}

dlc_tensor dlc_program_input(const dlc_program *p, size_t i)
{
    dlc_tensor t = { 0 };
    mem_frame frame;
    if (i >= (size_t)p->e->n_in) return t;
    t.dtype = (int32_t)p->e->in_dtype[i];
    t.rank = p->e->in_rank[i];
    for (int k = 0; k < t.rank; k++) t.dims[k] = -1;
    if (mem_try(&p->ctx->mem, &frame)) {
        engine_input_shape(p->e, (int)i, t.dims);
        mem_end(&p->ctx->mem, &frame);
    }
    return t;
}

dlc_tensor dlc_program_output(const dlc_program *p, size_t i)
{
    dlc_tensor t = { 0 };
    if (i >= (size_t)p->e->n_out) return t;
    t.dtype = (int32_t)p->e->out_dtype[i];
    t.rank = p->e->out_rank[i];
    for (int k = 0; k < t.rank; k++) t.dims[k] = -1;
    return t;
}

/* -- Running --------------------------------------------------------------------------------------------- */

tensor public_tensor(const dlc_tensor *x)
{
    bool is_right = x->rank >= 0 && x->rank <= MAX_RANK && x->dtype > 0 && x->dtype < DTYPE_COUNT;
    tensor t = { .dtype = is_right ? (dtype)x->dtype : DTYPE_NONE,
                 .rank = is_right ? x->rank : 0,
                 .bytes = x->data };
    memcpy(t.dims, x->dims, sizeof t.dims);
    return t;
}

static void to_outside(const tensor *t, dlc_tensor *x)
{
    x->dtype = (int32_t)t->dtype;
    x->rank = t->rank;
    memcpy(x->dims, t->dims, sizeof x->dims);
}

static dlc_status check_counts(dlc_context *ctx, const engine *e, size_t n_in, size_t n_out)
{
    if (n_in != (size_t)e->n_in) diag_run_inputs(ctx, (place){ 0 }, e->n_in, (int)n_in);
    else if (n_out != (size_t)e->n_out) diag_run_outputs(ctx, (place){ 0 }, e->n_out, (int)n_out);
    else return DLC_OK;
    return DLC_ERR_INPUT;
}

static tensor *all_inside(arena *a, const dlc_tensor *in, size_t n)
{
    tensor *t = NEW_ARRAY(a, tensor, n);
    for (size_t i = 0; i < n; i++) t[i] = public_tensor(&in[i]);
    return t;
}

/* The interpreters find sizes by running; only they need in[].data here. */
static dlc_status prepare(dlc_context *ctx, arena *a, const engine *e, const dlc_tensor *in, dlc_tensor *out,
                          size_t *work)
{
    tensor *x = all_inside(a, in, (size_t)e->n_in), *y = NEW_ARRAY(a, tensor, e->n_out);
    dlc_status s = engine_sizes(ctx, a, e, x, y, work);
    for (int i = 0; i < e->n_out && s == DLC_OK; i++) to_outside(&y[i], &out[i]);
    return s;
}

dlc_status dlc_program_prepare(dlc_context *ctx, const dlc_program *p, const dlc_tensor *in, size_t n_in,
                               dlc_tensor *out, size_t n_out, size_t *work_bytes)
{
    mem_frame frame;
    context_clear_diags(ctx);
    dlc_status s = check_counts(ctx, p->e, n_in, n_out);
    if (s != DLC_OK) return s;
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    arena *a = arena_new(&ctx->mem);
    s = prepare(ctx, a, p->e, in, out, work_bytes);
    arena_free(a);
    mem_end(&ctx->mem, &frame);
    return s;
}

static dlc_status run_program(dlc_context *ctx, arena *a, const engine *e, const dlc_tensor *in,
                              dlc_tensor *out, void *work, size_t work_bytes, dlc_pool *pool)
{
    tensor *x = all_inside(a, in, (size_t)e->n_in), *y = NEW_ARRAY(a, tensor, e->n_out);
    dlc_run_hook hook = { pool ? dlc_parallel : NULL, pool };
    prepared p;
    size_t need;
    dlc_status s = engine_sizes(ctx, a, e, x, y, &need);
    if (s != DLC_OK) return s;
    if (work_bytes < need || (uintptr_t)work % 64) {
        diag_run_work(ctx, (place){ 0 }, (unsigned long long)need, (unsigned long long)work_bytes);
        return DLC_ERR_MEMORY;
    }
    void **data = NEW_ARRAY(a, void *, e->n_out);
    for (int i = 0; i < e->n_out; i++) data[i] = out[i].data;
    s = engine_prepare_in(ctx, a, e, x, &hook, work, data, &p);
    if (s == DLC_OK) s = engine_step(ctx, a, &p, y);
    for (int i = 0; i < e->n_out && s == DLC_OK; i++) to_outside(&y[i], &out[i]);
    return s;
}

dlc_status dlc_program_run(dlc_context *ctx, const dlc_program *p, const dlc_tensor *in, size_t n_in,
                           dlc_tensor *out, size_t n_out, void *work, size_t work_bytes, dlc_pool *pool)
{
    mem_frame frame;
    context_clear_diags(ctx);
    dlc_status s = check_counts(ctx, p->e, n_in, n_out);
    if (s != DLC_OK) return s;
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    arena *a = arena_new(&ctx->mem);
    s = run_program(ctx, a, p->e, in, out, work, work_bytes, pool);
    arena_free(a);
    mem_end(&ctx->mem, &frame);
    return s;
}

/* -- Files ----------------------------------------------------------------------------------------------- */

dlc_status dlc_compile_file(dlc_context *ctx, const char *model, const char *output_path,
                            const char *const *options)
{
    mem_frame frame;
    context_clear_diags(ctx);
    if (!mem_try(&ctx->mem, &frame)) return public_out_of_memory(ctx);
    arena *a = arena_new(&ctx->mem);
    settings set;
    dlc_status s = public_options(ctx, a, options, &set);
    output_kind kind = output_of(output_path);
    if (s == DLC_OK && kind == OUTPUT_COUNT) {
        diag_output_ending(ctx, (place){ 0 }, ".so, .o, .a, .ll, .s, .h", output_path);
        s = DLC_ERR_INPUT;
    }
    if (s == DLC_OK) s = output_compile(ctx, a, model, output_path, kind, &set, NULL);
    arena_free(a);
    mem_end(&ctx->mem, &frame);
    return s;
}
