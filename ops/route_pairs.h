// From the experts that each token keeps to pairs and rows, on the CPU. Internal to ops/route.cpp
// and ops/route_any.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/route.h"

namespace offshoot::route_pairs {

// Tokens that one thread takes at a time; a multiple of route_order::kLanes. The result does not
// depend on it.
inline constexpr int64_t kBlockTokens = 128;

// The kept experts of every token, before pairs and rows have numbers.
class Chosen {
 public:
  Chosen(int64_t tokens, int64_t experts)
      : N(tokens),
        E(experts),
        blocks((tokens + kBlockTokens - 1) / kBlockTokens),
        orders_({N, E}, DType::i32),
        counts_({N}, DType::i32),
        starts_({blocks, E + 1}, DType::i64),
        order(orders_.data<int32_t>()),
        kept(counts_.data<int32_t>()),
        starts(starts_.data<int64_t>()) {}

  const int64_t N, E, blocks;

 private:
  const Tensor orders_, counts_, starts_;  // own what follows

 public:
  int32_t* const order;  // [N, E], the kept ones first
  int32_t* const kept;   // [N]
  // [blocks, E+1]: the block's pairs by expert, then all its pairs; once summed, where the block's
  // rows of each expert begin, then where its pairs begin.
  int64_t* const starts;

  int64_t first_token(int64_t block) const { return block * kBlockTokens; }
  int64_t last_token(int64_t block) const { return std::min(N, (block + 1) * kBlockTokens); }
  int64_t* starts_of(int64_t block) const { return starts + block * (E + 1); }
  int32_t* order_of(int64_t n) const { return order + n * E; }

  // Token n of `block` keeps the first `count` of its order. A block's are told in token order,
  // after clear().
  void clear(int64_t block) const { std::fill_n(starts_of(block), E + 1, 0); }
  void keep(int64_t block, int64_t n, int64_t count) const {
    int64_t* const counts = starts_of(block);
    const int32_t* const order_n = order_of(n);
    for (int64_t j = 0; j < count; ++j) ++counts[order_n[j]];
    kept[n] = static_cast<int32_t>(count);
    counts[E] += count;
  }
};

inline void check_count(std::string_view op, std::string_view what, int64_t count) {
  if (count > std::numeric_limits<int32_t>::max()) {
    fail(op, "got {} {}, expected < 2^31", count, what);
  }
}

inline void check_alignment(std::string_view op, int64_t row_alignment, Device device) {
  if (row_alignment < 1 || (row_alignment > 1 && !device.is_cuda())) {
    fail(op, "row_alignment: got {}, expected {}", row_alignment,
         device.is_cuda() ? "at least 1" : "1 on the CPU");
  }
}

// NaN would order by no rule, and divide a weight.
template <class T>
void check_scores(std::string_view op, std::string_view what, const T* scores, int64_t first_token,
                  int64_t last_token, int64_t E) {
  constexpr T kMax = std::numeric_limits<T>::max();
  int32_t wrong = 0;  // as wide as a float, so that the loop becomes vectors
  for (int64_t i = first_token * E; i < last_token * E; ++i) {
    wrong += !(scores[i] >= 0 && scores[i] <= kMax);
  }
  for (int64_t i = first_token * E; wrong > 0; ++i) {
    if (!(scores[i] >= 0 && scores[i] <= kMax)) {
      fail(op, "{}: got {} for token {}, expected finite numbers >= 0", what, scores[i], i / E);
    }
  }
}

// Calls f(block) for every block of tokens, in parallel.
template <class F>
void each_block(const Chosen& chosen, F&& f) {
  parallel_for(chosen.blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) f(b);
  });
}

// A routing with room for the pairs, and the offsets of experts; `chosen.starts` become summed.
Routing number_pairs(std::string_view op, const Chosen& chosen, DType weights);

// Fills the rest of it. weigh(n, order, kept, weights) writes the weights of a token's pairs.
template <class T, class Weigh>
void fill_pairs(const Chosen& chosen, const Routing& routing, Weigh&& weigh) {
  int64_t* const token_offsets = routing.token_offsets.data<int64_t>();
  int32_t* const expert_of_pair = routing.expert_of_pair.data<int32_t>();
  int32_t* const token_of_row = routing.token_of_row.data<int32_t>();
  int32_t* const row_of_pair = routing.row_of_pair.data<int32_t>();
  int32_t* const pair_of_row = routing.pair_of_row.data<int32_t>();
  T* const weights = routing.weights.data<T>();
  each_block(chosen, [&, token_offsets](int64_t block) {
    int64_t* const next_row = chosen.starts_of(block);
    int64_t pair = next_row[chosen.E];
    for (int64_t n = chosen.first_token(block); n < chosen.last_token(block); ++n) {
      const int32_t* const order = chosen.order_of(n);
      const int64_t kept = chosen.kept[n];
      token_offsets[n] = pair;
      weigh(n, order, kept, weights + pair);
      for (int64_t j = 0; j < kept; ++j, ++pair) {
        const int32_t e = order[j];
        const int64_t row = next_row[e]++;
        expert_of_pair[pair] = e;
        row_of_pair[pair] = static_cast<int32_t>(row);
        token_of_row[row] = static_cast<int32_t>(n);
        pair_of_row[row] = static_cast<int32_t>(pair);
      }
    }
  });
}

}  // namespace offshoot::route_pairs
