/* ir/lifetime.h: when each buffer of a program is alive. */
#ifndef DLC_IR_LIFETIME_H
#define DLC_IR_LIFETIME_H
#include "ir/loop.h"

typedef struct { int64_t first, last; } interval;     /* calls, numbered in line; last -1: never used */
typedef struct {
    interval *of;             /* by buffer; of one that others live in, with theirs */
    const dim *bound;         /* by symbol: itself, or its upper bound where data decide it */
    int64_t n_calls;
} lifetime;

lifetime *lifetimes_of(arena *a, const program *p);
/* Size in bytes, data-dependent symbols at their bound. */
dim buffer_bytes(const program *p, const lifetime *l, int buf);

#endif
