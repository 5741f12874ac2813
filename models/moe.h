// Mixture of experts: tokens are routed to a few of E MLPs and come back as a weighted sum.
//   y = sum over kept k of g_k(x) fc2_k(GELU(fc1_k(x)))
// Dropless: every kept (token, expert) pair is computed; an expert without tokens is legal, and so
// is a token without experts. A shared expert (DeepSeekMoE, Dai et al. 2024, arXiv 2401.06066) is
// one more MLP, which sees every token and is added with weight 1.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/growth.h"
#include "models/feed_forward.h"
#include "models/gate_router.h"
#include "models/router.h"

namespace offshoot {

// Routers of the library, and what they take of MoeOptions::route.
enum class RouterKind {
  softmax,  // GateRouter: top-k or top-p
  sigmoid,  // GateRouter: top-k
  cosine,   // CosineRouter: top-k or top-p
  top_any,  // TopAnyRouter: nothing, its thresholds decide
};

struct MoeOptions {
  int64_t features = 0;     // D
  int64_t hidden = 0;       // H, of one expert
  int64_t experts = 0;      // E at first
  int64_t max_experts = 0;  // address space is reserved for as many; 0: four times `experts`
  RouteOptions route = {};
  bool gate_bias = false;  // softmax, sigmoid
  RouterKind router = RouterKind::softmax;
  bool learn_temperature = true;  // top_any; cosine always learns one
  int64_t shared_hidden = 0;      // of the shared expert; 0: there is none
};

// Parameters, one row an expert, all in the growth group called like the layer:
//   "fc1.weight" [E, H, D], "fc1.bias" [E, H], "fc2.weight" [E, D, H], "fc2.bias" [E, D], drawn
//   uniformly from +-1/sqrt(fan_in); and the router's.
// Those of the shared expert belong to no group: "shared.fc1.weight" [S, D], "shared.fc1.bias" [S],
//   "shared.fc2.weight" [D, S], "shared.fc2.bias" [D], drawn in the same way.
// They live on the scope's device. On CUDA x may be bf16: the experts compute in it, the gate and
// all parameters stay in float32.
// E is read from the weights' shape on every call, so a growth between two steps just works.
class MoeLayer final : public FeedForward {
 public:
  using MakeRouter =
      std::function<std::unique_ptr<Router>(const Scope& scope, GrowthGroup& experts)>;

  // With a router of the options' kind called "gate". Throws Error for options that do not fit each
  // other.
  MoeLayer(const Scope& scope, const MoeOptions& options);
  // With a router of your own; what the options say of routers does not matter.
  MoeLayer(const Scope& scope, const MoeOptions& options, const MakeRouter& make_router);

  // x [..., D] -> [..., D]. Tells context.sink, if any.
  Tensor forward(Context& context, const Tensor& x) override;

  const std::string& name() const { return name_; }
  int64_t experts() const { return group_.rows(); }
  GrowthGroup& group() { return group_; }
  const GrowthGroup& group() const { return group_; }
  Router& router() { return *router_; }
  Parameter& fc1_weight() { return fc1_weight_; }
  Parameter& fc1_bias() { return fc1_bias_; }
  Parameter& fc2_weight() { return fc2_weight_; }
  Parameter& fc2_bias() { return fc2_bias_; }

  void each_parameter(const ParameterVisitor& visit) override;
  void each_growth_group(const GroupVisitor& visit) override { visit(group_); }

 private:
  std::string name_;
  MoeOptions options_;
  GrowthGroup group_;
  Parameter fc1_weight_;
  Parameter fc1_bias_;
  Parameter fc2_weight_;
  Parameter fc2_bias_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<Mlp> shared_;
};

}  // namespace offshoot
