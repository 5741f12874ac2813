// What training leaves behind step by step: columns for the checkpoint, lines for metrics.jsonl.
// Holds no times, so that two equal runs leave the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/state.h"
#include "tools/hmm/trainer.h"

namespace offshoot {

class TrainingLog {
 public:
  // Names of the layers with experts.
  explicit TrainingLog(std::vector<std::string> layers);

  void add(const StepResult& step);
  // The test loss after `steps` steps.
  void add_test(int64_t steps, double loss);

  int64_t steps() const { return static_cast<int64_t>(loss_.size()); }
  const std::vector<std::string>& layers() const { return layers_; }
  const std::vector<double>& loss() const { return loss_; }
  const std::vector<double>& auxiliary_loss() const { return auxiliary_; }
  const std::vector<double>& learning_rate() const { return rate_; }
  const std::vector<double>& active_experts() const { return active_; }
  // Of one layer, after each step.
  const std::vector<int64_t>& experts(size_t layer) const { return experts_[layer]; }
  const std::vector<GrowthEvent>& events() const { return events_; }
  const std::vector<int64_t>& test_steps() const { return test_steps_; }
  const std::vector<double>& test_loss() const { return test_loss_; }

  // One JSON object a step: step, loss, auxiliary_loss, learning_rate, and with experts
  // active_experts and experts (a list by layer); where there were any, events, and test_loss after
  // this step.
  std::string json_lines() const;

  // Throws Error on a load of columns of different lengths.
  void each_state(State& state);

 private:
  static std::vector<GrowthEvent> events_from(const std::vector<std::string>& texts);
  void check(State& state) const;
  void check_lengths() const;

  std::vector<std::string> layers_;
  std::vector<double> loss_;
  std::vector<double> auxiliary_;
  std::vector<double> rate_;
  std::vector<double> active_;
  std::vector<std::vector<int64_t>> experts_;  // by layer, then step
  std::vector<GrowthEvent> events_;
  std::vector<int64_t> test_steps_;
  std::vector<double> test_loss_;
};

}  // namespace offshoot
