// One run of a study: a configuration, a seed, and what to look at while it trains. In memory:
// reads no file but a corpus, writes none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/json.h"
#include "tools/hmm/config.h"
#include "tools/hmm/study/results.h"

namespace offshoot {

// From step `begin` on, training sees the documents of these concepts only.
struct Stage {
  int64_t begin = 0;
  std::vector<int64_t> concepts;

  bool operator==(const Stage&) const = default;
};

struct Trial {
  std::string cell;  // StudyCell::name
  int64_t seed = 0;
  std::vector<std::string> flags;  // of offshoot-hmm, without --seed
  std::vector<Stage> stages;       // none: all concepts all the time; else the first begins at 0
  // Concepts whose test loss is followed together: curves "loss_stage_1", "loss_stage_2", ...
  std::vector<std::vector<int64_t>> followed;
  int64_t follow_every = 0;  // steps between their tests; 0: never
  bool timed = false;        // measures times, which no other run does

  // "topk-K10-k2-seed3"
  std::string name() const;
};

// What the trial is, whoever runs it: equal keys give equal results. Holds the program's hash and
// the corpus file's, so that neither may change unseen. Reads the file once a process.
Json key_of(const Trial& trial);

// Called now and then with the number of steps done.
using TrialProgress = std::function<void(int64_t steps)>;

// The configuration that the flags come to. Throws UsageError naming the trial.
HmmConfig config_of(const Trial& trial);

// Trains and tests. Measures of StudyRun, and of a timed one: means over the steps that the policy
// monitors (step_us, observe_us, decide_us, edit_us) and over the others (steady_step_us); edits
// and the time of each (edit_each_us); window_bytes, which monitoring keeps, model_bytes,
// optimizer_bytes and expert_bytes, which a split copies. Throws Error.
StudyRun run_trial(const Trial& trial, const TrialProgress& progress = {});

// Floating-point operations of a forward pass over one token, at full context: two for each
// multiplication and addition of matrix products; `active` experts of `experts`.
double flops_per_token(const HmmConfig& config, int64_t vocabulary, double experts, double active);

}  // namespace offshoot
