// Routing: which experts each token goes to, with what weight, and where its rows lie.
//
// Sorts a token's experts by falling probability (equal ones: lower slot first) and keeps
//   top_k   the first k
//   top_p   expert j while the probability mass before it is < p; the smallest set whose mass
//           reaches p (MASS, arXiv 2512.19765, "routing mass"). p = 1 keeps all. The running sum
//           is in the dtype of `probs` and in sorted order. With k_max, the first k_max of these.
// A kept (token, expert) is a *pair*. Pairs are in token order, within a token by falling
// probability. A *row* is a pair's place in expert order: the rows of expert e are those of its
// tokens, in token order (a stable counting sort). N tokens, E experts, P pairs. Nothing is
// dropped, unless k_max says so.
//
// On CUDA the host does not wait for P. Tensors by pair and by row are as long as P and the rows
// could become; what lies beyond the true numbers, token_offsets[N] and expert_offsets[E], holds
// anything and is never read. to_cpu() gives a routing without it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tape.h"

namespace offshoot {

// The combine weight of a pair: its probability r, or r / (sum of the token's kept r).
enum class CombineWeights {
  raw,
  renormalised,
  renormalised_if_shared,  // renormalised as soon as one token of the batch keeps two experts, else
                           // raw: what the public code of MASS does
};

struct RouteOptions {
  enum class Kind { top_k, top_p };
  Kind kind = Kind::top_k;
  int64_t k = 1;   // top_k: 1..E
  double p = 1.0;  // top_p: (0, 1]
  CombineWeights weights = CombineWeights::raw;
  int64_t k_max = 0;  // top_p: at most so many experts a token; 0: any number
  // Every expert's rows begin at a multiple of this; rows without a token pad them. 1 on the CPU,
  // on CUDA what the kernels of the experts want (expert_row_alignment() of ops/grouped_gemm.h).
  int64_t row_alignment = 1;

  bool operator==(const RouteOptions&) const = default;
};

// R rows; R = P without row_alignment.
struct Routing {
  Tensor weights;         // [P], by pair; the dtype of `probs`; differentiable
  Tensor token_offsets;   // [N+1] i64, exclusive: the pairs of token n are [offset n, offset n+1)
  Tensor expert_of_pair;  // [P] i32
  Tensor tokens_per_expert;  // [E] i64
  Tensor expert_offsets;     // [E+1] i64, exclusive: the rows of expert e, then those that pad them
  Tensor token_of_row;       // [R] i32, -1 in a row that pads
  Tensor row_of_pair;        // [P] i32
  Tensor pair_of_row;        // [R] i32, -1 in a row that pads
  int64_t row_alignment = 1;

  int64_t tokens() const { return token_offsets.size() - 1; }
  int64_t experts() const { return expert_offsets.size() - 1; }
  // On CUDA both are bounds, and exact for top-k without row_alignment.
  int64_t pairs() const { return expert_of_pair.size(); }
  int64_t rows() const { return token_of_row.size(); }
};

// Shapes   probs [N, E], N >= 0, E >= 1: probabilities, or other scores >= 0.
// Saved    probs and the routing. Backward adds into dprobs; the choice of the set has no gradient.
// Types    f32 or f64; f32 on CUDA, where scores are not checked: a bad one makes the weights of
//          its token NaN.
// Repeat   the same bits for any thread count.
// Throws   Error when k is not in [1, E], p not in (0, 1], an option is out of the range above, a
//          score is negative or not finite, or a token's scores are all 0.
Routing route(Tape& tape, const Tensor& probs, const RouteOptions& options);

// The same routing on the CPU, with neither room beyond P nor rows that pad: `routing` itself where
// it is there already. For statistics and evaluation: it waits for the device, and no gradient
// flows to its weights.
Routing to_cpu(const Routing& routing);

// `logits` [N, E] with -infinity in `columns`, whose gradient is 0: experts that must not be
// chosen. Throws Error when a column is out of range or none is left.
Tensor mask_columns(Tape& tape, const Tensor& logits, const std::vector<int64_t>& columns);

struct RoutingStats {
  std::vector<int64_t> tokens_per_expert;  // [E]
  double mean_active = 0;                  // P / N; 0 without tokens
  std::vector<double> probability_mass;    // [E], mean probability over the tokens
};

// Sums in float64, in token order, on the CPU: waits for the device. Throws Error when a mean is
// not finite.
RoutingStats routing_stats(const Tensor& probs, const Routing& routing);

}  // namespace offshoot
