/* tests/support/loop_case.h: programs from .loop files, run by the interpreter and compared with compiled
 * code. */
#ifndef DLC_TESTS_LOOP_CASE_H
#define DLC_TESTS_LOOP_CASE_H
#include "ir/loop.h"
#include "runtime/model.h"

typedef struct { dlc_context *ctx; arena *a; expander *ex; uint64_t seed; } loop_case;

/* What to do with a program; turn: its number, for choices that alternate. */
typedef void (*loop_taker)(loop_case *c, program *p, int turn);

/* A file holds a program, or kernels, each of which becomes a program with one call. Constants without
 * elements get some. */
void loop_file(const char *path, int turn, loop_taker take);
void loop_folder(const char *folder, loop_taker take);

/* Runs p by the interpreter and m (p compiled) on the same inputs, some of them NaN, infinities, zeros of
 * both signs and subnormals; fails at the first element whose bits differ (all NaN are equal), and if m takes
 * a size out of bounds. */
void loop_compare(loop_case *c, program *p, const dlc_model *m, const void *weights, dlc_run_hook hook,
                  const char *what);

void loop_messages(dlc_context *ctx);

#endif
