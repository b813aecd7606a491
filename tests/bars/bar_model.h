/* tests/bars/bar_model.h: what the tests of this folder share: the small models of tests/models, inputs for
 * them, a context. */
#ifndef DLC_TESTS_BARS_BAR_MODEL_H
#define DLC_TESTS_BARS_BAR_MODEL_H
#include "api/engine.h"
#include "api/tensor_file.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static const char *const bar_models[] = {
    "tests/models/convnet.onnx", "tests/models/lstm.onnx", "tests/models/attention.onnx",
    "tests/models/int8.onnx",
    "tests/models/half.onnx", "tests/models/select.onnx", "tests/models/control.onnx",
    "tests/models/rows.graph",
    "tests/models/contracts.graph", "tests/models/scalars.graph", "tests/models/sizes.graph",
};
enum { N_BAR_MODELS = sizeof bar_models / sizeof *bar_models };

/* -- Contexts -------------------------------------------------------------------------------------------- */

typedef struct { dlc_context *ctx; arena *a; } bar;

/* Runs body with a context and an arena of its own. (setjmp stands alone here, so that it clobbers nobody's
 * variables.) */
static inline void bar_with(void (*body)(bar *b, void *arg), void *arg)
{
    bar b = { .ctx = context_new() };
    mem_frame frame;
    assert_non_null(b.ctx);
    if (!mem_try(&b.ctx->mem, &frame)) fail_msg("out of memory");
    b.a = arena_new(&b.ctx->mem);
    body(&b, arg);
    arena_free(b.a);
    mem_end(&b.ctx->mem, &frame);
    context_free(b.ctx);
}

static inline void bar_check(bar *b, const char *what, dlc_status s)
{
    if (s == DLC_OK) return;
    text t = { .a = b->a };
    for (int64_t i = 0; i < b->ctx->diags.n; i++) diag_format(&t, &b->ctx->diags.at[i]), text_put(&t, "\n");
    fail_msg("%s: status %d\n%s", what, (int)s, text_str(&t));
}

static inline bool bar_has_llvm(void)
{
    dlc_context *ctx = context_new();
    bool has = driver_llvm(ctx) != NULL;
    context_free(ctx);
    return has;
}

/* -- Inputs ---------------------------------------------------------------------------------------------- */

static inline uint32_t bar_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* One float: ordinary, or with `special` often one that needs care. */
static inline double bar_float(uint64_t *seed, bool special)
{
    static const double care[] = { NAN, INFINITY, -INFINITY, -0.0, 0.0, 1e-40, -1e-40, 3e38, -3e38, 1.5e-38 };
    if (special && bar_random(seed) % 4 == 0) return care[bar_random(seed) % (sizeof care / sizeof *care)];
    return (double)bar_random(seed) / 1073741824.0 - 1;
}

static inline uint16_t bar_f16(double x)
{
    if (isnan(x)) return 0x7e00;
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    x = fabs(x);
    if (x >= 65520) return (uint16_t)(sign | 0x7c00);
    if (x < 6.1e-5) return (uint16_t)(sign | (uint16_t)rint(x * 16777216));
    int e;
    double m = frexp(x, &e);
    return (uint16_t)(sign + ((e + 13) << 10) + (int)rint(m * 2048));
}

/* An input's elements. Integers are small, so that they are positions, lengths and shifts; with `special`
 * some are not. */
static inline void bar_fill(tensor *t, uint64_t seed, bool special)
{
    int64_t n = 0;
    assert_true(tensor_count(t, &n));
    for (int64_t i = 0; i < n; i++) {
        int64_t whole = (int64_t)(bar_random(&seed) % 7),
                wild = special && bar_random(&seed) % 4 == 0 ? whole - 4 : whole;
        double x = bar_float(&seed, special);
        switch (t->dtype) {
        case DTYPE_f32: ((float *)t->bytes)[i] = (float)x; break;
        case DTYPE_f64: ((double *)t->bytes)[i] = x == 1e-40 ? 4e-320 : x; break;
        case DTYPE_f16: ((uint16_t *)t->bytes)[i] = bar_f16(x); break;
        case DTYPE_bool: ((uint8_t *)t->bytes)[i] = bar_random(&seed) & 1; break;
        case DTYPE_i8: case DTYPE_u8: ((uint8_t *)t->bytes)[i] = (uint8_t)bar_random(&seed); break;
        case DTYPE_i32: ((int32_t *)t->bytes)[i] = (int32_t)wild; break;
        case DTYPE_i64: ((int64_t *)t->bytes)[i] = wild; break;
        default: fail_msg("no inputs of type %s", dtype_info[t->dtype].name);
        }
    }
}

/* Inputs for e; its open sizes are sizes[0], sizes[1] (by axis). */
static inline tensor *bar_inputs(bar *b, const engine *e, uint64_t seed, bool special, const int64_t *sizes)
{
    tensor *in = NEW_ARRAY(b->a, tensor, e->n_in + 1);
    for (int i = 0; i < e->n_in; i++) {
        in[i] = (tensor){ .dtype = e->in_dtype[i], .rank = e->in_rank[i] };
        engine_input_shape(e, i, in[i].dims);
        for (int k = 0; k < in[i].rank; k++)
            if (in[i].dims[k] < 0) in[i].dims[k] = sizes[k];
        in[i].bytes = arena_alloc(b->a, tensor_bytes(&in[i]) + 64);
        bar_fill(&in[i], seed * 100 + (uint64_t)i, special);
    }
    return in;
}

/* Copies, since results live only as long as the engine's memory. */
static inline tensor *bar_keep(arena *a, int n, const tensor *from)
{
    tensor *to = NEW_ARRAY(a, tensor, n + 1);
    for (int i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].bytes = arena_copy(a, from[i].bytes, tensor_bytes(&from[i]));
    }
    return to;
}

static inline void bar_same(bar *b, const char *what, int n, const tensor *got, const tensor *want)
{
    for (int i = 0; i < n; i++) {
        const char *differs = tensor_differs_bits(b->a, &got[i], &want[i]);
        if (differs) fail_msg("%s: output %d: %s", what, i, differs);
    }
}

#endif
