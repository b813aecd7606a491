/* ir/kernel_key.h: kernels that are equal but for names. */
#ifndef DLC_IR_KERNEL_KEY_H
#define DLC_IR_KERNEL_KEY_H
#include "ir/loop.h"

/* Bytes that are equal exactly if two kernels have the same code: buffers, variables, temps and open dims are
 * numbered in order of appearance, names and schedules are left out. In arena a. */
bytes kernel_key(arena *a, const kernel_code *k);

/* The same for kernels that differ in literals only: those that stand for them are listed, in order of the
 * text. Dims count as they are, and names and roles of buffers and loops belong to the key, since schedules
 * go by them. */
typedef vec(const expr *) literal_list;
bytes kernel_shape_key(arena *a, const kernel_code *k, literal_list *literals);
/* A float literal as operand i of a basic row: one that kernel_shape_key lists. */
bool is_literal_operand(const expr *x, int i);

/* by_kernel[i]: the first kernel equal to kernel i. Returns how many differ. */
int equal_kernels(arena *a, const program *p, int *by_kernel);
#endif
