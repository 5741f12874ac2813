#include "mass/specialization.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

double entropy(std::initializer_list<double> p) {
  double sum = 0;
  for (const double value : p) sum -= value == 0 ? 0 : value * std::log(value);
  return sum;
}

Routing routed(const Tensor& probs, double p) {
  Tape tape = Tape::none();
  return route(tape, probs,
               {RouteOptions::Kind::top_p, 1, p, CombineWeights::renormalised_if_shared});
}

TEST(Specialization, DivergenceByHand) {
  // Labels 0 and 2 have tokens, label 1 none. Top-p 0.5: the third token keeps two experts.
  const Tensor probs =
      Tensor::from<double>({4, 3}, {0.7, 0.2, 0.1, 0.1, 0.6, 0.3, 0.4, 0.2, 0.4, 0.1, 0.1, 0.8});
  Specialization specialization(3, 3);
  specialization.add(std::vector<int32_t>{0, 0, 0, 2}, probs, routed(probs, 0.5));
  const Divergence got = specialization.divergence();

  // Renormalised as one token is shared: label 0 has weights (1,0,0) + (0,1,0) + (.5,0,.5).
  const double within = entropy({0.5, 1 / 3.0, 0.5 / 3});
  EXPECT_NEAR(got.sparse, entropy({0.25, 1 / 6.0, (0.5 / 3 + 1) / 2}) - 0.5 * within, 1e-12);
  EXPECT_NEAR(got.weighted, entropy({0.375, 0.25, 0.75 * 0.5 / 3 + 0.25}) - 0.75 * within, 1e-12);
  const double p0 = 1.2 / 3, p1 = 1.0 / 3, p2 = 0.8 / 3;
  EXPECT_NEAR(got.probabilities,
              entropy({(p0 + 0.1) / 2, (p1 + 0.1) / 2, (p2 + 0.8) / 2}) -
                  0.5 * (entropy({p0, p1, p2}) + entropy({0.1, 0.1, 0.8})),
              1e-12);
  EXPECT_EQ(specialization.tokens(), (std::vector<int64_t>{3, 0, 1}));
  const auto means = specialization.mean_weights();
  EXPECT_NEAR(means[0][0], 0.5, 1e-12);
  EXPECT_EQ(means[1], (std::vector<double>{0, 0, 0}));
  EXPECT_NEAR(means[2][2], 1.0, 1e-12);
}

TEST(Specialization, RawWeightsCountByTheirSize) {
  const Tensor probs = Tensor::from<float>({2, 2}, {0.9f, 0.1f, 0.4f, 0.6f});
  Tape tape = Tape::none();
  const Routing routing =
      route(tape, probs, {RouteOptions::Kind::top_k, 1, 1, CombineWeights::raw});
  Specialization specialization(1, 2);
  specialization.add(std::vector<int32_t>{0, 0}, probs, routing);
  EXPECT_NEAR(specialization.mean_weights()[0][0], 0.45, 1e-7);
  EXPECT_NEAR(specialization.divergence().sparse, 0.0, 1e-12);  // one label says nothing
}

TEST(Specialization, DisjointLabelsReachTheLogOfTheirNumber) {
  const Tensor probs = Tensor::from<double>({4, 4}, {1, 0, 0, 0, 0, 1, 0, 0,  //
                                                     0, 0, 1, 0, 0, 0, 0, 1});
  Specialization specialization(4, 4);
  specialization.add(std::vector<int32_t>{0, 1, 2, 3}, probs, routed(probs, 0.5));
  EXPECT_NEAR(specialization.divergence().sparse, std::log(4.0), 1e-12);
  EXPECT_NEAR(specialization.divergence().probabilities, std::log(4.0), 1e-12);
}

TEST(Specialization, BatchesAddUp) {
  const Tensor probs = Tensor::from<double>({4, 2}, {0.7, 0.3, 0.2, 0.8, 0.35, 0.65, 0.9, 0.1});
  const std::vector<int32_t> labels{0, 1, 1, 0};
  Specialization whole(2, 2), parts(2, 2);
  whole.add(labels, probs, routed(probs, 0.6));
  parts.add(std::span(labels).first(2), probs.rows(0, 2), routed(probs.rows(0, 2), 0.6));
  parts.add(std::span(labels).last(2), probs.rows(2, 2), routed(probs.rows(2, 2), 0.6));
  EXPECT_NEAR(whole.divergence().sparse, parts.divergence().sparse, 1e-15);
  EXPECT_GT(whole.divergence().sparse, 0.1);
}

TEST(Specialization, NoTokensIsZero) {
  const Specialization specialization(3, 2);
  EXPECT_EQ(specialization.divergence().sparse, 0.0);
  EXPECT_EQ(specialization.divergence().weighted, 0.0);
}

TEST(Specialization, RefusesWhatDoesNotFit) {
  EXPECT_THROW(Specialization(0, 2), Error);
  EXPECT_THROW(Specialization(2, 0), Error);
  const Tensor probs = Tensor::from<double>({2, 2}, {0.7, 0.3, 0.2, 0.8});
  const Routing routing = routed(probs, 1.0);
  Specialization specialization(2, 2);
  EXPECT_THROW(specialization.add(std::vector<int32_t>{0}, probs, routing), Error);
  EXPECT_THROW(specialization.add(std::vector<int32_t>{0, 2}, probs, routing), Error);
  EXPECT_THROW(specialization.add(std::vector<int32_t>{0, -1}, probs, routing), Error);
  Specialization three(2, 3);
  EXPECT_THROW(three.add(std::vector<int32_t>{0, 1}, probs, routing), Error);
}

}  // namespace
}  // namespace offshoot
