/* call_op: one operator by its name, for another front end (ir/interop.h)
 *
 * What   onnx_op_call builds the nodes of an operator in a graph under construction: newest version,
 *        attributes by name.
 * How    A node as a file would hold it is made of the call and checked as every node is; then it runs in a
 *        scope that has the operands as "operand 0", …. Tensors and bodies in attributes do not fit in a
 *        file's form: the importer keeps them beside (given_attr).
 */
#include "frontend/onnx/importer.h"
#include <stdio.h>

static const char *const domains[] = {
    "", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview", "com.microsoft"
};
enum { N_DOMAINS = sizeof domains / sizeof *domains };

/* The newest row of an operator; NULL if no domain has it. */
static const standard_row *newest_of(const char *op, const char **domain)
{
    const standard_row *any;
    for (int i = 0; i < N_DOMAINS; i++) {
        const standard_row *r = standard_find(domains[i], op, standard_newest(domains[i]), &any);
        *domain = domains[i];
        if (r) return r;
    }
    return NULL;
}

const char *const *onnx_op_names(arena *a, int *n)
{
    const char **names = NEW_ARRAY(a, const char *, n_onnx_ops + 1);
    for (*n = 0; *n < n_onnx_ops; ++*n) names[*n] = onnx_ops[*n].name;
    return names;
}

char onnx_op_attribute(const char *op, const char *attr, bool *is_known)
{
    const char *domain;
    bool required;
    const standard_row *r = newest_of(op, &domain);
    const op_row *row = NULL;
    for (int i = 0; i < N_DOMAINS && !row; i++) row = onnx_op_find(domains[i], op);
    *is_known = r || row;
    return r ? standard_attr(r, attr, &required) : 0;
}

dtype onnx_op_input_type(const char *op, int i, int n_in, const dtype *have, bool with_point, bool *is_list)
{
    static const dtype whole[] = { DTYPE_i64, DTYPE_i32, DTYPE_f32, DTYPE_f64, DTYPE_NONE },
                       broken[] = { DTYPE_f32, DTYPE_f64, DTYPE_f16, DTYPE_NONE };
    enum { SEQUENCES = 29 };
    const char *domain;
    const standard_row *r = newest_of(op, &domain);
    standard_params p;
    *is_list = false;
    if (!r) return DTYPE_NONE;
    standard_parse(r, r->inputs, &p);
    const standard_param *q = standard_param_at(&p, i);
    if (!q) return DTYPE_NONE;
    *is_list = q->mask >> SEQUENCES & 1;
    for (int k = 0; k < n_in; k++) {
        const standard_param *other = standard_param_at(&p, k);
        if (k != i && other && other->var == q->var && other->mode != '~' && have[k] != DTYPE_NONE)
            return have[k];
    }
    const dtype *t = with_point ? broken : whole;
    while (*t != DTYPE_NONE && !(q->mask >> onnx_dtype_code(*t) & 1)) t++;
    return *t;
}

/* -- A node ---------------------------------------------------------------------------------------------- */

static attribute_proto *attribute_of(arena *a, const operator_attr *x)
{
    attribute_proto *p = NEW(a, attribute_proto);
    onnx__attribute_proto__init(p);
    p->name = arena_strdup(a, x->name);
    switch (x->kind) {
    case 'i': p->type = ATTR_INT; p->has_i = true; p->i = x->i[0]; break;
    case 'd': p->type = ATTR_INT; p->has_i = true; p->i = onnx_dtype_code(x->d); break;
    case 'f': p->type = ATTR_FLOAT; p->has_f = true; p->f = (float)x->f[0]; break;
    case 's':
        p->type = ATTR_STRING;
        p->has_s = true;
        p->s = (ProtobufCBinaryData){ strlen(x->s[0]), (uint8_t *)arena_strdup(a, x->s[0]) };
        break;
    case 'I':
        p->type = ATTR_INTS;
        p->n_ints = (size_t)x->n;
        p->ints = arena_copy(a, x->i, sizeof *x->i * ((size_t)x->n + 1));
        break;
    case 'F':
        p->type = ATTR_FLOATS;
        p->n_floats = (size_t)x->n;
        p->floats = NEW_ARRAY(a, float, x->n + 1);
        for (int i = 0; i < x->n; i++) p->floats[i] = (float)x->f[i];
        break;
    case 'S':
        p->type = ATTR_STRINGS;
        p->n_strings = (size_t)x->n;
        p->strings = NEW_ARRAY(a, ProtobufCBinaryData, x->n + 1);
        for (int i = 0; i < x->n; i++)
            p->strings[i] = (ProtobufCBinaryData){ strlen(x->s[i]), (uint8_t *)arena_strdup(a, x->s[i]) };
        break;
    case 't':
        p->type = ATTR_TENSOR;
        p->t = NEW(a, tensor_proto);
        onnx__tensor_proto__init(p->t);
        p->t->data_type = ONNX_STRING;          /* not looked into: given beside */
        break;
    default:
        p->type = ATTR_GRAPH;
        p->g = NEW(a, graph_proto);
        onnx__graph_proto__init(p->g);
    }
    return p;
}

/* How many results there always are; of those that may all be left out, every one. */
static int usual_outputs(const standard_row *r)
{
    standard_params p;
    standard_parse(r, r->outputs, &p);
    return p.least ? p.least : p.is_variadic ? 1 : p.n;
}

static node_proto *node_of_call(arena *a, const operator_call *call, const char *op, const char *domain,
                                int n_out)
{
    node_proto *n = NEW(a, node_proto);
    onnx__node_proto__init(n);
    n->op_type = arena_strdup(a, op);
    n->domain = arena_strdup(a, domain);
    n->name = arena_strdup(a, call->path);
    n->n_input = (size_t)call->n_in;
    n->input = NEW_ARRAY(a, char *, call->n_in + 1);
    for (int i = 0; i < call->n_in; i++)
        n->input[i] = call->in[i].kind == OPERAND_ABSENT ? arena_strdup(a, "")
                                                         : arena_printf(a, "operand %d", i);
    while (n->n_input && !*n->input[n->n_input - 1]) n->n_input--;
    n->n_output = (size_t)n_out;
    n->output = NEW_ARRAY(a, char *, n_out + 1);
    for (int i = 0; i < n_out; i++) n->output[i] = arena_printf(a, "y%d", i);
    n->n_attribute = (size_t)call->n_attrs;
    n->attribute = NEW_ARRAY(a, attribute_proto *, call->n_attrs + 1);
    for (int i = 0; i < call->n_attrs; i++) n->attribute[i] = attribute_of(a, &call->attrs[i]);
    return n;
}

/* Tensors and bodies of the attributes. Of a Loop's body the first result is the condition. */
static void keep_given(importer *imp, const operator_call *call, const char *op, int n_out)
{
    given_attr *given = NEW_ARRAY(imp->scratch, given_attr, call->n_attrs + 1);
    for (int i = 0; i < call->n_attrs; i++) {
        const operator_attr *x = &call->attrs[i];
        if (x->kind == 't') given[imp->n_given++] = (given_attr){ .attr = x->name, .tensor = x->t };
        if (x->kind == 'g')
            given[imp->n_given++] =
                (given_attr){ .attr = x->name, .body = x->body, .n_out = n_out + (strcmp(op, "Loop") == 0) };
    }
    imp->given = given;
}

static bool run_call(importer *imp, const operator_call *call, node_proto *n, op_value **out)
{
    scope s;
    scope_open(imp, &s, NULL, imp->g, NULL);
    s.opsets = &imp->opsets;
    for (size_t i = 0; i < n->n_input; i++)
        if (*n->input[i])
            scope_define(imp, &s, n->input[i], (slot){ .e = edge_of(imp->scratch, call->in[i]) });
    place before = imp->g->at;
    bool ok = check_alone(imp, &imp->opsets, n) && run_nodes(imp, &s, 1, &n);
    *out = NEW_ARRAY(imp->a, op_value, n->n_output + 1);
    for (size_t i = 0; ok && i < n->n_output; i++) {
        edge e = { .kind = EDGE_ABSENT };
        ok = scope_find(imp, &s, n->output[i], &e);
        if (ok) (*out)[i] = operand_of(imp->a, e);
    }
    imp->g->at = before;
    return ok;
}

bool onnx_op_call(graph *g, const operator_call *call, const onnx_options *options, int *n_out,
                  op_value **out)
{
    dlc_context *ctx = g->ctx;
    arena *scratch = arena_new(&ctx->mem);
    importer *imp = NEW(scratch, importer);
    const char *domain;
    const standard_row *r = newest_of(call->name, &domain);
    onnx_options o = { .library = options->library, .gradient = options->gradient };
    import_begin(imp, ctx, g->arena, scratch, call->file, &o);
    imp->g = g;
    map_init(&imp->function_names, scratch);
    map_init(&imp->symbols, scratch);
    map_init(&imp->opsets.versions, scratch);
    map_init(&imp->opsets.resolved, scratch);
    for (int i = 0; i < N_DOMAINS; i++)
        map_put(&imp->opsets.versions, domains[i], strlen(domains[i]), (uint64_t)standard_newest(domains[i]),
                NULL);
    for (int i = 0; !r && i < N_DOMAINS; i++)
        if (onnx_op_find(domains[i], call->name)) domain = domains[i];
    *n_out = call->n_out >= 0 ? call->n_out : r ? usual_outputs(r) : 1;
    keep_given(imp, call, call->name, *n_out);
    bool ok = run_call(imp, call, node_of_call(scratch, call, call->name, domain, *n_out), out);
    arena_free(scratch);
    return ok && !g->failed;
}
