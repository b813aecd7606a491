/* ops: the ONNX operators that are implemented, with their versions and limits; or primitives, or scalar
 * functions */
#include "api/catalog.h"
#include "cli/cli.h"

int command_ops(cli *c)
{
    catalog which = opt_given(c, OPT_scalar) ? CATALOG_scalar
                    : opt_given(c, OPT_prim) ? CATALOG_prim
                                             : CATALOG_onnx;
    text t = { .a = c->a };
    static const char *const what[] = {
        [CATALOG_onnx] = "ONNX operator", [CATALOG_prim] = "primitive", [CATALOG_scalar] = "scalar function"
    };
    int code = EXIT_OK;
    for (int64_t i = 0; i < c->operands.n || i == 0; i++) {
        int64_t before = t.n;
        const char *part = c->operands.n ? c->operands.at[i] : NULL;
        catalog_put(&t, which, part, opt_given(c, OPT_markdown));
        if (t.n > before || !part) continue;
        diag_ops_unknown(c->ctx, (place){ 0 }, what[which], part);
        code = EXIT_INPUT;
    }
    fwrite(text_str(&t), 1, (size_t)t.n, stdout);
    return code;
}
