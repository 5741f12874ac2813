#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "tests/tools/html_faults.h"
#include "tests/tools/study_demo.h"
#include "tools/hmm/study/findings.h"

namespace offshoot {
namespace {

using testing::demo_study;
using testing::holds;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A study whose cells come to the given values, seed by seed.
class Made {
 public:
  explicit Made(std::string study) {
    results_.study = std::move(study);
    results_.steps = 3000;
    results_.seeds = {0, 1, 2};
  }

  // +-spread around the value, the same way for all cells of one sign.
  Made& cell(const std::string& name, const std::string& family,
             std::map<std::string, double> measures, double spread = 0.001, int sign = 1,
             std::map<std::string, double> numbers = {}) {
    StudyCell cell;
    cell.name = cell.label = name;
    cell.family = family;
    cell.numbers = std::move(numbers);
    for (int64_t seed = 0; seed < 3; ++seed) {
      StudyRun run;
      run.seed = seed;
      for (const auto& [measure, value] : measures) {
        run.measures[measure] = value + spread * static_cast<double>(sign * (seed - 1));
      }
      cell.runs.push_back(run);
    }
    results_.cells.push_back(cell);
    return *this;
  }

  StudyResults done(const std::string& against = "") {
    for (const char* measure : {"test_loss", "experts", "jsd_entity"}) {
      compare_all(results_, measure, against);
    }
    estimate_all(results_);
    return results_;
  }

  StudyResults results_;
};

Finding finding_about(const StudyResults& results, std::string_view question) {
  for (const Finding& finding : findings_of(results)) {
    if (finding.question.find(question) != std::string::npos) return finding;
  }
  ADD_FAILURE() << "no finding about " << question;
  return {};
}

StudyResults elbow(double at5, double at10, double at15, double at20, double spread) {
  Made made("paper");
  int sign = 1;
  for (const auto& [experts, loss] : {std::pair(5, at5), {10, at10}, {15, at15}, {20, at20}}) {
    made.cell(fmt::format("topk-K{}-k2", experts), "top-2", {{"test_loss", loss}}, spread, sign,
              {{"experts", experts}, {"topk", 2}});
    sign = -sign;
  }
  return made.done();
}

TEST(StudyFindings, TheElbowIsWhereTheCurveBends) {
  EXPECT_EQ(finding_about(elbow(2.0, 1.9, 1.89, 1.88, 1e-4), "elbow").verdict, Verdict::fails);
  EXPECT_EQ(finding_about(elbow(2.0, 1.95, 1.88, 1.875, 1e-4), "elbow").verdict, Verdict::holds);
  EXPECT_EQ(finding_about(elbow(2.0, 1.95, 1.93, 1.92, 0.05), "elbow").verdict, Verdict::unclear);
  // A straight line bends nowhere.
  EXPECT_EQ(finding_about(elbow(2.0, 1.9, 1.8, 1.7, 1e-4), "elbow").verdict, Verdict::unclear);
}

StudyResults rivals(double mass, double dynmoe, double experts, double spread) {
  return Made("paper")
      .cell("mass-reference-p0.9-Kinit8", "MASS",
            {{"test_loss", mass}, {"experts", experts}, {"active_experts", 3.9}}, spread, 1)
      .cell("dynmoe-off", "DynMoE", {{"test_loss", dynmoe}, {"active_experts", 4.5}}, spread, -1)
      .done("mass-reference-p0.9-Kinit8");
}

TEST(StudyFindings, MassIsBetterThanDynMoEOrNotOrIsNotToldApart) {
  const auto verdict = [](double mass, double dynmoe, double spread) {
    return finding_about(rivals(mass, dynmoe, 10, spread), "lower loss than DynMoE").verdict;
  };
  EXPECT_EQ(verdict(1.88, 1.93, 0.001), Verdict::holds);
  EXPECT_EQ(verdict(1.93, 1.88, 0.001), Verdict::fails);
  EXPECT_EQ(verdict(1.88, 1.93, 0.1), Verdict::unclear);
}

TEST(StudyFindings, NearTheElbowIsWithinThree) {
  const auto verdict = [](double experts) {
    return finding_about(rivals(1.9, 1.95, experts, 0.1), "without a search").verdict;
  };
  EXPECT_EQ(verdict(10), Verdict::fails);
  EXPECT_EQ(verdict(13), Verdict::holds);
  EXPECT_EQ(verdict(12), Verdict::unclear);
}

TEST(StudyFindings, OneSeedTellsNothingApart) {
  for (const std::string study : {"paper", "ablate"}) {
    for (const Finding& finding : findings_of(demo_study(study, 1))) {
      // But what a run did is a fact.
      if (finding.question.find("splits twice") != std::string::npos) continue;
      EXPECT_TRUE(finding.verdict == Verdict::unclear || finding.verdict == Verdict::found)
          << finding.question;
    }
  }
}

StudyResults ingredients(double change, double spread) {
  return Made("ablate")
      .cell("mass", "base", {{"test_loss", 1.9}}, spread, 1)
      .cell("no-lred", "ingredients", {{"test_loss", 1.9 + change}}, spread, -1)
      .cell("clone", "ingredients", {{"test_loss", 1.95}}, spread, 1)
      .done("mass");
}

TEST(StudyFindings, EveryIngredientMattersOnlyIfEachDoes) {
  const auto verdict = [](double change, double spread) {
    return finding_about(ingredients(change, spread), "Every ingredient").verdict;
  };
  EXPECT_EQ(verdict(0.05, 1e-4), Verdict::holds);
  EXPECT_EQ(verdict(-0.05, 1e-4), Verdict::fails);
  EXPECT_EQ(verdict(0, 1e-4), Verdict::fails);        // surely nothing
  EXPECT_EQ(verdict(0.001, 0.02), Verdict::unclear);  // may be anything
}

TEST(StudyFindings, SplitsAreCountedFromTheEvents) {
  StudyResults results = rivals(1.88, 1.93, 10, 0.001);
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::fails);  // no Kinit: 10 > 0
  for (StudyRun& run : results.cells[0].runs) {
    run.initial_experts = 8;
    run.measures["experts"] = 10;
    run.events = {{GrowthEvent::Kind::expand, 280, "l", 1, 8, 0, 0, kNaN, 9},
                  {GrowthEvent::Kind::expand, 290, "l", 2, 9, 0, 0, kNaN, 10}};
  }
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::holds);
  EXPECT_TRUE(holds(finding_about(results, "splits twice").text, "between 9.3% and 9.7%"));
  results.cells[0].runs[1].events[1].source = 8;  // the copy splits
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::fails);
}

TEST(StudyFindings, AnySubsetOfStudiesMakesAPage) {
  std::vector<StudyResults> all;
  for (const std::string study : {"need", "paper", "ablate", "drift", "noise", "overhead"}) {
    all.push_back(demo_study(study, 3));
    const std::string one = findings_markdown({all.back()});
    EXPECT_TRUE(holds(one, fmt::format("| {} | `offshoot-hmm {}` |", study, study)));
    EXPECT_FALSE(testing::holds_unfinite_number(one));
    StudyResults few = all.back();
    few.cells.resize(2);
    findings_markdown({few});
  }
  const std::string page = findings_markdown(all);
  EXPECT_LT(page.find("| paper |"), page.find("| need |"));
  for (const std::string_view title :
       {"## The paper's claims", "## What an independent study", "## Open questions"}) {
    EXPECT_TRUE(holds(page, title)) << title;
  }
  EXPECT_FALSE(holds(findings_markdown({}), "##"));
  EXPECT_FALSE(holds(page, "Quick runs"));
  all[0].quick = true;
  EXPECT_TRUE(holds(findings_markdown(all), "need (quick)"));
  EXPECT_THROW(findings_of(StudyResults{}), Error);
}

TEST(StudyFindings, LabelsAreNoMarkup) {
  StudyResults results = demo_study("paper", 3);
  results.command = "a`b|c\n# d";
  for (StudyCell& cell : results.cells) cell.label = "*a*\n# <b> [c](d) | `e`" + cell.label;
  const std::string page = findings_markdown({results});
  EXPECT_TRUE(holds(page, "`a'b\\|c # d`"));
  EXPECT_TRUE(holds(page, "\\*a\\* \\# \\<b\\> "));
  EXPECT_FALSE(holds(page, "\n# <b>"));
}

}  // namespace
}  // namespace offshoot
