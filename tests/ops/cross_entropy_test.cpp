#include "ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

// Classes drawn at random; every `ignored_every`-th row has the target -1.
Tensor some_targets(const Shape& shape, int64_t classes, int64_t ignored_every) {
  Random random(11, 0);
  Tensor targets(shape, DType::i32);
  int64_t n = 0;
  for (int32_t& target : targets.elements<int32_t>()) {
    target = static_cast<int32_t>(random.below(classes));
    if (ignored_every > 0 && ++n % ignored_every == 0) target = -1;
  }
  return targets;
}

OpCase loss_of(std::string name, const Shape& logits, int64_t ignored_every = 0) {
  return {std::move(name), {logits}, [ignored_every](Tape& tape, const std::vector<Tensor>& in) {
            const Shape rows = in[0].shape().without(in[0].rank() - 1);
            return cross_entropy(tape, in[0], some_targets(rows, in[0].last_dim(), ignored_every));
          }};
}

class CrossEntropyGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(CrossEntropyGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, CrossEntropyGradient,
                         ::testing::Values(loss_of("no_leading_axis", {5}),
                                           loss_of("one_row", {1, 2}),
                                           loss_of("prime_sizes", {2, 7, 13}),
                                           loss_of("some_ignored", {2, 7, 13}, 3),
                                           loss_of("wide", {3, 137})),
                         testing::case_name);

TEST(CrossEntropy, MatchesGoldenValues) {
  testing::expect_matches_golden("cross_entropy", [](Tape& tape,
                                                     const testing::GoldenCase& golden) {
    return cross_entropy(tape, golden["logits"], golden["targets"], golden.integer("ignore_index"));
  });
}

TEST(CrossEntropy, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error(loss_of("main", {1024, 50})), 1e-5);
  EXPECT_LT(testing::single_precision_error(loss_of("wide", {7, 3001}, 2)), 1e-5);
}

TEST(CrossEntropy, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(loss_of("odd", {1021, 53}, 5)));
}

TEST(CrossEntropy, EachRowAveragesToTheLoss) {
  Tape tape = Tape::none();
  const Tensor logits = testing::random_tensor({2, 5, 7}, DType::f64, 1);
  const Tensor targets = some_targets({2, 5}, 7, 0);
  const Tensor each = cross_entropy_each(logits, targets);
  EXPECT_EQ(each.shape(), targets.shape());
  double sum = 0;
  for (const double loss : each.elements<double>()) sum += loss;
  EXPECT_NEAR(cross_entropy(tape, logits, targets).item(), sum / 10, 1e-12);
}

TEST(CrossEntropy, LargeScoresKeepTheirDigits) {
  Tape tape = Tape::none();
  const Tensor logits = Tensor::from<float>({1, 2}, {1e6f, 1e6f});
  const Tensor targets = Tensor::from<int32_t>({1}, {0});
  EXPECT_NEAR(cross_entropy(tape, logits, targets).item(), std::log(2.0), 1e-6);
}

TEST(CrossEntropy, NothingCountedIsZero) {
  for (const int64_t N : {int64_t{0}, int64_t{3}}) {
    Tape tape;
    const Tensor logits = testing::random_tensor({N, 2}, DType::f32, 1);
    tape.watch(logits);
    const Tensor loss = cross_entropy(tape, logits, Tensor::full({N}, DType::i32, -1));
    EXPECT_EQ(loss.item(), 0.0);
    tape.backward(loss);
    const Tensor grad = tape.grad(logits);
    for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
  }
}

// Targets from either side.
OpCase with_targets_there(std::string name, const Shape& logits, int64_t ignored_every) {
  return {std::move(name), {logits}, [ignored_every](Tape& tape, const std::vector<Tensor>& in) {
            const Shape rows = in[0].shape().without(in[0].rank() - 1);
            const Tensor targets = some_targets(rows, in[0].last_dim(), ignored_every);
            return cross_entropy(tape, in[0], targets.to(in[0].device()));
          }};
}

TEST(CrossEntropyCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case :
       {loss_of("no_leading_axis", {5}), loss_of("one_row", {1, 2}),
        loss_of("some_ignored", {2, 7, 13}, 3), with_targets_there("there", {17, 31}, 2),
        loss_of("many_rows", {2053, 3}, 5), loss_of("as_wide_as_a_warp", {3, 1024}, 2),
        loss_of("wide", {7, 3001}, 2)}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op_case.name;
  }
}

TEST(CrossEntropyCuda, EachRowsLossFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor logits = testing::random_tensor({2, 5, 7}, DType::f32, 1);
  const Tensor targets = some_targets({2, 5}, 7, 0);
  const Tensor each = cross_entropy_each(logits.to(testing::kCuda), targets);
  EXPECT_LT(testing::relative_error(each.to(Device{}), cross_entropy_each(logits, targets)), 1e-6);
}

TEST(CrossEntropyCuda, NothingCountedIsZero) {
  OFFSHOOT_NEEDS_CUDA();
  for (const int64_t N : {int64_t{0}, int64_t{3}}) {
    Tape tape;
    const Tensor logits = testing::random_tensor({N, 2}, DType::f32, 1).to(testing::kCuda);
    tape.watch(logits);
    const Tensor loss = cross_entropy(tape, logits, Tensor::full({N}, DType::i32, -1));
    EXPECT_EQ(loss.item(), 0.0);
    tape.backward(loss);
    const Tensor grad = tape.grad(logits).to(Device{});
    for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
  }
}

TEST(CrossEntropyCuda, LargeScoresKeepTheirDigits) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape;
  const Tensor logits = Tensor::from<float>({1, 2}, {1e6f, 1e6f}).to(testing::kCuda);
  tape.watch(logits);
  const Tensor loss = cross_entropy(tape, logits, Tensor::from<int32_t>({1}, {0}));
  EXPECT_NEAR(loss.item(), std::log(2.0), 1e-6);
  tape.backward(loss);
  const Tensor grad = tape.grad(logits).to(Device{});
  EXPECT_NEAR(grad.data<float>()[0], -0.5, 1e-6);
  EXPECT_NEAR(grad.data<float>()[1], 0.5, 1e-6);
}

TEST(CrossEntropyCuda, AWrongTargetThereIsNaNWithoutGradient) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor logits = Tensor::zeros({4, 2}, DType::f32, testing::kCuda);
  const Tensor targets = Tensor::from<int32_t>({4}, {1, 2, -2, -1}).to(testing::kCuda);
  Tape tape;
  tape.watch(logits);
  const Tensor loss = cross_entropy(tape, logits, targets);
  EXPECT_TRUE(std::isnan(loss.item()));
  tape.backward(loss);
  const Tensor grad = tape.grad(logits).to(Device{});
  EXPECT_EQ(grad.data<float>()[1], -1.0f / 6);
  for (int64_t i = 2; i < 8; ++i) EXPECT_EQ(grad.data<float>()[i], 0.0f);
  const Tensor each = cross_entropy_each(logits, targets).to(Device{});
  EXPECT_FALSE(std::isnan(each.data<float>()[0]));
  for (int64_t n = 1; n < 4; ++n) EXPECT_TRUE(std::isnan(each.data<float>()[n])) << n;
}

TEST(CrossEntropyCuda, DoesNotWait) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor logits = testing::random_tensor({19, 5}, DType::f32, 1).to(testing::kCuda);
  const int64_t before = device_waits();
  Tape tape;
  tape.watch(logits);
  tape.backward(cross_entropy(tape, logits, some_targets({19}, 5, 4)));
  EXPECT_EQ(device_waits(), before);
}

TEST(CrossEntropy, NamesWhatIsWrong) {
  const Tensor logits = Tensor::zeros({2, 3}, DType::f32);
  const auto message = [](const Tensor& scores, const Tensor& targets) {
    return testing::error_text([&] {
      Tape tape;
      cross_entropy(tape, scores, targets);
    });
  };
  EXPECT_EQ(message(logits, Tensor::from<int32_t>({2}, {0, 3})),
            "[cross_entropy] targets: got 3, expected a class in [0, 3) or -1");
  EXPECT_EQ(message(logits, Tensor::from<int32_t>({2}, {0, -2})),
            "[cross_entropy] targets: got -2, expected a class in [0, 3) or -1");
  EXPECT_EQ(message(logits, Tensor::zeros({3}, DType::i32)),
            "[cross_entropy] targets: got shape [3], expected [2]");
  EXPECT_EQ(message(logits, Tensor::zeros({2}, DType::i64)),
            "[cross_entropy] targets: got i64, expected i32");
  EXPECT_EQ(
      testing::error_text([&] { cross_entropy_each(logits, Tensor::full({2}, DType::i32, -1)); }),
      "[cross_entropy] targets: got -1, expected classes only");
}

}  // namespace
}  // namespace offshoot
