/* ir/expand_int.c: sign, mod, fmod and pow of integers. */
#include "ir/expand.h"

/* a - (a / b) b; by 0: 0. INT_MIN / -1 wraps, and so does the product: 0. */
static val int_fmod(line *b, val x, val y)
{
    val r = sub(b, x, mul(b, divide(b, x, y), y));
    return sel(b, eq(b, y, ki(b, 0)), y, r);
}

/* Sign of the divisor: where the remainder is not 0 and the signs differ, one divisor more. */
static val int_mod(line *b, val x, val y)
{
    val r = int_fmod(b, x, y), zero = ki(b, 0);
    if (!is_signed(b->t)) return r;
    val differs = lt(b, xor2(b, r, y), zero);
    val fix = sel(b, differs, y, zero);
    return add(b, r, sel(b, eq(b, r, zero), zero, fix));
}

static val int_sign(line *b, val x, val y)
{
    (void)y;
    val one = ki(b, 1);
    val top = min2(b, x, one);
    return is_signed(b->t) ? max2(b, top, ki(b, -1)) : top;
}

/* By squaring, one round for each bit of the exponent; products wrap. 1 / a^|b| truncates to 0 unless a is 1
 * or -1 (a power of 0 below 0: x / 0 = 0). */
static val int_pow(line *b, val x, val y)
{
    int width = 8 * dtype_bytes(b->t), rounds = is_signed(b->t) ? width - 1 : width;
    val one = ki(b, 1), zero = ki(b, 0), r = one, power = x;
    for (int i = 0; i < rounds; i++) {
        val bit = and2(b, y, ki(b, (int64_t)((uint64_t)1 << i)));
        r = mul(b, r, sel(b, eq(b, bit, zero), one, power));
        if (i + 1 < rounds) power = mul(b, power, power);
    }
    if (!is_signed(b->t)) return r;
    val odd = eq(b, and2(b, y, one), one), minus = ki(b, -1);
    val unit = sel(b, eq(b, x, one), one, sel(b, eq(b, x, minus), sel(b, odd, minus, one), zero));
    return sel(b, lt(b, y, zero), unit, r);
}

const recipe recipes_int[SCALAR_COUNT] = {
    [SCALAR_mod] = int_mod,
    [SCALAR_fmod] = int_fmod,
    [SCALAR_pow] = int_pow,
    [SCALAR_sign] = int_sign,
};
