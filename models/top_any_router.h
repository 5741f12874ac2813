// The top-any router of DynMoE (Guo et al. 2024, arXiv 2405.14297): every expert decides for itself
// whether it takes a token.
#pragma once

#include <memory>

#include "models/router.h"

namespace offshoot {

//   score_k = sigmoid(s cos(x, E_k))      s = exp(min(tau, ln 100)), or 1 without a temperature
// Expert k takes the token where score_k > sigmoid(s t_k); those that do have equal weights, whose
// gradients go straight through (ops/route_any.h). A token that none takes gets a zero output while
// the context trains, its best expert with weight 1 otherwise. What a context adds to an expert is
// added to s cos(x, E_k); its threshold stays.
// Routed::probs are the scores, Routed::logits s cos(x, E).
// Parameters, in float32 where x is bf16: "weight" [E, D] orthogonal, "threshold" [E] zeros (t),
// and "temperature" [1], ln(1 / 0.1), where it is learned (tau).
class TopAnyRouter final : public Router {
 public:
  struct Options {
    bool learn_temperature = true;
    int64_t reserve_rows = 0;
  };
  TopAnyRouter(const Scope& scope, int64_t features, GrowthGroup& experts, const Options& options);

  Routed forward(Context& context, const Tensor& x, int64_t row_alignment) override;
  Parameter* expert_rows() override { return &weight_; }
  void each_parameter(const ParameterVisitor& visit) override;

  // [E]: sigmoid(s t), which scores must exceed.
  Tensor thresholds(Tape& tape);

  Parameter& weight() { return weight_; }
  Parameter& threshold() { return threshold_; }
  Parameter* temperature() { return temperature_.get(); }  // null when there is none

 private:
  Tensor scaled(Tape& tape, const Tensor& x);  // s x

  GrowthGroup& experts_;
  Parameter weight_;
  Parameter threshold_;
  std::unique_ptr<Parameter> temperature_;
};

}  // namespace offshoot
