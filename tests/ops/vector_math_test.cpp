#include "ops/vector_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace offshoot {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();

// Calls f on floats spread over all bit patterns: both signs, denormals, infinities and NaN.
template <class F>
void for_all_magnitudes(F f) {
  constexpr uint64_t kStep = 9973;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += kStep) {
    f(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  for (const float x : {0.0f, -0.0f, kInfinity, -kInfinity, kNaN, 88.72284f, -103.9f, 1.0f}) f(x);
}

enum class Error { relative, of_value_above_one };

// The largest error of `f` against `exact` computed in double; fails where one is NaN or infinite
// and the other is not.
template <class F, class G>
double largest_error(Error kind, F f, G exact) {
  double largest = 0;
  for_all_magnitudes([&](float x) {
    const float got = f(x);
    const double expected = exact(static_cast<double>(x));
    const float rounded = static_cast<float>(expected);
    if (!std::isfinite(rounded) || !std::isfinite(got)) {
      EXPECT_EQ(std::isnan(got), std::isnan(rounded)) << "at " << x;
      EXPECT_TRUE(std::isnan(got) || got == rounded) << "at " << x << ": " << got;
      return;
    }
    const double floor = kind == Error::relative ? kSmallestNormal : 1.0;
    largest = std::max(largest, std::fabs(got - expected) / std::max(floor, std::fabs(expected)));
  });
  return largest;
}

TEST(VectorMath, FloatsAreAsExactAsTheHeaderSays) {
  const auto exp = [](auto x) { return vexp(x); };
  const auto log = [](auto x) { return vlog(x); };
  const auto tanh = [](auto x) { return vtanh(x); };
  const auto erf = [](auto x) { return verf(x); };
  // Below -88 the result is below the smallest normal number, and may be 0.
  const auto sigmoid = [](auto x) { return x < -88 ? x * 0 : vsigmoid(x); };
  EXPECT_LT(largest_error(Error::relative, exp, exp), 8.2e-8);
  EXPECT_LT(largest_error(Error::relative, log, log), 8.0e-8);
  EXPECT_LT(largest_error(Error::relative, tanh, tanh), 1.5e-7);
  EXPECT_LT(largest_error(Error::relative, erf, erf), 9e-8);
  EXPECT_LT(largest_error(Error::relative, sigmoid, sigmoid), 1.5e-7);
}

TEST(VectorMath, GeluFloatsAreAsExactAsTheHeaderSays) {
  const auto gelu = [](auto x) { return vgelu(x); };
  const auto gelu_tanh = [](auto x) { return vgelu_tanh(x); };
  const auto gelu_derivative = [](auto x) { return vgelu_derivative(x); };
  const auto gelu_tanh_derivative = [](auto x) { return vgelu_tanh_derivative(x); };
  const auto normal = [](auto x) {
    decltype(x) density;
    return vnormal(x, density);
  };
  constexpr Error kKind = Error::of_value_above_one;
  EXPECT_LT(largest_error(kKind, gelu, gelu), 2e-7);
  EXPECT_LT(largest_error(kKind, gelu_tanh, gelu_tanh), 2e-7);
  EXPECT_LT(largest_error(kKind, gelu_derivative, gelu_derivative), 2.5e-7);
  EXPECT_LT(largest_error(kKind, normal, normal), 2.5e-7);
  EXPECT_LT(largest_error(kKind, gelu_tanh_derivative, gelu_tanh_derivative), 4e-7);
}

TEST(VectorMath, GeluWithItsDerivativeIsBoth) {
  for (float x = -7; x < 7; x += 0.37f) {
    float derivative;
    EXPECT_EQ(vgelu(x, derivative), vgelu(x));
    EXPECT_EQ(derivative, vgelu_derivative(x));
  }
}

TEST(VectorMath, EdgesOfTheRange) {
  EXPECT_EQ(vexp(0.0f), 1.0f);
  EXPECT_EQ(vexp(kInfinity), kInfinity);
  EXPECT_EQ(vexp(-kInfinity), 0.0f);
  EXPECT_EQ(vexp(-104.5f), 0.0f);
  EXPECT_GT(vexp(-100.0f), 0.0f) << "below the smallest normal number";
  EXPECT_EQ(vlog(1.0f), 0.0f);
  EXPECT_EQ(vlog(0.0f), -kInfinity);
  EXPECT_EQ(vlog(-0.0f), -kInfinity);
  EXPECT_EQ(vlog(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(vlog(-1.0f)));
  EXPECT_EQ(vtanh(kInfinity), 1.0f);
  EXPECT_EQ(vtanh(-kInfinity), -1.0f);
  EXPECT_TRUE(std::signbit(vtanh(-0.0f)));
  EXPECT_EQ(verf(5.0f), 1.0f);
  EXPECT_EQ(verf(-kInfinity), -1.0f);
  EXPECT_TRUE(std::signbit(verf(-0.0f)));
  EXPECT_EQ(vsigmoid(-kInfinity), 0.0f);
  EXPECT_EQ(vgelu(6.0f), 6.0f);
  for (const float value : {vexp(kNaN), vlog(kNaN), vtanh(kNaN), verf(kNaN), vsigmoid(kNaN),
                            vgelu(kNaN), vgelu_derivative(kNaN), vgelu_tanh_derivative(kNaN)}) {
    EXPECT_TRUE(std::isnan(value));
  }
}

// The double versions are the specification: their formulas against others for the same function.
TEST(VectorMath, DoublesFollowTheirDefinitions) {
  for (double x = -6; x <= 6; x += 0.37) {
    const double normal = 0.5 * std::erfc(-x / std::numbers::sqrt2);
    EXPECT_NEAR(vgelu(x), x * normal, 1e-15);
    const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    EXPECT_NEAR(vgelu_tanh(x), 0.5 * x * (1 + std::tanh(inner)), 1e-14);
    EXPECT_NEAR(vsigmoid(x), 0.5 * (1 + std::tanh(x / 2)), 1e-15);
    const double h = 1e-5;
    EXPECT_NEAR(vgelu_derivative(x), (vgelu(x + h) - vgelu(x - h)) / (2 * h), 1e-9);
    EXPECT_NEAR(vgelu_tanh_derivative(x), (vgelu_tanh(x + h) - vgelu_tanh(x - h)) / (2 * h), 1e-9);
  }
}

}  // namespace
}  // namespace offshoot
