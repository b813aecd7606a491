/* base/process.c: programs run by posix_spawnp (process.h)
 *
 * How    With a time limit the program gets a process group of its own, so that its children end with it;
 *        waiting then looks every few milliseconds, since there is no wait with a timeout that needs neither
 *        signals nor threads.
 */
#include "base/process.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { NOT_FOUND = 127, FIRST_NAP_NS = 500000, LONGEST_NAP_NS = 20000000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int spawn(const char *const *argv, const char *output, bool has_group, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        posix_spawn_file_actions_adddup2(&actions, 1, 2);
        if (has_group) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        error = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* False: the time is up, and the program still runs. */
static bool wait_until(pid_t pid, double end, int *status)
{
    for (long nap = FIRST_NAP_NS;;) {
        pid_t r = waitpid(pid, status, end > 0 ? WNOHANG : 0);
        if (r == pid) return true;
        if (r < 0 && errno != EINTR) {
            *status = 0xff00;
            return true;
        }
        if (end <= 0) continue;
        if (now() > end) return false;
        struct timespec t = { 0, nap };
        nanosleep(&t, NULL);
        if (nap < LONGEST_NAP_NS) nap *= 2;
    }
}

int process_run(const char *const *argv, const char *output, double seconds)
{
    pid_t pid;
    int status = 0;
    if (spawn(argv, output, seconds > 0, &pid)) return PROCESS_ABSENT;
    if (!wait_until(pid, seconds > 0 ? now() + seconds : 0, &status)) {
        kill(-pid, SIGKILL);
        wait_until(pid, 0, &status);
        return PROCESS_LATE;
    }
    if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    return WEXITSTATUS(status) == NOT_FOUND ? PROCESS_ABSENT : WEXITSTATUS(status);
}

const char *process_first_line(arena *a, const char *path)
{
    FILE *f = fopen(path, "r");
    char line[400] = "";
    if (f && !fgets(line, sizeof line, f)) line[0] = 0;
    if (f) fclose(f);
    line[strcspn(line, "\n")] = 0;
    return arena_strdup(a, *line ? line : "failed without a message");
}

const char *process_folder(arena *a)
{
    const char *tmp = getenv("TMPDIR");
    char *folder = arena_printf(a, "%s/dlc-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(folder);
}
