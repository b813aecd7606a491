/* bench: how long a model takes: median, least and 90th percentile of many runs; and compile time, memory, workspace
 *
 * Inputs that are not given are random. Runs are timed one by one with a monotonic clock. With --profile the code is made with
 * a call at the beginning and end of each kernel, which costs some 50 ns each; else nothing in it is changed.
 */
#include "api/profile.h"
#include "cli/cli.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { MIN_RUNS = 3, MAX_RUNS = 1000000 };

typedef struct { double median_ms, min_ms, p90_ms, compile_s, peak_rss_mb, specialize_s; int64_t workspace_bytes; int runs, threads; } figures;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double peak_rss_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static dlc_status one_run(cli *c, prepared *p, double *ms)
{
    arena *a = arena_new(&c->ctx->mem);
    double start = now();
    dlc_status s = engine_step(c->ctx, a, p, NULL);
    *ms = (now() - start) * 1e3;
    if (p->profile) profile_run_done(p->profile);
    arena_free(a);
    return s;
}

static dlc_status measure(cli *c, prepared *p, figures *f)
{
    int64_t warmup = opt_int(c, OPT_warmup, 0, MAX_RUNS, 3), duration = opt_int(c, OPT_duration, 0, 3600000, 2000);
    if (c->is_usage) return DLC_ERR_INPUT;
    vec(double) times = { 0 };
    double ms = 0, end = 0;
    dlc_status s = DLC_OK;
    for (int64_t i = 0; i < warmup && s == DLC_OK; i++) s = one_run(c, p, &ms);
    if (p->profile) profile_reset(p->profile);
    end = now() + (double)duration * 1e-3;
    while (s == DLC_OK && times.n < MAX_RUNS && (times.n < MIN_RUNS || now() < end)) {
        s = one_run(c, p, &ms);
        vec_push(c->a, &times, ms);
    }
    if (s != DLC_OK) return s;
    qsort(times.at, (size_t)times.n, sizeof *times.at, by_value);
    f->median_ms = times.at[times.n / 2];
    f->min_ms = times.at[0];
    f->p90_ms = times.at[times.n * 9 / 10];
    f->runs = (int)times.n;
    return DLC_OK;
}

static void print_figures(const figures *f)
{
    printf("median %.4g ms   least %.4g ms   90th percentile %.4g ms   (%d runs, %d thread%s)\n"
           "compiled in %.3g s   peak memory %.4g MB   workspace %lld bytes\n",
           f->median_ms, f->min_ms, f->p90_ms, f->runs, f->threads, f->threads == 1 ? "" : "s", f->compile_s, f->peak_rss_mb,
           (long long)f->workspace_bytes);
    if (f->specialize_s > 0) printf("compiled for these sizes in %.3g s more\n", f->specialize_s);
}

/* -- Kernels --------------------------------------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
    double x = ((const profile_row *)a)->least, y = ((const profile_row *)b)->least;
    return (x < y) - (x > y);
}

/* A rate; 0 for what was never called. */
static double rate(const profile_row *r, double of_one) { return r->least > 0 ? of_one * (double)r->calls / r->least : 0; }

static double all_seconds(const profile *f)
{
    double sum = 0;
    for (int64_t i = 0; i < f->n; i++) sum += f->rows[i].calls ? f->rows[i].least : 0;
    return sum;
}

/* "conv1 (Conv)", and how many more. */
static void print_layers(const profile_row *r)
{
    if (r->layers.n) printf("  %s", r->layers.at[0]);
    if (r->layers.n > 1) printf(" and %lld more", (long long)r->layers.n - 1);
    printf("\n");
}

static void print_profile(const profile *f, const figures *g, const machine_peak *peak)
{
    double all = all_seconds(f);
    printf("\n%-32s %8s %10s %6s %9s %6s %8s %6s  %s\n", "kernel", "calls", "ms", "share", "GFLOP/s", "of FMA", "GB/s", "of mem", "layer");
    for (int64_t i = 0; i < f->n; i++) {
        const profile_row *r = &f->rows[i];
        if (!r->calls) continue;
        printf("%-32s %8.0f %10.4g %5.1f%% %9.4g %5.1f%% %8.4g %5.1f%%", r->name, (double)r->calls, r->least * 1e3, 100 * r->least / all,
               rate(r, r->flops) * 1e-9, 100 * rate(r, r->flops) / peak->flops, rate(r, r->bytes) * 1e-9,
               100 * rate(r, r->bytes) / peak->bytes);
        print_layers(r);
    }
    printf("%-32s %8s %10.4g  in the runs where each took least\n", "all kernels", "", all * 1e3);
    printf("peaks measured now on %d thread%s: %.4g GFLOP/s of f32 multiply-adds, %.4g GB/s reading %.0f MB\n", g->threads,
           g->threads == 1 ? "" : "s", peak->flops * 1e-9, peak->bytes * 1e-9, peak->read_bytes * 1e-6);
}

static void print_json(cli *c, const figures *f, const profile *p, const machine_peak *peak)
{
    printf("{\"median_ms\": %.6g, \"min_ms\": %.6g, \"p90_ms\": %.6g, \"runs\": %d, \"threads\": %d, \"compile_s\": %.6g, "
           "\"specialize_s\": %.6g, \"peak_rss_mb\": %.6g, \"workspace_bytes\": %lld",
           f->median_ms, f->min_ms, f->p90_ms, f->runs, f->threads, f->compile_s, f->specialize_s, f->peak_rss_mb, (long long)f->workspace_bytes);
    if (p) printf(",\n \"peak_gflops\": %.6g, \"peak_gbs\": %.6g, \"kernels\": [", peak->flops * 1e-9, peak->bytes * 1e-9);
    for (int64_t i = 0, n = 0; p && i < p->n; i++) {
        const profile_row *r = &p->rows[i];
        if (!r->calls) continue;
        printf("%s\n  {\"name\": \"%s\", \"calls\": %.0f, \"ms\": %.6g, \"share\": %.4g, \"gflops\": %.6g, \"gbs\": %.6g, \"layers\": [", n++ ? "," : "",
               r->name, (double)r->calls, r->least * 1e3, r->least / all_seconds(p), rate(r, r->flops) * 1e-9,
               rate(r, r->bytes) * 1e-9);
        for (int64_t j = 0; j < r->layers.n; j++) printf("%s%s", j ? ", " : "", cli_quoted(c->a, r->layers.at[j]));
        printf("]}");
    }
    printf("%s}\n", p ? "]" : "");
}

/* After the two runs that a variant takes to be made: each has kernels of its own. */
static dlc_status begin_profile(cli *c, prepared *p)
{
    const engine *e = p->e;
    if (e->program && (e->kind == ENGINE_jit || e->kind == ENGINE_so)) {
        dlc_status s = DLC_OK;
        double ms;
        for (int i = 0; i < 2 && e->variants && s == DLC_OK; i++) s = one_run(c, p, &ms);
        if (s == DLC_OK) p->profile = profile_new(c->ctx, c->a, p);
        return s;
    }
    diag_option_value(c->ctx, (place){ 0 }, "profile", e->program ? "works with --backend=jit and so" : "needs the model: a library or the graph has no kernels to time");
    c->is_usage = true;
    return DLC_ERR_UNSUPPORTED;
}

int command_bench(cli *c)
{
    if (c->operands.n == 0) {
        cli_operand(c);
        return EXIT_USAGE;
    }
    engine *e;
    tensor *in;
    settings set;
    double start = now();
    dlc_status s = cli_open_model(c, &e, &in);
    figures f = { .compile_s = now() - start };
    if (s != DLC_OK) return exit_code(s);
    dlc_run_hook hook = cli_threads(c, &f.threads);
    prepared p;
    machine_peak peak = { 0 };
    s = engine_prepare(c->ctx, c->a, e, in, &hook, &p);
    if (s == DLC_OK && opt_given(c, OPT_profile)) s = begin_profile(c, &p);
    progress_put(c, "run");
    if (s == DLC_OK) s = measure(c, &p, &f);
    f.workspace_bytes = p.workspace_bytes;
    if (p.variant) variants_made(e->variants, &f.specialize_s);
    f.peak_rss_mb = peak_rss_mb();
    if (s == DLC_OK && p.profile) s = cli_settings(c, &set) ? profile_peak(c->ctx, &set.driver, &hook, f.threads, &peak) : DLC_ERR_INPUT;
    progress_clear(c);
    if (s != DLC_OK) return exit_code(s);
    if (p.profile) qsort(p.profile->rows, (size_t)p.profile->n, sizeof *p.profile->rows, by_time);
    if (opt_given(c, OPT_json)) {
        print_json(c, &f, p.profile, &peak);
        return EXIT_OK;
    }
    print_figures(&f);
    if (p.profile) print_profile(p.profile, &f, &peak);
    return EXIT_OK;
}
