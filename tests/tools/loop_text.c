/* loop_text: kernels and programs as text, alone: for text tests, harnesses and work by hand.
 *
 *     loop_text FILE                    parse, verify, print
 *     loop_text --same FILE FILE        run both on the same random data, several times: equal bits?
 *         --rounded                     multiply-add with two roundings (kernels)
 *         --sym N=3                     value of a symbol; else random, at most 9 and within its bounds
 *
 * --same: buffers are matched by position. What is only written begins as NaN and ends equal; what nobody
 * wrote is NaN, then 1e30. Messages go to standard output. Exit: 0, 1 wrong input or different.
 */
#include "backend/eval/eval_loop.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    bool same, rounded;
    char *sym[16]; int n_sym;
    const char *file[2]; int n_files;
    dlc_context *ctx;
    arena *a;
} tool;

/* A kernel, or a program: its buffers from outside, and how to run it. */
typedef struct { dtype dtype; int rank; const dim *dims; bool is_read, is_written; } outer;
typedef struct { kernel_code *k; program *p; dims *d; outer *at; int n; } subject;

static bool read_arguments(tool *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--same")) t->same = true;
        else if (!strcmp(argv[i], "--rounded")) t->rounded = true;
        else if (!strcmp(argv[i], "--sym") && i + 1 < argc && t->n_sym < 16) t->sym[t->n_sym++] = argv[++i];
        else if (t->n_files < 2) t->file[t->n_files++] = argv[i];
        else return false;
    }
    return t->n_files == (t->same ? 2 : 1);
}

static void print_messages(tool *t)
{
    for (int64_t i = 0; i < t->ctx->diags.n; i++) {
        text line = { .a = t->a };
        diag_format(&line, &t->ctx->diags.at[i]);
        puts(text_str(&line));
    }
    context_clear_diags(t->ctx);
}

/* -- Reading --------------------------------------------------------------------------------------------- */

static bool has_program(const char *s)
{
    for (; s; s = strchr(s, '\n')) {
        if (*s == '\n') s++;
        if (strncmp(s, "program ", 8) == 0) return true;
    }
    return false;
}

static bool load(tool *t, const char *path, subject *s)
{
    bytes file;
    int err;
    if (!file_map(t->a, path, &file, &err)) { printf("%s: cannot be read\n", path); return false; }
    const char *src = arena_strndup(t->a, (const char *)file.at, file.n);
    *s = (subject){ 0 };
    if (has_program(src)) {
        s->p = program_parse(t->ctx, t->a, path, src, file.n);
        if (!s->p) return false;
        s->d = s->p->dims;
        s->at = NEW_ARRAY(t->a, outer, s->p->bufs.n);
        for (int64_t i = 0; i < s->p->bufs.n; i++) {
            const pbuf *b = &s->p->bufs.at[i];
            bool given = b->kind == PBUF_const && !b->data;
            if (b->kind == PBUF_temp || (b->kind == PBUF_const && !given)) continue;
            s->at[s->n++] = (outer){ b->dtype, b->rank, b->dims, b->kind != PBUF_output,
                                     b->kind == PBUF_output || b->kind == PBUF_state };
        }
        return program_verify(s->p, "parse");
    }
    s->d = dims_new(t->ctx, t->a);
    s->k = kernel_parse(t->ctx, t->a, s->d, path, src, file.n);
    if (!s->k) return false;
    s->n = s->k->n_params;
    s->at = NEW_ARRAY(t->a, outer, s->n);
    for (int i = 0; i < s->n; i++) {
        const buffer *b = &s->k->bufs.at[i];
        s->at[i] = (outer){ b->dtype, b->rank, b->dims, b->role != ROLE_out,
                            b->role == ROLE_out || b->role == ROLE_inout };
    }
    return kernel_verify(s->k, "parse");
}

/* -- Comparing ------------------------------------------------------------------------------------------- */

static uint64_t random_word(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static scalar_value random_element(dtype t, bool tame, uint64_t *s)
{
    static const double special[] = { NAN, INFINITY, -INFINITY, -0.0, 0.0, 1e-42, 1, -1 };
    uint64_t w = random_word(s);
    dtype c = is_storage(t) ? carrier_dtype(t) : t;
    if (t == DTYPE_bool) return (scalar_value){ w & 1 };
    if (!is_float(c)) return sv_from_i64(c, (int64_t)(w % 7) - (is_signed(c) && w >> 60 == 0));
    if (!tame && w >> 59 == 0) return sv_from_f64(c, special[w % 8]);
    return sv_from_f64(c, (double)(int64_t)(w >> 40) / (1 << 22) - 2);
}

static int64_t symbol_value(const tool *t, const dims *d, int i, uint64_t *s)
{
    const char *name = dims_symbol_name(d, i);
    int64_t lo, hi;
    for (int k = 0; k < t->n_sym; k++)
        if (!strncmp(t->sym[k], name, strlen(name)) && t->sym[k][strlen(name)] == '=')
            return atoll(t->sym[k] + strlen(name) + 1);
    dims_symbol_range(d, i, &lo, &hi);
    if (hi > lo + 9) hi = lo + 9;
    return lo + (int64_t)(random_word(s) % (uint64_t)(hi - lo + 1));
}

static bool run(tool *t, subject *s, void **data, int64_t *symbols, double fill)
{
    expander *e = expander_new(t->a);
    loop_eval_options o = { .fill = fill };
    if (s->k) return eval_kernel(t->ctx, e, s->k, data, symbols, t->rounded ? FMA_ROUNDED : FMA_FUSED, &o);
    void **in = NEW_ARRAY(t->a, void *, s->n), **out = NEW_ARRAY(t->a, void *, s->n),
         **st = NEW_ARRAY(t->a, void *, s->n);
    int n = 0;
    for (int64_t i = 0; i < s->p->bufs.n; i++) {
        pbuf *b = &s->p->bufs.at[i];
        if (b->kind == PBUF_input) in[b->index] = data[n++];
        else if (b->kind == PBUF_output) out[b->index] = data[n++];
        else if (b->kind == PBUF_state) st[b->index] = data[n++];
        else if (b->kind == PBUF_const && !b->data) b->data = data[n++];
    }
    eval_io io = { .inputs = (const void *const *)in, .outputs = out, .states = st, .symbols = symbols };
    return eval_program(t->ctx, e, s->p, &io, &o);
}

/* One comparison on fresh data. */
static bool compare(tool *t, subject *x, subject *y, int round, uint64_t *seed)
{
    int n_sym = dims_n_symbols(x->d);
    int64_t *symbols[2] = { NEW_ARRAY(t->a, int64_t, n_sym), NEW_ARRAY(t->a, int64_t, dims_n_symbols(y->d)) };
    for (int i = 0; i < n_sym; i++) symbols[0][i] = symbol_value(t, x->d, i, seed);
    for (int j = 0; j < dims_n_symbols(y->d); j++)
        for (int i = 0; i < n_sym; i++)
            if (!strcmp(dims_symbol_name(x->d, i), dims_symbol_name(y->d, j))) symbols[1][j] = symbols[0][i];
    void **data[2] = { NEW_ARRAY(t->a, void *, x->n), NEW_ARRAY(t->a, void *, x->n) };
    int64_t *count = NEW_ARRAY(t->a, int64_t, x->n);
    for (int i = 0; i < x->n; i++) {
        const outer *b = &x->at[i];
        int64_t v;
        count[i] = 1;
        for (int j = 0; j < b->rank; j++)
            if (!dim_eval(x->d, b->dims[j], symbols[0], &v) || v < 0 || !mul_ok(count[i], v, &count[i]))
                return false;
        size_t width = (size_t)dtype_bytes(b->dtype);
        data[0][i] = arena_array(t->a, (size_t)count[i], width);
        dtype c = is_storage(b->dtype) ? carrier_dtype(b->dtype) : b->dtype;
        for (int64_t j = 0; j < count[i]; j++)
            sv_store(c, (char *)data[0][i] + (size_t)j * width,
                     b->is_read ? random_element(b->dtype, round < 2, seed) : sv_from_f64(c, NAN));
        data[1][i] = arena_copy(t->a, data[0][i], (size_t)count[i] * width);
    }
    double fill = round % 2 ? 1e30 : NAN;
    if (!run(t, x, data[0], symbols[0], fill) || !run(t, y, data[1], symbols[1], fill)) return false;
    for (int i = 0; i < x->n; i++) {
        dtype dt = x->at[i].dtype;
        for (int64_t j = 0; x->at[i].is_written && j < count[i]; j++) {
            size_t at = (size_t)j * (size_t)dtype_bytes(dt);
            scalar_value p = sv_load(dt, (char *)data[0][i] + at), q = sv_load(dt, (char *)data[1][i] + at);
            if (p.bits == q.bits || (is_float(dt) && isnan(sv_to_f64(dt, p)) && isnan(sv_to_f64(dt, q))))
                continue;
            printf("buffer %d, element %lld: %.17g and %.17g\n", i, (long long)j, sv_to_f64(dt, p),
                   sv_to_f64(dt, q));
            return false;
        }
    }
    return true;
}

static bool run_same(tool *t, subject *x, subject *y)
{
    if (x->n != y->n || !x->k != !y->k) { printf("the buffers differ in number\n"); return false; }
    for (int i = 0; i < x->n; i++)
        if (x->at[i].dtype != y->at[i].dtype || x->at[i].rank != y->at[i].rank) {
            printf("buffer %d differs in type\n", i);
            return false;
        }
    uint64_t seed = 1;
    for (int round = 0; round < 6; round++)
        if (!compare(t, x, y, round, &seed)) return false;
    return true;
}

static bool work(tool *t)
{
    subject x, y;
    if (!load(t, t->file[0], &x)) return false;
    if (t->same) return load(t, t->file[1], &y) && run_same(t, &x, &y);
    fputs(x.k ? kernel_show(x.k) : program_show(x.p), stdout);
    return true;
}

int main(int argc, char **argv)
{
    tool t = { 0 };
    mem_frame frame;
    volatile bool ok = false;
    if (!read_arguments(&t, argc, argv)) {
        fprintf(stderr, "usage: loop_text [--same FILE] FILE [--rounded] [--sym N=3]\n");
        return 2;
    }
    t.ctx = context_new();
    if (!t.ctx) return 1;
    if (mem_try(&t.ctx->mem, &frame)) {
        t.a = arena_new(&t.ctx->mem);
        ok = work(&t);
        print_messages(&t);
        mem_end(&t.ctx->mem, &frame);
    }
    context_free(t.ctx);
    return ok ? 0 : 1;
}
