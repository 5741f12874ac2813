include(GNUInstallDirs)

# What every target of ours is compiled with. stringop-overflow: a false alarm of g++ 12 in fmt 9
# at -O3.
add_library(offshoot_flags INTERFACE)
target_compile_features(offshoot_flags INTERFACE cxx_std_20)
target_compile_options(offshoot_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Werror>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-error=stringop-overflow>)
# CMake 3.25 passes nvcc no -std; cuda/check.h asserts it.
target_compile_options(offshoot_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 --Werror=all-warnings -Xcompiler=-Wall,-Wextra>)
if(NOT OFFSHOOT_PORTABLE)
  target_compile_options(offshoot_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
  # With AVX-512, g++ 12.2 stores the constants {c, c, c, 0} as {c, c, c, c} when it moves them in
  # one piece; tests/engine/compiler_test.cpp watches.
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag("-mmove-max=128 -mstore-max=128" offshoot_has_move_max)
  if(offshoot_has_move_max)
    target_compile_options(offshoot_flags INTERFACE
      $<$<COMPILE_LANGUAGE:CXX>:-mmove-max=128 -mstore-max=128>)
  endif()
endif()
if(OFFSHOOT_SANITIZE)
  # maybe-uninitialized: instrumented code makes g++ 12 raise it falsely.
  target_compile_options(offshoot_flags INTERFACE
    -fsanitize=${OFFSHOOT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    $<$<CXX_COMPILER_ID:GNU>:-Wno-error=maybe-uninitialized>)
  target_link_options(offshoot_flags INTERFACE -fsanitize=${OFFSHOOT_SANITIZE})
  if(OFFSHOOT_SANITIZE_LIGHT AND OFFSHOOT_SANITIZE MATCHES undefined)
    target_compile_options(offshoot_flags INTERFACE
      -fno-sanitize=null,vptr,object-size,alignment)
  endif()
endif()
target_compile_definitions(offshoot_flags INTERFACE
  $<$<CONFIG:Debug>:OFFSHOOT_POISON> $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)

# offshoot_library(engine SOURCES a.cpp b.cpp LINK PUBLIC x PRIVATE y): library offshoot::engine.
function(offshoot_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(offshoot_${name} STATIC ${ARG_SOURCES})
  add_library(offshoot::${name} ALIAS offshoot_${name})
  target_include_directories(offshoot_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/offshoot>)
  target_compile_features(offshoot_${name} PUBLIC cxx_std_20)
  target_link_libraries(offshoot_${name} PRIVATE $<BUILD_INTERFACE:offshoot_flags>)
  target_link_libraries(offshoot_${name} ${ARG_LINK})
  set_target_properties(offshoot_${name} PROPERTIES EXPORT_NAME ${name})
endfunction()

# offshoot_program(offshoot-hmm SOURCES ... LINK ...): lands in <build>/bin, and is installed.
function(offshoot_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE offshoot_flags ${ARG_LINK})
  # Installed, it still finds CUDA's libraries where the toolkit is.
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin INSTALL_RPATH_USE_LINK_PATH ON)
  set_property(GLOBAL APPEND PROPERTY OFFSHOOT_PROGRAMS ${name})
endfunction()

# offshoot_test_program(engine_tests SOURCES ... LINK ... [OPTIMISED x_test.cpp]): files of tests are
# compiled without optimisation, which takes far less time: what they test lies in libraries.
# OPTIMISED: those that instantiate kernels, or test the compiler.
function(offshoot_test_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;OPTIMISED" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE
    offshoot_flags offshoot_test_support ${ARG_LINK} GTest::gtest_main)
  # With precompiled headers in memory, the compiler would collect garbage all the time.
  target_compile_options(${name} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-O0 --param=ggc-min-heapsize=500000>)
  target_precompile_headers(${name} REUSE_FROM offshoot_test_headers)
  set_source_files_properties(${ARG_OPTIMISED} PROPERTIES
    COMPILE_OPTIONS $<$<CONFIG:Release>:-O3> SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# offshoot_drop_idle_tests(sources): removes the files x_test.cpp that have no suite to run in this
# build: suites called *Cuda need CUDA, and emulation runs only these and the canaries.
function(offshoot_drop_idle_tests sources)
  set(tests ${${sources}})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  foreach(test IN LISTS tests)
    file(STRINGS ${test} suites REGEX "^(TYPED_)?TEST(_F|_P)?\\(")
    if(OFFSHOOT_CUDA_EMULATION)
      list(FILTER suites INCLUDE REGEX "Cuda,|CanaryTest,")
    elseif(NOT OFFSHOOT_HAS_CUDA)
      list(FILTER suites EXCLUDE REGEX "Cuda,")
    endif()
    if(NOT suites)
      list(REMOVE_ITEM ${sources} ${test})
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${test})
    endif()
  endforeach()
  set(${sources} ${${sources}} PARENT_SCOPE)
endfunction()

# offshoot_test(engine SOURCES ... LINK ... [OPTIMISED ...] [SERIAL ...] [CUDA]): one test binary a
# folder, named engine_tests; each GoogleTest case is the ctest engine.<Suite>.<Case>.
# SERIAL "Speed.*" "Memory.*": cases that measure, so that ctest runs nothing beside them.
# CUDA: there are suites called *Cuda for a device; see offshoot_cuda_tests.
function(offshoot_test name)
  cmake_parse_arguments(ARG "CUDA" "" "SOURCES;LINK;OPTIMISED;SERIAL" ${ARGN})
  if(OFFSHOOT_CUDA_EMULATION AND NOT ARG_CUDA)
    return()
  endif()
  offshoot_drop_idle_tests(ARG_SOURCES)
  offshoot_test_program(${name}_tests
    SOURCES ${ARG_SOURCES} LINK ${ARG_LINK} OPTIMISED ${ARG_OPTIMISED})
  if(ARG_CUDA)
    offshoot_cuda_tests(${name} ${name}_tests "*Cuda.*:*Cuda/*")
  endif()
  if(OFFSHOOT_CUDA_EMULATION)
    return()  # the others are the CPU's
  endif()
  list(JOIN ARG_SERIAL ":" serial)
  set(discover TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
  set(cuda "*Cuda.*:*Cuda/*")
  if(serial)
    gtest_discover_tests(${name}_tests ${discover} TEST_FILTER "-${serial}:${cuda}"
                         TEST_LIST ${name}_parallel_tests)
    gtest_discover_tests(${name}_tests ${discover} TEST_FILTER "${serial}"
                         TEST_LIST ${name}_serial_tests PROPERTIES RUN_SERIAL TRUE)
  else()
    gtest_discover_tests(${name}_tests ${discover} TEST_FILTER "-${cuda}")
  endif()
endfunction()

# offshoot_cuda_tests(ops ops_tests FILTER): the suites for a CUDA device as one ctest, skipped
# where the machine has none; under emulation one for each order of threads, and one for `late`:
# nothing runs before the host waits for it.
function(offshoot_cuda_tests name target filter)
  if(NOT OFFSHOOT_HAS_CUDA)
    return()
  endif()
  set(orders device)
  if(OFFSHOOT_CUDA_EMULATION)
    set(orders ${OFFSHOOT_EMULATION_ORDERS})
  endif()
  foreach(order IN LISTS orders)
    add_test(NAME ${name}.cuda.${order} COMMAND ${target} --gtest_filter=${filter})
    set_tests_properties(${name}.cuda.${order} PROPERTIES LABELS cuda TIMEOUT 1200)
    if(OFFSHOOT_CUDA_EMULATION)
      set(environment OFFSHOOT_EMULATION_LATE=1)
      if(NOT order STREQUAL late)
        set(environment OFFSHOOT_EMULATION_ORDER=${order}
            OFFSHOOT_EMULATION_SEED=${OFFSHOOT_EMULATION_SEED})
      endif()
      set_tests_properties(${name}.cuda.${order} PROPERTIES ENVIRONMENT "${environment}")
    else()
      set_tests_properties(${name}.cuda.${order} PROPERTIES
        SKIP_REGULAR_EXPRESSION "\\[  PASSED  \\] 0 tests.\n\\[  SKIPPED \\]")
    endif()
  endforeach()
endfunction()

# offshoot_program_test(hmm_smoke COMMAND $<TARGET_FILE:offshoot-hmm> --steps 3): runs a whole
# program. In release only: under sanitizers its parts are tested, and it would take minutes.
function(offshoot_program_test name)
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT" "COMMAND;ENVIRONMENT" ${ARGN})
  if(OFFSHOOT_SANITIZE)
    return()
  endif()
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${ARG_ENVIRONMENT}" LABELS program)
  if(ARG_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
  endif()
  if(ARG_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  endif()
endfunction()
