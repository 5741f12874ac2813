# oneDNN as target DNNL::dnnl. Its own CMake package on Debian asks for the OpenCL headers, which
# nothing here needs.
find_path(onednn_INCLUDE_DIR dnnl.hpp)
find_library(onednn_LIBRARY dnnl)
mark_as_advanced(onednn_INCLUDE_DIR onednn_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(onednn REQUIRED_VARS onednn_LIBRARY onednn_INCLUDE_DIR)

if(onednn_FOUND AND NOT TARGET DNNL::dnnl)
  add_library(DNNL::dnnl SHARED IMPORTED)
  set_target_properties(DNNL::dnnl PROPERTIES
    IMPORTED_LOCATION ${onednn_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${onednn_INCLUDE_DIR})
endif()
