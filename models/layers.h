// The layers that every model is made of.
#pragma once

#include <cstdint>

#include "engine/context.h"
#include "engine/module.h"

namespace offshoot {

// y = x W^T + b.  x [..., D] -> [..., H]; "weight" [H, D], "bias" [H].
class Linear final : public Module {
 public:
  enum class Init {
    normal,  // the weight from N(0, deviation), the bias zero
    fan_in,  // both uniform in +-1/sqrt(D)
  };
  struct Options {
    bool bias = true;
    double deviation = 0.02;
    Init init = Init::normal;
  };
  Linear(const Scope& scope, int64_t inputs, int64_t outputs)
      : Linear(scope, inputs, outputs, {}) {}
  Linear(const Scope& scope, int64_t inputs, int64_t outputs, const Options& options);

  Tensor forward(Context& context, const Tensor& x);
  // GELU of that, in one product where the device has it (ops/linear.h). The bias must be there.
  Tensor forward_gelu(Context& context, const Tensor& x);
  void each_parameter(const ParameterVisitor& visit) override;

 private:
  Parameter weight_;
  std::unique_ptr<Parameter> bias_;
};

// Layer normalisation over the last axis; "weight" [D] ones, "bias" [D] zeros.
class LayerNorm final : public Module {
 public:
  LayerNorm(const Scope& scope, int64_t features, double eps = 1e-5);

  Tensor forward(Context& context, const Tensor& x);
  void each_parameter(const ParameterVisitor& visit) override;

 private:
  Parameter weight_;
  Parameter bias_;
  double eps_;
};

// A row of "weight" [V, D], drawn from N(0, deviation), for each id: i32 [...] -> [..., D].
class Embedding final : public Module {
 public:
  Embedding(const Scope& scope, int64_t rows, int64_t features, double deviation = 0.02);

  Tensor forward(Context& context, const Tensor& ids);
  // For a tied output layer, or positions that are a range of rows.
  Parameter& weight() { return weight_; }
  void each_parameter(const ParameterVisitor& visit) override;

 private:
  Parameter weight_;
};

// Keeps a share 1 - rate of the elements, scaled by 1 / (1 - rate), while the context trains. The
// mask is a function of the context's key and of this module's name.
class Dropout final : public Module {
 public:
  // Throws Error when rate is outside [0, 1).
  Dropout(const Scope& scope, double rate);

  Tensor forward(Context& context, const Tensor& x);
  void each_parameter(const ParameterVisitor&) override {}

 private:
  uint64_t stream_;
  double rate_;
};

}  // namespace offshoot
