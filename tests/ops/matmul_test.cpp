#include "ops/matmul.h"

#include <gtest/gtest.h>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

OpCase product(std::string name, std::vector<Shape> inputs, bool transpose_a = false,
               bool transpose_b = false) {
  return {std::move(name), std::move(inputs),
          [transpose_a, transpose_b](Tape& tape, const std::vector<Tensor>& in) {
            return matmul(tape, in[0], in[1],
                          {transpose_a, transpose_b, in.size() > 2 ? in[2] : Tensor()});
          }};
}

class MatmulGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(MatmulGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

std::vector<OpCase> cases() {
  return {product("ones", {{1, 1}, {1, 1}, {1}}),
          product("prime_sizes", {{7, 13}, {13, 11}, {11}}),
          product("transposed_a", {{13, 7}, {13, 11}}, true),
          product("transposed_b", {{7, 13}, {11, 13}, {11}}, false, true),
          product("transposed_both", {{13, 7}, {11, 13}}, true, true),
          product("batched", {{2, 3, 5, 7}, {2, 3, 7, 2}, {2}}),
          product("batched_transposed_a", {{5, 7, 3}, {5, 7, 2}}, true),
          product("batched_transposed_b", {{5, 3, 7}, {5, 2, 7}}, false, true),
          product("shared", {{2, 3, 5, 7}, {7, 2}, {2}}),
          product("shared_transposed_a", {{3, 7, 5}, {7, 2}, {2}}, true),
          product("shared_transposed_both", {{3, 7, 5}, {2, 7}}, true, true),
          product("larger_than_a_tile", {{67, 41}, {41, 103}, {103}})};
}

INSTANTIATE_TEST_SUITE_P(Cases, MatmulGradient, ::testing::ValuesIn(cases()), testing::case_name);

TEST(Matmul, MatchesGoldenValues) {
  testing::expect_matches_golden("matmul", [](Tape& tape, const testing::GoldenCase& golden) {
    return matmul(tape, golden["a"], golden["b"],
                  {golden.flag("transpose_a"), golden.flag("transpose_b"), golden["bias"]});
  });
}

TEST(Matmul, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error(product("batch", {{4, 64, 48}, {4, 48, 33}, {33}})),
            1e-5);
}

TEST(Matmul, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(
      testing::repeats_for_any_thread_count(product("batch", {{5, 67, 131}, {5, 131, 71}, {71}})));
  EXPECT_TRUE(testing::repeats_for_any_thread_count(
      product("shared", {{2, 67, 131}, {67, 71}, {71}}, true)));
}

TEST(Matmul, OneTensorMayPlayBothParts) {
  EXPECT_LT(testing::gradient_error({"square",
                                     {{3, 5, 5}},
                                     [](Tape& tape, const std::vector<Tensor>& in) {
                                       return matmul(tape, in[0], in[0], {.transpose_b = true});
                                     }}),
            1e-6);
}

TEST(Matmul, SumOfNothingIsZero) {
  Tape tape;
  const Tensor a({2, 0}, DType::f32), b({0, 3}, DType::f32), batches({0, 4, 2}, DType::f32);
  const Tensor shared = testing::random_tensor({4, 3}, DType::f32, 1);
  tape.watch(shared);
  const Tensor out = matmul(tape, a, b);
  EXPECT_EQ(out.shape(), (Shape{2, 3}));
  for (const float value : out.elements<float>()) EXPECT_EQ(value, 0.0f);
  tape.backward(matmul(tape, batches, shared, {.transpose_a = true}),
                Tensor({0, 2, 3}, DType::f32));
  const Tensor grad = tape.grad(shared);
  for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(MatmulCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case : cases()) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case, {2}), 2e-2) << op_case.name;
  }
}

TEST(MatmulCuda, SumOfNothingIsZero) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape;
  const Device device = testing::kCuda;
  const Tensor a({2, 0}, DType::f32, device), b({0, 3}, DType::f32, device),
      batches({0, 4, 2}, DType::f32, device);
  const Tensor shared = Tensor::full({4, 3}, DType::f32, 1.0, device),
               bias = Tensor::full({3}, DType::f32, 2.0, device);
  for (const Tensor& input : {shared, bias}) tape.watch(input);
  const Tensor out = matmul(tape, a, b).to(Device{});
  EXPECT_EQ(out.shape(), (Shape{2, 3}));
  for (const float value : out.elements<float>()) EXPECT_EQ(value, 0.0f);
  tape.backward(matmul(tape, batches, shared, {.transpose_a = true, .bias = bias}),
                Tensor({0, 2, 3}, DType::f32, device));
  for (const Tensor& input : {shared, bias}) {
    const Tensor grad = tape.grad(input).to(Device{});
    for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
  }
}

TEST(Matmul, NamesWhatIsWrong) {
  const auto message = [](const Shape& a, const Shape& b, const MatmulOptions& options = {}) {
    return testing::error_text([&] {
      Tape tape;
      matmul(tape, Tensor(a, DType::f32), Tensor(b, DType::f32), options);
    });
  };
  EXPECT_EQ(message({2, 3}, {4, 5}), "[matmul] b: got shape [4, 5], expected [3, 5]");
  EXPECT_EQ(message({2, 3}, {4, 5}, {.transpose_b = true}),
            "[matmul] b: got shape [4, 5], expected [4, 3]");
  EXPECT_EQ(message({6, 2, 3}, {5, 3, 4}), "[matmul] b: got shape [5, 3, 4], expected [6, 3, 4]");
  EXPECT_EQ(message({2, 3}, {2, 3, 4}), "[matmul] b: got shape [2, 3, 4], expected 2 axes, or 2");
  EXPECT_EQ(message({3}, {3, 4}), "[matmul] a: got shape [3], expected at least 2 axes");
  EXPECT_EQ(message({2, 3}, {3, 4}, {.bias = Tensor({3}, DType::f32)}),
            "[matmul] bias: got shape [3], expected [4]");
}

}  // namespace
}  // namespace offshoot
