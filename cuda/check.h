// Calls of CUDA and its libraries, checked. For .cu files and cuda/*.cpp only.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "cuda/error.h"

// CMake 3.25 silently passes no -std to nvcc where a feature is asked for otherwise.
static_assert(__cplusplus >= 202002L, "cuda/ is C++20");

namespace offshoot::cuda {

// Throws Error "[cuda] <call>: <CUDA's text>", with file and line.
[[noreturn]] void fail_call(cudaError_t error, const char* call, const char* file, int line);

// The same for a kernel that could not be launched; its name is looked up.
[[noreturn]] void fail_launch(cudaError_t error, const void* kernel);

}  // namespace offshoot::cuda

#define OFFSHOOT_CUDA_CHECK(call)                                                \
  do {                                                                           \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess) [[unlikely]] { \
      ::offshoot::cuda::fail_call(error_, #call, __FILE__, __LINE__);            \
    }                                                                            \
  } while (false)
