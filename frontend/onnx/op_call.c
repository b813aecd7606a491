/* op_call: what an operator function sees of its node (op.h)
 *
 * What   Operands, results, attributes; structural inputs as known integers; bodies; errors.
 * How    An attribute that refers to one of the enclosing function's (ref_attr_name) is looked up in the call
 *        of that function, and there again, until a value is found; then the function's default; else it is
 *        absent. After the first failure of a call everything gives its default or NO_VALUE, and nothing more
 *        is reported.
 */
#include "frontend/onnx/importer.h"
#include <stdio.h>

/* -- Errors ---------------------------------------------------------------------------------------------- */

static bool is_quiet(const op_call *c) { return c->failed || c->g->failed || c->imp->failed; }

void op_fail(op_call *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!is_quiet(c)) diag_onnx_op_fail(c->imp->ctx, c->g->at, arena_vprintf(c->imp->scratch, fmt, ap));
    va_end(ap);
    c->failed = true;
}

void op_unsupported(op_call *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!is_quiet(c))
        diag_onnx_op_unsupported(c->imp->ctx, c->g->at, arena_vprintf(c->imp->scratch, fmt, ap));
    va_end(ap);
    c->failed = true;
}

/* -- Operands and results -------------------------------------------------------------------------------- */

value op_in(op_call *c, int i)
{
    if (i < c->n_in && c->in[i].kind == EDGE_TENSOR) return c->in[i].v;
    if (!op_has(c, i)) op_fail(c, "input %d is required, and is left out", i);
    else
        op_fail(c, "input %d is %s where a tensor is expected", i,
                c->in[i].kind == EDGE_SEQUENCE ? "a sequence" : "an empty optional");
    return NO_VALUE;
}

void op_out(op_call *c, int i, value v)
{
    if (i < c->n_out) c->out[i] = (edge){ .kind = EDGE_TENSOR, .v = v };
}

int op_axis(op_call *c, int64_t axis, int rank)
{
    if (axis >= -(int64_t)rank && axis < rank) return (int)(axis < 0 ? axis + rank : axis);
    op_fail(c, "axis %lld is outside -%d..%d", (long long)axis, rank, rank - 1);
    return 0;
}

uint64_t op_name_hash(const op_call *c) { return hash_bytes(c->name, strlen(c->name), 0); }

/* -- Attributes ------------------------------------------------------------------------------------------ */

static const attribute_proto *default_of(const function_proto *f, const char *name)
{
    for (size_t i = 0; i < f->n_attribute_proto; i++)
        if (f->attribute_proto[i]->name && strcmp(f->attribute_proto[i]->name, name) == 0)
            return f->attribute_proto[i];
    return NULL;
}

/* The attribute with its value, references followed; NULL if absent. */
static const attribute_proto *find(const op_call *c, const char *name)
{
    if (!c->node) return NULL;
    const attribute_proto *a = attr_find(c->node, name);
    const call_env *env = c->scope->env;
    while (a && a->ref_attr_name && *a->ref_attr_name) {
        if (!env) return NULL;
        const char *ref = a->ref_attr_name;
        a = attr_find(env->call, ref);
        if (!a) return default_of(env->function, ref);
        env = env->outer;
    }
    return a;
}

static const attribute_proto *find_kind(op_call *c, const char *name, int kind, const char *what)
{
    const attribute_proto *a = find(c, name);
    if (!a || a->type == kind) return a;
    op_fail(c, "attribute \"%s\" must be %s", name, what);
    return NULL;
}

bool op_has_attr(const op_call *c, const char *name) { return find(c, name) != NULL; }

int64_t op_attr_int(op_call *c, const char *name, int64_t other)
{
    const attribute_proto *a = find_kind(c, name, ATTR_INT, "an integer");
    return a ? a->i : other;
}

double op_attr_float(op_call *c, const char *name, double other)
{
    const attribute_proto *a = find_kind(c, name, ATTR_FLOAT, "a float");
    return a ? (double)a->f : other;
}

static const char *c_string(op_call *c, const char *name, ProtobufCBinaryData s)
{
    if (s.len && memchr(s.data, 0, s.len)) op_fail(c, "attribute \"%s\" holds a NUL character", name);
    return arena_strndup(c->imp->a, (const char *)s.data, s.len);
}

const char *op_attr_str(op_call *c, const char *name, const char *other)
{
    const attribute_proto *a = find_kind(c, name, ATTR_STRING, "a string");
    return a ? c_string(c, name, a->s) : other;
}

/* Numbers of elements fit an int: a file of structure has at most 2^31 bytes. */
const int64_t *op_attr_ints(op_call *c, const char *name, int *n)
{
    static const int64_t none[1] = { 0 };
    const attribute_proto *a = find_kind(c, name, ATTR_INTS, "integers");
    *n = a ? (int)a->n_ints : 0;
    return !a ? NULL : a->n_ints ? a->ints : none;
}

const float *op_attr_floats(op_call *c, const char *name, int *n)
{
    static const float none[1] = { 0 };
    const attribute_proto *a = find_kind(c, name, ATTR_FLOATS, "floats");
    *n = a ? (int)a->n_floats : 0;
    return !a ? NULL : a->n_floats ? a->floats : none;
}

const char *const *op_attr_strs(op_call *c, const char *name, int *n)
{
    const attribute_proto *a = find_kind(c, name, ATTR_STRINGS, "strings");
    *n = a ? (int)a->n_strings : 0;
    if (!a) return NULL;
    const char **s = NEW_ARRAY(c->imp->scratch, const char *, a->n_strings);
    for (int i = 0; i < *n; i++) s[i] = c_string(c, name, a->strings[i]);
    return s;
}

value op_attr_tensor(op_call *c, const char *name)
{
    const attribute_proto *a = find(c, name);
    if (!a) return NO_VALUE;
    for (int i = 0; i < c->imp->n_given; i++)
        if (is_value(c->imp->given[i].tensor) && strcmp(c->imp->given[i].attr, name) == 0)
            return c->imp->given[i].tensor;
    if (a->type != ATTR_TENSOR && a->type != ATTR_SPARSE_TENSOR) {
        op_fail(c, "attribute \"%s\" must be a tensor", name);
        return NO_VALUE;
    }
    tensor_data t;
    bool ok = a->t ? tensor_read(&c->imp->source, c->g->at, a->t, TENSOR_ELEMENTS, &t)
                   : sparse_read(&c->imp->source, c->g->at, a->sparse_tensor, TENSOR_ELEMENTS, &t);
    c->failed |= !ok;
    return ok ? tensor_constant(c->g, &t, NULL) : NO_VALUE;
}

dtype op_attr_dtype(op_call *c, const char *name, dtype other)
{
    const attribute_proto *a = find_kind(c, name, ATTR_INT, "an integer");
    if (!a) return other;
    int code = a->i > 0 && a->i < ONNX_TYPE_COUNT ? (int)a->i : 0;
    dtype t = onnx_dtype(code);
    if (t != DTYPE_NONE) return t;
    if (code) op_unsupported(c, "type %s (attribute \"%s\")", onnx_type_name(code), name);
    else op_fail(c, "attribute \"%s\" is %lld, which is no element type", name, (long long)a->i);
    return other;
}

/* -- Structural inputs ----------------------------------------------------------------------------------- */

/* The graph inputs that v is computed from: their indices, in no order of meaning. */
typedef vec(int) index_list;
static void inputs_behind(op_call *c, value v, index_list *found)
{
    enum { MOST = 100000 };
    graph *g = c->g;
    arena *a = c->imp->scratch;
    vec(uint32_t) open = { 0 };
    bool *seen = NEW_ARRAY(a, bool, n_nodes(g));
    vec_push(a, &open, g->owner.at[v.id]);
    for (int64_t k = 0; k < open.n && k < MOST; k++) {
        const node *n = &g->nodes.at[open.at[k]];
        if (n->prim == PRIM_input) vec_push(a, found, n->input->index);
        for (int i = 0; i < n->n_in; i++) {
            uint32_t from = g->owner.at[n->in[i].id];
            if (seen[from]) continue;
            seen[from] = true;
            vec_push(a, &open, from);
        }
    }
}

/* Values that the caller has offered for inputs are taken in a second try. True: there will be one. */
static bool take_offers(op_call *c, const index_list *from)
{
    importer *imp = c->imp;
    bool is_new = false;
    for (int i = 0; i < imp->options->n_offers; i++) {
        bool wanted = c->g != imp->g && imp->options->offers[i].n <= 64 &&
                      !is_float(imp->options->offers[i].dtype);
        for (int64_t k = 0; k < from->n && c->g == imp->g; k++)
            wanted |= imp->offer_of_input.at[from->at[k]] == i;
        if (!wanted || imp->options->is_offer_taken[i]) continue;
        imp->options->is_offer_taken[i] = is_new = true;
    }
    imp->wants_restart |= is_new;
    return is_new;
}

static void not_known(op_call *c, value v, const char *name, const char *what)
{
    if (is_quiet(c)) return;
    index_list from = { 0 };
    if (is_value(v)) inputs_behind(c, v, &from);
    c->failed = true;
    if (take_offers(c, &from)) return;
    text t = { .a = c->imp->scratch };
    for (int64_t i = 0; i < from.n && i < 4 && c->g == c->imp->g; i++) {
        const char *shown = str_or(c->g->names.at[c->g->inputs.at[from.at[i]].id], "");
        if (strcmp(shown, name) == 0) continue;
        text_put(&t, t.n ? ", " : " (computed from ");
        text_put_escaped(&t, shown, strlen(shown), 60);
    }
    if (t.n) text_put(&t, ")");
    diag_onnx_not_known(c->imp->ctx, c->g->at, what, name, text_str(&t));
}

static const char *input_name(const op_call *c, int i)
{
    const node_proto *n = c->node;
    return n && (size_t)i < n->n_input ? n->input[i] : "";
}

/* Element k of an integer constant's bytes. */
static int64_t int_element(dtype t, const void *p, int64_t k)
{
    int size = dtype_bytes(t);
    uint64_t v = 0;
    memcpy(&v, (const char *)p + k * size, (size_t)size);
    int shift = 64 - 8 * size;
    return is_signed(t) ? (int64_t)(v << shift) >> shift : (int64_t)v;
}

const dim *op_known(op_call *c, int i, const char *what, int *n)
{
    *n = 0;
    value v = op_in(c, i);
    if (!is_value(v) || is_quiet(c)) return NULL;
    const dim *d = known_ints(c->g, v, n);
    if (d) return d;
    type t = type_of(c->g, v);
    const void *p;
    int64_t n_known;
    if (!(is_int(t.dtype) || t.dtype == DTYPE_bool) || !op_known_value(c, v, NULL, &p, &n_known)) {
        not_known(c, op_in(c, i), input_name(c, i), what);
        return NULL;
    }
    *n = (int)n_known;
    dim *known = NEW_ARRAY(op_arena(c), dim, *n + 1);
    for (int k = 0; k < *n; k++) known[k] = dim_const(int_element(t.dtype, p, k));
    return known;
}

bool op_known_ints(op_call *c, int i, const char *what, int *n, int64_t *v, int max)
{
    const dim *d = op_known(c, i, what, n);
    if (!d) return false;
    if (*n > max) {
        op_fail(c, "%s has %d elements, at most %d are expected", what, *n, max);
        return false;
    }
    for (int k = 0; k < *n; k++) {
        /* A number beyond the range of dims (INT64_MAX as "to the end") is still a known constant. */
        const void *p;
        int64_t n_known;
        if (dim_is_const(d[k], &v[k])) continue;
        if (dim_is_bad(d[k]) && known_bytes(c->g, op_in(c, i), &p, &n_known)) {
            v[k] = int_element(type_of(c->g, op_in(c, i)).dtype, p, k);
            continue;
        }
        not_known(c, op_in(c, i), input_name(c, i), what);
        return false;
    }
    return true;
}

bool op_known_floats(op_call *c, int i, const char *what, int *n, double *v, int max)
{
    *n = 0;
    value x = op_in(c, i);
    if (!is_value(x) || is_quiet(c)) return false;
    dtype t = type_of(c->g, x).dtype;
    if (t == DTYPE_f16 || t == DTYPE_bf16) x = cast(c->g, x, DTYPE_f32), t = DTYPE_f32;
    const void *p;
    int64_t n_known;
    if ((t != DTYPE_f32 && t != DTYPE_f64) || !op_known_value(c, x, NULL, &p, &n_known)) {
        not_known(c, op_in(c, i), input_name(c, i), what);
        return false;
    }
    *n = (int)n_known;
    if (*n > max) {
        op_fail(c, "%s has %d elements, at most %d are expected", what, *n, max);
        return false;
    }
    for (int k = 0; k < *n; k++) {
        float f;
        if (t == DTYPE_f64) memcpy(&v[k], (const char *)p + 8 * k, 8);
        else memcpy(&f, (const char *)p + 4 * k, 4), v[k] = (double)f;
    }
    return true;
}

/* The elements of a constant that is the same everywhere. */
static bool splat_bytes(op_call *c, value v, const void **p, int64_t *n)
{
    enum { MAX_SPLAT = 1 << 20 };
    type t = type_of(c->g, v);
    int64_t count;
    scalar_value x;
    if (!dim_is_const(type_elements(c->g, t), &count) || count > MAX_SPLAT || !known_splat(c->g, v, &x))
        return false;
    int size = dtype_bytes(t.dtype);
    char *all = arena_alloc(op_arena(c), (size_t)(count * size));
    for (int64_t k = 0; k < count; k++) sv_store(t.dtype, all + k * size, x);
    *p = all;
    *n = count;
    return true;
}

bool op_known_value(op_call *c, value v, const char *what, const void **p, int64_t *n)
{
    if (!is_value(v) || is_quiet(c)) return false;
    if (known_bytes(c->g, v, p, n) || splat_bytes(c, v, p, n)) return true;
    if (what) not_known(c, v, str_or(c->g->names.at[v.id], "an operand"), what);
    return false;
}

/* -- Bodies ---------------------------------------------------------------------------------------------- */

static const graph_proto *body_of(const op_call *c, const char *name)
{
    const attribute_proto *a = find(c, name);
    return a && a->type == ATTR_GRAPH ? a->g : NULL;
}

/* A body that a call by name gives. */
static const given_attr *given_body(const op_call *c, const char *name)
{
    for (int i = 0; i < c->imp->n_given; i++)
        if (c->imp->given[i].body && strcmp(c->imp->given[i].attr, name) == 0) return &c->imp->given[i];
    return NULL;
}

int op_body_inputs(op_call *c, const char *attr)
{
    const graph_proto *g = body_of(c, attr);
    const given_attr *given = given_body(c, attr);
    return given ? given->body->n_in : g ? (int)g->n_input : -1;
}

int op_body_outputs(op_call *c, const char *attr)
{
    const graph_proto *g = body_of(c, attr);
    const given_attr *given = given_body(c, attr);
    return given ? given->n_out : g ? (int)g->n_output : -1;
}

static bool build_given(op_call *c, const operand_body *body, graph *g, int n_in, const edge *edges,
                        capture_list *captures, int *n_out, edge **results)
{
    op_value *operands = NEW_ARRAY(op_arena(c), op_value, n_in + 1), *got = NULL;
    value *outer = NULL;
    int n_outer = 0;
    if (body->n_in != n_in) {
        op_fail(c, "the body takes %d inputs, found %d", n_in, body->n_in);
        return false;
    }
    for (int i = 0; i < n_in; i++) operands[i] = operand_of(op_arena(c), edges[i]);
    if (!body->build(body->arg, g, n_in, operands, n_out, &got, &n_outer, captures ? &outer : NULL)) {
        c->failed = c->imp->failed = true;
        return false;
    }
    for (int i = 0; i < n_outer; i++) vec_push(c->imp->a, &captures->outer, outer[i]);
    *results = NEW_ARRAY(op_arena(c), edge, *n_out + 1);
    for (int i = 0; i < *n_out; i++) (*results)[i] = edge_of(op_arena(c), got[i]);
    return true;
}

/* The declared element type of a body's input. */
static bool input_fits(op_call *c, const value_info_proto *p, graph *g, edge e)
{
    const type_proto *t = p->type;
    if (!t || !t->tensor_type || e.kind != EDGE_TENSOR || !is_value(e.v)) return true;
    int code = t->tensor_type->elem_type, have = onnx_dtype_code(type_of(g, e.v).dtype);
    if (code == 0 || code == have) return true;
    op_fail(c, "the body's input \"%.100s\" is declared %s, and gets %s", p->name,
            str_or(onnx_type_name(code), "an unknown type"), str_or(onnx_type_name(have), "?"));
    return false;
}

static bool import_body(op_call *c, const char *attr, graph *g, int n_in, const edge *in,
                        capture_list *captures, int *n_out, edge **out)
{
    importer *imp = c->imp;
    const graph_proto *p = body_of(c, attr);
    *n_out = 0;
    *out = NULL;
    if (is_quiet(c)) return false;
    const given_attr *given = given_body(c, attr);
    if (given) return build_given(c, given->body, g, n_in, in, captures, n_out, out);
    if (!p) {
        op_fail(c, "attribute \"%s\" must be given, and be a graph", attr);
        return false;
    }
    if ((int)p->n_input != n_in) {
        op_fail(c, "the body \"%s\" takes %d inputs, found %zu", attr, n_in, p->n_input);
        return false;
    }
    if (imp->n_bodies >= MAX_BODIES) {
        op_unsupported(c, "more than %d bodies inside each other", MAX_BODIES);
        return false;
    }
    scope s;
    scope_open(imp, &s, c->scope, g, captures);
    s.path = arena_printf(imp->scratch, "%s/", c->name);
    place before = g->at;
    for (size_t i = 0; i < p->n_initializer; i++)
        scope_define(imp, &s, p->initializer[i]->name, (slot){ .init = p->initializer[i] });
    for (size_t i = 0; i < p->n_sparse_initializer; i++)
        if (p->sparse_initializer[i]->values->name)
            scope_define(imp, &s, p->sparse_initializer[i]->values->name,
                         (slot){ .sparse = p->sparse_initializer[i] });
    for (int i = 0; i < n_in; i++) {
        if (!input_fits(c, p->input[i], g, in[i])) return false;
        scope_define(imp, &s, p->input[i]->name, (slot){ .e = in[i] });
    }
    imp->n_bodies++;
    bool ok = run_nodes(imp, &s, p->n_node, p->node);
    imp->n_bodies--;
    edge *results = NEW_ARRAY(imp->a, edge, p->n_output + 1);
    for (size_t i = 0; i < p->n_output && ok; i++) ok = scope_find(imp, &s, p->output[i]->name, &results[i]);
    g->at = before;
    if (!ok) {
        c->failed = imp->failed = true;
        return false;
    }
    *n_out = (int)p->n_output;
    *out = results;
    return true;
}

bool op_body(op_call *c, const char *attr, graph *body, int n_in, const edge *edges, capture_list *captures,
             int *n_out, edge **results)
{
    return import_body(c, attr, body, n_in, edges, captures, n_out, results);
}

bool op_inline_body(op_call *c, const char *attr, int n_in, const edge *edges, int *n_out, edge **results)
{
    return import_body(c, attr, c->g, n_in, edges, NULL, n_out, results);
}

/* -- Elsewhere ------------------------------------------------------------------------------------------- */

op_value operand_of(arena *a, edge e)
{
    if (e.kind == EDGE_TENSOR) return (op_value){ .kind = OPERAND_TENSOR, .v = e.v };
    if (e.kind != EDGE_SEQUENCE) return (op_value){ .kind = OPERAND_ABSENT };
    op_value *items = NEW_ARRAY(a, op_value, e.n + 1);
    for (int i = 0; i < e.n; i++) items[i] = operand_of(a, e.items[i]);
    return (op_value){ .kind = OPERAND_LIST, .n = e.n, .items = items };
}

edge edge_of(arena *a, op_value o)
{
    if (o.kind == OPERAND_TENSOR) return (edge){ .kind = EDGE_TENSOR, .v = o.v };
    if (o.kind == OPERAND_ABSENT) return (edge){ .kind = EDGE_ABSENT };
    edge *items = NEW_ARRAY(a, edge, o.n + 1);
    for (int i = 0; i < o.n; i++) items[i] = edge_of(a, o.items[i]);
    return (edge){ .kind = EDGE_SEQUENCE, .n = o.n, .items = items, .dtype = DTYPE_f32 };
}

/* An attribute with its value. False: of a kind that nothing outside of ONNX takes. */
static bool attr_of(op_call *c, const attribute_proto *a, operator_attr *out)
{
    arena *r = op_arena(c);
    *out = (operator_attr){ .name = arena_strdup(r, a->name), .n = 1 };
    double *f = NEW_ARRAY(r, double, a->n_floats + 1);
    int64_t *v = NEW_ARRAY(r, int64_t, a->n_ints + 1);
    int n;
    switch (a->type) {
    case ATTR_FLOAT: out->kind = 'f'; f[0] = (double)a->f; break;
    case ATTR_INT: out->kind = 'i'; v[0] = a->i; break;
    case ATTR_STRING: {
        const char **s = NEW_ARRAY(r, const char *, 1);
        *s = op_attr_str(c, a->name, "");
        out->kind = 's';
        out->s = s;
        break;
    }
    case ATTR_FLOATS:
        out->kind = 'F';
        out->n = (int)a->n_floats;
        for (int i = 0; i < out->n; i++) f[i] = (double)a->floats[i];
        break;
    case ATTR_INTS:
        out->kind = 'I';
        out->n = (int)a->n_ints;
        for (int i = 0; i < out->n; i++) v[i] = a->ints[i];
        break;
    case ATTR_STRINGS: out->kind = 'S'; out->s = op_attr_strs(c, a->name, &n); out->n = n; break;
    case ATTR_TENSOR: out->kind = 't'; out->t = op_attr_tensor(c, a->name); break;
    default:
        op_unsupported(
            c,
            "a graph, type or sparse tensor in attribute \"%.100s\" of an operator that is defined elsewhere",
            a->name);
        return false;
    }
    out->f = f;
    out->i = v;
    return !c->failed;
}

void op_call_defined(op_call *c, const void *defined)
{
    const operator_library *lib = c->imp->options->library;
    const node_proto *n = c->node;
    arena *a = op_arena(c);
    op_value *operands = NEW_ARRAY(a, op_value, c->n_in + 1);
    operator_attr *attrs = NEW_ARRAY(a, operator_attr, n->n_attribute + 1);
    value *results = NEW_ARRAY(a, value, c->n_out + 1);
    int n_attrs = 0;
    for (int i = 0; i < c->n_in; i++) operands[i] = operand_of(a, c->in[i]);
    for (size_t i = 0; i < n->n_attribute; i++) {
        const attribute_proto *p = find(c, n->attribute[i]->name);
        if (!p) continue;
        if (!attr_of(c, p, &attrs[n_attrs])) return;
        attrs[n_attrs++].name = arena_strdup(a, n->attribute[i]->name);
    }
    if (!lib->call(lib->arg, defined, c->g, c->n_in, operands, n_attrs, attrs, c->n_out, results)) {
        c->failed = true;
        return;
    }
    for (int i = 0; i < c->n_out; i++) op_out(c, i, results[i]);
}

bool op_gradient(op_call *c, value y, int n, const value *xs, value *dxs)
{
    if (!c->imp->options->gradient) op_unsupported(c, "a gradient, in this way of reading the model,");
    if (is_quiet(c)) return false;
    c->failed = !c->imp->options->gradient(c->g, y, n, xs, dxs);
    return !c->failed;
}

bool op_named(op_call *c, const char *name, edge *e)
{
    if (!in_main_graph(c->imp, c->scope)) op_unsupported(c, "the operator in a body or function");
    if (is_quiet(c)) return false;
    if (map_find(&c->scope->names, name, strlen(name)) && scope_find(c->imp, c->scope, name, e)) return true;
    op_fail(
        c,
        "\"%.100s\", which an attribute names, is neither an input, an initializer nor computed by an "
        "earlier node",
        name);
    return false;
}

/* -- Composites ------------------------------------------------------------------------------------------ */

bool op_call_other(op_call *c, const char *op, int n_in, const edge *edges, int n_out, edge *results)
{
    const op_row *row = onnx_op_find(c->domain, op);
    if (!row) row = onnx_op_find("", op);
    if (!row) {
        op_unsupported(c, "operator %s, which this one is made of,", op);
        return false;
    }
    op_call other = *c;
    other.op = row->name;
    other.n_in = n_in;
    other.in = edges;
    other.n_out = n_out;
    other.out = results;
    for (int i = 0; i < row->n_versions; i++)
        if (i == 0 || row->versions[i] <= c->opset) other.version = row->versions[i];
    for (int i = 0; i < n_out; i++) results[i] = (edge){ .kind = EDGE_ABSENT };
    row->fn(&other, c->g);
    c->failed |= other.failed;
    return !c->failed && !c->g->failed;
}
