# What every target of ours is compiled with. stringop-overflow: a false alarm of g++ 12 in fmt 9
# at -O3.
add_library(offshoot_flags INTERFACE)
target_compile_features(offshoot_flags INTERFACE cxx_std_20)
target_compile_options(offshoot_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-error=stringop-overflow)
if(NOT OFFSHOOT_PORTABLE)
  target_compile_options(offshoot_flags INTERFACE -march=native)
endif()
if(OFFSHOOT_SANITIZE)
  target_compile_options(offshoot_flags INTERFACE
    -fsanitize=${OFFSHOOT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(offshoot_flags INTERFACE -fsanitize=${OFFSHOOT_SANITIZE})
endif()
target_compile_definitions(offshoot_flags INTERFACE $<$<CONFIG:Debug>:OFFSHOOT_POISON>)

# offshoot_library(engine SOURCES a.cpp b.cpp LINK PUBLIC x PRIVATE y): library offshoot::engine.
function(offshoot_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(offshoot_${name} STATIC ${ARG_SOURCES})
  add_library(offshoot::${name} ALIAS offshoot_${name})
  target_include_directories(offshoot_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_compile_features(offshoot_${name} PUBLIC cxx_std_20)
  target_link_libraries(offshoot_${name} PRIVATE $<BUILD_INTERFACE:offshoot_flags>)
  target_link_libraries(offshoot_${name} ${ARG_LINK})
endfunction()

# offshoot_program(offshoot-hmm SOURCES ... LINK ...)
function(offshoot_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE offshoot_flags ${ARG_LINK})
endfunction()

# offshoot_test(engine SOURCES ... LINK ...): one test binary a folder, named engine_tests.
function(offshoot_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name}_tests ${ARG_SOURCES})
  target_link_libraries(${name}_tests PRIVATE offshoot_flags ${ARG_LINK} GTest::gtest_main)
  gtest_discover_tests(${name}_tests TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60)
endfunction()
