// The MLPs of all experts over their rows: grouped_linear with gelu, then without
// (ops/grouped_gemm.h).
//   out[r, :] = fc2_weight[e] gelu(fc1_weight[e] x[r, :] + fc1_bias[e, :]) + fc2_bias[e, :]
// Shapes   x [R, D], rows in expert order as dispatch_tokens() makes them; fc1_weight [E, H, D],
//          fc1_bias [E, H], fc2_weight [E, O, H], fc2_bias [E, O]; a bias may be undefined; out
//          [R, O].
// Types, sums, repeatability and empty experts are those of grouped_linear. On the CPU it is those
// two operations, to the bit; on CUDA one, whose backward multiplies d(hidden) by the slope of gelu
// where it is computed.
// Saved    x, the weights, the hidden rows and the slopes there. Backward adds into dx and the
//          gradients of the parameters.
// Throws   Error when shapes or dtypes disagree with each other or the routing.
#pragma once

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

Tensor expert_mlp(Tape& tape, const Tensor& x, const Tensor& fc1_weight, const Tensor& fc1_bias,
                  const Tensor& fc2_weight, const Tensor& fc2_bias, const Routing& routing);

}  // namespace offshoot
