// What the experts of a token say alike (arXiv 2505.22323): with x_j the rows of y that the pairs
// of token n own,
//   L = (1/N) sum_n sum_j sum_{k != j} |(<x_j, x_k> / (<x_k, x_k> + 1e-8)) x_k|^2
// With c = <x_j, x_k>, s = <x_k, x_k> and f(s) = s / (s + 1e-8)^2 a summand is c^2 f(s), so
//   dL/dx_j = (2/N) sum_{k != j} (c_jk (f(s_j) + f(s_k)) x_k + c_jk^2 f'(s_j) x_j)
// Shapes   y [R, D], rows in expert order as dispatch_tokens gives them (ops/permute.h), D >= 1; a
//          scalar. A row that pads an expert's has no part in it: zeros in dy.
// Types    f32 or f64; on CUDA f32 or bf16, with the loss in f32. Products are summed in float64,
//          on CUDA in float32.
// Saved    y, the routing, and by row s and sum_k c^2 (f64). Backward adds into dy.
// Repeat   the same bits for any thread count. On CUDA sums run in an order that the sizes fix.
// Throws   Error when shapes or devices do not fit, or there is no token.
#pragma once

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

Tensor orthogonality_loss(Tape& tape, const Tensor& y, const Routing& routing);

}  // namespace offshoot
