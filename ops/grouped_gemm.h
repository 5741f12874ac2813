// Per-expert linear map over ragged row groups, with bias and GELU fused in.
//   pre[r, :] = x[r, :] * weight[e, :, :]^T + bias[e, :]   for offsets[e] <= r < offsets[e + 1]
//   out = pre, or GELU(pre) (erf form)
// Shapes   x [P, D]; weight [E, H, D]; bias [E, H] or undefined; expert_offsets [E+1] i64,
//          exclusive, from 0 to P; out [P, H]. One dtype, f32 or f64.
// Empty    an expert with no rows is legal; where its gradient slots are empty its rows are zeroed.
// Saved    x, weight, expert_offsets, and pre where the epilogue is GELU. Backward adds into dx,
//          dweight, dbias.
// Repeat   the same bits for a given thread count, without GELU for any (where its loop is cut, the
//          compiler may round otherwise). E is read from weight on every call.
// Throws   Error when offsets are not monotone or do not end at P, or D, E, H or dtypes disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

enum class Epilogue { none, gelu };

Tensor grouped_linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Tensor& expert_offsets, Epilogue epilogue);

// The specification of its result: plain loops, one thread.
Tensor grouped_linear_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& expert_offsets, Epilogue epilogue);

}  // namespace offshoot
