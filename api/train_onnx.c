/* train_onnx: a model of ONNX as a training program of the language
 *
 *     use "digits.onnx" as Net
 *     train fit(batch: 64) {
 *         data d = (image: zeros([64, 1, 28, 28]), label: i64(zeros([64])))
 *         y = Net(d.image)
 *         minimize cross_entropy(y, d.label) with Adam(1e-3)
 *     }
 *
 * Why    The language knows losses, optimizers, gradients and states already; so a model to be trained needs only this text.
 * How    The model is imported once for the sizes of its inputs and outputs. The data stand for types: no element of them is
 *        read. The first axis of every input is the batch; if the model leaves it open, so does the step.
 * Loss   of the first output, or of the one it names (cross_entropy:logits).
 * Labels by the loss: cross_entropy takes whole numbers, one for each row of the output, the others what has the output's
 *        shape; or as --label says.
 */
#include "api/train_onnx.h"
#include "base/embed.h"
#include <ctype.h>
#include <stdlib.h>

enum { MOST_BATCH = 1 << 20 };

typedef struct { dlc_context *ctx; arena *a; const char *path; const driver_options *o; graph *g; const char *batch; int64_t n; int y; } making;

static dlc_status refuse(const making *m, const char *option, const char *what)
{
    diag_option_value(m->ctx, (place){ 0 }, option, what);
    return DLC_ERR_INPUT;
}

/* -- Words ---------------------------------------------------------------------------------------------------------------- */

static size_t name_length(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_') n++;
    return n;
}

static const char *file_of_library(const char *name)
{
    for (const embedded_file *f = embedded_std; f->name; f++)
        if (strcmp(f->name, name) == 0) return f->bytes;
    return "";
}

/* The library's spelling of the name that `word` begins with, capitals aside; all: every name, for a message. */
static const char *spelled(arena *a, const char *file, const char *kind, const char *word, text *all)
{
    size_t n = name_length(word), k = strlen(kind);
    for (const char *line = file_of_library(file); *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, kind, k) != 0) continue;
        size_t m = name_length(line + k);
        text_printf(all, "%s%.*s", all->n ? ", " : "", (int)m, line + k);
        if (m == n && strncasecmp(line + k, word, n) == 0) return arena_strndup(a, line + k, m);
    }
    return NULL;
}

static const char *quoted(arena *a, const char *s)
{
    text t = { .a = a };
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') text_put(&t, "\\");
        text_putn(&t, s, 1);
    }
    return text_str(&t);
}

/* A field of the data: letters and digits of the name, one of its own. */
static const char *field_name(arena *a, map_str *used, const char *name)
{
    text t = { .a = a };
    if (!isalpha((unsigned char)*name)) text_put(&t, "x_");
    for (; *name && t.n < 60; name++) text_printf(&t, "%c", isalnum((unsigned char)*name) ? *name : '_');
    const char *s = text_str(&t), *tried = s;
    bool is_fresh;
    for (int i = 2; map_put(used, tried, strlen(tried), 0, &is_fresh), !is_fresh; i++) tried = arena_printf(a, "%s_%d", s, i);
    return tried;
}

/* -- Types ---------------------------------------------------------------------------------------------------------------- */

/* The first axis of the first input is the batch. */
static dlc_status find_batch(making *m)
{
    if (!m->g->inputs.n) return refuse(m, "train", "needs a model with inputs");
    type t = type_of(m->g, m->g->inputs.at[0]);
    if (t.rank < 1) return refuse(m, "train", "needs inputs whose first axis is the batch");
    m->n = 1;
    if (dim_is_const(t.dims[0], &m->n)) return DLC_OK;
    dim_view v = dim_look(m->g->dims, t.dims[0]);
    if (v.kind != DIM_SYMBOL) return refuse(m, "train", "needs inputs whose first axis is the batch");
    m->batch = dims_symbol_name(m->g->dims, v.symbol);
    return DLC_OK;
}

static dlc_status put_data(const making *m, text *out, const char *name, dtype dt, int rank, const dim *d, int from)
{
    text sizes = { .a = m->a };
    text_printf(&sizes, "[%lld", (long long)m->n);
    for (int i = from; i < rank; i++) {
        int64_t k;
        if (!dim_is_const(d[i], &k)) {
            text what = { .a = m->a };
            dim_print(m->g->dims, d[i], &what);
            return refuse(m, "dim", arena_printf(m->a, "must fix every size but the batch in training: axis %d of %s is %s", i, name, text_str(&what)));
        }
        text_printf(&sizes, ", %lld", (long long)k);
    }
    text_put(&sizes, "]");
    text_printf(out, dt == DTYPE_f32 ? "%s: zeros(%s)" : dt == DTYPE_bool ? "%s: zeros(%s) > 0" : "%s: %s(zeros(%s))", name,
                dt == DTYPE_f32 || dt == DTYPE_bool ? text_str(&sizes) : dtype_info[dt].name, text_str(&sizes));
    return DLC_OK;
}

/* "i64[batch, 10]": the sizes after the first are numbers. */
static dlc_status put_label_as(const making *m, text *out, const char *word)
{
    size_t n = name_length(word);
    dtype dt = dtype_by_name(word, n);
    const char *what = "takes a type whose first axis is the batch, as i64[batch] or f32[batch, 10]", *p = word + n;
    dim d[MAX_RANK];
    int rank = 0;
    if (dt == DTYPE_NONE || *p != '[') return refuse(m, "label", what);
    do {
        p++;
        while (*p == ' ') p++;
        size_t k = name_length(p);
        if (!k || rank == MAX_RANK) return refuse(m, "label", what);
        char *end;
        long long v = strtoll(p, &end, 10);
        if (rank && (end != p + k || v < 0)) return refuse(m, "label", what);
        d[rank] = dim_const(rank ? v : m->n);
        rank++;
        p += k;
        while (*p == ' ') p++;
    } while (*p == ',');
    if (strcmp(p, "]") != 0) return refuse(m, "label", what);
    return put_data(m, out, "label", dt, rank, d, 1);
}

static dlc_status put_label(const making *m, text *out, const char *loss)
{
    type y = type_of(m->g, m->g->results.at[m->y]);
    if (m->o->label) return put_label_as(m, out, m->o->label);
    bool is_class = strcmp(loss, "cross_entropy") == 0;
    if (y.rank < 1 + is_class) return refuse(m, "loss", "needs an output with the batch as its first axis; say the type of the labels with --label");
    return put_data(m, out, "label", is_class ? DTYPE_i64 : y.dtype, y.rank - is_class, y.dims, 1);
}

/* ":logits" behind the loss's name: the output that it takes; without, the first. */
static dlc_status find_output(making *m, const char **rest)
{
    if (**rest != ':') return DLC_OK;
    size_t n = strcspn(*rest + 1, "(");
    text all = { .a = m->a };
    for (m->y = 0; m->y < m->g->results.n; m->y++) {
        const char *name = m->g->result_names.at[m->y] ? m->g->result_names.at[m->y] : "";
        if (strlen(name) == n && memcmp(name, *rest + 1, n) == 0) break;
        text_printf(&all, "%s%s", all.n ? ", " : "", name);
    }
    *rest += 1 + n;
    return m->y < m->g->results.n ? DLC_OK : refuse(m, "loss", arena_printf(m->a, "names no output of the model; it has %s", text_str(&all)));
}

/* -- The text --------------------------------------------------------------------------------------------------------------- */

static dlc_status put_program(making *m, text *out)
{
    arena *a = m->a;
    text losses = { .a = a }, optimizers = { .a = a }, call = { .a = a };
    const char *loss = m->o->loss, *opt = m->o->optimizer, *slash = strrchr(m->path, '/');
    if (!loss || !opt) return refuse(m, loss ? "optimizer" : "loss", loss ? "is missing: say it as --optimizer='adam(1e-3)'" : "is missing: say it as --loss=cross_entropy");
    const char *loss_name = spelled(a, "losses.dl", "fn ", loss, &losses), *opt_name = spelled(a, "optimizers.dl", "layer ", opt, &optimizers);
    if (!loss_name) return refuse(m, "loss", arena_printf(a, "takes one of %s", text_str(&losses)));
    if (!opt_name) return refuse(m, "optimizer", arena_printf(a, "takes one of %s, as 'Adam(lr: 1e-3)'", text_str(&optimizers)));
    const char *loss_rest = loss + strlen(loss_name), *opt_rest = opt + strlen(opt_name);
    dlc_status found = find_output(m, &loss_rest);
    if (found != DLC_OK) return found;
    if ((*loss_rest && *loss_rest != '(') || (*opt_rest && *opt_rest != '(')) return refuse(m, *loss_rest && *loss_rest != '(' ? "loss" : "optimizer", "takes a name, or a call such as 'adam(1e-3)'");
    dlc_status s = find_batch(m);
    if (s != DLC_OK) return s;
    text_printf(out, "use \"%s\" as Net\ntrain fit(batch: %lld) {\n    data d = (", quoted(a, slash ? slash + 1 : m->path), (long long)m->n);
    map_str used;
    map_init(&used, a);
    field_name(a, &used, "label");
    for (int64_t i = 0; i < m->g->inputs.n && s == DLC_OK; i++) {
        const node *n = node_of(m->g, m->g->inputs.at[i]);
        const char *name = field_name(a, &used, n->input->name ? n->input->name : "x");
        if (n->types[0].rank >= 1 && !dim_same(n->types[0].dims[0], type_of(m->g, m->g->inputs.at[0]).dims[0]))
            return refuse(m, "train", arena_printf(a, "needs inputs whose first axis is the batch; that of %s is another than of the first input", name));
        if (n->types[0].rank < 1) return refuse(m, "train", arena_printf(a, "needs inputs whose first axis is the batch; %s is a single value: fix it with --bind", name));
        s = put_data(m, out, name, n->types[0].dtype, n->types[0].rank, n->types[0].dims, 1);
        text_put(out, ", ");
        text_printf(&call, "%sd.%s", i ? ", " : "", name);
    }
    if (s == DLC_OK) s = put_label(m, out, loss_name);
    text_put(out, ")\n    ");
    for (int i = 0; i < m->g->results.n; i++) text_printf(out, "%s%s", i ? ", " : "", i == m->y ? "y" : arena_printf(a, "unused_%d", i));
    text_printf(out, " = Net(%s)\n    minimize %s(y, d.label", text_str(&call), loss_name);
    if (*loss_rest && loss_rest[1] != ')') text_printf(out, ", %s", loss_rest + 1);
    else text_put(out, ")");
    text_printf(out, " with %s%s\n}\n", opt_name, *opt_rest ? opt_rest : "()");
    return s;
}

dlc_status train_onnx_program(dlc_context *ctx, arena *a, const char *path, const driver_options *o, driver_options *out, const char **name)
{
    making m = { .ctx = ctx, .a = a, .path = path, .o = o };
    text source = { .a = a };
    dlc_status s = driver_import(ctx, a, path, o, &m.g);
    if (s == DLC_OK) s = put_program(&m, &source);
    if (s != DLC_OK) return s;
    *out = *o;
    out->lang.source = text_str(&source);
    *name = arena_printf(a, "%s --train", path);
    if (!m.batch) return DLC_OK;
    int n = o->onnx.n_dims;                        /* the model's open size is the step's `batch` */
    onnx_dim_option *d = NEW_ARRAY(a, onnx_dim_option, n + 1);
    d[0] = (onnx_dim_option){ .name = "batch", .lo = 1, .hi = MOST_BATCH };
    for (int i = 0; i < n; i++) {
        if (strcmp(o->onnx.dims[i].name, m.batch) == 0 || strcmp(o->onnx.dims[i].name, "batch") == 0) d[0] = (onnx_dim_option){ .name = "batch", .lo = o->onnx.dims[i].lo, .hi = o->onnx.dims[i].hi };
        d[i + 1] = o->onnx.dims[i];
    }
    out->onnx.n_dims = n + 1;
    out->onnx.dims = d;
    return DLC_OK;
}
