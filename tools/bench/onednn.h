// oneDNN's matrix product, for comparison.
#pragma once

#include <cstdint>

namespace offshoot {

// Row-major; transposed: the matrix as it lies in memory is the transpose of the one multiplied.
struct OnednnMatrix {
  const float* data;
  int64_t ld;
  bool transposed;
};

// Threads that oneDNN uses from now on.
void set_onednn_threads(int count);

// c [M, N] = a [M, K] b [K, N]. Throws Error when oneDNN refuses.
void onednn_gemm(int64_t M, int64_t N, int64_t K, const OnednnMatrix& a, const OnednnMatrix& b,
                 float* c, int64_t ldc);

}  // namespace offshoot
