// Small kernels; planted: what no kernel may do.
#include <vector>

#include "cuda/kernel_utils.cuh"
#include "tests/cuda/canaries.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 64;

template <bool kPlanted>
__global__ void static_overrun_kernel(int* out) {
  __shared__ int values[kThreads];
  int* const at = values;  // not the array itself, which the compiler knows the size of
  at[threadIdx.x + (kPlanted ? 1 : 0)] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = at[threadIdx.x];
}

template <bool kPlanted>
__global__ void dynamic_overrun_kernel(int* out) {
  OFFSHOOT_DYNAMIC_SHARED(int, values);
  values[threadIdx.x + (kPlanted ? 1 : 0)] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

template <bool kPlanted>
__global__ void global_overrun_kernel(int* out) {
  const int last = kPlanted ? kThreads : kThreads - 1;  // as if > stood for >=
  if (static_cast<int>(threadIdx.x) == 0) out[last] = last;
  if (static_cast<int>(threadIdx.x) < kThreads - 1) out[threadIdx.x] = threadIdx.x;
}

// One half of each vector of two, to have an odd place to write to.
template <bool kPlanted>
__global__ void misaligned_kernel(int* out) {
  const int first = kPlanted ? 1 : 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads; i++) out[i] = i;
    *reinterpret_cast<int4*>(out + first) = make_int4(first, first + 1, first + 2, first + 3);
  }
}

template <bool kPlanted>
__global__ void deep_stack_kernel(int* out) {
  volatile char large[kPlanted ? 1024 * 1024 : 1024];
  large[0] = 1;
  large[threadIdx.x] = static_cast<char>(threadIdx.x);
  out[threadIdx.x] = large[threadIdx.x];
}

// Shared memory is not zero at first.
template <bool kPlanted>
__global__ void uninitialized_kernel(int* out) {
  __shared__ int sum;
  if (!kPlanted && threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, 1);
  __syncthreads();
  out[threadIdx.x] = sum - kThreads + static_cast<int>(threadIdx.x);
}

template <bool kPlanted>
__global__ void missing_lane_kernel(int* out) {
  const unsigned mask = kPlanted ? 0x0000ffffu : kWholeWarp;
  out[threadIdx.x] = __shfl_xor_sync(mask, static_cast<int>(threadIdx.x) ^ 1, 1);
}

// The mask names lanes that never come.
template <bool kPlanted>
__global__ void absent_lanes_kernel(int* out) {
  int value = threadIdx.x;
  if (value % 2 == 0) {
    value = __shfl_xor_sync(kPlanted ? kWholeWarp : 0x55555555u, value, 2) ^ 2;
  }
  __syncthreads();
  out[threadIdx.x] = value;
}

template <bool kPlanted>
__global__ void two_operations_kernel(int* out) {
  int value = threadIdx.x;
  if (kPlanted && value % 2 == 0) {
    __any_sync(kWholeWarp, 1);
  } else {
    value = __shfl_sync(kWholeWarp, value, value % 32);
  }
  out[threadIdx.x] = value;
}

template <bool kPlanted>
__global__ void two_barriers_kernel(int* out) {
  if (kPlanted && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = threadIdx.x;
}

// Each warp waits for the other.
template <bool kPlanted>
__global__ void deadlock_kernel(int* out) {
  if (kPlanted && threadIdx.x % 2 == 0) {
    __syncwarp();
    __syncthreads();
  } else {
    if (!kPlanted) __syncwarp();
    __syncthreads();
  }
  out[threadIdx.x] = threadIdx.x;
}

// Polls a flag that nobody sets.
template <bool kPlanted>
__global__ void livelock_kernel(int* out) {
  __shared__ int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (!kPlanted && threadIdx.x == kThreads - 1) atomicExch(&flag, 1);
  while (atomicAdd(&flag, 0) == 0) __nanosleep(100);
  out[threadIdx.x] = threadIdx.x;
}

// Each kernel writes its threads' numbers.
template <void (*kCorrect)(int*), void (*kDefect)(int*), size_t kSharedBytes = 0>
bool run(bool planted) {
  std::vector<int> out(kThreads, -1), expected(kThreads);
  for (int i = 0; i < kThreads; i++) expected[static_cast<size_t>(i)] = i;
  launch(planted ? kDefect : kCorrect, 1, kThreads, kSharedBytes, nullptr, out.data());
  return out == expected;
}

}  // namespace

#define OFFSHOOT_RUN(kernel, ...) run<kernel<false>, kernel<true> __VA_OPT__(, ) __VA_ARGS__>

std::vector<Canary> misuse_canaries() {
  return {
      // UBSan knows the array's size, too, and may come first.
      {"static_overrun", OFFSHOOT_RUN(static_overrun_kernel), kAddressSanitizer,
       "misuse_canaries.cu"},
      {"dynamic_overrun", OFFSHOOT_RUN(dynamic_overrun_kernel, kThreads * sizeof(int)),
       kAddressSanitizer, "heap-buffer-overflow"},
      {"global_overrun", OFFSHOOT_RUN(global_overrun_kernel), kAddressSanitizer,
       "heap-buffer-overflow"},
      {"misaligned", OFFSHOOT_RUN(misaligned_kernel), kUndefinedSanitizer, "misaligned address"},
      {"deep_stack", OFFSHOOT_RUN(deep_stack_kernel), kAnyOrder, ""},
      {"uninitialized", OFFSHOOT_RUN(uninitialized_kernel), kAnyOrder, ""},
      {"missing_lane", OFFSHOOT_RUN(missing_lane_kernel), kAnyOrder, "not in its own mask"},
      {"absent_lanes", OFFSHOOT_RUN(absent_lanes_kernel), kAnyOrder, "waits in __shfl_xor_sync at"},
      {"two_operations", OFFSHOOT_RUN(two_operations_kernel), kAnyOrder,
       "meet for different operations"},
      {"two_barriers", OFFSHOOT_RUN(two_barriers_kernel), kAnyOrder, "wait at different barriers"},
      {"deadlock", OFFSHOOT_RUN(deadlock_kernel), kAnyOrder, "deadlock"},
      {"livelock", OFFSHOOT_RUN(livelock_kernel), kAnyOrder, "livelock"},
  };
}

}  // namespace offshoot::cuda
