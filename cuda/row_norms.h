// Launchers of rows and their norms; the contract: ops/row_norms.h. Matrices [R, D] row-major
// float, norms [R] double. Sums in double, in an order that D fixes. overwrite: the tape's
// accumulation rule (engine/tape.h).
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// Of what normalised rows are divided by.
inline constexpr double kLeastNorm = 1e-12;

// Writes norms, and the same as out [R] float.
void row_norms_forward(const float* x, int64_t R, int64_t D, double* norms, float* out,
                       Stream stream);
void row_norms_backward(const float* x, const double* norms, const float* dout, int64_t R,
                        int64_t D, float* dx, bool overwrite, Stream stream);

// Writes norms, and the normalised rows as out.
void normalize_rows_forward(const float* x, int64_t R, int64_t D, double* norms, float* out,
                            Stream stream);
void normalize_rows_backward(const float* out, const double* norms, const float* dout, int64_t R,
                             int64_t D, float* dx, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
