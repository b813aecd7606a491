/* bench: how long a model takes: median, least and 90th percentile of many runs; and compile time, memory, workspace
 *
 * Inputs that are not given are random. Runs are timed one by one with a monotonic clock.
 */
#include "cli/cli.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { MIN_RUNS = 3, MAX_RUNS = 1000000 };

typedef struct { double median_ms, min_ms, p90_ms, compile_s, peak_rss_mb; int64_t workspace_bytes; int runs, threads; } figures;

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

static void print_figures(const figures *f, bool is_json)
{
    if (is_json)
        printf("{\"median_ms\": %.6g, \"min_ms\": %.6g, \"p90_ms\": %.6g, \"runs\": %d, \"threads\": %d, \"compile_s\": %.6g, "
               "\"peak_rss_mb\": %.6g, \"workspace_bytes\": %lld}\n",
               f->median_ms, f->min_ms, f->p90_ms, f->runs, f->threads, f->compile_s, f->peak_rss_mb, (long long)f->workspace_bytes);
    else
        printf("median %.4g ms   least %.4g ms   90th percentile %.4g ms   (%d runs, %d thread%s)\n"
               "compiled in %.3g s   peak memory %.4g MB   workspace %lld bytes\n",
               f->median_ms, f->min_ms, f->p90_ms, f->runs, f->threads, f->threads == 1 ? "" : "s", f->compile_s, f->peak_rss_mb,
               (long long)f->workspace_bytes);
}

int command_bench(cli *c)
{
    if (c->operands.n == 0) {
        cli_operand(c);
        return EXIT_USAGE;
    }
    engine *e;
    tensor *in;
    double start = now();
    dlc_status s = cli_open_model(c, &e, &in);
    figures f = { .compile_s = now() - start };
    if (s != DLC_OK) return exit_code(s);
    dlc_run_hook hook = cli_threads(c, &f.threads);
    prepared p;
    s = engine_prepare(c->ctx, c->a, e, in, &hook, &p);
    if (s == DLC_OK) s = measure(c, &p, &f);
    if (s != DLC_OK) return exit_code(s);
    f.workspace_bytes = p.workspace_bytes;
    f.peak_rss_mb = peak_rss_mb();
    print_figures(&f, opt_given(c, OPT_json));
    return EXIT_OK;
}
