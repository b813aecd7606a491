/* loop_case: files, inputs, the comparison (loop_case.h) */
#include "tests/support/loop_case.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "backend/eval/eval_loop.h"

void loop_messages(dlc_context *ctx)
{
    for (int64_t i = 0; i < ctx->diags.n; i++) {
        text s = { .a = ctx->arena };
        diag_format(&s, &ctx->diags.at[i]);
        fprintf(stderr, "%s\n", text_str(&s));
    }
}

static uint64_t next(loop_case *c)
{
    return c->seed = c->seed * 6364136223846793005u + 1442695040888963407u, c->seed >> 24;
}

/* Mostly small numbers; for floats a few NaN, infinities, zeros of both signs and subnormals. */
static void fill(loop_case *c, dtype t, void *p, int64_t n)
{
    static const double special[] = {
        NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-40, -3e-42, 65504, 1e38, 5e-324
    };
    for (int64_t i = 0; i < n; i++) {
        double x = (double)(int64_t)(next(c) % 4001 - 2000) / 256;
        if (is_float(t) && next(c) % 97 == 0) x = special[next(c) % 10];
        if (t == DTYPE_bool) x = (double)(next(c) & 1);
        if (is_int(t)) x = (double)(int64_t)(next(c) % 16) - (is_signed(t) ? 8 : 0);
        sv_store(t, (char *)p + i * dtype_bytes(t),
                 is_storage(t) ? (scalar_value){ next(c) & 15 } : sv_from_f64(t, x));
    }
}

static bool same_bits(dtype t, const void *p, const void *q)
{
    scalar_value x = sv_load(t, p), y = sv_load(t, q);
    return x.bits == y.bits || (is_float(t) && isnan(sv_to_f64(t, x)) && isnan(sv_to_f64(t, y)));
}

/* One call of k; every parameter an input or output of the program, inout copied before. */
static program *program_of(loop_case *c, dims *d, kernel_code *k)
{
    program *p = program_new(c->ctx, c->a, d, "test");
    int id = program_kernel(p, k);
    view *args = NEW_ARRAY(c->a, view, k->n_params);
    for (int i = 0; i < k->n_params; i++) {
        const buffer *f = &k->bufs.at[i];
        bool is_out = f->role == ROLE_out || f->role == ROLE_inout;
        int index = is_out ? p->n_outputs++ : p->n_inputs++;
        args[i] = (view){ program_buf(p, f->name, is_out ? PBUF_output : PBUF_input, index, f->dtype, f->rank,
                                      f->dims),
                          NULL };
    }
    prog_op *call = program_op(p, &p->body, PROG_call);
    call->kernel = id;
    call->args = args;
    p->workspace_bytes = 0;
    return p;
}

static int64_t elements(const program *p, const pbuf *f, const int64_t *sym)
{
    int64_t e = 1, v;
    for (int j = 0; j < f->rank; j++) { assert_true(dim_eval(p->dims, f->dims[j], sym, &v)); e *= v; }
    return e;
}

void loop_compare(loop_case *c, program *p, const dlc_model *m, const void *weights, dlc_run_hook hook,
                  const char *what)
{
    int64_t sym[64], sym2[64];
    for (int i = 0; i < dims_n_symbols(p->dims); i++) {
        int64_t lo, hi;
        dims_symbol_range(p->dims, i, &lo, &hi);
        sym[i] = 3 + (int64_t)(next(c) % 5);
        if (sym[i] < lo) sym[i] = lo;
        if (sym[i] > hi) sym[i] = hi;
        sym2[i] = sym[i];
    }
    void *in[32], *want[32], *got[32];
    const pbuf *out[32];
    for (int64_t i = 0; i < p->bufs.n; i++) {
        const pbuf *f = &p->bufs.at[i];
        if (f->kind != PBUF_input && f->kind != PBUF_output) continue;
        int64_t e = elements(p, f, sym);
        void *x = calloc((size_t)e + 1, (size_t)dtype_bytes(f->dtype));
        if (f->kind == PBUF_input) { fill(c, f->dtype, x, e); in[f->index] = x; continue; }
        want[f->index] = x;
        fill(c, f->dtype, x, e);                        /* what nobody writes stays */
        got[f->index] = calloc((size_t)e + 1, (size_t)dtype_bytes(f->dtype));
        memcpy(got[f->index], x, (size_t)(e * dtype_bytes(f->dtype)));
        out[f->index] = f;
    }
    eval_io io = { .inputs = (const void *const *)in, .outputs = want, .symbols = sym2 };
    bool ran = eval_program(c->ctx, c->ex, p, &io, &(loop_eval_options){ .fill = NAN });
    if (!ran) loop_messages(c->ctx);
    assert_true(ran);
    assert_int_equal(m->abi, DLC_MODEL_ABI);
    void *workspace = aligned_alloc(64, ((size_t)m->workspace(sym) + 127) / 64 * 64);
    memset(workspace, 0xff, (size_t)m->workspace(sym));
    dlc_run run = { .hook = hook, .workspace = workspace, .weights = weights };
    assert_int_equal(m->run(&run, sym, (const void *const *)in, got), DLC_RUN_OK);
    for (int i = 0; i < m->n_dims; i++) {     /* sizes out of bounds are refused before anything is touched */
        if (m->dims[i].is_result) continue;
        int64_t kept = sym[i], bad[] = { m->dims[i].lo - 1, m->dims[i].hi + 1, INT64_MIN, INT64_MAX };
        for (int j = 0; j < 4; j++) {
            sym[i] = bad[j];
            assert_int_equal(m->workspace(sym), -1);
            assert_int_equal(m->run(&(dlc_run){ 0 }, sym, NULL, NULL), DLC_RUN_BAD_DIM);
        }
        sym[i] = kept;
    }
    for (int i = 0; i < p->n_outputs; i++) {
        dtype d = out[i]->dtype;
        for (int64_t j = 0; j < elements(p, out[i], sym2); j++) {
            const char *x = (char *)want[i] + j * dtype_bytes(d), *y = (char *)got[i] + j * dtype_bytes(d);
            if (same_bits(d, x, y)) continue;
            fprintf(stderr, "%s %s[%lld]: interpreter %.9g, compiled %.9g (%s)\n", p->name, out[i]->name,
                    (long long)j, sv_to_f64(d, sv_load(d, x)), sv_to_f64(d, sv_load(d, y)), what);
            fail();
        }
        free(want[i]);
        free(got[i]);
    }
    for (int i = 0; i < p->n_inputs; i++) free(in[i]);
    free(workspace);
}

static void take_program(loop_case *c, const char *path, const bytes *src, int turn, loop_taker take)
{
    c->ex = expander_new(c->a);
    program *p = program_parse(c->ctx, c->a, path, (const char *)src->at, src->n);
    if (!p) loop_messages(c->ctx);
    assert_non_null(p);
    for (int64_t i = 0; i < p->bufs.n; i++) {
        pbuf *f = &p->bufs.at[i];
        if (f->kind != PBUF_const || f->data) continue;
        int64_t n = elements(p, f, NULL);
        void *x = arena_array(c->a, (size_t)n, (size_t)dtype_bytes(f->dtype));
        fill(c, f->dtype, x, n);
        f->data = x;
    }
    take(c, p, turn);
}

/* Each kernel starts at "kernel @" in the first column. */
static void take_kernels(loop_case *c, const char *path, const bytes *src, int turn, loop_taker take)
{
    const char *at = (const char *)src->at, *end = at + src->n;
    while (at < end) {
        const char *stop = memmem(at + 1, (size_t)(end - at - 1), "\nkernel @", 9);
        stop = stop ? stop + 1 : end;
        dims *d = dims_new(c->ctx, c->a);
        c->ex = expander_new(c->a);
        kernel_code *k = kernel_parse(c->ctx, c->a, d, path, at, (size_t)(stop - at));
        if (!k) loop_messages(c->ctx);
        assert_non_null(k);
        take(c, program_of(c, d, k), turn++);
        at = stop;
    }
}

static void take_file(loop_case *c, const char *path, int turn, loop_taker take)
{
    bytes src;
    int err;
    c->a = arena_new(&c->ctx->mem);
    assert_true(file_map(c->a, path, &src, &err));
    if (getenv("DLC_TEST_VERBOSE")) fprintf(stderr, "%s\n", path);
    if (memmem(src.at, src.n, "program @", 9)) take_program(c, path, &src, turn, take);
    else take_kernels(c, path, &src, turn, take);
}

/* setjmp stands alone here, so that it clobbers nobody's variables. */
void loop_file(const char *path, int turn, loop_taker take)
{
    loop_case c = { .ctx = context_new(), .seed = 7 };
    mem_frame frame;
    assert_non_null(c.ctx);
    assert_true(mem_try(&c.ctx->mem, &frame));
    take_file(&c, path, turn, take);
    mem_end(&c.ctx->mem, &frame);
    context_free(c.ctx);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_loop(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && strcmp(d->d_name + n - 5, ".loop") == 0;
}

void loop_folder(const char *folder, loop_taker take)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_loop, by_name);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        loop_file(path, i, take);
        free(names[i]);
    }
    free(names);
}
