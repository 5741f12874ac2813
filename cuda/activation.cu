#include "cuda/activation.h"
#include "cuda/map.cuh"

namespace offshoot::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Each has value(x) and gradient(saved, dout).

struct Relu {
  __device__ float value(float x) const { return x > 0.0f ? x : 0.0f; }
  __device__ float gradient(float y, float g) const { return y > 0.0f ? g : 0.0f; }
};

struct Gelu {
  // Phi, the normal distribution function.
  static __device__ float normal(float x) { return 0.5f + 0.5f * erff(x * 0.70710678f); }
  __device__ float value(float x) const { return x * normal(x); }
  __device__ float gradient(float x, float g) const {
    const float density = 0.39894228f * expf(-0.5f * x * x);
    return g * (normal(x) + x * density);
  }
};

// As x sigmoid(2 u), u the argument of tanh.
struct GeluTanh {
  static constexpr float kScale = 1.59576912f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  __device__ float value(float x) const { return x * sigmoid(kScale * (x + kCubic * x * x * x)); }
  __device__ float gradient(float x, float g) const {
    // Beyond the clamp the derivative is within 1e-35 of 0 or 1, and the exponential could
    // overflow.
    x = x < -10.0f ? -10.0f : x;
    x = x > 10.0f ? 10.0f : x;
    const float e = expf(-kScale * (x + kCubic * x * x * x));
    const float s = 1.0f / (1.0f + e);
    // s (1 - s) = e s^2, without the cancellation.
    return g * (s + x * (e * s * s) * (kScale * (1.0f + 3.0f * kCubic * x * x)));
  }
};

struct Silu {
  __device__ float value(float x) const { return x * sigmoid(x); }
  __device__ float gradient(float x, float g) const {
    const float s = sigmoid(x);
    return g * (s + x * s * (1.0f - s));
  }
};

struct Tanh {
  __device__ float value(float x) const { return tanhf(x); }
  __device__ float gradient(float y, float g) const { return g * (1.0f - y * y); }
};

struct Sigmoid {
  __device__ float value(float x) const { return sigmoid(x); }
  __device__ float gradient(float y, float g) const { return g * y * (1.0f - y); }
};

// Calls f with the function.
template <class F>
void dispatch(Activation function, F&& f) {
  switch (function) {
    case Activation::relu:
      return f(Relu());
    case Activation::gelu:
      return f(Gelu());
    case Activation::gelu_tanh:
      return f(GeluTanh());
    case Activation::silu:
      return f(Silu());
    case Activation::tanh:
      return f(Tanh());
    case Activation::sigmoid:
      return f(Sigmoid());
  }
}

}  // namespace

template <class T>
void map_forward(Activation function, const T* x, int64_t count, T* out, Stream stream) {
  dispatch(function, [&](auto f) { map_value(f, x, count, out, stream); });
}

template <class T>
void map_backward(Activation function, const T* saved, const T* dout, int64_t count, T* dx,
                  bool overwrite, Stream stream) {
  dispatch(function, [&](auto f) { map_gradient(f, saved, dout, count, dx, overwrite, stream); });
}

#define OFFSHOOT_ACTIVATION(T)                                          \
  template void map_forward(Activation, const T*, int64_t, T*, Stream); \
  template void map_backward(Activation, const T*, const T*, int64_t, T*, bool, Stream);
OFFSHOOT_ACTIVATION(float)
OFFSHOOT_ACTIVATION(bfloat16)
#undef OFFSHOOT_ACTIVATION

}  // namespace offshoot::cuda
