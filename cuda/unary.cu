#include "cuda/map.cuh"
#include "cuda/unary.h"

namespace offshoot::cuda {
namespace {

// Each has value(x) and gradient(saved, dout).

struct Scale {
  float factor;
  __device__ float value(float x) const { return factor * x; }
  __device__ float gradient(float, float g) const { return factor * g; }
};

struct Exp {
  __device__ float value(float x) const { return expf(x); }
  __device__ float gradient(float y, float g) const { return y * g; }
};

struct Log {
  __device__ float value(float x) const { return logf(x); }
  __device__ float gradient(float x, float g) const { return g / x; }
};

struct Sqrt {
  __device__ float value(float x) const { return sqrtf(x); }
  __device__ float gradient(float y, float g) const { return g / (2.0f * y); }
};

struct Square {
  __device__ float value(float x) const { return x * x; }
  __device__ float gradient(float x, float g) const { return 2.0f * x * g; }
};

struct Abs {
  __device__ float value(float x) const { return fabsf(x); }
  __device__ float gradient(float x, float g) const { return x > 0.0f ? g : x < 0.0f ? -g : 0.0f; }
};

struct Clamp {
  float low, high;
  // NaN stays NaN, which it would not in fminf and fmaxf.
  __device__ float value(float x) const {
    const float raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
  __device__ float gradient(float x, float g) const { return x >= low && x <= high ? g : 0.0f; }
};

// Calls f with the function.
template <class F>
void dispatch(Unary function, F&& f) {
  switch (function.kind) {
    case Unary::Kind::scale:
      return f(Scale{function.low});
    case Unary::Kind::exp:
      return f(Exp());
    case Unary::Kind::log:
      return f(Log());
    case Unary::Kind::sqrt:
      return f(Sqrt());
    case Unary::Kind::square:
      return f(Square());
    case Unary::Kind::abs:
      return f(Abs());
    case Unary::Kind::clamp:
      return f(Clamp{function.low, function.high});
  }
}

}  // namespace

template <class T>
void map_forward(Unary function, const T* x, int64_t count, T* out, Stream stream) {
  dispatch(function, [&](auto f) { map_value(f, x, count, out, stream); });
}

template <class T>
void map_backward(Unary function, const T* saved, const T* dout, int64_t count, T* dx,
                  bool overwrite, Stream stream) {
  dispatch(function, [&](auto f) { map_gradient(f, saved, dout, count, dx, overwrite, stream); });
}

#define OFFSHOOT_UNARY(T)                                          \
  template void map_forward(Unary, const T*, int64_t, T*, Stream); \
  template void map_backward(Unary, const T*, const T*, int64_t, T*, bool, Stream);
OFFSHOOT_UNARY(float)
OFFSHOOT_UNARY(bfloat16)
#undef OFFSHOOT_UNARY

}  // namespace offshoot::cuda
