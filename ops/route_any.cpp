#include "ops/route_any.h"

#include <cmath>

#include "cuda/route.h"
#include "ops/binary.h"
#include "ops/op.h"
#include "ops/route_cuda.h"
#include "ops/route_pairs.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "route_any";
using route_pairs::Chosen;

void check(const Tensor& scores, const Tensor& thresholds, const RouteAnyOptions& options) {
  check_float(kName, "scores", scores);
  check_parameter(kName, "scores", scores, scores);
  check_rank(kName, "scores", scores, 2);
  check_rows(kName, "scores", scores);
  check_like(kName, "thresholds", thresholds, scores);
  check_shape(kName, "thresholds", thresholds, {scores.dim(1)});
  route_pairs::check_alignment(kName, options.row_alignment, scores.device());
}

template <class T>
void check_thresholds(const Tensor& thresholds) {
  for (const T threshold : thresholds.elements<T>()) {
    if (std::isnan(threshold)) fail(kName, "thresholds: got {}, expected numbers", threshold);
  }
}

// Writes the kept experts of a token to `order`, by falling score; returns how many.
template <class T>
int64_t choose(const T* scores, const T* margins, int64_t E, bool best_if_none, int32_t* order) {
  int64_t kept = 0;
  for (int64_t e = 0; e < E; ++e) {
    if (margins[e] > 0) order[kept++] = static_cast<int32_t>(e);
  }
  std::sort(order, order + kept, [scores](int32_t a, int32_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  if (kept > 0 || !best_if_none) return kept;
  order[0] = static_cast<int32_t>(std::max_element(scores, scores + E) - scores);
  return 1;
}

// `margins` [N, E]: scores - thresholds.
template <class T>
Routing forward(const Tensor& all_scores, const Tensor& margins, bool best_if_none) {
  const int64_t N = all_scores.dim(0), E = all_scores.dim(1);
  const T *const scores = all_scores.data<T>(), *const all_margins = margins.data<T>();
  const Chosen chosen(N, E);
  route_pairs::each_block(chosen, [&](int64_t block) {
    chosen.clear(block);
    const int64_t first = chosen.first_token(block), last = chosen.last_token(block);
    route_pairs::check_scores(kName, "scores", scores, first, last, E);
    for (int64_t n = first; n < last; ++n) {
      chosen.keep(block, n,
                  choose(scores + n * E, all_margins + n * E, E, best_if_none, chosen.order_of(n)));
    }
  });
  const Routing routing = route_pairs::number_pairs(kName, chosen, all_scores.dtype());
  route_pairs::fill_pairs<T>(chosen, routing,
                             [](int64_t, const int32_t*, int64_t kept, T* weights) {
                               std::fill_n(weights, kept, T{1} / static_cast<T>(kept));
                             });
  return routing;
}

template <class T>
void backward(const Routing& routing, const Tensor& dout, const GradSlot& dmargins) {
  const int64_t E = routing.experts();
  const int64_t* const offsets = routing.token_offsets.data<int64_t>();
  const int32_t* const expert_of_pair = routing.expert_of_pair.data<int32_t>();
  const T *const weights = routing.weights.data<T>(), *const dweights = dout.data<T>();
  T* const grad = dmargins.grad.data<T>();
  parallel_for(routing.tokens(), row_grain(4 * E),
               [=, overwrite = dmargins.overwrite](int64_t first, int64_t last) {
                 for (int64_t n = first; n < last; ++n) {
                   T* const da = grad + n * E;
                   if (overwrite) std::fill_n(da, E, T{0});
                   T mean = 0;
                   for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
                     mean += dweights[pair] * weights[pair];
                   }
                   for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
                     da[expert_of_pair[pair]] += (dweights[pair] - mean) * weights[pair];
                   }
                 }
               });
}

template <class T>
Routing route_any_cuda(Tape& tape, const Tensor& scores, const Tensor& margins,
                       const RouteAnyOptions& options) {
  const int64_t N = scores.dim(0), E = scores.dim(1);
  const int64_t rows = route_cuda::most_rows(N * E, E, options.row_alignment);
  route_pairs::check_count(kName, "rows", rows);
  const Tensor sums({N}, scores.dtype(), scores.device());
  const route_cuda::Room room(scores, E, rows, options.row_alignment);
  cuda::route_any_forward(scores.device_data<T>(), margins.device_data<T>(), N, E,
                          options.best_if_none, options.row_alignment, room.scratch(),
                          sums.device_data<T>(), route_cuda::plan_of(room.routing),
                          stream_of(scores));
  const Routing routing = room.filled();
  tape.record(kName, {margins}, routing.weights,
              [margins, routing, sums, N, E](Tape& walk, const Tensor& dout) {
                const GradSlot dmargins = walk.slot(margins);
                cuda::route_backward(route_cuda::plan_of(routing), sums.device_data<T>(),
                                     cuda::RouteWeights::equal, dout.device_data<T>(), N, E,
                                     dmargins.grad.device_data<T>(), dmargins.overwrite,
                                     stream_of(dout));
              });
  return routing;
}

}  // namespace

Routing route_any(Tape& tape, const Tensor& scores, const Tensor& thresholds,
                  const RouteAnyOptions& options) {
  check(scores, thresholds, options);
  // Above 0 exactly where the score is above the threshold: differences of floats underflow
  // gradually.
  const Tensor margins = sub(tape, scores, thresholds);
  if constexpr (kHasCuda) {
    if (scores.device().is_cuda()) return route_any_cuda<float>(tape, scores, margins, options);
  }
  Routing routing = dispatch_float(kName, scores.dtype(), [&]<class T>(T) {
    check_thresholds<T>(thresholds);
    return forward<T>(scores, margins, options.best_if_none);
  });
  tape.record(kName, {margins}, routing.weights,
              [margins, routing](Tape& walk, const Tensor& dout) {
                const GradSlot dmargins = walk.slot(margins);
                dispatch_float(kName, dout.dtype(),
                               [&]<class T>(T) { backward<T>(routing, dout, dmargins); });
              });
  return routing;
}

}  // namespace offshoot
