/* elab: one walk from an entry point: what is known at compile time is evaluated, calls are inlined, the rest
 * becomes nodes
 *
 * Values are bound in a list, newest first. A call binds its parameters by unification (elab_call.c). Bodies
 * of run-time loops and branches are graphs of their own; what they use of the outside is captured
 * (elab_value.c: here).
 */
#include "frontend/lang/elab.h"

enum { MAX_DEPTH = 450, MAX_CONSTANT_DEPTH = 175, MAX_STEPS = 2000000, MAX_UNROLLED = 10000 };

/* -- Errors ---------------------------------------------------------------------------------------------- */

/* The place is the innermost one in the user's own files. */
static const ast *blamed(elab *e, const ast *at)
{
    const call_site *s = e->site;
    while (at && at->src->is_std && s) { at = s->at; s = s->outer; }
    return at;
}

place elab_place(elab *e, const ast *at, bool is_op)
{
    const ast *b = blamed(e, at);
    bool op = is_op && b == at;
    return lang_place(e->l, b->src, op ? b->op_line : b->line, op ? b->op_col : b->col);
}

/* -- Names ----------------------------------------------------------------------------------------------- */

bind *lookup(env *n, const char *name)
{
    for (bind *b = n->head; b; b = b->next)
        if (b->name == name) return b;
    return NULL;
}

void bind_name(elab *e, env *n, const char *name, val v)
{
    bind *b = NEW(e->a, bind);
    *b = (bind){ .name = name, .v = v, .next = n->head };
    n->head = b;
}

const char *scope_name(elab *e, scope *s, const char *name)
{
    bool fresh;
    uint64_t *count = map_put(&s->counts, name, strlen(name), 0, &fresh);
    ++*count;
    const char *own = *count == 1 ? name : arena_printf(e->a, "%s_%d", name, (int)*count);
    return *s->path ? arena_printf(e->a, "%s.%s", s->path, own) : own;
}

static val definition_value(elab *e, env *n, ast *d, module *home)
{
    closure *c = NEW(e->a, closure);
    *c = (closure){ .def = d, .home = home };
    val v = { .s = d->name, .fn = c };
    (void)n;
    switch (d->kind) {
    case A_DEF_LAYER: v.k = V_LAYER_DEF; return v;
    case A_DEF_MODEL: v.k = V_MODEL; return v;
    default: v.k = V_FN; return v;
    }
}

/* The value of a constant of a file; --set replaces it. */
static val constant_value(elab *e, ast *d, module *home)
{
    int k = 0;
    while (home->file->kid[k] != d) k++;
    if (!home->consts) {
        home->consts = NEW_ARRAY(e->a, val, home->file->n + 1);
        home->const_known = NEW_ARRAY(e->a, bool, home->file->n + 1);
    }
    if (home->const_known[k]) return home->consts[k];
    if (e->depth > MAX_CONSTANT_DEPTH) elab_error(e, d, NULL, constants_in_a_circle);
    scope sc = { .path = "" };
    map_init(&sc.counts, e->a);
    env n = { .mod = home, .sc = &sc };
    ast *x = d->d;
    for (int i = 0; home == e->main && i < e->o->n_sets; i++) {
        if (strcmp(e->o->sets[i].name, d->name) != 0) continue;
        source *src = NEW(e->a, source);
        *src = (source){ .path = "--set", .at = arena_printf(e->a, "%s = %s", d->name, e->o->sets[i].value) };
        src->n = strlen(src->at);
        ast *f = lang_parse(e->l, src);
        if (f->n == 1) x = f->kid[0]->d;
    }
    e->depth++;
    val v = eval(e, &n, x);
    e->depth--;
    home->const_known[k] = v.k != V_TENSOR;
    home->consts[k] = v;
    return v;
}

bool name_value(elab *e, env *n, const ast *at, const char *name, val *out)
{
    if (index_value(e, n, name, out)) return true;
    bind *b = lookup(n, name);
    if (b) { *out = b->state ? b->state->now : b->v; return true; }
    module *home;
    ast *d = module_find(n->mod, name, &home);
    if (d && d->kind == A_CONST) { *out = constant_value(e, d, home); return true; }
    if (d) { *out = definition_value(e, n, d, home); return true; }
    module *space = module_as(n->mod, name);
    if (space && space->net) {
        *out = (val){ .k = V_MODEL, .net = space->net, .s = space->net->name };
        return true;
    }
    if (space) { *out = (val){ .k = V_SPACE, .space = space, .s = name }; return true; }
    if (strcmp(name, "training") == 0) { *out = v_bool(e->training); return true; }
    if (strcmp(name, "pi") == 0) { *out = v_float(3.141592653589793); return true; }
    if (strcmp(name, "inf") == 0) { *out = v_float(1.0 / 0.0); return true; }
    if (strcmp(name, "nan") == 0) { *out = v_float(0.0 / 0.0); return true; }
    bool is_step = !strcmp(name, "step") || !strcmp(name, "epoch"), is_loss = !strcmp(name, "val_loss");
    if (e->init && (is_step || is_loss)) {
        uint64_t *seen = map_find(&e->param_at, name, strlen(name));
        bool fresh;
        if (!seen) {
            value v = input(e->top->g, name, is_loss ? DTYPE_f32 : DTYPE_i64, 0, NULL);
            parameter *p = NEW(e->a, parameter);
            *p = (parameter){ .path = name, .name = name, .t = type_of(e->top->g, v), .g = e->top->g, .v = v,
                              .is_state = true };
            map_put(&e->param_at, name, strlen(name), (uint64_t)e->params.n, &fresh);
            vec_push(e->a, &e->params, p);
            seen = map_find(&e->param_at, name, strlen(name));
        }
        *out = (val){ .k = V_TENSOR, .g = e->params.at[*seen]->g, .v = e->params.at[*seen]->v };
        return true;
    }
    if (strcmp(name, "onnx") == 0) { *out = (val){ .k = V_SPACE, .s = name }; return true; }
    dtype t = dtype_named(name);
    if (t != DTYPE_NONE) { *out = (val){ .k = V_DTYPE, .t = t, .s = name }; return true; }
    if (prim_exists(name)) { *out = (val){ .k = V_PRIM, .s = name }; return true; }
    (void)at;
    return false;
}

/* -- Statements ------------------------------------------------------------------------------------------ */

/* A name bound by `=`: a state is updated; a name from outside of a run-time body cannot be. */
static void assign(elab *e, env *n, const ast *at, const char *name, val v)
{
    bool outside = false;
    for (bind *b = n->head; b; b = b->next) {
        if (n->has_barrier && b == n->barrier) outside = true;
        if (b->name != name) continue;
        if (outside)
            elab_error(e, at,
                       n->is_loop ? "carry it: for ... carry x = x { ... }"
                                  : "give the branches' value a name: y = if ... { } else { }",
                       changed_at_run_time, name, n->barrier_what);
        if (b->state) {
            val x = to_tensor(e, at, v, b->state->t.dtype);
            b->state->now = x;
            return;
        }
        break;
    }
    if (v.k == V_LAYER && !v.layer->bound && !v.layer->path) v.layer->bound = name;
    bind_name(e, n, name, v);
}

static void bind_statement(elab *e, env *n, ast *x)
{
    val v = eval(e, n, x->a);
    if (v.k == V_VOID) elab_error(e, x->a, NULL, block_without_value);
    if (x->n == 1) { assign(e, n, x->kid[0], x->kid[0]->name, v); return; }
    if (v.k != V_TUPLE && v.k != V_LIST)
        elab_error(e, x->a, NULL, names_for_one_value, x->n, show_kind(e, &v));
    if (v.n != x->n) elab_error(e, x, NULL, names_for_values, x->n, v.n);
    for (int i = 0; i < x->n; i++) assign(e, n, x->kid[i], x->kid[i]->name, v.item[i]);
}

static type declared_type(elab *e, env *n, ast *t, const ast *at, const char *what, const char *name)
{
    val v;
    if (!name_value(e, n, t, t->name, &v) || v.k != V_DTYPE)
        elab_error(e, t, NULL, unknown_element_type, t->name);
    type r = { .dtype = v.t };
    dim *d = NEW_ARRAY(e->a, dim, MAX_RANK);
    for (int i = 0; i < t->n; i++) {
        if (t->kid[i]->kind == A_SPREAD) {
            bind *b = lookup(n, t->kid[i]->name);
            for (int k = 0; b && k < b->v.n && r.rank < MAX_RANK; k++)
                d[r.rank++] = need_dim(e, t, &b->v.item[k]);
            continue;
        }
        val x = eval(e, n, t->kid[i]);
        if (r.rank == MAX_RANK) elab_error(e, t, NULL, too_many_dimensions, MAX_RANK);
        d[r.rank++] = need_dim(e, t, &x);
    }
    int64_t known;
    for (int i = 0; i < r.rank && what; i++)
        if (dim_is_const(d[i], &known) && known < 0)
            elab_error(e, at, NULL, negative_size, what, name, (long long)known);
        else if (!dim_is_const(d[i], NULL)) elab_error(e, at, NULL, size_not_known, what, name);
    r.dims = d;
    return r;
}

/* The trained value of a parameter, a constant of the file of weights. */
val trained_value(elab *e, const ast *x, type t, const char *path)
{
    tensor w;
    if (!e->o->weight(e->o->weight_arg, path, &w)) elab_error(e, x, NULL, weight_missing, path);
    bool same = w.rank == t.rank && w.dtype == t.dtype;
    for (int i = 0; same && i < t.rank; i++) same = dim_is(t.dims[i], w.dims[i]);
    if (!same)
        elab_error(e, x, NULL, weight_of_other_type, path, dtype_info[t.dtype].name,
                   show_dims(e, t.rank, t.dims));
    return v_tensor(e, constant_borrowed(e->fr->g, t.dtype, t.rank, t.dims, w.bytes, path));
}

/* The initial value: an expression broadcast to the type, or a draw whose first argument is the shape. */
static val initial_value(elab *e, env *n, ast *x, type t, const char *path)
{
    val v;
    scope sc = { .path = path };
    map_init(&sc.counts, e->a);
    scope *old = n->sc;
    n->sc = &sc;
    if (x->flag) {
        val items[MAX_RANK];
        for (int i = 0; i < t.rank; i++) items[i] = v_dim(t.dims[i]);
        val shape = v_list(e, t.rank, items);
        ast *c = x->b;
        val f = eval(e, n, c->kind == A_CALL ? c->a : c);
        val pos[32], named[32];
        const ast *pos_at[32], *named_at[32];
        const char *names[32];
        int n_pos = 1, n_named = 0;
        pos[0] = shape;
        pos_at[0] = c;
        for (int i = 0; c->kind == A_CALL && i < c->n && i < 30; i++) {
            val a = eval(e, n, c->kid[i]->a);
            if (c->kid[i]->name) {
                names[n_named] = c->kid[i]->name;
                named_at[n_named] = c->kid[i];
                named[n_named++] = a;
            } else {
                pos_at[n_pos] = c->kid[i]->a;
                pos[n_pos++] = a;
            }
        }
        v = apply(e, n, c, f, n_pos, pos, pos_at, n_named, names, named, named_at);
    } else v = eval(e, n, x->b);
    n->sc = old;
    v = to_tensor(e, x->b, v, t.dtype);
    if (dtype_v(&v) != t.dtype) v = convert(e, x->b, v, t.dtype);
    told before = told_so_far(e);
    v.v = expand_to(e->fr->g, v.v, t.rank, t.dims);
    if (e->fr->g->failed) forget_since(e, before);
    if (e->fr->g->failed) elab_error(e, x, NULL, initial_value_shape, x->name, show_dims(e, t.rank, t.dims));
    return v;
}

static void parameter_statement(elab *e, env *n, ast *x)
{
    bool is_state = x->kind == A_STATE_ST;
    const char *kind = is_state ? "state" : "parameter";
    type t = declared_type(e, n, x->a, x, kind, x->name);
    if (!is_state && !is_float(t.dtype))
        elab_error(e, x, NULL, parameter_dtype, x->name, dtype_info[t.dtype].name);
    if (e->in_operator) elab_error(e, x, NULL, onnx_function_parameters);
    const char *path = scope_name(e, n->sc, x->name);
    uint64_t *at = map_find(&e->param_at, path, strlen(path));
    if (at) {
        parameter *p = e->params.at[*at];
        if (!type_same(p->t, t) && (p->t.dtype != t.dtype || p->t.rank != t.rank ||
                                    memcmp(p->t.dims, t.dims, sizeof(dim) * (size_t)t.rank) != 0))
            elab_error(e, x, NULL, shared_two_shapes, kind, path);
        bind_name(e, n, x->name, (val){ .k = V_TENSOR, .g = p->g, .v = p->v });
    } else {
        frame *inner = e->fr;
        e->fr = e->top;
        value first = NO_VALUE;
        if (e->init) {
            bool training = e->training;
            e->fr = e->init;
            e->training = false;
            first = initial_value(e, n, x, t, path).v;
            e->training = training;
            e->fr = e->top;
        }
        bool is_input = e->init || (is_state && e->updated.n && map_find(&e->updated, path, strlen(path)));
        val v = is_input       ? v_tensor(e, input(e->fr->g, path, t.dtype, t.rank, t.dims))
                : e->o->weight ? trained_value(e, x, t, path)
                               : initial_value(e, n, x, t, path);
        if (!is_input && dim_is_const(type_elements(e->fr->g, t), NULL)) set_name(e->fr->g, v.v, path);
        parameter *p = NEW(e->a, parameter);
        *p = (parameter){ .path = path, .name = x->name, .t = t, .g = e->top->g, .v = v.v,
                          .is_state = is_state, .init = first };
        bool fresh;
        map_put(&e->param_at, path, strlen(path), (uint64_t)e->params.n, &fresh);
        vec_push(e->a, &e->params, p);
        e->fr = inner;
        bind_name(e, n, x->name, v);
    }
    if (is_state) {
        parameter *p = e->params.at[*map_find(&e->param_at, path, strlen(path))];
        if (!p->cell) {
            p->cell = NEW(e->a, state_cell);
            *p->cell = (state_cell){ .path = path, .now = n->head->v, .t = t };
        }
        n->head->state = p->cell;
    }
}

static void statement(elab *e, env *n, ast *x)
{
    switch (x->kind) {
    case A_BIND: bind_statement(e, n, x); return;
    case A_PARAM_ST: case A_STATE_ST: parameter_statement(e, n, x); return;
    case A_ASSERT: {
        val c = eval(e, n, x->a);
        if (c.k != V_BOOL) elab_error(e, x->a, NULL, assert_at_run_time, show_kind(e, &c));
        if (c.b) return;
        val m = eval(e, n, x->b);
        const ast *at = e->site ? e->site->at : x;
        if (e->site) e->site = e->site->outer;
        elab_error(e, at, NULL, said, m.k == V_STRING ? m.s : show_value(e, &m));
    }
    case A_YIELD: {
        val v = eval(e, n, x->a);
        if (!n->takes_yields) elab_error(e, x, NULL, yield_outside_loop);
        v = to_tensor(e, x->a, v, DTYPE_NONE);
        vec_push(e->a, &n->yields, v);
        return;
    }
    default: break;
    }
    val v = eval(e, n, x);
    (void)v;
}

static bool is_value_statement(const ast *x)
{
    return x->kind != A_BIND && x->kind != A_PARAM_ST && x->kind != A_STATE_ST && x->kind != A_ASSERT &&
           x->kind != A_YIELD;
}

val eval_block(elab *e, env *n, ast *x)
{
    if (x->kind != A_BLOCK) return eval(e, n, x);
    val last = { .k = V_VOID };
    for (int i = 0; i < x->n; i++) {
        if (i + 1 == x->n && is_value_statement(x->kid[i])) last = eval(e, n, x->kid[i]);
        else statement(e, n, x->kid[i]);
    }
    return last;
}

/* -- if, for, while -------------------------------------------------------------------------------------- */

static frame *enter_body(elab *e, const char *what)
{
    frame *f = NEW(e->a, frame);
    f->g = graph_body(e->fr->g, arena_printf(e->a, "%s%d", what, e->n_loops++));
    f->outer = e->fr;
    e->fr = f;
    return f;
}

static void leave_body(elab *e) { e->fr = e->fr->outer; }

static env inner_env(env *n, const char *what, bool is_loop)
{
    env in = *n;
    in.barrier = n->head;
    in.has_barrier = true;
    in.barrier_what = what;
    in.is_loop = is_loop;
    in.takes_yields = false;
    memset(&in.yields, 0, sizeof in.yields);
    return in;
}

/* What a body gives: tensors, of a tuple all. */
static int flatten(elab *e, const ast *at, val v, val *out, int max)
{
    if (v.k == V_TUPLE) {
        int n = 0;
        for (int i = 0; i < v.n; i++) n += flatten(e, at, v.item[i], out + n, max - n);
        return n;
    }
    if (max < 1) elab_error(e, at, NULL, branch_too_many_values);
    out[0] = to_tensor(e, at, v, DTYPE_NONE);
    return 1;
}

static val unflatten(elab *e, const val *like, val **from)
{
    if (like->k != V_TUPLE) return *(*from)++;
    val r = *like;
    r.item = NEW_ARRAY(e->a, val, r.n + 1);
    for (int i = 0; i < r.n; i++) r.item[i] = unflatten(e, &like->item[i], from);
    return r;
}

static val run_time_if(elab *e, env *n, ast *x, val c)
{
    if (!x->c) elab_error(e, x, NULL, if_needs_else);
    val branch[2], flat[2][64];
    frame *f[2];
    int count[2];
    for (int i = 0; i < 2; i++) {
        f[i] = enter_body(e, "if");
        for (int64_t k = 0; i && k < f[0]->outer_of.n; k++) {       /* the same captures, in the same order */
            type t = type_of(f[1]->outer->g, f[0]->outer_of.at[k]);
            vec_push(e->a, &f[1]->outer_of, f[0]->outer_of.at[k]);
            vec_push(e->a, &f[1]->inner_of, input(f[1]->g, NULL, t.dtype, t.rank, t.dims));
        }
        env in = inner_env(n, "`if`", false);
        branch[i] = eval_block(e, &in, i ? x->c : x->b);
        if (branch[i].k == V_VOID) elab_error(e, i ? x->c : x->b, NULL, branch_without_value);
        count[i] = flatten(e, i ? x->c : x->b, branch[i], flat[i], 64);
        leave_body(e);
    }
    if (count[0] != count[1]) elab_error(e, x, NULL, branch_counts_differ, count[0], count[1]);
    for (int k = 0; k < count[0]; k++) {
        type s = type_of(f[0]->g, flat[0][k].v), t = type_of(f[1]->g, flat[1][k].v);
        if (!type_same(s, t))
            elab_error(e, x, NULL, branch_types_differ, show_value(e, &flat[0][k]),
                       show_value(e, &flat[1][k]));
        add_result(f[0]->g, flat[0][k].v, NULL);
        add_result(f[1]->g, flat[1][k].v, NULL);
    }
    for (int64_t k = f[0]->outer_of.n; k < f[1]->outer_of.n; k++) {
        type t = type_of(e->fr->g, f[1]->outer_of.at[k]);
        input(f[0]->g, NULL, t.dtype, t.rank, t.dims);
    }
    value out[64];
    val r[64], *p = r;
    cond(e->fr->g, here(e, &c), f[0]->g, f[1]->g, (int)f[1]->outer_of.n, f[1]->outer_of.at, out);
    for (int k = 0; k < count[0]; k++) r[k] = v_tensor(e, out[k]);
    return unflatten(e, &branch[0], &p);
}

static val eval_if(elab *e, env *n, ast *x)
{
    for (;;) {
        val c = eval(e, n, x->a);
        if (c.k == V_TENSOR && !c.is_elem && rank_v(e, &c) == 0 && dtype_v(&c) == DTYPE_bool) {
            scalar_value known;
            value v = here(e, &c);
            if (!known_splat(e->fr->g, v, &known)) return run_time_if(e, n, x, c);
            c = v_bool(known.bits != 0);
        }
        if (c.k != V_BOOL)
            elab_error(e, x->a, c.k == V_TENSOR ? "for each element use where(c, a, b)" : NULL,
                       condition_not_bool, show_kind(e, &c));
        if (c.b) return eval_block(e, n, x->b);
        if (!x->c) return (val){ .k = V_VOID };
        if (x->c->kind != A_IF) return eval_block(e, n, x->c);
        x = x->c;
    }
}

static val unrolled(elab *e, env *n, ast *x)
{
    val last = { .k = V_VOID }, from = eval(e, n, x->a);
    if (!x->b) {
        if (from.k != V_LIST && from.k != V_TUPLE) elab_error(e, x->a, NULL, for_over, show_kind(e, &from));
        for (int i = 0; i < from.n; i++) {
            bind_name(e, n, x->name, from.item[i]);
            last = eval_block(e, n, x->d);
        }
        return last;
    }
    val to = eval(e, n, x->b);
    int64_t i = need_int(e, x->a, &from, "the start of an unrolled loop"),
            end = need_int(e, x->b, &to, "the end of an unrolled loop");
    if (end - i > MAX_UNROLLED) elab_error(e, x, NULL, loop_too_long, MAX_UNROLLED);
    for (; i < end; i++) {
        bind_name(e, n, x->name, v_int(i));
        last = eval_block(e, n, x->d);
    }
    return last;
}

static val loop_result(elab *e, int n, val *parts)
{
    if (n == 1) return parts[0];
    val r = { .k = V_TUPLE,
              .n = n,
              .item = arena_copy(e->a, parts, sizeof *parts * (size_t)n),
              .names = NEW_ARRAY(e->a, const char *, n + 1) };
    return r;
}

/* Start values of the carries as tensors of the graph around the loop. */
static void carry_starts(elab *e, env *n, ast *x, val *start)
{
    if (x->n > 32) elab_error(e, x, NULL, too_many_carried);
    for (int i = 0; i < x->n; i++)
        start[i] = to_tensor(e, x->kid[i]->a, eval(e, n, x->kid[i]->a), DTYPE_NONE);
}

/* The carried names as inputs of a body. */
static void carry_inputs(elab *e, env *in, ast *x, const val *start)
{
    for (int i = 0; i < x->n; i++) {
        type t = type_of(start[i].g, start[i].v);
        val v = v_tensor(e, input(e->fr->g, x->kid[i]->name, t.dtype, t.rank, t.dims));
        bind_name(e, in, x->kid[i]->name, v);
    }
}

static void carry_results(elab *e, env *in, ast *x, const val *start)
{
    for (int i = 0; i < x->n; i++) {
        type want = type_of(start[i].g, start[i].v);
        val v = to_tensor(e, x->kid[i], lookup(in, x->kid[i]->name)->v, want.dtype);
        if (!type_same(type_of(v.g, v.v), want))
            elab_error(e, x->kid[i], NULL, carried_type_changes, x->kid[i]->name, show_value(e, &start[i]),
                       show_value(e, &v));
        add_result(e->fr->g, v.v, NULL);
    }
}

static val run_time_for(elab *e, env *n, ast *x)
{
    val from = eval(e, n, x->a), to = eval(e, n, x->b), start[33], parts[40];
    dim lo = need_dim(e, x->a, &from), hi = need_dim(e, x->b, &to), count = dim_sub(e->dims, hi, lo);
    carry_starts(e, n, x, start);
    /* the step counter is one more carry */
    start[x->n] = to_tensor(e, x, v_dim(lo), DTYPE_i64);
    frame *f = enter_body(e, "loop");
    env in = inner_env(n, "loop", true);
    in.takes_yields = true;
    carry_inputs(e, &in, x, start);
    value t = input(f->g, x->name, DTYPE_i64, 0, NULL);
    bind_name(e, &in, x->name, v_tensor(e, t));
    val body = eval_block(e, &in, x->d);
    if (body.k != V_VOID)
        elab_error(e, x->d->n ? x->d->kid[x->d->n - 1] : x->d, "assign it to a carried name, or yield it",
                   value_not_used);
    carry_results(e, &in, x, start);
    add_result(f->g, add(f->g, t, scalar_i64(f->g, DTYPE_i64, 1)), NULL);
    int ny = (int)in.yields.n;
    if (ny > 1) elab_error(e, x, NULL, yield_twice);
    for (int i = 0; i < ny; i++) add_result(f->g, in.yields.at[i].v, NULL);
    leave_body(e);
    vec(value) args = { 0 };
    for (int i = 0; i <= x->n; i++) vec_push(e->a, &args, here(e, &start[i]));
    for (int64_t k = 0; k < f->outer_of.n; k++) vec_push(e->a, &args, f->outer_of.at[k]);
    value out[40];
    scan(e->fr->g, f->g, x->n + 1, 0, count, false, (int)args.n, args.at, out);
    if (e->fr->g->failed) elab_error(e, x, NULL, loop_not_built);
    int np = 0;
    for (int i = 0; i < ny; i++) parts[np++] = v_tensor(e, out[x->n + 1 + i]);
    for (int i = 0; i < x->n; i++) parts[np++] = v_tensor(e, out[i]);
    return loop_result(e, np, parts);
}

static val eval_while(elab *e, env *n, ast *x)
{
    val start[33], parts[33];
    carry_starts(e, n, x, start);
    /* two bodies with one list of captures: the test is elaborated first, the body goes on with its captures
     */
    frame *test = enter_body(e, "test");
    env in = inner_env(n, "loop", true);
    carry_inputs(e, &in, x, start);
    val c = to_tensor(e, x->a, eval(e, &in, x->a), DTYPE_bool);
    if (dtype_v(&c) != DTYPE_bool || rank_v(e, &c))
        elab_error(e, x->a, NULL, condition_not_bool, show_value(e, &c));
    add_result(test->g, c.v, NULL);
    leave_body(e);
    frame *f = enter_body(e, "while");
    in = inner_env(n, "loop", true);
    carry_inputs(e, &in, x, start);
    for (int64_t k = 0; k < test->outer_of.n; k++) {
        type t = type_of(f->outer->g, test->outer_of.at[k]);
        vec_push(e->a, &f->outer_of, test->outer_of.at[k]);
        vec_push(e->a, &f->inner_of, input(f->g, NULL, t.dtype, t.rank, t.dims));
    }
    eval_block(e, &in, x->d);
    carry_results(e, &in, x, start);
    leave_body(e);
    for (int64_t k = test->outer_of.n; k < f->outer_of.n; k++) {
        type t = type_of(e->fr->g, f->outer_of.at[k]);
        input(test->g, NULL, t.dtype, t.rank, t.dims);
    }
    vec(value) args = { 0 };
    for (int i = 0; i < x->n; i++) vec_push(e->a, &args, here(e, &start[i]));
    for (int64_t k = 0; k < f->outer_of.n; k++) vec_push(e->a, &args, f->outer_of.at[k]);
    value out[33];
    while_loop(e->fr->g, test->g, f->g, x->n, -1, (int)args.n, args.at, out);
    for (int i = 0; i < x->n; i++) parts[i] = v_tensor(e, out[i]);
    return loop_result(e, x->n, parts);
}

/* -- Expressions ----------------------------------------------------------------------------------------- */

static val eval_field(elab *e, env *n, ast *x)
{
    val v = eval(e, n, x->a);
    if (v.k == V_SPACE) {
        if (!v.space) return onnx_op_value(e, x, x->name);
        module *home;
        ast *d = v.space ? module_find(v.space, x->name, &home) : NULL;
        if (!d) elab_error_op(e, x, NULL, no_definition_in, v.s, x->name);
        return d->kind == A_CONST ? constant_value(e, d, home) : definition_value(e, n, d, home);
    }
    if (v.k == V_MODEL || v.k == V_PATH) {
        const char *path = arena_printf(e->a, "%s.%s", v.s, x->name);
        uint64_t *at = map_find(&e->param_at, path, strlen(path));
        if (at) { parameter *p = e->params.at[*at]; return (val){ .k = V_TENSOR, .g = p->g, .v = p->v }; }
        return (val){ .k = V_PATH, .s = path };
    }
    if (v.k != V_TUPLE) elab_error_op(e, x, NULL, no_field_in, x->name, show_kind(e, &v));
    for (int i = 0; i < v.n; i++)
        if (v.names && v.names[i] && strcmp(v.names[i], x->name) == 0) return v.item[i];
    const char *near = v.names ? lang_near(x->name, 0, v.names) : NULL;
    elab_error_op(e, x, near, no_field, x->name);
}

static val eval_list(elab *e, env *n, ast *x)
{
    vec(val) items = { 0 };
    for (int i = 0; i < x->n; i++) {
        if (x->kid[i]->kind == A_SPREAD) {
            val v;
            if (!name_value(e, n, x->kid[i], x->kid[i]->name, &v) || v.k != V_LIST)
                elab_error(e, x->kid[i], NULL, not_dimensions, x->kid[i]->name);
            for (int k = 0; k < v.n; k++) vec_push(e->a, &items, v.item[k]);
        } else {
            val v = eval(e, n, x->kid[i]);
            vec_push(e->a, &items, v);
        }
    }
    return v_list(e, (int)items.n, items.at);
}

static val eval_logic(elab *e, env *n, ast *x)
{
    bool is_and = strcmp(x->name, "and") == 0;
    val a = eval(e, n, x->a);
    if (a.k == V_BOOL && a.b != is_and) return a;
    val b = eval(e, n, x->b);
    if (a.k == V_BOOL) return b;
    if (b.k == V_BOOL) b = to_tensor(e, x, b, DTYPE_bool);
    if (a.k != V_TENSOR || b.k != V_TENSOR || dtype_v(&a) != DTYPE_bool || dtype_v(&b) != DTYPE_bool)
        elab_error_op(e, x, NULL, joins_bools, x->name, show_kind(e, &a), show_kind(e, &b));
    val y[2] = { a, b };
    return elementwise(e, x, x->name, is_and ? SCALAR_and : SCALAR_or, 2, y);
}

static val eval_unary(elab *e, env *n, ast *x)
{
    val a = eval(e, n, x->a);
    if (strcmp(x->name, "not") == 0) {
        if (a.k == V_BOOL) return v_bool(!a.b);
        if (a.k != V_TENSOR || dtype_v(&a) != DTYPE_bool) elab_error(e, x, NULL, not_of, show_kind(e, &a));
        return elementwise(e, x, "not", SCALAR_not, 1, &a);
    }
    if (a.k == V_INT) return v_dim(dim_neg(e->dims, a.d));
    if (a.k == V_FLOAT) return v_float(-a.f);
    if (a.k == V_LIST) a = to_tensor(e, x, a, DTYPE_NONE);
    if (a.k != V_TENSOR || dtype_v(&a) == DTYPE_bool) elab_error(e, x, NULL, minus_of, show_kind(e, &a));
    bool weak = a.is_weak;
    val r = elementwise(e, x, "-", SCALAR_neg, 1, &a);
    r.is_weak = weak && r.is_elem;
    return r;
}

/* A call, with `piped` as its first argument if there is one. */
static val eval_call(elab *e, env *n, ast *x, const val *piped, const ast *piped_at)
{
    bool is_call = x->kind == A_CALL;
    val f = eval(e, n, is_call ? x->a : x);
    enum { MAX_ARGS = 64 };
    int most = (is_call ? x->n : 0) + 2;
    /* not on the stack: calls nest */
    val *pos = NEW_ARRAY(e->a, val, most), *named = NEW_ARRAY(e->a, val, most);
    const ast **pos_at = NEW_ARRAY(e->a, const ast *, most), **named_at = NEW_ARRAY(e->a, const ast *, most);
    const char **names = NEW_ARRAY(e->a, const char *, most);
    int n_pos = 0, n_named = 0;
    bool makes = f.k == V_LAYER_DEF;
    if (piped && !(makes && is_call)) { pos[0] = *piped; pos_at[0] = piped_at; n_pos = 1; }
    if (is_call && x->n > MAX_ARGS - 2) elab_error(e, x, NULL, too_many_arguments, MAX_ARGS - 2);
    for (int i = 0; is_call && i < x->n; i++) {
        val v = eval(e, n, x->kid[i]->a);
        if (x->kid[i]->name) {
            names[n_named] = x->kid[i]->name;
            named_at[n_named] = x->kid[i];
            named[n_named++] = v;
        } else {
            pos_at[n_pos] = x->kid[i]->a;
            pos[n_pos++] = v;
        }
    }
    if (makes && !is_call)
        elab_error(e, x, arena_printf(e->a, "make a layer first: %s(...)", f.s), not_applied,
                   show_kind(e, &f));
    val r = apply(e, n, x, f, n_pos, pos, pos_at, n_named, names, named, named_at);
    if (piped && makes) r = apply(e, n, x, r, 1, piped, &piped_at, 0, NULL, NULL, NULL);
    return r;
}

val eval(elab *e, env *n, ast *x)
{
    if (++e->depth > MAX_DEPTH) elab_error(e, x, NULL, program_too_deep);
    if (++e->steps > MAX_STEPS) elab_error(e, x, NULL, too_many_steps, MAX_STEPS);
    val r;
    if (!x->src->is_std) e->fr->g->at = (place){ .file = x->src->path, .line = x->line, .col = x->col };
    switch (x->kind) {
    case A_INT: r = v_int(x->i); break;
    case A_FLOAT: r = v_float(x->f); break;
    case A_STRING: r = (val){ .k = V_STRING, .s = x->name }; break;
    case A_TRUE: r = v_bool(true); break;
    case A_FALSE: r = v_bool(false); break;
    case A_NONE: r = v_none(); break;
    case A_NAME:
        if (!name_value(e, n, x, x->name, &r)) elab_error(e, x, NULL, no_value, x->name);
        break;
    case A_TUPLE:
        r = (val){ .k = V_TUPLE, .n = x->n, .item = NEW_ARRAY(e->a, val, x->n + 1), .names = x->names };
        for (int i = 0; i < x->n; i++) r.item[i] = eval(e, n, x->kid[i]);
        break;
    case A_LIST: r = eval_list(e, n, x); break;
    case A_COMP: r = eval_comp(e, n, x); break;
    case A_REDUCE: r = eval_reduction(e, n, x); break;
    case A_FN: {
        closure *c = NEW(e->a, closure);
        *c = (closure){ .def = x, .home = n->mod, .head = n->head, .at = n->sc };
        r = (val){ .k = V_FN, .fn = c };
        break;
    }
    case A_IF: r = eval_if(e, n, x); break;
    case A_FOR: r = x->flag ? run_time_for(e, n, x) : unrolled(e, n, x); break;
    case A_WHILE: r = eval_while(e, n, x); break;
    case A_BLOCK: r = eval_block(e, n, x); break;
    case A_CALL: r = eval_call(e, n, x, NULL, NULL); break;
    case A_SUB: r = eval_subscript(e, n, x); break;
    case A_FIELD: r = eval_field(e, n, x); break;
    case A_UN: r = eval_unary(e, n, x); break;
    case A_BIN: {
        if (x->name[0] == 'a' || x->name[0] == 'o') { r = eval_logic(e, n, x); break; }
        val a = eval(e, n, x->a), b = eval(e, n, x->b);
        r = arith(e, x, x->name, a, b);
        break;
    }
    case A_PIPE: {
        val a = eval(e, n, x->a);
        r = eval_call(e, n, x->b, &a, x->b);
        break;
    }
    default: elab_error(e, x, NULL, cannot_stand_here);
    }
    if (e->fr->g->failed) {
        /* the builder refused what was not checked here: its message stands */
        longjmp(*e->l->stop, 1);
    }
    e->depth--;
    return r;
}
