// The linear layers of all experts in one product over ragged groups of rows.
//   pre[r, :] = x[r, :] weight[e, :, :]^T + bias[e, :]   for expert_offsets[e] <= r < [e + 1]
//   out = pre, or gelu(pre) in its erf form (ops/activation.h), fused behind the product
// Shapes   x [P, D], rows in expert order; weight [E, H, D]; bias [E, H], or undefined for none;
//          expert_offsets [E+1] i64, exclusive, from 0 to P; out [P, H]. One floating-point dtype.
//          On CUDA offsets end at P or before; rows behind the last are neither read nor written.
// Types    f32 or f64; on CUDA f32 or bf16 with weight and bias in f32: products of bf16 rows and
// of
//          weights rounded to bf16 add up in float32.
// Experts  E is read from the weight on every call. One without rows is legal: its rows of dweight
//          and dbias become zero where the slot is empty and stay where backward adds.
// Saved    x, weight, expert_offsets and, for gelu, its derivative at pre. Backward adds into dx,
//          dweight, dbias.
// Repeat   the same bits for a given thread count, and for any without gelu (where its loop is cut,
//          the compiler may round otherwise).
// Throws   Error when offsets do not rise from 0 to P, or shapes or dtypes disagree. On CUDA
// offsets
//          on the device are not checked where the kernel does not want them on the host.
// CUDA     Where every expert's rows begin at a multiple of `row_alignment` and its last ones pad
//          them (ops/route.h), with zeros in x and in the gradient of out, a kernel that reads the
//          offsets on the device may run. Else the host goes through the experts, and waits for the
//          offsets: begin_host_copy() early.
#pragma once

#include "engine/tape.h"

namespace offshoot {

enum class Epilogue { none, gelu };

Tensor grouped_linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Tensor& expert_offsets, Epilogue epilogue, int64_t row_alignment = 1);

// The row_alignment that layers [E, H, D] and [E, D, H] want for rows of the dtype and on the
// device of `x`; 1 on the CPU.
int64_t expert_row_alignment(const Tensor& x, int64_t H, int64_t D);

// The specification: plain loops, one thread, on the CPU.
Tensor grouped_linear_reference(Tape& tape, const Tensor& x, const Tensor& weight,
                                const Tensor& bias, const Tensor& expert_offsets,
                                Epilogue epilogue);

}  // namespace offshoot
