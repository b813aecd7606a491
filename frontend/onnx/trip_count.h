/* frontend/onnx/trip_count.h: whether a Loop's condition can end it before its trip count does. */
#ifndef DLC_FRONTEND_ONNX_TRIP_COUNT_H
#define DLC_FRONTEND_ONNX_TRIP_COUNT_H
#include "ir/build.h"

typedef struct {
    graph *outer, *body;          /* the body's inputs: carried…, the iteration number, captures… */
    int n_carried;
    const value *first;           /* of what is carried: the values before the loop, in outer */
    const value *next;            /* and after an iteration, in body */
    const value *captures;        /* in outer */
    dim trips;
} counted_loop;

/* Is `cond` (in outer; NO_VALUE: true) true if there are trips at all, and `go` (in body) after each but the
 * last? */
bool loop_runs_through(const counted_loop *l, value cond, value go);
#endif
