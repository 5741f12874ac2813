// Descriptions of matrices in device memory for the copy engine (TMA) of compute capability 9.0.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/bfloat16.h"

namespace offshoot::cuda {

// `matrices` matrices [rows, columns] of T, float or bfloat16, one behind the other, copied in
// boxes [box_rows, 128 bytes of columns] of one of them; what a box has outside is read as 0 and
// not written. Swizzled by 128 bytes (cuda/hopper.cuh). Throws Error where the engine cannot: base
// is 16-byte aligned, as are all rows, sizes are positive, box_rows at most 256.
template <class T>
CUtensorMap tensor_map(const T* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_rows);

// Columns of a box.
template <class T>
inline constexpr int kBoxColumns = 128 / sizeof(T);

}  // namespace offshoot::cuda
