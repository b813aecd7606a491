/* step_bits: does a training step give the same bits however it is made and run? (step_run.h) */
#include "tests/support/step_run.h"
#include "api/output.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(const char *what, const training *t, const void *a, const void *b)
{
    int bad = 0;
    for (int i = 0; i < t->t.n_vars; i++) {
        const state_row *r = &t->rows[i];
        if (memcmp((const char *)a + r->offset, (const char *)b + r->offset, (size_t)r->bytes) == 0) continue;
        if (!bad++) printf("  %s differs first in %s\n", what, r->name);
    }
    return bad != 0;
}


static bool run_command(const char *command) { return system(command) == 0; }

/* Of the file's library: the states at the end are those at `base`. */
static int compare_library(arena *a, const char *what, const char *path, const training *t, int64_t steps,
                           const void *base)
{
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const dlc_model *m = h ? dlsym(h, "dlc_model_v1") : NULL;
    if (!m) { printf("%s\n", dlerror()); return 1; }
    int bad = compare(what, t, base, step_run(a, m, &t->t, steps, 1, false, NULL));
    bad += compare(arena_printf(a, "%s, halves", what), t, base, step_run(a, m, &t->t, steps, 1, true, NULL));
    dlclose(h);
    return bad;
}

static int compare_files(dlc_context *ctx, arena *a, const char *file, settings *set, const training *t,
                         int64_t steps, const void *base)
{
    char dir[] = "/tmp/step_bits.XXXXXX";
    if (!mkdtemp(dir)) return 1;
    const char *so = arena_printf(a, "%s/m.so", dir), *c = arena_printf(a, "%s/m.c", dir),
               *cso = arena_printf(a, "%s/mc.so", dir);
    int bad = output_compile(ctx, a, file, so, OUTPUT_so, set, NULL) != DLC_OK ||
              output_compile(ctx, a, file, c, OUTPUT_c, set, NULL) != DLC_OK;
    const char *options = "-O1 -std=c99 -pedantic -Wall -Wextra -Werror -Dm_SHARED -shared -fPIC";
    bad += !run_command(
        arena_printf(a, "cd %s && cc %s %s $(test -f m.bin && echo '-Dm_INCBIN=\"m.bin\"') -o mc.so m.c", dir,
                     options, set->driver.c_fma ? "-mfma" : ""));
    if (!bad)
        bad = compare_library(a, "library", so, t, steps, base) +
              compare_library(a, "C", cso, t, steps, base);
    if (!run_command(arena_printf(a, "rm -r %s", dir))) bad++;
    return bad;
}

int step_bits(dlc_context *ctx, arena *a, const char *file, const char *name, int64_t steps, bool is_rounded,
              double *losses)
{
    settings set = settings_default();
    set.driver.train = name ? name : "";
    if (strstr(file, ".onnx")) {
        set.driver.loss = "cross_entropy";
        set.driver.optimizer = "sgd(0.02, momentum: 0.9)";
    }
    if (is_rounded) set.driver.fma = FMA_ROUNDED;
    else set.driver.c_fma = true;
    program *p;
    training t;
    dlc_status s = training_open(ctx, a, file, &set.driver, !strstr(file, ".onnx"), &t);
    if (s == DLC_OK) s = training_programs(ctx, a, file, &set.driver, &p);
    loaded_code *code = NULL;
    const dlc_model *jit;
    if (s == DLC_OK) s = driver_load(ctx, p, &set.driver, &code, &jit);
    if (s != DLC_OK) return -1;
    void *base = step_run(a, jit, &t.t, steps, 1, false, losses);
    int bad = compare("2 threads", &t, base, step_run(a, jit, &t.t, steps, 2, false, NULL));
    bad += compare("4 threads", &t, base, step_run(a, jit, &t.t, steps, 4, false, NULL));
    bad += compare("halves", &t, base, step_run(a, jit, &t.t, steps, 1, true, NULL));
    bad += compare_files(ctx, a, file, &set, &t, steps, base);
    driver_unload(code);
    return bad;
}
