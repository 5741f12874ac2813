// Sums over rows, in an order that the number of rows fixes.
#pragma once

#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {

inline constexpr int kSumColumns = 32;  // of a block, one a lane
inline constexpr int kSumWarps = 16;    // each adds up every kSumWarps-th row
inline constexpr int kSumThreads = kSumColumns * kSumWarps;

// The sum over rows [first_row, last_row) of this lane's column, first_column + lane, as long as
// that is below `columns`. The block's first warp gets it. All threads of the block call it.
template <class T>
__device__ inline float column_sum(const T* x, int64_t ld, int64_t first_row, int64_t last_row,
                                   int64_t first_column, int64_t columns) {
  __shared__ float of_warp[kSumWarps][kSumColumns];
  const int lane = threadIdx.x % kSumColumns, warp = threadIdx.x / kSumColumns;
  const int64_t column = first_column + lane;
  float sum = 0.0f;
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = first_row + warp; row < last_row; row += kSumWarps) {
      sum += load(x + row * ld + column);
    }
  }
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp != 0) return 0.0f;
  for (int other = 1; other < kSumWarps; ++other) sum += of_warp[other][lane];
  return sum;
}

}  // namespace offshoot::cuda
