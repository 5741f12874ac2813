#include "cuda/launch.cuh"
#include "tests/cuda/row_kernels.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 64;
constexpr int kBlocks = 3;

__global__ void __launch_bounds__(kThreads)
    number_rows_kernel(float* x, const int64_t* num_rows, int64_t columns) {
  for (int64_t row = blockIdx.x; row < *num_rows; row += gridDim.x) {
    for (int64_t column = threadIdx.x; column < columns; column += blockDim.x) {
      x[row * columns + column] += static_cast<float>(row + 1);
    }
  }
}

}  // namespace

void number_rows(float* x, const int64_t* num_rows, int64_t columns, Stream stream) {
  launch(number_rows_kernel, kBlocks, kThreads, 0, stream, x, num_rows, columns);
}

void number_rows_by_giant_blocks(float* x, const int64_t* num_rows, Stream stream) {
  launch(number_rows_kernel, kBlocks, 2048, 0, stream, x, num_rows, 1);
}

}  // namespace offshoot::cuda
