# What find_package says of COMPONENTS.
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

# A project that asks for the package with `arguments`; sets `status` and `output`.
function(ask arguments text)
  file(REMOVE_RECURSE ${WORK})
  file(WRITE ${WORK}/source/CMakeLists.txt "
    cmake_minimum_required(VERSION 3.25)
    project(ask LANGUAGES CXX)
    find_package(offshoot ${arguments})
    ${text}")
  execute_process(COMMAND ${configure} -S ${WORK}/source
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  set(status ${status} PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_found arguments text)
  ask("${arguments}" "${text}")
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "find_package(offshoot ${arguments}) and ${text} failed:\n${output}")
  endif()
endfunction()

function(expect_refused arguments pattern)
  ask("${arguments}" "")
  if(status EQUAL 0)
    message(FATAL_ERROR "find_package(offshoot ${arguments}) succeeded, expected ${pattern}")
  endif()
  expect("${output}" "${pattern}")
endfunction()

set(all engine ops optim models mass testing)
string(REPLACE ";" " " all_text "${all}")
expect_found("0.1 CONFIG REQUIRED COMPONENTS ${all_text}" "
  foreach(name offshoot ${all_text})
    if(NOT TARGET offshoot::\${name})
      message(FATAL_ERROR \"no target \${name}\")
    endif()
  endforeach()")
# Whoever asks for nothing gets everything; module paths are left as they were.
expect_found("CONFIG REQUIRED" "
  if(NOT TARGET offshoot::mass OR CMAKE_MODULE_PATH)
    message(FATAL_ERROR \"module path \${CMAKE_MODULE_PATH}\")
  endif()")
expect_refused("CONFIG REQUIRED COMPONENTS engine vision"
  "component vision: unknown, expected some of engine;ops;optim;models;mass;cuda;testing")
expect_refused("0.2 CONFIG REQUIRED" "version")
if(HAS_CUDA)
  expect_found("CONFIG REQUIRED COMPONENTS cuda" "")
else()
  expect_refused("CONFIG REQUIRED COMPONENTS cuda"
    "component cuda: this build is without it, expected some of engine;ops;optim;models;mass;testing")
  expect_found("CONFIG REQUIRED COMPONENTS engine OPTIONAL_COMPONENTS cuda" "
    if(offshoot_cuda_FOUND OR NOT offshoot_engine_FOUND)
      message(FATAL_ERROR \"cuda is said to be found\")
    endif()")
endif()
# Not REQUIRED: no error, the caller looks.
expect_found("CONFIG QUIET COMPONENTS vision" "
  if(offshoot_FOUND OR TARGET offshoot::engine)
    message(FATAL_ERROR \"found\")
  endif()")
