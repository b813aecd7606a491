/* step_text: the graph of a train block's step, as text, for dlc opt, run, bench and compile
 *
 *     step_text FILE.dl [BLOCK]
 *
 * Exit: 0, 1 wrong input.
 */
#include "api/driver.h"
#include "ir/text.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) return 1;
    dlc_context *ctx = context_new();
    arena *a = arena_new(&ctx->mem);
    driver_options o = driver_defaults();
    lang_training t;
    text out = { .a = a };
    dlc_status s = driver_train(ctx, a, argv[1], argc > 2 ? argv[2] : NULL, &o, &t);
    if (s == DLC_OK) graph_print(t.step, &out);
    for (int64_t i = 0; i < ctx->diags.n; i++) diag_format(&out, &ctx->diags.at[i]);
    puts(text_str(&out));
    arena_free(a);
    context_free(ctx);
    return s == DLC_OK ? 0 : 1;
}
