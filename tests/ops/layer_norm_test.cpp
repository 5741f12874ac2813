#include "ops/layer_norm.h"

#include <gtest/gtest.h>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

Tensor run(Tape& tape, const std::vector<Tensor>& inputs) {
  return layer_norm(tape, inputs[0], inputs[1], inputs[2]);
}

class LayerNormGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(LayerNormGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, LayerNormGradient,
                         ::testing::Values(OpCase{"one_row", {{1, 5}, {5}, {5}}, run},
                                           OpCase{"two_columns", {{3, 2}, {2}, {2}}, run},
                                           OpCase{"prime_sizes", {{2, 7, 13}, {13}, {13}}, run},
                                           OpCase{"wide", {{2, 67}, {67}, {67}}, run},
                                           OpCase{"many_blocks", {{263, 5}, {5}, {5}}, run}),
                         testing::case_name);

TEST(LayerNorm, MatchesGoldenValues) {
  testing::expect_matches_golden("layer_norm", [](Tape& tape, const testing::GoldenCase& golden) {
    return layer_norm(tape, golden["x"], golden["weight"], golden["bias"], golden.number("eps"));
  });
}

TEST(LayerNorm, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error({"main", {{1024, 64}, {64}, {64}}, run}), 1e-5);
  EXPECT_LT(testing::single_precision_error({"wide", {{131, 1021}, {1021}, {1021}}, run}), 1e-5);
}

TEST(LayerNorm, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count({"odd", {{1021, 61}, {61}, {61}}, run}));
}

TEST(LayerNormCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case :
       {OpCase{"one_row", {{1, 5}, {5}, {5}}, run}, OpCase{"one_column", {{3, 1}, {1}, {1}}, run},
        OpCase{"prime_sizes", {{2, 7, 33}, {33}, {33}}, run},
        OpCase{"wider_than_a_block", {{5, 1021}, {1021}, {1021}}, run},
        OpCase{"many_blocks", {{263, 64}, {64}, {64}}, run}}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case, {1, 2}), 2e-2) << op_case.name;
  }
  EXPECT_LT(testing::cuda_error({"very_many_blocks", {{1100, 5}, {5}, {5}}, run}), 1e-5);
}

TEST(LayerNorm, NormalisesEachRow) {
  Tape tape = Tape::none();
  const Tensor x = testing::random_tensor({4, 64}, DType::f64, 3);
  const Tensor weight = Tensor::full({64}, DType::f64, 1.0);
  const Tensor out = layer_norm(tape, x, weight, Tensor::zeros({64}, DType::f64), 1e-12);
  for (int64_t n = 0; n < 4; ++n) {
    double sum = 0, squares = 0;
    for (int64_t d = 0; d < 64; ++d) {
      const double value = out.data<double>()[n * 64 + d];
      sum += value;
      squares += value * value;
    }
    EXPECT_NEAR(sum / 64, 0, 1e-12);
    EXPECT_NEAR(squares / 64, 1, 1e-9);
  }
}

TEST(LayerNorm, LargeMeanKeepsItsDigits) {
  Tape tape = Tape::none();
  const Tensor x = Tensor::from<float>({1, 2}, {10000.f, 10001.f});
  const Tensor weight = Tensor::full({2}, DType::f32, 1.0);
  const Tensor out = layer_norm(tape, x, weight, Tensor::zeros({2}, DType::f32));
  EXPECT_NEAR(out.data<float>()[1], 1.f, 1e-3f);
}

TEST(LayerNorm, NoRowsIsLegal) {
  Tape tape;
  const Tensor x({0, 3}, DType::f32), weight = testing::random_tensor({3}, DType::f32, 1);
  for (const Tensor& input : {x, weight}) tape.watch(input);
  const Tensor out = layer_norm(tape, x, weight, weight);
  tape.backward(out, Tensor({0, 3}, DType::f32));
  const Tensor dweight = tape.grad(weight);
  EXPECT_EQ(dweight.data<float>()[0], 0.0f);
}

TEST(LayerNorm, NamesWhatIsWrong) {
  const auto message = [](const Tensor& x, const Tensor& weight, const Tensor& bias,
                          double eps = 1e-5) {
    return testing::error_text([&] {
      Tape tape;
      layer_norm(tape, x, weight, bias, eps);
    });
  };
  const Tensor x({2, 3}, DType::f32), right({3}, DType::f32);
  EXPECT_EQ(message(x, right, Tensor({4}, DType::f32)),
            "[layer_norm] bias: got shape [4], expected [3]");
  EXPECT_EQ(message(x, Tensor({3}, DType::f64), right),
            "[layer_norm] weight: got f64, expected f32");
  EXPECT_EQ(message(x, Tensor(), right), "[layer_norm] weight: got no tensor, expected one");
  EXPECT_EQ(message(Tensor({2, 0}, DType::f32), right, right),
            "[layer_norm] x: got shape [2, 0], expected a last axis of at least 1");
  EXPECT_EQ(message(Tensor({2, 3}, DType::i32), right, right),
            "[layer_norm] x: got i32, expected f32 or f64");
  EXPECT_EQ(message(x, right, right, -1.0), "[layer_norm] eps: got -1, expected a positive number");
}

}  // namespace
}  // namespace offshoot
