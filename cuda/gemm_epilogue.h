// What follows a product, where cuBLASLt does not do it itself: the epilogues of cuda/gemm.h on a c
// that holds the bare product.
#pragma once

#include "cuda/gemm.h"

namespace offshoot::cuda {

// Leading dimensions are given. Column sums are taken in a fixed order.
void gemm_epilogue(const Gemm& product, Stream stream);

}  // namespace offshoot::cuda
