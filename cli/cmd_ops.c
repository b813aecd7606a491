/* ops: the ONNX operators that are implemented, with their versions and limits; or primitives, or scalar functions */
#include "api/catalog.h"
#include "cli/cli.h"

int command_ops(cli *c)
{
    catalog which = opt_given(c, OPT_scalar) ? CATALOG_scalar : opt_given(c, OPT_prim) ? CATALOG_prim : CATALOG_onnx;
    text t = { .a = c->a };
    for (int64_t i = 0; i < c->operands.n || i == 0; i++)
        catalog_put(&t, which, c->operands.n ? c->operands.at[i] : NULL, opt_given(c, OPT_markdown));
    fwrite(text_str(&t), 1, (size_t)t.n, stdout);
    return t.n ? EXIT_OK : EXIT_INPUT;
}
