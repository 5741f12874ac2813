// What kernels include: the language, launch(), and dynamic shared memory, for nvcc and for the
// emulator alike. No <<<>>>: kernels are launched through launch() only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "cuda/bfloat16.h"
#include "cuda/check.h"
#include "cuda/stream.h"

#ifdef OFFSHOOT_CUDA_EMULATION
#include "cuda/emulation/emulator.cuh"
#else

// Dynamic shared memory as an array of T, 1024-byte aligned. All its uses in one kernel are the
// same memory.
#define OFFSHOOT_DYNAMIC_SHARED(T, name)                                     \
  extern __shared__ __align__(1024) unsigned char offshoot_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(offshoot_dynamic_shared)

namespace offshoot::cuda {

// Above this a kernel must ask for its shared memory.
inline constexpr size_t kUsualSharedBytes = 48 * 1024;

// A kernel's code comes to the device when it is first launched, which may fail for lack of memory.
// This brings it now. Throws Error naming it.
inline void load_kernel(const void* kernel) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error != cudaSuccess) fail_launch(error, kernel);
}

// Throws Error naming the kernel when it cannot be launched. Arguments are copied.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  const auto address = reinterpret_cast<const void*>(kernel);
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kUsualSharedBytes) {
    error = cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  }
  if (error == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    error = cudaLaunchKernelEx(&config, kernel,
                               static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  }
  if (error != cudaSuccess) fail_launch(error, address);
}

}  // namespace offshoot::cuda

#endif

namespace offshoot::cuda {

inline unsigned blocks_for(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

// Threads of a block that works on one row: whole warps, no more than the row has use for.
inline unsigned row_threads(int64_t columns, int64_t most) {
  return static_cast<unsigned>(columns < most ? (columns + 31) / 32 * 32 : most);
}

}  // namespace offshoot::cuda
