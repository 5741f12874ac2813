#include "tools/hmm/training_log.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"
#include "mass/trace.h"

namespace offshoot {

TrainingLog::TrainingLog(std::vector<std::string> layers)
    : layers_(std::move(layers)), experts_(layers_.size()) {}

void TrainingLog::add(const StepResult& step) {
  OFFSHOOT_CHECK(step.experts.size() == experts_.size(), "{} layers", step.experts.size());
  loss_.push_back(step.loss);
  auxiliary_.push_back(step.auxiliary_loss);
  rate_.push_back(step.rate);
  active_.push_back(step.active_experts);
  for (size_t i = 0; i < experts_.size(); ++i) experts_[i].push_back(step.experts[i]);
  events_.insert(events_.end(), step.events.begin(), step.events.end());
}

void TrainingLog::add_test(int64_t steps, double loss) {
  test_steps_.push_back(steps);
  test_loss_.push_back(loss);
}

std::string TrainingLog::json_lines() const {
  std::string lines;
  auto event = events_.begin();
  size_t test = 0;
  for (int64_t step = 0; step < steps(); ++step) {
    const auto at = static_cast<size_t>(step);
    Json line = Json::object({{"step", step},
                              {"loss", loss_[at]},
                              {"auxiliary_loss", auxiliary_[at]},
                              {"learning_rate", rate_[at]}});
    if (!layers_.empty()) {
      line["active_experts"] = active_[at];
      Json experts = Json::array();
      for (const auto& layer : experts_) experts.push_back(layer[at]);
      line["experts"] = std::move(experts);
    }
    for (; event != events_.end() && event->step == step; ++event) {
      line["events"].push_back(to_json(*event));
    }
    for (; test < test_steps_.size() && test_steps_[test] == step + 1; ++test) {
      line["test_loss"] = test_loss_[test];
    }
    lines += line.dump() + '\n';
  }
  return lines;
}

void TrainingLog::each_state(State& state) {
  if (state.checking()) check(state);
  state.values("loss", loss_);
  state.values("auxiliary_loss", auxiliary_);
  state.values("learning_rate", rate_);
  state.values("active_experts", active_);
  for (size_t i = 0; i < layers_.size(); ++i) state.values("experts/" + layers_[i], experts_[i]);
  state.values("test_steps", test_steps_);
  state.values("test_loss", test_loss_);
  // An event's kind and layer are words; JSON, as in metrics.jsonl, keeps every bit of its numbers.
  std::vector<std::string> events;
  for (const GrowthEvent& event : events_) events.push_back(to_json(event).dump());
  state.texts("events", events);
  if (state.applying()) events_ = events_from(events);
}

std::vector<GrowthEvent> TrainingLog::events_from(const std::vector<std::string>& texts) {
  std::vector<GrowthEvent> events;
  for (const std::string& text : texts) {
    events.push_back(growth_event_from_json(Json::parse(text, "metrics/events")));
  }
  return events;
}

// Before anything changes: what comes can be taken.
void TrainingLog::check(State& state) const {
  TrainingLog next(layers_);
  next.loss_ = state.peek<double>("loss");
  next.auxiliary_ = state.peek<double>("auxiliary_loss");
  next.rate_ = state.peek<double>("learning_rate");
  next.active_ = state.peek<double>("active_experts");
  for (size_t i = 0; i < layers_.size(); ++i) {
    next.experts_[i] = state.peek<int64_t>("experts/" + layers_[i]);
  }
  next.test_steps_ = state.peek<int64_t>("test_steps");
  next.test_loss_ = state.peek<double>("test_loss");
  next.check_lengths();
  events_from(state.peek_texts("events"));
}

void TrainingLog::check_lengths() const {
  const auto same = [&](const auto& column) { return column.size() == loss_.size(); };
  if (!same(auxiliary_) || !same(rate_) || !same(active_) || !std::ranges::all_of(experts_, same) ||
      test_steps_.size() != test_loss_.size()) {
    fail("metrics", "got columns of different lengths, expected {} steps in each", loss_.size());
  }
}

}  // namespace offshoot
