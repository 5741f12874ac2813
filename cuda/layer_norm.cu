#include "cuda/kernel_utils.cuh"
#include "cuda/layer_norm.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

// Rows whose terms one block of the parameters' gradients adds up.
constexpr int64_t kBlockRows = 128;

// One block a row. Two passes: E[x^2] - E[x]^2 cancels when the mean is large.
template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_forward_kernel(const T* x, const float* weight, const float* bias, float eps,
                              int64_t D, float* mean, float* rstd, T* out) {
  const int64_t first = int64_t{blockIdx.x} * D;
  float sum = 0.0f;
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) sum += load(x + first + d);
  const float m = block_sum(sum) / static_cast<float>(D);
  float squares = 0.0f;
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) {
    const float centred = load(x + first + d) - m;
    squares += centred * centred;
  }
  const float r = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(D) + eps);
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) {
    store(out + first + d, (load(x + first + d) - m) * r * weight[d] + bias[d]);
  }
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = m;
    rstd[blockIdx.x] = r;
  }
}

// dx = rstd (g - mean_d(g) - xhat mean_d(g xhat)), with xhat = (x - mean) rstd, g = dout weight.
template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_backward_x_kernel(const T* x, const float* weight, const float* mean,
                                 const float* rstd, const T* dout, int64_t D, T* dx,
                                 bool overwrite) {
  const int64_t first = int64_t{blockIdx.x} * D;
  const float m = mean[blockIdx.x], r = rstd[blockIdx.x];
  float g_sum = 0.0f, g_xhat_sum = 0.0f;
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) {
    const float g = load(dout + first + d) * weight[d];
    g_sum += g;
    g_xhat_sum += g * (load(x + first + d) - m) * r;
  }
  const float g_mean = block_sum(g_sum) / static_cast<float>(D);
  const float g_xhat_mean = block_sum(g_xhat_sum) / static_cast<float>(D);
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) {
    const float xhat = (load(x + first + d) - m) * r;
    const float value = r * (load(dout + first + d) * weight[d] - g_mean - xhat * g_xhat_mean);
    accumulate(dx + first + d, value, overwrite);
  }
}

// sums[block, 0, d] = sum of dout xhat, sums[block, 1, d] = sum of dout, over the block's rows.
template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_sum_rows_kernel(const T* x, const float* mean, const float* rstd, const T* dout,
                               int64_t N, int64_t D, float* sums) {
  const int64_t d = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (d >= D) return;
  const int64_t first = int64_t{blockIdx.x} * kBlockRows;
  const int64_t last = first + kBlockRows < N ? first + kBlockRows : N;
  float weight_sum = 0.0f, bias_sum = 0.0f;
  for (int64_t n = first; n < last; ++n) {
    const float g = load(dout + n * D + d);
    weight_sum += g * (load(x + n * D + d) - mean[n]) * rstd[n];
    bias_sum += g;
  }
  sums[(2 * int64_t{blockIdx.x}) * D + d] = weight_sum;
  sums[(2 * int64_t{blockIdx.x} + 1) * D + d] = bias_sum;
}

__global__ void __launch_bounds__(kThreads)
    layer_norm_sum_blocks_kernel(const float* sums, int64_t blocks, int64_t D, float* dweight,
                                 bool overwrite_weight, float* dbias, bool overwrite_bias) {
  const int64_t d = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (d >= D) return;
  float weight_sum = 0.0f, bias_sum = 0.0f;
  for (int64_t block = 0; block < blocks; ++block) {
    weight_sum += sums[2 * block * D + d];
    bias_sum += sums[(2 * block + 1) * D + d];
  }
  if (dweight != nullptr) accumulate(dweight + d, weight_sum, overwrite_weight);
  if (dbias != nullptr) accumulate(dbias + d, bias_sum, overwrite_bias);
}

int64_t row_blocks(int64_t N) { return (N + kBlockRows - 1) / kBlockRows; }

}  // namespace

template <class T>
void layer_norm_forward(const T* x, const float* weight, const float* bias, float eps, int64_t N,
                        int64_t D, float* mean, float* rstd, T* out, Stream stream) {
  if (N == 0) return;
  launch(layer_norm_forward_kernel<T>, static_cast<unsigned>(N), row_threads(D, kThreads), 0,
         stream, x, weight, bias, eps, D, mean, rstd, out);
}

template <class T>
void layer_norm_backward_x(const T* x, const float* weight, const float* mean, const float* rstd,
                           const T* dout, int64_t N, int64_t D, T* dx, bool overwrite,
                           Stream stream) {
  if (N == 0) return;
  launch(layer_norm_backward_x_kernel<T>, static_cast<unsigned>(N), row_threads(D, kThreads), 0,
         stream, x, weight, mean, rstd, dout, D, dx, overwrite);
}

int64_t layer_norm_scratch(int64_t N, int64_t D) { return 2 * row_blocks(N) * D; }

template <class T>
void layer_norm_backward_parameters(const T* x, const float* mean, const float* rstd, const T* dout,
                                    int64_t N, int64_t D, float* sums, float* dweight,
                                    bool overwrite_weight, float* dbias, bool overwrite_bias,
                                    Stream stream) {
  const unsigned columns = blocks_for(D, kThreads);
  if (N > 0) {
    launch(layer_norm_sum_rows_kernel<T>, dim3(static_cast<unsigned>(row_blocks(N)), columns),
           kThreads, 0, stream, x, mean, rstd, dout, N, D, sums);
  }
  launch(layer_norm_sum_blocks_kernel, columns, kThreads, 0, stream, sums, row_blocks(N), D,
         dweight, overwrite_weight, dbias, overwrite_bias);
}

#define OFFSHOOT_LAYER_NORM(T)                                                                    \
  template void layer_norm_forward(const T*, const float*, const float*, float, int64_t, int64_t, \
                                   float*, float*, T*, Stream);                                   \
  template void layer_norm_backward_x(const T*, const float*, const float*, const float*,         \
                                      const T*, int64_t, int64_t, T*, bool, Stream);              \
  template void layer_norm_backward_parameters(const T*, const float*, const float*, const T*,    \
                                               int64_t, int64_t, float*, float*, bool, float*,    \
                                               bool, Stream);
OFFSHOOT_LAYER_NORM(float)
OFFSHOOT_LAYER_NORM(bfloat16)
#undef OFFSHOOT_LAYER_NORM

}  // namespace offshoot::cuda
