/* test_torch: the first 50 losses of small networks, under five optimizers each, against PyTorch's from the
 * same weights and batches (golden.txt, by make_golden.py, where their hash is defined): within 1e-4 of each
 * loss
 */
#include "include/dlc/dlc.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { STEPS = 50, BATCHES = 5, MAX_ELEMENTS = 4096 };

static uint32_t start_of(const char *name)
{
    uint32_t h = 0x811C9DC5u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x01000193u;
    return h;
}

static uint32_t bits_of(uint32_t start, uint32_t i)
{
    uint32_t x = start + i * 0x9E3779B9u;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    return (x ^ x >> 16) >> 8;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static size_t elements_of(const dlc_tensor *t)
{
    size_t n = 1;
    for (int k = 0; k < t->rank; k++) n *= (size_t)t->dims[k];
    return n;
}

static void set_floats(const dlc_tensor *t, const char *name, double scale, double base)
{
    float *x = t->data;
    uint32_t start = start_of(name);
    for (size_t i = 0; i < elements_of(t); i++)
        x[i] = (float)(base + scale * (bits_of(start, (uint32_t)i) / 8388608.0 - 1));
}

static void set_weights(dlc_step *s)
{
    for (size_t i = 0; i < dlc_step_n_variables(s); i++) {
        const char *path = dlc_step_variable_name(s, i);
        dlc_tensor t = dlc_step_variable(s, i);
        if (strncmp(path, "Net.", 4) != 0 || strstr(path, ".running_")) continue;
        if (ends_with(path, ".gain")) set_floats(&t, path, 0.1, 1);
        else set_floats(&t, path, t.rank > 1 ? 0.4 : 0.1, 0);
    }
}

static int32_t memory[2][BATCHES][MAX_ELEMENTS];

/* Input i (x, then y) of batch b. */
static dlc_tensor batch_of(const dlc_step *s, size_t i, int b, uint32_t classes)
{
    dlc_tensor t = dlc_step_input(s, i);
    char name[16];
    snprintf(name, sizeof name, "%c%d", i ? 'y' : 'x', b);
    assert_true(elements_of(&t) <= MAX_ELEMENTS);
    t.data = memory[i][b];
    if (t.dtype == DLC_F32) set_floats(&t, name, 1.5, 0);
    else
        for (size_t k = 0; k < elements_of(&t); k++)
            memory[i][b][k] = (int32_t)(bits_of(start_of(name), (uint32_t)k) % classes);
    return t;
}

/* One line of golden.txt; the largest relative difference. */
static double compare(dlc_context *ctx, const char *net, const char *optimizer, const double *golden)
{
    char path[64];
    dlc_step *s;
    dlc_tensor batches[2 * STEPS];
    double losses[STEPS], worst = 0;
    snprintf(path, sizeof path, "tests/train/%s.dl", net);
    dlc_status st = dlc_step_open(ctx, path, optimizer, NULL, &s);
    if (st == DLC_ERR_UNSUPPORTED) skip();                                /* built without LLVM */
    if (st != DLC_OK) fail_msg("%s", dlc_diag_text(ctx, 0));
    assert_int_equal(dlc_step_n_inputs(s), 2);
    set_weights(s);
    uint32_t classes = strcmp(net, "transformer") == 0 ? 17 : 5;
    for (int k = 0; k < STEPS; k++)
        for (size_t i = 0; i < 2; i++) batches[2 * k + (int)i] = batch_of(s, i, k % BATCHES, classes);
    assert_int_equal(dlc_step_run(ctx, s, batches, STEPS, losses, NULL), DLC_OK);
    for (int k = 0; k < STEPS; k++) {
        double d = fabs(losses[k] - golden[k]) / fabs(golden[k]);
        if (!(d <= worst)) worst = d;
    }
    dlc_step_close(s);
    return worst;
}

static void curves(void **state)
{
    (void)state;
    dlc_context *ctx = dlc_context_create();
    FILE *f = fopen("tests/train/golden.txt", "r");
    static char line[4096];
    int n = 0, bad = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char net[16], optimizer[16], *p = line;
        double golden[STEPS];
        int used;
        if (*p == '#') continue;
        assert_int_equal(sscanf(p, "%15s %15s%n", net, optimizer, &used), 2);
        p += used;
        for (int k = 0; k < STEPS; k++) golden[k] = strtod(p, &p);
        double d = compare(ctx, net, optimizer, golden);
        fprintf(stderr, "%-12s %-8s largest relative difference %.1e, last loss %.4g\n", net, optimizer, d,
                golden[STEPS - 1]);
        bad += !(d <= 1e-4);
        n++;
    }
    fclose(f);
    dlc_context_destroy(ctx);
    assert_int_equal(n, 25);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(curves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
