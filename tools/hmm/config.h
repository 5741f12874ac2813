// What a run of offshoot-hmm is made of, and the flags that say so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/json.h"
#include "tools/hmm/ginc.h"
#include "tools/hmm/mass_flags.h"
#include "tools/hmm/trainer.h"
#include "tools/support/options.h"

namespace offshoot {

// The defaults are the reference configuration: MASS from 8 experts, at most 20, top-p 0.9.
struct HmmConfig {
  std::string method = "mass";
  std::optional<std::string> router;  // the method's
  std::optional<std::string> policy;  // the method's
  std::string preset = "reference";
  int64_t experts = 8;  // K, or Kinit
  int64_t max_experts = 20;
  int64_t topk = 2;
  double p = 0.9;
  std::optional<std::string> combine;       // weights; the router's and preset's
  std::string temperature = "off";          // of top-any routing
  int64_t shared_hidden = 0;                // of the shared expert; 0: none
  int64_t adapt_every = 100;                // dynmoe: steps
  std::string adapt_newborn = "reference";  // dynmoe: step counts of a new expert's moments
  std::optional<int64_t> adapt_until;       // dynmoe: 0.9 of all steps
  std::optional<int64_t> grow_every;        // schedule: the phase divided by the splits

  int64_t steps = 3000;
  int64_t batch = 16;
  int64_t seq = 64;
  double lr = 3e-3;
  std::string schedule = "cosine";
  int64_t lr_warmup = 0;
  double weight_decay = 0.01;
  double clip = 0;
  double dropout = 0;
  double balance_loss = 0;
  double z_loss = 0;
  double importance_loss = 0;
  double load_loss = 0;
  double load_sigma = 0.1;
  std::optional<double> diversity_loss;  // dynmoe: 0.01
  double orthogonality_loss = 0;
  double variance_loss = 0;
  double gradient_noise = 0;
  int64_t seed = 0;

  int64_t d_model = 64;
  int64_t heads = 4;
  int64_t layers = 1;
  std::optional<int64_t> hidden;  // an expert's, 32; dense: the MLP's, 64
  std::string precision = "f32";

  GincOptions ginc;  // seeds and test length are filled in
  int64_t hmm_seed = 1111;
  std::optional<std::string> corpus_hash;

  int64_t test_every = 250;  // steps; 0: at the end only
  MassOptions mass;          // resolved

  // Of this run of the program, not of the experiment.
  std::optional<std::string> corpus;
  std::optional<std::string> save_corpus;
  std::optional<std::string> out;
  std::optional<std::string> resume;
  std::optional<int64_t> stop_at;
  int64_t save_every = 0;  // steps; 0: at the end only
  int64_t keep = 0;        // numbered checkpoints, beside checkpoint.h5
  bool best = false;
  std::optional<int64_t> threads;
  std::string device = "cpu";
  bool verbose = false;
  bool prompts = false;

  std::vector<std::string> idle = {};  // flags of the command line that nothing here looks at

  bool dense() const { return method == "dense"; }
  // Of a resolved configuration: whether the pool may change.
  bool grows() const { return policy && *policy != "never"; }
  // The step to end after.
  int64_t last_step() const { return stop_at.value_or(steps); }
  std::string out_folder() const;
};

class HmmOptions {
 public:
  // `config` outlives this object.
  explicit HmmOptions(HmmConfig& config);

  // False after --help. Throws UsageError.
  bool parse(int argc, const char* const* argv) { return options_.parse(argc, argv); }

  // The configuration of the run in the checkpoint `where`. Throws UsageError when a flag asks for
  // another one: a resumed run goes on as it was.
  void inherit(const Json& configuration, const std::string& where);

  // Fills in what depends on other options and checks what spans several. Throws UsageError.
  void resolve();

  // Every option of the experiment, resolved; taken again by inherit() and by --config.
  Json to_json() const { return options_.to_json(); }
  std::string help() const { return options_.help(); }

 private:
  void declare_method();
  void declare_policy();
  void declare_losses();
  void declare_training();
  void declare_model();
  void declare_corpus();
  void declare_run();
  void check() const;
  void check_experts() const;
  void check_dense() const;
  void check_splits() const;
  void check_device() const;

  HmmConfig& config_;
  Options options_;
  std::unique_ptr<MassFlags> mass_;
};

// Model, optimizer and growth of a resolved configuration.
TrainerOptions trainer_options(const HmmConfig& config, int64_t vocabulary);

GincOptions ginc_options(const HmmConfig& config);

}  // namespace offshoot
