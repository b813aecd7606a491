/* passes/plan_in_place.h: for plan.c. */
#ifndef DLC_PASSES_PLAN_IN_PLACE_H
#define DLC_PASSES_PLAN_IN_PLACE_H
#include "ir/lifetime.h"
#include "passes/pass.h"

/* Lets results of calls live in operands that die there (pbuf.in_place); how many. Lifetimes are those of the buffers apart;
 * their bytes are set. */
int64_t plan_in_place(pass_run *run, program *p, const lifetime *lives);
/* Each in its own place again. */
void plan_apart(program *p);
#endif
