#include "cuda/clip.h"
#include "cuda/guard.cuh"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

// The sum over a block of kThreads threads, in thread 0.
__device__ __forceinline__ double sum_of_block(double value) {
  __shared__ double of_warp[kThreads / 32];
  value = warp_reduce(value, [](double a, double b) { return a + b; });
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += of_warp[warp];
  return sum;
}

__global__ void __launch_bounds__(kThreads)
    sum_squares_kernel(const GradientChunk* chunks, double* sums) {
  const GradientChunk chunk = chunks[blockIdx.x];
  double squares = 0;
  for (int64_t i = threadIdx.x; i < chunk.count; i += kThreads) {
    const double g = chunk.grad[i];
    squares += g * g;
  }
  squares = sum_of_block(squares);
  if (threadIdx.x == 0) sums[blockIdx.x] = squares;
}

// One block.
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const double* sums, int64_t count, Guard guard, double* norm) {
  double squares = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) squares += sums[i];
  squares = sum_of_block(squares);
  if (threadIdx.x == 0) *norm = allows(guard) ? sqrt(squares) : static_cast<double>(NAN);
}

__global__ void __launch_bounds__(kThreads)
    clip_kernel(const GradientChunk* chunks, double max_norm, const double* norm) {
  if (!is_finite(*norm) || *norm <= max_norm) return;
  const auto factor = static_cast<float>(max_norm / *norm);
  const GradientChunk chunk = chunks[blockIdx.x];
  for (int64_t i = threadIdx.x; i < chunk.count; i += kThreads) chunk.grad[i] *= factor;
}

}  // namespace

void gradient_norm(const GradientChunk* chunks, int64_t num_chunks, double* sums, double* norm,
                   const Guard& guard, Stream stream) {
  if (num_chunks > 0) {
    launch(sum_squares_kernel, static_cast<unsigned>(num_chunks), kThreads, 0, stream, chunks,
           sums);
  }
  launch(norm_kernel, 1, kThreads, 0, stream, sums, num_chunks, guard, norm);
}

void clip_gradients(const GradientChunk* chunks, int64_t num_chunks, double max_norm,
                    const double* norm, Stream stream) {
  if (num_chunks == 0) return;
  launch(clip_kernel, static_cast<unsigned>(num_chunks), kThreads, 0, stream, chunks, max_norm,
         norm);
}

}  // namespace offshoot::cuda
