#include "ops/route_pairs.h"

namespace offshoot::route_pairs {
namespace {

// Counts become starts, experts outermost; returns P.
int64_t sum_starts(const Chosen& chosen, int64_t* expert_offsets) {
  int64_t* const starts = chosen.starts;
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

}  // namespace

Routing number_pairs(std::string_view op, const Chosen& chosen, DType weights) {
  Routing routing;
  routing.token_offsets = Tensor({chosen.N + 1}, DType::i64);
  routing.expert_offsets = Tensor({chosen.E + 1}, DType::i64);
  const int64_t P = sum_starts(chosen, routing.expert_offsets.data<int64_t>());
  check_count(op, "pairs", P);
  routing.weights = Tensor({P}, weights);
  routing.expert_of_pair = Tensor({P}, DType::i32);
  routing.token_of_row = Tensor({P}, DType::i32);
  routing.row_of_pair = Tensor({P}, DType::i32);
  routing.pair_of_row = Tensor({P}, DType::i32);
  routing.token_offsets.data<int64_t>()[chosen.N] = P;
  routing.tokens_per_expert = Tensor({chosen.E}, DType::i64);
  const int64_t* const offsets = routing.expert_offsets.data<int64_t>();
  int64_t* const tokens = routing.tokens_per_expert.data<int64_t>();
  for (int64_t e = 0; e < chosen.E; ++e) tokens[e] = offsets[e + 1] - offsets[e];
  return routing;
}

}  // namespace offshoot::route_pairs
