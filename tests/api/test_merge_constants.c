/* Constants with equal elements are stored once. */
#include "api/driver.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char source[] =
    "kernel @k(a: f32[2] const, b: f32[2] const, c: u8[8] const, d: f32[2] const, y: f32[2] out) {\n"
    "  for i in 0..2 { y[i] = a[i] + b[i] + d[i] }\n}\n"
    "program @p {\n  output y: f32[2]\n"
    "  const a: f32[2] = [1, 0]\n  const b: f32[2] = [1, -0]\n  const c: u8[8] = hex \"0000803f00000000\"\n"
    "  const d: f32[2] = [1, 0]\n"
    "  call @k(a, b, c, d, y)\n}\n";

static void by_their_bytes(void **state)
{
    (void)state;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    program *p = program_parse(ctx, a, "p", source, sizeof source - 1);
    assert_non_null(p);
    const void *data[4];
    driver_merge_constants(ctx, p);
    int n = 0;
    for (int64_t i = 0; i < p->bufs.n; i++)
        if (p->bufs.at[i].kind == PBUF_const) data[n++] = p->bufs.at[i].data;
    assert_int_equal(n, 4);
    assert_ptr_not_equal(data[0], data[1]);                 /* -0 is not 0 */
    assert_ptr_not_equal(data[0], data[2]);       /* nor is u8 f32: C stores words, whatever the byte order */
    assert_ptr_equal(data[0], data[3]);
    arena_free(a);
    context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_their_bytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
