// A kernel that sees growth: it reads the number of rows from device memory.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// x[row, :] += row + 1 for row < *num_rows. x float [*num_rows, columns].
void number_rows(float* x, const int64_t* num_rows, int64_t columns, Stream stream);

// Asks for more threads in a block than any device has.
void number_rows_by_giant_blocks(float* x, const int64_t* num_rows, Stream stream);

}  // namespace offshoot::cuda
