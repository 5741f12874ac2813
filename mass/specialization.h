// How far experts specialise on labels of their input tokens (MASS, arXiv 2512.19765, semantic
// specialization), as a generalised Jensen-Shannon divergence (Lin 1991).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"
#include "ops/route.h"

namespace offshoot {

// In nats. With P_l the mean weight of each expert over the tokens of label l, divided by its sum,
// and label weights q_l:  JSD = H(sum_l q_l P_l) - sum_l q_l H(P_l).
struct Divergence {
  double sparse;         // P from combine weights, q equal
  double weighted;       // P from combine weights, q the share of tokens
  double probabilities;  // P from router probabilities, q equal
};

// Sums over the tokens of an evaluation, for one layer and one kind of label.
class Specialization {
 public:
  // Throws Error when either is below 1.
  Specialization(int64_t labels, int64_t experts);

  // One label in [0, labels) a token. Throws Error when sizes do not fit or a label is out of
  // range.
  void add(std::span<const int32_t> labels, const Tensor& probs, const Routing& routing);

  // Labels without tokens are left out; 0 without any token.
  Divergence divergence() const;

  // Mean combine weight [label][expert slot]; zeros for a label without tokens.
  std::vector<std::vector<double>> mean_weights() const;
  const std::vector<int64_t>& tokens() const { return tokens_; }
  int64_t experts() const { return experts_; }

 private:
  int64_t experts_;
  std::vector<int64_t> tokens_;        // by label
  std::vector<double> weights_;        // [labels, experts] sums
  std::vector<double> probabilities_;  // [labels, experts] sums
};

}  // namespace offshoot
