// The cosine router of GMoE (Li et al. 2023, arXiv 2206.04046; Chi et al. 2022, arXiv 2204.09179).
#pragma once

#include "models/layers.h"
#include "models/router.h"

namespace offshoot {

//   logits = s cos(P x, E)      s = exp(min(tau, ln 100))
// and a softmax over the experts, with top-k or top-p routing as the options say. How long P x and
// the rows of E are does not matter.
// Parameters, in float32 where x is bf16:
//   "projection.weight" [projected, D] from N(0, 0.02) and "projection.bias" [projected] zeros: P
//   "weight" [E, projected] from N(0, 0.01): E
//   "temperature" [1], ln(1 / 0.5): tau
class CosineRouter final : public Router {
 public:
  struct Options {
    RouteOptions route = {};
    int64_t projected = 256;
    int64_t reserve_rows = 0;
  };
  // Throws Error when projected < 1.
  CosineRouter(const Scope& scope, int64_t features, GrowthGroup& experts, const Options& options);

  Routed forward(Context& context, const Tensor& x, int64_t row_alignment) override;
  Parameter* expert_rows() override { return &weight_; }
  void each_parameter(const ParameterVisitor& visit) override;

  Parameter& weight() { return weight_; }
  Parameter& temperature() { return temperature_; }

 private:
  GrowthGroup& experts_;
  Options options_;
  Linear projection_;
  Parameter weight_;
  Parameter temperature_;
};

}  // namespace offshoot
