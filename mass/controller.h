// MASS (arXiv 2512.19765) as a growth policy: drift found in the experts' gradients, expansion on
// demand, a probe of the last added expert, a redundancy loss between a source and its copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mass/drift_detector.h"
#include "mass/growth_policy.h"
#include "mass/options.h"
#include "mass/splitter.h"
#include "models/moe.h"

namespace offshoot {

class MassController final : public GrowthPolicy {
 public:
  // Sets how the layers' gradients are divided. Layers outlive the controller. Throws Error for
  // options that cannot be, and as ExpertSplitter does.
  MassController(std::vector<MoeLayer*> layers, const MassOptions& options);
  MassController(const MassController&) = delete;  // detectors point to its options
  MassController& operator=(const MassController&) = delete;

  const MassOptions& options() const { return options_; }
  std::string_view name() const override { return "mass"; }

  // The expansion phase.
  bool monitors(int64_t step) const override {
    return step >= options_.phase_begin && step < options_.phase_end;
  }

  // At most one duplication a layer. In the phase's last step the windows are given up.
  std::vector<GrowthEvent> grow(int64_t step, const std::vector<std::vector<int64_t>>& tokens,
                                double task_loss, const Probe& probe) override;

  // L_red; 0 when there is no pair or the preset has it in the expansion phase only.
  Tensor auxiliary_backward(int64_t step) override;

  // Beside the pools and their logs.
  struct LayerState {
    bool stopped = false;
    int64_t patience = 0;
    int64_t expansions = 0;  // net of removals
  };
  const std::vector<MoeLayer*>& layers() const { return splitter_.layers(); }
  const LayerState& state(size_t layer) const { return states_[layer]; }
  const ExpertSplitter::Pairs& pairs(size_t layer) const { return splitter_.pairs(layer); }
  // Throws Error when a pair names an expert that does not live.
  void restore(size_t layer, const LayerState& state, ExpertSplitter::Pairs pairs);
  // Null outside the phase.
  const DriftDetector* detector(size_t layer) const { return detectors_[layer].get(); }
  // Makes the windows, or gives them up, as monitoring in `step` needs.
  void prepare(int64_t step);

  // Windows begin with the phase's first observation.
  void seek(int64_t step) override;
  void prepare_load(const H5Reader& file) override;
  // By layer: stopped, patience, expansions, pairs (source, copy, source, ...), and in the phase
  // the detector's windows and counts.
  void each_state(State state) override;
  Times times() const override { return times_; }
  int64_t state_bytes() const override;

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
  void walk_layer(State state, size_t layer);

  MassOptions options_;
  ExpertSplitter splitter_;
  std::vector<LayerState> states_;
  std::vector<std::unique_ptr<DriftDetector>> detectors_;
  Times times_;
};

}  // namespace offshoot
