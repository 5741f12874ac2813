// The kernels of ops/route.h and ops/route_any.h: a token's experts by falling score, and a stable
// counting sort of the pairs by expert. All sizes that depend on the scores stay on the device.
//
// Shapes   N tokens, E experts; probs [N, E]. With `most` the experts that a token keeps at most,
//          arrays by pair have room for N * most, arrays by row for that and the rows that pad.
// Scores   negative ones and those that are not finite count as NaN and come first; the weights of
//          a token that keeps one are NaN, as are those of a token whose scores are all 0.
// Repeat   bitwise repeatable: counts are integers, and a token's floats are added in sorted order.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// A token keeps its first experts: `most`, or fewer where their mass reaches p.
struct RouteChoice {
  int64_t most = 1;  // 1..E
  bool until_mass = false;
  float p = 0;
};

// A pair's weight: its score, or that over the sum of the token's kept ones; or 1 over their
// number.
enum class RouteWeights : uint8_t { raw, renormalised, renormalised_if_shared, equal };

// The fields of Routing, as ops/route.h documents them.
struct RoutePlan {
  float* weights;
  int64_t* token_offsets;
  int32_t* expert_of_pair;
  int64_t* tokens_per_expert;
  int64_t* expert_offsets;
  int32_t* token_of_row;
  int32_t* row_of_pair;
  int32_t* pair_of_row;
};

// Words of 32 tokens each.
constexpr int64_t route_words(int64_t N) { return (N + 31) / 32; }

// Undefined before and after.
struct RouteScratch {
  uint32_t* masks;  // [E + 1, words]: which of the word's tokens keep the expert; then their pairs
  int32_t* starts;  // [E + 1, words]: as many kept it before the word; then pairs before it
  int32_t* order;   // [N, most]
  int32_t* kept;    // [N]
};

// Rows of expert e begin at a multiple of row_alignment; those that pad have no token and no pair
// (-1). sums [N] becomes the mass of each token's kept experts, for the backward.
void route_forward(const float* probs, int64_t N, int64_t E, const RouteChoice& choice,
                   RouteWeights weights, int64_t row_alignment, const RouteScratch& scratch,
                   float* sums, const RoutePlan& plan, Stream stream);

// A token keeps the experts with a margin [N, E] above 0, with equal weights; with best_if_none its
// first one where it keeps none. Room for N * E pairs. sums [N] becomes how many were kept.
void route_any_forward(const float* scores, const float* margins, int64_t N, int64_t E,
                       bool best_if_none, int64_t row_alignment, const RouteScratch& scratch,
                       float* sums, const RoutePlan& plan, Stream stream);

// dprobs [N, E]; dweights by pair. Of equal weights: dmargins, as if each weight were a / (sum of
// the token's a) with a = 1.
void route_backward(const RoutePlan& plan, const float* sums, RouteWeights weights,
                    const float* dweights, int64_t N, int64_t E, float* dprobs, bool overwrite,
                    Stream stream);

// x[n, columns[i]] = value for all rows of x [N, E]; `count` columns in [0, E).
template <class T>
void set_columns(T* x, int64_t N, int64_t E, const int64_t* columns, int64_t count, float value,
                 Stream stream);

}  // namespace offshoot::cuda
