/* ir/apart.h: proofs that what a kernel touches in one turn of a loop is not touched in another (apart.c). */
#ifndef DLC_IR_APART_H
#define DLC_IR_APART_H
#include "ir/loop.h"

/* Tells of each vector and parallel loop whose turns may meet in an element of `buf`, stored at `at` or by
 * another turn of the loop. k: a copy whose arena is scratch, with accesses that have their buffers' rank. */
typedef void (*meeting_fn)(void *arg, const stmt *loop, const stmt *at, int buf);
void loops_apart(kernel_code *k, meeting_fn tell, void *arg);

/* May parameter `out` have the memory of parameter `in`? True if nothing is lost: each element of `in` is
 * read in the turn that stores over it, of every loop around the store, and not after the store. So it holds
 * for the kernel as it stands, however its marked loops are run. */
bool kernel_in_place(const kernel_code *k, int in, int out);
#endif
