#include "ops/unary.h"

#include <cmath>

#include "ops/map.h"
#include "ops/vector_math.h"

namespace offshoot {

Tensor neg(Tape& tape, const Tensor& x) {
  return map_elements<Saved::nothing>(
      tape, "neg", x, [](auto v) { return -v; }, [](auto, auto g) { return -g; });
}

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  if (!std::isfinite(factor)) fail("scale", "factor: got {}, expected a finite number", factor);
  const auto times = [factor](auto v) { return static_cast<decltype(v)>(factor) * v; };
  return map_elements<Saved::nothing>(tape, "scale", x, times,
                                      [times](auto, auto g) { return times(g); });
}

Tensor exp(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "exp", x, [](auto v) { return vexp(v); }, [](auto y, auto g) { return y * g; });
}

Tensor log(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "log", x, [](auto v) { return vlog(v); }, [](auto v, auto g) { return g / v; });
}

Tensor sqrt(Tape& tape, const Tensor& x) {
  return map_elements<Saved::output>(
      tape, "sqrt", x, [](auto v) { return std::sqrt(v); },
      [](auto y, auto g) { return g / (2 * y); });
}

Tensor square(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "square", x, [](auto v) { return v * v; }, [](auto v, auto g) { return 2 * v * g; });
}

Tensor abs(Tape& tape, const Tensor& x) {
  return map_elements<Saved::input>(
      tape, "abs", x, [](auto v) { return std::abs(v); },
      [](auto v, auto g) { return v > 0   ? g
                                  : v < 0 ? -g
                                          : decltype(g){0}; });
}

Tensor clamp(Tape& tape, const Tensor& x, double low, double high) {
  if (!(low <= high)) fail("clamp", "bounds: got [{}, {}], expected low <= high", low, high);
  return map_elements<Saved::input>(
      tape, "clamp", x,
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
