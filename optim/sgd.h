// Stochastic gradient descent with momentum (Sutskever, Martens, Dahl, Hinton 2013), in the form
//   g <- grad + decay w        b <- momentum b + g        w <- w - rate b
// b starts at zero. A parameter without a gradient is left alone.
#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace offshoot {

struct SgdOptions {
  double momentum = 0.0;
  NewbornState newborn = NewbornState::inherit;  // fresh and reference: both zeros
};

class Sgd final : public Optimizer {
 public:
  // Throws Error when momentum is outside [0, 1).
  explicit Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

  // "momentum" of the parameter's shape, dtype and device; nothing when momentum is 0.
  void each_state(const StateVisitor& visit) const override;

 private:
  struct Item {
    Parameter* parameter;
    double rate_factor;
    double weight_decay;
    std::unique_ptr<StateTensor> momentum;
  };

  void update(double rate, const Tensor& guard) override;

  SgdOptions options_;
  std::vector<Item> items_;
};

}  // namespace offshoot
