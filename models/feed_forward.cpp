#include "models/feed_forward.h"

namespace offshoot {

Mlp::Mlp(const Scope& scope, int64_t features, int64_t hidden, const Linear::Options& options)
    : fc1_(scope / "fc1", features, hidden, options),
      fc2_(scope / "fc2", hidden, features, options) {}

Tensor Mlp::forward(Context& context, const Tensor& x) {
  return fc2_.forward(context, fc1_.forward_gelu(context, x));
}

void Mlp::each_parameter(const ParameterVisitor& visit) {
  fc1_.each_parameter(visit);
  fc2_.each_parameter(visit);
}

}  // namespace offshoot
