// Cross entropy of class scores against targets, softmax included.
//   loss = 1/M sum over counted n of log sum_c exp(logits[n,c]) - logits[n,targets[n]]
//   dlogits[n,c] = dloss/M (softmax(logits[n,:])[c] - [c = targets[n]]), 0 for rows not counted
// Shapes   logits [..., C], f32 or f64, N rows in all; targets [...] i32; loss [] in nats. On CUDA
//          logits are f32 or bf16, losses f32; targets are there too, or on the CPU.
// Counted  the M rows whose target is not ignore_index; none: the loss and its gradient are 0.
// Saved    targets, softmax's numerators [N, C] and denominators [N]; on CUDA logits, each row's
//          largest one and logarithm [N], and M. Backward adds into dlogits.
// Repeat   the same bits for any thread count; the sum over rows is taken in double.
// Throws   Error when shapes disagree, a target is neither in [0, C) nor ignore_index, or a
//          row is nothing but -infinity. On CUDA such a row's loss is NaN, and so is that of a
//          wrong target that is on the device already, where it has no gradient.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor cross_entropy(Tape& tape, const Tensor& logits, const Tensor& targets,
                     int64_t ignore_index = -1);

// Each row's loss, [...] like targets; all targets are in [0, C). Not differentiable.
Tensor cross_entropy_each(const Tensor& logits, const Tensor& targets);

}  // namespace offshoot
