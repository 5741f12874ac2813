// Routers: which experts see a token, and with what weight.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/context.h"
#include "engine/module.h"
#include "ops/route.h"

namespace offshoot {

// What a router decided for N tokens and E experts.
struct Routed {
  Tensor logits;  // [N, E]
  Tensor probs;   // [N, E]
  Routing routing;
};

// A policy. Its parameters have one row an expert and are members of the pool's growth group; E is
// read from their shape on every call.
class Router : public Module {
 public:
  // x [N, D]. Experts in context.row_offsets (by the group's name) get that much added to their
  // logits; minus infinity leaves one out. `row_alignment` is what the layer wants of
  // RouteOptions; one that ignores it costs time on CUDA.
  virtual Routed forward(Context& context, const Tensor& x, int64_t row_alignment) = 0;

  // [E, ...], whose row e says which tokens expert e wants ("the gate row"): growth divides its
  // gradient, a redundancy loss compares its rows. Null when there is none.
  virtual Parameter* expert_rows() { return nullptr; }
};

// Softmax over a linear gate: logits = x W_r^T (+ b), "weight" [E, D] drawn uniformly from
// +-1/sqrt(D), in float32 where x is bf16. Top-k (Shazeer et al. 2017, arXiv 1701.06538) or top-p
// routing (Huang et al. 2024, arXiv 2403.07652), as the options say.
class GateRouter final : public Router {
 public:
  struct Options {
    RouteOptions route;
    bool bias = false;  // "bias" [E], zeros; a split that preserves the layer's function needs it
    int64_t reserve_rows = 0;
  };
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
