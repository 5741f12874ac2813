// Top-any routing (DynMoE, Guo et al. 2024, arXiv 2405.14297): a token keeps every expert whose
// score is above the expert's threshold, with equal weights.
//   a_ne = sign(relu(scores[n,e] - thresholds[e]))      weight = a_ne / sum_e a_ne
// Backward takes sign for the identity, and relu for what it is, so only kept ones have a gradient:
//   da_k = (dw_k - sum_j w_j dw_j) / S      dscores = da      dthresholds[e] = -sum_n da_ne
// with S the number of experts that the token keeps: 0 where it keeps one.
// A token that keeps none has no pairs; with best_if_none the first of its largest scores is kept,
// with weight 1, without gradient.
// Shapes   scores [N, E], N >= 0, E >= 1; thresholds [E]. P and the rows are as those of route();
//          on CUDA the bound of P is N * E. A score of 0 with a threshold above it masks an expert
//          (without best_if_none, where all may be 0).
// Types    f32 or f64; on CUDA f32, where numbers are not checked: a NaN makes the weights of its
//          token NaN.
// Saved    the routing, and scores - thresholds. Backward adds into dscores and dthresholds.
// Repeat   the same bits for any thread count.
// Throws   Error when shapes do not fit, row_alignment is out of its range, a score is negative or
//          not finite, or a threshold is NaN.
#pragma once

#include <cstdint>

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

struct RouteAnyOptions {
  bool best_if_none = false;  // for evaluation
  int64_t row_alignment = 1;  // as in RouteOptions
};

Routing route_any(Tape& tape, const Tensor& scores, const Tensor& thresholds,
                  const RouteAnyOptions& options = {});

}  // namespace offshoot
