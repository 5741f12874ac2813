// MASS without each of its ingredients in turn, with its constants moved, and against growth that
// looks at nothing.
#include <cmath>

#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

constexpr const char* kBase = "mass";

constexpr double kNoValue = -1;

// `flags` in the way of a command line; `value`: what is swept.
struct Variant {
  const char* name;
  const char* label;
  const char* family;
  const char* flags;
  double value = kNoValue;
};

// Defaults are the reference preset at p 0.9: delta 1e-3, alpha 0.01, window 0.09 S, warm-up 0.05
// S, 8 experts, newborns with zero moments and an old step count.
constexpr Variant kVariants[] = {
    {kBase, "MASS, reference", "base", ""},
    {"no-change-point", "no change-point test", "ingredients", "--cpd off"},
    {"no-alignment", "no alignment test", "ingredients", "--alignment off"},
    {"clone", "plain clone, no decomposition", "ingredients", "--decomposition clone"},
    {"whole-tensor", "projection of whole tensors", "ingredients", "--decomposition project_whole"},
    {"rows-of-all", "projection as in the paper's text", "ingredients", "--decomposition paper"},
    {"no-lred", "no redundancy loss", "ingredients", "--lred 0"},
    {"no-stopping", "no stopping rule", "ingredients", "--stopping off"},
    {"top-2", "top-2 routing in place of top-p", "ingredients", "--router topk --topk 2"},
    {"top-4", "top-4 routing in place of top-p", "ingredients", "--router topk --topk 4"},
    {"delta-1e-1", "delta 0.1", "delta", "--delta 0.1", 0.1},
    {"delta-1e-2", "delta 0.01", "delta", "--delta 0.01", 0.01},
    {"delta-1e-3", "delta 0.001 (reference)", "delta", "--delta 0.001", 0.001},
    {"delta-1e-4", "delta 0.0001", "delta", "--delta 0.0001", 0.0001},
    {"delta-sqrt-dim-0.05", "delta 0.05 / sqrt(D)", "delta scale",
     "--delta-scale sqrt_dim --delta 0.05", 0.05},
    {"delta-sqrt-dim-1", "delta 1 / sqrt(D)", "delta scale", "--delta-scale sqrt_dim --delta 1", 1},
    {"alpha-1e-1", "alpha 0.1", "alpha", "--alpha 0.1", 0.1},
    {"alpha-5e-2", "alpha 0.05", "alpha", "--alpha 0.05", 0.05},
    {"alpha-1e-2", "alpha 0.01 (reference)", "alpha", "--alpha 0.01", 0.01},
    {"alpha-1e-3", "alpha 0.001", "alpha", "--alpha 0.001", 0.001},
    {"alpha-1e-4", "alpha 0.0001", "alpha", "--alpha 0.0001", 0.0001},
    {"window-60", "window 60", "window", "--window 60", 60},
    {"window-120", "window 120", "window", "--window 120", 120},
    {"window-200", "window 200", "window", "--window 200", 200},
    {"window-270", "window 270 (reference at 3000 steps)", "window", "--window 270", 270},
    {"warmup-30", "warm-up 30", "warm-up", "--warmup 30", 30},
    {"warmup-90", "warm-up 90", "warm-up", "--warmup 90", 90},
    {"window-60-warmup-30", "window 60, warm-up 30", "warm-up", "--window 60 --warmup 30"},
    {"z-full", "no test before the window of z-scores is full", "options", "--z-full on"},
    {"Kinit-3", "from 3 experts", "Kinit", "--experts 3", 3},
    {"Kinit-5", "from 5 experts", "Kinit", "--experts 5", 5},
    {"Kinit-8", "from 8 experts (reference)", "Kinit", "--experts 8", 8},
    {"Kinit-12", "from 12 experts", "Kinit", "--experts 12", 12},
    {"newborn-inherit", "newborns inherit moments", "options", "--newborn inherit"},
    {"newborn-fresh", "newborns start anew", "options", "--newborn fresh"},
    {"preserve-function", "splits preserve the layer's function", "options",
     "--preserve-function on"},
    {"relative-norm", "norms relative to the layer's mean", "options", "--relative-norm on"},
    {"preset-paper", "MASS, paper", "options", "--preset paper"},
};

std::vector<CellPlan> plan(const StudySettings& settings) {
  std::vector<CellPlan> plans;
  for (const Variant& variant : kVariants) {
    std::map<std::string, double> numbers;
    if (variant.value != kNoValue) numbers["value"] = variant.value;
    plans.push_back(plan_cell(settings, variant.name, variant.label, variant.family,
                              Flags{{"--method", "mass"}}.set(Flags::parse(variant.flags)),
                              numbers));
  }
  return plans;
}

// Each seed's pool ends as large as MASS made it there.
std::vector<CellPlan> controls(const StudySettings& settings, const StudyResults& results) {
  const StudyCell* mass = results.find(kBase);
  std::vector<CellPlan> plans;
  if (mass == nullptr) return plans;
  for (const auto& [policy, label] : {std::pair{"schedule", "busiest expert split by the clock"},
                                      {"random", "random splits"},
                                      {"never", "as many experts from the start"}}) {
    CellPlan plan = plan_cell(settings, fmt::format("control-{}", policy), label, "controls",
                              {{"--method", "mass"}, {"--policy", policy}}, {});
    for (size_t i = 0; i < plan.trials.size(); ++i) {
      const auto K = static_cast<int64_t>(std::lround(mass->runs[i].measure("experts")));
      Flags flags{{"--method", "mass"}, {"--policy", policy}};
      flags.set(plan.cell.name == "control-never" ? "--experts" : "--max-experts", K);
      plan.trials[i].flags = settings.base().set(flags).list();
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

void finish(const StudySettings&, StudyResults& results) {
  for (const char* measure :
       {"test_loss", "experts", "active_experts", "jsd_entity", "jsd_property"}) {
    compare_all(results, measure, kBase);
  }
}

}  // namespace

const Study kAblateStudy{
    "ablate",
    "Ablations of MASS",
    "Which ingredients and constants of MASS change the number of experts, the loss or their "
    "specialization by more than the noise between seeds, and does it beat growth by the clock?",
    5,
    3000,
    false,
    plan,
    controls,
    finish};

}  // namespace offshoot
