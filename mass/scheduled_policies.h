// Growth by the clock: controls against which a policy that looks at the model is measured. Both
// split experts as MASS does (decomposition, newborn's moments, redundancy loss, of MassOptions)
// within its phase, up to its max_experts, and look at no gradient.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mass/growth_policy.h"
#include "mass/splitter.h"

namespace offshoot {

// Whom to split, and when, is what derived classes say.
class ScheduledPolicy : public GrowthPolicy {
 public:
  bool monitors(int64_t step) const override {
    return step >= options_.phase_begin && step < options_.phase_end;
  }
  std::vector<GrowthEvent> grow(int64_t step, const std::vector<std::vector<int64_t>>& tokens,
                                double task_loss, const Probe& probe) override;
  Tensor auxiliary_backward(int64_t step) override;
  void prepare_load(const H5Reader& file) override;
  // By layer: pairs, ids (source, copy, source, ...).
  void each_state(State state) override;
  Times times() const override { return times_; }

 protected:
  ScheduledPolicy(std::vector<MoeLayer*> layers, const MassOptions& options);

  // The row of `layer` that is split in this step, or -1.
  virtual int64_t choose(size_t layer, int64_t step, const std::vector<int64_t>& tokens) = 0;

  const MassOptions& options() const { return options_; }
  const std::vector<MoeLayer*>& layers() const { return splitter_.layers(); }

 private:
  MassOptions options_;
  ExpertSplitter splitter_;
  Times times_;
};

// Every `every` steps of the phase each layer's busiest expert of that step is split; of equals the
// oldest.
class SchedulePolicy final : public ScheduledPolicy {
 public:
  // Layers outlive the policy. Throws Error when `every` is below 1, and as ExpertSplitter does.
  SchedulePolicy(std::vector<MoeLayer*> layers, const MassOptions& options, int64_t every);

  std::string_view name() const override { return "schedule"; }

 private:
  int64_t choose(size_t layer, int64_t step, const std::vector<int64_t>& tokens) override;

  int64_t every_;
};

// As many splits as bring a layer to max_experts, at random steps of the phase, of random experts.
class RandomPolicy final : public ScheduledPolicy {
 public:
  // Layers outlive the policy. Throws Error when the phase has fewer steps than there are splits,
  // and as ExpertSplitter does.
  RandomPolicy(std::vector<MoeLayer*> layers, const MassOptions& options, uint64_t seed);

  // Not "random", which checkpoints call the state of seeds.
  std::string_view name() const override { return "random_splits"; }

 private:
  int64_t choose(size_t layer, int64_t step, const std::vector<int64_t>& tokens) override;

  uint64_t seed_;
  std::vector<std::vector<int64_t>> steps_;  // by layer, rising
};

}  // namespace offshoot
