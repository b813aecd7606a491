/* ir/open_plan.h: how a program's temporaries are placed when it is entered, where their sizes are open
 * (open_plan.c). */
#ifndef DLC_IR_OPEN_PLAN_H
#define DLC_IR_OPEN_PLAN_H
#include "ir/loop.h"

enum { OPEN_PLAN_BEHIND = -1 };

/* Items are the temporaries without a planned offset, in the order in which they are placed. */
typedef struct {
    int n;
    int *item_of;             /* by buffer: its item; -1: none */
    int n_sizes;
    dim *size;                /* the sizes that occur, in bytes; not rounded */
    int *size_of;             /* by item: number of its size */
    int *near_first;          /* by item, and one more: where its neighbours begin in near[] */
    /* earlier items that live while this one does; or OPEN_PLAN_BEHIND alone: behind all earlier ones */
    int *near;
} open_plan;

/* NULL if no temporary is open. */
open_plan *open_plan_make(arena *a, const program *p);

/* What generated code does at entry: offsets of the items, counted from where the planned part ends, for
 * sizes in bytes. Returns the bytes of all. */
int64_t open_plan_place(const open_plan *o, const int64_t *size, int64_t *offset);

/* Bytes of the workspace's part that is planned already. */
int64_t open_plan_base(const program *p);

#endif
