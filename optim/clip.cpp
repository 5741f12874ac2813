#include "optim/clip.h"

#include <cmath>

#include "engine/error.h"

namespace offshoot {

double gradient_norm(std::span<Parameter* const> parameters) {
  double squares = 0;
  for (const Parameter* parameter : parameters) {
    if (!parameter->has_grad()) continue;
    const Tensor grad = parameter->grad();
    dispatch_float("clip", grad.dtype(), [&]<class T>(T) {
      for (const T g : grad.elements<T>()) squares += static_cast<double>(g) * g;
    });
  }
  return std::sqrt(squares);
}

double clip_gradients(std::span<Parameter* const> parameters, double max_norm) {
  if (!(max_norm > 0)) fail("clip", "max_norm: got {}, expected above 0", max_norm);
  const double norm = gradient_norm(parameters);
  if (!std::isfinite(norm)) fail("clip", "gradient norm: got {}, expected a finite number", norm);
  if (norm <= max_norm) return norm;
  for (Parameter* parameter : parameters) {
    if (!parameter->has_grad()) continue;
    const Tensor grad = parameter->gradient_slot().grad;
    dispatch_float("clip", grad.dtype(), [&]<class T>(T) {
      for (T& g : grad.elements<T>()) g *= static_cast<T>(max_norm / norm);
    });
  }
  return norm;
}

}  // namespace offshoot
