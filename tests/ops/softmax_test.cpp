#include "ops/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/exponentials.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor run(Tape& tape, const std::vector<Tensor>& inputs) { return softmax(tape, inputs[0]); }
Tensor run_log(Tape& tape, const std::vector<Tensor>& inputs) {
  return log_softmax(tape, inputs[0]);
}

class SoftmaxGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(SoftmaxGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

// Of one column alone the softmax is constant: no relative error to speak of.
INSTANTIATE_TEST_SUITE_P(Cases, SoftmaxGradient,
                         ::testing::Values(OpCase{"one_row", {{2}}, run},
                                           OpCase{"prime_sizes", {{2, 7, 13}}, run},
                                           OpCase{"wide", {{3, 137}}, run},
                                           OpCase{"log_one_row", {{2}}, run_log},
                                           OpCase{"log_prime_sizes", {{2, 7, 13}}, run_log},
                                           OpCase{"log_wide", {{3, 137}}, run_log}),
                         testing::case_name);

TEST(Softmax, MatchesGoldenValues) {
  testing::expect_matches_golden("softmax", [](Tape& tape, const testing::GoldenCase& golden) {
    return softmax(tape, golden["x"]);
  });
  testing::expect_matches_golden("log_softmax", [](Tape& tape, const testing::GoldenCase& golden) {
    return log_softmax(tape, golden["x"]);
  });
}

TEST(Softmax, SinglePrecisionFollowsDouble) {
  for (const auto& function : {run, run_log}) {
    EXPECT_LT(testing::single_precision_error({"main", {{1024, 10}}, function}), 1e-5);
    EXPECT_LT(testing::single_precision_error({"wide", {{7, 3001}}, function}), 1e-5);
  }
}

TEST(Softmax, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count({"odd", {{1021, 53}}, run}));
}

TEST(Softmax, OneColumnIsCertain) {
  Tape tape;
  const Tensor x = testing::random_tensor({3, 1}, DType::f64, 1);
  tape.watch(x);
  const Tensor out = softmax(tape, x);
  for (const double value : out.elements<double>()) EXPECT_EQ(value, 1.0);
  tape.backward(out, testing::random_tensor({3, 1}, DType::f64, 2));
  const Tensor grad = tape.grad(x);
  for (const double value : grad.elements<double>()) EXPECT_EQ(value, 0.0);
}

TEST(Softmax, LargeElementsDoNotOverflow) {
  Tape tape = Tape::none();
  const Tensor x = Tensor::from<float>({2, 2}, {1e4f, 1e4f, -1e4f, 0.0f});
  const Tensor out = softmax(tape, x), logs = log_softmax(tape, x);
  EXPECT_EQ(out.data<float>()[0], 0.5f);
  EXPECT_EQ(out.data<float>()[2], 0.0f);
  EXPECT_NEAR(logs.data<float>()[1], -std::log(2.0f), 1e-7f);
  EXPECT_EQ(logs.data<float>()[2], -1e4f);
}

TEST(Softmax, MaskedElementsGetNothing) {
  Tape tape;
  const Tensor x = Tensor::from<double>({1, 3}, {1.0, -kInfinity, 1.0});
  tape.watch(x);
  const Tensor out = softmax(tape, x);
  EXPECT_EQ(out.data<double>()[0], 0.5);
  EXPECT_EQ(out.data<double>()[1], 0.0);
  tape.backward(out, Tensor::from<double>({1, 3}, {1.0, 2.0, 3.0}));
  const Tensor grad = tape.grad(x);
  EXPECT_EQ(grad.data<double>()[0], -0.5);
  EXPECT_EQ(grad.data<double>()[1], 0.0);
  EXPECT_EQ(grad.data<double>()[2], 0.5);
}

TEST(Softmax, ExponentialFollowsTheLibraryBelowZero) {
  for (float x = 0.5f; x > -87.0f; x -= 0.01f) {
    const double expected = std::exp(static_cast<double>(x));
    EXPECT_NEAR(vexp_nonpositive(x) / expected, 1.0, 1.5e-7) << x;
  }
  EXPECT_EQ(vexp_nonpositive(-88.0f), 0.0f);
  EXPECT_EQ(vexp_nonpositive(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isnan(vexp_nonpositive(std::numeric_limits<float>::quiet_NaN())));
}

TEST(SoftmaxCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const auto& function : {run, run_log}) {
    for (const Shape& shape : {Shape{2},
                               {3, 1},
                               {2, 7, 13},
                               {33, 32},
                               {9, 257},
                               {5, 1024},
                               {3, 1025},
                               {2, 3001},
                               {0, 5}}) {
      const OpCase op_case{to_string(shape), {shape}, function};
      EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
      EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op_case.name;
    }
  }
}

TEST(SoftmaxCuda, MasksAndLargeElements) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const auto inf = static_cast<float>(kInfinity);
  const Tensor x = Tensor::from<float>({4, 2}, {1e4f, 1e4f, -1e4f, 0, 1, -inf, -inf, -inf});
  const Tensor there = x.to(testing::kCuda);
  const Tensor out = softmax(tape, there).to(Device{}),
               logs = log_softmax(tape, there).to(Device{});
  const float *const p = out.data<float>(), *const log_p = logs.data<float>();
  EXPECT_EQ(p[0], 0.5f);
  EXPECT_EQ(p[2], 0.0f);
  EXPECT_NEAR(log_p[1], -std::log(2.0f), 1e-7f);
  EXPECT_EQ(log_p[2], -1e4f);
  EXPECT_EQ(p[4], 1.0f);
  EXPECT_EQ(p[5], 0.0f);
  EXPECT_TRUE(std::isnan(p[6]) && std::isnan(p[7]) && std::isnan(log_p[6]));
}

TEST(Softmax, NamesWhatIsWrong) {
  Tape tape;
  const auto message = [&](const Tensor& x) {
    return testing::error_text([&] { softmax(tape, x); });
  };
  EXPECT_EQ(message(Tensor::full({2, 3}, DType::f32, -kInfinity)),
            "[softmax] row: got nothing but -infinity, expected one larger element at "
            "least");
  EXPECT_EQ(message(Tensor({2, 0}, DType::f32)),
            "[softmax] x: got shape [2, 0], expected a last axis of at least 1");
  EXPECT_EQ(message(Tensor({2}, DType::i32)), "[softmax] x: got i32, expected f32 or f64");
  EXPECT_EQ(testing::error_text([&] { log_softmax(tape, Tensor()); }),
            "[log_softmax] x: got no tensor, expected one");
}

}  // namespace
}  // namespace offshoot
