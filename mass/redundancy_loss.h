// The redundancy loss of MASS (arXiv 2512.19765): it pushes the gate rows of an expert and the one
// it was split from apart.
//   L_red = sum over pairs (i, j) of cos(w_i, w_j)^2, or its mean
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/tape.h"

namespace offshoot {

// gate [E, D]; pairs of rows. Returns a scalar of the gate's dtype; zero without pairs. The
// gradient flows through both rows. Throws Error when a row is out of range or zero.
Tensor redundancy_loss(Tape& tape, const Tensor& gate,
                       const std::vector<std::pair<int64_t, int64_t>>& pairs, bool mean);

}  // namespace offshoot
