# What `cmake --install` puts where. Included last by CMakeLists.txt.
#
#   bin/dlc                          the command
#   lib/libdlc.so.0                  the library; lib/libdlc-llvm.so its LLVM backend
#   include/dlc/                     dlc.h, and the headers that generated libraries use (model.h runtime.h pool.h)
#   lib/pkgconfig/dlc.pc             cc client.c $(pkg-config --cflags --libs dlc)
#   lib/cmake/dlc/                   find_package(dlc): target dlc::dlc, function dlc_add_model()
#   share/dlc/pool.c                 the thread pool as source, for generated objects and C files
#   share/man/man1/, completions     written by the command itself from its table of options
#
# Everything is found relative to its own place, so an installed tree can be moved. tests/install/ tries each.
include(CMakePackageConfigHelpers)

target_include_directories(dlc INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS dlc EXPORT dlcTargets)
if(TARGET dlc_llvm)
    install(TARGETS dlc_llvm LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES runtime/model.h runtime/runtime.h runtime/pool.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dlc)
install(FILES runtime/pool.c DESTINATION ${CMAKE_INSTALL_DATADIR}/dlc)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dlc)
configure_package_config_file(cmake/dlcConfig.cmake.in ${PROJECT_BINARY_DIR}/dlcConfig.cmake
    INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_BINDIR CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dlcConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(EXPORT dlcTargets NAMESPACE dlc:: DESTINATION ${package})
install(FILES ${PROJECT_BINARY_DIR}/dlcConfig.cmake ${PROJECT_BINARY_DIR}/dlcConfigVersion.cmake
              cmake/DlcAddModel.cmake DESTINATION ${package})

file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/dlc.pc.in ${PROJECT_BINARY_DIR}/dlc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dlc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET dlc_cli)
    install(TARGETS dlc_cli)
    set(pages ${PROJECT_BINARY_DIR}/pages)
    file(MAKE_DIRECTORY ${pages})
    add_custom_command(TARGET dlc_cli POST_BUILD
        COMMAND dlc_cli --man > ${pages}/dlc.1
        COMMAND dlc_cli --completion=bash > ${pages}/dlc
        COMMAND dlc_cli --completion=zsh > ${pages}/_dlc
        COMMAND dlc_cli --completion=fish > ${pages}/dlc.fish VERBATIM)
    install(FILES ${pages}/dlc.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES ${pages}/dlc DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${pages}/_dlc DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES ${pages}/dlc.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
