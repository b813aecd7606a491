/* llvm_module: opens lib/libdlc-llvm.so of the build folder ($DLC_BUILD) */
#include "tests/support/llvm_module.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

const llvm_backend *llvm_module(void)
{
    char path[512];
    const char *build = getenv("DLC_BUILD");
    snprintf(path, sizeof path, "%s/lib/libdlc-llvm.so", build ? build : "build");
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) fprintf(stderr, "no LLVM backend: %s\n", dlerror());
    return module ? dlsym(module, "dlc_llvm_backend") : NULL;
}
