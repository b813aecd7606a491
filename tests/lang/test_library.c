/* test_library: what of the library lives in training: optimizers, schedules, what is random while training
 *
 * Each row is a piece of text in a small program that is trained for some steps; the numbers were computed by PyTorch in
 * double precision (optimizers) or by NumPy from the definitions and the rules of random numbers. That every definition of
 * the library is used by some program of the tests is checked, too.
 */
#include "api/train.h"
#include "base/embed.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { MOST = 8 };
typedef struct { int n; double loss[MOST]; } losses;

static void on_step(void *arg, int64_t step, int n, const char *const *names, const double *values)
{
    losses *l = arg;
    (void)step, (void)names;
    if (n && l->n < MOST) l->loss[l->n++] = values[0];
}

/* Trains the program; the first variable's values at the end. */
static int trained(const char *source, losses *l, double *out)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    train_events ev = { .step = on_step, .arg = l };
    lang_training t;
    tensor *values;
    char path[] = "/tmp/dlc_library_XXXXXX.dl";
    int f = mkstemps(path, 3), n = 0;
    assert_true(f >= 0);
    assert_int_equal(write(f, source, strlen(source)), (ssize_t)strlen(source));
    close(f);
    dlc_status s = train_file(ctx, a, path, NULL, &o, ENGINE_eval, (dlc_run_hook){ NULL, NULL }, &ev, &t, &values);
    unlink(path);
    if (s != DLC_OK) fail_msg("%s\n%s", source, ctx->diags.at[0].message);
    for (; n < tensor_n(&values[0]) && n < MOST; n++) out[n] = sv_to_f64(values[0].dtype, sv_load(values[0].dtype, (char *)values[0].bytes + n * dtype_bytes(values[0].dtype)));
    context_free(ctx);
    return n;
}

static void near(const char *what, const double *got, const double *want, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 2e-6 * fmax(1, fabs(want[i])))) fail_msg("%s: number %d is %.8g, not %.8g", what, i, got[i], want[i]);
}

/* p from [1, -2, 0.5] by the gradient of 0.5 a² + 0.25 b² + 1.5 c², five steps. */
static void optimizers(void **state)
{
    (void)state;
    static const struct { const char *text; double want[3]; } rows[] = {
        { "GradientDescent(lr: 0.1)", { 0.59049, -1.547562, 0.084035 } },
        { "SGD(lr: 0.1, momentum: 0.9)", { -0.02916, -0.8343119, -0.38914 } },
        { "SGD(lr: 0.1, momentum: 0.9, nesterov: true, decay: 0.2)", { -0.2146185, -0.2403573, -0.1571774 } },
        { "SGD(lr: 0.1, decay: 0.2)", { 0.5277319, -1.391377, 0.07269668 } },
        { "AdaGrad(lr: 0.1)", { 0.6977149, -1.686762, 0.2226918 } },
        { "Adadelta(lr: 10.0, rho: 0.9)", { 0.8422422, -1.838917, 0.3491185 } },
        { "RMSProp(lr: 0.1)", { 0.1997953, -1.048928, 0.002174632 } },
        { "RMSProp(lr: 0.1, rho: 0.8, momentum: 0.5)", { 0.004282743, -0.8144688, -0.06066716 } },
        { "Adam(lr: 0.1)", { 0.5079637, -1.502956, 0.02781445 } },
        { "Adam(lr: 0.1, beta1: 0.8, beta2: 0.9, eps: 0.01)", { 0.5139516, -1.508373, 0.03415181 } },
        { "AdamW(lr: 0.1, decay: 0.3)", { 0.3992638, -1.251865, -0.007205289 } },
        { "Lion(lr: 0.1, decay: 0.2)", { 0.4235248, -1.327446, -0.02843562 } },
        { "GradientDescent(lr: 0.1) clip 0.5", { 1 - 0.1 * 0.5 * 1 / 2.0615528, -2 + 0.1 * 0.5 / 2.0615528, 0.5 - 0.1 * 0.5 * 1.5 / 2.0615528 } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char s[1000];
        double p[MOST];
        losses l = { 0 };
        snprintf(s, sizeof s, "model P() -> f32[3] {\n param w: f32[3] = [1.0, -2.0, 0.5]\n w\n}\ntrain fit(steps: %d) {\n data d = (x: [0.0])\n"
                 " loss = sum([0.5, 0.25, 1.5] * P() ** 2) + 0 * sum(d.x)\n minimize loss with %s\n}\n", strstr(rows[i].text, "clip") ? 1 : 5, rows[i].text);
        assert_int_equal(trained(s, &l, p), 3);
        near(rows[i].text, p, rows[i].want, 3);
    }
}

/* The loss is p, its gradient 1: each step takes the rate from it. */
static void schedules(void **state)
{
    (void)state;
    static const struct { const char *text; double want[6]; } rows[] = {
        { "constant(0.1)", { 0.1, 0.1, 0.1, 0.1, 0.1, 0.1 } },
        { "step_decay(0.1, every: 2, factor: 0.5)", { 0.1, 0.1, 0.05, 0.05, 0.025, 0.025 } },
        { "exponential(0.1, every: 2, factor: 0.5)", { 0.1, 0.07071068, 0.05, 0.03535534, 0.025, 0.01767767 } },
        { "cosine(0.1, steps: 4, end: 0.02)", { 0.1, 0.08828427, 0.06, 0.03171573, 0.02, 0.02 } },
        { "warmup(0.1, steps: 4)", { 0.025, 0.05, 0.075, 0.1, 0.1, 0.1 } },
        { "warmup_cosine(0.1, warmup: 2, steps: 5, end: 0.01)", { 0.05, 0.1, 0.1, 0.0775, 0.0325, 0.01 } },
        { "Plateau(0.1, patience: 2)()", { 0.1, 0.1, 0.1, 0.05, 0.05, 0.025 } },     /* of a loss that never changes */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char s[1000];
        double p[MOST];
        for (int n = 1; n <= 6; n++) {
            losses l = { 0 };
            snprintf(s, sizeof s, "model P() -> f32 {\n param w: f32 = 0\n w\n}\ntrain fit(epochs: %d) {\n data d = (x: [0.0, 0.0]) |> parts(valid: 0.5)\n"
                     " loss = P() - stop(P()) + 0 * sum(d.x)\n minimize loss with GradientDescent(lr: %s)\n}\n", n, rows[i].text);
            double want = 0;
            for (int k = 0; k < n; k++) want -= rows[i].want[k];
            trained(s, &l, p);
            near(rows[i].text, p, &want, 1);
        }
    }
}

/* Pictures under what is random while training: four steps, each with numbers of its own. */
static void random_while_training(void **state)
{
    (void)state;
    static const struct { const char *text; int size; double want[4]; } rows[] = {
        { "random_flip(d.x)", 4, { -1.109375, -1.203125, 1.015625, -1.109375 } },
        { "random_shift(d.x)", 4, { -0.21875, 1.171875, 0.953125, 2.046875 } },
        { "random_crop(d.x, 2)", 2, { -0.859375, -0.234375, 0.515625, 0.078125 } },
        { "d.x |> Noise()", 4, { 1.129066, 1.025993, 1.190101, 0.6091879 } },
        { "d.x |> Dropout(0.25)", 4, { 3.458333, 3.3125, 0.875, -0.3541667 } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char s[1000];
        double p[MOST];
        losses l = { 0 };
        snprintf(s, sizeof s, "fn wave(shape, k) = reshape(f32((iota(size(shape)) * k + 3) %% 17 - 8) / 8, shape)\nmodel P() -> f32 {\n param w: f32 = 0\n w\n}\n"
                 "train fit(steps: 4, shuffle: false) {\n data d = (x: wave([2, 1, 4, 4], 5))\n y = %s\n loss = sum(y * wave([2, 1, %d, %d], 7)) + P()\n"
                 " minimize loss with GradientDescent(lr: 0.0)\n}\n", rows[i].text, rows[i].size, rows[i].size);
        trained(s, &l, p);
        assert_int_equal(l.n, 4);
        near(rows[i].text, l.loss, rows[i].want, 4);
    }
}

static bool in_name(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/* Is the word there, not as a part of another? */
static bool has_word(const char *s, const char *word, size_t n)
{
    for (const char *p = s; (p = strstr(p, word)); p += n)
        if ((p == s || !in_name(p[-1])) && !in_name(p[n])) return true;
    return false;
}

static const char *text_of(arena *a, const char *path)
{
    bytes b;
    int err;
    if (!file_map(a, path, &b, &err)) fail_msg("%s", path);
    return arena_strndup(a, (const char *)b.at, b.n);
}

static void every_definition_is_tested(void **state)
{
    (void)state;
    static const char *const paths[2] = { "tests/lang/library.dl", "tests/lang/test_library.c" };
    dlc_context *ctx = context_new();
    int missing = 0, n = 0;
    const char *all[2];
    for (int i = 0; i < 2; i++) all[i] = text_of(ctx->arena, paths[i]);
    for (int k = 0; embedded_std[k].name; k++) {
        const char *s = arena_strndup(ctx->arena, embedded_std[k].bytes, embedded_std[k].size);
        for (const char *line = s; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
            size_t skip = strncmp(line, "fn ", 3) == 0 ? 3 : strncmp(line, "layer ", 6) == 0 ? 6 : 0, len = strcspn(line + skip, "(");
            const char *word = arena_strndup(ctx->arena, line + skip, len);
            n += skip > 0;
            if (!skip || has_word(all[0], word, len) || has_word(all[1], word, len)) continue;
            printf("%s of %s is not tested\n", word, embedded_std[k].name);
            missing++;
        }
    }
    printf("%d definitions of the library, %d not tested\n", n, missing);
    context_free(ctx);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(optimizers), cmocka_unit_test(schedules), cmocka_unit_test(random_while_training),
                                        cmocka_unit_test(every_definition_is_tested) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
