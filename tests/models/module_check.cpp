#include "tests/models/module_check.h"

#include <algorithm>
#include <cmath>

#include "engine/testing/gradcheck.h"
#include "ops/binary.h"
#include "ops/reduce.h"

namespace offshoot::testing {
namespace {

constexpr double kStep = 1e-5;
constexpr int64_t kMaxElements = 256;
constexpr int kDirections = 8;
constexpr DropoutKey kKey{5, 3, 0};

class Check {
 public:
  Check(const ModuleForward& forward, const std::vector<Tensor>& inputs)
      : forward_(forward), inputs_(inputs), weights_(weights()) {}

  // Adds to the parameters' gradients and returns the inputs'.
  std::vector<Tensor> backward() const {
    Tape tape;
    for (const Tensor& input : inputs_) tape.watch(input);
    tape.backward(loss(tape));
    std::vector<Tensor> grads;
    for (const Tensor& input : inputs_) grads.push_back(tape.grad(input));
    return grads;
  }

  // Of d(loss) along directions in `x`, which the module or the inputs use.
  double error(const Tensor& x, const Tensor& grad, uint64_t seed) const {
    Random random(seed, 1);
    const bool each = x.size() <= kMaxElements;
    double error = 0, scale = 1e-12;
    for (int64_t d = 0; d < (each ? x.size() : kDirections); ++d) {
      std::vector<double> direction(static_cast<size_t>(x.size()), 0.0);
      if (each) {
        direction[static_cast<size_t>(d)] = 1.0;
      } else {
        std::ranges::generate(direction, [&] { return random.normal(); });
      }
      const auto g = grad.elements<double>();
      double along = 0;
      for (size_t i = 0; i < direction.size(); ++i) along += g[i] * direction[i];
      const double expected = difference(x, direction);
      if (!std::isfinite(along) || !std::isfinite(expected)) return HUGE_VAL;
      error = std::max(error, std::abs(along - expected));
      scale = std::max(scale, std::abs(expected));
    }
    return error / scale;
  }

 private:
  Tensor loss(Tape& tape) const {
    Context context{tape, true, kKey};
    return sum(tape, mul(tape, forward_(context, inputs_), weights_));
  }

  double difference(const Tensor& x, const std::vector<double>& direction) const {
    const auto elements = x.elements<double>();
    const std::vector<double> kept(elements.begin(), elements.end());
    const auto at = [&](double step) {
      for (size_t i = 0; i < kept.size(); ++i) elements[i] = kept[i] + step * direction[i];
      Tape tape = Tape::none();
      const double value = loss(tape).item();
      std::ranges::copy(kept, elements.begin());
      return value;
    };
    const double above = at(kStep), below = at(-kStep);
    return (above - below) / (2 * kStep);
  }

  Tensor weights() const {
    Tape tape = Tape::none();
    Context context{tape, true, kKey};
    return random_tensor(forward_(context, inputs_).shape(), DType::f64, 77);
  }

  const ModuleForward& forward_;
  const std::vector<Tensor>& inputs_;
  Tensor weights_;
};

// Halves the twice accumulated gradient after comparing it with the first.
double twice_error(const Tensor& once, const Tensor& twice) {
  const Tensor doubled = once.clone();
  for (double& value : doubled.elements<double>()) value *= 2;
  return relative_error(twice, doubled);
}

}  // namespace

void randomise(Module& module, uint64_t seed, double deviation) {
  for (Parameter* p : parameters(module)) {
    copy_elements(
        normal(p->value().shape(), p->dtype(), Random(seed, stream_of(p->name())), 0.0, deviation),
        p->value());
  }
}

double module_gradient_error(Module& module, const ModuleForward& forward,
                             const std::vector<Tensor>& inputs) {
  const Check check(forward, inputs);
  double error = 0;
  const std::vector<Parameter*> all = parameters(module);
  for (Parameter* p : all) p->zero_grad();
  const std::vector<Tensor> input_grads = check.backward();
  std::vector<Tensor> once;
  for (Parameter* p : all) once.push_back(p->grad().clone());
  check.backward();
  for (size_t i = 0; i < all.size(); ++i) {
    // Rounding of a sum that starts elsewhere.
    if (twice_error(once[i], all[i]->grad()) > 1e-12) return HUGE_VAL;
    error = std::max(error, check.error(all[i]->value(), once[i], i));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    error = std::max(error, check.error(inputs[i], input_grads[i], 100 + i));
  }
  return error;
}

Tensor random_tokens(const Shape& shape, int64_t vocabulary, uint64_t seed) {
  Random random(seed, 9);
  const Tensor tokens(shape, DType::i32);
  for (int32_t& token : tokens.elements<int32_t>()) {
    token = static_cast<int32_t>(random.below(vocabulary));
  }
  return tokens;
}

}  // namespace offshoot::testing
