/* All rows, all compilers: test_cgen_rows.c. */
#define ALL_ROWS
#include "tests/backend/test_cgen_rows.c"
