#include "models/ginc_transformer.h"

#include "engine/error.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/layout.h"

namespace offshoot {
namespace {

std::unique_ptr<FeedForward> make_feed_forward(const Scope& block,
                                               const GincTransformerOptions& options) {
  if (!options.moe) {
    return std::make_unique<Mlp>(block / "mlp", options.features, options.dense_hidden);
  }
  MoeOptions moe = *options.moe;
  moe.features = options.features;
  return std::make_unique<MoeLayer>(block / "moe", moe);
}

BlockOptions block_options(const GincTransformerOptions& options) {
  BlockOptions block;
  block.features = options.features;
  block.heads = options.heads;
  block.causal = true;
  block.dropout = options.dropout;
  return block;
}

}  // namespace

GincTransformer::GincTransformer(const Scope& scope, const GincTransformerOptions& options)
    : options_(options),
      embedding_(scope / "embedding", options.vocabulary, options.features),
      position_(scope / "position", options.context_length, options.features),
      ln_final_(scope / "ln_final", options.features),
      head_(scope / "head", options.features, options.vocabulary, {.bias = false}) {
  if (options.layers < 1) fail("model", "layers: got {}, expected at least 1", options.layers);
  for (int64_t i = 0; i < options.layers; ++i) {
    blocks_.push_back(std::make_unique<TransformerBlock>(
        scope / "blocks" / std::to_string(i), block_options(options),
        [&](const Scope& block) { return make_feed_forward(block, options); }));
  }
}

Tensor GincTransformer::forward(Context& context, const Tensor& tokens) {
  if (tokens.rank() != 2 || tokens.dim(1) > options_.context_length) {
    fail("model", "tokens: got shape {}, expected [B, T] with T at most {}",
         to_string(tokens.shape()), options_.context_length);
  }
  Tape& tape = context.tape;
  Tensor positions = tape.watch(position_.weight());
  if (tokens.dim(1) < options_.context_length) {
    positions = slice(tape, positions, 0, 0, tokens.dim(1));
  }
  Tensor x = add(tape, embedding_.forward(context, tokens), positions);
  if (options_.activations) x = cast(tape, x, *options_.activations);
  for (const auto& block : blocks_) x = block->forward(context, x);
  return head_.forward(context, ln_final_.forward(context, x));
}

std::vector<MoeLayer*> GincTransformer::moe_layers() {
  std::vector<MoeLayer*> layers;
  for (const auto& block : blocks_) {
    if (auto* moe = dynamic_cast<MoeLayer*>(&block->feed_forward())) layers.push_back(moe);
  }
  return layers;
}

void GincTransformer::each_parameter(const ParameterVisitor& visit) {
  embedding_.each_parameter(visit);
  position_.each_parameter(visit);
  for (const auto& block : blocks_) block->each_parameter(visit);
  ln_final_.each_parameter(visit);
  head_.each_parameter(visit);
}

void GincTransformer::each_growth_group(const GroupVisitor& visit) {
  for (const auto& block : blocks_) block->each_growth_group(visit);
}

}  // namespace offshoot
