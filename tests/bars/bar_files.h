/* tests/bars/bar_files.h: files of a test in a folder of its own; programs for this machine and others, run
 * and compared. */
#ifndef DLC_TESTS_BARS_BAR_FILES_H
#define DLC_TESTS_BARS_BAR_FILES_H
#include "tests/bars/bar_model.h"

static char dir[] = "/tmp/dlc-test-XXXXXX";

static const int64_t open_sizes[2] = { 2, 19 };

static inline bool has_program(const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "command -v %s >/dev/null 2>&1", name);
    return system(line) == 0;
}

static inline const char *in_dir(bar *b, const char *name) { return arena_printf(b->a, "%s/%s", dir, name); }

static inline bytes contents(bar *b, const char *path)
{
    bytes x;
    int err;
    if (!file_map(b->a, path, &x, &err)) fail_msg("%s: %s", path, strerror(err));
    return x;
}

static inline void write_file(const char *path, bytes x)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(x.at, 1, x.n, f), x.n);
    assert_int_equal(fclose(f), 0);
}

static inline program *lowered(bar *b, const char *path, const driver_options *o)
{
    graph *g;
    program *p = NULL;
    bar_check(b, path, driver_import(b->ctx, b->a, path, o, &g));
    bar_check(b, path, driver_passes(b->ctx, o, &g));
    bar_check(b, path, driver_lower(b->ctx, o, g, &p));
    bar_check(b, path, driver_constants(b->ctx, p));
    return p;
}

/* What tests/bars/run_model.c is linked with is at dir/prog. Runs it on these inputs and compares with the
 * interpreter. */
static inline void run_there(bar *b, const char *what, const engine *e, const char *runner, const tensor *in)
{
    const char *x = in_dir(b, "in"), *y = in_dir(b, "out");
    tensor *want = NEW_ARRAY(b->a, tensor, e->n_out + 1);
    bar_check(b, what, engine_run(b->ctx, b->a, e, in, want, NULL));
    text all = { .a = b->a };
    for (int i = 0; i < e->n_in; i++) text_putn(&all, in[i].bytes, tensor_bytes(&in[i]));
    write_file(x, (bytes){ (const uint8_t *)all.at, (size_t)all.n });
    const char *line = arena_printf(b->a, "%s %s %s %s %lld %lld", runner, in_dir(b, "prog"), x, y,
                                    (long long)open_sizes[0], (long long)open_sizes[1]);
    assert_int_equal(system(line), 0);
    bytes got = contents(b, y);
    const uint8_t *at = got.at, *end = got.at + got.n;
    for (int i = 0; i < e->n_out; i++) {
        tensor t = want[i];
        assert_true((size_t)(end - at) >= tensor_bytes(&t));
        t.bytes = arena_copy(b->a, at, tensor_bytes(&t));
        at += tensor_bytes(&t);
        const char *differs = tensor_differs_bits(b->a, &t, &want[i]);
        if (differs) fail_msg("%s: output %d: %s", what, i, differs);
    }
    assert_ptr_equal(at, end);
    unlink(x);
    unlink(y);
}

#endif
