#include "models/gate_router.h"

#include <cmath>

#include "engine/error.h"
#include "ops/activation.h"
#include "ops/cast.h"
#include "ops/linear.h"
#include "ops/softmax.h"

namespace offshoot {
namespace {

Tensor uniform_gate(const Scope& scope, int64_t experts, int64_t features) {
  const double bound = 1 / std::sqrt(static_cast<double>(features));
  return uniform({experts, features}, scope.dtype, scope.random("weight"), -bound, bound)
      .to(scope.device);
}

}  // namespace

GateRouter::GateRouter(const Scope& scope, int64_t features, GrowthGroup& experts,
                       const Options& options)
    : experts_(experts),
      options_(options),
      weight_((scope / "weight").name, uniform_gate(scope, experts.rows(), features), experts,
              options.reserve_rows) {
  if (options.scores == Scores::sigmoid && options.route.kind == RouteOptions::Kind::top_p) {
    fail(scope.name, "route: got top-p of sigmoid scores, expected top-k");
  }
  if (!options.bias) return;
  bias_ = std::make_unique<Parameter>((scope / "bias").name,
                                      Tensor::zeros({experts.rows()}, scope.dtype, scope.device),
                                      experts, options.reserve_rows);
}

Routed GateRouter::forward(Context& context, const Tensor& x, int64_t row_alignment) {
  Tape& tape = context.tape;
  const Tensor wide = x.dtype() == DType::bf16 ? cast(tape, x, DType::f32) : x;
  const Tensor bias = bias_ ? tape.watch(*bias_) : Tensor();
  Routed routed;
  routed.logits = add_row_offsets(context, experts_, linear(tape, wide, tape.watch(weight_), bias));
  routed.probs = options_.scores == Scores::softmax ? softmax(tape, routed.logits)
                                                    : sigmoid(tape, routed.logits);
  RouteOptions options = options_.route;
  options.row_alignment = row_alignment;
  routed.routing = route(tape, routed.probs, options);
  return routed;
}

void GateRouter::each_parameter(const ParameterVisitor& visit) {
  visit(weight_);
  if (bias_) visit(*bias_);
}

}  // namespace offshoot
