// What surrounds the products of cuda/grouped_gemm.h, row by row, with offsets read on the device.
// Rows outside all groups are left alone.
#pragma once

#include "cuda/grouped_gemm.h"

namespace offshoot::cuda {

// out[r, :] += bias[e, :], out [capacity, width]
template <class T>
void grouped_add_bias(const ExpertRows& rows, int64_t width, ConstElements bias, T* out,
                      Stream stream);

// pre = out + bias, then out = gelu(pre) and slope = gelu'(pre). bias and slope may be null.
template <class T>
void grouped_bias_gelu(const ExpertRows& rows, int64_t width, ConstElements bias, T* out, T* slope,
                       Stream stream);

// out[r, :] = x[r, :] slope[r, :]; out may be x.
template <class T>
void grouped_multiply(const ExpertRows& rows, int64_t width, const T* x, const T* slope, T* out,
                      Stream stream);

// sums[e, :] (+)= the sum of x's rows of e
template <class T>
void grouped_column_sums(const ExpertRows& rows, int64_t width, const T* x, float* sums,
                         bool overwrite, Stream stream);

}  // namespace offshoot::cuda
