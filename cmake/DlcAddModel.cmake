# dlc_add_model(TARGET MODEL [OPTIONS option...])
#
# Compile a model while the project is built, and link it like a library:
#
#     dlc_add_model(digits models/digits.onnx OPTIONS --dim N=1)
#     target_link_libraries(app PRIVATE digits)            # then  #include "digits.h"
#
#   TARGET    name of the library, and prefix of its symbols: a C identifier
#   MODEL     an .onnx or .dl file; compiled again when it changes
#   OPTIONS   further options of `dlc compile`; without --target or --cpu the code is for this machine
#
# The library holds the model's object; a program that wants threads also links dlc::pool.
function(dlc_add_model target model)
    cmake_parse_arguments(arg "" "" "OPTIONS" ${ARGN})
    cmake_path(ABSOLUTE_PATH model BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/dlc-models/${target})
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(OUTPUT ${folder}/${target}.o ${folder}/${target}.h
        COMMAND dlc::cli compile ${model} -o ${folder}/${target}.o ${arg_OPTIONS}
        DEPENDS ${model} dlc::cli COMMENT "dlc compile ${target}" VERBATIM)
    add_library(${target} STATIC ${folder}/${target}.o ${folder}/${target}.h)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
    target_include_directories(${target} PUBLIC ${folder} ${DLC_INCLUDE_DIR}/dlc)
endfunction()

if(NOT TARGET dlc::pool)
    find_package(Threads REQUIRED)
    add_library(dlc_pool STATIC EXCLUDE_FROM_ALL ${DLC_POOL_SOURCE})
    target_include_directories(dlc_pool PUBLIC ${DLC_INCLUDE_DIR}/dlc)
    target_link_libraries(dlc_pool PUBLIC Threads::Threads)
    add_library(dlc::pool ALIAS dlc_pool)
endif()
