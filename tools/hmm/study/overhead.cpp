// What watching and growing cost: time and bytes beside those of training itself.
#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

std::vector<CellPlan> plan(const StudySettings& settings) {
  std::vector<CellPlan> plans;
  for (const int64_t K : {8, 32, 128}) {
    for (const auto& [method, flags] :
         {std::pair{"mass-reference", Flags{{"--method", "mass"}}},
          {"mass-paper", Flags{{"--method", "mass"}, {"--preset", "paper"}}},
          {"dynmoe", Flags{{"--method", "dynmoe"}}}}) {
      Flags own = flags;
      own.set("--experts", K).set("--max-experts", K + 20);
      own.set("--phase-end", settings.steps / 2).set("--adapt-until", settings.steps / 2);
      if (!settings.quick) own.set("--window", int64_t{60}).set("--warmup", int64_t{30});
      CellPlan cell = plan_cell(settings, fmt::format("{}-K{}", method, K),
                                fmt::format("{}, from {} experts", method, K), method, own,
                                {{"experts", static_cast<double>(K)}});
      for (Trial& trial : cell.trials) trial.timed = true;
      plans.push_back(std::move(cell));
    }
  }
  return plans;
}

void finish(const StudySettings&, StudyResults&) {}

}  // namespace

const Study kOverheadStudy{
    "overhead",
    "What monitoring and growth cost",
    "Which share of a training step's time, and how many bytes beside the model's, do observing, "
    "deciding and editing take?",
    3,
    600,
    true,
    plan,
    nullptr,
    finish};

}  // namespace offshoot
