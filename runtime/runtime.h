/* runtime: what generated code asks of the program that runs it
 *
 * A generated library allocates nothing, starts no thread and keeps no state outside its context. It reaches
 * threads through one hook, the first field of the environment of a call (dlc_run, model.h):
 *
 *     run.hook.parallel = dlc_parallel;                   the pool of pool.h, or any function that
 *     run.hook.pool = dlc_pool_create(0);                 keeps the contract below
 *
 * Plain C99, no dependency, no other header of this project.
 */
#ifndef DLC_RUNTIME_H
#define DLC_RUNTIME_H
#include <stdint.h>

/* The work of a region: do the iterations begin <= i < end. arg is read only. */
typedef void (*dlc_region_fn)(void *arg, int64_t begin, int64_t end);

/* Run a region of n iterations, n >= 0.
 *
 *   calls     fn(arg, begin, end) any number of times from any threads; the ranges are disjoint, not empty,
 *             and cover 0 .. n-1 exactly. Where they are cut, and on how many threads, is free: generated
 *             code gives the same bits for every partition.
 *   returns   after every call has returned; what the calls wrote is then visible to the caller.
 *   fp mode   fn runs with the default floating-point mode (round to nearest, subnormals kept, traps off).
 *             The caller of the hook has set it in its own thread; the hook sees to the other threads.
 *   nesting   generated code does not call the hook from within fn.
 */
typedef void (*dlc_parallel_fn)(void *pool, dlc_region_fn fn, void *arg, int64_t n);

/* The first field of dlc_run. parallel == NULL: regions run in the caller's thread. */
typedef struct dlc_run_hook {
    dlc_parallel_fn parallel;
    void *pool;                     /* handed to parallel; the library does not look at it */
} dlc_run_hook;

#endif
