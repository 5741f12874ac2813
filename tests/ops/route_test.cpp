#include "ops/route.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/parallel.h"
#include "ops/route_order.h"
#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using enum CombineWeights;
using testing::OpCase;
using testing::random_probabilities;
using testing::top_k;
using testing::top_p;

template <class T>
std::vector<T> contents(const Tensor& tensor) {
  const auto elements = tensor.elements<T>();
  return {elements.begin(), elements.end()};
}

// The definition: sort, walk, list.
struct Expected {
  std::vector<int64_t> token_offsets{0}, expert_offsets{0};
  std::vector<int32_t> expert_of_pair, token_of_row, pair_of_row, row_of_pair;
  std::vector<double> weights;
};

Expected routed_naively(const Tensor& probs, const RouteOptions& options) {
  const auto N = static_cast<size_t>(probs.dim(0)), E = static_cast<size_t>(probs.dim(1));
  Expected expected;
  std::vector<int32_t> token_of_pair;
  for (size_t n = 0; n < N; ++n) {
    const auto r = probs.elements<double>().subspan(n * E, E);
    std::vector<int32_t> order(E);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
      return r[static_cast<size_t>(a)] > r[static_cast<size_t>(b)];
    });
    double mass = 0;
    for (size_t j = 0; j < E; ++j) {
      const bool keep = options.kind == RouteOptions::Kind::top_k
                            ? j < static_cast<size_t>(options.k)
                            : options.p == 1 || mass < options.p;
      if (!keep) break;
      mass += r[static_cast<size_t>(order[j])];
      token_of_pair.push_back(static_cast<int32_t>(n));
      expected.expert_of_pair.push_back(order[j]);
      expected.weights.push_back(r[static_cast<size_t>(order[j])]);
    }
    expected.token_offsets.push_back(static_cast<int64_t>(expected.weights.size()));
  }
  const size_t P = expected.weights.size();
  for (size_t n = 0; n < N && (options.weights == renormalised ||
                               (options.weights == renormalised_if_shared && P > N));
       ++n) {
    const auto first = expected.weights.begin() + expected.token_offsets[n];
    const auto last = expected.weights.begin() + expected.token_offsets[n + 1];
    const double sum = std::accumulate(first, last, 0.0);
    std::for_each(first, last, [sum](double& weight) { weight /= sum; });
  }
  expected.row_of_pair.resize(P);
  for (size_t e = 0; e < E; ++e) {
    for (size_t pair = 0; pair < P; ++pair) {
      if (expected.expert_of_pair[pair] != static_cast<int32_t>(e)) continue;
      expected.row_of_pair[pair] = static_cast<int32_t>(expected.pair_of_row.size());
      expected.pair_of_row.push_back(static_cast<int32_t>(pair));
      expected.token_of_row.push_back(token_of_pair[pair]);
    }
    expected.expert_offsets.push_back(static_cast<int64_t>(expected.pair_of_row.size()));
  }
  return expected;
}

void expect_equal(const Routing& routing, const Expected& expected) {
  EXPECT_EQ(contents<int64_t>(routing.token_offsets), expected.token_offsets);
  EXPECT_EQ(contents<int64_t>(routing.expert_offsets), expected.expert_offsets);
  EXPECT_EQ(contents<int32_t>(routing.expert_of_pair), expected.expert_of_pair);
  EXPECT_EQ(contents<int32_t>(routing.token_of_row), expected.token_of_row);
  EXPECT_EQ(contents<int32_t>(routing.row_of_pair), expected.row_of_pair);
  EXPECT_EQ(contents<int32_t>(routing.pair_of_row), expected.pair_of_row);
  const auto weights = contents<double>(routing.weights);
  ASSERT_EQ(weights.size(), expected.weights.size());
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(weights[i], expected.weights[i], 1e-15);
}

TEST(Route, IsSortWalkAndList) {
  Tape tape = Tape::none();
  for (const Shape& shape :
       {Shape{1, 1}, {1, 7}, {17, 1}, {131, 10}, {1024, 10}, {257, 33}, {5, 300}}) {
    SCOPED_TRACE(to_string(shape));
    const Tensor probs = random_probabilities(shape, DType::f64, 1, 0.7);
    for (const CombineWeights weights : {raw, renormalised, renormalised_if_shared}) {
      for (const RouteOptions& options :
           {top_k(1, weights), top_k(std::min<int64_t>(2, shape[1]), weights),
            top_k(shape[1], weights), top_p(1e-9, weights), top_p(0.7, weights),
            top_p(1, weights)}) {
        expect_equal(route(tape, probs, options), routed_naively(probs, options));
      }
    }
  }
}

TEST(Route, RepeatsForAnyNumberOfThreads) {
  Tape tape = Tape::none();
  const Tensor probs = random_probabilities({1021, 10}, DType::f64, 2, 0.7);
  const int threads = num_threads();
  for (const int count : {1, 3}) {
    set_num_threads(count);
    expect_equal(route(tape, probs, top_p(0.7, raw)), routed_naively(probs, top_p(0.7, raw)));
  }
  set_num_threads(threads);
}

TEST(Route, TiesGoToTheLowerSlot) {
  Tape tape = Tape::none();
  const Tensor probs =
      Tensor::from<float>({2, 4}, {0.25f, 0.25f, 0.25f, 0.25f, 0.1f, 0.4f, 0.1f, 0.4f});
  const Routing routing = route(tape, probs, top_k(3, raw));
  EXPECT_EQ(contents<int32_t>(routing.expert_of_pair), (std::vector<int32_t>{0, 1, 2, 1, 3, 0}));
  int32_t sorted[4];
  route_order::by_sort(probs.data<float>() + 4, 4, 4, sorted);
  EXPECT_TRUE(std::ranges::equal(sorted, std::vector<int32_t>{1, 3, 0, 2}));
}

TEST(Route, MassReachesPExactly) {
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<double>({1, 4}, {0.5, 0.25, 0.125, 0.125});
  EXPECT_EQ(route(tape, probs, top_p(0.75, raw)).pairs(), 2);  // 0.75 before the third is not < p
  EXPECT_EQ(route(tape, probs, top_p(0.7500001, raw)).pairs(), 3);
  EXPECT_EQ(route(tape, probs, top_p(1e-300, raw)).pairs(), 1);
  // p = 1 keeps all although the first two reach it.
  const Tensor rounded = Tensor::from<double>({1, 3}, {0.5, 0.5, 0.0});
  EXPECT_EQ(route(tape, rounded, top_p(1, raw)).pairs(), 3);
}

TEST(Route, SharedRuleLooksAtTheWholeBatch) {
  Tape tape = Tape::none();
  const Tensor sure = Tensor::from<double>({2, 2}, {0.9, 0.1, 0.2, 0.8});
  EXPECT_EQ(contents<double>(route(tape, sure, top_p(0.7, renormalised_if_shared)).weights),
            (std::vector<double>{0.9, 0.8}));
  const Tensor one_unsure = Tensor::from<double>({2, 2}, {0.9, 0.1, 0.4, 0.6});
  EXPECT_EQ(contents<double>(route(tape, one_unsure, top_p(0.7, renormalised_if_shared)).weights),
            (std::vector<double>{1.0, 0.6, 0.4}));
}

OpCase weights_case(std::string name, const Shape& shape, const RouteOptions& options) {
  return {std::move(name),
          {shape},
          [options](Tape& tape, const std::vector<Tensor>& in) {
            return route(tape, in[0], options).weights;
          },
          [options](size_t, const Tensor& probs, Random& random) {
            testing::fill_probabilities(probs, random, options.p);
            // Among many experts scores, not probabilities: a small step must not make one
            // negative.
            if (probs.dim(1) > 100) {
              for (double& score : probs.elements<double>()) score *= 100;
            }
          }};
}

class RouteGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(RouteGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, RouteGradient,
    ::testing::Values(weights_case("one_token", {1, 5}, top_k(2, renormalised)),
                      weights_case("one_expert", {7, 1}, top_k(1, raw)),
                      weights_case("top_1", {13, 5}, top_k(1, raw)),
                      weights_case("top_2", {13, 5}, top_k(2, raw)),
                      weights_case("top_2_renormalised", {13, 5}, top_k(2, renormalised)),
                      weights_case("top_p", {17, 7}, top_p(0.7, raw)),
                      weights_case("top_p_renormalised", {17, 7}, top_p(0.7, renormalised)),
                      weights_case("top_p_shared", {17, 7}, top_p(0.7, renormalised_if_shared)),
                      weights_case("all", {11, 7}, top_p(1, renormalised_if_shared)),
                      weights_case("many_blocks", {263, 10}, top_p(0.7, renormalised)),
                      weights_case("many_experts", {3, 300}, top_k(5, renormalised))),
    testing::case_name);

TEST(Route, SinglePrecisionFollowsDouble) {
  EXPECT_LT(
      testing::single_precision_error(weights_case("main", {1024, 10}, top_p(0.7, renormalised))),
      1e-5);
}

TEST(Route, MatchesGoldenValues) {
  testing::expect_matches_golden("route", [](Tape& tape, const testing::GoldenCase& golden) {
    const std::string rule = golden.text("weights");
    const CombineWeights weights = rule == "raw"    ? raw
                                   : rule == "kept" ? renormalised
                                                    : renormalised_if_shared;
    const Tensor& probs = golden["probs"];
    const Routing routing =
        route(tape, probs,
              golden.text("policy") == "topk" ? top_k(golden.integer("k"), weights)
                                              : top_p(golden.number("p"), weights));
    const Tensor counts({routing.experts()}, DType::i64);
    std::ranges::copy(routing_stats(probs, routing).tokens_per_expert, counts.data<int64_t>());
    return testing::NamedTensors{{"weights", testing::dense_weights(tape, routing)},
                                 {"counts", counts}};
  });
}

TEST(Route, NoTokensIsLegal) {
  Tape tape;
  const Tensor probs({0, 3}, DType::f32);
  tape.watch(probs);
  const Routing routing = route(tape, probs, top_p(0.5, renormalised_if_shared));
  EXPECT_EQ(routing.tokens(), 0);
  EXPECT_EQ(routing.experts(), 3);
  EXPECT_EQ(routing.pairs(), 0);
  EXPECT_EQ(contents<int64_t>(routing.expert_offsets), (std::vector<int64_t>{0, 0, 0, 0}));
  tape.backward(routing.weights, Tensor({0}, DType::f32));
  EXPECT_EQ(routing_stats(probs, routing).mean_active, 0);
}

TEST(Route, NamesWhatIsWrong) {
  Tape tape;
  const Tensor probs = Tensor::from<float>({1, 3}, {0.5f, 0.25f, 0.25f});
  const auto text = [&](const Tensor& r, const RouteOptions& options) {
    return testing::error_text([&] { route(tape, r, options); });
  };
  EXPECT_EQ(text(probs, top_k(4, raw)), "[route] k: got 4, expected 1 to 3 experts");
  EXPECT_EQ(text(probs, top_k(0, raw)), "[route] k: got 0, expected 1 to 3 experts");
  EXPECT_EQ(text(probs, top_p(0, raw)), "[route] p: got 0, expected a number in (0, 1]");
  EXPECT_EQ(text(probs, top_p(1.5, raw)), "[route] p: got 1.5, expected a number in (0, 1]");
  EXPECT_EQ(text(probs, top_p(NAN, raw)), "[route] p: got nan, expected a number in (0, 1]");
  EXPECT_EQ(text(Tensor::from<float>({2, 2}, {0.5f, 0.5f, NAN, 0.5f}), top_p(0.5, raw)),
            "[route] probs: got nan for token 1, expected finite numbers >= 0");
  EXPECT_EQ(text(Tensor::zeros({2, 2}, DType::f32), top_k(1, raw)),
            "[route] probs: got only zeros for token 0");
  EXPECT_EQ(text(Tensor({4}, DType::f32), top_k(1, raw)),
            "[route] probs: got shape [4], expected 2 axes");
}

TEST(RoutingStats, CountsAndAverages) {
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<double>({2, 3}, {0.5, 0.25, 0.25, 0.125, 0.875, 0.0});
  const RoutingStats stats = routing_stats(probs, route(tape, probs, top_p(0.7, raw)));
  EXPECT_EQ(stats.tokens_per_expert, (std::vector<int64_t>{1, 2, 0}));
  EXPECT_EQ(stats.mean_active, 1.5);
  EXPECT_EQ(stats.probability_mass, (std::vector<double>{0.3125, 0.5625, 0.125}));
}

TEST(MaskColumns, MasksAndStopsTheGradient) {
  const Tensor logits = Tensor::from<double>({2, 3}, {1, 2, 3, 4, 5, 6});
  Tape tape;
  tape.watch(logits);
  const Tensor masked = mask_columns(tape, logits, {1});
  EXPECT_EQ(contents<double>(masked), (std::vector<double>{1, -INFINITY, 3, 4, -INFINITY, 6}));
  tape.backward(masked, Tensor::full({2, 3}, DType::f64, 7.0));
  EXPECT_EQ(contents<double>(tape.grad(logits)), (std::vector<double>{7, 0, 7, 7, 0, 7}));
}

TEST(MaskColumns, NamesWhatIsWrong) {
  Tape tape;
  const Tensor logits = Tensor::zeros({2, 2}, DType::f32);
  EXPECT_EQ(testing::error_text([&] { mask_columns(tape, logits, {2}); }),
            "[mask_columns] column: got 2, expected 0 to 1");
  EXPECT_EQ(testing::error_text([&] {
              mask_columns(tape, logits, {1, 0, 1});
            }),
            "[mask_columns] got all 2 columns, expected fewer");
}

}  // namespace
}  // namespace offshoot
