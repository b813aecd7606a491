/* test_passes_bar: what a pass marked EXACT leaves out changes no bit; what a pass marked VALUE leaves out
 * stays close.
 *
 * Each pass but lower and plan is switched off in turn, and stopped after half of its changes. Compared are
 * the results of the scheduled program by the interpreter of loops, with each pass followed by its verifier
 * and by text (o.verify).
 */
#include "tests/bars/bar_model.h"

static const int64_t open_sizes[2] = { 2, 17 };
static int64_t n_changes[PASS_COUNT];

static void count_changes(void *arg, int pass, const graph *g, const program *p, int64_t changes,
                          double seconds)
{
    (void)arg, (void)g, (void)p, (void)seconds;
    if (pass < PASS_COUNT) n_changes[pass] = changes;
}

static tensor *run(bar *b, const char *path, const driver_options *o, const char *what, tensor **in, int *n)
{
    engine *e;
    bar_check(b, what, engine_open(b->ctx, b->a, path, o, ENGINE_loop, &e));
    if (!*in) *in = bar_inputs(b, e, 5, false, open_sizes);
    tensor *out = NEW_ARRAY(b->a, tensor, e->n_out + 1);
    bar_check(b, what, engine_run(b->ctx, b->a, e, *in, out, NULL));
    *n = e->n_out;
    return out;
}

static void compare(bar *b, const char *what, int pass, int n, const tensor *got, const tensor *want)
{
    if (pass_info[pass].bits == BITS_EXACT) {
        bar_same(b, what, n, got, want);
        return;
    }
    for (int i = 0; i < n; i++) {
        const char *differs = tensor_differs(b->a, &got[i], &want[i], 1e-3, 1e-4);
        if (differs) fail_msg("%s: output %d: %s", what, i, differs);
    }
}

static void each_pass(bar *b, void *arg)
{
    const char *path = arg;
    tensor *in = NULL;
    int n, n_runs = 0;
    driver_options all = driver_defaults();
    all.verify = true;
    all.after = count_changes;
    tensor *want = run(b, path, &all, path, &in, &n);
    int64_t full[PASS_COUNT];
    memcpy(full, n_changes, sizeof full);
    for (int pass = 0; pass < PASS_COUNT; pass++) {
        if (pass == PASS_lower || pass == PASS_plan) continue;
        driver_options o = all;
        o.off[pass] = true;
        const char *what = arena_printf(b->a, "%s without %s", path, pass_info[pass].name);
        compare(b, what, pass, n, run(b, path, &o, what, &in, &n), want);
        n_runs++;
        if (full[pass] < 2) continue;
        o = all;
        o.limit[pass] = full[pass] / 2 + 1;
        what = arena_printf(b->a, "%s with %lld of %lld changes of %s", path, (long long)full[pass] / 2,
                            (long long)full[pass], pass_info[pass].name);
        compare(b, what, pass, n, run(b, path, &o, what, &in, &n), want);
        n_runs++;
    }
    print_message("%s: %d runs\n", path, n_runs);
}

static void test(void **state) { bar_with(each_pass, *state); }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[N_BAR_MODELS];
    int n = 0;
    for (int i = 0; i < N_BAR_MODELS; i++)
        if (argc < 2 || strstr(bar_models[i], argv[1]))
            tests[n++] = (struct CMUnitTest){ bar_models[i], test, NULL, NULL, (void *)bar_models[i] };
    return _cmocka_run_group_tests("passes", tests, (size_t)n, NULL, NULL);
}
