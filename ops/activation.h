// Activation functions, element by element.
//   relu       max(x, 0), gradient 0 at 0
//   gelu       x Phi(x), Phi the standard normal distribution function (Hendrycks, Gimpel 2016,
//              arXiv 1606.08415)
//   gelu_tanh  0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), its approximation there
//   silu       x sigmoid(x) (Elfwing, Uchibe, Doya 2017, arXiv 1702.03118)
//   tanh, sigmoid = 1 / (1 + e^-x)
// Shapes   any; out like x. f32 or f64; on CUDA f32 or bf16.
// Saved    out for relu, tanh and sigmoid, x for the others. Backward adds into dx.
// Repeat   bitwise repeatable, whatever the thread count.
// Throws   Error for other dtypes.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor relu(Tape& tape, const Tensor& x);
Tensor gelu(Tape& tape, const Tensor& x);
Tensor gelu_tanh(Tape& tape, const Tensor& x);
Tensor silu(Tape& tape, const Tensor& x);
Tensor tanh(Tape& tape, const Tensor& x);
Tensor sigmoid(Tape& tape, const Tensor& x);

}  // namespace offshoot
