/* All scalar rows at all types; see test_llvm_rows.c. */
#define ALL_ROWS
#include "tests/backend/test_llvm_rows.c"
