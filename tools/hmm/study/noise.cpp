// What the detector makes of noise. In half of the runs two concepts stay all the time and every
// expansion is false; in the other half three more arrive in the middle, and an expansion is due.
// The stopping rule is off: nothing but the detector decides.
#include <limits>

#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kWindow = 60, kWarmup = 30;

int64_t shift_step(const StudySettings& settings) { return settings.steps / 2; }
// Until then a young model changes whatever its data do.
int64_t settled_step(const StudySettings& settings) { return settings.steps / 4; }
// An answer must come while the window still holds a step before the shift.
int64_t deadline(const StudySettings& settings) {
  return std::min(settings.steps, shift_step(settings) + (settings.quick ? 6 : kWindow) - 1);
}

struct Setting {
  const char* family;
  const char* name;
  const char* label;
  double value;
  const char* flags;
};

constexpr Setting kSettings[] = {
    {"gradient noise", "noise-0", "no noise", 0, ""},
    {"gradient noise", "noise-0.5", "noise 0.5", 0.5, "--gradient-noise 0.5"},
    {"gradient noise", "noise-1", "noise 1", 1, "--gradient-noise 1"},
    {"gradient noise", "noise-2", "noise 2", 2, "--gradient-noise 2"},
    {"gradient noise", "noise-4", "noise 4", 4, "--gradient-noise 4"},
    {"batch", "batch-4", "batch 4", 4, "--batch 4"},
    {"batch", "batch-16", "batch 16", 16, "--batch 16"},
    {"batch", "batch-64", "batch 64", 64, "--batch 64"},
    {"learning rate", "rate-1e-3", "rate 0.001", 0.001, "--lr 0.001"},
    {"learning rate", "rate-3e-3", "rate 0.003", 0.003, "--lr 0.003"},
    {"learning rate", "rate-1e-2", "rate 0.01", 0.01, "--lr 0.01"},
};

CellPlan arm(const StudySettings& settings, const Setting& setting, bool shift) {
  Flags flags{{"--hmms", "10"},   {"--method", "mass"},    {"--schedule", "constant"},
              {"--experts", "4"}, {"--max-experts", "32"}, {"--stopping", "off"}};
  flags.set("--phase-end", settings.steps);
  if (!settings.quick) {
    flags.set("--documents", int64_t{60}).set("--window", kWindow).set("--warmup", kWarmup);
  }
  flags.set(Flags::parse(setting.flags));
  CellPlan plan = plan_cell(
      settings, fmt::format("{}-{}", setting.name, shift ? "shift" : "same"),
      fmt::format("{}, {}", setting.label, shift ? "concepts arrive" : "data stay the same"),
      setting.family, flags,
      {{"value", setting.value},
       {"shift", shift ? 1.0 : 0.0},
       {"shift_step", static_cast<double>(shift_step(settings))}});
  for (Trial& trial : plan.trials) {
    trial.stages.push_back({0, {0, 1}});
    if (shift) trial.stages.push_back({shift_step(settings), {0, 1, 2, 3, 4}});
  }
  return plan;
}

std::vector<CellPlan> plan(const StudySettings& settings) {
  std::vector<CellPlan> plans;
  for (const Setting& setting : kSettings) {
    for (const bool shift : {false, true}) plans.push_back(arm(settings, setting, shift));
  }
  return plans;
}

// false_expansions: a hundred steps, of those in which the data did not change, once the model has
// settled. hit: an expansion within the window behind the shift (in runs without a shift: by
// chance); missed: none. reaction_steps: from the shift to it.
void finish(const StudySettings& settings, StudyResults& results) {
  const int64_t shift = shift_step(settings), settled = settled_step(settings);
  for (StudyCell& cell : results.cells) {
    const bool shifted = cell.numbers.at("shift") == 1;
    const int64_t quiet_end = shifted ? shift : settings.steps;
    for (StudyRun& run : cell.runs) {
      double wrong = 0, reaction = kNone;
      for (const GrowthEvent& event : run.events) {
        if (event.kind != GrowthEvent::Kind::expand) continue;
        if (event.step >= settled && event.step < quiet_end) ++wrong;
        const bool in_time = event.step >= shift && event.step < deadline(settings);
        if (in_time && !(reaction >= 0)) reaction = static_cast<double>(event.step - shift);
      }
      auto& m = run.measures;
      m["false_expansions"] = 100 * wrong / static_cast<double>(quiet_end - settled);
      m["hit"] = reaction >= 0 ? 1 : 0;
      m["missed"] = shifted ? 1 - m["hit"] : kNone;
      m["reaction_steps"] = shifted ? reaction : kNone;
    }
  }
  compare_all(results, "false_expansions", "noise-0-same");
}

}  // namespace

const Study kNoiseStudy{
    "noise",
    "False and missed expansions",
    "With noise on the gradients, other batch sizes and other learning rates: how often does the "
    "detector expand though the data stay the same, and how often does it miss new concepts?",
    5,
    1500,
    false,
    plan,
    nullptr,
    finish};

}  // namespace offshoot
