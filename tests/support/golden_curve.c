/* golden_curve: a program of examples/ trained, against tests/lang/golden/NAME.json: paths and first values
 * of the parameters, and the losses of the first steps (a reference implementation's, in single precision).
 */
#include "tests/support/golden_curve.h"
#include "api/train.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct { double want[64]; int n_want, n_seen; double worst; const char *json; int missing; } seen;

static void on_first(void *arg, const lang_training *t, const tensor *values)
{
    seen *s = arg;
    for (int i = 0; i < t->n_vars; i++) {
        if (t->vars[i].is_state) continue;
        char key[300];
        snprintf(key, sizeof key, "\"path\":\"%s\"", t->vars[i].path);
        const char *p = strstr(s->json, key), *f = p ? strstr(p, "\"first\":[") : NULL;
        if (!f) { printf("no parameter %s\n", t->vars[i].path); s->missing++; continue; }
        double want = strtod(f + 9, NULL),
               got = sv_to_f64(values[i].dtype, sv_load(values[i].dtype, values[i].bytes));
        if (!(fabs(got - want) <= 1e-6 * fabs(want) + 1e-12)) {
            printf("%s begins with %.9g, not %.9g\n", t->vars[i].path, got, want);
            s->missing++;
        }
    }
}

static void on_step(void *arg, int64_t step, int n, const char *const *names, const double *losses)
{
    seen *s = arg;
    (void)step;
    (void)names;
    for (int i = 0; i < n && s->n_seen < s->n_want; i++, s->n_seen++) {
        double d = fabs(losses[i] - s->want[s->n_seen]) / fmax(fabs(s->want[s->n_seen]), 1e-6);
        if (!(d <= s->worst)) s->worst = d;
    }
}

/* The program trained, against its golden file. */
bool golden_curve(const char *name, double rtol)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    bytes b;
    int err;
    assert_true(file_map(a, arena_printf(a, "tests/lang/golden/%s.json", name), &b, &err));
    seen s = { .json = arena_strndup(a, (const char *)b.at, b.n) };
    const char *p = strstr(s.json, "\"curve\":[");
    assert_non_null(p);
    for (p += 8; s.n_want < 64 && !(p[0] == ']' && p[1] == ']');) {
        char *end;
        double x = strtod(p, &end);
        if (end == p) { p++; continue; }
        s.want[s.n_want++] = x;
        p = end;
    }
    driver_options o = driver_defaults();
    train_events ev = { .first = on_first, .step = on_step, .arg = &s };
    lang_training t;
    tensor *values;
    dlc_status st = train_file(ctx, a, arena_printf(a, "examples/%s.dl", name), NULL, &o, ENGINE_jit,
                               (dlc_run_hook){ NULL, NULL }, &ev, &t, &values);
    bool ok = st == DLC_OK && s.n_seen == s.n_want && s.worst <= rtol && !s.missing;
    printf("%-16s %d losses, largest relative difference %.1e%s%s\n", name, s.n_seen, s.worst,
           ctx->diags.n ? ": " : "", ctx->diags.n ? ctx->diags.at[0].message : "");
    context_free(ctx);
    return ok;
}
