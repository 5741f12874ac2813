// Elements of a type known at run time only, as floats; all threads take the same branch.
#pragma once

#include "cuda/element_type.h"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {

__device__ __forceinline__ float load(const ConstElements& x, int64_t i) {
  return x.type == ElementType::f32 ? load(static_cast<const float*>(x.data) + i)
                                    : load(static_cast<const bfloat16*>(x.data) + i);
}
__device__ __forceinline__ void accumulate(const Elements& x, int64_t i, float value,
                                           bool overwrite) {
  if (x.type == ElementType::f32) {
    accumulate(static_cast<float*>(x.data) + i, value, overwrite);
  } else {
    accumulate(static_cast<bfloat16*>(x.data) + i, value, overwrite);
  }
}

}  // namespace offshoot::cuda
