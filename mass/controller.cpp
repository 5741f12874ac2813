#include "mass/controller.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "engine/error.h"
#include "mass/redundancy_loss.h"
#include "ops/binary.h"
#include "ops/expert_stats.h"
#include "ops/unary.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

GateRouter& gate_of(MoeLayer& layer) {
  auto* gate = dynamic_cast<GateRouter*>(&layer.router());
  if (gate == nullptr) fail("mass", "{}: got another router, expected a GateRouter", layer.name());
  return *gate;
}

// The expert that was added last: the highest living id.
int64_t last_id(const MoeLayer& layer) { return std::ranges::max(layer.group().ids()); }

int64_t row_of(const MoeLayer& layer, int64_t id) {
  const auto row = layer.group().row_of(id);
  OFFSHOOT_CHECK(row.has_value(), "{}: expert {} does not live", layer.name(), id);
  return *row;
}

// On any device; a growth may wait for it.
void shift_gate_bias(MoeLayer& layer, int64_t id, double amount) {
  const Tensor own = gate_of(layer).bias()->value().rows(row_of(layer, id), 1);
  const Tensor shifted = own.to(Device{});
  dispatch_float("mass", shifted.dtype(),
                 [&]<class T>(T) { shifted.data<T>()[0] += static_cast<T>(amount); });
  if (own.device().is_cuda()) copy_elements(shifted, own);
}

EditNote note_of(int64_t step, const std::optional<double>& gain, double p_value, double cosine) {
  EditNote note{step, "mass", {}};
  if (!std::isnan(p_value)) note.values.emplace_back("p_value", p_value);
  if (!std::isnan(cosine)) note.values.emplace_back("cosine", cosine);
  if (gain) note.values.emplace_back("gain", *gain);
  return note;
}

}  // namespace

MassController::MassController(std::vector<MoeLayer*> layers, const MassOptions& options)
    : layers_(std::move(layers)), options_(options) {
  check(options_);
  if (layers_.empty()) fail("mass", "layers: got none, expected at least one with experts");
  for (MoeLayer* layer : layers_) {
    if (layer->experts() > options_.max_experts) {
      fail("mass", "{}: got {} experts, expected at most max_experts = {}", layer->name(),
           layer->experts(), options_.max_experts);
    }
    if (options_.preserve_function && gate_of(*layer).bias() == nullptr) {
      fail("mass", "{}: preserve_function needs a gate bias", layer->name());
    }
    set_gradient_splits(*layer);
    LayerState state;
    state.patience = options_.patience;
    states_.push_back(std::move(state));
  }
  detectors_.resize(layers_.size());
}

void MassController::set_gradient_splits(MoeLayer& layer) const {
  GradientSplit fc1 = GradientSplit::project_rows, fc2 = fc1, gate = fc1;
  GradientSplit bias = GradientSplit::keep_copy;
  switch (options_.decomposition) {
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
  layer.fc1_weight().set_gradient_split(fc1);
  layer.fc2_weight().set_gradient_split(fc2);
  layer.fc1_bias().set_gradient_split(bias);
  layer.fc2_bias().set_gradient_split(bias);
  gate_of(layer).weight().set_gradient_split(gate);
  if (gate_of(layer).bias() != nullptr) gate_of(layer).bias()->set_gradient_split(bias);
}

void MassController::prepare(int64_t step) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool wanted = monitors(step) && !states_[i].stopped;
    if (wanted && !detectors_[i]) {
      detectors_[i] = std::make_unique<DriftDetector>(layers_[i]->group(), options_);
    } else if (!wanted) {
      detectors_[i].reset();
    }
  }
}

std::vector<GrowthEvent> MassController::grow(int64_t step,
                                              const std::vector<std::vector<int64_t>>& tokens,
                                              double task_loss, const Probe& probe) {
  std::vector<GrowthEvent> events;
  if (!monitors(step)) return events;
  OFFSHOOT_CHECK(tokens.size() == layers_.size(), "token counts of {} layers", tokens.size());
  prepare(step);
  drop_dead_pairs();
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (detectors_[i]) observe(i, tokens[i]);
  }
  if (options_.probe_before_change) {
    std::vector<Plan> plans;
    for (size_t i = 0; i < layers_.size(); ++i) plans.push_back(plan(i, task_loss, probe));
    for (size_t i = 0; i < layers_.size(); ++i) act(i, step, plans[i], events);
  } else {
    for (size_t i = 0; i < layers_.size(); ++i) act(i, step, plan(i, task_loss, probe), events);
  }
  prepare(step + 1);
  return events;
}

void MassController::drop_dead_pairs() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const GrowthGroup& group = layers_[i]->group();
    std::erase_if(states_[i].pairs, [&](const auto& pair) {
      return !group.row_of(pair.first) || !group.row_of(pair.second);
    });
  }
}

void MassController::observe(size_t layer, const std::vector<int64_t>& tokens) {
  MoeLayer& moe = *layers_[layer];
  std::vector<Tensor> grads{moe.fc1_weight().grad()};
  if (!options_.fc1_norm_only) {
    for (Parameter* p : {&moe.fc1_bias(), &moe.fc2_weight(), &moe.fc2_bias()}) {
      grads.push_back(p->grad());
    }
  }
  std::vector<bool> observed(tokens.size(), true);
  if (!options_.observe_idle) {
    std::transform(tokens.begin(), tokens.end(), observed.begin(),
                   [](int64_t count) { return count > 0; });
  }
  detectors_[layer]->observe(expert_norms(grads), observed);
}

std::optional<MassController::Drift> MassController::examine(size_t layer) const {
  MoeLayer& moe = *layers_[layer];
  const DriftDetector& detector = *detectors_[layer];
  std::vector<double> cosines;  // of all experts, on the first change point
  for (const int64_t row : moe.group().rows_by_age()) {
    if (!detector.ready(row)) continue;
    const double p_value = detector.p_value(row);
    if (options_.change_point && !(p_value < options_.alpha)) continue;
    if (cosines.empty()) {
      cosines = expert_cosines(moe.fc1_weight().grad(), moe.fc1_weight().value());
    }
    double cosine = cosines[static_cast<size_t>(row)];
    // A zero gradient or weight.
    if (std::isnan(cosine) && !options_.zero_is_aligned) cosine = 0.0;
    if (options_.alignment && !is_drift(layer, cosine)) continue;
    return Drift{moe.group().ids()[static_cast<size_t>(row)], p_value, cosine};
  }
  return std::nullopt;
}

bool MassController::is_drift(size_t layer, double cosine) const {
  double delta = options_.delta;
  if (options_.scale_delta_by_dim) {
    const Shape& fc1 = layers_[layer]->fc1_weight().value().shape();
    delta /= std::sqrt(static_cast<double>(fc1[1] * fc1[2]));
  }
  return std::abs(cosine) < delta;  // NaN: no
}

MassController::Plan MassController::plan(size_t layer, double task_loss, const Probe& probe) {
  Plan plan;
  LayerState& state = states_[layer];
  if (state.stopped) return plan;
  if (layers_[layer]->experts() >= options_.max_experts) {
    state.stopped = true;
    return plan;
  }
  plan.drift = examine(layer);
  if (plan.drift && options_.stopping && state.expansions > options_.min_expansions) {
    plan.gain = probe_last(layer, task_loss, probe);
  }
  return plan;
}

std::optional<double> MassController::probe_last(size_t layer, double task_loss,
                                                 const Probe& probe) const {
  const MoeLayer& moe = *layers_[layer];
  const int64_t last = last_id(moe);
  std::map<std::string, std::vector<RowOffset>> offsets;
  auto& rows = offsets[moe.group().name()];
  rows.push_back({row_of(moe, last), -std::numeric_limits<double>::infinity()});
  if (options_.preserve_function) {
    for (const auto& [source, copy] : states_[layer].pairs) {
      if (copy == last) rows.push_back({row_of(moe, source), std::numbers::ln2});
    }
  }
  const double loss = probe(offsets, !options_.probe_same_dropout);
  if (!std::isfinite(loss)) fail("mass", "probe: got loss {}, expected a finite number", loss);
  return loss - task_loss;
}

void MassController::act(size_t layer, int64_t step, const Plan& plan,
                         std::vector<GrowthEvent>& events) {
  if (!plan.drift) return;
  LayerState& state = states_[layer];
  const std::string& name = layers_[layer]->name();
  const auto happened = [&](GrowthEvent::Kind kind, int64_t source) {
    events.push_back(
        {kind, step, name, source, -1, kNone, kNone, *plan.gain, layers_[layer]->experts()});
  };
  if (plan.gain && *plan.gain <= 0) {
    if (state.patience == 0) {
      const int64_t gone = options_.stop_removes_last ? remove_last(layer, step, plan) : -1;
      state.stopped = true;
      happened(GrowthEvent::Kind::stop, gone);
      return;
    }
    const int64_t gone = remove_last(layer, step, plan);
    --state.patience;
    happened(GrowthEvent::Kind::reject, gone);
    if (gone == plan.drift->id) return;
  } else if (plan.gain) {
    if (options_.patience_returns) state.patience = options_.patience;
    happened(GrowthEvent::Kind::keep, last_id(*layers_[layer]));
  }
  duplicate(layer, step, plan, events);
}

int64_t MassController::remove_last(size_t layer, int64_t step, const Plan& plan) {
  MoeLayer& moe = *layers_[layer];
  LayerState& state = states_[layer];
  const int64_t id = last_id(moe);
  moe.group().remove(row_of(moe, id), note_of(step, plan.gain, kNone, kNone));
  if (options_.preserve_function) {
    for (const auto& [source, copy] : state.pairs) {
      if (copy == id) shift_gate_bias(moe, source, std::numbers::ln2);
    }
  }
  drop_dead_pairs();
  --state.expansions;
  return id;
}

void MassController::duplicate(size_t layer, int64_t step, const Plan& plan,
                               std::vector<GrowthEvent>& events) {
  MoeLayer& moe = *layers_[layer];
  const Drift& drift = *plan.drift;
  states_[layer].pairs.reserve(states_[layer].pairs.size() + 1);
  events.reserve(events.size() + 1);
  const int64_t created = moe.group().duplicate(
      row_of(moe, drift.id), note_of(step, plan.gain, drift.p_value, drift.cosine));
  if (options_.preserve_function) {
    for (const int64_t id : {drift.id, created}) shift_gate_bias(moe, id, -std::numbers::ln2);
  }
  states_[layer].pairs.emplace_back(drift.id, created);
  ++states_[layer].expansions;
  events.push_back({GrowthEvent::Kind::expand, step, moe.name(), drift.id, created, drift.p_value,
                    drift.cosine, plan.gain.value_or(kNone), moe.experts()});
}

Tensor MassController::redundancy_backward(int64_t step) {
  Tensor total = Tensor::scalar(0.0, gate_of(*layers_[0]).weight().dtype());
  if (options_.redundancy_weight == 0) return total;
  if (!options_.redundancy_always && !monitors(step)) return total;
  drop_dead_pairs();
  bool none = true;
  for (size_t i = 0; i < layers_.size(); ++i) {
    std::vector<std::pair<int64_t, int64_t>> rows;
    for (const auto& [source, copy] : states_[i].pairs) {
      rows.emplace_back(row_of(*layers_[i], source), row_of(*layers_[i], copy));
    }
    if (rows.empty()) continue;
    Tape tape;
    const Tensor& gate = tape.watch(gate_of(*layers_[i]).weight());
    const Tensor loss = scale(tape, redundancy_loss(tape, gate, rows, options_.redundancy_mean),
                              options_.redundancy_weight);
    if (tape.wants(loss)) tape.backward(loss);
    Tape sum = Tape::none();
    total = std::exchange(none, false) ? loss : add(sum, total, loss);
  }
  return total;
}

void MassController::restore(size_t layer, LayerState state) {
  for (const auto& [source, copy] : state.pairs) {
    for (const int64_t id : {source, copy}) {
      if (!layers_[layer]->group().row_of(id)) {
        fail("mass", "{}: got a pair with expert {}, expected living ones", layers_[layer]->name(),
             id);
      }
    }
  }
  states_[layer] = std::move(state);
}

}  // namespace offshoot
