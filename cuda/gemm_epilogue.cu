#include <algorithm>

#include "cuda/column_sums.cuh"
#include "cuda/element_access.cuh"
#include "cuda/gemm_epilogue.h"

namespace offshoot::cuda {
namespace {

constexpr int64_t kMostThreads = 256;

constexpr float kSqrt2OverPi = 0.7978845608f, kCubic = 0.044715f;

__device__ __forceinline__ float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(kSqrt2OverPi * (x + kCubic * x * x * x)));
}
__device__ __forceinline__ float gelu_tanh_derivative(float x) {
  const float t = tanhf(kSqrt2OverPi * (x + kCubic * x * x * x));
  const float inner = kSqrt2OverPi * (1.0f + 3.0f * kCubic * x * x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
}

// One block a row of c, in this kernel and the next two.
template <class C>
__global__ void bias_kernel(C* c, int64_t M, int64_t N, int64_t ldc, int64_t stride_c,
                            ConstElements bias) {
  const int64_t batch = blockIdx.x / M, m = blockIdx.x % M;
  C* const row = c + batch * stride_c + m * ldc;
  for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
    store(row + n, load(row + n) + load(bias, n));
  }
}

__global__ void bias_gelu_kernel(bfloat16* c, int64_t N, int64_t ldc, bfloat16* aux, int64_t ld_aux,
                                 ConstElements bias) {
  const int64_t m = blockIdx.x;
  for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
    const float pre = load(c + m * ldc + n) + load(bias, n);
    store(aux + m * ld_aux + n, pre);
    store(c + m * ldc + n, gelu_tanh(pre));
  }
}

__global__ void dgelu_kernel(bfloat16* c, int64_t N, int64_t ldc, const bfloat16* aux,
                             int64_t ld_aux) {
  const int64_t m = blockIdx.x;
  for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
    const float slope = gelu_tanh_derivative(load(aux + m * ld_aux + n));
    store(c + m * ldc + n, load(c + m * ldc + n) * slope);
  }
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    column_sums_kernel(const T* x, int64_t rows, int64_t columns, int64_t ld, Elements sums,
                       bool overwrite) {
  const int64_t first = int64_t{blockIdx.x} * kSumColumns;
  const float sum = column_sum(x, ld, 0, rows, first, columns);
  if (threadIdx.x < kSumColumns && first + threadIdx.x < columns) {
    accumulate(sums, first + threadIdx.x, sum, overwrite);
  }
}

// One block a row.
template <class T>
__global__ void row_sums_kernel(const T* x, int64_t columns, int64_t ld, Elements sums,
                                bool overwrite) {
  float sum = 0.0f;
  for (int64_t column = threadIdx.x; column < columns; column += blockDim.x) {
    sum += load(x + blockIdx.x * ld + column);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) accumulate(sums, blockIdx.x, sum, overwrite);
}

template <class T>
void column_sums(ConstElements x, int64_t rows, int64_t columns, int64_t ld, Elements sums,
                 bool overwrite, Stream stream) {
  if (columns == 0) return;
  launch(column_sums_kernel<T>, blocks_for(columns, kSumColumns), kSumThreads, 0, stream,
         static_cast<const T*>(x.data), rows, columns, ld, sums, overwrite);
}

// dbias[m] (+)= the sum over k of op(a)[m, k]
template <class T>
void bias_gradient(const Gemm& g, Stream stream) {
  if (g.transpose_a) {
    column_sums<T>(g.a, g.K, g.M, g.lda, g.dbias, g.overwrite_dbias, stream);
  } else if (g.M > 0) {
    launch(row_sums_kernel<T>, static_cast<unsigned>(g.M),
           row_threads(std::max<int64_t>(g.K, 1), kMostThreads), 0, stream,
           static_cast<const T*>(g.a.data), g.K, g.lda, g.dbias, g.overwrite_dbias);
  }
}

template <class C>
void add_bias(const Gemm& g, Stream stream) {
  launch(bias_kernel<C>, static_cast<unsigned>(g.M * g.batch), row_threads(g.N, kMostThreads), 0,
         stream, static_cast<C*>(g.c.data), g.M, g.N, g.ldc, g.stride_c, g.bias);
}

void apply_gelu(const Gemm& g, Stream stream) {
  const auto c = static_cast<bfloat16*>(g.c.data), aux = static_cast<bfloat16*>(g.aux.data);
  const auto rows = static_cast<unsigned>(g.M), threads = row_threads(g.N, kMostThreads);
  if (g.epilogue == GemmEpilogue::bias_gelu) {
    launch(bias_gelu_kernel, rows, threads, 0, stream, c, g.N, g.ldc, aux, g.ld_aux, g.bias);
  } else {
    launch(dgelu_kernel, rows, threads, 0, stream, c, g.N, g.ldc, aux, g.ld_aux);
  }
}

}  // namespace

void gemm_epilogue(const Gemm& product, Stream stream) {
  const Gemm& g = product;
  const bool has_elements = g.M > 0 && g.N > 0 && g.batch > 0;
  switch (g.epilogue) {
    case GemmEpilogue::none:
      break;
    case GemmEpilogue::bias:
      if (!has_elements) break;
      g.c.type == ElementType::f32 ? add_bias<float>(g, stream) : add_bias<bfloat16>(g, stream);
      break;
    case GemmEpilogue::bias_gelu:
    case GemmEpilogue::dgelu:
      if (has_elements) apply_gelu(g, stream);
      break;
    case GemmEpilogue::dgelu_bias_gradient:
      if (has_elements) apply_gelu(g, stream);
      column_sums<bfloat16>(g.c, g.M, g.N, g.ldc, g.dbias, g.overwrite_dbias, stream);
      break;
    case GemmEpilogue::bias_gradient:
      g.a.type == ElementType::f32 ? bias_gradient<float>(g, stream)
                                   : bias_gradient<bfloat16>(g, stream);
      break;
  }
}

}  // namespace offshoot::cuda
