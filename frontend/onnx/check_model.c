/* check_model: everything that can be checked before the first node is built
 *
 * What   Versions; every operator, version, arity and attribute, in the main graph, in bodies and in
 *        functions; names (each defined once, and before it is read); initializers and tensors in attributes,
 *        with the files that hold them; calls of functions. What is not implemented is listed completely, one
 *        line an operator with the nodes that use it.
 * How    One walk in the order in which nodes would run, with an explicit stack of open graphs: names defined
 *        so far are those a node may read, a body also sees the graphs around it.
 * Cost   O(nodes + names); MAX_ERRORS errors end it.
 */
#include "frontend/onnx/importer.h"
#include <stdio.h>

enum { NEWEST_IR = 14, MAX_USERS_SHOWN = 5 };
typedef enum { BY_INPUT, BY_INITIALIZER, BY_NODE } definer;
static const char *const definer_name[] = { "a graph input", "an initializer", "a node's output" };

typedef struct level {
    const graph_proto *graph;      /* NULL: a function */
    const function_info *function;
    size_t n_nodes;
    node_proto *const *nodes;
    size_t node, attr, sub;        /* where the walk is: node, its attribute, the graph in that */
    bool is_entered;               /* the node itself has been checked */
    map_str names;                 /* defined so far -> definer */
} level;

typedef struct {
    importer *imp;
    opsets *opsets;                /* of the main graph or the function being walked */
    const function_proto *in_function;
    vec(level) levels;
    int64_t n_nodes;
    vec(uint32_t) calls;
    vec(resolved_op *) missing;    /* in order of first use */
    bool ok;
} walk;

static bool is_full(const walk *w) { return w->imp->ctx->n_errors >= MAX_ERRORS; }
static const char *say(walk *w, const char *fmt, ...) DLC_PRINTF(2, 3);
static const char *say(walk *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = arena_vprintf(w->imp->scratch, fmt, ap);
    va_end(ap);
    return s;
}

static void node_error(walk *w, const node_proto *n, const char *what)
{
    diag_onnx_node(w->imp->ctx, place_of(w->imp, n), what);
    w->ok = false;
}

static void attr_error(walk *w, const node_proto *n, const attribute_proto *a, const char *what)
{
    diag_onnx_attr(w->imp->ctx, place_of(w->imp, n), str_or(a->name, ""), what);
    w->ok = false;
}

/* -- Names ----------------------------------------------------------------------------------------------- */

static void define(walk *w, level *l, const char *name, definer by, place at)
{
    bool is_new;
    uint64_t *known = map_put(&l->names, name, strlen(name), by, &is_new);
    if (is_new) return;
    if (by == BY_INITIALIZER && *known == BY_INPUT) {    /* a default, or a constant listed as input (IR 3) */
        *known = BY_INITIALIZER;
        return;
    }
    diag_onnx_duplicate(w->imp->ctx, at, name, definer_name[*known]);
    w->ok = false;
}

static bool is_defined(const walk *w, const char *name)
{
    size_t n = strlen(name);
    for (int64_t i = w->levels.n; i-- > 0;)
        if (map_find(&w->levels.at[i].names, name, n)) return true;
    return false;
}

static const char *undefined_because(const level *l, const char *name)
{
    for (size_t i = l->node; i < l->n_nodes; i++)
        for (size_t k = 0; k < l->nodes[i]->n_output; k++)
            if (strcmp(l->nodes[i]->output[k], name) == 0)
                return i == l->node
                           ? "it computes itself"
                           : "only a later node computes: nodes must be in topological order, "
                             "without a cycle";
    return l->function ? "neither its inputs nor an earlier node of the function define" : "nothing defines";
}

/* -- Attributes ------------------------------------------------------------------------------------------ */

static const char kind_letter[] = { 0, 'f', 'i', 's', 't', 'g', 'F', 'I', 'S', 'T', 'G', 'p', 'P', 'y', 'Y' };
static const char *const kind_name[] = { "no type",        "a float", "an integer", "a string",
                                         "a tensor",       "a graph", "floats",     "integers",
                                         "strings",        "tensors", "graphs",     "a sparse tensor",
                                         "sparse tensors", "a type",  "types" };

static uint32_t kinds_present(const attribute_proto *a)
{
    uint32_t k = 0;
    k |= (uint32_t)(a->has_f != 0) << ATTR_FLOAT | (uint32_t)(a->has_i != 0) << ATTR_INT |
         (uint32_t)(a->has_s != 0) << ATTR_STRING;
    k |= (uint32_t)(a->t != NULL) << ATTR_TENSOR | (uint32_t)(a->g != NULL) << ATTR_GRAPH |
         (uint32_t)(a->tp != NULL) << ATTR_TYPE_PROTO;
    k |= (uint32_t)(a->n_floats > 0) << ATTR_FLOATS | (uint32_t)(a->n_ints > 0) << ATTR_INTS |
         (uint32_t)(a->n_strings > 0) << ATTR_STRINGS;
    k |= (uint32_t)(a->n_tensors > 0) << ATTR_TENSORS | (uint32_t)(a->n_graphs > 0) << ATTR_GRAPHS;
    k |= (uint32_t)(a->sparse_tensor != NULL) << ATTR_SPARSE_TENSOR | (uint32_t)(a->n_sparse_tensors > 0)
                                                                          << ATTR_SPARSE_TENSORS;
    return k | (uint32_t)(a->n_type_protos > 0) << ATTR_TYPE_PROTOS;
}

/* The attribute's kind, checked against what it holds; 0 after an error. */
static int attr_kind(walk *w, const node_proto *n, attribute_proto *a)
{
    uint32_t present = kinds_present(a);
    if (a->type < 0 || a->type > ATTR_TYPE_PROTOS)
        return attr_error(w, n, a, say(w, "has unknown type %d", a->type)), 0;
    if (a->ref_attr_name && *a->ref_attr_name) {
        if (!w->in_function)
            return attr_error(w, n, a, "refers to an attribute of a function, outside of one"), 0;
        if (present) return attr_error(w, n, a, "has a value and a reference"), 0;
        return a->type;
    }
    if (a->type == 0) {                              /* left out by old writers: what it holds says it */
        for (int k = ATTR_FLOAT; k <= ATTR_TYPE_PROTOS; k++)
            if (present == 1u << k) a->type = k;
        if (a->type == 0) return attr_error(w, n, a, "has no type"), 0;
    }
    if (present & ~(1u << a->type))
        return attr_error(w, n, a, say(w, "is declared %s and holds something else", kind_name[a->type])), 0;
    bool is_message = a->type == ATTR_TENSOR || a->type == ATTR_GRAPH || a->type == ATTR_SPARSE_TENSOR ||
                      a->type == ATTR_TYPE_PROTO;
    if (is_message && !present)
        return attr_error(w, n, a, say(w, "is declared %s and holds nothing", kind_name[a->type])), 0;
    return a->type;
}

static void check_tensor(walk *w, place at, const tensor_proto *t, bool is_used)
{
    bool is_other = t->data_type == ONNX_STRING || t->data_type == ONNX_COMPLEX64 ||
                    t->data_type == ONNX_COMPLEX128;
    if (is_other && !is_used) return;                /* in an attribute: whoever reads it says so */
    tensor_data d;
    if (!tensor_read(&w->imp->source, at, t, TENSOR_CHECK, &d)) w->ok = false;
}

static void check_sparse(walk *w, place at, const sparse_proto *t)
{
    tensor_data d;
    if (!sparse_read(&w->imp->source, at, t, TENSOR_CHECK, &d)) w->ok = false;
}

static void check_attr_tensors(walk *w, const node_proto *n, const attribute_proto *a)
{
    place at = place_of(w->imp, n);
    if (a->t) check_tensor(w, at, a->t, false);
    for (size_t i = 0; i < a->n_tensors && !is_full(w); i++) check_tensor(w, at, a->tensors[i], false);
    if (a->sparse_tensor) check_sparse(w, at, a->sparse_tensor);
    for (size_t i = 0; i < a->n_sparse_tensors && !is_full(w); i++) check_sparse(w, at, a->sparse_tensors[i]);
}

const attribute_proto *attr_find(const node_proto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++)
        if (n->attribute[i]->name && strcmp(n->attribute[i]->name, name) == 0) return n->attribute[i];
    return NULL;
}

static void check_required(walk *w, const node_proto *n, const standard_row *r)
{
    for (const char *p = r->attributes; *p;) {
        size_t k = strcspn(p, ":");
        bool must = p[k + 2] == '!';
        if (must) {
            const char *name = arena_strndup(w->imp->scratch, p, k);
            if (!attr_find(n, name)) node_error(w, n, say(w, "attribute \"%s\" must be given", name));
        }
        p += k + 2 + (must ? 1 : 0);
        p += strspn(p, " ");
    }
}

static void check_attributes(walk *w, const node_proto *n, const resolved_op *r)
{
    map_str names = { 0 };
    bool is_many = n->n_attribute > 16;
    if (is_many) map_init(&names, w->imp->scratch);
    for (size_t i = 0; i < n->n_attribute && !is_full(w); i++) {
        attribute_proto *a = n->attribute[i];
        if (!a->name || !*a->name) {
            attr_error(w, n, a, "has no name");
            continue;
        }
        bool is_new = true;
        if (is_many) map_put(&names, a->name, strlen(a->name), 0, &is_new);
        else for (size_t k = 0; k < i; k++) is_new &= strcmp(str_or(n->attribute[k]->name, ""), a->name) != 0;
        if (!is_new) attr_error(w, n, a, "is given twice");

        int kind = attr_kind(w, n, a);
        if (kind == 0) continue;
        check_attr_tensors(w, n, a);
        if (!r || !r->standard) continue;
        bool required;
        char want = standard_attr(r->standard, a->name, &required);
        if (want == 0) {
            attr_error(w, n, a, say(w, "does not exist in version %d of the operator", r->standard->since));
        } else if (want != kind_letter[kind]) {
            int k = 1;
            while (k < ATTR_TYPE_PROTOS && kind_letter[k] != want) k++;
            attr_error(w, n, a, say(w, "must be %s, and is %s", kind_name[k], kind_name[kind]));
        }
    }
    if (r && r->standard) check_required(w, n, r->standard);
}

/* -- Nodes ----------------------------------------------------------------------------------------------- */

static void note_missing(walk *w, const node_proto *n, resolved_op *r)
{
    if (r->n_users++ == 0) vec_push(w->imp->scratch, &w->missing, r);
    if (r->n_users > MAX_USERS_SHOWN) return;
    const char *name = str_or(place_of(w->imp, n).node, "");
    text_printf(&r->users, "%s\"%.*s%s\"", r->n_users > 1 ? ", " : "", 60, name,
                strlen(name) > 60 ? "…" : "");
}

static void check_arity(walk *w, const node_proto *n, const char *what, const standard_params *p, size_t have,
                        char **names)
{
    if (have < (size_t)p->least)
        return node_error(w, n,
                          say(w, "takes %s%d %s%s, found %zu",
                              p->is_variadic || p->n > p->least ? "at least " : "", p->least, what,
                              p->least == 1 ? "" : "s", have));
    if (!p->is_variadic && have > (size_t)p->n)
        return node_error(w, n,
                          say(w, "takes %s%d %s%s, found %zu", p->n > p->least ? "at most " : "", p->n, what,
                              p->n == 1 ? "" : "s", have));
    for (size_t i = 0; names && i < have && !is_full(w); i++) {
        const standard_param *q = standard_param_at(p, (int)(i < MAX_PARAMS ? i : MAX_PARAMS));
        if (!*names[i] && q && q->mode == ' ')
            node_error(w, n, say(w, "input %zu is required, and is left out", i));
    }
}

static void check_call(walk *w, const node_proto *n, const resolved_op *r)
{
    const function_proto *f = r->function->proto;
    if (n->n_input > f->n_input)
        node_error(w, n, say(w, "the function takes %zu inputs, found %zu", f->n_input, n->n_input));
    if (n->n_output > f->n_output)
        node_error(w, n, say(w, "the function gives %zu outputs, found %zu", f->n_output, n->n_output));
    for (size_t i = 0; i < f->n_attribute && !is_full(w); i++)
        if (!attr_find(n, f->attribute[i]))
            node_error(w, n, say(w, "the function's attribute \"%.200s\" must be given", f->attribute[i]));
    vec_push(w->imp->scratch, &w->calls, (uint32_t)(r->function - w->imp->functions.at));
}

static void check_node(walk *w, level *l, const node_proto *n)
{
    w->n_nodes++;
    for (size_t i = 0; i < n->n_input && !is_full(w); i++) {
        if (*n->input[i] && !is_defined(w, n->input[i])) {
            diag_onnx_undefined(w->imp->ctx, place_of(w->imp, n), n->input[i],
                                undefined_because(l, n->input[i]));
            w->ok = false;
        }
    }
    if (!n->op_type || !*n->op_type) return node_error(w, n, "a node has no operator (op_type)");
    resolved_op *r = resolve(w->imp, w->opsets, n);
    if (!r) {
        const char *domain = domain_name(n->domain);
        node_error(w, n,
                   say(w, "the operator's domain %.200s is not among the opset imports%s",
                       *domain ? domain : "ai.onnx", w->in_function ? " of the function" : ""));
        return;
    }
    if (r->missing) note_missing(w, n, r);
    check_attributes(w, n, r);
    if (r->function) check_call(w, n, r);
    if (!r->standard) return;
    check_arity(w, n, "input", &r->inputs, n->n_input, n->input);
    check_arity(w, n, "output", &r->outputs, n->n_output, NULL);
}

static void define_outputs(walk *w, level *l, const node_proto *n)
{
    for (size_t i = 0; i < n->n_output && !is_full(w); i++)
        if (*n->output[i]) define(w, l, n->output[i], BY_NODE, place_of(w->imp, n));
}

/* -- Graphs ---------------------------------------------------------------------------------------------- */

/* The initializer and the input of one name must agree. */
static void check_default(walk *w, const graph_proto *g, const tensor_proto *t)
{
    for (size_t i = 0; i < g->n_input; i++) {
        const type_proto *p = g->input[i]->type;
        if (!g->input[i]->name || strcmp(g->input[i]->name, t->name) != 0 || !p || !p->tensor_type) continue;
        const shape_proto *s = p->tensor_type->shape;
        bool same = !p->tensor_type->has_elem_type || p->tensor_type->elem_type == t->data_type;
        if (s) {
            same &= s->n_dim == t->n_dims;
            for (size_t k = 0; k < s->n_dim && same; k++)
                same = !s->dim[k]->has_dim_value || s->dim[k]->dim_value < 0 ||
                       s->dim[k]->dim_value == t->dims[k];
        }
        if (!same) {
            diag_onnx_type(w->imp->ctx, (place){ .file = w->imp->path }, t->name, "a graph input of one type",
                           "an initializer of another");
            w->ok = false;
        }
        return;
    }
}

static void define_initializer(walk *w, level *l, const tensor_proto *t)
{
    place at = { .file = w->imp->path };
    if (!t->name || !*t->name) {
        diag_onnx_model(w->imp->ctx, at, "an initializer has no name");
        w->ok = false;
        return;
    }
    uint64_t *known = map_find(&l->names, t->name, strlen(t->name));
    if (known && *known == BY_INPUT && l->graph->n_input < 10000) check_default(w, l->graph, t);
    define(w, l, t->name, BY_INITIALIZER, at);
    check_tensor(w, at, t, true);
}

static void enter_graph(walk *w, const graph_proto *g)
{
    place at = { .file = w->imp->path };
    level l = { .graph = g, .n_nodes = g->n_node, .nodes = g->node };
    map_init(&l.names, w->imp->scratch);
    for (size_t i = 0; i < g->n_input && !is_full(w); i++) {
        if (g->input[i]->name && *g->input[i]->name) {
            define(w, &l, g->input[i]->name, BY_INPUT, at);
        } else {
            diag_onnx_model(w->imp->ctx, at, "a graph input has no name");
            w->ok = false;
        }
    }
    for (size_t i = 0; i < g->n_initializer && !is_full(w); i++) define_initializer(w, &l, g->initializer[i]);
    for (size_t i = 0; i < g->n_sparse_initializer && !is_full(w); i++) {
        const sparse_proto *s = g->sparse_initializer[i];
        check_sparse(w, at, s);
        if (s->values && s->values->name && *s->values->name)
            define(w, &l, s->values->name, BY_INITIALIZER, at);
    }
    vec_push(w->imp->scratch, &w->levels, l);
}

static void enter_function(walk *w, const function_info *f)
{
    place at = { .file = w->imp->path, .node = f->proto->name };
    level l = { .function = f, .n_nodes = f->proto->n_node, .nodes = f->proto->node };
    map_init(&l.names, w->imp->scratch);
    for (size_t i = 0; i < f->proto->n_input && !is_full(w); i++)
        define(w, &l, f->proto->input[i], BY_INPUT, at);
    vec_push(w->imp->scratch, &w->levels, l);
}

static void check_output(walk *w, const char *name, place at)
{
    if (name && *name && is_defined(w, name)) return;
    diag_onnx_model(w->imp->ctx, at,
                    name && *name ? say(w, "output \"%.200s\" is computed by nothing", name)
                                  : "an output has no name");
    w->ok = false;
}

static void leave(walk *w, const level *l)
{
    place at = { .file = w->imp->path, .node = l->function ? l->function->proto->name : NULL };
    bool is_main = w->levels.n == 1 && !l->function;
    if (l->function)
        for (size_t i = 0; i < l->function->proto->n_output && !is_full(w); i++)
            check_output(w, l->function->proto->output[i], at);
    map_str seen = { 0 };
    if (is_main) map_init(&seen, w->imp->scratch);
    for (size_t i = 0; l->graph && i < l->graph->n_output && !is_full(w); i++) {
        const char *name = l->graph->output[i]->name;
        check_output(w, name, at);
        bool is_new = true;
        if (is_main && name) map_put(&seen, name, strlen(name), 0, &is_new);
        if (!is_new) {
            diag_onnx_duplicate(w->imp->ctx, at, name, "an output of the graph");
            w->ok = false;
        }
    }
    if (is_main && l->graph->n_output == 0) {
        diag_onnx_model(w->imp->ctx, at, "the graph has no outputs");
        w->ok = false;
    }
}

/* The next graph in the attributes of the node at the top, or NULL. */
static const graph_proto *next_body(level *l)
{
    const node_proto *n = l->nodes[l->node];
    for (; l->attr < n->n_attribute; l->attr++, l->sub = 0) {
        const attribute_proto *a = n->attribute[l->attr];
        size_t k = l->sub++;
        if (a->g && k == 0) return a->g;
        if (a->g) k--;
        if (k < a->n_graphs) return a->graphs[k];
    }
    return NULL;
}

static void run(walk *w)
{
    while (w->levels.n && !is_full(w)) {
        level *l = &w->levels.at[w->levels.n - 1];
        if (l->node == l->n_nodes) {
            leave(w, l);
            (void)vec_pop(&w->levels);
            continue;
        }
        const node_proto *n = l->nodes[l->node];
        if (!l->is_entered) {
            l->is_entered = true;
            check_node(w, l, n);
        }
        const graph_proto *body = next_body(l);
        if (body) {
            enter_graph(w, body);
            continue;
        }
        define_outputs(w, l, n);
        l->node++;
        l->attr = l->sub = 0;
        l->is_entered = false;
    }
}

/* -- The model ------------------------------------------------------------------------------------------- */

static bool model_error(importer *imp, const char *what)
{
    diag_onnx_model(imp->ctx, (place){ .file = imp->path }, what);
    return false;
}

static bool check_head(importer *imp)
{
    const model_proto *m = imp->model;
    place at = { .file = imp->path };
    if (!m->has_ir_version) return model_error(imp, "the model has no ir_version: this is not an ONNX model");
    if (m->ir_version < 1)
        return model_error(imp, arena_printf(imp->scratch, "ir_version is %lld, not 1 or more",
                                             (long long)m->ir_version));
    if (m->ir_version > NEWEST_IR) {
        diag_onnx_ir_version(imp->ctx, at, (long long)m->ir_version, NEWEST_IR);
        return false;
    }
    if (!m->graph) return model_error(imp, "the model has no graph");
    if (m->n_opset_import == 0) return model_error(imp, "the model imports no opset");
    bool opsets_ok = opsets_read(imp, &imp->opsets, m->n_opset_import, m->opset_import, at);
    return functions_read(imp) && opsets_ok;
}

static void list_missing(walk *w)
{
    importer *imp = w->imp;
    for (int64_t i = 0; i < w->missing.n; i++) {
        resolved_op *r = w->missing.at[i];
        if (r->n_users > MAX_USERS_SHOWN)
            text_printf(&r->users, " and %d more", r->n_users - MAX_USERS_SHOWN);
        const char *op = arena_printf(imp->scratch, "%.100s%s%.100s", r->domain, *r->domain ? "." : "",
                                      r->op);
        diag_onnx_ops_missing(imp->ctx, (place){ .file = imp->path }, op, r->missing, text_str(&r->users));
        w->ok = false;
    }
}

bool check_alone(importer *imp, opsets *s, const node_proto *n)
{
    walk w = { .imp = imp, .opsets = s, .ok = true };
    level l = { .n_nodes = 0 };
    map_init(&l.names, imp->scratch);
    for (size_t i = 0; i < n->n_input; i++)
        if (*n->input[i]) define(&w, &l, n->input[i], BY_INPUT, (place){ .file = imp->path });
    vec_push(imp->scratch, &w.levels, l);
    check_node(&w, &l, n);
    list_missing(&w);
    return w.ok;
}

bool check_model(importer *imp)
{
    if (!check_head(imp)) return false;
    walk w = { .imp = imp, .ok = true };
    for (int64_t i = 0; i < imp->functions.n && !is_full(&w); i++) {
        function_info *f = &imp->functions.at[i];
        w.opsets = &f->opsets;
        w.in_function = f->proto;
        w.n_nodes = 0;
        memset(&w.calls, 0, sizeof w.calls);
        enter_function(&w, f);
        run(&w);
        w.levels.n = 0;
        f->n_nodes = w.n_nodes;
        f->calls.at = w.calls.at;
        f->calls.n = w.calls.n;
    }
    w.opsets = &imp->opsets;
    w.in_function = NULL;
    w.n_nodes = 0;
    memset(&w.calls, 0, sizeof w.calls);
    enter_graph(&w, imp->model->graph);
    run(&w);
    list_missing(&w);
    return w.ok && functions_check_calls(imp, w.n_nodes, w.calls.at, w.calls.n);
}
