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

}  // namespace offshoot::cuda
