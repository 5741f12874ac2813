// GELU in its erf form, x Phi(x), with its derivative Phi(x) + x phi(x).
#pragma once

#include "cuda/launch.cuh"

namespace offshoot::cuda {

struct Gelu {
  float value, slope;
};

// Phi by Abramowitz and Stegun 26.2.17, within 1e-7: it needs but the exponential that phi needs.
__device__ __forceinline__ Gelu gelu(float x) {
  const float phi = 0.3989422804f * __expf(-0.5f * x * x);
  const float t = __fdividef(1.0f, 1.0f + 0.2316419f * fabsf(x));
  float tail = 1.330274429f;
  tail = tail * t - 1.821255978f;
  tail = tail * t + 1.781477937f;
  tail = tail * t - 0.356563782f;
  tail = tail * t + 0.319381530f;
  tail *= t * phi;
  const float cdf = x < 0.0f ? tail : 1.0f - tail;
  return {x * cdf, cdf + x * phi};
}

// The same within 3e-4, for results that bfloat16 holds and kernels that have no time. Phi is
// (1 + tanh(x (a + b x^2 + c x^4))) / 2 with the constants that fit the slope best, to 9e-5; the
// rest is the device's tanh.
__device__ __forceinline__ Gelu rough_gelu(float x) {
  constexpr float a = 0.797422822f, b = 3.70038414e-2f, c = -3.47531983e-4f;
  const float square = fminf(x * x, 64.0f);  // beyond, tanh is 1 and the polynomial no longer rises
  const float t = __tanhf(x * (a + square * (b + square * c)));
  const float cdf = 0.5f + 0.5f * t;
  const float half_rise = 0.5f * a + square * (1.5f * b + square * (2.5f * c));
  return {x * cdf, cdf + x * (half_rise - t * t * half_rise)};
}

}  // namespace offshoot::cuda
