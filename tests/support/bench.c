/* tests/support/bench.c */
#include "tests/support/bench.h"
#include "tests/support/fixture.h"
#include <math.h>
#include <stdio.h>

bench bench_new(void)
{
    bench b = { .ctx = context_new(), .seed = 1 };
    b.a = arena_new(&b.ctx->mem);
    return b;
}

void bench_free(bench *b) { context_free(b->ctx); }

void bench_messages(bench *b) { fixture_messages(&(fixture){ b->ctx, b->a }); }

graph *bench_graph(bench *b, const char *src)
{
    graph *g = graph_parse(b->ctx, b->a, "test", src, strlen(src));
    if (g && graph_verify(g, "parse")) return g;
    bench_messages(b);
    return NULL;
}

tensor bench_tensor(bench *b, dtype t, int rank, const int64_t *d, const void *elements)
{
    tensor x = { .dtype = t, .rank = rank };
    for (int i = 0; i < rank; i++) x.dims[i] = d[i];
    x.bytes = elements ? arena_copy(b->a, elements, tensor_bytes(&x)) : arena_alloc(b->a, tensor_bytes(&x));
    return x;
}

static uint64_t word(bench *b)
{
    uint64_t z = b->seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

tensor bench_random(bench *b, dtype t, int rank, const int64_t *d)
{
    tensor x = bench_tensor(b, t, rank, d, NULL);
    for (int64_t i = 0; i < tensor_n(&x); i++) {
        uint64_t w = word(b);
        double m = (double)(w >> 20) / (double)(1ull << 44) * ldexp(1, (int)(w % 8) - 4);
        scalar_value v = t == DTYPE_bool ? (scalar_value){ w & 1 }
                         : is_float(t)   ? sv_from_f64(t, w >> 19 & 1 ? -m : m)
                                         : sv_from_i64(t, (int64_t)(w % 19) - 9);
        sv_store(t, (char *)x.bytes + i * dtype_bytes(t), v);
    }
    return x;
}

bool bench_eval(bench *b, const graph *g, fma_mode mode, const tensor *in, tensor *out)
{
    int64_t *symbols = NEW_ARRAY(b->a, int64_t, dims_n_symbols(g->dims) + 1);
    eval_options o = { .fma = mode };
    if (eval_bind(b->ctx, g, in, symbols) == DLC_OK &&
        eval_graph(b->ctx, b->a, g, symbols, in, out, &o) == DLC_OK)
        return true;
    bench_messages(b);
    return false;
}

bool bench_equal(const tensor *x, const tensor *y)
{
    if (x->dtype != y->dtype || x->rank != y->rank ||
        memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims)) {
        printf("types differ\n");
        return false;
    }
    int width = dtype_bytes(x->dtype);
    for (int64_t i = 0; i < tensor_n(x); i++) {
        scalar_value a = sv_load(x->dtype, (const char *)x->bytes + i * width);
        scalar_value b = sv_load(x->dtype, (const char *)y->bytes + i * width);
        if (a.bits == b.bits) continue;
        if (is_float(x->dtype) && isnan(sv_to_f64(x->dtype, a)) && isnan(sv_to_f64(x->dtype, b))) continue;
        printf("element %lld: %a, then %a\n", (long long)i, sv_to_f64(x->dtype, a), sv_to_f64(x->dtype, b));
        return false;
    }
    return true;
}
