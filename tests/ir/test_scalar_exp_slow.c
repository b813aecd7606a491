/* tests/ir/test_scalar_exp_slow.c: exp expm1 sigmoid tanh sinh cosh erf over all 2^32 arguments of f32, fused
 * and rounded. */
#include "tests/ir/scalar_check.h"

int main(void)
{
    static const scalar walked[] = {
        SCALAR_exp, SCALAR_expm1, SCALAR_sigmoid, SCALAR_tanh, SCALAR_sinh, SCALAR_cosh, SCALAR_erf
    };
    return judge_all_f32(walked, sizeof walked / sizeof *walked);
}
