// A whole run of offshoot-hmm: corpus, training, checkpoints, tests, results.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint_file.h"
#include "engine/json.h"
#include "tools/hmm/config.h"
#include "tools/hmm/data.h"
#include "tools/hmm/output_folder.h"
#include "tools/hmm/run_checkpoint.h"
#include "tools/hmm/training_log.h"
#include "tools/support/progress.h"

namespace offshoot {

// How the program was called, for the reader of results and to say how to resume.
struct CommandLine {
  std::string program;
  std::string all;
};

class Session {
 public:
  // `config` is resolved; `configuration` is its JSON, corpus hash left out; `checkpoint` is where
  // to go on. Throws Error, and UsageError where flags do not fit the checkpoint.
  Session(HmmConfig config, Json configuration, const CheckpointReader* checkpoint,
          CommandLine command);

  // Trains and writes result.json, metrics.jsonl, report.html and checkpoint.h5, each of them whole
  // or not at all. An interrupt (SIGINT, SIGTERM) ends training after the current step with a
  // checkpoint. Throws Error.
  void run();

 private:
  void train();
  void train_step(Progress& progress);
  StepResult step_model();
  std::string progress_fields() const;
  bool tested() const;  // after the last step
  void test();
  void find_best();
  void keep_best();
  void save();
  void write_checkpoint(const std::string& report_provenance);
  void finish();
  void say_how_to_resume(const std::string& why) const;
  std::string path(const std::string& name) const { return out_.path(name); }

  HmmConfig config_;
  CommandLine command_;
  HmmData data_;
  Json configuration_;
  OutputFolder out_;
  Terminal terminal_;
  Trainer trainer_;
  BatchSource batches_;
  TrainingLog log_;
  std::string report_;  // its data, once there is one
  RunState state_;

  int64_t first_step_ = 0;
  int64_t saved_at_ = -1;
  double best_loss_ = std::numeric_limits<double>::infinity();  // of best.h5
  int64_t best_step_ = -1;                                      // when this process made it
  double smooth_loss_ = 0;
  double seconds_ = 0;                  // in the training loop
  std::vector<double> monitor_shares_;  // of a step's time, in the expansion phase
};

}  // namespace offshoot
