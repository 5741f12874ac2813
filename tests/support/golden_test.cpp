// The comparison itself: it must accept the right values and notice wrong ones.
#include "tests/support/golden.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/golden_check.h"

namespace offshoot::testing {
namespace {

// An operation with a fault of either kind: out = x^2 + offset, dx = slope * x * dout.
template <class T>
Tensor square_of(Tape& tape, const Tensor& x, double offset, double slope) {
  Tensor out(x.shape(), x.dtype());
  for (int64_t i = 0; i < x.size(); ++i) {
    out.data<T>()[i] = x.data<T>()[i] * x.data<T>()[i] + static_cast<T>(offset);
  }
  tape.record("square", {x}, out, [x, slope](Tape& back, const Tensor& dout) {
    if (GradSlot slot = back.slot(x)) {
      for (int64_t i = 0; i < x.size(); ++i) {
        const T value = static_cast<T>(slope) * x.data<T>()[i] * dout.data<T>()[i];
        accumulate(slot.grad.template data<T>()[i], value, slot.overwrite);
      }
    }
  });
  return out;
}

GoldenFunction square_with(double offset, double slope) {
  return [offset, slope](Tape& tape, const GoldenCase& golden) -> GoldenOutputs {
    return dispatch_float("square", golden.dtype(), [&](auto zero) {
      return square_of<decltype(zero)>(tape, golden["x"], offset, slope);
    });
  };
}

void expect_square(DType dtype, double offset, double slope) {
  expect_matches_golden(GoldenFile("ops.h5"), "square", "a", dtype, square_with(offset, slope));
}

TEST(GoldenCheck, AcceptsTheRightOperationInBothDtypes) {
  expect_matches_golden("square", square_with(0.0, 2.0));
}

TEST(GoldenCheck, NoticesAWrongValue) {
  EXPECT_NONFATAL_FAILURE(expect_square(DType::f64, 1e-7, 2.0), "out: ours");
  EXPECT_NONFATAL_FAILURE(expect_square(DType::f32, 1e-3, 2.0), "out: ours");
}

TEST(GoldenCheck, NoticesAWrongGradient) {
  EXPECT_NONFATAL_FAILURE(expect_square(DType::f64, 0.0, 2.0 + 1e-7), "gradient of x");
}

TEST(GoldenCheck, NoticesAWrongShapeAndNotANumber) {
  const Tensor golden = Tensor::full({2, 3}, DType::f64, 1.0);
  EXPECT_EQ(golden_error(Tensor::full({2, 3}, DType::f32, 1.0), golden), 0.0);
  EXPECT_NEAR(golden_error(Tensor::full({2, 3}, DType::f64, 1.5), golden), 0.5, 1e-15);
  EXPECT_GT(golden_error(Tensor::full({3, 2}, DType::f64, 1.0), golden), 1e300);
  EXPECT_GT(golden_error(Tensor::full({2, 3}, DType::f64, NAN), golden), 1e300);
}

TEST(GoldenFile, ReadsTablesOfEveryKind) {
  const GoldenFile file("ops.h5");
  const std::string path = "/moe/top2_kept_empty_expert";
  EXPECT_EQ(file.tensor(path + "/inputs/x").dtype(), DType::f64);
  EXPECT_EQ(file.tensor(path + "/inputs/x", DType::f32).dtype(), DType::f32);
  EXPECT_EQ(file.tensor(path + "/outputs/kept").dtype(), DType::i32);
  EXPECT_EQ(file.tensor(path + "/outputs/counts").dtype(), DType::i64);
  EXPECT_EQ(file.tensor(path + "/inputs/fc1_weight").shape(), (Shape{4, 5, 6}));
  EXPECT_EQ(file.tensors(path + "/grads").size(), 6u);
  EXPECT_EQ(file.number(path, "k"), 2.0);
  EXPECT_EQ(file.text(path, "policy"), "topk");
  EXPECT_EQ(file.integers("/reshape/a", "shape"), (std::vector<int64_t>{6, 10}));
  EXPECT_FALSE(file.has_attribute(path, "p"));
  EXPECT_TRUE(file.contains(path + "/grads"));
  EXPECT_FALSE(file.contains("/argmax/axis0/grads"));
  EXPECT_FALSE(file.contains("/nothing/here"));
}

TEST(GoldenFile, NamesWhatIsMissing) {
  EXPECT_THROW(GoldenFile("nothing.h5"), Error);
  EXPECT_THROW(GoldenFile("ops.h5").tensor("/square/a/inputs/z"), Error);
  EXPECT_THROW(GoldenFile("ops.h5").names("/no_such_op"), Error);
}

}  // namespace
}  // namespace offshoot::testing
