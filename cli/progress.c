/* progress: one line on a terminal that says what is done now, once it takes longer than a second
 *
 * How    Work says what it does by progress_put, from any thread, as often as it likes: that costs a lock and
 *        a copy. A thread of its own writes the line, ten times a second from the first second on, so that a
 *        single long step shows too. It is started by the first progress_put, and only if stderr is a
 *        terminal; before anything else is printed the line is erased.
 */
#include "cli/cli.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { TICK_NS = 100000000, MAX_LINE = 200 };

struct progress {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct timespec start;
    char line[MAX_LINE];           /* what is done now; "": nothing */
    bool is_shown, is_ending, has_colour;
};

static double seconds_since(struct timespec start)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - start.tv_sec) + 1e-9 * (double)(t.tv_nsec - start.tv_nsec);
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col : 80;
}

static void erase(progress *p)
{
    if (p->is_shown) fputs("\r\033[K", stderr);
    if (p->is_shown) fflush(stderr);
    p->is_shown = false;
}

/* Cut to the terminal's width, at a whole character. */
static void draw(progress *p)
{
    int n = (int)strlen(p->line), most = columns() - 10, width = 0, end = 0;
    while (end < n && width < most) {
        end++;
        while (end < n && (p->line[end] & 0xc0) == 0x80) end++;
        width++;
    }
    fprintf(stderr, "\r\033[K%s%5.1f s%s  %.*s", p->has_colour ? "\033[36m" : "", seconds_since(p->start),
            p->has_colour ? "\033[0m" : "", end, p->line);
    fflush(stderr);
    p->is_shown = true;
}

static void *writer(void *arg)
{
    progress *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->is_ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TICK_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&p->wake, &p->lock, &until);
        if (!p->is_ending && p->line[0] && seconds_since(p->start) > 1) draw(p);
    }
    erase(p);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void end(void *arg)
{
    progress *p = arg;
    pthread_mutex_lock(&p->lock);
    p->is_ending = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
}

static progress *begin(cli *c)
{
    progress *p = NEW(c->a, progress);
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    p->has_colour = c->has_colour;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    if (pthread_create(&p->thread, NULL, writer, p) != 0) return NULL;
    arena_on_free(c->a, end, p);
    return p;
}

void progress_put(cli *c, const char *fmt, ...)
{
    if (!c->is_terminal) return;
    if (!c->progress && !(c->progress = begin(c))) {
        c->is_terminal = false;
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&c->progress->lock);
    vsnprintf(c->progress->line, MAX_LINE, fmt, ap);
    pthread_mutex_unlock(&c->progress->lock);
    va_end(ap);
}

void progress_clear(cli *c)
{
    progress *p = c->progress;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->line[0] = 0;
    erase(p);
    pthread_mutex_unlock(&p->lock);
}
