#include "ops/unary.h"

#include <cmath>

#include "cuda/unary.h"
#include "ops/map.h"
#include "ops/vector_math.h"

namespace offshoot {

using Kind = cuda::Unary::Kind;

Tensor neg(Tape& tape, const Tensor& x) {
  return map_elements<Saved::nothing>(
      tape, "neg", x, cuda::Unary{Kind::scale, -1.0f}, [](auto v) { return -v; },
      [](auto, auto g) { return -g; });
}

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  if (!std::isfinite(factor)) fail("scale", "factor: got {}, expected a finite number", factor);
  const auto times = [factor](auto v) { return static_cast<decltype(v)>(factor) * v; };
  return map_elements<Saved::nothing>(tape, "scale", x,
                                      cuda::Unary{Kind::scale, static_cast<float>(factor)}, times,
                                      [times](auto, auto g) { return times(g); });
}

Tensor exp(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "exp", x, cuda::Unary{Kind::exp}, [](auto v) { return vexp(v); },
      [](auto y, auto g) { return y * g; });
}

Tensor log(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "log", x, cuda::Unary{Kind::log}, [](auto v) { return vlog(v); },
      [](auto v, auto g) { return g / v; });
}

Tensor sqrt(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "sqrt", x, cuda::Unary{Kind::sqrt}, [](auto v) { return std::sqrt(v); },
      [](auto y, auto g) { return g / (2 * y); });
}

Tensor square(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "square", x, cuda::Unary{Kind::square}, [](auto v) { return v * v; },
      [](auto v, auto g) { return 2 * v * g; });
}

Tensor abs(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "abs", x, cuda::Unary{Kind::abs}, [](auto v) { return std::abs(v); },
      [](auto v, auto g) { return v > 0   ? g
                                  : v < 0 ? -g
                                          : decltype(g){0}; });
}

Tensor clamp(Tape& tape, const Tensor& x, double low, double high) {
  if (!(low <= high)) fail("clamp", "bounds: got [{}, {}], expected low <= high", low, high);
  return map_elements<Saved::input>(
      tape, "clamp", x, cuda::Unary{Kind::clamp, static_cast<float>(low), static_cast<float>(high)},
      [=](auto v) {
        using T = decltype(v);
        const T raised = v < static_cast<T>(low) ? static_cast<T>(low) : v;
        return raised > static_cast<T>(high) ? static_cast<T>(high) : raised;
      },
      [=](auto v, auto g) {
        using T = decltype(v);
        const bool inside = v >= static_cast<T>(low) && v <= static_cast<T>(high);
        return inside ? g : T{0};
      });
}

}  // namespace offshoot
