#include "tools/hmm/study/trial.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <span>

#include "engine/error.h"
#include "engine/xxh3.h"
#include "tools/hmm/data.h"
#include "tools/hmm/evaluation.h"
#include "tools/hmm/floor.h"
#include "tools/hmm/result.h"
#include "tools/support/progress.h"

namespace offshoot {
namespace {

constexpr int64_t kProgressSteps = 20;

Documents of_concepts(const Documents& documents, const std::vector<int64_t>& concepts) {
  Documents kept;
  kept.length = documents.length;
  for (int64_t d = 0; d < documents.count; ++d) {
    const uint8_t its = documents.concepts[static_cast<size_t>(d)];
    if (std::ranges::find(concepts, int64_t{its}) == concepts.end()) continue;
    for (const auto& [from, to] : {std::pair{&documents.tokens, &kept.tokens},
                                   {&documents.entity, &kept.entity},
                                   {&documents.property, &kept.property}}) {
      const auto row = from->begin() + d * documents.length;
      to->insert(to->end(), row, row + documents.length);
    }
    kept.concepts.push_back(its);
    ++kept.count;
  }
  return kept;
}

std::string list_of(const std::vector<int64_t>& concepts) {
  std::string text;
  for (const int64_t c : concepts) text += fmt::format("{}{}", text.empty() ? "" : ", ", c);
  return text;
}

// The batches of a run whose corpus changes from stage to stage.
class StagedBatches {
 public:
  StagedBatches(const Trial& trial, const HmmConfig& config, const Documents& documents) {
    std::vector<Stage> stages = trial.stages;
    if (stages.empty()) stages.push_back({});
    for (const Stage& stage : stages) {
      Documents own = stage.concepts.empty() ? documents : of_concepts(documents, stage.concepts);
      if (own.count == 0) {
        fail("study",
             "{}: got no document of the concepts {}, expected at least one: try more "
             "--documents",
             trial.name(), list_of(stage.concepts));
      }
      parts_.push_back({stage.begin, std::make_unique<Documents>(std::move(own)), nullptr});
      parts_.back().source = std::make_unique<BatchSource>(
          *parts_.back().documents, config.batch, config.seq, static_cast<uint64_t>(config.seed));
    }
  }

  Tensor next(int64_t step) {
    const auto after = std::ranges::find_if(parts_, [&](const Part& p) { return p.begin > step; });
    return std::prev(after)->source->next();
  }

 private:
  struct Part {
    int64_t begin;
    std::unique_ptr<Documents> documents;
    std::unique_ptr<BatchSource> source;
  };
  std::vector<Part> parts_;
};

int64_t value_bytes(GincTransformer& model) {
  int64_t bytes = 0;
  for (const Parameter* parameter : parameters(model)) bytes += parameter->value().bytes();
  return bytes;
}

// What a split copies: values, gradients and two moments of all that has a row for an expert.
double expert_bytes(const MoeLayer& layer, GincTransformer& model) {
  double bytes = 0;
  for (const Parameter* parameter : parameters(model)) {
    if (parameter->group() != &layer.group()) continue;
    bytes += 4 * static_cast<double>(parameter->value().bytes());
  }
  return bytes / static_cast<double>(layer.experts());
}

// Times of the steps that a policy monitors, and of those that it does not.
class StepTimes {
 public:
  void add(const StepResult& step, bool monitored, double seconds) {
    ++(monitored ? steps_ : steady_steps_);
    (monitored ? step_ : steady_) += 1e6 * seconds;
    if (!monitored) return;
    edits_ += static_cast<double>(step.events.size());
    observe_ += 1e6 * step.growth_times.observe;
    decide_ += 1e6 * step.growth_times.decide;
    edit_ += 1e6 * step.growth_times.edit;
  }

  // NaN where there was none.
  void into(std::map<std::string, double>& measures) const {
    measures["step_us"] = step_ / steps_;
    measures["steady_step_us"] = steady_ / steady_steps_;
    measures["observe_us"] = observe_ / steps_;
    measures["decide_us"] = decide_ / steps_;
    measures["edit_us"] = edit_ / steps_;
    measures["edits"] = edits_;
    measures["edit_each_us"] = edit_ / edits_;
  }

 private:
  double steps_ = 0, steady_steps_ = 0;
  double step_ = 0, steady_ = 0, observe_ = 0, decide_ = 0, edit_ = 0, edits_ = 0;
};

// One trial while it runs.
class Run {
 public:
  explicit Run(const Trial& trial)
      : trial_(trial),
        config_(config_of(trial)),
        data_(load_data(config_)),
        batches_(trial, config_, data_.corpus.train),
        trainer_(trainer_options(config_, data_.corpus.n_symbols)) {
    run_.seed = trial.seed;
    for (const auto& concepts : trial.followed) {
      followed_.push_back(of_concepts(data_.corpus.test, concepts));
    }
    if (!layers().empty()) {
      run_.initial_experts = layers()[0]->experts();
      run_.experts.emplace_back(0, layers()[0]->experts());
    }
  }

  StudyRun go(const TrialProgress& progress) {
    follow(0);
    for (int64_t step = 0; step < config_.steps; ++step) {
      train(step);
      const int64_t done = step + 1;
      if (is_followed(done)) follow(done);
      if (progress && (done % kProgressSteps == 0 || done == config_.steps)) progress(done);
    }
    measure();
    return std::move(run_);
  }

 private:
  std::vector<MoeLayer*> layers() { return trainer_.model().moe_layers(); }

  void train(int64_t step) {
    const bool monitored = trainer_.policy() != nullptr && trainer_.policy()->monitors(step);
    const double begin = trial_.timed ? steady_seconds() : 0;
    const StepResult result = trainer_.step(batches_.next(step));
    if (trial_.timed) {
      times_.add(result, monitored, steady_seconds() - begin);
      if (monitored) window_bytes_ = std::max(window_bytes_, trainer_.policy()->state_bytes());
    }
    for (const GrowthEvent& event : result.events) {
      if (event.layer == layers()[0]->name()) run_.events.push_back(event);
    }
    if (!result.experts.empty() && result.experts[0] != run_.experts.back().second) {
      run_.experts.emplace_back(step + 1, result.experts[0]);
    }
  }

  // Where stages meet and at the end, too.
  bool is_followed(int64_t done) const {
    if (trial_.follow_every == 0) return false;
    return done % trial_.follow_every == 0 || done == config_.steps ||
           std::ranges::find(trial_.stages, done, &Stage::begin) != trial_.stages.end();
  }

  void follow(int64_t done) {
    if (trial_.follow_every == 0) return;
    for (size_t i = 0; i < followed_.size(); ++i) {
      if (followed_[i].count == 0) continue;
      run_.curves[fmt::format("loss_stage_{}", i + 1)].emplace_back(
          static_cast<double>(done), test_loss(trainer_.model(), followed_[i]));
    }
  }

  void measure() {
    const Evaluation evaluation = evaluate(trainer_.model(), data_.corpus);
    auto& m = run_.measures;
    m["test_loss"] = evaluation.loss;
    m["floor"] = exact_floor(data_.corpus.hmm, data_.corpus.test);
    m["experts"] = mean_experts(evaluation);
    m["active_experts"] = mean_active(evaluation);
    m["jsd_entity"] = mean_jsd_entity(evaluation);
    m["jsd_property"] = mean_jsd_property(evaluation);
    double count = 0;
    for (const Parameter* parameter : parameters(trainer_.model())) {
      count += static_cast<double>(parameter->value().size());
    }
    m["parameters"] = count;
    m["flops_per_token"] =
        flops_per_token(config_, data_.corpus.n_symbols, m["experts"], m["active_experts"]);
    if (!trial_.timed) return;
    times_.into(m);
    m["window_bytes"] = static_cast<double>(window_bytes_);
    m["model_bytes"] = static_cast<double>(value_bytes(trainer_.model()));
    double optimizer = 0;
    trainer_.optimizer().each_state([&](const std::string&, const Tensor& state) {
      optimizer += static_cast<double>(state.bytes());
    });
    m["optimizer_bytes"] = optimizer;
    if (!layers().empty()) m["expert_bytes"] = expert_bytes(*layers()[0], trainer_.model());
  }

  const Trial& trial_;
  HmmConfig config_;
  HmmData data_;
  StagedBatches batches_;
  Trainer trainer_;
  std::vector<Documents> followed_;
  StepTimes times_;
  int64_t window_bytes_ = 0;
  StudyRun run_;
};

// Of this very program: another one may compute otherwise.
const std::string& program_hash() {
  static const std::string hash = [] {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    Xxh3Stream stream;
    std::vector<char> piece(size_t{1} << 20);
    while (in.read(piece.data(), std::ssize(piece)) || in.gcount() > 0) {
      stream.update(std::as_bytes(std::span(piece.data(), static_cast<size_t>(in.gcount()))));
    }
    return to_string(stream.digest());
  }();
  return hash;
}

// Of what is in the file now.
const std::string& corpus_hash(const std::string& path) {
  static std::map<std::string, std::string> hashes;
  const auto found = hashes.find(path);
  if (found != hashes.end()) return found->second;
  return hashes[path] = hash_of(load_corpus(path));
}

std::vector<std::string> all_flags(const Trial& trial) {
  std::vector<std::string> flags = trial.flags;
  flags.insert(flags.end(), {"--seed", fmt::format("{}", trial.seed)});
  return flags;
}

// The configuration and, resolved, its JSON.
HmmConfig resolve(const Trial& trial, Json* json) {
  HmmConfig config;
  HmmOptions options(config);
  const std::vector<std::string> flags = all_flags(trial);
  std::vector<const char*> arguments{"offshoot-hmm"};
  for (const std::string& flag : flags) arguments.push_back(flag.c_str());
  try {
    options.parse(static_cast<int>(arguments.size()), arguments.data());
    options.resolve();
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("[study] {}: {}", trial.name(), error.what()));
  }
  if (json != nullptr) *json = options.to_json();
  return config;
}

}  // namespace

std::string Trial::name() const { return fmt::format("{}-seed{}", cell, seed); }

HmmConfig config_of(const Trial& trial) { return resolve(trial, nullptr); }

Json key_of(const Trial& trial) {
  Json configuration;
  const HmmConfig config = resolve(trial, &configuration);
  Json stages = Json::array(), followed = Json::array();
  for (const Stage& stage : trial.stages) {
    stages.push_back(Json::object({{"begin", stage.begin}, {"concepts", stage.concepts}}));
  }
  for (const auto& concepts : trial.followed) followed.push_back(concepts);
  return Json::object({{"program", program_hash()},
                       {"configuration", configuration},
                       {"corpus", config.corpus ? Json(corpus_hash(*config.corpus)) : Json()},
                       {"device", config.device},
                       {"stages", stages},
                       {"followed", followed},
                       {"follow_every", trial.follow_every},
                       {"timed", trial.timed}});
}

StudyRun run_trial(const Trial& trial, const TrialProgress& progress) {
  return Run(trial).go(progress);
}

double flops_per_token(const HmmConfig& config, int64_t vocabulary, double experts, double active) {
  const auto D = static_cast<double>(config.d_model), T = static_cast<double>(config.seq);
  const auto H = static_cast<double>(*config.hidden);
  const double attention = 2 * 4 * D * D + 2 * 2 * (T + 1) / 2 * D;  // a causal token sees half
  double feed_forward = 2 * 2 * D * H;
  if (!config.dense()) {
    constexpr double kCosine = 256;
    const double gate = *config.router == "cosine" ? 2 * kCosine * (D + experts) : 2 * D * experts;
    const auto shared = static_cast<double>(config.shared_hidden);
    feed_forward = gate + 2 * 2 * D * (active * H + shared);
  }
  return static_cast<double>(config.layers) * (attention + feed_forward) +
         2 * D * static_cast<double>(vocabulary);
}

}  // namespace offshoot
