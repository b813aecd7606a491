/* run: runs a model once and prints its outputs, or writes them to a file */
#include "cli/cli.h"
#include <math.h>

enum { PRINT_ALL = 64, PRINT_SOME = 8 };

static void print_element(const tensor *t, int64_t i)
{
    if (is_int(t->dtype) || t->dtype == DTYPE_bool) printf("%lld", (long long)tensor_i64(t, i));
    else printf("%.*g", t->dtype == DTYPE_f64 ? 17 : 9, tensor_f64(t, i));
}

/* All elements of small tensors; of others the first, with extremes and mean, and the largest of a row of
 * scores. */
static void print_tensor(const char *name, const tensor *t)
{
    printf("%s: %s[", *name ? name : "output", dtype_info[t->dtype].name);
    for (int i = 0; i < t->rank; i++) printf("%s%lld", i ? ", " : "", (long long)t->dims[i]);
    int64_t n = tensor_n(t), last = t->rank ? t->dims[t->rank - 1] : 1,
            shown = n <= PRINT_ALL ? n : PRINT_SOME;
    printf("]\n");
    for (int64_t i = 0; i < shown; i++) {
        printf(i % (last ? last : 1) == 0 || n > PRINT_ALL ? i == 0          ? "  "
                                                             : n > PRINT_ALL ? " "
                                                                             : "\n  "
                                                           : " ");
        print_element(t, i);
    }
    if (n <= PRINT_ALL) {
        printf("%s", n ? "\n" : "");
        return;
    }
    double lo = INFINITY, hi = -INFINITY, sum = 0;
    int64_t best = 0, n_nan = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = tensor_f64(t, i);
        if (isnan(x)) n_nan++;
        if (x > hi) hi = x, best = i;
        if (x < lo) lo = x;
        if (!isnan(x)) sum += x;
    }
    printf(" …\n  least %g, largest %g at %lld, mean %g", lo, hi, (long long)best, sum / (double)(n - n_nan));
    if (n_nan) printf(", %lld NaN", (long long)n_nan);
    printf("\n");
}

int command_run(cli *c)
{
    if (c->operands.n == 0) {
        cli_operand(c);
        return EXIT_USAGE;
    }
    engine *e;
    tensor *in;
    int n_threads;
    dlc_run_hook hook = cli_threads(c, &n_threads); /* first: a wrong number is seen without a backend, too */
    dlc_status s = cli_open_model(c, &e, &in);
    if (s != DLC_OK) return exit_code(s);
    tensor *out = NEW_ARRAY(c->a, tensor, e->n_out);
    progress_put(c, "run");
    s = engine_run(c->ctx, c->a, e, in, out, &hook);
    const char *to = opt_value(c, OPT_run_out);
    if (s == DLC_OK && to) {
        named_tensor *named = NEW_ARRAY(c->a, named_tensor, e->n_out);
        for (int i = 0; i < e->n_out; i++) named[i] = (named_tensor){ e->out_name[i], &out[i] };
        s = tensors_write(c->ctx, c->a, to, e->n_out, named);
    }
    progress_clear(c);
    for (int i = 0; i < e->n_out && s == DLC_OK && !to; i++) print_tensor(e->out_name[i], &out[i]);
    return exit_code(s);
}
