// Statistics of gradients by expert: one row of axis 0 each. They record nothing.
//   norm        sqrt(sum g^2) over the expert's rows of all given tensors together
//   cosine      (a . b) / (|a| |b|), rows flattened; NaN where either is zero: it has no direction
//   projection  each vector g along the last axis becomes ((g . w) / (w . w + 1e-12)) w
//               (MASS, arXiv 2512.19765, gradient decomposition)
// Shapes   tensors [E, ...] of one E; a and b, g and w of one shape. f32 or f64.
// Sums     in float64 and in a fixed order: the same bits for any thread count.
// Throws   Error when shapes or dtypes disagree or no tensor is given. Numbers that are not finite
//          go through, for the caller to judge.
#pragma once

#include <span>
#include <vector>

#include "engine/tensor.h"

namespace offshoot {

std::vector<double> expert_norms(std::span<const Tensor> gradients);
std::vector<double> expert_cosines(const Tensor& a, const Tensor& b);
Tensor project_rows(const Tensor& g, const Tensor& w);

}  // namespace offshoot
