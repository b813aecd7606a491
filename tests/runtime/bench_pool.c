/* bench_pool: what a region costs.   ninja bench_pool && build/tests/bench_pool [threads]
 * Prints the median time of an empty region with spinning workers, and with workers asleep. */
#include "runtime/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void nothing(void *arg, int64_t begin, int64_t end)
{
    (void)arg, (void)begin, (void)end;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double us[20000];
    dlc_pool *pool = dlc_pool_create(argc > 1 ? atoi(argv[1]) : 0);
    for (int gap = 0; gap <= 1000; gap += 1000) {
        int n = gap ? 500 : 20000;
        for (int i = 0; i < n; i++) {
            if (gap) usleep((useconds_t)gap);
            double t = now_us();
            dlc_parallel(pool, nothing, NULL, 64);
            us[i] = now_us() - t;
        }
        qsort(us, (size_t)n, sizeof *us, by_value);
        printf("%d threads, %s: median %.2f us, 90%% %.2f us\n", dlc_pool_threads(pool),
               gap ? "asleep" : "spinning", us[n / 2], us[n * 9 / 10]);
    }
    dlc_pool_destroy(pool);
    return 0;
}
