// Launchers of a choice, element by element; the contract: ops/where.h. T is float or bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"
#include "cuda/walk.h"

namespace offshoot::cuda {

// The walk: out, condition, a, b.
template <class T>
void where_forward(const Walk& walk, const int32_t* condition, const T* a, const T* b, T* out,
                   Stream stream);

// The gradient of the side taken where the condition is not 0, or where it is, summed where the
// walk repeats it. The walk: that gradient, condition, dout. `scratch` is of
// reduction_scratch(walk) floats (cuda/reduce.h).
template <class T>
void where_backward(const Walk& walk, bool where_true, const int32_t* condition, const T* dout,
                    T* grad, bool overwrite, float* scratch, Stream stream);

}  // namespace offshoot::cuda
