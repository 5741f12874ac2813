// Functions of one tensor, element by element.
//   neg -x        scale factor x        exp e^x        log ln x        sqrt x^(1/2)
//   square x^2    abs |x| (gradient 0 at 0)
//   clamp min(max(x, low), high): the gradient passes where low <= x <= high
// Shapes   any; out like x. f32 or f64; on CUDA f32 or bf16.
// Saved    out for exp and sqrt, x for log, square, abs and clamp, nothing for the others.
// Repeat   bitwise repeatable, whatever the thread count.
// Throws   Error for other dtypes, a factor that is not finite, low > high.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor neg(Tape& tape, const Tensor& x);
Tensor scale(Tape& tape, const Tensor& x, double factor);
Tensor exp(Tape& tape, const Tensor& x);
Tensor log(Tape& tape, const Tensor& x);
Tensor sqrt(Tape& tape, const Tensor& x);
Tensor square(Tape& tape, const Tensor& x);
Tensor abs(Tape& tape, const Tensor& x);
Tensor clamp(Tape& tape, const Tensor& x, double low, double high);

}  // namespace offshoot
