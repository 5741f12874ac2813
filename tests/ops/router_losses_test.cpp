#include "ops/router_losses.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/route_any.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::GoldenCase;
using testing::OpCase;

const std::vector<Shape> kShapes{{1, 1}, {1, 5}, {7, 1}, {7, 3}, {131, 11}, {3, 257}};

using Loss = Tensor (*)(Tape&, const Tensor&);

OpCase loss_case(Loss loss, const Shape& shape) {
  return {to_string(shape), {shape}, [loss](Tape& tape, const std::vector<Tensor>& in) {
            return loss(tape, in[0]);
          }};
}

// Its mean must stay away from 0.
Tensor importance_of_softmax(Tape& tape, const Tensor& logits) {
  return importance_loss(tape, softmax(tape, logits));
}

// Two experts a token, those of its largest logits.
Tensor load_of_top_2(Tape& tape, const Tensor& logits) {
  Tape none = Tape::none();
  const int64_t k = std::min<int64_t>(2, logits.dim(1));
  const Routing routing =
      route(none, softmax(none, logits), testing::top_k(k, CombineWeights::raw));
  return load_loss(tape, logits, routing, 0.5);
}

// Every third token keeps nothing.
Tensor load_of_some(Tape& tape, const Tensor& logits) {
  Tape none = Tape::none();
  const int64_t N = logits.dim(0), E = logits.dim(1);
  const Tensor kept({N, E}, logits.dtype()), thresholds({E}, logits.dtype());
  dispatch_float("load_of_some", logits.dtype(), [&]<class T>(T) {
    Random random(9, 0);
    for (int64_t i = 0; i < N * E; ++i) {
      kept.data<T>()[i] = static_cast<T>(i / E % 3 == 2 ? 0.25 : random.uniform());
    }
    std::ranges::fill(thresholds.elements<T>(), T(0.5));
  });
  const Device device = logits.device();
  const Routing routing = route_any(none, kept.to(device), thresholds.to(device));
  return load_loss(tape, logits, routing, 0.5);
}

struct Named {
  const char* name;
  Loss loss;
};
constexpr Named kLosses[] = {{"importance", importance_of_softmax},
                             {"load", load_of_top_2},
                             {"load_of_some", load_of_some},
                             {"variance", variance_loss},
                             {"diversity", diversity_loss}};

// No two numbers of a row close to each other, nor all experts' sums equal.
void fill_apart(size_t, const Tensor& logits, Random& random) {
  const int64_t E = logits.dim(1);
  for (int64_t i = 0; i < logits.size(); ++i) {
    const double step = static_cast<double>(i * 7 % E) / static_cast<double>(E);
    logits.data<double>()[i] = 4 * step + 0.5 / static_cast<double>(E) * random.uniform() - 1;
  }
}

TEST(RouterLosses, GradientsMatchCentralDifferences) {
  for (const auto& [name, loss] : kLosses) {
    for (const Shape& shape : kShapes) {
      OpCase op_case = loss_case(loss, shape);
      op_case.fill = fill_apart;
      // Directions of a diversity that rounding hides: cosines of a single number are 1 or -1.
      EXPECT_LT(testing::gradient_error(op_case), 1e-6) << name << to_string(shape);
    }
  }
}

TEST(RouterLosses, SinglePrecisionFollowsDoubleAndRepeats) {
  for (const auto& [name, loss] : kLosses) {
    OpCase op_case = loss_case(loss, {1031, 10});
    op_case.fill = [](size_t i, const Tensor& logits, Random& random) {
      const Tensor wide(logits.shape(), DType::f64);
      fill_apart(i, wide, random);
      for (int64_t n = 0; n < wide.size(); ++n) logits.data<double>()[n] = wide.data<double>()[n];
    };
    EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case)) << name;
    EXPECT_LT(testing::single_precision_error(op_case), 1e-4) << name;
  }
}

TEST(RouterLosses, MatchGoldenValues) {
  const testing::GoldenFile file("routers.h5");
  testing::expect_matches_golden(file, "importance_loss", [](Tape& tape, const GoldenCase& golden) {
    return importance_loss(tape, golden["probs"]);
  });
  testing::expect_matches_golden(file, "load_loss", [](Tape& tape, const GoldenCase& golden) {
    Tape none = Tape::none();
    const Routing routing = route(none, softmax(none, golden["logits"]),
                                  testing::top_k(golden.integer("k"), CombineWeights::raw));
    return load_loss(tape, golden["logits"], routing, golden.number("sigma"));
  });
  testing::expect_matches_golden(file, "variance_loss", [](Tape& tape, const GoldenCase& golden) {
    return variance_loss(tape, golden["scores"]);
  });
  testing::expect_matches_golden(file, "diversity_loss", [](Tape& tape, const GoldenCase& golden) {
    return diversity_loss(tape, golden["embedding"]);
  });
}

TEST(RouterLosses, AreZeroForAnEvenSpread) {
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<double>({2, 2}, {0.7, 0.3, 0.3, 0.7});
  EXPECT_NEAR(importance_loss(tape, probs).item(), 0, 1e-15);
  const Routing routing = route(tape, probs, testing::top_k(1, CombineWeights::raw));
  EXPECT_NEAR(load_loss(tape, probs, routing, 0.1).item(), 0, 1e-15);
  EXPECT_EQ(variance_loss(tape, Tensor::full({3, 2}, DType::f64, 0.25)).item(), 0);
}

// An orthonormal embedding has no overlap, and the overlap no gradient.
TEST(DiversityLoss, OfOrthonormalRowsIsTheirNorm) {
  const Tensor embedding = Tensor::from<double>({2, 3}, {0, 2, 0, 1, 0, 0});
  Tape tape;
  tape.watch(embedding);
  const Tensor loss = diversity_loss(tape, embedding);
  EXPECT_EQ(loss.item(), 1.5);
  tape.backward(loss);
  const Tensor grad = tape.grad(embedding);
  const auto got = grad.elements<double>();
  EXPECT_EQ(std::vector<double>(got.begin(), got.end()),
            (std::vector<double>{0, 0.5, 0, 0.5, 0, 0}));
}

TEST(LoadLoss, AMaskedExpertHasNoLoadAndNoGradient) {
  const Tensor logits = Tensor::from<double>({2, 3}, {1, -INFINITY, 2, 0.5, -INFINITY, 0.25});
  Tape tape, none = Tape::none();
  tape.watch(logits);
  const Routing routing =
      route(none, softmax(none, logits), testing::top_k(1, CombineWeights::raw));
  const Tensor loss = load_loss(tape, logits, routing, 1.0);
  tape.backward(loss);
  const Tensor grad = tape.grad(logits);
  for (const double g : grad.elements<double>()) EXPECT_TRUE(std::isfinite(g));
  EXPECT_EQ(grad.data<double>()[1], 0);
  // Loads Phi(-1) + 1/2, 0, 1/2 + Phi(-1/4).
  const double a = 0.5 + 0.5 * std::erfc(std::sqrt(0.5)),
               b = 0.5 + 0.5 * std::erfc(std::sqrt(0.5) / 4);
  const double mean = (a + b) / 3;
  EXPECT_NEAR(loss.item(), (a * a + b * b) / 3 / (mean * mean) - 1, 1e-12);
}

// Loads Phi(-1), Phi(-2) and Phi(0).
TEST(LoadLoss, WithoutPairsTheThresholdIsTheLargestLogit) {
  Tape none = Tape::none();
  const Tensor logits = Tensor::from<double>({1, 3}, {2, 1, 3});
  const Tensor low = Tensor::full({1, 3}, DType::f64, 0.25);
  const Routing routing = route_any(none, low, Tensor::full({3}, DType::f64, 0.5));
  const auto chance = [](double z) { return 0.5 * std::erfc(-z * std::sqrt(0.5)); };
  const double a = chance(-1), b = chance(-2), c = 0.5, mean = (a + b + c) / 3;
  EXPECT_NEAR(load_loss(none, logits, routing, 1.0).item(),
              (a * a + b * b + c * c) / 3 / (mean * mean) - 1, 1e-12);
}

TEST(RouterLossesCuda, FollowTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const auto& [name, loss] : kLosses) {
    for (const Shape& shape : kShapes) {
      OpCase op_case = loss_case(loss, shape);
      op_case.fill = fill_apart;
      EXPECT_LT(testing::cuda_error(op_case), 1e-4) << name << to_string(shape);
    }
  }
}

TEST(RouterLosses, NameWhatIsWrong) {
  Tape tape;
  const Tensor probs = Tensor::from<float>({2, 2}, {0.75f, 0.25f, 0.5f, 0.5f});
  const Tensor empty({0, 2}, DType::f32), all_masked = Tensor::full({2, 2}, DType::f32, -INFINITY);
  const Routing routing = route(tape, probs, testing::top_k(1, CombineWeights::raw));
  const auto text = [&](auto&& f) { return testing::error_text(f); };
  EXPECT_EQ(text([&] { importance_loss(tape, empty); }),
            "[importance_loss] probs: got shape [0, 2], expected at least one token and expert");
  EXPECT_EQ(text([&] { variance_loss(tape, empty); }),
            "[variance_loss] scores: got shape [0, 2], expected at least one token and expert");
  EXPECT_EQ(text([&] { diversity_loss(tape, empty); }),
            "[diversity_loss] embedding: got shape [0, 2], expected at least one expert and "
            "dimension");
  EXPECT_EQ(text([&] { load_loss(tape, empty, routing, 1.0); }),
            "[load_loss] logits: got shape [0, 2], expected at least one token and expert");
  EXPECT_EQ(text([&] {
              load_loss(tape, Tensor::zeros({2, 3}, DType::f32), routing, 1.0);
            }),
            "[load_loss] logits: got shape [2, 3], expected [2, 2]");
  EXPECT_EQ(text([&] { load_loss(tape, probs, routing, 0.0); }),
            "[load_loss] sigma: got 0, expected a positive number");
  EXPECT_EQ(text([&] { load_loss(tape, all_masked, routing, 1.0); }),
            "[load_loss] logits: got -inf as threshold of token 0, expected a finite number");
}

}  // namespace
}  // namespace offshoot
