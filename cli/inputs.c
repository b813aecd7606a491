/* inputs: a model made ready, and its inputs: from files, zero, or random
 *
 * Files     NAME=FILE goes to the input of that name; the members of a .npz by their names (arr_0, arr_1 … by
 *           position), those that name no input are left; other files to the next input without one. Types
 *           and sizes are compared before elements are read.
 * Pictures  become f32 (0 to 1) or u8, [1, C, H, W] or [1, H, W, C] by where the model has 1, 3 or 4
 *           channels.
 * Open      sizes of inputs made here are 1 where the model leaves them open, or what --dim said.
 */
#include "cli/cli.h"
#include <stdlib.h>

/* must_fit: NAME=FILE */
typedef struct { const char *for_name; bool must_fit; tensor_entry e; bool is_used; } offer;
typedef struct { cli *c; const engine *e; vec(offer) offers; tensor *in; bool *is_set; } filling;

/* -- Files ----------------------------------------------------------------------------------------------- */

static dlc_status read_operand(filling *f, const char *operand)
{
    cli *c = f->c;
    const char *eq = strchr(operand, '='), *path = eq ? eq + 1 : operand;
    tensor_entries entries = { 0 };
    dlc_status s = tensors_open(c->ctx, c->a, path, &entries);
    for (int64_t i = 0; i < entries.n && s == DLC_OK; i++) {
        offer o = { .e = entries.at[i] };
        size_t n = strlen(path);
        bool has_names = n > 4 && strcmp(path + n - 4, ".npz") == 0 && strncmp(o.e.name, "arr_", 4) != 0;
        o.must_fit = eq != NULL;
        if (eq) o.for_name = arena_strndup(c->a, operand, (size_t)(eq - operand));
        else if (has_names) o.for_name = o.e.name;
        vec_push(c->a, &f->offers, o);
    }
    return s;
}

static int input_of(const filling *f, const char *name)
{
    for (int i = 0; i < f->e->n_in; i++)
        if (strcmp(f->e->in_name[i], name) == 0) return i;
    return -1;
}

static const char *shape_text(arena *a, dtype t, int rank, const int64_t *dims_)
{
    text s = { .a = a };
    text_printf(&s, "%s[", dtype_info[t].name);
    for (int k = 0; k < rank; k++) {
        if (k) text_put(&s, ", ");
        if (dims_[k] < 0) text_put(&s, "?");
        else text_printf(&s, "%lld", (long long)dims_[k]);
    }
    text_put(&s, "]");
    return text_str(&s);
}

/* -- Pictures -------------------------------------------------------------------------------------------- */

static bool is_channels(int64_t n) { return n == 1 || n == 3 || n == 4; }

/* One channel of a pixel, from a picture that may have another number of them. */
static unsigned channel(const uint8_t *pixel, int64_t have, int64_t want, int64_t k)
{
    if (have == want) return pixel[k];
    if (k == 3) return 255;
    if (have < 3) return pixel[0];
    if (want < 3) return (299u * pixel[0] + 587u * pixel[1] + 114u * pixel[2] + 500) / 1000;
    return pixel[k];
}

/* Rank 2: [H, W]; 3: [C, H, W] or [H, W, C]; 4: a batch of one before it. False: the input is no picture of
 * this size. */
static bool place_picture(cli *c, const tensor *p, dtype t, int rank, int64_t *shape, tensor *out)
{
    int first = rank == 4, at_c = -1, n = rank - first;
    if (n < 2 || n > 3 || (t != DTYPE_f32 && t != DTYPE_u8) || (first && shape[0] > 1)) return false;
    if (first) shape[0] = 1;
    if (n == 3) at_c = is_channels(shape[first]) ? first : is_channels(shape[rank - 1]) ? rank - 1 : -1;
    if (n == 3 && at_c < 0) return false;
    int at_h = at_c == first ? first + 1 : first, at_w = at_h + 1;
    int64_t h = p->dims[0], w = p->dims[1], have = p->dims[2], want = at_c < 0 ? 1 : shape[at_c];
    if ((shape[at_h] >= 0 && shape[at_h] != h) || (shape[at_w] >= 0 && shape[at_w] != w)) return false;
    shape[at_h] = h;
    shape[at_w] = w;
    *out = (tensor){ .dtype = t, .rank = rank };
    memcpy(out->dims, shape, sizeof *shape * (size_t)rank);
    out->bytes = arena_alloc(c->a, tensor_bytes(out));
    bool is_planar = at_c == first && n == 3;
    for (int64_t i = 0; i < h * w; i++)
        for (int64_t k = 0; k < want; k++) {
            unsigned v = channel((const uint8_t *)p->bytes + i * have, have, want, k);
            int64_t to = is_planar ? k * h * w + i : i * want + k;
            if (t == DTYPE_u8) ((uint8_t *)out->bytes)[to] = (uint8_t)v;
            else ((float *)out->bytes)[to] = (float)v / 255.0f;
        }
    return true;
}

/* -- Filling --------------------------------------------------------------------------------------------- */

static dlc_status take_file(filling *f, int i, offer *o)
{
    cli *c = f->c;
    int64_t want[MAX_RANK];
    engine_input_shape(f->e, i, want);
    o->is_used = f->is_set[i] = true;
    const tensor *t = &o->e.t;
    bool fits = !o->e.is_picture && t->dtype == f->e->in_dtype[i] && t->rank == f->e->in_rank[i];
    for (int k = 0; fits && k < t->rank; k++) fits = want[k] < 0 || want[k] == t->dims[k];
    const char *wanted = shape_text(c->a, f->e->in_dtype[i], f->e->in_rank[i], want);
    if (o->e.is_picture && place_picture(c, t, f->e->in_dtype[i], f->e->in_rank[i], want, &f->in[i]))
        return DLC_OK;
    if (!fits) {
        const char *found = o->e.is_picture ? arena_printf(c->a, "a picture of %lld x %lld pixels",
                                                           (long long)t->dims[1], (long long)t->dims[0])
                                            : shape_text(c->a, t->dtype, t->rank, t->dims);
        diag_run_input(c->ctx, (place){ .file = o->e.file }, f->e->in_name[i], wanted, found);
        return DLC_ERR_INPUT;
    }
    dlc_status s = tensor_load(c->ctx, c->a, &o->e);
    f->in[i] = o->e.t;
    return s;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Floats in -1..1, evenly; whole numbers 0 to 7; of stored types any of small bits. */
static void fill_random(tensor *t, uint64_t seed, int i)
{
    uint64_t state = hash_u64(seed, (uint64_t)i);
    int64_t n = tensor_n(t), size = dtype_bytes(t->dtype);
    for (int64_t k = 0; k < n; k++) {
        uint64_t r = random_next(&state);
        uint8_t *p = (uint8_t *)t->bytes + k * size;
        if (is_float(t->dtype)) sv_store(t->dtype, p, sv_from_f64(t->dtype, (double)(r >> 11) * 0x1p-52 - 1));
        else if (is_storage(t->dtype)) *p = (uint8_t)(r & 1);
        else sv_store(t->dtype, p, sv_from_i64(t->dtype, (int64_t)(t->dtype == DTYPE_bool ? r & 1 : r & 7)));
    }
}

static dlc_status make(filling *f, int i, bool is_random, uint64_t seed)
{
    tensor *t = &f->in[i];
    *t = (tensor){ .dtype = f->e->in_dtype[i], .rank = f->e->in_rank[i] };
    engine_input_shape(f->e, i, t->dims);
    for (int k = 0; k < t->rank; k++)
        if (t->dims[k] < 0) t->dims[k] = 1;
    t->bytes = arena_alloc(f->c->a, tensor_bytes(t));
    if (is_random) fill_random(t, seed, i);
    return DLC_OK;
}

static dlc_status take_named(filling *f, offer *o)
{
    cli *c = f->c;
    int i = input_of(f, o->for_name);
    if (i >= 0 && !f->is_set[i]) return take_file(f, i, o);
    if (!o->must_fit) return DLC_OK;
    const char *near = nearest(o->for_name, f->e->n_in, f->e->in_name);
    if (i >= 0) diag_run_twice(c->ctx, (place){ .file = o->e.file }, o->for_name);
    else
        diag_run_name(c->ctx, (place){ .file = o->e.file }, o->for_name,
                      near ? arena_printf(c->a, "; did you mean %s?", near) : "");
    return DLC_ERR_INPUT;
}

/* "; y.npz holds q": tensors of files that no input took. */
static const char *unused_tensors(const filling *f)
{
    text t = { .a = f->c->a };
    const char *file = NULL;
    for (int64_t j = 0; j < f->offers.n; j++) {
        const offer *o = &f->offers.at[j];
        if (o->is_used || !o->for_name) continue;
        if (file && strcmp(file, o->e.file) == 0) text_printf(&t, ", %s", o->for_name);
        else text_printf(&t, "; %s holds %s", o->e.file, o->for_name);
        file = o->e.file;
    }
    return text_str(&t);
}

static dlc_status fill(filling *f)
{
    cli *c = f->c;
    dlc_status s = DLC_OK;
    for (int64_t j = 0; j < f->offers.n && s == DLC_OK; j++)
        if (f->offers.at[j].for_name) s = take_named(f, &f->offers.at[j]);
    int i = 0;
    for (int64_t j = 0; j < f->offers.n && s == DLC_OK; j++) {
        offer *o = &f->offers.at[j];
        while (i < f->e->n_in && f->is_set[i]) i++;
        if (o->is_used || o->for_name) continue;
        if (i < f->e->n_in) {
            s = take_file(f, i, o);
            continue;
        }
        diag_run_unknown(c->ctx, (place){ 0 }, o->e.file);
        s = DLC_ERR_INPUT;
    }
    bool is_random = opt_given(c, OPT_random), is_made = is_random || opt_given(c, OPT_zero) ||
                                                         c->command == COMMAND_bench ||
                                                         c->command == COMMAND_compare;
    uint64_t seed = is_random ? (uint64_t)opt_int(c, OPT_random, 0, INT64_MAX, 0) : 1;
    for (i = 0; i < f->e->n_in && s == DLC_OK; i++) {
        if (f->is_set[i]) continue;
        if (is_made) {
            s = make(f, i, is_random || !opt_given(c, OPT_zero), seed);
            continue;
        }
        int64_t want[MAX_RANK];
        engine_input_shape(f->e, i, want);
        diag_run_missing(c->ctx, (place){ 0 }, f->e->in_name[i],
                         shape_text(c->a, f->e->in_dtype[i], f->e->in_rank[i], want), unused_tensors(f));
        s = DLC_ERR_INPUT;
    }
    return c->is_usage ? DLC_ERR_INPUT : s;
}

/* -- Structural inputs ----------------------------------------------------------------------------------- */

/* All inputs of the model in order, where files give them: the import may need their values. */
static dlc_status load_offers(filling *f, const char *model, int *n, onnx_tensor **out)
{
    cli *c = f->c;
    int n_out;
    onnx_io *in, *outs;
    dlc_status s = onnx_list_io(c->ctx, c->a, model, n, &in, &n_out, &outs);
    *out = NEW_ARRAY(c->a, onnx_tensor, *n);
    int64_t next = 0;
    for (int i = 0; i < *n && s == DLC_OK; i++) {
        offer *o = NULL;
        for (int64_t j = 0; j < f->offers.n; j++)
            if (f->offers.at[j].for_name && strcmp(f->offers.at[j].for_name, in[i].name) == 0)
                o = &f->offers.at[j];
        while (!o && next < f->offers.n && f->offers.at[next].for_name) next++;
        if (!o && next < f->offers.n) o = &f->offers.at[next++];
        if (!o || o->e.is_picture) return DLC_ERR_UNSUPPORTED;
        if (!o->for_name) o->for_name = in[i].name;
        s = tensor_load(c->ctx, c->a, &o->e);
        (*out)[i] = (onnx_tensor){ .dtype = o->e.t.dtype,
                                   .rank = o->e.t.rank,
                                   .n = tensor_n(&o->e.t),
                                   .bytes = o->e.t.bytes,
                                   .name = in[i].name };
        memcpy((*out)[i].dims, o->e.t.dims, sizeof o->e.t.dims);
    }
    return s;
}

dlc_status cli_open_model(cli *c, engine **e, tensor **in)
{
    settings set;
    if (!cli_settings(c, &set)) return DLC_ERR_INPUT;
    driver_options o = set.driver;
    o.variants_at_once = true;                           /* bench: in the warm-up */
    filling f = { .c = c };
    for (int64_t i = 1; i < c->operands.n; i++) {
        dlc_status s = read_operand(&f, c->operands.at[i]);
        if (s != DLC_OK) return s;
    }
    const char *model = c->operands.at[0];
    int64_t n_diags = c->ctx->diags.n;
    dlc_status s = engine_open(c->ctx, c->a, model, &o, set.kind, e);
    int n_offers;
    onnx_tensor *offers;
    if (s == DLC_ERR_UNSUPPORTED && f.offers.n && load_offers(&f, model, &n_offers, &offers) == DLC_OK) {
        o.onnx.n_offers = n_offers;
        o.onnx.offers = offers;
        o.onnx.is_offer_taken = NEW_ARRAY(c->a, bool, n_offers + 1);
        o.onnx.is_specialized = true;
        c->ctx->diags.n = n_diags;
        c->ctx->n_errors = 0;
        c->ctx->status = DLC_OK;
        s = engine_open(c->ctx, c->a, model, &o, set.kind, e);
        for (int i = 0; i < n_offers; i++)
            for (int64_t j = 0; j < f.offers.n && o.onnx.is_offer_taken[i]; j++)
                if (f.offers.at[j].for_name && strcmp(f.offers.at[j].for_name, offers[i].name) == 0)
                    f.offers.at[j].is_used = true;
    }
    if (s != DLC_OK) return s;
    f.e = *e;
    f.in = *in = NEW_ARRAY(c->a, tensor, (*e)->n_in);
    f.is_set = NEW_ARRAY(c->a, bool, (*e)->n_in);
    return fill(&f);
}

dlc_status cli_make_inputs(cli *c, const engine *e, tensor **in)
{
    filling f = {
        .c = c, .e = e, .in = *in = NEW_ARRAY(c->a, tensor, e->n_in), .is_set = NEW_ARRAY(c->a, bool, e->n_in)
    };
    return fill(&f);
}

dlc_run_hook cli_threads(cli *c, int *n)
{
    return engine_threads(c->a, (int)opt_int(c, OPT_threads, 1, 1024, 0), n);
}
