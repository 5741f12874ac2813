// Large single-precision products by oneDNN. Internal to ops/gemm.cpp.
#pragma once

#include <cstdint>

#include "ops/gemm.h"

namespace offshoot {

// Multiply-adds from which oneDNN is worth its call: below, our own kernel is as fast and its
// epilogues are fused (measured on a Zen 5, one thread: 2.7 against 3.1 us for [150, 64] x
// [64, 32], 109 against 107 us for [1024, 64] x [64, 192], 1.1 to 1.2 times the time of oneDNN for
// 2048^3).
inline constexpr int64_t kOneDnnProducts = int64_t{1} << 25;

// c = a b, or c += a b, as gemm(), on the calling thread alone. Throws Error with oneDNN's status.
void onednn_gemm(int64_t M, int64_t N, int64_t K, MatrixView<float> a, MatrixView<float> b,
                 float* c, int64_t ldc, bool overwrite);

}  // namespace offshoot
