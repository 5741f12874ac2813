// Launchers of the cosine similarity of rows; the contract: ops/cosine_rows.h. w, dw [R, D]
// row-major float; pairs [M, 2] of rows, in range; out, dout [M] float. Sums in double, in an order
// that D fixes.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// Writes cosines [M, 3]: the cosine and both norms. NaN where a norm is 0.
void cosine_rows_forward(const float* w, const int64_t* pairs, int64_t M, int64_t D, float* out,
                         double* cosines, Stream stream);

// A row's gradient is summed in the order of pairs, without those where a norm is 0. overwrite: the
// tape's accumulation rule (engine/tape.h).
void cosine_rows_backward(const float* w, const int64_t* pairs, const double* cosines,
                          const float* dout, int64_t M, int64_t R, int64_t D, float* dw,
                          bool overwrite, Stream stream);

}  // namespace offshoot::cuda
