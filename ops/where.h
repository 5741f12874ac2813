// Choice, element by element: out = a where condition is not 0, else b.
// Shapes   condition (i32), a and b are broadcast over trailing axes; a and b of one dtype, f32 or
//          f64; on CUDA f32 or bf16, where the condition may still be on the CPU.
// Saved    condition. Backward adds dout to a where it was chosen, to b elsewhere.
// Throws   Error when shapes cannot be broadcast, dtypes or devices disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor where(Tape& tape, const Tensor& condition, const Tensor& a, const Tensor& b);

}  // namespace offshoot
