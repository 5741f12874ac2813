// Plain loops in place of cuBLASLt, at the speed of one core: whole training runs go through them.
#include "cuda/cublaslt.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/emulation/capture.h"

namespace offshoot::cuda {
namespace {

float load(ConstElements x, int64_t i) {
  return x.type == ElementType::f32 ? static_cast<const float*>(x.data)[i]
                                    : to_float(static_cast<const bfloat16*>(x.data)[i]);
}
void store(Elements x, int64_t i, float value) {
  if (x.type == ElementType::f32) {
    static_cast<float*>(x.data)[i] = value;
  } else {
    static_cast<bfloat16*>(x.data)[i] = to_bfloat16(value);
  }
}
void accumulate(Elements x, int64_t i, float value, bool overwrite) {
  store(x, i, overwrite ? value : load(x, i) + value);
}

constexpr int64_t kRows = 4;      // of c at a time
constexpr int64_t kColumns = 32;  // of c at a time: they stay in registers
constexpr int64_t kChain = 48;    // multiply-adds before they are added up, as in ops/gemm.h

int64_t padded(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// op(x) [rows, columns] as floats in panels of `width` columns, one panel after the other, padded
// with zeros.
std::vector<float> panels(ConstElements x, int64_t rows, int64_t columns, int64_t ld,
                          bool transpose, int64_t width) {
  std::vector<float> out(static_cast<size_t>(rows * padded(columns, width)));
  const int64_t row_stride = transpose ? 1 : ld, column_stride = transpose ? ld : 1;
  for (int64_t column = 0; column < columns; ++column) {
    float* const to = out.data() + column / width * width * rows + column % width;
    for (int64_t row = 0; row < rows; ++row) {
      to[row * width] = load(x, row * row_stride + column * column_stride);
    }
  }
  return out;
}

// A block of kRows x kColumns of the product, from one panel of each operand.
void block(const float* a, const float* b, int64_t K, float (&sums)[kRows][kColumns]) {
  for (auto& row : sums) std::fill_n(row, kColumns, 0.0f);
  for (int64_t first = 0; first < K; first += kChain) {
    float chain[kRows][kColumns] = {};
    for (int64_t k = first; k < std::min(K, first + kChain); ++k) {
      for (int64_t m = 0; m < kRows; ++m) {
        for (int64_t n = 0; n < kColumns; ++n)
          chain[m][n] += a[k * kRows + m] * b[k * kColumns + n];
      }
    }
    for (int64_t m = 0; m < kRows; ++m) {
      for (int64_t n = 0; n < kColumns; ++n) sums[m][n] += chain[m][n];
    }
  }
}

constexpr float kSqrt2OverPi = 0.7978845608f, kCubic = 0.044715f;

float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x)));
}
float gelu_tanh_derivative(float x) {
  const float t = std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
  const float inner = kSqrt2OverPi * (1.0f + 3.0f * kCubic * x * x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
}

void finish(const Gemm& g, int64_t batch, int64_t m, int64_t n, float value) {
  const int64_t at = batch * g.stride_c + m * g.ldc + n;
  switch (g.epilogue) {
    case GemmEpilogue::none:
    case GemmEpilogue::bias_gradient:
      return accumulate(g.c, at, value, g.overwrite);
    case GemmEpilogue::bias:
      return accumulate(g.c, at, value + load(g.bias, n), g.overwrite);
    case GemmEpilogue::bias_gelu:
      store(g.aux, m * g.ld_aux + n, value + load(g.bias, n));
      return store(g.c, at, gelu_tanh(value + load(g.bias, n)));
    case GemmEpilogue::dgelu:
    case GemmEpilogue::dgelu_bias_gradient:
      return store(g.c, at, value * gelu_tanh_derivative(load(g.aux, m * g.ld_aux + n)));
  }
}

void product(const Gemm& g, int64_t batch) {
  const std::vector<float> a =
      panels(g.a + batch * g.stride_a, g.K, g.M, g.lda, !g.transpose_a, kRows);
  const std::vector<float> b =
      panels(g.b + batch * g.stride_b, g.K, g.N, g.ldb, g.transpose_b, kColumns);
  for (int64_t n0 = 0; n0 < g.N; n0 += kColumns) {
    for (int64_t m0 = 0; m0 < g.M; m0 += kRows) {
      float sums[kRows][kColumns];
      block(a.data() + m0 * g.K, b.data() + n0 * g.K, g.K, sums);
      for (int64_t m = m0; m < std::min(g.M, m0 + kRows); ++m) {
        for (int64_t n = n0; n < std::min(g.N, n0 + kColumns); ++n) {
          finish(g, batch, m, n, sums[m - m0][n - n0]);
        }
      }
    }
  }
}

void bias_gradient(const Gemm& g) {
  if (g.epilogue == GemmEpilogue::dgelu_bias_gradient) {
    for (int64_t n = 0; n < g.N; ++n) {
      float sum = 0.0f;
      for (int64_t m = 0; m < g.M; ++m) sum += load(g.c, m * g.ldc + n);
      accumulate(g.dbias, n, sum, g.overwrite_dbias);
    }
  } else if (g.epilogue == GemmEpilogue::bias_gradient) {
    const int64_t row_stride = g.transpose_a ? 1 : g.lda, column_stride = g.transpose_a ? g.lda : 1;
    for (int64_t m = 0; m < g.M; ++m) {
      float sum = 0.0f;
      for (int64_t k = 0; k < g.K; ++k) sum += load(g.a, m * row_stride + k * column_stride);
      accumulate(g.dbias, m, sum, g.overwrite_dbias);
    }
  }
}

bool is_even(int64_t count) { return count % 2 == 0; }

// What the library refuses, or may: GELU where rows of aux are not aligned, and bfloat16 rows that
// start at odd elements, so that the kernels behind the library have work here, too.
bool refused(const Gemm& g) {
  if (g.aux && g.ld_aux % 8 != 0) return true;
  const bool even = is_even(g.lda) && is_even(g.ldb) && is_even(g.ldc);
  return g.a.type == ElementType::bf16 && !even;
}

}  // namespace

bool cublaslt_gemm(const Gemm& g, int, Stream stream) {
  if (refused(g)) return false;
  emulation::submit(stream, [g] {
    for (int64_t batch = 0; batch < g.batch; ++batch) product(g, batch);
    bias_gradient(g);
  });
  return true;
}

}  // namespace offshoot::cuda
