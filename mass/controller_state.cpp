// What a MassController keeps over a restart.
#include "engine/error.h"
#include "mass/controller.h"

namespace offshoot {
// A stopped layer has no windows to be filled.
void MassController::prepare_load(const H5Reader& file) {
  for (size_t i = 0; i < layers().size(); ++i) splitter_.check_pairs(file, name(), i);
  for (size_t i = 0; i < layers().size(); ++i) {
    const std::string stopped = fmt::format("mass/{}/stopped", layers()[i]->name());
    states_[i] = {};
    states_[i].stopped = file.read<uint8_t>(stopped, Shape{}).front() != 0;
    splitter_.restore(i, {});
  }
}

void MassController::seek(int64_t step) {
  if (monitors(step - 1)) prepare(step);
}

void MassController::each_state(State state) {
  for (size_t i = 0; i < layers().size(); ++i) walk_layer(state.scope(layers()[i]->name()), i);
}

void MassController::walk_layer(State state, size_t layer) {
  LayerState own = states_[layer];
  state.value("stopped", own.stopped);
  state.value("patience", own.patience);
  state.value("expansions", own.expansions);
  splitter_.walk_pairs(state, layer);
  if (const DriftDetector* windows = detector(layer)) {
    windows->each_state([&](std::string_view name, const Tensor& tensor) {
      state.tensor(name, tensor, &layers()[layer]->group());
    });
  }
  if (state.applying()) states_[layer] = own;
}

void MassController::restore(size_t layer, const LayerState& state, ExpertSplitter::Pairs pairs) {
  splitter_.restore(layer, std::move(pairs));
  states_[layer] = state;
}

int64_t MassController::state_bytes() const {
  int64_t bytes = 0;
  for (const auto& windows : detectors_) {
    if (!windows) continue;
    windows->each_state([&](std::string_view, const Tensor& tensor) { bytes += tensor.bytes(); });
  }
  return bytes;
}

}  // namespace offshoot
