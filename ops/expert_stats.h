// What a detector wants to know of each expert's gradient. No gradient flows through these. An
// expert is one index of axis 0.
//
// Sums     in float64, in an order that depends on the shapes only: the same bits for any thread
//          count.
// CUDA     norms and cosines read the elements once and wait for the device once: they are for
//          monitoring. f32 or bf16.
// Throws   Error when shapes, dtypes or devices disagree, or a result is not finite (named by
//          expert). A projection on CUDA is not checked.
// Source   MASS, arXiv 2512.19765: drift detection, alignment test, gradient decomposition.
#pragma once

#include <span>
#include <vector>

#include "engine/tensor.h"

namespace offshoot {

// [E]: the L2 norm of expert e over all the given tensors [E, ...] together. At least one tensor;
// E and the device are the same in all; dtypes f32 or f64.
std::vector<double> expert_norms(std::span<const Tensor> tensors);

// [E]: (a . b) / (|a| |b|), each expert's part of a and b [E, ...] as one vector. NaN where one of
// them is zero: it has no direction, and the caller says what that means.
std::vector<double> expert_cosines(const Tensor& a, const Tensor& b);

// ((g . w) / (w . w + 1e-12)) w for every vector along the last axis; g and w of one shape and
// dtype. The specification of GradientSplit::project_rows (engine/row_tensor.h).
Tensor project_rows(const Tensor& g, const Tensor& w);

}  // namespace offshoot
