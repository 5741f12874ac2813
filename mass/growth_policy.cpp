#include "mass/growth_policy.h"

#include <algorithm>

namespace offshoot {

void GrowthSink::add(const LayerRecord& record) {
  const auto layer =
      static_cast<size_t>(std::ranges::find(layers_, &record.layer) - layers_.begin());
  const Tensor counts = record.routed.routing.tokens_per_expert.to(Device{});
  const auto tokens = counts.elements<int64_t>();
  if (layer == layers_.size()) {
    layers_.push_back(&record.layer);
    tokens_.emplace_back(tokens.size());
  }
  for (size_t e = 0; e < tokens.size(); ++e) tokens_[layer][e] += tokens[e];
  policy_.see(layer, record);
  if (next_ != nullptr) next_->add(record);
}

}  // namespace offshoot
