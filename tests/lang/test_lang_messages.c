/* test_lang_messages: the messages of the language, each by a small wrong program (messages.txt says how it
 * is written); and those that take an option, a file of weights or a large file to provoke.
 */
#include "api/driver.h"
#include "api/tensor_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dlc_messages_XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][300];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", folder, name);
    return path[k];
}

static int make_folder(void **state)
{
    char here[4000], to[4100];
    (void)state;
    if (!mkdtemp(folder) || !getcwd(here, sizeof here)) return -1;
    snprintf(to, sizeof to, "%s/examples", here);
    if (symlink(to, in_folder("examples"))) return -1;
    snprintf(to, sizeof to, "%s/tests/lang", here);
    return symlink(to, in_folder("lang"));
}

static int remove_folder(void **state)
{
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static void put(const char *name, const char *s, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, n, f), n);
    fclose(f);
}

/* "LINE:COLUMN: MESSAGE" of the first error, the folder as $. (The `7` of messages.txt is row lang_said: what
 * an assert says.) */
static const char *told_by(dlc_context *ctx, arena *a, const char *command, const driver_options *o)
{
    graph *g;
    lang_training t;
    const char *path = in_folder("p.dl");
    if (*command == 'c' && command[1] == 'h') driver_check(ctx, a, path, o);
    else if (*command == 't') driver_train(ctx, a, path, o->lang.model, o, &t);
    else driver_import(ctx, a, path, o, &g);
    if (!ctx->diags.n) return "nothing";
    const diag *d = &ctx->diags.at[0];
    const char *m = d->message, *at = strstr(m, folder);
    if (at) m = arena_printf(a, "%.*s$%s", (int)(at - m), m, at + strlen(folder));
    return arena_printf(a, "%d:%d: %s", d->at.line, d->at.col, m);
}

static void by_programs(void **state)
{
    (void)state;
    dlc_context *all = context_new();
    bytes b;
    int err, n = 0, wrong = 0;
    assert_true(file_map(all->arena, "tests/lang/messages.txt", &b, &err));
    const char *p = strstr(arena_strndup(all->arena, (const char *)b.at, b.n), "\n== ");
    for (; p; n++) {
        const char *line = p + 4, *end = strchr(line, '\n'), *next = strstr(end, "\n== "),
                   *want = strchr(line, ' ') + 1;
        dlc_context *ctx = context_new();
        arena *a = arena_new(&ctx->mem);
        driver_options o = driver_defaults();
        put("p.dl", end + 1, next ? (size_t)(next - end) - 1 : strlen(end + 1));
        const char *got = told_by(ctx, a, line, &o);
        if (strncmp(got, want, (size_t)(end - want)) != 0 || strlen(got) != (size_t)(end - want)) {
            printf("want %.*s\ngot  %s\n", (int)(end - want), want, got);
            wrong++;
        }
        context_free(ctx);
        p = next;
    }
    printf("%d messages, %d wrong\n", n, wrong);
    context_free(all);
    assert_int_equal(wrong, 0);
    assert_true(n >= 130);
}

static const char linear[] =
    "model Line(x: f32[N, 1]) -> (y: f32[N, 1]) = x |> Dense(1)\ntrain fit(steps: 1) {\n"
    "    data d = (x: [[1.0], [2.0]])\n"
    "    loss = mse(Line(d.x), d.x)\n    minimize loss with SGD()\n}\n";

static void said(const char *source, size_t n, const char *command, const driver_options *o, const char *want)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    put("p.dl", source, n);
    const char *got = told_by(ctx, a, command, o);
    if (strcmp(got, want) != 0) fail_msg("want %s\n  got  %s", want, got);
    context_free(ctx);
}

static void by_options(void **state)
{
    (void)state;
    driver_options o = driver_defaults();
    o.lang.model = "Other";
    said(linear, strlen(linear), "compile", &o, "1:1: the file has no model `Other`");
    said(linear, strlen(linear), "train", &o, "1:1: the file has no train block `Other`");
    o = driver_defaults();
    onnx_dim_option d = { .name = "N", .lo = 5, .hi = 3 };
    o.onnx.n_dims = 1;
    o.onnx.dims = &d;
    said(linear, strlen(linear), "compile", &o, "1:19: --dim N: no size is left");
    d = (onnx_dim_option){ .name = "batch" };
    o.lang.in_parts = true;
    said(linear, strlen(linear), "train", &o, "3:5: --dim batch: no size is left");
}

static void in_operators(void **state)
{
    (void)state;
    static const char *const programs[] = {
        "op com.example.Swish(beta = 1.0)(x: f32[N, M]) -> f32[N, M] = x |> Dense(12)\n",
        "op com.example.Swish(beta = 1.0)(x: T[..S]) -> T[..S] = x + uniform([..S])\n"
    };
    static const char *const want[] = { "1:68: an operator of ONNX has no parameters and states",
                                        "1:61: an operator of ONNX draws no random values" };
    for (int i = 0; i < 2; i++) {
        dlc_context *ctx = context_new();
        arena *a = arena_new(&ctx->mem);
        driver_options o = driver_defaults();
        const char *ops = arena_strdup(a, in_folder("ops.dl"));
        graph *g;
        put("ops.dl", programs[i], strlen(programs[i]));
        o.n_ops = 1;
        o.ops = &ops;
        driver_import(ctx, a, "examples/swish_net.onnx", &o, &g);
        assert_true(ctx->diags.n > 0);
        const char *got = arena_printf(a, "%d:%d: %s", ctx->diags.at[0].at.line, ctx->diags.at[0].at.col,
                                       ctx->diags.at[0].message);
        if (strcmp(got, want[i]) != 0) fail_msg("want %s\n  got  %s", want[i], got);
        context_free(ctx);
    }
}

static void by_files(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    float x[2] = { 1, 2 };
    tensor t = { .dtype = DTYPE_f32, .rank = 1, .dims = { 2 }, .bytes = x };
    named_tensor w = { "Line.Dense.W", &t }, other = { "W", &t };
    assert_int_equal(tensors_write(ctx, a, in_folder("w.npz"), 1, &w), DLC_OK);
    assert_int_equal(tensors_write(ctx, a, in_folder("o.npz"), 1, &other), DLC_OK);
    o.weights = arena_strdup(a, in_folder("w.npz"));
    said(linear, strlen(linear), "compile", &o,
         "1:51: the weights' `Line.Dense.W` does not have the type f32[1, 1]");
    o.weights = arena_strdup(a, in_folder("o.npz"));
    said(linear, strlen(linear), "compile", &o, "1:51: the weights have no `Line.Dense.W`");
    o.weights = NULL;
    put("t.csv", "a,b\n1,2\n3\n", 10);
    static const char table[] = "model M() -> f32[2] = csv(\"t.csv\", x: \"a\").x\n", null[] = "a = 1\0\n";
    said(table, strlen(table), "check", &o, "1:23: \"$/t.csv\": row 2 has 1 fields, the first row 2");
    said(null, sizeof null - 1, "check", &o, "1:6: unexpected character `\\x00`");
    put("z.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3rubbish", 17);
    static const char packed[] = "model M() -> i64[2] = chars(\"z.gz\", 2).text\n";
    said(packed, strlen(packed), "check", &o, "1:23: cannot read \"$/z.gz\": it is damaged or too large");
    text wide = { .a = a }, tall = { .a = a };
    for (int i = 0; i < 5000; i++) text_printf(&wide, "%sc%d", i ? "," : "", i);
    put("w.csv", text_str(&wide), (size_t)wide.n);
    put("c.csv", text_str(&wide), (size_t)(strstr(wide.at, ",c70") - wide.at));
    text_put(&tall, "t\n");
    for (int i = 0; i < 2000; i++) text_put(&tall, "word\n");
    put("l.csv", text_str(&tall), (size_t)tall.n);
    static const char columns[] = "model M() -> f32[2] = csv(\"w.csv\").c1\n",
                      unnamed[] = "model M() -> f32[2] = csv(\"c.csv\").c1\n",
                      words[] = "model M() -> i64[2, 2] = words(\"l.csv\", \"t\", length: 1048576).text\n";
    said(columns, strlen(columns), "check", &o, "1:23: \"$/w.csv\": more than 4096 columns");
    said(unnamed, strlen(unnamed), "check", &o, "1:23: the table has more than 60 columns");
    said(words, strlen(words), "check", &o, "1:26: more than 2^30 words");
    size_t n = ((size_t)16 << 20) + 10;
    char *large = malloc(n);
    memset(large, '#', n);
    said(large, n, "check", &o, "1:1: the file is longer than 16 MiB");
    free(large);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_programs), cmocka_unit_test(by_options),
                                        cmocka_unit_test(in_operators), cmocka_unit_test(by_files) };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
