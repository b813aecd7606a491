/* Files of a compile from the cache: the same bytes as made anew; made anew once anything that they depend on
 * is another */
#include "api/kept.h"
#include "backend/store.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static dlc_context *ctx;
static arena *a;
static char folder[64];

static const char main_text[] =
    "use \"part.dl\"\nmodel Net(x: f32[N, 3]) -> (y: f32[N, 3]) { x |> Scale() }\n"
    "train fit(steps: 3) {\n    data d = (x: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], y: [[2.0, 4.0, 6.0], [8.0, "
    "10.0, 12.0]])\n"
    "    loss = mse(Net(d.x), d.y)\n    minimize loss with SGD(lr: 0.1)\n}\n";
static const char part_text[] =
    "layer Scale()(x: f32[N, C]) -> f32[N, C] {\n    param s: f32[C] = 1\n    x * s\n}\n";
static const char other_text[] =
    "layer Scale()(x: f32[N, C]) -> f32[N, C] {\n    param s: f32[C] = 1\n    x + s\n}\n";

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    a = arena_new(&ctx->mem);
    strcpy(folder, "/tmp/dlc-kept-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int r = system(arena_printf(a, "rm -r %s", folder));
    context_free(ctx);
    return r;
}

static const char *in_folder(const char *name) { return arena_printf(a, "%s/%s", folder, name); }

static void put(const char *name, const char *s)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_true(f && fputs(s, f) >= 0);
    fclose(f);
}

static bytes get(const char *name)
{
    bytes b;
    int err;
    assert_true(file_map(a, in_folder(name), &b, &err));
    return (bytes){ arena_copy(a, b.at, b.n), b.n };
}

/* The only entry for files; NULL: there is none. */
static const char *entry(void)
{
    const char *found = NULL;
    DIR *d = opendir(in_folder("cache"));
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".files") != 0) continue;
        assert_null(found);
        found = in_folder(arena_printf(a, "cache/%s", e->d_name));
    }
    if (d) closedir(d);
    return found;
}

static ino_t entry_inode(void)
{
    struct stat st;
    return entry() && stat(entry(), &st) == 0 ? st.st_ino : 0;
}

static settings chosen(const char *cache, const char *option)
{
    settings s = settings_default();
    bool known;
    assert_true(settings_set(ctx, a, &s, "train", NULL, &known) &&
                settings_set(ctx, a, &s, "cache", cache, &known));
    if (option) assert_true(settings_set(ctx, a, &s, option, NULL, &known));
    setenv("DLC_CACHE_DIR", in_folder("cache"), 1);
    assert_true(settings_finish(ctx, &s));
    return s;
}

/* True: out of the cache. In any case the files are those that are made without. */
static bool compile(const char *cache, const char *option)
{
    static const char *const names[] = { "c", "h" };
    ino_t before = entry_inode();
    output_memory memory, plain;
    for (int i = 0; i < 2; i++) {
        unlink(in_folder("net.c"));
        unlink(in_folder("net.h"));
        settings s = chosen(i ? cache : "off", option);
        assert_int_equal(output_compile(ctx, a, in_folder("main.dl"), in_folder("net.c"), OUTPUT_c, &s,
                                        i ? &memory : &plain),
                         DLC_OK);
        for (int k = 0; k < 2 && !i; k++)
            assert_int_equal(rename(in_folder(arena_printf(a, "net.%s", names[k])),
                                    in_folder(arena_printf(a, "plain.%s", names[k]))),
                             0);
    }
    assert_memory_equal(&memory, &plain, sizeof memory);
    for (int k = 0; k < 2; k++) {
        bytes x = get(arena_printf(a, "net.%s", names[k])), y = get(arena_printf(a, "plain.%s", names[k]));
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.at, y.at, x.n);
    }
    return before && before == entry_inode();
}

static void depends(void **state)
{
    (void)state;
    put("main.dl", main_text);
    put("part.dl", part_text);
    assert_false(compile("on", NULL));
    assert_true(compile("on", NULL));
    assert_true(compile("strict", NULL));
    put("part.dl", part_text);                                     /* another time, the same contents */
    assert_true(compile("on", NULL));
    put("part.dl", other_text);                                    /* the same size */
    assert_false(compile("on", NULL));
    assert_true(compile("on", NULL));
    put("main.dl", arena_printf(a, "# new\n%s", main_text));
    assert_false(compile("on", NULL));

    unlink(entry());                                              /* another option has an entry of its own */
    assert_false(compile("on", "guard"));
    assert_true(compile("on", "guard"));
}

/* A file that is looked for first in the program's folder, and comes to be there. */
static void absent(void **state)
{
    (void)state;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    put("x.csv", "p,q\n1,2\n3,4\n");
    put("sub/main.dl",
        "model Net(x: f32[N, 1]) -> (y: f32[N, 1]) { x |> Dense(1) }\n"
        "train fit(steps: 3) {\n    data d = csv(\"x.csv\", x: [\"p\"], y: \"q\")\n"
        "    loss = mse(Net(d.x), d.y[:, none])\n    minimize loss with SGD(lr: 0.1)\n}\n");
    assert_int_equal(chdir(folder), 0);
    int64_t data[2];
    if (entry()) unlink(entry());
    for (int i = 0; i < 3; i++) {
        settings s = chosen("on", NULL);
        ino_t before = entry_inode();
        assert_int_equal(output_compile(ctx, a, "sub/main.dl", in_folder("sub/net.c"), OUTPUT_c, &s, NULL),
                         DLC_OK);
        data[0] = (int64_t)(before == entry_inode());
        assert_int_equal(data[0], i == 1);
        if (i == 1) put("sub/x.csv", "p,q\n1,2\n3,4\n5,6\n");
    }
    assert_int_equal(chdir(here), 0);
}

/* Any bytes under a right seal: an answer, and no crash. */
static void hostile(void **state)
{
    (void)state;
    static const uint8_t odd[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    put("main.dl", main_text);
    put("part.dl", part_text);
    if (entry()) unlink(entry());
    compile("on", NULL);
    bytes good;
    assert_true(store_map(a, entry(), &good));
    const char *path = entry();
    size_t head = good.n < 700 ? good.n : 700, n_read = 0;
    for (size_t i = 0; i < head; i++)
        for (size_t k = 0; k < sizeof odd; k++) {
            arena *scratch = arena_new(&ctx->mem);
            uint8_t *p = arena_copy(scratch, good.at, good.n);
            if (k < 4 || i % 8 == 7) p[i] = odd[k];
            bytes part = { p, k == 0 ? i + 1 : good.n };            /* and cut there */
            assert_true(store_write(scratch, path, 1, &part));
            settings s = chosen("on", NULL);
            driver_set_portable(&s.driver);
            s.driver.codegen.prefix = "net";
            kept *x = kept_open(ctx, scratch, in_folder("main.dl"), "net", OUTPUT_c, &s);
            assert_string_equal(x->path, path);
            n_read += kept_read(x);
            arena_free(scratch);
        }
    assert_true(n_read > 0 && n_read < head * sizeof odd);
    unlink(path);
    compile("on", NULL);
    assert_true(compile("on", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(depends), cmocka_unit_test(absent),
                                        cmocka_unit_test(hostile) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
