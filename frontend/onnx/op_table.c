/* op_table: the operators that are implemented, from onnx_ops.def; and what the standard says of each, from
 * schema/standard.def.
 *
 * Both tables are searched once for each distinct operator of a model (resolve.c keeps the answers).
 */
#include "frontend/onnx/op.h"
#include "frontend/onnx/standard.h"

#define ONNX ""
#define ML "ai.onnx.ml"
#define TRAINING "ai.onnx.preview.training"
#define PREVIEW "ai.onnx.preview"
#define MSFT "com.microsoft"

/* -- What is implemented --------------------------------------------------------------------------------- */

#define OP(domain, name, versions, doc) void onnx_op_##name(op_call *c, graph *g);
#include "frontend/onnx/onnx_ops.def"
#undef OP

#define UNWRAP(...) __VA_ARGS__
#define OP(domain, name, versions, doc) static const int versions_##domain##_##name[] = { UNWRAP versions };
#include "frontend/onnx/onnx_ops.def"
#undef OP

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
const op_row onnx_ops[] = {
#define OP(domain, name, versions, doc) \
    { domain, #name, versions_##domain##_##name, COUNT(versions_##domain##_##name), onnx_op_##name, doc },
#include "frontend/onnx/onnx_ops.def"
#undef OP
    { NULL, NULL, NULL, 0, NULL, NULL }
};
const int n_onnx_ops = COUNT(onnx_ops) - 1;

const op_row *onnx_op_find(const char *domain, const char *name)
{
    for (const op_row *r = onnx_ops; r->name; r++)
        if (strcmp(r->name, name) == 0 && strcmp(r->domain, domain) == 0) return r;
    return NULL;
}

/* -- What the standard says ------------------------------------------------------------------------------ */

static const standard_row standard[] = {
#define LIVE false
#define DEPRECATED true
#define STANDARD(domain, name, since, state, inputs, outputs, types, attributes) \
    { domain, #name, since, state, inputs, outputs, types, attributes },
#include "frontend/onnx/schema/standard.def"
};

const standard_row *standard_find(const char *domain, const char *name, int64_t opset,
                                  const standard_row **any)
{
    const standard_row *best = NULL;
    *any = NULL;
    for (int i = 0; i < COUNT(standard); i++) {
        const standard_row *r = &standard[i];
        if (strcmp(r->name, name) != 0 || strcmp(r->domain, domain) != 0) continue;
        *any = r;
        if (r->since <= opset) best = r;
    }
    return best;
}

int standard_newest(const char *domain)
{
    static const struct { const char *domain; int newest; } known[] = {
        { ONNX, 28 }, { ML, 5 }, { TRAINING, 1 }, { PREVIEW, 1 }, { MSFT, 1 }
    };
    for (int i = 0; i < COUNT(known); i++)
        if (strcmp(known[i].domain, domain) == 0) return known[i].newest;
    return 0;
}
