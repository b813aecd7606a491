/* The folder of the cache, and packed weights in it: what is kept, when it is found again, and when not */
#include "backend/cache.h"
#include "backend/store.h"
#include "ir/build.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIDE = 1024 };

static dlc_context *ctx;
static arena *a;
static char folder[64];
static const char *in_folder(const char *name) { return arena_printf(a, "%s/%s", folder, name); }

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    a = arena_new(&ctx->mem);
    strcpy(folder, "/tmp/dlc-cache-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    int r = system(arena_printf(a, "rm -r %s", folder));
    context_free(ctx);
    return r;
}

/* -- The folder ------------------------------------------------------------------------------------------ */

static void where(void **state)
{
    (void)state;
    setenv("DLC_CACHE_DIR", "/some/where", 1);
    assert_string_equal(store_default(a), "/some/where");
    setenv("DLC_CACHE_DIR", "", 1);
    assert_null(store_default(a));
    unsetenv("DLC_CACHE_DIR");
    setenv("XDG_CACHE_HOME", in_folder("xdg"), 1);
    assert_string_equal(store_default(a), in_folder("xdg/dlc"));
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", folder, 1);
    assert_string_equal(store_default(a), in_folder(".cache/dlc"));
    assert_int_equal(access(in_folder(".cache"), F_OK), -1);                  /* asking makes nothing */
    assert_true(store_ready(a, store_default(a)));
    struct stat st;
    assert_int_equal(stat(in_folder(".cache/dlc"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    chmod(in_folder(".cache/dlc"), 0777);
    assert_false(store_ready(a, in_folder(".cache/dlc")));                    /* others may write there */
    setenv("HOME", "/nonexistent", 1);
    assert_null(store_default(a));
    assert_false(store_ready(a, "/proc/dlc/cache"));
}

static void entries(void **state)
{
    (void)state;
    text key = { .a = a };
    text_put(&key, "key");
    const char *dir = in_folder("store"), *path = store_path(a, dir, &key, "weights");
    bytes parts[] = { { (const uint8_t *)"abc", 3 }, { (const uint8_t *)"defg", 4 } }, got;
    assert_false(store_map(a, path, &got));
    assert_true(store_ready(a, dir) && store_write(a, path, 2, parts));
    assert_true(store_map(a, path, &got));
    assert_int_equal(got.n, 128);
    assert_memory_equal(got.at + 64, "defg\0", 5);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    /* what somebody changed, shortened or opened to others is none */
    FILE *f = fopen(path, "r+b");
    fputc('x', f);
    fclose(f);
    assert_false(store_map(a, path, &got));
    assert_true(store_write(a, path, 2, parts) && store_map(a, path, &got));
    assert_int_equal(truncate(path, 100), 0);
    assert_false(store_map(a, path, &got));
    assert_true(store_write(a, path, 2, parts) && store_map(a, path, &got));
    chmod(path, 0644);
    assert_false(store_map(a, path, &got));
    assert_int_equal(store_copy(path), -1);

    /* the oldest go over 2 GB; what a dead writer left goes after an hour; other files stay */
    const char *old = in_folder("store/00000000000000000000000000000001.so"),
               *big = in_folder("store/00000000000000000000000000000002.so");
    const char *left = arena_printf(a, "%s.1.000000001", old), *other = in_folder("store/notes");
    const char *made[] = { old, big, left, other };
    for (int i = 0; i < 4; i++) {
        f = fopen(made[i], "wb");
        fputc('x', f);
        fclose(f);
    }
    struct timespec long_ago[] = { { 1000, 0 }, { 1000, 0 } };
    for (int i = 0; i < 4; i++)
        if (made[i] != big) utimensat(AT_FDCWD, made[i], long_ago, 0);
    store_evict(a, dir);
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(access(old, F_OK), 0);
    assert_int_equal(truncate(big, ((off_t)2 << 30) - 1), 0);                 /* a hole: takes no space */
    store_evict(a, dir);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(big, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
}

/* -- Weights --------------------------------------------------------------------------------------------- */

/* One constant: the transpose of SIDE x SIDE numbers that lie at w. */
static program *program_over(const void *w)
{
    dims *d = dims_new(ctx, a);
    dim side[2] = { dim_const(SIDE), dim_const(SIDE) };
    graph *g = graph_new(ctx, a, d, "packed");
    add_result(g, transpose(g, constant_borrowed(g, DTYPE_f32, 2, side, w, "w"), (int[]){ 1, 0 }), NULL);
    program *p = program_new(ctx, a, d, "test");
    int b = program_buf(p, "w", PBUF_const, 0, DTYPE_f32, 2, side);
    p->bufs.at[b].expr_graph = g;
    return p;
}

static bytes weights_at(const char *path, float first)
{
    float *x = calloc(SIDE * SIDE, sizeof *x);
    for (int i = 0; i < SIDE * SIDE; i++) x[i] = (float)i;
    x[0] = first;
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(x, sizeof *x, SIDE * SIDE, f), SIDE * SIDE);
    fclose(f);
    free(x);
    bytes b;
    int err;
    assert_true(file_map(a, path, &b, &err));
    return b;
}

static void evaluate(program *p, float first)
{
    float *x = arena_alloc(a, SIDE * SIDE * sizeof *x);
    for (int i = 0; i < SIDE * SIDE; i++) x[i] = (float)(i % SIDE * SIDE + i / SIDE);
    x[0] = first;
    p->bufs.at[0].data = x;
}

static bool finds(const void *w, const codegen_options *o, float first)
{
    program *p = program_over(w);
    bool is_there = load_weights(ctx, p, o);
    if (is_there) {
        const float *x = p->bufs.at[0].data;
        assert_true(x[0] == first && x[1] == SIDE && x[SIDE] == 1 && x[SIDE * SIDE - 1] == SIDE * SIDE - 1);
        assert_int_equal((uintptr_t)x % 64, 0);
        return true;
    }
    evaluate(p, first);
    keep_weights(ctx, p, o);
    return false;
}

static void weights(void **state)
{
    (void)state;
    codegen_options o = { .cache_dir = in_folder("weights") }, strict = o, none = { 0 };
    strict.cache_strict = true;
    const char *path = in_folder("model.bin");
    bytes w = weights_at(path, 7);
    assert_false(finds(w.at, &none, 7));
    assert_false(finds(w.at, &none, 7));
    assert_false(finds(w.at, &o, 7));
    assert_true(finds(w.at, &o, 7));
    assert_false(finds(w.at, &strict, 7));
    assert_true(finds(w.at, &strict, 7));

    const char *other = in_folder("copy.bin");                       /* another file with the same contents */
    bytes copy = weights_at(other, 7);
    assert_false(finds(copy.at, &o, 7));
    assert_true(finds(copy.at, &strict, 7));
    void *heap = arena_copy(a, w.at, w.n);                                 /* in no file: always by content */
    assert_true(finds(heap, &o, 7));

    assert_int_equal(unlink(path), 0);
    bytes changed = weights_at(path, 8);                               /* the same name, size, not the time */
    assert_false(finds(changed.at, &o, 8));
    assert_false(finds(changed.at, &strict, 8));
    assert_true(finds(changed.at, &o, 8));
    assert_true(finds(changed.at, &strict, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(where, setup, teardown),
                                        cmocka_unit_test_setup_teardown(entries, setup, teardown),
                                        cmocka_unit_test_setup_teardown(weights, setup, teardown) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
