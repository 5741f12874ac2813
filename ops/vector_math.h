// Elementary functions for loops over elements: branch-free in float, so that the compiler
// vectorises the loop that calls them; in double they are those of <cmath>, the specification.
//
// Largest errors in float, against double, relative where the result is a normal number:
//   vexp 8.2e-8    vlog 8.0e-8    vtanh 1.5e-7    verf 9e-8    vsigmoid 1.5e-7
// and for the others as a fraction of max(1, |value|), because they cancel for x << 0:
//   vnormal 2.5e-7    vgelu 2e-7    vgelu_derivative 2.5e-7    vgelu_tanh 2e-7
//   vgelu_tanh_derivative 4e-7
// Infinities, NaN, zeros and results below the smallest normal number are as in <cmath>, except
// that vsigmoid may return 0 for a result below the smallest normal number.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace offshoot {

// exp(x) = 2^exponent mantissa, for x in [-104, 89]. NaN passes through the mantissa.
struct ExpParts {
  float mantissa;
  uint32_t exponent;  // two's complement
};
[[gnu::always_inline]] inline ExpParts exp_parts(float x) {
  // exp(x) = 2^n exp(r), |r| <= ln(2) / 2. Adding 1.5 * 2^23 leaves the nearest integer in the low
  // bits.
  constexpr float kRound = 12582912.0f;
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  // ln(2) in two pieces, the first so short that n times it is exact.
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  // Coefficients of Cephes' expf.
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return {p, std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound)};
}

[[gnu::always_inline]] inline float vexp(float x) {
  // Beyond the clamp the result is infinite or rounds to 0. NaN passes through both comparisons.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const auto [mantissa, exponent] = exp_parts(x);
  // 2^n in two factors: n reaches beyond the exponents of one float on either side.
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float scale = std::bit_cast<float>((half + 127u) << 23);
  const float scale_rest = std::bit_cast<float>((exponent - half + 127u) << 23);
  return mantissa * scale * scale_rest;
}

[[gnu::always_inline]] inline float vlog(float x) {
  // Selections are between constants: a selected computation would become a branch.
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float special = x == kInfinity ? kInfinity : 0.0f;
  special = x == 0.0f ? -kInfinity : special;
  special = x >= 0.0f ? special : std::numeric_limits<float>::quiet_NaN();
  const bool denormal = x < std::numeric_limits<float>::min();
  const float lift = denormal ? 8388608.0f : 1.0f;  // 2^23
  const float lift_exponent = denormal ? 23.0f : 0.0f;
  const uint32_t bits = std::bit_cast<uint32_t>(x * lift);
  // x = 2^e m, m in [sqrt(1/2), sqrt(2)).
  constexpr uint32_t kSqrtHalf = 0x3f3504f3u;
  const uint32_t above = bits - kSqrtHalf;
  const float m = std::bit_cast<float>((above & 0x007fffffu) + kSqrtHalf);
  const float e = static_cast<float>(static_cast<int32_t>(above) >> 23) - lift_exponent;
  // Coefficients of Cephes' logf.
  const float f = m - 1.0f;
  const float f2 = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const float tail = p * f * f2 + e * -2.12194440e-4f - 0.5f * f2;
  return ((f + tail) + e * 0.693359375f) + special;
}

[[gnu::always_inline]] inline float vtanh(float x) {
  const float magnitude = std::fabs(x);
  const float far = 1.0f - 2.0f / (vexp(2.0f * magnitude) + 1.0f);
  // Near zero the difference above cancels. Coefficients of Cephes' tanhf.
  const float s = x * x;
  float p = -5.70498872745e-3f;
  p = p * s + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  const float near = p * s * x + x;
  return std::copysign(magnitude < 0.625f ? near : far, x);
}

[[gnu::always_inline]] inline float verf(float x) {
  // Minimax polynomials of N. Juffa: erf(x) = x + x p(x^2) up to 0.9277, 1 - exp(q(|x|)) above.
  const float magnitude = std::fabs(x);
  const float s = x * x;
  float p = -5.96761703e-4f;
  p = p * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  const float near = p * x + x;
  const float t = magnitude > 4.0f ? 4.0f : magnitude;  // erf(4) rounds to 1
  float q = -1.72853470e-5f * t + 3.83197126e-4f;
  q = q * t - 3.88396438e-3f;
  q = q * t + 2.42546219e-2f;
  q = q * t - 1.06777877e-1f;
  q = q * t - 6.34846687e-1f;
  q = q * t - 1.28717512e-1f;
  q = q * t - t;
  const float far = std::copysign(1.0f - vexp(q), x);
  return magnitude > 0.927734375f ? far : near;
}

[[gnu::always_inline]] inline double vexp(double x) { return std::exp(x); }
[[gnu::always_inline]] inline double vlog(double x) { return std::log(x); }
[[gnu::always_inline]] inline double vtanh(double x) { return std::tanh(x); }
[[gnu::always_inline]] inline double verf(double x) { return std::erf(x); }

template <class T>
[[gnu::always_inline]] inline T vsigmoid(T x) {
  return T(1) / (T(1) + vexp(-x));
}

// Phi(x), the normal distribution function; its density on the side, from the same exponential.
// For x < 0 nothing cancels: Phi(x) = phi(x) q(t), t = 1 / (1 + 0.275 |x|), the form of
// Abramowitz and Stegun 7.1.26, with a polynomial fitted to 5.2e-9.
[[gnu::always_inline]] inline float vnormal(float x, float& density) {
  const float power = vexp(-0.5f * x * x);
  density = 0.39894228f * power;
  const float t = 1.0f / (1.0f + 0.275f * std::fabs(x));
  float q = -1.148579443e-1f;
  q = q * t + 4.519971301e-1f;
  q = q * t - 3.309908274e-1f;
  q = q * t + 3.339302112e-1f;
  q = q * t + 4.211231433e-2f;
  q = q * t + 1.178091205e-1f;
  // 1 - tail or tail. The sign is taken from the bits: where a comparison became a branch, the
  // compiler would fuse other products than in vectors.
  const float sign = std::copysign(1.0f, x);
  return (0.5f + 0.5f * sign) - sign * (power * t * q);
}

[[gnu::always_inline]] inline double vnormal(double x, double& density) {
  density = 0.39894228040143267794 * std::exp(-0.5 * x * x);
  return 0.5 * (1.0 + std::erf(x * 0.70710678118654752440));
}

// x Phi(x) (Hendrycks, Gimpel 2016, arXiv 1606.08415).
template <class T>
[[gnu::always_inline]] inline T vgelu(T x) {
  T density;
  return x * vnormal(x, density);
}

// d vgelu / dx = Phi(x) + x phi(x), phi the normal density.
template <class T>
[[gnu::always_inline]] inline T vgelu_derivative(T x) {
  T density;
  const T distribution = vnormal(x, density);
  return distribution + x * density;
}

// Both, in the time of one.
template <class T>
[[gnu::always_inline]] inline T vgelu(T x, T& derivative) {
  T density;
  const T distribution = vnormal(x, density);
  derivative = distribution + x * density;
  return x * distribution;
}

// The tanh form, 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), as x sigmoid of twice the
// argument of tanh.
template <class T>
[[gnu::always_inline]] inline T vgelu_tanh(T x) {
  constexpr T kScale = T(1.59576912160573071176);  // 2 sqrt(2/pi)
  return x * vsigmoid(kScale * (x + T(0.044715) * x * x * x));
}

template <class T>
[[gnu::always_inline]] inline T vgelu_tanh_derivative(T x) {
  constexpr T kScale = T(1.59576912160573071176);
  // Beyond the clamp the derivative is within 1e-35 of 0 or 1, and the exponential could overflow.
  x = x < T(-10) ? T(-10) : x;
  x = x > T(10) ? T(10) : x;
  const T e = vexp(-kScale * (x + T(0.044715) * x * x * x));
  const T s = T(1) / (T(1) + e);
  // s (1 - s) = e s^2, without the cancellation.
  return s + x * (e * s * s) * (kScale * (T(1) + T(3 * 0.044715) * x * x));
}

}  // namespace offshoot
