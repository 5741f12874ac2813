#include "ops/gemm.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/parallel.h"
#include "engine/random.h"
#include "engine/storage.h"

namespace offshoot {
namespace {

template <class T>
std::vector<T> random_values(int64_t count, uint64_t seed) {
  Random random(seed, 0);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(random.normal());
  return values;
}

// A random product; leading dimensions have `slack` elements more than they need.
template <class T>
struct Product {
  Product(bool a_is_transposed, bool b_is_transposed, int64_t rows, int64_t columns, int64_t depth,
          int64_t slack = 0)
      : M(rows), N(columns), K(depth), ldc(columns + slack) {
    const int64_t lda = (a_is_transposed ? M : K) + slack;
    const int64_t ldb = (b_is_transposed ? K : N) + slack;
    a_values = random_values<T>((a_is_transposed ? K : M) * lda, 1);
    b_values = random_values<T>((b_is_transposed ? N : K) * ldb, 2);
    c_values = random_values<T>(M * ldc, 3);
    a = a_is_transposed ? transposed(a_values.data(), lda) : plain(a_values.data(), lda);
    b = b_is_transposed ? transposed(b_values.data(), ldb) : plain(b_values.data(), ldb);
  }

  std::vector<T> run(bool overwrite) const {
    std::vector<T> c = c_values;
    gemm<T>(M, N, K, a, b, c.data(), ldc, overwrite);
    return c;
  }
  std::vector<T> reference(bool overwrite) const {
    std::vector<T> c = c_values;
    gemm_reference<T>(M, N, K, a, b, c.data(), ldc, overwrite);
    return c;
  }

  int64_t M, N, K, ldc;
  std::vector<T> a_values, b_values, c_values;
  MatrixView<T> a{}, b{};
};

// Elements are of order sqrt(K); what lies between the rows of c must not change at all.
template <class T>
void expect_near(const std::vector<T>& got, const std::vector<T>& expected, int64_t K) {
  ASSERT_EQ(got.size(), expected.size());
  const double bound = 4 * std::numeric_limits<T>::epsilon() * static_cast<double>(K + 1);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], bound) << "at " << i;
}

template <class T>
class GemmTest : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(threads_); }
  int threads_ = num_threads();
};
using Floats = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GemmTest, Floats);

TYPED_TEST(GemmTest, MatchesReference) {
  struct Size {
    int64_t M, N, K;
  };
  const Size sizes[] = {{1, 1, 1},  {1, 7, 3},    {8, 16, 5},   {7, 31, 13},   {13, 50, 64},
                        {64, 8, 2}, {5, 64, 300}, {97, 33, 17}, {33, 70, 521}, {11, 230, 801}};
  for (const Size& size : sizes) {
    for (const bool a_is_transposed : {false, true}) {
      for (const bool b_is_transposed : {false, true}) {
        for (const bool overwrite : {false, true}) {
          SCOPED_TRACE(fmt::format("{} {} {} {} {} {}", size.M, size.N, size.K, a_is_transposed,
                                   b_is_transposed, overwrite));
          const Product<TypeParam> product(a_is_transposed, b_is_transposed, size.M, size.N, size.K,
                                           3);
          expect_near(product.run(overwrite), product.reference(overwrite), size.K);
        }
      }
    }
  }
}

TYPED_TEST(GemmTest, SameBitsForAnyThreadsAndRows) {
  const Product<TypeParam> product(false, true, 211, 75, 300);
  set_num_threads(1);
  const auto expected = product.run(true);
  for (const int threads : {2, 3, 5}) {
    set_num_threads(threads);
    EXPECT_EQ(product.run(true), expected) << threads;
  }
  std::vector<TypeParam> pieces(expected.size());
  for (int64_t first = 0, rows = 1; first < product.M; first += rows, ++rows) {
    rows = std::min(rows, product.M - first);
    gemm<TypeParam>(rows, product.N, product.K, product.a.rows_from(first), product.b,
                    pieces.data() + first * product.ldc, product.ldc);
  }
  EXPECT_EQ(pieces, expected);
}

TYPED_TEST(GemmTest, OverwritesNaNButPropagatesIt) {
  Product<TypeParam> product(false, false, 9, 40, 6);
  const auto nan = std::numeric_limits<TypeParam>::quiet_NaN();
  product.c_values.assign(product.c_values.size(), nan);
  for (const TypeParam value : product.run(true)) EXPECT_FALSE(std::isnan(value));
  product.a_values[0] = nan;
  const auto c = product.run(true);
  for (int64_t j = 0; j < product.N; ++j) EXPECT_TRUE(std::isnan(c[static_cast<size_t>(j)]));
  EXPECT_FALSE(std::isnan(c[static_cast<size_t>(product.ldc)]));
}

TYPED_TEST(GemmTest, EmptySumIsZero) {
  const Product<TypeParam> product(false, false, 3, 5, 0);
  EXPECT_EQ(product.run(true), std::vector<TypeParam>(15, 0));
  EXPECT_EQ(product.run(false), product.c_values);
  for (const Product<TypeParam>& empty :
       {Product<TypeParam>(false, false, 0, 5, 4), Product<TypeParam>(false, true, 5, 0, 4)}) {
    EXPECT_EQ(empty.run(true), empty.c_values);
  }
}

TYPED_TEST(GemmTest, FinishSeesEachCompleteRowOnce) {
  const Product<TypeParam> product(false, true, 301, 40, 33);
  auto expected = product.run(true);
  for (TypeParam& value : expected) value += 1;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    auto c = product.c_values;
    gemm_then<TypeParam>(product.M, product.N, product.K, product.a, product.b, c.data(),
                         product.ldc, true, [&](int64_t first, int64_t last) {
                           for (int64_t i = first * product.ldc; i < last * product.ldc; ++i) {
                             c[static_cast<size_t>(i)] += 1;
                           }
                         });
    EXPECT_EQ(c, expected);
  }
}

TEST(Gemm, ScratchIsPooledMemoryForAsLongAsItRuns) {
  Product<double> p(false, true, 7, 40, 300);
  const int64_t before = storage_stats().pooled_bytes_in_use;
  int64_t during = 0;
  gemm_then<double>(p.M, p.N, p.K, p.a, p.b, p.c_values.data(), p.ldc, true,
                    [&](int64_t, int64_t) { during = storage_stats().pooled_bytes_in_use; });
  EXPECT_GE(during, before + 40 * 300 * int64_t{sizeof(double)});
  EXPECT_EQ(storage_stats().pooled_bytes_in_use, before);
}

}  // namespace
}  // namespace offshoot
