#include "cuda/binary.h"
#include "cuda/reduce.cuh"

namespace offshoot::cuda {
namespace {

// Each has value(a, b), and da and db of (a, b, dout).

struct Add {
  static __device__ float value(float a, float b) { return a + b; }
  static __device__ float da(float, float, float g) { return g; }
  static __device__ float db(float, float, float g) { return g; }
};

struct Sub {
  static __device__ float value(float a, float b) { return a - b; }
  static __device__ float da(float, float, float g) { return g; }
  static __device__ float db(float, float, float g) { return -g; }
};

struct Mul {
  static __device__ float value(float a, float b) { return a * b; }
  static __device__ float da(float, float b, float g) { return g * b; }
  static __device__ float db(float a, float, float g) { return g * a; }
};

struct Div {
  static __device__ float value(float a, float b) { return a / b; }
  static __device__ float da(float, float b, float g) { return g / b; }
  static __device__ float db(float a, float b, float g) { return -g * a / (b * b); }
};

struct Maximum {
  static __device__ float value(float a, float b) { return a >= b ? a : b; }
  static __device__ float da(float a, float b, float g) { return a >= b ? g : 0.0f; }
  static __device__ float db(float a, float b, float g) { return a >= b ? 0.0f : g; }
};

template <class Op>
struct ValueOf {
  __device__ float operator()(float a, float b) const { return Op::value(a, b); }
};
template <class Op>
struct GradientA {
  __device__ float operator()(float a, float b, float g) const { return Op::da(a, b, g); }
};
template <class Op>
struct GradientB {
  __device__ float operator()(float a, float b, float g) const { return Op::db(a, b, g); }
};

// Calls f with the operation.
template <class F>
void dispatch(Binary op, F&& f) {
  switch (op) {
    case Binary::add:
      return f(Add());
    case Binary::sub:
      return f(Sub());
    case Binary::mul:
      return f(Mul());
    case Binary::div:
      return f(Div());
    case Binary::maximum:
      return f(Maximum());
  }
}

}  // namespace

template <class T>
void binary_forward(Binary op, const Walk& walk, const T* a, const T* b, T* out, Stream stream) {
  dispatch(op, [&]<class Op>(Op) { map(walk, ValueOf<Op>(), out, true, stream, a, b); });
}

template <class T>
void binary_backward(Binary op, int operand, const Walk& walk, const T* a, const T* b,
                     const T* dout, T* grad, bool overwrite, float* scratch, Stream stream) {
  dispatch(op, [&]<class Op>(Op) {
    if (operand == 0) {
      map_sum(walk, GradientA<Op>(), grad, overwrite, scratch, stream, a, b, dout);
    } else {
      map_sum(walk, GradientB<Op>(), grad, overwrite, scratch, stream, a, b, dout);
    }
  });
}

#define OFFSHOOT_BINARY(T)                                                                        \
  template void binary_forward(Binary, const Walk&, const T*, const T*, T*, Stream);              \
  template void binary_backward(Binary, int, const Walk&, const T*, const T*, const T*, T*, bool, \
                                float*, Stream);
OFFSHOOT_BINARY(float)
OFFSHOOT_BINARY(bfloat16)
#undef OFFSHOOT_BINARY

}  // namespace offshoot::cuda
