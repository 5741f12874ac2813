#include "mass/splitter.h"

#include <algorithm>
#include <limits>
#include <numbers>
#include <utility>

#include "engine/error.h"
#include "mass/redundancy_loss.h"
#include "ops/binary.h"
#include "ops/unary.h"

namespace offshoot {
namespace {

Parameter& rows_of(MoeLayer& layer) {
  Parameter* const rows = layer.router().expert_rows();
  if (rows == nullptr) {
    fail("mass", "{}: got a router without expert rows, expected one with them", layer.name());
  }
  return *rows;
}

// Null where there is none.
Parameter* gate_bias(MoeLayer& layer) {
  auto* gate = dynamic_cast<GateRouter*>(&layer.router());
  return gate == nullptr ? nullptr : gate->bias();
}

// On any device; a growth may wait for it.
void shift_gate_bias(MoeLayer& layer, int64_t id, double amount) {
  const Tensor own = gate_bias(layer)->value().rows(row_of(layer, id), 1);
  const Tensor shifted = own.to(Device{});
  dispatch_float("mass", shifted.dtype(),
                 [&]<class T>(T) { shifted.data<T>()[0] += static_cast<T>(amount); });
  if (own.device().is_cuda()) copy_elements(shifted, own);
}

}  // namespace

int64_t row_of(const MoeLayer& layer, int64_t id) {
  const auto row = layer.group().row_of(id);
  OFFSHOOT_CHECK(row.has_value(), "{}: expert {} does not live", layer.name(), id);
  return *row;
}

int64_t last_id(const MoeLayer& layer) { return std::ranges::max(layer.group().ids()); }

ExpertSplitter::ExpertSplitter(std::vector<MoeLayer*> layers, const MassOptions& options)
    : layers_(std::move(layers)),
      decomposition_(options.decomposition),
      preserve_function_(options.preserve_function),
      redundancy_weight_(options.redundancy_weight),
      redundancy_mean_(options.redundancy_mean),
      pairs_(layers_.size()) {
  if (layers_.empty()) fail("mass", "layers: got none, expected at least one with experts");
  for (MoeLayer* layer : layers_) {
    if (layer->experts() > options.max_experts) {
      fail("mass", "{}: got {} experts, expected at most max_experts = {}", layer->name(),
           layer->experts(), options.max_experts);
    }
    if (preserve_function_ && gate_bias(*layer) == nullptr) {
      fail("mass", "{}: preserve_function needs a gate bias", layer->name());
    }
    set_gradient_splits(*layer);
  }
}

void ExpertSplitter::set_gradient_splits(MoeLayer& layer) const {
  GradientSplit fc1 = GradientSplit::project_rows, fc2 = fc1, gate = fc1;
  GradientSplit bias = GradientSplit::keep_copy;
  switch (decomposition_) {
    case Decomposition::paper:
      break;
    case Decomposition::reference:
      fc2 = bias = GradientSplit::keep_zero;
      break;
    case Decomposition::clone:
      fc1 = fc2 = gate = GradientSplit::keep_copy;
      break;
    case Decomposition::project_whole:
      fc1 = fc2 = gate = GradientSplit::project_whole;
      break;
  }
  layer.router().each_parameter([&](Parameter& parameter) {
    if (parameter.growable()) parameter.set_gradient_split(bias);
  });
  rows_of(layer).set_gradient_split(gate);
  layer.fc1_weight().set_gradient_split(fc1);
  layer.fc2_weight().set_gradient_split(fc2);
  layer.fc1_bias().set_gradient_split(bias);
  layer.fc2_bias().set_gradient_split(bias);
}

void ExpertSplitter::drop_dead_pairs() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const GrowthGroup& group = layers_[i]->group();
    std::erase_if(pairs_[i], [&](const auto& pair) {
      return !group.row_of(pair.first) || !group.row_of(pair.second);
    });
  }
}

std::vector<RowOffset> ExpertSplitter::without(size_t layer, int64_t id) const {
  const MoeLayer& moe = *layers_[layer];
  std::vector<RowOffset> offsets{{row_of(moe, id), -std::numeric_limits<double>::infinity()}};
  if (preserve_function_) {
    for (const auto& [source, copy] : pairs_[layer]) {
      if (copy == id) offsets.push_back({row_of(moe, source), std::numbers::ln2});
    }
  }
  return offsets;
}

int64_t ExpertSplitter::split(size_t layer, int64_t id, const EditNote& note) {
  MoeLayer& moe = *layers_[layer];
  pairs_[layer].reserve(pairs_[layer].size() + 1);
  const int64_t created = moe.group().duplicate(row_of(moe, id), note);
  if (preserve_function_) {
    for (const int64_t half : {id, created}) shift_gate_bias(moe, half, -std::numbers::ln2);
  }
  pairs_[layer].emplace_back(id, created);
  return created;
}

void ExpertSplitter::remove(size_t layer, int64_t id, const EditNote& note) {
  MoeLayer& moe = *layers_[layer];
  moe.group().remove(row_of(moe, id), note);
  if (preserve_function_) {
    for (const auto& [source, copy] : pairs_[layer]) {
      if (copy == id) shift_gate_bias(moe, source, std::numbers::ln2);
    }
  }
  drop_dead_pairs();
}

Tensor ExpertSplitter::no_redundancy() const {
  return Tensor::scalar(0.0, rows_of(*layers_[0]).dtype());
}

Tensor ExpertSplitter::redundancy_backward() {
  Tensor total = no_redundancy();
  if (redundancy_weight_ == 0) return total;
  drop_dead_pairs();
  bool none = true;
  for (size_t i = 0; i < layers_.size(); ++i) {
    Pairs rows;
    for (const auto& [source, copy] : pairs_[i]) {
      rows.emplace_back(row_of(*layers_[i], source), row_of(*layers_[i], copy));
    }
    if (rows.empty()) continue;
    Tape tape;
    const Tensor& gate = tape.watch(rows_of(*layers_[i]));
    const Tensor loss =
        scale(tape, redundancy_loss(tape, gate, rows, redundancy_mean_), redundancy_weight_);
    if (tape.wants(loss)) tape.backward(loss);
    Tape sum = Tape::none();
    total = std::exchange(none, false) ? loss : add(sum, total, loss);
  }
  return total;
}

void ExpertSplitter::restore(size_t layer, Pairs pairs) {
  for (const auto& [source, copy] : pairs) {
    for (const int64_t id : {source, copy}) {
      if (!layers_[layer]->group().row_of(id)) {
        fail("mass", "{}: got a pair with expert {}, expected living ones", layers_[layer]->name(),
             id);
      }
    }
  }
  pairs_[layer] = std::move(pairs);
}

void ExpertSplitter::walk_pairs(State state, size_t layer) {
  std::vector<int64_t> ids;
  for (const auto& [source, copy] : pairs_[layer]) ids.insert(ids.end(), {source, copy});
  state.values("pairs", ids);
  if (!state.applying()) return;
  Pairs found;
  for (size_t i = 0; i + 1 < ids.size(); i += 2) found.emplace_back(ids[i], ids[i + 1]);
  restore(layer, std::move(found));
}

void ExpertSplitter::check_pairs(const H5Reader& file, std::string_view part, size_t layer) const {
  const MoeLayer& moe = *layers_[layer];
  const std::string name = fmt::format("{}/{}/pairs", part, moe.name());
  if (!file.has(name)) return;
  const auto pairs = file.read<int64_t>(name);
  const auto ids = file.read<int64_t>(fmt::format("growth/{}/ids", moe.group().name()));
  if (pairs.size() % 2 != 0) {
    fail("mass", "{}: {}: got {} ids, expected two for each pair", file.path(), name, pairs.size());
  }
  for (const int64_t id : pairs) {
    if (std::ranges::find(ids, id) != ids.end()) continue;
    fail("mass", "{}: {}: got expert {}, expected one that lives", file.path(), name, id);
  }
}

}  // namespace offshoot
