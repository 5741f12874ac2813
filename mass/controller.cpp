#include "mass/controller.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "mass/stopwatch.h"
#include "ops/expert_stats.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

EditNote note_of(int64_t step, const std::optional<double>& gain, double p_value, double cosine) {
  EditNote note{step, "mass", {}};
  if (!std::isnan(p_value)) note.values.emplace_back("p_value", p_value);
  if (!std::isnan(cosine)) note.values.emplace_back("cosine", cosine);
  if (gain) note.values.emplace_back("gain", *gain);
  return note;
}

const MassOptions& checked(const MassOptions& options) {
  check(options);
  return options;
}

}  // namespace

MassController::MassController(std::vector<MoeLayer*> layers, const MassOptions& options)
    : options_(checked(options)),
      splitter_(std::move(layers), options_),
      states_(this->layers().size()),
      detectors_(this->layers().size()) {
  for (LayerState& state : states_) state.patience = options_.patience;
}

void MassController::prepare(int64_t step) {
  for (size_t i = 0; i < layers().size(); ++i) {
    const bool wanted = monitors(step) && !states_[i].stopped;
    if (wanted && !detectors_[i]) {
      detectors_[i] = std::make_unique<DriftDetector>(layers()[i]->group(), options_);
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
  OFFSHOOT_CHECK(tokens.size() == layers().size(), "token counts of {} layers", tokens.size());
  prepare(step);
  splitter_.drop_dead_pairs();
  times_ = {};
  for (size_t i = 0; i < layers().size(); ++i) {
    if (detectors_[i]) observe(i, tokens[i]);
  }
  if (options_.probe_before_change) {
    std::vector<Plan> plans;
    for (size_t i = 0; i < layers().size(); ++i) plans.push_back(plan(i, task_loss, probe));
    for (size_t i = 0; i < layers().size(); ++i) act(i, step, plans[i], events);
  } else {
    for (size_t i = 0; i < layers().size(); ++i) act(i, step, plan(i, task_loss, probe), events);
  }
  prepare(step + 1);
  return events;
}

void MassController::observe(size_t layer, const std::vector<int64_t>& tokens) {
  const Stopwatch watch(times_.observe);
  MoeLayer& moe = *layers()[layer];
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
  MoeLayer& moe = *layers()[layer];
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
    const Shape& fc1 = layers()[layer]->fc1_weight().value().shape();
    delta /= std::sqrt(static_cast<double>(fc1[1] * fc1[2]));
  }
  return std::abs(cosine) < delta;  // NaN: no
}

MassController::Plan MassController::plan(size_t layer, double task_loss, const Probe& probe) {
  Plan plan;
  const Stopwatch watch(times_.decide);
  LayerState& state = states_[layer];
  if (state.stopped) return plan;
  if (layers()[layer]->experts() >= options_.max_experts) {
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
  const MoeLayer& moe = *layers()[layer];
  const std::map<std::string, std::vector<RowOffset>> offsets{
      {moe.group().name(), splitter_.without(layer, last_id(moe))}};
  const double loss = probe(offsets, !options_.probe_same_dropout);
  if (!std::isfinite(loss)) fail("mass", "probe: got loss {}, expected a finite number", loss);
  return loss - task_loss;
}

void MassController::act(size_t layer, int64_t step, const Plan& plan,
                         std::vector<GrowthEvent>& events) {
  if (!plan.drift) return;
  const Stopwatch watch(times_.edit);
  LayerState& state = states_[layer];
  const std::string& name = layers()[layer]->name();
  const auto happened = [&](GrowthEvent::Kind kind, int64_t source) {
    events.push_back(
        {kind, step, name, source, -1, kNone, kNone, *plan.gain, layers()[layer]->experts()});
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
    happened(GrowthEvent::Kind::keep, last_id(*layers()[layer]));
  }
  duplicate(layer, step, plan, events);
}

int64_t MassController::remove_last(size_t layer, int64_t step, const Plan& plan) {
  const int64_t id = last_id(*layers()[layer]);
  splitter_.remove(layer, id, note_of(step, plan.gain, kNone, kNone));
  --states_[layer].expansions;
  return id;
}

void MassController::duplicate(size_t layer, int64_t step, const Plan& plan,
                               std::vector<GrowthEvent>& events) {
  const MoeLayer& moe = *layers()[layer];
  const Drift& drift = *plan.drift;
  events.reserve(events.size() + 1);
  const int64_t created =
      splitter_.split(layer, drift.id, note_of(step, plan.gain, drift.p_value, drift.cosine));
  ++states_[layer].expansions;
  events.push_back({GrowthEvent::Kind::expand, step, moe.name(), drift.id, created, drift.p_value,
                    drift.cosine, plan.gain.value_or(kNone), moe.experts()});
}

Tensor MassController::auxiliary_backward(int64_t step) {
  if (!options_.redundancy_always && !monitors(step)) return splitter_.no_redundancy();
  return splitter_.redundancy_backward();
}

}  // namespace offshoot
