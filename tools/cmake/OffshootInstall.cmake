# offshoot::offshoot, all libraries at once, and `cmake --install`: headers under
# include/offshoot, archives, programs in bin, and what finds them: a CMake package and pkg-config
# files. The installed folder may be moved: everything in it is found from where it lies.
include(CMakePackageConfigHelpers)

add_library(offshoot_offshoot INTERFACE)
add_library(offshoot::offshoot ALIAS offshoot_offshoot)
set_target_properties(offshoot_offshoot PROPERTIES EXPORT_NAME offshoot)

# From the top storey down: the order in which archives are linked.
set(offshoot_storeys mass models optim ops engine cuda)
set(offshoot_installed offshoot_offshoot)
set(offshoot_archives "")
foreach(folder IN LISTS offshoot_storeys)
  if(TARGET offshoot_${folder})
    target_link_libraries(offshoot_offshoot INTERFACE offshoot_${folder})
    list(APPEND offshoot_installed offshoot_${folder})
    list(APPEND offshoot_archives -loffshoot_${folder})
  endif()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/offshoot FILES_MATCHING PATTERN "*.h"
    PATTERN cuda/emulation EXCLUDE
    REGEX "hdf5_(driver|handle|state|types)\\.h$" EXCLUDE)  # private
endforeach()

# For authors of operations: not part of offshoot::offshoot.
list(APPEND offshoot_installed offshoot_testing)

install(TARGETS ${offshoot_installed} EXPORT offshoot-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
get_property(offshoot_programs GLOBAL PROPERTY OFFSHOOT_PROGRAMS)
install(TARGETS ${offshoot_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} OPTIONAL)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tools/examples DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN "*.cpp")

set(offshoot_package ${CMAKE_INSTALL_LIBDIR}/cmake/offshoot)
install(EXPORT offshoot-targets NAMESPACE offshoot:: DESTINATION ${offshoot_package})
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/offshoot-config.cmake.in ${PROJECT_BINARY_DIR}/offshoot-config.cmake
  INSTALL_DESTINATION ${offshoot_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/offshoot-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/offshoot-config.cmake ${PROJECT_BINARY_DIR}/offshoot-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/Findonednn.cmake
  DESTINATION ${offshoot_package})

# pkg-config reads the files relative to where they lie. An archive carries no list of what it
# needs, so all of it is in Libs and Requires: what a static library's is not private.
set(offshoot_pkgconfig ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(ABSOLUTE_PATH offshoot_pkgconfig BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
  OUTPUT_VARIABLE offshoot_pkgconfig_full)
file(RELATIVE_PATH offshoot_to_prefix ${offshoot_pkgconfig_full} ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" offshoot_to_prefix "${offshoot_to_prefix}")
set(offshoot_pc_includedir "\${prefix}")
cmake_path(APPEND offshoot_pc_includedir ${CMAKE_INSTALL_INCLUDEDIR} offshoot)
set(offshoot_pc_libdir "\${prefix}")
cmake_path(APPEND offshoot_pc_libdir ${CMAKE_INSTALL_LIBDIR})

set(offshoot_pc_definitions "")
set(offshoot_pc_libraries ${offshoot_archives} -ldnnl ${OpenMP_CXX_FLAGS} -pthread)
if(OFFSHOOT_HAS_CUDA)
  set(offshoot_pc_definitions -DOFFSHOOT_HAS_CUDA)
  list(APPEND offshoot_pc_libraries -L${CUDAToolkit_LIBRARY_DIR} -lcublasLt -lcudart_static -ldl -lrt)
  if(OFFSHOOT_HAS_CUDNN)
    list(APPEND offshoot_pc_libraries ${OFFSHOOT_CUDNN_LIBRARY} -lnvrtc)
  endif()
endif()
list(JOIN offshoot_pc_libraries " " offshoot_pc_libraries)
foreach(name offshoot offshoot-testing)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${offshoot_pkgconfig})
endforeach()
