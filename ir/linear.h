/* ir/linear.h: linear forms of i64 expressions: constant + sum of coef * atom; coefficients are dims. */
#ifndef DLC_IR_LINEAR_H
#define DLC_IR_LINEAR_H
#include "ir/loop.h"

typedef struct { const expr *atom; dim coef; } linear_term;
typedef struct {
    linear_term *at; int64_t n, cap;      /* atoms differ; a coefficient may be 0 */
    dim constant;
    bool bad;                             /* a dim left its limits: the form says nothing */
} linear;

void linear_init(linear *l);
linear linear_of(kernel_code *k, const expr *e);
void linear_add(kernel_code *k, linear *l, const expr *e, dim scale);      /* l += scale * e */
const expr *linear_expr(kernel_code *k, linear *l);                        /* canonical; sorts l */

/* a = by0 * quotient + g * rest + add  with  by0 = g * by,  0 <= add < g:
 *   a floordiv by0 = quotient + rest floordiv by,   a mod by0 = g * (rest mod by) + add */
typedef struct { linear quotient, rest; dim by; int64_t g, add; bool failed; } linear_split;
linear_split linear_divide(kernel_code *k, const expr *a, dim by);

int x_compare(const kernel_code *k, const expr *a, const expr *b);         /* an order independent of ids */
#endif
