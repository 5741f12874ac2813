#include "ops/route.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "cuda/route.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/route_cuda.h"
#include "ops/route_order.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "route";

// Tokens that one thread takes at a time; a multiple of kLanes. The result does not depend on it.
constexpr int64_t kBlockTokens = 128;

// The kept experts of every token, before pairs and rows have numbers.
struct Chosen {
  int64_t N, E, blocks;
  Tensor order;  // [N, E] i32, the kept ones first
  Tensor kept;   // [N] i32
  // [blocks, E+1] i64: the block's pairs by expert, then all its pairs; once summed, where the
  // block's rows of each expert begin, then where its pairs begin.
  Tensor starts;

  int64_t first_token(int64_t block) const { return block * kBlockTokens; }
  int64_t last_token(int64_t block) const { return std::min(N, (block + 1) * kBlockTokens); }
};

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
  if (options.row_alignment < 1 || (options.row_alignment > 1 && !probs.device().is_cuda())) {
    fail(kName, "row_alignment: got {}, expected {}", options.row_alignment,
         probs.device().is_cuda() ? "at least 1" : "1 on the CPU");
  }
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

void check_count(std::string_view what, int64_t count) {
  if (count > std::numeric_limits<int32_t>::max()) {
    fail(kName, "got {} {}, expected < 2^31", count, what);
  }
}

// NaN would order by no rule, and divide a weight.
template <class T>
void check_scores(const T* probs, int64_t first_token, int64_t last_token, int64_t E) {
  constexpr T kMax = std::numeric_limits<T>::max();
  int32_t wrong = 0;  // as wide as a float, so that the loop becomes vectors
  for (int64_t i = first_token * E; i < last_token * E; ++i) {
    wrong += !(probs[i] >= 0 && probs[i] <= kMax);
  }
  for (int64_t i = first_token * E; wrong > 0; ++i) {
    if (!(probs[i] >= 0 && probs[i] <= kMax)) {
      fail(kName, "probs: got {} for token {}, expected finite numbers >= 0", probs[i], i / E);
    }
  }
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
  int32_t* order = chosen.order.data<int32_t>();
  int32_t* kept = chosen.kept.data<int32_t>();
  int64_t* counts = chosen.starts.data<int64_t>() + block * (E + 1);
  std::fill_n(counts, E + 1, 0);
  check_scores(probs, first, last, E);
  for (int64_t n = first; n < last; ++n) {
    if (E > route_order::kMaxRanked) {
      route_order::by_sort(probs + n * E, E, most_kept(options, E), order + n * E);
    } else if (n % route_order::kLanes == 0) {
      const int64_t tokens = std::min(route_order::kLanes, last - n);
      route_order::by_rank(probs + n * E, tokens, E, order + n * E);
    }
    const int32_t* order_n = order + n * E;
    if (probs[n * E + order_n[0]] == 0) fail(kName, "probs: got only zeros for token {}", n);
    const int64_t count = count_kept(probs + n * E, order_n, E, options);
    for (int64_t j = 0; j < count; ++j) ++counts[order_n[j]];
    kept[n] = static_cast<int32_t>(count);
    counts[E] += count;
  }
}

// Counts become starts, experts outermost; returns P.
int64_t sum_starts(const Chosen& chosen, int64_t* expert_offsets) {
  int64_t* starts = chosen.starts.data<int64_t>();
  const int64_t columns = chosen.E + 1;
  int64_t row = 0, pair = 0;
  for (int64_t e = 0; e < chosen.E; ++e) {
    expert_offsets[e] = row;
    for (int64_t b = 0; b < chosen.blocks; ++b) row += std::exchange(starts[b * columns + e], row);
  }
  expert_offsets[chosen.E] = row;
  for (int64_t b = 0; b < chosen.blocks; ++b) {
    pair += std::exchange(starts[b * columns + chosen.E], pair);
  }
  OFFSHOOT_CHECK(pair == row, "{} pairs, {} rows", pair, row);
  return pair;
}

template <class T>
void fill_block(const T* probs, const Chosen& chosen, int64_t block, bool renormalise,
                const Routing& routing) {
  const int64_t E = chosen.E;
  int64_t* next_row = chosen.starts.data<int64_t>() + block * (E + 1);
  int64_t* token_offsets = routing.token_offsets.data<int64_t>();
  int32_t* expert_of_pair = routing.expert_of_pair.data<int32_t>();
  int32_t* token_of_row = routing.token_of_row.data<int32_t>();
  int32_t* row_of_pair = routing.row_of_pair.data<int32_t>();
  int32_t* pair_of_row = routing.pair_of_row.data<int32_t>();
  T* weights = routing.weights.data<T>();
  const int32_t *all_order = chosen.order.data<int32_t>(), *all_kept = chosen.kept.data<int32_t>();
  int64_t pair = next_row[E];
  for (int64_t n = chosen.first_token(block); n < chosen.last_token(block); ++n) {
    const int32_t* order = all_order + n * E;
    const int64_t kept = all_kept[n];
    token_offsets[n] = pair;
    T sum = 0;
    for (int64_t j = 0; j < kept; ++j) sum += probs[n * E + order[j]];
    if (!renormalise) sum = 1;
    for (int64_t j = 0; j < kept; ++j, ++pair) {
      const int32_t e = order[j];
      const int64_t row = next_row[e]++;
      expert_of_pair[pair] = e;
      weights[pair] = probs[n * E + e] / sum;
      row_of_pair[pair] = static_cast<int32_t>(row);
      token_of_row[row] = static_cast<int32_t>(n);
      pair_of_row[row] = static_cast<int32_t>(pair);
    }
  }
}

bool renormalises(CombineWeights weights, int64_t tokens, int64_t pairs) {
  // Every token keeps one expert, so a pair more means that one of them keeps two.
  return weights == CombineWeights::renormalised ||
         (weights == CombineWeights::renormalised_if_shared && pairs > tokens);
}

template <class T>
Routing forward(const Tensor& probs, const RouteOptions& options) {
  const int64_t N = probs.dim(0), E = probs.dim(1);
  const int64_t blocks = (N + kBlockTokens - 1) / kBlockTokens;
  const Chosen chosen{N,
                      E,
                      blocks,
                      Tensor({N, E}, DType::i32),
                      Tensor({N}, DType::i32),
                      Tensor({blocks, E + 1}, DType::i64)};
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) choose_in_block(probs.data<T>(), options, chosen, b);
  });
  Routing routing;
  routing.token_offsets = Tensor({N + 1}, DType::i64);
  routing.expert_offsets = Tensor({E + 1}, DType::i64);
  const int64_t P = sum_starts(chosen, routing.expert_offsets.data<int64_t>());
  check_count("pairs", P);
  routing.weights = Tensor({P}, probs.dtype());
  routing.expert_of_pair = Tensor({P}, DType::i32);
  routing.token_of_row = Tensor({P}, DType::i32);
  routing.row_of_pair = Tensor({P}, DType::i32);
  routing.pair_of_row = Tensor({P}, DType::i32);
  routing.token_offsets.data<int64_t>()[N] = P;
  routing.tokens_per_expert = Tensor({E}, DType::i64);
  const int64_t* const offsets = routing.expert_offsets.data<int64_t>();
  int64_t* const tokens = routing.tokens_per_expert.data<int64_t>();
  for (int64_t e = 0; e < E; ++e) tokens[e] = offsets[e + 1] - offsets[e];
  const bool renormalise = renormalises(options.weights, N, P);
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      fill_block(probs.data<T>(), chosen, b, renormalise, routing);
    }
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
  check_count("rows", rows);
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
