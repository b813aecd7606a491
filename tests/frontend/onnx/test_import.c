/* test_import: models written by hand, from bytes to the text of their graph, or to the diagnostic that
 * refuses them. */
#include "frontend/onnx/onnx.h"
#include "frontend/onnx/op.h"
#include "frontend/onnx/standard.h"
#include "tests/frontend/onnx/proto.h"
#include "tests/support/fixture.h"
#undef in
#undef out
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* -- Writing models: "op in in -> out out" with attributes appended -------------------------------------- */

enum { F32 = 1, I64 = 7, BOOL = 9 };

static void put_names(text *t, unsigned field, const char *names)
{
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        pb_bytes(t, field, *p == '_' ? "" : p, *p == '_' ? 0 : n);
        p += n + (p[n] == ' ');
    }
}

static text node_of_op(fixture *f, const char *op, const char *ins, const char *outs)
{
    text t = fixture_text(f);
    put_names(&t, 1, ins);
    put_names(&t, 2, outs);
    pb_str(&t, 4, op);
    return t;
}

static void attr_int_of(fixture *f, text *to, const char *name, int64_t v)
{
    text a = fixture_text(f);
    pb_str(&a, 1, name);
    pb_int(&a, 3, (uint64_t)v);
    pb_int(&a, 20, 2);
    pb_msg(to, 5, &a);
}

static void attr_graph_of(fixture *f, text *to, const char *name, const text *g)
{
    text a = fixture_text(f);
    pb_str(&a, 1, name);
    pb_msg(&a, 6, g);
    pb_int(&a, 20, 5);
    pb_msg(to, 5, &a);
}

/* "x 2 N" -> name and dims; a word is a symbol, "?" an open dim without a name. */
static text value_info(fixture *f, int code, const char *spec)
{
    text shape = fixture_text(f), declared = fixture_text(f), t = fixture_text(f), v = fixture_text(f);
    size_t n = strcspn(spec, " ");
    pb_bytes(&v, 1, spec, n);
    for (const char *p = spec + n; *p;) {
        text d = fixture_text(f);
        p++;
        size_t k = strcspn(p, " ");
        if (*p >= '0' && *p <= '9') pb_int(&d, 1, strtoull(p, NULL, 10));
        else if (*p != '?') pb_bytes(&d, 2, p, k);
        pb_msg(&shape, 1, &d);
        p += k;
    }
    pb_int(&declared, 1, (uint64_t)code);
    pb_msg(&declared, 2, &shape);
    pb_msg(&t, 1, &declared);
    pb_msg(&v, 2, &t);
    return v;
}

static void put_value(fixture *f, text *g, unsigned field, int code, const char *spec)
{
    text v = value_info(f, code, spec);
    pb_msg(g, field, &v);
}

static void put_in(fixture *f, text *g, int code, const char *spec) { put_value(f, g, 11, code, spec); }
static void put_out(fixture *f, text *g, int code, const char *spec) { put_value(f, g, 12, code, spec); }

static text model_of(fixture *f, const text *g, int64_t opset)
{
    text m = fixture_text(f), o = fixture_text(f);
    pb_int(&m, 1, 8);
    pb_msg(&m, 7, g);
    pb_str(&o, 1, "");
    pb_int(&o, 2, (uint64_t)opset);
    pb_msg(&m, 8, &o);
    return m;
}

/* -- Importing ------------------------------------------------------------------------------------------- */

static graph *import_with(fixture *f, const text *m, const onnx_options *o, dlc_status want)
{
    graph *g;
    context_clear_diags(f->ctx);
    dlc_status s = onnx_import_bytes(f->ctx, f->a, "t.onnx", pb_done(m), o, &g);
    if (s != want && f->ctx->diags.n) {
        text t = fixture_text(f);
        diag_format(&t, &f->ctx->diags.at[0]);
        print_error("%s\n", text_str(&t));
    }
    assert_int_equal(s, want);
    assert_true((g != NULL) == (s == DLC_OK));
    if (g) assert_true(graph_verify(g, "after import"));
    return g;
}

static graph *import(fixture *f, const text *m) { return import_with(f, m, NULL, DLC_OK); }

static const char *shown(fixture *f, graph *g)
{
    text t = fixture_text(f);
    graph_print(graph_compact(g), &t);
    return text_str(&t);
}

static void refused(fixture *f, const text *m, dlc_status want, const char *id, const char *part)
{
    import_with(f, m, NULL, want);
    text t = fixture_text(f);
    diag_format(&t, &f->ctx->diags.at[0]);
    assert_string_equal(f->ctx->diags.at[0].id, id);
    if (!strstr(text_str(&t), part)) fail_msg("\"%s\" lacks \"%s\"", text_str(&t), part);
}

/* One node over x: f32[2, N], y out. */
static text unary_model(fixture *f, const char *op, int64_t opset)
{
    text g = fixture_text(f), n = node_of_op(f, op, "x", "y");
    pb_str(&g, 2, "g");
    pb_msg(&g, 1, &n);
    put_in(f, &g, F32, "x 2 N");
    put_out(f, &g, F32, "y 2 N");
    return model_of(f, &g, opset);
}

/* -- Dimensions and options ------------------------------------------------------------------------------ */

static void dims_stay_open(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Neg", 13);
    assert_string_equal(
        shown(f, import(f, &m)),
        "symbol N in 0..1000000000\ngraph @g(%x: f32[2, N]) {\n  %y = map neg %x : f32[2, N]\n"
        "  return %y as y\n}\n");
}

static void dims_are_fixed(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Neg", 13);
    onnx_dim_option d[] = { { .name = "N", .lo = 8, .hi = 8 } };
    onnx_options o = { .n_dims = 1, .dims = d };
    graph *g = import_with(f, &m, &o, DLC_OK);
    assert_true(dim_is(type_of(g, g->inputs.at[0]).dims[1], 8));
}

static void dims_are_bounded(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Neg", 13);
    onnx_dim_option d[] = { { .name = "N", .lo = 1, .hi = 64 } };
    onnx_options o = { .n_dims = 1, .dims = d };
    graph *g = import_with(f, &m, &o, DLC_OK);
    int64_t lo, hi;
    dim_range(g->dims, type_of(g, g->inputs.at[0]).dims[1], &lo, &hi);
    assert_int_equal(lo, 1);
    assert_int_equal(hi, 64);
}

/* N is 8*"N/8", so that halves of halves are whole. */
static void dims_are_multiples(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Neg", 13);
    onnx_dim_option d[] = { { .name = "N", .lo = 9, .hi = 66, .step = 8 } };
    onnx_options o = { .n_dims = 1, .dims = d };
    graph *g = import_with(f, &m, &o, DLC_OK);
    dim n = type_of(g, g->inputs.at[0]).dims[1];
    int64_t lo, hi;
    dim_range(g->dims, n, &lo, &hi);
    assert_int_equal(lo, 16);
    assert_int_equal(hi, 64);
    assert_true(dim_divides(g->dims, n, 8));
    d[0] = (onnx_dim_option){ .name = "N", .lo = 9, .hi = 15, .step = 8 };
    import_with(f, &m, &o, DLC_ERR_INPUT);
    assert_non_null(strstr(f->ctx->diags.at[0].message, "leaves no size"));
}

static void unknown_dim_is_an_error(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Neg", 13);
    onnx_dim_option d[] = { { .name = "M", .lo = 8, .hi = 8 } };
    onnx_options o = { .n_dims = 1, .dims = d };
    import_with(f, &m, &o, DLC_ERR_INPUT);
    assert_non_null(strstr(f->ctx->diags.at[0].message, "it has N"));
}

static text reshape_model(fixture *f)
{
    text g = fixture_text(f), n = node_of_op(f, "Reshape", "x s", "y");
    pb_str(&g, 2, "g");
    pb_msg(&g, 1, &n);
    put_in(f, &g, F32, "x 2 3");
    put_in(f, &g, I64, "s 2");
    put_out(f, &g, F32, "y ? ?");
    return model_of(f, &g, 14);
}

static void structural_input_must_be_bound(void **state)
{
    fixture *f = *state;
    text m = reshape_model(f);
    refused(f, &m, DLC_ERR_UNSUPPORTED, "onnx_not_known", "\"s\"");
    onnx_bind_option b[] = { { "s", "3,2" } };
    onnx_options o = { .n_binds = 1, .binds = b };
    graph *g = import_with(f, &m, &o, DLC_OK);
    assert_int_equal(g->inputs.n, 1);
    assert_true(dim_is(type_of(g, g->results.at[0]).dims[0], 3));
    b[0].values = "3,2,1";
    import_with(f, &m, &o, DLC_ERR_INPUT);
    b[0].values = "3,x";
    import_with(f, &m, &o, DLC_ERR_INPUT);
}

static void offers_are_taken_where_needed(void **state)
{
    fixture *f = *state;
    text m = reshape_model(f);
    static const float x[6] = { 0 };
    static const int64_t s[2] = { 6, 1 };
    onnx_tensor offers[2] = {
        { .dtype = DTYPE_f32, .rank = 2, .dims = { 2, 3 }, .n = 6, .bytes = x },
        { .dtype = DTYPE_i64, .rank = 1, .dims = { 2 }, .n = 2, .bytes = s }
    };
    bool taken[2] = { false, false };
    onnx_options o = { .n_offers = 2, .offers = offers, .is_offer_taken = taken };
    graph *g = import_with(f, &m, &o, DLC_OK);
    assert_false(taken[0]);
    assert_true(taken[1]);
    assert_int_equal(f->ctx->diags.n, 0);
    assert_true(dim_is(type_of(g, g->results.at[0]).dims[0], 6));
}

/* -- Operators ------------------------------------------------------------------------------------------- */

static void missing_operators_are_listed(void **state)
{
    fixture *f = *state;
    text g = fixture_text(f), a = node_of_op(f, "Foo", "x", "a"), b = node_of_op(f, "Bar", "a", "b"),
         c = node_of_op(f, "Foo", "b", "y");
    pb_str(&a, 3, "first");
    pb_msg(&g, 1, &a);
    pb_msg(&g, 1, &b);
    pb_msg(&g, 1, &c);
    put_in(f, &g, F32, "x 2");
    put_out(f, &g, F32, "y 2");
    text m = model_of(f, &g, 17);
    refused(f, &m, DLC_ERR_UNSUPPORTED, "onnx_ops_missing", "\"first\", \"y\"");
    assert_int_equal(f->ctx->diags.n, 2);
}

static void signatures_are_checked(void **state)
{
    fixture *f = *state;
    static const struct { const char *op, *ins, *part; } bad[] = {
        { "Relu", "x x", "takes 1 input, found 2" },
        { "Add", "x", "takes 2 inputs, found 1" },
        { "Add", "x _", "input 1 is required" },
        { "Concat", "x", "\"axis\" must be given" },
        { "Cast", "x", "\"to\" must be given" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text g = fixture_text(f), n = node_of_op(f, bad[i].op, bad[i].ins, "y");
        pb_msg(&g, 1, &n);
        put_in(f, &g, F32, "x 2");
        put_out(f, &g, F32, "y 2");
        text m = model_of(f, &g, 17);
        refused(f, &m, DLC_ERR_INPUT, "onnx_node", bad[i].part);
    }
}

static void old_and_new_versions(void **state)
{
    fixture *f = *state;
    text m = unary_model(f, "Gelu", 19);
    refused(f, &m, DLC_ERR_UNSUPPORTED, "onnx_ops_missing", "is not in opset 19");
    m = unary_model(f, "Relu", 99);
    refused(f, &m, DLC_ERR_UNSUPPORTED, "onnx_opset", "99");
}

static void declared_types_are_checked(void **state)
{
    fixture *f = *state;
    text g = fixture_text(f), n = node_of_op(f, "Relu", "x", "y");
    pb_msg(&g, 1, &n);
    put_in(f, &g, F32, "x 2 3");
    put_out(f, &g, F32, "y 7");
    text m = model_of(f, &g, 17);
    refused(f, &m, DLC_ERR_INPUT, "onnx_type", "is declared float[7], but is f32[2, 3]");
}

static void references_outside_functions_are_refused(void **state)
{
    fixture *f = *state;
    text g = fixture_text(f), n = node_of_op(f, "Softmax", "x", "y"), a = fixture_text(f);
    pb_str(&a, 1, "axis");
    pb_int(&a, 20, 2);
    pb_str(&a, 21, "k");
    pb_msg(&n, 5, &a);
    pb_msg(&g, 1, &n);
    put_in(f, &g, F32, "x 2 3");
    put_out(f, &g, F32, "y 2 3");
    text m = model_of(f, &g, 17);
    refused(f, &m, DLC_ERR_INPUT, "onnx_attr", "refers to an attribute of a function");
}

/* -- Functions ------------------------------------------------------------------------------------------- */

/* f(a; axis) = Neg(Softmax(a, axis=axis)); the main graph calls it with axis 0. */
static text function_model(fixture *f, bool gives_axis)
{
    text fn = fixture_text(f), s = node_of_op(f, "Softmax", "a", "t"), ref = fixture_text(f),
         n = node_of_op(f, "Neg", "t", "r"), o = fixture_text(f);
    pb_str(&ref, 1, "axis");
    pb_int(&ref, 20, 2);
    pb_str(&ref, 21, "k");
    pb_msg(&s, 5, &ref);
    pb_str(&fn, 1, "Fun");
    pb_str(&fn, 4, "a");
    pb_str(&fn, 5, "r");
    pb_str(&fn, 6, "k");
    pb_msg(&fn, 7, &s);
    pb_msg(&fn, 7, &n);
    pb_str(&o, 1, "");
    pb_int(&o, 2, 17);
    pb_msg(&fn, 9, &o);
    pb_str(&fn, 10, "my");

    text g = fixture_text(f), call = node_of_op(f, "Fun", "x", "y"), my = fixture_text(f);
    pb_str(&call, 3, "call");
    pb_str(&call, 7, "my");
    if (gives_axis) attr_int_of(f, &call, "k", 0);
    pb_str(&g, 2, "g");
    pb_msg(&g, 1, &call);
    put_in(f, &g, F32, "x 2 3");
    put_out(f, &g, F32, "y 2 3");
    text m = model_of(f, &g, 17);
    pb_str(&my, 1, "my");
    pb_int(&my, 2, 1);
    pb_msg(&m, 8, &my);
    pb_msg(&m, 25, &fn);
    return m;
}

static void functions_are_expanded(void **state)
{
    fixture *f = *state;
    text m = function_model(f, true);
    graph *g = import(f, &m);
    assert_non_null(strstr(shown(f, g), "reduce max"));
    bool is_named = false;
    for (int64_t i = 1; i < n_nodes(g); i++)
        is_named |= g->nodes.at[i].at && g->nodes.at[i].at->node &&
                    strcmp(g->nodes.at[i].at->node, "call/t") == 0;
    assert_true(is_named);
}

static void function_attributes_must_be_given(void **state)
{
    fixture *f = *state;
    text m = function_model(f, false);
    refused(f, &m, DLC_ERR_INPUT, "onnx_node", "attribute \"k\" must be given");
}

/* -- Bodies ---------------------------------------------------------------------------------------------- */

/* if c then Neg(x) else Abs(x), x from outside. */
static text if_model(fixture *f, const char *inner)
{
    text g = fixture_text(f), a = fixture_text(f), b = fixture_text(f), n = node_of_op(f, "Neg", inner, "p"),
         k = node_of_op(f, "Abs", "x", "q");
    pb_msg(&a, 1, &n);
    put_out(f, &a, F32, "p 2");
    pb_msg(&b, 1, &k);
    put_out(f, &b, F32, "q 2");
    text i = node_of_op(f, "If", "c", "y");
    attr_graph_of(f, &i, "then_branch", &a);
    attr_graph_of(f, &i, "else_branch", &b);
    pb_str(&g, 2, "g");
    pb_msg(&g, 1, &i);
    put_in(f, &g, F32, "x 2");
    put_in(f, &g, BOOL, "c");
    put_out(f, &g, F32, "y 2");
    return model_of(f, &g, 17);
}

static void bodies_capture(void **state)
{
    fixture *f = *state;
    text m = if_model(f, "x");
    graph *g = import(f, &m);
    const node *n = node_of(g, g->results.at[0]);
    assert_int_equal(n->prim, PRIM_cond);
    assert_int_equal(n->n_in, 2);
    assert_true(same_value(n->in[1], g->inputs.at[0]));
}

static void bodies_do_not_leak(void **state)
{
    fixture *f = *state;
    text m = if_model(f, "q");
    refused(f, &m, DLC_ERR_INPUT, "onnx_undefined", "reads \"q\"");
}

/* -- Names ----------------------------------------------------------------------------------------------- */

static void names_are_checked(void **state)
{
    fixture *f = *state;
    static const struct { const char *ins[2], *outs[2], *id, *part; } bad[] = {
        { { "x", "x" }, { "y", "y" }, "onnx_duplicate", "already a node's output" },
        { { "x", "a" }, { "x", "y" }, "onnx_duplicate", "already a graph input" },
        { { "y", "x" }, { "a", "y" }, "onnx_undefined", "only a later node computes" },
        { { "x", "y" }, { "a", "y" }, "onnx_undefined", "it computes itself" },
        { { "x", "lost\n\x1b[2J" }, { "a", "y" }, "onnx_undefined", "lost\\x0a\\x1b[2J" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text g = fixture_text(f);
        for (int k = 0; k < 2; k++) {
            text n = fixture_text(f);
            pb_str(&n, 1, bad[i].ins[k]);
            pb_str(&n, 2, bad[i].outs[k]);
            pb_str(&n, 4, "Neg");
            pb_msg(&g, 1, &n);
        }
        put_in(f, &g, F32, "x 2");
        put_out(f, &g, F32, "y 2");
        text m = model_of(f, &g, 17);
        refused(f, &m, DLC_ERR_INPUT, bad[i].id, bad[i].part);
    }
}

/* -- Memory ---------------------------------------------------------------------------------------------- */

/* Each allocation fails once: an error each time, nothing left. */
static void every_allocation_may_fail(void **state)
{
    fixture *f = *state;
    text m = if_model(f, "x");
    uint64_t n = 1;
    for (bool is_done = false; !is_done; n++) {
        dlc_context *ctx = context_new();
        size_t before = ctx->mem.live;
        ctx->mem.fail_at = ctx->mem.n_allocs + n;
        mem_frame frame;
        if (mem_try(&ctx->mem, &frame)) {
            arena *a = arena_new(&ctx->mem);
            graph *g;
            dlc_status st = onnx_import_bytes(ctx, a, "t.onnx", pb_done(&m), NULL, &g);
            is_done = st == DLC_OK;
            arena_free(a);
            mem_end(&ctx->mem, &frame);
        }
        assert_true(ctx->mem.live - before < 100000);
        assert_true(ctx->mem.arenas == ctx->arena);
        context_free(ctx);
        assert_true(n < 100000);
    }
    assert_true(n > 50);
}

/* -- The tables ------------------------------------------------------------------------------------------ */

/* Rows name operators and versions of the standard (for its domains), ascending, once each. */
static void rows_follow_the_standard(void **state)
{
    (void)state;
    for (const op_row *r = onnx_ops; r->name; r++) {
        assert_true(onnx_op_find(r->domain, r->name) == r);
        for (int i = 0; i < r->n_versions; i++) {
            const standard_row *any, *s = standard_find(r->domain, r->name, r->versions[i], &any);
            if (i > 0 && r->versions[i] <= r->versions[i - 1])
                fail_msg("%s: versions do not ascend", r->name);
            if (strcmp(r->domain, "com.microsoft") == 0) continue;
            if (!s || s->since != r->versions[i])
                fail_msg("%s: %d is no version of the standard", r->name, r->versions[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(dims_stay_open), FIXTURE_TEST(dims_are_fixed), FIXTURE_TEST(dims_are_bounded),
        FIXTURE_TEST(dims_are_multiples), FIXTURE_TEST(unknown_dim_is_an_error),
        FIXTURE_TEST(structural_input_must_be_bound), FIXTURE_TEST(offers_are_taken_where_needed),
        FIXTURE_TEST(missing_operators_are_listed), FIXTURE_TEST(signatures_are_checked),
        FIXTURE_TEST(old_and_new_versions),
        FIXTURE_TEST(declared_types_are_checked), FIXTURE_TEST(references_outside_functions_are_refused),
        FIXTURE_TEST(functions_are_expanded), FIXTURE_TEST(function_attributes_must_be_given),
        FIXTURE_TEST(bodies_capture), FIXTURE_TEST(bodies_do_not_leak), FIXTURE_TEST(names_are_checked),
        FIXTURE_TEST(every_allocation_may_fail), cmocka_unit_test(rows_follow_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
