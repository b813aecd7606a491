/* step_time FILE.dl…: what getting a training step ready takes, in ms: the block elaborated (data read),
 * first values, passes, and its code from the cache of $DLC_CACHE_DIR, or made. */
#include "api/train.h"
#include "api/training.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static bool time_one(const char *path)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    o.codegen.cache_dir = getenv("DLC_CACHE_DIR");
    lang_training t;
    tensor *values;
    program *p = NULL;
    loaded_code *code = NULL;
    const dlc_model *m;
    double at[6] = { now() };
    dlc_status s = driver_train(ctx, a, path, NULL, &o, &t);
    at[1] = now();
    if (s == DLC_OK) s = train_first_values(ctx, a, &o, &t, &values);
    at[2] = now();
    graph *g = s == DLC_OK ? t.step : NULL;
    if (s == DLC_OK) s = driver_passes(ctx, &o, &g);
    if (s == DLC_OK) s = driver_lower(ctx, &o, g, &p);
    at[3] = now();
    if (s == DLC_OK) s = driver_constants(ctx, p);
    at[4] = now();
    if (s == DLC_OK) s = driver_load(ctx, p, &o, &code, &m);
    at[5] = now();
    printf("%-28s elaborate and data %7.1f  values %7.1f  passes %6.1f  constants %6.1f  code %8.1f\n", path,
           at[1] - at[0], at[2] - at[1], at[3] - at[2], at[4] - at[3], at[5] - at[4]);
    driver_unload(code);
    arena_free(a);
    context_free(ctx);
    return s == DLC_OK;
}

int main(int argc, char **argv)
{
    bool ok = argc > 1;
    for (int i = 1; i < argc; i++) ok &= time_one(argv[i]);
    return !ok;
}
