/* elab_call: calls: parameters bound by unification, bodies inlined, results checked
 *
 * A typed parameter is matched with its argument: element type, dimensions, `..S`. Tensors come before plain
 * numbers, and names alone before expressions, which may solve for one unknown name (the value at 0 and 1
 * gives the line).
 */
#include "frontend/lang/elab.h"

enum { MAX_DEPTH = 160 };

/* "argument `x` of `Dense`", and whom to blame */
typedef struct { const char *what, *name, *of; const ast *at; } role;

static const char *role_text(elab *e, const role *r) 
{
    if (r->name == r->of) return arena_printf(e->a, "%s of `%s`", r->what, r->of);
    return arena_printf(e->a, "%s `%s` of `%s`", r->what, r->name, r->of);
}

static void bind_from(elab *e, env *n, const char *name, val v, const char *from)
{
    bind_name(e, n, name, v);
    n->head->from = from;
}

static const char *show_type_text(elab *e, const ast *t)
{
    text s = { .a = e->a };
    text_put(&s, t->name);
    if (!t->flag) return text_str(&s);
    text_put(&s, "[");
    for (int i = 0; i < t->n; i++) {
        const ast *d = t->kid[i];
        if (i) text_put(&s, ", ");
        if (d->kind == A_SPREAD) text_printf(&s, "..%s", d->name);
        else if (d->kind == A_NAME) text_put(&s, d->name);
        else if (d->kind == A_INT) text_printf(&s, "%lld", (long long)d->i);
        else if (d->kind == A_BIN && d->a->kind == A_NAME && d->b->kind == A_INT)
            text_printf(&s, "%s %s %lld", d->a->name, d->name, (long long)d->b->i);
        else if (d->kind == A_BIN && d->a->kind == A_INT && d->b->kind == A_NAME)
            text_printf(&s, "%lld %s %s", (long long)d->a->i, d->name, d->b->name);
        else text_put(&s, "...");
    }
    text_put(&s, "]");
    return text_str(&s);
}

/* A name of a pattern: bound already? */
static bool known_name(elab *e, env *n, const ast *at, const char *name, val *out, const char **from)
{
    bind *b = lookup(n, name);
    *from = b ? b->from : NULL;
    return name_value(e, n, at, name, out);
}

/* The only name of a dimension's expression that has no value, NULL if there is none. */
static const char *unknown_in(elab *e, env *n, const ast *d, int *count)
{
    val v;
    const char *from, *found = NULL, *other;
    if (d->kind == A_NAME) {
        if (known_name(e, n, d, d->name, &v, &from)) return NULL;
        ++*count;
        return d->name;
    }
    const ast *parts[4] = { d->a, d->b, d->c, d->d };
    for (int i = 0; i < 4; i++)
        if (parts[i] && (other = unknown_in(e, n, parts[i], count))) {
            if (found == other) --*count;
            found = other;
        }
    for (int i = 0; i < d->n; i++)
        if ((other = unknown_in(e, n, d->kid[i], count))) found = other;
    return found;
}

static dim line_at(elab *e, env *n, ast *d, const char *name, int64_t at)
{
    bind *old = n->head;
    bind_name(e, n, name, v_int(at));
    val v = eval(e, n, d);
    n->head = old;
    return need_dim(e, d, &v);
}

static _Noreturn void misfit(elab *e, const role *r, dim given, const char *wanted_name, dim wanted,
                             const char *from)
{
    const char *g = show_value(e, &(val){ .k = V_INT, .d = given }),
               *w = show_value(e, &(val){ .k = V_INT, .d = wanted });
    if (from)
        elab_error(e, r->at, NULL, argument_dim_is, role_text(e, r), g, wanted_name ? wanted_name : "",
                   wanted_name ? " = " : "", w, from);
    elab_error(e, r->at, NULL, argument_dim, role_text(e, r), g, w);
}

static void match_dim(elab *e, env *n, ast *d, dim given, const role *r, bool exprs)
{
    val v;
    const char *from = NULL;
    if (d->kind == A_NAME) {
        if (exprs) return;
        if (!known_name(e, n, d, d->name, &v, &from)) {
            bind_from(e, n, d->name, v_dim(given), r->name);
            return;
        }
        dim want = need_dim(e, r->at, &v);
        if (!dim_same(want, given)) misfit(e, r, given, d->name, want, from);
        return;
    }
    if (!exprs) return;
    int count = 0;
    const char *unknown = unknown_in(e, n, d, &count);
    if (!unknown) {
        v = eval(e, n, d);
        dim want = need_dim(e, r->at, &v);
        if (!dim_same(want, given)) misfit(e, r, given, NULL, want, NULL);
        return;
    }
    if (count > 1) elab_error(e, r->at, NULL, dim_of_two_unknowns, role_text(e, r));
    dim k = line_at(e, n, d, unknown, 0), one = line_at(e, n, d, unknown, 1),
        two = line_at(e, n, d, unknown, 2);
    dim slope = dim_sub(e->dims, one, k);
    int64_t c;
    if (!dim_same(dim_sub(e->dims, two, one), slope) || !dim_is_const(slope, &c) || c == 0)
        elab_error(e, r->at, NULL, dim_not_solved, role_text(e, r), unknown);
    dim rest = dim_sub(e->dims, given, k);
    int64_t known;
    if (dim_is_const(rest, &known) ? known % c != 0 || known / c < 0 : !dim_divides(e->dims, rest, c))
        elab_error(e, r->at, NULL, argument_dim_unsolvable, role_text(e, r),
                   show_value(e, &(val){ .k = V_INT, .d = given }), unknown);
    bind_from(e, n, unknown, v_dim(dim_div(e->dims, rest, dim_const(c))), r->name);
}

static void match_spread(elab *e, env *n, const ast *d, int count, const dim *given, const role *r)
{
    val v;
    const char *from;
    if (!known_name(e, n, d, d->name, &v, &from)) {
        val items[MAX_RANK];
        for (int i = 0; i < count; i++) items[i] = v_dim(given[i]);
        bind_from(e, n, d->name, v_list(e, count, items), r->name);
        return;
    }
    bool same = v.k == V_LIST && v.n == count;
    dim want[MAX_RANK];
    int nw = 0;
    for (int i = 0; v.k == V_LIST && i < v.n && i < MAX_RANK; i++) want[nw++] = v.item[i].d;
    for (int i = 0; same && i < count; i++) same = dim_same(want[i], given[i]);
    if (same) return;
    const char *help =
        nw == count + 1
            ? arena_printf(e->a,
                           "drop the last axis of `%s` with `[.., 0]`, or add one here with `[.., none]`",
                           from ? from : "the other")
        : nw == count - 1 ? "drop the last axis here with `[.., 0]`"
                          : NULL;
    elab_error(e, r->at, help, argument_rest_dims, role_text(e, r), d->name, show_dims(e, count, given),
               from ? from : "the type", show_dims(e, nw, want));
}

/* Matches a tensor (or an element type alone) with a type. */
static void match(elab *e, env *n, ast *t, const val *x, const role *r, bool exprs)
{
    val tv;
    const char *from;
    dtype given = dtype_v(x);
    int rank = rank_v(e, x), spread = -1;
    for (int i = 0; i < t->n; i++)
        if (t->kid[i]->kind == A_SPREAD) spread = i;
    if (!exprs) {
        if (!known_name(e, n, t, t->name, &tv, &from))
            bind_from(e, n, t->name, (val){ .k = V_DTYPE, .t = given, .s = dtype_info[given].name }, r->name);
        else if (tv.k == V_DTYPE && tv.t != given) {
            if (from)
                elab_error(e, r->at, NULL, argument_dtype_is, role_text(e, r), show_value(e, x), t->name,
                           dtype_info[tv.t].name, from);
            elab_error(e, r->at, arena_printf(e->a, "convert it: %s(x)", dtype_info[tv.t].name),
                       argument_kind, role_text(e, r), show_type_text(e, t), show_value(e, x));
        }
        if (spread < 0 ? rank != t->n : rank < t->n - 1)
            elab_error(e, r->at, NULL, argument_rank, role_text(e, r), spread < 0 ? "" : "at least ",
                       spread < 0 ? t->n : t->n - 1, (spread < 0 ? t->n : t->n - 1) == 1 ? "" : "s", rank);
    }
    int extra = rank - (t->n - 1);
    for (int i = 0, axis = 0; i < t->n; i++) {
        if (i == spread) {
            dim d[MAX_RANK];
            for (int k = 0; k < extra; k++) d[k] = dim_v(e, x, axis + k);
            if (!exprs) match_spread(e, n, t->kid[i], extra, d, r);
            axis += extra;
        } else match_dim(e, n, t->kid[i], dim_v(e, x, axis++), r, exprs);
    }
}

/* Numbers and lists given for a typed parameter become tensors of its element type. */
static val adapted(elab *e, env *n, const ast *t, val v, const role *r)
{
    if (v.k == V_TENSOR) return v;
    val tv;
    const char *from;
    dtype want = known_name(e, n, t, t->name, &tv, &from) && tv.k == V_DTYPE ? tv.t : DTYPE_NONE;
    if (!is_number(&v) && v.k != V_LIST)
        elab_error(e, r->at,
                   v.k == V_LAYER   ? "apply it: `layer(x)`"
                   : v.k == V_TUPLE ? "take a field: `|> .y`"
                                    : NULL,
                   argument_tensor, role_text(e, r), show_type_text(e, t), show_kind(e, &v));
    if (v.k == V_FLOAT && want != DTYPE_NONE && !is_float(want))
        elab_error(e, r->at, NULL, argument_kind, role_text(e, r), show_type_text(e, t), show_kind(e, &v));
    return to_tensor(e, r->at, v, want);
}

/* -- Arguments ------------------------------------------------------------------------------------------- */

typedef struct { int n; val v[64]; const ast *at[64]; bool given[64]; } arguments;

static void place_arguments(elab *e, const ast *at, const char *kind, const char *name, ast *const *p, int np,
                            int n_pos, const val *pos, const ast *const *pos_at, int n_named,
                            const char *const *names, const val *named, const ast *const *named_at,
                            arguments *out)
{
    memset(out, 0, sizeof *out);
    if (np > 64) elab_error(e, at, NULL, too_many_parameters);
    if (n_pos > np)
        elab_error(e, pos_at[np], NULL, argument_count, kind, name, np, np == 1 ? "" : "s", n_pos);
    for (int i = 0; i < n_pos; i++) { out->v[i] = pos[i]; out->at[i] = pos_at[i]; out->given[i] = true; }
    for (int k = 0; k < n_named; k++) {
        int i = 0;
        while (i < np && strcmp(p[i]->name, names[k]) != 0) i++;
        if (i == np) {
            const char *all[64] = { NULL };
            for (int j = 0; j < np; j++) all[j] = p[j]->name;
            const char *near = lang_near(names[k], np, all);
            text list = { .a = e->a };
            for (int j = 0; j < np; j++) text_printf(&list, "%s%s", j ? ", " : "its arguments: ", p[j]->name);
            elab_error(e, named_at[k],
                       near ? arena_printf(e->a, "did you mean `%s`?", near) : text_str(&list), no_argument,
                       kind, name, names[k]);
        }
        if (out->given[i]) elab_error(e, named_at[k], NULL, argument_twice, names[k], name);
        out->v[i] = named[k];
        out->at[i] = named_at[k];
        out->given[i] = true;
    }
}

/* Binds parameters in order, defaults with those before; typed ones are matched. */
static void bind_parameters(elab *e, env *n, const ast *at, const char *kind, const char *name, ast *const *p,
                            int np, arguments *g)
{
    for (int pass = 0; pass < 2; pass++)           /* tensors, then numbers */
        for (int i = 0; i < np; i++) {
            if (!g->given[i] || !p[i]->a || (g->v[i].k == V_NONE && p[i]->b && p[i]->b->kind == A_NONE))
                continue;
            if ((g->v[i].k == V_TENSOR) != (pass == 0)) continue;
            role r = { "argument", p[i]->name, name, g->at[i] };
            g->v[i] = adapted(e, n, p[i]->a, g->v[i], &r);
            match(e, n, p[i]->a, &g->v[i], &r, false);
        }
    for (int i = 0; i < np; i++) {
        if (!g->given[i]) {
            if (!p[i]->b) elab_error(e, at, NULL, argument_missing, kind, name, p[i]->name);
            g->v[i] = eval(e, n, p[i]->b);
            if (p[i]->a && g->v[i].k != V_NONE) {
                role r = { "argument", p[i]->name, name, at };
                g->v[i] = adapted(e, n, p[i]->a, g->v[i], &r);
                match(e, n, p[i]->a, &g->v[i], &r, false);
            }
        }
        bind_name(e, n, p[i]->name, g->v[i]);
    }
    for (int i = 0; i < np; i++)
        if (p[i]->a && g->v[i].k == V_TENSOR) {
            role r = { "argument", p[i]->name, name, g->given[i] ? g->at[i] : at };
            match(e, n, p[i]->a, &g->v[i], &r, true);
        }
}

/* -- Results --------------------------------------------------------------------------------------------- */

/* Where a body's value comes from: its last expression; of a pipe the last step. */
static const ast *value_place(const ast *x)
{
    while (x->kind == A_BLOCK && x->n) x = x->kid[x->n - 1];
    return x->kind == A_PIPE ? x->b : x;
}

static val check_result(elab *e, env *n, ast *want, val v, const char *of, const char *name, const ast *at)
{
    if (want->kind == A_TYPE) {
        role r = { "the result", name ? name : "value", of, at };
        if (!name) r.name = of;
        v = adapted(e, n, want, v, &r);
        match(e, n, want, &v, &r, false);
        match(e, n, want, &v, &r, true);
        return v;
    }
    if (want->n == 1) {
        if (v.k == V_TUPLE && v.n == 1) v = v.item[0];
        return check_result(e, n, want->kid[0], v, of, want->names[0], at);
    }
    if (v.k != V_TUPLE && v.k != V_LIST)
        elab_error(e, at, NULL, result_not_values, of, want->n, show_kind(e, &v));
    if (v.n != want->n) elab_error(e, at, NULL, result_count, of, want->n, v.n);
    val r = { .k = V_TUPLE, .n = v.n, .item = NEW_ARRAY(e->a, val, v.n + 1), .names = want->names };
    for (int i = 0; i < v.n; i++)
        r.item[i] = check_result(e, n, want->kid[i], v.item[i], of, want->names[i], at);
    return r;
}

static val run_body(elab *e, env *n, ast *body, ast *result, const char *of)
{
    val v = eval_block(e, n, body);
    if (v.k == V_VOID) elab_error(e, body, NULL, gives_no_value, of);
    if (result) v = check_result(e, n, result, v, of, NULL, value_place(body));
    return v;
}

/* -- The kinds of calls ---------------------------------------------------------------------------------- */

static scope *scope_new(elab *e, const char *path)
{
    scope *s = NEW(e->a, scope);
    s->path = path;
    map_init(&s->counts, e->a);
    return s;
}

/* The results of softmax and sigmoid are remembered. */
static void note_squashed(elab *e, const ast *d, const arguments *g, const val *r)
{
    int64_t axis = -1;
    bool soft = !strcmp(d->name, "softmax");
    if ((!soft && strcmp(d->name, "sigmoid") != 0) || r->k != V_TENSOR || r->is_elem || g->v[0].k != V_TENSOR)
        return;
    if (soft && (g->v[1].k != V_INT || !dim_is_const(g->v[1].d, &axis))) return;
    if (soft && axis != -1 && axis != rank_v(e, r) - 1) return;
    vec_push(e->a, &e->squashed, ((squashed){ r->g, r->v, d->name, g->v[0] }));
}

val apply(elab *e, env *n, const ast *at, val f, int n_pos, const val *pos, const ast *const *pos_at,
          int n_named, const char *const *names, const val *named, const ast *const *named_at)
{
    if (f.k == V_PRIM) return prim_call(e, n, at, f.s, n_pos, pos, pos_at, n_named, names, named, named_at);
    if (f.k == V_ONNX_OP)
        return onnx_call(e, n, at, f.s, n_pos, pos, pos_at, n_named, names, named, named_at);
    if (f.k == V_MODEL && f.net)
        return net_call(e, at, f.net, n_pos, pos, pos_at, n_named, names, named, named_at);
    if (f.k == V_DTYPE) {
        if (n_pos != 1 || n_named) elab_error(e, at, NULL, converts_one_value, dtype_info[f.t].name);
        return convert(e, pos_at[0], pos[0], f.t);
    }
    if (f.k != V_FN && f.k != V_LAYER_DEF && f.k != V_LAYER && f.k != V_MODEL)
        elab_error(e, at, NULL, cannot_be_called, show_kind(e, &f));
    const closure *c = f.k == V_LAYER ? f.layer->def.fn : f.fn;
    ast *d = c->def;
    bool is_fn = f.k == V_FN;
    const char *kind = f.k == V_LAYER || f.k == V_LAYER_DEF ? "layer"
                       : f.k == V_MODEL                     ? "model"
                                                            : "function",
               *name = d->name ? d->name
                       : f.s   ? f.s
                               : "fn";
    ast *const *p = d->kind == A_FN ? d->kid : f.k == V_LAYER ? d->b->kid : d->a ? d->a->kid : NULL;
    int np = d->kind == A_FN ? d->n : f.k == V_LAYER ? d->b->n : d->a ? d->a->n : 0;
    arguments *g = NEW(e->a, arguments);
    if (d->kind == A_DEF_OP) { p = d->b->kid; np = d->b->n; kind = "operator"; }
    bool has_attrs = d->kind == A_DEF_OP && d->a;        /* those given by name */
    place_arguments(e, at, kind, name, p, np, n_pos, pos, pos_at, has_attrs ? 0 : n_named, names, named,
                    named_at, g);
    call_site site = { .at = at, .what = name, .outer = e->site };
    env in = { .hidden = (int)e->idx.n,
               .head = is_fn ? c->head : NULL,
               .mod = c->home,
               .sc = is_fn ? (d->kind == A_FN && c->at ? c->at : n->sc) : NULL };
    if (e->depth > MAX_DEPTH) elab_error(e, at, NULL, calls_too_deep);
    if (f.k == V_LAYER_DEF) {
        layer *l = NEW(e->a, layer);
        e->site = &site;
        in.sc = n->sc;
        bind_parameters(e, &in, at, kind, name, p, np, g);
        e->site = site.outer;
        *l = (layer){ .def = f, .hyper = in.head, .made_in = n->sc };
        return (val){ .k = V_LAYER, .layer = l };
    }
    if (f.k == V_LAYER) {
        if (!f.layer->path)
            f.layer->path = scope_name(e, f.layer->made_in, f.layer->bound ? f.layer->bound : name);
        in.head = f.layer->hyper;
        in.sc = scope_new(e, f.layer->path);
    }
    if (f.k == V_MODEL) in.sc = scope_new(e, name);
    e->site = &site;
    if (has_attrs) {
        arguments *attrs = NEW(e->a, arguments);
        place_arguments(e, at, kind, name, d->a->kid, d->a->n, 0, NULL, NULL, n_named, names, named, named_at,
                        attrs);
        bind_parameters(e, &in, at, kind, name, d->a->kid, d->a->n, attrs);
    }
    bind_parameters(e, &in, at, kind, name, p, np, g);
    val r = run_body(e, &in, d->d, d->c, name);
    e->site = site.outer;
    if (is_fn && d->src->is_std && d->kind == A_DEF_FN) note_squashed(e, d, g, &r);
    return r;
}

val call1(elab *e, env *n, const ast *at, const char *name, val x)
{
    val f;
    if (!name_value(e, n, at, lang_intern(e->l, name, strlen(name)), &f))
        elab_error(e, at, NULL, library_missing, name);
    return apply(e, n, at, f, 1, &x, &at, 0, NULL, NULL, NULL);
}
