if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(OFFSHOOT_TESTS "Build the tests" ON)
option(OFFSHOOT_PORTABLE "Build for any x86-64 instead of this machine's processor" OFF)
set(OFFSHOOT_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them: address,undefined or thread")
