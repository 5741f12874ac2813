// Cosine similarity of pairs of rows.
//   out[m] = (w_i . w_j) / (|w_i| |w_j|)    for pairs[m] = (i, j)
// Shapes   w [R, D]; out [M]. f32 or f64, on CUDA f32; sums in float64.
// Saved    w and the pairs; on CUDA cosines and norms [M, 3], too. Backward adds into dw, through
//          both rows.
// Repeat   the same bits for any thread count.
// Throws   Error when a row is out of range, or zero (it has no direction). On CUDA zero rows are
//          not looked for: their cosines are NaN and have no gradient.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/tape.h"

namespace offshoot {

Tensor cosine_rows(Tape& tape, const Tensor& w,
                   const std::vector<std::pair<int64_t, int64_t>>& pairs);

}  // namespace offshoot
