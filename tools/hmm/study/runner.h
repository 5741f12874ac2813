// Runs trials side by side, each in a process of its own with one thread: a machine's cores are
// used up whatever the size of a model, results do not depend on how many run, and a crash takes
// one trial with it.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/hmm/study/trial.h"
#include "tools/support/progress.h"

namespace offshoot {

struct RunnerOptions {
  std::string folder;  // of finished trials, one file each; empty: none are kept
  int jobs = 1;        // processes at a time
};

// What may be done in place of run_trial() in a child process; tests do.
using TrialFunction = std::function<StudyRun(const Trial&, const TrialProgress&)>;

class Runner {
 public:
  // `stream`, where the one progress display goes, outlives this object. Throws Error when the
  // folder cannot be made.
  Runner(RunnerOptions options, std::FILE* stream, TrialFunction function = run_trial);

  // The trials' results, in their order. One whose result lies in the folder, made by the same
  // version from the same configuration, is not run again, and equal trials are run once. Throws
  // Error when one failed, naming each, after all others have run; and Interrupted.
  std::vector<StudyRun> run(const std::vector<Trial>& trials);

  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  struct Interrupted {};  // by SIGINT or SIGTERM; what had finished is kept

 private:
  struct Child;

  bool reuse(const std::string& key, StudyRun& run) const;
  void start(const Trial& trial, size_t index, const std::string& key, int64_t steps);
  void wait_for_news();
  void hear(Child& child);
  void end(Child& child);
  void kill_all();
  void show();

  RunnerOptions options_;
  std::FILE* stream_;
  TrialFunction function_;
  std::unique_ptr<Progress> progress_;
  std::vector<Child> children_;
  std::vector<StudyRun>* results_ = nullptr;
  std::vector<std::string> failures_;
  int64_t trials_known_ = 0;
  int64_t trials_done_ = 0;
  int64_t steps_done_ = 0;  // of trials that have ended
};

}  // namespace offshoot
