#include "ops/route.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/parallel.h"
#include "ops/permute.h"
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
      const bool room = options.k_max == 0 || j < static_cast<size_t>(options.k_max);
      if (!keep || !room) break;
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
  for (size_t e = 0; e + 1 < expected.expert_offsets.size(); ++e) {
    EXPECT_EQ(routing.tokens_per_expert.elements<int64_t>()[e],
              expected.expert_offsets[e + 1] - expected.expert_offsets[e]);
  }
  EXPECT_EQ(contents<int32_t>(routing.expert_of_pair), expected.expert_of_pair);
  EXPECT_EQ(contents<int32_t>(routing.token_of_row), expected.token_of_row);
  EXPECT_EQ(contents<int32_t>(routing.row_of_pair), expected.row_of_pair);
  EXPECT_EQ(contents<int32_t>(routing.pair_of_row), expected.pair_of_row);
  const auto weights = contents<double>(routing.weights);
  ASSERT_EQ(weights.size(), expected.weights.size());
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(weights[i], expected.weights[i], 1e-15);
}

RouteOptions at_most(int64_t k_max, RouteOptions options) {
  options.k_max = k_max;
  return options;
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
            top_k(shape[1], weights), top_p(1e-9, weights), top_p(0.7, weights), top_p(1, weights),
            at_most(2, top_p(0.7, weights)), at_most(3, top_p(1, weights)),
            at_most(500, top_p(0.7, weights))}) {
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

// The weights, each with a row of its own, added up by token: the same shape on any device.
OpCase combined_case(std::string name, const Shape& shape, const RouteOptions& options) {
  OpCase weights = weights_case(std::move(name), shape, options);
  weights.op = [options](Tape& tape, const std::vector<Tensor>& in) {
    const Routing routing = route(tape, in[0], options);
    const Tensor y = testing::random_tensor({in[0].size(), 3}, DType::f32, 8);
    return combine_tokens(tape, y.rows(0, routing.rows()).to(in[0].device()), routing);
  };
  return weights;
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

void expect_same(const Routing& got, const Routing& expected) {
  EXPECT_EQ(contents<int64_t>(got.token_offsets), contents<int64_t>(expected.token_offsets));
  EXPECT_EQ(contents<int64_t>(got.expert_offsets), contents<int64_t>(expected.expert_offsets));
  EXPECT_EQ(contents<int64_t>(got.tokens_per_expert),
            contents<int64_t>(expected.tokens_per_expert));
  EXPECT_EQ(contents<int32_t>(got.expert_of_pair), contents<int32_t>(expected.expert_of_pair));
  EXPECT_EQ(contents<int32_t>(got.token_of_row), contents<int32_t>(expected.token_of_row));
  EXPECT_EQ(contents<int32_t>(got.row_of_pair), contents<int32_t>(expected.row_of_pair));
  EXPECT_EQ(contents<int32_t>(got.pair_of_row), contents<int32_t>(expected.pair_of_row));
  EXPECT_EQ(contents<float>(got.weights), contents<float>(expected.weights));
}

// What pads lies behind the tokens of each expert and has neither token nor pair.
void expect_padded(const Routing& routing) {
  const Tensor offsets = routing.expert_offsets.to(Device{});
  const Tensor counts = routing.tokens_per_expert.to(Device{});
  const Tensor tokens = routing.token_of_row.to(Device{}), pairs = routing.pair_of_row.to(Device{});
  for (int64_t e = 0; e < routing.experts(); ++e) {
    const int64_t first = offsets.data<int64_t>()[e], last = offsets.data<int64_t>()[e + 1];
    EXPECT_EQ(first % routing.row_alignment, 0);
    EXPECT_LT(last - first - counts.data<int64_t>()[e], routing.row_alignment);
    ASSERT_LE(last, routing.rows());
    for (int64_t row = first; row < last; ++row) {
      const bool pad = row - first >= counts.data<int64_t>()[e];
      EXPECT_EQ(tokens.data<int32_t>()[row] < 0, pad);
      EXPECT_EQ(pairs.data<int32_t>()[row] < 0, pad);
    }
  }
}

void expect_follows_cpu(const Tensor& probs, RouteOptions options) {
  Tape tape = Tape::none();
  const Routing expected = route(tape, probs, options);
  for (const int64_t row_alignment : {1, 8, 128}) {
    SCOPED_TRACE(fmt::format("{}, k_max {}, rows by {}", to_string(probs.shape()), options.k_max,
                             row_alignment));
    options.row_alignment = row_alignment;
    const int64_t waits = device_waits();
    const Routing routing = route(tape, probs.to(testing::kCuda), options);
    EXPECT_EQ(device_waits(), waits);
    expect_same(to_cpu(routing), expected);
    expect_padded(routing);
  }
}

std::vector<RouteOptions> cuda_policies(int64_t E, CombineWeights weights) {
  return {top_k(1, weights),
          top_k(std::min<int64_t>(3, E), weights),
          top_p(1e-9, weights),
          top_p(0.7, weights),
          top_p(1, weights),
          at_most(2, top_p(0.7, weights)),
          at_most(3, top_p(1, weights))};
}

TEST(RouteCuda, IsTheCpusRouting) {
  OFFSHOOT_NEEDS_CUDA();
  testing::poison_storage(true);
  for (const Shape& shape :
       {Shape{0, 3}, {1, 1}, {1, 7}, {17, 1}, {131, 10}, {263, 33}, {5, 257}}) {
    const Tensor probs = random_probabilities(shape, DType::f32, 1, 0.7);
    for (const CombineWeights weights : {raw, renormalised, renormalised_if_shared}) {
      for (const RouteOptions& options : cuda_policies(shape[1], weights)) {
        expect_follows_cpu(probs, options);
      }
    }
  }
  expect_follows_cpu(random_probabilities({1100, 10}, DType::f32, 1, 0.7), top_p(0.7, raw));
  expect_follows_cpu(random_probabilities({2, 1031}, DType::f32, 1), top_k(5, renormalised));
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

// Quarters, eighths and their sums: many equal scores, and masses of exactly p.
TEST(RouteCuda, TiesFallAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  Random random(3, stream_of("ties"));
  for (const int64_t E : {4, 10, 67}) {
    const Tensor probs({41, E}, DType::f32);
    for (float& score : probs.elements<float>()) {
      score = static_cast<float>(random.below(4)) / 8.0f;
    }
    for (int64_t n = 0; n < 41; ++n) probs.data<float>()[n * E + n % E] = 0.25f;
    for (const double p : {0.25, 0.5, 0.75}) expect_follows_cpu(probs, top_p(p, raw));
    expect_follows_cpu(probs, top_k(3, renormalised));
  }
}

// Sums that only the same order and rounding bring on the same side of p.
TEST(RouteCuda, NearTiesFallAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  Random random(4, stream_of("near ties"));
  const int64_t N = 300, E = 9;
  const Tensor probs({N, E}, DType::f32);
  for (float& score : probs.elements<float>()) {
    score = 0.1f + 1e-8f * static_cast<float>(random.below(5));
  }
  for (const double p : {0.3, 0.5, 0.7}) expect_follows_cpu(probs, top_p(p, raw));
}

TEST(RouteCuda, GradientsFollowTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case :
       {combined_case("one_expert", {7, 1}, top_k(1, raw)),
        combined_case("one_token", {1, 5}, top_k(2, renormalised)),
        combined_case("top_2", {13, 5}, top_k(2, raw)),
        combined_case("top_p", {37, 7}, top_p(0.7, raw)),
        combined_case("renormalised", {37, 7}, top_p(0.7, renormalised)),
        combined_case("shared", {37, 7}, top_p(0.7, renormalised_if_shared)),
        combined_case("not_shared", {37, 7}, top_p(1e-9, renormalised_if_shared)),
        combined_case("at_most_2", {37, 7}, at_most(2, top_p(0.7, renormalised))),
        combined_case("many_experts", {3, 257}, top_p(1, renormalised))}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
  }
}

TEST(RouteCuda, BadScoresMakeNaN) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<float>(
      {5, 2}, {NAN, 0.5f, -1.0f, 0.5f, 0.0f, 0.0f, HUGE_VALF, 0.5f, 0.75f, 0.25f});
  for (const CombineWeights weights : {raw, renormalised}) {
    for (const RouteOptions& options : {top_k(2, weights), top_p(0.7, weights)}) {
      const Routing routing = to_cpu(route(tape, probs.to(testing::kCuda), options));
      for (int64_t n = 0; n < 5; ++n) {
        const int64_t pair = routing.token_offsets.data<int64_t>()[n];
        EXPECT_EQ(std::isnan(routing.weights.data<float>()[pair]), n < 4);
      }
    }
  }
}

TEST(RoutingStatsCuda, AreTheCpus) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const Tensor probs = random_probabilities({131, 10}, DType::f32, 1, 0.7);
  RouteOptions options = top_p(0.7, raw);
  const RoutingStats expected = routing_stats(probs, route(tape, probs, options));
  options.row_alignment = 128;
  const Tensor there = probs.to(testing::kCuda);
  const RoutingStats stats = routing_stats(there, route(tape, there, options));
  EXPECT_EQ(stats.tokens_per_expert, expected.tokens_per_expert);
  EXPECT_EQ(stats.mean_active, expected.mean_active);
  EXPECT_EQ(stats.probability_mass, expected.probability_mass);
}

TEST(MaskColumnsCuda, MasksAndStopsTheGradient) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor logits = Tensor::full({37, 5}, dtype, 3.0, testing::kCuda);
    Tape tape;
    tape.watch(logits);
    const Tensor out = mask_columns(tape, logits, {1, 4, 1});
    tape.backward(out, Tensor::full({37, 5}, dtype, 7.0, testing::kCuda));
    const Tensor value = out.to(Device{}), grad = tape.grad(logits).to(Device{});
    for (int64_t i = 0; i < value.size(); ++i) {
      const bool masked = i % 5 == 1 || i % 5 == 4;
      EXPECT_EQ(value.rows(i / 5, 1).view({5}).rows(i % 5, 1).item(), masked ? -INFINITY : 3.0);
      EXPECT_EQ(grad.rows(i / 5, 1).view({5}).rows(i % 5, 1).item(), masked ? 0.0 : 7.0);
    }
  }
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
  EXPECT_EQ(text(probs, at_most(-1, top_p(0.5, raw))),
            "[route] k_max: got -1, expected a positive number, or 0 for none");
  RouteOptions aligned = top_k(1, raw);
  aligned.row_alignment = 128;
  EXPECT_EQ(text(probs, aligned), "[route] row_alignment: got 128, expected 1 on the CPU");
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
