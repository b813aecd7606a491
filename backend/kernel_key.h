/* backend/kernel_key.h: kernels that are equal but for names. */
#ifndef DLC_BACKEND_KERNEL_KEY_H
#define DLC_BACKEND_KERNEL_KEY_H
#include "ir/loop.h"

/* Bytes that are equal exactly if two kernels have the same code: buffers, variables, temps and open dims are numbered in
 * order of appearance, names and schedules are left out. In arena a. */
bytes kernel_key(arena *a, const kernel_code *k);

/* by_kernel[i]: the first kernel equal to kernel i. Returns how many differ. */
int equal_kernels(arena *a, const program *p, int *by_kernel);
#endif
