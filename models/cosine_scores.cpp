#include "models/cosine_scores.h"

#include <cmath>
#include <limits>

#include "ops/linear.h"
#include "ops/row_norms.h"
#include "ops/unary.h"

namespace offshoot {

Tensor cosines(Tape& tape, const Tensor& x, const Tensor& rows) {
  return linear(tape, normalize_rows(tape, x), normalize_rows(tape, rows));
}

Tensor first_temperature(const Scope& scope, double start) {
  return Tensor::full({1}, scope.dtype, std::log(1 / start), scope.device);
}

Tensor cosine_factor(Tape& tape, Parameter& temperature) {
  constexpr double kUnbounded = -std::numeric_limits<double>::infinity();
  return exp(tape, clamp(tape, tape.watch(temperature), kUnbounded, std::log(100.0)));
}

}  // namespace offshoot
