#include "models/cosine_router.h"

#include "engine/error.h"
#include "models/cosine_scores.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/softmax.h"

namespace offshoot {
namespace {

constexpr double kFirstTemperature = 0.5;

const CosineRouter::Options& checked(const Scope& scope, const CosineRouter::Options& options) {
  if (options.projected < 1) {
    fail(scope.name, "projected: got {}, expected at least 1", options.projected);
  }
  return options;
}

Tensor first_rows(const Scope& scope, int64_t experts, int64_t projected) {
  return normal({experts, projected}, scope.dtype, scope.random("weight"), 0.0, 0.01)
      .to(scope.device);
}

}  // namespace

CosineRouter::CosineRouter(const Scope& scope, int64_t features, GrowthGroup& experts,
                           const Options& options)
    : experts_(experts),
      options_(checked(scope, options)),
      projection_(scope / "projection", features, options.projected),
      weight_((scope / "weight").name, first_rows(scope, experts.rows(), options.projected),
              experts, options.reserve_rows),
      temperature_((scope / "temperature").name, first_temperature(scope, kFirstTemperature)) {}

Routed CosineRouter::forward(Context& context, const Tensor& x, int64_t row_alignment) {
  Tape& tape = context.tape;
  const Tensor wide = x.dtype() == DType::bf16 ? cast(tape, x, DType::f32) : x;
  const Tensor cosine = cosines(tape, projection_.forward(context, wide), tape.watch(weight_));
  Routed routed;
  routed.logits =
      add_row_offsets(context, experts_, mul(tape, cosine, cosine_factor(tape, temperature_)));
  routed.probs = softmax(tape, routed.logits);
  RouteOptions options = options_.route;
  options.row_alignment = row_alignment;
  routed.routing = route(tape, routed.probs, options);
  return routed;
}

void CosineRouter::each_parameter(const ParameterVisitor& visit) {
  projection_.each_parameter(visit);
  visit(weight_);
  visit(temperature_);
}

}  // namespace offshoot
