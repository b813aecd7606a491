/* backend/eval/eval_inside.h: what the files of the graph interpreter share. */
#ifndef DLC_BACKEND_EVAL_INSIDE_H
#define DLC_BACKEND_EVAL_INSIDE_H
#include "backend/eval/eval.h"
#include "ir/order.h"

typedef struct buffer buffer;

/* The run: one for a call of eval_graph, shared by the bodies. */
typedef struct {
    dlc_context *ctx;
    arena *arena;             /* buffers and plans; dies with the caller's arena */
    expander *expander;
    const dims *dims;
    int64_t *symbols;
    eval_options o;
    buffer *free[256];        /* by size class */
    map_str plans;            /* graph pointer -> plan */
    char *steps; size_t steps_bytes;      /* scratch of eval_map */
} run;

/* One node to compute. `in` are its operands' values; `out` have their sizes, and bytes to be filled. */
typedef struct {
    run *r;
    const graph *g;
    const node *n;
    const tensor *in;
    tensor *out;
} job;

/* Scratch from the pool, at least `bytes`; give it back. */
void *scratch_take(run *r, int64_t n, size_t size);
void scratch_give(run *r, void *p);

/* Reports that sizes do not fit at the job's node; false. */
bool job_fail(const job *j, const char *fmt, ...) DLC_PRINTF(2, 3);
bool job_dim(const job *j, dim d, int64_t *v);       /* false: reported */

/* -- eval_map.c -- */
bool eval_map(job *j);
/* fn over n contiguous elements; t: the operands' type. */
void map_block(run *r, scalar fn, dtype t, dtype to, int64_t n, const void *const in[3], void *out);
void cast_block(run *r, dtype from, dtype to, int64_t n, const void *in, void *out);
/* The operand's elements in another type: its own bytes, or scratch (then *owned). */
const void *converted(run *r, const tensor *x, dtype to, bool *owned);

/* -- eval_sum.c -- */
bool eval_reduce(job *j);
bool eval_window(job *j);
bool eval_contract(job *j);

/* -- eval_move.c -- */
bool eval_iota(job *j);
bool eval_random(job *j);
bool eval_transpose(job *j);
bool eval_broadcast(job *j);
bool eval_slice(job *j);
bool eval_pad(job *j);
bool eval_concat(job *j);
bool eval_gather(job *j);
bool eval_scatter(job *j);
bool eval_sort(job *j);
bool eval_compact(job *j);
/* n[] elements of `width` bytes between two strided places; strides in elements. */
void copy_strided(int width, int rank, const int64_t *n, char *to, const int64_t *st, const char *from,
                  const int64_t *sf);

/* -- Walking positions ----------------------------------------------------------------------------------- */

static inline void strides_of(const tensor *t, int64_t *stride)
{
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) { stride[i] = s; s *= t->dims[i]; }
}

/* Axes that all n operands step through as through one become one, those of extent 1 go: [O, C, 1, 1] by a
 * factor for each O has rows of C. */
typedef struct { int rank; int64_t dims[MAX_RANK], stride[3][MAX_RANK]; } walk;
walk joined_axes(int rank, const int64_t *extents, int n, const int64_t (*stride)[MAX_RANK]);

/* at[] to the next position of n[], row-major; false after the last. off[k] follows by stride[k][]. */
static inline bool step_position(int rank, const int64_t *n, int64_t *at, int n_off, int64_t *off,
                                 const int64_t (*stride)[MAX_RANK])
{
    for (int i = rank - 1; i >= 0; i--) {
        at[i]++;
        for (int k = 0; k < n_off; k++) off[k] += stride[k][i];
        if (at[i] < n[i]) return true;
        for (int k = 0; k < n_off; k++) off[k] -= stride[k][i] * n[i];
        at[i] = 0;
    }
    return false;
}
#endif
