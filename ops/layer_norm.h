// Layer normalisation over the last axis (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
//   mean = sum_d x[n,d] / D      rstd = 1 / sqrt(sum_d (x[n,d] - mean)^2 / D + eps)
//   out[n,d] = (x[n,d] - mean) * rstd * weight[d] + bias[d]
// Shapes   x [..., D], N rows in all; weight [D]; bias [D]; out like x. One dtype, f32 or f64; on
//          CUDA f32 throughout, or x bf16 with f32 parameters.
// Saved    x, weight, mean [N], rstd [N]. Backward adds into dx, dweight, dbias.
// Repeat   the same bits for any thread count.
// Empty    N = 0 is legal: the parameters' gradients are zero then.
// Throws   Error when x has no last axis of at least 1, D or dtypes disagree, or eps <= 0.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  double eps = 1e-5);

}  // namespace offshoot
