// Transformer blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "models/attention.h"
#include "models/feed_forward.h"

namespace offshoot {

enum class NormPosition {
  pre,   // x + f(LN(x)): GPT-2, ViT
  post,  // LN(x + f(x)): BERT
};

struct BlockOptions {
  int64_t features = 0;
  int64_t heads = 1;
  bool causal = false;
  NormPosition norm = NormPosition::pre;
  double dropout = 0.0;
  double eps = 1e-5;  // of the LayerNorms
};

// Self-attention, then the feed-forward part that `make_feed_forward` builds in the block's scope:
// "ln1", "attention", "ln2", and "mlp" or "moe".
class TransformerBlock final : public Module {
 public:
  using MakeFeedForward = std::function<std::unique_ptr<FeedForward>(const Scope& scope)>;

  TransformerBlock(const Scope& scope, const BlockOptions& options,
                   const MakeFeedForward& make_feed_forward);

  // x [B, T, D] -> [B, T, D]; key_mask as in MultiHeadAttention.
  Tensor forward(Context& context, const Tensor& x, const Tensor& key_mask = {});
  FeedForward& feed_forward() { return *feed_forward_; }
  void each_parameter(const ParameterVisitor& visit) override;
  void each_growth_group(const GroupVisitor& visit) override;

 private:
  NormPosition norm_;
  LayerNorm ln1_;
  MultiHeadAttention attention_;
  LayerNorm ln2_;
  std::unique_ptr<FeedForward> feed_forward_;
  Dropout dropout_;  // on the feed-forward part's output
};

}  // namespace offshoot
