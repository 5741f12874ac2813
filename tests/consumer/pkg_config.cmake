# The same program without CMake: pkg-config says all that a compiler needs.
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(ENV{PKG_CONFIG_PATH} ${PREFIX}/${LIBDIR}/pkgconfig)
# pkg-config says where to link from; where to load from is the system's affair.
if(HAS_CUDA)
  set(ENV{LD_LIBRARY_PATH} ${CUDA_LIBRARIES}:$ENV{LD_LIBRARY_PATH})
endif()

# Compiles `source` with what pkg-config says of `package`, in one call.
function(compile package source program)
  run(pkg-config --cflags --libs ${package})
  string(STRIP "${output}" flags)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  list(GET flags 0 include)
  cmake_path(NORMAL_PATH include)
  if(NOT include STREQUAL "-I${PREFIX}/include/offshoot")
    message(FATAL_ERROR "got ${include}, expected the headers of ${PREFIX}")
  endif()
  run(${CXX} -std=c++20 -O0 -Wall -Werror ${source} ${flags} -o ${WORK}/${program})
endfunction()

compile(offshoot ${CMAKE_CURRENT_LIST_DIR}/project/main.cpp consumer)
run(${WORK}/consumer ${WORK}/model.h5)
expect("${output}" "^5 experts, the loss fell, the checkpoint is read back\n$")

compile(offshoot-testing ${SOURCE}/tools/examples/own_operation.cpp own_operation)
run(${WORK}/own_operation)
expect("${output}" "rms_norm: gradient error [0-9.]+e-(0[6-9]|[1-9][0-9])\n")
