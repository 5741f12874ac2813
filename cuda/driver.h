// Functions of the CUDA driver, looked up when they are first needed: nothing links libcuda, so
// programs start on machines that have none.
#pragma once

namespace offshoot::cuda {

// The driver's function `name` as CUDA 12.0 had it. Throws Error when there is none.
void* driver_function(const char* name);

}  // namespace offshoot::cuda

// OFFSHOOT_CUDA_DRIVER(cuMemCreate)(...), for files that include <cuda.h>.
#define OFFSHOOT_CUDA_DRIVER(name)                                                   \
  ([] {                                                                              \
    static const auto function_ =                                                    \
        reinterpret_cast<decltype(&name)>(::offshoot::cuda::driver_function(#name)); \
    return function_;                                                                \
  }())
