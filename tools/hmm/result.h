// A finished run in figures: result.json, the report's data, the table at the end.
#pragma once

#include <string>
#include <vector>

#include "engine/json.h"
#include "tools/hmm/config.h"
#include "tools/hmm/evaluation.h"
#include "tools/hmm/floor.h"
#include "tools/hmm/report.h"
#include "tools/hmm/training_log.h"

namespace offshoot {

// Measured about this process; differs from run to run.
struct RunMeasures {
  int64_t steps = 0;                // trained in this process
  double seconds = 0;               // in the training loop, without tests and saves
  double monitor_share = kUnknown;  // median share of a step's time that monitoring takes
  int64_t peak_memory_bytes = 0;

  double steps_per_second() const { return seconds > 0 ? static_cast<double>(steps) / seconds : 0; }
};

struct RunResult {
  const HmmConfig& config;
  const Json& configuration;
  const TrainingLog& log;
  Evaluation evaluation = {};
  Floor floor = {};
  std::vector<PromptScore> prompts = {};  // empty: not asked for
  RunMeasures measures = {};
  int64_t parameters = 0;
  std::string command = {};
};

// Means over the layers with experts; NaN without any.
double mean_experts(const Evaluation& evaluation);
double mean_active(const Evaluation& evaluation);
double mean_jsd_entity(const Evaluation& evaluation);    // sparse
double mean_jsd_property(const Evaluation& evaluation);  // sparse

// method, steps_done, test_loss, floor, floor_last, experts, active_experts, jsd_entity,
// jsd_property (means over layers; null for dense), layers (experts, active_experts, tokens and
// jsd_* of each, in nats and divided by ln K), device, threads, steps_per_second,
// peak_memory_bytes, monitor_share, events, prompts where asked for, configuration.
Json result_json(const RunResult& result);

ReportData report_data(const RunResult& result);

}  // namespace offshoot
