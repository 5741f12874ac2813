// DynMoE's adaptation (Guo et al. 2024, "Dynamic Mixture of Experts: An Auto-Tuning Approach for
// Efficient Transformer Models", arXiv 2405.14297): experts that nobody wants go, and where tokens
// want none of those that are there, one is made anew.
//
// Every `interval` steps, from what was routed in the interval's last third:
//   - experts that received no token are removed, all but the last one living;
//   - if some tokens had no expert, one is added: its MLP drawn as at the start, its router row the
//     normalised sum of those tokens' vectors, all else zero, moments too.
// Made for the top-any router; under others every token has an expert, and idle ones go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/row_tensor.h"
#include "mass/growth_policy.h"
#include "models/moe.h"
#include "optim/optimizer.h"

namespace offshoot {

struct DynMoeOptions {
  int64_t interval = 100;    // steps
  int64_t phase_end = 0;     // adaptation happens in [0, phase_end)
  int64_t max_experts = 20;  // of a layer: none is added beyond
  uint64_t seed = 0;         // of new experts' weights
  // Of an added expert, whose moments are zeros: `reference` gives them training's step count, as a
  // framework does that counts by tensor, so that its first steps are long; `fresh` one of its own.
  NewbornState newborn = NewbornState::reference;
};

class DynMoePolicy final : public GrowthPolicy {
 public:
  // Layers outlive the policy. Throws Error for no layers, a router without expert rows, or an
  // option out of range.
  DynMoePolicy(std::vector<MoeLayer*> layers, const DynMoeOptions& options);

  std::string_view name() const override { return "dynmoe"; }
  bool monitors(int64_t step) const override {
    return step < options_.phase_end && (records(step) || adapts(step));
  }
  // On CUDA the host waits for the layer.
  void see(size_t layer, const LayerRecord& record) override;
  std::vector<GrowthEvent> grow(int64_t step, const std::vector<std::vector<int64_t>>& tokens,
                                double task_loss, const Probe& probe) override;
  // By layer: tokens [E] i64, homeless i64 and homeless_sum [D] f64, of the interval so far.
  void each_state(State state) override;
  Times times() const override { return times_; }
  int64_t state_bytes() const override;

 private:
  struct Layer {
    MoeLayer* moe;
    RowTensor tokens;      // [E] i64: received by each expert
    int64_t homeless = 0;  // tokens without an expert
    Tensor homeless_sum;   // [D] f64 of their vectors
    GrowthGroup::Membership membership;

    explicit Layer(MoeLayer& layer, int64_t reserve_rows);
  };

  bool records(int64_t step) const {
    return 3 * (step % options_.interval) >= 2 * options_.interval;
  }
  bool adapts(int64_t step) const { return (step + 1) % options_.interval == 0; }
  void remove_idle(Layer& layer, int64_t step, std::vector<GrowthEvent>& events);
  void add_for_homeless(Layer& layer, int64_t step, std::vector<GrowthEvent>& events);

  DynMoeOptions options_;
  std::vector<std::unique_ptr<Layer>> layers_;
  Times times_;
  double seeing_ = 0;  // seconds, since the last grow()
};

}  // namespace offshoot
