/* The builder's rewrites and its folding: each rule where it fires, and where it must not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "ir/build.h"

static dlc_context *ctx;
static graph *g;
static dim N;

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    mem_frame f;
    if (!mem_try(&ctx->mem, &f)) return 1;
    arena *a = arena_new(&ctx->mem);
    g = graph_new(ctx, a, dims_new(ctx, a), "test");
    N = dim_symbol(g->dims, "N");
    mem_end(&ctx->mem, &f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    context_free(ctx);
    return 0;
}

#define K dim_const
#define DIMS(...) (const dim[]){ __VA_ARGS__ }
#define STEPS(...) (const int64_t[]){ __VA_ARGS__ }
#define assert_same(a, b) assert_int_equal((a).id, (b).id)
#define assert_prim(v, p) assert_int_equal(node_of(g, v)->prim, PRIM_##p)

static value f32(float x) { return constant(g, DTYPE_f32, 2, DIMS(K(1), K(1)), &x, NULL); }
static value map2(scalar fn, value a, value b) { return map(g, fn, 2, (value[]){ a, b }); }
static value map1(scalar fn, value a) { return map(g, fn, 1, &a); }

static const char *show_ints(value v)
{
    int n;
    const dim *d = known_ints(g, v, &n);
    text out = { .a = g->arena };
    if (!d) return "unknown";
    for (int i = 0; i < n; i++) {
        if (i) text_put(&out, ", ");
        dim_print(g->dims, d[i], &out);
    }
    return text_str(&out);
}

static void neutral_operands(void **state)
{
    (void)state;
    value x = input(g, "x", DTYPE_f32, 2, DIMS(N, K(4))), i = cast(g, x, DTYPE_i32);
    assert_same(map2(SCALAR_mul, x, f32(1)), x);
    assert_same(map2(SCALAR_div, x, f32(1)), x);
    assert_same(map2(SCALAR_sub, x, f32(0)), x);
    assert_same(map2(SCALAR_add, x, f32(-0.0f)), x);
    assert_prim(map2(SCALAR_add, x, f32(0)), map);                    /* -0 + 0 = 0 */
    assert_prim(map2(SCALAR_sub, x, f32(-0.0f)), map);
    assert_prim(map2(SCALAR_sub, f32(0), x), map);
    assert_prim(map2(SCALAR_mul, x, f32(0)), map);                    /* NaN, -0 */
    assert_prim(map2(SCALAR_eq, x, x), map);
    value zero = constant(g, DTYPE_i32, 2, DIMS(K(1), K(1)), &(int32_t){ 0 }, NULL);
    assert_same(map2(SCALAR_add, i, zero), i);
    assert_string_equal(show_ints(map2(SCALAR_sub, zero, zero)), "0");
    assert_same(map1(SCALAR_neg, map1(SCALAR_neg, x)), x);
    value r = map1(SCALAR_relu, x), b = map2(SCALAR_lt, x, r);
    assert_same(map1(SCALAR_relu, r), r);
    assert_same(map1(SCALAR_not, map1(SCALAR_not, b)), b);
    assert_same(cast(g, cast(g, x, DTYPE_f64), DTYPE_f32), x);
    assert_prim(cast(g, cast(g, x, DTYPE_f16), DTYPE_f32), map);
    assert_same(cast(g, cast(g, i, DTYPE_i64), DTYPE_i32), i);
    bool yes = true;
    value c = constant(g, DTYPE_bool, 2, DIMS(K(1), K(1)), &yes, NULL);
    assert_same(map(g, SCALAR_select, 3, (value[]){ c, x, r }), x);
    assert_same(map(g, SCALAR_select, 3, (value[]){ b, r, r }), r);
    value row = input(g, "row", DTYPE_f32, 2, DIMS(K(1), K(4)));
    value stretched = broadcast(g, f32(1), 2, DIMS(N, K(4)));
    assert_prim(map2(SCALAR_mul, row, stretched), broadcast);         /* the result's shape stays */
}

static void views_of_views(void **state)
{
    (void)state;
    value x = input(g, "x", DTYPE_f32, 3, DIMS(N, K(6), K(4)));
    value t = transpose(g, x, (int[]){ 2, 0, 1 });
    assert_same(transpose(g, t, (int[]){ 1, 2, 0 }), x);
    assert_same(transpose(g, t, (int[]){ 1, 0, 2 }), transpose(g, x, (int[]){ 0, 2, 1 }));
    assert_same(transpose(g, x, (int[]){ 0, 1, 2 }), x);
    value r = reshape(g, x, 2, DIMS(N, K(24)));
    assert_same(reshape(g, r, 3, DIMS(N, K(6), K(4))), x);
    value u = reshape(g, x, 4, DIMS(N, K(6), K(1), K(4)));
    assert_prim(transpose(g, u, (int[]){ 2, 0, 1, 3 }), reshape);     /* only a 1 moves */
    assert_same(broadcast(g, x, 3, DIMS(N, K(6), K(4))), x);
    value s = slice(g, x, DIMS(K(0), K(1), K(0)), DIMS(N, K(5), K(4)), STEPS(1, 1, 1));
    value s2 = slice(g, s, DIMS(K(0), K(4), K(0)), DIMS(N, K(3), K(4)), STEPS(1, -2, 1));
    assert_same(s2, slice(g, x, DIMS(K(0), K(5), K(0)), DIMS(N, K(3), K(4)), STEPS(1, -2, 1)));
    assert_same(slice(g, x, DIMS(K(0), K(0), K(0)), DIMS(N, K(6), K(4)), STEPS(1, 1, 1)), x);
}

static void parts(void **state)
{
    (void)state;
    value x = input(g, "x", DTYPE_f32, 1, DIMS(N)), y = input(g, "y", DTYPE_f32, 1, DIMS(K(8)));
    value xy = concat(g, 2, (value[]){ x, y }, 0);
    assert_same(slice(g, xy, DIMS(K(0)), DIMS(N), STEPS(1)), x);
    assert_same(slice(g, xy, DIMS(N), DIMS(K(8)), STEPS(1)), y);
    value a = slice(g, y, DIMS(K(0)), DIMS(K(3)), STEPS(1)),
          b = slice(g, y, DIMS(K(3)), DIMS(K(5)), STEPS(1));
    assert_same(concat(g, 2, (value[]){ a, b }, 0), y);
    assert_prim(concat(g, 2, (value[]){ b, a }, 0), concat);
    assert_int_equal(node_of(g, concat(g, 2, (value[]){ xy, y }, 0))->n_in, 3);
    assert_same(slice(g, pad_undef(g, y, DIMS(K(0)), DIMS(K(8))), DIMS(K(0)), DIMS(K(8)), STEPS(1)), y);
    value cut = slice(g, y, DIMS(K(0)), DIMS(K(5)), STEPS(1));
    assert_same(pad_undef(g, cut, DIMS(K(0)), DIMS(K(3))), y);
    assert_prim(pad_undef(g, cut, DIMS(K(0)), DIMS(K(4))), pad);
    value zero = constant(g, DTYPE_f32, 0, NULL, &(float){ 0 }, NULL);
    value p = pad(g, y, DIMS(K(1)), DIMS(K(1)), STEPS(0), zero);
    assert_same(pad(g, p, DIMS(K(2)), DIMS(K(0)), STEPS(0), zero),
                pad(g, y, DIMS(K(3)), DIMS(K(1)), STEPS(0), zero));
    assert_same(pad(g, y, DIMS(K(0)), DIMS(K(0)), STEPS(3), zero),
                pad(g, y, DIMS(K(0)), DIMS(K(0)), STEPS(3), zero));
    assert_same(slice(g, p, DIMS(K(1)), DIMS(K(8)), STEPS(1)), y);
    value i = constant_dim(g, DTYPE_i64, K(2)),
          three = constant_dims(g, DTYPE_i64, DIMS(K(6), K(4), K(2)), 3);
    value m = input(g, "m", DTYPE_f32, 2, DIMS(N, K(8)));
    assert_prim(gather(g, m, 1, &i, (int[]){ 1 }, 0, NULL, NULL), reshape);
    assert_prim(gather(g, y, 1, &three, (int[]){ 0 }, 0, NULL, NULL), slice);
    assert_prim(gather(g, m, 1, &i, (int[]){ 0 }, 0, NULL, NULL), gather);        /* N may be 2 or less */
}

/* Shape -> Gather -> Concat -> arithmetic, as in exported models. */
static void shapes_leave_nothing(void **state)
{
    (void)state;
    value shape = constant_dims(g, DTYPE_i64, DIMS(N, K(3), K(8)), 3);
    assert_string_equal(show_ints(shape), "N, 3, 8");
    value i0 = constant_dim(g, DTYPE_i64, K(0)), n = gather(g, shape, 1, &i0, (int[]){ 0 }, 0, NULL, NULL);
    assert_string_equal(show_ints(n), "N");
    value v = reshape(g, n, 1, DIMS(K(1)));
    value all = concat(g, 3, (value[]){ v, constant_dims(g, DTYPE_i64, DIMS(K(-1)), 1), v }, 0);
    assert_string_equal(show_ints(all), "N, -1, N");
    value two = constant_dims(g, DTYPE_i64, DIMS(K(2)), 1);
    assert_string_equal(show_ints(map2(SCALAR_mul, all, two)), "2*N, -2, 2*N");
    assert_string_equal(show_ints(map2(SCALAR_div, map2(SCALAR_add, all, two), two)),
                        "N floordiv 2 + 1, 0, N floordiv 2 + 1");
}

static void folding(void **state)
{
    (void)state;
    value shape = constant_dims(g, DTYPE_i64, DIMS(N, K(3), K(8)), 3);
    assert_string_equal(show_ints(reduce(g, REDUCE_prod, shape, 1, false)), "24*N");
    value ints = cast(g, shape, DTYPE_i32);
    assert_int_equal(type_of(g, ints).dtype, DTYPE_i32);
    assert_string_equal(show_ints(ints), "N, 3, 8");
    value zero = constant_dims(g, DTYPE_i64, DIMS(K(0)), 1),
          minus = constant_dims(g, DTYPE_i64, DIMS(K(-1)), 1);
    assert_string_equal(show_ints(map2(SCALAR_lt, minus, shape)), "1, 1, 1");
    assert_string_equal(show_ints(map2(SCALAR_eq, shape, zero)), "unknown");       /* N may be 0 */
    value c = map2(SCALAR_eq, shape, minus);
    assert_string_equal(show_ints(map(g, SCALAR_select, 3, (value[]){ c, zero, shape })), "N, 3, 8");
    value ends = constant(g, DTYPE_i64, 1, DIMS(K(2)), (int64_t[]){ INT64_MAX, 5 }, NULL);
    assert_string_equal(show_ints(ends), "1152921504606846975, 5");
    assert_string_equal(show_ints(iota(g, DTYPE_i64, 2, DIMS(K(2), K(3)), 1)), "0, 1, 2, 0, 1, 2");
    float f[3] = { 1, 4, 9 };
    value x = constant(g, DTYPE_f32, 1, DIMS(K(3)), f, NULL), root = map1(SCALAR_sqrt, x);
    const void *p;
    int64_t n;
    assert_true(known_bytes(g, root, &p, &n));
    assert_int_equal(n, 3);
    assert_memory_equal(p, ((float[]){ 1, 2, 3 }), sizeof f);
    value big = broadcast(g, f32(4), 2, DIMS(N, K(1000))), y = map1(SCALAR_sqrt, big);
    scalar_value s;
    assert_true(known_splat(g, y, &s) && sv_to_f64(DTYPE_f32, s) == 2);
    assert_true(known_splat(g, reshape(g, y, 3, DIMS(K(10), N, K(100))), &s));
    assert_same(map2(SCALAR_mul, y, y), broadcast(g, f32(4), 2, DIMS(N, K(1000))));
}

static bool forty_two(void *arg, const graph *h, value v, void *out)
{
    (void)h, (void)v;
    ++*(int *)arg;
    memcpy(out, &(float){ 42 }, sizeof(float));
    return true;
}

static void the_evaluator_folds_float_sums(void **state)
{
    (void)state;
    int calls = 0;
    graph_evaluator eval = { forty_two, &calls, FMA_FUSED };
    ctx->evaluator = &eval;
    float f[3] = { 1, 4, 9 };
    value y = reduce(g, REDUCE_sum, constant(g, DTYPE_f32, 1, DIMS(K(3)), f, NULL), 1, false);
    scalar_value s;
    assert_true(known_splat(g, y, &s) && sv_to_f64(DTYPE_f32, s) == 42);
    reduce(g, REDUCE_sum, input(g, "x", DTYPE_f32, 1, DIMS(K(3))), 1, false);
    assert_int_equal(calls, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(neutral_operands), test(views_of_views), test(parts), test(shapes_leave_nothing), test(folding),
        test(the_evaluator_folds_float_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
