# Find LLVM's C API: headers and the one shared library.
#
#   find_package(LLVMC [major])    sets LLVMC_FOUND, _INCLUDE_DIR, _LIBRARY, _VERSION, _VERSION_MAJOR
#
# LLVM's own package file is not used: it asks for C++ and for the development files of every library that LLVM
# was linked with, and this project needs neither. Not found in the usual places: -DLLVMC_CONFIG=/path/llvm-config.
set(versions 22 21 20 19)
if(LLVMC_FIND_VERSION_MAJOR)
    set(versions ${LLVMC_FIND_VERSION_MAJOR})
endif()

set(LLVMC_CONFIG "" CACHE FILEPATH "llvm-config to use")
foreach(v IN LISTS versions)
    set(candidates ${LLVMC_CONFIG})
    foreach(name llvm-config-${v} llvm-config)
        find_program(LLVMC_PROGRAM ${name} PATHS /usr/lib/llvm-${v}/bin /opt/homebrew/opt/llvm@${v}/bin NO_CACHE)
        if(LLVMC_PROGRAM)
            list(APPEND candidates ${LLVMC_PROGRAM})
        endif()
        unset(LLVMC_PROGRAM)
    endforeach()
    foreach(program IN LISTS candidates)
        execute_process(COMMAND ${program} --version --includedir --libdir
            OUTPUT_VARIABLE said ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
        string(REPLACE "\n" ";" said "${said}")
        if(failed OR NOT said MATCHES "^${v}\\.")
            continue()
        endif()
        list(GET said 0 LLVMC_VERSION)
        list(GET said 1 include)
        list(GET said 2 lib)
        unset(LLVMC_INCLUDE_DIR)
        unset(LLVMC_LIBRARY)
        find_path(LLVMC_INCLUDE_DIR llvm-c/Core.h PATHS ${include} NO_DEFAULT_PATH NO_CACHE)
        find_library(LLVMC_LIBRARY NAMES LLVM-${v} LLVM PATHS ${lib} NO_DEFAULT_PATH NO_CACHE)
        if(LLVMC_INCLUDE_DIR AND LLVMC_LIBRARY)
            set(LLVMC_VERSION_MAJOR ${v})
            break()
        endif()
    endforeach()
    if(LLVMC_VERSION_MAJOR)
        break()
    endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LLVMC REQUIRED_VARS LLVMC_LIBRARY LLVMC_INCLUDE_DIR LLVMC_VERSION_MAJOR)
