// Descriptions of matrices in device memory for the copy engine (TMA) of compute capability 9.0.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/bfloat16.h"

namespace offshoot::cuda {

// `matrices` matrices [rows, columns] one behind the other, read in boxes [box_rows, box_columns]
// of one of them; what a box has outside is 0. Swizzled by 128 bytes (cuda/hopper.cuh). Throws
// Error where the engine cannot: base is 16-byte aligned, columns are a multiple of 8, sizes
// positive, box_columns at most 64, box_rows at most 256.
CUtensorMap tensor_map(const bfloat16* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_columns, int box_rows);

}  // namespace offshoot::cuda
