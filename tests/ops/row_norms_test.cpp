#include "ops/row_norms.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::GoldenCase;
using testing::GoldenFile;
using testing::OpCase;

OpCase norms_case(const Shape& shape) {
  return {to_string(shape), {shape}, [](Tape& tape, const std::vector<Tensor>& in) {
            return row_norms(tape, in[0]);
          }};
}

OpCase normalize_case(const Shape& shape) {
  return {to_string(shape), {shape}, [](Tape& tape, const std::vector<Tensor>& in) {
            return normalize_rows(tape, in[0]);
          }};
}

TEST(RowNorms, GradientsMatchCentralDifferences) {
  for (const Shape& shape : {Shape{1, 1}, {1, 5}, {7, 3}, {131, 11}, {3, 1031}}) {
    EXPECT_LT(testing::gradient_error(norms_case(shape)), 1e-6) << to_string(shape);
  }
}

TEST(NormalizeRows, GradientsMatchCentralDifferences) {
  for (const Shape& shape : {Shape{5}, {1, 5}, {7, 3}, {2, 3, 7}, {131, 11}, {3, 1031}}) {
    EXPECT_LT(testing::gradient_error(normalize_case(shape)), 1e-6) << to_string(shape);
  }
}

TEST(RowNorms, MatchGoldenValues) {
  const GoldenFile file("routers.h5");
  testing::expect_matches_golden(file, "row_norms", [](Tape& tape, const GoldenCase& golden) {
    return row_norms(tape, golden["x"]);
  });
  testing::expect_matches_golden(file, "normalize_rows", [](Tape& tape, const GoldenCase& golden) {
    return normalize_rows(tape, golden["x"]);
  });
}

TEST(RowNorms, SinglePrecisionFollowsDoubleAndRepeats) {
  for (const OpCase& op_case : {norms_case({1031, 257}), normalize_case({1031, 257})}) {
    EXPECT_LT(testing::single_precision_error(op_case), 1e-5);
    EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case));
  }
}

// Squares of these neither fit into a float nor vanish.
TEST(RowNorms, NothingOverflows) {
  Tape tape = Tape::none();
  const Tensor x = Tensor::from<float>({2, 2}, {3e30f, 4e30f, 3e-30f, 4e-30f});
  const Tensor norms = row_norms(tape, x);
  EXPECT_FLOAT_EQ(norms.data<float>()[0], 5e30f);
  EXPECT_FLOAT_EQ(norms.data<float>()[1], 5e-30f);
}

TEST(RowNorms, ARowOfZerosHasNoGradient) {
  const Tensor x = Tensor::from<double>({2, 2}, {0, 0, 3, 4});
  Tape tape;
  tape.watch(x);
  tape.backward(row_norms(tape, x), Tensor::from<double>({2}, {7, 10}));
  const Tensor grad = tape.grad(x);
  const auto got = grad.elements<double>();
  EXPECT_EQ(std::vector<double>(got.begin(), got.end()), (std::vector<double>{0, 0, 6, 8}));
}

TEST(RowNormsCuda, FollowTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  // The first row is zeros, the second one shorter than 1e-12.
  const auto fill = [](size_t, const Tensor& x, Random& random) {
    const int64_t D = x.last_dim();
    for (int64_t i = 0; i < x.size(); ++i) {
      const double size = i / D == 0 ? 0.0 : i / D == 1 ? 1e-13 : 1.0;
      x.data<double>()[i] = size * random.normal();
    }
  };
  for (const Shape& shape : {Shape{0, 3}, {1, 1}, {7, 3}, {131, 11}, {3, 1031}, {257, 33}}) {
    OpCase norms = norms_case(shape);
    EXPECT_LT(testing::cuda_error(norms), 1e-5) << to_string(shape);
    norms.fill = fill;
    EXPECT_LT(testing::cuda_error(norms), 1e-5) << to_string(shape);
    EXPECT_LT(testing::cuda_error(normalize_case(shape)), 1e-5) << to_string(shape);
  }
  OpCase not_long = normalize_case({2, 7});
  not_long.fill = fill;
  EXPECT_LT(testing::cuda_error(not_long), 1e-5);
}

TEST(RowNorms, NameWhatIsWrong) {
  Tape tape;
  EXPECT_EQ(testing::error_text([&] { row_norms(tape, Tensor({3}, DType::f32)); }),
            "[row_norms] x: got shape [3], expected 2 axes");
  EXPECT_EQ(testing::error_text([&] {
              normalize_rows(tape, Tensor({3, 0}, DType::f32));
            }),
            "[normalize_rows] x: got shape [3, 0], expected a last axis of at least 1");
}

}  // namespace
}  // namespace offshoot
