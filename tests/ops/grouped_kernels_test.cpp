#include "ops/grouped_kernels.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/parallel.h"
#include "engine/random.h"

namespace offshoot {
namespace {

template <class T>
std::vector<T> random_values(int64_t count, uint64_t seed) {
  Random random(seed, 0);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(random.normal());
  return values;
}

template <class T>
class GroupedKernelsTest : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(threads_); }
  int threads_ = num_threads();

  // Experts with many, no, one and few rows; the last without any.
  const std::vector<int64_t> offsets_{0, 201, 201, 202, 239, 239};
  int64_t experts() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t pairs() const { return offsets_.back(); }
};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(GroupedKernelsTest, Floats);

// Bit-equal to one gemm per expert, whatever the threads; gemm is tested against plain loops.
TYPED_TEST(GroupedKernelsTest, RowsMatchOneProductPerExpert) {
  constexpr int64_t kN = 45, kK = 70;
  const int64_t E = this->experts(), P = this->pairs();
  const auto a = random_values<TypeParam>(P * kK, 1);
  const auto weight = random_values<TypeParam>(E * kN * kK, 2);
  const auto before = random_values<TypeParam>(P * kN, 3);
  for (const bool overwrite : {false, true}) {
    for (const bool weight_is_transposed : {false, true}) {
      const ExpertMatrices<TypeParam> b{
          weight_is_transposed ? transposed(weight.data(), kK) : plain(weight.data(), kN), kN * kK};
      auto expected = before;
      for (int64_t e = 0; e < E; ++e) {
        const int64_t first = this->offsets_[static_cast<size_t>(e)];
        const int64_t last = this->offsets_[static_cast<size_t>(e) + 1];
        gemm<TypeParam>(last - first, kN, kK, plain(a.data() + first * kK, kK), b[e],
                        expected.data() + first * kN, kN, overwrite);
      }
      for (const int threads : {1, 2, 5}) {
        set_num_threads(threads);
        auto c = before;
        grouped_gemm<TypeParam>(this->offsets_, kN, kK, plain(a.data(), kK), b, c.data(), kN,
                                overwrite);
        EXPECT_EQ(c, expected) << overwrite << weight_is_transposed << threads;
      }
    }
  }
}

TYPED_TEST(GroupedKernelsTest, FinishSeesEachRowOnceWithItsExpert) {
  constexpr int64_t kN = 64, kK = 130;
  const int64_t P = this->pairs();
  const auto a = random_values<TypeParam>(P * kK, 1);
  const auto weight = random_values<TypeParam>(this->experts() * kN * kK, 2);
  std::vector<TypeParam> c(static_cast<size_t>(P * kN));
  std::vector<int64_t> expert_of(static_cast<size_t>(P), -1);
  grouped_gemm_then<TypeParam>(this->offsets_, kN, kK, plain(a.data(), kK),
                               {transposed(weight.data(), kK), kN * kK}, c.data(), kN, true,
                               [&](int64_t expert, int64_t first, int64_t last) {
                                 for (int64_t p = first; p < last; ++p) {
                                   EXPECT_EQ(expert_of[static_cast<size_t>(p)], -1);
                                   expert_of[static_cast<size_t>(p)] = expert;
                                 }
                               });
  for (int64_t p = 0; p < P; ++p) {
    const int64_t e = expert_of[static_cast<size_t>(p)];
    ASSERT_GE(e, 0);
    EXPECT_LE(this->offsets_[static_cast<size_t>(e)], p);
    EXPECT_GT(this->offsets_[static_cast<size_t>(e) + 1], p);
  }
}

TYPED_TEST(GroupedKernelsTest, WeightsMatchOneProductPerExpert) {
  constexpr int64_t kM = 37, kN = 70, kStride = kM * kN + 11;
  const int64_t E = this->experts(), P = this->pairs();
  const auto a = random_values<TypeParam>(P * kM, 1);
  const auto b = random_values<TypeParam>(P * kN, 2);
  const auto before = random_values<TypeParam>(E * kStride, 3);
  for (const bool overwrite : {false, true}) {
    auto expected = before;
    for (int64_t e = 0; e < E; ++e) {
      const int64_t first = this->offsets_[static_cast<size_t>(e)];
      const int64_t last = this->offsets_[static_cast<size_t>(e) + 1];
      gemm<TypeParam>(kM, kN, last - first, transposed(a.data() + first * kM, kM),
                      plain(b.data() + first * kN, kN), expected.data() + e * kStride, kN,
                      overwrite);
    }
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      auto c = before;
      grouped_gemm_weights<TypeParam>(this->offsets_, kM, kN, a.data(), kM, b.data(), kN, c.data(),
                                      kStride, overwrite);
      EXPECT_EQ(c, expected) << overwrite << threads;
    }
  }
}

// Large enough for products that use the whole pool one after another.
TYPED_TEST(GroupedKernelsTest, LargeProductsMatchToo) {
  constexpr int64_t kN = 512, kK = 520;
  const std::vector<int64_t> offsets{0, 120, 250};
  const auto a = random_values<TypeParam>(250 * kK, 1);
  const auto weight = random_values<TypeParam>(2 * kN * kK, 2);
  std::vector<TypeParam> c(250 * kN), expected(250 * kN);
  for (const int64_t e : {0, 1}) {
    const int64_t first = offsets[static_cast<size_t>(e)];
    gemm<TypeParam>(offsets[static_cast<size_t>(e) + 1] - first, kN, kK,
                    plain(a.data() + first * kK, kK), transposed(weight.data() + e * kN * kK, kK),
                    expected.data() + first * kN, kN);
  }
  grouped_gemm<TypeParam>(offsets, kN, kK, plain(a.data(), kK),
                          {transposed(weight.data(), kK), kN * kK}, c.data(), kN);
  EXPECT_EQ(c, expected);
}

}  // namespace
}  // namespace offshoot
