/* Runs a generated object: reads all inputs from the file argv[1], one after another, writes all outputs to
 * argv[2]. Compiled by test_llvm_files.c with the compiler of the object's target, linked with the object
 * t.o. Static sizes only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/model.h"

extern const dlc_model t_model;

static long size_of(const char *dtype)
{
    const char *digits = dtype + strcspn(dtype, "0123456789");
    return strcmp(dtype, "bool") == 0 ? 1 : atoi(digits) / 8;
}

int main(int argc, char **argv)
{
    const dlc_model *m = &t_model;
    int64_t extents[256];
    void *in[32], *out[32];
    long out_bytes[32];
    int at = 0;
    FILE *f = argc > 2 ? fopen(argv[1], "rb") : NULL;
    if (!f || m->abi != DLC_MODEL_ABI || m->n_dims) return 1;
    m->shapes(NULL, extents);
    for (int i = 0; i < m->n_inputs + m->n_outputs; i++) {
        const dlc_tensor_info *t = i < m->n_inputs ? &m->inputs[i] : &m->outputs[i - m->n_inputs];
        long n = size_of(t->dtype);
        for (int j = 0; j < t->rank; j++) n *= extents[at++];
        void *p = calloc(n + 1, 1);
        if (i < m->n_inputs) {
            in[i] = p;
            if (fread(p, 1, n, f) != (size_t)n) return 2;
        } else {
            out[i - m->n_inputs] = p;
            out_bytes[i - m->n_inputs] = n;
        }
    }
    fclose(f);
    dlc_run run = { { NULL, NULL }, aligned_alloc(64, m->workspace(NULL) + 64), NULL };
    if (m->run(&run, NULL, (const void *const *)in, out) != DLC_RUN_OK) return 3;
    f = fopen(argv[2], "wb");
    if (!f) return 4;
    for (int i = 0; i < m->n_outputs; i++) fwrite(out[i], 1, out_bytes[i], f);
    return fclose(f) ? 5 : 0;
}
