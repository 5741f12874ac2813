// Semantic drift behind the expansion phase: concepts arrive in stages while training goes on and
// expansion stays allowed. In one regime a stage brings the old concepts along, in another only the
// new ones; in the third, a control, nothing arrives.
#include <cmath>
#include <limits>

#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kStages = 3;
constexpr const char* kReference = "mass-reference";

const std::vector<std::vector<int64_t>> kArriving{{0, 1}, {2}, {3, 4}};

struct Regime {
  const char* name;
  const char* label;
  bool arrives;  // anything new
  bool replays;  // what was there before
};
constexpr Regime kRegimes[] = {{"replay", "old concepts stay", true, true},
                               {"new", "new concepts only", true, false},
                               {"none", "nothing arrives", false, true}};

std::string name_of(const char* policy, const Regime& regime) {
  return fmt::format("{}-{}", policy, regime.name);
}

// A third of the run each.
int64_t begin_of(const StudySettings& settings, int64_t stage) {
  return settings.steps * stage / kStages;
}

std::vector<Stage> stages_of(const StudySettings& settings, const Regime& regime) {
  std::vector<Stage> stages;
  std::vector<int64_t> seen;
  for (int64_t s = 0; s < kStages; ++s) {
    const auto& arriving = kArriving[static_cast<size_t>(s)];
    if (s == 0 || regime.arrives) seen.insert(seen.end(), arriving.begin(), arriving.end());
    stages.push_back({begin_of(settings, s), regime.replays ? seen : arriving});
  }
  return stages;
}

Flags arm_flags(const StudySettings& settings) {
  Flags flags{{"--hmms", "10"},
              {"--schedule", "constant"},
              {"--lr", "0.001"},
              {"--experts", "4"},
              {"--max-experts", "40"}};
  flags.set("--phase-end", settings.steps).set("--adapt-until", settings.steps);
  if (!settings.quick)
    flags.set("--documents", int64_t{60}).set("--window", int64_t{60}).set("--warmup", int64_t{30});
  return flags;
}

CellPlan arm(const StudySettings& settings, const char* policy, const Regime& regime,
             const Flags& own) {
  CellPlan plan =
      plan_cell(settings, name_of(policy, regime), fmt::format("{}, {}", policy, regime.label),
                regime.label, arm_flags(settings).set(own),
                {{"stage_2", static_cast<double>(begin_of(settings, 1))},
                 {"stage_3", static_cast<double>(begin_of(settings, 2))}});
  for (Trial& trial : plan.trials) {
    trial.stages = stages_of(settings, regime);
    trial.followed = kArriving;
    trial.follow_every = std::max<int64_t>(1, settings.steps / 60);
  }
  return plan;
}

std::vector<CellPlan> plan(const StudySettings& settings) {
  std::vector<CellPlan> plans;
  for (const Regime& regime : kRegimes) {
    plans.push_back(arm(settings, kReference, regime, {{"--method", "mass"}}));
    plans.push_back(
        arm(settings, "mass-paper", regime, {{"--method", "mass"}, {"--preset", "paper"}}));
    plans.push_back(arm(settings, "dynmoe", regime, {{"--method", "dynmoe"}}));
  }
  return plans;
}

// A pool that has from the start what MASS ends with, seed by seed.
std::vector<CellPlan> fixed_pools(const StudySettings& settings, const StudyResults& results) {
  std::vector<CellPlan> plans;
  for (const Regime& regime : kRegimes) {
    const StudyCell* mass = results.find(name_of(kReference, regime));
    if (mass == nullptr) continue;
    CellPlan fixed = arm(settings, "fixed", regime, {{"--method", "topp"}});
    for (size_t i = 0; i < fixed.trials.size(); ++i) {
      const auto K = static_cast<int64_t>(std::lround(mass->runs[i].measure("experts")));
      Flags flags = arm_flags(settings);
      flags.set("--method", "topp").set("--experts", K);
      fixed.trials[i].flags = settings.base().set(flags).list();
    }
    plans.push_back(std::move(fixed));
  }
  return plans;
}

// The curve's value at the last point that is not behind `step`.
double value_at(const StudyRun& run, const std::string& curve, double step) {
  const auto found = run.curves.find(curve);
  double value = kNone;
  if (found == run.curves.end()) return value;
  for (const auto& [x, y] : found->second) {
    if (x <= step) value = y;
  }
  return value;
}

double experts_at(const StudyRun& run, int64_t step) {
  double experts = kNone;
  for (const auto& [at, K] : run.experts) {
    if (at <= step) experts = static_cast<double>(K);
  }
  return experts;
}

// Steps from a stage's begin to the first expert that is made in it; NaN when none is.
double reaction(const StudyRun& run, int64_t begin, int64_t end) {
  for (const GrowthEvent& event : run.events) {
    if (event.created >= 0 && event.step >= begin && event.step < end) {
      return static_cast<double>(event.step - begin);
    }
  }
  return kNone;
}

// forgetting: how much the first stage's concepts got worse from that stage's end to the end.
// answered: the share of stages behind the first in which an expert was made, whether anything
// arrived or not; reaction_steps: mean over these, from the stage's begin to that expert.
// experts_stage_i, loss_stage_i: K at the end of stage i; its concepts' loss at the very end.
void finish(const StudySettings& settings, StudyResults& results) {
  for (StudyCell& cell : results.cells) {
    for (StudyRun& run : cell.runs) {
      const auto last = static_cast<double>(settings.steps);
      double reacted = 0, steps = 0;
      for (int64_t s = 0; s < kStages; ++s) {
        const int64_t begin = begin_of(settings, s), end = begin_of(settings, s + 1);
        run.measures[fmt::format("experts_stage_{}", s + 1)] = experts_at(run, end);
        const std::string loss = fmt::format("loss_stage_{}", s + 1);
        run.measures[loss] = value_at(run, loss, last);
        const double answer = s == 0 ? kNone : reaction(run, begin, end);
        if (std::isnan(answer)) continue;
        ++reacted;
        steps += answer;
      }
      run.measures["forgetting"] =
          run.measures["loss_stage_1"] -
          value_at(run, "loss_stage_1", static_cast<double>(begin_of(settings, 1)));
      run.measures["reaction_steps"] = reacted > 0 ? steps / reacted : kNone;
      run.measures["answered"] = reacted / static_cast<double>(kStages - 1);
    }
  }
  for (const Regime& regime : kRegimes) {
    const std::string reference = name_of(kReference, regime);
    const StudyCell* mass = results.find(reference);
    if (mass == nullptr) continue;
    for (const StudyCell& cell : results.cells) {
      if (cell.family != regime.label || cell.name == reference) continue;
      for (const char* measure : {"forgetting", "test_loss"}) {
        results.comparisons.push_back(
            {measure, cell.name, reference, cell_difference(cell, *mass, measure)});
      }
    }
  }
}

}  // namespace

const Study kDriftStudy{
    "drift",
    "Concepts that arrive while training goes on",
    "Two concepts, then a third, then two more: does growth answer, how soon, and are the early "
    "concepts forgotten less than by a fixed pool of the same final size?",
    5,
    3000,
    false,
    plan,
    fixed_pools,
    finish};

}  // namespace offshoot
