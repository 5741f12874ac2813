if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(OFFSHOOT_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(OFFSHOOT_FUZZ "Build the fuzz targets; needs clang" OFF)
option(OFFSHOOT_COMPILE_INSTALLED "Let a test compile every installed header alone" OFF)
option(OFFSHOOT_PORTABLE "Build for any x86-64 instead of this machine's processor" OFF)
set(OFFSHOOT_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them: address,undefined or thread")
option(OFFSHOOT_SANITIZE_LIGHT
  "Leave out UBSan's checks that cost most and that AddressSanitizer mostly covers: null, vptr, object-size, alignment"
  OFF)
set(OFFSHOOT_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE OFFSHOOT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(OFFSHOOT_CUDA_ARCHITECTURES "" CACHE STRING
  "What nvcc compiles for; 90a holds the Hopper kernels. Empty: this machine's GPUs, else 80;90;90a")
option(OFFSHOOT_CUDA_EMULATION "Build the CUDA backend with g++, its kernels run by an emulator" OFF)

set(OFFSHOOT_EMULATION_ORDERS "forward;random" CACHE STRING
  "Orders of threads that tests under emulation run in: forward, reverse, random; or late")
set(OFFSHOOT_EMULATION_STEPS "" CACHE STRING
  "Steps that trajectory.cuda follows in all orders but the first; empty: all of them")
set(OFFSHOOT_EMULATION_SEED 1 CACHE STRING "Of the random order")
set(OFFSHOOT_KILLS 20 CACHE STRING "How often the test engine.kills kills a program that saves")

if(NOT OFFSHOOT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "OFFSHOOT_CUDA: got ${OFFSHOOT_CUDA}, expected AUTO, ON or OFF")
endif()
