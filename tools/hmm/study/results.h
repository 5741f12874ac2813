// What a study found: cells (one configuration each) of runs (one seed each), estimates, and paired
// comparisons. In memory, and as results.json, whose schema is results.schema.json. Holds no times
// unless times are what was measured, so that a rerun gives the same bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/json.h"
#include "mass/growth_policy.h"
#include "tools/hmm/study/statistics.h"

namespace offshoot {

// What one run came to. Quantities by name:
//   test_loss, floor             nats a token
//   experts, active_experts      K at the end, mean experts of a test token; NaN for dense
//   jsd_entity, jsd_property     nats, sparse; NaN for dense
//   flops_per_token              of a forward pass, counted (2 a multiplication and addition)
//   parameters                   of the whole model
// and those that a study adds: see the study's own file.
struct StudyRun {
  int64_t seed = 0;
  std::map<std::string, double> measures;
  std::vector<std::pair<int64_t, int64_t>> experts;  // (step, K), each change
  std::vector<GrowthEvent> events;                   // of the first layer
  int64_t initial_experts = 0;
  // Curves over training steps by name, e.g. "loss_stage_1".
  std::map<std::string, std::vector<std::pair<double, double>>> curves;

  double measure(const std::string& name) const;  // NaN where there is none
};

struct StudyCell {
  std::string name;    // "topk-K10-k2": unique in the study, also in file names
  std::string label;   // "top-2, K 10"
  std::string family;  // cells that belong together: one line of a plot, one block of a table
  std::vector<std::string> flags;             // of offshoot-hmm; the seed is the run's
  std::map<std::string, double> numbers;      // what the cell varies, e.g. {"experts", 10}
  std::map<std::string, double> published;    // the paper's figures, e.g. {"test_loss", 2.15}
  std::vector<StudyRun> runs;                 // by rising seed
  std::map<std::string, Estimate> estimates;  // of every measure over the runs

  std::vector<double> values(const std::string& measure) const;  // by run
};

// Cell minus another one, seed by seed.
struct StudyComparison {
  std::string measure;
  std::string cell;
  std::string against;
  Estimate difference;
};

struct StudyResults {
  std::string study;  // "paper"
  std::string title;
  std::string question;  // what it wants to know
  std::string command;
  std::string engine_version;
  int64_t steps = 0;  // of a run
  bool quick = false;
  std::vector<int64_t> seeds;
  std::vector<StudyCell> cells;
  std::vector<StudyComparison> comparisons;

  const StudyCell* find(const std::string& cell) const;  // null where there is none
  const StudyComparison* compared(const std::string& measure, const std::string& cell) const;
};

// Fills in every cell's estimates.
void estimate_all(StudyResults& results);

// Of a measure, over the seeds that both cells have.
Estimate cell_difference(const StudyCell& cell, const StudyCell& against,
                         const std::string& measure);

// Adds the comparison of `measure` of every other cell with `against`; none where that was not run.
void compare_all(StudyResults& results, const std::string& measure, const std::string& against);

Json to_json(const StudyRun& run);
StudyRun study_run_from_json(const Json& json);
Json to_json(const StudyResults& results);
// Both throw Error naming the member that is missing or of another type.
StudyResults study_results_from_json(const Json& json);

}  // namespace offshoot
