/* lang_data: the sources of data sets: files to records of constant tensors (reference.md, section 12, "Data sources")
 *
 *   csv(path, x: columns, y: column)   numbers f32, empty fields nan, words numbered in sorted order; without x, y a field a column
 *   idx(image: path, label: path)      the format of MNIST, gzip or not
 *   chars(path, length, vocab)         windows of length + 1 characters, numbered in order of their codes
 *
 * A path is taken from the folder of the program, or from the current one if there is no such file.
 */
#include "frontend/lang/elab.h"
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum { MAX_COLUMNS = 4096 };
#define MAX_BYTES ((size_t)1 << 32)

static const char *data_path(elab *e, const ast *at, const val *v)
{
    if (v->k != V_STRING) elab_error(e, at, "a path in quotes", "a data source takes a path, found %s", show_kind(e, v));
    const char *file = e->main->src->path, *slash = strrchr(file, '/');
    if (v->s[0] == '/' || !slash) return v->s;
    const char *beside = arena_printf(e->a, "%.*s/%s", (int)(slash - file), file, v->s);
    return access(beside, R_OK) == 0 ? beside : v->s;
}

/* A whole file, unpacked if it is gzip. */
static bytes read_packed(elab *e, const ast *at, const char *path)
{
    gzFile f = gzopen(path, "rb");
    if (!f) elab_error(e, at, NULL, "cannot read \"%s\"", path);
    size_t n = 0, cap = 1 << 16;
    char *p = malloc(cap);
    int got = 0;
    while (p && (got = gzread(f, p + n, (unsigned)(cap - n > 1 << 30 ? 1 << 30 : cap - n))) > 0) {
        n += (size_t)got;
        if (n < cap) continue;
        char *q = cap < MAX_BYTES ? realloc(p, cap *= 2) : NULL;
        if (!q) { got = -1; break; }
        p = q;
    }
    gzclose(f);
    if (!p || got < 0) {
        free(p);
        elab_error(e, at, NULL, "cannot read \"%s\": it is damaged or too large", path);
    }
    arena_on_free(e->a, free, p);
    return (bytes){ (uint8_t *)p, n };
}

static val record(elab *e, int n, const val *items, const char *const *names)
{
    return (val){ .k = V_TUPLE, .n = n, .item = arena_copy(e->a, items, sizeof *items * (size_t)(n + 1)), .names = arena_copy(e->a, names, sizeof *names * (size_t)(n + 1)) };
}

static val tensor_of(elab *e, dtype t, int rank, const int64_t *d, const void *elements)
{
    dim dd[MAX_RANK];
    for (int i = 0; i < rank; i++) dd[i] = dim_const(d[i]);
    return v_tensor(e, constant_borrowed(e->fr->g, t, rank, dd, elements, NULL));
}

/* -- idx ------------------------------------------------------------------------------------------------------------------------- */

static uint32_t big(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static val idx_file(elab *e, const ast *at, const val *path, bool is_label)
{
    const char *name = data_path(e, at, path);
    bytes b = read_packed(e, at, name);
    int64_t d[MAX_RANK], n = 1;
    int rank = b.n >= 4 ? b.at[3] : 0;
    bool ok = b.n >= 4 && b.at[0] == 0 && b.at[1] == 0 && b.at[2] == 8 && rank >= 1 && rank <= 4 && b.n >= 4 + 4 * (size_t)rank;
    for (int i = 0; ok && i < rank; i++) { d[i] = big(b.at + 4 + 4 * i); ok = mul_ok(n, d[i], &n); }
    const uint8_t *data = b.at + 4 + 4 * (size_t)rank;
    if (!ok || (uint64_t)n > b.n - (size_t)(data - b.at)) elab_error(e, at, "files as those of MNIST, of bytes", "\"%s\" is not a well-formed idx file", name);
    if (!is_label) return tensor_of(e, DTYPE_u8, rank, d, data);
    int64_t *wide = NEW_ARRAY(e->a, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) wide[i] = data[i];
    return tensor_of(e, DTYPE_i64, rank, d, wide);
}

/* -- csv ------------------------------------------------------------------------------------------------------------------------- */

typedef struct { int64_t n; int columns; const char **name; vec(const char *) cell; } table;

/* One field of a line; quotes as usual. */
static const char *csv_field(elab *e, const char *p, const char *end, const char **out)
{
    text t = { .a = e->a };
    if (p < end && *p == '"') {
        for (p++; p < end && (*p != '"' || (p + 1 < end && p[1] == '"')); p++) {
            p += *p == '"';
            text_putn(&t, p, 1);
        }
        p += p < end;
    }
    const char *q = p;
    while (p < end && *p != ',' && *p != '\n' && *p != '\r') p++;
    text_putn(&t, q, (size_t)(p - q));
    *out = text_str(&t);
    return p;
}

static table read_csv(elab *e, const ast *at, const char *path)
{
    bytes b = read_packed(e, at, path);
    table t = { 0 };
    const char *p = (const char *)b.at, *end = p + b.n, *cell;
    vec(const char *) head = { 0 };
    bool first = true;
    while (p < end) {
        int n = 0;
        if (*p == '\n' || *p == '\r') { p++; continue; }
        for (;;) {
            p = csv_field(e, p, end, &cell);
            if (first) vec_push(e->a, &head, cell);
            else vec_push(e->a, &t.cell, cell);
            n++;
            if (p >= end || *p != ',') break;
            p++;
        }
        if (first) { t.columns = n; t.name = head.at; }
        else if (n != t.columns) elab_error(e, at, NULL, "\"%s\": row %lld has %d fields, the first row %d", path, (long long)t.n + 1, n, t.columns);
        else t.n++;
        if (n > MAX_COLUMNS) elab_error(e, at, NULL, "\"%s\": more than %d columns", path, MAX_COLUMNS);
        first = false;
    }
    return t;
}

static int column_named(elab *e, const ast *at, const table *t, const val *v)
{
    if (v->k != V_STRING) elab_error(e, at, NULL, "a column's name in quotes, found %s", show_kind(e, v));
    for (int i = 0; i < t->columns; i++)
        if (strcmp(t->name[i], v->s) == 0) return i;
    const char *near = lang_near(v->s, t->columns, t->name);
    elab_error(e, at, near ? arena_printf(e->a, "did you mean \"%s\"?", near) : NULL, "there is no column \"%s\"", v->s);
}

static bool as_number(const char *s, double *x)
{
    char *end;
    *x = strtod(s, &end);
    while (*end == ' ') end++;
    return end != s && !*end;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* A column: numbers, or words numbered in sorted order; *words says which. */
static void column(elab *e, const table *t, int c, float *numbers, int64_t *codes, int64_t stride, bool *words)
{
    double x;
    *words = false;
    for (int64_t i = 0; i < t->n; i++) {
        const char *s = t->cell.at[i * t->columns + c];
        if (*s && !as_number(s, &x)) *words = true;
    }
    if (!*words) {
        for (int64_t i = 0; i < t->n; i++) {
            const char *s = t->cell.at[i * t->columns + c];
            numbers[i * stride] = *s && as_number(s, &x) ? (float)x : __builtin_nanf("");
        }
        return;
    }
    const char **sorted = NEW_ARRAY(e->a, const char *, t->n + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) sorted[i] = t->cell.at[i * t->columns + c];
    qsort(sorted, (size_t)t->n, sizeof *sorted, by_text);
    for (int64_t i = 0; i < t->n; i++)
        if (!n || strcmp(sorted[n - 1], sorted[i]) != 0) sorted[n++] = sorted[i];
    for (int64_t i = 0; i < t->n; i++) {
        const char **at = bsearch(&t->cell.at[i * t->columns + c], sorted, (size_t)n, sizeof *sorted, by_text);
        codes[i] = at - sorted;
        numbers[i * stride] = (float)codes[i];
    }
}

static val csv_field_value(elab *e, const ast *at, const table *t, const val *columns)
{
    bool words;
    int64_t *codes = NEW_ARRAY(e->a, int64_t, t->n + 1);
    if (columns->k == V_LIST) {
        int64_t k = columns->n, d[2] = { t->n, k };
        float *x = NEW_ARRAY(e->a, float, t->n * k + 1);
        for (int i = 0; i < k; i++) column(e, t, column_named(e, at, t, &columns->item[i]), x + i, codes, k, &words);
        return tensor_of(e, DTYPE_f32, 2, d, x);
    }
    float *x = NEW_ARRAY(e->a, float, t->n + 1);
    column(e, t, column_named(e, at, t, columns), x, codes, 1, &words);
    return words ? tensor_of(e, DTYPE_i64, 1, &t->n, codes) : tensor_of(e, DTYPE_f32, 1, &t->n, x);
}

/* -- chars ----------------------------------------------------------------------------------------------------------------------- */

static val chars(elab *e, const ast *at, const val *path, int64_t length)
{
    bytes b = read_packed(e, at, data_path(e, at, path));
    int64_t code[256], vocab = 0, d[2] = { 0, length + 1 };
    bool has[256] = { false };
    for (size_t i = 0; i < b.n; i++) has[b.at[i]] = true;
    for (int i = 0; i < 256; i++) code[i] = has[i] ? vocab++ : 0;
    if (length < 1 || length > 1 << 20) elab_error(e, at, NULL, "`chars` takes a length from 1 to 2^20");
    d[0] = (int64_t)b.n / d[1];
    int64_t *x = NEW_ARRAY(e->a, int64_t, d[0] * d[1] + 1);
    for (int64_t i = 0; i < d[0] * d[1]; i++) x[i] = code[b.at[i]];
    return record(e, 2, (val[]){ tensor_of(e, DTYPE_i64, 2, d, x), v_int(vocab), { 0 } }, (const char *[]){ "text", "vocab", NULL });
}

/* -- Calls ------------------------------------------------------------------------------------------------------------------------- */

bool is_data_source(const char *name) { return !strcmp(name, "csv") || !strcmp(name, "idx") || !strcmp(name, "chars"); }

val data_source(elab *e, const ast *at, const char *name, int n_pos, const val *pos, int n_named, const char *const *names, const val *named)
{
    val items[64];
    const char *fields[64];
    if (n_named > 60) elab_error(e, at, NULL, "more than 60 fields");
    if (!strcmp(name, "idx")) {
        if (n_pos || !n_named) elab_error(e, at, "idx(image: \"a.idx.gz\", label: \"b.idx.gz\")", "`idx` takes its files by name");
        for (int i = 0; i < n_named; i++) { items[i] = idx_file(e, at, &named[i], !strcmp(names[i], "label")); fields[i] = names[i]; }
        return record(e, n_named, items, fields);
    }
    if (!strcmp(name, "chars")) {
        const val *length = n_pos > 1 ? &pos[1] : NULL;
        for (int i = 0; i < n_named; i++) if (!strcmp(names[i], "length")) length = &named[i];
        if (n_pos < 1 || !length) elab_error(e, at, "chars(path, length: 32)", "`chars` takes a path and a length");
        return chars(e, at, &pos[0], need_int(e, at, length, "the length"));
    }
    if (n_pos != 1) elab_error(e, at, "csv(path, x: columns, y: column)", "`csv` takes one path");
    table t = read_csv(e, at, data_path(e, at, &pos[0]));
    if (!n_named) {
        if (t.columns > 60) elab_error(e, at, "name them: x: [\"a\", \"b\"]", "the table has more than 60 columns");
        for (int i = 0; i < t.columns; i++) {
            val c = { .k = V_STRING, .s = t.name[i] };
            items[i] = csv_field_value(e, at, &t, &c);
            fields[i] = t.name[i];
        }
        return record(e, t.columns, items, fields);
    }
    for (int i = 0; i < n_named; i++) { items[i] = csv_field_value(e, at, &t, &named[i]); fields[i] = names[i]; }
    return record(e, n_named, items, fields);
}
