/* lang_compile: files to modules, entry points to graphs (lang.h)
 *
 * The library is one module of several embedded files. A model's inputs become inputs of the graph, names in
 * their types symbols. A train block is elaborated with `training` true: parameters are inputs then, and a
 * batch has the size `batch`.
 */
#include "frontend/lang/elab.h"
#include "base/embed.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_USES = 64 };

/* -- Modules --------------------------------------------------------------------------------------------- */

ast *module_find(const module *m, const char *name, module **home)
{
    for (int i = 0; i < m->n_parts; i++) {
        ast *d = module_find(m->parts[i], name, home);
        if (d) { *home = (module *)m; return d; }
    }
    if (m->file)
        for (int i = 0; i < m->file->n; i++)
            if (m->file->kid[i]->kind != A_USE && m->file->kid[i]->kind != A_DEF_TRAIN &&
                m->file->kid[i]->name && strcmp(m->file->kid[i]->name, name) == 0) {
                *home = (module *)m;
                return m->file->kid[i];
            }
    for (int i = 0; i < m->n_uses; i++) {
        ast *d = module_find(m->uses[i], name, home);
        if (d && !d->src->is_std) return d;
    }
    return m->std ? module_find(m->std, name, home) : NULL;
}

module *module_as(const module *m, const char *name)
{
    for (int i = 0; i < m->n_as; i++)
        if (strcmp(m->as_name[i], name) == 0) return m->as[i];
    return NULL;
}

static module *module_new(lang *l, const char *path, const char *at, size_t n, bool is_std, module *std)
{
    module *m = NEW(l->a, module);
    source *src = NEW(l->a, source);
    *src = (source){ .path = path, .at = at, .n = n, .is_std = is_std };
    m->src = src;
    m->std = std;
    m->file = lang_parse(l, src);
    return m;
}

static module *library(lang *l)
{
    module *m = NEW(l->a, module);
    int n = 0;
    while (embedded_std[n].name) n++;
    m->parts = NEW_ARRAY(l->a, module *, n + 1);
    for (int i = 0; i < n; i++)
        m->parts[m->n_parts++] = module_new(l, arena_printf(l->a, "std/%s", embedded_std[i].name),
                                            embedded_std[i].bytes, embedded_std[i].size, true, NULL);
    return m;
}

typedef struct { lang *l; const lang_options *o; module *std; map_str seen; int n; } loader;

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A path of a `use`, from the folder of the file it stands in. */
static const char *path_beside(lang *l, const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    return path[0] == '/' || !slash ? path : arena_printf(l->a, "%.*s/%s", (int)(slash - file), file, path);
}

/* A model of ONNX as a module. */
static module *load_net(loader *o, const char *path, const ast *use)
{
    lang *l = o->l;
    net *f = NEW(l->a, net);
    module *m = NEW(l->a, module);
    if (!use->as) lang_error(l, use->src, use->line, use->col, NULL, onnx_model_needs_name);
    if (access(path, R_OK) != 0)
        lang_error(l, use->src, use->line, use->col, NULL, cannot_read_because, use->name, strerror(errno));
    if (!o->o->onnx) lang_error(l, use->src, use->line, use->col, NULL, no_onnx_models);
    *f = (net){ .path = path, .name = use->as };
    if (!o->o->onnx->signature(o->o->onnx->arg, l->ctx, l->a, path, &f->sig)) longjmp(*l->stop, 1);
    m->net = f;
    return m;
}

static module *load(loader *o, const char *path, const ast *from)
{
    lang *l = o->l;
    bytes file;
    int err = 0;
    uint64_t *known = map_find(&o->seen, path, strlen(path));
    if (known) return (module *)(uintptr_t)*known;
    bool is_given = !from && o->o->source;
    if (is_given) file = (bytes){ (const uint8_t *)o->o->source, strlen(o->o->source) };
    if (!is_given && !file_map(l->a, path, &file, &err)) {
        if (from)
            lang_error(l, from->src, from->line, from->col, NULL, cannot_read_because, from->name,
                       strerror(err));
        diag_cannot_read(l->ctx, (place){ .file = path }, strerror(err));
        longjmp(*l->stop, 1);
    }
    if (++o->n > MAX_USES) lang_error(l, from->src, from->line, from->col, NULL, too_many_files, MAX_USES);
    module *m = module_new(l, path, arena_strndup(l->a, (const char *)file.at, file.n), file.n, false,
                           o->std);
    bool fresh;
    map_put(&o->seen, path, strlen(path), (uint64_t)(uintptr_t)m, &fresh);
    m->uses = NEW_ARRAY(l->a, module *, m->file->n + 1);
    m->as = NEW_ARRAY(l->a, module *, m->file->n + 1);
    m->as_name = NEW_ARRAY(l->a, const char *, m->file->n + 1);
    for (int i = 0; i < m->file->n; i++) {
        ast *d = m->file->kid[i];
        if (d->kind != A_USE) continue;
        const char *beside = path_beside(l, path, d->name);
        module *u = ends_in(d->name, ".onnx") ? load_net(o, beside, d) : load(o, beside, d);
        if (d->as) { m->as_name[m->n_as] = d->as; m->as[m->n_as++] = u; }
        else m->uses[m->n_uses++] = u;
    }
    names_check(l, m);
    return m;
}

/* -- Entry points ---------------------------------------------------------------------------------------- */

void elab_begin(elab *e, const char *name)
{
    e->params.n = 0;
    map_init(&e->param_at, e->a);
    e->dims = dims_new(e->ctx, e->a);
    e->fr = e->top = NEW(e->a, frame);
    e->fr->g = graph_new(e->ctx, e->a, e->dims, name);
    e->site = NULL;
    e->depth = 0;
    e->steps = 0;
    e->idx.n = e->ranges.n = e->base_ast.n = e->base_val.n = 0;
    e->n_axes = 0;
    e->in_index = false;
    e->kept.n = e->kept_input.n = e->gradients.n = e->squashed.n = 0;
    e->n_loops = 0;
    e->init = NULL;
    if (e->main->consts) { e->main->consts = NULL; e->main->const_known = NULL; }
}

/* A symbol, or what --dim says of it. */
static dim open_size(elab *e, const ast *d)
{
    for (int i = 0; i < e->o->n_dims; i++) {
        const lang_dim *o = &e->o->dims[i];
        if (strcmp(o->name, d->name) != 0) continue;
        if (o->lo == o->hi) return dim_const(o->lo);
        dim s = dim_symbol(e->dims, d->name);
        if (!dim_symbol_bounds(e->dims, s, o->lo, o->hi)) elab_error(e, d, NULL, dim_leaves_no_size, d->name);
        return s;
    }
    return dim_symbol(e->dims, d->name);
}

/* Names in an input's type that nobody knows are sizes known at run time only. */
static void open_names(elab *e, env *n, ast *d)
{
    val v;
    if (!d) return;
    if (d->kind == A_SPREAD) elab_error(e, d, NULL, model_input_rank);
    if (d->kind == A_NAME && !name_value(e, n, d, d->name, &v)) {
        bind_name(e, n, d->name, v_dim(open_size(e, d)));
        return;
    }
    open_names(e, n, d->a);
    open_names(e, n, d->b);
    for (int i = 0; i < d->n; i++) open_names(e, n, d->kid[i]);
}

static void input_of(elab *e, env *n, ast *p, val *out)
{
    ast *t = p->a;
    dtype dt = dtype_named(t->name);
    if (dt == DTYPE_NONE) elab_error(e, t, NULL, model_input_dtype, p->name, t->name);
    dim d[MAX_RANK];
    if (t->n > MAX_RANK) elab_error(e, t, NULL, too_many_dimensions, MAX_RANK);
    for (int i = 0; i < t->n; i++) open_names(e, n, t->kid[i]);
    for (int i = 0; i < t->n; i++) {
        val v = eval(e, n, t->kid[i]);
        d[i] = need_dim(e, t->kid[i], &v);
    }
    *out = v_tensor(e, input(e->fr->g, p->name, dt, t->n, d));
}

static void add_results(elab *e, const ast *at, val v, const ast *types, const char *name)
{
    if (v.k == V_TUPLE) {
        for (int i = 0; i < v.n; i++)
            add_results(e, at, v.item[i], NULL,
                        v.names && v.names[i] ? v.names[i] : arena_printf(e->a, "out%d", i));
        return;
    }
    if (types && types->kind == A_RESULT && types->n == 1 && types->names[0]) name = types->names[0];
    v = to_tensor(e, at, v, DTYPE_NONE);
    add_result(e->fr->g, v.v, name);
}

/* A constant, or a view of one (a splat is a broadcast), in another graph. */
static value constant_in(elab *e, graph *to, const graph *from, value v)
{
    const node *n = node_of(from, v);
    value in = NO_VALUE, out = NO_VALUE;
    if (n->n_in > 1) return NO_VALUE;
    if (n->n_in) in = constant_in(e, to, from, n->in[0]);
    return rebuild(to, from, n, &in, &out) ? out : NO_VALUE;
}

/* Constants that were kept apart as inputs take their places. */
graph *with_constants(elab *e)
{
    graph *from = e->fr->g;
    if (!e->kept.n) return graph_compact(from);
    graph *to = graph_new(e->ctx, e->a, e->dims, from->name);
    value *in = NEW_ARRAY(e->a, value, from->inputs.n + 1),
          *out = NEW_ARRAY(e->a, value, from->results.n + 1);
    for (int64_t i = 0; i < from->inputs.n; i++) {
        value v = from->inputs.at[i];
        int64_t k = 0;
        while (k < e->kept.n && !same_value(e->kept_input.at[k], v)) k++;
        type t = type_of(from, v);
        if (k == e->kept.n) in[i] = input(to, node_of(from, v)->input->name, t.dtype, t.rank, t.dims);
        else in[i] = constant_in(e, to, from, e->kept.at[k]);
    }
    if (!graph_inline(to, from, in, out)) longjmp(*e->l->stop, 1);
    for (int64_t i = 0; i < from->results.n; i++) add_result(to, out[i], from->result_names.at[i]);
    return graph_compact(to);
}

static void elaborate_once(elab *e, ast *d, module *home)
{
    elab_begin(e, d->name);
    scope sc = { .path = "" };
    map_init(&sc.counts, e->a);
    env n = { .mod = home, .sc = &sc };
    val in[64];
    const ast *at[64];
    if (d->a->n > 64) elab_error(e, d, NULL, too_many_inputs);
    for (int i = 0; i < d->a->n; i++) { input_of(e, &n, d->a->kid[i], &in[i]); at[i] = d->a->kid[i]; }
    closure c = { .def = d, .home = home };
    val f = { .k = V_MODEL, .s = d->name, .fn = &c };
    val v = apply(e, &n, d, f, d->a->n, in, at, 0, NULL, NULL, NULL);
    add_results(e, d, v, d->c, "y");
    if (e->fr->g->failed) longjmp(*e->l->stop, 1);
}

/* States that have another value at the end are noted. True: one of them is new. */
static bool note_updated(elab *e)
{
    bool any = false;
    for (int64_t k = 0; k < e->params.n; k++) {
        const parameter *p = e->params.at[k];
        bool is_new;
        if (!p->cell || (p->cell->now.g == p->g && same_value(p->cell->now.v, p->v))) continue;
        map_put(&e->updated, p->path, strlen(p->path), 0, &is_new);
        any |= is_new;
    }
    return any;
}

/* A model that updates states is elaborated once more with those as inputs; their new values are results. */
static graph *elaborate_model(elab *e, ast *d, module *home)
{
    map_init(&e->updated, e->a);
    do elaborate_once(e, d, home); while (note_updated(e));
    for (int64_t k = 0; k < e->params.n; k++) {
        const parameter *p = e->params.at[k];
        if (p->cell && map_find(&e->updated, p->path, strlen(p->path)))
            add_result(e->fr->g, here(e, &p->cell->now), p->path);
    }
    map_init(&e->updated, e->a);
    return with_constants(e);
}

/* -- Outside --------------------------------------------------------------------------------------------- */

static bool mentions_grad(const ast *x)
{
    if (!x) return false;
    if (x->kind == A_NAME && strcmp(x->name, "grad") == 0) return true;
    for (int i = 0; i < x->n; i++)
        if (mentions_grad(x->kid[i])) return true;
    return mentions_grad(x->a) || mentions_grad(x->b) || mentions_grad(x->c) || mentions_grad(x->d);
}

elab *elab_new(dlc_context *ctx, arena *a, const char *path, const lang_options *o, jmp_buf *stop)
{
    lang *l = NEW(a, lang);
    *l = (lang){ .ctx = ctx, .a = a, .stop = stop };
    map_init(&l->names, a);
    loader ld = { .l = l, .o = o };
    map_init(&ld.seen, a);
    ld.std = library(l);
    elab *e = NEW(a, elab);
    *e = (elab){ .l = l, .a = a, .ctx = ctx, .o = o };
    e->main = load(&ld, path, NULL);
    e->has_grad = mentions_grad(e->main->file);
    for (int64_t i = 0; i < ld.seen.n; i++)
        vec_push(a, &e->modules, (module *)(uintptr_t)ld.seen.entries[i].value);
    for (int i = 0; i < e->main->n_uses; i++) e->has_grad |= mentions_grad(e->main->uses[i]->file);
    return e;
}

static ast *choose_model(elab *e, const char *name, module **home)
{
    ast *found = NULL;
    module *m = e->main;
    text all = { .a = e->a };
    int n = 0;
    for (int i = 0; i < m->file->n; i++) {
        ast *d = m->file->kid[i];
        if (d->kind != A_DEF_MODEL) continue;
        text_printf(&all, "%s%s", n++ ? ", " : "", d->name);
        if (!name || strcmp(d->name, name) == 0) found = d;
    }
    *home = m;
    if (found && (name || n == 1)) return found;
    if (name) {
        ast *d = module_find(m, name, home);
        if (d && d->kind == A_DEF_MODEL) return d;
    }
    ast *at = m->file;
    if (!n) lang_error(e->l, m->src, 1, 1, NULL, file_without_model);
    if (name)
        lang_error(e->l, m->src, at->line, at->col, arena_printf(e->a, "it has %s", text_str(&all)),
                   no_model_of_name, name);
    lang_error(e->l, m->src, at->line, at->col,
               arena_printf(e->a, "choose one with --model: %s", text_str(&all)), several_models, n);
}

static dlc_status status_of(dlc_context *ctx)
{
    return ctx->n_errors ? ctx->status ? ctx->status : DLC_ERR_INPUT : DLC_ERR_INTERNAL;
}

dlc_status lang_compile(dlc_context *ctx, arena *a, const char *path, const lang_options *o, graph **out)
{
    jmp_buf stop;
    *out = NULL;
    if (setjmp(stop)) return status_of(ctx);
    elab *e = elab_new(ctx, a, path, o, &stop);
    module *home;
    ast *d = choose_model(e, o->model, &home);
    *out = elaborate_model(e, d, home);
    return DLC_OK;
}

dlc_status lang_check(dlc_context *ctx, arena *a, const char *path, const lang_options *o)
{
    jmp_buf stop;
    if (setjmp(stop)) return status_of(ctx);
    elab *e = elab_new(ctx, a, path, o, &stop);
    for (int i = 0; i < e->main->file->n; i++)
        if (e->main->file->kid[i]->kind == A_DEF_MODEL) elaborate_model(e, e->main->file->kid[i], e->main);
    for (int i = 0; i < e->main->file->n; i++)
        if (e->main->file->kid[i]->kind == A_DEF_TRAIN) check_train(e, e->main->file->kid[i], e->main);
    return DLC_OK;
}

dlc_status lang_operators(dlc_context *ctx, arena *a, int n, const char *const *paths, const lang_options *o,
                          operator_library *out)
{
    jmp_buf stop;
    if (setjmp(stop)) return status_of(ctx);
    elab **e = NEW_ARRAY(a, elab *, n + 1);
    for (int i = 0; i < n; i++) {
        e[i] = elab_new(ctx, a, paths[i], o, &stop);
        elab_begin(e[i], "operators");
        e[i]->has_grad = true;
    }
    *out = elab_operators(a, n, e);
    return DLC_OK;
}

dlc_status lang_format(dlc_context *ctx, arena *a, const char *path, text *out)
{
    jmp_buf stop;
    bytes file;
    int err = 0;
    if (!file_map(a, path, &file, &err)) {
        diag_cannot_read(ctx, (place){ .file = path }, strerror(err));
        return DLC_ERR_IO;
    }
    lang l = { .ctx = ctx, .a = a, .stop = &stop };
    source src = { .path = path, .at = arena_strndup(a, (const char *)file.at, file.n), .n = file.n };
    if (setjmp(stop)) return status_of(ctx);
    map_init(&l.names, a);
    lang_parse(&l, &src);
    lang_format_tokens(&l, &src, out);
    return DLC_OK;
}

dlc_status lang_models(dlc_context *ctx, arena *a, const char *path, int *n, const char ***names)
{
    jmp_buf stop;
    lang_options none = { 0 };
    if (setjmp(stop)) return status_of(ctx);
    elab *e = elab_new(ctx, a, path, &none, &stop);
    *names = NEW_ARRAY(a, const char *, e->main->file->n + 1);
    *n = 0;
    for (int i = 0; i < e->main->file->n; i++)
        if (e->main->file->kid[i]->kind == A_DEF_MODEL) (*names)[(*n)++] = e->main->file->kid[i]->name;
    return DLC_OK;
}
