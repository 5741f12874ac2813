#include "ops/cast.h"

#include <gtest/gtest.h>

#include "ops/binary.h"
#include "tests/ops/op_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

TEST(Cast, RoundsToTheNearest) {
  Tape tape = Tape::none();
  const Tensor x = Tensor::from<double>({3}, {0.1, -2.0, 1e-60});
  const Tensor narrow = cast(tape, x, DType::f32), wide = cast(tape, narrow, DType::f64);
  EXPECT_EQ(narrow.data<float>()[0], 0.1f);
  EXPECT_EQ(narrow.data<float>()[2], 0.0f);
  EXPECT_EQ(wide.data<double>()[0], static_cast<double>(0.1f));
  EXPECT_EQ(wide.data<double>()[1], -2.0);
}

TEST(Cast, GradientsAddUpInTheOwnDtype) {
  const Tensor x = Tensor::from<float>({2}, {1.0f, 2.0f});
  Tape tape;
  tape.watch(x);
  const Tensor wide = cast(tape, x, DType::f64), again = cast(tape, x, DType::f64);
  tape.backward(mul(tape, wide, again), Tensor::from<double>({2}, {1.0, 10.0}));
  const Tensor dx = tape.grad(x);
  ASSERT_EQ(dx.dtype(), DType::f32);
  EXPECT_EQ(dx.data<float>()[0], 2.0f);
  EXPECT_EQ(dx.data<float>()[1], 40.0f);
}

TEST(Cast, ToItsOwnDtypeIsTheTensorItself) {
  const Tensor x = Tensor::from<float>({2}, {1.0f, 2.0f});
  Tape tape;
  EXPECT_EQ(cast(tape, x, DType::f32).key(), x.key());
}

TEST(CastCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  // There and back, so that the result has the dtype of x on both devices.
  const auto run = [](Tape& tape, const std::vector<Tensor>& in) {
    const bool on_cpu = !in[0].device().is_cuda();
    const DType other = on_cpu || in[0].dtype() == DType::bf16 ? DType::f32 : DType::bf16;
    return cast(tape, cast(tape, in[0], other), in[0].dtype());
  };
  for (const Shape& shape : {Shape{}, {0, 2}, {7, 13}, {2053}}) {
    EXPECT_LT(testing::cuda_error({"f32", {shape}, run}), 5e-3) << to_string(shape);
    EXPECT_LT(testing::cuda_bf16_error({"bf16", {shape}, run}), 5e-3) << to_string(shape);
  }
}

TEST(CastCuda, RoundsToTheNearest) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = testing::random_tensor({1031}, DType::f32, 1);
  Tape tape = Tape::none();
  const Tensor narrow = cast(tape, x.to(testing::kCuda), DType::bf16);
  const Tensor bits = narrow.to(Device{}), wide = cast(tape, narrow, DType::f32).to(Device{});
  for (int64_t i = 0; i < x.size(); ++i) {
    const bfloat16 expected = to_bfloat16(x.data<float>()[i]);
    ASSERT_EQ(bits.data<bfloat16>()[i], expected);
    ASSERT_EQ(wide.data<float>()[i], to_float(expected));
  }
}

TEST(Cast, NamesWhatIsWrong) {
  const auto message = [](DType from, DType to) {
    return testing::error_text([&] {
      Tape tape;
      cast(tape, Tensor({2}, from), to);
    });
  };
  EXPECT_EQ(message(DType::i32, DType::f32), "[cast] x: got i32, expected f32 or f64");
  EXPECT_EQ(message(DType::f32, DType::bf16), "[cast] dtype: got bf16, expected f32 or f64");
}

}  // namespace
}  // namespace offshoot
