#include "models/router.h"

#include <cmath>

#include "ops/binary.h"
#include "ops/linear.h"
#include "ops/softmax.h"

namespace offshoot {
namespace {

Tensor uniform_gate(const Scope& scope, int64_t experts, int64_t features) {
  const double bound = 1 / std::sqrt(static_cast<double>(features));
  return uniform({experts, features}, scope.dtype, scope.random("weight"), -bound, bound);
}

// [E]: what the context adds to each logit.
Tensor offsets_of(const std::vector<RowOffset>& offsets, int64_t experts, DType dtype) {
  const Tensor added = Tensor::zeros({experts}, dtype);
  for (const RowOffset& offset : offsets) {
    if (offset.row < 0 || offset.row >= experts) {
      fail("router", "row offset: got row {}, expected 0..{}", offset.row, experts - 1);
    }
    dispatch_float("router", dtype, [&]<class T>(T) {
      added.data<T>()[offset.row] += static_cast<T>(offset.offset);
    });
  }
  return added;
}

}  // namespace

GateRouter::GateRouter(const Scope& scope, int64_t features, GrowthGroup& experts,
                       const Options& options)
    : experts_(experts),
      options_(options),
      weight_((scope / "weight").name, uniform_gate(scope, experts.rows(), features), experts,
              options.reserve_rows) {
  if (!options.bias) return;
  bias_ = std::make_unique<Parameter>((scope / "bias").name,
                                      Tensor::zeros({experts.rows()}, scope.dtype), experts,
                                      options.reserve_rows);
}

Routed GateRouter::forward(Context& context, const Tensor& x) {
  Tape& tape = context.tape;
  Routed routed;
  routed.logits = linear(tape, x, tape.watch(weight_), bias_ ? tape.watch(*bias_) : Tensor());
  const auto offsets = context.row_offsets.find(experts_.name());
  if (offsets != context.row_offsets.end()) {
    const Tensor added = offsets_of(offsets->second, experts_.rows(), weight_.dtype());
    routed.logits = add(tape, routed.logits, added);
  }
  routed.probs = softmax(tape, routed.logits);
  routed.routing = route(tape, routed.probs, options_.route);
  return routed;
}

void GateRouter::each_parameter(const ParameterVisitor& visit) {
  visit(weight_);
  if (bias_) visit(*bias_);
}

}  // namespace offshoot
