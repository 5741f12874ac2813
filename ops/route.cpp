#include "ops/route.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "cuda/route.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/route_cuda.h"
#include "ops/route_order.h"
#include "ops/route_pairs.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "route";

using route_pairs::Chosen;

void check(const Tensor& probs, const RouteOptions& options) {
  check_float(kName, "probs", probs);
  if (probs.device().is_cuda()) check_dtype(kName, "probs", probs, DType::f32);
  check_rank(kName, "probs", probs, 2);
  check_rows(kName, "probs", probs);
  if (options.kind == RouteOptions::Kind::top_k) {
    if (options.k < 1 || options.k > probs.last_dim()) {
      fail(kName, "k: got {}, expected 1 to {} experts", options.k, probs.last_dim());
    }
  } else if (!(options.p > 0 && options.p <= 1)) {
    fail(kName, "p: got {}, expected a number in (0, 1]", options.p);
  }
  if (options.k_max < 0) {
    fail(kName, "k_max: got {}, expected a positive number, or 0 for none", options.k_max);
  }
  route_pairs::check_alignment(kName, options.row_alignment, probs.device());
}

// Of a token's experts, at most.
int64_t most_kept(const RouteOptions& options, int64_t E) {
  if (options.kind == RouteOptions::Kind::top_k) return options.k;
  return options.k_max == 0 ? E : std::min(E, options.k_max);
}

// Whether a token may keep fewer. p = 1 keeps all, whatever the rounded sum.
bool until_mass(const RouteOptions& options) {
  return options.kind == RouteOptions::Kind::top_p && options.p < 1;
}

// How many of a token's experts are kept.
template <class T>
int64_t count_kept(const T* probs, const int32_t* order, int64_t E, const RouteOptions& options) {
  const int64_t most = most_kept(options, E);
  if (!until_mass(options)) return most;
  const T p = static_cast<T>(options.p);
  T mass = 0;
  int64_t kept = 0;
  while (kept < most && mass < p) mass += probs[order[kept++]];
  return kept;
}

template <class T>
void choose_in_block(const T* probs, const RouteOptions& options, const Chosen& chosen,
                     int64_t block) {
  const int64_t E = chosen.E, first = chosen.first_token(block), last = chosen.last_token(block);
  chosen.clear(block);
  route_pairs::check_scores(kName, "probs", probs, first, last, E);
  for (int64_t n = first; n < last; ++n) {
    int32_t* const order = chosen.order_of(n);
    if (E > route_order::kMaxRanked) {
      route_order::by_sort(probs + n * E, E, most_kept(options, E), order);
    } else if (n % route_order::kLanes == 0) {
      const int64_t tokens = std::min(route_order::kLanes, last - n);
      route_order::by_rank(probs + n * E, tokens, E, order);
    }
    if (probs[n * E + order[0]] == 0) fail(kName, "probs: got only zeros for token {}", n);
    chosen.keep(block, n, count_kept(probs + n * E, order, E, options));
  }
}

bool renormalises(CombineWeights weights, int64_t tokens, int64_t pairs) {
  // Every token keeps one expert, so a pair more means that one of them keeps two.
  return weights == CombineWeights::renormalised ||
         (weights == CombineWeights::renormalised_if_shared && pairs > tokens);
}

template <class T>
Routing forward(const Tensor& all_probs, const RouteOptions& options) {
  const int64_t N = all_probs.dim(0), E = all_probs.dim(1);
  const T* const probs = all_probs.data<T>();
  const Chosen chosen(N, E);
  route_pairs::each_block(chosen,
                          [&](int64_t block) { choose_in_block(probs, options, chosen, block); });
  const Routing routing = route_pairs::number_pairs(kName, chosen, all_probs.dtype());
  const bool renormalise = renormalises(options.weights, N, routing.pairs());
  route_pairs::fill_pairs<T>(chosen, routing,
                             [=](int64_t n, const int32_t* order, int64_t kept, T* weights) {
                               const T* const r = probs + n * E;
                               T sum = 0;
                               for (int64_t j = 0; j < kept; ++j) sum += r[order[j]];
                               if (!renormalise) sum = 1;
                               for (int64_t j = 0; j < kept; ++j) weights[j] = r[order[j]] / sum;
                             });
  return routing;
}

// raw            dr = dw
// renormalised   w_j = r_j / s:  dr_j = (dw_j - sum_i dw_i w_i) / s, over the token's kept ones
template <class T>
void backward(const Tensor& probs, const Routing& routing, bool renormalised, const Tensor& dout,
              const GradSlot& dprobs) {
  const int64_t E = probs.dim(1);
  const int64_t* offsets = routing.token_offsets.data<int64_t>();
  const int32_t* expert_of_pair = routing.expert_of_pair.data<int32_t>();
  const T* weights = routing.weights.data<T>();
  const T *dweights = dout.data<T>(), *all_r = probs.data<T>();
  T* all_dr = dprobs.grad.data<T>();
  parallel_for(probs.dim(0), row_grain(4 * E), [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const T* r = all_r + n * E;
      T* dr = all_dr + n * E;
      if (dprobs.overwrite) std::fill_n(dr, E, T{0});
      T sum = 0, mean = 0;
      for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
        sum += r[expert_of_pair[pair]];
        mean += dweights[pair] * weights[pair];
      }
      if (!renormalised) sum = 1, mean = 0;
      for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
        dr[expert_of_pair[pair]] += (dweights[pair] - mean) / sum;
      }
    }
  });
}

template <class T>
Routing route_on_cuda(Tape& tape, const Tensor& probs, const RouteOptions& options) {
  const int64_t most = most_kept(options, probs.dim(1));
  const int64_t rows =
      route_cuda::most_rows(probs.dim(0) * most, probs.dim(1), options.row_alignment);
  route_pairs::check_count(kName, "rows", rows);
  const Tensor sums({probs.dim(0)}, probs.dtype(), probs.device());
  const Routing routing =
      route_cuda::forward<T>(probs, options, most, until_mass(options), rows, sums);
  tape.record(kName, {probs}, routing.weights,
              [probs, routing, sums, rule = options.weights](Tape& walk, const Tensor& dout) {
                route_cuda::backward<T>(probs, routing, rule, sums, dout, walk.slot(probs));
              });
  return routing;
}

}  // namespace

Routing route(Tape& tape, const Tensor& probs, const RouteOptions& options) {
  check(probs, options);
  if constexpr (kHasCuda) {
    if (probs.device().is_cuda()) return route_on_cuda<float>(tape, probs, options);
  }
  Routing routing = dispatch_float(
      kName, probs.dtype(), [&]<class T>(T) -> Routing { return forward<T>(probs, options); });
  const bool renormalised = renormalises(options.weights, routing.tokens(), routing.pairs());
  tape.record(kName, {probs}, routing.weights,
              [probs, routing, renormalised](Tape& walk, const Tensor& dout) {
                dispatch_float(kName, probs.dtype(), [&]<class T>(T) {
                  backward<T>(probs, routing, renormalised, dout, walk.slot(probs));
                });
              });
  return routing;
}

Routing to_cpu(const Routing& routing) {
  if (!routing.token_offsets.device().is_cuda()) return routing;
  Routing cpu;
  cpu.token_offsets = routing.token_offsets.host_copy();
  cpu.tokens_per_expert = routing.tokens_per_expert.host_copy();
  const Tensor aligned = routing.expert_offsets.host_copy();
  const int64_t N = routing.tokens(), E = routing.experts();
  const int64_t* const token_offsets = cpu.token_offsets.data<int64_t>();
  const int64_t P = token_offsets[N];
  cpu.weights = routing.weights.rows(0, P).to(Device{});
  cpu.expert_of_pair = routing.expert_of_pair.rows(0, P).to(Device{});
  cpu.row_of_pair = routing.row_of_pair.rows(0, P).to(Device{});
  cpu.expert_offsets = Tensor({E + 1}, DType::i64);
  int64_t* const offsets = cpu.expert_offsets.data<int64_t>();
  offsets[0] = 0;
  for (int64_t e = 0; e < E; ++e) {
    offsets[e + 1] = offsets[e] + cpu.tokens_per_expert.data<int64_t>()[e];
  }
  cpu.token_of_row = Tensor({P}, DType::i32);
  cpu.pair_of_row = Tensor({P}, DType::i32);
  int32_t* const rows = cpu.row_of_pair.data<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t pair = token_offsets[n]; pair < token_offsets[n + 1]; ++pair) {
      const int32_t e = cpu.expert_of_pair.data<int32_t>()[pair];
      rows[pair] -= static_cast<int32_t>(aligned.data<int64_t>()[e] - offsets[e]);
      cpu.token_of_row.data<int32_t>()[rows[pair]] = static_cast<int32_t>(n);
      cpu.pair_of_row.data<int32_t>()[rows[pair]] = static_cast<int32_t>(pair);
    }
  }
  return cpu;
}

Tensor mask_columns(Tape& tape, const Tensor& logits, const std::vector<int64_t>& columns) {
  constexpr std::string_view kMask = "mask_columns";
  check_float(kMask, "logits", logits);
  check_rank(kMask, "logits", logits, 2);
  const int64_t N = logits.dim(0), E = logits.dim(1);
  std::vector<char> masked(static_cast<size_t>(E), 0);
  for (const int64_t column : columns) {
    if (column < 0 || column >= E) fail(kMask, "column: got {}, expected 0 to {}", column, E - 1);
    masked[static_cast<size_t>(column)] = 1;
  }
  if (std::ranges::count(masked, 1) == E) fail(kMask, "got all {} columns, expected fewer", E);
  std::vector<int64_t> each;  // once
  for (int64_t e = 0; e < E; ++e) {
    if (masked[static_cast<size_t>(e)]) each.push_back(e);
  }
  const auto count = static_cast<int64_t>(each.size());
  const Tensor where = Tensor::from<int64_t>({count}, each).to(logits.device());
  // Writes `value` to the masked columns of `x`.
  const auto set = [N, E, count, where, kMask](const Tensor& x, double value) {
    dispatch(
        kMask, x,
        [&]<class T>(T) {
          for (int64_t n = 0; n < N; ++n) {
            for (const int64_t column : where.elements<int64_t>()) {
              x.data<T>()[n * E + column] = static_cast<T>(value);
            }
          }
        },
        [&]<class T>(T) {
          cuda::set_columns(x.device_data<T>(), N, E, where.device_data<int64_t>(), count,
                            static_cast<float>(value), stream_of(x));
        });
  };
  const Tensor out = logits.clone();
  set(out, -std::numeric_limits<double>::infinity());
  tape.record(kMask, {logits}, out, [logits, set](Tape& walk, const Tensor& dout) {
    set(dout, 0.0);  // dout is this call's own, see engine/tape.h
    walk.give(logits, dout);
  });
  return out;
}

RoutingStats routing_stats(const Tensor& probs, const Routing& routing) {
  constexpr std::string_view kStats = "routing_stats";
  const int64_t N = routing.tokens(), E = routing.experts();
  check_float(kStats, "probs", probs);
  check_shape(kStats, "probs", probs, {N, E});
  RoutingStats stats;
  stats.probability_mass.assign(static_cast<size_t>(E), 0.0);
  double* mass = stats.probability_mass.data();
  const Tensor scores = probs.to(Device{});
  dispatch_float(kStats, scores.dtype(), [&]<class T>(T) {
    const T* r = scores.data<T>();
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t e = 0; e < E; ++e) mass[e] += double{r[n * E + e]};
    }
  });
  const Tensor counts = routing.tokens_per_expert.host_copy();
  const auto tokens = counts.elements<int64_t>();
  stats.tokens_per_expert.assign(tokens.begin(), tokens.end());
  if (N == 0) return stats;
  const int64_t pairs = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  stats.mean_active = static_cast<double>(pairs) / static_cast<double>(N);
  for (int64_t e = 0; e < E; ++e) {
    mass[e] /= static_cast<double>(N);
    if (!std::isfinite(mass[e])) fail(kStats, "probability mass of expert {}: got {}", e, mass[e]);
  }
  return stats;
}

}  // namespace offshoot
