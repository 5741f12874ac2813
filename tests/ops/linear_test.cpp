#include "ops/linear.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ops/activation.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

Tensor run(Tape& tape, const std::vector<Tensor>& inputs) {
  return linear(tape, inputs[0], inputs[1], inputs.size() > 2 ? inputs[2] : Tensor());
}

Tensor run_gelu(Tape& tape, const std::vector<Tensor>& inputs) {
  return linear_gelu(tape, inputs[0], inputs[1], inputs[2]);
}

class LinearGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(LinearGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, LinearGradient,
    ::testing::Values(OpCase{"ones", {{1, 1}, {1, 1}, {1}}, run},
                      OpCase{"one_row", {{5}, {3, 5}, {3}}, run},
                      OpCase{"prime_sizes", {{2, 7, 13}, {11, 13}, {11}}, run},
                      OpCase{"no_bias", {{7, 13}, {5, 13}}, run},
                      OpCase{"larger_than_a_tile", {{131, 67}, {103, 67}, {103}}, run}),
    testing::case_name);

TEST(Linear, MatchesGoldenValues) {
  testing::expect_matches_golden("linear", [](Tape& tape, const testing::GoldenCase& golden) {
    return linear(tape, golden["x"], golden["weight"], golden["bias"]);
  });
}

TEST(Linear, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error({"main", {{1024, 64}, {192, 64}, {192}}, run}), 1e-5);
}

TEST(Linear, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count({"odd", {{1021, 61}, {97, 61}, {97}}, run}));
}

TEST(Linear, MultipliesByTheTransposedWeight) {
  Tape tape = Tape::none();
  const Tensor x = Tensor::from<double>({1, 2}, {3, 5});
  const Tensor weight = Tensor::from<double>({3, 2}, {1, 0, 0, 1, 2, -1});
  const Tensor out = linear(tape, x, weight, Tensor::from<double>({3}, {0, 10, 100}));
  EXPECT_EQ(out.shape(), (Shape{1, 3}));
  EXPECT_EQ(out.data<double>()[0], 3);
  EXPECT_EQ(out.data<double>()[1], 15);
  EXPECT_EQ(out.data<double>()[2], 101);
}

TEST(Linear, NoRowsIsLegal) {
  Tape tape;
  const Tensor x({0, 3}, DType::f32), weight = testing::random_tensor({2, 3}, DType::f32, 1);
  const Tensor bias = testing::random_tensor({2}, DType::f32, 2);
  for (const Tensor& input : {x, weight, bias}) tape.watch(input);
  tape.backward(linear(tape, x, weight, bias), Tensor({0, 2}, DType::f32));
  for (const Tensor& input : {weight, bias}) {
    const Tensor grad = tape.grad(input);
    for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
  }
}

TEST(Linear, GeluIsTheSameInOneOrTwoSteps) {
  const Tensor x = testing::random_tensor({5, 13}, DType::f32, 1);
  const Tensor weight = testing::random_tensor({7, 13}, DType::f32, 2);
  const Tensor bias = testing::random_tensor({7}, DType::f32, 3);
  Tape tape = Tape::none();
  const Tensor one = linear_gelu(tape, x, weight, bias);
  const Tensor two = gelu(tape, linear(tape, x, weight, bias));
  EXPECT_TRUE(std::ranges::equal(one.elements<float>(), two.elements<float>()));
  EXPECT_EQ(testing::error_text([&] { linear_gelu(tape, x, weight, {}); }),
            "[linear_gelu] bias: got no tensor, expected one");
}

TEST(LinearCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case :
       {OpCase{"ones", {{1, 1}, {1, 1}, {1}}, run}, OpCase{"one_row", {{5}, {3, 5}, {3}}, run},
        OpCase{"prime_sizes", {{2, 7, 13}, {11, 13}, {11}}, run},
        OpCase{"no_bias", {{7, 13}, {5, 13}}, run},
        OpCase{"multiples", {{64, 32}, {48, 32}, {48}}, run},
        OpCase{"larger_than_a_tile", {{131, 67}, {103, 67}, {103}}, run}}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case, {1, 2}), 2e-2) << op_case.name;
  }
}

TEST(LinearCuda, GeluFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case : {OpCase{"one_row", {{5}, {3, 5}, {3}}, run_gelu},
                                OpCase{"prime_sizes", {{2, 7, 13}, {11, 13}, {11}}, run_gelu},
                                OpCase{"multiples", {{64, 32}, {48, 32}, {48}}, run_gelu}}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case, {1, 2}), 2e-2) << op_case.name;
  }
}

// With some of the inputs watched only, every gradient is what it is with all of them.
TEST(LinearCuda, AnyGradientMayBeWantedAlone) {
  OFFSHOOT_NEEDS_CUDA();
  std::vector<Tensor> inputs = {testing::random_tensor({7, 13}, DType::f32, 1),
                                testing::random_tensor({5, 13}, DType::f32, 2),
                                testing::random_tensor({5}, DType::f32, 3)};
  for (Tensor& input : inputs) input = input.to(testing::kCuda);
  const auto gradients = [&](std::initializer_list<size_t> watched) {
    Tape tape;
    for (const size_t i : watched) tape.watch(inputs[i]);
    tape.backward(run(tape, inputs), Tensor::full({7, 5}, DType::f32, 0.5, testing::kCuda));
    std::vector<Tensor> grads;
    for (const size_t i : watched) grads.push_back(tape.grad(inputs[i]).to(Device{}));
    return grads;
  };
  const auto all = gradients({0, 1, 2});
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_LT(testing::relative_error(gradients({i})[0], all[i]), 1e-6) << i;
  }
}

TEST(LinearCuda, NoRowsIsLegal) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto op : {run, run_gelu}) {
      Tape tape;
      const Tensor x({0, 3}, dtype, testing::kCuda);
      const Tensor weight = testing::random_tensor({2, 3}, DType::f32, 1).to(testing::kCuda);
      const Tensor bias = testing::random_tensor({2}, DType::f32, 2).to(testing::kCuda);
      for (const Tensor& input : {x, weight, bias}) tape.watch(input);
      tape.backward(op(tape, {x, weight, bias}), Tensor({0, 2}, dtype, testing::kCuda));
      for (const Tensor& input : {weight, bias}) {
        const Tensor grad = tape.grad(input).to(Device{});
        for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
      }
    }
  }
}

TEST(LinearCuda, NeverWaits) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = Tensor::zeros({5, 3}, DType::bf16, testing::kCuda);
  const Tensor weight = Tensor::zeros({2, 3}, DType::f32, testing::kCuda);
  const Tensor bias = Tensor::zeros({2}, DType::f32, testing::kCuda);
  const int64_t before = device_waits();
  Tape tape;
  for (const Tensor& input : {x, weight, bias}) tape.watch(input);
  tape.backward(linear_gelu(tape, x, weight, bias),
                Tensor::zeros({5, 2}, DType::bf16, testing::kCuda));
  EXPECT_EQ(device_waits(), before);
}

TEST(Linear, NamesWhatIsWrong) {
  const Tensor x({4, 3}, DType::f32), weight({2, 3}, DType::f32), bias({2}, DType::f32);
  const auto message = [](const Tensor& a, const Tensor& b, const Tensor& c) {
    return testing::error_text([&] {
      Tape tape;
      linear(tape, a, b, c);
    });
  };
  EXPECT_EQ(message(x, Tensor({2, 4}, DType::f32), bias),
            "[linear] weight: got shape [2, 4], expected [2, 3]");
  EXPECT_EQ(message(x, Tensor({3}, DType::f32), bias),
            "[linear] weight: got shape [3], expected 2 axes");
  EXPECT_EQ(message(x, weight, Tensor({3}, DType::f32)),
            "[linear] bias: got shape [3], expected [2]");
  EXPECT_EQ(message(x, weight, Tensor({2}, DType::f64)), "[linear] bias: got f64, expected f32");
  EXPECT_EQ(message(Tensor::scalar(1, DType::f32), weight, bias),
            "[linear] x: got shape [], expected a last axis of at least 1");
}

}  // namespace
}  // namespace offshoot
