/* common: options that several commands share, as the driver takes them */
#include "cli/cli.h"

bool cli_driver_options(cli *c, driver_options *o)
{
    *o = driver_defaults();
    o->fma = opt_given(c, OPT_no_fma) ? FMA_ROUNDED : FMA_FUSED;
    o->level = opt_choice(c, OPT_opt_level, o->level);
    o->verify = opt_given(c, OPT_verify);
    return !c->is_usage;
}
