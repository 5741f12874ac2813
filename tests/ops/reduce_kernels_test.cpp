#include "ops/reduce_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/random.h"

namespace offshoot {
namespace {

template <class T>
class ReduceKernelsTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceKernelsTest, Floats);

template <class T>
std::vector<T> random_row(int64_t n, uint64_t seed) {
  Random random(seed, 0);
  std::vector<T> row(static_cast<size_t>(n));
  for (T& value : row) value = static_cast<T>(random.normal());
  return row;
}

TYPED_TEST(ReduceKernelsTest, MatchPlainLoopsForEveryLength) {
  for (int64_t n = 0; n <= 131; ++n) {
    const auto x = random_row<TypeParam>(n, 1), y = random_row<TypeParam>(n, 2);
    double sum = 0, product = 0;
    TypeParam largest = -std::numeric_limits<TypeParam>::infinity();
    for (size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]);
      product += static_cast<double>(x[i]) * static_cast<double>(y[i]);
      largest = std::max(largest, x[i]);
    }
    const double bound = 50 * std::numeric_limits<TypeParam>::epsilon();
    EXPECT_NEAR(row_sum(x.data(), n), sum, bound) << n;
    EXPECT_NEAR(dot(x.data(), y.data(), n), product, bound) << n;
    EXPECT_EQ(row_max(x.data(), n), largest) << n;
  }
}

TYPED_TEST(ReduceKernelsTest, SameBitsAtAnyAlignment) {
  for (const int64_t n : {1, 31, 33, 97, 100}) {
    const auto x = random_row<TypeParam>(n, 3);
    const TypeParam sum = row_sum(x.data(), n);
    for (size_t shift = 0; shift < 20; ++shift) {
      std::vector<TypeParam> moved(shift, 7);
      moved.insert(moved.end(), x.begin(), x.end());
      EXPECT_EQ(row_sum(moved.data() + shift, n), sum);
    }
  }
}

TYPED_TEST(ReduceKernelsTest, ColumnSumsAddOrOverwrite) {
  constexpr int64_t kRows = 7, kColumns = 37, kLd = 40;
  const auto x = random_row<TypeParam>(kRows * kLd, 4);
  auto added = random_row<TypeParam>(kColumns, 5);
  const auto before = added;
  std::vector<TypeParam> written(kColumns, std::numeric_limits<TypeParam>::quiet_NaN());
  column_sums(x.data(), kLd, 2, kRows, kColumns, added.data(), false);
  column_sums(x.data(), kLd, 2, kRows, kColumns, written.data(), true);
  for (size_t d = 0; d < kColumns; ++d) {
    double sum = 0;
    for (size_t r = 2; r < kRows; ++r) sum += static_cast<double>(x[r * kLd + d]);
    const double bound = 50 * std::numeric_limits<TypeParam>::epsilon();
    EXPECT_NEAR(written[d], sum, bound);
    EXPECT_NEAR(added[d] - before[d], sum, bound);
  }
}

}  // namespace
}  // namespace offshoot
