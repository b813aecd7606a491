/* ir/machine.h: the numbers of a CPU that schedules are made from (kernels.md's model: lanes, registers, FMA,
 * caches). The backend's target description fills it in; passes know no more of a target than this.
 */
#ifndef DLC_IR_MACHINE_H
#define DLC_IR_MACHINE_H
#include <stdint.h>

typedef struct machine {
    int vector_bytes;                      /* 16, 32 or 64 */
    int vector_registers;
    int fma_latency, fma_per_cycle;        /* their product: accumulators needed to fill the pipeline */
    int loads_per_cycle;                   /* vectors */
    int64_t l1_bytes, l2_bytes, l3_bytes;  /* data, per core; l3 shared */
} machine;

#endif
