/* test_graph_verify: for each rule of ir/graph_verify.c a graph that breaks it (made by hand, past the
 * builder), and the rule that is reported. */
#include "tests/support/bench.h"
#include "ir/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char source[] =
    "graph @g(%x: f32[4, 8], %y: f32[4, 8], %p: bool[]) {\n"
    "  %a = map add %x, %y : f32[4, 8]\n"
    "  %r = reduce max %a, [1] : f32[4]\n"
    "  %c = const [1, 2, 3] : f32[3]\n"
    "  %b = const [true, false] : bool[2]\n"
    "  %t = cond %p, %a : f32[4, 8] then(%u: f32[4, 8]) {\n"
    "    %0 = map neg %u : f32[4, 8]\n"
    "    return %0\n"
    "  } else(%u: f32[4, 8]) { return %u }\n"
    "  %k = kernel map %a : f32[4, 8] body(%v: f32[4, 8]) {\n"
    "    %0 = map relu %v : f32[4, 8]\n"
    "    return %0\n"
    "  }\n"
    "  return %r, %c, %b, %t, %k\n"
    "}\n";

typedef struct { bench b; graph *g; } fixture;

static fixture fresh(void)
{
    fixture f = { .b = bench_new() };
    f.g = bench_graph(&f.b, source);
    assert_non_null(f.g);
    return f;
}

static node *find(graph *g, prim p)
{
    for (int64_t i = 1; i < n_nodes(g); i++)
        if (g->nodes.at[i].prim == p) return &g->nodes.at[i];
    return NULL;
}

/* An attribute of its own for the node, to be changed. */
static void *own(fixture *f, node *n, size_t size)
{
    void *a = arena_copy(f->b.a, n->attr, size);
    n->attr = a;
    return a;
}

static void expect(fixture *f, int rule)
{
    assert_false(graph_verify(f->g, "test"));
    char want[40];
    snprintf(want, sizeof want, "test: rule %d of the graph", rule);
    bool found = false;
    for (int64_t i = 0; i < f->b.ctx->diags.n; i++)
        found |= strstr(f->b.ctx->diags.at[i].message, want) != NULL;
    if (!found) bench_messages(&f->b);
    assert_true(found);
    bench_free(&f->b);
}

static void a_good_graph(void **state)
{
    (void)state;
    fixture f = fresh();
    assert_true(graph_verify(f.g, "test"));
    assert_int_equal(f.b.ctx->n_errors, 0);
    bench_free(&f.b);
}

static void values(void **state)
{
    (void)state;
    fixture f = fresh();
    f.g->owner.at[2]++;
    expect(&f, 1);
    f = fresh();
    find(f.g, PRIM_map)->first++;
    expect(&f, 1);
    f = fresh();
    f.g->names.n--;
    expect(&f, 1);
}

static void order(void **state)
{
    (void)state;
    fixture f = fresh();
    node *n = find(f.g, PRIM_map);
    value *in = arena_copy(f.b.a, n->in, sizeof *in * 2);
    in[1] = result_of(n, 0);
    n->in = in;
    expect(&f, 2);
    f = fresh();
    n = find(f.g, PRIM_map);
    in = arena_copy(f.b.a, n->in, sizeof *in * 2);
    in[0] = NO_VALUE;
    n->in = in;
    expect(&f, 2);
}

static void arity(void **state)
{
    (void)state;
    fixture f = fresh();
    find(f.g, PRIM_map)->n_in = 1;
    expect(&f, 3);
}

static void inputs(void **state)
{
    (void)state;
    fixture f = fresh();
    f.g->inputs.n--;
    expect(&f, 4);
    f = fresh();
    value x = f.g->inputs.at[0];
    f.g->inputs.at[0] = f.g->inputs.at[1];
    f.g->inputs.at[1] = x;
    expect(&f, 4);
}

static void results(void **state)
{
    (void)state;
    fixture f = fresh();
    f.g->results.at[0].id = 1000;
    expect(&f, 5);
    f = fresh();
    f.g->result_names.n--;
    expect(&f, 5);
}

static void types(void **state)
{
    (void)state;
    fixture f = fresh();
    type *t = NEW(f.b.a, type);
    *t = (type){ DTYPE_f32, MAX_RANK + 1, NULL };
    find(f.g, PRIM_reduce)->types = t;
    expect(&f, 6);
    f = fresh();
    t = NEW(f.b.a, type);
    dim *d = NEW(f.b.a, dim);
    *d = DIM_BAD;
    *t = (type){ DTYPE_f32, 1, d };
    find(f.g, PRIM_reduce)->types = t;
    expect(&f, 6);
}

static void constants(void **state)
{
    (void)state;
    fixture f = fresh();
    node *n = find(f.g, PRIM_const);
    ((const_attr *)own(&f, n, sizeof(const_attr)))->n = 4;
    expect(&f, 7);
    f = fresh();
    n = find(f.g, PRIM_const);
    ((const_attr *)own(&f, n, sizeof(const_attr)))->bytes = NULL;
    expect(&f, 7);
    f = fresh();
    n = find(f.g, PRIM_const) + 1;
    uint8_t *two = arena_alloc(f.b.a, 2);
    two[1] = 2;
    ((const_attr *)own(&f, n, sizeof(const_attr)))->bytes = two;
    expect(&f, 7);
}

static void tables(void **state)
{
    (void)state;
    fixture f = fresh();
    ((map_attr *)own(&f, find(f.g, PRIM_map), sizeof(map_attr)))->fn = SCALAR_COUNT;
    expect(&f, 8);
    f = fresh();
    find(f.g, PRIM_map)->prim = PRIM_COUNT;
    expect(&f, 8);
}

static void inference(void **state)
{
    (void)state;
    fixture f = fresh();
    ((reduce_attr *)own(&f, find(f.g, PRIM_reduce), sizeof(reduce_attr)))->axes = 1;      /* gives f32[8] */
    expect(&f, 9);
    f = fresh();
    ((reduce_attr *)own(&f, find(f.g, PRIM_reduce), sizeof(reduce_attr)))->axes = 4;      /* no such axis */
    expect(&f, 9);
    f = fresh();
    ((map_attr *)own(&f, find(f.g, PRIM_map), sizeof(map_attr)))->fn = SCALAR_and;        /* floats */
    expect(&f, 9);
    f = fresh();
    cond_attr *c = own(&f, find(f.g, PRIM_cond), sizeof(cond_attr));              /* bodies of other inputs */
    value u = c->then_body->inputs.at[0];
    type *t = NEW(f.b.a, type);
    *t = (type){ DTYPE_f32, 0, NULL };
    c->then_body->nodes.at[c->then_body->owner.at[u.id]].types = t;
    expect(&f, 9);
}

static void bodies(void **state)
{
    (void)state;
    fixture f = fresh();
    ((cond_attr *)own(&f, find(f.g, PRIM_cond), sizeof(cond_attr)))->else_body = NULL;
    expect(&f, 10);
    f = fresh();
    find(find(f.g, PRIM_cond)->cond->then_body, PRIM_map)->n_in = 0;                /* a rule broken inside */
    expect(&f, 3);
}

static void kernels(void **state)
{
    (void)state;
    fixture f = fresh();
    kernel_attr *k = own(&f, find(f.g, PRIM_kernel), sizeof(kernel_attr));
    graph *inner = f.g;
    k->body = graph_body(f.g, "outer");
    value x = input(k->body, NULL, DTYPE_f32, 2, (dim[]){ dim_const(4), dim_const(8) }), out;
    graph *body = find(inner, PRIM_cond)->cond->then_body;
    assert_true(kernel(k->body, ANCHOR_map, body, 1, &x, &out));
    add_result(k->body, out, NULL);
    expect(&f, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_graph), cmocka_unit_test(values), cmocka_unit_test(order),
        cmocka_unit_test(arity),
        cmocka_unit_test(inputs), cmocka_unit_test(results), cmocka_unit_test(types),
        cmocka_unit_test(constants),
        cmocka_unit_test(tables), cmocka_unit_test(inference), cmocka_unit_test(bodies),
        cmocka_unit_test(kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
