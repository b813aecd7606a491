/* loop_fixture: what each test of tests/loop starts with (loop_fixture.h) */
#include "tests/support/loop_fixture.h"
#include "tests/support/loop_case.h"

dlc_context *ctx;
arena *a;
dims *t;
expander *ex;
static mem_frame frame;

int setup(void **state)
{
    (void)state;
    ctx = context_new();
    if (!ctx || !mem_try(&ctx->mem, &frame)) return 1;
    a = arena_new(&ctx->mem);
    t = dims_new(ctx, a);
    ex = expander_new(a);
    return 0;
}

void show(void) { loop_messages(ctx); }

int teardown(void **state)
{
    (void)state;
    show();
    context_free(ctx);
    return 0;
}
