/* tests/frontend/onnx/model_run.h: a context and an arena for each test; models from text, imported and run
 * by the interpreter of graphs.
 */
#ifndef DLC_TESTS_MODEL_RUN_H
#define DLC_TESTS_MODEL_RUN_H
#include "backend/eval/eval.h"
#include "frontend/onnx/onnx.h"
#include "tests/frontend/onnx/model_text.h"
#include "tests/support/fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static inline graph *import_opset(fixture *f, int opset, const char *lines)
{
    graph *g = NULL;
    onnx_import_bytes(f->ctx, f->a, "test.onnx", model_from_text(f->a, opset, lines), NULL, &g);
    return g;
}

static inline graph *import(fixture *f, const char *lines) { return import_opset(f, 17, lines); }

/* Runs g over x[0 …]: the results. */
static inline tensor *run(fixture *f, const graph *g, tensor *x)
{
    tensor *y = NEW_ARRAY(f->a, tensor, g->results.n);
    int64_t *symbols = NEW_ARRAY(f->a, int64_t, dims_n_symbols(g->dims) + 1);
    eval_options o = { 0 };
    dlc_status st = eval_bind(f->ctx, g, x, symbols);
    if (st == DLC_OK) st = eval_graph(f->ctx, f->a, g, symbols, x, y, &o);
    if (st != DLC_OK) fixture_messages(f);
    assert_int_equal(st, DLC_OK);
    return y;
}

static inline tensor floats(fixture *f, int rank, const int64_t *d)
{
    tensor t = { .dtype = DTYPE_f32, .rank = rank };
    memcpy(t.dims, d, (size_t)rank * sizeof *d);
    int64_t n = tensor_n(&t);
    float *p = NEW_ARRAY(f->a, float, n);
    for (int64_t i = 0; i < n; i++) p[i] = (float)((i * 37 + 11) % 29 - 14) / 8;
    t.bytes = p;
    return t;
}

#endif
