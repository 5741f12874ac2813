// Rows between token order and expert order (ops/permute.h), with the sizes on the device.
//
// Shapes   N tokens of D elements; `capacity` bounds the rows, of which *num_rows are there: what
//          lies beyond is neither read nor written. token_of_row and pair_of_row are -1 in rows
//          that pad an expert's; they are zeros in what these write, and never read.
// Types    T is float or bfloat16, sums are float32.
// Repeat   bitwise repeatable: a token's rows are added in the order of its pairs.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

struct PermutePlan {
  int64_t N = 0;
  int64_t capacity = 0;
  const int64_t* num_rows = nullptr;       // one number
  const int64_t* token_offsets = nullptr;  // [N + 1], by pair
  const int32_t* token_of_row = nullptr;
  const int32_t* pair_of_row = nullptr;
  const int32_t* row_of_pair = nullptr;
};

// out[r, :] = x[token_of_row[r], :]
template <class T>
void gather_rows(const PermutePlan& plan, const T* x, int64_t D, T* out, Stream stream);

// out[n, :] (+)= the sum over the pairs p of token n of weights[p] rows[row_of_pair[p], :]; weights
// may be null: ones.
template <class T>
void sum_pairs(const PermutePlan& plan, const T* rows, const float* weights, int64_t D, T* out,
               bool overwrite, Stream stream);

// With n = token_of_row[r] and p = pair_of_row[r], either may be null:
//   dy[r, :] (+)= weights[p] dout[n, :]      dweights[p] (+)= dout[n, :] . y[r, :]
template <class T>
void sum_pairs_backward(const PermutePlan& plan, const T* y, const float* weights, const T* dout,
                        int64_t D, T* dy, bool overwrite_dy, float* dweights,
                        bool overwrite_dweights, Stream stream);

}  // namespace offshoot::cuda
