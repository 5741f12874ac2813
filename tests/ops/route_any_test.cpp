#include "ops/route_any.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/parallel.h"
#include "ops/balance.h"
#include "ops/permute.h"
#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

template <class T>
std::vector<T> contents(const Tensor& tensor) {
  const auto elements = tensor.elements<T>();
  return {elements.begin(), elements.end()};
}

// Scores in (0, 1), each 0.01 away from its threshold, in steps so that many are equal; every fifth
// token keeps nothing, every seventh one expert, and expert 1 gets no token.
void fill_scores(const Tensor& scores, Random& random) {
  const int64_t N = scores.dim(0), E = scores.dim(1);
  dispatch_float("fill_scores", scores.dtype(), [&]<class T>(T) {
    for (int64_t i = 0; i < N * E; ++i) {
      const int64_t n = i / E, e = i % E;
      const bool low = n % 5 == 4 || (n % 7 == 6 && e != n % E) || (e == 1 && E > 1);
      const double score = (low ? 0.05 : 0.15) + 0.02 * static_cast<double>(random.below(19));
      scores.data<T>()[i] = static_cast<T>(static_cast<float>(low ? score : 2 * score));
    }
  });
}
void fill_thresholds(const Tensor& thresholds, Random& random) {
  dispatch_float("fill_scores", thresholds.dtype(), [&]<class T>(T) {
    for (T& threshold : thresholds.elements<T>()) {
      threshold =
          static_cast<T>(static_cast<float>(0.44 + 0.02 * static_cast<double>(random.below(3))));
    }
  });
}

struct Inputs {
  Tensor scores, thresholds;

  Inputs(const Shape& shape, DType dtype) : scores(shape, dtype), thresholds({shape[1]}, dtype) {
    Random random(3, stream_of("route_any"));
    fill_scores(scores, random);
    fill_thresholds(thresholds, random);
  }
};

// The definition: filter, sort, list.
struct Expected {
  std::vector<int64_t> token_offsets{0}, expert_offsets{0};
  std::vector<int32_t> expert_of_pair, token_of_row, pair_of_row;
  std::vector<double> weights;
};

Expected routed_naively(const Inputs& in, bool best_if_none) {
  const int64_t N = in.scores.dim(0), E = in.scores.dim(1);
  Expected expected;
  std::vector<int32_t> token_of_pair;
  for (int64_t n = 0; n < N; ++n) {
    const double* const s = in.scores.data<double>() + n * E;
    std::vector<int32_t> order(static_cast<size_t>(E)), kept;
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return s[a] > s[b]; });
    std::ranges::copy_if(order, std::back_inserter(kept),
                         [&](int32_t e) { return s[e] > in.thresholds.data<double>()[e]; });
    if (kept.empty() && best_if_none) kept.push_back(order[0]);
    for (const int32_t e : kept) {
      expected.expert_of_pair.push_back(e);
      expected.weights.push_back(1.0 / static_cast<double>(kept.size()));
      token_of_pair.push_back(static_cast<int32_t>(n));
    }
    expected.token_offsets.push_back(static_cast<int64_t>(expected.weights.size()));
  }
  for (int32_t e = 0; e < E; ++e) {
    for (size_t pair = 0; pair < token_of_pair.size(); ++pair) {
      if (expected.expert_of_pair[pair] != e) continue;
      expected.pair_of_row.push_back(static_cast<int32_t>(pair));
      expected.token_of_row.push_back(token_of_pair[pair]);
    }
    expected.expert_offsets.push_back(static_cast<int64_t>(expected.pair_of_row.size()));
  }
  return expected;
}

void expect_routed(const Inputs& in, bool best_if_none) {
  Tape tape = Tape::none();
  const Routing routing = route_any(tape, in.scores, in.thresholds, {best_if_none});
  const Expected expected = routed_naively(in, best_if_none);
  EXPECT_EQ(contents<int64_t>(routing.token_offsets), expected.token_offsets);
  EXPECT_EQ(contents<int64_t>(routing.expert_offsets), expected.expert_offsets);
  EXPECT_EQ(contents<int32_t>(routing.expert_of_pair), expected.expert_of_pair);
  EXPECT_EQ(contents<int32_t>(routing.token_of_row), expected.token_of_row);
  EXPECT_EQ(contents<int32_t>(routing.pair_of_row), expected.pair_of_row);
  EXPECT_EQ(contents<double>(routing.weights), expected.weights);
  for (int64_t pair = 0; pair < routing.pairs(); ++pair) {
    EXPECT_EQ(expected.pair_of_row[static_cast<size_t>(routing.row_of_pair.data<int32_t>()[pair])],
              pair);
  }
}

TEST(RouteAny, IsFilterSortAndList) {
  for (const Shape& shape :
       {Shape{0, 3}, {1, 1}, {1, 7}, {17, 1}, {131, 10}, {1024, 10}, {5, 257}}) {
    SCOPED_TRACE(to_string(shape));
    for (const bool best_if_none : {false, true}) {
      expect_routed(Inputs(shape, DType::f64), best_if_none);
    }
  }
}

TEST(RouteAny, RepeatsForAnyNumberOfThreads) {
  const int threads = num_threads();
  for (const int count : {1, 3}) {
    set_num_threads(count);
    expect_routed(Inputs({1021, 10}, DType::f64), false);
  }
  set_num_threads(threads);
}

testing::GoldenOutputs golden_outputs(Tape& tape, const testing::GoldenCase& golden) {
  const Tensor& scores = golden["scores"];
  const Routing routing =
      route_any(tape, scores, golden["thresholds"], {.best_if_none = golden.flag("best_if_none")});
  const Tensor counts({routing.experts()}, DType::i64);
  std::ranges::copy(routing_stats(scores, routing).tokens_per_expert, counts.data<int64_t>());
  return testing::NamedTensors{{"weights", testing::dense_weights(tape, routing)},
                               {"counts", counts}};
}

TEST(RouteAny, MatchesGoldenValues) {
  testing::expect_matches_golden(testing::GoldenFile("routers.h5"), "route_any", golden_outputs);
}

// dscores of a token with two kept experts: (dw_k - mean) / 2; of one with one: 0.
TEST(RouteAny, GradientFlowsThroughTheSum) {
  const Tensor scores = Tensor::from<double>({3, 3}, {0.6, 0.8, 0.1, 0.1, 0.9, 0.2, 0.1, 0.2, 0.3});
  const Tensor thresholds = Tensor::from<double>({3}, {0.5, 0.5, 0.5});
  for (const bool best_if_none : {false, true}) {
    Tape tape;
    tape.watch(scores);
    tape.watch(thresholds);
    const Routing routing = route_any(tape, scores, thresholds, {best_if_none});
    EXPECT_EQ(routing.pairs(), best_if_none ? 4 : 3);
    tape.backward(routing.weights,
                  Tensor::from<double>({4}, {3, 1, 5, 9}).rows(0, routing.pairs()));
    EXPECT_EQ(contents<double>(tape.grad(scores)),
              (std::vector<double>{-0.5, 0.5, 0, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(contents<double>(tape.grad(thresholds)), (std::vector<double>{0.5, -0.5, 0}));
  }
}

// What is barely above is kept, what is equal is not; 0 below any threshold masks.
TEST(RouteAny, KeepsWhatIsAboveTheThreshold) {
  Tape tape = Tape::none();
  const float least = std::numeric_limits<float>::denorm_min();
  const Tensor thresholds = Tensor::from<float>({4}, {0.5f, 0.5f, least, 0.1f});
  const Tensor scores =
      Tensor::from<float>({1, 4}, {0.5f, std::nextafter(0.5f, 1.0f), 2 * least, 0});
  const Routing routing = route_any(tape, scores, thresholds);
  EXPECT_EQ(contents<int32_t>(routing.expert_of_pair), (std::vector<int32_t>{1, 2}));
}

TEST(RouteAny, ATokenWithoutExpertsGivesZeros) {
  const Tensor scores = Tensor::from<double>({2, 2}, {0.1, 0.2, 0.1, 0.9});
  const Tensor thresholds = Tensor::from<double>({2}, {0.5, 0.5});
  const Tensor x = Tensor::from<double>({2, 2}, {1, 2, 3, 4});
  Tape tape;
  tape.watch(x);
  const Routing routing = route_any(tape, scores, thresholds);
  const Tensor out = combine_tokens(tape, dispatch_tokens(tape, x, routing), routing);
  EXPECT_EQ(contents<double>(out), (std::vector<double>{0, 0, 3, 4}));
  tape.backward(out, Tensor::full({2, 2}, DType::f64, 2.0));
  EXPECT_EQ(contents<double>(tape.grad(x)), (std::vector<double>{0, 0, 2, 2}));
  const RoutingStats stats = routing_stats(scores, routing);
  EXPECT_EQ(stats.mean_active, 0.5);
  EXPECT_EQ(stats.tokens_per_expert, (std::vector<int64_t>{0, 1}));
  // Its first choice is that of its largest score all the same.
  Tape none = Tape::none();
  EXPECT_NEAR(load_balance_loss(none, scores, routing).item(), 2 * (0.55 * 1.0), 1e-15);
}

TEST(RouteAny, NobodyMayKeepAnything) {
  const Tensor scores = Tensor::full({3, 2}, DType::f64, 0.1);
  const Tensor thresholds = Tensor::full({2}, DType::f64, 0.5);
  Tape tape;
  tape.watch(scores);
  const Routing routing = route_any(tape, scores, thresholds);
  EXPECT_EQ(routing.pairs(), 0);
  tape.backward(combine_tokens(tape, Tensor({0, 3}, DType::f64), routing),
                Tensor::full({3, 3}, DType::f64, 1.0));
  EXPECT_EQ(contents<double>(tape.grad(scores)), std::vector<double>(6, 0.0));
}

// Weights by token, each pair with a row of its own; the routed set stays where it is.
OpCase combined_case(const Shape& shape, bool best_if_none) {
  return {to_string(shape),
          {shape, {shape[1]}},
          [best_if_none](Tape& tape, const std::vector<Tensor>& in) {
            const Routing routing = route_any(tape, in[0], in[1], {best_if_none});
            const Tensor y = testing::random_tensor({in[0].size(), 3}, in[0].dtype(), 8);
            return combine_tokens(tape, y.rows(0, routing.rows()).to(in[0].device()), routing);
          },
          [](size_t i, const Tensor& input, Random& random) {
            i == 0 ? fill_scores(input, random) : fill_thresholds(input, random);
          }};
}

TEST(RouteAny, GradientsRepeatForAnyThreadCount) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(combined_case({1021, 10}, false)));
  EXPECT_LT(testing::single_precision_error(combined_case({1021, 10}, false)), 1e-5);
}

TEST(RouteAnyCuda, IsTheCpusRouting) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  for (const Shape& shape :
       {Shape{0, 3}, {1, 1}, {1, 7}, {17, 1}, {131, 10}, {263, 33}, {5, 257}}) {
    const Inputs in(shape, DType::f32);
    for (const bool best_if_none : {false, true}) {
      const Routing expected = route_any(tape, in.scores, in.thresholds, {best_if_none});
      for (const int64_t row_alignment : {1, 8, 128}) {
        SCOPED_TRACE(fmt::format("{}, rows by {}", to_string(shape), row_alignment));
        const Tensor scores = in.scores.to(testing::kCuda);
        const Tensor thresholds = in.thresholds.to(testing::kCuda);
        const int64_t waits = device_waits();
        const Routing there = route_any(tape, scores, thresholds, {best_if_none, row_alignment});
        EXPECT_EQ(device_waits(), waits);
        const Routing got = to_cpu(there);
        EXPECT_EQ(contents<int64_t>(got.token_offsets), contents<int64_t>(expected.token_offsets));
        EXPECT_EQ(contents<int64_t>(got.expert_offsets),
                  contents<int64_t>(expected.expert_offsets));
        EXPECT_EQ(contents<int32_t>(got.expert_of_pair),
                  contents<int32_t>(expected.expert_of_pair));
        EXPECT_EQ(contents<int32_t>(got.token_of_row), contents<int32_t>(expected.token_of_row));
        EXPECT_EQ(contents<int32_t>(got.pair_of_row), contents<int32_t>(expected.pair_of_row));
        EXPECT_EQ(contents<float>(got.weights), contents<float>(expected.weights));
        EXPECT_EQ(routing_stats(scores, there).mean_active,
                  routing_stats(in.scores, expected).mean_active);
      }
    }
  }
}

TEST(RouteAnyCuda, GradientsFollowTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Shape& shape : {Shape{1, 5}, {7, 1}, {37, 7}, {131, 33}, {3, 257}}) {
    for (const bool best_if_none : {false, true}) {
      EXPECT_LT(testing::cuda_error(combined_case(shape, best_if_none)), 1e-5) << to_string(shape);
    }
  }
}

TEST(RouteAnyCuda, BadNumbersMakeNaN) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const auto weights = [&](std::initializer_list<float> scores, float threshold) {
    const Routing routing =
        to_cpu(route_any(tape, Tensor::from<float>({1, 2}, scores).to(testing::kCuda),
                         Tensor::from<float>({2}, {0.5f, threshold}).to(testing::kCuda)));
    return contents<float>(routing.weights);
  };
  EXPECT_EQ(weights({0.75f, 0.75f}, 0.5f), (std::vector<float>{0.5f, 0.5f}));
  for (const auto& bad : {weights({0.75f, NAN}, 0.5f), weights({0.75f, 0.75f}, NAN),
                          weights({NAN, 0.25f}, 0.5f), weights({HUGE_VALF, 0.75f}, 0.5f)}) {
    ASSERT_FALSE(bad.empty());
    for (const float weight : bad) EXPECT_TRUE(std::isnan(weight));
  }
}

TEST(RouteAny, NamesWhatIsWrong) {
  Tape tape;
  const Tensor scores = Tensor::full({2, 2}, DType::f32, 0.5);
  const auto text = [&](const Tensor& s, const Tensor& t, const RouteAnyOptions& options = {}) {
    return testing::error_text([&] { route_any(tape, s, t, options); });
  };
  EXPECT_EQ(text(scores, Tensor::zeros({3}, DType::f32)),
            "[route_any] thresholds: got shape [3], expected [2]");
  EXPECT_EQ(text(scores, Tensor::zeros({2}, DType::f64)),
            "[route_any] thresholds: got f64, expected f32");
  EXPECT_EQ(text(Tensor::zeros({2}, DType::f32), Tensor::zeros({2}, DType::f32)),
            "[route_any] scores: got shape [2], expected 2 axes");
  EXPECT_EQ(text(scores, Tensor::full({2}, DType::f32, NAN)),
            "[route_any] thresholds: got nan, expected numbers");
  EXPECT_EQ(text(Tensor::full({2, 2}, DType::f32, -0.5), Tensor::zeros({2}, DType::f32)),
            "[route_any] scores: got -0.5 for token 0, expected finite numbers >= 0");
  EXPECT_EQ(text(scores, Tensor::zeros({2}, DType::f32), {.row_alignment = 8}),
            "[route_any] row_alignment: got 8, expected 1 on the CPU");
}

}  // namespace
}  // namespace offshoot
