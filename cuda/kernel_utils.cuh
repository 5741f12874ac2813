// What kernels share: elements as floats, and reductions inside a warp and a block.
#pragma once

#include "cuda/launch.cuh"

namespace offshoot::cuda {

// Elements are float or bfloat16 in memory and float in registers.
__device__ __forceinline__ float load(const float* at) { return *at; }
__device__ __forceinline__ float load(const bfloat16* at) {
  return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(at));
}
__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(bfloat16* at, float value) {
  *reinterpret_cast<__nv_bfloat16*>(at) = __float2bfloat16(value);
}

// Neighbouring elements that a thread reads and writes in one access.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};

// The tape's accumulation rule (engine/tape.h): overwrite an empty slot, else add.
template <class T>
__device__ __forceinline__ void accumulate(T* at, float value, bool overwrite) {
  store(at, overwrite ? value : load(at) + value);
}

struct Sum {
  static constexpr float kNeutral = 0.0f;
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// Of floats; what NaN gives is not promised.
struct Max {
  static constexpr float kNeutral = -INFINITY;
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

inline constexpr unsigned kWholeWarp = 0xffffffffu;

// The combination over a warp, in every lane, in an order that does not depend on the lane. All 32
// lanes call it.
template <class Combine, class T>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kWholeWarp, value, distance));
  }
  return value;
}
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, Sum());
}
__device__ __forceinline__ float warp_max(float value) { return warp_reduce(value, Max()); }

// The combination over a block of a multiple of 32 threads, at most 1024, in every thread. All of
// its threads call it.
template <class Combine, class T>
__device__ inline T block_reduce(T value, Combine combine) {
  __shared__ T of_warp[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, num_warps = blockDim.x / 32;
  value = warp_reduce(value, combine);
  __syncthreads();  // of_warp may still be read from the call before
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  return warp_reduce(lane < num_warps ? of_warp[lane] : static_cast<T>(Combine::kNeutral), combine);
}
template <class T>
__device__ inline T block_sum(T value) {
  return block_reduce(value, Sum());
}
__device__ inline float block_max(float value) { return block_reduce(value, Max()); }

}  // namespace offshoot::cuda
