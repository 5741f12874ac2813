// A run of offshoot-hmm as a checkpoint: engine/checkpoint.h with this program's parts.
//   /optimizer/<parameter>/...  moments and step counts
//   /<policy>/<layer>/...       the growth policy's, under its name. mass: stopped, patience,
//                               expansions, pairs (ids: source, copy, source, ...), and in the
//                               expansion phase the detector's windows and counts
//   /random/seed                of weights and dropout, which count on from the step
//   /data/position              windows drawn
//   /metrics/...                tools/hmm/training_log.h
//   /report/data                of a run that came to its end: tools/hmm/report_json.h
#pragma once

#include <string>

#include "engine/checkpoint.h"
#include "engine/json.h"
#include "tools/hmm/data.h"
#include "tools/hmm/trainer.h"
#include "tools/hmm/training_log.h"

namespace offshoot {

// What a run keeps; all outlive this.
struct RunState {
  Trainer& trainer;
  BatchSource& batches;
  TrainingLog& log;
  std::string& report;  // JSON; empty: the run has not come to its end
};

void save_run(const std::string& path, const RunState& run, const Json& configuration,
              const Provenance& provenance);

// Throws Error when the file is of another run. What it was made with is then undefined.
void load_run(const CheckpointReader& file, const RunState& run);

// The configuration in the file. Throws Error.
Json run_configuration(const CheckpointReader& file);

}  // namespace offshoot
