// The same numbers in another dtype, rounded to the nearest where it is narrower.
//   out = x        dx = dout, rounded to x's dtype
// Shapes   any; out like x. Between f32 and f64 on the CPU, f32 and bf16 on CUDA. Where x has the
//          dtype already out is x itself.
// Saved    nothing. Backward adds into dx.
// Throws   Error for other dtypes.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor cast(Tape& tape, const Tensor& x, DType dtype);

}  // namespace offshoot
