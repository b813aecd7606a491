/* lang_train: train blocks: data, one step as a graph, evaluation as another
 *
 * A block is elaborated with `training` true: parameters and states are inputs by their paths, a batch of
 * each data set is an input NAME.FIELD; results are the losses and the new values. Initial values are built
 * in a graph of their own, and so is each data set, which is run at once, divided and prepared here. For `dlc
 * check` the same walk goes by types alone, with an open `batch`.
 */
#include "frontend/lang/elab.h"
#include <math.h>

/* -- Random order (reference.md, section 10) ------------------------------------------------------------- */

static uint64_t fnv(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int i = 0; i < 10; i++) {
        uint64_t p = (uint64_t)c[0] * 0xD2511F53u, q = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t r[4] = { (uint32_t)(q >> 32) ^ c[1] ^ k0, (uint32_t)q, (uint32_t)(p >> 32) ^ c[3] ^ k1,
                          (uint32_t)p };
        memcpy(c, r, sizeof r);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

void lang_permutation(int64_t n, const char *path, uint64_t seed, uint32_t step, int64_t *p)
{
    uint64_t h = fnv(path);
    uint32_t c[4];
    int64_t block = -1;
    for (int64_t i = 0; i < n; i++) p[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        if (i / 4 != block) {
            block = i / 4;
            uint32_t start[4] = { (uint32_t)block, step, (uint32_t)h, (uint32_t)(h >> 32) };
            memcpy(c, start, sizeof c);
            philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
        }
        int64_t j = (int64_t)((uint64_t)c[i % 4] * (uint64_t)(i + 1) >> 32), t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
}

/* -- Data ------------------------------------------------------------------------------------------------ */

static void partition(elab *e, lang_data *d, const recipe *r, const char *block)
{
    int64_t n = d->samples, *order = NEW_ARRAY(e->a, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    if (r && r->has_parts && r->shuffle && !e->o->skips_data)
        lang_permutation(n, arena_printf(e->a, "%s.parts", block), e->seed, 0, order);
    d->n_part[2] = r ? (int64_t)floor((double)n * r->test) : 0;
    d->n_part[1] = r ? (int64_t)floor((double)n * r->valid) : 0;
    d->n_part[0] = n - d->n_part[1] - d->n_part[2];
    d->part[0] = order;
    d->part[1] = order + d->n_part[0];
    d->part[2] = order + d->n_part[0] + d->n_part[1];
}

/* One column of a field: statistics of the training part, then every sample. */
static void prepare_column(const lang_data *d, float *x, int64_t width, int64_t column, const char *op)
{
    double sum = 0, low = INFINITY, high = -INFINITY, var = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < d->n_part[0]; i++) {
        double v = x[d->part[0][i] * width + column];
        if (isnan(v)) continue;
        sum += v;
        low = fmin(low, v);
        high = fmax(high, v);
        n++;
    }
    double mean = n ? sum / (double)n : 0;
    for (int64_t i = 0; i < d->n_part[0]; i++) {
        double v = x[d->part[0][i] * width + column];
        if (!isnan(v)) var += (v - mean) * (v - mean);
    }
    double dev = n ? sqrt(var / (double)n) : 1, from = op[0] == 's' ? mean : low,
           by = op[0] == 's' ? dev : high - low;
    for (int64_t i = 0; i < d->samples; i++) {
        float *v = &x[i * width + column];
        if (op[0] == 'f') { if (isnan(*v)) *v = (float)mean; }
        else *v = by != 0 ? (float)(((double)*v - from) / by) : (float)((double)*v - from);
    }
}

static void prepare_data(elab *e, const ast *at, lang_data *d, const recipe *r)
{
    for (int k = 0; r && k < r->n; k++) {
        int f = 0;
        while (f < d->n && strcmp(d->field[f], r->step[k].field) != 0) f++;
        if (f == d->n || d->t[f].dtype != DTYPE_f32)
            elab_error(e, at, NULL, no_f32_field, r->step[k].op, r->step[k].field);
        int64_t width = d->samples ? tensor_n(&d->t[f]) / d->samples : 0;
        for (int64_t c = 0; c < width; c++) prepare_column(d, d->t[f].bytes, width, c, r->step[k].op);
    }
}

/* The tensors of a data set without their elements, if all sizes are known. */
static bool shapes_of_data(const graph *g, const lang_data *d, tensor *out)
{
    for (int i = 0; i < d->n; i++) {
        type t = type_of(g, g->results.at[i]);
        out[i] = (tensor){ .dtype = t.dtype, .rank = t.rank };
        for (int k = 0; k < t.rank; k++)
            if (!dim_is_const(t.dims[k], &out[i].dims[k])) return false;
    }
    return true;
}

/* Runs the graph of a data set, and keeps its tensors. */
static data_set *read_data(elab *e, const ast *x, const val *v, const char *block)
{
    data_set *s = NEW(e->a, data_set);
    lang_data *d = NEW(e->a, lang_data);
    *s = (data_set){ .name = x->name, .data = d, .record = *v };
    d->name = x->name;
    d->field = NEW_ARRAY(e->a, const char *, v->n + 1);
    d->t = NEW_ARRAY(e->a, tensor, v->n + 1);
    d->samples = -1;
    d->shuffle = true;
    for (int i = 0; i < v->n; i++) {
        if (v->item[i].k != V_TENSOR) continue;
        d->field[d->n++] = v->names[i];
        add_result(e->fr->g, v->item[i].v, v->names[i]);
    }
    graph *g = graph_compact(e->fr->g);
    tensor *out = NEW_ARRAY(e->a, tensor, d->n + 1);
    bool is_shape = e->o->skips_data && shapes_of_data(g, d, out);
    if (!e->o->evaluate) elab_error(e, x, NULL, no_data_sets);
    if (!is_shape && e->o->evaluate(e->ctx, e->a, g, out) != DLC_OK) longjmp(*e->l->stop, 1);
    for (int i = 0; i < d->n; i++) {
        d->t[i] = out[i];
        if (!is_shape) d->t[i].bytes = arena_copy(e->a, out[i].bytes, tensor_bytes(&out[i]));
        if (out[i].rank < 1 || (d->samples >= 0 && out[i].dims[0] != d->samples))
            elab_error(e, x->a, NULL, sample_counts_differ, d->field[i]);
        d->samples = out[i].dims[0];
    }
    if (d->samples < 1) elab_error(e, x->a, NULL, no_samples);
    partition(e, d, v->recipe, block);
    if (!is_shape) prepare_data(e, x->a, d, v->recipe);
    vec_push(e->a, &e->sets, s);
    return s;
}

static int64_t batch_size(elab *e, const lang_data *first)
{
    if (e->part && !e->o->in_parts) return first->n_part[e->part == 3 ? 0 : e->part];
    return e->batch && e->batch < first->n_part[0] ? e->batch : first->n_part[0];
}

/* --dim batch=N replaces the block's, N..M leaves it open. */
static bool open_batch(elab *e, const ast *at, dim *batch)
{
    for (int i = 0; e->o->in_parts && i < e->o->n_dims; i++) {
        const lang_dim *o = &e->o->dims[i];
        if (strcmp(o->name, "batch") != 0) continue;
        if (o->lo < 1 || !dim_symbol_bounds(e->dims, *batch, o->lo, o->hi))
            elab_error(e, at, NULL, batch_dim_leaves_no_size);
        if (o->lo != o->hi) return true;
        e->batch = o->lo;
    }
    return false;
}

static void data_statement(elab *e, env *n, ast *x, const char *block, dim *batch)
{
    val v;
    data_set *s = NULL;
    for (int64_t i = 0; i < e->sets.n; i++)
        if (e->sets.at[i]->name == x->name) s = e->sets.at[i];
    if (s) v = s->record;
    else {
        scope sc = { .path = arena_printf(e->a, "%s.%s", block, x->name) };
        map_init(&sc.counts, e->a);
        scope *old = n->sc;
        n->sc = &sc;
        frame data = { .g = graph_new(e->ctx, e->a, e->dims, x->name) }, *step = e->fr;
        bool has_grad = e->has_grad;
        e->fr = &data;
        e->training = e->has_grad = false;
        v = eval(e, n, x->a);
        if (v.k != V_TUPLE || !v.names) elab_error(e, x->a, NULL, data_not_record, show_kind(e, &v));
        for (int i = 0; i < v.n; i++)
            if (v.item[i].k == V_LIST) v.item[i] = to_tensor(e, x->a, v.item[i], DTYPE_NONE);
        if (e->is_real) s = read_data(e, x, &v, block);
        e->training = e->part == 0;
        e->has_grad = has_grad;
        e->fr = step;
        n->sc = old;
    }
    if (e->is_real && s == e->sets.at[0] && !open_batch(e, x, batch)) {
        *batch = dim_const(batch_size(e, s->data));
        bind_name(e, n, lang_intern(e->l, "batch", 5), v_dim(*batch));
    }
    val r = v;
    r.item = NEW_ARRAY(e->a, val, v.n + 1);
    for (int i = 0; i < v.n; i++) {
        r.item[i] = v.item[i];
        if (v.item[i].k != V_TENSOR) continue;
        type t = type_of(v.item[i].g, v.item[i].v);
        dim d[MAX_RANK];
        if (t.rank < 1) continue;
        memcpy(d, t.dims, sizeof *d * (size_t)t.rank);
        d[0] = *batch;
        r.item[i] = v_tensor(e, input(e->fr->g,
                                      arena_printf(e->a, "%s.%s", x->name, v.names[i] ? v.names[i] : "_"),
                                      t.dtype, t.rank, d));
    }
    bind_name(e, n, x->name, r);
}

/* -- minimize -------------------------------------------------------------------------------------------- */

static bool below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(path, prefix, n) == 0 && (path[n] == '.' || path[n] == 0);
}

static bool is_over(const ast *x, const val *over, const parameter *p)
{
    if (p->is_state) return false;
    if (!x->n) return true;
    for (int i = 0; i < x->n; i++) {
        const char *path = over[i].k == V_MODEL || over[i].k == V_PATH ? over[i].s
                           : over[i].k == V_LAYER                      ? over[i].layer->path
                                                                       : NULL;
        if (path ? below(p->path, path) : over[i].k == V_TENSOR && same_value(over[i].v, p->v)) return true;
    }
    return false;
}

/* Gradients shrunk so that their common norm is at most c. */
static void clip(elab *e, env *n, ast *at, int count, value *d)
{
    graph *g = e->fr->g;
    val c = eval(e, n, at);
    if (!is_number(&c) && !(c.k == V_TENSOR && rank_v(e, &c) == 0))
        elab_error(e, at, NULL, clip_not_number, show_kind(e, &c));
    value sum = scalar_f64(g, DTYPE_f32, 0), limit = to_tensor(e, at, c, DTYPE_f32).v;
    if (dtype_of(g, limit) != DTYPE_f32) limit = cast(g, limit, DTYPE_f32);
    for (int i = 0; i < count; i++) {
        value x = cast(g, d[i], DTYPE_f32);
        sum = add(g, sum, reduce(g, REDUCE_sum, mul(g, x, x), (1u << rank_of(g, x)) - 1, false));
    }
    value scale = bin_k(g, SCALAR_min, divide(g, limit, bin_k(g, SCALAR_add, un(g, SCALAR_sqrt, sum), 1e-12)),
                        1);
    for (int i = 0; i < count; i++) d[i] = mul(g, d[i], cast(g, scale, dtype_of(g, d[i])));
}

static void minimize_statement(elab *e, env *n, ast *x, val *loss_out)
{
    graph *g = e->fr->g;
    val loss = eval(e, n, x->a), over[64];
    if (loss.k != V_TENSOR || rank_v(e, &loss) || !is_float(dtype_v(&loss)))
        elab_error(e, x->a, NULL, minimize_of, show_value(e, &loss));
    *loss_out = loss;
    if (x->n > 64) elab_error(e, x, NULL, too_many_parts);
    for (int i = 0; i < x->n; i++) over[i] = eval(e, n, x->kid[i]);
    vec(parameter *) chosen = { 0 };
    vec(value) wrt = { 0 };
    for (int64_t k = 0; k < e->params.n; k++) {
        parameter *p = e->params.at[k];
        if (!is_over(x, over, p) || (e->o->trains && !e->o->trains(e->o->trains_arg, p->path)) ||
            !depends(e, g, here(e, &loss), p->v))
            continue;
        if (p->is_updated) elab_error(e, x, NULL, updated_twice, p->path);
        vec_push(e->a, &chosen, p);
        vec_push(e->a, &wrt, p->v);
    }
    if (!chosen.n) elab_error(e, x->a, NULL, loss_independent);
    val opt = eval(e, n, x->b);
    if (opt.k != V_LAYER) elab_error(e, x->b, NULL, not_an_optimizer, show_kind(e, &opt));
    if (e->part) return;                               /* evaluation: no update */
    value *d = NEW_ARRAY(e->a, value, chosen.n + 1);
    if (e->is_real && !e->is_cut) {
        if (!e->o->gradient || !e->o->gradient(g, loss.v, (int)wrt.n, wrt.at, d)) longjmp(*e->l->stop, 1);
    } else
        for (int64_t k = 0; k < chosen.n; k++)
            d[k] = input(g, arena_printf(e->a, "grad.%s", chosen.at[k]->path), chosen.at[k]->t.dtype,
                         chosen.at[k]->t.rank, chosen.at[k]->t.dims);
    for (int64_t k = 0; k < chosen.n; k++)
        vec_push(e->a, &e->gradients, ((gradient_of){ chosen.at[k], d[k] }));
    if (x->c) clip(e, n, x->c, (int)chosen.n, d);
    for (int64_t k = 0; k < chosen.n; k++) {
        parameter *p = chosen.at[k];
        layer *one = NEW(e->a, layer);
        *one = *opt.layer;
        one->path = NULL;
        one->bound = NULL;
        val f = { .k = V_LAYER, .layer = one }, pg[2] = { v_tensor(e, p->v), v_tensor(e, d[k]) };
        const ast *at[2] = { x->b, x->b };
        p->updated = to_tensor(e, x->b, apply(e, n, x->b, f, 2, pg, at, 0, NULL, NULL, NULL), p->t.dtype);
        p->is_updated = true;
    }
}

/* -- The block ------------------------------------------------------------------------------------------- */

typedef struct { vec(value) losses, reports; vec(const char *) loss_names, report_names; } outputs;

static void add_report(elab *e, const ast *x, val v, outputs *o)
{
    const char *name = x->name                                 ? x->name
                       : x->a->kind == A_CALL && x->a->a->name ? x->a->a->name
                       : x->a->name                            ? x->a->name
                                                               : "report";
    v = to_tensor(e, x->a, v, DTYPE_NONE);
    vec_push(e->a, &o->reports, v.v);
    vec_push(e->a, &o->report_names, name);
}

static void run_block(elab *e, ast *d, module *home, outputs *o)
{
    elab_begin(e, d->name);
    e->training = e->part == 0;
    e->has_grad = true;
    frame init = { .g = graph_new(e->ctx, e->a, e->dims, "init") };
    e->init = NEW(e->a, frame);
    *e->init = init;
    scope *sc = NEW(e->a, scope);
    sc->path = d->name;
    map_init(&sc->counts, e->a);
    env n = { .mod = home, .sc = sc, .in_train = true };
    dim batch = dim_const(1);
    bool is_open = !e->is_real;
    for (int i = 0; e->o->in_parts && i < e->o->n_dims; i++)
        is_open |= strcmp(e->o->dims[i].name, "batch") == 0;
    if (is_open) {                                         /* else it is known once the data is read */
        batch = dim_symbol(e->dims, "batch");
        dim_symbol_bounds(e->dims, batch, 1, 1 << 30);
        bind_name(e, &n, lang_intern(e->l, "batch", 5), v_dim(batch));
    }
    for (int i = 0; i < d->d->n; i++) {
        ast *x = d->d->kid[i];
        switch (x->kind) {
        case A_DATA: data_statement(e, &n, x, d->name, &batch); break;
        case A_MINIMIZE: {
            val loss;
            minimize_statement(e, &n, x, &loss);
            vec_push(e->a, &o->losses, here(e, &loss));
            vec_push(e->a, &o->loss_names,
                     x->a->kind == A_NAME ? x->a->name
                     : o->losses.n == 1   ? "loss"
                                          : arena_printf(e->a, "loss_%d", (int)o->losses.n));
            break;
        }
        case A_REPORT:
            if (e->is_real && !e->part) break;         /* reports belong to the evaluation */
            add_report(e, x, eval(e, &n, x->a), o);
            break;
        case A_SEARCH:
            for (int k = 0; k < x->n; k++) {
                val v = eval(e, &n, x->kid[k]->a);
                if (v.k != V_LIST || !v.n)
                    elab_error(e, x->kid[k]->a, NULL, search_not_list, show_kind(e, &v));
            }
            break;
        default: {
            ast one = { .kind = A_BLOCK, .n = 1, .kid = &x, .src = x->src, .line = x->line, .col = x->col };
            eval_block(e, &n, &one);
        }
        }
    }
    e->training = false;
    if (e->fr->g->failed || e->init->g->failed) longjmp(*e->l->stop, 1);
}

void check_train(elab *e, ast *d, module *home)
{
    outputs o;
    memset(&o, 0, sizeof o);
    e->is_real = false;
    e->part = 0;
    e->sets.n = 0;
    run_block(e, d, home, &o);
    e->init = NULL;
}

static void read_settings(elab *e, ast *d, module *home, lang_training *t)
{
    scope sc = { .path = "" };
    map_init(&sc.counts, e->a);
    env n = { .mod = home, .sc = &sc };
    *t = (lang_training){ .name = d->name, .epochs = 1, .shuffle = true };
    for (int i = 0; d->a && i < d->a->n; i++) {
        ast *s = d->a->kid[i];
        val v = eval(e, &n, s->a);
        const char *k = s->name;
        if (!strcmp(k, "epochs")) t->epochs = need_int(e, s, &v, "epochs");
        else if (!strcmp(k, "steps")) t->steps = need_int(e, s, &v, "steps");
        else if (!strcmp(k, "batch")) t->batch = need_int(e, s, &v, "batch");
        else if (!strcmp(k, "seed")) t->seed = (uint64_t)need_int(e, s, &v, "seed");
        else if (!strcmp(k, "patience")) t->patience = need_int(e, s, &v, "patience");
        else if (!strcmp(k, "shuffle")) t->shuffle = v.k != V_BOOL || v.b;
        else if (!strcmp(k, "trials")) t->trials = need_int(e, s, &v, "trials");
        else if (v.k != V_STRING) elab_error(e, s, NULL, setting_not_string, k, show_kind(e, &v));
        else if (!strcmp(k, "monitor")) t->monitor = v.s;
        else if (!strcmp(k, "save")) t->save = v.s;
        else if (!strcmp(k, "load")) t->load = v.s;
        else t->checkpoint = v.s;
    }
    if (t->epochs < 0 || t->steps < 0 || t->batch < 0 || t->trials < 0)
        elab_error(e, d, NULL, negative_setting);
}

/* The constants that the block varies, with their values as text, as --set takes them. */
static void read_search(elab *e, ast *d, module *home, lang_training *t)
{
    scope sc = { .path = "" };
    map_init(&sc.counts, e->a);
    env n = { .mod = home, .sc = &sc };
    for (int i = 0; i < d->d->n; i++) {
        ast *x = d->d->kid[i];
        if (x->kind != A_SEARCH) continue;
        if (t->n_search) elab_error(e, x, NULL, search_twice);
        t->search = arena_array(e->a, (size_t)x->n + 1, sizeof *t->search);
        for (int k = 0; k < x->n; k++) {
            val v = eval(e, &n, x->kid[k]->a);
            if (v.k != V_LIST || !v.n) elab_error(e, x->kid[k]->a, NULL, search_not_list, show_kind(e, &v));
            t->search[k].name = x->kid[k]->name;
            t->search[k].n = v.n;
            t->search[k].value = NEW_ARRAY(e->a, const char *, v.n);
            for (int j = 0; j < v.n; j++)
                t->search[k].value[j] = v.item[j].k == V_STRING ? arena_printf(e->a, "\"%s\"", v.item[j].s)
                                        : v.item[j].k == V_FN || v.item[j].k == V_PRIM ||
                                                v.item[j].k == V_LAYER_DEF
                                            ? v.item[j].s
                                            : show_value(e, &v.item[j]);
        }
        t->n_search = x->n;
    }
}

static void add_all(elab *e, const value *v, const char *const *names, int64_t n)
{
    for (int64_t i = 0; i < n; i++) add_result(e->fr->g, v[i], names[i]);
}

static ast *choose_block(elab *e, const char *name)
{
    ast *found = NULL, *f = e->main->file;
    int n = 0;
    for (int i = 0; i < f->n; i++)
        if (f->kid[i]->kind == A_DEF_TRAIN && (!name || strcmp(f->kid[i]->name, name) == 0)) {
            found = f->kid[i];
            n++;
        }
    if (!found && name) lang_error(e->l, e->main->src, 1, 1, NULL, no_train_block_of_name, name);
    if (!found) lang_error(e->l, e->main->src, 1, 1, NULL, file_without_train_block);
    if (n > 1) lang_error(e->l, e->main->src, 1, 1, NULL, several_train_blocks, n);
    return found;
}

/* -- The step -------------------------------------------------------------------------------------------- */

/* A variable of the block, and what it is in the graph under construction. */
typedef struct { const parameter *p; value old, new; } variable;
typedef vec(variable) variables;

/* Whether all gradients are finite: their largest magnitude is. */
static value is_finite_all(elab *e)
{
    graph *g = e->fr->g;
    value ok = NO_VALUE;
    for (int64_t i = 0; i < e->gradients.n; i++) {
        value x = un(g, SCALAR_abs, e->gradients.at[i].v);
        value is_finite = bin_k(g, SCALAR_lt, reduce(g, REDUCE_max, x, (1u << rank_of(g, x)) - 1, false),
                                (double)INFINITY);
        ok = i ? bin(g, SCALAR_and, ok, is_finite) : is_finite;
    }
    return ok;
}

/* The variables in order of creation; the number of steps last, where it is one. */
static variables variables_of(elab *e)
{
    variables all = { 0 };
    graph *g = e->fr->g;
    const parameter *step = NULL;
    for (int64_t k = 0; k < e->params.n; k++) {
        parameter *p = e->params.at[k];
        if (strcmp(p->path, "step") == 0 && !is_value(p->init)) step = p;
        if (!is_value(p->init)) continue;                        /* step, epoch, val_loss */
        val v = p->is_updated ? p->updated
                : p->cell     ? p->cell->now
                              : (val){ .k = V_TENSOR, .g = p->g, .v = p->v };
        vec_push(e->a, &all, ((variable){ p, p->v, here(e, &v) }));
    }
    if (e->o->in_parts) {
        parameter *count = NEW(e->a, parameter);
        *count = (parameter){ .path = "step", .name = "step", .is_state = true };
        count->v = step ? step->v : input(g, "step", DTYPE_i64, 0, NULL);
        count->init = scalar_i64(e->init->g, DTYPE_i64, 0);
        vec_push(e->a, &all, ((variable){ count, count->v, add(g, count->v, scalar_i64(g, DTYPE_i64, 1)) }));
    }
    if (!e->o->guard || !e->gradients.n) return all;
    value ok = is_finite_all(e);
    for (int64_t k = 0; k < all.n; k++) {
        variable *v = &all.at[k];
        if (!same_value(v->old, v->new)) v->new = select3(g, ok, v->new, v->old);
    }
    return all;
}

/* The graph of what was added to the results since the last call; inputs that nothing reads are left out. */
static graph *take_graph(elab *e)
{
    graph *g = with_constants(e);
    e->fr->g->results.n = e->fr->g->result_names.n = 0;
    if (!e->o->in_parts) return g;
    int64_t n, kept = 0;
    const uint32_t *order = graph_order(g, e->a, &n);
    bool *used = NEW_ARRAY(e->a, bool, g->owner.n + 1);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < g->nodes.at[order[i]].n_in; k++) used[g->nodes.at[order[i]].in[k].id] = true;
    for (int64_t i = 0; i < g->results.n; i++) used[g->results.at[i].id] = true;
    for (int64_t i = 0; i < g->inputs.n; i++)
        if (used[g->inputs.at[i].id]) g->inputs.at[kept++] = g->inputs.at[i];
    g->inputs.n = kept;
    return graph_compact(g);
}

/* Marks what `from` is made of. */
static void mark_cone(elab *e, value from, bool *seen)
{
    const graph *g = e->fr->g;
    vec(value) pending = { 0 };
    vec_push(e->a, &pending, from);
    while (pending.n) {
        value v = vec_pop(&pending);
        if (seen[v.id]) continue;
        seen[v.id] = true;
        const node *x = node_of(g, v);
        for (int k = 0; k < x->n_in; k++) vec_push(e->a, &pending, x->in[k]);
    }
}

/* late: variables whose new values wait for the gradients, and those whose old values these need. The others
 * change with the forward half. */
static bool *late_variables(elab *e, const variables *all)
{
    const graph *g = e->fr->g;
    bool *late = NEW_ARRAY(e->a, bool, all->n + 1), *waits = NEW_ARRAY(e->a, bool, g->owner.n + 1),
         *seen = NEW_ARRAY(e->a, bool, g->owner.n + 1);
    for (int64_t i = 0; i < e->gradients.n; i++) waits[e->gradients.at[i].v.id] = true;
    for (int64_t i = 1; i < n_nodes(g); i++) {
        const node *x = &g->nodes.at[i];
        bool any = false;
        for (int k = 0; k < x->n_in; k++) any |= waits[x->in[k].id];
        for (int k = 0; k < x->n_out; k++) waits[result_of(x, k).id] |= any;
    }
    bool is_stable = false;
    /* the last: the number of steps */
    for (int64_t i = 0; i < all->n; i++) late[i] = waits[all->at[i].new.id] || i == all->n - 1;
    while (!is_stable) {
        is_stable = true;
        for (int64_t i = 0; i < all->n; i++)
            if (late[i]) mark_cone(e, all->at[i].new, seen);
        for (int64_t i = 0; i < all->n; i++) {
            if (late[i] || same_value(all->at[i].old, all->at[i].new) || !seen[all->at[i].old.id]) continue;
            late[i] = true;
            is_stable = false;
        }
    }
    return late;
}

/* apply: the update with gradients as inputs. They are inputs while the block is elaborated, so that equal
 * gradients of two parameters, and gradients that are constants, stay apart. */
static void second_half(elab *e, ast *d, lang_training *t)
{
    outputs none;
    memset(&none, 0, sizeof none);
    e->is_cut = true;
    run_block(e, d, e->main, &none);
    e->is_cut = false;
    variables all = variables_of(e);
    const bool *late = late_variables(e, &all);
    int *late_at = NEW_ARRAY(e->a, int, all.n + 1), *early_at = NEW_ARRAY(e->a, int, all.n + 1);
    for (int64_t i = 0; i < all.n; i++) {
        if (same_value(all.at[i].old, all.at[i].new)) continue;
        if (!late[i]) { early_at[t->n_early++] = (int)i; continue; }
        late_at[t->n_late++] = (int)i;
        add_result(e->fr->g, all.at[i].new, all.at[i].p->path);
    }
    t->late = late_at;
    t->early = early_at;
    t->apply = take_graph(e);
}

static void first_half(elab *e, const variables *all, const outputs *step, lang_training *t)
{
    int *graded = NEW_ARRAY(e->a, int, e->gradients.n + 1);
    add_all(e, step->losses.at, step->loss_names.at, step->losses.n);
    for (int64_t i = 0; i < e->gradients.n; i++) {
        int k = 0;
        while (all->at[k].p != e->gradients.at[i].p) k++;
        graded[t->n_graded++] = k;
        add_result(e->fr->g, e->gradients.at[i].v, arena_printf(e->a, "grad.%s", all->at[k].p->path));
    }
    for (int i = 0; i < t->n_early; i++)
        add_result(e->fr->g, all->at[t->early[i]].new, all->at[t->early[i]].p->path);
    t->graded = graded;
    t->grad = take_graph(e);
}

static graph *evaluation(elab *e, ast *d, int part, lang_training *t)
{
    outputs ev;
    memset(&ev, 0, sizeof ev);
    e->part = part;
    run_block(e, d, e->main, &ev);
    e->part = 0;
    t->n_reports = (int)ev.reports.n;
    t->reports = ev.report_names.at;
    add_all(e, ev.losses.at, ev.loss_names.at, ev.losses.n);
    add_all(e, ev.reports.at, ev.report_names.at, ev.reports.n);
    return take_graph(e);
}

dlc_status lang_train(dlc_context *ctx, arena *a, const char *path, const char *block, const lang_options *o,
                      lang_training *t)
{
    jmp_buf stop;
    if (setjmp(stop)) return ctx->n_errors ? ctx->status : DLC_ERR_INTERNAL;
    elab *e = elab_new(ctx, a, path, o, &stop);
    ast *d = choose_block(e, block);
    elab_begin(e, d->name);
    read_settings(e, d, e->main, t);
    read_search(e, d, e->main, t);
    e->seed = t->seed;
    e->batch = t->batch;
    e->is_real = true;
    if (o->in_parts) second_half(e, d, t);
    outputs step;
    memset(&step, 0, sizeof step);
    run_block(e, d, e->main, &step);
    t->n_losses = (int)step.losses.n;
    t->losses = step.loss_names.at;
    add_all(e, step.losses.at, step.loss_names.at, step.losses.n);
    variables all = variables_of(e);
    t->n_vars = (int)all.n;
    t->vars = NEW_ARRAY(a, lang_variable, all.n + 1);
    for (int64_t k = 0; k < all.n; k++) {
        t->vars[k] = (lang_variable){ .path = all.at[k].p->path, .is_state = all.at[k].p->is_state };
        add_result(e->fr->g, all.at[k].new, t->vars[k].path);
        add_result(e->init->g, all.at[k].p->init, t->vars[k].path);
    }
    t->step = take_graph(e);
    t->init = graph_compact(e->init->g);
    t->data = NEW_ARRAY(a, lang_data *, e->sets.n + 1);
    for (int64_t i = 0; i < e->sets.n; i++) t->data[t->n_data++] = e->sets.at[i]->data;
    const lang_data *first = t->n_data ? t->data[0] : NULL;
    if (!first) elab_error(e, d, NULL, train_block_without_data);
    if (o->in_parts) {
        first_half(e, &all, &step, t);
        t->test = evaluation(e, d, 3, t);
        return DLC_OK;
    }
    for (int part = 0; part < 3; part++)                         /* 3: evaluation on the training part */
        if (first->n_part[part] && (part != 0 || !first->n_part[1]))
            t->evaluate[part] = evaluation(e, d, part ? part : 3, t);
    return DLC_OK;
}
