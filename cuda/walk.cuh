// Walks inside kernels.
#pragma once

#include "cuda/kernel_utils.cuh"
#include "cuda/walk.h"

namespace offshoot::cuda {

// i32 elements are conditions: only whether they are 0 counts.
__device__ __forceinline__ float load(const int32_t* at) { return *at != 0 ? 1.0f : 0.0f; }

// offsets[array] += where element `index` of the walk is in each of the first kArrays arrays.
template <int kArrays>
__device__ __forceinline__ void add_offsets(const Walk& walk, int64_t index,
                                            int64_t (&offsets)[kArrays]) {
#pragma unroll 1  // a division is long
  for (int axis = 0; axis < walk.num_axes; ++axis) {
    int64_t at = index;
    if (axis + 1 < walk.num_axes) {  // no division for the last one
      index = at / walk.sizes[axis];
      at -= index * walk.sizes[axis];
    }
#pragma unroll
    for (int array = 0; array < kArrays; ++array) offsets[array] += at * walk.strides[array][axis];
  }
}

}  // namespace offshoot::cuda
