/* test_out_of_memory_slow: as test_out_of_memory, for every request */
#define STEP 1
#include "tests/api/test_out_of_memory.c"
