// Matrix products, one or a batch.
//   out = op(a) op(b) + bias      op(x) = x or, where the option says so, x^T
//   d op(a) = dout op(b)^T      d op(b) = op(a)^T dout      dbias = sum of all rows of dout
// Shapes   op(a) [..., M, K]; op(b) [..., K, N] with the same leading axes, or [K, N] for all of
//          a's; bias [N] or undefined; out [..., M, N]. One dtype, f32 or f64; on CUDA f32, or bf16
//          with an f32 bias.
// Saved    a, b. Backward adds into da, db, dbias.
// Repeat   as ops/gemm.h: the same bits for a given thread count, and for any below oneDNN's sizes;
//          on one CUDA device always (cuda/gemm.h).
// Empty    sizes of 0 are legal: a sum of nothing is 0.
// Throws   Error when ranks, shapes or dtypes disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  Tensor bias = {};
};

Tensor matmul(Tape& tape, const Tensor& a, const Tensor& b, const MatmulOptions& options = {});

}  // namespace offshoot
