/* tests/support/bench.h: a graph from text, inputs, results: for tests of whatever runs or changes graphs. */
#ifndef DLC_TESTS_BENCH_H
#define DLC_TESTS_BENCH_H
#include "backend/eval/eval.h"
#include "ir/build.h"

typedef struct { dlc_context *ctx; arena *a; uint64_t seed; } bench;

bench bench_new(void);
void bench_free(bench *b);
/* Parses and verifies; prints the messages and returns NULL on error. */
graph *bench_graph(bench *b, const char *src);
/* A tensor of constant dims with given elements (copied), or random ones: floats of all exponents near 1,
 * small ints. */
tensor bench_tensor(bench *b, dtype t, int rank, const int64_t *d, const void *elements);
tensor bench_random(bench *b, dtype t, int rank, const int64_t *d);
/* Evaluates; symbols come from the inputs. False: messages were printed. */
bool bench_eval(bench *b, const graph *g, fma_mode mode, const tensor *in, tensor *out);
bool bench_equal(const tensor *x, const tensor *y);     /* bits, all NaN equal; prints the first difference */
void bench_messages(bench *b);
#endif
