// Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2).
#pragma once

#include <cstdint>

#include "models/layers.h"

namespace offshoot {

// x [B, T, D] -> [B, T, D]. One product makes queries, keys and values ("qkv", rows q, then k, then
// v; head h owns columns h*D/heads..), "out" mixes the heads' results.
class MultiHeadAttention final : public Module {
 public:
  // Throws Error when heads do not divide `features`.
  MultiHeadAttention(const Scope& scope, int64_t features, int64_t heads, bool causal,
                     double dropout = 0.0);

  // `key_mask` i32 [B, T]: keys where it is 0 are masked; undefined: none.
  Tensor forward(Context& context, const Tensor& x, const Tensor& key_mask = {});
  void each_parameter(const ParameterVisitor& visit) override;

 private:
  Linear qkv_;
  Linear out_;
  Dropout dropout_;  // on the output
  int64_t heads_;
  bool causal_;
};

}  // namespace offshoot
