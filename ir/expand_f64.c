/* ir/expand_f64.c: the functions of f64. */
#include "ir/expand.h"

/* NaN stays: it is neither above nor below 0. */
static val sign_f64(line *b, val x, val y)
{
    (void)y;
    val zero = k(b, 0);
    return sel(b, lt(b, zero, x), k(b, 1), sel(b, lt(b, x, zero), k(b, -1), sel(b, eq(b, x, zero), zero, x)));
}

const recipe recipes_f64[SCALAR_COUNT] = {
    [SCALAR_sign] = sign_f64,
};
