// A linear gate: logits = x W_r^T (+ b), of which scores are made that `route` picks from.
#pragma once

#include <memory>

#include "models/router.h"

namespace offshoot {

// Softmax over the experts, with top-k (Shazeer et al. 2017, arXiv 1701.06538) or top-p routing
// (Huang et al. 2024, arXiv 2403.07652) as the options say; or a sigmoid of each logit with top-k
// (DeepSeekMoE as in DeepSeek-V3, 2024, arXiv 2412.19437: there CombineWeights::renormalised, the
// scores divided by the sum of the kept ones).
// Parameters, in float32 where x is bf16: "weight" [E, D] drawn uniformly from +-1/sqrt(D).
class GateRouter final : public Router {
 public:
  enum class Scores { softmax, sigmoid };
  struct Options {
    RouteOptions route;
    bool bias = false;  // "bias" [E], zeros; a split that preserves the layer's function needs it
    int64_t reserve_rows = 0;
    Scores scores = Scores::softmax;
  };
  // Throws Error for top-p of sigmoid scores: they have no mass to reach.
  GateRouter(const Scope& scope, int64_t features, GrowthGroup& experts, const Options& options);

  Routed forward(Context& context, const Tensor& x, int64_t row_alignment) override;
  Parameter* expert_rows() override { return &weight_; }
  void each_parameter(const ParameterVisitor& visit) override;

  Parameter& weight() { return weight_; }
  Parameter* bias() { return bias_.get(); }  // null when there is none
  // As they were given; each forward pass takes its own row_alignment.
  const RouteOptions& route_options() const { return options_.route; }

 private:
  GrowthGroup& experts_;
  Options options_;
  Parameter weight_;
  std::unique_ptr<Parameter> bias_;
};

}  // namespace offshoot
