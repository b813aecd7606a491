/* tests/support/llvm_module.h: the LLVM backend of the build under test, or NULL with a message. */
#ifndef DLC_TESTS_LLVM_MODULE_H
#define DLC_TESTS_LLVM_MODULE_H
#include "backend/codegen.h"

const llvm_backend *llvm_module(void);

#endif
