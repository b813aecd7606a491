/* test_memory_bar: memory runs out at the n-th request, for every n, while a model is imported and compiled.
 * Each time: back at mem_try, every arena released, and the context still good for a message. Under
 * AddressSanitizer also: nothing leaks.
 *
 * Requests are many, so that after the first 300 every k-th is tried, about 500 for a model; -a tries all of
 * them.
 */
#include "tests/bars/bar_model.h"

static const char *const models[] = { "tests/models/control.onnx", "tests/models/int8.onnx",
                                      "tests/models/sizes.graph" };
static bool every, with_llvm;

static dlc_status compile(dlc_context *ctx, const char *path)
{
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    o.codegen.threads = 1;
    o.verify = true;
    graph *g;
    program *p = NULL;
    bytes code;
    dlc_status s = driver_import(ctx, a, path, &o, &g);
    if (s == DLC_OK) s = driver_passes(ctx, &o, &g);
    if (s == DLC_OK) s = driver_lower(ctx, &o, g, &p);
    if (s == DLC_OK) s = driver_constants(ctx, p);
    if (s == DLC_OK && with_llvm) s = driver_emit(ctx, a, p, &o, EMIT_OBJECT, &code);
    arena_free(a);
    return s;
}

/* True if it ran to its end; else it failed for want of memory and nothing else. */
static bool attempt(const char *path, uint64_t n, uint64_t *n_requests)
{
    dlc_context *ctx = context_new();
    mem_frame frame;
    assert_non_null(ctx);
    arena *newest = ctx->mem.arenas;
    volatile bool done = false;
    ctx->mem.fail_at = n ? ctx->mem.n_allocs + n : 0;
    uint64_t before = ctx->mem.n_allocs;
    if (mem_try(&ctx->mem, &frame)) {
        dlc_status s = compile(ctx, path);
        mem_end(&ctx->mem, &frame);
        if (s != DLC_OK && s != DLC_ERR_MEMORY)
            fail_msg("%s, request %llu fails: status %d: %s", path, (unsigned long long)n, (int)s,
                     ctx->diags.n ? ctx->diags.at[0].message : "no message");
        done = s == DLC_OK;
    }
    assert_ptr_equal(ctx->mem.arenas, newest);                /* arenas made since are gone */
    assert_null(ctx->mem.frame);
    *n_requests = ctx->mem.n_allocs - before;
    ctx->mem.fail_at = 0;
    context_free(ctx);
    return done;
}

static void every_request(void **state)
{
    uint64_t total, used, n_tried = 0;
    assert_true(attempt(*state, 0, &total));
    uint64_t step = every || total < 800 ? 1 : (total - 300) / 500 + 1;
    for (uint64_t n = 1; n <= total; n += n < 300 ? 1 : step, n_tried++)
        assert_false(attempt(*state, n, &used));
    print_message("%s: %llu requests, %llu tried\n", (const char *)*state, (unsigned long long)total,
                  (unsigned long long)n_tried);
}

int main(int argc, char **argv)
{
    every = argc > 1 && strcmp(argv[1], "-a") == 0;
    with_llvm = bar_has_llvm();
    struct CMUnitTest tests[3];
    for (int i = 0; i < 3; i++)
        tests[i] = (struct CMUnitTest){ models[i], every_request, NULL, NULL, (void *)models[i] };
    return _cmocka_run_group_tests("memory", tests, 3, NULL, NULL);
}
