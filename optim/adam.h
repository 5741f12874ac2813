// Adam (Kingma, Ba 2014, arXiv 1412.6980) and AdamW (Loshchilov, Hutter 2017, arXiv 1711.05101).
//   m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
//   w <- w - rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
// with decay lambda: Adam adds lambda w to g; AdamW first takes w <- (1 - rate lambda) w.
// A growable parameter counts its steps t by row, so that a newborn expert's bias is corrected
// rightly. A parameter without a gradient is left alone and its count stays.
#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace offshoot {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  NewbornState newborn = NewbornState::inherit;
};

class Adam : public Optimizer {
 public:
  // Throws Error when a beta is outside [0, 1) or eps is not above 0.
  explicit Adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {})
      : Adam(std::move(groups), options, false) {}

  // "exp_avg" and "exp_avg_sq" of the parameter's shape, dtype and device; "step" i64 by row, on
  // the CPU.
  void each_state(const StateVisitor& visit) const override;

 protected:
  Adam(std::vector<ParameterGroup> groups, const AdamOptions& options, bool decoupled_decay);

 private:
  struct Chunk;
  struct Moments {
    Parameter* parameter;
    double rate_factor;
    double weight_decay;
    StateTensor exp_avg;
    StateTensor exp_avg_sq;
    StateTensor step;
  };

  void update(double rate, const Tensor& guard) override;
  std::vector<Chunk> chunks(double rate, int64_t chunk_elements) const;

  AdamOptions options_;
  bool decoupled_decay_;
  std::vector<Moments> moments_;
};

class AdamW final : public Adam {
 public:
  explicit AdamW(std::vector<ParameterGroup> groups, const AdamOptions& options = {})
      : Adam(std::move(groups), options, true) {}
};

}  // namespace offshoot
