#include "ops/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "tests/ops/op_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

constexpr DropoutKey kKey{3, 17, 2};

OpCase drop(std::string name, const Shape& shape, double rate) {
  return {std::move(name), {shape}, [rate](Tape& tape, const std::vector<Tensor>& in) {
            return dropout(tape, in[0], rate, kKey, 5, true);
          }};
}

class DropoutGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(DropoutGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, DropoutGradient,
                         ::testing::Values(drop("few_kept", {7, 13}, 0.9),
                                           drop("most_kept", {3, 5, 7}, 0.1),
                                           drop("large", {131, 67}, 0.5)),
                         testing::case_name);

// How many of the ones that go in are kept.
int64_t kept(const DropoutKey& key, uint64_t stream, double rate, int64_t size) {
  Tape tape = Tape::none();
  const Tensor out = dropout(tape, Tensor::full({size}, DType::f32, 1.0), rate, key, stream, true);
  return std::ranges::count_if(out.elements<float>(), [](float value) { return value != 0; });
}

TEST(Dropout, MasksAsSpecifiedInEveryPrecision) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Tape tape = Tape::none();
    const Tensor out = dropout(tape, Tensor::full({211, 3}, dtype, 1.0), 0.25, kKey, 9, true);
    dispatch_float("test", dtype, [&]<class T>(T) {
      for (int64_t i = 0; i < out.size(); ++i) {
        const T expected = dropout_keeps(0.25, kKey, 9, i) ? T(1 / 0.75) : T{0};
        EXPECT_EQ(out.data<T>()[i], expected) << i;
      }
    });
  }
}

TEST(Dropout, KeepsTheWantedShare) {
  constexpr int64_t kSize = 100'000;
  for (const double rate : {0.1, 0.5, 0.9}) {
    const double sigma = std::sqrt(rate * (1 - rate) / kSize);
    EXPECT_NEAR(static_cast<double>(kept(kKey, 5, rate, kSize)) / kSize, 1 - rate, 4 * sigma);
  }
}

TEST(Dropout, EveryPartOfTheKeyMakesAnotherMask) {
  Tape tape = Tape::none();
  const Tensor ones = Tensor::full({64}, DType::f32, 1.0);
  const auto mask = [&](const DropoutKey& key, uint64_t stream) {
    const Tensor out = dropout(tape, ones, 0.5, key, stream, true);
    return std::vector<float>(out.elements<float>().begin(), out.elements<float>().end());
  };
  const auto first = mask({1, 2, 3}, 4);
  EXPECT_EQ(mask({1, 2, 3}, 4), first);
  for (const auto& other :
       {mask({2, 2, 3}, 4), mask({1, 3, 3}, 4), mask({1, 2, 4}, 4), mask({1, 2, 3}, 5)}) {
    EXPECT_NE(other, first);
  }
}

TEST(Dropout, IsNothingOutsideTrainingAndAtRateZero) {
  Tape tape;
  const Tensor x = testing::random_tensor({3}, DType::f32, 1);
  EXPECT_EQ(dropout(tape, x, 0.5, kKey, 5, false).key(), x.key());
  EXPECT_EQ(dropout(tape, x, 0.0, kKey, 5, true).key(), x.key());
  EXPECT_EQ(kept(kKey, 5, 1 - 1e-12, 1000), 0);
}

TEST(Dropout, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(drop("odd", {1021, 61}, 0.3)));
}

TEST(DropoutCuda, MasksAsSpecifiedInEveryPrecision) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const double rate : {0.25, 0.9}) {
      Tape tape = Tape::none();
      const Tensor x = Tensor::full({1031, 3}, dtype, 1.0, testing::kCuda);
      const Tensor out = dropout(tape, x, rate, kKey, 9, true).to(Device{});
      dispatch_cuda("test", dtype, [&]<class T>(T) {
        const auto number = [](float value) {
          return std::is_same_v<T, float> ? value : to_float(to_bfloat16(value));
        };
        for (int64_t i = 0; i < out.size(); ++i) {
          const T got = out.data<T>()[i];
          float value = 0;
          if constexpr (std::is_same_v<T, float>) {
            value = got;
          } else {
            value = to_float(got);
          }
          const auto scale = static_cast<float>(1 / (1 - rate));
          EXPECT_EQ(value, dropout_keeps(rate, kKey, 9, i) ? number(scale) : 0.0f) << i;
        }
      });
    }
  }
}

TEST(DropoutCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case : {drop("one", {1}, 0.5), drop("few_kept", {7, 13}, 0.9),
                                drop("most_kept", {3, 5, 7}, 0.1), drop("whole", {64, 32}, 0.5),
                                drop("many_blocks", {131, 67}, 0.5), drop("none", {0, 3}, 0.5)}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op_case.name;
  }
}

// Rows that begin anywhere have the mask of any tensor of their size.
TEST(DropoutCuda, PartsOfATensorNeedNoAlignment) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Tape tape = Tape::none();
    const Tensor x = Tensor::full({4, 67}, dtype, 1.0, testing::kCuda);
    const Tensor part = dropout(tape, x.rows(1, 2), 0.3, kKey, 9, true).to(Device{});
    const Tensor whole = dropout(tape, x.rows(0, 2), 0.3, kKey, 9, true).to(Device{});
    EXPECT_EQ(std::memcmp(part.raw(), whole.raw(), static_cast<size_t>(part.bytes())), 0);
  }
}

TEST(Dropout, NamesWhatIsWrong) {
  const Tensor x({3}, DType::f32);
  const auto message = [&](double rate) {
    return testing::error_text([&] {
      Tape tape;
      dropout(tape, x, rate, kKey, 5, false);
    });
  };
  EXPECT_EQ(message(1.0), "[dropout] rate: got 1, expected a number in [0, 1)");
  EXPECT_EQ(message(-0.5), "[dropout] rate: got -0.5, expected a number in [0, 1)");
  EXPECT_EQ(message(NAN), "[dropout] rate: got nan, expected a number in [0, 1)");
}

}  // namespace
}  // namespace offshoot
