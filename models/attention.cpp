#include "models/attention.h"

#include "engine/error.h"
#include "ops/attention.h"

namespace offshoot {

MultiHeadAttention::MultiHeadAttention(const Scope& scope, int64_t features, int64_t heads,
                                       bool causal, double dropout)
    : qkv_(scope / "qkv", features, 3 * features),
      out_(scope / "out", features, features),
      dropout_(scope / "dropout", dropout),
      heads_(heads),
      causal_(causal) {
  if (heads < 1 || features % heads != 0) {
    fail(scope.name, "heads: got {}, expected a divisor of {} features", heads, features);
  }
}

Tensor MultiHeadAttention::forward(Context& context, const Tensor& x, const Tensor& key_mask) {
  AttentionOptions options;
  options.heads = heads_;
  options.causal = causal_;
  options.key_mask = key_mask;
  const Tensor mixed = self_attention(context.tape, qkv_.forward(context, x), options);
  return dropout_.forward(context, out_.forward(context, mixed));
}

void MultiHeadAttention::each_parameter(const ParameterVisitor& visit) {
  qkv_.each_parameter(visit);
  out_.each_parameter(visit);
}

}  // namespace offshoot
