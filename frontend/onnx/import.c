/* import: from a decoded model to a graph of primitives
 *
 * What   Opens the file, has it checked (check_model.c), then calls for each node the function of its
 *        operator, which builds primitives (op.h).
 * How    One loop over nodes with an explicit stack of function calls: a call of a model-local function
 *        pushes its nodes in a scope of its own; at their end its outputs become those of the call. Bodies of
 *        If, Loop and Scan come back here through op_body(), at most MAX_BODIES deep.
 *        Identity of names: values keep the names of the file; a node in a function is called "call/node".
 * Needs  what check_model() has established: names are defined before they are read, operators and signatures
 *        exist.
 * Limits Graph inputs and outputs are tensors of known rank. One tensor has at most MAX_TENSOR_BYTES.
 * Cost   O(nodes + names); weights stay in the file.
 */
#include "frontend/onnx/importer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t MAX_TENSOR_BYTES = (int64_t)1 << 38;

static bool failed(const importer *imp, const graph *g) { return imp->failed || imp->g->failed || g->failed; }

static void option_error(importer *imp, const char *what)
{
    diag_onnx_option(imp->ctx, (place){ .file = imp->path }, what);
    imp->failed = true;
}

/* -- Types ----------------------------------------------------------------------------------------------- */

/* True if the elements are surely too many to exist; symbols count as 1 (they may be). */
static bool is_too_large(graph *g, dtype dt, int rank, const dim *d)
{
    int64_t n = dtype_bytes(dt);
    (void)g;
    for (int i = 0; i < rank; i++) {
        int64_t k;
        if (dim_is_bad(d[i])) return true;
        if (!dim_is_const(d[i], &k)) continue;
        if (k == 0) return false;
        if (!mul_ok(n, k, &n)) n = INT64_MAX;
    }
    return n > MAX_TENSOR_BYTES;
}

/* Some exporters call every open dimension "?". */
static bool is_named(const char *dim_param) { return dim_param && *dim_param && strcmp(dim_param, "?") != 0; }

/* No axis is longer; so "to the end", as exporters write it (INT_MAX and the like), is provably past it. */
enum { LONGEST_AXIS = 1000000000 };

/* The bounds that a symbol starts with: what an earlier try found out about it counts from the start. */
static void note_bounds(importer *imp, dim symbol, const char *name)
{
    symbol_bounds b = { .symbol = symbol, .name = name };
    for (int64_t i = 0; i < imp->bounds.n; i++) {
        symbol_bounds *old = &imp->bounds.at[i];
        if (strcmp(old->name, name) != 0) continue;
        dim_symbol_bounds(imp->g->dims, symbol, old->lo, old->hi);
        old->symbol = symbol;
        return;
    }
    dim_range(imp->g->dims, symbol, &b.lo, &b.hi);
    vec_push(imp->scratch, &imp->bounds, b);
}

/* Did building narrow a symbol's bounds? Then shapes made before may say what need not be said (min(N, 40), N
 * <= 40). */
static bool bounds_changed(importer *imp)
{
    bool changed = false;
    for (int64_t i = 0; i < imp->bounds.n; i++) {
        symbol_bounds *b = &imp->bounds.at[i];
        int64_t lo, hi;
        dim_range(imp->g->dims, b->symbol, &lo, &hi);
        changed |= lo != b->lo || hi != b->hi;
        b->lo = lo;
        b->hi = hi;
    }
    return changed;
}

/* The symbol `name`, or step * "name/step", within the option's bounds. */
static dim bounded_dim(importer *imp, const onnx_dim_option *o, bool is_first)
{
    int64_t step = o->step > 1 ? o->step : 1;
    const char *name = step > 1 ? arena_printf(imp->scratch, "%s/%lld", o->name, (long long)step) : o->name;
    dim symbol = dim_symbol(imp->g->dims, name);
    if (!dim_symbol_bounds(imp->g->dims, symbol, (o->lo + step - 1) / step, o->hi / step))
        option_error(imp, arena_printf(imp->scratch, "--dim %.100s=%lld..%lld/%lld leaves no size", o->name,
                                       (long long)o->lo, (long long)o->hi, (long long)step));
    if (is_first && !imp->foreign) note_bounds(imp, symbol, name);
    return dim_mulk(imp->g->dims, symbol, step);
}

/* The symbol that stands for `name`, after what earlier tries found out. */
static const char *merged_name(const importer *imp, const char *name)
{
    for (int64_t i = 0; i < imp->merged.n; i++)           /* a later row may merge what an earlier one kept */
        if (strcmp(imp->merged.at[i].name, name) == 0) name = imp->merged.at[i].is;
    return name;
}

/* A try that failed because two open sizes of the inputs are the same one: the next gives them one symbol. */
static bool merge_symbols(importer *imp)
{
    merged_symbol m;
    if (imp->foreign || !dims_wanted(imp->g->dims, &m.is, &m.name)) return false;
    vec_push(imp->scratch, &imp->merged, m);
    return true;
}

static dim symbol_of(importer *imp, const char *name)
{
    bool is_new;
    uint64_t *known = map_put(&imp->symbols, name, strlen(name), 0, &is_new);
    if (!is_new) return (dim){ (int64_t)*known };
    dim d = DIM_BAD;
    for (int i = 0; i < imp->options->n_dims; i++) {
        const onnx_dim_option *o = &imp->options->dims[i];
        if (strcmp(o->name, name) != 0) continue;
        imp->is_dim_used[i] = true;
        if (o->lo == o->hi) d = dim_const(o->lo);
        else d = bounded_dim(imp, o, dim_same(d, DIM_BAD));
    }
    if (dim_same(d, DIM_BAD)) {
        d = dim_symbol(imp->g->dims, name);
        dim_symbol_bounds(imp->g->dims, d, 0, LONGEST_AXIS);
        if (!imp->foreign) note_bounds(imp, d, name);
    }
    if (!imp->foreign) dim_symbol_may_merge(imp->g->dims, d);
    *known = (uint64_t)d.code;
    return d;
}

static dim symbol_dim(importer *imp, const char *name)
{
    const char *is = merged_name(imp, name);
    dim d = symbol_of(imp, is);
    if (is == name || map_find(&imp->symbols, name, strlen(name))) return d;
    for (int i = 0; i < imp->options->n_dims; i++) {
        const onnx_dim_option *o = &imp->options->dims[i];
        if (strcmp(o->name, name) != 0) continue;
        imp->is_dim_used[i] = true;
        if (!dim_symbol_bounds(imp->g->dims, d, o->lo, o->hi))
            option_error(imp, arena_printf(imp->scratch,
                                           "--dim %.100s=%lld..%lld leaves no size: it is the same as %.100s",
                                           name, (long long)o->lo, (long long)o->hi, is));
    }
    note_bounds(imp, d, name);
    map_put(&imp->symbols, name, strlen(name), (uint64_t)d.code, NULL);
    return d;
}

static bool type_error(importer *imp, place at, const char *name, const char *what, bool is_valid)
{
    text t = { .a = imp->scratch };
    text_put(&t, "\"");
    text_put_escaped(&t, name, strlen(name), 100);
    text_printf(&t, "\" %s", what);
    if (is_valid) diag_onnx_limit(imp->ctx, at, text_str(&t));
    else diag_onnx_model(imp->ctx, at, text_str(&t));
    imp->failed = true;
    return false;
}

bool read_type(importer *imp, graph *g, const char *name, const type_proto *t, place at, dtype *dt, int *rank,
               dim *d)
{
    if (!t) return type_error(imp, at, name, "has no type", false);
    if (t->sequence_type || t->optional_type || t->map_type || t->opaque_type || t->sparse_tensor_type)
        return type_error(imp, at, name,
                          "is a sequence, optional, map or sparse tensor, which is not implemented here",
                          true);
    if (!t->tensor_type) return type_error(imp, at, name, "has no type", false);
    int code = t->tensor_type->elem_type;
    const char *type_name = onnx_type_name(code);
    *dt = onnx_dtype(code);
    if (!type_name)
        return type_error(imp, at, name, arena_printf(imp->scratch, "has unknown element type %d", code),
                          false);
    if (*dt == DTYPE_NONE)
        return type_error(imp, at, name,
                          arena_printf(imp->scratch, "is of type %s, which is not implemented", type_name),
                          true);
    const shape_proto *s = t->tensor_type->shape;
    if (!s) return type_error(imp, at, name, "has no shape: its rank must be known", true);
    if (s->n_dim > MAX_RANK)
        return type_error(
            imp, at, name,
            arena_printf(imp->scratch, "has rank %zu; at most %d is implemented", s->n_dim, MAX_RANK), true);
    *rank = (int)s->n_dim;
    for (int i = 0; i < *rank; i++) {
        const Onnx__TensorShapeProto__Dimension *p = s->dim[i];
        if (p->has_dim_value && p->dim_value != -1) {
            if (p->dim_value < 0)
                return type_error(imp, at, name,
                                  arena_printf(imp->scratch, "has dimension %lld", (long long)p->dim_value),
                                  false);
            if (p->dim_value >= DIM_LIMIT)
                return type_error(imp, at, name, "has a dimension of over 2^60", true);
            d[i] = dim_const(p->dim_value);
        } else if (is_named(p->dim_param)) {
            d[i] = symbol_dim(imp, p->dim_param);
        } else {
            d[i] = symbol_dim(imp, arena_printf(imp->scratch, "%s.%d", name, i));
        }
    }
    if (is_too_large(g, *dt, *rank, d)) return type_error(imp, at, name, "has more than 2^38 bytes", true);
    return !imp->failed;
}

static const char *show_proto(importer *imp, const type_proto *t)
{
    text o = { .a = imp->scratch };
    text_put(&o, str_or(onnx_type_name(t->tensor_type->elem_type), "?"));
    const shape_proto *s = t->tensor_type->shape;
    for (size_t i = 0; s && i < s->n_dim && i < MAX_RANK; i++) {
        text_put(&o, i ? ", " : "[");
        if (s->dim[i]->has_dim_value) text_printf(&o, "%lld", (long long)s->dim[i]->dim_value);
        else text_printf(&o, "%.40s", str_or(s->dim[i]->dim_param, "?"));
    }
    if (s) text_put(&o, s->n_dim ? "]" : "[]");
    return text_str(&o);
}

/* Sizes that the model leaves open have been fixed from outside? */
static bool is_fixed_outside(const importer *imp)
{
    for (int i = 0; i < imp->options->n_dims; i++)
        if (imp->options->dims[i].lo == imp->options->dims[i].hi) return true;
    return imp->options->is_specialized || imp->options->n_binds > 0 || imp->foreign;
}

/* What the file says of a value must not contradict what was computed. Sizes are compared where both are
 * numbers by the file alone: exporters write the traced size of an inner value although the input's is open.
 */
static void check_declared(importer *imp, graph *g, const char *name, const type_proto *t, value v)
{
    if (!t || !t->tensor_type || !is_value(v) || failed(imp, g)) return;
    type have = type_of(g, v);
    int code = t->tensor_type->elem_type;
    const shape_proto *s = t->tensor_type->shape;
    bool same = code == 0 || onnx_dtype(code) == have.dtype;
    if (s && same) {
        same = (int)s->n_dim == have.rank;
        for (int i = 0; same && i < have.rank; i++) {
            int64_t k;
            bool is_number = s->dim[i]->has_dim_value && s->dim[i]->dim_value >= 0 && !is_fixed_outside(imp);
            if (is_number && dim_is_const(have.dims[i], &k)) same = k == s->dim[i]->dim_value;
        }
    }
    if (same) return;
    text o = { .a = imp->scratch };
    type_print(g, have, &o);
    diag_onnx_type(imp->ctx, g->at, name, show_proto(imp, t), text_str(&o));
    imp->failed = true;
}

/* -- --bind ---------------------------------------------------------------------------------------------- */

static bool store_element(dtype t, const char *s, char **end, void *to)
{
    if (strncmp(s, "true", 4) == 0 || strncmp(s, "false", 5) == 0) {
        bool v = *s == 't';
        *end = (char *)(uintptr_t)s + (v ? 4 : 5);
        if (t != DTYPE_bool) return false;
        *(uint8_t *)to = v;
        return true;
    }
    errno = 0;
    if (t == DTYPE_f32 || t == DTYPE_f64) {
        double v = strtod(s, end);
        float f = (float)v;
        memcpy(to, t == DTYPE_f64 ? (void *)&v : (void *)&f, (size_t)dtype_bytes(t));
        return *end != s;
    }
    if (!is_int(t) && t != DTYPE_bool) return false;
    long long v = strtoll(s, end, 0);
    int bits = 8 * dtype_bytes(t);
    bool fits = bits == 64 || (is_signed(t) ? v >= -(1ll << (bits - 1)) && v < 1ll << (bits - 1)
                                            : v >= 0 && v < 1ll << bits);
    memcpy(to, &v, (size_t)dtype_bytes(t));
    return *end != s && errno == 0 && fits;
}

/* The option's elements as a constant of this type; an open dimension of a vector takes their number. */
static value bound_value(importer *imp, graph *g, const onnx_bind_option *b, type t)
{
    int64_t n = 1;
    for (const char *p = b->values; *p; p++) n += *p == ',';
    uint8_t *elements = arena_array(imp->scratch, (size_t)n, 8);
    int size = dtype_bytes(t.dtype);
    char *p = (char *)(uintptr_t)b->values;
    for (int64_t i = 0; i < n; i++, p += *p == ',') {
        char *end = p;
        if (!store_element(t.dtype, p, &end, elements + i * size) || (*end && *end != ',')) {
            option_error(imp,
                         arena_printf(imp->scratch, "--bind %.100s: element %lld of \"%.100s\" is not a %s",
                                      b->name, (long long)i, b->values, dtype_info[t.dtype].name));
            return NO_VALUE;
        }
        p = end;
    }
    dim d[MAX_RANK];
    int64_t have = 1, k;
    for (int i = 0; i < t.rank; i++) {
        d[i] = t.rank == 1 && !dim_is_const(t.dims[0], NULL) ? dim_const(n) : t.dims[i];
        have = dim_is_const(d[i], &k) && have >= 0 && mul_ok(have, k, &have) ? have : -1;
    }
    if (have == n) return constant(g, t.dtype, t.rank, d, elements, NULL);
    text o = { .a = imp->scratch };
    type_print(g, t, &o);
    option_error(imp, arena_printf(imp->scratch, "--bind %.100s gives %lld elements, the value is %.100s",
                                   b->name, (long long)n, text_str(&o)));
    return NO_VALUE;
}

static edge bound_edge(importer *imp, scope *s, const char *name, edge e)
{
    uint64_t *at = imp->binds.n && in_main_graph(imp, s) ? map_find(&imp->binds, name, strlen(name)) : NULL;
    if (!at || e.kind != EDGE_TENSOR || !is_value(e.v)) return e;
    imp->is_bound[*at] = true;
    e.v = bound_value(imp, s->g, &imp->options->binds[*at], type_of(s->g, e.v));
    return e;
}

/* -- Nodes ----------------------------------------------------------------------------------------------- */

void bind_result(importer *imp, scope *s, const char *name, edge e)
{
    if (in_main_graph(imp, s)) {
        uint64_t *declared = imp->declared.n ? map_find(&imp->declared, name, strlen(name)) : NULL;
        if (declared && e.kind == EDGE_TENSOR)
            check_declared(imp, s->g, name, (const type_proto *)(uintptr_t)*declared, e.v);
        e = separate_edge(imp, name, bound_edge(imp, s, name, e));
    }
    if (e.kind == EDGE_TENSOR && is_value(e.v)) {
        type t = type_of(s->g, e.v);
        if (is_too_large(s->g, t.dtype, t.rank, t.dims))
            type_error(imp, s->g->at, name, "has more than 2^38 bytes", true);
        if (!s->g->names.at[e.v.id]) set_name(s->g, e.v, arena_strdup(imp->a, name));
    }
    scope_define(imp, s, name, (slot){ .e = e });
}

static void node_error(importer *imp, graph *g, const char *what)
{
    diag_onnx_node(imp->ctx, g->at, what);
    imp->failed = true;
}

/* The edges a node reads. False: something is not defined, which the checks would have found, or an error. */
static bool read_inputs(importer *imp, scope *s, const node_proto *n, edge *in)
{
    for (size_t i = 0; i < n->n_input; i++) {
        in[i] = (edge){ .kind = EDGE_ABSENT };
        if (*n->input[i] && !scope_find(imp, s, n->input[i], &in[i])) {
            if (!failed(imp, s->g) && imp->ctx->n_errors == 0)
                diag_onnx_undefined(imp->ctx, s->g->at, n->input[i], "nothing defines");
            imp->failed = true;
            return false;
        }
    }
    return !failed(imp, s->g);
}

/* Element types against the signature: allowed, and equal where the standard uses one variable. */
static void check_types(importer *imp, graph *g, const resolved_op *r, int n_in, const edge *in)
{
    int code[MAX_VARS] = { 0 };
    for (int i = 0; i < n_in; i++) {
        const standard_param *p = standard_param_at(&r->inputs, i);
        if (!p || in[i].kind != EDGE_TENSOR || !is_value(in[i].v) || p->var >= MAX_VARS) continue;
        int have = onnx_dtype_code(type_of(g, in[i].v).dtype);
        if (!(p->mask >> have & 1)) {
            node_error(imp, g,
                       arena_printf(imp->scratch,
                                    "input %d is %s, which version %d of the operator does not take", i,
                                    onnx_type_name(have), r->standard->since));
            return;
        }
        if (p->mode == '~') continue;
        if (code[p->var] && code[p->var] != have) {
            node_error(imp, g,
                       arena_printf(imp->scratch, "input %d is %s where another input of the same type is %s",
                                    i, onnx_type_name(have), onnx_type_name(code[p->var])));
            return;
        }
        code[p->var] = have;
    }
}

static void call_operator(importer *imp, scope *s, const node_proto *n, const resolved_op *r, edge *in,
                          edge *out)
{
    op_call c = {
        .imp = imp, .g = s->g, .name = str_or(s->g->at.node, ""), .op = r->row->name,
        .domain = r->row->domain,
        .version = r->version, .opset = r->opset, .n_in = (int)n->n_input, .n_out = (int)n->n_output,
        .in = in, .out = out,
        .node = n, .scope = s
    };
    while (c.n_out > 0 && !*n->output[c.n_out - 1]) c.n_out--;      /* trailing empty names ask for nothing */
    if (r->standard) check_types(imp, s->g, r, c.n_in, in);
    if (imp->failed) return;
    r->row->fn(&c, s->g);
    imp->failed |= c.failed;
    for (int i = 0; i < c.n_out && !failed(imp, s->g); i++) {
        if (!*n->output[i]) continue;
        if (out[i].kind == EDGE_ABSENT || (out[i].kind == EDGE_TENSOR && !is_value(out[i].v))) {
            diag_onnx_op_unsupported(imp->ctx, s->g->at, arena_printf(imp->scratch, "output %d", i));
            imp->failed = true;
        }
    }
}

/* A node whose operator is defined elsewhere. */
static void call_defined(importer *imp, scope *s, const node_proto *n, const resolved_op *r, const edge *in,
                         edge *out)
{
    op_call c = { .imp = imp,
                  .g = s->g,
                  .name = str_or(s->g->at.node, ""),
                  .op = r->op,
                  .domain = r->domain,
                  .opset = r->opset,
                  .n_in = (int)n->n_input,
                  .n_out = (int)n->n_output,
                  .in = in,
                  .out = out,
                  .node = n,
                  .scope = s };
    while (c.n_out > 0 && !*n->output[c.n_out - 1]) c.n_out--;
    place at = s->g->at;
    op_call_defined(&c, r->defined);
    imp->failed |= c.failed;
    if (!failed(imp, s->g)) return;
    diag_onnx_called_by(imp->ctx, at, r->domain, r->op);
    imp->failed = true;
}

static void set_place(importer *imp, scope *s, const node_proto *n, const char *op)
{
    const char *name = n->name && *n->name ? n->name : n->n_output ? n->output[0] : "";
    s->g->at = (place){ .file = imp->path,
                        .op = op,
                        .node = *s->path ? arena_printf(imp->a, "%s%s", s->path, name)
                                         : arena_strdup(imp->a, name) };
}

typedef struct {
    scope *s;
    size_t n, next;
    node_proto *const *nodes;
    const function_info *function;     /* whose nodes these are: NULL for the first frame */
    const node_proto *call;            /* the node that called it, in the frame below */
    place at;                          /* of that node */
} frame;

static scope *open_function(importer *imp, scope *caller, const node_proto *n, function_info *f,
                            const edge *in)
{
    scope *s = NEW(imp->scratch, scope);
    scope_open(imp, s, NULL, caller->g, NULL);
    call_env *env = NEW(imp->scratch, call_env);
    *env = (call_env){ f->proto, n, caller->env };
    s->env = env;
    s->opsets = &f->opsets;
    s->path = arena_printf(imp->scratch, "%s/", caller->g->at.node);
    for (size_t i = 0; i < f->proto->n_input; i++)
        scope_define(imp, s, f->proto->input[i],
                     (slot){ .e = i < n->n_input ? in[i] : (edge){ .kind = EDGE_ABSENT } });
    return s;
}

static void close_function(importer *imp, const frame *f, scope *caller)
{
    caller->g->at = f->at;
    for (size_t i = 0; i < f->call->n_output && !imp->failed; i++) {
        edge e;
        if (!*f->call->output[i]) continue;
        if (scope_find(imp, f->s, f->function->proto->output[i], &e))
            bind_result(imp, caller, f->call->output[i], e);
        else imp->failed = true;
    }
}

/* One node that is not a call of a function: its edges live on this frame of the C stack if they are few. */
static void build_node(importer *imp, scope *s, const node_proto *n, const resolved_op *r)
{
    enum { FEW = 12 };
    edge few_in[FEW], few_out[FEW];
    edge *in = n->n_input <= FEW ? few_in : NEW_ARRAY(imp->scratch, edge, n->n_input);
    edge *out = n->n_output <= FEW ? few_out : NEW_ARRAY(imp->scratch, edge, n->n_output);
    for (size_t i = 0; i < n->n_output; i++) out[i] = (edge){ .kind = EDGE_ABSENT };
    if (!read_inputs(imp, s, n, in)) return;
    if (r->defined) call_defined(imp, s, n, r, in, out);
    else call_operator(imp, s, n, r, in, out);
    for (size_t i = 0; i < n->n_output && !failed(imp, s->g); i++)
        if (*n->output[i]) bind_result(imp, s, n->output[i], out[i]);
}

bool run_nodes(importer *imp, scope *s, size_t n, node_proto *const *nodes)
{
    enum { MAX_BUILT = 20000000 };
    vec(frame) stack = { 0 };
    vec_push(imp->scratch, &stack, ((frame){ .s = s, .n = n, .nodes = nodes }));
    while (stack.n && !failed(imp, s->g)) {
        frame *f = &stack.at[stack.n - 1];
        if (f->next == f->n) {
            frame done = vec_pop(&stack);
            if (stack.n) close_function(imp, &done, stack.at[stack.n - 1].s);
            continue;
        }
        const node_proto *p = f->nodes[f->next++];
        resolved_op *r = resolve(imp, f->s->opsets, p);
        set_place(imp, f->s, p, r->row ? r->row->name : arena_strdup(imp->a, r->op));
        if (++imp->n_built > MAX_BUILT) {
            diag_onnx_limit(imp->ctx, s->g->at, "bodies and functions expand to over 20,000,000 nodes");
            imp->failed = true;
        } else if (r->function) {
            edge *in = NEW_ARRAY(imp->scratch, edge, p->n_input);
            if (!read_inputs(imp, f->s, p, in)) break;
            scope *inner = open_function(imp, f->s, p, r->function, in);
            frame call = {
                inner, r->function->proto->n_node, 0, r->function->proto->node, r->function, p, f->s->g->at
            };
            vec_push(imp->scratch, &stack, call);
        } else {
            build_node(imp, f->s, p, r);
        }
    }
    return !failed(imp, s->g);
}

/* -- The main graph -------------------------------------------------------------------------------------- */

static void define_initializers(importer *imp, scope *s, const graph_proto *g)
{
    for (size_t i = 0; i < g->n_initializer; i++)
        scope_define(imp, s, g->initializer[i]->name, (slot){ .init = g->initializer[i] });
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values->name)
            scope_define(imp, s, g->sparse_initializer[i]->values->name,
                         (slot){ .sparse = g->sparse_initializer[i] });
}

/* The offered value of an input that was found to decide a structure. */
static value offered_value(importer *imp, graph *g, const char *name, int offer, type t)
{
    const onnx_tensor *o = &imp->options->offers[offer];
    tensor_data d = { .dtype = o->dtype, .rank = o->rank, .n = o->n, .bytes = o->bytes };
    memcpy(d.dims, o->dims, sizeof d.dims);
    if (o->dtype == t.dtype && o->rank == t.rank) return tensor_constant(g, &d, arena_strdup(imp->a, name));
    option_error(imp,
                 arena_printf(imp->scratch,
                              "the value given for input \"%.100s\" is %s of rank %d, not %s of rank %d",
                              name, dtype_info[o->dtype].name, o->rank, dtype_info[t.dtype].name, t.rank));
    return NO_VALUE;
}

/* Open dimensions of inputs take the sizes of the values offered for them; --dim goes first. */
static void specialize(importer *imp, scope *s, const graph_proto *g)
{
    int offer = 0;
    for (size_t i = 0; i < g->n_input && offer < imp->options->n_offers; i++) {
        const char *name = g->input[i]->name;
        const type_proto *t = g->input[i]->type;
        if (map_find(&s->names, name, strlen(name))) continue;
        const onnx_tensor *o = &imp->options->offers[offer++];
        const shape_proto *p = t && t->tensor_type ? t->tensor_type->shape : NULL;
        for (int k = 0; p && k < o->rank && (size_t)o->rank == p->n_dim; k++) {
            const Onnx__TensorShapeProto__Dimension *d = p->dim[k];
            if (d->has_dim_value && d->dim_value != -1) continue;
            const char *symbol = is_named(d->dim_param) ? d->dim_param
                                                        : arena_printf(imp->scratch, "%s.%d", name, k);
            bool is_asked = false;
            for (int j = 0; j < imp->options->n_dims; j++)
                is_asked |= strcmp(imp->options->dims[j].name, symbol) == 0;
            if (!is_asked)
                map_put(&imp->symbols, symbol, strlen(symbol), (uint64_t)dim_const(o->dims[k]).code, NULL);
        }
    }
}

/* An input that is a sequence or optional: one input of the graph for each item offered. */
static void define_items(importer *imp, scope *s, const char *name, int ordinal)
{
    const onnx_tensor *o = ordinal < imp->options->n_offers ? &imp->options->offers[ordinal] : NULL;
    if (!o || o->kind == ONNX_TENSOR) {
        type_error(imp, s->g->at, name,
                   "is a sequence or optional, of which the length must be known: not implemented", true);
        return;
    }
    edge *items = NEW_ARRAY(imp->a, edge, o->n_items + 1);
    for (int k = 0; k < o->n_items; k++) {
        const onnx_tensor *t = &o->items[k];
        dim d[MAX_RANK];
        for (int i = 0; i < t->rank; i++) d[i] = dim_const(t->dims[i]);
        items[k] = (edge){ .kind = EDGE_TENSOR,
                           .v = input(s->g, arena_printf(imp->a, "%s[%d]", name, k), t->dtype, t->rank, d) };
        vec_push(imp->scratch, &imp->offer_of_input, -1);
    }
    edge e = { .kind = EDGE_SEQUENCE,
               .n = o->n_items,
               .items = items,
               .dtype = o->n_items ? o->items[0].dtype : DTYPE_f32 };
    if (o->is_absent) e = (edge){ .kind = EDGE_NONE, .dtype = DTYPE_f32 };
    else if (o->kind == ONNX_OPTIONAL) e = items[0];
    scope_define(imp, s, name, (slot){ .e = e });
}

static void define_inputs(importer *imp, scope *s, const graph_proto *g)
{
    int ordinal = 0;
    for (size_t i = 0; i < g->n_input && !failed(imp, s->g); i++) {
        const char *name = g->input[i]->name;
        place at = { .file = imp->path };
        if (map_find(&s->names, name, strlen(name))) continue;        /* an initializer: constant */
        dtype dt;
        int rank;
        dim d[MAX_RANK];
        s->g->at = at;
        if (declared_kind(g->input[i]->type) != ONNX_TENSOR) {
            define_items(imp, s, name, ordinal++);
            continue;
        }
        if (!read_type(imp, s->g, name, g->input[i]->type, at, &dt, &rank, d)) continue;
        uint64_t *bound = map_find(&imp->binds, name, strlen(name));
        int offer = ordinal < imp->options->n_offers ? ordinal : -1;
        type t = { dt, rank, d };
        value v;
        ordinal++;
        if (imp->foreign) {
            v = foreign_input(imp, s->g, name, ordinal - 1);
        } else if (bound) {
            imp->is_bound[*bound] = true;
            v = bound_value(imp, s->g, &imp->options->binds[*bound], t);
        } else if (offer >= 0 && imp->options->is_offer_taken[offer]) {
            v = offered_value(imp, s->g, name, offer, t);
        } else {
            v = input(s->g, arena_strdup(imp->a, name), dt, rank, d);
            vec_push(imp->scratch, &imp->offer_of_input, offer);
        }
        scope_define(imp, s, name, (slot){ .e = { .kind = EDGE_TENSOR, .v = v } });
    }
}

static void define_outputs(importer *imp, scope *s, const graph_proto *g)
{
    s->g->at = (place){ .file = imp->path };
    for (size_t i = 0; i < g->n_output && !failed(imp, s->g); i++) {
        const char *name = g->output[i]->name;
        edge e;
        if (!scope_find(imp, s, name, &e)) {
            imp->failed = true;
        } else if (e.kind == EDGE_SEQUENCE) {
            for (int k = 0; k < e.n; k++) {
                if (e.items[k].kind == EDGE_TENSOR)
                    add_result(s->g, e.items[k].v, arena_printf(imp->a, "%s[%d]", name, k));
                else
                    type_error(imp, s->g->at, name,
                               "is an output of the graph with sequences inside, which is not implemented",
                               true);
            }
        } else if (e.kind == EDGE_TENSOR) {
            check_declared(imp, s->g, name, g->output[i]->type, e.v);
            add_result(s->g, e.v, arena_strdup(imp->a, name));
        }
    }
}

/* -- Options --------------------------------------------------------------------------------------------- */

static void read_options(importer *imp)
{
    const onnx_options *o = imp->options;
    imp->is_bound = NEW_ARRAY(imp->scratch, bool, o->n_binds + 1);
    imp->is_dim_used = NEW_ARRAY(imp->scratch, bool, o->n_dims + 1);
    for (int i = 0; i < o->n_binds; i++)
        map_put(&imp->binds, o->binds[i].name, strlen(o->binds[i].name), (uint64_t)i, NULL);
    for (int i = 0; i < o->n_dims; i++)
        if (o->dims[i].lo < 0 || o->dims[i].lo > o->dims[i].hi || o->dims[i].hi >= (int64_t)1 << 31)
            option_error(imp,
                         arena_printf(imp->scratch, "--dim %.100s=%lld..%lld: sizes lie in 0..2147483647",
                                      o->dims[i].name, (long long)o->dims[i].lo, (long long)o->dims[i].hi));
}

static void check_options_used(importer *imp)
{
    const onnx_options *o = imp->options;
    text open = { .a = imp->scratch };
    for (int64_t i = 0; i < imp->symbols.n && i < 20; i++) {
        if (i) text_put(&open, ", ");
        text_put_escaped(&open, imp->symbols.entries[i].key, imp->symbols.entries[i].len, 60);
    }
    for (int i = 0; i < o->n_dims; i++)
        if (!imp->is_dim_used[i])
            option_error(imp, arena_printf(imp->scratch,
                                           "--dim %.100s: the model has no open dimension of that name%s%s",
                                           o->dims[i].name, open.n ? "; it has " : "", text_str(&open)));
    for (int i = 0; i < o->n_binds; i++)
        if (!imp->is_bound[i])
            option_error(imp, arena_printf(imp->scratch,
                                           "--bind %.100s: the model's main graph has no value of that name",
                                           o->binds[i].name));
}

/* -- Entry ----------------------------------------------------------------------------------------------- */

/* After an error that speaks of open dimensions: they could be fixed. */
static void note_open_dims(importer *imp)
{
    const dlc_context *ctx = imp->ctx;
    if (ctx->diags.n == 0) return;
    const char *message = ctx->diags.at[ctx->diags.n - 1].message;
    text t = { .a = imp->scratch };
    int n = 0;
    for (int64_t i = 0; i < imp->symbols.n && n < 8; i++) {
        const struct map_entry *e = &imp->symbols.entries[i];
        dim d = { (int64_t)e->value };
        if (e->len == 0 || dim_is_const(d, NULL) || !strstr(message, e->key)) continue;
        if (n++) text_put(&t, ", ");
        text_put_escaped(&t, e->key, e->len, 60);
    }
    if (n == 0) return;
    text_put(&t, n == 1 ? " is" : " are");
    diag_onnx_open_dims(imp->ctx, (place){ .file = imp->path }, text_str(&t));
}

static bool build_once(importer *imp)
{
    const graph_proto *g = imp->model->graph;
    imp->failed = imp->wants_restart = false;
    imp->offer_of_input.n = 0;
    imp->n_bodies = 0;
    map_init(&imp->symbols, imp->scratch);
    imp->separate.n = imp->separate_from.n = 0;
    imp->g = graph_new(imp->ctx, imp->a, imp->foreign ? imp->foreign->dims : dims_new(imp->ctx, imp->a),
                       arena_strdup(imp->a, g->name && *g->name ? g->name : "main"));
    read_options(imp);
    scope s;
    scope_open(imp, &s, NULL, imp->g, NULL);
    s.opsets = &imp->opsets;
    define_initializers(imp, &s, g);
    if (imp->options->is_specialized) specialize(imp, &s, g);
    if (imp->foreign) foreign_types(imp, &s, g);
    if (!imp->failed) define_inputs(imp, &s, g);
    if (imp->foreign && !imp->failed) foreign_parameters(imp, &s);
    if (!failed(imp, imp->g)) separate_initializers(imp, &s);
    if (!failed(imp, imp->g)) run_nodes(imp, &s, g->n_node, g->node);
    if (!failed(imp, imp->g)) define_outputs(imp, &s, g);
    if (imp->foreign && !failed(imp, imp->g)) foreign_results(imp, imp->g);
    if (!failed(imp, imp->g)) check_options_used(imp);
    return !failed(imp, imp->g);
}

/* Each try after the first has taken one more of the offered values, or knows more about the open dimensions.
 * The tries that merge symbols end because each leaves one less. */
enum { MOST_NARROWED = 4 };

static bool build(importer *imp)
{
    const graph_proto *g = imp->model->graph;
    for (size_t i = 0; i < g->n_value_info; i++)
        if (g->value_info[i]->name)
            map_put(&imp->declared, g->value_info[i]->name, strlen(g->value_info[i]->name),
                    (uint64_t)(uintptr_t)g->value_info[i]->type, NULL);
    separate_find(imp, g->n_node, g->node);
    dlc_context *ctx = imp->ctx;
    int64_t n_diags = ctx->diags.n;
    int n_errors = ctx->n_errors;
    dlc_status status = ctx->status;
    for (int narrowed = 0;;) {
        bool built = build_once(imp);
        if (built && (narrowed == MOST_NARROWED || !bounds_changed(imp))) break;
        if (!built && !imp->wants_restart && !merge_symbols(imp)) {
            note_open_dims(imp);
            return false;
        }
        narrowed += built;
        ctx->diags.n = n_diags;
        ctx->n_errors = n_errors;
        ctx->status = status;
    }
    if (imp->separate.n) imp->g = separate_join(imp);
    return !failed(imp, imp->g);
}

void import_begin(importer *imp, dlc_context *ctx, arena *a, arena *scratch, const char *path,
                  const onnx_options *options)
{
    static const onnx_options none = { 0 };
    *imp = (importer){ .ctx = ctx, .a = a, .scratch = scratch, .options = options ? options : &none,
                       .path = arena_strdup(a, path) };
    map_init(&imp->declared, scratch);
    map_init(&imp->binds, scratch);
    map_init(&imp->by_gradient, scratch);
}

bool import_model(importer *imp) { return check_model(imp) && build(imp); }

dlc_status onnx_import_bytes(dlc_context *ctx, arena *a, const char *path, bytes file,
                             const onnx_options *options, graph **out)
{
    int errors_before = ctx->n_errors;
    *out = NULL;
    arena *scratch = arena_new(&ctx->mem);
    importer *imp = NEW(scratch, importer);
    import_begin(imp, ctx, a, scratch, path, options);
    if (decode_message(ctx, scratch, imp->path, file, &onnx__model_proto__descriptor, &imp->file)) {
        imp->model = (const model_proto *)imp->file.root;
        imp->source = (tensor_source){ ctx, a, &imp->file, external_new(ctx, a, imp->path) };
        if (import_model(imp)) *out = imp->g;
    }
    arena_free(scratch);
    if (*out) return DLC_OK;
    return ctx->n_errors > errors_before && ctx->status ? ctx->status : DLC_ERR_INTERNAL;
}

dlc_status onnx_import(dlc_context *ctx, arena *a, const char *path, const onnx_options *options, graph **out)
{
    bytes file;
    *out = NULL;
    return onnx_map(ctx, a, path, &file) ? onnx_import_bytes(ctx, a, path, file, options, out)
                                         : DLC_ERR_INPUT;
}
