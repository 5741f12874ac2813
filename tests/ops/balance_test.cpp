#include "ops/balance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/cosine_rows.h"
#include "ops/softmax.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::GoldenCase;
using testing::OpCase;

RouteOptions top_1() { return {RouteOptions::Kind::top_k, 1, 1.0, CombineWeights::raw}; }

// Each token's largest logit leads by more than 1e-3: the routed set stays.
void fill_clear(size_t, const Tensor& logits, Random& random) {
  const int64_t N = logits.dim(0), E = logits.dim(1);
  for (int64_t n = 0; n < N; ++n) {
    double* row = logits.data<double>() + n * E;
    for (int64_t e = 0; e < E; ++e) row[e] = random.normal();
    *std::max_element(row, row + E) += 0.01;
  }
}

TEST(LoadBalanceLoss, GradientsMatchCentralDifferences) {
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor probs = softmax(tape, in[0]);
    return load_balance_loss(tape, probs, route(tape, probs, top_1()));
  };
  for (const Shape& shape : {Shape{1, 1}, {1, 5}, {7, 3}, {131, 11}}) {
    EXPECT_LT(testing::gradient_error({"case", {shape}, run, fill_clear}), 1e-6)
        << to_string(shape);
  }
}

TEST(LoadBalanceLoss, MatchesGoldenValues) {
  testing::expect_matches_golden("load_balance_loss", [](Tape& tape, const GoldenCase& golden) {
    Tape none = Tape::none();
    return load_balance_loss(tape, golden["probs"], route(none, golden["probs"], top_1()));
  });
}

TEST(LoadBalanceLoss, IsOneForAnEvenSpread) {
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<double>({2, 2}, {0.6, 0.4, 0.4, 0.6});
  EXPECT_NEAR(load_balance_loss(tape, probs, route(tape, probs, top_1())).item(), 1.0, 1e-15);
}

TEST(RouterZLoss, GradientsMatchCentralDifferences) {
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    return router_z_loss(tape, in[0]);
  };
  for (const Shape& shape : {Shape{1, 1}, {1, 5}, {7, 3}, {131, 11}}) {
    EXPECT_LT(testing::gradient_error({"case", {shape}, run}), 1e-6) << to_string(shape);
  }
}

TEST(RouterZLoss, MatchesGoldenValues) {
  testing::expect_matches_golden("router_z_loss", [](Tape& tape, const GoldenCase& golden) {
    return router_z_loss(tape, golden["logits"]);
  });
}

// First choices at random; every seventh token keeps nothing. Of the expert_of_pair, the last four
// are no pairs.
Routing first_choices(int64_t N, int64_t E, Device device) {
  Random random(5, 0);
  Tensor token_offsets({N + 1}, DType::i64), expert_of_pair({3 * N + 4}, DType::i32);
  int64_t* const offsets = token_offsets.data<int64_t>();
  for (int32_t& expert : expert_of_pair.elements<int32_t>()) {
    expert = static_cast<int32_t>(random.below(E));
  }
  offsets[0] = 0;
  for (int64_t n = 0; n < N; ++n) offsets[n + 1] = offsets[n] + (n % 7 == 6 ? 0 : 1 + n % 3);
  Routing routing;
  routing.token_offsets = token_offsets.to(device);
  routing.expert_of_pair = expert_of_pair.to(device);
  routing.expert_offsets = Tensor::zeros({E + 1}, DType::i64, device);
  return routing;
}

TEST(LoadBalanceLossCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor probs = softmax(tape, in[0]);
    return load_balance_loss(tape, probs,
                             first_choices(in[0].dim(0), in[0].dim(1), in[0].device()));
  };
  for (const Shape& shape :
       {Shape{1, 1}, {1, 5}, {7, 3}, {64, 32}, {65, 33}, {131, 11}, {2111, 7}, {67, 257}}) {
    EXPECT_LT(testing::cuda_error({"case", {shape}, run}), 1e-5) << to_string(shape);
  }
}

// A token without pairs chooses the first of its largest probabilities.
TEST(LoadBalanceLossCuda, TiesFallAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor probs = Tensor::from<float>(
      {3, 4}, {0.1f, 0.4f, 0.1f, 0.4f, 0.25f, 0.25f, 0.25f, 0.25f, 0.1f, 0.2f, 0.35f, 0.35f});
  const auto gradient = [&](Device device) {
    Routing routing;
    routing.token_offsets = Tensor::zeros({4}, DType::i64, device);
    routing.expert_of_pair = Tensor({0}, DType::i32, device);
    routing.expert_offsets = Tensor::zeros({5}, DType::i64, device);
    const Tensor there = probs.to(device);
    Tape tape;
    tape.watch(there);
    tape.backward(load_balance_loss(tape, there, routing));
    return tape.grad(there).to(Device{});
  };
  const Tensor got = gradient(testing::kCuda), expected = gradient({});
  EXPECT_LT(testing::relative_error(got, expected), 1e-6);
  EXPECT_EQ(expected.data<float>()[3], 0.0f);
}

TEST(RouterZLossCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    return router_z_loss(tape, in[0]);
  };
  for (const Shape& shape : {Shape{1, 1}, {1, 5}, {7, 3}, {131, 11}, {2111, 7}, {67, 257}}) {
    EXPECT_LT(testing::cuda_error({"case", {shape}, run}), 1e-5) << to_string(shape);
  }
}

TEST(RouterZLossCuda, TakesFloat32Only) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape;
  EXPECT_EQ(testing::error_text([&] {
              router_z_loss(tape, Tensor::zeros({2, 3}, DType::bf16, testing::kCuda));
            }),
            "[router_z_loss] logits: got bf16, expected f32");
}

TEST(RouterZLoss, NamesWhatIsWrong) {
  Tape tape;
  EXPECT_EQ(testing::error_text([&] {
              router_z_loss(tape, Tensor({0, 3}, DType::f32));
            }),
            "[router_z_loss] logits: got shape [0, 3], expected at least one token and expert");
}

TEST(CosineRows, GradientsMatchCentralDifferences) {
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    return cosine_rows(tape, in[0], {{0, 1}, {2, 0}, {1, 1}});
  };
  for (const Shape& shape : {Shape{3, 1}, {3, 7}, {5, 131}}) {
    EXPECT_LT(testing::gradient_error({"case", {shape}, run}), 1e-6) << to_string(shape);
  }
}

TEST(CosineRows, MatchesGoldenValues) {
  testing::expect_matches_golden("cosine_rows", [](Tape& tape, const GoldenCase& golden) {
    std::vector<std::pair<int64_t, int64_t>> pairs;
    const auto first = golden["first"].elements<int64_t>();
    const auto second = golden["second"].elements<int64_t>();
    for (size_t i = 0; i < first.size(); ++i) pairs.emplace_back(first[i], second[i]);
    return cosine_rows(tape, golden["rows"], pairs);
  });
}

TEST(CosineRowsCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    return cosine_rows(tape, in[0], {{0, 1}, {2, 0}, {1, 1}, {0, 1}});
  };
  for (const Shape& shape : {Shape{3, 1}, {3, 7}, {5, 131}, {4, 1031}}) {
    EXPECT_LT(testing::cuda_error({"case", {shape}, run}), 1e-5) << to_string(shape);
  }
}

TEST(CosineRowsCuda, NoPairsIsLegal) {
  OFFSHOOT_NEEDS_CUDA();
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    return cosine_rows(tape, in[0], {});
  };
  EXPECT_LT(testing::cuda_error({"none", {{3, 7}}, run}), 1e-5);
}

TEST(CosineRowsCuda, AZeroRowIsNaNWithoutGradient) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor w = Tensor::from<float>({3, 2}, {1, 0, 0, 0, 1, 1}).to(testing::kCuda);
  Tape tape;
  tape.watch(w);
  const Tensor out = cosine_rows(tape, w, {{0, 1}, {0, 2}});
  const Tensor cosines = out.to(Device{});
  EXPECT_TRUE(std::isnan(cosines.data<float>()[0]));
  EXPECT_NEAR(cosines.data<float>()[1], std::sqrt(0.5), 1e-6);
  tape.backward(out, Tensor::full({2}, DType::f32, 1.0, testing::kCuda));
  const Tensor grad = tape.grad(w).to(Device{});
  EXPECT_NEAR(grad.data<float>()[1], std::sqrt(0.5), 1e-6);
  EXPECT_EQ(grad.data<float>()[2], 0.0f);
  EXPECT_EQ(grad.data<float>()[3], 0.0f);
}

TEST(CosineRows, NamesWhatIsWrong) {
  Tape tape;
  const Tensor w = Tensor::from<float>({2, 2}, {1, 0, 0, 0});
  EXPECT_EQ(testing::error_text([&] {
              cosine_rows(tape, w, {{0, 2}});
            }),
            "[cosine_rows] row: got 2, expected 0..1");
  EXPECT_EQ(testing::error_text([&] {
              cosine_rows(tape, w, {{0, 1}});
            }),
            "[cosine_rows] row 1: got norm 0, expected a direction");
}

}  // namespace
}  // namespace offshoot
