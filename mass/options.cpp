#include "mass/options.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

void at_least(std::string_view name, int64_t value, int64_t low) {
  if (value < low) fail("mass", "{}: got {}, expected at least {}", name, value, low);
}

}  // namespace

MassOptions mass_options(MassPreset preset, int64_t steps) {
  MassOptions options;
  options.preset = preset;
  options.phase_end = steps / 10;
  options.warmup = std::max<int64_t>(30, steps * 5 / 100);
  options.window = std::max<int64_t>(60, steps * 9 / 100);
  if (preset == MassPreset::reference) return options;
  options.fc1_norm_only = false;
  options.observe_idle = false;
  options.constant_is_invalid = false;
  options.zero_is_aligned = true;
  options.patience_returns = true;
  options.min_expansions = 0;
  options.probe_before_change = true;
  options.probe_same_dropout = true;
  options.stop_removes_last = false;
  options.decomposition = Decomposition::paper;
  options.newborn = NewbornState::inherit;
  options.redundancy_mean = true;
  options.redundancy_always = true;
  return options;
}

void check(const MassOptions& options) {
  if (options.phase_begin < 0 || options.phase_end < options.phase_begin) {
    fail("mass", "phase: got [{}, {}), expected 0 <= begin <= end", options.phase_begin,
         options.phase_end);
  }
  at_least("max_experts", options.max_experts, 1);
  at_least("warmup", options.warmup, 1);
  at_least("window", options.window, 2);
  at_least("patience", options.patience, 0);
  at_least("min_expansions", options.min_expansions, 0);
  if (!(options.alpha > 0 && options.alpha <= 1)) {
    fail("mass", "alpha: got {}, expected in (0, 1]", options.alpha);
  }
  if (!(options.delta > 0) || !std::isfinite(options.delta)) {
    fail("mass", "delta: got {}, expected a finite number above 0", options.delta);
  }
  if (!(options.redundancy_weight >= 0) || !std::isfinite(options.redundancy_weight)) {
    fail("mass", "redundancy_weight: got {}, expected a finite number of at least 0",
         options.redundancy_weight);
  }
}

std::string_view to_string(MassPreset preset) {
  return preset == MassPreset::paper ? "paper" : "reference";
}

MassPreset parse_mass_preset(std::string_view text) {
  if (text == "paper") return MassPreset::paper;
  if (text == "reference") return MassPreset::reference;
  fail("mass", "preset: got {}, expected paper or reference", text);
}

std::string_view to_string(Decomposition decomposition) {
  switch (decomposition) {
    case Decomposition::paper:
      return "paper";
    case Decomposition::reference:
      return "reference";
    case Decomposition::clone:
      return "clone";
    case Decomposition::project_whole:
      return "project_whole";
  }
  return "unknown";
}

Decomposition parse_decomposition(std::string_view text) {
  for (const auto decomposition : {Decomposition::paper, Decomposition::reference,
                                   Decomposition::clone, Decomposition::project_whole}) {
    if (text == to_string(decomposition)) return decomposition;
  }
  fail("mass", "decomposition: got {}, expected paper, reference, clone or project_whole", text);
}

}  // namespace offshoot
