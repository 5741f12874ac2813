#include "models/block.h"

#include "ops/binary.h"

namespace offshoot {

TransformerBlock::TransformerBlock(const Scope& scope, const BlockOptions& options,
                                   const MakeFeedForward& make_feed_forward)
    : norm_(options.norm),
      ln1_(scope / "ln1", options.features, options.eps),
      attention_(scope / "attention", options.features, options.heads, options.causal,
                 options.dropout),
      ln2_(scope / "ln2", options.features, options.eps),
      feed_forward_(make_feed_forward(scope)),
      dropout_(scope / "dropout", options.dropout) {}

Tensor TransformerBlock::forward(Context& context, const Tensor& x, const Tensor& key_mask) {
  Tape& tape = context.tape;
  if (norm_ == NormPosition::pre) {
    const Tensor mixed =
        add(tape, x, attention_.forward(context, ln1_.forward(context, x), key_mask));
    const Tensor fed = feed_forward_->forward(context, ln2_.forward(context, mixed));
    return add(tape, mixed, dropout_.forward(context, fed));
  }
  const Tensor mixed =
      ln1_.forward(context, add(tape, x, attention_.forward(context, x, key_mask)));
  const Tensor fed = feed_forward_->forward(context, mixed);
  return ln2_.forward(context, add(tape, mixed, dropout_.forward(context, fed)));
}

void TransformerBlock::each_parameter(const ParameterVisitor& visit) {
  ln1_.each_parameter(visit);
  attention_.each_parameter(visit);
  ln2_.each_parameter(visit);
  feed_forward_->each_parameter(visit);
}

void TransformerBlock::each_growth_group(const GroupVisitor& visit) {
  feed_forward_->each_growth_group(visit);
}

}  // namespace offshoot
