/* The builder: types, messages, hash-consing, bodies, compaction, and every allocation failing in turn. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "ir/build_inner.h"

static dlc_context *ctx;
static graph *g;

static int setup(void **state)
{
    (void)state;
    ctx = context_new();
    mem_frame f;
    if (!mem_try(&ctx->mem, &f)) return 1;
    arena *a = arena_new(&ctx->mem);
    g = graph_new(ctx, a, dims_new(ctx, a), "test");
    mem_end(&ctx->mem, &f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    context_free(ctx);
    return 0;
}

/* "f32[N, 4]" as an input. */
static value in(const char *s)
{
    const char *open = strchr(s, '['), *at = open + 1;
    dim d[MAX_RANK];
    int rank = 0;
    while (*at != ']') {
        assert_true(dim_parse(g->dims, &at, s + strlen(s), &d[rank++]));
        if (*at == ',') at++;
    }
    return input(g, "x", dtype_by_name(s, (size_t)(open - s)), rank, d);
}

static const char *show(value v)
{
    text out = { .a = g->arena };
    type_print(g, type_of(g, v), &out);
    return text_str(&out);
}

#define assert_type(v, s) assert_string_equal(show(v), s)
#define assert_message(v, s) \
    do { assert_false(is_value(v)); assert_int_equal(ctx->diags.n, 1); \
         assert_string_equal(ctx->diags.at[0].message, s); \
         context_clear_diags(ctx); g->failed = false; } while (0)

static dim sym(const char *s) { return dim_symbol(g->dims, s); }
#define K dim_const
#define DIMS(...) (const dim[]){ __VA_ARGS__ }

/* Extents that agree for all but some sizes: the symbol keeps within them. */
static void narrowed_symbol(void **state)
{
    (void)state;
    int64_t lo, hi;
    assert_true(is_value(map(g, SCALAR_add, 2, (value[]){ in("f32[S, 4]"), in("f32[min(S, 512), 4]") })));
    dim_range(g->dims, sym("S"), &lo, &hi);
    assert_int_equal(hi, 512);
}

static void types(void **state)
{
    (void)state;
    value x = in("f32[N, 3, 8, 8]"), w = in("f32[16, 3, 3, 3]"), m = in("bool[N, 1, 8, 1]");
    assert_type(map(g, SCALAR_add, 2, (value[]){ x, in("f32[1, 3, 1, 8]") }), "f32[N, 3, 8, 8]");
    assert_type(map(g, SCALAR_select, 3, (value[]){ m, x, x }), "f32[N, 3, 8, 8]");
    assert_type(map(g, SCALAR_lt, 2, (value[]){ x, x }), "bool[N, 3, 8, 8]");
    assert_type(cast(g, x, DTYPE_i32), "i32[N, 3, 8, 8]");
    assert_true(same_value(cast(g, x, DTYPE_f32), x));
    assert_type(reduce(g, REDUCE_sum, x, 0xc, false), "f32[N, 3]");
    assert_type(reduce(g, REDUCE_argmax, x, 0x2, false), "i64[N, 8, 8]");
    assert_type(reshape(g, x, 2, DIMS(sym("N"), K(192))), "f32[N, 192]");
    assert_type(transpose(g, x, (int[]){ 0, 2, 3, 1 }), "f32[N, 8, 8, 3]");
    assert_type(slice(g, x, DIMS(K(0), K(0), K(7), K(0)), DIMS(sym("N"), K(2), K(4), K(8)),
                      (int64_t[]){ 1, 1, -2, 1 }),
                "f32[N, 2, 4, 8]");
    assert_type(concat(g, 2, (value[]){ x, in("f32[M, 3, 8, 8]") }, 0), "f32[M + N, 3, 8, 8]");
    value zero = constant(g, DTYPE_f32, 0, NULL, &(float){ 0 }, NULL);
    assert_type(pad(g, x, DIMS(K(0), K(0), K(1), K(1)), DIMS(K(0), K(0), K(2), K(-1)),
                    (int64_t[]){ 0, 0, 1, 0 }, zero),
                "f32[N, 3, 18, 8]");
    relation r = { 1, 2, 1, 1 };
    contract_spec conv = { .la = "ncyx",
                           .lb = "ocrs",
                           .lo = "nopq",
                           .n_windows = 2,
                           .windows = (window_spec[]){ { 'y', 'r', 'p', r, K(4) },
                                                       { 'x', 's', 'q', r, K(4) } } };
    value y = contract(g, x, w, NO_VALUE, &conv);
    assert_type(y, "f32[N, 16, 4, 4]");
    const contract_attr *c = node_of(g, y)->contract;
    assert_int_equal(c->n_sum, 3);
    assert_string_equal(c->label_name[c->sum[0]], "c");
    assert_string_equal(c->label_name[c->sum[2]], "s");
    assert_true(same_value(contract_by(g, x, w, NO_VALUE, c, DTYPE_NONE, DTYPE_NONE), y));
    window_axis wa = { 2, K(4), 3, r };
    assert_type(window_reduce(g, WINDOW_max, x, 1, &wa), "f32[N, 3, 4, 8]");
    value i = in("i64[5, 2]");
    assert_type(gather(g, x, 1, &i, (int[]){ 1 }, 0, NULL, NULL), "f32[5, 2, N, 8, 8]");
    assert_type(sort(g, 1, &x, 1, 1, K(2)), "i64[N, 2, 8, 8]");
    assert_type(bitcast(g, x, DTYPE_u32), "u32[N, 3, 8, 8]");
    value idx;
    dim count;
    assert_true(compact_symbol(g, in("bool[N]"), &idx, &count));
    assert_type(idx, "i64[N]");
    assert_false(g->failed);
}

static void messages(void **state)
{
    (void)state;
    value x = in("f32[N, 4]"), y = in("f32[M, 4]");
    assert_message(map(g, SCALAR_add, 2, (value[]){ x, y }),
                   "map add: extents N and M of axis 0 differ: f32[N, 4] and f32[M, 4]");
    assert_message(map(g, SCALAR_add, 2, (value[]){ x, cast(g, x, DTYPE_i32) }),
                   "map add: operands of equal type expected, found f32[N, 4] and i32[N, 4]");
    assert_message(reshape(g, x, 1, DIMS(K(12))), "reshape: f32[N, 4] has 4*N elements, [12] has 12");
    assert_message(transpose(g, x, (int[]){ 1, 1 }),
                   "transpose: axis 1 at place 1 is not a permutation of the 2 axes of f32[N, 4]");
    assert_message(slice(g, x, DIMS(K(0), K(1)), DIMS(sym("N"), K(4)), (int64_t[]){ 1, 1 }),
                   "slice: 4 positions from 1 by 1 are not all inside axis 1 of f32[N, 4]");
    contract_spec s = { .la = "nk", .lb = "mk", .lo = "n" };
    assert_message(contract(g, x, y, NO_VALUE, &s),
                   "contract: label m occurs once; reduce or broadcast it apart");
    s.lo = "nm";
    assert_message(contract(g, x, in("f32[3, 5]"), NO_VALUE, &s),
                   "contract: label k is 4 and 5 in f32[N, 4] and f32[3, 5]");
    assert_false(is_value(map(g, SCALAR_exp, 1, &(value){ 0 })));      /* no second message */
    assert_int_equal(ctx->diags.n, 0);
}

static void equal_nodes_are_one(void **state)
{
    (void)state;
    value x = in("f32[N, 4]");
    value a = map(g, SCALAR_exp, 1, &x), b = map(g, SCALAR_exp, 1, &x);
    assert_true(same_value(a, b));
    contract_spec s = { .la = "nk", .lb = "mk", .lo = "nm" }, other = { .la = "ai", .lb = "bi", .lo = "ab" };
    value y = in("f32[M, 4]");
    assert_true(same_value(contract(g, x, y, NO_VALUE, &s), contract(g, x, y, NO_VALUE, &other)));
    assert_true(same_value(constant_dims(g, DTYPE_i64, DIMS(K(3), K(5)), 2),
                           constant(g, DTYPE_i64, 1, DIMS(K(2)), (int64_t[]){ 3, 5 }, "w")));
    float ones[6] = { 1, 1, 1, 1, 1, 1 };
    value splat = constant(g, DTYPE_f32, 2, DIMS(K(2), K(3)), ones, NULL);
    assert_int_equal(node_of(g, splat)->prim, PRIM_broadcast);
    scalar_value v;
    assert_true(known_splat(g, splat, &v));
    assert_true(sv_to_f64(DTYPE_f32, v) == 1.0);
}

/* h' = h + x over N steps, and h as a sequence. */
static void scans(void **state)
{
    (void)state;
    value x = in("f32[N, 4]"), h = in("f32[4]"), out[2];
    graph *body = graph_body(g, "step");
    dim four = K(4);
    value a = input(body, "h", DTYPE_f32, 1, &four), b = input(body, "x", DTYPE_f32, 1, &four);
    value c = map(body, SCALAR_add, 2, (value[]){ a, b });
    add_result(body, c, NULL);
    add_result(body, c, NULL);
    assert_true(scan(g, body, 1, 1, sym("N"), false, 2, (value[]){ h, x }, out));
    assert_type(out[0], "f32[4]");
    assert_type(out[1], "f32[N, 4]");
    add_result(g, out[1], "y");
    map(g, SCALAR_exp, 1, &x);
    graph *small = graph_compact(g);
    assert_int_equal(n_nodes(small), 4);               /* unused, two inputs, the scan */
    assert_int_equal(small->results.n, 1);
    const node *n = node_of(small, small->results.at[0]);
    assert_int_equal(n->prim, PRIM_scan);
    assert_int_equal(n_nodes(n->scan->body), 4);
    uint32_t *uses = graph_uses(g, g->arena);
    assert_int_equal(uses[x.id], 1);
    assert_int_equal(uses[out[0].id], 0);
}

static bool build_something(dlc_context *c)
{
    mem_frame f;
    if (!mem_try(&c->mem, &f)) return false;
    arena *a = arena_new(&c->mem);
    graph *h = graph_new(c, a, dims_new(c, a), "f");
    dim n = dim_symbol(h->dims, "N");
    value x = input(h, "x", DTYPE_f32, 1, &n);
    for (int i = 0; i < 10; i++) {
        float k = (float)i;
        dim one = dim_const(1);
        value y = constant(h, DTYPE_f32, 1, &one, &k, NULL);
        x = map(h, SCALAR_mul, 2, (value[]){ x, y });
    }
    value w = input(h, "w", DTYPE_f32, 2, (const dim[]){ n, dim_addk(h->dims, dim_mulk(h->dims, n, 2), 1) }),
          out[1];
    contract_spec s = { .la = "i", .lb = "ij", .lo = "j" };
    value y = contract(h, x, w, NO_VALUE, &s), zero = constant_dim(h, DTYPE_i64, n);
    graph *body = graph_body(h, "step");
    value carry = input(body, "c", DTYPE_i64, 0, NULL);
    add_result(body, map(body, SCALAR_add, 2, (value[]){ carry, carry }), NULL);
    scan(h, body, 1, 0, n, false, 1, &zero, out);
    add_result(h, out[0], NULL);
    add_result(h, reduce(h, REDUCE_max, y, 1, false), NULL);
    add_result(h, constant_dims(h, DTYPE_i64, (const dim[]){ n, dim_const(3) }, 2), NULL);
    add_result(h, x, "y");
    graph_compact(h);
    graph_uses(h, a);
    if (h->failed) mem_fail(&c->mem);
    arena_free(a);
    mem_end(&c->mem, &f);
    return true;
}

/* Bytes between the fields mean nothing, and every field means something. */
static void attributes_are_compared_by_fields(void **state)
{
    (void)state;
    contract_attr c[2];
    reduce_attr r[2];
    for (int i = 0; i < 2; i++) {
        int padding = i ? 0xff : 0;
        memset(&r[i], padding, sizeof r[i]);
        r[i].kind = REDUCE_max;
        r[i].axes = 2;
        r[i].last = false;
        memset(&c[i], 0, sizeof c[i]);
        memset(&c[i].windows[0], padding, sizeof c[i].windows[0]);
        c[i].windows[0].a = c[i].windows[0].b = c[i].windows[0].o = 1;
        c[i].windows[0].r = (relation){ 1, 1, 1, 0 };
        memset(&c[i].limits[3], padding, sizeof c[i].limits[3]);
        c[i].limits[3].x = c[i].limits[3].y = 2;
        c[i].limits[3].scale = 16;
        c[i].limits[3].bound = dim_const(24);
    }
    assert_ptr_equal(intern_attr(g, PRIM_reduce, &r[0]), intern_attr(g, PRIM_reduce, &r[1]));
    assert_ptr_equal(intern_attr(g, PRIM_contract, &c[0]), intern_attr(g, PRIM_contract, &c[1]));
    r[1].last = true;
    assert_ptr_not_equal(intern_attr(g, PRIM_reduce, &r[0]), intern_attr(g, PRIM_reduce, &r[1]));
    c[1].limits[3].bound = dim_const(25);
    assert_ptr_not_equal(intern_attr(g, PRIM_contract, &c[0]), intern_attr(g, PRIM_contract, &c[1]));
    c[1] = c[0];
    c[1].label_name[0] = "n";
    assert_ptr_not_equal(intern_attr(g, PRIM_contract, &c[0]), intern_attr(g, PRIM_contract, &c[1]));
    assert_true(attr_same(PRIM_contract, &c[0], &c[1], ATTR_MEANING));
}

/* What no field covers is shorter than the alignment: no field is missing. */
static void every_byte_is_a_field_or_padding(void **state)
{
    (void)state;
    for (int p = 0; p < PRIM_COUNT; p++) {
        uint8_t zero[sizeof(contract_attr)] = { 0 }, one[sizeof(contract_attr)] = { 0 };
        size_t gap = 0;
        for (size_t i = 0; i < attr_bytes((prim)p); i++) {
            one[i] = 1;
            gap = attr_same((prim)p, zero, one, ATTR_ALL) ? gap + 1 : 0;
            one[i] = 0;
            assert_in_range(gap, 0, 7);
        }
    }
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        dlc_context *c = context_new();
        size_t live = c->mem.live;
        c->mem.fail_at = c->mem.n_allocs + n;
        bool done = build_something(c);
        assert_int_equal(c->mem.live, live);
        context_free(c);
        if (done) return;
    }
}

static void a_million_nodes(void **state)
{
    (void)state;
    value x = in("f32[64]");
    dim one = K(1);
    for (int i = 0; i < 300000; i++) {
        float k = (float)i;
        value c = constant(g, DTYPE_f32, 1, &one, &k, NULL);
        x = map(g, SCALAR_add, 2, (value[]){ x, map(g, SCALAR_mul, 2, (value[]){ x, c }) });
    }
    add_result(g, x, NULL);
    assert_true(n_nodes(g) > 890000);
    assert_true(n_nodes(graph_compact(g)) > 890000);
    assert_true(ctx->mem.peak < (size_t)1 << 30);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(types), test(narrowed_symbol), test(messages), test(equal_nodes_are_one),
        test(attributes_are_compared_by_fields), test(every_byte_is_a_field_or_padding), test(scans),
        test(every_allocation_can_fail), test(a_million_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
