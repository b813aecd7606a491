/* tests/ir/test_scalar_log_slow.c: log log1p asinh acosh atanh over all 2^32 arguments of f32, fused and
 * rounded. */
#include "tests/ir/scalar_check.h"

int main(void)
{
    static const scalar walked[] = { SCALAR_log, SCALAR_log1p, SCALAR_asinh, SCALAR_acosh, SCALAR_atanh };
    return judge_all_f32(walked, sizeof walked / sizeof *walked);
}
