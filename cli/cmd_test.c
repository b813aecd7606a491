/* test: runs an official ONNX test folder: model.onnx, data.json, test_data_set_N/input_K.pb and output_K.pb
 *
 * Exit: 0 every output of every data set is near enough; 1 one is not; 2 the model is not supported, or a
 * result that differs depends on random numbers: ONNX leaves the generator to the implementation, with a seed
 * too, so that another generator's numbers show nothing beyond type and shape; 3 the folder, the model or its
 * data are refused.
 *
 * The model is compiled as it is, with open dimensions open. Inputs that decide a structure (shapes, axes, k)
 * become constants with the values of the data set; only if that is not enough are the open dimensions fixed
 * to its sizes.
 */
#include "cli/cli.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TEST_PASS = 0, TEST_WRONG = 1, TEST_UNSUPPORTED = 2, TEST_REFUSED = 3 };
enum { MAX_FILES = 100000, MAX_SETS = 10000 };

typedef struct { const char *name, *dir; int number; } data_set;
typedef struct {
    cli *c;
    const char *dir, *out_dir;
    driver_options options;
    engine_kind kind;
    double rtol, atol;
    vec(data_set) sets;
    int n_in, n_out; onnx_io *in, *out;      /* as the model declares them */
    engine *made;               /* by an earlier set, fit for all */
} test;

static int refused(test *t, const char *what)
{
    diag_test_folder(t->c->ctx, (place){ .file = t->dir }, what);
    return TEST_REFUSED;
}

static int test_code(dlc_status s)
{
    int code = exit_code(s);
    return code == EXIT_INPUT ? TEST_REFUSED : code;
}

/* -- The folder ------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    const data_set *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static bool find_sets(test *t)
{
    static const char prefix[] = "test_data_set_";
    DIR *d = opendir(t->dir);
    if (!d) return false;
    for (struct dirent *e; (e = readdir(d)) && t->sets.n < MAX_SETS;) {
        const char *digits = e->d_name + sizeof prefix - 1;
        if (strncmp(e->d_name, prefix, sizeof prefix - 1) != 0 || !*digits ||
            strspn(digits, "0123456789") != strlen(digits))
            continue;
        if (strlen(digits) > 8) continue;
        const char *name = arena_strdup(t->c->a, e->d_name);
        data_set s = { name, arena_printf(t->c->a, "%s/%s", t->dir, name), atoi(digits) };
        vec_push(t->c->a, &t->sets, s);
    }
    closedir(d);
    if (t->sets.n) qsort(t->sets.at, (size_t)t->sets.n, sizeof *t->sets.at, by_number);
    return t->sets.n > 0;
}

/* "name": number, wherever it stands. */
static double json_number(const char *json, const char *name, double other)
{
    const char *p = strstr(json, name);
    if (!p) return other;
    p += strlen(name);
    p += strspn(p, " \t\n:");
    char *end;
    double v = strtod(p, &end);
    return end != p && v >= 0 && v < 1e9 ? v : other;
}

static void read_tolerance(test *t)
{
    t->rtol = 1e-3;
    t->atol = 1e-7;
    bytes file;
    int err;
    if (!file_map(t->c->a, arena_printf(t->c->a, "%s/data.json", t->dir), &file, &err) || file.n > 1 << 20)
        return;
    const char *json = arena_strndup(t->c->a, (const char *)file.at, file.n);
    t->rtol = json_number(json, "\"rtol\"", t->rtol);
    t->atol = json_number(json, "\"atol\"", t->atol);
}

/* KIND_0.pb, KIND_1.pb, … as far as they go; each as the model declares it. */
static dlc_status read_files(test *t, arena *a, const data_set *s, const char *kind, int n_io,
                             const onnx_io *io, int *n, onnx_tensor **out)
{
    vec(onnx_tensor) list = { 0 };
    dlc_status st = DLC_OK;
    while (list.n < MAX_FILES && st == DLC_OK) {
        const char *path = arena_printf(a, "%s/%s_%lld.pb", s->dir, kind, (long long)list.n);
        struct stat info;
        if (stat(path, &info) != 0) break;
        onnx_tensor x = { 0 };
        st = onnx_read_value(t->c->ctx, a, path, list.n < n_io ? io[list.n].kind : ONNX_TENSOR, &x);
        if (st == DLC_OK) vec_push(a, &list, x);
    }
    *n = (int)list.n;
    *out = list.at;
    return st;
}

static tensor as_tensor(const onnx_tensor *x)
{
    tensor t = { .dtype = x->dtype, .rank = x->rank, .bytes = (void *)(uintptr_t)x->bytes };
    memcpy(t.dims, x->dims, sizeof t.dims);
    return t;
}

static onnx_tensor as_value(const tensor *t, const char *name)
{
    onnx_tensor x = { .dtype = t->dtype, .rank = t->rank, .n = tensor_n(t), .bytes = t->bytes, .name = name };
    memcpy(x.dims, t->dims, sizeof x.dims);
    return x;
}

/* -- One data set ---------------------------------------------------------------------------------------- */

typedef struct { int n_in, n_want; onnx_tensor *in, *want; bool *is_taken, is_specialized; } data;

static dlc_status read_set(test *t, arena *a, const data_set *s, data *d)
{
    dlc_status st = read_files(t, a, s, "input", t->n_in, t->in, &d->n_in, &d->in);
    if (st == DLC_OK) st = read_files(t, a, s, "output", t->n_out, t->out, &d->n_want, &d->want);
    d->is_taken = NEW_ARRAY(a, bool, d->n_in);
    if (st != DLC_OK) return st;
    if (d->n_in != t->n_in) {
        diag_run_inputs(t->c->ctx, (place){ .file = s->dir }, t->n_in, d->n_in);
        return DLC_ERR_INPUT;
    }
    if (d->n_want == 0) {
        refused(t, arena_printf(t->c->a, "%s holds no expected output", s->name));
        return DLC_ERR_INPUT;
    }
    return DLC_OK;
}

/* The model, made ready for this set. */
static dlc_status open_for(test *t, arena *a, data *d, bool is_specialized, engine **e)
{
    driver_options o = t->options;
    o.onnx.n_offers = d->n_in;
    o.onnx.offers = d->in;
    o.onnx.is_offer_taken = d->is_taken;
    o.onnx.is_specialized = d->is_specialized = is_specialized;
    memset(d->is_taken, 0, sizeof *d->is_taken * (size_t)d->n_in);
    return engine_open(t->c->ctx, a, arena_printf(a, "%s/model.onnx", t->dir), &o, t->kind, e);
}

/* The model once more, for the sizes of this set only, after something failed with `s`; if that fails too,
 * what was said then, from n_diags on, stays said. */
static dlc_status make_specialized(test *t, arena *a, data *d, int64_t n_diags, dlc_status s, engine **e)
{
    dlc_context *ctx = t->c->ctx;
    int64_t n_first = ctx->diags.n - n_diags;
    int n_errors = ctx->n_errors;
    diag *first = arena_copy(a, ctx->diags.at + n_diags, (size_t)n_first * sizeof *first);
    ctx->diags.n = n_diags;                /* the second try starts without errors, or its steps would stop */
    ctx->n_errors = 0;
    ctx->status = DLC_OK;
    if (open_for(t, a, d, true, e) == DLC_OK) return DLC_OK;
    ctx->diags.n = n_diags;                       /* what the model lacks in general is what is said */
    for (int64_t i = 0; i < n_first; i++) vec_push(ctx->arena, &ctx->diags, first[i]);
    ctx->n_errors = n_errors;
    ctx->status = s;
    return s;
}

static dlc_status make_engine(test *t, arena *a, data *d, engine **e)
{
    if (t->made) {
        *e = t->made;
        return DLC_OK;
    }
    dlc_context *ctx = t->c->ctx;
    int64_t n_diags = ctx->diags.n;
    dlc_status s = open_for(t, t->c->a, d, false, e);
    if (s == DLC_OK) {
        bool is_general = true;
        for (int i = 0; i < d->n_in; i++) is_general &= !d->is_taken[i] && d->in[i].kind == ONNX_TENSOR;
        if (is_general) t->made = *e;
        return s;
    }
    if (s != DLC_ERR_UNSUPPORTED && s != DLC_ERR_INPUT && s != DLC_ERR_SHAPE) return s;
    return make_specialized(t, a, d, n_diags, s, e);
}

/* -- Do the data fit the model? A constant index outside of its tensor is refused when a model is read, one
 * that comes at run time reads 0 or is dropped (docs/primitives.md). Here the data are known: the model is
 * read once more with its integer inputs as constants, and what is wrong with it then is said.
 * ------------------------------------------------------------ */

enum { MOST_CHECKED = 4096 };

static const char *as_list(arena *a, const onnx_tensor *x)
{
    text t = { .a = a };
    for (int64_t i = 0; i < x->n; i++) {
        scalar_value v = sv_load(x->dtype, (const char *)x->bytes + i * dtype_bytes(x->dtype));
        text_printf(&t, "%s%lld", i ? "," : "", (long long)sv_to_i64(x->dtype, v));
    }
    return text_str(&t);
}

static dlc_status check_data(test *t, arena *a, const data *d)
{
    dlc_context *ctx = t->c->ctx;
    onnx_bind_option *binds = NEW_ARRAY(a, onnx_bind_option, d->n_in + 1);
    driver_options o = t->options;
    bool *taken = NEW_ARRAY(a, bool, d->n_in + 1);
    int n = 0;
    for (int i = 0; i < d->n_in; i++) {
        const onnx_tensor *x = &d->in[i];
        bool is_index = x->kind == ONNX_TENSOR && (x->dtype == DTYPE_i64 || x->dtype == DTYPE_i32) &&
                        x->n > 0 && x->n <= MOST_CHECKED;
        if (is_index && t->in[i].name && *t->in[i].name)
            binds[n++] = (onnx_bind_option){ t->in[i].name, as_list(a, x) };
    }
    if (!n || ctx->n_errors) return DLC_OK;
    o.onnx.n_binds = n;
    o.onnx.binds = binds;
    o.onnx.n_offers = d->n_in;
    o.onnx.offers = d->in;
    o.onnx.is_offer_taken = taken;
    o.onnx.is_specialized = true;
    int64_t n_diags = ctx->diags.n;
    graph *g;
    dlc_status s = driver_import(ctx, a, arena_printf(a, "%s/model.onnx", t->dir), &o, &g);
    if (s == DLC_ERR_INPUT) return s;
    ctx->diags.n = n_diags;
    ctx->n_errors = 0;
    ctx->status = DLC_OK;
    return DLC_OK;
}

/* A sequence or optional is as many inputs of the graph as it has items. */
static dlc_status run_set(test *t, arena *a, const engine *e, const data *d, tensor *out)
{
    vec(tensor) in = { 0 };
    for (int i = 0; i < d->n_in; i++) {
        const onnx_tensor *x = &d->in[i];
        if (d->is_taken[i]) continue;
        if (x->kind == ONNX_TENSOR) vec_push(a, &in, as_tensor(x));
        for (int k = 0; x->kind != ONNX_TENSOR && k < x->n_items; k++)
            vec_push(a, &in, as_tensor(&x->items[k]));
    }
    if (in.n != e->n_in) {
        diag_run_inputs(t->c->ctx, (place){ .file = t->dir }, e->n_in, (int)in.n);
        return DLC_ERR_INPUT;
    }
    return engine_run(t->c->ctx, a, e, in.at, out, NULL);
}

/* The graph's results as the values that the model declares: y, or y[0], y[1], … of a sequence or optional.
 */
static onnx_tensor *gather_outputs(const test *t, arena *a, const engine *e, const tensor *y)
{
    onnx_tensor *out = NEW_ARRAY(a, onnx_tensor, t->n_out);
    for (int k = 0, at = 0; k < t->n_out; k++) {
        const char *name = t->out[k].name;
        size_t n = strlen(name);
        out[k] = (onnx_tensor){ .name = name, .kind = t->out[k].kind };
        if (out[k].kind == ONNX_TENSOR) {
            if (at < e->n_out) out[k] = as_value(&y[at], name);
            at++;
            continue;
        }
        vec(onnx_tensor) items = { 0 };
        for (; at < e->n_out && strncmp(e->out_name[at], name, n) == 0; at++) {
            const char *rest = e->out_name[at] + n;
            if (*rest && strcmp(rest, arena_printf(a, "[%lld]", (long long)items.n)) != 0) break;
            vec_push(a, &items, as_value(&y[at], ""));
        }
        out[k].n_items = (int)items.n;
        out[k].items = items.at;
        out[k].is_absent = items.n == 0 && out[k].kind == ONNX_OPTIONAL;
    }
    return out;
}

static dlc_status write_value(test *t, arena *a, const char *path, const onnx_tensor *v)
{
    text bytes_ = { .a = a };
    int err = 0;
    onnx_put_value(&bytes_, v);
    file_out *f = file_create(a, path, 0666, &err);
    if (f) {
        file_write(f, bytes_.at, (size_t)bytes_.n);
        if (file_commit(f)) return DLC_OK;
        err = errno;
    }
    diag_cannot_write(t->c->ctx, (place){ .file = path }, strerror(err));
    return DLC_ERR_IO;
}

static dlc_status write_outputs(test *t, arena *a, const data_set *s, const onnx_tensor *out)
{
    const char *dir = t->out_dir;
    if (t->sets.n > 1) dir = arena_printf(a, "%s/%s", dir, s->name);
    if ((mkdir(t->out_dir, 0777) != 0 && errno != EEXIST) ||
        (t->sets.n > 1 && mkdir(dir, 0777) != 0 && errno != EEXIST)) {
        diag_cannot_write(t->c->ctx, (place){ .file = dir }, strerror(errno));
        return DLC_ERR_IO;
    }
    for (int k = 0; k < t->n_out; k++) {
        dlc_status st = write_value(t, a, arena_printf(a, "%s/output_%d.pb", dir, k), &out[k]);
        if (st != DLC_OK) return st;
    }
    return DLC_OK;
}

static const char *value_differs(const test *t, arena *a, const onnx_tensor *got, const onnx_tensor *want)
{
    if (want->kind == ONNX_TENSOR) {
        tensor g = as_tensor(got), w = as_tensor(want);
        return tensor_differs(a, &g, &w, t->rtol, t->atol);
    }
    if (got->n_items != want->n_items)
        return arena_printf(a, "%d items, expected %d", got->n_items, want->n_items);
    for (int i = 0; i < want->n_items; i++) {
        const char *d = value_differs(t, a, &got->items[i], &want->items[i]);
        if (d) return arena_printf(a, "item %d: %s", i, d);
    }
    return NULL;
}

/* Does tensor `name` of the model depend on random numbers? */
static bool is_random(arena *a, const engine *e, const char *name)
{
    const graph *g = e->graph;
    if (!g) return false;
    const bool *random = graph_depends(g, a, PRIM_random);
    for (int k = 0; k < e->n_out; k++)
        if (strcmp(e->out_name[k], name) == 0) return random[g->owner.at[g->results.at[k].id]];
    return false;
}

static bool same_form(const onnx_tensor *x, const onnx_tensor *y)
{
    return x->kind == ONNX_TENSOR && y->kind == ONNX_TENSOR && x->dtype == y->dtype && x->rank == y->rank
        && memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0;
}

static int judge(test *t, arena *a, const engine *e, const data_set *s, const data *d, const onnx_tensor *out)
{
    int code = TEST_PASS;
    for (int k = 0; k < d->n_want; k++) {
        const char *what = value_differs(t, a, &out[k], &d->want[k]);
        if (!what) continue;
        if (same_form(&out[k], &d->want[k]) && is_random(a, e, t->out[k].name)) {
            diag_test_random(t->c->ctx, (place){ .file = t->dir }, s->name, t->out[k].name, what);
            if (code == TEST_PASS) code = TEST_UNSUPPORTED;
            continue;
        }
        diag_test_wrong(t->c->ctx, (place){ .file = t->dir }, s->name, t->out[k].name, what);
        code = TEST_WRONG;
    }
    return code;
}

static int run_one(test *t, arena *a, const data_set *s)
{
    data d = { 0 };
    engine *e = NULL;
    dlc_status st = read_set(t, a, s, &d);
    if (st == DLC_OK) st = make_engine(t, a, &d, &e);
    if (st != DLC_OK) return test_code(st);
    if (d.n_want > t->n_out) {
        diag_run_outputs(t->c->ctx, (place){ .file = t->dir }, t->n_out, d.n_want);
        return TEST_REFUSED;
    }
    st = check_data(t, a, &d);
    if (st != DLC_OK) return test_code(st);
    tensor *y = NEW_ARRAY(a, tensor, e->n_out);
    int64_t n_diags = t->c->ctx->diags.n;
    st = run_set(t, a, e, &d, y);
    /* a size that an open dimension cannot have, as the model was built */
    if (st == DLC_ERR_SHAPE && !d.is_specialized) {
        st = make_specialized(t, a, &d, n_diags, st, &e);
        if (st == DLC_OK) st = run_set(t, a, e, &d, y = NEW_ARRAY(a, tensor, e->n_out));
    }
    if (st != DLC_OK) return test_code(st);
    const onnx_tensor *out = gather_outputs(t, a, e, y);
    if (t->out_dir) st = write_outputs(t, a, s, out);
    return st == DLC_OK ? judge(t, a, e, s, &d, out) : test_code(st);
}

int command_test(cli *c)
{
    settings set;
    test t = { .c = c, .dir = cli_operand(c), .out_dir = opt_value(c, OPT_test_out) };
    if (!t.dir || !cli_settings(c, &set)) return EXIT_USAGE;
    t.options = set.driver;
    t.kind = set.kind;
    if (!find_sets(&t)) return refused(&t, "holds no test_data_set_N");
    read_tolerance(&t);
    dlc_status st = onnx_list_io(c->ctx, c->a, arena_printf(c->a, "%s/model.onnx", t.dir), &t.n_in, &t.in,
                                 &t.n_out, &t.out);
    if (st != DLC_OK) return test_code(st);
    int code = TEST_PASS;
    for (int64_t i = 0; i < t.sets.n && code == TEST_PASS; i++) {
        arena *a = arena_new(&c->ctx->mem);
        code = run_one(&t, a, &t.sets.at[i]);
        arena_free(a);
    }
    progress_clear(c);
    if (code == TEST_PASS && !opt_given(c, OPT_quiet))
        printf("passed %lld data set%s\n", (long long)t.sets.n, t.sets.n == 1 ? "" : "s");
    return code;
}
