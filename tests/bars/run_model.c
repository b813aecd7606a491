/* run_model: runs the model it is linked with once (test_files_bar.c builds it for other machines):
 * run_model IN OUT [DIM…] IN: the elements of all inputs, one after another; OUT: likewise the outputs; DIM:
 * values of the open dims; the file $T_WEIGHTS: the weights, if the model asks for them. */
#include "runtime/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const dlc_model t_model;

static size_t bytes_of(const char *dtype)
{
    return strcmp(dtype, "bool") == 0 ? 1 : (size_t)atoi(dtype + strcspn(dtype, "0123456789")) / 8;
}

static size_t tensor_bytes(const dlc_tensor_info *t, const int64_t **extents)
{
    size_t n = bytes_of(t->dtype);
    for (int i = 0; i < t->rank; i++) n *= (size_t)*(*extents)++;
    return n;
}

/* Aligned to 64; NULL if the model needs none. */
static const void *weights_of(const dlc_model *m)
{
    const char *path = getenv("T_WEIGHTS");
    size_t n = (size_t)m->weights_bytes;
    FILE *f = n && path ? fopen(path, "rb") : NULL;
    void *p = f ? aligned_alloc(64, (n + 63) / 64 * 64) : NULL;
    if (n && (!p || fread(p, 1, n, f) != n)) exit(11);
    if (f) fclose(f);
    return p;
}

int main(int argc, char **argv)
{
    const dlc_model *m = &t_model;
    int64_t dims[8] = { 0 }, extents[256];
    const void *in[32];
    void *out[32];
    size_t n_out[32];
    if (argc < 3 || m->n_inputs > 32 || m->n_outputs > 32 || m->n_dims > 8) return 2;
    for (int i = 0; i < m->n_dims; i++)
        dims[i] = m->dims[i].is_result ? m->dims[i].hi : i + 3 < argc ? atoll(argv[i + 3]) : m->dims[i].lo;
    m->shapes(dims, extents);
    const int64_t *at = extents;
    FILE *f = fopen(argv[1], "rb");
    if (!f) return 3;
    for (int i = 0; i < m->n_inputs; i++) {
        size_t n = tensor_bytes(&m->inputs[i], &at);
        void *x = malloc(n + 64);
        if (!x || fread(x, 1, n, f) != n) return 4;
        in[i] = x;
    }
    fclose(f);
    for (int i = 0; i < m->n_outputs; i++) {
        n_out[i] = tensor_bytes(&m->outputs[i], &at);
        out[i] = malloc(n_out[i] + 64);
        if (!out[i]) return 5;
    }
    int64_t work = m->workspace(dims);
    if (work < 0) return 6;
    dlc_run run = { { NULL, NULL }, aligned_alloc(64, ((size_t)work + 127) / 64 * 64), weights_of(m) };
    if (!run.workspace || m->run(&run, dims, in, out) != DLC_RUN_OK) return 7;
    m->shapes(dims, extents);                                 /* sizes that the run found */
    at = extents;
    for (int i = 0; i < m->n_inputs; i++) tensor_bytes(&m->inputs[i], &at);
    f = fopen(argv[2], "wb");
    if (!f) return 8;
    for (int i = 0; i < m->n_outputs; i++) {
        size_t n = tensor_bytes(&m->outputs[i], &at);
        if (fwrite(out[i], 1, n, f) != n) return 9;
    }
    return fclose(f) ? 10 : 0;
}
