/* profile: times of kernels, and the peaks of the machine to hold them against (profile.h)
 *
 * Peaks  Two loop programs written here as text go the way of every other: independent chains of multiply-adds in registers, as
 *        many as the latency asks for and the registers hold; and a sum over more memory than the caches. So both are what code
 *        of this compiler reaches on this machine, at this clock, and no number from a data sheet.
 */
#include "api/profile.h"
#include "api/cost.h"
#include <time.h>

enum { CHAIN_STEPS = 400000, ROUNDS = 9 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- Kernels ---------------------------------------------------------------------------------------------------------------- */

/* A place in few words; NULL: nothing is known. */
static const char *layer_text(arena *a, const place *at)
{
    text t = { .a = a };
    if (!at || (!at->node && !at->op && !at->line)) return NULL;
    if (at->node) text_put_escaped(&t, at->node, strlen(at->node), 200);
    else if (!at->op) text_printf(&t, "line %d", at->line);
    if (at->op) {
        text_put(&t, at->node ? " (" : "");
        text_put_escaped(&t, at->op, strlen(at->op), 60);
        text_put(&t, at->node ? ")" : "");
    }
    return text_str(&t);
}

/* Calls nest as deep as the bodies of the program. */
static void note_layers(arena *a, profile *f, map_str *seen, const prog_block *b)
{
    for (int i = 0; i < b->n; i++) {
        const prog_op *x = b->at[i];
        const char *name = x->kind == PROG_call ? layer_text(a, x->layer) : NULL;
        if (name) {
            bool is_new;
            const char *key = arena_printf(a, "%d %s", x->kernel, name);
            map_put(seen, key, strlen(key), 0, &is_new);
            if (is_new) vec_push(a, &f->rows[x->kernel].layers, name);
        }
        note_layers(a, f, seen, &x->test);
        note_layers(a, f, seen, &x->body);
        note_layers(a, f, seen, &x->other);
    }
}

profile *profile_new(dlc_context *ctx, arena *a, const prepared *p)
{
    const program *g = p->variant ? variants_program(p->e->variants, p->variant) : p->e->program;
    map_str seen;
    profile *f = NEW(a, profile);
    f->n = g->kernels.n;
    f->rows = NEW_ARRAY(a, profile_row, f->n + 1);
    for (int64_t i = 0; i < f->n; i++) {
        kernel_cost c = cost_of(ctx, g->kernels.at[i], p->sizes);
        f->rows[i] = (profile_row){ .name = g->kernels.at[i]->name, .flops = c.flops, .bytes = c.bytes };
    }
    map_init(&seen, a);
    note_layers(a, f, &seen, &g->body);
    return f;
}

void profile_call(void *arg, int64_t kernel, int64_t is_end)
{
    profile *f = arg;
    if (!is_end) {
        f->started = now();
        return;
    }
    f->rows[kernel].seconds += now() - f->started;
    f->rows[kernel].n++;
}

void profile_run_done(profile *f)
{
    for (int64_t i = 0; i < f->n; i++) {
        profile_row *r = &f->rows[i];
        if (r->n && (!r->calls || r->seconds < r->least)) {
            r->calls = r->n;
            r->least = r->seconds;
        }
        r->seconds = 0;
        r->n = 0;
    }
}

void profile_reset(profile *f)
{
    for (int64_t i = 0; i < f->n; i++) f->rows[i].calls = 0;
}

/* -- The machine ------------------------------------------------------------------------------------------------------------- */

static const char *chain_text(arena *a, const target *t, int threads)
{
    int width = t->vector_bytes / 4, chains = t->vector_registers >= 32 ? 24 : 12;
    return arena_printf(a,
        "kernel @chains(x: f32[%d, %d] in, y: f32[%d, %d, %d] out) map {\n"
        "  parallel for t in 0..%d {\n"
        "    reg acc: f32[%d, %d]\n    reg p: f32[%d]\n    reg q: f32[%d]\n"
        "    vector for v in 0..%d {\n      p[v] = x[0, v]\n      q[v] = x[1, v]\n    }\n"
        "    unroll for c in 0..%d {\n      vector for v in 0..%d {\n        acc[c, v] = x[c + 2, v]\n      }\n    }\n"
        "    for i in 0..%d {\n      unroll for c in 0..%d {\n        vector for v in 0..%d {\n"
        "          acc[c, v] = fma(p[v], q[v], acc[c, v])\n        }\n      }\n    }\n"
        "    unroll for c in 0..%d {\n      vector for v in 0..%d {\n        y[t, c, v] = acc[c, v]\n      }\n    }\n  }\n}\n\n"
        "program @peak workspace 0 least 0 {\n  input x: f32[%d, %d]\n  output y: f32[%d, %d, %d]\n  call @chains(x, y)\n}\n",
        chains + 2, width, threads, chains, width, threads, chains, width, width, width, width, chains, width, CHAIN_STEPS, chains, width,
        chains, width, chains + 2, width, threads, chains, width);
}

static const char *sum_text(arena *a, const target *t, int threads, int64_t rows)
{
    int width = t->vector_bytes / 4;
    return arena_printf(a,
        "kernel @sums(x: f32[%d, %lld, 8, %d] in, y: f32[%d, 8, %d] out) map {\n"
        "  parallel for t in 0..%d {\n    reg acc: f32[8, %d] = 0\n"
        "    for i in 0..%lld {\n      unroll for c in 0..8 {\n        vector for v in 0..%d {\n"
        "          acc[c, v] = acc[c, v] + x[t, i, c, v]\n        }\n      }\n    }\n"
        "    unroll for c in 0..8 {\n      vector for v in 0..%d {\n        y[t, c, v] = acc[c, v]\n      }\n    }\n  }\n}\n\n"
        "program @reads workspace 0 least 0 {\n  input x: f32[%d, %lld, 8, %d]\n  output y: f32[%d, 8, %d]\n  call @sums(x, y)\n}\n",
        threads, (long long)rows, width, threads, width, threads, width, (long long)rows, width, width, threads, (long long)rows, width,
        threads, width);
}

/* The least time of several runs. */
static dlc_status time_text(dlc_context *ctx, arena *a, const driver_options *o, const dlc_run_hook *hook, const char *source,
                            size_t in_bytes, size_t out_bytes, double *seconds)
{
    driver_options plain = *o;
    plain.codegen.profile = false;
    plain.codegen.prefix = "peak";
    loaded_code *code;
    const dlc_model *m;
    program *p = program_parse(ctx, a, "the measurement", source, strlen(source));
    if (!p || !program_verify(p, "the measurement")) return ctx->status;
    p->fma = o->fma;
    dlc_status s = driver_load(ctx, p, &plain, &code, &m);
    if (s != DLC_OK) return s;
    char *in = arena_alloc(a, in_bytes + 64), *out = arena_alloc(a, out_bytes + 64);
    in += -(uintptr_t)in & 63;
    out += -(uintptr_t)out & 63;
    memset(in, 0x3c, in_bytes);                              /* 0.0115…: normal numbers, and every page is there */
    *seconds = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        m->run(&(dlc_run){ .hook = *hook }, NULL, (const void *[]){ in }, (void *[]){ out });
        double took = now() - start;
        if (took < *seconds) *seconds = took;
    }
    driver_unload(code);
    return DLC_OK;
}

dlc_status profile_peak(dlc_context *ctx, const driver_options *o, const dlc_run_hook *hook, int threads, machine_peak *out)
{
    enum { LEAST = 64 << 20, MOST = 512 << 20 };
    arena *a = arena_new(&ctx->mem);
    const target *t = &o->codegen.target;
    int chains = t->vector_registers >= 32 ? 24 : 12, vector = t->vector_bytes;
    int64_t wanted = 4 * t->l3_bytes < LEAST ? LEAST : 4 * t->l3_bytes > MOST ? MOST : 4 * t->l3_bytes;
    int64_t rows = wanted / threads / (8 * vector);
    double seconds = 1;
    out->read_bytes = (double)(rows * threads * 8 * vector);
    dlc_status s = time_text(ctx, a, o, hook, chain_text(a, t, threads), (size_t)((chains + 2) * vector),
                             (size_t)(threads * chains * vector), &seconds);
    out->flops = 2.0 * CHAIN_STEPS * chains * (vector / 4) * threads / seconds;
    if (s == DLC_OK) s = time_text(ctx, a, o, hook, sum_text(a, t, threads, rows), (size_t)out->read_bytes, (size_t)(threads * 8 * vector), &seconds);
    out->bytes = out->read_bytes / seconds;
    arena_free(a);
    return s;
}
