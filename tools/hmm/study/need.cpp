// How many experts do data need? Corpora of 1 to 10 concepts, fixed pools of every size, and what
// each policy makes of them.
#include <algorithm>
#include <limits>
#include <map>

#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

constexpr int64_t kConcepts[] = {1, 2, 3, 5, 10};
constexpr int64_t kSizes[] = {1, 2, 3, 5, 8, 12, 20};
// A pool is large enough when its loss is this near to the best fixed pool's.
constexpr double kEnough = 0.01;

std::string count_of_concepts(double concepts) {
  return concepts == 1 ? "1 concept" : fmt::format("{} concepts", concepts);
}

std::vector<CellPlan> plan(const StudySettings& settings) {
  std::vector<CellPlan> plans;
  for (const int64_t C : kConcepts) {
    // The first half of the models are the concepts; a model is the same however many there are.
    Flags corpus;
    corpus.set("--hmms", 2 * C);
    const auto concepts = static_cast<double>(C);
    const std::string many = count_of_concepts(concepts);
    for (const int64_t K : kSizes) {
      Flags flags = corpus;
      flags.set("--method", "topk").set("--experts", K).set("--topk", std::min<int64_t>(2, K));
      plans.push_back(plan_cell(settings, fmt::format("C{}-topk-K{}", C, K),
                                fmt::format("{}, top-{}, K {}", many, std::min<int64_t>(2, K), K),
                                "topk", flags,
                                {{"concepts", concepts}, {"experts", static_cast<double>(K)}}));
    }
    for (const auto& [policy, own] :
         {std::pair{"mass-reference", Flags{{"--method", "mass"}, {"--experts", "3"}}},
          {"mass-paper", Flags{{"--method", "mass"}, {"--preset", "paper"}, {"--experts", "3"}}},
          {"dynmoe", Flags{{"--method", "dynmoe"}, {"--experts", "3"}}}}) {
      Flags flags = corpus;
      plans.push_back(plan_cell(settings, fmt::format("C{}-{}", C, policy),
                                fmt::format("{}, {}", many, policy), policy, flags.set(own),
                                {{"concepts", concepts}}));
    }
  }
  return plans;
}

// A cell a number of concepts, without runs: the smallest fixed pool that is large enough.
std::vector<StudyCell> needed(const StudyResults& results) {
  std::map<double, std::map<double, double>> excess;  // by concepts, then K
  for (const StudyCell& cell : results.cells) {
    if (cell.family != "topk") continue;
    excess[cell.numbers.at("concepts")][cell.numbers.at("experts")] =
        estimate(cell.values("excess")).mean;
  }
  std::vector<StudyCell> cells;
  for (const auto& [concepts, by_size] : excess) {
    const double best =
        std::ranges::min_element(by_size, {}, [](const auto& size) { return size.second; })->second;
    const auto enough = std::ranges::find_if(
        by_size, [best](const auto& size) { return size.second <= best + kEnough; });
    StudyCell cell;
    cell.name = fmt::format("C{}-needed", concepts);
    cell.label =
        fmt::format("{} concepts: the smallest pool within {} of the best", concepts, kEnough);
    cell.family = "needed";
    cell.numbers = {
        {"concepts", concepts},
        {"experts_needed",
         enough == by_size.end() ? std::numeric_limits<double>::quiet_NaN() : enough->first}};
    cells.push_back(std::move(cell));
  }
  return cells;
}

void finish(const StudySettings&, StudyResults& results) {
  for (StudyCell& cell : results.cells) {
    for (StudyRun& run : cell.runs) {
      run.measures["excess"] = run.measure("test_loss") - run.measure("floor");
    }
  }
  for (StudyCell& cell : needed(results)) results.cells.push_back(std::move(cell));
}

}  // namespace

const Study kNeedStudy{
    "need",
    "How many experts does the data need?",
    "Corpora of 1, 2, 3, 5 and 10 concepts: how large must a pool be, and does the size that each "
    "policy chooses follow?",
    3,
    3000,
    false,
    plan,
    nullptr,
    finish};

}  // namespace offshoot
