/* Text, maps and files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/base.h"

static mem m;
static mem_frame frame;
static arena *a;

static int setup(void **state)
{
    (void)state;
    memset(&m, 0, sizeof m);
    if (!mem_try(&m, &frame)) return 1;
    a = arena_new(&m);
    mem_end(&m, &frame);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(a);
    return m.live != 0;
}

static void names_are_escaped(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "plain é 漢", "plain é 漢" }, { "a\"b\\c", "a\\x22b\\x5cc" }, { "\x1b[31m", "\\x1b[31m" },
        { "\xc3", "\\xc3" }, { "\xed\xa0\x80", "\\xed\\xa0\\x80" }, { "\xc2\x9b", "\\xc2\\x9b" },
        { "0123456789abc", "0123456789…" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text t = { .a = a };
        text_put_escaped(&t, rows[i][0], strlen(rows[i][0]), i == 6 ? 10 : 100);
        assert_string_equal(text_str(&t), rows[i][1]);
    }
    text t = { .a = a };
    assert_string_equal(text_str(&t), "");
    for (int i = 0; i < 1000; i++) text_printf(&t, "%d,", i);
    text_printf(&t, "%0500d", 1);
    assert_int_equal(t.n, 3890 + 500);
}

static void maps_keep_order(void **state)
{
    (void)state;
    map_str s;
    map_init(&s, a);
    assert_null(map_find(&s, "x", 1));
    for (int i = 0; i < 5000; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "k%d", i * 7919 % 5000);
        bool fresh;
        *map_put(&s, key, (size_t)n, (uint64_t)i, &fresh) += 1;
        assert_true(fresh);
    }
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(s.entries[i].value, i + 1);
        assert_ptr_equal(map_find(&s, s.entries[i].key, s.entries[i].len), &s.entries[i].value);
    }
    bool fresh;
    map_put(&s, "k0", 2, 9, &fresh);
    assert_false(fresh);
    assert_int_equal(s.n, 5000);
}

static void files(void **state)
{
    (void)state;
    char folder[] = "/tmp/dlc_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *path = arena_printf(a, "%s/out", folder);
    int err;
    file_out *f = file_create(a, path, 0600, &err);
    assert_non_null(f);
    for (int i = 0; i < 30000; i++) assert_true(file_write(f, "0123456789", 10));
    assert_int_equal(access(path, F_OK), -1);                       /* not there before the commit */
    assert_true(file_commit(f));
    bytes b;
    assert_true(file_map(a, path, &b, &err));
    assert_int_equal(b.n, 300000);
    assert_memory_equal(b.at + 299990, "0123456789", 10);
    assert_false(file_map(a, folder, &b, &err));
    assert_int_equal(err, EISDIR);
    assert_false(file_map(a, arena_printf(a, "%s/none", folder), &b, &err));
    assert_int_equal(err, ENOENT);
    arena *other = arena_new(&m);
    f = file_create(other, path, 0600, &err);
    assert_true(file_write(f, "x", 1));
    arena_free(other);                                              /* abandoned: the old file stays */
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 300000);
    f = file_create(a, path, 0600, &err);
    assert_true(file_commit(f));
    assert_true(file_map(a, path, &b, &err));
    assert_non_null(b.at);
    assert_int_equal(b.n, 0);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);                   /* a pipe or device is written, not replaced */
    int reader = open(path, O_RDWR);
    f = file_create(a, path, 0600, &err);
    assert_true(f && file_write(f, "through", 7) && file_commit(f));
    char got[8] = "";
    assert_int_equal(read(reader, got, 7), 7);
    assert_string_equal(got, "through");
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    close(reader);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);                             /* no temporary file is left */
    assert_null(file_create(a, arena_printf(a, "%s/none/out", folder), 0600, &err));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { test(names_are_escaped), test(maps_keep_order), test(files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
