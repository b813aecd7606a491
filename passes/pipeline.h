/* passes/pipeline.h: what passes/ shows to the driver. */
#ifndef DLC_PASSES_PIPELINE_H
#define DLC_PASSES_PIPELINE_H
#include "ir/machine.h"
#include "passes/pass.h"

/* The loop program of a graph after fuse: plain nests, no plan. */
program *lower_program(pass_run *run, const graph *g, fma_mode fma);

/* A state of a program: the input that brings its value, and the output that takes the new one; -1: not read, not changed. */
typedef struct { int input, output; } state_pair;
typedef struct { int n; const state_pair *pairs; const state_row *rows; int64_t bytes; } state_binding;

/* Makes states of inputs and outputs; the others are numbered anew. s->rows must outlive p. */
bool states_program(pass_run *run, program *p, const state_binding *s);
/* Lets operands of a concat live in its result. */
bool slots_program(pass_run *run, program *p);
/* Makes several kernels of one that holds very many nests. */
bool cut_program(pass_run *run, program *p);
/* Makes one kernel of those that do the same. */
bool share_program(pass_run *run, program *p);

/* The program at these sizes (by symbol; is_open, as of program_found_symbols: those that the run finds), with a context and
 * arena of its own: same numbers of symbols, buffers and kernels, same bits. p: plain nests, one entry; only read. */
program *specialize_program(dlc_context *ctx, arena *a, const program *p, const int64_t *sizes, const bool *is_open);
/* The same program, independent of p but for constants and states. */
program *program_copy(dlc_context *ctx, arena *a, const program *p);

/* Rewrites each kernel's nest by the formula's schedule for this machine; kernels that have a schedule keep it. A refused
 * schedule leaves the plain nest. */
bool schedule_program(pass_run *run, program *p, const machine *m);

/* Makes one buffer of the pair of a carry, where nothing is lost. */
bool carries_program(pass_run *run, program *p);
/* Drops buffers and makes them again, until the workspace is at most `budget` bytes. False: it cannot be, and a message says
 * what could. */
bool remat_program(pass_run *run, program *p, int64_t budget);

/* Asks again for the states that states_program left to be copied at the end. */
bool settle_program(pass_run *run, program *p);
/* Makes one call of small independent ones, where that takes no more memory. */
bool merge_program(pass_run *run, program *p);

/* Places temporaries in the workspace: sets pbuf.offset, program.workspace_bytes and the lower bound. With open dims
 * offsets stay -1: code places them at entry. */
bool plan_program(pass_run *run, program *p);
/* Proves that no two buffers that live at the same time overlap; reports otherwise. Independent of plan. */
bool plan_check(program *p);

/* Gives kernel k of p the schedule `steps`. False: *why says which step was refused, and why. */
bool schedule_kernel(program *p, int k, const char *steps, arena *scratch, const char **why);

#endif
