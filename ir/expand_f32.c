/* ir/expand_f32.c: the functions of f32. */
#include "ir/expand.h"

/* NaN stays: it is neither above nor below 0. */
static val sign_f32(line *b, val x, val y)
{
    (void)y;
    val zero = k(b, 0);
    return sel(b, lt(b, zero, x), k(b, 1), sel(b, lt(b, x, zero), k(b, -1), sel(b, eq(b, x, zero), zero, x)));
}

const recipe recipes_f32[SCALAR_COUNT] = {
    [SCALAR_sign] = sign_f32,
};
