/* test_external: which files a model may name. Each case runs in a folder made for it, with a secret beside
 * it. */
#include "frontend/onnx/external.h"
#include "tests/frontend/onnx/proto.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct { dlc_context *ctx; arena *a; char root[40]; } fixture;

static const char *at(fixture *f, const char *name) { return arena_printf(f->a, "%s/%s", f->root, name); }

static void put_file(fixture *f, const char *name)
{
    FILE *o = fopen(at(f, name), "wb");
    assert_non_null(o);
    fputs("0123456789abcdef", o);
    fclose(o);
}

static int setup(void **state)
{
    static fixture f;
    f.ctx = context_new();
    f.a = arena_new(&f.ctx->mem);
    strcpy(f.root, "/tmp/dlc_external_XXXXXX");
    if (!mkdtemp(f.root)) return -1;
    mkdir(at(&f, "model"), 0700);
    mkdir(at(&f, "model/sub"), 0700);
    put_file(&f, "secret.bin");
    put_file(&f, "model/w.bin");
    put_file(&f, "model/sub/w.bin");
    if (symlink("../secret.bin", at(&f, "model/link.bin")) || symlink("..", at(&f, "model/up"))) return -1;
    if (symlink("w.bin", at(&f, "model/inside.bin")) || mkfifo(at(&f, "model/pipe"), 0600)) return -1;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    static const char *const made[] = { "model/sub/w.bin", "model/w.bin",      "secret.bin", "model/link.bin",
                                        "model/up",        "model/inside.bin", "model/pipe", NULL };
    for (int i = 0; made[i]; i++) unlink(at(f, made[i]));
    rmdir(at(f, "model/sub"));
    rmdir(at(f, "model"));
    rmdir(f->root);
    arena_free(f->a);
    context_free(f->ctx);
    return 0;
}

static bool opened(fixture *f, const char *location, const char *offset, const char *length,
                   const uint8_t **p)
{
    Onnx__StringStringEntryProto e[3];
    Onnx__StringStringEntryProto *list[3] = { &e[0], &e[1], &e[2] };
    const char *pairs[3][2] = { { "location", location }, { "offset", offset }, { "length", length } };
    tensor_proto t = ONNX__TENSOR_PROTO__INIT;
    for (int i = 0; i < 3; i++) {
        if (!pairs[i][1]) continue;
        onnx__string_string_entry_proto__init(list[t.n_external_data]);
        list[t.n_external_data]->key = (char *)(uintptr_t)pairs[i][0];
        list[t.n_external_data++]->value = (char *)(uintptr_t)pairs[i][1];
    }
    t.external_data = list;
    context_clear_diags(f->ctx);
    external *x = external_new(f->ctx, f->a, at(f, "model/m.onnx"));
    bool ok = external_bytes(x, (place){ .file = "m" }, &t, 4, p);
    assert_int_equal(f->ctx->n_errors, !ok);
    return ok;
}

static void files_in_the_folder(void **state)
{
    fixture *f = *state;
    const uint8_t *p;
    assert_true(opened(f, "w.bin", "4", "4", &p));
    assert_memory_equal(p, "4567", 4);
    assert_true(opened(f, "sub/w.bin", "12", NULL, &p));
    assert_memory_equal(p, "cdef", 4);
    assert_true(opened(f, "./sub//w.bin", NULL, NULL, &p));
}

static void nothing_else(void **state)
{
    fixture *f = *state;
    const uint8_t *p;
    static const char *const bad[] = {
        "../secret.bin", "sub/../../secret.bin", "up/secret.bin", "link.bin", "inside.bin", "pipe", "sub",
        ".", "", "none.bin", "w.bin/x",
        "/etc/passwd", "..\\secret.bin", "..", "file:///etc/passwd", "sub/..", NULL
    };
    for (int i = 0; bad[i]; i++)
        if (opened(f, bad[i], NULL, NULL, &p)) fail_msg("%s was opened", bad[i]);
    assert_false(opened(f, NULL, NULL, NULL, &p));
    assert_false(opened(f, at(f, "model/w.bin"), NULL, NULL, &p));
}

static void ranges_are_checked(void **state)
{
    fixture *f = *state;
    const uint8_t *p;
    static const char *const bad[][2] = {
        { "13", NULL }, { "16", NULL }, { "17", NULL }, { "-4", NULL }, { "18446744073709551612", NULL },
        { "9223372036854775804", NULL },
        { "4x", NULL }, { "", NULL }, { " 4", NULL }, { "0", "8" }, { "0", "3" }, { "0", "-4" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (opened(f, "w.bin", bad[i][0], bad[i][1], &p)) fail_msg("offset %s was taken", bad[i][0]);
    assert_true(opened(f, "w.bin", "12", "4", &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_in_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_are_checked, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
