/* client: a program outside the tree, built against an installed dlc (check_install.sh). It links libdlc,
 * runs a region on the installed thread pool if it was built with it, and a model if it was built with one.
 */
#include <stdio.h>
#include <string.h>

#ifdef WITH_POOL
#include <pool.h>

static void square(void *arg, int64_t begin, int64_t end)
{
    int64_t *x = arg;
    for (int64_t i = begin; i < end; i++) x[i] = i * i;
}

static int pool_works(void)
{
    int64_t x[100];
    dlc_pool *pool = dlc_pool_create(2);
    dlc_parallel(pool, square, x, 100);
    dlc_pool_destroy(pool);
    return x[0] == 0 && x[99] == 9801;
}
#else
static int pool_works(void)
{
    return 1;
}
#endif

/* The library that was linked is the installed one: the loader has it among this process's files. */
static int has_libdlc(const char *prefix)
{
    char line[4096];
    FILE *f = fopen("/proc/self/maps", "r");
    int found = 0;
    while (f && fgets(line, sizeof line, f)) found |= strstr(line, prefix) && strstr(line, "/libdlc.so.");
    if (f) fclose(f);
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 2 || !pool_works()) return 1;
    if (!has_libdlc(argv[1])) return 2;
    puts("ok");
    return 0;
}
