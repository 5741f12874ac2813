// Launchers of the orthogonality loss; the contract: ops/orthogonality_loss.h.
//
// Shapes   N tokens; y, dy [capacity, D] row-major, T float or bfloat16. squares and couplings
//          [capacity] by row: <x_j, x_j>, and the sum of <x_j, x_k>^2 over the token's other rows;
//          0 in rows that pad. Rows from *num_rows on are neither read nor written.
// Sums     float32 within a product, double beyond, in an order that the sizes fix.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

// For g++ and nvcc alike.
#ifdef __CUDACC__
#define OFFSHOOT_ANYWHERE __host__ __device__
#else
#define OFFSHOOT_ANYWHERE
#endif

namespace offshoot::cuda {

// Added to what a projection is divided by.
inline constexpr double kLeastSquare = 1e-8;

// f(s) = s / (s + 1e-8)^2, and its derivative.
OFFSHOOT_ANYWHERE inline double share_of(double s) {
  return s / ((s + kLeastSquare) * (s + kLeastSquare));
}
OFFSHOOT_ANYWHERE inline double share_slope(double s) {
  const double sum = s + kLeastSquare;
  return (kLeastSquare - s) / (sum * sum * sum);
}

#undef OFFSHOOT_ANYWHERE

struct OrthogonalityPlan {
  int64_t N = 0;
  int64_t capacity = 0;
  const int64_t* num_rows = nullptr;       // one number
  const int64_t* token_offsets = nullptr;  // [N + 1], by pair
  const int32_t* token_of_row = nullptr;   // -1 in a row that pads
  const int32_t* row_of_pair = nullptr;
};

template <class T>
void orthogonality_forward(const OrthogonalityPlan& plan, const T* y, int64_t D, double* squares,
                           double* couplings, float* loss, Stream stream);

// overwrite: the tape's accumulation rule (engine/tape.h).
template <class T>
void orthogonality_backward(const OrthogonalityPlan& plan, const T* y, int64_t D,
                            const double* squares, const double* couplings, const float* dloss,
                            T* dy, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
