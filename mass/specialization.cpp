#include "mass/specialization.h"

#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

double entropy(std::span<const double> p) {
  double sum = 0;
  for (const double value : p) {
    if (value > 0) sum -= value * std::log(value);
  }
  return sum;
}

// `sums` [labels, experts]; q by label, of any scale.
double jensen_shannon(const std::vector<double>& sums, const std::vector<double>& q,
                      int64_t experts) {
  const auto E = static_cast<size_t>(experts);
  double q_sum = 0, within = 0;
  for (const double value : q) q_sum += value;
  if (q_sum == 0) return 0;
  std::vector<double> mixture(E, 0.0), p(E);
  for (size_t label = 0; label < q.size(); ++label) {
    if (q[label] == 0) continue;
    const double* row = sums.data() + label * E;
    double total = 0;
    for (size_t e = 0; e < E; ++e) total += row[e];
    const double share = q[label] / q_sum;
    for (size_t e = 0; e < E; ++e) {
      p[e] = row[e] / total;
      mixture[e] += share * p[e];
    }
    within += share * entropy(p);
  }
  return entropy(mixture) - within;
}

}  // namespace

Specialization::Specialization(int64_t labels, int64_t experts) : experts_(experts) {
  if (labels < 1 || experts < 1) {
    fail("specialization", "got {} labels and {} experts, expected at least 1", labels, experts);
  }
  tokens_.resize(static_cast<size_t>(labels));
  weights_.resize(static_cast<size_t>(labels * experts));
  probabilities_.resize(static_cast<size_t>(labels * experts));
}

void Specialization::add(std::span<const int32_t> labels, const Tensor& probs,
                         const Routing& routing) {
  if (probs.rank() != 2 || probs.dim(1) != experts_ ||
      probs.dim(0) != static_cast<int64_t>(labels.size())) {
    fail("specialization", "got {} labels and probabilities {}, expected [{}, {}]", labels.size(),
         to_string(probs.shape()), labels.size(), experts_);
  }
  const int64_t* offsets = routing.token_offsets.data<int64_t>();
  const int32_t* experts = routing.expert_of_pair.data<int32_t>();
  dispatch_float("specialization", probs.dtype(), [&]<class T>(T) {
    const T* weight = routing.weights.data<T>();
    const T* probability = probs.data<T>();
    for (size_t n = 0; n < labels.size(); ++n) {
      if (labels[n] < 0 || labels[n] >= static_cast<int64_t>(tokens_.size())) {
        fail("specialization", "label: got {}, expected 0..{}", labels[n], tokens_.size() - 1);
      }
      const auto label = static_cast<size_t>(labels[n]);
      const auto row = static_cast<int64_t>(label) * experts_;
      ++tokens_[label];
      for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
        weights_[static_cast<size_t>(row + experts[pair])] += static_cast<double>(weight[pair]);
      }
      for (int64_t e = 0; e < experts_; ++e) {
        probabilities_[static_cast<size_t>(row + e)] +=
            static_cast<double>(probability[static_cast<int64_t>(n) * experts_ + e]);
      }
    }
  });
}

Divergence Specialization::divergence() const {
  std::vector<double> equal, share;
  for (const int64_t count : tokens_) {
    equal.push_back(count > 0 ? 1.0 : 0.0);
    share.push_back(static_cast<double>(count));
  }
  return {jensen_shannon(weights_, equal, experts_), jensen_shannon(weights_, share, experts_),
          jensen_shannon(probabilities_, equal, experts_)};
}

std::vector<std::vector<double>> Specialization::mean_weights() const {
  std::vector<std::vector<double>> means;
  for (size_t label = 0; label < tokens_.size(); ++label) {
    std::vector<double>& row = means.emplace_back();
    for (int64_t e = 0; e < experts_; ++e) {
      const double sum = weights_[label * static_cast<size_t>(experts_) + static_cast<size_t>(e)];
      row.push_back(tokens_[label] == 0 ? 0.0 : sum / static_cast<double>(tokens_[label]));
    }
  }
  return means;
}

}  // namespace offshoot
