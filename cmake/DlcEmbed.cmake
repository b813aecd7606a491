# dlc_embed(target symbol [RELATIVE dir | NAMES name...] FILES file...)
#
# Files as bytes in the read-only data of a library. `target` is an object library that defines
#
#     const embedded_file <symbol>[];      { name, bytes, size } a file, in the given order; ended by { 0 }
#
# (base/embed.h declares the type). The bytes come in by the assembler's .incbin: no copy of them as C text, and
# the object depends on each file.
function(dlc_embed target symbol)
    cmake_parse_arguments(arg "" "RELATIVE" "NAMES;FILES" ${ARGN})
    set(data "    .section .rodata\n")
    set(table "    .section .data.rel.ro,\"aw\"\n    .balign 8\n    .globl ${symbol}\n    .hidden ${symbol}\n")
    string(APPEND table "    .type ${symbol}, %object\n${symbol}:\n")
    set(i 0)
    foreach(file IN LISTS arg_FILES)
        if(arg_NAMES)
            list(GET arg_NAMES ${i} name)
        else()
            file(RELATIVE_PATH name ${arg_RELATIVE} ${file})
        endif()
        string(APPEND data ".Lname${i}:\n    .asciz \"${name}\"\n    .balign 16\n.Lfile${i}:\n"
                           "    .incbin \"${file}\"\n.Lend${i}:\n    .byte 0\n")
        string(APPEND table "    .quad .Lname${i}, .Lfile${i}, .Lend${i} - .Lfile${i}\n")
        math(EXPR i "${i} + 1")
    endforeach()
    string(APPEND table "    .quad 0, 0, 0\n    .size ${symbol}, . - ${symbol}\n")
    string(APPEND table "    .section .note.GNU-stack,\"\",%progbits\n")
    set(source ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.S)
    file(GENERATE OUTPUT ${source} CONTENT "${data}${table}")
    set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${arg_FILES}")
    add_library(${target} OBJECT ${source})
endfunction()
