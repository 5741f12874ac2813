#include "ops/activation.h"

#include "cuda/activation.h"
#include "ops/map.h"
#include "ops/vector_math.h"

namespace offshoot {

Tensor relu(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "relu", x, cuda::Activation::relu, [](auto v) { return v > 0 ? v : decltype(v){0}; },
      [](auto y, auto g) { return y > 0 ? g : decltype(g){0}; });
}

Tensor gelu(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "gelu", x, cuda::Activation::gelu, [](auto v) { return vgelu(v); },
      [](auto v, auto g) { return g * vgelu_derivative(v); });
}

Tensor gelu_tanh(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "gelu_tanh", x, cuda::Activation::gelu_tanh, [](auto v) { return vgelu_tanh(v); },
      [](auto v, auto g) { return g * vgelu_tanh_derivative(v); });
}

Tensor silu(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "silu", x, cuda::Activation::silu, [](auto v) { return v * vsigmoid(v); },
      [](auto v, auto g) {
        const auto s = vsigmoid(v);
        return g * (s + v * s * (1 - s));
      });
}

Tensor tanh(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "tanh", x, cuda::Activation::tanh, [](auto v) { return vtanh(v); },
      [](auto y, auto g) { return g * (1 - y * y); });
}

Tensor sigmoid(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "sigmoid", x, cuda::Activation::sigmoid, [](auto v) { return vsigmoid(v); },
      [](auto y, auto g) { return g * y * (1 - y); });
}

}  // namespace offshoot
