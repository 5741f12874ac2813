// A linear map of the last axis.
//   out[n,h] = sum_d x[n,d] weight[h,d] + bias[h]
//   dx = dout weight      dweight = dout^T x      dbias = sum_n dout
// Shapes   x [..., D], N rows in all; weight [H, D]; bias [H] or undefined; out [..., H]. One
//          dtype, f32 or f64; on CUDA f32 throughout, or x bf16 with f32 parameters, whose
//          gradients are summed in f32.
// Saved    x, weight; its rounded copy where x is bf16. Backward adds into dx, dweight, dbias.
// Repeat   as ops/gemm.h: the same bits for a given thread count, and for any below oneDNN's sizes;
//          on one CUDA device always (cuda/gemm.h).
// Empty    N = 0 is legal: the parameters' gradients are zero then.
// Throws   Error when D or H is 0, or shapes or dtypes disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// gelu(linear(x, weight, bias)), the same bits. For bf16 on CUDA one product does both, with the
// tanh form of GELU: at most 5e-4 from the erf form, which is how far bf16 rounds numbers about
// 1/4. The bias must be there.
Tensor linear_gelu(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace offshoot
