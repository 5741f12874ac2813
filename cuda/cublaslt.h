// cuBLASLt, as far as cuda/gemm.cpp needs it; the emulator has loops in its place.
#pragma once

#include "cuda/gemm.h"

namespace offshoot::cuda {

// The product with its epilogue. False, with nothing done, where the library has no algorithm for
// it that meets the contract. All sizes are at least 1, leading dimensions are given, and `device`
// is current.
bool cublaslt_gemm(const Gemm& product, int device, Stream stream);

}  // namespace offshoot::cuda
