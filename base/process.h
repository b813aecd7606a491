/* base/process.h: another program, run to its end without a shell. The one place where dlc starts programs.
 */
#ifndef DLC_BASE_PROCESS_H
#define DLC_BASE_PROCESS_H
#include "base/base.h"

enum { PROCESS_ABSENT = -1, PROCESS_LATE = -2 };

/* Runs argv[0], looked up in PATH; argv ends with NULL. Standard input is empty; output and messages go to
 * the file `output`, made anew with mode 0600. seconds: 0, or after so many the program and its children are
 * killed.
 *
 * Its exit status; 128 + n: killed by signal n; PROCESS_ABSENT: it cannot be started; PROCESS_LATE: killed
 * for its time. */
int process_run(const char *const *argv, const char *output, double seconds);

/* The first line of such a file, for a message; "failed without a message" if there is none. */
const char *process_first_line(arena *a, const char *path);

/* A fresh folder below $TMPDIR, or /tmp, of mode 0700; NULL and errno. Its owner removes it. */
const char *process_folder(arena *a);

#endif
