/* tests/support/row_case.h: every row of scalar.def, and every cast, as small kernels: for tests of whatever
 * compiles them. */
#ifndef DLC_TESTS_ROW_CASE_H
#define DLC_TESTS_ROW_CASE_H
#include "ir/loop.h"

/* one kernel: y[i] = fn(x0[i], x1[i], x2[i]), in lanes if vector */
typedef struct { scalar fn; dtype t, to; int vector; } row_job;
enum { MAX_ROW_JOBS = 700 };
typedef struct {
    dlc_context *ctx; arena *a; expander *ex;
    int n;                                                           /* elements for each job */
    const void *in[3 * MAX_ROW_JOBS];                                /* hard values */
    void *out[MAX_ROW_JOBS];
} row_case;

/* The jobs at all types: basic rows and casts, or the rows that are expanded. Their number. */
int row_jobs(row_job *jobs, bool basic, int vector);
/* A program that calls them all, with inputs and room for outputs in r. */
program *row_program(row_case *r, const row_job *jobs, int n_jobs, fma_mode mode);
/* What the program left in r->out against sv_apply; fails after printing the first differences of each job.
 */
void row_check(const row_case *r, const row_job *jobs, int n_jobs, fma_mode mode, const char *what);

#endif
