/* program_values: the values that a program says its models give, against those they give */
#include "tests/support/program_values.h"
#include "api/driver.h"
#include "backend/eval/eval.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *read_all(arena *a, const char *path)
{
    bytes b;
    int err;
    assert_true(file_map(a, path, &b, &err));
    return arena_strndup(a, (const char *)b.at, b.n);
}

/* The numbers of a text, brackets and commas left out. */
static int numbers(const char *s, const char *end, double *out, int max)
{
    int n = 0;
    while (s < end && n < max) {
        if (!strncmp(s, "true", 4) || !strncmp(s, "false", 5)) {
            out[n++] = *s == 't';
            s += *s == 't' ? 4 : 5;
        } else if (strchr("-0123456789", *s)) {
            char *p;
            out[n++] = strtod(s, &p);
            s = p;
        } else s++;
    }
    return n;
}

static bool value_as_said(const char *file, double atol, const char *model, const char *said, const char *end)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    o.lang.model = model;
    graph *g = NULL;
    tensor out = { 0 };
    eval_options ev = { 0 };
    double want[64];
    int n = numbers(said, end, want, 64);
    bool ok = driver_import(ctx, a, file, &o, &g) == DLC_OK && g->results.n == 1 && graph_verify(g, "values")
              && eval_graph(ctx, a, g, NULL, NULL, &out, &ev) == DLC_OK && tensor_n(&out) == n;
    for (int i = 0; ok && i < n; i++) {
        double got = sv_to_f64(out.dtype, sv_load(out.dtype, (char *)out.bytes + i * dtype_bytes(out.dtype)));
        if (!(fabs(got - want[i]) <= atol * fmax(1, fabs(want[i])))) {
            printf("%s: element %d is %g, said %g\n", model, i, got, want[i]);
            ok = false;
        }
    }
    if (!ok)
        printf("%s fails%s%s\n", model, ctx->diags.n ? ": " : "",
               ctx->diags.n ? ctx->diags.at[0].message : "");
    context_free(ctx);
    return ok;
}

int program_values(const char *file, double atol)
{
    dlc_context *ctx = context_new();
    const char *p = read_all(ctx->arena, file);
    int models = 0, ok = 0;
    while ((p = strstr(p, "\n# = "))) {
        const char *said = p + 5, *end = strchr(said, '\n'), *name = end + strlen("\nmodel ");
        char model[64];
        snprintf(model, sizeof model, "%.*s", (int)strcspn(name, "("), name);
        models++;
        ok += value_as_said(file, atol, model, said, end);
        p = end;
    }
    printf("%s: %d of %d values are as said\n", file, ok, models);
    context_free(ctx);
    assert_int_equal(ok, models);
    return models;
}
