// The linear layers of all experts in one product over ragged groups of rows.
//   pre[r, :] = x[r, :] weight[e, :, :]^T + bias[e, :]   for expert_offsets[e] <= r < [e + 1]
//   out = pre, or gelu(pre) in its erf form (ops/activation.h), fused behind the product
// Shapes   x [P, D], rows in expert order; weight [E, H, D]; bias [E, H], or undefined for none;
//          expert_offsets [E+1] i64, exclusive, from 0 to P; out [P, H]. One floating-point dtype.
// Experts  E is read from the weight on every call. One without rows is legal: its rows of dweight
//          and dbias become zero where the slot is empty and stay where backward adds.
// Saved    x, weight, expert_offsets and, for gelu, its derivative at pre. Backward adds into dx,
//          dweight, dbias.
// Repeat   the same bits for a given thread count, and for any without gelu (where its loop is cut,
//          the compiler may round otherwise).
// Throws   Error when offsets do not rise from 0 to P, or shapes or dtypes disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

enum class Epilogue { none, gelu };

Tensor grouped_linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Tensor& expert_offsets, Epilogue epilogue);

// The specification: plain loops, one thread.
Tensor grouped_linear_reference(Tape& tape, const Tensor& x, const Tensor& weight,
                                const Tensor& bias, const Tensor& expert_offsets,
                                Epilogue epilogue);

}  // namespace offshoot
