# Every package that is missing is collected, so that one error names them all.
set(offshoot_missing "")

# offshoot_found(<found> <Debian package>): notes the package when <found> is false.
macro(offshoot_found found debian)
  if(NOT ${found})
    list(APPEND offshoot_missing ${debian})
  endif()
endmacro()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

find_package(fmt QUIET)
offshoot_found(fmt_FOUND libfmt-dev)
find_package(onednn QUIET)
offshoot_found(onednn_FOUND libdnnl-dev)
# Debian's oneDNN runs on OpenMP; we only tell it to keep to the calling thread.
find_package(OpenMP QUIET COMPONENTS CXX)
offshoot_found(OpenMP_CXX_FOUND g++)
find_package(nlohmann_json QUIET)
offshoot_found(nlohmann_json_FOUND nlohmann-json3-dev)
find_package(CLI11 QUIET)
offshoot_found(CLI11_FOUND libcli11-dev)

# HDF5 (PkgConfig::hdf5) by pkg-config: FindHDF5 wants a C compiler, and links all that a static
# libhdf5 would need.
find_package(PkgConfig QUIET)
offshoot_found(PKG_CONFIG_FOUND pkg-config)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(hdf5 QUIET IMPORTED_TARGET hdf5)
  offshoot_found(hdf5_FOUND libhdf5-dev)
  pkg_check_modules(xxhash QUIET IMPORTED_TARGET libxxhash)
  offshoot_found(xxhash_FOUND libxxhash-dev)
endif()

if(OFFSHOOT_TESTS)
  find_package(GTest QUIET)
  offshoot_found(GTest_FOUND libgtest-dev)
  include(GoogleTest)
endif()

if(offshoot_missing)
  list(JOIN offshoot_missing " " offshoot_missing)
  message(FATAL_ERROR "Missing packages. On Debian or Ubuntu:\n"
                      "  apt install --no-install-recommends ${offshoot_missing}")
endif()
