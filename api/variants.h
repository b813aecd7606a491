/* api/variants.h: code for the sizes that a program with open dims is run with.
 *
 * One program in memory, compiled for any sizes, and up to MAX_VARIANTS more of it, each for the sizes of a run that came a second time.
 * What runs once does not pay for a compilation; what comes again does, in the run that is the second with its sizes.
 */
#ifndef DLC_API_VARIANTS_H
#define DLC_API_VARIANTS_H
#include "api/driver.h"

enum { MAX_VARIANTS = 8 };
typedef struct variants variants;

/* plain: the program before its schedules (driver_lower_plain), unchanged as long as `a` lives; ready: the same with its
 * constants, as it runs. Released with `a`. NULL: nothing is open, or the options say no. */
variants *variants_new(arena *a, const program *plain, const program *ready, const driver_options *o);

/* The code to run with these sizes (by symbol), or NULL: that of any sizes. It needs at most `workspace_bytes`, what the code of
 * any sizes needs. Several threads may ask at once. */
const dlc_model *variants_pick(variants *v, const int64_t *sizes, int64_t workspace_bytes);
/* How many there are, and seconds spent on them. */
int variants_made(variants *v, double *seconds);

#endif
