/* lang_data: the sources of data sets: files to records of constant tensors (reference.md, section 12, "Data
 * sources")
 *
 *   csv(path, x: columns, y: column)   numbers f32, empty fields nan, words numbered in sorted order; without
 *                                      x, y a field a column
 *   idx(image: path, label: path)      the format of MNIST, gzip or not
 *   chars(path, length, vocab)         windows of length + 1 characters, numbered in order of their codes
 *   words(path, text, label, length, vocab)   a table's column as numbered words: 0 padding, 1 unknown, then
 *   by frequency
 *   cifar10([paths])                   records of a label and 3 x 32 x 32 bytes
 *   npy(path), npz(path)               by the reader that the api installs
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
    if (v->k != V_STRING) elab_error(e, at, NULL, source_path, show_kind(e, v));
    const char *file = e->main->src->path, *slash = strrchr(file, '/');
    if (v->s[0] == '/' || !slash) return v->s;
    const char *beside = arena_printf(e->a, "%.*s/%s", (int)(slash - file), file, v->s);
    file_see(arena_mem(e->a), beside);
    return access(beside, R_OK) == 0 ? beside : v->s;
}

/* A whole file, unpacked if it is gzip. */
static bytes read_packed(elab *e, const ast *at, const char *path)
{
    file_see(arena_mem(e->a), path);
    gzFile f = gzopen(path, "rb");
    if (!f) elab_error(e, at, NULL, cannot_read, path);
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
    bool is_cut = gzclose(f) != Z_OK;             /* it says whether the stream came to its end */
    if (!p || got < 0 || is_cut) {
        free(p);
        elab_error(e, at, NULL, damaged_file, path);
    }
    arena_on_free(e->a, free, p);
    return (bytes){ (uint8_t *)p, n };
}

static val record(elab *e, int n, const val *items, const char *const *names)
{
    return (val){ .k = V_TUPLE,
                  .n = n,
                  .item = arena_copy(e->a, items, sizeof *items * (size_t)(n + 1)),
                  .names = arena_copy(e->a, names, sizeof *names * (size_t)(n + 1)) };
}

static val tensor_of(elab *e, dtype t, int rank, const int64_t *d, const void *elements)
{
    dim dd[MAX_RANK];
    for (int i = 0; i < rank; i++) dd[i] = dim_const(d[i]);
    return v_tensor(e, constant_borrowed(e->fr->g, t, rank, dd, elements, NULL));
}

/* -- idx ------------------------------------------------------------------------------------------------- */

static uint32_t big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static val idx_file(elab *e, const ast *at, const val *path, bool is_label)
{
    const char *name = data_path(e, at, path);
    bytes b = read_packed(e, at, name);
    int64_t d[MAX_RANK], n = 1;
    int rank = b.n >= 4 ? b.at[3] : 0;
    bool ok = b.n >= 4 && b.at[0] == 0 && b.at[1] == 0 && b.at[2] == 8 && rank >= 1 && rank <= 4 &&
              b.n >= 4 + 4 * (size_t)rank;
    for (int i = 0; ok && i < rank; i++) { d[i] = big(b.at + 4 + 4 * i); ok = mul_ok(n, d[i], &n); }
    const uint8_t *data = b.at + 4 + 4 * (size_t)rank;
    if (!ok || (uint64_t)n > b.n - (size_t)(data - b.at)) elab_error(e, at, NULL, not_idx, name);
    if (!is_label) return tensor_of(e, DTYPE_u8, rank, d, data);
    int64_t *wide = NEW_ARRAY(e->a, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) wide[i] = data[i];
    return tensor_of(e, DTYPE_i64, rank, d, wide);
}

/* -- csv ------------------------------------------------------------------------------------------------- */

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
        if (first) { t.columns = n; t.name = head.at;
        } else if (n != t.columns)
            elab_error(e, at, NULL, csv_row_fields, path, (long long)t.n + 1, n, t.columns);
        else t.n++;
        if (n > MAX_COLUMNS) elab_error(e, at, NULL, csv_too_many_columns, path, MAX_COLUMNS);
        first = false;
    }
    return t;
}

static int column_named(elab *e, const ast *at, const table *t, const val *v)
{
    if (v->k != V_STRING) elab_error(e, at, NULL, column_name, show_kind(e, v));
    for (int i = 0; i < t->columns; i++)
        if (strcmp(t->name[i], v->s) == 0) return i;
    const char *near = lang_near(v->s, t->columns, t->name);
    elab_error(e, at, near ? arena_printf(e->a, "did you mean \"%s\"?", near) : NULL, no_column, v->s);
}

static bool as_number(const char *s, double *x)
{
    char *end;
    *x = strtod(s, &end);
    while (*end == ' ') end++;
    return end != s && !*end;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A column: numbers, or words numbered in sorted order; *words says which. */
static void column(elab *e, const table *t, int c, float *numbers, int64_t *codes, int64_t stride,
                   bool *words)
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
        const char **at = bsearch(&t->cell.at[i * t->columns + c], sorted, (size_t)n, sizeof *sorted,
                                  by_text);
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
        for (int i = 0; i < k; i++)
            column(e, t, column_named(e, at, t, &columns->item[i]), x + i, codes, k, &words);
        return tensor_of(e, DTYPE_f32, 2, d, x);
    }
    float *x = NEW_ARRAY(e->a, float, t->n + 1);
    column(e, t, column_named(e, at, t, columns), x, codes, 1, &words);
    return words ? tensor_of(e, DTYPE_i64, 1, &t->n, codes) : tensor_of(e, DTYPE_f32, 1, &t->n, x);
}

/* -- chars ----------------------------------------------------------------------------------------------- */

/* The most frequent `most` of the characters that occur stay (of equals the first codes); the others get one
 * number, the last. */
static int64_t limit_characters(bool *has, const int64_t *count, int64_t most, int64_t *code)
{
    int64_t vocab = 0;
    bool stays[256] = { false };
    for (int64_t k = 0; k < most - 1; k++) {
        int best = -1;
        for (int i = 0; i < 256; i++)
            if (has[i] && !stays[i] && (best < 0 || count[i] > count[best])) best = i;
        if (best >= 0) stays[best] = true;
    }
    for (int i = 0; i < 256; i++)
        if (stays[i]) code[i] = vocab++;
    for (int i = 0; i < 256; i++)
        if (has[i] && !stays[i]) code[i] = vocab;
    return vocab + 1;
}

static val chars(elab *e, const ast *at, const val *path, int64_t length, int64_t most)
{
    bytes b = read_packed(e, at, data_path(e, at, path));
    int64_t code[256], count[256] = { 0 }, vocab = 0, d[2] = { 0, length + 1 };
    bool has[256] = { false };
    for (size_t i = 0; i < b.n; i++) { has[b.at[i]] = true; count[b.at[i]]++; }
    for (int i = 0; i < 256; i++) code[i] = has[i] ? vocab++ : 0;
    if (most && most < vocab) vocab = limit_characters(has, count, most, code);
    d[0] = (int64_t)b.n / d[1];
    int64_t *x = NEW_ARRAY(e->a, int64_t, d[0] * d[1] + 1);
    for (int64_t i = 0; i < d[0] * d[1]; i++) x[i] = code[b.at[i]];
    return record(e, 2, (val[]){ tensor_of(e, DTYPE_i64, 2, d, x), v_int(vocab), { 0 } },
                  (const char *[]){ "text", "vocab", NULL });
}

/* -- words ----------------------------------------------------------------------------------------------- */

/* A word: letters, digits and what is beyond ASCII, with apostrophes inside; in small letters. */
static bool in_word(const char *p)
{
    unsigned char c = (unsigned char)*p;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 128 ||
           (c == '\'' && p[1]);
}

static const char *next_word(elab *e, const char **p)
{
    while (**p && (!in_word(*p) || **p == '\'')) ++*p;
    const char *from = *p;
    while (**p && in_word(*p)) ++*p;
    size_t n = (size_t)(*p - from);
    while (n && from[n - 1] == '\'') n--;
    if (!n) return NULL;
    char *w = arena_strndup(e->a, from, n);
    for (char *q = w; *q; q++)
        if (*q >= 'A' && *q <= 'Z') *q = (char)(*q + 32);
    return w;
}

typedef struct { const char *word; int64_t count, first; } word_count;

static int by_frequency(const void *a, const void *b)
{
    const word_count *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->word, y->word);
}

/* Numbers of the words: 2 for the most frequent, of equals the first in sorted order. Gives how many numbers
 * there are. */
static int64_t number_words(elab *e, const table *t, int c, int64_t most, map_str *number)
{
    vec(word_count) all = { 0 };
    map_str at;
    map_init(&at, e->a);
    for (int64_t i = 0; i < t->n; i++) {
        const char *p = t->cell.at[i * t->columns + c];
        for (const char *w; (w = next_word(e, &p));) {
            bool is_new;
            uint64_t *k = map_put(&at, w, strlen(w), (uint64_t)all.n, &is_new);
            if (is_new) vec_push(e->a, &all, ((word_count){ .word = w, .count = 1 }));
            else all.at[*k].count++;
        }
    }
    if (all.n) qsort(all.at, (size_t)all.n, sizeof *all.at, by_frequency);
    int64_t n = most && most - 2 < all.n ? most - 2 : all.n;
    map_init(number, e->a);
    for (int64_t i = 0; i < n; i++)
        map_put(number, all.at[i].word, strlen(all.at[i].word), (uint64_t)i + 2, NULL);
    return n + 2;
}

static val words_of(elab *e, const ast *at, const char *path, const val *text_column, const val *label,
                    int64_t length, int64_t most)
{
    table t = read_csv(e, at, path);
    int c = column_named(e, at, &t, text_column);
    map_str number;
    int64_t vocab = number_words(e, &t, c, most, &number), d[2] = { t.n, length };
    if (t.n && length > ((int64_t)1 << 30) / t.n) elab_error(e, at, NULL, too_many_words);
    int64_t *ids = NEW_ARRAY(e->a, int64_t, t.n * length + 1), *n = NEW_ARRAY(e->a, int64_t, t.n + 1);
    for (int64_t i = 0; i < t.n; i++) {
        const char *p = t.cell.at[i * t.columns + c];
        for (const char *w; n[i] < length && (w = next_word(e, &p)); n[i]++) {
            uint64_t *k = map_find(&number, w, strlen(w));
            ids[i * length + n[i]] = k ? (int64_t)*k : 1;
        }
    }
    val items[5] = { tensor_of(e, DTYPE_i64, 2, d, ids), tensor_of(e, DTYPE_i64, 1, d, n), v_int(vocab) };
    const char *names[5] = { "text", "length", "vocab" };
    if (label) { items[3] = csv_field_value(e, at, &t, label); names[3] = "label"; }
    return record(e, label ? 4 : 3, items, names);
}

/* -- cifar10, npy, npz ----------------------------------------------------------------------------------- */

static val cifar10(elab *e, const ast *at, const val *paths)
{
    enum { PICTURE = 3 * 32 * 32, RECORD = PICTURE + 1, MOST = 64 };
    bytes part[MOST];
    int64_t n = 0;
    int n_parts = paths->k == V_LIST ? paths->n : 1;
    if (n_parts > MOST) elab_error(e, at, NULL, too_many_files, MOST);
    for (int i = 0; i < n_parts; i++) {
        const char *path = data_path(e, at, paths->k == V_LIST ? &paths->item[i] : paths);
        part[i] = read_packed(e, at, path);
        if (part[i].n % RECORD) elab_error(e, at, NULL, not_records, path, RECORD);
        n += (int64_t)(part[i].n / RECORD);
    }
    uint8_t *image = arena_array(e->a, (size_t)n + 1, PICTURE);
    int64_t *label = NEW_ARRAY(e->a, int64_t, n + 1), d[4] = { n, 3, 32, 32 }, k = 0;
    for (int i = 0; i < n_parts; i++)
        for (size_t at_byte = 0; at_byte < part[i].n; at_byte += RECORD, k++) {
            label[k] = part[i].at[at_byte];
            memcpy(image + k * PICTURE, part[i].at + at_byte + 1, PICTURE);
        }
    return record(e, 2,
                  (val[]){ tensor_of(e, DTYPE_u8, 4, d, image), tensor_of(e, DTYPE_i64, 1, d, label), { 0 } },
                  (const char *[]){ "image", "label", NULL });
}

static val numpy_file(elab *e, const ast *at, const char *name, const val *file)
{
    const char *path = data_path(e, at, file), *end = arena_printf(e->a, ".%s", name);
    size_t n_path = strlen(path), n_end = strlen(end);
    lang_tensor *t;
    int n;
    if (n_path < n_end || strcmp(path + n_path - n_end, end) != 0)
        elab_error(e, at, NULL, source_extension, name, end, path);
    if (!e->o->read_tensors) elab_error(e, at, NULL, no_tensor_files);
    if (e->o->read_tensors(e->ctx, e->a, path, &n, &t) != DLC_OK) longjmp(*e->l->stop, 1);
    val *items = NEW_ARRAY(e->a, val, n + 1);
    const char **names = NEW_ARRAY(e->a, const char *, n + 1);
    for (int i = 0; i < n; i++) {
        if (is_storage(t[i].t.dtype))
            elab_error(e, at, NULL, storage_only, path, dtype_info[t[i].t.dtype].name);
        items[i] = tensor_of(e, t[i].t.dtype, t[i].t.rank, t[i].t.dims, t[i].t.bytes);
        names[i] = lang_intern(e->l, t[i].name, strlen(t[i].name));
    }
    return !strcmp(name, "npy") ? items[0] : record(e, n, items, names);
}

/* -- Calls ----------------------------------------------------------------------------------------------- */

/* Arguments by position or name: the parameters' names, `?` at those that may be left out. */
typedef struct { const char *name; const char *params[6]; } source_row;
static const source_row sources[] = {
    { "csv", { "path" } },
    { "idx", { NULL } },
    { "npy", { "path" } },
    { "npz", { "path" } },
    { "cifar10", { "paths" } },
    { "chars", { "path", "length", "vocab?" } },
    { "words", { "path", "text", "label?", "length", "vocab?" } },
};
enum { N_SOURCES = sizeof sources / sizeof *sources };

static const source_row *source_named(const char *name)
{
    for (int i = 0; i < N_SOURCES; i++)
        if (strcmp(sources[i].name, name) == 0) return &sources[i];
    return NULL;
}

bool is_data_source(const char *name) { return source_named(name) != NULL; }

static bool is_parameter(const char *param, const char *name)
{
    size_t n = strcspn(param, "?");
    return strlen(name) == n && memcmp(param, name, n) == 0;
}

/* The arguments in the order of the row; those left out are none. */
static void source_arguments(elab *e, const ast *at, const source_row *r, int n_pos, const val *pos,
                             int n_named, const char *const *names, const val *named, val *out)
{
    int n = 0;
    while (n < 6 && r->params[n]) out[n++] = v_none();
    if (n_pos > n) elab_error(e, at, NULL, source_argument_count, r->name, n, n == 1 ? "" : "s", n_pos);
    for (int i = 0; i < n_pos; i++) out[i] = pos[i];
    for (int k = 0; k < n_named; k++) {
        int i = 0;
        while (i < n && !is_parameter(r->params[i], names[k])) i++;
        if (i == n) elab_error(e, at, NULL, no_source_argument, r->name, names[k]);
        out[i] = named[k];
    }
    for (int i = 0; i < n; i++)
        if (out[i].k == V_NONE && !strchr(r->params[i], '?'))
            elab_error(e, at, NULL, source_argument_missing, r->name, r->params[i]);
}

/* A whole number from `least`; 0 if it was left out. */
static int64_t count_argument(elab *e, const ast *at, const val *v, const char *what, int64_t least)
{
    if (v->k == V_NONE) return 0;
    int64_t n = need_int(e, at, v, what);
    if (n < least || n > 1 << 20) elab_error(e, at, NULL, source_number, what, (long long)least);
    return n;
}

static val idx_files(elab *e, const ast *at, int n_pos, int n_named, const char *const *names,
                     const val *named)
{
    val items[64];
    const char *fields[64];
    if (n_pos || !n_named) elab_error(e, at, NULL, idx_by_name);
    for (int i = 0; i < n_named; i++) {
        items[i] = idx_file(e, at, &named[i], !strcmp(names[i], "label"));
        fields[i] = names[i];
    }
    return record(e, n_named, items, fields);
}

static val csv_file(elab *e, const ast *at, int n_pos, const val *pos, int n_named, const char *const *names,
                    const val *named)
{
    val items[64];
    const char *fields[64];
    if (n_pos != 1) elab_error(e, at, NULL, csv_one_path);
    table t = read_csv(e, at, data_path(e, at, &pos[0]));
    int n = n_named ? n_named : t.columns;
    if (n > 60) elab_error(e, at, NULL, table_too_wide);
    for (int i = 0; i < n; i++) {
        val c = { .k = V_STRING, .s = n_named ? NULL : t.name[i] };
        items[i] = csv_field_value(e, at, &t, n_named ? &named[i] : &c);
        fields[i] = n_named ? names[i] : t.name[i];
    }
    return record(e, n, items, fields);
}

val data_source(elab *e, const ast *at, const char *name, int n_pos, const val *pos, int n_named,
                const char *const *names, const val *named)
{
    val v[6];
    if (n_named > 60) elab_error(e, at, NULL, too_many_fields);
    if (!strcmp(name, "idx")) return idx_files(e, at, n_pos, n_named, names, named);
    if (!strcmp(name, "csv")) return csv_file(e, at, n_pos, pos, n_named, names, named);
    source_arguments(e, at, source_named(name), n_pos, pos, n_named, names, named, v);
    if (!strcmp(name, "chars"))
        return chars(e, at, &v[0], count_argument(e, at, &v[1], "the length", 1),
                     count_argument(e, at, &v[2], "vocab", 1));
    if (!strcmp(name, "cifar10")) return cifar10(e, at, &v[0]);
    if (name[0] == 'n') return numpy_file(e, at, name, &v[0]);
    return words_of(e, at, data_path(e, at, &v[0]), &v[1], v[2].k == V_NONE ? NULL : &v[2],
                    count_argument(e, at, &v[3], "the length", 1), count_argument(e, at, &v[4], "vocab", 2));
}
