#include "tools/hmm/mass_flags.h"

#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

std::string both(const std::string& help, std::string_view reference, std::string_view paper) {
  if (reference == paper) return fmt::format("{} [{}]", help, reference);
  return fmt::format("{} [reference: {}, paper: {}]", help, reference, paper);
}

template <class T>
void settle(std::optional<T>& flag, T& option) {
  if (flag) option = *flag;
  flag = option;
}

}  // namespace

MassFlags::MassFlags(Options& options) : options_(options) {
  declare_detection();
  declare_growth();
}

void MassFlags::whole(int64_t MassOptions::*field, const char* flag, double low, const char* help) {
  Whole& entry = wholes_.emplace_back(Whole{field, std::nullopt});
  options_.add(flag, &entry.value, help).at_least(low);
}

void MassFlags::real(double MassOptions::*field, const char* flag, const char* help) {
  reals_.push_back({field, std::nullopt});
  const MassOptions preset;
  options_.add(flag, &reals_.back().value, fmt::format("{} [{}]", help, preset.*field));
}

void MassFlags::choice(bool MassOptions::*field, const char* flag, const char* when_true,
                       const char* when_false, const std::string& help) {
  choices_.push_back({field, when_true, when_false, std::nullopt});
  const auto name = [&](MassPreset preset) {
    return mass_options(preset, 1).*field ? when_true : when_false;
  };
  options_
      .add(flag, &choices_.back().value,
           both(help, name(MassPreset::reference), name(MassPreset::paper)))
      .choices({when_true, when_false});
}

void MassFlags::declare_detection() {
  options_.group("MASS: the expansion phase and drift detection");
  whole(&MassOptions::phase_begin, "--phase-begin", 0, "first step of the expansion phase [0]");
  whole(&MassOptions::phase_end, "--phase-end", 0, "the step after its last [floor(0.1 steps)]");
  whole(&MassOptions::warmup, "--warmup", 1,
        "observations before the first z-score [max(30, floor(0.05 steps))]");
  whole(&MassOptions::window, "--window", 2,
        "norms and z-scores in an expert's windows [max(60, floor(0.09 steps))]");
  real(&MassOptions::alpha, "--alpha", "a p-value below it is a change point");
  real(&MassOptions::delta, "--delta", "a |cosine| of gradient and weight below it is a drift");
  choice(&MassOptions::scale_delta_by_dim, "--delta-scale", "sqrt_dim", "none",
         "what divides delta: the root of the number of weights in fc1, or nothing");
  choice(&MassOptions::change_point, "--cpd", "on", "off", "change-point detection");
  choice(&MassOptions::alignment, "--alignment", "on", "off", "the cosine's test");
  choice(&MassOptions::fc1_norm_only, "--norm", "fc1", "expert",
         "whose gradient norm is observed: fc1's weight, or all of the expert but its gate row");
  choice(&MassOptions::relative_norm, "--relative-norm", "on", "off",
         "norms divided by their mean over the layer's experts");
  choice(&MassOptions::observe_idle, "--idle", "observe", "skip",
         "an expert without tokens: its zero gradient, or no observation");
  choice(&MassOptions::constant_is_invalid, "--flat-window", "invalid", "zero",
         "the z-score in a window of equal norms");
  choice(&MassOptions::full_z_window, "--z-full", "on", "off",
         "no change point before the window of z-scores is full");
  choice(&MassOptions::zero_is_aligned, "--zero-cosine", "aligned", "drift",
         "what a zero gradient or weight counts as");
}

void MassFlags::declare_growth() {
  options_.group("MASS: stopping, duplication, redundancy loss");
  choice(&MassOptions::stopping, "--stopping", "on", "off",
         "probe the last added expert before each expansion");
  whole(&MassOptions::patience, "--patience", 0, "failed probes before a layer stops [3]");
  choice(&MassOptions::patience_returns, "--patience-counts", "consecutive", "total",
         "which failures count");
  whole(&MassOptions::min_expansions, "--nll-min", 0,
        "a probe needs more expansions, net of removals, than this [reference: 1, paper: 0]");
  choice(&MassOptions::probe_before_change, "--probe-order", "all", "layer",
         "probe all layers before any changes, or layer by layer");
  choice(&MassOptions::probe_same_dropout, "--probe-dropout", "same", "fresh",
         "the probe's dropout masks");
  choice(&MassOptions::stop_removes_last, "--stop-removes", "on", "off",
         "a stop removes the last added expert");
  options_
      .add("--decomposition", &decomposition_,
           both("how a duplication divides gradients", "reference", "paper"))
      .choices({"reference", "paper", "clone", "project_whole"});
  options_
      .add("--newborn", &newborn_,
           both("a newborn's optimizer state: a copy, zeros, or zeros with an old step count",
                "reference", "inherit"))
      .choices({"inherit", "fresh", "reference"});
  choice(&MassOptions::preserve_function, "--preserve-function", "on", "off",
         "ln 2 off both gate logits, through a gate bias");
  real(&MassOptions::redundancy_weight, "--lred", "weight of the redundancy loss");
  choice(&MassOptions::redundancy_mean, "--lred-over", "mean", "sum", "of all pairs");
  choice(&MassOptions::redundancy_always, "--lred-phase", "always", "expansion",
         "when there is a redundancy loss");
}

MassOptions MassFlags::resolve(MassPreset preset, int64_t steps) {
  MassOptions options = mass_options(preset, steps);
  for (Whole& flag : wholes_) settle(flag.value, options.*flag.field);
  for (Real& flag : reals_) settle(flag.value, options.*flag.field);
  for (Choice& flag : choices_) {
    if (flag.value) options.*flag.field = *flag.value == flag.when_true;
    flag.value = options.*flag.field ? flag.when_true : flag.when_false;
  }
  if (decomposition_) options.decomposition = parse_decomposition(*decomposition_);
  decomposition_ = to_string(options.decomposition);
  if (newborn_) options.newborn = parse_newborn_state(*newborn_);
  newborn_ = to_string(options.newborn);
  try {
    check(options);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  return options;
}

}  // namespace offshoot
