// When and how a model's expert pools grow and shrink: what every growth policy looks like.
//
// In a training step, in this order:
//   forward                           see(): each layer's record, as it is routed
//   backward of the task loss         (all micro-batches)
//   grow(...)                         examine, decide, edit pools and gradients
//   auxiliary_backward()              a loss of the policy's own, newborns included
//   clip, optimizer step
// A policy acts through the growth groups of its layers, so each edit is one transaction over all
// that an expert is. Policies: MassController, DynMoePolicy, SchedulePolicy, RandomPolicy; one of
// your own derives from this (tools/examples/own_growth_policy.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/context.h"
#include "engine/hdf5_file.h"
#include "engine/state.h"
#include "models/layer_record.h"

namespace offshoot {

// Something that happened to a layer's pool; ids, -1 where there is none. NaN where not measured.
struct GrowthEvent {
  enum class Kind {
    expand,  // `source` was duplicated, `created` is the copy
    keep,    // `source`, the last added expert, was probed and earns its place
    reject,  // `source`, the last added expert, was probed and removed
    stop,    // the layer never expands again; `source` is the removed expert, if any
    add,     // `created` was made anew
    remove,  // `source` is gone
  };
  Kind kind;
  int64_t step;
  std::string layer;
  int64_t source = -1;
  int64_t created = -1;
  double p_value = std::numeric_limits<double>::quiet_NaN();
  double cosine = std::numeric_limits<double>::quiet_NaN();
  double gain = std::numeric_limits<double>::quiet_NaN();
  int64_t experts = 0;  // in the layer afterwards
};
std::string_view to_string(GrowthEvent::Kind kind);

class GrowthPolicy {
 public:
  // The task loss of this step's batch in training mode, recorded nowhere. `offsets` goes into the
  // context's row_offsets; `fresh_dropout` asks for masks other than the training pass'.
  using Probe = std::function<double(const std::map<std::string, std::vector<RowOffset>>& offsets,
                                     bool fresh_dropout)>;

  // Seconds of the last step that was monitored.
  struct Times {
    double observe = 0;  // statistics, see() included
    double decide = 0;   // tests and probes
    double edit = 0;     // duplications and removals
  };

  virtual ~GrowthPolicy() = default;

  // "mass": the policy's part of a checkpoint is called so.
  virtual std::string_view name() const = 0;

  // Whether see() and grow() want to be called in this step.
  virtual bool monitors(int64_t step) const = 0;

  // How `layer`, counted in the order of the policy's layers, has routed this training step's
  // tokens. Once a micro-batch.
  virtual void see(size_t layer, const LayerRecord& record) { (void)layer, (void)record; }

  // Looks at the gradients that lie in the parameters, decides, and edits the pools. `tokens`
  // counts, by layer and row, the tokens of the whole step. Gradients are not recomputed
  // afterwards.
  virtual std::vector<GrowthEvent> grow(int64_t step,
                                        const std::vector<std::vector<int64_t>>& tokens,
                                        double task_loss, const Probe& probe) = 0;

  // Adds the gradient of a loss of the policy's own. Returns the weighted loss, a scalar on the
  // layers' device; undefined where the policy has none.
  virtual Tensor auxiliary_backward(int64_t step) {
    (void)step;
    return {};
  }

  // A run goes on with this step: makes what its monitoring keeps, or gives it up.
  virtual void seek(int64_t step) { (void)step; }

  // Before a load, while nothing has changed: throws Error where the policy's part of the file
  // cannot be right, and takes from it what says which state is there.
  virtual void prepare_load(const H5Reader& file) { (void)file; }

  // The policy's part of a checkpoint.
  virtual void each_state(State state) { (void)state; }

  virtual Times times() const { return {}; }
  // Of what it keeps beside the pools.
  virtual int64_t state_bytes() const { return 0; }
};

// For a training loop of one's own: a context's sink that hands each layer's record to a policy and
// counts the tokens that grow() asks for. One a step, for all its micro-batches; layers count in
// the order in which they are first seen. On CUDA the host waits for every layer. `next`, a sink of
// your own for router losses, say, is told, too.
class GrowthSink final : public LayerSink {
 public:
  explicit GrowthSink(GrowthPolicy& policy, LayerSink* next = nullptr)
      : policy_(policy), next_(next) {}
  void add(const LayerRecord& record) override;
  const std::vector<std::vector<int64_t>>& tokens() const { return tokens_; }

 private:
  GrowthPolicy& policy_;
  LayerSink* next_;
  std::vector<const MoeLayer*> layers_;
  std::vector<std::vector<int64_t>> tokens_;
};

}  // namespace offshoot
