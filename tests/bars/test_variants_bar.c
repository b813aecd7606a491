/* test_variants_bar: programs of open sizes, specialized to sizes: the same bits as the open program, by the
 * interpreter and by the variants that the JIT makes of sizes it sees again; at most eight of them; when it
 * is worth it; from several threads; and not where they are turned off. */
#include "tests/bars/bar_model.h"
#include <pthread.h>

static const char *const models[] = { "tests/models/attention.onnx", "tests/models/sizes.graph",
                                      "tests/models/open.graph" };
enum { N_MODELS = sizeof models / sizeof *models, N_SIZES = 10 };
static const int64_t sizes[N_SIZES][2] = { { 3, 17 }, { 1, 1 },  { 2, 16 }, { 8, 48 }, { 16, 2 },
                                           { 5, 7 },  { 4, 33 }, { 9, 3 },  { 6, 1 },  { 7, 20 } };

/* -- By the interpreter ---------------------------------------------------------------------------------- */

static void one_model(bar *b, void *arg)
{
    const char *model = arg;
    driver_options o = driver_defaults();
    o.verify = true;
    graph *g;
    engine *e;
    program *p = NULL, *open;
    bar_check(b, model, driver_import(b->ctx, b->a, model, &o, &g));
    bar_check(b, model, engine_open(b->ctx, b->a, model, &o, ENGINE_eval, &e));
    bar_check(b, model, driver_passes(b->ctx, &o, &g));
    bar_check(b, model, driver_lower_plain(b->ctx, &o, g, &p));
    const bool *is_open = program_found_symbols(b->a, p);
    open = program_copy(b->ctx, b->a, p);
    bar_check(b, model, driver_schedule(b->ctx, &o, open));
    bar_check(b, model, driver_constants(b->ctx, open));
    for (int i = 0; i < N_SIZES; i++) {
        arena *a = arena_new(&b->ctx->mem);
        const char *what = arena_printf(b->a, "%s at (%lld, %lld)", model, (long long)sizes[i][0],
                                        (long long)sizes[i][1]);
        tensor *in = bar_inputs(b, e, (uint64_t)i + 1, i % 2, sizes[i]), want[8], got[8];
        prepared r;
        bar_check(b, what, engine_prepare(b->ctx, a, e, in, NULL, &r));
        int n = dims_n_symbols(p->dims);
        for (int k = 0; k < n; k++)
            if (is_open[k]) dims_symbol_range(p->dims, k, &(int64_t){ 0 }, &r.sizes[k]);
        program *fixed = specialize_program(b->ctx, a, p, r.sizes, is_open);
        assert_true(program_verify(fixed, what) && program_text_check(fixed, what));
        assert_int_equal(dims_n_symbols(fixed->dims), n);
        bar_check(b, what, driver_schedule(b->ctx, &o, fixed));
        bar_check(b, what, driver_constants(b->ctx, fixed));
        assert_true(fixed->workspace_bytes >= 0);
        bar_check(b, what, driver_eval(b->ctx, a, open, r.sizes, in, want));
        bar_check(b, what, driver_eval(b->ctx, a, fixed, r.sizes, in, got));
        bar_same(b, what, e->n_out, got, want);
        arena_free(a);
    }
}

static void interpreted(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) bar_with(one_model, (void *)(uintptr_t)models[i]);
}

/* -- By the JIT ------------------------------------------------------------------------------------------ */

static void by_jit(bar *b, void *arg)
{
    const char *model = arg;
    driver_options o = driver_defaults();
    o.variants_at_once = true;
    engine *e, *open;
    double seconds;
    bar_check(b, model, engine_open(b->ctx, b->a, model, &o, ENGINE_jit, &e));
    o.no_variants = true;
    bar_check(b, model, engine_open(b->ctx, b->a, model, &o, ENGINE_jit, &open));
    assert_non_null(e->variants);
    assert_null(open->variants);
    for (int i = 0; i < N_SIZES; i++) {
        arena *a = arena_new(&b->ctx->mem);
        const char *what = arena_printf(b->a, "%s at (%lld, %lld)", model, (long long)sizes[i][0],
                                        (long long)sizes[i][1]);
        tensor *in = bar_inputs(b, e, (uint64_t)i + 1, i % 2, sizes[i]), want[8], got[8];
        bar_check(b, what, engine_run(b->ctx, a, open, in, want, NULL));
        for (int k = 0; k < 3; k++) {
            int before = i < MAX_VARIANTS ? i : MAX_VARIANTS;
            bar_check(b, what, engine_run(b->ctx, a, e, in, got, NULL));
            bar_same(b, what, e->n_out, got, want);
            assert_int_equal(variants_made(e->variants, &seconds),
                             k && i < MAX_VARIANTS ? before + 1 : before);
        }
        arena_free(a);
    }
}

static void compiled(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) bar_with(by_jit, (void *)(uintptr_t)models[i]);
}

/* Sizes of short runs are left alone until enough time went into them. */
static void by_worth(bar *b, void *arg)
{
    const char *model = arg;
    driver_options o = driver_defaults();
    engine *e;
    double seconds;
    bar_check(b, model, engine_open(b->ctx, b->a, model, &o, ENGINE_jit, &e));
    tensor *in = bar_inputs(b, e, 1, false, sizes[1]), got[8];
    for (int k = 0; k < 3; k++) bar_check(b, model, engine_run(b->ctx, b->a, e, in, got, NULL));
    assert_int_equal(variants_made(e->variants, &seconds), 0);
    prepared p;
    struct seen_sizes *spent;
    bar_check(b, model, engine_prepare(b->ctx, b->a, e, in, NULL, &p));
    assert_null(variants_pick(e->variants, p.sizes, p.workspace_bytes, &spent));
    assert_non_null(spent);
    variants_ran(e->variants, spent, 1000);
    for (int k = 0; k < 2; k++) bar_check(b, model, engine_run(b->ctx, b->a, e, in, got, NULL));
    assert_int_equal(variants_made(e->variants, &seconds), 1);
}

static void when_worth_it(void **state)
{
    (void)state;
    bar_with(by_worth, (void *)(uintptr_t)models[0]);
}

/* -- By several threads ---------------------------------------------------------------------------------- */

enum { N_THREADS = 4, ROUNDS = 5, N_SHARED = 3 };
typedef struct { const engine *e; tensor *in[N_SHARED], *want[N_SHARED]; bool ok; } shared;

static bool one_thread(shared *s, dlc_context *ctx)
{
    bool ok = true;
    for (int i = 0; i < ROUNDS * N_SHARED && ok; i++) {
        arena *a = arena_new(&ctx->mem);
        tensor got[8];
        int k = i % N_SHARED;
        ok = engine_run(ctx, a, s->e, s->in[k], got, NULL) == DLC_OK;
        for (int j = 0; j < s->e->n_out && ok; j++) ok = !tensor_differs_bits(a, &got[j], &s->want[k][j]);
        arena_free(a);
    }
    return ok;
}

static void *thread(void *arg)
{
    shared *s = arg;
    dlc_context *ctx = context_new();
    mem_frame frame;
    if (!ctx || !mem_try(&ctx->mem, &frame)) return NULL;
    s->ok = one_thread(s, ctx);
    mem_end(&ctx->mem, &frame);
    context_free(ctx);
    return NULL;
}

static void by_threads(bar *b, void *arg)
{
    (void)arg;
    driver_options o = driver_defaults();
    o.variants_at_once = true;
    engine *e, *open;
    double seconds;
    shared s[N_THREADS] = { { .ok = false } };
    pthread_t id[N_THREADS];
    bar_check(b, models[0], engine_open(b->ctx, b->a, models[0], &o, ENGINE_jit, &e));
    o.no_variants = true;
    bar_check(b, models[0], engine_open(b->ctx, b->a, models[0], &o, ENGINE_jit, &open));
    for (int k = 0; k < N_SHARED; k++) {
        s[0].in[k] = bar_inputs(b, e, (uint64_t)k + 1, false, sizes[k]);
        s[0].want[k] = NEW_ARRAY(b->a, tensor, e->n_out);
        bar_check(b, models[0], engine_run(b->ctx, b->a, open, s[0].in[k], s[0].want[k], NULL));
    }
    for (int t = 0; t < N_THREADS; t++) {
        s[t] = s[0];
        s[t].e = e;
        assert_int_equal(pthread_create(&id[t], NULL, thread, &s[t]), 0);
    }
    for (int t = 0; t < N_THREADS; t++) {
        pthread_join(id[t], NULL);
        assert_true(s[t].ok);
    }
    assert_int_equal(variants_made(e->variants, &seconds), N_SHARED);
    assert_true(seconds > 0);
}

static void threaded(void **state)
{
    (void)state;
    bar_with(by_threads, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(interpreted), cmocka_unit_test(compiled),
                                        cmocka_unit_test(when_worth_it), cmocka_unit_test(threaded) };
    return _cmocka_run_group_tests("variants", tests, bar_has_llvm() ? 4 : 1, NULL, NULL);
}
