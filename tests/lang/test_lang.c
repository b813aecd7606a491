/* test_lang: the language, by whole programs
 *
 *   errors/NAME.dl   the first line says the place and the message: `# expect LINE:COLUMN: error: MESSAGE`
 *   values.dl, onnx.dl, library.dl        the comment above each model is the value it gives
 *   hostile text     is told an error, and no more
 */
#include "api/driver.h"
#include "backend/eval/eval.h"
#include "tests/support/program_values.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static const char *read_all(arena *a, const char *path, size_t *n)
{
    bytes b;
    int err;
    assert_true(file_map(a, path, &b, &err));
    *n = b.n;
    return arena_strndup(a, (const char *)b.at, b.n);
}

static bool error_as_expected(const char *path)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    size_t n;
    const char *all = read_all(a, path, &n), *want = all + strlen("# expect "), *end = strchr(want, '\n');
    driver_check(ctx, a, path, &o);
    const diag *d = ctx->diags.n ? &ctx->diags.at[0] : NULL;
    const char *got = d ? arena_printf(a, "%d:%d: error: %s", d->at.line, d->at.col, d->message) : "nothing";
    bool ok = strncmp(all, "# expect ", 9) == 0 && strncmp(got, want, (size_t)(end - want)) == 0;
    if (!ok) printf("%s\n  want %.*s\n  got  %s\n", path, (int)(end - want), want, got);
    context_free(ctx);
    return ok;
}

static void wrong_programs(void **state)
{
    (void)state;
    DIR *dir = opendir("tests/lang/errors");
    assert_non_null(dir);
    int n = 0, ok = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char path[600];
        snprintf(path, sizeof path, "tests/lang/errors/%s", e->d_name);
        n++;
        ok += error_as_expected(path);
    }
    closedir(dir);
    printf("%d of %d wrong programs get their message at its place\n", ok, n);
    assert_int_equal(ok, n);
    assert_true(n >= 58);
}

static void values(void **state)
{
    (void)state;
    assert_true(program_values("tests/lang/values.dl", 2e-6) >= 28);
    assert_true(program_values("tests/lang/onnx.dl", 2e-6) >= 15);
    assert_true(program_values("tests/lang/library.dl", 1e-5) >= 114);
}

static void told(const char *what, size_t n)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    char path[] = "/tmp/dlc_lang_XXXXXX";
    int f = mkstemp(path);
    assert_true(f >= 0);
    assert_int_equal(write(f, what, n), (ssize_t)n);
    close(f);
    dlc_status s = driver_check(ctx, a, path, &o);
    if (s != DLC_OK) assert_true(ctx->diags.n > 0);
    unlink(path);
    context_free(ctx);
}

static void hostile(void **state)
{
    (void)state;
    static const char *const parts[] = { "(",       "[",       "{",     "if ",   "fn(x) = ", "-",    "not ",
                                         "[i] => ", "sum[i] ", "x |> ", "1 ** ", "f(",       "1 + ", "x.a" };
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        char *s = malloc(1 << 20);
        size_t n = (size_t)sprintf(s, "a = "), m = strlen(parts[k]);
        while (n + m < 200000) { memcpy(s + n, parts[k], m); n += m; }
        told(s, n);
        free(s);
    }
    static const char *const texts[] = {
        "fn f(x) = f(x)\na = f(1)\nmodel M(x: f32[f(1)]) -> (y: f32) = x",
        "a = b\nb = a\nmodel M(x: f32[a]) -> (y: f32[a]) = x",
        "a = [0] * 1000000000\nmodel M(x: f32) -> (y: f32) = a",
        "model M(x: f32) -> (y: f32) { for i in 0..1000000000 { x = x + 1 }; x }",
        "model M(x: f32[1 // 0]) -> (y: f32) = x",
        "\"",
        "\xff\xfe",
        "a = 0x",
        "a = 1e999999",
        "use \"/nonexistent.dl\"",
        "model M(x: f32[N]) -> (y: f32[N]) = x[:, :, :]"
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) told(texts[k], strlen(texts[k]));
}

/* A program laid out anew keeps its meaning, and a second time its bytes. */
static void format_file(const char *path)
{
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    text once = { .a = a }, twice = { .a = a };
    char temporary[] = "/tmp/dlc_fmt_XXXXXX";
    assert_int_equal(driver_format(ctx, a, path, &once), DLC_OK);
    int f = mkstemp(temporary);
    assert_true(f >= 0);
    assert_int_equal(write(f, once.at, (size_t)once.n), once.n);
    close(f);
    dlc_status s = driver_format(ctx, a, temporary, &twice);
    unlink(temporary);
    assert_int_equal(s, DLC_OK);
    assert_string_equal(text_str(&once), text_str(&twice));
    size_t n, i = 0, j = 0;                                /* but for blanks and empty lines, the same text */
    const char *old = read_all(a, path, &n);
    for (;;) {
        while (old[i] == ' ' || old[i] == '\n') i++;
        while (once.at[j] == ' ' || once.at[j] == '\n') j++;
        assert_int_equal(old[i], once.at[j]);
        if (!old[i]) break;
        i++, j++;
    }
    context_free(ctx);
}

static void formatted(void **state)
{
    (void)state;
    static const char *const folders[] = { "examples", "frontend/lang/std", "tests/lang" };
    for (int k = 0; k < 3; k++) {
        DIR *dir = opendir(folders[k]);
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            size_t n = strlen(e->d_name);
            char path[600];
            snprintf(path, sizeof path, "%s/%s", folders[k], e->d_name);
            if (n > 3 && strcmp(e->d_name + n - 3, ".dl") == 0) format_file(path);
        }
        closedir(dir);
    }
}

/* linear.dl with W = 2, b = 1 from a file of weights gives 7 for 3; a file that claims too much is refused.
 */
static void weights(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        dlc_context *ctx = context_new();
        arena *a = arena_new(&ctx->mem);
        driver_options o = driver_defaults();
        const char *json =
            "{\"__metadata__\": {}, \"Line.Dense.W\": {\"dtype\": \"F32\", \"shape\": [1, 1], "
            "\"data_offsets\": [0, 4]},"
            " \"Line.Dense.b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}";
        float v[2] = { 2, 1 }, x = 3;
        uint64_t n = strlen(json);
        char path[] = "/tmp/dlc_weights_XXXXXX.safetensors";
        int f = mkstemps(path, 12);
        assert_true(f >= 0 && write(f, &n, 8) == 8 && write(f, json, n) == (ssize_t)n &&
                    write(f, v, damaged ? 6 : 8) > 0);
        close(f);
        o.weights = path;
        graph *g = NULL;
        dlc_status s = driver_import(ctx, a, "examples/linear.dl", &o, &g);
        unlink(path);
        if (damaged) assert_true(s != DLC_OK && ctx->diags.n > 0);
        else {
            assert_int_equal(s, DLC_OK);
            tensor in = { .dtype = DTYPE_f32, .rank = 2, .dims = { 1, 1 }, .bytes = &x }, out;
            int64_t symbols[8];
            eval_options ev = { 0 };
            assert_int_equal(eval_bind(ctx, g, &in, symbols), DLC_OK);
            assert_int_equal(eval_graph(ctx, a, g, symbols, &in, &out, &ev), DLC_OK);
            assert_true(*(float *)out.bytes == 7);
        }
        context_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_programs), cmocka_unit_test(values), cmocka_unit_test(hostile),
        cmocka_unit_test(formatted), cmocka_unit_test(weights)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
