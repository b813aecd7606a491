/* test_grad_prims: the gradient of every primitive (tests/grad/primitives.graphs) against central
 * differences, first and second order; and that every primitive has a graph there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "tests/grad/grad_check.h"

static char *read_all(void)
{
    FILE *f = fopen("tests/grad/primitives.graphs", "rb");
    assert_non_null(f);
    char *s = calloc(1, 1 << 20);
    assert_true(fread(s, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return s;
}

static void every_graph(void **state)
{
    (void)state;
    char *s = read_all(), *at = strstr(s, "## ");
    const char *only = getenv("GRAD_ONLY");
    grad_counts c = { 0 };
    int n = 0;
    while (at) {
        char *next = strstr(at + 3, "\n## "), *name = at + 3, *line = strchr(name, '\n');
        if (next) next[0] = '\0';
        *line = '\0';
        if (!only || strstr(name, only)) grad_check_text(name, line + 1, 5, true, &c);
        n++;
        at = next ? next + 1 : NULL;
    }
    print_message("%d graphs, %d derivatives, worst error %.2g\n", n, c.n_checked, c.worst);
    free(s);
    assert_int_equal(c.n_failed, 0);
}

/* The text of each primitive stands in some graph ("%x = scan …"). */
static void every_primitive(void **state)
{
    (void)state;
    char *s = read_all(), word[64];
    for (int p = 0; p < PRIM_COUNT; p++) {
        if (p == PRIM_input || p == PRIM_kernel || p == PRIM_iota || p == PRIM_bitcast) continue;
        snprintf(word, sizeof word, "= %s ", prim_info[p].name);
        if (!strstr(s, word)) fail_msg("no graph has %s", prim_info[p].name);
    }
    for (int k = 0; k < REDUCE_COUNT; k++) {
        snprintf(word, sizeof word, "= reduce %s", reduce_name[k]);
        if (k != REDUCE_argmin && !strstr(s, word)) fail_msg("no graph has %s", word);
    }
    for (int k = 0; k < SCATTER_COUNT; k++) {
        snprintf(word, sizeof word, "= scatter %s", scatter_name[k]);
        if (!strstr(s, word)) fail_msg("no graph has %s", word);
    }
    for (int k = 0; k < WINDOW_argmax; k++) {
        snprintf(word, sizeof word, "= window %s", window_name[k]);
        if (!strstr(s, word)) fail_msg("no graph has %s", word);
    }
    free(s);
}

/* x -> f8 -> f32 has the derivative of a cast, though it is made of integer arithmetic. */
static void storage_formats(void **state)
{
    (void)state;
    int n = 0;
    for (int t = DTYPE_NONE + 1; t < DTYPE_COUNT; t++) {
        if (!is_storage((dtype)t) || t == DTYPE_i4 || t == DTYPE_u4 || t == DTYPE_i2 || t == DTYPE_u2)
            continue;
        for (int saturate = 0; saturate < 2; saturate++, n++) {
            bench b = bench_new();
            graph *g = graph_new(b.ctx, b.a, dims_new(b.ctx, b.a), "storage");
            value x = input(g, "x", DTYPE_f32, 1, (dim[]){ dim_const(3) }), d;
            value y = build_cast(g, build_cast(g, x, (dtype)t, saturate, "up"), DTYPE_f32, true, "up");
            assert_true(grad(g, mul(g, y, y), 1, &x, &d));
            assert_true(same_value(d, add(g, y, y)));
            bench_free(&b);
        }
    }
    print_message("%d casts to storage formats\n", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_graph), cmocka_unit_test(every_primitive),
                                        cmocka_unit_test(storage_formats) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
