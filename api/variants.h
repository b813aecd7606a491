/* api/variants.h: code for the sizes that a program with open dims is run with.
 *
 * One program in memory, compiled for any sizes, and up to MAX_VARIANTS more of it, each for sizes that come again and again: once the runs with
 * them took a quarter of the time that the program took to compile, the next one compiles it for them. What runs once or
 * twice does not pay for it, and sizes that are met in passing take no place from those that stay.
 */
#ifndef DLC_API_VARIANTS_H
#define DLC_API_VARIANTS_H
#include "api/driver.h"

enum { MAX_VARIANTS = 8 };
typedef struct variants variants;

/* plain: the program before its schedules (driver_lower_plain), unchanged as long as `a` lives; ready: the same with its
 * constants, as it runs. Released with `a`. NULL: nothing is open, or the options say no. */
variants *variants_new(arena *a, const program *plain, const program *ready, const driver_options *o, double compile_seconds);

/* The code to run with these sizes (by symbol), or NULL: that of any sizes. It needs at most `workspace_bytes`, what the code of
 * any sizes needs. Several threads may ask at once. *spent: not NULL if the seconds of the run should be told. */
struct seen_sizes;
const dlc_model *variants_pick(variants *v, const int64_t *sizes, int64_t workspace_bytes, struct seen_sizes **spent);
void variants_ran(variants *v, struct seen_sizes *spent, double seconds);
/* What a variant was compiled from. */
const program *variants_program(variants *v, const dlc_model *model);
/* How many there are, and seconds spent on them. */
int variants_made(variants *v, double *seconds);

#endif
