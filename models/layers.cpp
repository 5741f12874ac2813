#include "models/layers.h"

#include <cmath>

#include "engine/error.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"

namespace offshoot {
namespace {

Tensor drawn(const Scope& scope, std::string_view leaf, const Shape& shape, double deviation) {
  return normal(shape, scope.dtype, scope.random(leaf), 0.0, deviation).to(scope.device);
}

Tensor by_fan_in(const Scope& scope, std::string_view leaf, const Shape& shape, int64_t inputs) {
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  return uniform(shape, scope.dtype, scope.random(leaf), -bound, bound).to(scope.device);
}

}  // namespace

Linear::Linear(const Scope& scope, int64_t inputs, int64_t outputs, const Options& options)
    : weight_((scope / "weight").name,
              options.init == Init::normal
                  ? drawn(scope, "weight", {outputs, inputs}, options.deviation)
                  : by_fan_in(scope, "weight", {outputs, inputs}, inputs)) {
  if (!options.bias) return;
  const Tensor bias = options.init == Init::normal
                          ? Tensor::zeros({outputs}, scope.dtype, scope.device)
                          : by_fan_in(scope, "bias", {outputs}, inputs);
  bias_ = std::make_unique<Parameter>((scope / "bias").name, bias);
}

Tensor Linear::forward(Context& context, const Tensor& x) {
  const Tensor bias = bias_ ? context.tape.watch(*bias_) : Tensor();
  return linear(context.tape, x, context.tape.watch(weight_), bias);
}

Tensor Linear::forward_gelu(Context& context, const Tensor& x) {
  const Tensor bias = bias_ ? context.tape.watch(*bias_) : Tensor();
  return linear_gelu(context.tape, x, context.tape.watch(weight_), bias);
}

void Linear::each_parameter(const ParameterVisitor& visit) {
  visit(weight_);
  if (bias_) visit(*bias_);
}

LayerNorm::LayerNorm(const Scope& scope, int64_t features, double eps)
    : weight_((scope / "weight").name, Tensor::full({features}, scope.dtype, 1.0, scope.device)),
      bias_((scope / "bias").name, Tensor::zeros({features}, scope.dtype, scope.device)),
      eps_(eps) {}

Tensor LayerNorm::forward(Context& context, const Tensor& x) {
  return layer_norm(context.tape, x, context.tape.watch(weight_), context.tape.watch(bias_), eps_);
}

void LayerNorm::each_parameter(const ParameterVisitor& visit) {
  visit(weight_);
  visit(bias_);
}

Embedding::Embedding(const Scope& scope, int64_t rows, int64_t features, double deviation)
    : weight_((scope / "weight").name, drawn(scope, "weight", {rows, features}, deviation)) {}

Tensor Embedding::forward(Context& context, const Tensor& ids) {
  return embedding(context.tape, context.tape.watch(weight_), ids);
}

void Embedding::each_parameter(const ParameterVisitor& visit) { visit(weight_); }

Dropout::Dropout(const Scope& scope, double rate) : stream_(stream_of(scope.name)), rate_(rate) {
  if (!(rate >= 0 && rate < 1)) fail(scope.name, "rate: got {}, expected in [0, 1)", rate);
}

Tensor Dropout::forward(Context& context, const Tensor& x) {
  if (!context.train || rate_ == 0) return x;
  return dropout(context.tape, x, rate_, context.dropout, stream_, true);
}

}  // namespace offshoot
