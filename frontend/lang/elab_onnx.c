/* elab_onnx: models and operators of ONNX in a program, and operators of a program in models of ONNX
 * (reference, section 9)
 *
 * What   `use "net.onnx" as Net` makes Net a model: called with tensors, its graph is built for their types
 *        by the other front end and put in place; its initializers are parameters Net.<initializer>.
 *        `onnx.Name(...)` builds one operator, attributes by name. The `op` definitions of a program are
 *        handed over as a library of operators.
 * How    All by the functions of ir/interop.h: nothing here knows how ONNX is read. Calls that come back from
 *        there (an operator of the program, a body given as a function) have a place of their own to which
 *        errors jump, since the other front end is on the stack between; it is then told that the call
 *        failed.
 */
#include "frontend/lang/elab.h"

enum { MAX_INPUTS = 256 };

/* -- Parameters ------------------------------------------------------------------------------------------ */

parameter *net_parameter(elab *e, const ast *at, const char *path, const char *name, const tensor *first)
{
    uint64_t *known = map_find(&e->param_at, path, strlen(path));
    if (known) return e->params.at[*known];
    if (e->in_operator) elab_error(e, at, NULL, onnx_function_parameters);
    dim *d = NEW_ARRAY(e->a, dim, MAX_RANK);
    for (int i = 0; i < first->rank; i++) d[i] = dim_const(first->dims[i]);
    type t = { .dtype = first->dtype, .rank = first->rank, .dims = d };
    frame *inner = e->fr;
    parameter *p = NEW(e->a, parameter);
    *p = (parameter){ .path = path, .name = name, .t = t, .g = e->top->g };
    e->fr = e->top;
    if (e->init) {
        p->init = constant_borrowed(e->init->g, t.dtype, t.rank, t.dims, first->bytes, path);
        p->v = input(e->top->g, path, t.dtype, t.rank, t.dims);
    } else {
        val v = e->o->weight
                    ? trained_value(e, at, t, path)
                    : v_tensor(e, constant_borrowed(e->top->g, t.dtype, t.rank, t.dims, first->bytes, path));
        p->v = kept_apart(e, v).v;
    }
    e->fr = inner;
    bool fresh;
    map_put(&e->param_at, path, strlen(path), (uint64_t)e->params.n, &fresh);
    vec_push(e->a, &e->params, p);
    return p;
}

/* -- A model --------------------------------------------------------------------------------------------- */

static const char *declared(elab *e, const model_input *p)
{
    text t = { .a = e->a };
    text_put(&t, dtype_info[p->dtype].name);
    for (int i = 0; i < p->rank; i++) {
        text_put(&t, i ? ", " : "[");
        if (p->size[i] >= 0) text_printf(&t, "%lld", (long long)p->size[i]);
        else text_put(&t, p->symbol[i]);
    }
    if (p->rank) text_put(&t, "]");
    return text_str(&t);
}

typedef struct { const char *name, *from; dim d; } open_dim;

/* The sizes of an argument, against those declared; names take the size they meet first. */
static void match_sizes(elab *e, const ast *at, const net *f, const model_input *p, const val *x,
                        open_dim *open, int *n_open)
{
    for (int k = 0; k < p->rank; k++) {
        dim have = dim_v(e, x, k);
        const char *shown = show_value(e, &(val){ .k = V_INT, .d = have });
        if (p->size[k] >= 0) {
            if (!dim_is(have, p->size[k]))
                elab_error(e, at, NULL, model_dim, p->name, f->name, shown, (long long)p->size[k]);
            continue;
        }
        int i = 0;
        while (i < *n_open && strcmp(open[i].name, p->symbol[k]) != 0) i++;
        if (i == *n_open) open[(*n_open)++] = (open_dim){ p->symbol[k], p->name, have };
        else if (!dim_same(open[i].d, have))
            elab_error(e, at, NULL, model_dim_is, p->name, f->name, shown, p->symbol[k],
                       show_value(e, &(val){ .k = V_INT, .d = open[i].d }), open[i].from);
    }
}

static val net_argument(elab *e, const ast *at, const net *f, const model_input *p, val x)
{
    if (x.k == V_TENSOR && x.is_elem) elab_error(e, at, NULL, model_in_index);
    if (x.k != V_TENSOR && !is_number(&x) && x.k != V_LIST)
        elab_error(e, at, x.k == V_LAYER ? "apply it: `layer(x)`" : NULL, model_argument_tensor, p->name,
                   f->name, declared(e, p), show_kind(e, &x));
    x = to_tensor(e, at, x, p->dtype);
    if (dtype_v(&x) != p->dtype)
        elab_error(e, at, arena_printf(e->a, "convert it: %s(x)", dtype_info[p->dtype].name),
                   model_argument_type, p->name, f->name, declared(e, p), show_value(e, &x));
    if (rank_v(e, &x) != p->rank)
        elab_error(e, at, NULL, model_argument_rank, p->name, f->name, p->rank, p->rank == 1 ? "" : "s",
                   rank_v(e, &x));
    return x;
}

static int net_input(elab *e, const ast *at, const net *f, const char *name)
{
    const char *all[MAX_INPUTS] = { NULL };
    for (int i = 0; i < f->sig.n_in; i++) {
        if (strcmp(f->sig.in[i].name, name) == 0) return i;
        all[i] = f->sig.in[i].name;
    }
    const char *near = lang_near(name, f->sig.n_in, all);
    elab_error(e, at, near ? arena_printf(e->a, "did you mean `%s`?", near) : NULL, no_model_argument,
               f->name, name);
}

/* A statistic is a state that the model updates. */
static void move_statistic(elab *e, const net *f, const char *name, value now)
{
    const char *path = arena_printf(e->a, "%s.%s", f->name, name);
    parameter *p = e->params.at[*map_find(&e->param_at, path, strlen(path))];
    if (!p->cell) p->cell = NEW(e->a, state_cell);
    *p->cell = (state_cell){ .path = path, .now = v_tensor(e, now), .t = p->t };
}

val net_call(elab *e, const ast *at, const net *f, int n_pos, const val *pos, const ast *const *pos_at,
             int n_named, const char *const *names, const val *named, const ast *const *named_at)
{
    int n = f->sig.n_in, n_open = 0;
    val x[MAX_INPUTS];
    const ast *where[MAX_INPUTS] = { NULL };
    if (n > MAX_INPUTS) elab_error(e, at, NULL, model_too_many_inputs, f->name, MAX_INPUTS);
    if (n_pos > n) elab_error(e, pos_at[n], NULL, model_argument_count, f->name, n, n == 1 ? "" : "s", n_pos);
    for (int i = 0; i < n_pos; i++) { x[i] = pos[i]; where[i] = pos_at[i]; }
    for (int k = 0; k < n_named; k++) {
        int i = net_input(e, named_at[k], f, names[k]);
        if (where[i]) elab_error(e, named_at[k], NULL, argument_twice, names[k], f->name);
        x[i] = named[k];
        where[i] = named_at[k];
    }
    open_dim *open = NEW_ARRAY(e->a, open_dim, n * MAX_RANK + 1);
    type *types = NEW_ARRAY(e->a, type, n + 1);
    for (int i = 0; i < n; i++) {
        if (!where[i]) elab_error(e, at, NULL, model_argument_missing, f->name, f->sig.in[i].name);
        x[i] = net_argument(e, where[i], f, &f->sig.in[i], x[i]);
        match_sizes(e, where[i], f, &f->sig.in[i], &x[i], open, &n_open);
        types[i] = type_of(x[i].g, x[i].v);
    }
    operator_library ops = elab_operators(e->a, 1, &e);
    model_graph m;
    bool by_batch = e->o->by_batch && e->training && e->fr == e->top;
    if (!e->o->onnx->model(e->o->onnx->arg, e->ctx, e->a, f->path, e->dims, n, types, &ops, by_batch, &m))
        longjmp(*e->l->stop, 1);
    value *in = NEW_ARRAY(e->a, value, n + m.n_params + 1), *out = NEW_ARRAY(e->a, value, m.g->results.n + 1);
    for (int i = 0; i < n; i++) in[i] = here(e, &x[i]);
    for (int k = 0; k < m.n_params; k++) {
        const char *name = m.params[k].name, *path = arena_printf(e->a, "%s.%s", f->name, name);
        parameter *p = net_parameter(e, at, path, name, &m.params[k].first);
        p->is_state |= m.params[k].is_statistic;
        in[n + k] = here(e, p->cell ? &p->cell->now : &(val){ .k = V_TENSOR, .g = p->g, .v = p->v });
    }
    if (!graph_inline(e->fr->g, m.g, in, out)) longjmp(*e->l->stop, 1);
    int n_out = (int)m.g->results.n - m.n_moved;
    for (int i = 0; i < m.n_moved; i++) move_statistic(e, f, m.params[m.moved[i]].name, out[n_out + i]);
    if (n_out == 1) return v_tensor(e, out[0]);
    val r = { .k = V_TUPLE,
              .n = n_out,
              .item = NEW_ARRAY(e->a, val, n_out + 1),
              .names = NEW_ARRAY(e->a, const char *, n_out + 1) };
    for (int i = 0; i < n_out; i++) {
        const char *name = m.g->result_names.at[i];
        r.item[i] = v_tensor(e, out[i]);
        r.names[i] = name ? lang_intern(e->l, name, strlen(name)) : NULL;
    }
    return r;
}

/* -- Calls that come back -------------------------------------------------------------------------------- */

/* The walk as it stands, while the other front end calls back into it for a graph of its own. */
typedef struct {
    frame *fr, *top, *init;
    dims *dims;
    call_site *site;
    jmp_buf *stop;
    int64_t n_idx;
    int n_axes, depth;
    bool in_index, in_operator;
    place at;
} walk_state;

static walk_state leave_walk(elab *e)
{
    return (walk_state){ .fr = e->fr,
                         .top = e->top,
                         .init = e->init,
                         .dims = e->dims,
                         .site = e->site,
                         .stop = e->l->stop,
                         .n_idx = e->idx.n,
                         .n_axes = e->n_axes,
                         .depth = e->depth,
                         .in_index = e->in_index,
                         .in_operator = e->in_operator,
                         .at = e->fr ? e->fr->g->at : (place){ 0 } };
}

static void resume_walk(elab *e, const walk_state *s)
{
    e->fr = s->fr;
    e->top = s->top;
    e->init = s->init;
    e->dims = s->dims;
    e->site = s->site;
    e->l->stop = s->stop;
    e->idx.n = s->n_idx;
    e->n_axes = s->n_axes;
    e->depth = s->depth;
    e->in_index = s->in_index;
    e->in_operator = s->in_operator;
    if (e->fr) e->fr->g->at = s->at;
}

static val operand_value(elab *e, graph *g, const op_value *o)
{
    if (o->kind == OPERAND_ABSENT) return v_none();
    if (o->kind == OPERAND_TENSOR) return (val){ .k = V_TENSOR, .g = g, .v = o->v };
    val *items = NEW_ARRAY(e->a, val, o->n + 1);
    for (int i = 0; i < o->n; i++) items[i] = operand_value(e, g, &o->items[i]);
    return v_list(e, o->n, items);
}

static op_value value_operand(elab *e, const ast *at, val v)
{
    if (v.k == V_NONE) return (op_value){ .kind = OPERAND_ABSENT };
    if (v.k != V_LIST || !v.n || v.item[0].k != V_TENSOR)
        return (op_value){ .kind = OPERAND_TENSOR, .v = to_tensor(e, at, v, DTYPE_NONE).v };
    op_value *items = NEW_ARRAY(e->a, op_value, v.n + 1);
    for (int i = 0; i < v.n; i++) items[i] = value_operand(e, at, v.item[i]);
    return (op_value){ .kind = OPERAND_LIST, .n = v.n, .items = items };
}

/* -- Operators of the program ---------------------------------------------------------------------------- */

typedef struct { elab *e; ast *d; module *home; } definition;
typedef struct { int n; elab *const *e; } programs;

static const void *find_in(elab *e, const char *domain, const char *name)
{
    const char *full = arena_printf(e->a, "%s%s%s", domain, *domain ? "." : "", name);
    for (int64_t i = 0; i < e->modules.n; i++) {
        module *m = e->modules.at[i];
        for (int k = 0; m->file && k < m->file->n; k++) {
            if (m->file->kid[k]->kind != A_DEF_OP || strcmp(m->file->kid[k]->name, full) != 0) continue;
            definition *d = NEW(e->a, definition);
            *d = (definition){ e, m->file->kid[k], m };
            return d;
        }
    }
    return NULL;
}

static const void *find_operator(void *arg, const char *domain, const char *name)
{
    const programs *p = arg;
    const void *d = NULL;
    for (int i = 0; i < p->n && !d; i++) d = find_in(p->e[i], domain, name);
    return d;
}

static val attr_value(elab *e, graph *g, const operator_attr *x)
{
    bool list = x->kind >= 'A' && x->kind <= 'Z';
    if (x->kind == 't') return (val){ .k = V_TENSOR, .g = g, .v = x->t };
    val *items = NEW_ARRAY(e->a, val, x->n + 1);
    for (int i = 0; i < x->n; i++)
        items[i] = (x->kind | 32) == 'i'   ? v_int(x->i[i])
                   : (x->kind | 32) == 'f' ? v_float(x->f[i])
                                           : (val){ .k = V_STRING, .s = x->s[i] };
    return list ? v_list(e, x->n, items) : items[0];
}

static void run_operator(elab *e, const definition *def, graph *g, int n_in, const op_value *in, int n_attrs,
                         const operator_attr *attrs, int n_out, value *out)
{
    frame *f = NEW(e->a, frame);
    *f = (frame){ .g = g };
    e->fr = e->top = f;
    e->init = NULL;
    e->dims = g->dims;
    e->site = NULL;
    e->in_index = false;
    e->in_operator = true;
    ast *d = def->d;
    scope *sc = NEW(e->a, scope);
    sc->path = d->name;
    map_init(&sc->counts, e->a);
    env n = { .mod = def->home, .sc = sc, .hidden = (int)e->idx.n };
    closure *c = NEW(e->a, closure);
    *c = (closure){ .def = d, .home = def->home };
    val fn = { .k = V_FN, .s = d->name, .fn = c }, *pos = NEW_ARRAY(e->a, val, n_in + 1),
        *named = NEW_ARRAY(e->a, val, n_attrs + 1);
    const char **names = NEW_ARRAY(e->a, const char *, n_attrs + 1);
    const ast **at = NEW_ARRAY(e->a, const ast *, n_in + n_attrs + 1);
    while (n_in && in[n_in - 1].kind == OPERAND_ABSENT) n_in--;
    for (int i = 0; i < n_in + n_attrs; i++) at[i] = d;
    for (int i = 0; i < n_in; i++) pos[i] = operand_value(e, g, &in[i]);
    for (int i = 0; i < n_attrs; i++) {
        named[i] = attr_value(e, g, &attrs[i]);
        names[i] = lang_intern(e->l, attrs[i].name, strlen(attrs[i].name));
    }
    if (n_attrs && !d->a) elab_error(e, d, NULL, no_operator_attribute, d->name, names[0]);
    val r = apply(e, &n, d, fn, n_in, pos, at, n_attrs, names, named, at);
    int have = r.k == V_TUPLE ? r.n : 1;
    if (n_out > have) elab_error(e, d, NULL, operator_outputs, d->name, have, have == 1 ? "" : "s", n_out);
    for (int i = 0; i < n_out; i++) out[i] = to_tensor(e, d, r.k == V_TUPLE ? r.item[i] : r, DTYPE_NONE).v;
}

static bool call_operator(void *arg, const void *def, graph *g, int n_in, const op_value *in, int n_attrs,
                          const operator_attr *attrs, int n_out, value *out)
{
    elab *e = ((const definition *)def)->e;
    jmp_buf stop;
    (void)arg;
    walk_state *s = NEW(e->a, walk_state);
    *s = leave_walk(e);
    bool *ok = NEW(e->a, bool);
    if (setjmp(stop) == 0) {
        e->l->stop = &stop;
        run_operator(e, def, g, n_in, in, n_attrs, attrs, n_out, out);
        *ok = !g->failed;
    }
    resume_walk(e, s);
    return *ok;
}

operator_library elab_operators(arena *a, int n, elab *const *e)
{
    programs *p = NEW(a, programs);
    *p = (programs){ n, arena_copy(a, e, sizeof *e * (size_t)n) };
    return (operator_library){ .arg = p, .find = find_operator, .call = call_operator };
}

/* -- Bodies: a function of the program in an attribute --------------------------------------------------- */

typedef struct { elab *e; env *n; const ast *at; val fn; } body_arg;

static void run_body_function(const body_arg *b, graph *g, int n_in, const op_value *in, int *n_out,
                              op_value **out)
{
    elab *e = b->e;
    val *x = NEW_ARRAY(e->a, val, n_in + 1);
    const ast **at = NEW_ARRAY(e->a, const ast *, n_in + 1);
    for (int i = 0; i < n_in; i++) { x[i] = operand_value(e, g, &in[i]); at[i] = b->at; }
    val r = apply(e, b->n, b->at, b->fn, n_in, x, at, 0, NULL, NULL, NULL);
    *n_out = r.k == V_TUPLE ? r.n : 1;
    *out = NEW_ARRAY(e->a, op_value, *n_out + 1);
    for (int i = 0; i < *n_out; i++) (*out)[i] = value_operand(e, b->at, r.k == V_TUPLE ? r.item[i] : r);
}

static bool build_body(void *arg, graph *g, int n_in, const op_value *in, int *n_out, op_value **out,
                       int *n_outer, value **outer)
{
    body_arg *b = arg;
    elab *e = b->e;
    jmp_buf stop;
    walk_state *s = NEW(e->a, walk_state);
    *s = leave_walk(e);
    bool *ok = NEW(e->a, bool);
    frame *f = e->fr;
    if (g != e->fr->g) {
        f = NEW(e->a, frame);
        *f = (frame){ .g = g, .outer = e->fr };
    }
    if (setjmp(stop) == 0) {
        e->l->stop = &stop;
        e->fr = f;
        run_body_function(b, g, n_in, in, n_out, out);
        *ok = !g->failed;
    }
    resume_walk(e, s);
    if (outer) { *outer = f->outer_of.at; *n_outer = (int)f->outer_of.n; }
    return *ok;
}

/* -- Operators of ONNX ----------------------------------------------------------------------------------- */

val onnx_op_value(elab *e, const ast *at, const char *name)
{
    bool is_known;
    const onnx_access *o = e->o->onnx;
    if (!o) elab_error(e, at, NULL, no_onnx_operators);
    o->attribute(o->arg, name, "", &is_known);
    if (is_known) return (val){ .k = V_ONNX_OP, .s = name };
    int n;
    const char *const *all = o->names(o->arg, e->a, &n), *near = lang_near(name, n, all);
    elab_error_op(e, at, near ? arena_printf(e->a, "did you mean `onnx.%s`?", near) : "`dlc ops` lists them",
                  unknown_onnx_operator, name);
}

static double number_value(const val *v)
{
    int64_t i = 0;
    if (v->k == V_FLOAT) return v->f;
    if (v->k == V_INT) dim_is_const(v->d, &i);
    return v->k == V_BOOL ? v->b : (double)i;
}

/* One element of an attribute of numbers or words. */
static void put_element(elab *e, const ast *at, const char *name, char kind, const val *v, operator_attr *x,
                        int k)
{
    int64_t i;
    bool whole = v->k == V_BOOL || (v->k == V_INT && dim_is_const(v->d, &i));
    if (kind == 'i' && whole) ((int64_t *)(uintptr_t)x->i)[k] = (int64_t)number_value(v);
    else if (kind == 'f' && (whole || v->k == V_FLOAT)) ((double *)(uintptr_t)x->f)[k] = number_value(v);
    else if (kind == 's' && v->k == V_STRING) ((const char **)(uintptr_t)x->s)[k] = v->s;
    else
        elab_error(e, at, NULL, attribute_elements, name,
                   kind == 'i'   ? "whole numbers known at compile time"
                   : kind == 'f' ? "numbers"
                                 : "strings",
                   show_kind(e, v));
}

static operator_attr attr_of(elab *e, env *n, const ast *at, const char *name, char kind, const val *v)
{
    bool list = kind >= 'A' && kind <= 'Z';
    operator_attr x = { .name = name, .kind = kind, .n = list && v->k == V_LIST ? v->n : 1 };
    if (kind == 'i' && v->k == V_DTYPE) { x.kind = 'd'; x.d = v->t; return x; }
    if (kind == 't') {
        val t = to_tensor(e, at, *v, DTYPE_NONE);
        x.t = t.v;
        return x;
    }
    if (kind == 'g') {
        body_arg *b = NEW(e->a, body_arg);
        operand_body *body = NEW(e->a, operand_body);
        if (v->k != V_FN || v->fn->def->kind == A_DEF_OP)
            elab_error(e, at, NULL, attribute_function, name, show_kind(e, v));
        *b = (body_arg){ e, n, at, *v };
        const ast *d = v->fn->def;
        *body = (operand_body){ .arg = b, .n_in = d->kind == A_FN ? d->n : d->a ? d->a->n : 0,
                                .build = build_body };
        x.body = body;
        return x;
    }
    if (!strchr("ifs", kind | 32)) elab_error(e, at, NULL, attribute_type, name);
    x.i = NEW_ARRAY(e->a, int64_t, x.n + 1);
    x.f = NEW_ARRAY(e->a, double, x.n + 1);
    x.s = NEW_ARRAY(e->a, const char *, x.n + 1);
    for (int k = 0; k < x.n; k++)
        put_element(e, at, name, (char)(kind | 32), list && v->k == V_LIST ? &v->item[k] : v, &x, k);
    return x;
}

static op_value list_operand(elab *e, const ast *at, const val *v)
{
    op_value *items = NEW_ARRAY(e->a, op_value, v->n + 1);
    for (int i = 0; i < v->n; i++) items[i] = value_operand(e, at, v->item[i]);
    return (op_value){ .kind = OPERAND_LIST, .n = v->n, .items = items };
}

static bool has_point(const val *v)
{
    if (v->k == V_FLOAT) return true;
    for (int i = 0; v->k == V_LIST && i < v->n; i++)
        if (has_point(&v->item[i])) return true;
    return false;
}

/* Operands: numbers take the type that the operator wants beside the others. */
static void operands_of(elab *e, const char *op, int n, const val *v, const ast *const *at, op_value *out)
{
    const onnx_access *o = e->o->onnx;
    dtype *have = NEW_ARRAY(e->a, dtype, n + 1);
    bool is_list;
    for (int i = 0; i < n; i++) {
        if (v[i].k == V_TENSOR && v[i].is_elem) elab_error(e, at[i], NULL, onnx_operator_in_index);
        have[i] = v[i].k == V_TENSOR ? dtype_v(&v[i]) : DTYPE_NONE;
    }
    for (int i = 0; i < n; i++) {
        dtype want = o->input_type(o->arg, op, i, n, have, has_point(&v[i]), &is_list);
        if (v[i].k == V_NONE) out[i] = (op_value){ .kind = OPERAND_ABSENT };
        else if (v[i].k == V_LIST && is_list && (!v[i].n || v[i].item[0].k == V_TENSOR))
            out[i] = list_operand(e, at[i], &v[i]);
        else if (v[i].k == V_TENSOR || v[i].k == V_LIST || is_number(&v[i])) {
            if (want != DTYPE_NONE && has_point(&v[i]) && !is_float(want))
                elab_error(e, at[i], NULL, point_number_beside, dtype_info[want].name);
            out[i] = (op_value){ .kind = OPERAND_TENSOR, .v = to_tensor(e, at[i], v[i], want).v };
        } else
            elab_error(e, at[i],
                       v[i].k == V_STRING || v[i].k == V_BOOL ? "attributes are given by name" : NULL,
                       onnx_operand, op, show_kind(e, &v[i]));
    }
}

/* What the other front end reported becomes an error of this call. */
static _Noreturn void call_failed(elab *e, const ast *at, const char *op, int64_t before, int n_errors,
                                  dlc_status status)
{
    const diag *d = NULL;
    for (int64_t i = before; i < e->ctx->diags.n && !d; i++)
        if (e->ctx->diags.at[i].severity == DIAG_ERROR) d = &e->ctx->diags.at[i];
    if (!d || d->source_line) longjmp(*e->l->stop, 1);          /* it came from a program: it stands */
    const char *what = arena_strdup(e->a, d->message), *hint = arena_strdup(e->a, d->hint);
    bool unsupported = e->ctx->status == DLC_ERR_UNSUPPORTED;
    e->ctx->diags.n = before;
    e->ctx->n_errors = n_errors;
    e->ctx->status = unsupported ? DLC_ERR_UNSUPPORTED : status;
    elab_error(e, at, strncmp(hint, "fix it with", 11) && *hint ? hint : NULL, onnx_refused, op, what);
}

val onnx_call(elab *e, env *n, const ast *at, const char *op, int n_pos, const val *pos,
              const ast *const *pos_at, int n_named, const char *const *names, const val *named,
              const ast *const *named_at)
{
    const onnx_access *o = e->o->onnx;
    operator_call c = { .name = op, .file = at->src->path, .n_in = n_pos, .n_out = -1 };
    op_value *in = NEW_ARRAY(e->a, op_value, n_pos + 1), *out = NULL;
    operator_attr *attrs = NEW_ARRAY(e->a, operator_attr, n_named + 1);
    for (int k = 0; k < n_named; k++) {
        bool is_known;
        char kind = o->attribute(o->arg, op, names[k], &is_known);
        if (!kind && strcmp(names[k], "outputs") == 0) {
            int64_t count = need_int(e, named_at[k], &named[k], "outputs");
            if (count < 1 || count > 64) elab_error(e, named_at[k], NULL, onnx_output_count);
            c.n_out = (int)count;
            continue;
        }
        if (!kind) elab_error(e, named_at[k], NULL, no_onnx_attribute, op, names[k]);
        if (named[k].k != V_NONE) attrs[c.n_attrs++] = attr_of(e, n, named_at[k], names[k], kind, &named[k]);
    }
    operands_of(e, op, n_pos, pos, pos_at, in);
    c.in = in;
    c.attrs = attrs;
    c.path = n->sc ? scope_name(e, n->sc, arena_printf(e->a, "onnx.%s", op)) : op;
    int64_t before = e->ctx->diags.n;
    int n_errors = e->ctx->n_errors, n_out;
    dlc_status status = e->ctx->status;
    if (!o->call(o->arg, e->fr->g, &c, &n_out, &out)) call_failed(e, at, op, before, n_errors, status);
    val r = { .k = V_TUPLE,
              .n = n_out,
              .item = NEW_ARRAY(e->a, val, n_out + 1),
              .names = NEW_ARRAY(e->a, const char *, n_out + 1) };
    for (int i = 0; i < n_out; i++) r.item[i] = operand_value(e, e->fr->g, &out[i]);
    return n_out == 1 ? r.item[0] : r;
}
