/* backend/target: the CPU for which code is made: what the formula that chooses schedules and the emitters
 * ask of it. */
#ifndef DLC_BACKEND_TARGET_TARGET_H
#define DLC_BACKEND_TARGET_TARGET_H
#include "base/context.h"

typedef struct target {
    const char *triple;        /* "x86_64-unknown-linux-gnu" */
    const char *cpu;           /* "haswell"; LLVM's spelling */
    const char *features;      /* LLVM's spelling, "+avx2,+fma,…"; "" for the cpu's own */
    const char *tune;          /* the cpu whose timing the code is arranged for, LLVM's spelling; "": cpu */
    int vector_bytes;          /* of the vectors to use: 16, 32 or 64 */
    int vector_registers;
    int fma_latency, fma_per_cycle;        /* kernels.md: their product is the accumulators needed */
    int loads_per_cycle;
    int64_t l1_bytes, l2_bytes, l3_bytes;  /* of data; per core, l3 shared */
    bool has_fma, has_f16c, has_sse41;     /* or the architecture's equal: nothing needs a library call */
    bool is_host;
} target;

/* The machine this runs on. vector_bytes 0: the best; else at most that (the bits never depend on it). */
target target_host(int vector_bytes);
/* By name: triple NULL is the host's; cpu as LLVM spells it ("haswell", "x86-64-v3", "generic",
 * "cortex-a72"). False and a diagnostic that lists near names if unknown. */
bool target_named(dlc_context *ctx, const char *triple, const char *cpu, int vector_bytes, target *out);
static inline int target_lanes(const target *t, int elem_bytes) { return t->vector_bytes / elem_bytes; }

#endif
