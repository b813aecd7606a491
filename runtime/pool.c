/* pool: a thread pool with one operation, "run this over 0 .. n-1"
 *
 *     caller    write job, epoch++ ── own share ── wait until pending == 0
 *     worker    ... spin on epoch ──── its share ── pending-- ── spin on epoch ...
 *
 * Why    A kernel of a network runs for 10 to 1000 us, so starting and ending a region must cost a few us at
 *        most; and a program that has stopped running networks must not burn CPUs.
 * How    Between regions a worker spins on `epoch` for SPIN_NS, then sleeps on a condition variable; so does
 *        the caller at a region's end. A sleeper announces itself (`sleepers`), then looks at `epoch` once
 *        more; the waker changes `epoch`, then looks at `sleepers`. All four are sequentially consistent: one
 *        of the two sees the other, so no wake-up is lost, and a region without sleepers takes no lock. With
 *        more threads than CPUs nobody spins, since the spinner would hold the CPU that the other needs.
 *        Shares are static and contiguous: a thread meets the same addresses in each layer of a network.
 * Needs  C11 atomics and POSIX threads; nothing else of this project: users compile this file themselves.
 * Keeps  the result independent of the number of threads, since the caller's fn does (runtime.h).
 * Cost   below 1 us a region while the workers spin, 10 to 200 us when the system must wake them
 *        (tests/runtime/bench_pool.c measures it).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                 /* sched_getaffinity */
#endif
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 1024
#define SPIN_NS 100000              /* a gap between two kernels is shorter; a gap between two calls is not */
#define LINE 64                     /* bytes of a cache line: what different threads write lies apart */

typedef struct {
    dlc_pool *pool;
    pthread_t thread;
    int index;                      /* share that this worker takes: 1 .. threads-1 */
} worker;

struct dlc_pool {
    /* the job: written by the caller before epoch changes, read by workers after */
    void (*fn)(void *arg, int64_t begin, int64_t end);
    void *arg;
    int64_t n;
    bool stop;                      /* the job is to end */

    int threads;                    /* the caller's among them */
    bool spin;                      /* there is a CPU for every thread */
    atomic_flag busy;               /* a region runs: nested and concurrent calls go serial */

    _Alignas(LINE) atomic_uint epoch;       /* number of the job */
    _Alignas(LINE) atomic_int pending;      /* workers that have not finished this job */
    _Alignas(LINE) atomic_int sleepers;     /* workers asleep on `wake`, or about to be */
    atomic_bool caller_sleeps;              /* the caller is asleep on `done`, or about to be */

    _Alignas(LINE) pthread_mutex_t lock;    /* guards no data: pairs each signal with its wait */
    pthread_cond_t wake, done;

    worker workers[];               /* threads - 1 */
};

/* -- Machine --------------------------------------------------------------------------------------------- */

static inline void pause_cpu(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb" ::: "memory");   /* `yield` does nothing on most cores; isb waits some 20 cycles */
#elif defined __riscv
    __asm__ volatile(".4byte 0x0100000f" ::: "memory");     /* pause, a hint that old cores ignore */
#endif
}

/* A new thread inherits the mode of its creator, which may flush subnormals: set the default. */
static void default_fp_mode(void)
{
#if defined __x86_64__
    unsigned mode = 0x1f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(mode));
#elif defined __aarch64__
    __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)0));
#elif defined __riscv_flen
    __asm__ volatile("fscsr zero");
#endif
}

static int cpus(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)(n < MAX_THREADS ? n : MAX_THREADS);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* -- Waiting --------------------------------------------------------------------------------------------- */

static bool epoch_passed(dlc_pool *p, unsigned seen)
{
    return atomic_load(&p->epoch) != seen;
}

static bool all_done(dlc_pool *p, unsigned unused)
{
    (void)unused;
    return atomic_load(&p->pending) == 0;
}

/* Spin until ready(p, arg) or the time is over; true if ready. The clock is read every 32nd turn. */
static bool spin(dlc_pool *p, bool (*ready)(dlc_pool *, unsigned), unsigned arg)
{
    if (ready(p, arg)) return true;
    if (!p->spin) return false;
    for (int64_t end = now_ns() + SPIN_NS; now_ns() < end;)
        for (int i = 0; i < 32; i++) {
            if (ready(p, arg)) return true;
            pause_cpu();
        }
    return false;
}

static void wait_for_job(dlc_pool *p, unsigned seen)
{
    if (spin(p, epoch_passed, seen)) return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!epoch_passed(p, seen)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(dlc_pool *p)
{
    if (spin(p, all_done, 0)) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!all_done(p, 0)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

static void start_job(dlc_pool *p)
{
    atomic_store(&p->pending, p->threads - 1);
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* After the last finish_job of a job the caller may go on and destroy the pool, so nothing of it is touched
 * after `pending` reached 0 except under the lock, which dlc_pool_destroy takes by joining this thread first.
 */
static void finish_job(dlc_pool *p)
{
    if (atomic_fetch_sub(&p->pending, 1) != 1 || !atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

/* -- Work ------------------------------------------------------------------------------------------------ */

/* The first n % threads shares are one longer than the others. */
static void run_share(dlc_pool *p, int index)
{
    int64_t each = p->n / p->threads, rest = p->n % p->threads;
    int64_t begin = index * each + (index < rest ? index : rest);
    int64_t end = begin + each + (index < rest);
    if (begin < end) p->fn(p->arg, begin, end);
}

static void *work(void *arg)
{
    worker *w = arg;
    dlc_pool *p = w->pool;
    default_fp_mode();
    for (unsigned seen = 0;;) {
        wait_for_job(p, seen);
        seen = atomic_load(&p->epoch);
        if (p->stop) return NULL;
        run_share(p, w->index);
        finish_job(p);
    }
}

void dlc_parallel(void *pool, void (*fn)(void *arg, int64_t begin, int64_t end), void *arg, int64_t n)
{
    dlc_pool *p = pool;
    if (n <= 0) return;
    if (!p || p->threads == 1 || n == 1 ||
        atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire)) {
        fn(arg, 0, n);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    start_job(p);
    run_share(p, 0);
    wait_for_workers(p);
    atomic_flag_clear_explicit(&p->busy, memory_order_release);
}

/* -- Life ------------------------------------------------------------------------------------------------ */

static int threads_wanted(int threads)
{
    if (threads <= 0) {
        const char *text = getenv("DLC_NUM_THREADS");
        char *end;
        long n = text ? strtol(text, &end, 10) : 0;
        threads = n > 0 && *end == '\0' ? (int)(n < MAX_THREADS ? n : MAX_THREADS) : cpus();
    }
    return threads < MAX_THREADS ? threads : MAX_THREADS;
}

dlc_pool *dlc_pool_create(int threads)
{
    threads = threads_wanted(threads);
    size_t bytes = sizeof(dlc_pool) + (size_t)(threads - 1) * sizeof(worker);
    dlc_pool *p = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
    if (!p) return NULL;

    p->stop = false;
    p->spin = threads <= cpus();
    atomic_flag_clear(&p->busy);
    atomic_init(&p->epoch, 0);
    atomic_init(&p->pending, 0);
    atomic_init(&p->sleepers, 0);
    atomic_init(&p->caller_sleeps, false);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);

    sigset_t all, before;           /* signals are the program's own: no worker takes one */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = 1;
    for (; started < threads; started++) {
        worker *w = &p->workers[started - 1];
        w->pool = p;
        w->index = started;
        if (pthread_create(&w->thread, NULL, work, w) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->threads = started;           /* workers read it after the first epoch */
    return p;
}

void dlc_pool_destroy(dlc_pool *p)
{
    if (!p) return;
    p->stop = true;
    start_job(p);
    for (int i = 0; i < p->threads - 1; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int dlc_pool_threads(const dlc_pool *p)
{
    return p ? p->threads : 1;
}
