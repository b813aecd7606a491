/* test_lang_files: what programs read and write: sources of data, checkpoints, trials of a search, states of
 * a model
 *
 * Each program stands in a folder of its own, with small files whose numbers are known.
 */
#include "api/tensor_file.h"
#include "api/train.h"
#include "backend/eval/eval.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dlc_files_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[4][300];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", folder, name);
    return path[k];
}

static void put(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void put_text(const char *name, const char *s) { put(name, s, strlen(s)); }

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* The results of the program's model M, or its first error. */
static void check(const char *source, const char *want)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    graph *g = NULL;
    tensor out[8];
    eval_options e = { 0 };
    text t = { .a = a };
    put_text("p.dl", source);
    if (driver_import(ctx, a, path_of("p.dl"), &o, &g) != DLC_OK) text_put(&t, ctx->diags.at[0].message);
    else if (eval_graph(ctx, a, g, NULL, NULL, out, &e) != DLC_OK) text_put(&t, "not run");
    else
        for (int64_t i = 0; i < g->results.n; i++)
            for (int64_t k = 0; k < tensor_n(&out[i]); k++)
                text_printf(&t, "%s%g", t.n ? " " : "", tensor_f64(&out[i], k));
    if (strncmp(text_str(&t), want, strlen(want)) != 0)
        fail_msg("%s\n  want %s\n  got  %s", source, want, text_str(&t));
    context_free(ctx);
}

static void numpy_files(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    int64_t y[2] = { 7, 8 };
    tensor tx = { .dtype = DTYPE_f32, .rank = 2, .dims = { 2, 3 }, .bytes = x },
           ty = { .dtype = DTYPE_i64, .rank = 1, .dims = { 2 }, .bytes = y };
    named_tensor both[2] = { { "x", &tx }, { "label", &ty } };
    assert_int_equal(tensors_write(ctx, a, path_of("x.npy"), 1, both), DLC_OK);
    assert_int_equal(tensors_write(ctx, a, path_of("d.npz"), 2, both), DLC_OK);
    context_free(ctx);
    check("model M() -> f32[2, 3] = 2 * npy(\"x.npy\")", "2 4 6 8 10 12");
    check("model M() -> f32[2, 3] {\n d = npz(\"d.npz\")\n d.x + f32(d.label)[:, none]\n}",
          "8 9 10 12 13 14");
    check("model M() -> f32[2, 3] = npz(\"x.npy\")", "`npz` reads a file *.npz, found");
    check("model M() -> f32[2, 3] = npz(\"d.npz\").y", "there is no field `y` here");
    check("model M() -> f32[2, 3] = npy()", "`npy` needs its argument `path`");
}

static void words(void **state)
{
    (void)state;
    /* frequencies: a 3, the 2, it's 2, end 1, no 1: numbers 2, of equals in sorted order, … */
    put_text("w.csv",
             "text,kind\n\"The a, a\",good\n\"it's THE a\",bad\n\"it's no 'end'\",good\n\"!\",bad\n");
    check("model M() -> i64[4, 3] = words(\"w.csv\", \"text\", \"kind\", 3).text", "4 2 2 3 4 2 3 6 5 0 0 0");
    check("model M() -> i64[4, 2] = words(\"w.csv\", text: \"text\", length: 2, vocab: 4).text",
          "1 2 3 1 3 1 0 0");
    check(
        "model M() -> (n: i64[4], k: i64[4], v: i64) {\n d = words(\"w.csv\", \"text\", \"kind\", 3)\n"
        " (d.length, d.label, i64(d.vocab))\n}",
        "3 3 3 0 1 0 1 0 7");
    check("model M() -> i64[4, 3] = words(\"w.csv\", \"texts\", \"kind\", 3).text",
          "there is no column \"texts\"");
    check("model M() -> i64[4, 3] = words(\"w.csv\", \"text\", \"kind\").text",
          "`words` needs its argument `length`");
}

static void characters(void **state)
{
    (void)state;
    put_text("c.txt", "abacabadxy");
    check(
        "model M() -> (t: i64[3, 3], v: i64) {\n d = chars(\"c.txt\", length: 2)\n (d.text, i64(d.vocab))\n}",
        "0 1 0 2 0 1 0 3 4 6");
    /* a and b stay, of the others one number */
    check(
        "model M() -> (t: i64[3, 3], v: i64) {\n d = chars(\"c.txt\", 2, vocab: 3)\n (d.text, i64(d.vocab))\n"
        "}",
        "0 1 0 2 0 1 0 2 2 3");
    check("model M() -> i64[3, 3] = chars(\"c.txt\", length: 2, size: 3).text",
          "`chars` has no argument `size`");
}

static void pictures(void **state)
{
    (void)state;
    static unsigned char batch[2 * 3073];
    batch[0] = 6;
    batch[1] = 10;
    batch[1 + 1024] = 20;
    batch[3073] = 9;
    batch[2 * 3073 - 1] = 30;
    put("one.bin", batch, sizeof batch);
    check(
        "model M() -> (n: i64, k: i64[4], x: u8[4]) {\n d = cifar10([\"one.bin\", \"one.bin\"])\n"
        " i = d.image\n (i64(shape(i)[0]), d.label, stack([i[0, 0, 0, 0], i[2, 1, 0, 0], i[3, 2, 31, 31], "
        "i[1, 0, 0, 0]]))\n}",
        "4 6 9 6 9 10 20 30 0");
    put("bad.bin", batch, 3074);
    check("model M() -> u8[4] = cifar10(\"bad.bin\").image", "\"");
}

/* A state that a model updates is an input and a result; one that it only reads is a constant. */
static void states(void **state)
{
    (void)state;
    static const char text_of[] =
        "layer Sum()(x: f32) -> f32 {\n state s: f32 = 0\n state k: f32 = 3\n s = s + k * x\n s\n}\n"
        "model M(x: f32) -> f32 = x |> Sum()\n";
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    graph *g = NULL;
    float x = 2, s = 10;
    tensor in[2] = { { .dtype = DTYPE_f32, .bytes = &x }, { .dtype = DTYPE_f32, .bytes = &s } }, out[2];
    eval_options e = { 0 };
    put_text("s.dl", text_of);
    assert_int_equal(driver_import(ctx, a, path_of("s.dl"), &o, &g), DLC_OK);
    assert_int_equal(g->inputs.n, 2);
    assert_string_equal(node_of(g, g->inputs.at[1])->input->name, "M.Sum.s");
    assert_int_equal(g->results.n, 2);
    assert_string_equal(g->result_names.at[1], "M.Sum.s");
    assert_int_equal(eval_graph(ctx, a, g, NULL, in, out, &e), DLC_OK);
    for (int i = 0; i < 2; i++) assert_true(tensor_f64(&out[i], 0) == 16);
    context_free(ctx);
}

/* -- Training -------------------------------------------------------------------------------------------- */

typedef struct { int steps, trials; char sets[400]; } seen;

static void on_step(void *arg, int64_t step, int n, const char *const *names, const double *losses)
{
    (void)step, (void)n, (void)names, (void)losses;
    ((seen *)arg)->steps++;
}

static void on_trial(void *arg, int64_t k, int n, const lang_set *sets)
{
    seen *s = arg;
    (void)k;
    s->trials++;
    for (int i = 0; i < n; i++)
        snprintf(s->sets + strlen(s->sets), sizeof s->sets - strlen(s->sets), "%s%s", sets[i].value,
                 i + 1 < n ? "," : ";");
}

/* All final values, or the error. */
static const char *trained(dlc_context *ctx, arena *a, const char *epochs, seen *s)
{
    driver_options o = driver_defaults();
    lang_set set = { "count", epochs };
    o.lang.n_sets = 1;
    o.lang.sets = &set;
    train_events ev = { .step = on_step, .trial = on_trial, .arg = s };
    lang_training t;
    tensor *values;
    text out = { .a = a };
    if (train_file(ctx, a, path_of("t.dl"), NULL, &o, ENGINE_eval, (dlc_run_hook){ NULL, NULL }, &ev, &t,
                   &values) != DLC_OK)
        return ctx->diags.at[0].message;
    for (int i = 0; i < t.n_vars; i++)
        for (int64_t k = 0; k < tensor_n(&values[i]); k++)
            text_printf(&out, "%a ", tensor_f64(&values[i], k));
    return text_str(&out);
}

static void write_program(const char *settings, const char *search)
{
    char s[2000];
    snprintf(
        s, sizeof s,
        "count = 4\nunits = 3\nrate = 0.01\n"
        "model Net(x: f32[N, 2]) -> f32[N] = (x |> Dense(units, act: tanh) |> Dense(1))[.., 0]\n"
        "train fit(seed: 3, batch: 8, %s) {\n %s\n data d = moons(40) |> parts(valid: 0.2)\n"
        " loss = mse(Net(d.x) |> Dropout(0.1), f32(d.y))\n"
        " minimize loss with Adam(lr: rate)\n}\n",
        settings, search);
    put_text("t.dl", s);
}

static void goes_on_from_checkpoint(void **state)
{
    (void)state;
    static const char *const lengths[] = { "epochs: count, patience: 9", "steps: count" };
    static const char *const half[] = { "2", "6" }, *const whole[] = { "4", "11" };
    for (int i = 0; i < 2; i++) {
        dlc_context *ctx = context_new();
        arena *a = arena_new(&ctx->mem);
        char settings[500];
        seen s = { 0 };
        write_program(lengths[i], "");
        const char *want = trained(ctx, a, whole[i], &s);
        int steps = s.steps;
        snprintf(settings, sizeof settings, "%s, checkpoint: \"%s\"", lengths[i],
                 path_of(i ? "b.npz" : "a.npz"));
        write_program(settings, "");
        s.steps = 0;
        trained(ctx, a, half[i], &s);
        assert_true(s.steps > 0 && s.steps < steps);
        assert_string_equal(trained(ctx, a, whole[i], &s), want);
        assert_int_equal(s.steps, steps);
        assert_string_equal(trained(ctx, a, whole[i], &s), want);        /* nothing is left to do */
        assert_int_equal(s.steps, steps);
        context_free(ctx);
    }
}

static void checkpoint_of_another(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    float x = 1;
    tensor t = { .dtype = DTYPE_f32, .bytes = &x };
    named_tensor one = { "W", &t };
    char settings[400];
    seen s = { 0 };
    assert_int_equal(tensors_write(ctx, a, path_of("other.npz"), 1, &one), DLC_OK);
    snprintf(settings, sizeof settings, "epochs: 1, checkpoint: \"%s\"", path_of("other.npz"));
    write_program(settings, "");
    const char *got = trained(ctx, a, "1", &s);
    if (!strstr(got, "the checkpoint has no \"=progress\"")) fail_msg("%s", got);
    assert_string_equal(ctx->diags.at[0].id, "checkpoint");
    context_free(ctx);
}

/* Some of six combinations, each once, in an order by the seed; all of them without `trials`. */
static void trials(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    seen some = { 0 }, all = { 0 };
    write_program("epochs: 1, trials: 3", "search units in [2, 3], rate in [0.1, 0.2, 0.3]");
    trained(ctx, a, "1", &some);
    assert_int_equal(some.trials, 3);
    write_program("epochs: 1", "search units in [2, 3], rate in [0.1, 0.2, 0.3]");
    trained(ctx, a, "1", &all);
    assert_string_equal(all.sets, "2,0.1;2,0.2;2,0.3;3,0.1;3,0.2;3,0.3;");
    assert_true(strncmp(some.sets, all.sets, strlen(some.sets)) != 0);
    char *rest = some.sets;
    for (char *one; (one = strtok_r(rest, ";", &rest));) {
        char *found = strstr(all.sets, one);
        assert_non_null(found);
        *found = '#';                                    /* not twice */
    }
    write_program("epochs: 1", "search units in [1] * 2000, rate in [0.1] * 2000");
    trained(ctx, a, "1", &all);
    assert_string_equal(ctx->diags.at[0].id, "search_size");
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(numpy_files),
                                        cmocka_unit_test(words),
                                        cmocka_unit_test(characters),
                                        cmocka_unit_test(pictures),
                                        cmocka_unit_test(states),
                                        cmocka_unit_test(goes_on_from_checkpoint),
                                        cmocka_unit_test(checkpoint_of_another),
                                        cmocka_unit_test(trials) };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
