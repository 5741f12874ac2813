// Matrix products on ordinary arithmetic units, for any shape: what remains where cuBLASLt refuses,
// and what it is tested against on a device.
#pragma once

#include "cuda/gemm.h"

namespace offshoot::cuda {

// As gemm, without epilogue. Leading dimensions are given. Each element of c is one chain of
// multiply-adds in the order of k.
void simt_gemm(const Gemm& product, Stream stream);

}  // namespace offshoot::cuda
