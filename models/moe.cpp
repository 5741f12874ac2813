#include "models/moe.h"

#include <cmath>

#include "engine/error.h"
#include "models/cosine_router.h"
#include "models/layer_record.h"
#include "models/top_any_router.h"
#include "ops/binary.h"
#include "ops/expert_mlp.h"
#include "ops/grouped_gemm.h"
#include "ops/layout.h"
#include "ops/permute.h"

namespace offshoot {
namespace {

Tensor drawn(const Scope& scope, std::string_view leaf, const Shape& shape, int64_t fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return uniform(shape, scope.dtype, scope.random(leaf), -bound, bound).to(scope.device);
}

const MoeOptions& checked(const Scope& scope, const MoeOptions& options) {
  if (options.features < 1 || options.hidden < 1 || options.experts < 1) {
    fail(scope.name, "got {} experts of {} x {}, expected at least 1 of each", options.experts,
         options.features, options.hidden);
  }
  if (options.shared_hidden < 0) {
    fail(scope.name, "shared_hidden: got {}, expected at least 0", options.shared_hidden);
  }
  if (options.max_experts != 0 && options.max_experts < options.experts) {
    fail(scope.name, "experts: got {}, expected at most max_experts = {}", options.experts,
         options.max_experts);
  }
  return options;
}

void check_gate(const Scope& scope, const MoeOptions& options) {
  const bool linear =
      options.router == RouterKind::softmax || options.router == RouterKind::sigmoid;
  if (options.gate_bias && !linear) {
    fail(scope.name, "gate_bias: got one for a router by cosine, expected none");
  }
  if (options.router == RouterKind::top_any) {
    if (options.route != RouteOptions{}) {
      fail(scope.name, "route: got options for top-any routing, expected the default ones");
    }
  } else if (!options.learn_temperature) {
    fail(scope.name, "learn_temperature: got false, expected so for top-any routing only");
  }
}

std::unique_ptr<Router> make_gate(const Scope& scope, GrowthGroup& experts,
                                  const MoeOptions& options) {
  check_gate(scope, options);
  const int64_t D = options.features, reserve = options.max_experts;
  switch (options.router) {
    case RouterKind::softmax:
    case RouterKind::sigmoid: {
      const auto scores = options.router == RouterKind::softmax ? GateRouter::Scores::softmax
                                                                : GateRouter::Scores::sigmoid;
      return std::make_unique<GateRouter>(
          scope, D, experts,
          GateRouter::Options{options.route, options.gate_bias, reserve, scores});
    }
    case RouterKind::cosine:
      return std::make_unique<CosineRouter>(
          scope, D, experts,
          CosineRouter::Options{.route = options.route, .reserve_rows = reserve});
    case RouterKind::top_any:
      return std::make_unique<TopAnyRouter>(
          scope, D, experts, TopAnyRouter::Options{options.learn_temperature, reserve});
  }
  fail("bug", "router kind {}", static_cast<int>(options.router));
}

}  // namespace

MoeLayer::MoeLayer(const Scope& scope, const MoeOptions& options)
    : MoeLayer(scope, options, [&options](const Scope& gate_scope, GrowthGroup& experts) {
        return make_gate(gate_scope, experts, options);
      }) {}

MoeLayer::MoeLayer(const Scope& scope, const MoeOptions& options, const MakeRouter& make_router)
    : name_(scope.name),
      options_(checked(scope, options)),
      group_(scope.name, options.experts),
      fc1_weight_((scope / "fc1.weight").name,
                  drawn(scope, "fc1.weight", {options.experts, options.hidden, options.features},
                        options.features),
                  group_, options.max_experts),
      fc1_bias_((scope / "fc1.bias").name,
                drawn(scope, "fc1.bias", {options.experts, options.hidden}, options.features),
                group_, options.max_experts),
      fc2_weight_((scope / "fc2.weight").name,
                  drawn(scope, "fc2.weight", {options.experts, options.features, options.hidden},
                        options.hidden),
                  group_, options.max_experts),
      fc2_bias_((scope / "fc2.bias").name,
                drawn(scope, "fc2.bias", {options.experts, options.features}, options.hidden),
                group_, options.max_experts),
      router_(make_router(scope / "gate", group_)) {
  if (router_ == nullptr) fail(name_, "router: got none, expected one");
  if (options.shared_hidden == 0) return;
  shared_ = std::make_unique<Mlp>(scope / "shared", options.features, options.shared_hidden,
                                  Linear::Options{.init = Linear::Init::fan_in});
}

Tensor MoeLayer::forward(Context& context, const Tensor& x) {
  const int64_t D = options_.features;
  if (x.rank() < 1 || x.last_dim() != D) {
    fail(name_, "x: got shape {}, expected [..., {}]", to_string(x.shape()), D);
  }
  Tape& tape = context.tape;
  const Tensor tokens = x.rank() == 2 ? x : reshape(tape, x, {x.size() / D, D});
  const int64_t row_alignment = expert_row_alignment(tokens, options_.hidden, D);
  const Routed routed = router_->forward(context, tokens, row_alignment);
  const Routing& routing = routed.routing;
  const Tensor rows = dispatch_tokens(tape, tokens, routing);
  const Tensor out = expert_mlp(tape, rows, tape.watch(fc1_weight_), tape.watch(fc1_bias_),
                                tape.watch(fc2_weight_), tape.watch(fc2_bias_), routing);
  Tensor y = combine_tokens(tape, out, routing);
  if (shared_) y = add(tape, y, shared_->forward(context, tokens));
  if (context.sink != nullptr) context.sink->add({*this, name_, routed, tokens, out});
  return x.rank() == 2 ? y : reshape(tape, y, x.shape());
}

void MoeLayer::each_parameter(const ParameterVisitor& visit) {
  for (Parameter* parameter : {&fc1_weight_, &fc1_bias_, &fc2_weight_, &fc2_bias_}) {
    visit(*parameter);
  }
  router_->each_parameter(visit);
  if (shared_) shared_->each_parameter(visit);
}

}  // namespace offshoot
