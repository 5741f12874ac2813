// The guard of cuda/guard.h, for kernels.
#pragma once

#include "cuda/guard.h"
#include "cuda/launch.cuh"

namespace offshoot::cuda {

// Neither NaN nor infinite.
template <class T>
__device__ __forceinline__ bool is_finite(T value) {
  return value - value == T{0};
}

__device__ __forceinline__ bool allows(const Guard& guard) {
  if (guard.f32 != nullptr) return is_finite(*guard.f32);
  return guard.f64 == nullptr || is_finite(*guard.f64);
}

}  // namespace offshoot::cuda
