/* step_bits FILE.dl [BLOCK [STEPS [rounded]]]: trains a block by JIT, library and C, on 1, 2 and 4 threads,
 * whole and in halves, and says whether all states agree, bit for bit. */
#include "tests/support/step_run.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    int64_t steps = argc > 3 ? atoll(argv[3]) : 100;
    double *losses = NEW_ARRAY(a, double, steps + 1);
    int bad = step_bits(ctx, a, argv[1], argc > 2 ? argv[2] : NULL, steps, argc > 4, losses);
    for (int64_t i = 0; i < ctx->diags.n; i++) {
        text out = { .a = a };
        diag_format(&out, &ctx->diags.at[i]);
        fputs(text_str(&out), stderr);
    }
    printf("%s: loss %g to %g, %s\n", argv[1], losses[0], losses[steps - 1],
           bad < 0 ? "not compiled"
           : bad   ? "DIFFERENT"
                   : "equal");
    return bad != 0;
}
