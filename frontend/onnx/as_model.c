/* as_model: a whole model for another front end, as a graph over its types (ir/interop.h)
 *
 * What   The signature of a model: inputs with their types, names of outputs. And its graph for inputs of
 *        given types, which may have symbols of the caller: initializers of floating point with one axis or
 *        more are inputs too, so that they can be trained.
 * How    The import as ever, with the caller's table of dims. An open dimension's name stands for the size
 *        that was given. An initializer that decides a structure (the scales of Resize) must be known: it is
 *        taken by the way of the values that `dlc test` offers for inputs, and stays a constant. So do single
 *        values (rank 0): they are exponents, slopes, epsilons far more often than weights.
 */
#include "frontend/onnx/importer.h"

/* -- The signature --------------------------------------------------------------------------------------- */

static bool is_initializer(const graph_proto *g, const char *name)
{
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(str_or(g->initializer[i]->name, ""), name) == 0) return true;
    return false;
}

static bool limit(dlc_context *ctx, arena *a, const char *path, const char *name, const char *what)
{
    diag_onnx_limit(ctx, (place){ .file = path }, arena_printf(a, "input \"%.200s\" %s", name, what));
    return false;
}

static bool read_input(dlc_context *ctx, arena *a, const char *path, const value_info_proto *p,
                       model_input *out)
{
    const char *name = str_or(p->name, "");
    if (declared_kind(p->type) != ONNX_TENSOR || !p->type || !p->type->tensor_type)
        return limit(ctx, a, path, name, "is not a tensor: the model cannot be used in a program");
    const shape_proto *s = p->type->tensor_type->shape;
    *out = (model_input){ .name = arena_strdup(a, name),
                          .dtype = onnx_dtype(p->type->tensor_type->elem_type) };
    if (out->dtype == DTYPE_NONE)
        return limit(ctx, a, path, name, "has an element type that is not implemented");
    if (!s || s->n_dim > MAX_RANK) return limit(ctx, a, path, name, "has no rank that is known");
    out->rank = (int)s->n_dim;
    for (int i = 0; i < out->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = s->dim[i];
        bool is_fixed = d->has_dim_value && d->dim_value >= 0 && d->dim_value < DIM_LIMIT;
        bool is_named = d->dim_param && *d->dim_param && strcmp(d->dim_param, "?") != 0;
        out->size[i] = is_fixed ? d->dim_value : -1;
        out->symbol[i] = is_fixed   ? NULL
                         : is_named ? arena_strdup(a, d->dim_param)
                                    : arena_printf(a, "%s.%d", name, i);
    }
    return true;
}

bool onnx_model_signature(dlc_context *ctx, arena *a, const char *path, model_signature *out)
{
    bytes file;
    decoded d;
    arena *scratch = arena_new(&ctx->mem);
    bool ok = onnx_map(ctx, scratch, path, &file) &&
              decode_message(ctx, scratch, path, file, &onnx__model_proto__descriptor, &d);
    const graph_proto *g = ok ? ((const model_proto *)d.root)->graph : NULL;
    if (ok && !g) diag_onnx_model(ctx, (place){ .file = path }, "the model has no graph");
    ok = g != NULL;
    model_input *ins = NEW_ARRAY(a, model_input, g ? g->n_input + 1 : 1);
    const char **outs = NEW_ARRAY(a, const char *, g ? g->n_output + 1 : 1);
    *out = (model_signature){ .in = ins, .out = outs };
    for (size_t i = 0; ok && i < g->n_input; i++) {
        if (is_initializer(g, str_or(g->input[i]->name, ""))) continue;
        ok = read_input(ctx, a, path, g->input[i], &ins[out->n_in]);
        out->n_in++;
    }
    for (size_t i = 0; ok && i < g->n_output; i++)
        outs[out->n_out++] = arena_strdup(a, str_or(g->output[i]->name, ""));
    arena_free(scratch);
    return ok;
}

/* -- The graph ------------------------------------------------------------------------------------------- */

/* Open dimensions have the sizes of the types that were given. */
void foreign_types(importer *imp, scope *s, const graph_proto *g)
{
    int ordinal = 0;
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = g->input[i]->name;
        const type_proto *t = g->input[i]->type;
        if (map_find(&s->names, name, strlen(name))) continue;
        if (ordinal >= imp->foreign->n_in) return;
        const type *given = &imp->foreign->in[ordinal++];
        const shape_proto *p = t && t->tensor_type ? t->tensor_type->shape : NULL;
        for (int k = 0; p && k < given->rank && (size_t)given->rank == p->n_dim; k++) {
            const Onnx__TensorShapeProto__Dimension *d = p->dim[k];
            if (d->has_dim_value && d->dim_value != -1) continue;
            bool is_named = d->dim_param && *d->dim_param && strcmp(d->dim_param, "?") != 0;
            const char *symbol = is_named ? d->dim_param : arena_printf(imp->scratch, "%s.%d", name, k);
            map_put(&imp->symbols, symbol, strlen(symbol), (uint64_t)given->dims[k].code, NULL);
        }
    }
}

value foreign_input(importer *imp, graph *g, const char *name, int ordinal)
{
    if (ordinal >= imp->foreign->n_in) return NO_VALUE;
    const type *t = &imp->foreign->in[ordinal];
    vec_push(imp->scratch, &imp->offer_of_input, -1);
    return input(g, arena_strdup(imp->a, name), t->dtype, t->rank, t->dims);
}

/* Those that no structure needs become inputs. */
void foreign_parameters(importer *imp, scope *s)
{
    imp->foreign->updates.n = 0;
    for (int64_t k = 0; k < imp->foreign->params.n; k++) {
        const model_parameter *p = &imp->foreign->params.at[k];
        dim d[MAX_RANK];
        if (imp->options->is_offer_taken[k]) continue;
        for (int i = 0; i < p->first.rank; i++) d[i] = dim_const(p->first.dims[i]);
        value v = input(s->g, p->name, p->first.dtype, p->first.rank, d);
        imp->foreign->at[k] = v;
        vec_push(imp->scratch, &imp->offer_of_input, (int)k);
        scope_define(imp, s, p->name, (slot){ .e = { .kind = EDGE_TENSOR, .v = v } });
    }
}

int op_statistic(const op_call *c, value v)
{
    const foreign_build *f = c->imp->foreign;
    if (!f || !f->by_batch || c->g != c->imp->g || !is_value(v)) return -1;
    for (int64_t k = 0; k < f->params.n; k++)
        if (f->params.at[k].is_statistic && same_value(f->at[k], v)) return (int)k;
    return -1;
}

void op_move_statistic(op_call *c, int param, value now)
{
    if (is_value(now)) vec_push(c->imp->scratch, &c->imp->foreign->updates, ((statistic_update){ param, now }));
}

/* After the model's own results: what its statistics are now. */
void foreign_results(importer *imp, graph *g)
{
    for (int64_t i = 0; i < imp->foreign->updates.n; i++) add_result(g, imp->foreign->updates.at[i].now, NULL);
}

/* The running mean and variance of a normalization. */
static bool is_statistic(const graph_proto *g, const char *name)
{
    for (size_t i = 0; i < g->n_node; i++) {
        if (strcmp(str_or(g->node[i]->op_type, ""), "BatchNormalization") != 0) continue;
        for (size_t k = 3; k < 5 && k < g->node[i]->n_input; k++)
            if (strcmp(g->node[i]->input[k], name) == 0) return true;
    }
    return false;
}

static bool list_parameters(importer *imp, foreign_build *f)
{
    const graph_proto *g = imp->model->graph;
    for (size_t i = 0; g && i < g->n_initializer; i++) {
        const tensor_proto *t = g->initializer[i];
        tensor_data d;
        dtype dt = onnx_dtype(t->data_type);
        if (dt == DTYPE_NONE || !is_float(dt) || t->n_dims == 0 || !t->name || !*t->name) continue;
        if (!tensor_read(&imp->source, (place){ .file = imp->path }, t, TENSOR_ELEMENTS, &d)) return false;
        model_parameter p = { .name = arena_strdup(imp->a, t->name),
                              .first = { .dtype = d.dtype, .rank = d.rank } };
        p.is_statistic = is_statistic(g, t->name);
        memcpy(p.first.dims, d.dims, sizeof p.first.dims);
        p.first.bytes = arena_copy(imp->a, d.bytes, (size_t)(d.n * dtype_bytes(d.dtype)));
        vec_push(imp->a, &f->params, p);
    }
    return true;
}

bool onnx_model_graph(dlc_context *ctx, arena *a, const char *path, dims *d, int n_in, const type *ins,
                      const onnx_options *options, model_graph *out)
{
    bytes file;
    arena *scratch = arena_new(&ctx->mem);
    importer *imp = NEW(scratch, importer);
    foreign_build f = { .dims = d, .n_in = n_in, .in = ins, .by_batch = options->by_batch };
    onnx_options o = { .library = options->library, .gradient = options->gradient };
    bool ok = onnx_map(ctx, a, path, &file);
    import_begin(imp, ctx, a, scratch, path, &o);
    ok = ok && decode_message(ctx, scratch, imp->path, file, &onnx__model_proto__descriptor, &imp->file);
    if (ok) {
        imp->model = (const model_proto *)imp->file.root;
        imp->source = (tensor_source){ ctx, a, &imp->file, external_new(ctx, a, imp->path) };
        imp->foreign = &f;
        ok = list_parameters(imp, &f);
    }
    f.at = NEW_ARRAY(scratch, value, f.params.n + 1);
    onnx_tensor *offers = NEW_ARRAY(scratch, onnx_tensor, f.params.n + 1);
    for (int64_t k = 0; k < f.params.n; k++)
        offers[k] = (onnx_tensor){ .dtype = f.params.at[k].first.dtype,
                                   .n = tensor_n(&f.params.at[k].first) };
    o.n_offers = (int)f.params.n;
    o.offers = offers;
    o.is_offer_taken = NEW_ARRAY(scratch, bool, f.params.n + 1);
    ok = ok && import_model(imp);
    model_parameter *left = NEW_ARRAY(a, model_parameter, f.params.n + 1);
    *out = (model_graph){ .g = imp->g, .params = left };
    int *left_at = NEW_ARRAY(scratch, int, f.params.n + 1), *moved = NEW_ARRAY(a, int, f.updates.n + 1);
    for (int64_t k = 0; k < f.params.n; k++) {
        left_at[k] = out->n_params;
        if (!o.is_offer_taken[k]) left[out->n_params++] = f.params.at[k];
    }
    for (int64_t i = 0; i < f.updates.n; i++) moved[out->n_moved++] = left_at[f.updates.at[i].param];
    out->moved = moved;
    arena_free(scratch);
    return ok;
}
