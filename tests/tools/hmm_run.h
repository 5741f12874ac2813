// Small runs of the experiment in this process.
#pragma once

#include <string>
#include <vector>

#include "tools/hmm/config.h"
#include "tools/hmm/data.h"
#include "tools/hmm/run_checkpoint.h"
#include "tools/hmm/training_log.h"

namespace offshoot::testing {

// Flags of a run of 40 steps, so small that it takes milliseconds and so eager that experts come
// and go in both of its halves.
std::vector<std::string> quick_flags();

// A configuration from quick_flags() and these.
HmmConfig quick_config(const std::vector<std::string>& more = {});

struct QuickRun {
  explicit QuickRun(const HmmConfig& c);
  void train(int64_t to_step);
  RunState state() { return {trainer, batches, log, report}; }

  HmmConfig config;
  HmmData data;
  Trainer trainer;
  BatchSource batches;
  TrainingLog log;
  std::string report;
};

}  // namespace offshoot::testing
