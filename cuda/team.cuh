// The threads that work on one row together: a warp where rows are short, else a block. Kernels are
// templates on the team; all threads of one take the same path.
#pragma once

#include <algorithm>

#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {

inline constexpr int kTeamThreads = 256;  // of a block, at most

struct WarpTeam {
  static constexpr int64_t kMostColumns = 1024;
  static constexpr int64_t kPerBlock = kTeamThreads / 32;

  // The row may be beyond the last one.
  __device__ int64_t row() const { return blockIdx.x * kPerBlock + threadIdx.x / 32; }
  // This thread's columns: first(), first() + step(), ...
  __device__ int first() const { return static_cast<int>(threadIdx.x % 32); }
  __device__ int step() const { return 32; }

  // In every thread of the team, in an order that the number of columns fixes.
  template <class T>
  __device__ T sum(T value) const {
    return warp_sum(value);
  }
  __device__ float max(float value) const { return warp_max(value); }
};

struct BlockTeam {
  __device__ int64_t row() const { return blockIdx.x; }
  __device__ int first() const { return static_cast<int>(threadIdx.x); }
  __device__ int step() const { return kTeamThreads; }

  template <class T>
  __device__ T sum(T value) const {
    return block_sum(value);
  }
  __device__ float max(float value) const { return block_max(value); }
};

// Calls f(Team, grid, block) with the shape of the launch for N rows of C columns, unless N is 0.
template <class F>
void with_team(int64_t N, int64_t C, F&& f) {
  if (N == 0) return;
  if (C > WarpTeam::kMostColumns) {
    f(BlockTeam(), static_cast<unsigned>(N), unsigned{kTeamThreads});
  } else {
    const auto warps = static_cast<unsigned>(std::min(N, WarpTeam::kPerBlock));
    f(WarpTeam(), blocks_for(N, WarpTeam::kPerBlock), 32 * warps);
  }
}

}  // namespace offshoot::cuda
