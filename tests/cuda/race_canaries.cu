// Kernels whose threads add into the same memory; planted: not atomically. One thread runs at a
// time here, so the result stays right: only TSan sees it.
#include <vector>

#include "cuda/kernel_utils.cuh"
#include "tests/cuda/canaries.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 64, kBlocks = 5;

template <bool kPlanted>
__device__ void add(int* at, int value) {
  if (kPlanted) {
    *at += value;
  } else {
    atomicAdd(at, value);
  }
}

template <bool kPlanted>
__global__ void count_parity_kernel(int* out) {
  __shared__ int of_parity[2];
  if (threadIdx.x < 2) of_parity[threadIdx.x] = 0;
  __syncthreads();
  add<kPlanted>(&of_parity[threadIdx.x % 2], 1);
  __syncthreads();
  if (threadIdx.x < 2) out[threadIdx.x] = of_parity[threadIdx.x];
}

bool add_in_block(bool planted) {
  std::vector<int> out(2, -1);
  launch(planted ? count_parity_kernel<true> : count_parity_kernel<false>, 1, kThreads, 0, nullptr,
         out.data());
  return out == std::vector<int>(2, kThreads / 2);
}

// Blocks are not ordered, though they run one after another here.
template <bool kPlanted>
__global__ void add_blocks_kernel(int* out) {
  add<kPlanted>(&out[threadIdx.x], 1);
}

bool add_across_blocks(bool planted) {
  std::vector<int> out(kThreads, 0);
  launch(planted ? add_blocks_kernel<true> : add_blocks_kernel<false>, kBlocks, kThreads, 0,
         nullptr, out.data());
  return out == std::vector<int>(kThreads, kBlocks);
}

// The last block to finish sums up what all have written; planted: without a fence.
template <bool kPlanted>
__global__ void last_block_kernel(int* of_block, int* num_done, int* out) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    of_block[blockIdx.x] = blockIdx.x + 1;
    if (!kPlanted) __threadfence();
    is_last = atomicAdd(num_done, 1) == kBlocks - 1;
  }
  __syncthreads();
  if (!is_last || threadIdx.x != 0) return;
  if (!kPlanted) __threadfence();
  for (int block = 0; block < kBlocks; block++) *out += of_block[block];
}

bool last_block(bool planted) {
  std::vector<int> of_block(kBlocks, -1);
  int num_done = 0, out = 0;
  launch(planted ? last_block_kernel<true> : last_block_kernel<false>, kBlocks, kThreads, 0,
         nullptr, of_block.data(), &num_done, &out);
  return out == kBlocks * (kBlocks + 1) / 2;
}

}  // namespace

std::vector<Canary> race_canaries() {
  const std::string message = "ThreadSanitizer: data race";
  return {
      {"add_in_block", add_in_block, kThreadSanitizer, message},
      {"add_across_blocks", add_across_blocks, kThreadSanitizer, message},
      {"last_block", last_block, kThreadSanitizer, message},
  };
}

}  // namespace offshoot::cuda
