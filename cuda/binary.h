// Launchers of arithmetic on two arrays; the contract: ops/binary.h. T is float or bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"
#include "cuda/walk.h"

namespace offshoot::cuda {

enum class Binary { add, sub, mul, div, maximum };

// The walk: out, a, b.
template <class T>
void binary_forward(Binary op, const Walk& walk, const T* a, const T* b, T* out, Stream stream);

// The gradient of operand 0 (a) or 1 (b), summed where the walk repeats it. The walk: the operand's
// gradient, a, b, dout. `scratch` is of reduction_scratch(walk) floats (cuda/reduce.h).
template <class T>
void binary_backward(Binary op, int operand, const Walk& walk, const T* a, const T* b,
                     const T* dout, T* grad, bool overwrite, float* scratch, Stream stream);

}  // namespace offshoot::cuda
