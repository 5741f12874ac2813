// The Transformer of the synthetic experiment (MASS, arXiv 2512.19765, on the data of Xie et al.
// 2022, arXiv 2111.02080): learned positions, pre-LayerNorm causal blocks with a dense MLP or a
// mixture of experts, a final LayerNorm and an untied head without bias.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "models/block.h"
#include "models/moe.h"

namespace offshoot {

struct GincTransformerOptions {
  int64_t vocabulary = 50;
  int64_t context_length = 64;  // T at most
  int64_t features = 64;        // D
  int64_t heads = 4;
  int64_t layers = 1;
  int64_t dense_hidden = 64;                     // of the MLP, where `moe` is not given
  std::optional<MoeOptions> moe = std::nullopt;  // `features` is filled in
  double dropout = 0.0;
  // What activations are computed in from the embedding on: bf16 on CUDA, with float32 parameters
  // and gates. The parameters' dtype where it is not given.
  std::optional<DType> activations = std::nullopt;
};

class GincTransformer final : public Module {
 public:
  // Parameters "embedding.weight", "position.weight", "blocks.<i>...", "ln_final...",
  // "head.weight".
  GincTransformer(const Scope& scope, const GincTransformerOptions& options);

  // tokens i32 [B, T] -> logits [B, T, vocabulary] in the dtype of activations. Throws Error when T
  // is above the context length or a token is out of range.
  Tensor forward(Context& context, const Tensor& tokens);

  // Empty for a dense model.
  std::vector<MoeLayer*> moe_layers();
  const GincTransformerOptions& options() const { return options_; }
  void each_parameter(const ParameterVisitor& visit) override;
  void each_growth_group(const GroupVisitor& visit) override;

 private:
  GincTransformerOptions options_;
  Embedding embedding_;
  Embedding position_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  LayerNorm ln_final_;
  Linear head_;
};

}  // namespace offshoot
