# offshoot::offshoot, all libraries at once, and `cmake --install`: headers under
# include/offshoot, archives, and a package for find_package(offshoot).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(offshoot_offshoot INTERFACE)
add_library(offshoot::offshoot ALIAS offshoot_offshoot)
set_target_properties(offshoot_offshoot PROPERTIES EXPORT_NAME offshoot)

set(offshoot_installed offshoot_offshoot)
foreach(folder cuda engine ops optim models mass)
  if(TARGET offshoot_${folder})
    target_link_libraries(offshoot_offshoot INTERFACE offshoot_${folder})
    list(APPEND offshoot_installed offshoot_${folder})
  endif()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/offshoot FILES_MATCHING PATTERN "*.h"
    REGEX "hdf5_(driver|handle|state|types)\\.h$" EXCLUDE)  # private
endforeach()

# For authors of operations: not part of offshoot::offshoot.
if(TARGET offshoot_testing)
  list(APPEND offshoot_installed offshoot_testing)
endif()

install(TARGETS ${offshoot_installed} EXPORT offshoot-targets)
install(EXPORT offshoot-targets NAMESPACE offshoot::
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/offshoot)
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/offshoot-config.cmake.in ${PROJECT_BINARY_DIR}/offshoot-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/offshoot)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/offshoot-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/offshoot-config.cmake ${PROJECT_BINARY_DIR}/offshoot-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/Findonednn.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/offshoot)
