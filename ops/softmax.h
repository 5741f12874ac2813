// Softmax and its logarithm over the last axis.
//   softmax       out[n,c] = exp(x[n,c]) / sum_c exp(x[n,c])
//                 dx = out (dout - sum_c dout out)
//   log_softmax   out[n,c] = x[n,c] - log sum_c exp(x[n,c])
//                 dx = dout - exp(out) sum_c dout
// Exponents are relative to the row's largest element.
// Shapes   x [..., C], C >= 1; out like x. f32 or f64; on CUDA f32 or bf16.
// Masks    an element of -infinity has probability 0 and, in softmax, gradient 0.
// Saved    out. Backward adds into dx.
// Repeat   the same bits for any thread count; a row's result does not depend on the others.
// Throws   Error when x has no last axis of at least 1, or a row is nothing but -infinity. On CUDA
//          such a row is not looked for; it becomes NaN.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor softmax(Tape& tape, const Tensor& x);
Tensor log_softmax(Tape& tape, const Tensor& x);

}  // namespace offshoot
