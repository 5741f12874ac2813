#include "tools/hmm/session.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/retention.h"
#include "ops/device_report.h"
#include "tools/hmm/console.h"
#include "tools/hmm/evaluation.h"
#include "tools/hmm/floor.h"
#include "tools/hmm/report.h"
#include "tools/hmm/report_json.h"
#include "tools/hmm/result.h"
#include "tools/support/interrupt.h"

namespace offshoot {
namespace {

constexpr double kRunawayWeight = 1e3;

std::vector<std::string> layer_names(GincTransformer& model) {
  std::vector<std::string> names;
  for (const MoeLayer* layer : model.moe_layers()) names.push_back(layer->name());
  return names;
}

int64_t parameter_count(GincTransformer& model) {
  int64_t count = 0;
  for (const Parameter* parameter : parameters(model)) count += parameter->value().size();
  return count;
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

double median(std::vector<double> values) {
  if (values.empty()) return kUnknown;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

void print(const std::string& text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

Json with_hash(Json configuration, const std::string& hash) {
  configuration["corpus-hash"] = hash;
  return configuration;
}

// In magnitude; NaN when one is.
double largest_weight(GincTransformer& model) {
  double largest = 0;
  for (const Parameter* parameter : parameters(model)) {
    const Tensor value = parameter->value().to(Device{});
    dispatch_float("train", value.dtype(), [&]<class T>(T) {
      for (const T weight : value.elements<T>()) {
        const double size = std::abs(static_cast<double>(weight));
        if (!(size <= largest)) largest = size;
        if (std::isnan(size)) return;
      }
    });
    if (std::isnan(largest)) break;
  }
  return largest;
}

// Prompts out of distribution are of models that only a generated corpus knows.
std::vector<PromptScore> score_prompts(const HmmConfig& config, const HmmData& data,
                                       GincTransformer& model) {
  PromptOptions options;
  options.context = config.seq;
  options.seed = static_cast<uint64_t>(config.hmm_seed);
  const PromptPredictor predict = prompt_predictor(model);
  std::vector<PromptScore> scores =
      evaluate_prompts(data.corpus.hmm, PromptKind::in_distribution, options, predict);
  if (!data.source.empty()) return scores;
  const GincOptions ginc = ginc_options(config);
  const HmmFamily held_out =
      draw_family(ginc).slice(concepts_of(ginc), ginc.hmms - concepts_of(ginc));
  const auto others = evaluate_prompts(held_out, PromptKind::out_of_distribution, options, predict);
  scores.insert(scores.end(), others.begin(), others.end());
  return scores;
}

}  // namespace

Session::Session(HmmConfig config, Json configuration, const CheckpointReader* checkpoint,
                 CommandLine command)
    : config_(std::move(config)),
      command_(std::move(command)),
      data_(load_data(config_)),
      configuration_(with_hash(std::move(configuration), data_.hash)),
      out_(config_.out_folder()),
      terminal_(stdout),
      trainer_(trainer_options(config_, data_.corpus.n_symbols)),
      batches_(data_.corpus.train, config_.batch, config_.seq, static_cast<uint64_t>(config_.seed)),
      log_(layer_names(trainer_.model())),
      state_{trainer_, batches_, log_, report_} {
  if (config_.keep > 0 || config_.best) check_links(out_.folder());
  if (checkpoint == nullptr) return;
  load_run(*checkpoint, state_);
  report_.clear();  // of the steps so far
  first_step_ = trainer_.steps_done();
  if (first_step_ > config_.last_step()) {
    throw UsageError(fmt::format("[offshoot-hmm] --stop-at: got {}, but {} has {} steps already",
                                 config_.last_step(), checkpoint->path(), first_step_));
  }
  smooth_loss_ = log_.loss().empty() ? 0 : log_.loss().back();
  find_best();
}

void Session::run() {
  const InterruptGuard guard;  // to the end: the last save and the results are not lost either
  print(opening(config_, data_, parameter_count(trainer_.model()), terminal_));
  if (first_step_ > 0) print(fmt::format("resumed after step {}\n", first_step_));
  keep_best();  // a run that was killed between its save and that
  train();
}

void Session::train() {
  bool interrupted = false;
  {
    Progress progress(stdout, terminal_, config_.last_step(), first_step_);
    while (trainer_.steps_done() < config_.last_step() && !interrupted) {
      train_step(progress);
      const int64_t done = trainer_.steps_done();
      if (config_.test_every > 0 && done % config_.test_every == 0) test();
      interrupted = InterruptGuard::interrupted();
      if (config_.save_every > 0 && done % config_.save_every == 0 && !interrupted) save();
    }
  }
  if (trainer_.steps_done() == config_.steps && !tested()) test();
  save();
  if (interrupted && trainer_.steps_done() < config_.last_step()) {
    say_how_to_resume("Interrupted");
    return;
  }
  finish();
  if (config_.verbose) print(device_report(trainer_.options().device));
  if (trainer_.steps_done() < config_.steps) say_how_to_resume("Stopped");
}

void Session::train_step(Progress& progress) {
  const double begin = steady_seconds();
  const bool monitored =
      trainer_.policy() != nullptr && trainer_.policy()->monitors(trainer_.steps_done());
  const StepResult step = step_model();
  log_.add(step);
  smooth_loss_ = log_.steps() == 1 ? step.loss : 0.98 * smooth_loss_ + 0.02 * step.loss;
  for (const GrowthEvent& event : step.events) {
    progress.event(event_line(event, log_.layers(), terminal_));
  }
  progress.update(trainer_.steps_done(), progress_fields());
  const double seconds = steady_seconds() - begin;
  seconds_ += seconds;
  if (monitored) monitor_shares_.push_back(step.monitor_seconds / seconds);
}

// Where weights have run away, numbers overflow, and whichever operation looks at them first
// complains; what matters is why.
StepResult Session::step_model() {
  try {
    return trainer_.step(batches_.next());
  } catch (const Error&) {
    const double weight = largest_weight(trainer_.model());
    if (log_.loss().empty() || weight < kRunawayWeight) throw;
    fail("train",
         "step {}: the loss is not a finite number, as weights reach {:.3g}; a step before it was "
         "{:.4g}, the learning rate {:.3g}",
         trainer_.steps_done(), weight, log_.loss().back(),
         trainer_.options().schedule.at(log_.steps() - 1));
  }
}

std::string Session::progress_fields() const {
  std::string fields = fmt::format("loss {:.3f}", smooth_loss_);
  // A terminal of 80 columns has no room for it.
  if (!terminal_.interactive() && !log_.test_loss().empty())
    fields += fmt::format("  test {:.3f}", log_.test_loss().back());
  if (log_.layers().empty()) return fields;
  fields += "  K ";
  for (size_t i = 0; i < log_.layers().size(); ++i) {
    fields += fmt::format("{}{}", i == 0 ? "" : "/", log_.experts(i).back());
  }
  return fields + fmt::format("  active {:.2f}", log_.active_experts().back());
}

bool Session::tested() const {
  return !log_.test_steps().empty() && log_.test_steps().back() == trainer_.steps_done();
}

void Session::test() {
  log_.add_test(trainer_.steps_done(), test_loss(trainer_.model(), data_.corpus.test));
  keep_best();
}

void Session::keep_best() {
  if (!config_.best || !tested() || log_.test_loss().back() >= best_loss_) return;
  save();
  link_file(path("checkpoint.h5"), path("best.h5"));
  best_loss_ = log_.test_loss().back();
  best_step_ = trainer_.steps_done();
}

// What the folder's best.h5 was tested with, when it is of this very run.
void Session::find_best() {
  if (!config_.best || !std::filesystem::exists(path("best.h5"))) return;
  const CheckpointReader best(path("best.h5"));
  if (run_configuration(best) != configuration_ || !best.h5().has("metrics/test_steps")) return;
  const auto steps = best.h5().read<int64_t>("metrics/test_steps");
  const auto losses = best.h5().read<double>("metrics/test_loss");
  if (steps.empty() || steps.size() != losses.size()) return;
  if (steps.back() == best.head().step) best_loss_ = losses.back();
}

void Session::save() {
  if (saved_at_ == trainer_.steps_done()) return;
  write_checkpoint("");
  write_file(path("metrics.jsonl"), log_.json_lines());
  // They speak of an earlier checkpoint, perhaps of another run.
  for (const char* stale : {"result.json", "report.html"}) std::filesystem::remove(path(stale));
  saved_at_ = trainer_.steps_done();
}

void Session::write_checkpoint(const std::string& report_provenance) {
  Provenance where = provenance();
  where.emplace_back("command", command_.all);
  where.emplace_back("corpus", data_.source);
  where.emplace_back("device", describe(trainer_.options().device));
  where.emplace_back("out", std::filesystem::absolute(out_.folder()).lexically_normal());
  where.emplace_back("report", report_provenance);
  save_run(path("checkpoint.h5"), state_, configuration_, where);
  if (saved_at_ < 0 && first_step_ == 0) {  // another run's
    std::filesystem::remove(path("best.h5"));
    remove_numbered(path("checkpoint.h5"));
  }
  if (config_.keep > 0) keep_newest(path("checkpoint.h5"), trainer_.steps_done(), config_.keep);
  if (best_step_ == trainer_.steps_done()) link_file(path("checkpoint.h5"), path("best.h5"));
}

void Session::finish() {
  RunResult result{.config = config_, .configuration = configuration_, .log = log_};
  result.measures.steps = trainer_.steps_done() - first_step_;
  result.measures.seconds = seconds_;
  result.measures.monitor_share = median(monitor_shares_);
  result.measures.peak_memory_bytes = peak_memory_bytes();
  result.parameters = parameter_count(trainer_.model());
  result.command = command_.all;
  result.evaluation = evaluate(trainer_.model(), data_.corpus);
  result.floor = floor_of(data_.corpus);
  if (config_.prompts) result.prompts = score_prompts(config_, data_, trainer_.model());
  const ReportData report = report_data(result);
  report_ = report_json(report).dump();
  write_checkpoint(report_provenance_json(report.provenance).dump());
  write_file(path("result.json"), result_json(result).dump(2) + '\n');
  write_file(path("report.html"), report_html(report));
  print('\n' + result_table(result, terminal_));
  if (config_.prompts) print('\n' + prompt_table(result.prompts, terminal_));
  print(fmt::format("\n{}/: report.html, result.json, metrics.jsonl, checkpoint.h5\n",
                    out_.folder()));
}

void Session::say_how_to_resume(const std::string& why) const {
  std::string command = fmt::format("{} --resume {}", command_.program, path("checkpoint.h5"));
  if (config_.out) command += " --out " + *config_.out;
  if (config_.device != "cpu") command += " --device " + config_.device;
  if (config_.save_every > 0) command += fmt::format(" --save-every {}", config_.save_every);
  if (config_.keep > 0) command += fmt::format(" --keep {}", config_.keep);
  for (const auto& [flag, given] : {std::pair{" --best", config_.best},
                                    {" --verbose", config_.verbose},
                                    {" --prompts", config_.prompts}}) {
    if (given) command += flag;
  }
  if (config_.threads) command += fmt::format(" --threads {}", *config_.threads);
  print(fmt::format("{} after step {} of {}. To go on:\n  {}\n", why, trainer_.steps_done(),
                    config_.steps, command));
}

}  // namespace offshoot
