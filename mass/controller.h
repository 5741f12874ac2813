// When and how a model's expert pools grow: MASS (arXiv 2512.19765).
//
// In a training step, in this order:
//   backward of the task loss (all micro-batches)
//   controller.grow(...)                examine, probe, edit pools and gradients
//   controller.redundancy_backward()    the new pairs included
//   clip, optimizer step
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/context.h"
#include "mass/drift_detector.h"
#include "mass/options.h"
#include "models/moe.h"

namespace offshoot {

// Something that happened to a layer's pool; ids, -1 where there is none. NaN where not measured.
struct GrowthEvent {
  enum class Kind {
    expand,  // `source` was duplicated, `created` is the copy
    keep,    // `source`, the last added expert, was probed and earns its place
    reject,  // `source`, the last added expert, was probed and removed
    stop,    // the layer never expands again; `source` is the removed expert, if any
  };
  Kind kind;
  int64_t step;
  std::string layer;
  int64_t source = -1;
  int64_t created = -1;
  double p_value;
  double cosine;
  double gain;
  int64_t experts;  // in the layer afterwards
};
std::string_view to_string(GrowthEvent::Kind kind);

class MassController {
 public:
  // The task loss of this step's batch in training mode, recorded nowhere. `offsets` goes into the
  // context's row_offsets; `fresh_dropout` asks for masks other than the training pass'.
  using Probe = std::function<double(const std::map<std::string, std::vector<RowOffset>>& offsets,
                                     bool fresh_dropout)>;

  // Sets how the layers' gradients are divided. Layers outlive the controller. Throws Error for
  // options that cannot be, no layers, a router that is no GateRouter, a pool above max_experts, or
  // preserve_function without a gate bias.
  MassController(std::vector<MoeLayer*> layers, const MassOptions& options);
  MassController(const MassController&) = delete;  // detectors point to its options
  MassController& operator=(const MassController&) = delete;

  const MassOptions& options() const { return options_; }

  // Whether grow() wants to be called in this step: the expansion phase.
  bool monitors(int64_t step) const {
    return step >= options_.phase_begin && step < options_.phase_end;
  }

  // Observes the gradients that lie in the parameters, decides, and edits the pools: at most one
  // duplication a layer. `tokens` counts, by layer and row, the tokens of the whole step. Gradients
  // are not recomputed after a removal. In the phase's last step the windows are given up.
  std::vector<GrowthEvent> grow(int64_t step, const std::vector<std::vector<int64_t>>& tokens,
                                double task_loss, const Probe& probe);

  // Adds weight * L_red's gradient to the gates'. Returns weight * L_red over all layers, a scalar
  // on their device; 0 when there is no pair or the preset has it in the expansion phase only.
  Tensor redundancy_backward(int64_t step);

  // What a checkpoint holds beside the pools and their logs.
  struct LayerState {
    bool stopped = false;
    int64_t patience = 0;
    int64_t expansions = 0;                          // net of removals
    std::vector<std::pair<int64_t, int64_t>> pairs;  // ids (source, copy) of living experts
  };
  const std::vector<MoeLayer*>& layers() const { return layers_; }
  const LayerState& state(size_t layer) const { return states_[layer]; }
  // Throws Error when a pair names an expert that does not live.
  void restore(size_t layer, LayerState state);
  // Null outside the phase.
  const DriftDetector* detector(size_t layer) const { return detectors_[layer].get(); }
  // Makes the windows, or gives them up, as monitoring in `step` needs; before a load, so that they
  // are there to be filled.
  void prepare(int64_t step);

 private:
  struct Drift {
    int64_t id;
    double p_value;
    double cosine;
  };
  struct Plan {
    std::optional<Drift> drift;
    std::optional<double> gain;
  };

  void observe(size_t layer, const std::vector<int64_t>& tokens);
  std::optional<Drift> examine(size_t layer) const;
  bool is_drift(size_t layer, double cosine) const;
  std::optional<double> probe_last(size_t layer, double task_loss, const Probe& probe) const;
  Plan plan(size_t layer, double task_loss, const Probe& probe);
  void act(size_t layer, int64_t step, const Plan& plan, std::vector<GrowthEvent>& events);
  int64_t remove_last(size_t layer, int64_t step, const Plan& plan);
  void duplicate(size_t layer, int64_t step, const Plan& plan, std::vector<GrowthEvent>& events);
  void set_gradient_splits(MoeLayer& layer) const;
  // Others may edit the pools between two steps.
  void drop_dead_pairs();

  std::vector<MoeLayer*> layers_;
  MassOptions options_;
  std::vector<LayerState> states_;
  std::vector<std::unique_ptr<DriftDetector>> detectors_;
};

}  // namespace offshoot
