#include "models/top_any_router.h"

#include "models/cosine_scores.h"
#include "ops/activation.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/route_any.h"

namespace offshoot {
namespace {

constexpr double kFirstTemperature = 0.1;

Tensor first_rows(const Scope& scope, int64_t experts, int64_t features) {
  return orthogonal({experts, features}, scope.dtype, scope.random("weight")).to(scope.device);
}

}  // namespace

TopAnyRouter::TopAnyRouter(const Scope& scope, int64_t features, GrowthGroup& experts,
                           const Options& options)
    : experts_(experts),
      weight_((scope / "weight").name, first_rows(scope, experts.rows(), features), experts,
              options.reserve_rows),
      threshold_((scope / "threshold").name,
                 Tensor::zeros({experts.rows()}, scope.dtype, scope.device), experts,
                 options.reserve_rows) {
  if (!options.learn_temperature) return;
  temperature_ = std::make_unique<Parameter>((scope / "temperature").name,
                                             first_temperature(scope, kFirstTemperature));
}

Tensor TopAnyRouter::thresholds(Tape& tape) {
  return sigmoid(tape, scaled(tape, tape.watch(threshold_)));
}

Routed TopAnyRouter::forward(Context& context, const Tensor& x, int64_t row_alignment) {
  Tape& tape = context.tape;
  const Tensor wide = x.dtype() == DType::bf16 ? cast(tape, x, DType::f32) : x;
  const Tensor cosine = cosines(tape, wide, tape.watch(weight_));
  Routed routed;
  routed.logits = add_row_offsets(context, experts_, scaled(tape, cosine));
  routed.probs = sigmoid(tape, routed.logits);
  const bool best_if_none = !context.train;
  routed.routing = route_any(tape, routed.probs, thresholds(tape),
                             {.best_if_none = best_if_none, .row_alignment = row_alignment});
  return routed;
}

Tensor TopAnyRouter::scaled(Tape& tape, const Tensor& x) {
  return temperature_ ? mul(tape, x, cosine_factor(tape, *temperature_)) : x;
}

void TopAnyRouter::each_parameter(const ParameterVisitor& visit) {
  visit(weight_);
  visit(threshold_);
  if (temperature_) visit(*temperature_);
}

}  // namespace offshoot
