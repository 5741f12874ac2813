#include "engine/testing/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace offshoot::testing {
namespace {

constexpr double kStep = 1e-5;
constexpr int64_t kMaxElements = 256;
constexpr int kDirections = 8;

// New memory is NaN while this lives.
class Poison {
 public:
  Poison() { poison_storage(true); }
  ~Poison() {
#ifndef OFFSHOOT_POISON
    poison_storage(false);
#endif
  }
};

double dot(const Tensor& a, const Tensor& b) {
  const auto x = a.elements<double>(), y = b.elements<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

double relative_error_of(std::span<const double> got, std::span<const double> expected) {
  double error = 0, scale = 0;
  for (size_t e = 0; e < got.size(); ++e) {
    if (!std::isfinite(got[e]) || !std::isfinite(expected[e])) return HUGE_VAL;  // max() loses NaN
    error = std::max(error, std::abs(got[e] - expected[e]));
    scale = std::max(scale, std::abs(expected[e]));
  }
  return error == 0 ? 0 : error / std::max(scale, 1e-12);
}

// d(weighted sum of the result) along `direction` of input i.
double central_difference(const OpCase& op_case, const std::vector<Tensor>& inputs, size_t i,
                          std::span<const double> direction, const Tensor& weights) {
  Tape tape = Tape::none();
  const auto x = inputs[i].elements<double>();
  const std::vector<double> kept(x.begin(), x.end());
  const auto at = [&](double step) {
    for (size_t e = 0; e < x.size(); ++e) x[e] = kept[e] + step * direction[e];
    const double sum = dot(op_case.op(tape, inputs), weights);
    std::ranges::copy(kept, x.begin());
    return sum;
  };
  const double above = at(kStep), below = at(-kStep);
  return (above - below) / (2 * kStep);
}

// The directions along which input i is checked: its elements, or random ones.
std::vector<std::vector<double>> directions_for(int64_t size, Random& random) {
  const bool each = size <= kMaxElements;
  const auto count = static_cast<size_t>(each ? size : kDirections);
  std::vector<std::vector<double>> directions(count,
                                              std::vector<double>(static_cast<size_t>(size), 0.0));
  for (size_t d = 0; d < count; ++d) {
    if (each) {
      directions[d][d] = 1.0;
    } else {
      std::ranges::generate(directions[d], [&] { return random.normal(); });
    }
  }
  return directions;
}

double error_of_input(const OpCase& op_case, const std::vector<Tensor>& inputs, size_t i,
                      const Tensor& weights, const Tensor& grad, Random& random) {
  std::vector<double> got, expected;
  const auto g = grad.elements<double>();
  for (const auto& direction : directions_for(inputs[i].size(), random)) {
    double along = 0;
    for (size_t e = 0; e < g.size(); ++e) along += g[e] * direction[e];
    got.push_back(along);
    expected.push_back(central_difference(op_case, inputs, i, direction, weights));
  }
  return relative_error_of(got, expected);
}

}  // namespace

double gradient_error(const OpCase& op_case, uint64_t seed) {
  const Poison poison;
  Random random(seed, stream_of(op_case.name));
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    inputs.push_back(random_tensor(op_case.inputs[i], DType::f64, random.next_u64()));
    if (op_case.fill) op_case.fill(i, inputs.back(), random);
  }
  double worst = 0;
  for (const bool prefilled : {false, true}) {
    Tape tape;
    std::vector<Tensor> before;
    for (const Tensor& input : inputs) {
      tape.watch(input);
      before.push_back(random_tensor(input.shape(), DType::f64, random.next_u64()));
      if (prefilled) copy_elements(before.back(), tape.slot(input).grad);
    }
    const Tensor out = op_case.op(tape, inputs);
    const Tensor weights = random_tensor(out.shape(), DType::f64, random.next_u64());
    tape.backward(out, weights);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Tensor grad = tape.grad(inputs[i]).clone();
      if (prefilled) {
        const auto g = grad.elements<double>(), b = before[i].elements<double>();
        for (size_t e = 0; e < g.size(); ++e) g[e] -= b[e];
      }
      worst = std::max(worst, error_of_input(op_case, inputs, i, weights, grad, random));
    }
  }
  return worst;
}

Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed) {
  Random random(seed, stream_of("random_tensor"));
  Tensor tensor(shape, dtype);
  dispatch_float("random_tensor", dtype, [&]<class T>(T) {
    for (T& value : tensor.elements<T>()) value = static_cast<T>(random.normal());
  });
  return tensor;
}

double relative_error(const Tensor& got, const Tensor& expected) {
  if (got.shape() != expected.shape()) return HUGE_VAL;
  const auto to_doubles = [](const Tensor& tensor) {
    return dispatch_float("relative_error", tensor.dtype(), [&]<class T>(T) {
      const auto elements = tensor.elements<T>();
      return std::vector<double>(elements.begin(), elements.end());
    });
  };
  return relative_error_of(to_doubles(got), to_doubles(expected));
}

}  // namespace offshoot::testing
