/* pool: threads for generated code (see pool.c) */
#ifndef DLC_POOL_H
#define DLC_POOL_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlc_pool dlc_pool;

/* Make a pool of this many threads, the caller's among them: 1 to 1024. 0 takes the environment variable
 * DLC_NUM_THREADS or, without it, the number of CPUs this process may use. NULL if memory is short; fewer
 * threads if the system grants fewer. Not usable in a child after fork(). */
dlc_pool *dlc_pool_create(int threads);

/* End the threads and free the pool; no region may be running. NULL is accepted. */
void dlc_pool_destroy(dlc_pool *pool);

/* Threads of the pool, the caller's among them. */
int dlc_pool_threads(const dlc_pool *pool);

/* Run fn over 0 .. n-1, cut into one contiguous share for each thread; the caller takes the first. Returns
 * when all are done. `pool` is a dlc_pool * or NULL (serial); its type is the one of the hook in runtime.h. A
 * call from within fn, or while another thread has the pool, runs serially in its own thread. */
void dlc_parallel(void *pool, void (*fn)(void *arg, int64_t begin, int64_t end), void *arg, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
