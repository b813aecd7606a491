/* tests/ir/test_scalar_trig_slow.c: sin cos tan asin acos atan over all 2^32 arguments of f32, fused and
 * rounded. */
#include "tests/ir/scalar_check.h"

int main(void)
{
    static const scalar walked[] = {
        SCALAR_sin, SCALAR_cos, SCALAR_tan, SCALAR_asin, SCALAR_acos, SCALAR_atan
    };
    return judge_all_f32(walked, sizeof walked / sizeof *walked);
}
