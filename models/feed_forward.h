// What stands behind attention in a block: a dense MLP or a mixture of experts.
#pragma once

#include <cstdint>

#include "models/layers.h"

namespace offshoot {

class FeedForward : public Module {
 public:
  // x [..., D] -> [..., D]
  virtual Tensor forward(Context& context, const Tensor& x) = 0;
};

// fc2(GELU(fc1(x))), the erf form of GELU (Hendrycks, Gimpel 2016, arXiv 1606.08415); in bf16 the
// tanh form, see linear_gelu() of ops/linear.h.
class Mlp final : public FeedForward {
 public:
  Mlp(const Scope& scope, int64_t features, int64_t hidden, const Linear::Options& options = {});

  Tensor forward(Context& context, const Tensor& x) override;
  void each_parameter(const ParameterVisitor& visit) override;

 private:
  Linear fc1_;
  Linear fc2_;
};

}  // namespace offshoot
